//! Redemption: an approved hold is consumed by one attempt.

use holdgate_protocol::{
    Hash,
    gateway::{Redemption, RedemptionError},
};

use super::{Approved, Hold, Stage};

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
    /// The approval is consumed; a grant may be signed.
    Now(Approved),
}

/// Why there is no grant, in the words of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoGrant {
    pub error: RedemptionError,
    pub cause: Option<&'static str>,
}

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

/// Consumes the approval of a hold, if it is this request's and still counts.
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
