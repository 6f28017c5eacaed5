//! Keys that are made, rotated and retired, and the policy authors' keys. What was changed is read by every instance within a second.

use std::sync::Arc;

use holdgate_protocol::{
    Json, grant,
    jws::{Jwks, PrivateKey},
};
use serde_json::json;

use super::Service;
use crate::{
    keys::{KeyState, PROOF, STATES, key_place, open_private, states_of},
    sealing::DataKeys,
    store::{
        Command, StoreError, Tx,
        keys::{self, KeptKey, Keyring, Purpose},
        ledger::Event,
    },
};

/// How long a key is known before it signs, in seconds, unless something else is asked.
pub const AFTER: u64 = 10 * 60;

/// How long a key is known after it signed last, in seconds, at least: a grant's life and the leeway of those who verify it.
pub const OVERLAP: u64 = grant::MAX_LIFE + 30;

/// The most keys of one purpose that are known at once.
const MOST: usize = 8;

/// The `typ` of what the former key signs of its successor.
const SUCCESSOR: &str = "holdgate-key+jwt";

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTaskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database has keys already; `serve` it, or name another one")]
    Made,
    #[error("the database has no keys yet; make them with `holdgate-approval init`")]
    NotMade,
    #[error("`{0}` waits to sign already; retire it first, or wait")]
    Next(String),
    #[error("the key `{0}` is known already")]
    Known(String),
    #[error("there are {MOST} keys already; retire some first")]
    TooMany,
    #[error("no key has the id `{0}`")]
    Unknown(String),
    #[error("the key `{0}` is retired already")]
    Retired(String),
    #[error("`{0}` is the key that signs; `key rotate` retires it in its time, `--now` at once")]
    Signs(String),
    #[error("`{0}` is the only key of the ledger; make another with `key rotate ledger --after 0s` first")]
    LastOfLedger(String),
}

/// The first keys of a database.
pub struct Make {
    pub data: Arc<DataKeys>,
    pub identity: String,
    pub authors: Jwks,
    pub grant: PrivateKey,
    pub ledger: PrivateKey,
    pub now: u64,
}

impl Command for Make {
    type Answer = ();
    type Error = KeyTaskError;

    async fn run(self, tx: &mut Tx) -> Result<(), KeyTaskError> {
        let Make { data, identity, authors, grant, ledger, now } = self;
        if keys::keyring(tx).await?.is_some() {
            return Err(KeyTaskError::Made);
        }
        let told = json!({
            "grant": grant.to_public_jwk(), "ledger": ledger.to_public_jwk(), "authors": authors, "data_key": data.first(),
        });
        let keyring = Keyring {
            version: 1,
            proof: sealed(&data, PROOF, PROOF)?,
            states: sealed(&data, STATES, &states_of(&grant).to_string())?,
            authors,
            identity,
        };
        tx.insert_keyring(&keyring).await?;
        for (number, (purpose, key)) in [(Purpose::Grant, grant), (Purpose::Ledger, ledger)].into_iter().enumerate() {
            let kept = kept(&data, purpose, number as u64 + 1, &key, now, now)?;
            tx.keep_key(&kept).await?;
        }
        tx.record(Event { time: now, kind: "keys.made", hold: None, decided_by: None, data: told })?;
        Ok(())
    }
}

/// Adds a key that signs after a while; the one that signs until then is retired when the overlap is over.
pub struct Rotate {
    pub data: Arc<DataKeys>,
    pub purpose: Purpose,
    pub key: PrivateKey,
    /// For how long it is known before it signs, in seconds.
    pub after: u64,
    /// For how long the former key is known after that, in seconds.
    pub overlap: u64,
    pub now: u64,
}

/// What a rotation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub kid: String,
    pub signs_from: u64,
    /// The key that signed, and when it is retired.
    pub former: Option<(String, u64)>,
}

impl Command for Rotate {
    type Answer = Rotated;
    type Error = KeyTaskError;

    async fn run(self, tx: &mut Tx) -> Result<Rotated, KeyTaskError> {
        let Rotate { data, purpose, key, after, overlap, now } = self;
        let all = keys::all(tx).await?;
        if all.is_empty() {
            return Err(KeyTaskError::NotMade);
        }
        // A key that is given another name is the same key: a retired one does not come back by that.
        let known = |kept: &&KeptKey| kept.public.kid == key.kid() || kept.public.x == key.to_public_jwk().x;
        if let Some(known) = all.iter().find(known) {
            return Err(KeyTaskError::Known(known.public.kid.clone()));
        }
        let own = || all.iter().filter(|kept| kept.purpose == purpose && !kept.is_retired(now));
        if let Some(next) = own().find(|kept| kept.signs_from > now) {
            return Err(KeyTaskError::Next(next.public.kid.clone()));
        }
        if own().count() >= MOST {
            return Err(KeyTaskError::TooMany);
        }
        let former = own().find(|kept| KeyState::of(kept, &all, now) == KeyState::Active);
        // Where nothing signs, nothing is waited for.
        let signs_from = if former.is_some() { now.saturating_add(after) } else { now };
        let number = all.iter().map(|kept| kept.number).max().unwrap_or_default() + 1;
        let public = key.to_public_jwk();
        let mut told = json!({"purpose": purpose.as_str(), "key": public, "signs_from": signs_from});
        let mut retires = None;
        if let Some(former) = former {
            let signature = open_private(former, &data)?.sign(SUCCESSOR, &jcs(&told)?);
            let at = signs_from.saturating_add(overlap.max(OVERLAP));
            let successor_of = json!({"kid": former.public.kid, "retires_at": at, "signature": signature});
            if let Some(members) = told.as_object_mut() {
                members.insert("former".to_owned(), successor_of);
            }
            tx.keep_key(&KeptKey { retires_at: Some(at), ..copy(former) }).await?;
            retires = Some((former.public.kid.clone(), at));
        }
        tx.keep_key(&kept(&data, purpose, number, &key, now, signs_from)?).await?;
        tx.forget_retired(now).await?;
        tx.keys_changed().await?;
        tx.record(Event { time: now, kind: "key.added", hold: None, decided_by: None, data: told })?;
        Ok(Rotated { kid: public.kid, signs_from, former: retires })
    }
}

