//! What a content-type says of a body.

/// What comes behind `application/` where a content-type is that of JSON in UTF-8, in any case: `json`, or a name that ends in
/// `+json`. What says so is read alike for requests that rules look into, for messages, and for answers.
pub(crate) fn json_subtype(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let suffix = subtype.len().checked_sub(5).and_then(|at| subtype.split_at_checked(at));
    let structured =
        suffix.is_some_and(|(name, suffix)| suffix.eq_ignore_ascii_case("+json") && name.bytes().all(is_plain));
    let json = kind.eq_ignore_ascii_case("application") && (is_json(subtype) || structured);
    // Some servers look for the name of a type anywhere in the field: a parameter is a name, `=` and a value.
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            quoted.unwrap_or(value).eq_ignore_ascii_case("utf-8")
        }
        Some((name, _)) => name.bytes().all(is_plain),
        None => false,
    });
    Some(subtype).filter(|_| json && utf8)
}

/// Whether a content-type is `application/json`, and not another type in JSON's syntax.
pub(crate) fn is_plain_json(content_type: &str) -> bool {
    json_subtype(content_type).is_some_and(is_json)
}

fn is_json(subtype: &str) -> bool {
    subtype.eq_ignore_ascii_case("json")
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.+_".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two readers once differed on the parameters.
    #[test]
    fn one_reading_for_bodies_messages_and_answers() {
        for plain in [
            "application/json",
            "Application/JSON ; Charset=UTF-8",
            "application/json; charset=\"utf-8\"",
            "application/json;profile=\"a/b\";charset=utf-8",
        ] {
            assert!(json_subtype(plain).is_some() && is_plain_json(plain), "{plain}");
        }
        for structured in ["application/problem+json", "application/vnd.a.b-1+JSON; charset=utf-8"] {
            assert!(json_subtype(structured).is_some() && !is_plain_json(structured), "{structured}");
        }
        for other in [
            "",
            "json",
            "text/json",
            "application/jsonp",
            "application/+jsons",
            "application/json;",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=latin1",
            "application/json; charset",
            "application/json; text/html",
            "application/json; text/html=1",
            "application/json, text/plain",
            "application/a/b+json",
            "application/a b+json",
        ] {
            assert!(json_subtype(other).is_none(), "{other}");
        }
    }
}
