//! Patterns: regular expressions that were compiled to an automaton when the policy was built.
//!
//! The engine only walks a table: one step for each byte of the text, whatever the expression is.

use holdgate_protocol::{
    b64url, deserialize_from_json, from_b64url,
    json::{FromJson, Place, ShapeError},
};
use serde::Serialize;

/// The most states of a pattern.
pub const MAX_STATES: usize = 4096;

/// The most entries of a pattern's table: states times classes.
pub const MAX_TABLE: usize = 1 << 16;

/// A deterministic automaton over the bytes of a text, beside the expression that it was made from. State 0 is the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "Wire")]
pub struct Pattern {
    source: String,
    /// The class of each byte.
    classes: Box<[u8; 256]>,
    width: usize,
    /// The next state, by state and class.
    table: Vec<u16>,
    accepting: Vec<bool>,
}

/// Why a table is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    #[error("a part of a pattern is not base64url without padding")]
    Encoding,
    #[error("a pattern has a class for each of the 256 bytes, and all of them are used")]
    Classes,
    #[error("a pattern has 1 to {MAX_STATES} states and at most {MAX_TABLE} entries in its table")]
    Size,
    #[error("a pattern's table leads to a state that is not there")]
    State,
}

/// The form in a bundle.
#[derive(Serialize)]
struct Wire {
    source: String,
    /// 256 bytes.
    classes: String,
    /// Big-endian numbers of two bytes.
    table: String,
    /// The accepting states, rising.
    accepting: Vec<u16>,
}

impl Pattern {
    /// A pattern of its parts. `table` has an entry for each state and class, `accepting` one for each state.
    pub fn new(
        source: String,
        classes: [u8; 256],
        table: Vec<u16>,
        accepting: Vec<bool>,
    ) -> Result<Pattern, PatternError> {
        let width = usize::from(classes.iter().copied().max().unwrap_or_default()) + 1;
        let states = accepting.len();
        if (0..width).any(|class| !classes.iter().any(|other| usize::from(*other) == class)) {
            return Err(PatternError::Classes);
        }
        if states == 0 || states > MAX_STATES || table.len() > MAX_TABLE || table.len() != states * width {
            return Err(PatternError::Size);
        }
        if table.iter().any(|next| usize::from(*next) >= states) {
            return Err(PatternError::State);
        }
        Ok(Pattern { source, classes: Box::new(classes), width, table, accepting })
    }

    /// The expression, for people.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The state before the first byte.
    pub fn start(&self) -> u16 {
        0
    }

    /// The state after a byte.
    pub fn step(&self, state: u16, byte: u8) -> u16 {
        let at = usize::from(state) * self.width + usize::from(self.class(byte));
        self.table.get(at).copied().unwrap_or_default()
    }

    /// Whether a text that ends in this state matches.
    pub fn accepts(&self, state: u16) -> bool {
        self.accepting.get(usize::from(state)).copied().unwrap_or_default()
    }

    /// The class of a byte: bytes of one class are never told apart.
    pub fn class(&self, byte: u8) -> u8 {
        self.classes.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// The number of states.
    pub fn states(&self) -> usize {
        self.accepting.len()
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.accepts(text.bytes().fold(self.start(), |state, byte| self.step(state, byte)))
    }
}

impl TryFrom<Wire> for Pattern {
    type Error = PatternError;

    fn try_from(wire: Wire) -> Result<Self, PatternError> {
        let bytes = |text: &str| from_b64url(text).ok_or(PatternError::Encoding);
        let classes = bytes(&wire.classes)?.try_into().map_err(|_| PatternError::Classes)?;
        let table = bytes(&wire.table)?;
        let (pairs, rest) = table.as_chunks::<2>();
        let next: Vec<u16> = pairs.iter().copied().map(u16::from_be_bytes).collect();
        let width = usize::from(classes_max(&classes)) + 1;
        if !rest.is_empty() || !next.len().is_multiple_of(width) {
            return Err(PatternError::Size);
        }
        let mut accepting = vec![false; next.len() / width];
        if !wire.accepting.is_sorted_by(|a, b| a < b) {
            return Err(PatternError::State);
        }
        for state in wire.accepting {
            *accepting.get_mut(usize::from(state)).ok_or(PatternError::State)? = true;
        }
        Pattern::new(wire.source, classes, next, accepting)
    }
}

impl FromJson for Pattern {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [source, classes, table, accepting] = place.members(&["source", "classes", "table", "accepting"])?;
        let states = accepting.items()?.map(|state| state.whole()).collect::<Result<_, _>>()?;
        let wire = Wire { source: source.read()?, classes: classes.read()?, table: table.read()?, accepting: states };
        Pattern::try_from(wire).map_err(|error| place.error(&error.to_string()))
    }
}

deserialize_from_json!(Pattern);

fn classes_max(classes: &[u8; 256]) -> u8 {
    classes.iter().copied().max().unwrap_or_default()
}

impl From<Pattern> for Wire {
    fn from(pattern: Pattern) -> Wire {
        let table: Vec<u8> = pattern.table.iter().flat_map(|next| next.to_be_bytes()).collect();
        let accepting =
            (0..).zip(&pattern.accepting).filter(|(_, accepts)| **accepts).map(|(state, _)| state).collect();
        Wire { source: pattern.source, classes: b64url(&*pattern.classes), table: b64url(&table), accepting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts in which `ab` occurs.
    fn ab() -> Pattern {
        let classes = std::array::from_fn(|byte| match byte {
            0x61 => 1,
            0x62 => 2,
            _ => 0,
        });
        Pattern::new("ab".into(), classes, vec![0, 1, 0, 0, 1, 2, 2, 2, 2], vec![false, false, true]).unwrap()
    }

    #[test]
    fn a_pattern_walks_its_table_and_survives_the_wire() {
        let pattern = ab();
        assert!(["ab", "xxaabx", "a text that is long before it ends in ab"].iter().all(|text| pattern.matches(text)));
        assert!(["", "a", "ba", "äb"].iter().all(|text| !pattern.matches(text)));
        let json = serde_json::to_string(&pattern).unwrap();
        assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), pattern);
    }

    #[test]
    fn a_table_that_is_not_whole_is_refused() {
        let classes = [0; 256];
        let new = |table: &[u16], states| Pattern::new(String::new(), classes, table.to_vec(), vec![false; states]);
        assert_eq!(new(&[], 0), Err(PatternError::Size));
        assert_eq!(new(&[0, 0], 1), Err(PatternError::Size));
        assert_eq!(new(&[1], 1), Err(PatternError::State));
        let mut gap = classes;
        gap[7] = 2;
        assert_eq!(Pattern::new(String::new(), gap, vec![0; 3], vec![true]), Err(PatternError::Classes));
        let json = serde_json::to_string(&ab()).unwrap();
        for (from, to) in [("[2]", "[3]"), ("[2]", "[2,2]"), ("AAAAAQ", "AAAA=="), ("AAAAAQ", "AAAA"), ("AQ", "_w")] {
            assert!(json.contains(from), "{json}");
            assert!(serde_json::from_str::<Pattern>(&json.replacen(from, to, 1)).is_err(), "{from} {to}");
        }
    }
}
