//! Who asks, people and gateways, in a form that can be looked at again in the transaction that acts on it.

use std::collections::HashSet;

use holdgate_protocol::Hash;
use tokio::sync::Mutex;

use super::Service;
use crate::{
    oidc::AccessToken,
    store::{
        Connection, StoreError, access,
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

/// A gateway that was let in by its credential.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub group: String,
    /// The hash of its credential.
    pub credential: Hash,
}

/// Why a gateway gets nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the gateway's credential was retired, or its group suspended")]
    Refused,
}

/// Which credentials were valid when the feed had come to a number: of all polls that its news wake, one asks the database.
#[derive(Default)]
pub(super) struct Valid(Mutex<(u64, HashSet<Hash>)>);

impl Gateway {
    /// Refuses a gateway whose credential has ended since it was let in.
    pub async fn check(&self, connection: &mut Connection) -> Result<(), GatewayError> {
        let group = access::gateway_group(connection, &self.credential).await?;
        group.map(|_| ()).ok_or(GatewayError::Refused)
    }
}

impl Service {
    /// The same for one that has waited until the feed had news.
    pub(super) async fn check_again(&self, gateway: &Gateway) -> Result<(), GatewayError> {
        let head = self.store.tail().head();
        let mut valid = self.valid.0.lock().await;
        if valid.0 < head {
            let credentials = access::valid_credentials(&mut self.store.read().await?).await?;
            *valid = (head, credentials);
        }
        if valid.1.contains(&gateway.credential) { Ok(()) } else { Err(GatewayError::Refused) }
    }
}
