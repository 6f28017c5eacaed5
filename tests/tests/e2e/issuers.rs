//! Issuers of agents' tokens: their algorithms, and keys that are fetched, rotated and missed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use holdgate_tests::{
    agent::Agent,
    identity::{AUDIENCE, merge},
    key_server::KeyServer,
    now,
    reviewer::Verdict,
    signer::Signer,
    stack::{Edit, OWNER, Options, Stack},
    until,
};
use serde_json::{Value, json};

use crate::common::{JSON_BODY, LIMIT, assert_problem, passed, pending_hold, roles, start_with};

const ISS: &str = "https://keys.example";

fn claims(change: Value) -> Value {
    let now = now();
    let mut claims = json!({"iss": ISS, "aud": AUDIENCE, "sub": "agent-9", "owner": OWNER, "team": "iam", "iat": now,
        "exp": now + 3600});
    merge(&mut claims, change);
    claims
}

/// A stack with an issuer whose keys the filter fetches, beside the usual one.
async fn stack(server: &KeyServer, refresh: &str, concurrency: u32) -> Stack {
    let port = server.address.port();
    let edit: Edit = Arc::new(move |config: &mut Value| {
        let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
        let mut idp = clusters[0].clone();
        idp["name"] = json!("idp");
        idp["load_assignment"]["cluster_name"] = json!("idp");
        let endpoint = &mut idp["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"]["socket_address"] = json!({"address": "127.0.0.1", "port_value": port});
        clusters.push(idp);
        // The usual issuer stays, for the stack's own questions.
        let filters = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let filter = &mut filters["typed_config"]["http_filters"][0]["typed_config"]["config"];
        let plugin = &mut filter["configuration"]["value"];
        let mut all: Value = serde_json::from_str(plugin.as_str().unwrap()).unwrap();
        let mut second = all["identity"]["second"].take();
        second["jwks"]["cluster"] = json!("idp");
        all["identity"].as_object_mut().unwrap().remove("second");
        all["identity"]["issuers"].as_array_mut().unwrap().push(second);
        *plugin = json!(all.to_string());
    });
    let second = json!({"iss": ISS, "aud": AUDIENCE, "algs": ["EdDSA", "ES256", "RS256"],
        "jwks": {"authority": "keys.example", "path": "/jwks.json", "refresh": refresh}});
    let plugin = json!({"identity": {"second": second}});
    start_with(Options { plugin, envoy: Some(edit), concurrency, ..Options::default() }).await
}

fn agent(stack: &Stack, signer: &Signer, change: Value) -> Agent {
    stack.agent_with_token(signer.token(&claims(change)).unwrap())
}

async fn passes(stack: &Stack, signer: &Signer, sub: &str) -> bool {
    passed(&agent(stack, signer, json!({"sub": sub})).get("/iam/users").send().await.unwrap())
}

/// Waits until requests pass on connections of their own, one after the other: each worker has its own policy, and its keys.
async fn comes_to_pass(stack: &Stack, signer: &Signer) {
    until("keys", LIMIT, async || {
        for _ in 0..16 {
            if !passes(stack, signer, "early").await {
                return None;
            }
        }
        Some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_each_algorithm_name_their_agent() {
    let all = [Signer::eddsa(3), Signer::es256("e1", 4).unwrap(), Signer::rs256("r1").unwrap()];
    let server = KeyServer::start(&all.iter().collect::<Vec<_>>()).await.unwrap();
    let stack = stack(&server, "10m", 1).await;
    let alice = stack.sign_in("alice").await.unwrap();
    for (index, signer) in all.iter().enumerate() {
        comes_to_pass(&stack, signer).await;
        let target = roles(&index.to_string());
        let caller = agent(&stack, signer, json!({"sub": format!("agent-{index}")}));
        let waiting = tokio::spawn(caller.post(&target, JSON_BODY).send());
        pending_hold(&alice, &target).await;
        let holds = alice.pending().await.unwrap();
        assert!(holds.iter().any(|hold| hold.to_string().contains(&format!("agent-{index}"))), "{holds:?}");
        waiting.abort();

        // The same key, and claims that it did not sign.
        let (good, other) = (signer.token(&claims(json!({}))).unwrap(), claims(json!({"sub": "root"})));
        let parts: Vec<&str> = good.split('.').collect();
        let forged = format!("{}.{}.{}", parts[0], holdgate_protocol::b64url(other.to_string().as_bytes()), parts[2]);
        let answer = stack.agent_with_token(forged).get("/iam/users").send().await.unwrap();
        assert_problem(&answer, 401, "identity");
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    }
    // The credential of the approval service stays with the approval service.
    let asked = server.asked();
    assert!(asked.iter().all(|head| head.starts_with("/jwks.json") && !head.contains("authorization")), "{asked:?}");
}

/// Until the first key set has come nothing can be said of a token, so its agent is to try again.
#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_keys_an_agent_is_told_to_try_again() {
    let signer = Signer::es256("e1", 4).unwrap();
    let server = KeyServer::start(&[&signer]).await.unwrap();
    server.answer(500, "");
    let stack = stack(&server, "10m", 1).await;
    let answer = agent(&stack, &signer, json!({})).get("/iam/users").send().await.unwrap();
    assert_problem(&answer, 503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(stack.passes_routine().await, "another issuer's agents are not concerned");
    server.publish(&[&signer]);
    comes_to_pass(&stack, &signer).await;
}

/// Keys are rotated while requests run, the way an identity provider does it, and then with no warning at all.
#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_load_without_a_failed_request() {
    let (old, new, last) = (Signer::es256("e1", 4).unwrap(), Signer::eddsa(5), Signer::rs256("r1").unwrap());
    let server = KeyServer::start(&[&old]).await.unwrap();
    let stack = Arc::new(stack(&server, "1s", 2).await);
    comes_to_pass(&stack, &old).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let signer = Arc::new(std::sync::Mutex::new(agent(&stack, &old, json!({"sub": "load"}))));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (signer, stop, count) = (Arc::clone(&signer), Arc::clone(&stop), Arc::clone(&count));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let agent = signer.lock().unwrap().clone();
                    let answer = agent.get("/iam/users").send().await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                    if !passed(&answer) {
                        failed.push(answer.text());
                    }
                }
                failed
            })
        })
        .collect();
    let fetches = || server.asked().len();
    let some_more = async |times: usize| {
        let (from, begun) = (fetches(), count.load(Ordering::Relaxed));
        let enough = || fetches() >= from + times && count.load(Ordering::Relaxed) > begun + 20;
        until("requests and refreshes", LIMIT, async || enough().then_some(())).await.unwrap();
    };
    server.publish(&[&old, &new]);
    some_more(6).await;
    *signer.lock().unwrap() = agent(&stack, &new, json!({"sub": "load"}));
    some_more(4).await;
    server.publish(&[&new]);
    some_more(6).await;
    assert!(!passes(&stack, &old, "late").await, "what the old key signs has ended");
    // No warning: the first token of the new key comes in the moment in which the key is published.
    tokio::time::sleep(Duration::from_secs(10)).await;
    server.publish(&[&new, &last]);
    *signer.lock().unwrap() = agent(&stack, &last, json!({"sub": "load"}));
    some_more(4).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert_eq!(task.await.unwrap(), Vec::<String>::new());
    }
}

