//! What the rules see of a canonical head: its query and headers as fields, copied only where the policy looks at them.

use holdgate_engine::{Body, Field, Request};
use holdgate_protocol::bundle::Needs;

use crate::{Head, identity::Identity};

/// The parameters of a query, decoded. A value that is not UTF-8 cannot occur: the canonical form refuses it.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of a head, if the policy looks at queries.
    ///
    /// Where servers differ, every reading counts as one more value: `;` as a separator beside `&`, and `+` as a space.
    /// A rule that denies or holds takes any of the values, one that allows needs all of them.
    pub fn of(needs: &Needs, head: &Head) -> Parameters {
        let Some(query) = head.query.as_deref().filter(|_| needs.query) else { return Parameters::default() };
        let mut parameters = Vec::new();
        let mut read = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            for plus in ["+", " "] {
                let pair = (decode(&name.replace('+', plus)), decode(&value.replace('+', plus)));
                if !part.is_empty() && !parameters.contains(&pair) {
                    parameters.push(pair);
                }
            }
        };
        query.split('&').for_each(&mut read);
        if query.contains(';') {
            query.split(['&', ';']).for_each(&mut read);
        }
        Parameters(parameters)
    }

    /// As the engine takes them.
    pub fn fields(&self) -> Vec<Field<'_>> {
        self.0.iter().map(|(name, value)| Field { name, value: Some(value) }).collect()
    }
}

/// A head as rules see it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    head: &'a Head,
    identity: Option<&'a Identity>,
    query: Vec<Field<'a>>,
    headers: Vec<Field<'a>>,
    /// Unix seconds.
    time: Option<i64>,
}

impl<'a> View<'a> {
    /// `now` is in Unix milliseconds.
    pub(crate) fn new(
        needs: &Needs,
        head: &'a Head,
        parameters: &'a Parameters,
        identity: Option<&'a Identity>,
        now: u64,
    ) -> View<'a> {
        let wanted = |name: &String| needs.headers.binary_search(name).is_ok();
        let fields = head.fields.iter().filter(|(name, _)| wanted(name));
        let headers = fields.map(|(name, value)| Field { name, value: Some(value) }).collect();
        View { head, identity, query: parameters.fields(), headers, time: i64::try_from(now / 1000).ok() }
    }

    /// The request with what is known of its body.
    pub(crate) fn request<'s>(&'s self, body: Body<'s>) -> Request<'s> {
        Request {
            query: &self.query,
            headers: &self.headers,
            agent: self.identity.map(Identity::caller),
            body,
            time: self.time,
            ..Request::new(&self.head.method, self.head.host(), &self.head.path)
        }
    }
}

/// Undoes the escapes, which the canonical form has checked.
fn decode(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.split_at_checked(2).filter(|_| *first == b'%');
        let escaped = escape.and_then(|(digits, _)| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        octets.push(escaped.unwrap_or(*first));
        rest = escape.filter(|_| escaped.is_some()).map_or(tail, |(_, tail)| tail);
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Vec<(String, String)> {
        let pairs = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", &format!("/?{query}"))];
        let pairs = pairs.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let head = Head::read(pairs.to_vec(), "authorization").unwrap();
        Parameters::of(&Needs { query: true, ..Needs::default() }, &head).0
    }

    #[track_caller]
    fn check(query: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(parameters(query), expected, "{query}");
    }

    #[test]
    fn parameters_are_decoded_in_their_order_and_none_is_lost() {
        check("a=1&b=%C3%A4%26&a=2", &[("a", "1"), ("b", "ä&"), ("a", "2")]);
        check("a&=x&&b=", &[("a", ""), ("", "x"), ("b", "")]);
        check("a=1=2", &[("a", "1=2")]);
        check("%2B=%2B", &[("+", "+")]);
        check("", &[]);
    }

    #[test]
    fn where_servers_differ_every_reading_is_a_value() {
        check("q=a+b", &[("q", "a+b"), ("q", "a b")]);
        check("a=1;limit=5000", &[("a", "1;limit=5000"), ("a", "1"), ("limit", "5000")]);
    }

    #[test]
    fn what_no_rule_looks_at_is_not_copied() {
        let head = Head::read(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "a"),
                (":path", "/?a=1"),
                ("x-a", "1"),
                ("x-b", "2"),
            ]
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .to_vec(),
            "authorization",
        )
        .unwrap();
        let needs = Needs { headers: vec!["x-b".into()], ..Needs::default() };
        let parameters = Parameters::of(&needs, &head);
        let view = View::new(&needs, &head, &parameters, None, 5_000);
        let request = view.request(Body::Empty);
        assert_eq!((request.query, request.time), (&[][..], Some(5)));
        assert_eq!(request.headers, [Field { name: "x-b", value: Some("2") }]);
    }
}
