//! Reminders, escalations and outcomes that nobody reported, each said once.

use holdgate_protocol::grant;
use serde_json::json;

use super::Service;
use crate::{
    domain::{DecidedBy, Stage},
    store::{
        Command, StoreError, Tx, holds,
        ledger::Event,
        marks::{self, Mark},
    },
};

/// Marks that are looked at in one transaction.
const BATCH: u32 = 250;

/// The default of `remind`: half of the time for deciding.
pub const REMIND: u64 = 50;

/// The default of `outcome_after`, in seconds.
pub const OUTCOME_AFTER: u64 = 120;

impl Service {
    /// Looks at everything whose time has come.
    pub async fn look_at_marks(&self) -> Result<(), StoreError> {
        loop {
            let now = self.now();
            if !marks::is_due(&mut self.store.read().await?, now).await? {
                return Ok(());
            }
            self.store.write(LookAt { now }).await?;
        }
    }

    /// Whether it is unknown what became of a request that was let through: its gateway has not said so in time.
    pub fn outcome_is_unknown(&self, stage: &Stage, reported: usize) -> bool {
        let Stage::Used(used) = stage else { return false };
        reported == 0 && used.grant_expires_at.saturating_add(self.settings.outcome_after) <= self.now()
    }
}

struct LookAt {
    now: u64,
}

impl Command for LookAt {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let now = self.now;
        let taken = tx.take_marks(now, BATCH).await?;
        let ids: Vec<&str> = taken.iter().map(|(hold, _)| hold.as_str()).collect();
        let known = holds::find_all(tx, &ids).await?;
        let reported = marks::reported(tx, &ids).await?;
        for (id, mark) in &taken {
            let Some(hold) = known.get(id).cloned().map(|hold| hold.at(now)) else { continue };
            let (pending, requirement) = (matches!(hold.stage, Stage::Pending(_)), &hold.terms.requirement);
            let (kind, decided_by, data) = match (mark, &hold.stage) {
                (Mark::Remind, _) if pending => {
                    ("hold.reminded", DecidedBy::Timeout, json!({"decide_by": hold.expires_at()}))
                }
                (Mark::Escalate, _) if pending => {
                    let role = requirement.escalate.as_ref().map(|escalation| &escalation.role);
                    ("hold.escalated", DecidedBy::Policy, json!({"role": role, "decide_by": hold.expires_at()}))
                }
                (Mark::Outcome, Stage::Used(used)) if !reported.contains(id) => {
                    let data = json!({"attempt": used.attempt, "redeemed_at": used.grant_expires_at - grant::MAX_LIFE});
                    ("hold.outcome_unknown", DecidedBy::Timeout, data)
                }
                _ => continue,
            };
            tx.record(Event { time: now, kind, hold: Some(id), decided_by: Some(decided_by), data })?;
        }
        Ok(())
    }
}
