//! Opening a hold, or finding the one that a request has already.

use std::sync::Arc;

use holdgate_protocol::{
    Agent, Hash, from_b64, from_b64url,
    gateway::{HoldState, MAX_AGENT_REASON, MAX_IDEMPOTENCY_KEY, OpenHold, VERSION},
};
use serde_json::json;

use super::{
    Service, Settings, expire_if_overdue,
    who::{Gateway, GatewayError},
};
use crate::{
    domain::{
        DecidedBy, Hold, Stage, Terms,
        quota::{Limit, MAX_NAME, Quotas, Span, WAITS, agent_name, counted},
    },
    random,
    sealing::DataKeys,
    store::{
        Command, StoreError, Tx, attempts,
        holds::{self, JoinKey},
        idempotency,
        ledger::Event,
        opening::NewHold,
        quotas,
    },
};

/// The most rules that may hold one request.
const MAX_RULES: usize = 256;

/// The longest delegation chain. The ledger keeps it with each hold for good.
const MAX_ACTORS: usize = 16;

/// How long the name that an agent gave its request is remembered after the end of the hold, in seconds: a day.
pub const KEYS_KEPT: u64 = 24 * 60 * 60;

/// After how many seconds to try again where too many holds are open: somebody may have decided by then.
const RETRY_OPEN: u64 = 30;

/// A hold, new or found, and the feed's newest number at that moment.
#[derive(Clone, Debug)]
pub struct Opened {
    pub hold: Hold,
    pub seq: u64,
    pub how: How,
}

/// How a request came to its hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    New,
    /// It has a pending or approved hold.
    Joined,
    /// It was denied, and cools down.
    Denied {
        /// From when on it may be held anew.
        until: u64,
    },
}

/// Why no hold was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Random(#[from] getrandom::Error),
    #[error("version {0} of the message is not known; this service reads version 1")]
    Version(u32),
    #[error("`{0}` has not the form that the protocol gives it")]
    Malformed(&'static str),
    #[error("no policy is published yet; publish one with `holdgate publish`")]
    NoPolicy,
    #[error("revision `{asked}` of `{id}` is not the one in force; fetch `/v1/state`")]
    UnknownRevision { id: String, asked: String },
    #[error("rule `{0}` is not a rule of the published policy that holds, with this hash")]
    UnknownRule(String),
    #[error("the united requirement of these rules has another hash")]
    RequirementMismatch,
    #[error("this agent is suspended")]
    Suspended,
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("this agent used the idempotency key for another request")]
    KeyReused,
    #[error("too many holds or tries: the limit `{}` is reached", .limit.as_str())]
    Quota {
        limit: Limit,
        /// Seconds.
        retry_after: u64,
    },
}

impl Service {
    /// Opens a hold for a gateway. The hold is on the disk before this returns.
    pub async fn open_hold(&self, gateway: &Gateway, ask: OpenHold) -> Result<Opened, OpenError> {
        check_form(&ask)?;
        let (id, salt, gateway) = (random::hold_id()?, random::bytes()?, gateway.clone());
        let (now, data) = (self.now(), self.keys().data.clone());
        self.store.write(Open { id, salt, gateway, ask, now, settings: self.settings, data }).await
    }
}

