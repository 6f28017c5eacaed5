use super::*;

/// RFC 8037 appendix A: key, header and signature.
#[test]
fn rfc_8037_example_verifies() {
    let jwk = Jwk {
        kty: "OKP".into(),
        crv: "Ed25519".into(),
        kid: "rfc".into(),
        x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
        d: None,
    };
    let keys = Keys::new(&Jwks { keys: vec![jwk.clone()] }).unwrap();
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(keys.verify(token, None).unwrap(), b"Example of Ed25519 signing");
    let seed = from_b64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let private = PrivateKey::from_seed(&seed.try_into().unwrap());
    assert_eq!(private.to_public_jwk().x, jwk.x);
    // RFC 8037 appendix A.3: the thumbprint is kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k.
    assert_eq!(private.kid(), "kPrK_qmxVWaYVA9w");
}

fn pair() -> (PrivateKey, Keys) {
    let private = PrivateKey::from_seed(&[7; 32]);
    let keys = Keys::new(&Jwks { keys: vec![private.to_public_jwk()] }).unwrap();
    (private, keys)
}

#[test]
fn every_changed_character_of_a_token_breaks_it() {
    let (private, keys) = pair();
    let token = private.sign("t", b"payload");
    assert_eq!(keys.verify(&token, Some("t")).unwrap(), b"payload");
    for index in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        assert!(keys.verify(std::str::from_utf8(&bytes).unwrap(), Some("t")).is_err(), "at {index}");
    }
}

#[test]
fn forged_headers_are_refused() {
    let (private, keys) = pair();
    let forge = |header: &str| {
        let input = format!("{}.{}", b64url(header.as_bytes()), b64url(b"payload"));
        let signature = private.key.sign(input.as_bytes());
        format!("{input}.{}", b64url(&signature.to_bytes()))
    };
    let refused = |header: &str| keys.verify(&forge(header), None).unwrap_err();
    assert!(keys.verify(&forge(r#"{"alg":"EdDSA"}"#), None).is_ok());
    assert_eq!(refused(r#"{"alg":"none"}"#), JwsError::Algorithm("none".into()));
    assert_eq!(refused(r#"{"alg":"HS256"}"#), JwsError::Algorithm("HS256".into()));
    assert_eq!(refused(r#"{"alg":"none","alg":"EdDSA"}"#), JwsError::Header);
    assert_eq!(refused(r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#), JwsError::Critical);
    assert_eq!(refused(r#"{"alg":"EdDSA","kid":"other"}"#), JwsError::UnknownKey("other".into()));
    assert_eq!(refused(r#"{"alg":"EdDSA","kid":7}"#), JwsError::Header);
    let empty_signature = format!("{}.{}.", b64url(br#"{"alg":"none"}"#), b64url(b"payload"));
    assert_eq!(keys.verify(&empty_signature, None), Err(JwsError::Algorithm("none".into())));
    assert!(matches!(keys.verify(&private.sign("other", b"x"), Some("t")), Err(JwsError::Type(..))));
    assert_eq!(keys.verify("a.b", None), Err(JwsError::Form));
    assert_eq!(keys.verify(&"a".repeat(MAX_TOKEN + 1), None), Err(JwsError::Form));
}

#[test]
fn detached_signature_covers_the_payload() {
    let (private, keys) = pair();
    let jws = private.sign_detached("t", b"bundle");
    assert_eq!(keys.verify_detached(&jws, b"bundle", "t"), Ok(()));
    assert_eq!(keys.verify_detached(&jws, b"bundlf", "t"), Err(JwsError::Signature));
    let stranger = PrivateKey::from_seed(&[8; 32]).sign_detached("t", b"bundle");
    assert!(matches!(keys.verify_detached(&stranger, b"bundle", "t"), Err(JwsError::UnknownKey(_))));
}

#[test]
fn key_sets_with_private_or_foreign_keys_are_refused() {
    let private = PrivateKey::from_seed(&[7; 32]);
    let public = private.to_public_jwk();
    let check = |keys: Vec<Jwk>| Keys::new(&Jwks { keys }).map(|_| ()).unwrap_err();
    assert_eq!(check(vec![]), KeyError::Empty);
    assert_eq!(check(vec![private.to_private_jwk()]), KeyError::Private(0));
    assert_eq!(check(vec![Jwk { crv: "X25519".into(), ..public.clone() }]), KeyError::Unsupported(0));
    assert_eq!(check(vec![Jwk { x: b64url(&[0; 32]), ..public.clone() }]), KeyError::Public(0));
    assert_eq!(check(vec![public.clone(), public.clone()]), KeyError::DuplicateId(public.kid.clone()));
    let read = PrivateKey::from_jwk(&private.to_private_jwk()).unwrap();
    assert_eq!(read.to_public_jwk(), public);
    assert_eq!(PrivateKey::from_jwk(&public).err(), Some(KeyError::NotPrivate));
}
