//! HAR, entry by entry: the archive is never in memory as a whole.

use std::{borrow::Cow, fmt, io::Read};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Agent, Headers, Record, seconds};

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "startedDateTime")]
    started: Option<String>,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Pair>,
    #[serde(rename = "postData")]
    body: Option<PostData>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct PostData {
    text: Option<String>,
}

/// Calls `take` with each entry, and with the reason where one is no request. Fails where the archive is not JSON.
pub(crate) fn each(
    reader: impl Read,
    take: &mut dyn FnMut(Result<Record<'_>, String>),
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    deserializer.deserialize_map(Member { name: "log", inner: Log(take) })
}

/// The member `log` of the archive, with `entries` inside.
struct Member<S> {
    name: &'static str,
    inner: S,
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Member<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the member `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut inner = Some(self.inner);
        while let Some(name) = map.next_key::<String>()? {
            match inner.take_if(|_| name == self.name) {
                Some(inner) => map.next_value_seed(inner)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match inner {
            None => Ok(()),
            Some(_) => Err(serde::de::Error::custom(format_args!("the member `{}` is missing", self.name))),
        }
    }
}

type Take<'t> = &'t mut dyn FnMut(Result<Record<'_>, String>);

struct Log<'t>(Take<'t>);

impl<'de> DeserializeSeed<'de> for Log<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Member { name: "entries", inner: Entries(self.0) })
    }
}

struct Entries<'t>(Take<'t>);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<serde_json::Value>()? {
            match serde_json::from_value::<Entry>(entry) {
                Ok(entry) => (self.0)(record(entry)),
                Err(error) => (self.0)(Err(error.to_string())),
            }
        }
        Ok(())
    }
}

fn record(entry: Entry) -> Result<Record<'static>, String> {
    let Request { method, url, headers, body } = entry.request;
    let (_, rest) = url.split_once("://").ok_or_else(|| format!("`{url}` is not a URL"))?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = match rest.find(['/', '?']).map(|at| rest.split_at(at)) {
        Some((authority, target)) if target.starts_with('/') => (authority, Cow::Borrowed(target)),
        Some((authority, query)) => (authority, Cow::Owned(format!("/{query}"))),
        None => (rest, Cow::Borrowed("/")),
    };
    // Browsers write the pseudo-headers of HTTP/2 among the others.
    let headers = headers.into_iter().filter(|pair| !pair.name.starts_with(':'));
    Ok(Record {
        method: method.into(),
        authority: authority.to_owned().into(),
        target: target.into_owned().into(),
        has_query: true,
        time: entry.started.as_deref().and_then(seconds),
        agent: Agent::Untold,
        headers: Headers::All(headers.map(|pair| (pair.name.to_ascii_lowercase(), pair.value)).collect()),
        body: match body {
            None => Some("".into()),
            // A body that was recorded without its text.
            Some(PostData { text }) => text.map(Cow::Owned),
        },
        before: None,
    })
}
