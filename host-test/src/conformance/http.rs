//! Connections, credentials, and the form of errors.

use holdgate_protocol::gateway::StateAnswer;
use hyper::Method;
use serde_json::{Value, json};

use super::{
    Check, checks,
    expect::{Expect as _, Verdict, fail, holds},
    target::{Target, random},
};
use crate::client::{Answer, Ask, Client, Version};

pub(super) const CHECKS: &[Check] = checks! {
    "http.health" (0, 0) health: "GET /healthz: whether this listener serves; it asks for no credential";
    "http.1" (0, 0) http_1: "gateways connect by HTTP/1.1";
    "http.2" (0, 0) http_2: "gateways connect by HTTP/2 with prior knowledge";
    "http.methods" (0, 0) methods: "a path that has other methods answers 405";
    "http.paths" (0, 0) paths: "a path that there is not answers 404";
    "http.content_type" (0, 0) content_type: "answers are JSON and say so: `content-type: application/json`";
    "errors.form" (0, 0) form: "errors are application/problem+json {type, title, status, detail, error}";
    "errors.json" (0, 0) bad_json: "a body that is not JSON is answered 400 `malformed`";
    "credential.missing" (0, 0) missing: "without the bearer credential of a gateway: 401, with WWW-Authenticate";
    "credential.wrong" (0, 0) wrong: "with a credential that no gateway has: 401";
    "credential.scheme" (0, 0) scheme: "the credential is a bearer token: under another scheme, or without one, it is none";
};

async fn health(target: &Target) -> Verdict {
    target.nobody.send(Ask::get("/healthz")).await?.status(&[200], "at /healthz")
}

async fn speaks(target: &Target, version: Version) -> Verdict {
    let client = target.gateway.clone().with_version(version);
    let _: StateAnswer = client.send(Ask::get("/v1/state")).await?.json(&[200], "at /v1/state")?;
    Ok(())
}

async fn http_1(target: &Target) -> Verdict {
    speaks(target, Version::Http1).await
}

async fn http_2(target: &Target) -> Verdict {
    speaks(target, Version::Http2).await
}

async fn methods(target: &Target) -> Verdict {
    let others = [
        (Method::GET, "/v1/holds"),
        (Method::GET, "/v1/redemptions"),
        (Method::PUT, "/v1/outcomes"),
        (Method::DELETE, "/v1/state"),
        (Method::POST, "/v1/feed?after=0"),
    ];
    for (method, path) in others {
        let what = format!("to {method} {path}");
        target.gateway.send(Ask::new(method, path)).await?.status(&[405], &what)?;
    }
    Ok(())
}

async fn paths(target: &Target) -> Verdict {
    target.get("/v1/nothing-is-here").await?.status(&[404], "to GET /v1/nothing-is-here")
}

async fn content_type(target: &Target) -> Verdict {
    let is_json = |answer: &Answer, path: &str| {
        let found = answer.header("content-type");
        let plain = found.split(';').next().unwrap_or_default().trim();
        holds(
            plain.eq_ignore_ascii_case("application/json"),
            &format!("`content-type: application/json` at {path}"),
            format_args!("`{found}`"),
        )
    };
    let mut paths = vec!["/v1/state".to_owned()];
    if let Some(state) = &target.state {
        paths.push(format!("/v1/feed?after={}", state.seq));
        paths.extend(state.policy.as_ref().map(|policy| format!("/v1/bundles/{}", policy.rev)));
    }
    for path in paths {
        is_json(&target.get(path.as_str()).await?, &path)?;
    }
    is_json(&target.post("/v1/redemptions", &json!({"items": []})).await?, "/v1/redemptions")
}

/// Errors of all kinds that need no hold.
async fn errors(target: &Target) -> Verdict<Vec<Answer>> {
    let unknown = format!("/v1/tasks/none?agent=sha-256:{}", "0".repeat(64));
    Ok(vec![
        target.nobody.send(Ask::get("/v1/state")).await?,
        target.get("/v1/nothing-is-here").await?,
        target.gateway.send(Ask::new(Method::DELETE, "/v1/state")).await?,
        target.get("/v1/feed").await?,
        target.get("/v1/feed?after=99999999999").await?,
        target.get(unknown).await?,
        target.post("/v1/holds", &json!({})).await?,
        target.post("/v1/outcomes", &json!({"items": [], "more": 1})).await?,
    ])
}

async fn form(target: &Target) -> Verdict {
    for answer in errors(target).await? {
        let kind = answer.header("content-type").split(';').next().unwrap_or_default().trim().to_owned();
        if kind != "application/problem+json" {
            return fail("`content-type: application/problem+json`", format_args!("`{kind}` with {}", answer.told()));
        }
        let problem: Value = answer.json(&[answer.status], "of an error")?;
        let text = |name: &str| problem.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let texts = ["type", "title", "detail", "error"];
        if let Some(name) = texts.into_iter().find(|name| !text(name)) {
            return fail(&format!("the member `{name}` in a problem"), answer.told());
        }
        let status = problem.get("status").and_then(Value::as_u64);
        holds(status == Some(answer.status.into()), "`status` as that of the answer", answer.told())?;
    }
    Ok(())
}

async fn bad_json(target: &Target) -> Verdict {
    for path in ["/v1/holds", "/v1/redemptions", "/v1/outcomes", "/v1/detach", "/v1/audit"] {
        for body in ["", "{", "[]", "null", "\u{feff}{}", "{\"items\": 1}"] {
            let answer = target.gateway.send(Ask::new(Method::POST, path).json(body.to_owned())).await?;
            answer.problem(400, "malformed", &format!("to {body:?} at {path}"))?;
        }
    }
    Ok(())
}

/// All questions that a gateway may ask.
fn questions() -> Vec<Ask> {
    let posts = ["/v1/holds", "/v1/redemptions", "/v1/outcomes", "/v1/detach", "/v1/audit"];
    let gets = [
        "/v1/state".to_owned(),
        "/v1/feed?after=0".to_owned(),
        format!("/v1/bundles/sha-256:{}", "0".repeat(64)),
        format!("/v1/tasks/none?agent=sha-256:{}", "0".repeat(64)),
    ];
    let posts = posts.into_iter().map(|path| Ask::new(Method::POST, path).json("{}"));
    posts.chain(gets.into_iter().map(Ask::get)).collect()
}

async fn refused(client: &Client, change: impl Fn(Ask) -> Ask) -> Verdict {
    for ask in questions() {
        let ask = change(ask);
        let what = format!("at {}", ask.path());
        let answer = client.send(ask).await?;
        answer.problem(401, "unauthorized", &what)?;
        holds(!answer.header("www-authenticate").is_empty(), &format!("`WWW-Authenticate` {what}"), "none")?;
    }
    Ok(())
}

async fn missing(target: &Target) -> Verdict {
    refused(&target.nobody, |ask| ask).await
}

async fn wrong(target: &Target) -> Verdict {
    refused(&target.nobody.clone().with_credential(random()), |ask| ask).await?;
    refused(&target.nobody.clone().with_credential(String::new()), |ask| ask).await
}

async fn scheme(target: &Target) -> Verdict {
    let own = target.gateway.credential().to_owned();
    for scheme in ["Basic", "DPoP"] {
        refused(&target.nobody, |ask| ask.header(hyper::header::AUTHORIZATION, format!("{scheme} {own}"))).await?;
    }
    refused(&target.nobody, |ask| ask.header(hyper::header::AUTHORIZATION, own.clone())).await
}
