//! What a notice says: enough to know what waits and where to look. It has no bodies, no queries, no headers, no secrets.

use holdgate_protocol::Actor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Format;
use crate::http::text::plain;

/// The most bytes of one text of a request.
const MAX_TEXT: usize = 512;

/// A notice, as hooks of the format `holdgate` get it and as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Payload {
    #[serde(rename = "type")]
    pub event: String,
    /// Unix seconds.
    pub time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentPart>,
    /// Where a person looks at it. Nothing happens by following it.
    pub link: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldPart {
    pub id: String,
    pub group: String,
    pub rules: Vec<RulePart>,
    pub method: String,
    pub authority: String,
    pub path: String,
    /// Unix seconds; none once it has ended.
    pub deadline: Option<u64>,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RulePart {
    pub id: String,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentPart {
    pub iss: String,
    pub sub: String,
}

impl AgentPart {
    pub fn of(agent: &Actor) -> Self {
        AgentPart { iss: shown(&agent.iss), sub: shown(&agent.sub) }
    }
}

/// A text of a request or an agent: one line, without characters that cannot be seen.
pub fn shown(text: &str) -> String {
    plain(text, MAX_TEXT)
}

/// The bytes that a hook of a format is sent.
pub fn write(format: Format, body: &str) -> Result<String, serde_json::Error> {
    match format {
        Format::Holdgate => Ok(body.to_owned()),
        Format::Slack => Ok(slack(&serde_json::from_str(body)?).to_string()),
    }
}

/// The longest text of a field that Slack takes, in characters, as it is sent.
const MAX_FIELD: usize = 2000;

/// A message for Slack's incoming webhooks.
///
/// What an agent chose stands in `plain_text`, where nothing is markup; the one link is ours. `parse` and `link_names` keep
/// Slack from making links or mentions of what looks like one.
fn slack(payload: &Payload) -> Value {
    let what = match payload.event.as_str() {
        "hold.opened" => "A request waits for approval",
        "hold.reminded" => "A request still waits for approval",
        "hold.escalated" => "A request waits for approval and was escalated",
        "hold.approval" => "A request was approved by one person and waits for more",
        "hold.approved" => "A request was approved",
        "hold.denied" => "A request was denied",
        "hold.expired" => "Nobody decided or used it in time",
        "hold.cancelled" => "A hold was cancelled",
        "hold.used" => "An approved request was let through",
        "hold.outcome_unknown" => "What became of an approved request is unknown",
        "agent.suspended" => "An agent was suspended",
        "agent.suspension_proposed" => "An agent should be suspended",
        "agent.resumed" => "An agent was resumed",
        other => other,
    };
    let field = |name: &str, value: &str| {
        let text = format!("{name}: {value}");
        let text = text.chars().scan(0, |length, c| {
            let piece = escaped(c.encode_utf8(&mut [0; 4]));
            *length += piece.chars().count();
            (*length <= MAX_FIELD).then_some(piece)
        });
        json!({"type": "plain_text", "text": text.collect::<String>(), "emoji": false})
    };
    let mut fields = Vec::new();
    if let Some(hold) = &payload.hold {
        fields.push(field("Request", &format!("{} {}{}", hold.method, hold.authority, hold.path)));
        for rule in hold.rules.iter().take(5) {
            fields.push(field(
                "Rule",
                &rule.reason.as_ref().map_or(rule.id.clone(), |why| format!("{}: {why}", rule.id)),
            ));
        }
        if let Some(deadline) = hold.deadline {
            fields.push(field("Until", &crate::http::text::moment(deadline)));
        }
    }
    if let Some(agent) = &payload.agent {
        fields.push(field("Agent", &format!("{} at {}", agent.sub, agent.iss)));
    }
    let mut blocks =
        vec![json!({"type": "section", "text": {"type": "plain_text", "text": escaped(what), "emoji": false}})];
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    let link = format!("<{}|Look at it in Holdgate>", payload.link);
    blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": link, "verbatim": true}}));
    json!({
        "text": escaped(what), "blocks": blocks, "parse": "none", "link_names": false, "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// The three characters that Slack's texts know (`&`, `<`, `>`).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{AgentPart, Format, HoldPart, Payload, RulePart, shown, write};

    #[test]
    fn an_agent_writes_no_link_and_no_mention_into_slack() {
        let bad = "/<https://evil.test|Approve>\u{202e}\n<!channel> &lt;@U1&gt; *x*";
        let hold = HoldPart {
            id: "ab12".into(),
            group: "edge".into(),
            rules: vec![RulePart { id: "one".into(), reason: Some("a < b".into()) }],
            method: "POST".into(),
            authority: shown("<!here>"),
            path: shown(bad),
            deadline: Some(1_790_000_000),
            cause: None,
        };
        let agent = Some(AgentPart { iss: "https://idp.example".into(), sub: shown("<@U2>") });
        let link = "https://console.example/holds/ab12".to_owned();
        let payload = Payload { event: "hold.opened".into(), time: 1, hold: Some(hold), agent, link };
        let text = write(Format::Slack, &serde_json::to_string(&payload).unwrap()).unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        let mut marked = Vec::new();
        texts(&message["blocks"], &mut marked);
        for (kind, text) in marked {
            let ours = "<https://console.example/holds/ab12|Look at it in Holdgate>";
            assert!(kind == "plain_text" || text == ours, "{kind} {text}");
            assert!(text == ours || !text.contains(['<', '>', '\n', '\u{202e}']), "{text}");
        }
        assert_eq!(message["text"], "A request waits for approval");
        assert!(text.contains("&amp;lt;@U1&amp;gt;") && text.contains("\\\\u{202e}"), "{text}");
    }

    #[test]
    fn a_text_that_grows_when_it_is_escaped_is_one_that_slack_takes() {
        for c in ['&', '<', 'a', 'é'] {
            let agent = Some(AgentPart { iss: "i".into(), sub: c.to_string().repeat(5000) });
            let payload = Payload { event: "agent.suspended".into(), time: 1, hold: None, agent, link: "l".into() };
            let text = write(Format::Slack, &serde_json::to_string(&payload).unwrap()).unwrap();
            let message: Value = serde_json::from_str(&text).unwrap();
            let field = message["blocks"][1]["fields"][0]["text"].as_str().unwrap();
            assert!((1990..=2000).contains(&field.chars().count()), "{}", field.chars().count());
            assert!(!field.contains('&') || field.ends_with(';'), "no escape is cut: {field}");
        }
    }

    fn texts(value: &Value, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(members) => {
                if let (Some(Value::String(kind)), Some(Value::String(text))) =
                    (members.get("type"), members.get("text"))
                {
                    found.push((kind.clone(), text.clone()));
                }
                members.values().for_each(|member| texts(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            _ => {}
        }
    }
}
