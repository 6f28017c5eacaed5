//! Concrete requests that questions are answered with.

use holdgate_engine::{Body, Caller, Counter, Field, Mcp, Policy, Request, conditions::By, header_values};
use holdgate_protocol::{Hash, Json, json::Object};

use super::goal::counted_by;

/// 2026-01-07T12:00:00Z, a Wednesday: the time of a request where nothing is said about it.
pub const NOON: i64 = 1_767_787_200;

/// A concrete request.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness {
    pub method: String,
    pub host: String,
    pub path: String,
    /// The parameters of the query, decoded.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub agent: Option<WitnessAgent>,
    pub body: Option<Json>,
    pub mcp: Option<WitnessMessage>,
    /// Unix seconds.
    pub time: i64,
    /// What counters have seen; all others have seen this request only.
    pub counts: Vec<Count>,
}

/// The verified agent of a witness.
#[derive(Clone, Debug, PartialEq)]
pub struct WitnessAgent {
    pub id: String,
    pub issuer: String,
    pub owner: Option<String>,
    /// An object.
    pub claims: Json,
}

/// The MCP message of a witness; its body is this message.
#[derive(Clone, Debug, PartialEq)]
pub struct WitnessMessage {
    pub method: String,
    pub tool: Option<String>,
    pub args: Option<Json>,
}

/// How many requests the counter of one entry of a rule has seen, this one included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub rule: String,
    /// The place of the entry in the rule.
    pub entry: usize,
    /// The length of the window in seconds.
    pub per: u64,
    pub by: By,
    /// What is counted, where an entry that was changed counts something else; `None` for either.
    pub of: Option<Hash>,
    pub count: u64,
}

impl Default for Witness {
    /// An agent's plain request.
    fn default() -> Self {
        Witness {
            method: "GET".into(),
            host: "api.example".into(),
            path: "/".into(),
            query: Vec::new(),
            headers: Vec::new(),
            agent: Some(WitnessAgent::default()),
            body: None,
            mcp: None,
            time: NOON,
            counts: Vec::new(),
        }
    }
}

impl Default for WitnessAgent {
    fn default() -> Self {
        let (id, issuer) = ("agent".into(), "https://idp.example".into());
        WitnessAgent { id, issuer, owner: None, claims: Json::Object(Object::default()) }
    }
}

impl Witness {
    /// Calls `f` with the request as `policy` is to see it.
    pub fn with_request<T>(&self, policy: &Policy, f: impl FnOnce(&Request<'_>) -> T) -> T {
        let counted = |counter: &Counter| {
            let rule = policy.rule(counter.rule);
            let place = (&rule.id, counter.entry, counter.per, counter.by);
            let mut found =
                self.counts.iter().filter(|count| (&count.rule, count.entry, count.per, count.by) == place).peekable();
            let of = found.peek().map(|_| counted_by(rule, counter.entry));
            Some(found.find(|count| count.of.is_none() || count.of == of).map_or(1, |count| count.count))
        };
        let rates: Vec<Option<u64>> = policy.rates().iter().map(counted).collect();
        self.with_fields(|request| f(&Request { rates: &rates, ..*request }))
    }

    /// The request as the gateway takes it: a list in one header is its members too.
    pub(crate) fn as_it_arrives(&self) -> Witness {
        let values = |(name, value): &(String, String)| {
            let values = header_values(value).map(|value| (name.clone(), value.to_owned()));
            values.collect::<Vec<_>>()
        };
        Witness { headers: self.headers.iter().flat_map(values).collect(), ..self.clone() }
    }

    /// Calls `f` with the request, but for what was counted.
    pub(crate) fn with_fields<T>(&self, f: impl FnOnce(&Request<'_>) -> T) -> T {
        fn fields(list: &[(String, String)]) -> Vec<Field<'_>> {
            list.iter().map(|(name, value)| Field { name, value: Some(value) }).collect()
        }
        let (query, headers) = (fields(&self.query), fields(&self.headers));
        f(&Request {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: &query,
            headers: &headers,
            agent: self.agent.as_ref().map(WitnessAgent::caller),
            body: self.body.as_ref().map_or(Body::Empty, Body::Json),
            mcp: self.mcp.as_ref().map_or(Mcp::None, |message| Mcp::Message {
                method: &message.method,
                tool: message.tool.as_deref(),
                args: message.args.as_ref(),
            }),
            time: Some(self.time),
            rates: &[],
        })
    }

    /// The value of `request:` in a test, in YAML's flow style; texts are quoted as JSON quotes them.
    ///
    /// What a test has by default is left out. A test gives all counters of a rule one count, that of the first here;
    /// witnesses have different ones only where it must be so.
    pub fn to_yaml(&self) -> String {
        let usual = Witness::default();
        let mut parts = Vec::new();
        match &self.agent {
            None => parts.push("agent: null".to_owned()),
            Some(agent) => parts.push(format!("agent: {}", agent.to_yaml())),
        }
        let mut http = vec![format!("method: {}", plain(&self.method))];
        if self.host != usual.host {
            http.push(format!("host: {}", plain(&self.host)));
        }
        http.push(format!("path: {}", plain(&self.path)));
        for (name, list) in [("query", &self.query), ("headers", &self.headers)] {
            if !list.is_empty() {
                http.push(format!("{name}: {}", fields_to_yaml(list)));
            }
        }
        parts.push(format!("http: {{{}}}", http.join(", ")));
        if let Some(WitnessMessage { method, tool, args }) = &self.mcp {
            let usual = method == "tools/call" && (tool.is_some() || args.is_some());
            let mut mcp: Vec<String> = if usual { vec![] } else { vec![format!("method: {}", plain(method))] };
            mcp.extend(tool.as_ref().map(|tool| format!("tool: {}", plain(tool))));
            mcp.extend(args.as_ref().map(|args| format!("args: {}", json_to_yaml(args))));
            parts.push(format!("mcp: {{{}}}", mcp.join(", ")));
        }
        if let Some(body) = self.body.as_ref().filter(|body| Some(*body) != self.message().as_ref()) {
            parts.push(format!("body: {}", json_to_yaml(body)));
        }
        if !self.counts.is_empty() {
            let mut counts: Vec<String> = Vec::new();
            for Count { rule, count, .. } in &self.counts {
                if !counts.iter().any(|known| known.starts_with(&format!("{}: ", plain(rule)))) {
                    counts.push(format!("{}: {count}", plain(rule)));
                }
            }
            parts.push(format!("rate: {{{}}}", counts.join(", ")));
        }
        if self.time != usual.time {
            parts.push(format!("time: {}", instant(self.time)));
        }
        format!("{{{}}}", parts.join(", "))
    }

    /// The body of a request that is nothing but its MCP message.
    pub(crate) fn message(&self) -> Option<Json> {
        let WitnessMessage { method, tool, args } = self.mcp.as_ref()?;
        let mut message = Object::default();
        message.set("jsonrpc".into(), "2.0".into());
        message.set("id".into(), Json::integer(1));
        message.set("method".into(), method.as_str().into());
        let mut params = Object::default();
        tool.iter().for_each(|tool| params.set("name".into(), tool.as_str().into()));
        args.iter().for_each(|args| params.set("arguments".into(), args.clone()));
        message.set("params".into(), Json::Object(params));
        Some(Json::Object(message))
    }
}

impl WitnessAgent {
    fn caller(&self) -> Caller<'_> {
        Caller { iss: &self.issuer, id: &self.id, owner: self.owner.as_deref(), claims: &self.claims }
    }

