//! Audit records: what became of each request, told by gateways in batches (`POST /v1/audit`).
//!
//! Texts are borrowed where a gateway writes them and owned where the service has read them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    Agent, Hash,
    bundle::{Effect, Mode, PolicyRef},
};

/// The most records in one batch.
pub const MAX_RECORDS: usize = 256;

/// The largest body of `POST /v1/audit`, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// The longest name of a VM's epoch and the longest code, in bytes.
pub const MAX_NAME: usize = 64;

/// The greatest number of a record: what every reader of JSON can tell apart (RFC 8259 section 6).
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// Body of `POST /v1/audit`: the records of one VM whose numbers lie between two, both included.
///
/// A batch goes on where the one before it ended (`from_seq` = `to_seq` + 1), so that a number without a record is
/// noticed. It is sent again as it was until it is answered with 202 or 4xx: the service knows it by (group,
/// `vm_epoch`, `from_seq`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditBatch<'a> {
    /// A name that no other VM of the group has or had, another one after each restart: base64url of 16 random bytes.
    /// At most [`MAX_NAME`] letters, digits, `-` and `_`.
    pub vm_epoch: Cow<'a, str>,
    /// Numbers begin at 1 in each epoch.
    pub from_seq: u64,
    pub to_seq: u64,
    /// Records that the gateway had to drop since the batch before: their numbers are given out and missing.
    pub dropped: u64,
    /// At most [`MAX_RECORDS`], with rising numbers between `from_seq` and `to_seq`.
    pub records: Vec<AuditRecord<'a>>,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord<'a> {
    pub seq: u64,
    /// Unix seconds.
    pub t: u64,
    pub effect: Effect,
    pub decided_by: DecidedBy,
    /// A word for programs, such as `no_rule` or `identity`; at most [`MAX_NAME`] bytes.
    pub code: Cow<'a, str>,
    /// The rules that matched, those in shadow mode included.
    pub rules: Vec<AuditRule<'a>>,
    /// `None` where no policy was in force.
    pub policy: Option<Cow<'a, PolicyRef>>,
    /// `None` where nobody was verified.
    pub agent: Option<Cow<'a, Agent>>,
    pub request: AuditRequest<'a>,
    pub hold: Option<Cow<'a, str>>,
    /// The status that the agent got; `None` where none was seen.
    pub status: Option<u16>,
}

/// A rule that matched, with the standards that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRule<'a> {
    pub id: Cow<'a, str>,
    pub mode: Mode,
    pub controls: Cow<'a, [String]>,
}

/// The request, without its query and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest<'a> {
    pub method: Cow<'a, str>,
    pub authority: Cow<'a, str>,
    pub path: Cow<'a, str>,
    /// Of held requests.
    pub digest: Option<Hash>,
}

/// Who or what made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    Policy,
    /// A verified tag, such as a model's own confidence, made the difference.
    Model,
    Human,
    Timeout,
}

impl DecidedBy {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            DecidedBy::Policy => "policy",
            DecidedBy::Model => "model",
            DecidedBy::Human => "human",
            DecidedBy::Timeout => "timeout",
        }
    }
}

/// Answer to `POST /v1/audit`, with 202.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnswer {
    /// Records of the batch that are kept now, be it by this sending or by one before.
    pub accepted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_form_of_the_protocol_and_comes_back_the_same() {
        let agent = Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: Some("o".into()) };
        let policy = PolicyRef { id: "p".into(), rev: Hash::of(b""), serial: 3 };
        let controls = ["nist-csf-2.0: PR.AA-05".to_owned()];
        let rules = vec![AuditRule { id: "r".into(), mode: Mode::Enforce, controls: Cow::Borrowed(&controls) }];
        let request = AuditRequest {
            method: "GET".into(),
            authority: "h".into(),
            path: "/x".into(),
            digest: Some(Hash::of(b"")),
        };
        let record = AuditRecord {
            seq: 7,
            t: 9,
            effect: Effect::Deny,
            decided_by: DecidedBy::Model,
            code: "rule".into(),
            rules,
            policy: Some(Cow::Borrowed(&policy)),
            agent: Some(Cow::Borrowed(&agent)),
            request,
            hold: Some("h".into()),
            status: Some(403),
        };
        let batch =
            AuditBatch { vm_epoch: "e".into(), from_seq: 7, to_seq: 8, dropped: 1, records: vec![record.clone()] };
        let text = serde_json::to_string(&batch).unwrap();
        let hash = Hash::of(b"");
        let expected = format!(
            r#"{{"vm_epoch":"e","from_seq":7,"to_seq":8,"dropped":1,"records":[{{"seq":7,"t":9,"effect":"deny","decided_by":"model","code":"rule","rules":[{{"id":"r","mode":"enforce","controls":["nist-csf-2.0: PR.AA-05"]}}],"policy":{{"id":"p","rev":"{hash}","serial":3}},"agent":{{"iss":"i","sub":"s","act":[],"owner":"o"}},"request":{{"method":"GET","authority":"h","path":"/x","digest":"{hash}"}},"hold":"h","status":403}}]}}"#
        );
        assert_eq!(text, expected);
        let back: AuditBatch<'static> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, batch);
        assert!(serde_json::from_str::<AuditBatch<'_>>(&text.replace("\"status\"", "\"verdict\"")).is_err());
    }
}
