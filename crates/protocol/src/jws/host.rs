//! Verification by the host: how it is asked, and whether it is to be believed.

use super::{Algorithm, HostVerify, public::PublicKey};
use crate::{Json, from_b64url};

/// What both examples sign (RFC 7515 appendix A.2.1 and A.3.1), behind their headers.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RS256: [&str; 3] = [
    r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
    "eyJhbGciOiJSUzI1NiJ9",
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
];

const ES256: [&str; 3] = [
    r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    "eyJhbGciOiJFUzI1NiJ9",
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
];

/// The question to Envoy's function `verify_signature`: hash function, key, signature and text as the fields 1 to 4 of a
/// protobuf message.
pub fn host_question(key: &[u8], signature: &[u8], text: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(key.len() + signature.len() + text.len() + 32);
    for (tag, bytes) in [(0x0a, &b"sha256"[..]), (0x12, key), (0x1a, signature), (0x22, text)] {
        message.push(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(bytes);
    }
    message
}

/// What its answer says: field 1 is a bool, and is left out where it is false.
pub fn host_says_yes(answer: &[u8]) -> bool {
    answer.starts_with(&[0x08, 1])
}

/// Whether the host says yes to a signature that is known to be good, and no to the same over another text. One that does
/// not is not asked again for this algorithm.
pub fn host_agrees(algorithm: Algorithm, host: &mut HostVerify<'_>) -> bool {
    let [jwk, header, signature] = match algorithm {
        Algorithm::Rs256 => RS256,
        Algorithm::Es256 => ES256,
        // No host is asked for it.
        Algorithm::EdDsa => return false,
    };
    let jwk = Json::parse(jwk.as_bytes()).ok();
    let key = jwk.as_ref().and_then(Json::as_object).and_then(|jwk| PublicKey::of_jwk(jwk).ok());
    let (Some(key), Some(signature)) = (key, from_b64url(signature)) else { return false };
    let mut says = |text: String| {
        let mut said = None;
        let mut ask = |algorithm, key: &[u8], signature: &[u8], text: &[u8]| {
            said = host(algorithm, key, signature, text);
            said
        };
        let _answer = key.verify(text.as_bytes(), &signature, &mut ask);
        said
    };
    says(format!("{header}.{PAYLOAD}")) == Some(true) && says(format!("{header}.{PAYLOAD}A")) == Some(false)
}
