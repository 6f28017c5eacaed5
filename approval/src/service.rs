//! What the service does, apart from how it is asked: each file is one use, most of them one command of the writer.

mod accountable;
pub mod accounts;
pub mod audit;
mod authority;
pub mod change;
pub mod credentials;
pub mod decide;
pub mod denials;
pub mod detail;
pub mod expire;
pub mod export;
pub mod figures;
pub mod follow;
pub mod keys;
pub mod ledger;
pub mod marks;
pub mod mine;
mod offboard;
pub mod open;
pub mod publish;
pub mod read;
pub mod ready;
pub mod redeem;
mod request_state;
pub mod restored;
pub mod seal;
mod sight;
pub mod suspend;
pub mod who;

use std::sync::Arc;

use holdgate_protocol::{checkpoint::is_name, gateway::FeedItem};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::{
    clock::Clock,
    domain::{Cause, Change, DecidedBy, Hold, Lasting, Quotas, Retention, Stage},
    keys::ServiceKeys,
    notices::Hooks,
    store::{Database, StoreError, Tx, ledger::Event},
};

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub quotas: Quotas,
    /// How long the same request stays denied after a denial, in seconds.
    pub deny_cooldown: u64,
    pub retention: Retention,
    pub lasting: Lasting,
    /// After which share of the time for deciding those who can decide are reminded, in percent; 0: never.
    pub remind: u64,
    /// How long after the end of a grant an outcome that was not reported counts as unknown, in seconds.
    pub outcome_after: u64,
    /// Whether changes of authority by the API wait for a second administrator.
    pub second_person: bool,
    /// After how many denials in an hour an agent's suspension is proposed; 0 for never.
    pub propose_suspension: u64,
}

/// Exports of the ledger at once: each reads all of it.
const EXPORTS: usize = 4;

/// The default of [`Settings::deny_cooldown`]: 10 minutes.
pub const DENY_COOLDOWN: u64 = 10 * 60;

impl Default for Settings {
    fn default() -> Self {
        Settings {
            quotas: Quotas::default(),
            deny_cooldown: DENY_COOLDOWN,
            retention: Retention::default(),
            lasting: Lasting::default(),
            remind: marks::REMIND,
            outcome_after: marks::OUTCOME_AFTER,
            second_person: false,
            propose_suspension: denials::PROPOSE_SUSPENSION,
        }
    }
}

/// The running service. Clones share everything.
#[derive(Clone)]
pub struct Service {
    pub store: Database,
    pub clock: Arc<dyn Clock>,
    keys: Arc<watch::Sender<Arc<ServiceKeys>>>,
    /// The `iss` of grants, and the origin of the ledger.
    pub issuer: Arc<str>,
    pub settings: Settings,
    pub sign_ins: Arc<accounts::SignIns>,
    /// How many exports of the ledger may be under way at once.
    exports: Arc<Semaphore>,
    /// Who is told of what happens.
    pub notices: Arc<Hooks>,
    ready: Arc<ready::Checked>,
    valid: Arc<who::Valid>,
}

impl Service {
    /// Starts on an open store with its keys.
    pub fn new(
        store: Database,
        clock: Arc<dyn Clock>,
        keys: ServiceKeys,
        issuer: &str,
        settings: Settings,
    ) -> Result<Self, StartError> {
        if !is_name(issuer) {
            return Err(StartError::Issuer(issuer.to_owned()));
        }
        let (sign_ins, exports) = (Arc::new(accounts::SignIns::new()?), Arc::new(Semaphore::new(EXPORTS)));
        let keys = Arc::new(watch::Sender::new(Arc::new(keys)));
        let (notices, ready, valid) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Service { store, clock, keys, issuer: issuer.into(), settings, sign_ins, exports, notices, ready, valid })
    }

    /// The same with hooks that are told of what happens.
    #[must_use]
    pub fn with_notices(self, hooks: Hooks) -> Self {
        Service { notices: Arc::new(hooks), ..self }
    }

    /// The keys as they are known now; others are read within a second after a change.
    pub fn keys(&self) -> Arc<ServiceKeys> {
        self.keys.borrow().clone()
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] crate::keys::KeysError),
    #[error(transparent)]
    Password(#[from] accounts::PasswordError),
    #[error(
        "`{0}` cannot be the issuer: it names the ledger too, so it is not empty and has no white space and no `+`"
    )]
    Issuer(String),
}

/// One hold on its way from one stage to another.
struct Step {
    /// As it was.
    hold: Hold,
    change: Change,
    /// What the ledger says of it.
    data: Value,
}

/// Brings holds to other stages, tells their groups, and records it: all of it in the writer's transaction.
///
/// A redemption is no news: the gateway that redeemed learns it from the answer, every other when it tries.
async fn transitions(tx: &mut Tx, steps: &[Step], now: u64) -> Result<(), StoreError> {
    let changes: Vec<_> = steps.iter().map(|step| (&step.hold, &step.change)).collect();
    if !tx.change_holds(&changes, now).await? {
        return Err(StoreError::Corrupt("holds.state"));
    }
    for Step { hold, change, data } in steps {
        let kind = match change.stage {
            Stage::Pending(_) => "hold.opened",
            Stage::Approved(_) => "hold.approved",
            Stage::Denied => "hold.denied",
            Stage::Expired => "hold.expired",
            Stage::Cancelled(_) => "hold.cancelled",
            Stage::Used(_) => "hold.used",
        };
        if matches!(change.stage, Stage::Approved(_) | Stage::Denied) {
            tx.count_wait(now.saturating_sub(hold.opened_at));
        }
        let (id, decided_by, data) = (hold.terms.id.as_str(), Some(change.decided_by), data.clone());
        tx.record(Event { time: now, kind, hold: Some(id), decided_by, data })?;
        if !matches!(change.stage, Stage::Used(_)) {
            let (state, cause) = (change.stage.state(), change.stage.cause().map(|cause| cause.as_str().to_owned()));
            let item = |seq| FeedItem::Hold { seq, hold: id.to_owned(), state, cause };
            tx.tell(Some(&hold.terms.group), item)?;
        }
    }
    Ok(())
}

/// The step of a hold whose deadline has passed.
fn overdue(hold: &Hold, now: u64) -> Option<Step> {
    let change = hold.overdue(now)?;
    let data = json!({"from": hold.stage.state().as_str(), "deadline": hold.expires_at()});
    Some(Step { hold: hold.clone(), change, data })
}

/// The step of an open hold that is to be cancelled; if its deadline has passed, that is what ends it.
fn end(hold: Hold, cause: Cause, decided_by: DecidedBy, data: &Value, now: u64) -> Option<Step> {
    if let Some(step) = overdue(&hold, now) {
        return Some(step);
    }
    let change = hold.stage.clone().cancel(cause, decided_by).ok()?;
    Some(Step { hold, change, data: data.clone() })
}

/// Writes down that a hold's deadline has passed, if it has; gives the hold as it stands then.
async fn expire_if_overdue(tx: &mut Tx, hold: Hold, now: u64) -> Result<Hold, StoreError> {
    if let Some(step) = overdue(&hold, now) {
        transitions(tx, &[step], now).await?;
    }
    Ok(hold.at(now))
}
