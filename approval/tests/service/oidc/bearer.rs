//! Access tokens and session tokens at the API.

use axum::http::{HeaderMap, Request, StatusCode, header};
use holdgate_approval::{
    oidc::AccessToken,
    service::{decide::DecideError, who::Who},
};
use holdgate_protocol::{Hash, b64url, jws::PrivateKey};
use serde_json::{Value, json};

use super::{
    call,
    idp::{AUDIENCE, Idp, LOCAL, Person, token},
    link, recorded, world,
};
use crate::support::{PASSWORD, World, send};

/// An access token for this service that a person gets by a client.
pub(super) async fn access_token(idp: &Idp, person: &str, client: &str) -> String {
    let verifier = "v".repeat(43);
    let challenge = b64url(Hash::of(verifier.as_bytes()).as_bytes());
    let address = format!(
        "{}/auth?client_id={client}&response_type=code&scope=openid%20decide&resource={AUDIENCE}&redirect_uri={LOCAL}\
         &code_challenge={challenge}&code_challenge_method=S256&state=s",
        idp.issuer()
    );
    let back = Person::default().visit(idp, &address, person).await;
    let code = back.split_once("code=").unwrap_or_else(|| panic!("{back}")).1.split('&').next().unwrap();
    let form = format!(
        "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={LOCAL}&code_verifier={verifier}\
         &resource={AUDIENCE}"
    );
    let answer = token(idp, HeaderMap::new(), form).await;
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn approve(world: &World, token: &str, hold: &str) -> (StatusCode, String) {
    let body = json!({"verdict": "approve", "reason": "looked at it"});
    let answer = call(world, token, "POST", &format!("/api/holds/{hold}/decisions"), body).await;
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: StatusCode, word: &str) -> (StatusCode, String) {
    (status, word.to_owned())
}

#[tokio::test]
async fn person_decides_with_an_access_token() {
    for alg in ["EdDSA", "ES256", "RS256"] {
        let idp = Idp::new(alg);
        let world = world(&idp.issuer()).await;
        let (_, hold) = world.held(&["one"], "{}").await;
        let token = access_token(&idp, "alice", "cli").await;
        let session = call(&world, &token, "GET", "/api/session", Value::Null).await.json();
        assert_eq!(
            (&session["person"], &session["csrf"], &session["unfit"]),
            (&json!("alice"), &json!(null), &json!(null))
        );
        assert_eq!(approve(&world, &token, &hold).await.0, StatusCode::OK, "{alg}");
        let via = json!({"provider": {"iss": idp.issuer(), "client": "cli"}});
        assert_eq!(recorded(&world, "hold.approved").await[0]["via"], via);
    }
}

#[tokio::test]
async fn tokens_behind_which_no_person_acts_decide_nothing() {
    let idp = Idp::new("ES256");
    let world = world(&idp.issuer()).await;
    let (_, hold) = world.held(&["one"], "{}").await;
    let cannot = || refused(StatusCode::FORBIDDEN, "token_cannot_decide");

    let unlisted = access_token(&idp, "alice", "other").await;
    assert_eq!(approve(&world, &unlisted, &hold).await, refused(StatusCode::FORBIDDEN, "client_not_listed"));
    let answer = call(&world, &unlisted, "GET", "/api/holds", Value::Null).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);

    let delegated = access_token(&idp, "alice", "delegate").await;
    assert_eq!(approve(&world, &delegated, &hold).await, cannot());
    let body = json!({"items": [{"hold": hold, "verdict": "approve", "reason": "x"}]});
    assert_eq!(call(&world, &delegated, "POST", "/api/decisions", body).await.error(), "token_cannot_decide");
    let answer = call(&world, &delegated, "POST", &format!("/api/holds/{hold}/revoke"), json!({"reason": "x"})).await;
    assert_eq!(answer.error(), "token_cannot_decide");
    let detail = call(&world, &delegated, "GET", &format!("/api/holds/{hold}"), Value::Null).await.json();
    assert!(detail["hindrance"].as_str().unwrap().contains("acts for another"), "{detail}");
    let views = async || world.number("SELECT count(*) AS n FROM views").await;
    assert_eq!(views().await, 0, "an agent that reads is no person who looked");
    let own = access_token(&idp, "alice", "cli").await;
    call(&world, &own, "GET", &format!("/api/holds/{hold}"), Value::Null).await;
    assert_eq!(views().await, 1);

    // A client's own token is nobody's, and no more than that where somebody linked the client to a person.
    let basic = "Basic cm9ib3Q6c2VjcmV0".parse().unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, basic)]);
    let form = format!("grant_type=client_credentials&resource={AUDIENCE}&scope=decide");
    let answer = token(&idp, headers, form).await;
    let own = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(approve(&world, own, &hold).await, refused(StatusCode::FORBIDDEN, "unknown_person"));
    link(&world, "alice", &idp.issuer(), "robot").await;
    assert_eq!(approve(&world, own, &hold).await, cannot());

    let stranger = access_token(&idp, "mallory", "cli").await;
    assert_eq!(approve(&world, &stranger, &hold).await, refused(StatusCode::FORBIDDEN, "unknown_person"));
    let answer = call(&world, &stranger, "GET", "/api/holds", Value::Null).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(recorded(&world, "hold.approved").await.len(), 0);
}

