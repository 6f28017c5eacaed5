//! Redemption: an approved hold is consumed by one attempt, if what it rests on still stands.

use holdgate_protocol::{
    Hash,
    gateway::{Redemption, RedemptionError},
};

use super::{Accountability, Approval, Approved, Cause, Change, DecidedBy, Hold, Stage, Used, assignment::Needed};

/// What a gateway says of the request that it wants to let go on.
#[derive(Clone, Debug)]
pub struct Claim {
    pub group: String,
    pub attempt: String,
    pub agent_key: Hash,
    pub digest: Hash,
    pub requirement: Hash,
}

/// A redemption that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// This attempt redeemed the hold before; it gets the same grant.
    Again { grant: String },
    /// The approval is this request's; [`Approved::recheck`] says whether it still counts.
    Now(Approved),
}

/// Why there is no grant, in the words of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoGrant {
    pub error: RedemptionError,
    pub cause: Option<&'static str>,
}

/// What an approval rests on, as it is at the moment of its redemption.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    pub agent_suspended: bool,
    /// The hash of what the policy in force asks for by the hold's rules; `None` where it has them not, or not so.
    pub in_force: Option<Hash>,
    pub accountable: &'a Accountability,
    pub approvals: &'a [Approval],
}

/// An approval that was looked at again and may be used up.
#[derive(Debug, PartialEq, Eq)]
pub struct Sound(());

impl Claim {
    pub fn new(group: &str, item: &Redemption) -> Self {
        Claim {
            group: group.to_owned(),
            attempt: item.attempt.clone(),
            agent_key: item.agent.key(),
            digest: item.digest,
            requirement: item.requirement,
        }
    }
}

/// Consumes the approval of a hold, if it is this request's and in time.
pub fn redeem(hold: Hold, claim: &Claim, now: u64) -> Result<Redeemed, NoGrant> {
    let no = |error, cause| Err(NoGrant { error, cause });
    let terms = &hold.terms;
    // Another group's hold is as unknown as one that never was.
    if terms.group != claim.group {
        return no(RedemptionError::NotApproved, Some("unknown_hold"));
    }
    if terms.agent_key != claim.agent_key || terms.digest != claim.digest || terms.requirement_hash != claim.requirement
    {
        return no(RedemptionError::NotApproved, Some("other_request"));
    }
    match hold.at(now).stage {
        Stage::Approved(approved) => Ok(Redeemed::Now(approved)),
        Stage::Used(used) if used.attempt != claim.attempt => no(RedemptionError::Used, None),
        Stage::Used(used) if used.grant_expires_at <= now => no(RedemptionError::Expired, None),
        Stage::Used(used) => Ok(Redeemed::Again { grant: used.grant }),
        Stage::Pending(_) => no(RedemptionError::NotApproved, Some("pending")),
        Stage::Denied => no(RedemptionError::Denied, None),
        Stage::Expired => no(RedemptionError::Expired, None),
        Stage::Cancelled(cause) => no(RedemptionError::Cancelled, Some(cause.as_str())),
    }
}

impl Approved {
    /// Looks again at what the approval rests on; where it does not stand any more, the hold ends with a cause.
    pub fn recheck(self, hold: &Hold, grounds: &Grounds<'_>) -> Result<Sound, Change> {
        let Grounds { agent_suspended, in_force, accountable, approvals } = *grounds;
        let terms = &hold.terms;
        let ends = |cause, decided_by| Err(Change { stage: Stage::Cancelled(cause), decided_by });
        if agent_suspended {
            return ends(Cause::Suspended, DecidedBy::Human);
        }
        if in_force != Some(terms.requirement_hash) {
            return ends(Cause::Policy, DecidedBy::Policy);
        }
        let needed = Needed::new(&terms.requirement, hold.opened_at, accountable);
        if accountable.unknown.is_some() || !needed.assign(approvals).is_met() {
            return ends(Cause::Authority, DecidedBy::Policy);
        }
        Ok(Sound(()))
    }
}

impl Sound {
    /// The stage of a hold whose approval this attempt has used up.
    pub fn used(self, attempt: String, grant: String, grant_expires_at: u64) -> Change {
        let used = Used { attempt, grant, grant_expires_at };
        Change { stage: Stage::Used(used), decided_by: DecidedBy::Human }
    }
}
