//! HAR, entry by entry: the archive is never in memory as a whole.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    io::{self, Read},
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Agent, Headers, Record, seconds};

/// The most bytes of one entry that are kept, or of what stands between two of them; the response is never kept.
pub(crate) const MAX_ENTRY: u64 = 16 * 1024 * 1024;

struct Entry {
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
    let left = Cell::new(Some(MAX_ENTRY));
    let mut deserializer = serde_json::Deserializer::from_reader(Bounded { reader, left: &left });
    deserializer.deserialize_map(Member { name: "log", inner: Log(take, &left), left: &left })
}

/// What may still be read before something is let go; `None` while nothing is kept.
type Left = Cell<Option<u64>>;

/// A reader that fails where more would be kept than [`MAX_ENTRY`].
struct Bounded<'l, R> {
    reader: R,
    left: &'l Left,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get() else { return self.reader.read(buffer) };
        let length = self.reader.read(buffer)?;
        let rest = left.checked_sub(length as u64).ok_or_else(|| io::Error::other("an entry is longer than 16 MiB"))?;
        self.left.set(Some(rest));
        Ok(length)
    }
}

/// Steps over a value, of which nothing is kept.
fn skip<'de, A: MapAccess<'de>>(map: &mut A, left: &Left) -> Result<(), A::Error> {
    let before = left.take();
    map.next_value::<IgnoredAny>()?;
    left.set(before);
    Ok(())
}

/// The member `log` of the archive, with `entries` inside.
struct Member<'l, S> {
    name: &'static str,
    inner: S,
    left: &'l Left,
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Member<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the member `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut inner = Some(self.inner);
        while let Some(name) = map.next_key::<String>()? {
            match inner.take_if(|_| name == self.name) {
                Some(inner) => map.next_value_seed(inner)?,
                None => skip(&mut map, self.left)?,
            }
        }
        match inner {
            None => Ok(()),
            Some(_) => Err(serde::de::Error::custom(format_args!("the member `{}` is missing", self.name))),
        }
    }
}

type Take<'t> = &'t mut dyn FnMut(Result<Record<'_>, String>);

struct Log<'t>(Take<'t>, &'t Left);

impl<'de> DeserializeSeed<'de> for Log<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Member { name: "entries", inner: Entries(self.0, self.1), left: self.1 })
    }
}

struct Entries<'t>(Take<'t>, &'t Left);

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
        while let Some(entry) = entries.next_element_seed(OneEntry(self.1))? {
            (self.0)(entry.and_then(record));
            self.1.set(Some(MAX_ENTRY));
        }
        Ok(())
    }
}

/// An entry, or why it is none; of its members only those that are looked at are kept.
struct OneEntry<'l>(&'l Left);

impl<'de> DeserializeSeed<'de> for OneEntry<'_> {
    type Value = Result<Entry, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneEntry<'_> {
    type Value = Result<Entry, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut started, mut request) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "startedDateTime" => started = Some(map.next_value::<serde_json::Value>()?),
                "request" => request = Some(map.next_value::<serde_json::Value>()?),
                _ => skip(&mut map, self.0)?,
            }
        }
        let Some(request) = request else { return Ok(Err("missing field `request`".into())) };
        let started = started.as_ref().and_then(serde_json::Value::as_str).map(str::to_owned);
        Ok(serde_json::from_value(request).map(|request| Entry { started, request }).map_err(|error| error.to_string()))
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
