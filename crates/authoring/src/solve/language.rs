//! The texts that a test accepts, and the texts that an attribute can have at all, as automata.

use std::collections::BTreeMap;

use holdgate_engine::{
    Test,
    conditions::{List, Literal},
};

use super::automata::Dfa;

/// What texts an attribute can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Domain {
    /// A string of a JSON text or of a token.
    Any,
    /// A header or a value of the query: no control characters.
    Wire,
    Method,
    /// A host without its port, in lower case.
    Host,
    /// A canonical path, without the query.
    Path,
}

/// The automaton of a test of texts; `None` for a test that no text decides, or one that is too large.
pub(crate) fn of_test(test: &Test) -> Option<Dfa> {
    match test {
        Test::Equals(Literal::String(text)) => one_of(std::slice::from_ref(text)),
        Test::In(List::Strings(texts)) => one_of(texts),
        Test::NotIn(List::Strings(texts)) => none_of(texts),
        Test::Prefix(prefix) => walk(&[literal(prefix), vec![Step::Anything]].concat(), false),
        Test::Suffix(suffix) => walk(&[vec![Step::Anything], literal(suffix)].concat(), false),
        Test::Contains(part) => walk(&[vec![Step::Anything], literal(part), vec![Step::Anything]].concat(), false),
        Test::Glob(glob) => walk(&glob_steps(glob.as_str()), false),
        Test::Template(template) => of_template(template.as_str()),
        Test::Matches(pattern) => Dfa::build(
            pattern.start(),
            |byte| u32::from(pattern.class(byte)),
            |state, byte| pattern.step(*state, byte),
            |state| pattern.accepts(*state),
        ),
        Test::Size(size) => {
            let highest = size.max.map_or(size.min, |max| max.saturating_add(1).max(size.min));
            let starts = |byte: u8| byte & 0xc0 != 0x80;
            Dfa::build(
                0_u64,
                |byte| u32::from(starts(byte)),
                |count, byte| (count + u64::from(starts(byte))).min(highest),
                |count| *count >= size.min && size.max.is_none_or(|max| *count <= max),
            )
        }
        _ => None,
    }
}

/// The automaton of all texts of a domain. All of them are UTF-8.
pub(crate) fn of_domain(domain: Domain) -> Option<Dfa> {
    match domain {
        Domain::Any => utf8(|_| true),
        Domain::Wire => utf8(|byte| !byte.is_ascii_control() || byte == b'\t'),
        Domain::Method => method(),
        Domain::Host => host(),
        Domain::Path => path(),
    }
}

/// Texts that are no number, or one whose exponent may be out of range: these must be looked at one by one.
pub(crate) fn no_number() -> Option<Dfa> {
    number(|state, digits| !state.ends() || digits >= 17)
}

/// Texts that JSON reads as a number.
pub(crate) fn any_number() -> Option<Dfa> {
    number(|state, _| state.ends())
}

/// None of these texts.
pub(crate) fn none_of(texts: &[String]) -> Option<Dfa> {
    trie(texts, false)
}

fn one_of(texts: &[String]) -> Option<Dfa> {
    trie(texts, true)
}

fn trie(texts: &[String], wanted: bool) -> Option<Dfa> {
    let mut nodes: Vec<(BTreeMap<u8, usize>, bool)> = vec![Default::default()];
    for text in texts {
        let mut at = 0;
        for byte in text.bytes() {
            let fresh = nodes.len();
            at = *nodes.get_mut(at)?.0.entry(byte).or_insert(fresh);
            if at == fresh {
                nodes.push(Default::default());
            }
        }
        nodes.get_mut(at)?.1 = true;
    }
    let used: std::collections::BTreeSet<u8> = texts.iter().flat_map(|text| text.bytes()).collect();
    Dfa::build(
        Some(0_usize),
        |byte| if used.contains(&byte) { u32::from(byte) + 1 } else { 0 },
        |state, byte| nodes.get((*state)?)?.0.get(&byte).copied(),
        |state| state.and_then(|at| nodes.get(at)).is_some_and(|(_, ends)| *ends) == wanted,
    )
}

