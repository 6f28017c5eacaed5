//! The request digest: SHA-256 over the signature base of RFC 9421 section 2.5, so that an approval covers these bytes.

use std::collections::BTreeMap;

use crate::{Hash, Json, b64, mcp};

/// What a request is before its body: the canonical octets that are matched, digested and forwarded.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    /// Lower case, without the scheme's default port.
    pub authority: &'a str,
    pub path: &'a str,
    /// What stands behind the `?`; `None` when there is no `?`.
    pub query: Option<&'a str>,
    /// Names in lower case, in the order of arrival; no pseudo-headers.
    pub fields: Vec<(&'a str, &'a str)>,
}

/// The digest of a request and the ordered names of what it covers (`@signature-params`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestDigest {
    pub components: Vec<String>,
    pub digest: Hash,
}

/// Fields that no digest covers: they differ from try to try, or are the proxy's own.
const UNBOUND: [&str; 17] = [
    "accept-encoding",
    "b3",
    "baggage",
    "connection",
    "content-length",
    "date",
    "expect",
    "idempotency-key",
    "keep-alive",
    "prefer",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-request-id",
];

/// Whether the digest covers a field (its name in lower case). `token_header` carries the agent's token; `unbind` is the
/// rules'.
fn is_bound(name: &str, value: &str, token_header: &str, unbind: &[String]) -> bool {
    let always = (UNBOUND.contains(&name) && (name != "prefer" || only_asks_to_wait(value)))
        || name == token_header
        || matches!(name, "x-forwarded-for" | "x-forwarded-proto")
        || name.starts_with("x-b3-")
        || name.starts_with("x-envoy-");
    !always && !unbind.iter().any(|other| other == name)
}

/// Whether a `Prefer` field says nothing but how to be answered by the gateway (`respond-async`, `wait=N`). Other
/// preferences change what the upstream does, so that an approval covers them.
fn only_asks_to_wait(value: &str) -> bool {
    value.split(',').map(str::trim).all(|preference| {
        preference.eq_ignore_ascii_case("respond-async")
            || preference.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("wait="))
    })
}

/// A field value holds a line break: the base would have two readings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line break in the value of `{0}`")]
pub struct DigestError(pub String);

/// Digests a request with its whole body.
///
/// A client's own `content-digest` field is covered like any other, by a second line behind the computed one.
pub fn request_digest(
    head: &RequestHead<'_>,
    body: &[u8],
    token_header: &str,
    unbind: &[String],
) -> Result<RequestDigest, DigestError> {
    digest(head, body, "holdgate-http-1", token_header, unbind)
}

/// Digests a request whose body is an MCP message, without what belongs to a try: [`mcp::content`].
pub fn mcp_request_digest(
    head: &RequestHead<'_>,
    message: Json,
    token_header: &str,
    unbind: &[String],
) -> Result<RequestDigest, DigestError> {
    digest(head, &mcp::content(message), "holdgate-mcp-1", token_header, unbind)
}

fn digest(
    head: &RequestHead<'_>,
    content: &[u8],
    tag: &str,
    token_header: &str,
    unbind: &[String],
) -> Result<RequestDigest, DigestError> {
    let mut fields = BTreeMap::<&str, Vec<&str>>::new();
    let covered = |(name, value): &&(&str, &str)| is_bound(name, value, token_header, unbind);
    for (name, value) in head.fields.iter().filter(covered) {
        let value = value.trim_matches([' ', '\t']);
        if value.contains(['\n', '\r']) {
            return Err(DigestError((*name).to_owned()));
        }
        fields.entry(name).or_default().push(value);
    }
    let mut lines = vec![
        ("@method", head.method.to_owned()),
        ("@scheme", head.scheme.to_owned()),
        ("@authority", head.authority.to_owned()),
        ("@path", head.path.to_owned()),
    ];
    lines.extend(head.query.map(|query| ("@query", format!("?{query}"))));
    lines.push(("content-digest", format!("sha-256=:{}:", b64(Hash::of(content).as_bytes()))));
    lines.extend(fields.into_iter().map(|(name, values)| (name, values.join(", "))));

    let names: Vec<String> = lines.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let mut base = lines.iter().map(|(name, value)| format!("\"{name}\": {value}\n")).collect::<String>();
    base.push_str(&format!("\"@signature-params\": ({});tag=\"{tag}\"", names.join(" ")));
    let components = lines.into_iter().map(|(name, _)| name.to_owned()).collect();
    Ok(RequestDigest { components, digest: Hash::of(base.as_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(fields: &[(&str, &str)], body: &[u8]) -> RequestDigest {
        let head = RequestHead {
            method: "POST",
            scheme: "https",
            authority: "iam.example",
            path: "/iam/users/7/roles",
            query: None,
            fields: fields.to_vec(),
        };
        request_digest(&head, body, "authorization", &["x-volatile".into()]).unwrap()
    }

    #[test]
    fn what_is_bound_changes_the_digest_and_what_is_not_does_not() {
        let base = sample(&[("content-type", "application/json")], b"{}");
        for unbound in [
            ("authorization", "Bearer x"),
            ("user-agent", "x"),
            ("x-envoy-any", "x"),
            ("x-b3-new", "x"),
            ("x-forwarded-for", "x"),
            ("x-volatile", "x"),
            ("content-length", "2"),
            ("prefer", "wait=1"),
        ] {
            assert_eq!(sample(&[("content-type", "application/json"), unbound], b"{}"), base, "{unbound:?}");
        }
        for bound in [("cookie", "x"), ("x-role", "admin"), ("content-type", "text/plain"), ("content-digest", "x")] {
            assert_ne!(sample(&[("content-type", "application/json"), bound], b"{}").digest, base.digest, "{bound:?}");
        }
        assert_ne!(sample(&[("content-type", "application/json")], b"{ }").digest, base.digest);
    }

    #[test]
    fn a_line_break_in_a_value_is_refused() {
        let fields = vec![("x-a", "1\n\"x-b\": 2")];
        let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", query: None, fields };
        assert_eq!(request_digest(&head, b"", "authorization", &[]), Err(DigestError("x-a".into())));
    }
}
