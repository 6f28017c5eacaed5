//! How an agent asks that its held request be treated: `Prefer` (RFC 7240), `Idempotency-Key`, a reason.

use holdgate_protocol::gateway::Asked;

use crate::{Head, canonical::Malformed};

/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;

/// The longest reason that is passed on, in bytes; the rest is cut off.
const MAX_REASON: usize = 1_000;

/// What an agent asks for. None of it makes a decision milder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preference {
    pub(crate) asked: Asked,
    pub(crate) idempotency_key: Option<String>,
    /// What the agent says of its request: reviewers see it apart, as unverified.
    pub(crate) reason: Option<String>,
}

impl Preference {
    /// Reads the fields of a request; `reason_header` is the one that carries a reason, if any does.
    pub(crate) fn of(head: &Head, reason_header: Option<&str>) -> Result<Self, Malformed> {
        let key = head.field("idempotency-key");
        let visible = |key: &str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_some_and(|key| !visible(key)) {
            return Err(Malformed(format!("`idempotency-key` is not 1 to {MAX_KEY} visible ASCII characters")));
        }
        let reason = reason_header.and_then(|name| head.field(name)).map(str::trim).filter(|reason| !reason.is_empty());
        Ok(Preference {
            asked: head.field("prefer").map(asked).unwrap_or_default(),
            idempotency_key: key.map(str::to_owned),
            reason: reason.map(|reason| truncate(reason).to_owned()),
        })
    }

    /// The inline wait in milliseconds, where the rule allows so many.
    pub(crate) fn wait(&self, allowed: u64) -> u64 {
        match self.asked {
            Asked { wait: Some(seconds), .. } => seconds.saturating_mul(1000).min(allowed),
            Asked { respond_async: true, wait: None } => 0,
            Asked { respond_async: false, wait: None } => allowed,
        }
    }
}

/// Reads a `Prefer` field; preferences that it does not know are none of the gateway's. The first of several counts
/// (RFC 7240 section 2).
fn asked(value: &str) -> Asked {
    let mut asked = Asked::default();
    for preference in value.split(',') {
        let preference = preference.split_once(';').map_or(preference, |(preference, _parameters)| preference).trim();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let value = value.trim().trim_matches('"');
        if name.trim_end().eq_ignore_ascii_case("respond-async") && value.is_empty() {
            asked.respond_async = true;
        } else if name.trim_end().eq_ignore_ascii_case("wait") && asked.wait.is_none() {
            asked.wait = value.parse().ok();
        }
    }
    asked
}

fn truncate(text: &str) -> &str {
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> Head {
        let line = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
        let pairs = line.iter().chain(fields);
        let pairs = pairs.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Head::read(pairs.collect(), "authorization").unwrap()
    }

    #[track_caller]
    fn check(prefer: &str, respond_async: bool, wait: Option<u64>) {
        let preference = Preference::of(&head(&[("prefer", prefer)]), None).unwrap();
        assert_eq!(preference.asked, Asked { respond_async, wait }, "{prefer}");
    }

    #[test]
    fn preferences_are_read_by_rfc_7240() {
        check("respond-async", true, None);
        check("Respond-Async, wait=10", true, Some(10));
        check("wait=\"10\"; x=1 , respond-async", true, Some(10));
        check("handling=lenient, wait = 7", false, Some(7));
        check("wait=5, wait=50", false, Some(5));
        check("respond-async=no", false, None);
        check("wait=soon", false, None);
        check("wait=-1", false, None);
        check("xrespond-async", false, None);
        check("return=minimal; respond-async", false, None);
    }

    #[test]
    fn nobody_waits_longer_than_the_rule_allows() {
        let wait = |respond_async, wait| Preference { asked: Asked { respond_async, wait }, ..Preference::default() };
        assert_eq!(wait(false, None).wait(45_000), 45_000);
        assert_eq!(wait(false, Some(10)).wait(45_000), 10_000);
        assert_eq!(wait(false, Some(u64::MAX)).wait(45_000), 45_000);
        assert_eq!(wait(true, None).wait(45_000), 0);
        assert_eq!(wait(true, Some(50)).wait(45_000), 45_000);
    }

    #[test]
    fn a_key_is_bounded_and_a_reason_is_cut() {
        let of = |name: &str, value: &str| Preference::of(&head(&[(name, value)]), Some("x-reason"));
        assert_eq!(of("idempotency-key", "\"k-1\"").unwrap().idempotency_key.as_deref(), Some("\"k-1\""));
        for wrong in ["", "a b", &"k".repeat(256), "schl\u{fc}ssel"] {
            assert!(of("idempotency-key", wrong).is_err(), "{wrong}");
        }
        assert_eq!(of("x-reason", " quarterly review ").unwrap().reason.as_deref(), Some("quarterly review"));
        let long = of("x-reason", &"\u{e4}".repeat(900)).unwrap().reason.unwrap();
        assert_eq!(long.chars().count(), 500);
        assert_eq!(of("x-reason", "  ").unwrap().reason, None);
    }
}
