//! Redemption: the approval is consumed, and only then a grant is signed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use holdgate_protocol::{
    Actor, Hash, b64url,
    gateway::{Outcome, Redemption, RedemptionAnswer, RedemptionError},
    grant::{self, ActorChain, Claims, Covered},
};
use serde_json::json;

use super::{
    Service, Step,
    authority::Authority,
    transitions,
    who::{Gateway, GatewayError},
};
use crate::{
    domain::{
        Approval, Approved, Cause, Change, Claim, Grounds, Hold, Lasting, Redeemed, Sound, Stage, Terms, redemption,
    },
    keys::ServiceKeys,
    policy::Published,
    store::{Command, StoreError, Tx, holds, keys::Purpose, ledger::Event, policy},
};

impl Service {
    /// Redeems holds for a gateway, all in one transaction. Answers stand in the order of the items.
    pub async fn redeem(
        &self,
        gateway: &Gateway,
        items: Vec<Redemption>,
    ) -> Result<Vec<RedemptionAnswer>, GatewayError> {
        let (gateway, issuer, lasting) = (gateway.clone(), self.issuer.clone(), self.settings.lasting);
        self.store.write(Redeem { gateway, items, now: self.now(), keys: self.keys(), issuer, lasting }).await
    }

    /// Keeps what gateways report of redeemed requests.
    pub async fn report(&self, gateway: &Gateway, items: Vec<Outcome>) -> Result<(), GatewayError> {
        self.store.write(Report { gateway: gateway.clone(), items, now: self.now() }).await
    }

    /// Notes that agents hung up. Changes no hold.
    pub async fn detach(&self, gateway: &Gateway, attempts: Vec<String>) -> Result<(), GatewayError> {
        self.store.write(Detach { gateway: gateway.clone(), attempts, now: self.now() }).await
    }
}

struct Redeem {
    gateway: Gateway,
    items: Vec<Redemption>,
    now: u64,
    keys: Arc<ServiceKeys>,
    issuer: Arc<str>,
    lasting: Lasting,
}

impl Command for Redeem {
    type Answer = Vec<RedemptionAnswer>;
    type Error = GatewayError;

    async fn run(self, tx: &mut Tx) -> Result<Self::Answer, GatewayError> {
        self.gateway.check(tx).await?;
        let ids: BTreeSet<&str> = self.items.iter().map(|item| item.hold.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut batch = Batch::of(tx, &ids, Authority::at(self.now, self.lasting)).await?;
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
    /// The approvals of those that are approved.
    approvals: HashMap<String, Vec<Approval>>,
    authority: Authority,
    suspended: HashSet<Actor>,
    /// What the policy in force asks for, by the requirement that a hold was opened with: that covers its rules too.
    in_force: HashMap<Hash, Option<Hash>>,
    /// As they are in this transaction: what was retired signs nothing any more.
    keys: Option<Arc<ServiceKeys>>,
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
        let claim = Claim::new(&self.gateway.group, item);
        match redemption::redeem(hold.clone(), &claim, self.now) {
            Err(refusal) => Ok(Err((refusal.error, refusal.cause))),
            // What was granted may have been lost on its way; it is not given again where it would not be given anew.
            Ok(Redeemed::Again { grant }) => {
                if batch.is_suspended(&hold.terms.agent.caller()) {
                    return Ok(Err((RedemptionError::Cancelled, Some(Cause::Suspended.as_str()))));
                }
                let keys = batch.keys(tx, &self.keys).await?;
                let stands = keys.has_signed(Purpose::Grant, &grant, self.now);
                Ok(if stands { Ok(grant) } else { Err((RedemptionError::Expired, Some("key"))) })
            }
            Ok(Redeemed::Now(approved)) => {
                let published = tx.policy().ok_or(StoreError::Corrupt("bundles"))?;
                let (change, data, answer) = match batch.recheck(tx, approved, &hold, &published).await? {
                    Ok(sound) => {
                        let keys = batch.keys(tx, &self.keys).await?;
                        let (grant, id) = self.sign(&hold, &claim, &published, &keys)?;
                        let until = self.now.saturating_add(grant::MAX_LIFE);
                        let data = json!({"attempt": claim.attempt, "grant": id, "policy": published.reference});
                        (sound.used(claim.attempt, grant.clone(), until), data, Ok(grant))
                    }
                    Err(change) => {
                        let cause = change.stage.cause().map(Cause::as_str);
                        let data = json!({"attempt": claim.attempt, "policy": published.reference});
                        (change, data, Err((RedemptionError::Cancelled, cause)))
                    }
                };
                let after = Hold { stage: change.stage.clone(), since: self.now, ..hold.clone() };
                batch.holds.insert(item.hold.clone(), after);
                batch.steps.push(Step { hold, change, data });
                Ok(answer)
            }
        }
    }

    /// Signs the grant of a redemption that was decided. It leaves the service after the commit only.
    fn sign(
        &self,
        hold: &Hold,
        claim: &Claim,
        published: &Published,
        keys: &ServiceKeys,
    ) -> Result<(String, String), StoreError> {
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
        Ok((claims.sign(keys.grant(self.now).ok_or(StoreError::NoGrantKey)?)?, id))
    }
}

impl Batch {
    async fn of(tx: &mut Tx, ids: &[&str], mut authority: Authority) -> Result<Self, StoreError> {
        let holds = holds::find_all(tx, ids).await?;
        let approved: Vec<&Hold> = holds.values().filter(|hold| matches!(hold.stage, Stage::Approved(_))).collect();
        let ids: Vec<&str> = approved.iter().map(|hold| hold.terms.id.as_str()).collect();
        let approvals = holds::approvals(tx, &ids).await?;
        authority.look_up(tx, approved.iter().map(|hold| &hold.terms)).await?;
        let callers: HashSet<Actor> = holds.values().map(|hold| hold.terms.agent.caller()).collect();
        let callers: Vec<Actor> = callers.into_iter().collect();
        let suspended = policy::suspended_of(tx, &callers).await?.into_iter().collect();
        let (in_force, steps) = Default::default();
        Ok(Batch { holds, approvals, authority, suspended, in_force, keys: None, steps })
    }

