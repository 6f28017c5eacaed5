//! What an attacker tries with headers, keys and encodings.

use std::collections::HashMap;

use holdgate_protocol::{
    Json, b64url, from_b64url,
    jws::{Algorithm, Compact, IssuerKeys, JwsError, KeyError, MAX_TOKEN, PrivateKey, host_agrees},
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};

const ALL: [Algorithm; 3] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];

/// RFC 7515 appendix A.2.1 and A.3.1: key, and the token that it signed.
const RSA: &str = r#"{"kty":"RSA","kid":"r","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const EC: &str = r#"{"kty":"EC","kid":"e","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const EC_SECRET: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 8037 appendix A.2 and A.4.
const ED: &str = r#"{"kty":"OKP","kid":"o","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn set(keys: &[&str]) -> Json {
    Json::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
}

fn pinned(keys: &[&str]) -> Result<IssuerKeys, String> {
    IssuerKeys::pinned(&set(keys), &ALL).map_err(|error| error.to_string())
}

fn check(keys: &IssuerKeys, token: &str) -> Result<(), JwsError> {
    keys.verify(&Compact::read(token)?, &mut |_, _, _, _| None)
}

/// A token whose ES256 signature is right, whatever its header says.
fn signed_by_ec(header: &str) -> String {
    let secret = from_b64url(EC_SECRET).unwrap();
    let input = format!("{}.{}", b64url(header.as_bytes()), b64url(b"{}"));
    let signature: Signature = SigningKey::from_slice(&secret).unwrap().sign(input.as_bytes());
    format!("{input}.{}", b64url(&signature.to_bytes()))
}

#[test]
fn the_examples_of_the_standards_verify() {
    for (key, token) in [(RSA, RSA_TOKEN), (EC, EC_TOKEN), (ED, ED_TOKEN)] {
        let keys = pinned(&[key]).unwrap();
        assert_eq!(check(&keys, token), Ok(()));
        for (place, character) in token.char_indices().filter(|(_, character)| *character != '.') {
            let other = if character == 'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..place], &token[place + 1..]);
            assert!(check(&keys, &changed).is_err(), "at {place}");
        }
    }
}

