//! Small deterministic automata over bytes, and the search for a text on which several of them agree.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    rc::Rc,
};

use super::budget::{Exhausted, Meter};

/// An automaton with more states is given up.
const MAX_STATES: usize = 20_000;

/// A complete deterministic automaton over bytes.
#[derive(Debug)]
pub(crate) struct Dfa {
    /// The class of each byte: bytes of one class are never told apart.
    classes: Vec<u8>,
    width: usize,
    table: Vec<u32>,
    accepting: Vec<bool>,
    /// Whether an accepting state can be reached from here, and whether one that does not accept can be.
    can_accept: Vec<bool>,
    can_reject: Vec<bool>,
}

/// What came of a search for a common text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Common {
    Found(String),
    /// There are texts on which all agree; none of those that were looked at pleased the caller.
    Refused,
    /// There is no text on which all agree.
    Nothing,
}

impl Dfa {
    /// Tabulates the automaton that `step` describes; `None` if it has too many states.
    ///
    /// Bytes with one `kind` must not be told apart by `step`.
    pub(crate) fn build<S: Clone + Eq + Hash>(
        start: S,
        kind: impl Fn(u8) -> u32,
        step: impl Fn(&S, u8) -> S,
        accepts: impl Fn(&S) -> bool,
    ) -> Option<Dfa> {
        let mut kinds: Vec<(u32, u8)> = Vec::new();
        let mut classes = Vec::with_capacity(256);
        for byte in 0..=u8::MAX {
            let kind = kind(byte);
            let known = kinds.iter().position(|(other, _)| *other == kind);
            let class = known.unwrap_or_else(|| {
                kinds.push((kind, byte));
                kinds.len() - 1
            });
            classes.push(u8::try_from(class).ok()?);
        }
        let mut states = vec![start.clone()];
        let mut numbers = HashMap::from([(start, 0_u32)]);
        let mut table = Vec::new();
        let mut at = 0;
        while let Some(state) = states.get(at).cloned() {
            for (_, byte) in &kinds {
                let next = step(&state, *byte);
                let number = match numbers.get(&next) {
                    Some(number) => *number,
                    None => {
                        let number = u32::try_from(states.len()).ok().filter(|_| states.len() < MAX_STATES)?;
                        numbers.insert(next.clone(), number);
                        states.push(next);
                        number
                    }
                };
                table.push(number);
            }
            at += 1;
        }
        let accepting: Vec<bool> = states.iter().map(accepts).collect();
        let width = kinds.len();
        let can_accept = reaching(&table, width, accepting.clone());
        let can_reject = reaching(&table, width, accepting.iter().map(|accepts| !accepts).collect());
        Some(Dfa { classes, width, table, accepting, can_accept, can_reject })
    }

    pub(crate) fn accepts(&self, text: &str) -> bool {
        let state = text.bytes().fold(0, |state, byte| self.step(state, byte));
        is(&self.accepting, state)
    }

    fn class(&self, byte: u8) -> u8 {
        self.classes.get(usize::from(byte)).copied().unwrap_or_default()
    }

    fn step(&self, state: u32, byte: u8) -> u32 {
        self.table.get(state as usize * self.width + usize::from(self.class(byte))).copied().unwrap_or_default()
    }
}

fn is(flags: &[bool], state: u32) -> bool {
    flags.get(state as usize).copied().unwrap_or_default()
}

/// The states from which one of the flagged states can be reached.
fn reaching(table: &[u32], width: usize, mut flags: Vec<bool>) -> Vec<bool> {
    loop {
        let mut changed = false;
        // States are numbered from the start outwards, so that the way back takes few rounds.
        for (state, row) in table.chunks(width.max(1)).enumerate().rev() {
            let reaches = row.iter().any(|next| is(&flags, *next));
            if let Some(flag) = flags.get_mut(state).filter(|flag| !**flag && reaches) {
                *flag = true;
                changed = true;
            }
        }
        if !changed {
            return flags;
        }
    }
}

/// An automaton and whether the text is to be accepted by it.
pub(crate) type Wanted = (Rc<Dfa>, bool);

/// Looks for the shortest text, and of those the most readable one, on which all automata agree and that `pleases`.
///
/// One text at least is shown to `pleases` for each way to agree, so `Refused` leaves the question open. One of the
/// automata must see to it that the texts are UTF-8. The empty text is tried last: it is hard to read.
pub(crate) fn common_text(
    parts: &[Wanted],
    meter: &Meter,
    mut pleases: impl FnMut(&str) -> bool,
) -> Result<Common, Exhausted> {
    let alphabet = alphabet(parts);
    let start: Rc<[u32]> = parts.iter().map(|_| 0).collect();
    let agreed = |state: &[u32]| parts.iter().zip(state).all(|((dfa, wanted), s)| is(&dfa.accepting, *s) == *wanted);
    let hopeful = |state: &[u32]| {
        let hope =
            |((dfa, wanted), s): (&Wanted, &u32)| is(if *wanted { &dfa.can_accept } else { &dfa.can_reject }, *s);
        parts.iter().zip(state).all(hope)
    };
    let mut refused = false;
    let mut seen: HashSet<Rc<[u32]>> = HashSet::new();
    // Each text that was reached: its last byte and the place of the text before it.
    let mut reached: Vec<(Rc<[u32]>, usize, u8)> = vec![(start.clone(), 0, 0)];
    let mut next = vec![0_u32; parts.len()];
    let mut at = 0;
    while let Some((state, ..)) = reached.get(at).filter(|_| hopeful(&start)) {
        let state = state.clone();
        for byte in &alphabet {
            meter.spend(1)?;
            for (((dfa, _), state), next) in parts.iter().zip(state.iter()).zip(&mut next) {
                *next = dfa.step(*state, *byte);
            }
            if !hopeful(&next) || seen.contains(next.as_slice()) {
                continue;
            }
            let shared: Rc<[u32]> = next.as_slice().into();
            seen.insert(shared.clone());
            reached.push((shared, at, *byte));
            if agreed(&next) {
                if let Some(text) = spell(&reached).filter(|text| pleases(text)) {
                    return Ok(Common::Found(text));
                }
                refused = true;
            }
        }
        at += 1;
    }
    if agreed(&start) {
        if pleases("") {
            return Ok(Common::Found(String::new()));
        }
        refused = true;
    }
    Ok(if refused { Common::Refused } else { Common::Nothing })
}

/// The text that was reached last.
fn spell(reached: &[(Rc<[u32]>, usize, u8)]) -> Option<String> {
    let mut bytes = Vec::new();
    let mut at = reached.len() - 1;
    while at > 0 {
        let (_, before, byte) = reached.get(at)?;
        bytes.push(*byte);
        at = *before;
    }
    bytes.reverse();
    String::from_utf8(bytes).ok()
}

/// One byte for each set of bytes that no automaton tells apart: the most readable one, and readable ones first.
fn alphabet(parts: &[Wanted]) -> Vec<u8> {
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    let mut bytes: Vec<u8> = (0..=u8::MAX).collect();
    bytes.sort_by_key(|byte| readability(*byte));
    bytes.retain(|byte| known.insert(parts.iter().map(|(dfa, _)| dfa.class(*byte)).collect()));
    bytes
}

fn readability(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 0,
        b'0'..=b'9' => 1,
        b'A'..=b'Z' => 2,
        b'-' | b'.' | b'_' | b'/' => 3,
        b'!'..=b'~' => 4,
        b' ' => 5,
        0x80.. => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests;
