//! The way to the provider and back, as a browser goes it.

use axum::http::StatusCode;
use holdgate_protocol::{Hash, b64url};
use serde_json::json;

use super::{
    idp::{Idp, PUBLIC, Person},
    recorded, world,
};
use crate::support::{Answer, World};

/// What a browser has when it comes back.
struct Visit {
    /// `set-cookie` of the way there, as the browser sends it.
    cookie: String,
    /// Path and query of the way back.
    back: String,
}

fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let pair = lines.filter_map(|line| line.split(';').next()).find(|pair| pair.starts_with(&format!("{name}=")));
    pair.map(ToOwned::to_owned)
}

/// Goes to the provider from a page of ours, signs in there, and stands at the way back.
async fn visit(world: &World, idp: &Idp, person: &mut Person, name: &str, begin: &str, session: &str) -> Visit {
    let there = world.get(begin, session).await;
    assert_eq!(there.status, StatusCode::SEE_OTHER, "{}", there.text);
    let back = person.visit(idp, there.header("location"), name).await;
    let back = back.strip_prefix(PUBLIC).unwrap().to_owned();
    Visit { cookie: cookie(&there, "holdgate_provider").unwrap(), back }
}

/// The cookie of a person who signed in at the provider.
async fn sign_in(world: &World, idp: &Idp, person: &mut Person, name: &str, begin: &str) -> String {
    let visit = visit(world, idp, person, name, begin, "").await;
    let answer = world.get(&visit.back, &visit.cookie).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    cookie(&answer, "holdgate_session").unwrap()
}

async fn decide(world: &World, session: &str, hold: &str) -> Answer {
    let csrf = world.get("/api/session", session).await.json()["csrf"].as_str().unwrap().to_owned();
    world.post_form(&format!("/holds/{hold}/decisions"), session, &format!("csrf={csrf}&verdict=approve")).await
}

async fn signs_in_and_decides(alg: &str) {
    let idp = Idp::new(alg);
    let world = world(&idp.issuer()).await;
    let (_, hold) = world.held(&["one"], "{}").await;
    assert!(world.get("/signin", "").await.text.contains("Sign in with Example ID"));

    let begin = format!("/signin/oidc?next=/holds/{hold}");
    let there = world.get(&begin, "").await;
    let address = there.header("location").to_owned();
    for part in ["code_challenge_method=S256", "code_challenge=", "state=", "nonce=", "max_age=28800", "scope=openid"] {
        assert!(address.contains(part), "{part}: {address}");
    }
    let kept = there.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Max-Age=900"] {
        assert!(kept.contains(part), "{kept}");
    }

    let visit = visit(&world, &idp, &mut Person::default(), "alice", &begin, "").await;
    assert!(visit.back.contains("&iss="), "{}", visit.back);
    let answer = world.get(&visit.back, &visit.cookie).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.text.contains(&format!("content=\"0; url=/holds/{hold}\"")), "{}", answer.text);
    assert_eq!(cookie(&answer, "holdgate_provider").unwrap(), "holdgate_provider=");
    let session = cookie(&answer, "holdgate_session").unwrap();
    let about = world.get("/api/session", &session).await.json();
    assert_eq!(about["person"], "alice");
    assert_eq!(about["via"], json!({"provider": {"iss": idp.issuer(), "client": "holdgate"}}));

    assert_eq!(decide(&world, &session, &hold).await.status, StatusCode::SEE_OTHER);
    let approved = recorded(&world, "hold.approved").await;
    assert_eq!(approved[0]["via"], about["via"]);
    assert_eq!(approved[0]["signed_in_at"], about["signed_in_at"]);
}

#[tokio::test]
async fn person_signs_in_at_the_provider_and_decides_with_eddsa() {
    signs_in_and_decides("EdDSA").await;
}

#[tokio::test]
async fn person_signs_in_at_the_provider_and_decides_with_es256() {
    signs_in_and_decides("ES256").await;
}

#[tokio::test]
async fn person_signs_in_at_the_provider_and_decides_with_rs256() {
    signs_in_and_decides("RS256").await;
}

