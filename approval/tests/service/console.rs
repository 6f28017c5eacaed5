//! The pages that reviewers see.

use axum::http::StatusCode;
use holdgate_approval::http::routes;
use holdgate_protocol::{Pointer, b64, gateway::OpenHold};
use serde_json::json;

use crate::support::{World, agent};

#[tokio::test]
async fn every_answer_keeps_the_browser_in_its_bounds() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    for path in ["/signin", "/holds", "/api/holds", "/console.css", "/console.js", "/nowhere", "/holds/nowhere"] {
        let answer = alice.get(path).await;
        let csp = answer.header("content-security-policy");
        assert!(csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"), "{path}: {csp}");
        assert!(!csp.contains("unsafe"), "{csp}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let cached = path.starts_with("/console");
        assert_eq!(answer.header("cache-control"), if cached { "no-cache" } else { "no-store" }, "{path}");
        // The policy forbids inline scripts and styles; a page that had some would be broken.
        assert!(!answer.text.contains("<style") && !answer.text.contains(" style="), "{path}");
        assert!(!answer.text.contains("<script>") && !answer.text.contains("onclick"), "{path}");
    }
}

#[tokio::test]
async fn what_was_captured_is_shown_and_does_nothing() {
    let world = World::new().await;
    let body = "{\"role\":\"admin\",\"note\":\"<script>alert(1)</script> \u{202e}txt\",\"n\":1.0e+2}";
    let mut ask = world.ask(&["two"], body);
    ask.request.query = Some("a=<b>".into());
    ask.request.fields.push(("x-evil".into(), "<img src=x onerror=alert(1)>\u{7}".into()));
    ask.request.body.redacted = vec!["/phone".parse::<Pointer>().unwrap()];
    ask.agent_reason = Some("Please \u{200b}approve <b>now</b>".into());
    ask.agent.sub = "bot\u{202e}nimda".into();
    let (_, opened) = world.open(&ask).await;
    let alice = world.sign_in("alice").await;
    let page = alice.get(&format!("/holds/{}", opened.hold)).await.text;
    for shown in [
        "/iam/users/7/roles",
        "?a=&lt;b&gt;",
        "iam.example",
        "Because of two",
        "&lt;script&gt;alert(1)",
        "\\u{202e}",
        "1.0e+2",
        "x-evil",
        "&lt;img src=x onerror",
        "\\u{7}",
        "<code>/phone</code>",
        "guard (serial 1)",
        "bot<span class=\"escape\">\\u{202e}</span>nimda",
        "https://idp.example",
        "olivia",
        "Unverified, written by the agent",
        "Please <span class=\"escape\">\\u{200b}</span>approve &lt;b&gt;",
        &ask.digest.to_string(),
        "1 of 1 missing",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    for raw in ["<script>alert", "<img", "<b>now", "\u{202e}", "\u{200b}"] {
        assert!(!page.contains(raw), "{raw}");
    }
    let list = alice.get("/holds").await.text;
    assert!(list.contains("bot<span class=\"escape\">") && !list.contains('\u{202e}'));
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_what_is_no_text_is_hex() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let page = async |body: Option<Vec<u8>>, size: u64| {
        let mut ask = world.ask(&["one"], &format!("{size}"));
        ask.request.body.b64 = body.as_deref().map(b64);
        ask.request.body.size = size;
        let (_, opened) = world.open(&ask).await;
        alice.get(&format!("/holds/{}", opened.hold)).await.text
    };
    // Whatever a filter captures with its usual `max_body` is shown whole.
    let whole = page(Some(vec![b'x'; 1_048_576]), 1_048_576).await;
    assert!(whole.contains("1,048,576 bytes, shown as text") && !whole.contains("bytes more"));
    assert!(whole.contains(&"x".repeat(1_048_576)));
    let long = page(Some(vec![b'x'; 1_100_000]), 1_100_000).await;
    assert!(
        long.contains("1,100,000 bytes, shown as text")
            && long.contains("… 51,424 bytes more")
            && long.contains("not all of it")
    );
    let json = format!("{{\"a\":\"{}\"}}", "x".repeat(1_050_000));
    assert!(page(Some(json.into_bytes()), 1_050_008).await.contains("… 1,432 bytes more"));
    let bytes = page(Some(vec![0xff; 1_000_000]), 1_000_000).await;
    assert!(bytes.contains("000f4230  ff") && !bytes.contains("bytes more"));
    let binary = page(Some(vec![0xff, 0x00, 0x80]), 3).await;
    assert!(binary.contains("3 bytes, shown as bytes") && binary.contains("00000000  ff 00 80"));
    assert!(page(Some(vec![]), 0).await.contains("Empty."));
    assert!(page(None, 77).await.contains("The body is not shown"));
    assert!(page(Some(b"{\"a\":1}".to_vec()), 99).await.contains("Only 7 bytes of it were captured."));
}

#[tokio::test]
async fn a_reviewer_decides_on_the_page_without_a_script() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["why"], "a").await;
    let alice = world.sign_in("alice").await;
    let form = |reason: &str| format!("csrf={}&verdict=approve&reason={reason}", alice.csrf);
    let path = format!("/holds/{hold}/decisions");
    let refused = world.post_form(&path, &alice.cookie, &form("")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Not decided: this hold asks for a reason."));
    let done = world.post_form(&path, &alice.cookie, &form("ticket+%3C42%3E")).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, format!("/holds/{hold}").as_str()));
    let page = alice.get(&format!("/holds/{hold}")).await.text;
    assert!(page.contains("ticket &lt;42&gt;") && page.contains("Revoke the approval"));
    let revoke = world.post_form(&format!("/holds/{hold}/revoke"), &alice.cookie, &form("oops")).await;
    assert_eq!(revoke.status, StatusCode::SEE_OTHER);
    assert!(alice.get(&format!("/holds/{hold}")).await.text.contains(": Alice Archer took it back."));
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_none());
}

