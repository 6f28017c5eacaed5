//! Many denials of one agent propose that it be suspended. A person does it, or not.

use std::collections::BTreeMap;

use holdgate_protocol::Actor;
use serde_json::json;

use super::Step;
use crate::{
    domain::{Stage, quota::actor_name},
    store::{StoreError, Tx, ledger::Event},
};

/// The default of the setting `--propose-suspension`.
pub const PROPOSE_SUSPENSION: u64 = 10;

/// How often one agent's suspension is proposed at most, in seconds.
const ONCE_IN: u64 = 60 * 60;

/// Counts the denials among these steps, and proposes a suspension where an agent had `most` of them in an hour. With 0 none is
/// proposed.
pub(super) async fn note(tx: &mut Tx, steps: &[Step], most: u64, now: u64) -> Result<(), StoreError> {
    if most == 0 {
        return Ok(());
    }
    let mut denied: BTreeMap<String, (Actor, u64)> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.change.stage == Stage::Denied) {
        let agent = step.hold.terms.agent.caller();
        denied.entry(actor_name(&agent)).or_insert((agent, 0)).1 += 1;
    }
    for (name, (agent, count)) in denied {
        let denials = tx.count_denials(&name, count, now).await?;
        if denials >= most && tx.propose_suspension(&name, now.saturating_sub(ONCE_IN), now).await? {
            let data = json!({"agent": agent, "denials": denials});
            let kind = "agent.suspension_proposed";
            tx.record(Event { time: now, kind, hold: None, decided_by: None, data })?;
        }
    }
    Ok(())
}
