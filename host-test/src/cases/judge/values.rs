//! Values against tests.

use std::cmp::Ordering;

use holdgate_authoring::cases::{Members, Operator, Test};
use holdgate_engine::decimal::Decimal;
use holdgate_protocol::{Json, Pointer};
use serde_json::Value;

use super::Difference;
use crate::cases::merge::to_value;

/// What of a body a report shows.
const SHOWN: usize = 400;

/// What was found to differ.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) differences: Vec<Difference>,
}

impl Judged {
    pub(super) fn differs(&mut self, what: &str, expected: &str, came: &str) {
        let (what, expected, came) = (what.to_owned(), expected.to_owned(), came.to_owned());
        self.differences.push(Difference { what, expected, came });
    }
}

/// Fields by name: the value of one line, or the list of several.
pub(super) fn test_fields(all: &mut Judged, what: &str, tests: &[(String, Test)], fields: &[(String, Vec<u8>)]) {
    for (name, test) in tests {
        let of_name = fields.iter().filter(|(other, _)| other == name);
        let lines: Vec<Value> = of_name.map(|(_, value)| String::from_utf8_lossy(value).into()).collect();
        let list = matches!(test, Test::Is(Json::Array(_)));
        let came = match lines.as_slice() {
            [] => None,
            [only] if !list => Some(only.clone()),
            several => Some(Value::from(several.to_vec())),
        };
        test_value(all, &format!("{what} `{name}`"), &as_text(test), came.as_ref());
    }
}

/// Fields are texts, so that a number in a case is one.
fn as_text(test: &Test) -> Test {
    match test {
        Test::Is(Json::Number(number)) => Test::Is(Json::String(number.as_str().to_owned())),
        Test::Is(Json::Bool(value)) => Test::Is(Json::String(value.to_string())),
        other => other.clone(),
    }
}

pub(super) fn test_value(all: &mut Judged, what: &str, test: &Test, came: Option<&Value>) {
    if !meets(test, came) {
        all.differs(what, &shown(test), &came.map_or_else(|| "nothing".to_owned(), ToString::to_string));
    }
}

pub(super) fn meets(test: &Test, came: Option<&Value>) -> bool {
    match test {
        Test::Absent => came.is_none_or(Value::is_null),
        Test::Is(wanted) => came.is_some_and(|came| equal(&to_value(wanted), came)),
        Test::All(tests) => tests.iter().all(|(operator, wanted)| holds(*operator, &to_value(wanted), came)),
    }
}

fn holds(operator: Operator, wanted: &Value, came: Option<&Value>) -> bool {
    if operator == Operator::Exists {
        return wanted.as_bool() == Some(came.is_some());
    }
    let Some(came) = came else { return false };
    match operator {
        Operator::Exists => false,
        Operator::Equals => equal(wanted, came),
        Operator::Contains => match (wanted, came) {
            (Value::String(part), Value::String(text)) => text.contains(part.as_str()),
            (member, Value::Array(items)) => items.iter().any(|item| equal(member, item)),
            _ => false,
        },
        Operator::Prefix => match (wanted, came) {
            (Value::String(part), Value::String(text)) => text.starts_with(part.as_str()),
            _ => false,
        },
        Operator::Gte => compare(came, wanted).is_some_and(Ordering::is_ge),
        Operator::Lte => compare(came, wanted).is_some_and(Ordering::is_le),
    }
}

/// Numbers as decimals; a text that is a number counts as one, as headers are texts.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let (a, b) = (number(a)?, number(b)?);
    Some(Decimal::parse(&a)?.cmp(&Decimal::parse(&b)?))
}

/// Equal as JSON: the order of members and the spelling of numbers do not matter.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.to_string(), b.to_string());
            a == b || Decimal::parse(&a).is_some_and(|a| Some(a) == Decimal::parse(&b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

pub(super) fn member<'v>(value: &'v Value, pointer: &Pointer) -> Option<&'v Value> {
    value.pointer(pointer.as_str())
}

pub(super) fn has_members(value: &Value, members: &Members) -> bool {
    members.iter().all(|(pointer, test)| meets(test, member(value, pointer)))
}

/// Members in words.
pub(super) fn describe(members: &Members) -> String {
    let each: Vec<String> =
        members.iter().map(|(pointer, test)| format!("`{}`: {}", pointer.as_str(), shown(test))).collect();
    if each.is_empty() { String::new() } else { format!(" with {}", each.join(", ")) }
}

fn shown(test: &Test) -> String {
    match test {
        Test::Absent => "nothing".to_owned(),
        Test::Is(value) => to_value(value).to_string(),
        Test::All(tests) => {
            let each: Vec<String> =
                tests.iter().map(|(operator, value)| format!("{} {}", words(*operator), to_value(value))).collect();
            each.join(" and ")
        }
    }
}

fn words(operator: Operator) -> &'static str {
    match operator {
        Operator::Equals => "equal to",
        Operator::Exists => "there:",
        Operator::Contains => "with",
        Operator::Prefix => "beginning with",
        Operator::Gte => "at least",
        Operator::Lte => "at most",
    }
}

pub(super) fn of_bytes(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// The beginning of a body, for people.
pub(super) fn body_shown(body: &[u8]) -> String {
    if body.is_empty() {
        return "no body".to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str(&format!("... ({} bytes)", body.len()));
    }
    shown
}
