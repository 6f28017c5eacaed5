//! Suspending an agent: from then on nothing is held, approved or redeemed for it, until it is resumed.

use holdgate_protocol::{Actor, gateway::FeedItem};
use serde_json::json;

use super::{Step, end, transitions};
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
        tx.record(Event { time: now, kind: "agent.suspended", hold: None, decided_by: by, data })?;
        tell(tx, &agent, true)?;
        let own = holds::open(tx).await?.into_iter().filter(|hold| hold.terms.agent.caller() == agent);
        let data = json!({"agent": agent});
        let steps: Vec<Step> =
            own.filter_map(|hold| end(hold, Cause::Suspended, DecidedBy::Human, &data, now)).collect();
        transitions(tx, &steps, now).await?;
        let cancelled = steps.iter().filter(|step| step.change.stage.cause().is_some());
        Ok(Some(cancelled.count()))
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
        tx.record(Event { time: now, kind: "agent.resumed", hold: None, decided_by: by, data })?;
        tell(tx, &agent, false)?;
        Ok(true)
    }
}

fn tell(tx: &mut Tx, agent: &Actor, suspended: bool) -> Result<(), StoreError> {
    let Actor { iss, sub } = agent.clone();
    tx.tell(None, |seq| FeedItem::Agent { seq, iss, sub, suspended })?;
    Ok(())
}
