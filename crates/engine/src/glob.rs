//! Globs: texts with `*` for any run of characters, as rules name MCP tools.

use std::fmt;

use holdgate_protocol::json::{FromJson, Place, ShapeError};
use serde::Serialize;

/// A text with stars. A star matches any run of characters, also none; all else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Glob {
    text: String,
    /// What stands before, between and after the stars; there is one piece at least.
    pieces: Vec<String>,
}

impl Glob {
    /// What stands before, between and after the stars. Without a star there is one piece.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Each piece is taken at its first place: a later one would leave less for those behind it.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (Some((first, rest)), Some((last, _))) = (self.pieces.split_first(), self.pieces.split_last()) else {
            return false;
        };
        if rest.is_empty() {
            return text == first;
        }
        let middle = rest.split_last().map_or(&[][..], |(_, middle)| middle);
        let Some(mut tail) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match tail.split_once(piece.as_str()) {
                Some((_, after)) => tail = after,
                None => return false,
            }
        }
        tail.ends_with(last.as_str())
    }
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Glob { pieces: text.split('*').map(str::to_owned).collect(), text }
    }
}

impl FromJson for Glob {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.read().map(String::into)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> String {
        glob.text
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain meaning, by trying every length for every star.
    fn reference(glob: &[char], text: &[char]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|run| reference(rest, &text[run..])),
            Some((first, rest)) => text.first() == Some(first) && reference(rest, &text[1..]),
        }
    }

    #[test]
    fn a_star_is_any_run_and_pieces_do_not_overlap() {
        let matches = |glob: &str, text: &str| Glob::from(glob.to_owned()).matches(text);
        assert!(matches("iam.grant_*", "iam.grant_") && matches("iam.grant_*", "iam.grant_role"));
        assert!(!matches("iam.grant_*", "iam.grant") && !matches("iam.grant_*", "IAM.grant_role"));
        assert!(!matches("ab*ba", "aba") && matches("ab*ba", "abba"));
        assert!(matches("*", "") && matches("", "") && !matches("", "a"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_meaning(glob in "[ab*]{0,6}", text in "[ab*]{0,8}") {
            let (pattern, chars): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::from(glob).matches(&text), reference(&pattern, &chars));
        }
    }
}
