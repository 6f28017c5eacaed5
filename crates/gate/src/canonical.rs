//! The canonical form of a request's head: what is matched, digested and forwarded are the same octets.
//!
//! Nothing is repaired here. A head that two readers could read in two ways is refused; only the authority is
//! normalised (case, default port), and headers that only Holdgate or the proxy may set are dropped.

mod pairs;

use std::net::{Ipv4Addr, Ipv6Addr};

use holdgate_protocol::digest::RequestHead;

pub use self::pairs::Pairs;

/// The longest method, in bytes.
const MAX_METHOD: usize = 32;

/// Fields by which a client asks that its request be read as another one.
const OVERRIDES: [&str; 11] = [
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// The head of a request in canonical form. All names and values stand in one text, so that a head costs few allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    text: String,
    method: Span,
    scheme: Span,
    path: Span,
    query: Option<Span>,
    /// Names in lower case and values, in the order of arrival, without reserved ones.
    fields: Vec<(Span, Span)>,
    authority: String,
    /// Whether the authority came in another form, so that it has to be set before the request goes on.
    pub renamed: bool,
}

/// A part of a head's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    from: usize,
    to: usize,
}

/// Why a head has no single reading: a sentence for the agent's author, without the offending bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

fn malformed<T>(detail: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(detail.into()))
}

impl Head {
    /// Reads the header map of a request, pseudo-headers included. `token_header` is a singleton too.
    pub fn read(pairs: Pairs, token_header: &str) -> Result<Head, Malformed> {
        let (text, lengths) = pairs.into_text()?;
        let mut head = Head { fields: Vec::with_capacity(lengths.len()), ..Head::default() };
        let (mut method, mut scheme, mut authority, mut target) = (None, None, None, None);
        let (mut seen, mut hosts) = (0_u32, false);
        for (name, value) in lengths.spans() {
            let (name_at, name, whole) = (name, name.of(&text), value.of(&text));
            if has_control(whole) {
                return malformed(format!("the value of `{name}` has a control character"));
            }
            let pseudo = match name {
                ":method" => &mut method,
                ":scheme" => &mut scheme,
                ":authority" => &mut authority,
                ":path" => &mut target,
                _ => {
                    check_name(name)?;
                    // White space around a value is no part of it (RFC 9110 section 5.5): HTTP/2 brings it along all the same.
                    let value = value.trimmed(whole);
                    let single = if name == token_header { Some(0) } else { singleton(name) };
                    if let Some(bit) = single.map(|index| 1_u32 << index) {
                        if seen & bit != 0 {
                            return malformed(format!("`{name}` stands there twice"));
                        }
                        seen |= bit;
                        check_singleton(name, value.of(&text))?;
                    }
                    hosts |= names_host(name) || name == "forwarded";
                    if !is_reserved(name.as_bytes()) {
                        head.fields.push((name_at, value));
                    }
                    continue;
                }
            };
            if pseudo.replace(value).is_some() {
                return malformed(format!("`{name}` stands there twice"));
            }
        }
        let scheme = scheme.filter(|scheme| matches!(scheme.of(&text), "http" | "https"));
        let Some(scheme) = scheme else { return malformed("the scheme is neither http nor https") };
        let target = target.unwrap_or_default();
        let (path, query) = split_target(target.of(&text))?;
        (head.path, head.query) = (target.first(path.len()), query.map(|query| target.last(query.len())));
        let given = authority.unwrap_or_default().of(&text);
        head.authority = normalise_authority(given, scheme.of(&text))?;
        head.renamed = head.authority != given;
        (head.method, head.scheme) = (method.unwrap_or_default(), scheme);
        check_method(head.method.of(&text))?;
        head.text = text;
        if head.field("transfer-encoding").is_some() && head.field("content-length").is_some() {
            return malformed("the length of the body is given in two ways");
        }
        if hosts && !head.names_one_host() {
            return malformed("a header names another host than the authority");
        }
        Ok(head)
    }

    fn names_one_host(&self) -> bool {
        self.fields().all(|(name, value)| match name {
            "forwarded" => !value.to_ascii_lowercase().contains("host"),
            name if names_host(name) => {
                normalise_authority(value, self.scheme()).is_ok_and(|host| host == self.authority)
            }
            _ => true,
        })
    }

    pub fn method(&self) -> &str {
        self.method.of(&self.text)
    }

    pub fn scheme(&self) -> &str {
        self.scheme.of(&self.text)
    }

