//! Whether the entries of each hold tell a course that a hold can take.

use std::collections::HashMap;

use super::finding::{FindingKind, Findings};

/// How far each hold has come. This is what verifying keeps in memory: about a hundred bytes a hold.
#[derive(Debug, Default)]
pub(super) struct Holds(HashMap<Box<str>, Stage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    Approved,
    Used,
    Over,
}

impl Holds {
    /// Takes what an entry says of a hold. Kinds that move no hold say nothing here.
    pub(super) fn take(&mut self, kind: &str, hold: &str, line: u64, seq: u64, findings: &mut Findings) {
        let stage = self.0.get(hold).copied();
        let next = match kind {
            "hold.opened" => Stage::Pending,
            "hold.approval" => Stage::Pending,
            "hold.approved" => Stage::Approved,
            "hold.used" => Stage::Used,
            "hold.denied" | "hold.expired" | "hold.cancelled" => Stage::Over,
            _ => return,
        };
        let problem = match (kind, stage) {
            ("hold.opened", None) => None,
            ("hold.opened", Some(_)) => Some("was opened before"),
            (_, None) => Some("was never opened"),
            ("hold.used", Some(Stage::Used)) => Some("was used before; an approval is used once"),
            ("hold.used", Some(Stage::Pending)) => Some("was not approved"),
            (_, Some(Stage::Used | Stage::Over)) => Some("had ended before"),
            ("hold.approval" | "hold.approved" | "hold.denied", Some(Stage::Approved)) => Some("was approved before"),
            _ => None,
        };
        if let Some(problem) = problem {
            let shown: String = hold.chars().take(64).collect();
            findings.add(FindingKind::Course, line, Some(seq), || {
                format!("entry {seq} is `{kind}` of hold `{}`, which {problem}", shown.escape_debug())
            });
        }
        if let Some(known) = self.0.get_mut(hold) {
            *known = next;
        } else {
            self.0.insert(hold.into(), next);
        }
    }
}
