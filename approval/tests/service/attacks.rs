//! What somebody who should not get through might try.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Method, Request, StatusCode},
};
use holdgate_approval::{
    http::routes,
    service::{
        credentials::{AddCredential, Kind},
        who::Who,
    },
    store::ledger,
};
use holdgate_protocol::{Hash, gateway::MAX_OPEN_HOLD};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    database,
    support::{NOW, PASSWORD, World, send},
};

#[tokio::test]
async fn gateways_without_their_credential_learn_nothing() {
    let world = World::new().await;
    let credentials =
        ["", "Bearer", "Bearer wrong", "Basic edge-credential", "Bearer ci-credential", "edge-credential"];
    for route in routes::gateway_routes().iter().filter(|route| !matches!(route.path, "/healthz" | "/readyz")) {
        for credential in credentials {
            let path = route.path.replace("{hold}", "x").replace("{rev}", "x");
            let request =
                Request::builder().method(Method::from_bytes(route.method.to_uppercase().as_bytes()).unwrap());
            let request = request.uri(path).header("authorization", credential).body(Body::from("{}")).unwrap();
            let answer = send(&world.gateways, request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} {} {credential:?}", route.method, route.path);
        }
    }
    let twice = Request::get("/v1/state").header("authorization", "Bearer edge-credential");
    let twice = twice.header("authorization", "Bearer other-credential").body(Body::empty()).unwrap();
    assert_eq!(send(&world.gateways, twice).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn two_credentials_of_a_group_are_valid_for_rotation_and_the_oldest_is_retired() {
    let world = World::new().await;
    let works = async |name: &str| world.gateway(name, "GET", "/v1/state", &Value::Null).await.status == StatusCode::OK;
    for number in [2, 3] {
        let hash = Hash::of(format!("edge{number}-credential").as_bytes());
        let add = AddCredential { kind: Kind::Gateway, name: "edge".into(), hash, now: NOW };
        world.service.store.write(add).await.unwrap();
        assert_eq!(works("edge").await, number == 2);
    }
    assert!(works("edge2").await && works("edge3").await && works("other").await);
}

#[tokio::test]
async fn the_two_listeners_do_not_answer_for_each_other() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/state", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.gateway("edge", "GET", "/api/holds", &Value::Null).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.gateway("edge", "DELETE", "/v1/holds", &Value::Null).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn without_a_session_nothing_is_read_or_decided() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    for cookie in ["", "holdgate_session=x", "holdgate_session="] {
        for path in ["/api/session", "/api/holds", &format!("/api/holds/{hold}")] {
            assert_eq!(world.get(path, cookie).await.status, StatusCode::UNAUTHORIZED, "{path}");
        }
        for path in ["/", "/holds", &format!("/holds/{hold}")] {
            let answer = world.get(path, cookie).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER);
            assert!(answer.header("location").starts_with("/signin"), "{path}");
        }
        let answer = world.post_form(&format!("/holds/{hold}/decisions"), cookie, "verdict=approve").await;
        assert_eq!(answer.header("location"), format!("/signin?next=/holds/{hold}"));
    }
    let alice = world.sign_in("alice").await;
    let two = format!("{}; holdgate_session=planted", alice.cookie);
    assert_eq!(world.get("/api/session", &two).await.status, StatusCode::UNAUTHORIZED, "one of two cookies is planted");
}

