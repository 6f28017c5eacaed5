//! What happened, line by line, for people.

use std::fmt::Write as _;

/// Bytes of a header or body that a line shows.
const SHOWN: usize = 120;

/// A callback, a host call, or something that went out of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Unix nanoseconds.
    pub at: u64,
    pub worker: usize,
    /// Indented by how deep it stands in another.
    pub text: String,
}

/// The lines of a run, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) lines: Vec<TraceLine>,
    pub(crate) depth: usize,
}

impl Trace {
    pub(crate) fn note(&mut self, now: u64, worker: usize, text: &str) {
        let text = format!("{:indent$}{text}", "", indent = 2 * self.depth);
        self.lines.push(TraceLine { at: now, worker, text });
    }
}

/// Bytes as they can be read: text as it is, the rest as escapes, cut where it is long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    let part = bytes.get(..SHOWN).unwrap_or(bytes);
    for chunk in part.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                let _written = write!(text, "{}", character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _written = write!(text, "\\x{byte:02x}");
        }
    }
    if part.len() < bytes.len() {
        let _written = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// Pairs as they can be read; what carries a credential shows only that it is there.
pub(crate) fn shown_pairs(pairs: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        let secret = [&b"authorization"[..], b"cookie"].contains(&name.as_slice());
        let value = if secret { "***".to_owned() } else { shown(value) };
        let _written = write!(text, "{}{}: {value}", if text.is_empty() { "" } else { ", " }, shown(name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_can_be_read_whatever_the_bytes_are() {
        assert_eq!(shown(b"a\n\xff\xc3\xa9"), "a\\n\\xff\u{e9}");
        assert!(shown(&[b'x'; 500]).ends_with("x... (500 bytes)"));
        let pairs = [(b"authorization".to_vec(), b"Bearer x".to_vec()), (b"a".to_vec(), b"1".to_vec())];
        assert_eq!(shown_pairs(&pairs), "authorization: ***, a: 1");
    }
}