    /// Looks again at what an approval rests on.
    async fn recheck(
        &mut self,
        tx: &mut Tx,
        approved: Approved,
        hold: &Hold,
        published: &Published,
    ) -> Result<Result<Sound, Change>, StoreError> {
        let terms = &hold.terms;
        let agent_suspended = self.is_suspended(&terms.agent.caller());
        let in_force = self.in_force(terms, published);
        let mut approvals = self.approvals.get(&terms.id).cloned().unwrap_or_default();
        self.authority.look_at(tx, &mut approvals, terms).await?;
        let accountable = self.authority.accountable(tx, terms).await?;
        let grounds = Grounds { agent_suspended, in_force, accountable, approvals: &approvals };
        Ok(approved.recheck(hold, &grounds))
    }

    /// The keys as they are in this transaction.
    async fn keys(&mut self, tx: &mut Tx, known: &Arc<ServiceKeys>) -> Result<Arc<ServiceKeys>, StoreError> {
        Ok(match &self.keys {
            Some(keys) => keys.clone(),
            None => self.keys.insert(known.as_they_are(tx).await?).clone(),
        })
    }

    fn in_force(&mut self, terms: &Terms, published: &Published) -> Option<Hash> {
        let asked = || published.requirement(&terms.rules).ok().map(|(_, hash)| hash);
        *self.in_force.entry(terms.requirement_hash).or_insert_with(asked)
    }

    fn is_suspended(&self, agent: &Actor) -> bool {
        self.suspended.contains(agent)
    }
}

struct Report {
    gateway: Gateway,
    items: Vec<Outcome>,
    now: u64,
}

impl Command for Report {
    type Answer = ();
    type Error = GatewayError;

    async fn run(self, tx: &mut Tx) -> Result<(), GatewayError> {
        self.gateway.check(tx).await?;
        for new in tx.insert_outcomes(&self.gateway.group, &self.items, self.now).await? {
            let data = json!({"attempt": new.attempt, "forwarded": new.forwarded, "status": new.status});
            let event = Event { time: self.now, kind: "hold.outcome", hold: Some(&new.hold), decided_by: None, data };
            tx.record(event)?;
        }
        Ok(())
    }
}

struct Detach {
    gateway: Gateway,
    attempts: Vec<String>,
    now: u64,
}

impl Command for Detach {
    type Answer = ();
    type Error = GatewayError;

    async fn run(self, tx: &mut Tx) -> Result<(), GatewayError> {
        self.gateway.check(tx).await?;
        Ok(tx.note_detached(&self.gateway.group, &self.attempts, self.now).await?)
    }
}
