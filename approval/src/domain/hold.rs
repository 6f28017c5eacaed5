//! A hold and its stages. Each stage is a type; what a stage does not offer cannot be done to it.

pub use holdgate_protocol::audit::DecidedBy;
use holdgate_protocol::{Agent, Hash, Requirement, RuleRef, bundle::PolicyRef, gateway::HoldState};
use serde::{Deserialize, Serialize};

/// What a hold is about; it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub id: String,
    /// The gateway group.
    pub group: String,
    pub agent: Agent,
    pub agent_key: Hash,
    pub digest: Hash,
    pub components: Vec<String>,
    pub requirement: Requirement,
    pub requirement_hash: Hash,
    pub rules: Vec<RuleRef>,
    /// The policy in force at the opening.
    pub policy: PolicyRef,
}

/// A hold with the stage that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub terms: Terms,
    pub opened_at: u64,
    /// When the present stage began.
    pub since: u64,
    pub stage: Stage,
}

/// Where a hold stands, with what that stage knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    Pending(Pending),
    Approved(Approved),
    Denied,
    Expired,
    Cancelled(Cause),
    Used(Used),
}

/// Waits for decisions. Taken by value by whatever ends the waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub decide_by: u64,
}

/// Waits for its one redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    pub use_by: u64,
}

/// Redeemed by one attempt, which may ask for its grant again while that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub attempt: String,
    pub grant: String,
    pub grant_expires_at: u64,
}

/// Why an open hold was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A reviewer took it back before it was used.
    Revoked,
    /// A newer policy asks for something else.
    Policy,
    /// Its agent was suspended.
    Suspended,
    /// Those who approved it have not the authority any more, or answer for its agent now.
    Authority,
    /// Its gateway group was taken out of service.
    Gateway,
    /// The database is an older state that was restored: what became of it since is not known.
    Restored,
}

impl Cause {
    const ALL: [Cause; 6] =
        [Cause::Revoked, Cause::Policy, Cause::Suspended, Cause::Authority, Cause::Gateway, Cause::Restored];

    /// The cause of this name.
    pub fn named(name: &str) -> Option<Self> {
        Cause::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Revoked => "revoked",
            Cause::Policy => "policy",
            Cause::Suspended => "suspended",
            Cause::Authority => "authority",
            Cause::Gateway => "gateway",
            Cause::Restored => "restored",
        }
    }
}

/// A stage that a hold comes to, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub stage: Stage,
    pub decided_by: DecidedBy,
}

impl AsRef<Hold> for Hold {
    fn as_ref(&self) -> &Hold {
        self
    }
}

impl Hold {
    /// A new hold, which waits for decisions.
    pub fn open(terms: Terms, now: u64) -> Self {
        let decide_by = now.saturating_add(terms.requirement.decide_within);
        Hold { terms, opened_at: now, since: now, stage: Stage::Pending(Pending { decide_by }) }
    }

    /// The hold as it stands at `now`: a deadline counts whether or not its passing was written down yet.
    #[must_use]
    pub fn at(self, now: u64) -> Self {
        match self.stage.deadline() {
            Some(deadline) if deadline <= now => Hold { stage: Stage::Expired, since: deadline, ..self },
            _ => self,
        }
    }

    /// The end that the passing of time has brought, if it has.
    pub fn overdue(&self, now: u64) -> Option<Change> {
        let due = self.stage.deadline().is_some_and(|deadline| deadline <= now);
        due.then_some(Change { stage: Stage::Expired, decided_by: DecidedBy::Timeout })
    }

    /// The deadline of the stage; the time of the end where it has ended.
    pub fn expires_at(&self) -> u64 {
        match &self.stage {
            Stage::Used(used) => used.grant_expires_at,
            stage => stage.deadline().unwrap_or(self.since),
        }
    }
}

impl Stage {
    /// The state's name on the wire.
    pub fn state(&self) -> HoldState {
        match self {
            Stage::Pending(_) => HoldState::Pending,
            Stage::Approved(_) => HoldState::Approved,
            Stage::Denied => HoldState::Denied,
            Stage::Expired => HoldState::Expired,
            Stage::Cancelled(_) => HoldState::Cancelled,
            Stage::Used(_) => HoldState::Used,
        }
    }

    pub fn cause(&self) -> Option<Cause> {
        if let Stage::Cancelled(cause) = self { Some(*cause) } else { None }
    }

    /// When an open stage ends by itself; `None` once it has ended.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Stage::Pending(pending) => Some(pending.decide_by),
            Stage::Approved(approved) => Some(approved.use_by),
            _ => None,
        }
    }

    /// Ends an open stage; gives the stage back where it has ended already.
    pub fn cancel(self, cause: Cause, decided_by: DecidedBy) -> Result<Change, Stage> {
        match self {
            Stage::Pending(_) | Stage::Approved(_) => Ok(Change { stage: Stage::Cancelled(cause), decided_by }),
            ended => Err(ended),
        }
    }
}

impl Pending {
    /// All factors are met.
    pub fn approve(self, now: u64, use_within: u64) -> Approved {
        Approved { use_by: now.saturating_add(use_within) }
    }
}
