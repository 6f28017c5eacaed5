//! The findings of one file while it is looked at.

use holdgate_authoring::{Shown, Source, Span};

use super::codes::Code;
use crate::check::Finding;

/// The most findings that are shown of one file.
const MOST_FINDINGS: usize = 200;

pub(super) struct Report<'s> {
    name: &'s str,
    source: &'s Source<'s>,
    kept: Vec<Finding>,
    more: usize,
}

impl<'s> Report<'s> {
    pub(super) fn new(name: &'s str, source: &'s Source<'s>) -> Self {
        Report { name, source, kept: Vec::new(), more: 0 }
    }

    /// A finding at a place: what can go wrong, and what to write.
    pub(super) fn add(&mut self, code: Code, at: Span, message: impl AsRef<str>, help: impl AsRef<str>) {
        if self.kept.len() == MOST_FINDINGS {
            self.more += 1;
            return;
        }
        let place = self.source.place(at);
        let shown = Shown {
            code: code.id(),
            severity: code.severity(),
            file: self.name,
            place: Some(&place),
            message: message.as_ref(),
            help: Some(help.as_ref()),
        };
        let finding = Finding::new(&shown, code.id(), code.title(), Code::page());
        // An alias has one place, however often it is used.
        let same = |other: &Finding| other.code == finding.code && other.line == finding.line;
        let again = |other: &Finding| same(other) && other.column == finding.column && other.message == finding.message;
        if !self.kept.iter().any(again) {
            self.kept.push(finding);
        }
    }

    /// The findings in the order of their places.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.kept.sort_by_key(|finding| (finding.line, finding.column));
        if self.more > 0 {
            let message = format!("and {} more findings in this file", self.more);
            self.kept.push(of_file(self.name, Code::MoreFindings, &message, "mend these first"));
        }
        self.kept
    }
}

/// A finding about a file as a whole.
pub(super) fn of_file(name: &str, code: Code, message: &str, help: &str) -> Finding {
    let shown =
        Shown { code: code.id(), severity: code.severity(), file: name, place: None, message, help: Some(help) };
    Finding::new(&shown, code.id(), code.title(), Code::page())
}
