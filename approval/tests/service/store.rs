//! What every store keeps to, whatever database it is.

use holdgate_approval::{
    domain::{Approved, Change, DecidedBy, Retention, Stage, Used},
    store::{Command, Store, StoreError, Tx, feed, holds, ledger},
};
use holdgate_protocol::gateway::FeedItem;
use serde_json::json;

use crate::support::{NOW, World};

struct Sql(&'static str);

impl Command for Sql {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        sqlx::query(self.0).execute(&mut **tx).await?;
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

async fn ends(store: &Store) -> (u64, u64) {
    let mut connection = store.read().await.unwrap();
    (feed::head(&mut connection).await.unwrap(), ledger::head(&mut connection).await.unwrap().0)
}

#[tokio::test]
async fn the_ledger_is_append_only_and_without_gaps() {
    let world = World::new().await;
    world.held(&["one"], "a").await;
    let statements = [
        "UPDATE ledger SET data = '{}' WHERE seq = 1",
        "DELETE FROM ledger WHERE seq = 1",
        "INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1",
        "INSERT INTO ledger SELECT seq + 1000, time, kind, hold, decided_by, data, prev, hash FROM ledger WHERE seq = 1",
        "UPDATE decisions SET reason = 'x'",
        "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
        "INSERT OR REPLACE INTO decisions SELECT 1000, hold, person, 'approve', role, roles, reason, signed_in_at,
         decided_at FROM decisions",
        "INSERT OR REPLACE INTO decisions SELECT number, hold, 'bob', verdict, role, roles, reason, signed_in_at,
         decided_at FROM decisions",
    ];
    let alice = world.sign_in("alice").await;
    let (_, hold) = world.held(&["one"], "b").await;
    alice.decide(&hold, "deny").await;
    for sql in statements {
        assert!(world.service.store.write(Sql(sql)).await.is_err(), "{sql}");
    }
    let mut connection = world.service.store.read().await.unwrap();
    let entries = ledger::page(&mut connection, None, 0, 1000).await.unwrap();
    let mut prev = holdgate_protocol::Hash::of(b"");
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!((entry.seq, entry.prev), (index as u64 + 1, prev));
        assert_eq!(entry.computed_hash(), Some(entry.hash));
        prev = entry.hash;
    }
    let mut changed = entries[3].clone();
    changed.data = changed.data.replacen('a', "b", 1);
    assert_ne!(changed.computed_hash(), Some(changed.hash));
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
}

#[tokio::test]
async fn two_stores_on_one_file_share_one_order() {
    let world = World::new().await;
    let other = Store::open(&holdgate_approval::store::default_url(world.path()), false).await.unwrap();
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
    for url in ["postgres://u:secret@h/d", "mysql://u:secret@h/d", "sqlite::memory:", "nonsense"] {
        let error = Store::open(url, false).await.err().unwrap().to_string();
        assert!(!error.contains("secret") && error.contains("sqlite:FILE"), "{error}");
    }
    let postgres = Store::open("postgres://h/d", false).await.err().unwrap().to_string();
    assert!(postgres.contains("PostgreSQL is not in this version"));
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
            kept.push(holds::captured(&mut connection, hold).await.unwrap().is_some());
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

struct Pragma(&'static str);

impl Command for Pragma {
    type Answer = String;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<String, StoreError> {
        use sqlx::{Row as _, ValueRef as _};
        let row = sqlx::query(self.0).fetch_one(&mut **tx).await?;
        assert!(!row.try_get_raw(0)?.is_null());
        Ok(row.try_get::<i64, _>(0).map(|number| number.to_string()).or_else(|_| row.try_get(0))?)
    }
}

#[tokio::test]
async fn a_commit_is_on_the_disk_before_the_answer() {
    let world = World::new().await;
    // 2 is FULL: the log is synchronised at each commit.
    for (pragma, value) in [("PRAGMA synchronous", "2"), ("PRAGMA journal_mode", "wal"), ("PRAGMA foreign_keys", "1")] {
        assert_eq!(world.service.store.write(Pragma(pragma)).await.unwrap(), value, "{pragma}");
    }
}

#[tokio::test]
async fn a_lost_transaction_is_told_to_all_in_it_and_the_writer_goes_on() {
    let world = World::new().await;
    let store = &world.service.store;
    let before = ends(store).await;
    let broken = "PRAGMA defer_foreign_keys = ON; INSERT INTO captures (hold, request) VALUES ('nowhere', x'00')";
    let (neighbour, lost) = tokio::join!(store.write(Write { fails: false }), store.write(Sql(broken)));
    assert!(lost.is_err(), "the commit failed");
    // The two may have shared a transaction or not; the answer tells the truth either way.
    let kept = u64::from(neighbour.is_ok());
    assert_eq!(ends(store).await, (before.0 + kept, before.1 + kept));
    assert!(store.write(Write { fails: false }).await.is_ok());
    assert_eq!(ends(store).await, (before.0 + kept + 1, before.1 + kept + 1));
}
