//! Tokens and certificates to identities, with a host that counts what it is asked.

mod claims;
mod fetched;
mod remembered;

use holdgate_protocol::{
    Hash, b64url, from_b64url,
    jws::{JwsError, PrivateKey},
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};

use super::*;
use crate::Config;

/// Unix milliseconds.
const NOW: u64 = 1_790_000_000_000;

type Says = fn(&[u8], &[u8], &[u8]) -> Option<bool>;

/// A host that has no `verify_signature`, or one that says what it is told to.
#[derive(Default)]
struct TestHost {
    peer: Option<String>,
    says: Option<Says>,
    asked: usize,
}

impl Host for TestHost {
    fn nonce(&mut self) -> Option<[u8; 16]> {
        Some([128; 16])
    }

    fn verify_signature(&mut self, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        self.asked += 1;
        self.says.and_then(|says| says(key, signature, text))
    }

    fn peer(&mut self) -> Option<String> {
        self.peer.clone()
    }

    fn shared(&mut self, _key: &str) -> (Option<Vec<u8>>, u32) {
        (None, 0)
    }

    fn share(&mut self, _key: &str, _value: &[u8], _version: u32) -> bool {
        false
    }
}

/// A gate's part that identifies, and what stands around it.
struct Bench {
    config: config::Identity,
    identities: Identities,
    host: TestHost,
    now: u64,
}

impl Bench {
    fn new(identity: Value) -> Self {
        Bench::with_host(identity, TestHost::default())
    }

    fn with_host(identity: Value, mut host: TestHost) -> Self {
        let keys = json!({"keys": [PrivateKey::from_seed(&[9; 32]).to_public_jwk()]});
        let config = json!({"group": "edge", "approval": {"cluster": "a", "authority": "a"}, "identity": identity,
            "bundle_keys": keys, "grant_keys": keys});
        let config = Config::parse(config.to_string().as_bytes()).unwrap().identity;
        Bench { identities: Identities::new(&config, &mut host), config, host, now: NOW }
    }

    fn ask(&mut self, header: Option<&str>) -> Result<Rc<Identity>, IdentityError> {
        let mut pairs = vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        let name = self.config.header.clone();
        pairs.extend(header.map(|value| (&*name, value)));
        let pairs = pairs.into_iter().collect();
        let head = Head::read(pairs, &name).unwrap();
        self.identities.identify(&self.config, &head, self.now, &mut self.host)
    }

    fn bearer(&mut self, token: &str) -> Result<Rc<Identity>, IdentityError> {
        self.ask(Some(&format!("Bearer {token}")))
    }

    #[track_caller]
    fn refused(&mut self, token: &str) -> IdentityError {
        self.bearer(token).map(|identity| format!("{identity:?}")).unwrap_err()
    }
}

/// The usual issuer, with these settings over its own.
fn issuer(change: Value) -> Value {
    let mut issuer = json!({"iss": "https://idp", "aud": "https://api", "algs": ["EdDSA"],
        "jwks": {"keys": [PrivateKey::from_seed(&[1; 32]).to_public_jwk()]}});
    for (name, value) in change.as_object().unwrap() {
        issuer[name] = value.clone();
    }
    issuer
}

fn bench(change: Value) -> Bench {
    Bench::new(json!({"issuers": [issuer(change)]}))
}

