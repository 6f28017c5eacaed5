//! What the rules see of a canonical head: its query and headers as fields, copied only where the policy looks at them.

use holdgate_engine::{Body, Field, Mcp, Policy, Request, header_values};
use holdgate_protocol::{bundle::Needs, json::folded};

use crate::{Head, canonical::Malformed, identity::Identity, mcp::NAME_HEADER};

/// The most values that the parameters or the headers of a request may have where rules look at them. Each is compared
/// with what rules want of it, so that a request must not bring thousands.
const MAX_VALUES: usize = 256;

/// The most parts that a query may have where rules look at parameters: the name of each is compared.
const MAX_PARTS: usize = 1_024;

/// The parameters of a query that rules look at, decoded. A value that is not UTF-8 cannot occur: the canonical form
/// refuses it.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads from the query of a head what the policy looks at.
    ///
    /// Where servers differ, every reading counts as one more value: `;` as a separator beside `&`, and `+` as a space.
    /// A rule that denies or holds takes any of the values, one that allows needs all of them.
    pub fn of(policy: &Policy, head: &Head) -> Result<Parameters, Malformed> {
        Parameters::with(policy.needs(), policy.query_names(), head)
    }

    fn with(needs: &Needs, enforced: &[String], head: &Head) -> Result<Parameters, Malformed> {
        let mut parameters = Parameters::default();
        let Some(query) = head.query().filter(|_| !needs.query.is_empty()) else { return Ok(parameters) };
        // `;` and `&` are one byte each, so that they count the parts.
        if query.bytes().filter(|byte| matches!(byte, b'&' | b';')).count() >= MAX_PARTS {
            return Err(Malformed("the query has too many parameters".into()));
        }
        let near = Near::to(enforced);
        for part in query.split('&') {
            parameters.read(needs, &near, part)?;
            for smaller in part.split(';').filter(|_| part.contains(';')) {
                parameters.read(needs, &near, smaller)?;
            }
        }
        Ok(parameters)
    }

    fn read(&mut self, needs: &Needs, near: &Near, part: &str) -> Result<(), Malformed> {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let readings: &[&str] = if part.contains('+') { &["+", " "] } else { &["+"] };
        for plus in readings {
            let name = decode(&name.replace('+', plus));
            if part.is_empty() {
                continue;
            }
            if needs.query.binary_search(&name).is_err() {
                if near.covers(&name) {
                    return Err(Malformed("a name in the query is read by some servers as another one".into()));
                }
                continue;
            }
            if self.0.len() >= MAX_VALUES {
                return Err(Malformed("the query repeats parameters too often".into()));
            }
            self.0.push((name, decode(&value.replace('+', plus))));
        }
        Ok(())
    }

    /// The parameters as rules see them.
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
    ) -> Result<View<'a>, Malformed> {
        let wanted = head
            .fields()
            .filter(|(name, _)| needs.headers.binary_search_by(|needed| needed.as_str().cmp(name)).is_ok());
        let values =
            wanted.flat_map(|(name, field)| header_values(field).map(|value| Field { name, value: Some(value) }));
        let headers: Vec<Field<'_>> = values.take(MAX_VALUES + 1).collect();
        if headers.len() > MAX_VALUES {
            return Err(Malformed("headers have too many values".into()));
        }
        Ok(View { head, identity, query: parameters.fields(), headers, time: i64::try_from(now / 1000).ok() })
    }

    /// The request as a call of a tool with arguments that nobody knows, `headers` being room for what its head says of
    /// the tool; `None` where that would be too much.
    pub(crate) fn call_of<'s>(&'s self, tool: &'s str, headers: &'s mut Vec<Field<'s>>) -> Option<Request<'s>> {
        let request = Request { mcp: Mcp::Tool(tool), ..self.request(Body::Unread) };
        if self.headers.iter().all(|field| field.name != NAME_HEADER) {
            return Some(request);
        }
        headers.extend(self.headers.iter().filter(|field| field.name != NAME_HEADER));
        let named = header_values(tool).map(|value| Field { name: NAME_HEADER, value: Some(value) });
        headers.extend(named.take(MAX_VALUES + 1));
        (headers.len() <= MAX_VALUES).then_some(Request { headers, ..request })
    }

    /// The request with what is known of its body.
    pub(crate) fn request<'s>(&'s self, body: Body<'s>) -> Request<'s> {
        Request {
            query: &self.query,
            headers: &self.headers,
            agent: self.identity.map(Identity::caller),
            body,
            time: self.time,
            ..Request::new(self.head.method(), self.head.host(), self.head.path())
        }
    }
}

/// The names that some servers read as one that a rule means: they fold case, take `.`, ` ` and `[` for `_`, or find further
/// values in `name[]`, `name[0]` and `name[key]`. Each name is folded once.
struct Near {
    whole: Vec<String>,
    without_index: Vec<String>,
}