#[test]
fn the_header_chooses_no_algorithm() {
    let keys = pinned(&[RSA, EC, ED]).unwrap();
    assert_eq!(check(&keys, &signed_by_ec(r#"{"alg":"ES256","kid":"e"}"#)), Ok(()));
    for header in [
        r#"{"alg":"none","kid":"e"}"#,
        r#"{"alg":"HS256","kid":"e"}"#,
        r#"{"alg":"RS256","kid":"e"}"#,
        r#"{"alg":"EdDSA","kid":"e"}"#,
        r#"{"alg":"es256","kid":"e"}"#,
        r#"{"alg":["ES256"],"kid":"e"}"#,
        r#"{"alg":"ES256","kid":"r"}"#,
        r#"{"alg":"RS256","kid":"r"}"#,
        r#"{"alg":"ES256","kid":"o"}"#,
        r#"{"alg":"ES256","kid":7}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"kid":"e"}"#,
        r#"{"alg":"ES256","kid":"e","crit":["exp"]}"#,
        r#"{"alg":"none","alg":"ES256","kid":"e"}"#,
    ] {
        assert!(check(&keys, &signed_by_ec(header)).is_err(), "{header}");
    }
    // A header that brings its own key, or says where one is, is read as if it did not.
    let stranger = format!(r#"{{"alg":"ES256","kid":"x","jwk":{EC},"jku":"https://evil","x5u":"https://evil"}}"#);
    assert_eq!(check(&keys, &signed_by_ec(&stranger)), Err(JwsError::UnknownKey("x".into())));
}

/// The public key as the secret of an HMAC: the classic confusion of algorithms.
#[test]
fn the_public_key_is_no_shared_secret() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let keys = pinned(&[RSA]).unwrap();
    let n = from_b64url("ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp").unwrap();
    for secret in [RSA.as_bytes(), &*n] {
        for alg in ["HS256", "RS256"] {
            let header = format!(r#"{{"alg":"{alg}","kid":"r"}}"#);
            let input = format!("{}.{}", b64url(header.as_bytes()), b64url(b"{}"));
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
            mac.update(input.as_bytes());
            let token = format!("{input}.{}", b64url(&mac.finalize().into_bytes()));
            assert!(check(&keys, &token).is_err(), "{alg}");
        }
    }
}

#[test]
fn a_token_has_one_spelling() {
    let keys = pinned(&[EC]).unwrap();
    let (input, signature) = EC_TOKEN.rsplit_once('.').unwrap();
    let raw = from_b64url(signature).unwrap();
    let with = |signature: &[u8]| check(&keys, &format!("{input}.{}", b64url(signature)));
    assert_eq!(with(&raw), Ok(()));
    // Both s and its negative are signatures in JOSE; everything else about the form is fixed.
    let parsed = Signature::from_slice(&raw).unwrap();
    let negated = Signature::from_scalars(parsed.split_bytes().0, (-*parsed.s()).to_bytes()).unwrap();
    assert_eq!(with(&negated.to_bytes()), Ok(()));
    for wrong in
        [&raw[..63], &[&*raw, &[0]].concat(), &[&[0], &*raw].concat(), &[0; 64], parsed.to_der().as_bytes(), &[]]
    {
        assert_eq!(with(wrong), Err(JwsError::Form));
    }
    // The last character carries four bits that mean nothing, and must be 0.
    assert_eq!(check(&keys, &format!("{}R", &EC_TOKEN[..EC_TOKEN.len() - 1])), Err(JwsError::Form));
    for wrong in [format!("{EC_TOKEN}="), format!("{EC_TOKEN}=="), EC_TOKEN.replace('-', "+"), format!(" {EC_TOKEN}")] {
        assert_eq!(check(&keys, &wrong), Err(JwsError::Form), "{wrong}");
    }
    assert_eq!(check(&keys, &"a".repeat(MAX_TOKEN + 1)), Err(JwsError::Form));
    assert_eq!(check(&keys, &format!("{EC_TOKEN}.{signature}")), Err(JwsError::Form));

    let keys = pinned(&[RSA]).unwrap();
    let (input, signature) = RSA_TOKEN.rsplit_once('.').unwrap();
    let raw = from_b64url(signature).unwrap();
    for wrong in [&raw[..255], &[&[0], &*raw].concat(), &[&*raw, &[0]].concat(), &[0xff; 256]] {
        let token = format!("{input}.{}", b64url(wrong));
        assert_eq!(check(&keys, &token), Err(JwsError::Form));
    }
}

#[test]
fn a_pinned_set_is_read_strictly() {
    let rsa = |n: String, e: &str| format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"{e}"}}"#);
    let sized = |bytes: usize, last: u8| b64url(&[&vec![0xc1; bytes - 1][..], &[last]].concat());
    let with = |key: &str, members: &str| key.replacen('{', &format!("{{{members},"), 1);
    let refused = [
        (rsa(sized(255, 1), "AQAB"), "2048 to 4096 bits"),
        (rsa(sized(513, 1), "AQAB"), "2048 to 4096 bits"),
        (rsa(sized(256, 2), "AQAB"), "2048 to 4096 bits"),
        (rsa(sized(256, 1), "AQ"), "2048 to 4096 bits"),
        (rsa(sized(256, 1), "AQAA"), "2048 to 4096 bits"),
        (rsa(sized(256, 1), "AQAAAAE"), "2048 to 4096 bits"),
        (rsa(sized(256, 1), ""), "2048 to 4096 bits"),
        (rsa(String::new(), "AQAB"), "2048 to 4096 bits"),
        (EC.replace("x_FEzR", "y_FEzR"), "not a point of P-256"),
        (EC.replace("P-256", "P-384"), "kty and crv must be"),
        (
            ED.replace("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", &b64url(&[0; 32])),
            "not the base64url of an Ed25519",
        ),
        (ED.replace("Ed25519", "X25519"), "kty and crv must be"),
        (r#"{"kty":"oct","kid":"h","k":"AAAA"}"#.to_owned(), "a private key"),
        (with(EC, r#""d":"AAAA""#), "a private key"),
        (with(RSA, r#""p":"AAAA""#), "a private key"),
        (with(RSA, r#""use":"enc""#), "`use` must be `sig`"),
        (with(RSA, r#""key_ops":["sign"]"#), "`key_ops` must contain"),
        (with(RSA, r#""alg":"PS256""#), "`alg` is not the one"),
        (with(RSA, r#""alg":"RS512""#), "`alg` is not the one"),
        (with(EC, r#""alg":"RS256""#), "`alg` is not the one"),
        (EC.replace(r#""e""#, "7"), "`kid` is not a text"),
        ("7".to_owned(), "not an object"),
    ];
    for (key, why) in refused {
        let error = pinned(&[ED, &key]).unwrap_err();
        assert!(error.starts_with("key 1: ") && error.contains(why), "{error}\n{key}");
    }
    assert_eq!(pinned(&[EC, RSA, EC]).unwrap_err(), "the key id `e` stands there twice");
    assert_eq!(pinned(&[]).unwrap_err(), "the set has no keys");
    assert!(pinned(&[&RSA.replace(r#""kid":"r","#, ""), EC]).unwrap_err().contains("only a single key can do without"));
    let only_ec = IssuerKeys::pinned(&set(&[EC, RSA]), &[Algorithm::Es256]).unwrap_err();
    assert_eq!(only_ec, KeyError::Unusable(1, "its algorithm is not one of the issuer's `algs`"));
    assert!(pinned(&[&with(RSA, r#""use":"sig","key_ops":["verify"],"alg":"RS256","x5c":["MII"],"n2":1"#)]).is_ok());
    // A modulus with a byte 0 in front is another spelling of the same number.
    let (n, rest) = RSA.split_once(r#""n":""#).unwrap().1.split_once('"').unwrap();
    let padded =
        format!(r#"{{"kty":"RSA","kid":"r","n":"{}"{rest}"#, b64url(&[&[0], &*from_b64url(n).unwrap()].concat()));
    assert_eq!(check(&pinned(&[&padded]).unwrap(), RSA_TOKEN), Ok(()));
}

#[test]
fn a_fetched_set_is_taken_for_what_is_usable_in_it() {
    let with = |key: &str, members: &str| key.replacen('{', &format!("{{{members},"), 1);
    let weak = format!(r#"{{"kty":"RSA","kid":"weak","n":"{}","e":"AQAB"}}"#, b64url(&[0xc1; 128]));
    let all = [
        &with(RSA, r#""use":"enc""#),
        r#"{"kty":"AKP","alg":"ML-DSA-44","kid":"q","pub":"AAAA"}"#,
        &weak,
        "null",
        EC,
        &EC.replace("f83OJ3D2xF1B", "f83OJ3D2xF1C"),
        &ED.replace(r#""kid":"o""#, r#""kid":"e""#),
    ];
    let keys = IssuerKeys::fetched(&set(&all).to_jcs(), &ALL).unwrap();
    assert_eq!(check(&keys, &signed_by_ec(r#"{"alg":"ES256","kid":"e"}"#)), Ok(()));
    assert_eq!(check(&keys, EC_TOKEN), Ok(()), "the only one that is left needs no id in the header");
    let refused = |text: &[u8]| IssuerKeys::fetched(text, &ALL).unwrap_err();
    assert_eq!(IssuerKeys::fetched(&set(&[EC]).to_jcs(), &[Algorithm::Rs256]).unwrap_err(), KeyError::NoneUsable);
    assert_eq!(refused(&set(&[&weak, "7"]).to_jcs()), KeyError::NoneUsable);
    assert_eq!(refused(&set(&[EC; 65]).to_jcs()), KeyError::TooMany(64));
    assert_eq!(refused(format!(r#"{{"keys":[{EC}],"pad":"{}"}}"#, "x".repeat(64 * 1024)).as_bytes()), KeyError::Form);
    assert_eq!(refused(br#"{"keys":[],"keys":[]}"#), KeyError::Form);
    for text in ["", "{}", "[]", "<html>", r#"{"keys":{}}"#] {
        assert_eq!(refused(text.as_bytes()), KeyError::Form, "{text}");
    }
}

/// A host is believed once it has given two known answers, and is then not asked for anything of another form.
#[test]
fn a_host_that_says_yes_or_no_to_everything_is_not_asked() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        assert!(!host_agrees(algorithm, &mut |_, _, _, _| Some(true)));
        assert!(!host_agrees(algorithm, &mut |_, _, _, _| Some(false)));
        assert!(!host_agrees(algorithm, &mut |_, _, _, _| None));
        let mut asked: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut honest = |_, key: &[u8], _: &[u8], text: &[u8]| {
            *asked.entry(key.to_vec()).or_default() += 1;
            Some(!text.ends_with(b"A"))
        };
        assert!(host_agrees(algorithm, &mut honest));
        assert_eq!(asked.into_values().collect::<Vec<_>>(), [2]);
    }
    assert!(!host_agrees(Algorithm::EdDsa, &mut |_, _, _, _| Some(true)));
    let eddsa = PrivateKey::from_seed(&[1; 32]);
    let jwk = Json::from_serialize(&eddsa.to_public_jwk()).unwrap().to_jcs();
    let keys = pinned(&[std::str::from_utf8(&jwk).unwrap()]).unwrap();
    let token = eddsa.sign("JWT", b"{}");
    assert_eq!(keys.verify(&Compact::read(&token).unwrap(), &mut |_, _, _, _| Some(false)), Ok(()));
}