/// The set is refreshed every ten minutes here, so that only the unknown id can have brought the new key in.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_brand_new_key_waits_for_it_and_passes() {
    let (old, new) = (Signer::es256("e1", 4).unwrap(), Signer::rs256("r1").unwrap());
    let server = KeyServer::start(&[&old]).await.unwrap();
    let stack = stack(&server, "10m", 1).await;
    comes_to_pass(&stack, &old).await;
    let before = server.asked().len();
    server.publish(&[&old, &new]);
    server.delay(Duration::from_millis(300));
    let note = |agent: Agent, id: &str| agent.post(&format!("/iam/users/{id}/notes"), r#"{"text":"x"}"#);
    let (reading, noting) = tokio::join!(
        agent(&stack, &new, json!({"sub": "reader"})).get("/iam/users").send(),
        note(agent(&stack, &new, json!({"sub": "writer"})), "1").chunked().send(),
    );
    assert!(passed(&reading.unwrap()));
    let noting = noting.unwrap();
    assert!(passed(&noting), "{}", noting.text());
    assert_eq!(stack.upstream.seen_at("/iam/users/1/notes")[0].body, r#"{"text":"x"}"#);
    assert_eq!(server.asked().len(), before + 1);

    // A request that is then held, by a hold that had to be opened from outside its own callbacks.
    let other = Signer::es256("e2", 9).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    server.publish(&[&other]);
    let carol = stack.sign_in("carol").await.unwrap();
    let target = roles("7");
    let caller = agent(&stack, &other, json!({"owner": "group/iam"}));
    let waiting = tokio::spawn(caller.post(&target, JSON_BODY).send());
    let hold = pending_hold(&carol, &target).await;
    assert_eq!(carol.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    assert!(passed(&waiting.await.unwrap().unwrap()));
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_key_ids_fetches_once() {
    let good = Signer::es256("e1", 4).unwrap();
    let server = KeyServer::start(&[&good]).await.unwrap();
    let stack = stack(&server, "10m", 1).await;
    comes_to_pass(&stack, &good).await;
    let before = server.asked().len();
    let calls: Vec<_> = (0..300)
        .map(|number| {
            let stranger = Signer::es256(&format!("x{number}"), 8).unwrap();
            tokio::spawn(agent(&stack, &stranger, json!({})).get("/iam/users").send())
        })
        .collect();
    let mut answers = std::collections::BTreeMap::new();
    for call in calls {
        *answers.entry(call.await.unwrap().unwrap().status).or_insert(0) += 1;
    }
    assert!(answers.keys().all(|status| [401, 503].contains(status)), "{answers:?}");
    assert!(
        answers.contains_key(&401),
        "those who waited for the fetch are told that there is no such key: {answers:?}"
    );
    assert_eq!(server.asked().len(), before + 1);
    assert!(passes(&stack, &good, "after").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_identity_provider_leaves_its_keys_in_use() {
    let good = Signer::es256("e1", 4).unwrap();
    let server = KeyServer::start(&[&good]).await.unwrap();
    let stack = stack(&server, "1s", 1).await;
    comes_to_pass(&stack, &good).await;
    for (round, (status, body)) in [(500, ""), (200, "<html>")].into_iter().enumerate() {
        server.answer(status, body);
        let from = server.asked().len();
        until("a refresh that fails", LIMIT, async || (server.asked().len() > from).then_some(())).await.unwrap();
        assert!(passes(&stack, &good, &format!("round-{round}")).await, "{status} {body}");
    }
    let said =
        "the keys of the issuer `https://keys.example` cannot be fetched: status 500; the last good ones stay in use";
    until("a warning", LIMIT, async || stack.envoy.log().contains(said).then_some(())).await.unwrap();
    let stranger = Signer::es256("e9", 9).unwrap();
    let answer = agent(&stack, &stranger, json!({})).get("/iam/users").send().await.unwrap();
    assert_problem(&answer, 503, "unavailable");
}
