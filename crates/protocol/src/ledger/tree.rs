//! The tree over the entries, held against what was signed.

use super::finding::{FindingKind, Findings, entries};
use crate::{
    Hash,
    checkpoint::{Checkpoint, CheckpointError},
    jws::Keys,
    merkle::Frontier,
};

/// A checkpoint that the auditor has kept from earlier, whose signature was checked.
#[derive(Clone, Debug)]
pub struct Kept {
    /// How messages name it.
    pub name: String,
    pub checkpoint: Checkpoint,
    pub signer: Signer,
}

/// Whose signature a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key that is in force.
    Present,
    /// One that was retired: whoever has its private half can have signed at any time since. It vouches for nothing alone; a tree of
    /// which it says something else is not what it was.
    Retired,
}

impl Signer {
    /// Reads a note that one of the keys has signed; says which kind of key that was.
    pub fn open(note: &str, keys: &Keys, retired: Option<&Keys>) -> Result<(Checkpoint, Self), CheckpointError> {
        match (Checkpoint::open(note, keys), retired) {
            (Err(CheckpointError::Unsigned), Some(retired)) => Ok((Checkpoint::open(note, retired)?, Signer::Retired)),
            (opened, _) => Ok((opened?, Signer::Present)),
        }
    }
}

/// The tree as far as it was read, and which checkpoints it fits.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) frontier: Frontier,
    /// By size, the smallest last.
    kept: Vec<Kept>,
    /// Whether each entry so far stood where it belongs. Behind the first that does not, no root tells anything.
    pub(super) intact: bool,
    /// The largest size at which the tree is as it was signed.
    good: Option<u64>,
    /// Where it is not: the size, and who says so.
    bad: Vec<(u64, String)>,
    pub(super) fitting: u64,
}

/// The most checkpoints that do not fit and are named.
const MOST: usize = 20;

impl Tree {
    pub(super) fn new(mut kept: Vec<Kept>) -> Self {
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.checkpoint.size));
        let mut tree =
            Tree { frontier: Frontier::default(), kept, intact: true, good: None, bad: Vec::new(), fitting: 0 };
        tree.look_at_kept();
        tree
    }

    /// Appends an entry by its leaf hash.
    pub(super) fn append(&mut self, leaf: Hash, keep: impl FnMut(crate::merkle::Node, Hash)) {
        self.frontier.append(leaf, keep);
        self.look_at_kept();
    }

    fn look_at_kept(&mut self) {
        let size = self.frontier.size();
        while let Some(kept) = self.kept.pop_if(|kept| self.intact && kept.checkpoint.size == size) {
            self.compare(&kept.checkpoint, kept.signer, || format!("`{}`", kept.name));
        }
    }

    /// Holds the tree against a signed checkpoint of its present size.
    pub(super) fn compare(&mut self, checkpoint: &Checkpoint, signer: Signer, name: impl FnOnce() -> String) {
        let size = self.frontier.size();
        if !self.intact || checkpoint.size != size {
            return;
        }
        if checkpoint.root == self.frontier.root() {
            self.fitting += 1;
            if signer == Signer::Present {
                self.good = Some(size);
            }
        } else if self.bad.len() < MOST {
            self.bad.push((size, name()));
        }
    }

    /// Whether the tree is as signed at its present size.
    pub(super) fn is_signed(&self) -> bool {
        self.intact && self.good == Some(self.frontier.size())
    }

    /// Tells where the tree is another one, and which kept checkpoints vouch for more than is there. `last`: the highest number.
    pub(super) fn finish(&self, last: u64, findings: &mut Findings) {
        // What stands before a size that fits was signed as it is: who vouched for something else was told another past.
        let rewritten = |size: u64| self.good.is_some_and(|good| good >= size);
        for (size, name) in self.bad.iter().filter(|(size, _)| rewritten(*size)) {
            findings.conclude(FindingKind::Rewritten, None, None, format!(
                "the first {size} entries are not those for which {name} vouches, and a later checkpoint of the same key vouches for them: the past was rewritten by somebody who has the key of the ledger"
            ));
        }
        if let Some((size, name)) = self.bad.iter().find(|(size, _)| !rewritten(*size)) {
            let first = self.good.unwrap_or(0) + 1;
            let within = match first {
                1 => "an older checkpoint would tell more closely which".to_owned(),
                _ => format!("the first {} are as they were signed", first - 1),
            };
            findings.conclude(
                FindingKind::Changed,
                None,
                Some(first),
                format!(
                    "the entries are not those for which {name} vouches: what was changed is among {}; {within}",
                    entries(first, *size)
                ),
            );
        }
        for Kept { name, checkpoint, .. } in self.kept.iter().filter(|kept| kept.checkpoint.size > last) {
            findings.conclude(
                FindingKind::Cut,
                None,
                Some(last + 1),
                format!(
                    "`{name}` vouches for {} entries, and the last one here is {last}: {} missing at the end",
                    checkpoint.size,
                    are(last + 1, checkpoint.size)
                ),
            );
        }
    }
}

/// `entry 5 is`, `entries 5 to 7 are`.
pub(super) fn are(first: u64, last: u64) -> String {
    format!("{} {}", entries(first, last), if first >= last { "is" } else { "are" })
}
