//! SHA-256 as it is written on the wire: `sha-256:` and 64 lower-case hex digits.

use std::{fmt, str::FromStr};

use crate::json::{FromJson, Place, ShapeError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 value; its text form is `sha-256:` + lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

/// The text is not `sha-256:` followed by 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a hash: expected `sha-256:` and 64 lower-case hex digits")]
pub struct HashError;

impl Hash {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Hash(Sha256::digest(bytes).into())
    }

    /// The value of these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Hash(bytes)
    }

    /// The 32 bytes of the value.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha-256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let hex = text.strip_prefix("sha-256:").ok_or(HashError)?.as_bytes();
        let (pairs, []) = hex.as_chunks::<2>() else { return Err(HashError) };
        let mut value = [0; 32];
        if pairs.len() != value.len() {
            return Err(HashError);
        }
        for (byte, [high, low]) in value.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Hash(value))
    }
}

fn nibble(digit: u8) -> Result<u8, HashError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(HashError),
    }
}

impl FromJson for Hash {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.text()?.parse().map_err(|_| place.error(&HashError.to_string()))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_every_other_spelling() {
        let hash = Hash::of(b"");
        let text = "sha-256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        let hex = text.strip_prefix("sha-256:").unwrap();
        let short = text.strip_suffix('5').unwrap();
        for wrong in [hex, &text.to_uppercase(), short, "sha-256:", &format!("{text}0"), "sha-512:00"] {
            assert_eq!(wrong.parse::<Hash>(), Err(HashError), "{wrong}");
        }
    }
}
