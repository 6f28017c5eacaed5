//! What ends with authority: approvals that nobody stands behind any more, and the holds of gateways that are taken out.

use serde_json::json;

use super::{Step, authority::Authority, end, transitions};
use crate::{
    domain::{Accountability, Approval, Case, Cause, DecidedBy, Lasting, Stage},
    store::{StoreError, Tx, holds, ledger::Event},
};

/// Takes from the open holds what a person had approved and may not decide on any more, in one role or in all, for good: pending
/// ones wait for somebody else, approved ones whose factors are not met without it are cancelled. Says how many were cancelled.
pub(super) async fn lose_approvals(
    tx: &mut Tx,
    (person, role): (&str, Option<&str>),
    lasting: Lasting,
    now: u64,
) -> Result<usize, StoreError> {
    let open = holds::approved_by(tx, person).await?;
    let ids: Vec<&str> = open.iter().map(|hold| hold.terms.id.as_str()).collect();
    let mut approvals = holds::approvals(tx, &ids).await?;
    let mut authority = Authority::at(now, lasting);
    let (mut steps, mut all_lost, data) = (Vec::new(), Vec::new(), json!({"person": person}));
    for hold in open {
        let mut approvals = approvals.remove(&hold.terms.id).unwrap_or_default();
        authority.look_at(tx, &mut approvals, &hold.terms).await?;
        let Some(own) = approvals.iter().position(|one| one.person == person) else { continue };
        let missing = |approvals: &[Approval]| {
            let case = Case {
                requirement: &hold.terms.requirement,
                opened_at: hold.opened_at,
                accountable: &Accountability::default(),
                approvals,
                now,
                fresh: lasting.fresh,
            };
            case.missing()
        };
        let after = missing(&approvals);
        let Some(own) = approvals.get_mut(own) else { continue };
        let is_lost = |one: &&String| !own.now.contains(*one) && role.is_none_or(|role| role == one.as_str());
        let lost: Vec<String> = own.given.iter().filter(is_lost).cloned().collect();
        own.now.extend(lost.iter().cloned());
        all_lost.extend(lost.into_iter().map(|role| (hold.terms.id.clone(), role)));
        // What did not count, or does not have to, is nobody's loss.
        if missing(&approvals) == after {
            continue;
        }
        if matches!(hold.stage, Stage::Approved(_)) {
            steps.extend(end(hold, Cause::Authority, DecidedBy::Human, &data, now));
        } else {
            let (id, by, data) = (Some(hold.terms.id.as_str()), Some(DecidedBy::Human), data.clone());
            tx.record(Event { time: now, kind: "hold.approval_lost", hold: id, decided_by: by, data })?;
        }
    }
    tx.lose(person, &all_lost, now).await?;
    transitions(tx, &steps, now).await?;
    Ok(cancelled(&steps))
}

/// Cancels the open holds of a gateway group; says how many.
pub(super) async fn cancel_group(tx: &mut Tx, group: &str, now: u64) -> Result<usize, StoreError> {
    let own = holds::open(tx).await?.into_iter().filter(|hold| hold.terms.group == group);
    let data = json!({"group": group});
    let steps: Vec<Step> = own.filter_map(|hold| end(hold, Cause::Gateway, DecidedBy::Human, &data, now)).collect();
    transitions(tx, &steps, now).await?;
    Ok(cancelled(&steps))
}

/// How many of these are not holds whose time was over anyway.
pub(super) fn cancelled(steps: &[Step]) -> usize {
    steps.iter().filter(|step| step.change.stage.cause().is_some()).count()
}