    /// In lower case, without the scheme's default port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn path(&self) -> &str {
        self.path.of(&self.text)
    }

    /// What stands behind the `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|query| query.of(&self.text))
    }

    /// Names in lower case and values, in the order of arrival, without reserved ones.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.of(&self.text), value.of(&self.text)))
    }

    /// The value of a field that stands there once.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Gives a field another value, where it is there.
    pub(crate) fn replace(&mut self, name: &str, value: &str) {
        let from = self.text.len();
        let text = &mut self.text;
        if let Some((_, at)) = self.fields.iter_mut().find(|(other, _)| other.of(text) == name) {
            text.push_str(value);
            *at = Span { from, to: text.len() };
        }
    }

    /// The authority without its port.
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => &self.authority,
        }
    }

    /// Gives back room that reading it took and that it does not need.
    pub(crate) fn compact(&mut self) {
        self.text.shrink_to_fit();
        self.fields.shrink_to_fit();
    }

    /// Bytes that are kept for the head.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.authority.len() + size_of_val(self.fields.as_slice())
    }

    /// Whether the client wants to leave HTTP behind.
    pub fn upgrades(&self) -> bool {
        self.field("upgrade").is_some()
    }

    /// Whether nothing in the fields speaks of a body.
    pub(crate) fn announces_no_body(&self) -> bool {
        self.field("content-length").is_none_or(|length| length == "0") && self.field("transfer-encoding").is_none()
    }

    /// The head as the request digest takes it.
    pub fn for_digest(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.method(),
            scheme: self.scheme(),
            authority: &self.authority,
            path: self.path(),
            query: self.query(),
            fields: self.fields().collect(),
        }
    }
}

impl Span {
    fn of(self, text: &str) -> &str {
        text.get(self.from..self.to).unwrap_or_default()
    }

    /// Without the white space around the value that stands there.
    fn trimmed(self, value: &str) -> Self {
        let start = value.trim_start_matches([' ', '\t']);
        let from = self.from + value.len() - start.len();
        Span { from, to: from + start.trim_end_matches([' ', '\t']).len() }
    }

    fn first(self, length: usize) -> Self {
        Span { to: self.from + length, ..self }
    }

    fn last(self, length: usize) -> Self {
        Span { from: self.to.saturating_sub(length), ..self }
    }
}

/// Where a field that may stand in a request once only has its bit; the token's has the first.
fn singleton(name: &str) -> Option<u32> {
    Some(match name {
        "authorization" => 1,
        "connection" => 2,
        "content-encoding" => 3,
        "content-length" => 4,
        "content-type" => 5,
        "expect" => 6,
        "host" => 7,
        "idempotency-key" => 8,
        "prefer" => 9,
        "transfer-encoding" => 10,
        "upgrade" => 11,
        _ => return None,
    })
}

/// Fields that name a host, which some servers believe more than the authority: they may repeat it, no more.
fn names_host(name: &str) -> bool {
    name == "host"
        || name.starts_with("x-")
            && matches!(
                name,
                "x-forwarded-host" | "x-forwarded-server" | "x-host" | "x-http-host-override" | "x-original-host"
            )
}

/// Whether all bytes are printable ASCII, looked at eight at a time: what most values are.
fn is_printable(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    // The highest bit of a byte is set by what is no ASCII, by what borrows when a blank is taken away, and by DEL and one.
    let odd = words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .fold(0, |odd, word| odd | word | word.wrapping_sub(0x20 * ONES) | word.wrapping_add(ONES));
    odd & (0x80 * ONES) == 0 && rest.iter().all(|byte| (b' '..0x7f).contains(byte))
}

fn has_control(value: &str) -> bool {
    if is_printable(value.as_bytes()) {
        return false;
    }
    let control = |byte: u8| byte < b' ' && byte != b'\t' || byte == 0x7f;
    value.bytes().any(control)
        || !value.is_ascii() && value.chars().any(|character| character.is_control() && character != '\t')
}

/// Whether only Holdgate or the proxy may set the header, so that what arrives of it never goes on.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b"holdgate-") || name.starts_with(b"x-envoy-")
}

/// Whether a trailer of this name can do no harm, as far as its name tells.
pub(crate) fn is_free(name: &str) -> bool {
    check_name(name).is_ok() && singleton(name).is_none() && !names_host(name) && name != "cookie"
}

