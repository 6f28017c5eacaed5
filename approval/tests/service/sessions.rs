//! Sessions of those who carry their token themselves.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::support::{Answer, NOW, PASSWORD, World, send};

async fn sign_in(world: &World, body: &Value) -> Answer {
    let request = Request::post("/api/sessions").header("content-type", "application/json");
    send(&world.people, request.body(body.to_string().into()).unwrap()).await
}

async fn ask(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
    send(&world.people, request.body(body).unwrap()).await
}

async fn token(world: &World, person: &str) -> String {
    let answer = sign_in(world, &json!({"person": person, "password": PASSWORD})).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_reads_and_decides_until_the_session_ends() {
    let world = World::new().await;
    let answer = sign_in(&world, &json!({"person": "alice", "password": PASSWORD})).await;
    assert!(
        answer.status == 201 && answer.header("set-cookie").is_empty(),
        "nothing of it becomes ambient: {:?}",
        answer.headers
    );
    let session = answer.json();
    assert_eq!((&session["person"], &session["name"]), (&json!("alice"), &json!("Alice Archer")));
    assert_eq!((&session["signed_in_at"], &session["expires_at"]), (&json!(NOW), &json!(NOW + 8 * 60 * 60)));
    let bearer = format!("Bearer {}", session["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];

    let (_, hold) = world.held(&["one"], "a").await;
    let list = ask(&world, "GET", "/api/holds", &headers, &Value::Null).await.json();
    assert_eq!(list["items"][0]["id"], hold);
    // Nothing adds it by itself, so that it needs no CSRF token.
    let path = format!("/api/holds/{hold}/decisions");
    let decided = ask(&world, "POST", &path, &headers, &json!({"verdict": "approve"})).await;
    assert_eq!((decided.status.as_u16(), &decided.json()["state"]), (200, &json!("approved")));

    assert_eq!(ask(&world, "DELETE", "/api/sessions/current", &headers, &Value::Null).await.status, 204);
    assert_eq!(ask(&world, "GET", "/api/session", &headers, &Value::Null).await.status, 401);
    assert_eq!(ask(&world, "DELETE", "/api/sessions/current", &headers, &Value::Null).await.status, 401);
}

#[tokio::test]
async fn of_cookie_and_token_the_token_counts() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let bob = format!("Bearer {}", token(&world, "bob").await);
    let both = [("cookie", alice.cookie.as_str()), ("authorization", bob.as_str())];
    assert_eq!(ask(&world, "GET", "/api/session", &both, &Value::Null).await.json()["person"], "bob");
    // A credential that is none does not fall back to the cookie, whose CSRF token would then not be asked for.
    let (_, hold) = world.held(&["one"], "a").await;
    let path = format!("/api/holds/{hold}/decisions");
    for wrong in ["Bearer nothing", "Bearer", "Basic YWxpY2U6eA==", ""] {
        let headers = [("cookie", alice.cookie.as_str()), ("authorization", wrong)];
        assert_eq!(ask(&world, "POST", &path, &headers, &json!({"verdict": "approve"})).await.status, 401, "{wrong}");
        let headers = [headers[0], headers[1], ("x-csrf-token", alice.csrf.as_str())];
        assert_eq!(ask(&world, "POST", &path, &headers, &json!({"verdict": "approve"})).await.status, 401, "{wrong}");
    }
    let twice = [("authorization", bob.as_str()), ("authorization", "Bearer x")];
    assert_eq!(ask(&world, "GET", "/api/session", &twice, &Value::Null).await.status, 401);
    // The cookie alone needs its CSRF token as before.
    let cookie = [("cookie", alice.cookie.as_str())];
    for (method, path) in [("POST", path.as_str()), ("DELETE", "/api/sessions/current")] {
        let answer = ask(&world, method, path, &cookie, &json!({"verdict": "approve"})).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (403, "csrf".into()), "{method} {path}");
    }
    // Credentials of gateways and publishers are nobody's session.
    for credential in ["Bearer edge-credential", "Bearer ci-credential"] {
        assert_eq!(
            ask(&world, "GET", "/api/session", &[("authorization", credential)], &Value::Null).await.status,
            401
        );
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_as_on_the_page() {
    let world = World::new().await;
    let wrong = json!({"person": "alice", "password": "wrong password"});
    for _ in 0..5 {
        let answer = sign_in(&world, &wrong).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (403, "wrong_sign_in".into()));
    }
    let unknown = sign_in(&world, &json!({"person": "mallory", "password": "wrong password"})).await;
    assert_eq!((unknown.status.as_u16(), unknown.error()), (403, "wrong_sign_in".into()), "as if she were somebody");
    sign_in(&world, &wrong).await;
    let answer = sign_in(&world, &json!({"person": "alice", "password": PASSWORD})).await;
    assert_eq!((answer.status.as_u16(), answer.error()), (429, "too_many_sign_ins".into()));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    // The page counts the same failures.
    assert!(world.service.sign_in("alice", PASSWORD).await.is_err());

    for body in [json!({"person": "alice"}), json!({"person": "alice", "password": PASSWORD, "admin": true}), json!([])]
    {
        assert_eq!(sign_in(&world, &body).await.error(), "malformed", "{body}");
    }
    let large = json!({"person": "alice", "password": "x".repeat(20_000)});
    assert_eq!(sign_in(&world, &large).await.error(), "too_large");
    // A page of another site cannot sign its reader in here.
    let request = Request::post("/api/sessions").header("origin", "https://evil.example").header("host", "here");
    let answer = send(&world.people, request.body(wrong.to_string().into()).unwrap()).await;
    assert_eq!(answer.error(), "cross_site");
}
