//! Envoy's access log in the JSON form that host-test/README.md documents.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{Agent, Headers, Record, Text, seconds};

/// The members of a log line that are looked at. Envoy writes `null` or `-` where there is nothing.
#[derive(Deserialize)]
pub(crate) struct Envoy<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    authority: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    start_time: Option<Text<'a>>,
    #[serde(borrow)]
    agent_id: Option<Text<'a>>,
    #[serde(borrow)]
    agent_issuer: Option<Text<'a>>,
    #[serde(borrow)]
    agent_owner: Option<Text<'a>>,
    #[serde(borrow, default)]
    headers: Fields<'a>,
}

impl<'a> From<Envoy<'a>> for Record<'a> {
    fn from(log: Envoy<'a>) -> Self {
        let told = |text: Option<Text<'a>>| text.map(|text| text.0).filter(|text| text != "-");
        let agent = match (told(log.agent_id), told(log.agent_issuer)) {
            (Some(id), Some(iss)) => Agent::Told { iss, id, owner: told(log.agent_owner) },
            _ => Agent::Untold,
        };
        Record {
            method: log.method,
            authority: log.authority,
            target: log.path,
            has_query: true,
            time: told(log.start_time).and_then(|time| seconds(&time)),
            agent,
            headers: Headers::Some(log.headers.0),
            ..Record::default()
        }
    }
}

/// The `headers` of a line, in their order.
#[derive(Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of header names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, Option<Text<'de>>>()? {
                    fields.push((name.0, value.map(|value| value.0).filter(|value| value != "-")));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
