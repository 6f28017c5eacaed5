//! Holds that are being opened. They are written together, at the end of the transaction or before the next command of
//! another kind: a hold would need a dozen statements, and to hand one over and back costs more than most of them do in the
//! database.

use std::collections::{BTreeMap, HashMap};

use holdgate_protocol::{Actor, Hash, gateway::OpenHold};

use super::{
    StoreError, Tx, access, attempts,
    holds::JoinKey,
    idempotency,
    keys::place,
    policy,
    quotas::{self, Count},
    sql::{Value, check, values},
};
use crate::{
    domain::{
        Hold,
        quota::{Subject, counted},
    },
    sealing::DataKeys,
};

/// A hold that is new, with all that came with it.
pub struct NewHold {
    hold: Hold,
    ask: OpenHold,
    /// What was captured.
    sealed: Sealed,
    /// Under which names it counts.
    names: Vec<(Subject, String)>,
    /// What is not written as it is: agent, components, requirement and rules.
    json: [String; 4],
}

/// What was captured, as it is kept.
struct Sealed {
    salt: [u8; 16],
    bytes: Vec<u8>,
    key: String,
    /// SHA-256(salt || request).
    vouched: Hash,
    /// SHA-256(salt || digest).
    vouched_digest: Hash,
}

/// What a transaction has opened and not written yet, and what it has looked up for that.
#[derive(Default)]
pub(super) struct Opening {
    new: Vec<NewHold>,
    /// What the database counts, in the minute `minute`.
    counts: HashMap<(Subject, String), Count>,
    minute: u64,
    /// Who of these agents and gateways is let in.
    let_in: HashMap<(Actor, Hash), LetIn>,
}

/// Who of an agent and its gateway is let in.
#[derive(Clone, Copy, Debug)]
pub struct LetIn {
    /// It is not suspended.
    pub agent: bool,
    /// Its credential is valid.
    pub gateway: bool,
}

impl NewHold {
    /// Seals what was captured. An error says what of the request cannot be kept.
    pub fn new(hold: Hold, mut ask: OpenHold, salt: [u8; 16], keys: &DataKeys) -> Result<Self, StoreError> {
        let request = serde_json::to_vec(&ask.request)?;
        // It is the largest part, and it is kept sealed alone.
        (ask.request.fields, ask.request.body.b64) = Default::default();
        let sealed = Sealed {
            salt,
            bytes: keys.seal(&place(&hold.terms.id), &request)?,
            key: keys.first(),
            vouched: Hash::of(&[&salt[..], &request].concat()),
            vouched_digest: Hash::of(&[&salt[..], hold.terms.digest.as_bytes()].concat()),
        };
        let terms = &hold.terms;
        let names = counted(&terms.agent, &terms.rules);
        let json = [
            serde_json::to_string(&terms.agent)?,
            serde_json::to_string(&terms.components)?,
            serde_json::to_string(&terms.requirement)?,
            serde_json::to_string(&terms.rules)?,
        ];
        let new = NewHold { hold, ask, sealed, names, json };
        // Others are written with it, and they are not to be lost with it.
        check(&new.values())?;
        check(&new.names.iter().map(|(_, name)| Value::from(name)).collect::<Vec<_>>())?;
        Ok(new)
    }

    /// What vouches for what was captured: SHA-256(salt || request).
    pub fn vouched(&self) -> Hash {
        self.sealed.vouched
    }

    /// What vouches for the request itself: SHA-256(salt || digest). Without the salt, nobody can try out bodies.
    pub fn vouched_digest(&self) -> Hash {
        self.sealed.vouched_digest
    }

    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    fn is(&self, key: JoinKey<'_>) -> bool {
        let terms = &self.hold.terms;
        terms.digest == *key.digest
            && terms.agent_key == *key.agent_key
            && terms.requirement_hash == *key.requirement
            && terms.group == key.group
    }

    /// Whether its agent named it so, or it is the same try.
    fn has_name_of(&self, group: &str, agent_key: &Hash, ask: &OpenHold) -> bool {
        let terms = &self.hold.terms;
        let named = self.ask.idempotency_key.is_some() && self.ask.idempotency_key == ask.idempotency_key;
        terms.group == group && (self.ask.attempt == ask.attempt || named && terms.agent_key == *agent_key)
    }

    /// The columns of [`INSERT`].
    fn values(&self) -> Vec<Value<'_>> {
        let (terms, request, [agent, components, requirement, rules]) =
            (&self.hold.terms, &self.ask.request, &self.json);
        values![
            &terms.id,
            &terms.group,
            agent,
            &terms.agent_key,
            &terms.digest,
            components,
            requirement,
            &terms.requirement_hash,
            rules,
            &terms.policy.id,
            &terms.policy.rev,
            terms.policy.serial,
            &request.method,
            &request.authority,
            &request.path,
            &request.query,
            &self.ask.agent_reason,
            &self.ask.idempotency_key,
            self.ask.asked.respond_async,
            self.ask.asked.wait,
            self.hold.opened_at,
            self.hold.stage.state().as_str(),
            self.hold.since,
            self.hold.expires_at(),
        ]
    }
}

