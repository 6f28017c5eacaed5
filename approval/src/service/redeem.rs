//! Redemption: the approval is consumed, and only then a grant is signed.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use holdgate_protocol::{
    Actor, Hash, b64url,
    gateway::{Outcome, Redemption, RedemptionAnswer, RedemptionError},
    grant::{self, ActorChain, Claims, Covered},
};
use serde_json::json;

use super::{Service, Step, transitions};
use crate::{
    domain::{Cause, Change, Claim, DecidedBy, Hold, Redeemed, Stage, Used, redemption},
    keys::ServiceKeys,
    policy::Published,
    store::{Command, StoreError, Tx, holds, ledger::Event, policy},
};

impl Service {
    /// Redeems holds for a gateway group, all in one transaction. Answers stand in the order of the items.
    pub async fn redeem(&self, group: &str, items: Vec<Redemption>) -> Result<Vec<RedemptionAnswer>, StoreError> {
        let (group, issuer) = (group.to_owned(), self.issuer.clone());
        self.store.write(Redeem { group, items, now: self.now(), keys: self.keys.clone(), issuer }).await
    }

    /// Keeps what gateways report of redeemed requests.
    pub async fn report(&self, group: &str, items: Vec<Outcome>) -> Result<(), StoreError> {
        self.store.write(Report { group: group.to_owned(), items, now: self.now() }).await
    }

    /// Notes that agents hung up. Changes no hold.
    pub async fn detach(&self, group: &str, attempts: Vec<String>) -> Result<(), StoreError> {
        self.store.write(Detach { group: group.to_owned(), attempts, now: self.now() }).await
    }
}

struct Redeem {
    group: String,
    items: Vec<Redemption>,
    now: u64,
    keys: Arc<ServiceKeys>,
    issuer: Arc<str>,
}

impl Command for Redeem {
    type Answer = Vec<RedemptionAnswer>;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<Self::Answer, StoreError> {
        let ids: BTreeSet<&str> = self.items.iter().map(|item| item.hold.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut batch = Batch { holds: holds::find_all(tx, &ids).await?, suspended: HashMap::new(), steps: Vec::new() };
        let mut answers = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let mut answer = RedemptionAnswer { hold: item.hold.clone(), grant: None, error: None, cause: None };
            match self.one(tx, &mut batch, item).await? {
                Ok(grant) => answer.grant = Some(grant),
                Err((error, cause)) => {
                    answer.error = Some(error);
                    answer.cause = cause.map(ToOwned::to_owned);
                }
            }
            answers.push(answer);
        }
        transitions(tx, &batch.steps, self.now).await?;
        Ok(answers)
    }
}

type NoGrant = (RedemptionError, Option<&'static str>);

/// What is looked up once for all items of a batch, and written once.
struct Batch {
    /// As they are after the items so far.
    holds: HashMap<String, Hold>,
    suspended: HashMap<Actor, bool>,
    steps: Vec<Step>,
}

impl Redeem {
    async fn one(
        &self,
        tx: &mut Tx,
        batch: &mut Batch,
        item: &Redemption,
    ) -> Result<Result<String, NoGrant>, StoreError> {
        let unknown = (RedemptionError::NotApproved, Some("unknown_hold"));
        let Some(hold) = batch.holds.get(&item.hold).cloned() else { return Ok(Err(unknown)) };
        let claim = Claim::new(&self.group, item);
        match redemption::redeem(hold.clone(), &claim, self.now) {
            Err(refusal) => Ok(Err((refusal.error, refusal.cause))),
            Ok(Redeemed::Again { grant }) => Ok(Ok(grant)),
            Ok(Redeemed::Now(_)) if batch.is_suspended(tx, hold.terms.agent.caller()).await? => {
                Ok(Err((RedemptionError::Cancelled, Some(Cause::Suspended.as_str()))))
            }
            Ok(Redeemed::Now(_)) => {
                let published = tx.policy().ok_or(StoreError::Corrupt("bundles"))?;
                let (grant, id) = self.sign(&hold, &claim, &published)?;
                let used = Used {
                    attempt: claim.attempt.clone(),
                    grant: grant.clone(),
                    grant_expires_at: self.now.saturating_add(grant::MAX_LIFE),
                };
                let change = Change { stage: Stage::Used(used), decided_by: DecidedBy::Human };
                let data = json!({"attempt": claim.attempt, "grant": id, "policy": published.reference});
                let after = Hold { stage: change.stage.clone(), since: self.now, ..hold.clone() };
                batch.holds.insert(item.hold.clone(), after);
                batch.steps.push(Step { hold, change, data });
                Ok(Ok(grant))
            }
        }
    }

    /// Signs the grant of a redemption that was decided. It leaves the service after the commit only.
    fn sign(&self, hold: &Hold, claim: &Claim, published: &Published) -> Result<(String, String), StoreError> {
        let terms = &hold.terms;
        // One redemption has one grant, so the two names of the redemption name the grant too.
        let id = Hash::of(format!("{}\n{}", terms.id, claim.attempt).as_bytes());
        let id: String = b64url(id.as_bytes()).chars().take(22).collect();
        let claims = Claims {
            iss: self.issuer.to_string(),
            aud: terms.group.clone(),
            sub: terms.agent.principal().unwrap_or_default().to_owned(),
            act: ActorChain::of(&terms.agent),
            txn: terms.id.clone(),
            jti: id.clone(),
            iat: self.now,
            nbf: self.now,
            exp: self.now.saturating_add(grant::MAX_LIFE),
            nonce: claim.attempt.clone(),
            req: Covered { c: terms.components.clone(), h: terms.digest },
            policy: grant::Policy {
                id: published.reference.id.clone(),
                rev: published.reference.rev,
                requirement: terms.requirement_hash,
            },
            rules: terms.rules.clone(),
        };
        Ok((claims.sign(&self.keys.grant)?, id))
    }
}

impl Batch {
    async fn is_suspended(&mut self, tx: &mut Tx, agent: Actor) -> Result<bool, StoreError> {
        match self.suspended.entry(agent) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => {
                let suspended = policy::is_suspended(tx, place.key()).await?;
                Ok(*place.insert(suspended))
            }
        }
    }
}

struct Report {
    group: String,
    items: Vec<Outcome>,
    now: u64,
}

impl Command for Report {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for new in tx.insert_outcomes(&self.group, &self.items, self.now).await? {
            let data = json!({"attempt": new.attempt, "forwarded": new.forwarded, "status": new.status});
            let event = Event { time: self.now, kind: "hold.outcome", hold: Some(&new.hold), decided_by: None, data };
            tx.record(event)?;
        }
        Ok(())
    }
}

struct Detach {
    group: String,
    attempts: Vec<String>,
    now: u64,
}

impl Command for Detach {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.note_detached(&self.group, &self.attempts, self.now).await
    }
}
