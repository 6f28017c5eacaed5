//! Sign-in at an OpenID provider: by a browser (authorization code with PKCE), and by access tokens at the API.
//!
//! What a provider says becomes an identity, (issuer, subject); which person that is stands in the directory alone.

mod client;
mod config;
mod issuer;
mod sign_in;
mod token;
mod url;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{AcquireError, Semaphore},
    time::timeout,
};

pub use config::{Config, ConfigError};
pub use sign_in::{Answer, Identity};
pub use token::{AccessToken, TokenError};

use client::{Client, ClientError};
use issuer::Issuer;

/// Questions to the provider by browsers that come back, at once. Anyone can cause them.
const AT_ONCE: usize = 8;

/// The same by those at one address, which may be that of a proxy in front: others are to have room.
const OF_ONE: usize = 4;

/// How long a browser that comes back may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Identities without a person that the ledger tells of in a minute; the log tells of each.
const NOTED: u32 = 10;

/// The provider at which people sign in.
pub struct Provider {
    config: Config,
    issuer: Issuer,
    at_once: Arc<Semaphore>,
    /// Of each address from which somebody asks, or waits for it.
    of_one: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
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
        Ok(Provider {
            config,
            issuer,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            of_one: Mutex::default(),
            noted: Mutex::default(),
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Waits for a turn to ask the provider something for somebody at an address.
    pub async fn place(&self, address: IpAddr) -> Result<impl Send + use<>, OidcError> {
        let of_one = self.of_one(network(address));
        let places = async {
            Ok::<_, AcquireError>((of_one.acquire_owned().await?, self.at_once.clone().acquire_owned().await?))
        };
        // The semaphores are never closed.
        let places = timeout(PATIENCE, places).await.map_err(|_| OidcError::Busy)?;
        places.map_err(|_| OidcError::Busy)
    }

    fn of_one(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut known = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| places.strong_count() > 0);
        if let Some(places) = known.get(&address).and_then(Weak::upgrade) {
            return places;
        }
        let places = Arc::new(Semaphore::new(OF_ONE));
        known.insert(address, Arc::downgrade(&places));
        places
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

/// What belongs to one: of IPv6 a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn provider() -> Provider {
        let text = "{format: 1, issuer: 'http://127.0.0.1:9', client_id: a, public_url: 'http://127.0.0.1:8'}";
        Provider::new(Config::parse(text, Path::new("")).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn whoever_asks_much_from_one_address_leaves_room_for_others() {
        let provider = provider();
        let mut taken = Vec::new();
        for number in 0..OF_ONE {
            taken.push(provider.place(format!("2001:db8::{number:x}:1").parse().unwrap()).await.unwrap());
        }
        let more = provider.place("2001:db8::ffff".parse().unwrap());
        assert!(timeout(Duration::from_millis(50), more).await.is_err(), "it is one network");
        let others = provider.place("192.0.2.1".parse().unwrap());
        assert!(timeout(Duration::from_millis(50), others).await.unwrap().is_ok());
        drop(taken);
        assert!(provider.place("2001:db8::ffff".parse().unwrap()).await.is_ok());
    }

    #[test]
    fn identities_without_a_person_do_not_flood_the_ledger() {
        let provider = provider();
        let noted = |now| (0..100).filter(|_| provider.may_note(now)).count();
        assert_eq!([noted(600), noted(659), noted(660)], [10, 0, 10]);
    }
}