const INSERT: &str = "INSERT INTO holds (id, grp, agent, agent_key, digest, components, requirement, requirement_hash,
    rules, policy_id, policy_rev, policy_serial, method, authority, path, query, agent_reason, idempotency_key, asked_async,
    asked_wait, opened_at, state, since, deadline)";

impl Opening {
    pub(super) fn len(&self) -> usize {
        self.new.len()
    }

    /// Takes back what was opened beyond the first so many.
    pub(super) fn truncate(&mut self, len: usize) {
        self.new.truncate(len);
    }

    /// Forgets what was looked up: something else may have changed it.
    pub(super) fn forget(&mut self) {
        self.counts.clear();
        self.let_in.clear();
    }

    /// Whether what was opened bears on a request: it would be found under its key, its name or its try.
    fn bears_on(&self, key: JoinKey<'_>, ask: &OpenHold) -> bool {
        self.new.iter().any(|new| new.is(key) || new.has_name_of(key.group, key.agent_key, ask))
    }

    fn opened(&self, subject: Subject, name: &str) -> u64 {
        let own = |new: &&NewHold| new.names.iter().any(|(other, named)| *other == subject && named == name);
        self.new.iter().filter(own).count() as u64
    }
}

impl Tx {
    /// Opens a hold. Those who look for it in this transaction write it first ([`Tx::flush`]), as every command does that does
    /// not say that it only opens ([`Command::OPENS`](super::Command::OPENS)).
    pub fn open(&mut self, new: NewHold) {
        self.opening.new.push(new);
    }

    /// Writes what was opened so far where it bears on a request.
    pub async fn flush_for(&mut self, key: JoinKey<'_>, ask: &OpenHold) -> Result<(), StoreError> {
        if self.opening.bears_on(key, ask) { self.flush().await } else { Ok(()) }
    }

    /// The holds that a subject has now, with those that this transaction has opened.
    pub async fn count_of(&mut self, subject: Subject, name: &str, now: u64) -> Result<Count, StoreError> {
        let minute = now / 60;
        if self.opening.minute != minute {
            // Those that were opened in another minute count there.
            self.flush().await?;
            self.opening.minute = minute;
        }
        let subject_name = (subject, name.to_owned());
        let known = match self.opening.counts.get(&subject_name) {
            Some(known) => *known,
            None => {
                let count = quotas::count(self, subject, name, now).await?;
                *self.opening.counts.entry(subject_name).or_insert(count)
            }
        };
        let new = self.opening.opened(subject, name);
        let oldest = known.oldest.or((new > 0).then_some(minute));
        Ok(Count { open: known.open + new, hour: known.hour + new, oldest })
    }

    /// Who of an agent and the gateway with this credential is let in.
    pub async fn let_in(&mut self, agent: Actor, credential: &Hash) -> Result<LetIn, StoreError> {
        let both = (agent, *credential);
        if let Some(known) = self.opening.let_in.get(&both) {
            return Ok(*known);
        }
        let let_in = LetIn {
            agent: !policy::is_suspended(self, &both.0).await?,
            gateway: access::gateway_group(self, credential).await?.is_some(),
        };
        Ok(*self.opening.let_in.entry(both).or_insert(let_in))
    }

    /// Writes the holds that were opened.
    pub(super) async fn write_opened(&mut self) -> Result<(), StoreError> {
        self.opening.forget();
        let new = std::mem::take(&mut self.opening.new);
        if new.is_empty() {
            return Ok(());
        }
        self.write((INSERT, ""), &new, NewHold::values).await?;
        let head = "INSERT INTO captures (hold, request, salt, sealed_with)";
        self.write((head, ""), &new, |new| {
            values![&new.hold.terms.id, &new.sealed.bytes[..], &new.sealed.salt[..], &new.sealed.key]
        })
        .await?;
        let tries: Vec<_> = new.iter().map(|new| (&new.hold, new.ask.attempt.as_str(), new.hold.opened_at)).collect();
        attempts::note(self, &tries).await?;
        let named: Vec<_> =
            new.iter().filter_map(|new| Some((&new.hold, new.ask.idempotency_key.as_deref()?))).collect();
        idempotency::remember(self, &named).await?;
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (subject, name) in new.iter().flat_map(|new| &new.names) {
            *counts.entry((subject.as_str(), name)).or_default() += 1;
        }
        let minute = self.opening.minute;
        quotas::opened(self, &counts, minute).await
    }
}
