//! Checkpoints: the signed size and root of a ledger, as C2SP tlog-checkpoint in a C2SP signed note.
//!
//! ```text
//! approvals.example.com
//! 42
//! nND/nri/U0xuHUrYSy0HtMeal2vzD9V4k/BO79C+QeI=
//!
//! — approvals.example.com x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
//! ```

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::{
    Hash, b64, b64url, from_b64,
    jws::{Jwk, Jwks, Keys, PrivateKey},
};

/// What a ledger was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger it is, in all its life. It is also the name of the key: not empty, without white space and `+`.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Hash,
}

/// The longest note that is read, in bytes.
pub const MAX_NOTE: usize = 16 * 1024;

/// Why a note is no checkpoint that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    #[error(
        "not a signed note of at most 16 KiB: text, an empty line, and lines that begin with `— `, each ended by a line feed"
    )]
    Note,
    #[error("its text is no checkpoint: a line each for origin, size and base64 of the root")]
    Text,
    #[error("`{0}` cannot be an origin: it is not empty, and has no white space, control characters and `+`")]
    Origin(String),
    #[error("none of the trusted keys has signed it")]
    Unsigned,
    #[error("the signature of a trusted key does not fit")]
    Signature,
    #[error("not a verifier key: `NAME+ID+BASE64` of an Ed25519 key, whose id fits name and key")]
    VerifierKey,
}

/// The signature type Ed25519 of C2SP signed-note.
const ED25519: u8 = 1;

impl Checkpoint {
    /// Signs it, and makes the note.
    pub fn sign(&self, key: &PrivateKey) -> Result<String, CheckpointError> {
        if !is_name(&self.origin) {
            return Err(CheckpointError::Origin(self.origin.clone()));
        }
        let mut note = format!("{}\n{}\n{}\n", self.origin, self.size, b64(self.root.as_bytes()));
        let id = key_id(&self.origin, &key.public_bytes());
        let signature = [&id, &key.sign_bytes(note.as_bytes())[..]].concat();
        // Writing to a String does not fail.
        let _ = writeln!(note, "\n— {} {}", self.origin, b64(&signature));
        Ok(note)
    }

    /// Reads a note that at least one of the keys has signed under the name of the origin. Signatures of others are left aside, as are
    /// further lines of the text; a signature that claims to be of one of the keys and is not makes the note count for nothing.
    pub fn open(note: &str, keys: &Keys) -> Result<Self, CheckpointError> {
        let (text, signatures) = parts(note)?;
        let checkpoint = Checkpoint::read(text)?;
        let mut signed = false;
        for line in signatures {
            let (name, signature) = signature(line)?;
            let (id, signature) = signature.split_at_checked(4).unwrap_or_default();
            let is_named = |key: &[u8; 32]| name == checkpoint.origin && key_id(name, key) == id;
            for key in keys.public_bytes().filter(is_named) {
                signed = true;
                if !keys.verify_bytes(&key, text.as_bytes(), signature) {
                    return Err(CheckpointError::Signature);
                }
            }
        }
        if signed { Ok(checkpoint) } else { Err(CheckpointError::Unsigned) }
    }

    /// What a note says, without a look at its signatures.
    pub fn unverified(note: &str) -> Result<Self, CheckpointError> {
        Checkpoint::read(parts(note)?.0)
    }

    fn read(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(CheckpointError::Text);
        let (origin, size, root) = (line()?, line()?, line()?);
        // A number has one spelling.
        let size = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let root = from_b64(root).and_then(|root| root.try_into().ok());
        let (Some(size), Some(root)) = (size, root) else { return Err(CheckpointError::Text) };
        if !is_name(origin) {
            return Err(CheckpointError::Text);
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root: Hash::from_bytes(root) })
    }
}

/// The text of a note, its last line feed included, and its signature lines.
fn parts(note: &str) -> Result<(&str, std::str::Split<'_, char>), CheckpointError> {
    let has_controls = note.bytes().any(|byte| byte < b' ' && byte != b'\n');
    let end = note.rfind("\n\n").filter(|_| note.len() <= MAX_NOTE && !has_controls).ok_or(CheckpointError::Note)?;
    let (text, signatures) = note.split_at_checked(end + 1).ok_or(CheckpointError::Note)?;
    let signatures = signatures.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
    Ok((text, signatures.ok_or(CheckpointError::Note)?.split('\n')))
}

/// `— NAME BASE64`, where the bytes are four of the key's id and the signature.
fn signature(line: &str) -> Result<(&str, Vec<u8>), CheckpointError> {
    let parts = line.strip_prefix("— ").and_then(|line| line.split_once(' ')).filter(|(name, _)| is_name(name));
    let (name, base64) = parts.ok_or(CheckpointError::Note)?;
    let signature = from_b64(base64).filter(|signature| signature.len() > 4);
    Ok((name, signature.ok_or(CheckpointError::Note)?))
}

/// Whether a text can be the name of a key, and so an origin.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '+')
}

/// The first bytes of SHA-256(name || LF || type || key): how a signature line tells its key.
fn key_id(name: &str, key: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(key).finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash);
    [a, b, c, d]
}

/// The keys in the form in which other tools take them, a line each: `NAME+ID+BASE64` of type and key.
pub fn verifier_keys(origin: &str, keys: &Keys) -> Vec<String> {
    let line = |key: [u8; 32]| {
        let id = u32::from_be_bytes(key_id(origin, &key));
        format!("{origin}+{id:08x}+{}", b64(&[&[ED25519], &key[..]].concat()))
    };
    keys.public_bytes().map(line).collect()
}

/// Reads one such line: the origin, and its key.
pub fn read_verifier_key(line: &str) -> Result<(String, Keys), CheckpointError> {
    let mut parts = line.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(CheckpointError::VerifierKey);
    };
    let key = from_b64(key).and_then(|key| <[u8; 33]>::try_from(key).ok()).ok_or(CheckpointError::VerifierKey)?;
    let [ED25519, key @ ..] = key else { return Err(CheckpointError::VerifierKey) };
    if !is_name(name) || id != format!("{:08x}", u32::from_be_bytes(key_id(name, &key))) {
        return Err(CheckpointError::VerifierKey);
    }
    let jwk = Jwk { kty: "OKP".into(), crv: "Ed25519".into(), kid: id.to_owned(), x: b64url(&key), d: None };
    let keys = Keys::new(&Jwks { keys: vec![jwk] }).map_err(|_| CheckpointError::VerifierKey)?;
    Ok((name.to_owned(), keys))
}

#[cfg(test)]
mod tests;
