//! What every store keeps to, whatever database it is.

use std::time::Duration;

use holdgate_approval::{
    domain::{Approved, Change, DecidedBy, Retention, Stage, Used},
    store::{Command, Database, StoreError, Tx, feed, holds, ledger},
};
use holdgate_protocol::gateway::FeedItem;
use serde_json::json;

use crate::{
    database::{BROKEN, FORGERIES},
    support::{NOW, World, data_keys},
};

struct Sql(&'static [&'static str]);

/// Does to the database what no command does.
pub async fn execute(world: &World, sql: &'static str) {
    struct One(&'static str);

    impl Command for One {
        type Answer = ();
        type Error = StoreError;

        async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
            tx.execute(self.0, vec![]).await.map(|_| ())
        }
    }

    world.service.store.write(One(sql)).await.unwrap();
}

impl Command for Sql {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for sql in self.0 {
            tx.execute(*sql, vec![]).await?;
        }
        Ok(())
    }
}

/// Writes to the feed and the ledger, then fails if it is told to.
struct Write {
    fails: bool,
}

impl Command for Write {
    type Answer = u64;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<u64, StoreError> {
        let item = |seq| FeedItem::Agent { seq, iss: "i".into(), sub: "s".into(), suspended: true };
        let seq = tx.tell(None, item)?;
        tx.record(ledger::Event { time: NOW, kind: "test", hold: None, decided_by: None, data: json!({}) })?;
        if self.fails { Err(StoreError::Corrupt("test")) } else { Ok(seq) }
    }
}

async fn ends(store: &Database) -> (u64, u64) {
    let mut connection = store.read().await.unwrap();
    (feed::head(&mut connection).await.unwrap(), ledger::size(&mut connection).await.unwrap())
}

#[tokio::test]
async fn the_ledger_is_append_only_and_without_gaps() {
    let world = World::new().await;
    world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let (_, hold) = world.held(&["one"], "b").await;
    alice.decide(&hold, "deny").await;
    let (_, taken_back) = world.held(&["two"], "c").await;
    alice.decide(&taken_back, "approve").await;
    assert_eq!(alice.post(&format!("/api/holds/{taken_back}/withdraw"), json!({})).await.status, 200);
    for sql in FORGERIES {
        assert!(world.service.store.write(Sql(std::slice::from_ref(sql))).await.is_err(), "{sql}");
    }
    crate::ledger::verify(&world.url).await;
}

#[tokio::test]
async fn a_command_that_fails_leaves_nothing_and_its_neighbours_stay() {
    let world = World::new().await;
    let store = &world.service.store;
    let (news, entries) = ends(store).await;
    let (a, b, c) = tokio::join!(
        store.write(Write { fails: false }),
        store.write(Write { fails: true }),
        store.write(Write { fails: false })
    );
    assert!(b.is_err());
    let mut seqs = [a.unwrap(), c.unwrap()];
    seqs.sort_unstable();
    assert_eq!(seqs, [news + 1, news + 2], "no number is lost");
    assert_eq!(ends(store).await, (news + 2, entries + 2));
    crate::ledger::verify(&world.url).await;
}

/// As an opening whose first question the database refuses.
struct Refused;

impl Command for Refused {
    type Answer = ();
    type Error = StoreError;
    const OPENS: bool = true;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.execute("SELECT 1 FROM no_such_table", vec![]).await.map(|_| ())
    }
}

struct Join(&'static str);

impl Command for Join {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.count_joined(self.0, NOW).await
    }
}

#[tokio::test]
async fn what_was_answered_was_kept_whatever_the_database_refused_beside() {
    let world = World::new().await;
    let store = &world.service.store;
    // As a rule the first is alone in its transaction, and the others share one.
    let (first, joined, refused, last) =
        tokio::join!(store.write(Join("a")), store.write(Join("b")), store.write(Refused), store.write(Join("c")));
    assert!(refused.is_err());
    let answered = [first, joined, last].iter().filter(|answer| answer.is_ok()).count() as u64;
    assert_eq!(world.number("SELECT count(*) AS n FROM quota_joined").await, answered);
}

#[tokio::test]
async fn two_stores_on_one_file_share_one_order() {
    let world = World::new().await;
    let other = Database::open(&world.url, false).await.unwrap();
    let (news, entries) = ends(&other).await;
    for store in [&world.service.store, &other, &world.service.store] {
        store.write(Write { fails: false }).await.unwrap();
    }
    assert_eq!(ends(&other).await, (news + 3, entries + 3));
}

struct Take {
    hold: String,
    attempt: &'static str,
}

impl Command for Take {
    type Answer = bool;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<bool, StoreError> {
        let mut hold = holds::find(tx, &self.hold).await?.unwrap();
        // As one who read the hold before somebody else redeemed it.
        hold.stage = Stage::Approved(Approved { use_by: NOW + 600 });
        let used = Used { attempt: self.attempt.into(), grant: "g".into(), grant_expires_at: NOW + 60 };
        let change = Change { stage: Stage::Used(used), decided_by: DecidedBy::Human };
        tx.change_holds(&[(&hold, &change)], NOW).await
    }
}