/// One step of a text with gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Byte(u8),
    /// Any run of bytes.
    Anything,
    /// Any run of characters within a segment; an escape is one character.
    InSegment,
    /// One byte of a segment, and any run of bytes within it.
    Segment,
}

fn literal(text: &str) -> Vec<Step> {
    text.bytes().map(Step::Byte).collect()
}

fn glob_steps(glob: &str) -> Vec<Step> {
    glob.bytes().map(|byte| if byte == b'*' { Step::Anything } else { Step::Byte(byte) }).collect()
}

/// Where a walk along the steps may be: before a step, within an escape of one, or within a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Spot {
    Before(usize),
    /// So many digits of an escape are still to come.
    Escape(usize, u8),
    Inside(usize),
}

/// The automaton of a list of steps; with `open`, what stands behind a further slash does not matter.
fn walk(steps: &[Step], open: bool) -> Option<Dfa> {
    // A gap may be empty, so what stands behind it can begin at once.
    let settle = |spots: Vec<Spot>| -> Vec<Spot> {
        let mut settled = std::collections::BTreeSet::new();
        let mut todo = spots;
        while let Some(spot) = todo.pop() {
            if !settled.insert(spot) {
                continue;
            }
            match spot {
                Spot::Before(at) if matches!(steps.get(at), Some(Step::Anything | Step::InSegment)) => {
                    todo.push(Spot::Before(at + 1));
                }
                Spot::Inside(at) => todo.push(Spot::Before(at + 1)),
                _ => {}
            }
        }
        // Whoever has passed a gap that takes anything has no use for the places before it.
        let passed = settled.iter().filter_map(|spot| match spot {
            Spot::Before(at) if steps.get(*at) == Some(&Step::Anything) => Some(*at),
            _ => None,
        });
        let last = passed.max().unwrap_or_default();
        settled.into_iter().filter(|spot| spot.at() >= last).collect()
    };
    let end = steps.len();
    let follow = |spot: &Spot, byte: u8| -> Option<Spot> {
        match (*spot, steps.get(spot.at())) {
            (Spot::Before(at), Some(Step::Byte(wanted))) if *wanted == byte => Some(Spot::Before(at + 1)),
            (Spot::Before(at), Some(Step::Anything)) => Some(Spot::Before(at)),
            (Spot::Before(at), Some(Step::InSegment)) => match byte {
                b'/' => None,
                b'%' => Some(Spot::Escape(at, 2)),
                _ => Some(Spot::Before(at)),
            },
            (Spot::Escape(at, left), _) => match (byte, left) {
                (b'/', _) => None,
                (_, 1) => Some(Spot::Before(at)),
                (_, left) => Some(Spot::Escape(at, left - 1)),
            },
            (Spot::Before(at) | Spot::Inside(at), Some(Step::Segment)) if byte != b'/' => Some(Spot::Inside(at)),
            (Spot::Before(at), None) if open && at == end && byte == b'/' => Some(Spot::Inside(end)),
            (Spot::Inside(at), None) if at == end => Some(Spot::Inside(end)),
            _ => None,
        }
    };
    let used: std::collections::BTreeSet<u8> =
        steps.iter().filter_map(|step| if let Step::Byte(byte) = step { Some(*byte) } else { None }).collect();
    Dfa::build(
        settle(vec![Spot::Before(0)]),
        |byte| if used.contains(&byte) || matches!(byte, b'/' | b'%') { u32::from(byte) + 1 } else { 0 },
        |spots, byte| settle(spots.iter().filter_map(|spot| follow(spot, byte)).collect()),
        |spots| spots.iter().any(|spot| matches!(spot, Spot::Before(at) | Spot::Inside(at) if *at == end)),
    )
}

impl Spot {
    fn at(self) -> usize {
        match self {
            Spot::Before(at) | Spot::Escape(at, _) | Spot::Inside(at) => at,
        }
    }
}

