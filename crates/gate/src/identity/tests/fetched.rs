//! Keys that are fetched: the first set, refreshes, rotation, outages, unknown ids.

use super::*;

fn set(keys: &[Value]) -> Option<Answer> {
    Some(Answer { status: 200, body: json!({"keys": keys}).to_string().into_bytes() })
}

impl Bench {
    fn fetching() -> Self {
        let place = json!({"cluster": "idp", "authority": "idp.example", "path": "/jwks", "refresh": "10m"});
        bench(json!({"algs": ["ES256", "EdDSA"], "jwks": place}))
    }

    /// Whether a fetch is due; it is under way then.
    fn due(&mut self) -> bool {
        let due: Vec<usize> = self.identities.due(self.now).map(|(place, _)| place).collect();
        !due.is_empty()
    }

    fn come(&mut self, answer: Option<Answer>) -> Result<(), Option<String>> {
        self.identities.fetched(&self.config, self.now, 0, answer.as_ref(), &mut self.host)
    }
}

fn by(seed: u8) -> String {
    p256_token(&claims(json!({"exp": NOW / 1000 + 1_000_000})), seed)
}

#[test]
fn until_the_first_set_has_come_no_token_can_be_judged() {
    let mut bench = Bench::fetching();
    assert_eq!(bench.refused(&by(5)), IdentityError::KeysUnavailable);
    assert!(bench.due());
    assert!(!bench.due(), "one fetch at a time");
    let warning = bench.come(None).unwrap_err().unwrap();
    assert_eq!(warning, "the keys of the issuer `https://idp` cannot be fetched: no answer; its tokens get 503");
    assert!(!bench.due());
    bench.now += 1_000;
    assert!(bench.due());
    assert_eq!(bench.come(Some(Answer { status: 500, body: vec![] })), Err(None), "told once");
    bench.now += 1_000;
    assert!(bench.due());
    assert_eq!(bench.come(set(&[p256_jwk(5)])), Ok(()));
    assert!(bench.bearer(&by(5)).is_ok());
}

#[test]
fn a_refresh_comes_in_time_and_a_little_earlier_at_random() {
    let mut bench = Bench::fetching();
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5)])).unwrap();
    // The host's byte is 128 of 256: half of the tenth that a refresh may come early.
    bench.now += 569_999;
    assert!(!bench.due());
    bench.now += 1;
    assert!(bench.due());
}

#[test]
fn a_rotation_ends_what_the_old_key_signed_and_nothing_else() {
    let mut bench = Bench::fetching();
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5)])).unwrap();
    assert!(bench.bearer(&by(5)).is_ok());
    bench.now += 600_000;
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5)])).unwrap();
    assert!(bench.bearer(&by(5)).is_ok());
    assert_eq!(bench.identities.figures.cache_hits, 1, "the same set again forgets nothing");

    bench.now += 600_000;
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5), p256_jwk(6)])).unwrap();
    assert!(bench.bearer(&by(5)).is_ok() && bench.bearer(&by(6)).is_ok());
    bench.now += 600_000;
    assert!(bench.due());
    bench.come(set(&[p256_jwk(6)])).unwrap();
    assert!(bench.bearer(&by(6)).is_ok());
    bench.identities.sweep(bench.now);
    assert_eq!(bench.identities.cache.size().0, 1);
    assert_eq!(bench.refused(&by(5)), IdentityError::AwaitKeys(0), "it was remembered, and its key is gone");
    assert!(bench.due());
    bench.come(set(&[p256_jwk(6)])).unwrap();
    assert!(matches!(bench.refused(&by(5)), IdentityError::Signature(JwsError::UnknownKey(_))));
}

#[test]
fn keys_are_kept_when_a_refresh_fails() {
    let mut bench = Bench::fetching();
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5)])).unwrap();
    let too_long = vec![b' '; 64 * 1024 + 1];
    let failures = [
        None,
        Some(Answer { status: 503, body: vec![] }),
        Some(Answer { status: 504, body: json!({"keys": [p256_jwk(6)]}).to_string().into_bytes() }),
        Some(Answer { status: 200, body: b"<html>".to_vec() }),
        Some(Answer { status: 200, body: too_long }),
    ];
    bench.now += 600_000;
    for (count, failure) in failures.into_iter().enumerate() {
        assert!(bench.due(), "{count}");
        let error = bench.come(failure).unwrap_err();
        assert_eq!(error.is_some(), count == 0, "{error:?}");
        assert!(bench.bearer(&by(5)).is_ok());
        bench.now += 10_000;
    }
    assert_eq!(bench.identities.figures.failed_key_fetches, 5);
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5)])).unwrap();
    bench.now += 600_000;
    assert!(bench.due());
    assert!(bench.come(None).unwrap_err().unwrap().ends_with("no answer; the last good ones stay in use"));
}

/// An issuer whose only key was stolen takes it back: what hangs on it ends, as with any other key.
#[test]
fn an_issuer_that_takes_its_keys_back_is_taken_at_its_word() {
    for emptied in [set(&[]), set(&[json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB", "kid": "x"})])] {
        let mut bench = Bench::fetching();
        assert!(bench.due());
        bench.come(set(&[p256_jwk(5)])).unwrap();
        assert!(bench.bearer(&by(5)).is_ok());
        bench.now += 600_000;
        assert!(bench.due());
        assert!(bench.come(emptied).unwrap_err().unwrap().ends_with("its tokens get 503"));
        assert_eq!(bench.refused(&by(5)), IdentityError::KeysUnavailable, "it was remembered");
        bench.now += 10_000;
        assert!(bench.due());
        bench.come(set(&[p256_jwk(5)])).unwrap();
        assert!(bench.bearer(&by(5)).is_ok());
    }
}

#[test]
fn unknown_ids_bring_one_fetch_about_however_many_there_are() {
    let mut bench = Bench::fetching();
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5)])).unwrap();
    let mut fetches = 0;
    for seed in 10..210 {
        assert_eq!(bench.refused(&by(seed)), IdentityError::AwaitKeys(0));
        fetches += u32::from(bench.due());
    }
    assert_eq!(fetches, 1);
    bench.come(set(&[p256_jwk(5), p256_jwk(10)])).unwrap();
    assert!(bench.bearer(&by(10)).is_ok(), "the one that was new");
    for seed in 11..210 {
        assert!(matches!(bench.refused(&by(seed)), IdentityError::Signature(JwsError::UnknownKey(_))));
        fetches += u32::from(bench.due());
    }
    assert_eq!(fetches, 1);
    bench.now += 10_000;
    assert_eq!(bench.refused(&by(11)), IdentityError::AwaitKeys(0));
    assert!(bench.due());
    bench.come(None).unwrap_err();
    assert_eq!(bench.refused(&by(11)), IdentityError::KeysUnavailable, "nobody knows whether there is such a key");
    assert!(bench.bearer(&by(5)).is_ok());
}

/// A header without a key id, or with a known one, never leads to a fetch.
#[test]
fn a_wrong_signature_brings_no_fetch_about() {
    let mut bench = Bench::fetching();
    assert!(bench.due());
    bench.come(set(&[p256_jwk(5), p256_jwk(6)])).unwrap();
    let header = |header: &str| {
        let other = by(7);
        let (_, rest) = other.split_once('.').unwrap();
        format!("{}.{rest}", b64url(header.as_bytes()))
    };
    for header in [header(r#"{"alg":"ES256"}"#), header(r#"{"alg":"ES256","kid":"e5"}"#), header(r#"{"alg":"none"}"#)] {
        assert!(matches!(bench.refused(&header), IdentityError::Signature(_)));
    }
    assert!(!bench.due());
}