#[tokio::test]
async fn a_redemption_without_a_report_is_shown_as_unknown() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    alice.decide(&hold, "approve").await;
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
    let page = async || alice.get(&format!("/holds/{hold}")).await.text;
    assert!(page().await.contains("The gateway has not reported yet") && !page().await.contains("unknown"));
    // The life of the grant, and what the gateway has to report.
    world.clock.advance(60 + 120);
    assert!(page().await.contains("whether it reached the upstream is unknown"));
    let item = json!({"hold": hold, "attempt": crate::support::attempt(1), "forwarded": true, "status": 204});
    world.gateway("edge", "POST", "/v1/outcomes", &json!({"items": [item]})).await;
    assert!(page().await.contains("It went upstream, which answered 204."));
}

#[tokio::test]
async fn the_list_shows_the_nearest_deadline_first_and_decides_many() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let mut holds = Vec::new();
    for number in 0..5 {
        let (_, hold) = world.held(&["one"], &format!("{number}")).await;
        holds.push(hold);
        world.clock.advance(10);
    }
    let first = alice.get("/api/holds?limit=2").await.json();
    let second = alice.get(&format!("/api/holds?limit=2&after={}", first["next"].as_str().unwrap())).await.json();
    let ids = |page: &serde_json::Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!([ids(&first), ids(&second)].concat(), holds[..4]);
    assert_eq!(first["total"], 5);
    let page = alice.get("/holds?limit=2").await.text;
    assert!(page.contains("Next page") && page.contains(&holds[1]) && !page.contains(&holds[2]));

    let (_, own) = world
        .open(&OpenHold { agent: holdgate_protocol::Agent { owner: None, ..agent() }, ..world.ask(&["one"], "x") })
        .await;
    let form = |holds: &[&String], verdict: &str| {
        let holds: String = holds.iter().map(|hold| format!("&hold={hold}")).collect();
        format!("csrf={}&verdict={verdict}&confirmed=yes&reason=all{holds}", alice.csrf)
    };
    let mixed = form(&[&holds[0], &own.hold], "approve");
    let partly = world.post_form("/holds/decisions", &alice.cookie, &mixed).await;
    assert_eq!(partly.status, StatusCode::CONFLICT);
    assert!(partly.text.contains("1 approved, 1 not") && partly.text.contains("the agent has no owner"));
    assert!(partly.text.contains("POST iam.example/iam/users/7/roles"), "{}", partly.text);
    let rest = world.post_form("/holds/decisions", &alice.cookie, &form(&[&holds[1], &holds[2]], "deny")).await;
    assert!(rest.status == 200 && rest.text.contains("<h1>2 denied</h1>"), "{}", rest.text);
    // Ended ones come with the newest first.
    let denied = alice.get("/api/holds?state=denied&limit=1").await.json();
    let next = alice.get(&format!("/api/holds?state=denied&after={}", denied["next"].as_str().unwrap())).await.json();
    let mut both = [ids(&denied), ids(&next)].concat();
    both.sort();
    let mut expected = holds[1..3].to_vec();
    expected.sort();
    assert_eq!(both, expected);
    for path in ["/holds?after=x", "/holds?state=x", "/api/holds?limit=x"] {
        assert_eq!(alice.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(world.post_form("/holds/decisions", &alice.cookie, &form(&[], "deny")).await.status, 400);
}

#[tokio::test]
async fn behind_tls_cookies_are_bound_to_the_host() {
    let world = World::new().await;
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let app = holdgate_approval::http::App::new(world.service.clone(), true, stopping);
    let request = axum::http::Request::get("/signin").body(axum::body::Body::empty()).unwrap();
    let answer = crate::support::send(&routes::people(app), request).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-holdgate_form=") && cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(json!(cookie.contains("Domain")), json!(false));
}

#[tokio::test]
async fn the_list_tells_what_is_approved_from_it() {
    let world = World::new().await;
    let mut ask = world.ask(&["one"], "a");
    ask.request.query = Some(format!("dry_run=<no>&pad={}", "x".repeat(600)));
    ask.agent.act = vec![holdgate_protocol::Actor { iss: "https://agents.example".into(), sub: "helper".into() }];
    ask.agent.sub = "olivia".into();
    world.open(&ask).await;
    let alice = world.sign_in("alice").await;
    let page = alice.get("/holds").await.text;
    for shown in
        ["?dry_run=&lt;no&gt;&amp;pad=xxx", "… 105 bytes more", "helper", "https://agents.example", "for <bdi>olivia</bdi>"]
    {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    let item = alice.get("/api/holds").await.json()["items"][0].clone();
    assert_eq!((item["query"].as_str().unwrap().len(), &item["query_rest"]), (512, &json!(105)));
    assert_eq!((&item["principal"], &item["agent"]["act"][0]["sub"]), (&json!("olivia"), &json!("helper")));
}

#[tokio::test]
async fn what_was_wrong_is_shown_with_its_unseen_characters() {
    let world = World::new().await;
    let mut ask = world.ask(&["one"], "a");
    ask.agent.owner = Some("nobody\u{202e}evil".into());
    let (_, opened) = world.open(&ask).await;
    let alice = world.sign_in("alice").await;
    let form = format!("csrf={}&verdict=approve", alice.csrf);
    let page = world.post_form(&format!("/holds/{}/decisions", opened.hold), &alice.cookie, &form).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text.contains("Not decided:") && !page.text.contains('\u{202e}'));
    let css = alice.get("/console.css").await.text;
    assert!(css.contains("unicode-bidi: isolate-override"));
}
