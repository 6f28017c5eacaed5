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
    pub agent: Option<Caller<'a>>,
    pub body: Body<'a>,
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