    fn to_yaml(&self) -> String {
        let mut parts = vec![format!("id: {}", plain(&self.id))];
        if self.issuer != WitnessAgent::default().issuer {
            parts.push(format!("issuer: {}", plain(&self.issuer)));
        }
        parts.extend(self.owner.as_ref().map(|owner| format!("owner: {}", plain(owner))));
        if self.claims != WitnessAgent::default().claims {
            parts.push(format!("claims: {}", json_to_yaml(&self.claims)));
        }
        format!("{{{}}}", parts.join(", "))
    }
}

/// A map of names to a text, or to a list of texts where the name stands there more than once.
fn fields_to_yaml(list: &[(String, String)]) -> String {
    let mut names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let field = |name: &str| {
        let values = list.iter().filter(|(other, _)| other == name).map(|(_, value)| quoted(value));
        match values.collect::<Vec<_>>().as_slice() {
            [value] => format!("{}: {value}", plain(name)),
            values => format!("{}: [{}]", plain(name), values.join(", ")),
        }
    };
    format!("{{{}}}", names.into_iter().map(field).collect::<Vec<_>>().join(", "))
}

fn json_to_yaml(value: &Json) -> String {
    match value {
        Json::String(text) => plain(text),
        Json::Array(items) => format!("[{}]", items.iter().map(json_to_yaml).collect::<Vec<_>>().join(", ")),
        Json::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{}: {}", plain(key), json_to_yaml(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        scalar => String::from_utf8_lossy(&scalar.to_jcs()).into_owned(),
    }
}

/// A text without quotes where every reader of YAML takes it for a text.
fn plain(text: &str) -> String {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte);
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let spoken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"];
    if starts && text.bytes().all(word) && !spoken.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // YAML has no other way to write these.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The moment as RFC 3339 spells it, by the civil calendar.
fn instant(time: i64) -> String {
    let (days, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    // Days since 1 March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spelled() {
        assert_eq!(instant(NOON), "2026-01-07T12:00:00Z");
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant(1_709_164_800), "2024-02-29T00:00:00Z");
        assert_eq!(instant(2_713_910_399), "2055-12-31T23:59:59Z");
    }

    #[test]
    fn texts_that_yaml_reads_otherwise_are_quoted() {
        for (text, spelled) in [
            ("/iam/users", "/iam/users"),
            ("agent", "agent"),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("1", "\"1\""),
            ("a: b", "\"a: b\""),
            ("a\u{7}\"", "\"a\\u0007\\\"\""),
        ] {
            assert_eq!(plain(text), spelled);
        }
    }
}
