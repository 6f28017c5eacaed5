//! A reviewer: signs in as people do, reads holds and decides them.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::http::{Payload, Response, exchange, get};

/// What a reviewer says of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approve,
    Deny,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        }
    }
}

/// A signed-in person.
pub struct Reviewer {
    people: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Reviewer {
    /// Signs in by the form that a browser would show.
    pub async fn sign_in(people: SocketAddr, person: &str, password: &str) -> Result<Self> {
        let form = get(people, "/signin").await?;
        let before = cookies(&form);
        let csrf = hidden_field(&form.text(), "csrf").context("the sign-in form has no field `csrf`")?;
        let fields = [("person", person), ("password", password), ("csrf", &csrf)];
        let body = fields.map(|(name, value)| format!("{name}={}", form_encoded(value))).join("&");
        let request = Request::post("/signin")
            .header("host", people.to_string())
            .header("origin", format!("http://{people}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("content-length", body.len())
            .header("cookie", &before)
            .body(Payload::whole(body.into()))?;
        let answer = exchange(people, request).await?;
        if answer.status != 303 {
            bail!("{person} cannot sign in: {} {}", answer.status, answer.text());
        }
        let cookie =
            [before, cookies(&answer)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        let mut reviewer = Reviewer { people, cookie, csrf: String::new() };
        let session = reviewer.read("/api/session").await?;
        reviewer.csrf = session.get("csrf").and_then(Value::as_str).context("the session names no `csrf`")?.to_owned();
        Ok(reviewer)
    }

    /// All pending holds, page by page.
    pub async fn pending(&self) -> Result<Vec<Value>> {
        let mut holds = Vec::new();
        let mut target = "/api/holds?state=pending&limit=500".to_owned();
        loop {
            let page = self.read(&target).await?;
            let items = page.get("items").and_then(Value::as_array).context("a page of holds has no `items`")?;
            holds.extend(items.iter().cloned());
            match page.get("next").and_then(Value::as_str) {
                Some(after) => target = format!("/api/holds?state=pending&limit=500&after={}", form_encoded(after)),
                None => return Ok(holds),
            }
        }
    }

    pub async fn hold(&self, id: &str) -> Result<Value> {
        self.read(&format!("/api/holds/{id}")).await
    }

    pub async fn decide(&self, hold: &str, verdict: Verdict, reason: &str) -> Result<Response> {
        let body = json!({"verdict": verdict.as_str(), "reason": reason});
        self.write(&format!("/api/holds/{hold}/decisions"), &body).await
    }

    /// Decides many holds in one request; how many of the decisions were taken.
    pub async fn decide_all(&self, holds: &[String], verdict: Verdict, reason: &str) -> Result<usize> {
        let item = |hold: &String| json!({"hold": hold, "verdict": verdict.as_str(), "reason": reason});
        let body = json!({"items": holds.iter().map(item).collect::<Vec<_>>()});
        let answer = self.write("/api/decisions", &body).await?;
        let items = answer.json().get("items").and_then(Value::as_array).cloned();
        let items = items.with_context(|| format!("decisions: {} {}", answer.status, answer.text()))?;
        Ok(items.iter().filter(|item| item.get("state").is_some()).count())
    }

    /// Reads JSON; any status but 200 is an error.
    pub async fn read(&self, target: &str) -> Result<Value> {
        let request = self.request(Method::GET, target).body(Payload::default())?;
        let answer = exchange(self.people, request).await?;
        if answer.status == 200 { Ok(answer.json()) } else { bail!("{target}: {} {}", answer.status, answer.text()) }
    }

    /// Posts JSON with the session's CSRF token.
    pub async fn write(&self, target: &str, body: &Value) -> Result<Response> {
        let body = body.to_string();
        let request = self
            .request(Method::POST, target)
            .header("origin", format!("http://{}", self.people))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .header("x-csrf-token", &self.csrf)
            .body(Payload::whole(body.into()))?;
        exchange(self.people, request).await
    }

    fn request(&self, method: Method, target: &str) -> hyper::http::request::Builder {
        let request = Request::builder().method(method).uri(target).header("host", self.people.to_string());
        request.header("cookie", &self.cookie)
    }
}

fn cookies(response: &Response) -> String {
    let values = response.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    values.filter_map(|value| value.split(';').next()).collect::<Vec<_>>().join("; ")
}

/// The value of a form's hidden input, whatever the order of its attributes.
fn hidden_field(html: &str, name: &str) -> Option<String> {
    let inputs = html.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
    let mut named = inputs.filter(|input| input.contains(&format!("name=\"{name}\"")));
    named.next()?.split("value=\"").nth(1)?.split('"').next().map(str::to_owned)
}

fn form_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The id of a hold in a list.
pub fn id_of(hold: &Value) -> Option<String> {
    hold.get("id").and_then(Value::as_str).map(str::to_owned)
}

/// The path of the request in a hold of a list.
pub fn path_of(hold: &Value) -> Option<&str> {
    hold.get("path").and_then(Value::as_str)
}
