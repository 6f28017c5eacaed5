//! The agent as it is named on the wire.

use serde::{Deserialize, Serialize};

use crate::{
    Hash, Json, deserialize_from_json,
    json::{FromJson, Place, ShapeError},
};

/// One identity in a delegation chain (RFC 8693 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Actor {
    pub iss: String,
    pub sub: String,
}

/// The verified caller of a request: the token's issuer and subject, who acts for it, and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub iss: String,
    pub sub: String,
    /// The delegation chain, the current actor first; empty where the token has no `act`.
    pub act: Vec<Actor>,
    /// A person's identity at the owner's issuer, or `group/NAME`.
    pub owner: Option<String>,
}

impl FromJson for Actor {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [iss, sub] = place.members(&["iss", "sub"])?;
        Ok(Actor { iss: iss.read()?, sub: sub.read()? })
    }
}

deserialize_from_json!(Actor);

impl Agent {
    /// The non-human caller itself, for suspension and quotas: the current actor, else the subject.
    pub fn caller(&self) -> Actor {
        let own = || Actor { iss: self.iss.clone(), sub: self.sub.clone() };
        self.act.first().cloned().unwrap_or_else(own)
    }

    /// On whose behalf the request is made: the subject where there is an `act`, else the owner.
    pub fn principal(&self) -> Option<&str> {
        if self.act.is_empty() { self.owner.as_deref() } else { Some(&self.sub) }
    }

    /// SHA-256 of the JCS of {iss, sub, act, owner}: the agent's part of a hold's join key.
    pub fn key(&self) -> Hash {
        Hash::of(&self.to_json().to_jcs())
    }

    fn to_json(&self) -> Json {
        let actor = |actor: &Actor| Json::object([("iss", (&*actor.iss).into()), ("sub", (&*actor.sub).into())]);
        Json::object([
            ("iss", (&*self.iss).into()),
            ("sub", (&*self.sub).into()),
            ("act", self.act.iter().map(actor).collect()),
            ("owner", self.owner.as_deref().map_or(Json::Null, Json::from)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_covers_every_member_and_equals_the_jcs_of_the_wire_form() {
        let agent = Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: Some("o".into()) };
        assert_eq!(agent.key(), Hash::of(&Json::from_serialize(&agent).unwrap().to_jcs()));
        let actor = Actor { iss: "i".into(), sub: "a".into() };
        let others = [
            Agent { iss: "x".into(), ..agent.clone() },
            Agent { sub: "x".into(), ..agent.clone() },
            Agent { act: vec![actor.clone()], ..agent.clone() },
            Agent { owner: None, ..agent.clone() },
        ];
        assert!(others.iter().all(|other| other.key() != agent.key()));
        assert_eq!(others[2].caller(), actor);
        assert_eq!(others[2].principal(), Some("s"));
        assert_eq!(agent.principal(), Some("o"));
    }
}
