//! A JWS in compact form (RFC 7515 section 7.1), taken apart before anything in it is trusted.

use super::{JwsError, MAX_TOKEN};
use crate::{Json, from_b64url};

/// A signed text of the form `HEADER.PAYLOAD.SIGNATURE`. Nothing in it is verified yet.
pub struct Compact<'a> {
    pub(super) header: Header,
    /// The octets that are signed.
    pub(super) input: &'a str,
    pub(super) signature: Vec<u8>,
    payload: Vec<u8>,
}

/// What a JOSE header says that is looked at here.
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) typ: Option<String>,
    kid: Option<String>,
}

impl<'a> Compact<'a> {
    /// Takes a text apart. Base64url has no padding and no stray bits, and the header is JSON with a single reading.
    pub fn read(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::Form);
        }
        let (input, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = input.split_once('.').ok_or(JwsError::Form)?;
        let payload = from_b64url(payload).ok_or(JwsError::Form)?;
        let signature = from_b64url(signature).ok_or(JwsError::Form)?;
        Ok(Compact { header: Header::read(header)?, input, signature, payload })
    }

    /// The payload, signed or not: only to choose the issuer whose keys must have signed it.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The media type in the header (RFC 7515 section 4.1.9), as it stands there.
    pub fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }
}

impl Header {
    pub(super) fn read(encoded: &str) -> Result<Self, JwsError> {
        let header = from_b64url(encoded).ok_or(JwsError::Form)?;
        let header = Json::parse(&header).map_err(|_| JwsError::Header)?;
        let header = header.as_object().ok_or(JwsError::Header)?;
        if header.get("crit").is_some() {
            return Err(JwsError::Critical);
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(JwsError::Header),
        };
        Ok(Header { alg: text("alg")?.unwrap_or_default(), typ: text("typ")?, kid: text("kid")? })
    }

    pub(super) fn wrong_algorithm(&self) -> JwsError {
        JwsError::Algorithm(self.alg.chars().take(40).collect())
    }

    /// The key that the header names by its id, or the only one there is.
    pub(super) fn choose<'k, K>(&self, keys: &'k [K], id: impl Fn(&K) -> Option<&String>) -> Result<&'k K, JwsError> {
        match (&self.kid, keys) {
            (Some(kid), keys) => {
                let unknown = || JwsError::UnknownKey(kid.chars().take(64).collect());
                keys.iter().find(|key| id(key) == Some(kid)).ok_or_else(unknown)
            }
            (None, [only]) => Ok(only),
            (None, _) => Err(JwsError::NoKeyId),
        }
    }
}
