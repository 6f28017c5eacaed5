//! The cache of verified tokens: what it saves, and what ends what it knows.

use super::*;

#[test]
fn a_token_is_verified_once() {
    let mut bench = bench(json!({}));
    let good = token(&claims(json!({})), 1);
    let first = bench.bearer(&good).unwrap();
    let second = bench.bearer(&good).unwrap();
    assert!(Rc::ptr_eq(&first, &second));
    let IdentityFigures { cache_hits, cache_misses, verifications, .. } = bench.identities.figures;
    assert_eq!((cache_hits, cache_misses, verifications), (1, 1, 1));
    let mut off = Bench::new(json!({"token_cache": 0, "issuers": [issuer(json!({}))]}));
    let _ = (off.bearer(&good).unwrap(), off.bearer(&good).unwrap());
    assert_eq!(off.identities.figures.verifications, 2);
}

#[test]
fn a_remembered_token_expires() {
    let mut bench = bench(json!({}));
    let good = token(&claims(json!({})), 1);
    assert!(bench.bearer(&good).is_ok());
    bench.now += 629_000;
    assert!(bench.bearer(&good).is_ok());
    bench.now += 1_000;
    assert_eq!(bench.refused(&good), IdentityError::Expired);
    bench.now = NOW;
    assert!(bench.bearer(&good).is_ok());
    bench.now += 700_000;
    bench.identities.sweep(bench.now);
    assert_eq!(bench.identities.cache.size(), (0, 0), "expired tokens take no room");
}

#[test]
fn a_suspended_agents_tokens_are_forgotten() {
    let mut bench = bench(json!({}));
    let (seven, eight) = (token(&claims(json!({})), 1), token(&claims(json!({"sub": "agent-8"})), 1));
    assert!(bench.bearer(&seven).is_ok() && bench.bearer(&eight).is_ok());
    bench.identities.forget(&HashSet::from([Actor { iss: "https://idp".into(), sub: "agent-7".into() }]));
    assert!(bench.bearer(&eight).is_ok());
    assert_eq!(bench.identities.figures.cache_hits, 1);
    assert!(bench.bearer(&seven).is_ok());
    assert_eq!(bench.identities.figures.cache_hits, 1);
}

/// A forged token costs one verification and leaves nothing behind, whatever it shares with a good one.
#[test]
fn nothing_that_was_not_verified_is_remembered() {
    let mut bench = bench(json!({}));
    let good = token(&claims(json!({})), 1);
    assert!(bench.bearer(&good).is_ok());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let mut wrong = from_b64url(signature).unwrap();
    wrong[0] ^= 1;
    let forged = format!("{input}.{}", b64url(&wrong));
    for _ in 0..50 {
        assert_eq!(bench.refused(&forged), IdentityError::Signature(JwsError::Signature));
    }
    assert_eq!(bench.identities.figures.verifications, 51);
    assert_eq!(bench.identities.cache.size().0, 1);
    let expired = token(&claims(json!({"exp": 1})), 1);
    assert_eq!(bench.refused(&expired), IdentityError::Expired);
    assert_eq!(bench.identities.cache.size().0, 1);
    assert_ne!(Hash::of(forged.as_bytes()), Hash::of(good.as_bytes()));
}