#[tokio::test]
async fn token_decides_for_a_quarter_of_an_hour_after_the_sign_in() {
    let idp = Idp::new("EdDSA");
    let world = world(&idp.issuer()).await;
    let (_, hold) = world.held(&["one"], "{}").await;
    let token = access_token(&idp, "alice", "cli").await;
    world.clock.advance(16 * 60);
    assert_eq!(call(&world, &token, "GET", "/api/holds", Value::Null).await.status, StatusCode::OK);
    assert_eq!(approve(&world, &token, &hold).await, refused(StatusCode::FORBIDDEN, "sign_in_again"));
    world.clock.advance(60 * 60);
    assert_eq!(approve(&world, &token, &hold).await, refused(StatusCode::UNAUTHORIZED, "invalid_token"));
}

#[tokio::test]
async fn token_that_the_provider_did_not_make_for_this_service_is_refused() {
    let key = PrivateKey::from_seed(&[7; 32]);
    let idp = Idp::with_keys(0, &[&key]);
    let world = world(&idp.issuer()).await;
    let (_, hold) = world.held(&["one"], "{}").await;
    let now = world.service.now();
    let claims = |change: Value| {
        let mut claims = json!({
            "iss": idp.issuer(), "sub": "alice", "aud": AUDIENCE, "client_id": "cli", "iat": now, "exp": now + 600,
            "auth_time": now,
        });
        change.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        claims.to_string()
    };
    let sign = |key: &PrivateKey, typ: &str, change: Value| key.sign(typ, claims(change).as_bytes());
    let with_header = |header: Value, signature: &[u8]| {
        let input = format!("{}.{}", b64url(header.to_string().as_bytes()), b64url(claims(json!({})).as_bytes()));
        format!("{input}.{}", b64url(signature))
    };
    let sound = sign(&key, "at+jwt", json!({}));
    let public = key.to_public_jwk();
    let hs256 = {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": public.kid});
        let input = format!("{}.{}", b64url(header.to_string().as_bytes()), b64url(claims(json!({})).as_bytes()));
        // The oldest of tricks: the public key as the secret of a symmetric algorithm.
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(public.x.as_bytes()).unwrap();
        mac.update(input.as_bytes());
        format!("{input}.{}", b64url(&mac.finalize().into_bytes()))
    };
    let (head, rest) = sound.split_once('.').unwrap();
    let signature = rest.rsplit_once('.').unwrap().1;
    let cases = [
        ("another audience", sign(&key, "at+jwt", json!({"aud": "https://other.example"}))),
        ("the console's ID token", sign(&key, "JWT", json!({"aud": "holdgate"}))),
        ("an ID token with our audience", sign(&key, "JWT", json!({}))),
        ("another issuer", sign(&key, "at+jwt", json!({"iss": "https://evil.example"}))),
        ("expired", sign(&key, "at+jwt", json!({"exp": now}))),
        ("not yet", sign(&key, "at+jwt", json!({"nbf": now + 600}))),
        ("bound to a key", sign(&key, "at+jwt", json!({"cnf": {"jkt": "x"}}))),
        ("a grant", sign(&key, "holdgate-grant+jwt", json!({}))),
        ("another key with the same id", {
            let forged = PrivateKey::from_seed(&[8; 32]).sign("at+jwt", claims(json!({})).as_bytes());
            format!("{head}.{}", forged.split_once('.').unwrap().1)
        }),
        ("no signature", with_header(json!({"alg": "none", "typ": "at+jwt"}), b"")),
        ("no algorithm", with_header(json!({"typ": "at+jwt", "kid": public.kid}), b"x")),
        ("the public key as a secret", hs256),
        ("a key in the header", with_header(json!({"alg": "EdDSA", "typ": "at+jwt", "jwk": public}), &[0; 64])),
        ("other claims", format!("{head}.{}.{signature}", b64url(claims(json!({"sub": "bob"})).as_bytes()))),
        ("cut", sound[..sound.len() - 1].to_owned()),
        ("two parts", "a.b".to_owned()),
        ("long", format!("{sound}{}", "A".repeat(20_000))),
        ("no session", "A".repeat(43)),
        ("nothing", String::new()),
    ];
    for (what, token) in cases {
        let (status, word) = approve(&world, &token, &hold).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}: {word}");
    }
    // A header that cannot be read as one token counts all the same: what comes by itself does not step in for it.
    let cookie = world.sign_in("bob").await.cookie;
    for value in ["Basic YTpi", "Bearer", "bearer x.y.z"] {
        let request = Request::get("/api/session").header("cookie", &cookie).header("authorization", value);
        assert_eq!(
            send(&world.people, request.body("".into()).unwrap()).await.status,
            StatusCode::UNAUTHORIZED,
            "{value}"
        );
    }
    let twice =
        Request::get("/api/session").header("cookie", &cookie).header("authorization", format!("Bearer {sound}"));
    let twice = twice.header("authorization", format!("Bearer {sound}")).body("".into()).unwrap();
    assert_eq!(send(&world.people, twice).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(recorded(&world, "hold.approved").await.len(), 0);
    assert_eq!(approve(&world, &sound, &hold).await.0, StatusCode::OK);
}

