//! Holdgate's own audit records.

use std::borrow::Cow;

use holdgate_protocol::bundle::Effect;
use serde::Deserialize;

use super::{Agent, Record, Text};

/// The members of an audit record that are looked at.
#[derive(Deserialize)]
pub(crate) struct Audit<'a> {
    t: i64,
    effect: Effect,
    #[serde(borrow)]
    agent: Option<Actors<'a>>,
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
struct Actors<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow, default)]
    act: Vec<Actor<'a>>,
    #[serde(borrow)]
    owner: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    authority: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
}

impl<'a> From<Audit<'a>> for Record<'a> {
    fn from(audit: Audit<'a>) -> Self {
        let agent = audit.agent.map_or(Agent::Nobody, |agent| {
            let Actors { iss, sub, act, owner } = agent;
            // The current actor of a delegation stands first.
            let actor = act.into_iter().next().unwrap_or(Actor { iss, sub });
            Agent::Told { iss: actor.iss, id: actor.sub, owner: owner.map(|owner| owner.0) }
        });
        Record {
            method: audit.request.method,
            authority: audit.request.authority,
            target: audit.request.path,
            time: Some(audit.t),
            agent,
            before: Some(audit.effect),
            ..Record::default()
        }
    }
}
