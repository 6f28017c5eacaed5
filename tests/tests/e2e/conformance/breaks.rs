//! One wrong implementation for each check: the real one with something broken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use holdgate_protocol::{Hash, b64url, from_b64url};
use hyper::{Method, Version};
use serde_json::{Value, json};

use super::broken::{After, Before, Question, Told};

/// What is broken, and the check that must find it.
pub(super) struct Break {
    pub(super) check: &'static str,
    pub(super) before: Before,
    pub(super) after: After,
}

fn untouched() -> (Before, After) {
    (Arc::new(|_| None), Arc::new(|_, _| {}))
}

/// The question is answered, or goes on changed.
fn before(check: &'static str, act: impl Fn(&mut Question) -> Option<Told> + Send + Sync + 'static) -> Break {
    Break { check, before: Arc::new(act), after: untouched().1 }
}

/// The question goes on changed.
fn asked(check: &'static str, act: impl Fn(&mut Question) + Send + Sync + 'static) -> Break {
    before(check, move |question| {
        act(question);
        None
    })
}

fn after(check: &'static str, act: impl Fn(&Question, &mut Told) + Send + Sync + 'static) -> Break {
    Break { check, before: untouched().0, after: Arc::new(act) }
}

/// Another status where this one is to come.
fn status(check: &'static str, path: &'static str, from: u16, to: u16) -> Break {
    after(check, move |question, told| {
        if question.is(path) && told.status == from {
            told.status = to;
        }
    })
}

/// Another JSON body of the question.
fn question(check: &'static str, path: &'static str, act: impl Fn(&mut Value) + Send + Sync + 'static) -> Break {
    asked(check, move |question| {
        let mut body = question.json();
        if question.is(path) && body.is_object() {
            act(&mut body);
            question.body = body.to_string().into();
        }
    })
}

/// Another JSON body of a good answer.
fn answer(check: &'static str, path: &'static str, act: impl Fn(&mut Value) + Send + Sync + 'static) -> Break {
    after(check, move |question, told| {
        let mut body = told.json();
        if question.is(path) && told.status < 300 && body.is_object() {
            act(&mut body);
            told.body = body.to_string().into();
        }
    })
}

/// Takes the members away that the checks add.
fn forgiving(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("more");
            members.values_mut().for_each(forgiving);
        }
        Value::Array(items) => items.iter_mut().for_each(forgiving),
        _ => {}
    }
}

/// The credential of the first group in place of whatever came.
fn let_in(check: &'static str, own: &str) -> Break {
    let own = own.to_owned();
    asked(check, move |question| {
        question.headers.insert("authorization", format!("Bearer {own}").parse().unwrap());
    })
}

/// A grant where there is none.
fn generous(check: &'static str, error: &'static str) -> Break {
    answer(check, "/v1/redemptions", move |body| {
        for item in body["items"].as_array_mut().into_iter().flatten().filter(|item| item["error"] == error) {
            *item = json!({"hold": item["hold"], "grant": "e30.e30.e30"});
        }
    })
}

/// Other claims, without a new signature.
fn claims(check: &'static str, act: impl Fn(&mut Value) + Send + Sync + 'static) -> Break {
    grant(check, move |header, claims, signature| {
        let mut claims = serde_json::from_slice(&from_b64url(&claims).unwrap()).unwrap();
        act(&mut claims);
        format!("{header}.{}.{signature}", b64url(claims.to_string().as_bytes()))
    })
}

fn grant(check: &'static str, act: impl Fn(String, String, String) -> String + Send + Sync + 'static) -> Break {
    answer(check, "/v1/redemptions", move |body| {
        for item in body["items"].as_array_mut().into_iter().flatten().filter(|item| item["grant"].is_string()) {
            let token = item["grant"].as_str().unwrap().to_owned();
            let mut parts = token.split('.').map(str::to_owned);
            let mut next = || parts.next().unwrap();
            let (header, claims, signature) = (next(), next(), next());
            item["grant"] = json!(act(header, claims, signature));
        }
    })
}

/// The feed or a task that does not wait.
fn hasty(check: &'static str) -> Break {
    asked(check, |question| question.target = question.target.replace("&wait=", "&hurry="))
}

/// What is told so late that nobody can have been woken.
fn late(check: &'static str, path: &'static str) -> Break {
    after(check, move |question, told| {
        if question.is(path) && question.target.contains("wait=25") {
            told.after = Duration::from_secs(5);
        }
    })
}

/// `own` is the credential of the group `edge`.
pub(super) fn all(own: &str) -> Vec<Break> {
    [connections(own), policies(), holds(), redemptions(own), grants(), feeds(own), records()]
        .into_iter()
        .flatten()
        .collect()
}