#[tokio::test]
async fn session_token_is_a_bearer_token_and_needs_no_other_proof() {
    let world = world("http://127.0.0.1:9").await;
    let (_, hold) = world.held(&["one"], "{}").await;
    let token = world.service.sign_in("alice", PASSWORD).await.unwrap().token;
    let request =
        Request::post(format!("/api/holds/{hold}/decisions")).header("cookie", format!("holdgate_session={token}"));
    let body = json!({"verdict": "approve"}).to_string();
    assert_eq!(send(&world.people, request.body(body.into()).unwrap()).await.error(), "csrf");
    assert_eq!(approve(&world, &token, &hold).await.0, StatusCode::OK);
    // A page is a browser's, and knows cookies only.
    assert_eq!(call(&world, &token, "GET", "/holds", Value::Null).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn token_is_looked_at_again_in_the_transaction_that_decides() {
    let world = world("http://127.0.0.1:9").await;
    let (_, hold) = world.held(&["one"], "{}").await;
    let now = world.service.now();
    let who = |sub: &str, expires_at: u64| {
        let (iss, sub) = ("http://127.0.0.1:9".to_owned(), sub.to_owned());
        let auth_time = Some(now);
        Who::Token(AccessToken { iss, sub, client: "cli".into(), auth_time, expires_at, unfit: None })
    };
    let revoke = async |who: &Who| world.service.revoke(who, &hold, "").await;
    for (what, who) in [("a link that is gone", who("mallory", now + 60)), ("an end that has come", who("alice", now))]
    {
        assert!(matches!(revoke(&who).await, Err(DecideError::SessionEnded)), "{what}");
        assert!(matches!(world.service.decide(&who, vec![]).await, Err(DecideError::SessionEnded)), "{what}");
    }
    revoke(&who("alice", now + 60)).await.unwrap();
}