#[tokio::test]
async fn a_write_without_the_sessions_own_token_is_refused() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let page = format!("/holds/{hold}/decisions");
    for csrf in ["", "csrf=", "csrf=x", &format!("csrf={}", bob.csrf)] {
        for path in [
            &page,
            "/holds/decisions",
            "/people",
            &format!("/holds/{hold}/revoke"),
            &format!("/holds/{hold}/withdraw"),
            "/signout",
        ] {
            let form = format!("hold={hold}&verdict=approve&confirmed=yes&{csrf}");
            assert_eq!(
                world.post_form(path, &alice.cookie, &form).await.status,
                StatusCode::FORBIDDEN,
                "{path} {csrf}"
            );
        }
        let token = csrf.trim_start_matches("csrf=");
        for path in [
            format!("/api{page}"),
            "/api/decisions".into(),
            format!("/api/holds/{hold}/revoke"),
            format!("/api/holds/{hold}/withdraw"),
        ] {
            let request = Request::post(&path).header("cookie", &alice.cookie).header("x-csrf-token", token);
            let answer = send(&world.people, request.body(Body::from(r#"{"items":[]}"#)).unwrap()).await;
            assert_eq!((answer.status, answer.error().as_str()), (StatusCode::FORBIDDEN, "csrf"), "{path}");
        }
    }
    assert_eq!(alice.get(&format!("/api/holds/{hold}")).await.json()["state"], "pending");
}

#[tokio::test]
async fn a_write_that_another_site_caused_is_refused_even_with_the_token() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let write = async |headers: &[(&str, &str)]| {
        let mut request = Request::post(format!("/api/holds/{hold}/decisions")).header("host", "console.example:8702");
        request = request.header("cookie", &alice.cookie).header("x-csrf-token", &alice.csrf);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = json!({"verdict": "approve"}).to_string();
        send(&world.people, request.body(Body::from(body)).unwrap()).await.status.as_u16()
    };
    for foreign in
        ["https://evil.example", "null", "http://console.example", "http://console.example:8702.evil.example"]
    {
        assert_eq!(write(&[("origin", foreign)]).await, 403, "{foreign}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(write(&[("sec-fetch-site", site)]).await, 403, "{site}");
    }
    let own = [("origin", "http://console.example:8702"), ("sec-fetch-site", "same-origin")];
    assert_eq!(write(&own).await, 200);
}

#[tokio::test]
async fn the_sign_in_form_is_bound_to_its_own_cookie_and_leads_nowhere_else() {
    let world = World::new().await;
    let form = world.get("/signin?next=https://evil.example/holds", "").await;
    let cookie = form.header("set-cookie").split(';').next().unwrap().to_owned();
    let csrf = form.text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(!form.text.contains("evil.example"));
    let fields = |csrf: &str, next: &str| format!("person=alice&password={PASSWORD}&csrf={csrf}&next={next}");
    for (cookie, csrf) in [("", csrf.as_str()), (&cookie, ""), ("holdgate_form=", &csrf), ("holdgate_form=x", &csrf)] {
        let answer = world.post_form("/signin", cookie, &fields(csrf, "")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{cookie} {csrf}");
        assert!(!answer.headers.get_all("set-cookie").iter().any(|c| c.to_str().unwrap().contains("session")));
    }
    for next in ["//evil.example", "https://evil.example", "/holds/../../evil", "/holds//evil?x", "%2Fholds%0d%0ax%3a1"]
    {
        let signed = world.post_form("/signin", &cookie, &fields(&csrf, next)).await;
        assert_eq!((signed.status, signed.header("location")), (StatusCode::SEE_OTHER, "/holds"), "{next}");
    }
    let signed = world.post_form("/signin", &cookie, &fields(&csrf, "/holds/abc")).await;
    assert_eq!(signed.header("location"), "/holds/abc");
    let session = signed.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(session.contains(attribute), "{session}");
    }
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_and_unknown_persons_look_like_wrong_passwords() {
    let world = World::new().await;
    let wrong = async |person: &str| world.service.sign_in(person, "guess").await.unwrap_err().to_string();
    for person in ["alice", "nobody at all", "nopass"] {
        for _ in 0..6 {
            assert_eq!(wrong(person).await, "the person or the password is not right", "{person}");
        }
        assert!(wrong(person).await.starts_with("too many failed sign-ins"), "{person}");
    }
    let at_once = (0..40).map(|_| {
        let service = world.service.clone();
        tokio::spawn(async move { service.sign_in("carol", "guess").await.unwrap_err().to_string() })
    });
    let mut tried = 0;
    for answer in at_once.collect::<Vec<_>>() {
        tried += usize::from(answer.await.unwrap() == "the person or the password is not right");
    }
    assert!(tried <= 7, "{tried} guesses at once were tried");
    assert!(world.service.sign_in("alice", PASSWORD).await.is_err(), "not even the right one gets through at once");
    assert!(world.service.sign_in("bob", PASSWORD).await.is_ok());
    world.clock.advance(2);
    assert!(world.service.sign_in("alice", PASSWORD).await.is_ok());
    assert_eq!(wrong("alice").await, "the person or the password is not right", "the count begins anew");
}

/// Names that nobody has are invented in any number: they keep nobody who has one from signing in, and are not told from one.
#[tokio::test]
async fn invented_names_keep_nobody_out() {
    let world = World::new().await;
    let invented: Vec<_> = (0..120)
        .map(|number| {
            let service = world.service.clone();
            tokio::spawn(async move { service.sign_in(&format!("invented{number}"), "guess").await.unwrap_err().to_string() })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(invented.iter().any(|one| !one.is_finished()), "they are at it");
    assert!(world.service.sign_in("alice", PASSWORD).await.is_ok());
    for one in invented {
        assert_eq!(one.await.unwrap(), "the person or the password is not right");
    }
}

#[tokio::test]
async fn a_session_ends_by_sign_out_by_time_and_by_a_new_password() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let signed_out = world.post_form("/signout", &alice.cookie, &format!("csrf={}", alice.csrf)).await;
    assert!(signed_out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(alice.get("/api/session").await.status, StatusCode::UNAUTHORIZED);

    let alice = world.sign_in("alice").await;
    world.clock.advance(8 * 3600);
    assert_eq!(alice.get("/api/session").await.status, StatusCode::UNAUTHORIZED);

    let alice = world.sign_in("alice").await;
    let hash = holdgate_approval::service::accounts::hash_password("another one").unwrap();
    let set = holdgate_approval::service::accounts::SetPassword { person: "alice".into(), hash, now: NOW };
    assert!(world.service.store.write(set).await.unwrap());
    assert_eq!(alice.get("/api/session").await.status, StatusCode::UNAUTHORIZED);
    assert!(world.service.sign_in("alice", PASSWORD).await.is_err());
    assert!(world.service.sign_in("alice", "another one").await.is_ok());
}

/// A body that says when it is asked for, and comes when it is sent.
pub struct Late {
    pub asked: Option<oneshot::Sender<()>>,
    pub bytes: oneshot::Receiver<Bytes>,
}

impl HttpBody for Late {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        if self.bytes.is_terminated() {
            return Poll::Ready(None);
        }
        self.asked.take().map(|asked| asked.send(()));
        Pin::new(&mut self.bytes).poll(cx).map(|bytes| Some(Ok(hyper::body::Frame::data(bytes.unwrap()))))
    }
}

#[tokio::test]
async fn a_decision_whose_session_ends_while_it_is_read_does_not_count() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let json = |value: Value| value.to_string();
    for (path, body) in [
        (format!("/api/holds/{hold}/decisions"), json(json!({"verdict": "approve"}))),
        ("/api/decisions".to_owned(), json(json!({"items": [{"hold": hold, "verdict": "approve"}]}))),
        (format!("/api/holds/{hold}/revoke"), json(json!({}))),
        (format!("/api/holds/{hold}/withdraw"), json(json!({}))),
        (format!("/holds/{hold}/decisions"), "verdict=approve".to_owned()),
        ("/holds/decisions".to_owned(), format!("verdict=approve&hold={hold}")),
        ("/holds/decisions".to_owned(), format!("verdict=approve&confirmed=yes&hold={hold}")),
        (format!("/holds/{hold}/revoke"), String::new()),
        (format!("/holds/{hold}/withdraw"), String::new()),
    ] {
        let alice = world.sign_in("alice").await;
        let ((asked, reads), (sender, bytes)) = (oneshot::channel(), oneshot::channel());
        let request = Request::post(&path).header("cookie", &alice.cookie).header("x-csrf-token", &alice.csrf);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let people = world.people.clone();
        let request = request.body(Body::new(Late { asked: Some(asked), bytes })).unwrap();
        let answer = tokio::spawn(async move { send(&people, request).await });
        // The head is read and the session was good; now it ends.
        reads.await.unwrap();
        world.service.sign_out(&Who::with_token(alice.cookie.split_once('=').unwrap().1)).await.unwrap();
        let form = !path.starts_with("/api");
        let body = if form { format!("csrf={}&{body}", alice.csrf) } else { body };
        sender.send(Bytes::from(body)).unwrap();
        let answer = answer.await.unwrap();
        let (status, location) = match path.strip_prefix(&format!("/holds/{hold}")) {
            Some(_) => (303, format!("/signin?next=/holds/{hold}")),
            None if form => (303, "/signin".to_owned()),
            None => (401, String::new()),
        };
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, &*location), "{path}");
    }
    let alice = world.sign_in("alice").await;
    assert_eq!(alice.get(&format!("/api/holds/{hold}")).await.json()["state"], "pending");
}

#[tokio::test]
async fn a_form_with_too_much_in_it_is_refused_before_anything_is_made_of_it() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let post = async |path: &str, more: &str| {
        let form = format!("csrf={}&verdict=deny&{more}", alice.csrf);
        world.post_form(path, &alice.cookie, &form).await.status.as_u16()
    };
    assert_eq!(post("/holds/decisions", &"hold=x&".repeat(5001)).await, 400);
    assert_eq!(post("/holds/decisions", &format!("hold=x&reason={}", "r".repeat(2001))).await, 422);
    for path in ["/holds/decisions", "/holds/x/decisions", "/holds/x/revoke", "/holds/x/withdraw", "/people"] {
        assert_eq!(post(path, &"a&".repeat(200_000)).await, 413, "{path}");
    }
    for path in ["/signin", "/signout"] {
        assert_eq!(post(path, &"a&".repeat(10_000)).await, 413, "{path}");
    }
}

