//! Sealing anew: what was kept in plain, or with a data key that is not the first any more.

use std::{sync::Arc, time::Duration};

use super::{Service, keys::sealed};
use crate::{
    keys::{PROOF, STATES, key_place, open_private},
    sealing::DataKeys,
    store::{
        Command, StoreError, Tx,
        keys::{self, Keyring},
    },
};

/// Captures in one transaction, so that nobody waits long behind them: one can be 8 MiB.
const BATCH: u32 = 20;

/// How often is looked for what another instance may have sealed with a key that is on its way out.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// Seals keys and some captures with the first data key; says how many captures. Private halves of retired keys go.
struct Reseal {
    data: Arc<DataKeys>,
    now: u64,
}

impl Command for Reseal {
    type Answer = u64;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<u64, StoreError> {
        let Reseal { data, now } = self;
        tx.forget_retired(now).await?;
        let keyring = keys::keyring(tx).await?.ok_or(StoreError::Corrupt("keyring"))?;
        if !data.is_sealed_with_first(&keyring.proof) {
            let states = data.seal(STATES, &data.open(STATES, &keyring.states)?)?;
            let proof = sealed(&data, PROOF, PROOF)?;
            for mut key in keys::all(tx).await? {
                if key.sealed.is_some() {
                    let private = serde_json::to_string(&open_private(&key, &data)?.to_private_jwk())?;
                    key.sealed = Some(sealed(&data, &key_place(&key.public.kid), &private)?);
                    tx.keep_key(&key).await?;
                }
            }
            tx.update_keyring(&Keyring { proof, states, ..keyring }).await?;
        }
        tx.seal_captures(&data, BATCH).await
    }
}

impl Service {
    /// Seals with the first data key whatever is not, a few captures at a time; says how many.
    pub async fn seal_anew(&self) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let sealed = self.store.write(Reseal { data: self.keys().data.clone(), now: self.now() }).await?;
            all += sealed;
            if sealed == 0 {
                return Ok(all);
            }
        }
    }

    /// Does so again and again, until it is aborted.
    pub async fn keep_sealed(self) {
        let mut again = tokio::time::interval(AGAIN);
        loop {
            again.tick().await;
            match self.seal_anew().await {
                Ok(0) => {}
                Ok(captures) => tracing::info!(captures, "captures were sealed with the first data key"),
                Err(error) => tracing::error!(%error, "captures could not be sealed anew"),
            }
        }
    }
}
