//! What is wrong with an export.

use serde::{Serialize, Serializer};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// Where it shows, counted from 1; `None` where something is not in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The entry, or the first of those that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    pub message: String,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// The entries are not those that were signed.
    Changed,
    /// The key of the ledger has signed two different pasts.
    Rewritten,
    /// Entries are missing between others.
    Gap,
    /// An entry stands behind a later one.
    Order,
    /// An entry stands there again.
    Duplicate,
    /// Entries are missing at the end.
    Cut,
    /// Entries for which no checkpoint vouches.
    Unsigned,
    /// A checkpoint that none of the trusted keys has signed, or that is none.
    Signature,
    /// A checkpoint or header of another ledger.
    Origin,
    /// The first line is not the header of such a file.
    Header,
    /// A line that is not what this format has.
    Line,
    /// The entries tell what cannot have happened.
    Course,
}

impl FindingKind {
    /// The word that stands for it in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Changed => "changed",
            FindingKind::Rewritten => "rewritten",
            FindingKind::Gap => "gap",
            FindingKind::Order => "order",
            FindingKind::Duplicate => "duplicate",
            FindingKind::Cut => "cut",
            FindingKind::Unsigned => "unsigned",
            FindingKind::Signature => "signature",
            FindingKind::Origin => "origin",
            FindingKind::Header => "header",
            FindingKind::Line => "line",
            FindingKind::Course => "course",
        }
    }
}

impl Serialize for FindingKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The most findings of single lines that are kept; the rest is counted.
const MOST: usize = 100;

/// Findings as they come.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    pub(super) more: u64,
}

impl Findings {
    /// Adds one that any line can bring.
    pub(super) fn add(&mut self, kind: FindingKind, line: u64, seq: Option<u64>, message: impl FnOnce() -> String) {
        if self.list.len() < MOST {
            self.list.push(Finding { kind, line: Some(line), seq, message: message() });
        } else {
            self.more += 1;
        }
    }

    /// Adds one that comes a few times at most, and is kept in any case.
    pub(super) fn conclude(&mut self, kind: FindingKind, line: Option<u64>, seq: Option<u64>, message: String) {
        self.list.push(Finding { kind, line, seq, message });
    }
}

/// `entry 5`, `entries 5 to 7`.
pub(super) fn entries(first: u64, last: u64) -> String {
    if first >= last { format!("entry {first}") } else { format!("entries {first} to {last}") }
}
