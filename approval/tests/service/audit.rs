//! Audit records of gateways.

use holdgate_approval::store::ledger;
use holdgate_protocol::{Hash, audit::MAX_BYTES};
use serde_json::{Value, json};

use crate::{
    retention::{HOUR, kept_for},
    support::{NOW, World, agent},
};

pub fn record(seq: u64) -> Value {
    json!({
        "seq": seq, "t": NOW, "effect": "allow", "decided_by": "policy", "code": "allowed",
        "rules": [{"id": "reads", "mode": "enforce", "controls": ["nist-csf-2.0: PR.AA-05"]}],
        "policy": {"id": "guard", "rev": Hash::of(b"p"), "serial": 1}, "agent": agent(),
        "request": {"method": "GET", "authority": "iam.example", "path": "/iam/users", "digest": null},
        "hold": null, "status": 200,
    })
}

/// A batch that ends with its last record, from the number `from` on.
pub fn batch(from: u64, numbers: &[u64], dropped: u64) -> Value {
    let records: Vec<Value> = numbers.iter().map(|seq| record(*seq)).collect();
    let to = numbers.last().copied().unwrap_or(from);
    json!({"vm_epoch": "AAAAAAAAAAAAAAAAAAAAAA", "from_seq": from, "to_seq": to, "dropped": dropped, "records": records})
}

async fn send(world: &World, group: &str, batch: &Value) -> (u16, Value) {
    let answer = world.gateway(group, "POST", "/v1/audit", batch).await;
    (answer.status.as_u16(), answer.json())
}

/// First and last number, missing and dropped of each gap, those noticed first first.
async fn gaps(world: &World) -> Vec<[u64; 4]> {
    let mut items = world.sign_in("audra").await.get("/api/audit/gaps").await.json()["items"].clone();
    let items = items.as_array_mut().unwrap();
    items.sort_by_key(|gap| gap["from_seq"].as_u64());
    let number = |gap: &Value, name: &str| gap[name].as_u64().unwrap();
    items.iter().map(|gap| ["from_seq", "to_seq", "missing", "dropped"].map(|name| number(gap, name))).collect()
}

