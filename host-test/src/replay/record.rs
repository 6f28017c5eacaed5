//! One request of a log, as far as the log tells of it.

mod audit;
mod envoy;
mod har;

use std::borrow::Cow;

use holdgate_protocol::bundle::Effect;
use serde::Deserialize;

pub(crate) use self::{audit::Audit, envoy::Envoy, har::each as each_of_har};

/// A request, and what was said about it.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) method: Cow<'a, str>,
    pub(crate) authority: Cow<'a, str>,
    /// The path, with the query where the log has it.
    pub(crate) target: Cow<'a, str>,
    /// Whether `target` would have the query.
    pub(crate) has_query: bool,
    /// Unix seconds.
    pub(crate) time: Option<i64>,
    pub(crate) agent: Agent<'a>,
    pub(crate) headers: Headers<'a>,
    /// `None`: the log has no bodies. An empty text: there was none.
    pub(crate) body: Option<Cow<'a, str>>,
    /// The verdict at the time.
    pub(crate) before: Option<Effect>,
}

/// Who asked.
#[derive(Debug, Default)]
pub(crate) enum Agent<'a> {
    /// The log does not tell; it is taken for a verified agent of which nothing is known.
    #[default]
    Untold,
    /// Nobody: no verified agent.
    Nobody,
    Told {
        iss: Cow<'a, str>,
        id: Cow<'a, str>,
        owner: Option<Cow<'a, str>>,
    },
}

/// The headers that a log tells.
#[derive(Debug)]
pub(crate) enum Headers<'a> {
    All(Vec<(String, String)>),
    /// Of these names only; `None` where the request did not have it.
    Some(Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>),
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Headers::Some(Vec::new())
    }
}

/// A text of the log that has no escapes where it can be borrowed.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Unix seconds of an RFC 3339 text, or of digits.
fn seconds(text: &str) -> Option<i64> {
    match text.split('.').next().unwrap_or_default().parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second),
    }
}
