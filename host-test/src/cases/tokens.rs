//! Agents' tokens, signed as their issuer does.

use holdgate_authoring::{ExampleAgent, cases::Token};
use holdgate_protocol::{Json, json::Object};

use super::{configuration::AUDIENCE, keys};

/// The value of the header that carries a token; `None` where there is none. `now` is in Unix seconds. In `authorization`, a
/// token stands behind `Bearer `.
pub fn header(token: &Token, now: u64, name: &str) -> Option<String> {
    let token = match token {
        Token::None => return None,
        Token::Raw(text) => return Some(text.clone()),
        Token::Agent { agent, expires_in, forged } => {
            let key = if *forged { keys::stranger() } else { keys::issuer() };
            key.sign("JWT", &claims(agent, now + expires_in))
        }
    };
    Some(if name == "authorization" { format!("Bearer {token}") } else { token })
}

/// The usual claims with those of the case over them, spelled as the case spells them; null takes one away.
fn claims(agent: &ExampleAgent, expires_at: u64) -> Vec<u8> {
    let mut claims = Object::default();
    let mut set = |name: &str, value: Json| claims.set(name.to_owned(), value);
    set("iss", agent.issuer.as_str().into());
    set("aud", AUDIENCE.into());
    set("sub", agent.id.as_str().into());
    set("exp", Json::integer(expires_at));
    if let Some(owner) = &agent.owner {
        set("owner", owner.as_str().into());
    }
    for (name, value) in agent.claims.as_object().into_iter().flat_map(Object::iter) {
        claims.set(name.to_owned(), value.clone());
    }
    let absent: Vec<String> =
        claims.iter().filter(|(_, value)| **value == Json::Null).map(|(name, _)| name.to_owned()).collect();
    let mut claims = Json::Object(claims);
    for name in absent {
        claims.remove(&[name.as_str()]);
    }
    claims.to_jcs()
}
