//! What a check expects of an answer, and how it says that something else came.

use holdgate_protocol::gateway::ErrorAnswer;
use serde::de::DeserializeOwned;

use crate::client::{Answer, Unanswered};

/// Why a check did not pass.
#[derive(Debug)]
pub(super) enum Trouble {
    Failed(String),
    /// It could not be run, and why.
    NotRun(String),
}

/// How a check, or a step of one, ends.
pub(super) type Verdict<T = ()> = Result<T, Trouble>;

impl From<Unanswered> for Trouble {
    fn from(error: Unanswered) -> Self {
        Trouble::Failed(format!("no answer came: {error}"))
    }
}

/// Fails with what was expected and what came.
pub(super) fn fail<T>(expected: &str, came: impl std::fmt::Display) -> Verdict<T> {
    Err(Trouble::Failed(format!("expected {expected}, came {came}")))
}

/// Fails where something is not so.
pub(super) fn holds(fact: bool, expected: &str, came: impl std::fmt::Display) -> Verdict {
    if fact { Ok(()) } else { fail(expected, came) }
}

/// Fails where two things differ.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, came: &T) -> Verdict {
    holds(expected == came, &format!("{what} {expected:?}"), format_args!("{came:?}"))
}

/// What is expected of one answer.
pub(super) trait Expect {
    fn status(&self, wanted: &[u16], what: &str) -> Verdict;
    fn json<T: DeserializeOwned>(&self, wanted: &[u16], what: &str) -> Verdict<T>;
    fn problem(&self, status: u16, word: &str, what: &str) -> Verdict;
    /// Status, type and beginning.
    fn told(&self) -> String;
}

impl Expect for Answer {
    fn status(&self, wanted: &[u16], what: &str) -> Verdict {
        let statuses: Vec<String> = wanted.iter().map(u16::to_string).collect();
        holds(wanted.contains(&self.status), &format!("{} {what}", statuses.join(" or ")), self.told())
    }

    fn json<T: DeserializeOwned>(&self, wanted: &[u16], what: &str) -> Verdict<T> {
        self.status(wanted, what)?;
        self.read().or_else(|error| {
            fail(&format!("the body that the protocol gives {what}"), format!("{error}: {}", self.told()))
        })
    }

    fn problem(&self, status: u16, word: &str, what: &str) -> Verdict {
        let error: ErrorAnswer = self.json(&[status], what)?;
        holds(error.error == word, &format!("the word `{word}` {what}"), self.told())
    }

    fn told(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let beginning: String = body.chars().take(120).collect();
        if beginning.is_empty() {
            format!("{} without a body", self.status)
        } else {
            format!("{} {beginning}", self.status)
        }
    }
}
