//! What the engine sees of a request; all of it is borrowed.

use holdgate_protocol::Json;

/// A request in its canonical form.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The authority's host in lower case, without its port.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The parameters of the query, decoded, in their order.
    pub query: &'a [Field<'a>],
    /// Those that the policy needs at least; names in lower case.
    pub headers: &'a [Field<'a>],
    pub agent: Option<Caller<'a>>,
    pub body: Body<'a>,
    pub mcp: Mcp<'a>,
    /// Unix seconds; `None` where the host has no clock.
    pub time: Option<i64>,
    /// How many requests each counter of [`crate::Policy::rates`] has seen, this one included; what is not there is unknown.
    pub rates: &'a [Option<u64>],
}

impl<'a> Request<'a> {
    /// A request that is nothing but its first line: no agent, no body, and nobody knows the time.
    pub fn new(method: &'a str, host: &'a str, path: &'a str) -> Request<'a> {
        Request {
            method,
            host,
            path,
            query: &[],
            headers: &[],
            agent: None,
            body: Body::Empty,
            mcp: Mcp::None,
            time: None,
            rates: &[],
        }
    }
}

/// A query parameter or a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    /// `None` where the value has no reading as text: every test of it is unknown.
    pub value: Option<&'a str>,
}

/// The verified agent of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub iss: &'a str,
    pub id: &'a str,
    pub owner: Option<&'a str>,
    /// The token's claims, an object.
    pub claims: &'a Json,
}

/// The body of a request, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Not read yet, or unreadable: what asks for it is pending, and unknown in the end.
    Unread,
    /// There is none: what asks for a part of it finds it missing.
    Empty,
    Json(&'a Json),
}

/// The MCP message of a request, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub enum Mcp<'a> {
    /// The request goes to no MCP endpoint: what is asked of a message is false.
    None,
    /// The request goes to an MCP endpoint, and its body has not been read, or is unreadable.
    Unread,
    /// Any call of this tool: what is asked of its arguments is pending. For what an agent could call, not for a request.
    Tool(&'a str),
    Message {
        method: &'a str,
        /// The tool that a `tools/call` names.
        tool: Option<&'a str>,
        args: Option<&'a Json>,
    },
}

/// The values that a header field has in rules: the whole, and, as a list may stand in one field as well as in several
/// (RFC 9110 section 5.3), each of its members.
pub fn header_values(value: &str) -> impl Iterator<Item = &str> {
    let members = value.split(',').filter(|_| value.contains(',')).map(str::trim);
    std::iter::once(value).chain(members.filter(|member| !member.is_empty()))
}
