//! `GET /api/holds`: what narrows a list, and pages while holds come and go.

use std::collections::BTreeSet;

use holdgate_approval::store::{Command, StoreError, Tx, list::LOOKED_AT};
use holdgate_protocol::{Actor, Agent};
use serde_json::Value;

use crate::support::{NOW, Reviewer, World, agent};

/// The ids of all pages of a list; no hold comes twice.
async fn ids(reader: &Reviewer<'_>, query: &str, limit: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = reader.get(&format!("/api/holds?limit={limit}&{query}{after}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text);
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        ids.extend(items.iter().map(|hold| hold["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{query}");
    ids
}

#[tokio::test]
async fn a_list_is_narrowed_by_all_that_is_asked_for() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let odd = r#"bo"t\ %_é"#;
    let mut opened = Vec::new();
    for number in 0..12_u64 {
        if number > 0 {
            world.clock.advance(1);
        }
        let rule = ["one", "two", "why"][(number % 3) as usize];
        let mut ask = world.ask(&[rule], &format!("body {number}"));
        ask.request.method = if number % 2 == 0 { "POST" } else { "DELETE" }.into();
        ask.request.path = format!("/iam/{}/{number}", if number < 6 { "users" } else { "u" });
        ask.agent = match number % 4 {
            0 => agent(),
            1 => Agent { sub: odd.into(), ..agent() },
            // The actor acts, on behalf of the one who would otherwise be it.
            2 => Agent { act: vec![Actor { iss: "https://other.example".into(), sub: "helper".into() }], ..agent() },
            _ => Agent { iss: "https://other.example".into(), ..agent() },
        };
        let group = if number == 11 { "other" } else { "edge" };
        let answer = world.gateway(group, "POST", "/v1/holds", &serde_json::json!(ask)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        opened.push(answer.json()["hold"].as_str().unwrap().to_owned());
    }
    let numbers = async |query: &str, limit: usize| -> Vec<usize> {
        let found = ids(&alice, query, limit).await;
        let mut numbers: Vec<usize> =
            found.iter().map(|id| opened.iter().position(|known| known == id).unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let odd = "bo%22t%5C%20%25_%C3%A9";
    let after = format!("opened_after={}", NOW + 9);
    let between = format!("opened_after={}&opened_before={}", NOW + 2, NOW + 4);
    let expected: [(&str, &[usize]); 20] = [
        ("", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("rule=two", &[1, 4, 7, 10]),
        ("rule=o*", &[0, 3, 6, 9]),
        ("rule=on", &[]),
        ("rule=*", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("rule=%25", &[]),
        ("rule=%22", &[]),
        ("sub=bot", &[0, 3, 4, 7, 8, 11]),
        ("sub=helper", &[2, 6, 10]),
        ("iss=https://other.example", &[2, 3, 6, 7, 10, 11]),
        ("iss=https://other.example&sub=bot", &[3, 7, 11]),
        (&format!("sub={odd}"), &[1, 5, 9]),
        ("sub=o", &[]),
        ("group=other", &[11]),
        ("method=DELETE", &[1, 3, 5, 7, 9, 11]),
        ("path=/iam/u/", &[6, 7, 8, 9, 10, 11]),
        ("path=/IAM", &[]),
        (&after, &[9, 10, 11]),
        (&between, &[2, 3]),
        ("rule=one&method=POST&path=/iam/users/&sub=bot&group=edge", &[0]),
    ];
    for (query, found) in expected {
        for limit in [1, 5, 100] {
            assert_eq!(numbers(query, limit).await, found, "{query} by {limit}");
        }
    }
    assert_eq!(numbers("state=approved&rule=one", 5).await, [0_usize; 0]);
    alice.decide(&opened[0], "approve").await;
    assert_eq!(numbers("state=approved&rule=one", 5).await, [0]);
    for wrong in ["rules=one", "opened_after=soon", "opened_after=-1", "state=open", "limit=x", "after=x"] {
        let answer = alice.get(&format!("/api/holds?{wrong}")).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (400, "malformed".into()), "{wrong}");
    }
    // Moments that no database can tell are moments all the same.
    assert_eq!(numbers(&format!("opened_before={}", u64::MAX), 100).await.len(), 11);
    assert_eq!(numbers(&format!("opened_after={}", u64::MAX), 100).await, [0_usize; 0]);
}

#[tokio::test]
async fn pages_stay_right_while_holds_come_and_go() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let mut opened = Vec::new();
    for number in 0..10 {
        opened.push(world.held(&["one"], &format!("a{number}")).await.1);
    }
    let page = async |query: &str| -> (Vec<String>, Option<String>) {
        let page = alice.get(&format!("/api/holds?limit=3&rule=one{query}")).await.json();
        let ids = page["items"].as_array().unwrap().iter().map(|hold| hold["id"].as_str().unwrap().to_owned());
        (ids.collect(), page["next"].as_str().map(str::to_owned))
    };
    let (first, next) = page("").await;
    let next = next.unwrap();
    // The last of the page goes, and so does one that was not shown; others come, in front and behind.
    let gone: Vec<&String> = opened.iter().filter(|id| !first.contains(id)).take(1).chain(&first[2..]).collect();
    for id in &gone {
        assert_eq!(alice.decide(id, "deny").await.status, 200);
    }
    world.clock.advance(5);
    let later = world.held(&["one"], "later").await.1;
    let (mut seen, mut after) = (first.clone(), Some(next));
    while let Some(next) = after {
        let (ids, next) = page(&format!("&after={next}")).await;
        seen.extend(ids);
        after = next;
    }
    let mut expected: Vec<String> = opened.iter().filter(|id| !gone.contains(id) || first.contains(id)).cloned().collect();
    expected.push(later);
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected, "what was there all the time comes once");
}

/// A filter that nothing meets costs no more than a look at so many holds, and the list says that it goes on.
#[tokio::test]
async fn one_page_looks_at_a_bounded_number_of_holds() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let (_, hold) = world.held(&["one"], "a").await;
    world.service.store.write(Copies { hold, number: u64::from(LOOKED_AT) + 5 }).await.unwrap();
    let page = alice.get("/api/holds?rule=two").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 0);
    let next = page["next"].as_str().expect("the list goes on");
    let page = alice.get(&format!("/api/holds?rule=two&after={next}")).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (0, &Value::Null));
    // Without a filter the first page needs no such look.
    assert_eq!(alice.get("/api/holds?limit=2").await.json()["items"].as_array().unwrap().len(), 2);
}

