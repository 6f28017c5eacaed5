//! Suspending an agent: from then on nothing is held, approved or redeemed for it, until it is resumed.

use holdgate_protocol::{Actor, gateway::FeedItem};
use serde_json::{Value, json};

use super::{Step, change::OPERATOR, end, offboard::cancelled, transitions};
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
        suspend(tx, &agent, json!({"agent": agent, "reason": reason, "by": OPERATOR}), now).await
    }
}

/// Suspends an agent; `data` is what the ledger says of it.
pub(super) async fn suspend(tx: &mut Tx, agent: &Actor, data: Value, now: u64) -> Result<Option<usize>, StoreError> {
    if !tx.suspend(agent, now).await? {
        return Ok(None);
    }
    tx.forget_proposal(agent).await?;
    let by = Some(DecidedBy::Human);
    tx.record(Event { time: now, kind: "agent.suspended", hold: None, decided_by: by, data })?;
    tell(tx, agent, true)?;
    let own = holds::open(tx).await?.into_iter().filter(|hold| hold.terms.agent.caller() == *agent);
    let data = json!({"agent": agent});
    let steps: Vec<Step> = own.filter_map(|hold| end(hold, Cause::Suspended, DecidedBy::Human, &data, now)).collect();
    transitions(tx, &steps, now).await?;
    Ok(Some(cancelled(&steps)))
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
        resume(tx, &agent, json!({"agent": agent, "reason": reason, "by": OPERATOR}), now).await
    }
}

/// Ends the suspension of an agent; `data` is what the ledger says of it.
pub(super) async fn resume(tx: &mut Tx, agent: &Actor, data: Value, now: u64) -> Result<bool, StoreError> {
    if !tx.resume(agent).await? {
        return Ok(false);
    }
    let by = Some(DecidedBy::Human);
    tx.record(Event { time: now, kind: "agent.resumed", hold: None, decided_by: by, data })?;
    tell(tx, agent, false)?;
    Ok(true)
}

fn tell(tx: &mut Tx, agent: &Actor, suspended: bool) -> Result<(), StoreError> {
    let Actor { iss, sub } = agent.clone();
    tx.tell(None, |seq| FeedItem::Agent { seq, iss, sub, suspended })?;
    Ok(())
}
