//! After a restore: nobody knows what became of open holds since the backup, so none of them may be used.

use holdgate_protocol::gateway::FeedItem;
use serde_json::json;

use super::{Step, end, transitions};
use crate::{
    domain::{Cause, DecidedBy},
    keys::KeysError,
    store::{
        Command, Tx, holds,
        keys::{self, Keyring},
        ledger::Event,
    },
};

/// Cancels all open holds, ends all sessions and begins the feed anew, so that every gateway takes a new snapshot.
pub struct Restored {
    /// The identity of the database that it is now.
    pub identity: String,
    pub now: u64,
}

impl Command for Restored {
    /// How many holds were cancelled.
    type Answer = usize;
    type Error = KeysError;

    async fn run(self, tx: &mut Tx) -> Result<usize, KeysError> {
        let Restored { identity, now } = self;
        let keyring = keys::keyring(tx).await?.ok_or(KeysError::NotMade)?;
        tx.update_keyring(&Keyring { identity, ..keyring }).await?;
        tx.begin_feed().await?;
        // For no group: it keeps the number, whether or not a hold was open.
        tx.tell(Some(""), |_| FeedItem::Unknown)?;
        let sessions = tx.end_sessions().await?;
        let data = json!({"cause": "restored"});
        let open = holds::open(tx).await?.into_iter();
        let steps: Vec<Step> =
            open.filter_map(|hold| end(hold, Cause::Restored, DecidedBy::Policy, &data, now)).collect();
        let cancelled = steps.iter().filter(|step| step.change.stage.cause().is_some()).count();
        let data = json!({"cancelled": cancelled, "sessions": sessions});
        tx.record(Event { time: now, kind: "service.restored", hold: None, decided_by: None, data })?;
        transitions(tx, &steps, now).await?;
        Ok(cancelled)
    }
}
