//! Names and secrets of random bytes.

use holdgate_protocol::b64url;

/// The id of a hold: 16 random bytes in hex, so that it can be read out and selected as one word.
pub fn hold_id() -> Result<String, getrandom::Error> {
    let bytes = bytes::<16>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A secret of 32 random bytes in base64url: credentials and session tokens.
pub fn secret() -> Result<String, getrandom::Error> {
    Ok(b64url(&bytes::<32>()?))
}

/// Random bytes of the operating system.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