/// The automaton of a template in its canonical text form.
fn of_template(text: &str) -> Option<Dfa> {
    let rest = text.strip_prefix('/')?;
    let mut steps = Vec::new();
    let mut open = false;
    for segment in rest.split('/') {
        if segment == "**" {
            open = true;
            continue;
        }
        steps.push(Step::Byte(b'/'));
        if segment == "*" || segment.starts_with('{') {
            steps.push(Step::Segment);
            continue;
        }
        for (index, piece) in segment.split('*').enumerate() {
            if index > 0 {
                steps.push(Step::InSegment);
            }
            // A star of the path itself is written as an escape in the template.
            steps.extend(literal(&piece.replace("%2A", "*")));
        }
    }
    walk(&steps, open)
}

/// How far a character of UTF-8 has come (RFC 3629 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Utf8 {
    /// Between characters.
    Whole,
    /// So many bytes are still to come, the next one within the range.
    Part(u8, u8, u8),
    Wrong,
}

impl Utf8 {
    fn step(self, byte: u8) -> Utf8 {
        match (self, byte) {
            (Utf8::Whole, 0..=0x7f) => Utf8::Whole,
            (Utf8::Whole, 0xc2..=0xdf) => Utf8::Part(1, 0x80, 0xbf),
            (Utf8::Whole, 0xe0) => Utf8::Part(2, 0xa0, 0xbf),
            (Utf8::Whole, 0xed) => Utf8::Part(2, 0x80, 0x9f),
            (Utf8::Whole, 0xe1..=0xef) => Utf8::Part(2, 0x80, 0xbf),
            (Utf8::Whole, 0xf0) => Utf8::Part(3, 0x90, 0xbf),
            (Utf8::Whole, 0xf1..=0xf3) => Utf8::Part(3, 0x80, 0xbf),
            (Utf8::Whole, 0xf4) => Utf8::Part(3, 0x80, 0x8f),
            (Utf8::Part(1, low, high), byte) if (low..=high).contains(&byte) => Utf8::Whole,
            (Utf8::Part(left, low, high), byte) if (low..=high).contains(&byte) => Utf8::Part(left - 1, 0x80, 0xbf),
            _ => Utf8::Wrong,
        }
    }

    /// Bytes of one kind are not told apart.
    fn kind(byte: u8) -> u32 {
        match byte {
            0..=0x7f => 0,
            0x80..=0x8f => 1,
            0x90..=0x9f => 2,
            0xa0..=0xbf => 3,
            0xc2..=0xdf => 4,
            0xe0 => 5,
            0xed => 6,
            0xe1..=0xef => 7,
            0xf0 => 8,
            0xf1..=0xf3 => 9,
            0xf4 => 10,
            _ => 11,
        }
    }
}

fn utf8(allowed: impl Fn(u8) -> bool) -> Option<Dfa> {
    Dfa::build(
        Utf8::Whole,
        |byte| Utf8::kind(byte) * 2 + u32::from(allowed(byte)),
        |state, byte| if allowed(byte) { state.step(byte) } else { Utf8::Wrong },
        |state| *state == Utf8::Whole,
    )
}

/// A word in upper case of at most 32 bytes; CONNECT is not served.
fn method() -> Option<Dfa> {
    const REFUSED: &[u8] = b"CONNECT";
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    Dfa::build(
        Some((0_usize, true)),
        |byte| if REFUSED.contains(&byte) { u32::from(byte) } else { u32::from(upper(byte)) },
        |state, byte| {
            let (length, refused) = state.filter(|(length, _)| upper(byte) && *length < 32)?;
            Some((length + 1, refused && REFUSED.get(length) == Some(&byte)))
        },
        |state| state.is_some_and(|(length, refused)| length > 0 && !(refused && length == REFUSED.len())),
    )
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum HostState {
    Start,
    Name,
    Dot,
    Address,
    Closed,
    Wrong,
}

/// A name, or an address in brackets.
fn host() -> Option<Dfa> {
    use HostState::{Address, Closed, Dot, Name, Start, Wrong};
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let hex = |byte: u8| matches!(byte, b'a'..=b'f' | b'0'..=b'9' | b':');
    Dfa::build(
        Start,
        |byte| match byte {
            b'.' | b'[' | b']' => u32::from(byte),
            _ => u32::from(word(byte)) + 2 * u32::from(hex(byte)),
        },
        |state, byte| match (state, byte) {
            (Start, b'[') => Address,
            (Start | Name | Dot, b'.') => Dot,
            (Start | Name | Dot, byte) if word(byte) => Name,
            (Address, b']') => Closed,
            (Address, byte) if hex(byte) || byte == b'.' => Address,
            _ => Wrong,
        },
        |state| matches!(state, Name | Closed),
    )
}

/// Where a path stands within its segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Segment {
    /// Before the first slash.
    Start,
    Empty,
    OneDot,
    TwoDots,
    Filled,
    Wrong,
}

