//! The numbers of the entries: each once, in order, none left out.

use std::collections::BTreeMap;

use super::finding::{FindingKind, Findings, entries};

/// The most gaps that are remembered; with more of them nothing is left to tell apart.
const MOST_GAPS: usize = 1000;

/// What was seen of the numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The highest one.
    pub(super) last: u64,
    /// What is missing below it: the first and the last of a gap, and the line before which it is.
    gaps: BTreeMap<u64, (u64, u64)>,
    /// Lines since the last entry that could not be read: they may have been the entries whose numbers are missing.
    unreadable: u64,
}

/// How an entry stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one.
    Next,
    /// It is there already.
    Again,
    /// Not where it should be, or others are not.
    Elsewhere,
}

impl Numbers {
    pub(super) fn unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Takes the number of an entry.
    pub(super) fn take(&mut self, seq: u64, line: u64, findings: &mut Findings) -> Place {
        let unreadable = std::mem::take(&mut self.unreadable);
        let next = self.last.saturating_add(1);
        if seq > self.last {
            let before = self.last;
            self.last = seq;
            if seq == next {
                return Place::Next;
            }
            if seq - next > unreadable {
                if self.gaps.len() < MOST_GAPS {
                    self.gaps.insert(next, (seq - 1, line));
                } else {
                    findings.add(FindingKind::Gap, line, Some(next), || missing(next, seq - 1, before));
                }
            }
            return Place::Elsewhere;
        }
        let last = self.last;
        if self.fill(seq) {
            findings.add(FindingKind::Order, line, Some(seq), || {
                format!("entry {seq} stands behind entry {last}; entries are in the order of their numbers")
            });
            Place::Elsewhere
        } else {
            findings.add(FindingKind::Duplicate, line, Some(seq), || format!("entry {seq} stands there again"));
            Place::Again
        }
    }

    /// Takes a number out of the gap that it is in, if there is one.
    fn fill(&mut self, seq: u64) -> bool {
        let Some((&first, &(last, line))) = self.gaps.range(..=seq).next_back() else { return false };
        if seq > last {
            return false;
        }
        self.gaps.remove(&first);
        if first < seq {
            self.gaps.insert(first, (seq - 1, line));
        }
        if seq < last {
            self.gaps.insert(seq + 1, (last, line));
        }
        true
    }

    /// Tells what is missing still.
    pub(super) fn finish(&self, findings: &mut Findings) {
        for (first, (last, line)) in &self.gaps {
            findings.add(FindingKind::Gap, *line, Some(*first), || missing(*first, *last, first - 1));
        }
    }
}

fn missing(first: u64, last: u64, before: u64) -> String {
    let verb = if first == last { "is" } else { "are" };
    let place = if before == 0 { "at the start".into() } else { format!("behind entry {before}") };
    format!("{} {verb} missing {place}", entries(first, last))
}
