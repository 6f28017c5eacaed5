//! The table of attempts to slip past a rule (`tests/attempts`): natively by the gate, and on Envoy as octets.

mod native;
pub(crate) mod wire;

use std::{collections::BTreeSet, sync::Arc};

use holdgate_tests::stack::{Options, Places, Stack};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::common::start_with;

/// So many attempts are on their way at once.
const AT_ONCE: usize = 24;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The answer, or the hold, names the rule that the plain form meets.
    Met,
    /// Refused, with this status.
    Status(u16),
    /// The connection or stream ended without an answer.
    Closed,
    /// It went on to the upstream.
    Passed,
}

impl Outcome {
    /// As the table has it.
    fn word(&self) -> String {
        match self {
            Outcome::Met => "met".to_owned(),
            Outcome::Status(status) => status.to_string(),
            Outcome::Closed => "closed".to_owned(),
            Outcome::Passed => "passed".to_owned(),
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy)]
struct Attempt<'a>(&'a Value);

impl<'a> Attempt<'a> {
    fn name(self) -> &'a str {
        self.text("try").or(self.text("send")).unwrap()
    }

    fn text(self, member: &str) -> Option<&'a str> {
        self.0.get(member).and_then(Value::as_str)
    }

    /// The rule that the plain form meets; nothing for what is harmless.
    fn rule(self) -> &'a str {
        self.text("like").unwrap_or_default()
    }

    fn host(self) -> &'a str {
        self.text("host").unwrap_or("api.example")
    }

    /// Lines of the head, or fields of HTTP/2.
    fn list(self, member: &str) -> Vec<Value> {
        self.0.get(member).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn pairs(self, member: &str, token: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let bearer = format!("Bearer {token}");
        let text = |value: &Value| octets(&value.as_str().unwrap().replace("$TOKEN", &bearer));
        self.list(member).iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }

    /// The type, the body, and the length where it is not named; each as a line of the head.
    fn body_lines(self) -> Vec<String> {
        let fields: Vec<String> = self.list("fields").iter().map(|line| line.as_str().unwrap().to_owned()).collect();
        let body = self.text("body");
        let mut lines = Vec::new();
        let kind = self.text("type").unwrap_or("application/json");
        if body.is_some() && !kind.is_empty() {
            lines.push(format!("Content-Type: {kind}"));
        }
        let measured = fields.iter().any(|line| line.starts_with("Content-Length"));
        lines.extend(body.filter(|_| !measured).map(|body| format!("Content-Length: {}", octets(body).len())));
        lines.extend(fields);
        lines
    }

    fn body(self) -> Vec<u8> {
        self.text("body").map(octets).unwrap_or_default()
    }
}

/// A text of the table stands for octets: each character is one.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

fn table() -> Value {
    let file = Places::find().unwrap().root().join("tests/attempts/attempts.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

pub(crate) fn policy() -> String {
    std::fs::read_to_string(Places::find().unwrap().root().join("tests/attempts/policy.yaml")).unwrap()
}

fn lines<'a>(table: &'a Value, part: &str) -> Vec<Attempt<'a>> {
    table[part].as_array().unwrap().iter().map(Attempt).collect()
}

/// A word of the table: a status is a number there.
fn expected(attempt: Attempt<'_>, driver: &str) -> String {
    match &attempt.0[driver] {
        Value::String(word) => word.clone(),
        Value::Number(status) => status.to_string(),
        other => panic!("{}: `{driver}` is {other}", attempt.name()),
    }
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_enough_attempts_and_none_twice() {
    let table = table();
    let attempts = lines(&table, "attempts");
    assert!(attempts.len() >= 200, "{}", attempts.len());
    let names: BTreeSet<_> = attempts.iter().map(|attempt| attempt.name()).collect();
    assert_eq!(names.len(), attempts.len());
    let what = |attempt: &Attempt<'_>| {
        let mut value = attempt.0.clone();
        value.as_object_mut().unwrap().remove("try");
        value.to_string()
    };
    let kinds: BTreeSet<_> = attempts.iter().map(what).collect();
    assert_eq!(kinds.len(), attempts.len(), "two attempts send the same");
    // Each rule is met by a plain request, so that an attempt to slip past it is one.
    let plain: BTreeSet<_> = lines(&table, "plain").iter().map(|attempt| attempt.rule()).collect();
    let tried: BTreeSet<_> = attempts.iter().map(|attempt| attempt.rule()).collect();
    assert_eq!(plain, tried);
}

