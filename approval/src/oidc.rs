//! Sign-in at an OpenID provider: by a browser (authorization code with PKCE), and by access tokens at the API.
//!
//! What a provider says becomes an identity, (issuer, subject); which person that is stands in the directory alone.

mod client;
mod config;
mod issuer;
mod sign_in;
mod token;
mod url;

use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

pub use config::{Config, ConfigError};
pub use sign_in::{Answer, Identity};
pub use token::{AccessToken, TokenError};

use client::{Client, ClientError};
use issuer::Issuer;

/// Questions to the provider by browsers that come back, at once. Anyone can cause them.
const AT_ONCE: usize = 8;

/// Identities without a person that the ledger tells of in a minute; the log tells of each.
const NOTED: u32 = 10;

/// The provider at which people sign in.
pub struct Provider {
    config: Config,
    issuer: Issuer,
    at_once: Semaphore,
    /// The minute, and how many identities were noted in it.
    noted: Mutex<(u64, u32)>,
}

/// Why a sign-in at the provider did not come to an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    #[error("the sign-in provider does not answer as it should: {0}")]
    Unavailable(String),
    #[error("too many people sign in at this moment; try again in some seconds")]
    Busy,
    #[error("this answer belongs to no sign-in that this browser began; begin again")]
    State,
    #[error("the answer comes from `{0}`, which is not the provider of this service")]
    OtherIssuer(String),
    #[error("the provider did not sign you in: `{0}`")]
    Denied(String),
    #[error("what the provider says of the sign-in does not hold: {0}")]
    Refused(String),
}

impl Provider {
    /// Nothing is asked of the provider before it is needed, so that the service starts without it.
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let issuer = Issuer::new(config.issuer.clone(), Client::new(&config.issuer)?);
        Ok(Provider { config, issuer, at_once: Semaphore::new(AT_ONCE), noted: Mutex::default() })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether one more identity without a person is recorded: anyone who has an account at the provider can cause
    /// them.
    pub fn may_note(&self, now: u64) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.0 != now / 60 {
            *noted = (now / 60, 0);
        }
        noted.1 = noted.1.saturating_add(1);
        noted.1 <= NOTED
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn identities_without_a_person_do_not_flood_the_ledger() {
        let text = "{format: 1, issuer: 'http://127.0.0.1:9', client_id: a, public_url: 'http://127.0.0.1:8'}";
        let provider = Provider::new(Config::parse(text, Path::new("")).unwrap()).unwrap();
        let noted = |now| (0..100).filter(|_| provider.may_note(now)).count();
        assert_eq!([noted(600), noted(659), noted(660)], [10, 0, 10]);
    }
}