fn check_name(name: &str) -> Result<(), Malformed> {
    if name.starts_with("x-") && OVERRIDES.contains(&name) {
        return malformed(format!("`{name}` asks that the request be read as another one"));
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.bytes().all(plain) {
        return Ok(());
    }
    // By way of CGI, `_` and whatever else is no letter and no digit become one.
    malformed("a header name has another character than lower-case letters, digits and `-`")
}

fn check_singleton(name: &str, value: &str) -> Result<(), Malformed> {
    let any = |known: &[&str]| known.iter().any(|known| value.eq_ignore_ascii_case(known));
    let sound = match name {
        // Zeros before a number would be another spelling of it, `00` one of none.
        "content-length" => {
            value == "0"
                || !value.starts_with('0') && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
        }
        // Any other coding would hide the body, or where it ends.
        "transfer-encoding" => any(&["chunked"]),
        "expect" => any(&["100-continue"]),
        // A tunnel of HTTP would carry requests that nobody sees.
        "upgrade" => any(&["websocket"]),
        // Fields that are named here would not reach the upstream.
        "connection" => {
            let known = ["", "close", "keep-alive", "te", "upgrade"];
            value.split(',').all(|option| known.iter().any(|known| option.trim().eq_ignore_ascii_case(known)))
        }
        _ => true,
    };
    if sound { Ok(()) } else { malformed(format!("`{name}` asks for what the gateway does not do")) }
}

fn check_method(method: &str) -> Result<(), Malformed> {
    let upper = method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if method.is_empty() || method.len() > MAX_METHOD || !upper {
        return malformed("the method is not a word in upper case");
    }
    if method == "CONNECT" { malformed("CONNECT is not served") } else { Ok(()) }
}

fn normalise_authority(authority: &str, scheme: &str) -> Result<String, Malformed> {
    let lower = authority.to_ascii_lowercase();
    let (host, port) = match lower.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (lower.as_str(), None),
    };
    let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let sound = match literal {
        Some(address) => address.parse::<Ipv6Addr>().is_ok() && is_short(address),
        None => !host.is_empty() && host.bytes().all(name) && !host.ends_with('.') && !is_odd_number(host),
    };
    if !sound || port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with(['0', '+'])) {
        return malformed("the authority is not a host with an optional port");
    }
    let default = if scheme == "https" { "443" } else { "80" };
    Ok(match port {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host.to_owned(),
    })
}

/// Whether an IPv6 address has its one short spelling (RFC 5952): another would not be the host that rules name. Of two runs
/// of zeros none may be written out.
fn is_short(address: &str) -> bool {
    let (mut filled, mut before) = (0, "");
    for group in address.split(':') {
        let padded = group.len() > 1 && group.starts_with('0');
        let run = matches!((before, group), ("0", "0" | "") | ("", "0")) && (filled > 0 || address.starts_with("::"));
        if padded || run {
            return false;
        }
        filled += usize::from(!group.is_empty());
        before = group;
    }
    !address.contains('.') && (filled == 8 || filled < 7)
}

/// Whether a host is a number that some readers take for an IPv4 address, and is not spelled as one: `0x7f.1`, `127.1`.
fn is_odd_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    number && host.parse::<Ipv4Addr>().is_err()
}

fn split_target(target: &str) -> Result<(&str, Option<&str>), Malformed> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if !path.starts_with('/') {
        return malformed("the path does not start with `/`");
    }
    if path.as_bytes().windows(2).any(|pair| pair == b"//") {
        return malformed("the path has an empty segment");
    }
    if path.as_bytes().contains(&b';') {
        return malformed("the path has a parameter (`;`)");
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return malformed("the path has a dot segment");
    }
    check_octets(path, |byte| is_path_octet(byte) || byte == b'/', "path")?;
    if let Some(query) = query {
        check_octets(query, |byte| is_path_octet(byte) || matches!(byte, b'/' | b'?' | b';'), "query")?;
    }
    Ok((path, query))
}

/// What may stand unescaped in a segment: RFC 3986 `pchar` without `;`.
fn is_path_octet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b'=' | b':' | b'@')
}

/// Every octet stands for itself, or is escaped with upper-case digits because it could not.
fn check_octets(text: &str, plain: impl Fn(u8) -> bool, part: &str) -> Result<(), Malformed> {
    if text.bytes().all(&plain) {
        return Ok(());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !plain(byte) {
                return malformed(format!("the {part} has a character that must be escaped"));
            }
            decoded.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex)) else {
            return malformed(format!("the {part} has an escape that is not `%` and two upper-case hex digits"));
        };
        let escaped = high << 4 | low;
        let separator = part == "path" && b"/\\;%".contains(&escaped);
        if escaped.is_ascii_control() || separator {
            return malformed(format!("the {part} has an escaped control character or separator"));
        }
        // In a query `&`, `=`, `+` and the like mean something else when they are escaped.
        let needless = if part == "path" { is_path_octet(escaped) } else { is_unreserved(escaped) };
        if needless {
            return malformed(format!("the {part} escapes a character that needs no escape"));
        }
        decoded.push(escaped);
    }
    // Overlong forms and half characters are read in more than one way.
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(()),
        Err(_) => malformed(format!("the {part} is not UTF-8 once its escapes are undone")),
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