/// A canonical path: no empty or dot segment, and escapes only of what may not stand in a path, in upper case.
fn path() -> Option<Dfa> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte);
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let wrong = (Segment::Wrong, Utf8::Wrong, None);
    // The segment, the decoded character, and an escape: its start (`Some(None)`) or its first digit.
    Dfa::build(
        (Segment::Start, Utf8::Whole, None::<Option<u8>>),
        |byte| match byte {
            b'/' | b'%' | b'.' | b'0'..=b'9' | b'A'..=b'F' => u32::from(byte),
            _ => u32::from(plain(byte)),
        },
        |(segment, utf8, escape), byte| match (segment, escape, byte) {
            (Segment::Start, None, b'/') => (Segment::Empty, Utf8::Whole, None),
            (Segment::Start | Segment::Wrong, ..) => wrong,
            (_, Some(None), byte) => match digit(byte) {
                Some(high) => (*segment, *utf8, Some(Some(high))),
                None => wrong,
            },
            (_, Some(Some(high)), byte) => match digit(byte).map(|low| high << 4 | low) {
                Some(octet) if !octet.is_ascii_control() && !plain(octet) && !b"/\\;%".contains(&octet) => {
                    (Segment::Filled, utf8.step(octet), None)
                }
                _ => wrong,
            },
            (Segment::Filled, None, b'/') if *utf8 == Utf8::Whole => (Segment::Empty, *utf8, None),
            (_, None, b'%') => (*segment, *utf8, Some(None)),
            (Segment::Empty, None, b'.') => (Segment::OneDot, *utf8, None),
            (Segment::OneDot, None, b'.') => (Segment::TwoDots, *utf8, None),
            (_, None, byte) if plain(byte) => (Segment::Filled, utf8.step(byte), None),
            _ => wrong,
        },
        |(segment, utf8, escape)| {
            matches!(segment, Segment::Empty | Segment::Filled) && *utf8 == Utf8::Whole && escape.is_none()
        },
    )
}

/// Where the reading of a number stands (RFC 8259 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Numeral {
    Start,
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Power,
    Sign,
    Exponent,
    Wrong,
}

impl Numeral {
    fn ends(self) -> bool {
        matches!(self, Numeral::Zero | Numeral::Whole | Numeral::Fraction | Numeral::Exponent)
    }

    fn step(self, byte: u8) -> Numeral {
        use Numeral::{Exponent, Fraction, Minus, Point, Power, Sign, Start, Whole, Wrong, Zero};
        match (self, byte) {
            (Start, b'-') => Minus,
            (Start | Minus, b'0') => Zero,
            (Start | Minus | Whole, b'0'..=b'9') => Whole,
            (Zero | Whole, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Whole | Fraction, b'e' | b'E') => Power,
            (Power, b'+' | b'-') => Sign,
            (Power | Sign | Exponent, b'0'..=b'9') => Exponent,
            _ => Wrong,
        }
    }
}

fn number(accepts: impl Fn(Numeral, u8) -> bool) -> Option<Dfa> {
    Dfa::build(
        (Numeral::Start, 0_u8),
        |byte| match byte {
            b'-' | b'+' | b'.' | b'0' => u32::from(byte),
            b'1'..=b'9' => 1,
            b'e' | b'E' => 2,
            _ => 0,
        },
        |(state, digits), byte| {
            let next = state.step(byte);
            (next, if next == Numeral::Exponent { (digits + 1).min(20) } else { 0 })
        },
        |(state, digits)| accepts(*state, *digits),
    )
}