impl Near {
    fn to(wanted: &[String]) -> Self {
        Near {
            whole: wanted.iter().map(|wanted| plain(wanted)).collect(),
            without_index: wanted.iter().map(|wanted| plain(without_index(wanted))).collect(),
        }
    }

    fn covers(&self, name: &str) -> bool {
        let name = name.trim_start_matches(' ');
        let base = plain(name.split_once('[').map_or(name, |(base, _)| base));
        self.whole.contains(&base) || self.without_index.contains(&plain(without_index(name)))
    }
}

fn without_index(name: &str) -> &str {
    let inside = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
    inside.filter(|(_, index)| index.bytes().all(|byte| byte.is_ascii_digit())).map_or(name, |(base, _)| base)
}

fn plain(name: &str) -> String {
    folded(name).replace(['.', ' ', '['], "_")
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

    fn head(target: &str, fields: &[(&str, &str)]) -> Head {
        let line = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", target)];
        let pairs =
            line.iter().chain(fields).map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Head::read(pairs.collect(), "authorization").unwrap()
    }

    fn needs(query: &[&str], headers: &[&str]) -> Needs {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Needs { query: list(query), headers: list(headers), ..Needs::default() }
    }

    fn parameters(query: &str) -> Vec<(String, String)> {
        let needs = needs(&["", "+", "a", "b", "limit", "q"], &[]);
        Parameters::with(&needs, &needs.query, &head(&format!("/?{query}"), &[])).unwrap().0
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
    fn a_name_that_servers_read_as_one_that_counts_is_refused() {
        let needs = needs(&["ids[]", "user_id"], &[]);
        let of = |query: &str| Parameters::with(&needs, &needs.query, &head(&format!("/?{query}"), &[]));
        for fine in ["user_id=1", "ids[]=1&ids[]=2", "user-id=1", "userid=1", "xids=1", "x[user_id]=1", "user_ids=1"] {
            let escaped = fine.replace('[', "%5B").replace(']', "%5D");
            assert!(of(&escaped).is_ok(), "{fine}");
        }
        for near in [
            "USER_ID",
            "user.id",
            "user+id",
            "user%20id",
            "+user_id",
            "user%5Bid",
            "user_id%5B%5D",
            "user_id%5B0%5D",
            "user_id%5Bx%5D",
            "User_Id%5Bx%5D%5By%5D",
            "ids",
            "ids%5B0%5D",
            "IDS%5B%5D",
            "u%C5%BFer_id",
        ] {
            assert!(of(&format!("{near}=1")).is_err(), "{near}");
            assert!(of(&format!("user_id=1;{near}=1")).is_err(), "{near} behind a semicolon");
        }
    }

    #[test]
    fn what_no_rule_looks_at_is_not_copied() {
        let (needs, head) = (needs(&["b"], &["x-b"]), head("/?a=1&b=2&c=3", &[("x-a", "1"), ("x-b", "2")]));
        let parameters = Parameters::with(&needs, &needs.query, &head).unwrap();
        let view = View::new(&needs, &head, &parameters, None, 5_000).unwrap();
        let request = view.request(Body::Empty);
        assert_eq!(request.time, Some(5));
        assert_eq!(request.query, [Field { name: "b", value: Some("2") }]);
        assert_eq!(request.headers, [Field { name: "x-b", value: Some("2") }]);
    }

    #[test]
    fn a_list_in_one_header_is_its_members_too() {
        let (needs, head) = (needs(&[], &["x-role"]), head("/", &[("x-role", "viewer, admin")]));
        let parameters = Parameters::default();
        let view = View::new(&needs, &head, &parameters, None, 0).unwrap();
        let values: Vec<_> = view.request(Body::Empty).headers.iter().filter_map(|field| field.value).collect();
        assert_eq!(values, ["viewer, admin", "viewer", "admin"]);
    }

    /// Thousands of parameters once cost a worker the square of their number.
    #[test]
    fn thousands_of_values_are_refused_where_rules_look_and_free_where_they_do_not() {
        let many = |name: &str| (0..9_000).map(|index| format!("{name}={index}")).collect::<Vec<_>>().join("&");
        let of_a = needs(&["a"], &[]);
        let of = |query: &str| Parameters::with(&of_a, &of_a.query, &head(&format!("/?{query}"), &[]));
        assert!(of(&many("a")).is_err());
        // The name of each part is compared, so that they are bounded too.
        assert!(of(&many("b")).is_err() && of(&many("%C5%BF")).is_err());
        let some = vec!["b=1"; 1_000].join("&");
        assert_eq!(of(&format!("{some};a=1")).unwrap().0.len(), 1);
        let none = needs(&[], &[]);
        assert!(Parameters::with(&none, &[], &head(&format!("/?{}", many("b")), &[])).is_ok());
        let (needs, head) = (needs(&[], &["x-a"]), head("/", &[("x-a", &"1,".repeat(9_000))]));
        assert!(View::new(&needs, &head, &Parameters::default(), None, 0).is_err());
    }
}
