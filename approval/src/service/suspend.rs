//! Suspending an agent: from then on nothing is held, approved or redeemed for it, until it is resumed.

use holdgate_protocol::{Actor, gateway::FeedItem};
use serde_json::json;

use super::{expire_if_overdue, transition};
use crate::{
    domain::{Cause, DecidedBy},
    store::{Command, StoreError, Tx, holds, ledger::Event},
};

/// Suspends an agent and cancels its open holds, all in one transaction.
pub struct Suspend {
    pub agent: Actor,
    pub reason: String,
    pub now: u64,
}

impl Command for Suspend {
    /// How many holds were cancelled; `None` where the agent was suspended already.
    type Answer = Option<usize>;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<Option<usize>, StoreError> {
        let Suspend { agent, reason, now } = self;
        if !tx.suspend(&agent, now).await? {
            return Ok(None);
        }
        let data = json!({"agent": agent, "reason": reason});
        let by = Some(DecidedBy::Human);
        tx.record(Event { time: now, kind: "agent.suspended", hold: None, decided_by: by, data }).await?;
        tell(tx, &agent, true).await?;
        let mut cancelled = 0;
        for hold in holds::open(tx).await? {
            if hold.terms.agent.caller() != agent {
                continue;
            }
            let hold = expire_if_overdue(tx, hold, now).await?;
            if let Ok(change) = hold.stage.clone().cancel(Cause::Suspended, DecidedBy::Human) {
                transition(tx, &hold, &change, now, json!({"agent": agent})).await?;
                cancelled += 1;
            }
        }
        Ok(Some(cancelled))
    }
}

/// Lets a suspended agent ask again. What was cancelled stays cancelled.
pub struct Resume {
    pub agent: Actor,
    pub reason: String,
    pub now: u64,
}

impl Command for Resume {
    /// `false`: the agent was not suspended.
    type Answer = bool;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<bool, StoreError> {
        let Resume { agent, reason, now } = self;
        if !tx.resume(&agent).await? {
            return Ok(false);
        }
        let data = json!({"agent": agent, "reason": reason});
        let by = Some(DecidedBy::Human);
        tx.record(Event { time: now, kind: "agent.resumed", hold: None, decided_by: by, data }).await?;
        tell(tx, &agent, false).await?;
        Ok(true)
    }
}

async fn tell(tx: &mut Tx, agent: &Actor, suspended: bool) -> Result<(), StoreError> {
    let Actor { iss, sub } = agent.clone();
    tx.tell(None, |seq| FeedItem::Agent { seq, iss, sub, suspended }).await?;
    Ok(())
}