#[tokio::test]
async fn what_no_account_can_be_called_and_no_password_can_be_counts_for_nothing() {
    let world = World::new().await;
    for _ in 0..6 {
        assert!(world.service.sign_in("alice", "guess").await.is_err());
    }
    for number in 0..50 {
        let name = format!("{number}{}", "x".repeat(64));
        assert!(world.service.sign_in(&name, "guess").await.is_err());
        assert!(world.service.sign_in("bob", &"p".repeat(1025)).await.is_err());
    }
    assert!(world.service.sign_in("bob", PASSWORD).await.is_ok(), "what no password can be counts for nothing");
    let waits = world.service.sign_in("alice", PASSWORD).await.unwrap_err().to_string();
    assert!(waits.starts_with("too many failed sign-ins"), "{waits}");
}

#[tokio::test]
async fn of_many_sign_ins_at_once_only_some_may_wait() {
    // One that takes longer to check than it takes to ask for it a hundred times, however slow the machine is at that.
    let (mut world, mut turned_away) = (World::new().await, 0);
    for cost in [2048, 16 * 1024, 64 * 1024] {
        world = World::new().await;
        let hash = crate::support::password_hash(cost);
        let set = holdgate_approval::service::accounts::SetPassword { person: "carol".into(), hash, now: NOW };
        world.service.store.write(set).await.unwrap();
        let at_once = (0..100).map(|_| {
            let service = world.service.clone();
            tokio::spawn(async move { service.sign_in("carol", "guess").await.unwrap_err().to_string() })
        });
        for answer in at_once.collect::<Vec<_>>() {
            turned_away += usize::from(answer.await.unwrap().starts_with("too many people sign in"));
        }
        if turned_away > 0 {
            break;
        }
    }
    assert!((1..=66).contains(&turned_away), "{turned_away}");
    let form = world.get("/signin", "").await;
    assert_eq!(form.status, StatusCode::OK);
    assert!(world.service.sign_in("bob", PASSWORD).await.is_ok(), "the places are free again");
}

