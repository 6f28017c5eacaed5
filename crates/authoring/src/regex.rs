//! Regular expressions to automata: the gateway follows a table, one step for each byte, and never searches back.
//!
//! The meaning is that of RE2, which CEL asks for: a text matches if some part of it does; `\d`, `\w`, `\s` and `\b` are
//! about ASCII, everything else about Unicode characters. What the parser reads otherwise than RE2 is refused.

use std::collections::{BTreeMap, HashMap, VecDeque};

use holdgate_engine::{
    Pattern,
    pattern::{MAX_STATES, MAX_TABLE},
};
use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start},
};
use regex_syntax::ParserBuilder;

mod rewrite;
#[cfg(test)]
mod tests;

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 4096;

/// Bounds of what is built before it is minimised, in bytes.
const MAX_NFA: usize = 1 << 19;
const MAX_DFA: usize = 1 << 20;

/// What is wrong with a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegexError {
    pub(crate) message: String,
    /// What to do, where the message does not say it already.
    pub(crate) help: Option<String>,
    /// It is sound, and too large.
    pub(crate) too_large: bool,
}

/// Compiles a regular expression, and tells how much work it was; the same source always gives the same table.
pub(crate) fn compile(source: &str) -> Result<(Pattern, Effort), RegexError> {
    if source.len() > MAX_SOURCE {
        return Err(too_large());
    }
    let rewritten = rewrite::rewrite(source)?;
    let whole = format!("(?s-u:.)*(?:{rewritten})(?s-u:.)*");
    let mut parser = ParserBuilder::new().utf8(false).nest_limit(rewrite::MAX_DEPTH + 8).build();
    let tree = parser.parse(&whole).map_err(|error| rewrite::unsupported(&error))?;
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_NFA)))
        .build_from_hir(&tree)
        .map_err(|_| too_large())?;
    let dfa = dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Anchored)
                .match_kind(MatchKind::All)
                .accelerate(false)
                .dfa_size_limit(Some(MAX_DFA))
                .determinize_size_limit(Some(MAX_DFA / 2)),
        )
        .build_from_nfa(&nfa)
        .map_err(|_| too_large())?;
    let table = Table::of(&dfa).ok_or_else(too_large)?;
    let effort = Effort(nfa.states().len() * table.next.len());
    let table = table.minimised();
    if table.next.len() > MAX_STATES || table.next.len() * table.classes() > MAX_TABLE {
        return Err(too_large());
    }
    table.pattern(source).map(|pattern| (pattern, effort)).ok_or_else(too_large)
}

/// The states of both automata that were built, multiplied: a million of them take about a tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effort(pub(crate) usize);

/// How many bytes a pattern has in a bundle, roughly.
pub(crate) fn weight(pattern: &Pattern) -> usize {
    let classes = (0..=u8::MAX).map(|byte| pattern.class(byte)).max().map_or(1, |class| usize::from(class) + 1);
    1024 + 3 * pattern.states() * classes
}

/// A file may have only so many large expressions.
pub(crate) fn too_many() -> RegexError {
    RegexError {
        message: "the regular expressions and time zones of this file are too large together".into(),
        help: Some("write fewer of them, or divide the file into several".into()),
        too_large: true,
    }
}

fn too_large() -> RegexError {
    RegexError {
        message: "the regular expression is too large for the gateway".into(),
        help: Some(
            "make its counted repetitions (`{1,100}`) smaller, write `[a-z]` in place of classes such as `\\pL`, \
             or divide it into several tests"
                .into(),
        ),
        too_large: true,
    }
}

/// An automaton: for each state the next one for each byte. State 0 is the start.
struct Table {
    next: Vec<Vec<u32>>,
    accepts: Vec<bool>,
    /// Of each byte the column in `next`.
    columns: Vec<u8>,
}

