//! Signatures of three algorithms against vectors that others made, and against other implementations.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on fails")]

mod attacks;
mod vectors;

use holdgate_protocol::jws::{Algorithm, PublicKey};
use vectors::{Vector, wycheproof};

/// The answer without a host.
fn verifies(key: &PublicKey, text: &[u8], signature: &[u8]) -> bool {
    key.verify(text, signature, &mut |_, _, _, _| None) == Some(true)
}

#[test]
fn wycheproof_vectors_have_their_answers() {
    let vectors = wycheproof();
    for Vector { name, jwk, text, signature, good } in &vectors {
        let key = PublicKey::of_jwk(jwk.as_object().unwrap()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(verifies(&key, text, signature), *good, "{name}");
    }
    let of = |algorithm: Algorithm| vectors.iter().filter(|vector| vector.name.starts_with(algorithm.name())).count();
    let counts = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256].map(of);
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

/// A host sees nothing but signatures of the right form, so that what it says can only be yes or no to the mathematics.
#[test]
fn a_malformed_signature_never_reaches_the_host() {
    for Vector { name, jwk, text, signature, .. } in &wycheproof() {
        let key = PublicKey::of_jwk(jwk.as_object().unwrap()).unwrap();
        let mut asked = None;
        let mut host = |_, _: &[u8], signature: &[u8], _: &[u8]| {
            asked = Some(signature.to_vec());
            Some(true)
        };
        let answer = key.verify(text, signature, &mut host);
        match (key.algorithm(), asked) {
            (Algorithm::EdDsa, asked) => assert_eq!(asked, None, "{name}"),
            (Algorithm::Rs256, Some(asked)) => assert_eq!((asked.as_slice(), answer), (&**signature, Some(true))),
            (Algorithm::Es256, Some(asked)) => {
                let der = p256::ecdsa::Signature::from_slice(signature).unwrap().to_der();
                assert_eq!((asked.as_slice(), answer), (der.as_bytes(), Some(true)), "{name}");
            }
            (_, None) => assert_eq!(answer, None, "{name}"),
        }
    }
}