#[tokio::test]
async fn the_ledger_tells_of_sign_outs_failures_and_credentials_without_being_flooded() {
    let world = World::new().await;
    let kinds = async || {
        let mut connection = world.service.store.read().await.unwrap();
        let entries = ledger::page(&mut connection, None, 0, 1000).await.unwrap();
        entries.into_iter().map(|entry| (entry.kind, entry.data)).collect::<Vec<_>>()
    };
    let start = kinds().await.len();
    for _ in 0..8 {
        let _ = world.service.sign_in("alice", "guess").await;
        let _ = world.service.sign_in("nobody", "guess").await;
    }
    let wanted = ["person.sign_in_failed", "person.sign_in_failed"];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while kinds().await.len() < start + wanted.len() && std::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    let alice = world.sign_in("bob").await;
    world.service.sign_out(&Who::with_token(alice.cookie.split_once('=').unwrap().1)).await.unwrap();
    world.service.sign_out(&Who::with_token("no session")).await.unwrap();
    for number in [2, 3] {
        let hash = Hash::of(format!("edge{number}-credential").as_bytes());
        let add = AddCredential { kind: Kind::Gateway, name: "edge".into(), hash, now: NOW };
        world.service.store.write(add).await.unwrap();
    }
    let entries = kinds().await.split_off(start);
    let found: Vec<&str> = entries.iter().map(|(kind, _)| kind.as_str()).collect();
    let rest = ["person.signed_in", "person.signed_out", "gateway.added", "gateway.retired", "gateway.added"];
    assert_eq!(found, [&wanted[..], &rest[..]].concat());
    // Of six guesses the first and the one that made alice wait; the rest were not tried.
    assert_eq!(
        (entries[0].1.as_str(), entries[1].1.as_str()),
        (r#"{"failures":1,"person":"alice"}"#, r#"{"failures":6,"person":"alice"}"#)
    );
    let fingerprint = Hash::of(b"edge-credential").to_string()[8..24].to_owned();
    assert_eq!(entries[5].1, format!(r#"{{"fingerprint":"{fingerprint}","name":"edge"}}"#));
}

#[tokio::test]
async fn no_secret_is_in_the_database() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let token = alice.cookie.split_once('=').unwrap().1.to_owned();
    let everything = database::everything(&world).await;
    assert!(!everything.is_empty());
    for bytes in everything {
        for secret in [token.as_str(), &alice.csrf, "edge-credential", "ci-credential", PASSWORD] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
}

#[tokio::test]
async fn large_and_strange_bodies_are_refused() {
    let world = World::new().await;
    let request = |path: &str, body: Vec<u8>| {
        let request = Request::post(path).header("authorization", "Bearer edge-credential");
        request.body(Body::from(body)).unwrap()
    };
    for (path, most) in [("/v1/holds", MAX_OPEN_HOLD), ("/v1/redemptions", routes::MAX_BODY)] {
        let large = format!("{{\"v\":\"{}\"}}", "x".repeat(most));
        let answer = send(&world.gateways, request(path, large.into_bytes())).await;
        assert_eq!((answer.status, answer.error().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"), "{path}");
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for body in [deep, vec![], b"null".to_vec(), vec![0xff; 9], br#"{"v":1,"v":1}"#.to_vec()] {
        assert_eq!(send(&world.gateways, request("/v1/holds", body)).await.error(), "malformed");
    }
}

#[tokio::test]
async fn a_nul_is_refused_and_never_an_error_of_the_database() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    assert_eq!(alice.get("/api/holds/a%00b").await.error(), "malformed");
    let mut ask = world.ask(&["one"], "a");
    ask.agent_reason = Some("why\0not".into());
    assert_eq!(world.gateway("edge", "POST", "/v1/holds", &json!(ask)).await.error(), "malformed");
    let (_, hold) = world.held(&["one"], "b").await;
    let body = json!({"verdict": "deny", "reason": "\0"});
    assert_eq!(alice.post(&format!("/api/holds/{hold}/decisions"), body).await.error(), "malformed");
}
