//! Who asks, in a form that can be looked at again in the transaction that acts on it.

use holdgate_protocol::Hash;

use crate::{
    oidc::AccessToken,
    store::{
        Connection, StoreError,
        people::{self, Session, Via},
    },
};

/// A credential that was checked.
#[derive(Clone, Debug)]
pub enum Who {
    /// The hash of a session's token, from a cookie or as a bearer token.
    Session(Hash),
    /// A verified access token of the sign-in provider.
    Token(AccessToken),
}

impl Who {
    /// Who holds a session's token.
    pub fn with_token(token: &str) -> Self {
        Who::Session(Hash::of(token.as_bytes()))
    }

    /// The person and their sign-in, as they stand at `now`. `None`: the session has ended, the token has expired, or
    /// its identity is no person's any more.
    pub async fn session(&self, connection: &mut Connection, now: u64) -> Result<Option<Session>, StoreError> {
        let token = match self {
            Who::Session(hash) => return people::session(connection, hash, now).await,
            Who::Token(token) => token,
        };
        if token.expires_at <= now {
            return Ok(None);
        }
        let person = people::behind(connection, &token.iss, &token.sub).await?;
        Ok(person.map(|person| Session {
            person,
            // Without a sign-in there is none that is recent.
            signed_in_at: token.auth_time.unwrap_or_default(),
            expires_at: token.expires_at,
            via: Via::Provider { iss: token.iss.clone(), client: token.client.clone() },
            unfit: token.unfit,
        }))
    }
}