/// Whoever sees none of the holds learns nothing of them by what a list is narrowed to, however long it is.
#[tokio::test]
async fn a_list_tells_nothing_of_what_its_reader_does_not_see() {
    let world = World::new().await;
    let carol = world.sign_in("carol").await;
    let (_, hold) = world.held(&["one"], "a").await;
    let later = format!("opened_after={}", NOW + 1);
    let queries = [
        "", "path=/iam/users/", "path=/iam/users/x", "rule=one", "rule=two", "sub=bot", "sub=nobody", "group=edge", "group=other",
        "method=POST", "method=GET", "opened_after=0", &later,
    ];
    for query in queries {
        for limit in [1, 100] {
            let page = carol.get(&format!("/api/holds?limit={limit}&{query}")).await.json();
            assert_eq!(page, serde_json::json!({"items": [], "next": null, "total": 0}), "{query} by {limit}");
            let page = carol.get(&format!("/holds?limit={limit}&{query}")).await;
            assert!(page.status == 200 && !page.text.contains("Next page"), "{query} by {limit}");
        }
    }
    world.service.store.write(Copies { hold, number: u64::from(LOOKED_AT) + 5 }).await.unwrap();
    for query in queries {
        let page = carol.get(&format!("/api/holds?limit=1&{query}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 0, "{query}");
        let next = page["next"].as_str().expect("it goes on, found or not");
        let read = holdgate_protocol::from_b64url(next).unwrap();
        let tells = |text: &str| read.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!tells("copy") && !tells(&(NOW + 1800).to_string()) && !next.contains("copy"), "{next}");
        let page = carol.get(&format!("/api/holds?limit=1&{query}&after={next}")).await.json();
        assert_eq!(page["next"], Value::Null, "{query}");
    }
    for made in [format!("{}.copy1", NOW + 1800), holdgate_protocol::b64url(b"1.x"), "x".into(), String::new()] {
        assert_eq!(carol.get(&format!("/api/holds?after={made}")).await.error(), "malformed", "{made}");
    }
}

/// Copies a hold into groups of their own.
struct Copies {
    hold: String,
    number: u64,
}

impl Command for Copies {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let Copies { hold, number } = self;
        let columns = "agent, agent_key, digest, components, requirement, requirement_hash, rules, policy_id, policy_rev,
                       policy_serial, method, authority, path, opened_at, state, since, deadline";
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})
             INSERT INTO holds (id, grp, {columns}) SELECT 'copy' || i, 'group' || i, {columns}
             FROM n CROSS JOIN holds WHERE id = '{hold}'"
        );
        assert_eq!(tx.execute(sql, vec![]).await?, number);
        Ok(())
    }
}