/// Retires a key at once. One that signs goes only where `at_once` says so; then the next one signs from now on.
pub struct Retire {
    pub kid: String,
    pub at_once: bool,
    pub reason: String,
    pub now: u64,
}

impl Command for Retire {
    /// The id of the key that signs from now on; `None`: no key does.
    type Answer = Option<String>;
    type Error = KeyTaskError;

    async fn run(self, tx: &mut Tx) -> Result<Option<String>, KeyTaskError> {
        let Retire { kid, at_once, reason, now } = self;
        let mut all = keys::all(tx).await?;
        let unknown = || KeyTaskError::Unknown(kid.clone());
        let key = all.iter().find(|kept| kept.public.kid == kid).ok_or_else(unknown)?;
        let purpose = key.purpose;
        let others = all.iter().any(|kept| kept.purpose == purpose && kept.public.kid != kid && !kept.is_retired(now));
        match KeyState::of(key, &all, now) {
            KeyState::Retired => return Err(KeyTaskError::Retired(kid)),
            KeyState::Active if !at_once => return Err(KeyTaskError::Signs(kid)),
            KeyState::Active if purpose == Purpose::Ledger && !others => return Err(KeyTaskError::LastOfLedger(kid)),
            KeyState::Active => {
                // What was to follow it follows now.
                if let Some(next) = all.iter_mut().find(|kept| kept.purpose == purpose && kept.signs_from > now) {
                    next.signs_from = now;
                    tx.keep_key(next).await?;
                }
            }
            KeyState::Next | KeyState::Overlap => {}
        }
        if let Some(key) = all.iter_mut().find(|kept| kept.public.kid == kid) {
            key.retires_at = Some(now);
            tx.keep_key(key).await?;
        }
        tx.forget_retired(now).await?;
        tx.keys_changed().await?;
        let all = keys::all(tx).await?;
        let signs = all.iter().find(|k| k.purpose == purpose && KeyState::of(k, &all, now) == KeyState::Active);
        // What was to retire when its successor signs stays where that one is gone.
        let follows = all.iter().any(|kept| kept.purpose == purpose && kept.retires_at.is_none());
        let stays = signs.filter(|_| !follows);
        if let Some(key) = stays {
            tx.keep_key(&KeptKey { retires_at: None, ..copy(key) }).await?;
        }
        let signs = signs.map(|kept| kept.public.kid.clone());
        let data = json!({
            "purpose": purpose.as_str(), "kid": kid, "reason": reason, "signs": signs, "stays": stays.is_some(),
        });
        tx.record(Event { time: now, kind: "key.retired", hold: None, decided_by: None, data })?;
        Ok(signs)
    }
}

/// Puts other keys in the place of the policy authors' keys.
pub struct ImportAuthors {
    /// Checked by [`holdgate_protocol::jws::Keys::new`].
    pub authors: Jwks,
    pub now: u64,
}

impl Command for ImportAuthors {
    type Answer = ();
    type Error = KeyTaskError;

    async fn run(self, tx: &mut Tx) -> Result<(), KeyTaskError> {
        let keyring = keys::keyring(tx).await?.ok_or(KeyTaskError::NotMade)?;
        let data = json!({"authors": self.authors});
        tx.update_keyring(&Keyring { authors: self.authors, ..keyring }).await?;
        tx.record(Event { time: self.now, kind: "authors.imported", hold: None, decided_by: None, data })?;
        Ok(())
    }
}

impl Service {
    /// Reads the keys anew, if they were changed.
    pub async fn renew_keys(&self) -> Result<(), StoreError> {
        let known = self.keys();
        let keys = known.as_they_are(&mut self.store.read().await?).await?;
        if !Arc::ptr_eq(&keys, &known) {
            self.keys.send_replace(keys);
        }
        Ok(())
    }

    /// The published grant keys, signed by each key that gateways may have pinned.
    pub async fn signed_keys(&self) -> Result<Vec<String>, StoreError> {
        self.renew_keys().await?;
        self.keys().signed_sets(self.now())
    }
}

fn kept(
    data: &DataKeys,
    purpose: Purpose,
    number: u64,
    key: &PrivateKey,
    now: u64,
    signs_from: u64,
) -> Result<KeptKey, StoreError> {
    let private = serde_json::to_string(&key.to_private_jwk())?;
    let sealed = Some(sealed(data, &key_place(key.kid()), &private)?);
    let public = key.to_public_jwk();
    Ok(KeptKey { purpose, number, public, sealed, added_at: now, signs_from, retires_at: None })
}

fn copy(key: &KeptKey) -> KeptKey {
    KeptKey { public: key.public.clone(), sealed: key.sealed.clone(), ..*key }
}

pub(super) fn sealed(data: &DataKeys, place: &str, text: &str) -> Result<Vec<u8>, StoreError> {
    Ok(data.seal(place, text.as_bytes())?)
}

fn jcs(value: &serde_json::Value) -> Result<Vec<u8>, StoreError> {
    Ok(Json::from_serialize(value)?.to_jcs())
}