async fn entries(world: &World) -> Vec<Value> {
    let mut connection = world.service.store.read().await.unwrap();
    let entries = ledger::page(&mut connection, None, 0, 1000).await.unwrap();
    let batches = entries.into_iter().filter(|entry| entry.kind == "audit.batch");
    batches.map(|entry| serde_json::from_str(&entry.data).unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_kept_once_and_the_ledger_vouches_for_it() {
    let world = World::new().await;
    let first = batch(1, &[1, 2, 3], 0);
    for _ in 0..3 {
        assert_eq!(send(&world, "edge", &first).await, (202, json!({"accepted": 3})));
    }
    assert_eq!(send(&world, "edge", &batch(4, &[4], 0)).await, (202, json!({"accepted": 1})));
    // Another group, or another VM, has numbers of its own.
    assert_eq!(send(&world, "other", &first).await.0, 202);
    let mut elsewhere = first.clone();
    elsewhere["vm_epoch"] = "another".into();
    assert_eq!(send(&world, "edge", &elsewhere).await.0, 202);
    assert_eq!(gaps(&world).await, [[0; 4]; 0]);

    let audra = world.sign_in("audra").await;
    let kept = audra.get("/api/audit?group=edge&vm_epoch=AAAAAAAAAAAAAAAAAAAAAA").await.json()["items"].clone();
    let kept = [kept[0]["records"].as_str().unwrap(), kept[1]["records"].as_str().unwrap()];
    assert_eq!(serde_json::from_str::<Value>(kept[0]).unwrap(), first["records"]);
    let entries = entries(&world).await;
    assert_eq!(entries.len(), 4, "one entry for each batch");
    let expected = json!({
        "group": "edge", "vm_epoch": "AAAAAAAAAAAAAAAAAAAAAA", "from_seq": 1, "to_seq": 3, "dropped": 0, "records": 3,
        "hash": Hash::of(kept[0].as_bytes()),
    });
    assert_eq!(entries[0], expected);
}

#[tokio::test]
async fn auditors_read_the_records_and_hold_them_against_the_ledger() {
    let world = kept_for(&["audit=1h"]).await;
    for (number, group) in ["edge", "other", "edge", "other"].into_iter().enumerate() {
        let number = number as u64 + 1;
        for seq in [2 * number - 1, 2 * number] {
            assert_eq!(send(&world, group, &batch(seq, &[seq], 0)).await.0, 202);
        }
        world.clock.advance(60);
    }
    let audra = world.sign_in("audra").await;
    let ask = async |query: &str| {
        let answer = audra.get(&format!("/api/audit?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let places = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| (item["group"].as_str().unwrap().to_owned(), item["from_seq"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    // Every batch once, in the order in which they came, and each is what the ledger vouches for.
    let mut after = String::new();
    let mut all = Vec::new();
    let vouched: Vec<Value> = entries(&world).await;
    loop {
        let page = ask(&format!("limit=3{after}")).await;
        for item in page["items"].as_array().unwrap() {
            let hash = json!(Hash::of(item["records"].as_str().unwrap().as_bytes()));
            assert_eq!(hash, item["hash"]);
            let entry = vouched.iter().find(|entry| entry["hash"] == hash && entry["group"] == item["group"]).unwrap();
            assert_eq!((&entry["from_seq"], &entry["vm_epoch"]), (&item["from_seq"], &item["vm_epoch"]));
        }
        all.extend(places(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected = [("edge", 1), ("edge", 2), ("other", 3), ("other", 4), ("edge", 5), ("edge", 6), ("other", 7), ("other", 8)];
    assert_eq!(all, expected.map(|(group, seq)| (group.to_owned(), seq)));
    let found = |pairs: &[(&str, u64)]| pairs.iter().map(|(group, seq)| ((*group).to_owned(), *seq)).collect::<Vec<_>>();
    assert_eq!(places(&ask("group=other&seq=7").await), found(&[("other", 7)]));
    assert_eq!(places(&ask("vm_epoch=another").await), []);
    assert_eq!(places(&ask(&format!("since={}&until={}", NOW + 60, NOW + 119)).await), found(&[("other", 3), ("other", 4)]));
    for wrong in ["after=x", "after=1.2.a", "limit=x", "seq=-1"] {
        assert_eq!(audra.get(&format!("/api/audit?{wrong}")).await.status, 400, "{wrong}");
    }
    world.clock.advance(HOUR - 180);
    world.service.forget().await.unwrap();
    let audra = world.sign_in("audra").await;
    assert_eq!(audra.get("/api/audit").await.json()["items"].as_array().unwrap().len(), 4, "they go after their time");
}

#[tokio::test]
async fn what_is_missing_is_told_until_it_comes() {
    let world = World::new().await;
    for (sent, expected) in [
        (batch(3, &[3, 4], 0), vec![[1, 2, 2, 0]]),
        // Dropped at the gateway, and said so; the batch covers the numbers.
        (batch(5, &[8, 9], 3), vec![[1, 2, 2, 0], [5, 9, 3, 3]]),
        (batch(20, &[20], 0), vec![[1, 2, 2, 0], [5, 9, 3, 3], [10, 19, 10, 0]]),
        // What comes late closes its part of a gap.
        (batch(13, &[13, 14], 0), vec![[1, 2, 2, 0], [5, 9, 3, 3], [10, 12, 3, 0], [15, 19, 5, 0]]),
        (batch(15, &[15, 16, 17, 18, 19], 0), vec![[1, 2, 2, 0], [5, 9, 3, 3], [10, 12, 3, 0]]),
        (batch(1, &[1, 2], 0), vec![[5, 9, 3, 3], [10, 12, 3, 0]]),
        // Nothing is left of it but that it was dropped.
        (batch(21, &[], 1), vec![[5, 9, 3, 3], [10, 12, 3, 0], [21, 21, 1, 1]]),
    ] {
        assert_eq!(send(&world, "edge", &sent).await.0, 202, "{sent}");
        assert_eq!(gaps(&world).await, expected, "{sent}");
    }
    assert_eq!(world.get("/api/audit/gaps", "").await.status, 401);
    let one = world.sign_in("audra").await.get("/api/audit/gaps?limit=1").await.json();
    let place = json!([one["items"][0]["group"], one["items"][0]["vm_epoch"], one["items"][0]["noticed_at"]]);
    assert_eq!(place, json!(["edge", "AAAAAAAAAAAAAAAAAAAAAA", NOW]));
}

#[tokio::test]
async fn numbers_that_came_before_are_not_told_anew() {
    let world = World::new().await;
    assert_eq!(send(&world, "edge", &batch(3, &[3, 4, 5], 0)).await.0, 202);
    let mut rewritten = batch(3, &[3, 4, 5], 0);
    rewritten["records"][0]["effect"] = "deny".into();
    for taken in [rewritten, batch(3, &[3], 0), batch(2, &[2, 3], 0), batch(4, &[4], 0), batch(5, &[5, 6], 0)] {
        let (status, answer) = send(&world, "edge", &taken).await;
        assert_eq!((status, &answer["error"]), (409, &json!("audit_conflict")), "{taken}");
    }
    assert_eq!(entries(&world).await.len(), 1);
    assert_eq!(gaps(&world).await, [[1, 2, 2, 0]], "a refusal changes no gap");
}

#[tokio::test]
async fn nonsense_is_refused_with_what_is_wrong() {
    let world = World::new().await;
    let check = async |change: &dyn Fn(&mut Value), status: u16, words: &str| {
        let mut batch = batch(1, &[1, 2], 0);
        change(&mut batch);
        let answer = world.gateway("edge", "POST", "/v1/audit", &batch).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == status && detail.contains(words), "{words}: {}", answer.text);
    };
    for epoch in ["", "a b", &"x".repeat(65)] {
        check(&|batch| batch["vm_epoch"] = epoch.into(), 422, "`vm_epoch` has 1 to 64").await;
    }
    check(&|batch| batch["from_seq"] = 0.into(), 422, "`from_seq` is at least 1").await;
    check(&|batch| batch["from_seq"] = 3.into(), 422, "`to_seq` not less").await;
    check(&|batch| batch["to_seq"] = u64::MAX.into(), 422, "`from_seq` is at least 1").await;
    check(&|batch| batch["to_seq"] = 1.into(), 422, "lies between").await;
    check(&|batch| batch["records"][0]["seq"] = 2.into(), 422, "rise").await;
    check(&|batch| batch["records"][0]["code"] = "".into(), 422, "`code` has 1 to 64").await;
    check(&|batch| batch["records"] = json!([]), 422, "how many were dropped").await;
    check(&|batch| batch["dropped"] = u64::MAX.into(), 422, "`dropped`").await;
    check(&|batch| batch["dropped"] = (-1).into(), 400, "invalid value").await;
    check(&|batch| batch["more"] = 1.into(), 400, "unknown field `more`").await;
    check(&|batch| batch["records"][0]["verdict"] = 1.into(), 400, "unknown field `verdict`").await;
    check(&|batch| batch["records"][0]["effect"] = "maybe".into(), 400, "`maybe` is not known here").await;
    check(&|batch| drop(batch["records"][0].as_object_mut().unwrap().remove("code")), 400, "missing field `code`")
        .await;
    let many: Vec<u64> = (1..=257).collect();
    check(&|changed| *changed = batch(1, &many, 0), 422, "at most 256 records").await;
    check(&|batch| batch["records"][0]["request"]["path"] = "x".repeat(MAX_BYTES).into(), 413, "length limit").await;
    assert!(entries(&world).await.is_empty() && gaps(&world).await.is_empty());
}