impl Table {
    /// The reachable states of a search; `None` if there are too many.
    fn of(dfa: &dense::DFA<Vec<u32>>) -> Option<Table> {
        let classes = dfa.byte_classes();
        let columns: Vec<u8> = (0..=u8::MAX).map(|byte| classes.get(byte)).collect();
        // One byte for each column.
        let bytes: BTreeMap<u8, u8> =
            columns.iter().zip(0..=u8::MAX).rev().map(|(class, byte)| (*class, byte)).collect();
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        let mut numbers: HashMap<StateID, u32> = HashMap::from([(start, 0)]);
        let mut queue = VecDeque::from([start]);
        let (mut next, mut accepts) = (Vec::new(), Vec::new());
        while let Some(state) = queue.pop_front() {
            // A match is told one step late; at the end of a text this step is its end.
            accepts.push(dfa.is_match_state(dfa.next_eoi_state(state)));
            let mut row = Vec::with_capacity(bytes.len());
            for byte in bytes.values() {
                let to = dfa.next_state(state, *byte);
                let fresh = u32::try_from(numbers.len()).ok()?;
                row.push(*numbers.entry(to).or_insert_with(|| {
                    queue.push_back(to);
                    fresh
                }));
            }
            next.push(row);
        }
        let renumbered: BTreeMap<u8, u8> = bytes.keys().copied().zip(0..=u8::MAX).collect();
        let columns = columns.iter().filter_map(|class| renumbered.get(class).copied()).collect();
        Some(Table { next, accepts, columns })
    }

    /// The one smallest automaton with the same answers: states that no text tells apart are one (Moore's algorithm),
    /// they are numbered in the order in which they are reached, and bytes that are never told apart share a column.
    fn minimised(&self) -> Table {
        let mut blocks: Vec<u32> = self.accepts.iter().map(|accepts| u32::from(*accepts)).collect();
        let mut count = 0;
        loop {
            let mut signatures: HashMap<(u32, Vec<u32>), u32> = HashMap::new();
            let refined: Vec<u32> = self
                .next
                .iter()
                .zip(&blocks)
                .map(|(row, block)| {
                    let fresh = u32::try_from(signatures.len()).unwrap_or(u32::MAX);
                    *signatures.entry((*block, row.iter().map(|to| at(&blocks, *to)).collect())).or_insert(fresh)
                })
                .collect();
            blocks = refined;
            if signatures.len() == count {
                break;
            }
            count = signatures.len();
        }
        self.merged(&blocks)
    }

    /// The automaton whose states are the blocks of this one's.
    fn merged(&self, blocks: &[u32]) -> Table {
        // Blocks are numbered by their first state, and states by a breadth-first search whose order of columns may be
        // another one than that of the bytes: it is done again, byte by byte.
        let mut members: Vec<(usize, &Vec<u32>)> = Vec::new();
        for (state, (row, block)) in self.next.iter().zip(blocks).enumerate() {
            if *block as usize == members.len() {
                members.push((state, row));
            }
        }
        let mut numbers: HashMap<u32, u32> = HashMap::from([(at(blocks, 0), 0)]);
        let mut queue = VecDeque::from([at(blocks, 0)]);
        let (mut rows, mut accepts): (Vec<Vec<u32>>, Vec<bool>) = (Vec::new(), Vec::new());
        while let Some(block) = queue.pop_front() {
            let Some((state, row)) = members.get(block as usize) else { continue };
            accepts.push(self.accepts.get(*state).copied().unwrap_or_default());
            let mut by_byte = Vec::with_capacity(self.columns.len());
            for column in &self.columns {
                let to = at(blocks, at(row, u32::from(*column)));
                let fresh = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                by_byte.push(*numbers.entry(to).or_insert_with(|| {
                    queue.push_back(to);
                    fresh
                }));
            }
            rows.push(by_byte);
        }
        let mut known: HashMap<Vec<u32>, u8> = HashMap::new();
        let mut columns = Vec::new();
        let mut next: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
        for byte in 0..self.columns.len() {
            let column: Vec<u32> = rows.iter().filter_map(|row| row.get(byte).copied()).collect();
            let fresh = u8::try_from(known.len()).unwrap_or(u8::MAX);
            let class = *known.entry(column.clone()).or_insert_with(|| {
                next.iter_mut().zip(column).for_each(|(row, to)| row.push(to));
                fresh
            });
            columns.push(class);
        }
        Table { next, accepts, columns }
    }

    fn classes(&self) -> usize {
        self.next.first().map_or(0, Vec::len)
    }

    fn pattern(self, source: &str) -> Option<Pattern> {
        let table = self.next.iter().flatten().map(|to| u16::try_from(*to).ok()).collect::<Option<Vec<u16>>>()?;
        Pattern::new(source.to_owned(), self.columns.try_into().ok()?, table, self.accepts).ok()
    }
}

fn at(list: &[u32], index: u32) -> u32 {
    list.get(index as usize).copied().unwrap_or_default()
}
