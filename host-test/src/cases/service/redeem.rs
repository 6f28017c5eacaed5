//! Redemptions, with all that can be wrong about a grant.

use holdgate_authoring::cases::Behaviour;
use holdgate_protocol::{
    Hash, b64url,
    gateway::{HoldState, Redemption, RedemptionAnswer, RedemptionAnswers, RedemptionError, Redemptions},
    grant::{ActorChain, Claims, Covered, JWS_TYPE, MAX_LIFE, Policy},
};

use super::{
    Replay,
    book::{Book, Opened},
};
use crate::cases::{configuration::GROUP, keys, merge};

/// Answers a batch; items stand in the order of the question.
pub(super) fn redeem(
    book: &mut Book,
    replay: &mut Replay,
    now: u64,
    asked: &Redemptions,
    does: &Behaviour,
) -> RedemptionAnswers {
    RedemptionAnswers { items: asked.items.iter().map(|item| one(book, replay, now, item, does)).collect() }
}

fn one(book: &mut Book, replay: &mut Replay, now: u64, item: &Redemption, does: &Behaviour) -> RedemptionAnswer {
    let policy = book.in_force().map(|published| published.reference.clone());
    let no = |error, cause: Option<String>| RedemptionAnswer {
        hold: item.hold.clone(),
        grant: None,
        error: Some(error),
        cause,
    };
    let Some(hold) = book.hold_named(&item.hold) else {
        return no(RedemptionError::NotApproved, Some("unknown_hold".to_owned()));
    };
    let open = &hold.asked;
    if open.agent.key() != item.agent.key() || open.digest != item.digest || open.requirement != item.requirement {
        return no(RedemptionError::NotApproved, Some("other_request".to_owned()));
    }
    match (hold.state, &hold.used) {
        (HoldState::Approved, _) => {}
        (HoldState::Used, Some((attempt, grant))) if *attempt == item.attempt => {
            return RedemptionAnswer { hold: item.hold.clone(), grant: Some(grant.clone()), error: None, cause: None };
        }
        (HoldState::Used, _) => return no(RedemptionError::Used, None),
        (HoldState::Pending, _) => return no(RedemptionError::NotApproved, Some("pending".to_owned())),
        (HoldState::Denied, _) => return no(RedemptionError::Denied, None),
        (HoldState::Expired, _) => return no(RedemptionError::Expired, None),
        (HoldState::Cancelled, _) => return no(RedemptionError::Cancelled, hold.cause.clone()),
    }
    let Some(policy) = policy else { return no(RedemptionError::NotApproved, None) };
    let claims = claims(hold, item, now, Policy { id: policy.id, rev: policy.rev, requirement: item.requirement });
    let mut grant = sign(claims, does);
    match (&replay.grant, does) {
        (Some(before), Behaviour::Replayed) => grant.clone_from(before),
        _ => replay.grant = Some(grant.clone()),
    }
    hold.used = Some((item.attempt.clone(), grant.clone()));
    let id = hold.id.clone();
    book.change(now, &id, HoldState::Used, None);
    RedemptionAnswer { hold: id, grant: Some(grant), error: None, cause: None }
}

fn claims(hold: &Opened, item: &Redemption, now: u64, policy: Policy) -> Claims {
    let id = Hash::of(format!("{}\n{}", hold.id, item.attempt).as_bytes());
    let asked = &hold.asked;
    Claims {
        iss: "holdgate-approval".to_owned(),
        aud: GROUP.to_owned(),
        sub: asked.agent.principal().unwrap_or_default().to_owned(),
        act: ActorChain::of(&asked.agent),
        txn: hold.id.clone(),
        jti: b64url(id.as_bytes()),
        iat: now,
        nbf: now,
        exp: now.saturating_add(MAX_LIFE),
        nonce: item.attempt.clone(),
        req: Covered { c: asked.components.clone(), h: asked.digest },
        policy,
        rules: asked.rules.clone(),
    }
}

/// Signs a grant, or what the script makes of it.
fn sign(mut claims: Claims, does: &Behaviour) -> String {
    let key = match does {
        Behaviour::WrongSignature => keys::stranger(),
        _ => keys::grants(),
    };
    if *does == Behaviour::WrongDigest {
        claims.req.h = Hash::of(b"another request");
    }
    let mut payload = serde_json::to_value(&claims).unwrap_or_default();
    if let Behaviour::Forged(patch) = does {
        merge::merge(&mut payload, merge::to_value(patch));
    }
    key.sign(JWS_TYPE, payload.to_string().as_bytes())
}