#[tokio::test]
async fn answer_that_this_browser_did_not_ask_for_signs_nobody_in() {
    let idp = Idp::new("EdDSA");
    let world = world(&idp.issuer()).await;
    let mut alice = Person::default();
    let own = visit(&world, &idp, &mut alice, "alice", "/signin/oidc", "").await;
    let other = visit(&world, &idp, &mut alice, "alice", "/signin/oidc", "").await;
    let part = |visit: &Visit, name: &str| {
        let query = visit.back.split_once('?').unwrap().1;
        let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.unwrap().to_owned()
    };
    let (code, state, iss) = (part(&own, "code"), part(&own, "state"), part(&own, "iss"));
    let callback = "/signin/oidc/callback";
    let (kept, both) = (own.cookie.clone(), format!("{}; {}", other.cookie, own.cookie));
    let emptied = format!("holdgate_provider=.0..{}", &kept[kept.len().min(60)..]);
    // All that a visit needs, but the service has not begun it.
    let secret = "x".repeat(43);
    let fits = b64url(Hash::of(format!("holdgate oidc state\n{secret}").as_bytes()).as_bytes());
    let made = format!("holdgate_provider=x.{}.{secret}.0..", world.service.now());
    let cases = [
        ("no cookie", own.back.clone(), String::new(), "sign_in_not_asked"),
        ("another visit's cookie", own.back.clone(), other.cookie.clone(), "sign_in_not_asked"),
        ("two cookies, one of them tossed", own.back.clone(), both, "sign_in_not_asked"),
        ("a cookie without a secret", own.back.clone(), emptied, "sign_in_not_asked"),
        ("a visit of one's own making", format!("{callback}?code=x&state={fits}&iss={iss}"), made, "sign_in_not_asked"),
        ("another state", format!("{callback}?code={code}&state=x&iss={iss}"), kept.clone(), "sign_in_not_asked"),
        ("no state", format!("{callback}?code={code}&iss={iss}"), kept.clone(), "sign_in_not_asked"),
        (
            "another issuer",
            format!("{callback}?code={code}&state={state}&iss=https%3A%2F%2Fevil.example"),
            kept.clone(),
            "sign_in_issuer",
        ),
        ("no issuer", format!("{callback}?code={code}&state={state}"), kept.clone(), "sign_in_issuer"),
        ("a refusal", format!("{callback}?error=access_denied&state={state}&iss={iss}"), kept.clone(), "access_denied"),
        ("no code", format!("{callback}?state={state}&iss={iss}"), kept.clone(), "no code"),
        ("a made-up code", format!("{callback}?code=x&state={state}&iss={iss}"), kept.clone(), "invalid_grant"),
        (
            "the code of another visit, which has another verifier",
            format!("{callback}?code={}&state={state}&iss={iss}", part(&other, "code")),
            kept.clone(),
            "invalid_grant",
        ),
    ];
    for (what, path, kept, expected) in cases {
        let answer = world.get(&path, &kept).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}: {}", answer.text);
        assert_eq!(cookie(&answer, "holdgate_session"), None, "{what}");
        let words = match expected {
            "sign_in_not_asked" => "belongs to no sign-in that this browser began",
            "sign_in_issuer" => "is not the provider of this service",
            other => other,
        };
        assert!(answer.text.contains(words), "{what}: {}", answer.text);
        // What another site can cause takes nothing from a sign-in that is under way.
        assert_eq!(cookie(&answer, "holdgate_provider").is_none(), expected == "sign_in_not_asked", "{what}");
    }
    world.clock.advance(901);
    assert!(world.get(&own.back, &own.cookie).await.text.contains("belongs to no sign-in"), "it is too late");
    world.clock.advance(0_u64.wrapping_sub(901));
    assert_eq!(world.get(&own.back, &own.cookie).await.status, StatusCode::OK);
    let again = world.get(&own.back, &own.cookie).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "a code counts once");
    assert!(again.text.contains("invalid_grant"), "{}", again.text);
    assert_eq!(recorded(&world, "person.signed_in").await.len(), 1);
}

