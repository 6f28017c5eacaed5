//! What the tests share: starting a stack, waiting for holds, reading tickets.

use std::time::Duration;

use holdgate_tests::{
    http::Response,
    reviewer::{Reviewer, id_of, path_of},
    stack::{Options, Stack},
    until,
    upstream::MARK,
};
use serde_json::Value;

/// A deadline that a slow machine keeps too.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const JSON_BODY: &str = "{\"role\": \"editor\"}";

/// A stack with the shipped policy and these members set in the plugin configuration.
pub(crate) async fn start(plugin: Value) -> Stack {
    start_with(Options { plugin, ..Options::default() }).await
}

pub(crate) async fn start_with(options: Options) -> Stack {
    Box::pin(Stack::start(options)).await.unwrap()
}

/// The path that the shipped policy holds for a `POST`.
pub(crate) fn roles(user: &str) -> String {
    format!("/iam/users/{user}/roles")
}

/// Waits for the pending hold of a path.
pub(crate) async fn pending_hold(reviewer: &Reviewer, path: &str) -> String {
    until(&format!("a hold of {path}"), LIMIT, async || {
        let pending = reviewer.pending().await.unwrap();
        pending.iter().find(|hold| path_of(hold) == Some(path)).and_then(id_of)
    })
    .await
    .unwrap()
}

/// Waits until so many holds are pending; their ids.
pub(crate) async fn pending_holds(reviewer: &Reviewer, count: usize, limit: Duration) -> Vec<String> {
    until(&format!("{count} pending holds"), limit, async || {
        let pending = reviewer.pending().await.unwrap();
        (pending.len() >= count).then(|| pending.iter().filter_map(id_of).collect())
    })
    .await
    .unwrap()
}

/// Whether the answer is the upstream's, and a good one.
pub(crate) fn passed(answer: &Response) -> bool {
    (200..300).contains(&answer.status) && answer.header(MARK).is_some()
}

/// Asserts a refusal of the gateway itself: the status, and the problem's kind.
#[track_caller]
pub(crate) fn assert_problem(answer: &Response, status: u16, kind: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{}", answer.text());
    assert_eq!(answer.json()["status"], status, "{}", answer.text());
    assert!(answer.header(MARK).is_none(), "the upstream answered");
}

/// The hold's id in a ticket.
#[track_caller]
pub(crate) fn ticket(answer: &Response) -> String {
    assert_problem(answer, 403, "held");
    assert!(answer.header("retry-after").is_some());
    let task = &answer.json()["task"];
    assert_eq!(task["status"], "pending");
    let id = task["id"].as_str().unwrap().to_owned();
    assert_eq!(task["status_endpoint"], format!("/.well-known/holdgate/tasks/{id}"));
    id
}