#[test]
fn no_attempt_slips_past_the_gate() {
    let table = table();
    let mut driver = native::Driver::new(&policy());
    let mut wrong = Vec::new();
    for attempt in lines(&table, "attempts") {
        let found = driver.send(attempt).map_or("none".to_owned(), |outcome| outcome.word());
        if found != expected(attempt, "gate") {
            wrong.push(format!("gate\t{}\t{found}", attempt.name()));
        }
    }
    for (part, outcome) in [("plain", Outcome::Met), ("harmless", Outcome::Passed)] {
        for attempt in lines(&table, part) {
            let found = driver.send(attempt);
            if found != Some(outcome.clone()) {
                wrong.push(format!("{part}\t{}\t{found:?}", attempt.name()));
            }
        }
    }
    assert_none(&wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_slips_past_envoy() {
    let plugin = json!({"max_wait": "1s", "policy": "attempts", "max_agent_bytes": 64 * 1024 * 1024});
    let stack = start_with(Options { policy: Some(policy()), plugin, ..Options::default() }).await;
    let table = table();
    let mut wrong = send_all(&stack, &table, "attempts", |attempt| expected(attempt, "envoy")).await;
    let mut slipped = stack.upstream.seen();
    slipped.retain(|seen| seen.target != "/iam/users?ready");
    for attempt in lines(&table, "attempts") {
        let arrives = attempt.list("arrives");
        let [target, name, value] = arrives.as_slice() else { continue };
        let before = slipped.len();
        slipped.retain(|seen| {
            let values: Vec<_> = seen.headers.iter().filter(|(other, _)| name == other).collect();
            seen.target != *target || values.len() != 1 || seen.header(&values[0].0).as_deref() != value.as_str()
        });
        assert_eq!(before - slipped.len(), 1, "{}: {slipped:?}", attempt.name());
    }
    wrong.extend(slipped.into_iter().map(|seen| format!("upstream\t{seen:?}")));
    wrong.extend(send_all(&stack, &table, "plain", |_| "met".to_owned()).await);
    wrong.extend(send_all(&stack, &table, "harmless", |_| "passed".to_owned()).await);
    for attempt in lines(&table, "harmless") {
        let (_, target) = attempt.text("send").unwrap().split_once(' ').unwrap();
        let seen = stack.upstream.seen_at(target);
        if seen.len() != 1 || seen[0].body != attempt.body() {
            wrong.push(format!("harmless\t{}\tnot as it was sent: {seen:?}", attempt.name()));
        }
    }
    assert_none(&wrong);
    assert!(stack.passes_routine().await);
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
}

/// Sends one part of the table; what came otherwise than expected.
async fn send_all(stack: &Stack, table: &Value, part: &str, expected: impl Fn(Attempt<'_>) -> String) -> Vec<String> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = Vec::new();
    for attempt in lines(table, part) {
        let (places, agent, value) = (places.clone(), stack.agent(), attempt.0.clone());
        let task = tokio::spawn(async move {
            let _place = places.acquire().await.unwrap();
            wire::send(&agent, Attempt(&value)).await
        });
        running.push((attempt, task));
    }
    let mut wrong = Vec::new();
    for (attempt, task) in running {
        let (outcome, text) = task.await.unwrap();
        // An older Envoy leaves some to the filter that a newer one refuses by itself; nothing passes in either.
        let older =
            attempt.0.get("older").map(|_| self::expected(attempt, "older")).filter(|word| *word == outcome.word());
        if outcome.word() != expected(attempt) && older.is_none() {
            wrong.push(format!("{part}\t{}\t{}\t{text:?}", attempt.name(), outcome.word()));
        }
    }
    wrong
}
