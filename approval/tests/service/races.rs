//! Two instances on one database, and everything at once: of what excludes each other, one happens.

use std::sync::Arc;

use holdgate_approval::service::suspend::Suspend;
use holdgate_protocol::gateway::RedemptionError;
use serde_json::{Value, json};

use crate::support::{NOW, World, agent, attempt, redemption};

/// How often a race of two is run; who is first differs.
const ROUNDS: usize = 12;

struct Two {
    one: Arc<World>,
    other: Arc<World>,
}

impl Two {
    async fn new() -> Self {
        let one = World::new().await;
        let other = Arc::new(one.second().await);
        Two { one: Arc::new(one), other }
    }

    /// The instances in turn.
    fn turn(&self, number: usize) -> Arc<World> {
        if number.is_multiple_of(2) { self.one.clone() } else { self.other.clone() }
    }

    /// How often the ledger has each of these for a hold.
    async fn told(&self, hold: &str, kinds: &[&str]) -> Vec<u64> {
        let mut counts = Vec::new();
        for kind in kinds {
            let sql = format!("SELECT count(*) AS n FROM ledger WHERE hold = '{hold}' AND kind = '{kind}'");
            counts.push(self.one.number(sql).await);
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_redemptions_on_two_instances_one_passes() {
    let two = Two::new().await;
    let (ask, hold) = two.one.held(&["one"], "a").await;
    two.other.sign_in("alice").await.decide(&hold, "approve").await;
    let tries = (0..100).map(|number| {
        let (world, body) = (two.turn(number), redemption(&hold, &ask, number as u64));
        tokio::spawn(async move { world.gateway("edge", "POST", "/v1/redemptions", &body).await.json() })
    });
    let mut passed = Vec::new();
    for (number, tried) in tries.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = &tried.await.unwrap()["items"][0];
        match answer["grant"].as_str() {
            Some(grant) => passed.push((number, grant.to_owned())),
            None => assert_eq!(answer["error"], "used", "{answer}"),
        }
    }
    let [(winner, grant)] = &passed[..] else { panic!("{} passed", passed.len()) };
    // The winner is answered alike by both; every other one by neither.
    for world in [&two.one, &two.other] {
        assert_eq!(world.redeem(&hold, &ask, *winner as u64).await.grant.as_ref(), Some(grant));
        assert_eq!(world.redeem(&hold, &ask, 1000).await.error, Some(RedemptionError::Used));
    }
    assert_eq!(two.told(&hold, &["hold.used"]).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_at_both_instances_has_one_hold() {
    let two = Two::new().await;
    let opening = (0..40).map(|number| {
        let world = two.turn(number);
        tokio::spawn(async move {
            let mut ask = world.ask(&["one"], "a");
            ask.attempt = attempt(number as u64);
            world.open(&ask).await.1.hold
        })
    });
    let mut holds = std::collections::BTreeSet::new();
    for opened in opening.collect::<Vec<_>>() {
        holds.insert(opened.await.unwrap());
    }
    assert_eq!(holds.len(), 1);
    assert_eq!(two.one.number("SELECT count(*) AS n FROM ledger WHERE kind = 'hold.opened'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_approving_and_denying_the_first_counts() {
    let two = Two::new().await;
    let (alice, bob) = (two.one.sign_in("alice").await, two.other.sign_in("bob").await);
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let (ask, hold) = two.one.held(&["one"], &format!("{round}")).await;
        let (approved, denied) = tokio::join!(alice.decide(&hold, "approve"), bob.decide(&hold, "deny"));
        let won = (approved.status.as_u16(), denied.status.as_u16());
        assert!([(200, 409), (409, 200)].contains(&won), "{won:?}");
        let grant = two.turn(round).redeem(&hold, &ask, 1).await.grant;
        assert_eq!(grant.is_some(), won.0 == 200);
        let told = two.told(&hold, &["hold.approved", "hold.denied"]).await;
        assert_eq!(told, if won.0 == 200 { [1, 0] } else { [0, 1] });
        seen.push(won);
    }
    eprintln!("approved first: {} of {ROUNDS}", seen.iter().filter(|won| won.0 == 200).count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_is_withdrawn_as_the_last_one_comes_counts_or_is_withdrawn() {
    let two = Two::new().await;
    let (alice, bob) = (two.one.sign_in("alice").await, two.other.sign_in("bob").await);
    for round in 0..ROUNDS {
        let (ask, hold) = two.one.held(&["two"], &format!("{round}")).await;
        assert_eq!(alice.decide(&hold, "approve").await.json()["state"], "pending");
        let path = format!("/api/holds/{hold}/withdraw");
        let (withdrawn, approved) = tokio::join!(alice.post(&path, json!({})), bob.decide(&hold, "approve"));
        let (won, state) = (withdrawn.status.as_u16(), approved.json()["state"].clone());
        assert!([(200, json!("pending")), (409, json!("approved"))].contains(&(won, state.clone())), "{won} {state}");
        assert_eq!(two.turn(round).redeem(&hold, &ask, 1).await.grant.is_some(), won == 409);
        let told = two.told(&hold, &["hold.withdrawn", "hold.approved"]).await;
        assert_eq!(told, if won == 200 { [1, 0] } else { [0, 1] });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_or_suspended_while_it_is_redeemed_is_either() {
    let two = Two::new().await;
    for round in 0..ROUNDS {
        let (ask, hold) = two.one.held(&["one"], &format!("{round}")).await;
        let alice = two.one.sign_in("alice").await;
        alice.decide(&hold, "approve").await;
        let suspends = round % 3 == 2;
        let cancel = async {
            if suspends {
                let suspend = Suspend { agent: agent().caller(), reason: String::new(), now: NOW };
                two.one.service.store.write(suspend).await.unwrap() == Some(1)
            } else {
                alice.post(&format!("/api/holds/{hold}/revoke"), json!({"reason": "no"})).await.status == 200
            }
        };
        let (cancelled, redeemed) = tokio::join!(cancel, two.other.redeem(&hold, &ask, 1));
        assert!(cancelled != redeemed.grant.is_some(), "round {round}: {cancelled} {redeemed:?}");
        let told = two.told(&hold, &["hold.cancelled", "hold.used"]).await;
        assert_eq!(told, if cancelled { [1, 0] } else { [0, 1] });
        if suspends {
            let resume = holdgate_approval::service::suspend::Resume {
                agent: agent().caller(),
                reason: String::new(),
                now: NOW,
            };
            assert!(two.one.service.store.write(resume).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_it_is_approved_is_either() {
    let two = Two::new().await;
    for round in 0..ROUNDS {
        let (ask, hold) = two.one.held(&["one"], &format!("{round}")).await;
        let alice = two.one.sign_in("alice").await;
        // The clocks of two instances differ: at the other's the time is over.
        two.other.clock.set(two.one.service.now() + 1800);
        let (approved, expired) = tokio::join!(alice.decide(&hold, "approve"), two.other.service.expire());
        expired.unwrap();
        let told = two.told(&hold, &["hold.approved", "hold.expired"]).await;
        // An approval may still be followed by the end of its own time at the other clock, never the other way around.
        assert!(approved.status == 200 && told[0] == 1 || approved.status == 409 && told == [0, 1], "{told:?}");
        let grant = two.one.redeem(&hold, &ask, 1).await.grant;
        assert_eq!(grant.is_some(), told == [1, 0], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_at_one_instance_wakes_the_feed_of_the_other() {
    let two = Two::new().await;
    let listening = tokio::spawn(two.other.service.store.clone().listen());
    let looking = {
        let service = two.other.service.clone();
        // As `keep_time` does for a database that brings no news.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                service.store.look_around().await.unwrap();
            }
        })
    };
    let (_, opened) = two.one.open(&two.one.ask(&["one"], "a")).await;
    let poll = {
        let (world, path) = (two.other.clone(), format!("/v1/feed?after={}&wait=20", opened.seq));
        tokio::spawn(async move { world.gateway("edge", "GET", &path, &Value::Null).await.json() })
    };
    two.one.sign_in("alice").await.decide(&opened.hold, "approve").await;
    let page = poll.await.unwrap();
    assert_eq!((&page["items"][0]["hold"], &page["items"][0]["state"]), (&json!(opened.hold), &json!("approved")));
    // From there it goes on without a gap.
    let after = page["next"].as_u64().unwrap();
    let (_, hold) = two.other.held(&["one"], "b").await;
    two.one.sign_in("alice").await.decide(&hold, "deny").await;
    let path = format!("/v1/feed?after={after}&wait=20");
    let page = two.other.gateway("edge", "GET", &path, &Value::Null).await.json();
    assert_eq!((&page["items"][0]["hold"], page["next"].as_u64()), (&json!(hold), Some(after + 1)));
    listening.abort();
    looking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_published_at_one_instance_is_in_force_at_the_other() {
    let two = Two::new().await;
    let (signed, reference) = crate::support::policy(2, |_| {});
    assert_eq!(two.one.publish(&signed, &reference.rev).await.status, 201);
    let stale = two.other.ask(&["one"], "a");
    assert_eq!(two.other.refused(&stale).await, (422, "unknown_revision".into()), "whoever writes looks first");
    let state = two.other.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    assert_eq!(state["policy"], json!(reference));
}