#[tokio::test]
async fn session_is_a_new_one_and_the_one_before_ends() {
    let idp = Idp::new("EdDSA");
    let world = world(&idp.issuer()).await;
    let (mut alice, planted) = (Person::default(), "holdgate_session=planted-by-somebody-else");
    let visit_planted = visit(&world, &idp, &mut alice, "alice", "/signin/oidc", planted).await;
    let first = world.get(&visit_planted.back, &format!("{}; {planted}", visit_planted.cookie)).await;
    let first = cookie(&first, "holdgate_session").unwrap();
    assert_ne!(first, planted);
    assert_eq!(world.get("/api/session", planted).await.status, StatusCode::UNAUTHORIZED);

    let visit_again = visit(&world, &idp, &mut alice, "alice", "/signin/oidc", &first).await;
    // The session's own cookie does not come along from another site.
    let second = world.get(&visit_again.back, &visit_again.cookie).await;
    let second = cookie(&second, "holdgate_session").unwrap();
    assert_ne!(first, second);
    assert_eq!(world.get("/api/session", &first).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.get("/api/session", &second).await.status, StatusCode::OK);

    let csrf = world.get("/api/session", &second).await.json()["csrf"].as_str().unwrap().to_owned();
    world.post_form("/signout", &second, &format!("csrf={csrf}")).await;
    assert_eq!(world.get("/api/session", &second).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(recorded(&world, "person.signed_out").await.len(), 2);
}

#[tokio::test]
async fn decision_needs_a_recent_sign_in_at_the_provider() {
    let idp = Idp::new("EdDSA");
    let world = world(&idp.issuer()).await;
    let (_, hold) = world.held(&["one"], "{}").await;
    let mut alice = Person::default();
    let session = sign_in(&world, &idp, &mut alice, "alice", "/signin/oidc").await;
    assert_eq!(alice.asked, 1);
    let signed_in_at = world.get("/api/session", &session).await.json()["signed_in_at"].clone();

    let quarter = 16 * 60;
    world.clock.advance(quarter);
    let page = world.get(&format!("/holds/{hold}"), &session).await.text;
    assert!(page.contains(&format!("/signin?again=1&amp;next=/holds/{hold}")), "{page}");
    let refused = decide(&world, &session, &hold).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let form = world.get(&format!("/signin?again=1&next=/holds/{hold}"), &session).await.text;
    assert!(form.contains(&format!("/signin/oidc?next=/holds/{hold}&amp;again=1")), "{form}");

    // Who is signed in at the provider comes back at once, and with the time of that sign-in.
    let same = sign_in(&world, &idp, &mut alice, "alice", "/signin/oidc").await;
    assert_eq!(alice.asked, 1);
    assert_eq!(world.get("/api/session", &same).await.json()["signed_in_at"], signed_in_at);
    assert_eq!(decide(&world, &same, &hold).await.status, StatusCode::FORBIDDEN);

    // Who was asked to sign in again and comes back as signed in long ago, does not count.
    let begin = format!("/signin/oidc?again=1&next=/holds/{hold}");
    let stale = visit(&world, &idp, &mut alice, "alice", &begin, &same).await;
    let refused = world.get(&stale.back, &stale.cookie).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("too long ago"), "{}", refused.text);

    world.clock.advance(quarter.wrapping_neg());
    let asked = alice.asked;
    let fresh = sign_in(&world, &idp, &mut alice, "alice", &begin).await;
    assert_eq!(alice.asked, asked + 1, "the provider asks again");
    assert_eq!(decide(&world, &fresh, &hold).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn identity_without_a_person_is_refused_told_and_recorded() {
    let idp = Idp::new("EdDSA");
    let world = world(&idp.issuer()).await;
    let mallory = visit(&world, &idp, &mut Person::default(), "mallory", "/signin/oidc", "").await;
    let answer = world.get(&mallory.back, &mallory.cookie).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("mallory") && answer.text.contains(&idp.issuer()), "{}", answer.text);
    assert_eq!(cookie(&answer, "holdgate_session"), None);
    assert_eq!(recorded(&world, "identity.unknown").await, [json!({"iss": idp.issuer(), "sub": "mallory"})]);
}

#[tokio::test]
async fn sign_in_leads_to_pages_of_this_service_only() {
    let idp = Idp::new("EdDSA");
    let world = world(&idp.issuer()).await;
    let mut alice = Person::default();
    for next in
        ["https://evil.example", "//evil.example", "/%5Cevil.example", "/holds/..//evil", "/signout", "/holds%0d%0aX"]
    {
        let visit = visit(&world, &idp, &mut alice, "alice", &format!("/signin/oidc?next={next}"), "").await;
        let answer = world.get(&visit.back, &visit.cookie).await;
        assert!(answer.text.contains("content=\"0; url=/holds\""), "{next}: {}", answer.text);
    }
    let visit = visit(&world, &idp, &mut alice, "alice", "/signin/oidc", "").await;
    let tampered = format!("{}https://evil.example", visit.cookie);
    let answer = world.get(&visit.back, &tampered).await;
    assert!(answer.text.contains("belongs to no sign-in that this browser began"), "{}", answer.text);
    assert!(!answer.text.contains("evil.example") && cookie(&answer, "holdgate_session").is_none());
}

#[tokio::test]
async fn local_accounts_go_on_where_the_provider_is_away() {
    let world = world("http://127.0.0.1:9").await;
    let answer = world.get("/signin/oidc", "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert!(answer.text.contains("the sign-in provider does not answer"), "{}", answer.text);
    assert_eq!(world.sign_in("alice").await.get("/api/session").await.json()["via"], "local");
}
