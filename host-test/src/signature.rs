//! Envoy's function `verify_signature`, as far as filters use it: RSA (PKCS#1) and P-256 with SHA-256.

use p256::ecdsa::{Signature as P256Signature, VerifyingKey as P256Key};
use rsa::{
    RsaPublicKey,
    pkcs1v15::{Signature as RsaSignature, VerifyingKey as RsaKey},
    pkcs8::DecodePublicKey as _,
    signature::Verifier as _,
};
use sha2::Sha256;

/// AlgorithmIdentifier of a P-256 key in a SubjectPublicKeyInfo, and the start of the uncompressed point.
const P256_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// Takes the protobuf message of the question (1 hash function, 2 key as DER SubjectPublicKeyInfo, 3 signature, 4 text) and gives
/// that of the answer, whose field 1 is true for a good signature. `None` for what is no such message.
pub(crate) fn verify(question: &[u8]) -> Option<Vec<u8>> {
    let [hash, key, signature, text] = fields(question)?;
    let good = hash == b"sha256" && (is_p256(key, signature, text) || is_rsa(key, signature, text));
    Some(if good { vec![0x08, 1] } else { Vec::new() })
}

fn is_p256(key: &[u8], signature: &[u8], text: &[u8]) -> bool {
    let key = key.strip_prefix(P256_SPKI).and_then(|point| P256Key::from_sec1_bytes(point).ok());
    let signature = P256Signature::from_der(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| key.verify(text, &signature).is_ok())
}

fn is_rsa(key: &[u8], signature: &[u8], text: &[u8]) -> bool {
    let key = RsaPublicKey::from_public_key_der(key).ok().map(RsaKey::<Sha256>::new);
    let signature = RsaSignature::try_from(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| key.verify(text, &signature).is_ok())
}

/// The fields 1 to 4 of a protobuf message, each with a length.
fn fields(mut rest: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields: [&[u8]; 4] = [&[]; 4];
    while let Some((tag, after)) = rest.split_first() {
        let (length, after) = varint(after)?;
        let (value, after) = after.split_at_checked(length)?;
        let number = usize::from(tag >> 3);
        if tag & 7 == 2 {
            let field = number.checked_sub(1).and_then(|at| fields.get_mut(at))?;
            *field = value;
        }
        rest = after;
    }
    Some(fields)
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use holdgate_protocol::jws::{Algorithm, host_agrees, host_question, host_says_yes};

    use super::*;

    #[test]
    fn the_known_signatures_are_told_from_others() {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            let mut host = |_, key: &[u8], signature: &[u8], text: &[u8]| {
                verify(&host_question(key, signature, text)).map(|answer| host_says_yes(&answer))
            };
            assert!(host_agrees(algorithm, &mut host), "{algorithm:?}");
        }
        assert_eq!(verify(b"\x0a\xff\xff\xff\xff\xff\x01"), None);
        assert_eq!(verify(b"\x0a\x06sha256"), Some(Vec::new()));
    }
}