#[tokio::test]
async fn a_hold_changes_only_from_the_state_that_was_read() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let take = |attempt| world.service.store.write(Take { hold: hold.clone(), attempt });
    assert!(!take("early").await.unwrap(), "it is pending");
    world.sign_in("alice").await.decide(&hold, "approve").await;
    assert!(take("first").await.unwrap());
    assert!(!take("second").await.unwrap());
    let kept = holds::find(&mut world.service.store.read().await.unwrap(), &hold).await.unwrap().unwrap();
    assert!(matches!(kept.stage, Stage::Used(used) if used.attempt == "first"));
}

#[tokio::test]
async fn other_databases_are_refused_without_showing_their_password() {
    for url in ["mysql://u:secret@h/d", "sqlite::memory:", "nonsense"] {
        let error = Database::open(url, false).await.err().unwrap().to_string();
        assert!(!error.contains("secret") && error.contains("sqlite:FILE"), "{error}");
    }
}

#[tokio::test]
async fn captures_go_thirty_days_after_the_end_of_their_hold() {
    let world = World::new().await;
    let time = Retention::default().captures;
    assert_eq!(time, 30 * 24 * 60 * 60);
    let alice = world.sign_in("alice").await;
    let (_, early) = world.held(&["one"], "a").await;
    alice.decide(&early, "deny").await;
    world.clock.advance(60);
    let (_, late) = world.held(&["one"], "b").await;
    alice.decide(&late, "deny").await;
    world.clock.advance(time - 60);
    let (_, open) = world.held(&["one"], "c").await;
    let kept = async || {
        world.service.forget().await.unwrap();
        let mut connection = world.service.store.read().await.unwrap();
        let mut kept = Vec::new();
        for hold in [&early, &late, &open] {
            kept.push(holds::captured(&mut connection, hold, &data_keys()).await.unwrap().is_some());
            assert!(holds::find(&mut connection, hold).await.unwrap().is_some(), "the hold stays");
        }
        kept
    };
    assert_eq!(kept().await, [false, true, true]);
    world.clock.advance(60);
    assert_eq!(kept().await, [false, false, true]);
    let page = world.sign_in("alice").await.get(&format!("/holds/{early}")).await.text;
    assert!(page.contains("The captured request is not kept any more"));
    // However long ago it was opened: what is open keeps its capture.
    world.clock.advance(time * 2);
    assert_eq!(kept().await, [false, false, true]);
}

#[tokio::test]
async fn a_lost_transaction_is_told_to_all_in_it_and_the_writer_goes_on() {
    let world = World::new().await;
    let store = &world.service.store;
    let before = ends(store).await;
    let (neighbour, lost) = tokio::join!(store.write(Write { fails: false }), store.write(Sql(BROKEN)));
    assert!(lost.is_err(), "the commit failed");
    // The two may have shared a transaction or not; the answer tells the truth either way.
    let kept = u64::from(neighbour.is_ok());
    assert_eq!(ends(store).await, (before.0 + kept, before.1 + kept));
    assert!(store.write(Write { fails: false }).await.is_ok());
    assert_eq!(ends(store).await, (before.0 + kept + 1, before.1 + kept + 1));
}

#[tokio::test]
async fn two_that_start_at_once_bring_the_database_to_this_version_together() {
    let folder = tempfile::tempdir().unwrap();
    let url = crate::database::url(folder.path()).await;
    let start = || Database::open(&url, true);
    let (a, b, c, d) = tokio::join!(start(), start(), start(), start());
    for started in [a, b, c, d] {
        started.unwrap();
    }
}

/// Keeps the writer busy.
struct Busy {
    rounds: u32,
    each: Duration,
}

impl Command for Busy {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for _ in 0..self.rounds {
            tokio::time::sleep(self.each).await;
            tx.touch().await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_done() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.status, 200);
    let (_, pending) = world.held(&["one"], "b").await;
    let alice = world.sign_in("alice").await;
    let busy = Busy { rounds: 1, each: Duration::from_millis(500) };
    let (busy, _, redeemed, decided) = tokio::join!(
        world.service.store.write(busy),
        tokio::time::timeout(Duration::from_millis(100), world.open(&ask)),
        // A gateway that asks for a grant, and a person who approves, give up before their turn comes.
        tokio::time::timeout(Duration::from_millis(100), world.redeem(&hold, &ask, 1)),
        tokio::time::timeout(Duration::from_millis(100), alice.decide(&pending, "approve")),
    );
    busy.unwrap();
    assert!(redeemed.is_err() && decided.is_err());
    assert!(world.redeem(&hold, &ask, 2).await.grant.is_some(), "the approval is there for the next try");
    assert_eq!(world.number("SELECT count(*) AS n FROM decisions").await, 1);
}

#[tokio::test]
async fn what_waited_for_long_is_not_done_as_if_it_were_then() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.status, 200);
    let busy = Busy { rounds: 2, each: Duration::from_secs(5) + Duration::from_millis(300) };
    let redemption = crate::support::redemption(&hold, &ask, 1);
    let (busy, late) = tokio::join!(
        world.service.store.write(busy),
        world.gateway("edge", "POST", "/v1/redemptions", &redemption),
    );
    busy.unwrap();
    assert_eq!((late.status.as_u16(), late.error()), (503, "unavailable".into()), "{}", late.text);
    assert!(world.redeem(&hold, &ask, 2).await.grant.is_some());
}
