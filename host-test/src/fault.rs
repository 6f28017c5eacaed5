//! Faults that are put in the filter's way.

use std::collections::HashMap;

/// What a host call does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It does nothing and answers this status.
    Status(u32),
    /// The VM traps.
    Trap,
}

/// One host call that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name in the ABI, such as `proxy_http_call`.
    pub call: String,
    /// The first call of that name has the number 1, counted over all workers from the start.
    pub number: u64,
    pub kind: FaultKind,
}

/// The faults to come, and how often each host call was made so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) planned: Vec<Fault>,
    pub(crate) made: HashMap<&'static str, u64>,
    pub(crate) counting: bool,
}

impl Faults {
    /// Counts a call, and says what goes wrong with it.
    pub(crate) fn next(&mut self, call: &'static str) -> Option<FaultKind> {
        if !self.counting && self.planned.is_empty() {
            return None;
        }
        let number = self.made.entry(call).or_default();
        *number += 1;
        let hit = self.planned.iter().find(|fault| fault.call == call && fault.number == *number);
        hit.map(|fault| fault.kind)
    }
}
