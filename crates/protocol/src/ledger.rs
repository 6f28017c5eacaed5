//! The ledger outside of the service: the bytes of its entries, and the form in which it is exported.
//!
//! An export is JSON Lines, each line ended by a line feed: a header, the entries, each as the very bytes that are a leaf of the tree, and
//! checkpoints. A checkpoint stands right behind the last entry that it vouches for, so that a file can be verified
//! while it is read; the last line is one.
//!
//! ```text
//! {"format":1,"origin":"approvals.example.com","size":2}
//! {"data":{...},"decided_by":"policy","hold":"...","kind":"hold.opened","seq":1,"time":1790000000}
//! {"data":{...},"decided_by":"human","hold":"...","kind":"hold.approved","seq":2,"time":1790000060}
//! {"checkpoint":"approvals.example.com\n2\n...\n\n— approvals.example.com ...\n"}
//! ```

mod finding;
mod holds;
mod numbers;
mod people;
mod tree;
mod verify;

use std::fmt::Write as _;

pub use self::{
    finding::{Finding, FindingKind},
    tree::{Kept, Signer},
    verify::{Inclusion, Report, Verifier, verify},
};

use crate::Json;

/// The format of exports that is written and read.
pub const FORMAT: u64 = 1;

/// The longest line that is read, in bytes.
pub const MAX_LINE: usize = 1024 * 1024;

/// What the ledger tells of one thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// From 1, without a gap. The index of the leaf is one less.
    pub seq: u64,
    /// Unix seconds.
    pub time: u64,
    pub kind: &'a str,
    pub hold: Option<&'a str>,
    pub decided_by: Option<&'a str>,
    /// The JCS of an object.
    pub data: &'a str,
}

impl Entry<'_> {
    /// The bytes of the leaf: JCS (RFC 8785).
    pub fn to_leaf(&self) -> String {
        let mut leaf = String::with_capacity(self.data.len() + 160);
        let text = |out: &mut String, text: Option<&str>| match text {
            Some(text) => Json::from(text).append_jcs(out),
            None => out.push_str("null"),
        };
        leaf.push_str("{\"data\":");
        leaf.push_str(self.data);
        leaf.push_str(",\"decided_by\":");
        text(&mut leaf, self.decided_by);
        leaf.push_str(",\"hold\":");
        text(&mut leaf, self.hold);
        leaf.push_str(",\"kind\":");
        text(&mut leaf, Some(self.kind));
        // Writing to a String does not fail.
        let _ = write!(leaf, ",\"seq\":{},\"time\":{}}}", self.seq, self.time);
        leaf
    }
}

/// The first line of an export, with its line feed.
pub fn header_line(origin: &str, size: u64) -> String {
    let header = [("format", Json::integer(FORMAT)), ("origin", origin.into()), ("size", Json::integer(size))];
    line(&Json::object(header))
}

/// The line of a signed checkpoint, with its line feed.
pub fn checkpoint_line(note: &str) -> String {
    line(&Json::object([("checkpoint", note.into())]))
}

fn line(value: &Json) -> String {
    let mut line = String::new();
    value.append_jcs(&mut line);
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
