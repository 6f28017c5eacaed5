//! The compiled conditions of a rule: an OR of ANDs of typed atoms.

use holdgate_protocol::{Json, Pointer, bundle::Effect};
use serde::{Deserialize, Serialize};

use crate::{
    Body, Request, Template,
    decimal::{Decimal, Number},
    truth::Truth,
};

/// When a rule applies: one entry at least in which every atom is true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    pub any: Vec<Vec<Atom>>,
}

/// One typed test of one attribute. An atom that is not in this list is refused when a bundle is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Atom {
    /// One of these methods, which are case-sensitive (RFC 9110 section 9.1).
    Method(Vec<String>),
    /// The host; texts of the test are in lower case.
    Host(Test),
    Path(Template),
    /// Whether the request has a verified agent.
    AgentExists(bool),
    AgentId(Test),
    AgentIssuer(Test),
    AgentOwner(Test),
    Claim(Claim),
    Body(BodyPart),
}

/// A test of one claim of the agent's token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub name: String,
    pub test: Test,
}

/// A test of one value in the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyPart {
    pub pointer: Pointer,
    pub test: Test,
}

/// What is asked of a value. Only `exists` is known for a value that is missing, null or of another type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Test {
    Equals(Literal),
    In(List),
    NotIn(List),
    Exists(bool),
    Lt(Number),
    Lte(Number),
    Gt(Number),
    Gte(Number),
    Prefix(String),
    Suffix(String),
    /// The value is a text in which this one occurs.
    Contains(String),
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Literal {
    String(String),
    Number(Number),
    Bool(bool),
}

/// Values of one type to compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum List {
    Strings(Vec<String>),
    Numbers(Vec<Number>),
}

/// An attribute of a request, as a test sees it.
#[derive(Clone, Copy)]
enum Value<'a> {
    Missing,
    Pending,
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
    /// Null, an array or an object: it is there, and nothing more can be asked of it.
    Other,
}

impl Conditions {
    /// Whether the conditions of a rule with this effect hold.
    ///
    /// Where there is no agent, an entry that allows must say so (`agent: {exists: false}`): a rule that was written
    /// with agents in mind does not open for everybody.
    pub(crate) fn evaluate(&self, effect: Effect, request: &Request<'_>) -> Truth {
        let anonymous = effect == Effect::Allow && request.agent.is_none();
        let mut any = Truth::False;
        for entry in &self.any {
            if anonymous && !entry.contains(&Atom::AgentExists(false)) {
                continue;
            }
            let mut all = Truth::True;
            for atom in entry {
                all = all.and(atom.evaluate(request));
                if all == Truth::False {
                    break;
                }
            }
            any = any.or(all);
            if any == Truth::True {
                break;
            }
        }
        any
    }

    /// All atoms, entry by entry.
    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.any.iter().flatten()
    }
}

impl Atom {
    pub(crate) fn evaluate(&self, request: &Request<'_>) -> Truth {
        let agent = request.agent;
        let text = |text: Option<&str>, test: &Test| test.evaluate(text.map_or(Value::Missing, Value::Text));
        match self {
            Atom::Method(methods) => methods.iter().any(|method| method == request.method).into(),
            Atom::Host(test) => text(Some(request.host), test),
            Atom::Path(template) => template.matches(request.path).into(),
            Atom::AgentExists(wanted) => (agent.is_some() == *wanted).into(),
            Atom::AgentId(test) => text(agent.map(|agent| agent.id), test),
            Atom::AgentIssuer(test) => text(agent.map(|agent| agent.iss), test),
            Atom::AgentOwner(test) => text(agent.and_then(|agent| agent.owner), test),
            Atom::Claim(Claim { name, test }) => {
                let claims = agent.and_then(|agent| agent.claims.as_object());
                test.evaluate(Value::of(claims.and_then(|claims| claims.get(name))))
            }
            Atom::Body(BodyPart { pointer, test }) => test.evaluate(match request.body {
                Body::Unread => Value::Pending,
                Body::Empty => Value::Missing,
                Body::Json(body) => Value::of(body.at(pointer)),
            }),
        }
    }
}

impl<'a> Value<'a> {
    fn of(json: Option<&'a Json>) -> Self {
        match json {
            None => Value::Missing,
            Some(Json::String(text)) => Value::Text(text),
            Some(Json::Number(number)) => Value::Number(number.as_str()),
            Some(Json::Bool(value)) => Value::Bool(*value),
            Some(Json::Null | Json::Array(_) | Json::Object(_)) => Value::Other,
        }
    }
}

impl Test {
    fn evaluate(&self, value: Value<'_>) -> Truth {
        match (self, value) {
            (_, Value::Pending) => Truth::Pending,
            (Test::Exists(wanted), value) => (!matches!(value, Value::Missing) == *wanted).into(),
            (Test::Equals(Literal::String(wanted)), Value::Text(text)) => (wanted == text).into(),
            (Test::Equals(Literal::Bool(wanted)), Value::Bool(value)) => (*wanted == value).into(),
            (Test::Equals(Literal::Number(wanted)), value) => compared(value, |number| number == wanted.as_decimal()),
            (Test::In(list), value) => list.holds(value),
            (Test::NotIn(list), value) => list.holds(value).not(),
            (Test::Lt(limit), value) => compared(value, |number| number < limit.as_decimal()),
            (Test::Lte(limit), value) => compared(value, |number| number <= limit.as_decimal()),
            (Test::Gt(limit), value) => compared(value, |number| number > limit.as_decimal()),
            (Test::Gte(limit), value) => compared(value, |number| number >= limit.as_decimal()),
            (Test::Prefix(prefix), Value::Text(text)) => text.starts_with(prefix.as_str()).into(),
            (Test::Suffix(suffix), Value::Text(text)) => text.ends_with(suffix.as_str()).into(),
            (Test::Contains(part), Value::Text(text)) => text.contains(part.as_str()).into(),
            _ => Truth::Unknown,
        }
    }

    /// The texts that the test compares with.
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Test::Equals(Literal::String(text)) | Test::Prefix(text) | Test::Suffix(text) | Test::Contains(text) => {
                std::slice::from_ref(text)
            }
            Test::In(List::Strings(list)) | Test::NotIn(List::Strings(list)) => list,
            _ => &[],
        }
    }

    pub(crate) fn has_empty_list(&self) -> bool {
        matches!(self, Test::In(list) | Test::NotIn(list) if list.is_empty())
    }
}

impl List {
    fn holds(&self, value: Value<'_>) -> Truth {
        match (self, value) {
            (List::Strings(list), Value::Text(text)) => list.iter().any(|other| other == text).into(),
            (List::Numbers(list), value) => {
                compared(value, |number| list.iter().any(|other| other.as_decimal() == number))
            }
            _ => Truth::Unknown,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            List::Strings(list) => list.is_empty(),
            List::Numbers(list) => list.is_empty(),
        }
    }
}

fn compared(value: Value<'_>, holds: impl FnOnce(Decimal<'_>) -> bool) -> Truth {
    let Value::Number(spelling) = value else { return Truth::Unknown };
    Decimal::parse(spelling).map_or(Truth::Unknown, |number| holds(number).into())
}