/// The usual claims, with these over them; a null stands there as such.
fn claims(change: Value) -> Value {
    let now = NOW / 1000;
    let mut claims = json!({"iss": "https://idp", "aud": "https://api", "sub": "agent-7", "exp": now + 600, "iat": now,
        "owner": "group/iam"});
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn token(claims: &Value, seed: u8) -> String {
    PrivateKey::from_seed(&[seed; 32]).sign("JWT", claims.to_string().as_bytes())
}

/// A key of P-256 by its number: its JWK, and a token that it signs.
fn p256(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn p256_jwk(seed: u8) -> Value {
    let point = p256(seed).verifying_key().to_sec1_point(false).as_bytes().to_vec();
    json!({"kty": "EC", "crv": "P-256", "kid": format!("e{seed}"), "x": b64url(&point[1..33]), "y": b64url(&point[33..])})
}

fn p256_token(claims: &Value, seed: u8) -> String {
    let header = json!({"alg": "ES256", "kid": format!("e{seed}")}).to_string();
    let input = format!("{}.{}", b64url(header.as_bytes()), b64url(claims.to_string().as_bytes()));
    let signature: Signature = p256(seed).sign(input.as_bytes());
    format!("{input}.{}", b64url(&signature.to_bytes()))
}

#[test]
fn forged_and_misplaced_tokens_are_refused() {
    let mut bench = bench(json!({}));
    let good = token(&claims(json!({})), 1);
    assert!(bench.ask(Some(&format!("bearer {good}"))).is_ok());
    assert!(matches!(bench.refused(&token(&claims(json!({})), 2)), IdentityError::Signature(JwsError::UnknownKey(_))));
    let none = format!("{}.{}.", b64url(br#"{"alg":"none"}"#), b64url(claims(json!({})).to_string().as_bytes()));
    assert_eq!(bench.refused(&none), IdentityError::Signature(JwsError::Algorithm("none".into())));
    for value in [format!("Basic {good}"), good.clone(), format!("Bearer {good},Bearer {good}"), "Bearer ".into()] {
        assert_eq!(bench.ask(Some(&value)).map(|_| ()), Err(IdentityError::Scheme), "{value}");
    }
    let duplicate = r#"{"iss":"https://idp","aud":"https://api","sub":"a","sub":"b","exp":1790000060}"#;
    let duplicate = PrivateKey::from_seed(&[1; 32]).sign("JWT", duplicate.as_bytes());
    assert_eq!(bench.refused(&duplicate), IdentityError::Form("the payload is not JSON"));
    assert_eq!(bench.ask(None).map(|_| ()), Err(IdentityError::Missing));
    let mut own_header = Bench::new(json!({"header": "x-agent-token", "issuers": [issuer(json!({}))]}));
    assert!(own_header.ask(Some(&good)).is_ok());
}

#[test]
fn a_token_of_another_kind_names_no_agent() {
    let mut bench = bench(json!({}));
    let body = claims(json!({})).to_string();
    let typed = |typ: &str| PrivateKey::from_seed(&[1; 32]).sign(typ, body.as_bytes());
    for typ in ["JWT", "jwt", "at+jwt", "application/at+JWT", "JOSE"] {
        assert!(bench.bearer(&typed(typ)).is_ok(), "{typ}");
    }
    let grant = holdgate_protocol::grant::JWS_TYPE;
    for typ in [grant, "application/approval-grant+jwt", "holdgate-bundle+jws", "logout+jwt", "dpop+jwt", ""] {
        assert!(matches!(bench.refused(&typed(typ)), IdentityError::Form(_)), "{typ}");
    }
}

/// Each issuer has keys of its own: another's, however well trusted, sign nothing for it.
#[test]
fn an_issuer_cannot_speak_for_another() {
    let second =
        json!({"iss": "https://two", "algs": ["ES256"], "jwks": {"keys": [p256_jwk(5)]}, "aud": "https://two"});
    let mut bench = Bench::new(json!({"issuers": [issuer(json!({})), issuer(second)]}));
    let two = claims(json!({"iss": "https://two", "aud": "https://two"}));
    assert_eq!(bench.bearer(&p256_token(&two, 5)).unwrap().caller.iss, "https://two");
    assert!(matches!(bench.refused(&p256_token(&claims(json!({})), 5)), IdentityError::Signature(_)));
    assert!(matches!(bench.refused(&token(&two, 1)), IdentityError::Signature(_)));
    let crossed = claims(json!({"iss": "https://two", "aud": "https://api"}));
    assert_eq!(bench.refused(&p256_token(&crossed, 5)), IdentityError::Audience);
}

/// The host's answer counts for what it is tried in; its form has been checked before, and a wrong one is not asked.
#[test]
fn a_host_verifies_where_it_gives_the_known_answers() {
    let settings = json!({"issuers": [issuer(json!({"algs": ["ES256"], "jwks": {"keys": [p256_jwk(5)]}}))]});
    // Right about the two known answers, and then wrong: what it says is what counts.
    let lying: Says = |_: &[u8], signature: &[u8], text: &[u8]| Some(signature[0] == 0x30 && !text.ends_with(b"A"));
    let host = TestHost { says: Some(lying), ..TestHost::default() };
    let mut bench = Bench::with_host(settings.clone(), host);
    assert_eq!(bench.host.asked, 2);
    let forged = p256_token(&claims(json!({"sub": "forged"})), 6);
    let forged = forged.replace(&b64url(br#"{"alg":"ES256","kid":"e6"}"#), &b64url(br#"{"alg":"ES256","kid":"e5"}"#));
    assert!(bench.bearer(&forged).is_ok());
    assert_eq!((bench.host.asked, bench.identities.figures.verified_by_host), (3, 1));

    let useless: [Says; 3] = [|_, _, _| Some(true), |_, _, _| Some(false), |_, _, _| None];
    for says in useless {
        let host = TestHost { says: Some(says), ..TestHost::default() };
        let mut bench = Bench::with_host(settings.clone(), host);
        let tried = bench.host.asked;
        assert_eq!(bench.refused(&forged), IdentityError::Signature(JwsError::Signature));
        assert!(bench.bearer(&p256_token(&claims(json!({})), 5)).is_ok());
        assert_eq!((bench.host.asked, bench.identities.figures.verified_by_host), (tried, 0));
    }
}

#[test]
fn a_certificate_names_an_agent_where_there_is_no_token() {
    let settings =
        json!({"issuers": [issuer(json!({}))], "spiffe": {"trust_domains": ["example.org"], "owner": "group/iam"}});
    let mut bench = Bench::new(settings);
    let ends = NOW / 1000 + 60;
    let mut with = |peer: &str, header: Option<&str>| {
        bench.host.peer = Some(peer.to_owned());
        bench.ask(header)
    };
    let id = "spiffe://example.org/ns/iam/sa/agent-7";
    let identity = with(&format!("{ends} {id}"), None).unwrap();
    assert_eq!(identity.caller, Actor { iss: "spiffe://example.org".into(), sub: id.into() });
    assert_eq!((identity.agent.owner.as_deref(), identity.expires_at), (Some("group/iam"), ends));
    let good = format!("Bearer {}", token(&claims(json!({})), 1));
    assert_eq!(with(&format!("{ends} {id}"), Some(&good)).unwrap().caller.sub, "agent-7", "the token decides");
    let forged = format!("Bearer {}", token(&claims(json!({})), 2));
    assert!(with(&format!("{ends} {id}"), Some(&forged)).is_err(), "no second chance by the certificate");

    assert_eq!(with(&format!("{} {id}", ends - 120), None).map(|_| ()), Err(IdentityError::Expired));
    let long = format!("spiffe://example.org/{}", "x".repeat(2_048));
    for id in [
        "spiffe://other.org/a",
        "spiffe://example.org.evil/a",
        "spiffe://evil@example.org/a",
        "spiffe://example.org:443/a",
        "spiffe://EXAMPLE.org/a",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/./a",
        "spiffe://example.org/%61",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a#b",
        "spiffe://example.org/a b",
        "spiffe://example.org/a,spiffe://example.org/b",
        "spiffe:///a",
        "SPIFFE://example.org/a",
        "https://example.org/a",
        "",
        &long,
    ] {
        assert_eq!(with(&format!("{ends} {id}"), None).map(|_| ()), Err(IdentityError::Certificate), "{id}");
    }
    for peer in [id.to_owned(), format!("x {id}"), format!("-1 {id}"), String::new(), format!("{ends}  {id}")] {
        assert_eq!(with(&peer, None).map(|_| ()), Err(IdentityError::Certificate), "{peer}");
    }
}

#[test]
fn without_the_setting_no_certificate_is_looked_at() {
    let mut bench = bench(json!({}));
    bench.host.peer = Some("9999999999 spiffe://example.org/a".to_owned());
    assert_eq!(bench.ask(None).map(|_| ()), Err(IdentityError::Missing));
}
