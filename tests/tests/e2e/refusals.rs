//! Hostile and broken input: a clear refusal each time, and the next good request passes.

use holdgate_tests::{
    identity::Issuer,
    now,
    stack::{ISSUER, Stack, usual_claims},
};
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{assert_problem, passed, roles, start};

async fn assert_token_is_refused(stack: &Stack, name: &str, token: String) {
    let before = stack.upstream.seen().len();
    let answer = stack.agent_with_token(token).get("/iam/users").send().await.unwrap();
    assert_eq!(answer.status, 401, "{name}: {}", answer.text());
    assert_problem(&answer, 401, "identity");
    assert!(answer.header("www-authenticate").is_some(), "{name}");
    assert_eq!(stack.upstream.seen().len(), before, "{name}: the upstream saw it");
    assert!(stack.passes_routine().await, "{name}: the next good request passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_are_refused() {
    let stack = start(json!({})).await;
    let good = |claims: Value| stack.issuer.token(usual_claims(claims));
    let stranger = Issuer::new(ISSUER).unwrap();
    let (body, signature) = good(json!({})).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let cases = [
        ("alg none", stack.issuer.unsigned_token(usual_claims(json!({})))),
        ("expired", good(json!({"iat": now() - 7200, "exp": now() - 3600}))),
        ("not yet valid", good(json!({"nbf": now() + 3600}))),
        ("another audience", good(json!({"aud": "https://other.example"}))),
        ("another issuer", good(json!({"iss": "https://other.example"}))),
        ("another key", stranger.token(usual_claims(json!({})))),
        ("no expiry", good(json!({"exp": null}))),
        ("no subject", good(json!({"sub": null}))),
        ("a signature cut short", format!("{body}.{}", signature.chars().skip(4).collect::<String>())),
        ("no signature", format!("{body}.")),
        ("no token at all", String::new()),
        ("not a token", "holdgate".to_owned()),
    ];
    for (name, token) in cases {
        assert_token_is_refused(&stack, name, token).await;
    }
    let answer = stack.agent().get("/iam/users").without("authorization").send().await.unwrap();
    assert_problem(&answer, 401, "identity");
    assert!(answer.header("www-authenticate").is_some());
    assert!(stack.passes_routine().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_a_single_reading_are_refused() {
    let stack = start(json!({})).await;
    let (token, other) = (stack.agent().token, stack.agent_with(json!({"sub": "agent-9"})).token);
    let head = |lines: &[&[u8]]| {
        let mut head = b"GET /iam/users HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n".to_vec();
        lines.iter().for_each(|line| head.extend_from_slice(&[line, b"\r\n".as_slice()].concat()));
        [head, b"\r\n".to_vec()].concat()
    };
    let authorization = format!("authorization: Bearer {token}");
    // Envoy joins two `authorization` fields to one, which is no token. What it refuses by itself has no problem details.
    let cases: [(&str, u16, Option<&str>, Vec<u8>); 6] = [
        (
            "a value that is not UTF-8",
            400,
            Some("malformed"),
            head(&[authorization.as_bytes(), b"x-note: caf\xe9 \xff"]),
        ),
        ("a token that is not UTF-8", 400, Some("malformed"), head(&[b"authorization: Bearer \xff\xfe"])),
        ("the same token twice", 401, Some("identity"), head(&[authorization.as_bytes(), authorization.as_bytes()])),
        ("two tokens", 401, Some("identity"), {
            head(&[authorization.as_bytes(), format!("authorization: Bearer {other}").as_bytes()])
        }),
        ("a header name with `_`", 400, None, head(&[authorization.as_bytes(), b"x_note: 1"])),
        ("an escaped slash", 400, None, {
            let line =
                format!("GET /iam%2Fusers HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n{authorization}");
            [line.as_bytes(), b"\r\n\r\n"].concat()
        }),
    ];
    for (name, expected, problem, request) in cases {
        let before = stack.upstream.seen().len();
        let (status, text) = stack.agent().send_raw(&request).await.unwrap();
        assert_eq!(status, expected, "{name}: {text}");
        if let Some(problem) = problem {
            assert!(text.contains(&format!("urn:holdgate:problem:{problem}")), "{name}: {text}");
        }
        assert_eq!(stack.upstream.seen().len(), before, "{name}: the upstream saw it");
        assert!(stack.passes_routine().await, "{name}: the next good request passes");
    }
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_judged_are_refused() {
    let stack = start(json!({})).await;
    let target = roles("7");
    let large = format!("{{\"role\":\"{}\"}}", "x".repeat(1_048_576));
    let huge = format!("{{\"role\":\"{}\"}}", "x".repeat(5_000_000));
    for (name, body) in [("over max_body", large), ("over every buffer", huge)] {
        for (chunked, http2) in [(false, false), (true, false), (false, true), (true, true)] {
            let call = stack.agent().post(&target, body.clone());
            let call = if chunked { call.chunked() } else { call };
            let call = if http2 { call.http2() } else { call };
            // A gateway may hang up on the rest of a body that it has refused already, where there is much left of it.
            let answer = call.send().await;
            assert!(answer.is_ok() || name != "over max_body", "{name}, chunked {chunked}, http2 {http2}: {answer:?}");
            if let Ok(answer) = answer {
                assert_eq!(answer.status, 413, "{name}, chunked {chunked}, http2 {http2}: {}", answer.text());
            }
            assert!(stack.passes_routine().await, "{name}: the next good request passes");
        }
    }
    assert!(stack.upstream.seen_at(&target).is_empty());
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
}

/// What the filter reads as harmless and an upstream could read as something else.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_with_two_readings_are_refused() {
    let stack = start(json!({})).await;
    let note = |body: &str| stack.agent().call(Method::POST, "/iam/users/7/notes").body(body.to_owned());
    let json = |body: &str| note(body).header("content-type", "application/json");
    let good = r#"{"text":"x"}"#;
    let cases = [
        ("a duplicate key", 400, json(r#"{"text":"x","text":"y"}"#)),
        ("keys that differ in case", 400, json(r#"{"text":"x","Text":"y"}"#)),
        ("text behind the value", 400, json(r#"{"text":"x"}{"text":"y"}"#)),
        ("a byte-order mark", 400, json("\u{feff}{\"text\":\"x\"}")),
        ("a form", 415, note("text=x&role=admin").header("content-type", "application/x-www-form-urlencoded")),
        ("JSON that says it is a form", 415, note(good).header("content-type", "application/x-www-form-urlencoded")),
        ("another charset", 415, note(good).header("content-type", "application/json; charset=utf-16")),
        ("two content types", 415, json(good).header("content-type", "text/plain")),
        ("a compressed body", 415, json(good).header("content-encoding", "gzip")),
        ("a method override", 400, json(good).header("x-http-method-override", "DELETE")),
        ("a URL override", 400, json(good).header("x-original-url", "/iam/users/7/roles")),
    ];
    for (name, status, call) in cases {
        let before = stack.upstream.seen().len();
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(stack.upstream.seen().len(), before, "{name}: the upstream saw it");
        assert!(passed(&json(good).send().await.unwrap()), "{name}: the next good request passes");
    }
    // A proxy-style spelling of the host is set right before the request goes on.
    assert!(passed(&stack.agent().get("/iam/users/7?renamed").host("API.example:80").send().await.unwrap()));
    assert_eq!(stack.upstream.seen_at("/iam/users/7?renamed")[0].header("host").as_deref(), Some("api.example"));
}
