//! Opening a hold, or finding the one that a request has already.

use holdgate_protocol::{from_b64, from_b64url, gateway::OpenHold, gateway::VERSION};
use serde_json::json;

use super::{Service, expire_if_overdue};
use crate::{
    domain::{DecidedBy, Hold, Terms},
    random,
    store::{
        Command, StoreError, Tx,
        holds::{self, JoinKey},
        ledger::Event,
        policy,
    },
};

/// The longest text that an agent may give as its reason, in bytes.
const MAX_REASON: usize = 4096;

/// The most rules that may hold one request.
const MAX_RULES: usize = 256;

/// A hold, new or found, and the feed's newest number at that moment.
#[derive(Clone, Debug)]
pub struct Opened {
    pub hold: Hold,
    pub seq: u64,
    pub new: bool,
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
}

impl Service {
    /// Opens a hold for a gateway group. The hold is on the disk before this returns.
    pub async fn open_hold(&self, group: &str, ask: OpenHold) -> Result<Opened, OpenError> {
        check_form(&ask)?;
        let id = random::hold_id()?;
        self.store.write(Open { id, group: group.to_owned(), ask, now: self.now() }).await
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
    let checks = [
        ("attempt", is_attempt(&ask.attempt)),
        ("rules", !rules.is_empty() && rules.len() == ask.rules.len() && rules.len() <= MAX_RULES),
        ("components", !ask.components.is_empty()),
        ("agent_reason", ask.agent_reason.as_ref().is_none_or(|reason| reason.len() <= MAX_REASON)),
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
    group: String,
    ask: OpenHold,
    now: u64,
}

impl Command for Open {
    type Answer = Opened;
    type Error = OpenError;

    async fn run(self, tx: &mut Tx) -> Result<Opened, OpenError> {
        let Open { id, group, ask, now } = self;
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
        if policy::is_suspended(tx, &ask.agent.caller()).await? {
            return Err(OpenError::Suspended);
        }
        let agent_key = ask.agent.key();
        let key = JoinKey { group: &group, agent_key: &agent_key, digest: &ask.digest, requirement: &hash };
        if let Some(found) = holds::find_open(tx, key).await? {
            let found = expire_if_overdue(tx, found, now).await?;
            if found.stage.deadline().is_some() {
                tx.note_attempt(&found, &ask.attempt, now).await?;
                return Ok(Opened { hold: found, seq: tx.seq(), new: false });
            }
        }
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
        let hold = Hold::open(terms, now);
        tx.insert_hold(&hold, &ask).await?;
        tx.note_attempt(&hold, &ask.attempt, now).await?;
        let terms = &hold.terms;
        let data = json!({
            "group": terms.group, "agent": terms.agent, "digest": terms.digest, "requirement": hash,
            "rules": terms.rules, "policy": terms.policy, "decide_by": hold.expires_at(),
        });
        let event =
            Event { time: now, kind: "hold.opened", hold: Some(&terms.id), decided_by: Some(DecidedBy::Policy), data };
        tx.record(event).await?;
        Ok(Opened { seq: tx.seq(), hold, new: true })
    }
}