fn check_form(ask: &OpenHold) -> Result<(), OpenError> {
    if ask.v != VERSION {
        return Err(OpenError::Version(ask.v));
    }
    let mut rules: Vec<&str> = ask.rules.iter().map(|rule| rule.id.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let body = &ask.request.body;
    let counted = counted(&ask.agent, &ask.rules);
    let Agent { iss, sub, act, owner } = &ask.agent;
    let actors = act.iter().flat_map(|actor| [&actor.iss, &actor.sub]);
    let mut names = [iss, sub].into_iter().chain(owner).chain(actors).chain(counted.iter().map(|(_, name)| name));
    let checks = [
        ("attempt", is_attempt(&ask.attempt)),
        ("agent", act.len() <= MAX_ACTORS && names.all(|name| name.len() <= MAX_NAME)),
        ("rules", !rules.is_empty() && rules.len() == ask.rules.len() && rules.len() <= MAX_RULES),
        ("components", !ask.components.is_empty()),
        ("agent_reason", ask.agent_reason.as_ref().is_none_or(|reason| reason.len() <= MAX_AGENT_REASON)),
        (
            "idempotency_key",
            ask.idempotency_key.as_ref().is_none_or(|key| (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len())),
        ),
        ("request.body.b64", body.b64.as_deref().is_none_or(|text| from_b64(text).is_some())),
    ];
    match checks.into_iter().find(|(_, sound)| !sound) {
        Some((member, _)) => Err(OpenError::Malformed(member)),
        None => Ok(()),
    }
}

/// Whether a text is base64url of 16 bytes.
pub fn is_attempt(text: &str) -> bool {
    from_b64url(text).is_some_and(|bytes| bytes.len() == 16)
}

struct Open {
    id: String,
    /// Kept and deleted with what was captured: without it the ledger says nothing of that.
    salt: [u8; 16],
    gateway: Gateway,
    ask: OpenHold,
    now: u64,
    settings: Settings,
    data: Arc<DataKeys>,
}

impl Command for Open {
    type Answer = Opened;
    type Error = OpenError;
    const OPENS: bool = true;

    async fn run(self, tx: &mut Tx) -> Result<Opened, OpenError> {
        let Open { id, salt, gateway: Gateway { group, credential }, ask, now, settings, data } = self;
        let published = tx.policy().ok_or(OpenError::NoPolicy)?;
        if ask.policy != published.reference {
            let asked = ask.policy.rev.to_string();
            return Err(OpenError::UnknownRevision { id: ask.policy.id.clone(), asked });
        }
        let (requirement, hash) =
            published.requirement(&ask.rules).map_err(|rule| OpenError::UnknownRule(rule.to_owned()))?;
        if hash != ask.requirement {
            return Err(OpenError::RequirementMismatch);
        }
        let agent_key = ask.agent.key();
        let key = JoinKey { group: &group, agent_key: &agent_key, digest: &ask.digest, requirement: &hash };
        tx.flush_for(key, &ask).await?;
        let let_in = tx.let_in(ask.agent.caller(), &credential).await?;
        if !let_in.gateway {
            return Err(GatewayError::Refused.into());
        }
        if !let_in.agent {
            return Err(OpenError::Suspended);
        }
        check_key(tx, &group, &agent_key, &ask, now).await?;
        let cooled = now.saturating_sub(settings.deny_cooldown);
        for met in holds::met(tx, key, cooled).await? {
            tx.flush().await?;
            let found = expire_if_overdue(tx, met, now).await?;
            if found.stage.deadline().is_some() {
                if matches!(found.stage, Stage::Pending(_)) {
                    check_joins(tx, &settings.quotas, &found, &ask, now).await?;
                }
                note(tx, &found, &ask, now).await?;
                return Ok(Opened { hold: found, seq: tx.seq(), how: How::Joined });
            }
            if found.stage.state() == HoldState::Denied {
                let until = found.since.saturating_add(settings.deny_cooldown);
                return Ok(Opened { hold: found, seq: tx.seq(), how: How::Denied { until } });
            }
        }
        check_quotas(tx, &settings.quotas, &ask, now).await?;
        let terms = Terms {
            id,
            group,
            agent: ask.agent.clone(),
            agent_key,
            digest: ask.digest,
            components: ask.components.clone(),
            requirement,
            requirement_hash: hash,
            rules: ask.rules.clone(),
            policy: ask.policy.clone(),
        };
        let new = NewHold::new(Hold::open(terms, now), ask, salt, &data)?;
        let (hold, captured, request) = (new.hold().clone(), new.vouched(), new.vouched_digest());
        let terms = &hold.terms;
        let told = json!({
            "group": terms.group, "agent": terms.agent, "request": request, "requirement": hash,
            "factors": terms.requirement.factors,
            "rules": terms.rules, "policy": terms.policy, "decide_by": hold.expires_at(), "captured": captured,
        });
        let (id, by) = (Some(terms.id.as_str()), Some(DecidedBy::Policy));
        tx.record(Event { time: now, kind: "hold.opened", hold: id, decided_by: by, data: told })?;
        tx.open(new);
        Ok(Opened { seq: tx.seq(), hold, how: How::New })
    }
}

/// Notes who came to a hold, and under which name.
async fn note(tx: &mut Tx, hold: &Hold, ask: &OpenHold, now: u64) -> Result<(), StoreError> {
    tx.note_attempt(hold, &ask.attempt, now).await?;
    match &ask.idempotency_key {
        Some(key) => tx.remember_key(hold, key).await,
        None => Ok(()),
    }
}

/// Refuses a name that this agent has given to another request.
///
/// Under another policy the same request may have another digest, for rules say what it covers. Then the name is let
/// go: it was never what an approval is bound to.
async fn check_key(tx: &mut Tx, group: &str, agent_key: &Hash, ask: &OpenHold, now: u64) -> Result<(), OpenError> {
    let Some(key) = &ask.idempotency_key else { return Ok(()) };
    let Some(first) = idempotency::hold_of(tx, group, agent_key, key).await? else { return Ok(()) };
    let first = first.at(now);
    let remembered = first.stage.deadline().is_some() || now < first.since.saturating_add(KEYS_KEPT);
    let another = first.terms.digest != ask.digest && first.terms.policy.rev == ask.policy.rev;
    if remembered && another { Err(OpenError::KeyReused) } else { Ok(()) }
}

async fn check_quotas(tx: &mut Tx, quotas: &Quotas, ask: &OpenHold, now: u64) -> Result<(), OpenError> {
    for (subject, name) in counted(&ask.agent, &ask.rules) {
        let (quota, count) = (quotas.of(subject), tx.count_of(subject, &name, now).await?);
        let limit = |span| Limit::Holds(subject, span);
        if count.hour >= quota.hour {
            return Err(OpenError::Quota { limit: limit(Span::Hour), retry_after: until_free(count.oldest, now) });
        }
        if count.open >= quota.open {
            return Err(OpenError::Quota { limit: limit(Span::Open), retry_after: RETRY_OPEN });
        }
    }
    Ok(())
}

/// After how many seconds the oldest minute that counts for an hour does so no more.
fn until_free(oldest: Option<u64>, now: u64) -> u64 {
    let free = oldest.map_or(0, |minute| (minute + quotas::WINDOW) * 60);
    free.saturating_sub(now).clamp(1, 60 * 60)
}

/// Refuses a try that would join a pending hold beyond measure, and counts it otherwise: its gateway parks it, and it is
/// kept here. What was approved is never refused, since whoever finds it takes it away.
async fn check_joins(tx: &mut Tx, quotas: &Quotas, hold: &Hold, ask: &OpenHold, now: u64) -> Result<(), OpenError> {
    let agent = agent_name(&ask.agent);
    let joined = quotas::joined(tx, &agent, now).await?;
    if joined.hour >= quotas.joins {
        return Err(OpenError::Quota { limit: Limit::Joins, retry_after: until_free(joined.oldest, now) });
    }
    let waiting = attempts::waiting(tx, &hold.terms.id, &ask.attempt, now.saturating_sub(WAITS)).await?;
    if waiting.count >= quotas.waiting {
        let retry_after = waiting.oldest.saturating_add(WAITS).saturating_sub(now).clamp(1, WAITS);
        return Err(OpenError::Quota { limit: Limit::Waiting, retry_after });
    }
    tx.count_joined(&agent, now).await?;
    Ok(())
}
