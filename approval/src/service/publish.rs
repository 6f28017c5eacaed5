//! Publishing a bundle: from then on it is what holds are judged by, and open holds that it changes are cancelled.

use holdgate_protocol::{
    Hash,
    bundle::{BundleError, PolicyRef, SignedBundle, revision},
    gateway::FeedItem,
};
use serde_json::json;

use super::{Service, Step, end, transitions};
use crate::{
    domain::{Cause, DecidedBy, Hold},
    policy::Published,
    store::{Command, StoreError, Tx, access, holds, ledger::Event},
};

/// Why a bundle was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the publisher's credential was retired")]
    Retired,
    #[error("the bundle is refused: {0}")]
    Bundle(#[from] BundleError),
    #[error("the bundle's revision is `{found}`, not `{asked}`")]
    Revision { found: Hash, asked: Hash },
    #[error("serial {found} is not higher than serial {in_force}, which is in force; build with a higher `--serial`")]
    Serial { found: u64, in_force: u64 },
    #[error("policy `{found}` is not `{in_force}`, which is in force; one service serves one policy")]
    OtherPolicy { found: String, in_force: String },
}

impl Service {
    /// Verifies a bundle and puts it in force. `false`: it was in force already.
    pub async fn publish(
        &self,
        (publisher, credential): (&str, Hash),
        asked: Hash,
        signed: SignedBundle,
    ) -> Result<(PolicyRef, bool), PublishError> {
        self.renew_keys().await?;
        let bytes = signed.open(&self.keys().authors)?;
        let found = revision(&bytes);
        if found != asked {
            return Err(PublishError::Revision { found, asked });
        }
        let published = Published::read(&bytes)?;
        let reference = published.reference.clone();
        let publish = Publish { published, signed, publisher: publisher.to_owned(), credential, now: self.now() };
        let new = self.store.write(publish).await?;
        if new {
            let (policy, rev, serial) = (&reference.id, reference.rev, reference.serial);
            tracing::info!(%policy, %rev, serial, publisher, "a policy was published");
        }
        Ok((reference, new))
    }
}

struct Publish {
    published: Published,
    signed: SignedBundle,
    publisher: String,
    /// The hash of the publisher's credential.
    credential: Hash,
    now: u64,
}

impl Command for Publish {
    type Answer = bool;
    type Error = PublishError;

    async fn run(self, tx: &mut Tx) -> Result<bool, PublishError> {
        let Publish { published, signed, publisher, credential, now } = self;
        if access::publisher(tx, &credential).await?.is_none() {
            return Err(PublishError::Retired);
        }
        let reference = published.reference.clone();
        if let Some(in_force) = tx.policy().map(|policy| policy.reference.clone()) {
            if in_force.rev == reference.rev {
                return Ok(false);
            }
            if in_force.id != reference.id {
                return Err(PublishError::OtherPolicy { found: reference.id, in_force: in_force.id });
            }
            if in_force.serial >= reference.serial {
                return Err(PublishError::Serial { found: reference.serial, in_force: in_force.serial });
            }
        }
        tx.publish(published.clone(), &signed, &publisher, now).await?;
        let data = json!({"policy": reference, "publisher": publisher});
        tx.record(Event { time: now, kind: "policy.published", hold: None, decided_by: None, data })?;
        let PolicyRef { id, rev, serial } = reference.clone();
        tx.tell(None, |seq| FeedItem::Policy { seq, id, serial, rev })?;

        let stays = |hold: &Hold| {
            published.requirement(&hold.terms.rules).is_ok_and(|(_, hash)| hash == hold.terms.requirement_hash)
        };
        let changed = holds::open(tx).await?.into_iter().filter(|hold| !stays(hold));
        let data = json!({"policy": reference});
        let steps: Vec<Step> =
            changed.filter_map(|hold| end(hold, Cause::Policy, DecidedBy::Policy, &data, now)).collect();
        transitions(tx, &steps, now).await?;
        Ok(true)
    }
}