fn connections(own: &str) -> Vec<Break> {
    let bearer = own.to_owned();
    vec![
        status("http.health", "/healthz", 200, 401),
        before("http.1", |question| (question.version == Version::HTTP_11).then(|| Told::new(505, &json!({})))),
        before("http.2", |question| (question.version == Version::HTTP_2).then(|| Told::new(505, &json!({})))),
        status("http.methods", "/v1/", 405, 404),
        status("http.paths", "/v1/nothing", 404, 200),
        after("http.content_type", |_, told| {
            told.headers.insert("content-type", "text/plain".parse().unwrap());
        }),
        after("errors.form", |_, told| {
            told.headers.insert("content-type", "application/json".parse().unwrap());
        }),
        answer_of_error("errors.form", "title"),
        answer_of_error("errors.form", "error"),
        status("errors.json", "/v1/", 400, 422),
        before("credential.missing", |question| {
            let missing = !question.headers.contains_key("authorization") && question.is("/v1/state");
            missing.then(|| Told::new(200, &json!({})))
        }),
        after("credential.missing", |_, told| {
            told.headers.remove("www-authenticate");
        }),
        let_in("credential.wrong", own),
        asked("credential.scheme", move |question| {
            let came = question.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            if came.ends_with(&bearer) {
                question.headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
            }
        }),
    ]
}

/// An error without one of its members.
fn answer_of_error(check: &'static str, name: &'static str) -> Break {
    after(check, move |_, told| {
        let mut body = told.json();
        if told.status >= 400 && body.is_object() {
            body.as_object_mut().unwrap().remove(name);
            told.body = body.to_string().into();
        }
    })
}

fn policies() -> Vec<Break> {
    vec![
        answer("state.form", "/v1/state", |body| {
            body.as_object_mut().unwrap().remove("suspended");
        }),
        answer("state.clock", "/v1/state", |body| body["now"] = json!(1_000_000)),
        answer("state.feed", "/v1/state", |body| body["seq"] = json!(10_000_000)),
        answer("bundle.served", "/v1/bundles", |body| body["bundle"] = json!(b64url(b"{}"))),
        answer("bundle.served", "/v1/bundles", |body| body["jws"] = json!("e30.e30.e30")),
        status("bundle.unknown", "/v1/bundles", 404, 200),
    ]
}

fn holds() -> Vec<Break> {
    let path = "/v1/holds";
    vec![
        answer("hold.new", path, |body| body["expires_at"] = json!(0)),
        answer("hold.new", path, |body| body["request_state"] = json!("")),
        status("hold.durable", "/v1/tasks", 200, 404),
        question("hold.joined", path, |body| {
            body["digest"] = json!(Hash::of(body["attempt"].as_str().unwrap_or("").as_bytes()))
        }),
        status("hold.joined_at_once", path, 200, 201),
        question("hold.changed_byte", path, |body| body["digest"] = json!(Hash::of(b"one for all"))),
        question("hold.other_agent", path, |body| {
            let sub = body["agent"]["sub"].as_str().unwrap_or("").trim_end_matches("-b").to_owned();
            body["agent"] = json!({"iss": "i", "sub": sub, "act": [], "owner": null});
        }),
        question("hold.version", path, |body| body["v"] = json!(1)),
        question("hold.attempt", path, |body| body["attempt"] = json!("AAAAAAAAAAAAAAAAAAAAAA")),
        question("hold.strict", path, forgiving),
        question("hold.missing", path, |body| {
            body.as_object_mut().unwrap().entry("v").or_insert(json!(1));
        }),
        status("hold.rules", path, 422, 400),
        status("hold.revision", path, 422, 409),
        status("hold.requirement", path, 422, 201),
        question("hold.body_form", path, |body| body["request"]["body"]["b64"] = json!("e30=")),
        question("hold.reason", path, |body| body["agent_reason"] = json!("short")),
        question("hold.idempotency", path, |body| body["idempotency_key"] = Value::Null),
        question("hold.idempotency_form", path, |body| body["idempotency_key"] = json!("short")),
        before("hold.size", |question| {
            let large = question.body.len() > 4 * 1024 * 1024;
            large.then(|| Told::new(413, &json!({"error": "too_large", "detail": "Too large."})))
        }),
        asked("hold.size", |question| question.body = question.body.trim_ascii_end().to_vec().into()),
        answer("hold.approved", path, |body| body["state"] = json!("pending")),
        after("hold.denied", |_, told| {
            told.headers.remove("retry-after");
        }),
        status("hold.denied", path, 403, 200),
    ]
}

fn redemptions(own: &str) -> Vec<Break> {
    let path = "/v1/redemptions";
    let grants = AtomicUsize::new(0);
    vec![
        generous("redeem.pending", "not_approved"),
        generous("redeem.unknown", "not_approved"),
        question("redeem.form", path, forgiving),
        question("redeem.batch", path, |body| body["items"].as_array_mut().unwrap().truncate(256)),
        status("redeem.batch", path, 200, 413),
        answer("redeem.order", path, |body| body["items"].as_array_mut().unwrap().reverse()),
        answer("redeem.same_attempt", path, move |body| {
            body["items"][0]["grant"] = json!(format!("e30.e30.{}", grants.fetch_add(1, Ordering::Relaxed)));
        }),
        answer("redeem.used", path, |body| {
            if body["items"][0]["error"] == "used" {
                body["items"][0]["error"] = json!("expired");
            }
        }),
        generous("redeem.once", "used"),
        generous("redeem.batch_once", "used"),
        generous("redeem.other_digest", "not_approved"),
        generous("redeem.other_agent", "not_approved"),
        generous("redeem.other_requirement", "not_approved"),
        // What is not the request takes the approval away.
        question("redeem.other_digest", path, |body| body["items"][0]["digest"] = json!(Hash::of(b"x"))),
        generous("redeem.denied", "denied"),
        let_in("group.tasks", own),
        let_in("group.joins", own),
        let_in("group.redeem", own),
    ]
}

fn grants() -> Vec<Break> {
    let mut breaks = vec![
        grant("grant.header", |_, claims, signature| {
            format!("{}.{claims}.{signature}", b64url(br#"{"alg":"none","typ":"JWT","kid":"k"}"#))
        }),
        grant("grant.signature", |header, claims, _| format!("{header}.{claims}.{}", b64url(&[7; 64]))),
        claims("grant.life", |claims| claims["exp"] = json!(claims["iat"].as_u64().unwrap() + 3600)),
        claims("grant.life", |claims| claims["iat"] = json!(claims["iat"].as_u64().unwrap() - 59)),
        claims("grant.unique", |claims| claims["jti"] = json!("one for all")),
        claims("grant.no_reviewer", |claims| claims["approved_by"] = json!(["alice"])),
        claims("grant.bound", |claims| claims["req"]["h"] = json!(Hash::of(b"other"))),
        claims("grant.bound", |claims| claims["policy"]["requirement"] = json!(Hash::of(b"other"))),
    ];
    for name in ["iss", "aud", "sub", "act", "txn", "jti", "iat", "nbf", "exp", "nonce", "req", "policy", "rules"] {
        breaks.push(claims("grant.claims", move |claims| {
            claims.as_object_mut().unwrap().remove(name);
        }));
    }
    for name in ["aud", "sub", "txn", "nonce"] {
        breaks.push(claims("grant.bound", move |claims| claims[name] = json!("another")));
    }
    for name in ["act", "rules"] {
        breaks.push(claims("grant.bound", move |claims| claims[name] = json!([])));
    }
    breaks
}

fn feeds(own: &str) -> Vec<Break> {
    let path = "/v1/feed";
    vec![
        answer("feed.form", path, |body| body["next"] = json!(0)),
        status("feed.parameters", path, 400, 200),
        status("feed.too_new", path, 410, 200),
        after("feed.too_old", |question, told| {
            if question.target.contains("after=0&") {
                *told = Told::new(404, &json!({"error": "not_found", "detail": "Too old."}));
            }
        }),
        hasty("feed.wait"),
        answer("feed.decided", path, |body| body["items"] = json!([])),
        answer("feed.order", path, |body| body["items"].as_array_mut().unwrap().reverse()),
        answer("feed.order", path, |body| body["next"] = json!(body["next"].as_u64().unwrap() + 1)),
        late("feed.wakes", path),
        let_in("feed.group", own),
        answer("task.own", "/v1/tasks", |body| body["state"] = json!("approved")),
        status("task.other_agent", "/v1/tasks", 404, 403),
        status("task.parameters", "/v1/tasks", 400, 404),
        hasty("task.wait"),
        late("task.wakes", "/v1/tasks"),
    ]
}

fn records() -> Vec<Break> {
    let again = AtomicUsize::new(0);
    let path = "/v1/audit";
    vec![
        status("outcome.taken", "/v1/outcomes", 204, 200),
        before("outcome.first_counts", |question| {
            let first = question.is("/v1/outcomes") && question.json()["items"][0]["status"] == 201;
            first.then(|| Told::new(204, &Value::Null))
        }),
        question("outcome.form", "/v1/outcomes", forgiving),
        question("outcome.form", "/v1/outcomes", |body| body["items"].as_array_mut().unwrap().truncate(256)),
        answer("detach.changes_nothing", "/v1/tasks", |body| body["state"] = json!("cancelled")),
        question("detach.form", "/v1/detach", forgiving),
        answer("audit.taken", path, |body| body["accepted"] = json!(0)),
        after("audit.again", move |question, told| {
            if question.is(path) && again.fetch_add(1, Ordering::Relaxed) > 0 {
                told.status = 409;
            }
        }),
        status("audit.conflict", path, 409, 202),
        question("audit.gap", path, |body| body["dropped"] = json!(0)),
        status("audit.refused", path, 422, 400),
        question("audit.form", path, forgiving),
        asked("audit.size", move |question| {
            if question.method == Method::POST && question.is(path) {
                question.body = question.body.trim_ascii_end().to_vec().into();
            }
        }),
    ]
}

/// More members in every answer: what a newer service may add.
pub(super) fn newer() -> Break {
    fn add(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(add);
                members.insert("later".to_owned(), json!({"x": [1]}));
            }
            Value::Array(items) => items.iter_mut().for_each(add),
            _ => {}
        }
    }
    after("", |question, told| {
        // The bundle is signed as it is, and its two members are all.
        let mut body = told.json();
        if body.is_object() && !question.is("/v1/bundles") {
            add(&mut body);
            told.body = body.to_string().into();
        }
    })
}
