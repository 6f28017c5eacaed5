//! Parts that are stopped, killed or left alone while requests are held.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use holdgate_tests::{
    reviewer::{Verdict, id_of},
    stack::{Edit, Options, Places, Stack},
    tamper::Exchange,
    until,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::{
    JSON_BODY, LIMIT, assert_problem, passed, pending_hold, pending_holds, roles, start, start_with, ticket,
};

#[tokio::test(flavor = "multi_thread")]
async fn stopped_service_refuses_holds_at_once_and_routine_when_the_feed_is_too_old() {
    let plugin = json!({"max_wait": "1s", "feed_max_age": "5s", "feed_wait": "1s", "approval": {"timeout": "1s"}});
    let mut stack = start(plugin).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let call = stack.agent().post(&target, JSON_BODY);
    let hold = ticket(&call.clone().send().await.unwrap());

    stack.approval.stop(LIMIT).await.unwrap();
    assert!(stack.passes_routine().await, "routine requests pass while the feed is young");
    let answer = call.clone().send().await.unwrap();
    assert_problem(&answer, 503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["next_action"], "retry");
    let stale = until("routine requests to be refused", LIMIT, async || {
        let answer = stack.agent().get("/iam/users").send().await.unwrap();
        (!passed(&answer)).then_some(answer)
    });
    assert_problem(&stale.await.unwrap(), 503, "unavailable");
    let before = stack.upstream.seen().len();
    assert!(!stack.passes_routine().await);
    assert_eq!(stack.upstream.seen().len(), before);

    stack.start_approval().await.unwrap();
    until("routine requests to pass again", LIMIT, async || stack.passes_routine().await.then_some(())).await.unwrap();
    let open = alice.pending().await.unwrap();
    assert_eq!(
        open.iter().filter_map(id_of).collect::<Vec<_>>(),
        std::slice::from_ref(&hold),
        "the open hold is still there"
    );
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let answer = call.send().await.unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_killed_and_started_again_wakes_the_streams_that_wait() {
    let mut stack = start(json!({"feed_wait": "1s"})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
    let hold = pending_hold(&alice, &target).await;
    stack.approval.kill();
    stack.start_approval().await.unwrap();
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let answer = waiting.await.unwrap().unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_outlive_an_envoy_that_is_killed() {
    let mut stack = start(json!({})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let targets = ["1", "2", "3"].map(roles);
    let calls = targets.clone().map(|target| stack.agent().post(&target, JSON_BODY));
    let waiting = calls.clone().map(|call| tokio::spawn(call.send()));
    let holds = pending_holds(&alice, 3, LIMIT).await;
    stack.envoy.kill();
    for call in waiting {
        assert!(call.await.unwrap().is_err(), "the connection broke");
    }
    stack.start_envoy().await.unwrap();
    let mut still = alice.pending().await.unwrap().iter().filter_map(id_of).collect::<Vec<_>>();
    still.sort();
    assert_eq!(still, {
        let mut holds = holds.clone();
        holds.sort();
        holds
    });
    assert_eq!(alice.decide_all(&holds, Verdict::Approve, "checked").await.unwrap(), holds.len());
    for (target, call) in targets.iter().zip(calls) {
        assert!(stack.upstream.seen_at(target).is_empty());
        let answer = call.send().await.unwrap();
        assert!(passed(&answer), "{} {}", answer.status, answer.text());
        assert_eq!(stack.upstream.seen_at(target).len(), 1);
    }
}

/// The filter crashes while it holds requests, and Envoy loads it anew: nothing that was held goes on for that, and nothing
/// of it is lost.
#[tokio::test(flavor = "multi_thread")]
async fn holds_outlive_a_filter_that_crashes() {
    const CRASH: &str = "/holdgate-crashes-here";
    let shipped = Places::find().unwrap().filter;
    let crashes = shipped.ancestors().nth(2).unwrap().join("wasm-trap/holdgate.wasm");
    let has_the_way = |filter: &Path| {
        let bytes = std::fs::read(filter).unwrap();
        bytes.windows(CRASH.len()).any(|window| window == CRASH.as_bytes())
    };
    assert!(has_the_way(&crashes) && !has_the_way(&shipped), "only the filter for this test can be made to crash");
    let edit = move |config: &mut Value| {
        let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
        let filters = config.pointer_mut(filters).unwrap().as_array_mut().unwrap();
        let ours = filters.iter_mut().find(|filter| filter["name"] == "holdgate").unwrap();
        let plugin = &mut ours["typed_config"]["config"];
        assert_eq!(plugin["failure_policy"], "FAIL_RELOAD", "as it is shipped");
        plugin["vm_config"]["code"]["local"]["filename"] = json!(crashes);
        // Envoy tells a stream that its filter is gone when it next has something to do with it.
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        config.pointer_mut(manager).unwrap()["stream_idle_timeout"] = json!("20s");
    };
    let (plugin, envoy) = (json!({"max_wait": "15s"}), Some(Arc::new(edit) as Edit));
    let stack = start_with(Options { plugin, envoy, ..Options::default() }).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let targets = ["1", "2"].map(roles);
    let calls = targets.clone().map(|target| stack.agent().post(&target, JSON_BODY));
    let waiting = calls.clone().map(|call| tokio::spawn(call.send()));
    let mut holds = pending_holds(&alice, 2, LIMIT).await;
    holds.sort();

    let crash = stack.agent().get(CRASH).send().await.unwrap();
    assert!(!passed(&crash) && crash.status >= 500, "{}", crash.status);
    for call in waiting {
        let answer = call.await.unwrap().unwrap();
        assert!(!passed(&answer) && answer.status == 503, "{} {}", answer.status, answer.text());
    }
    until("the filter to be loaded anew", LIMIT, async || stack.passes_routine().await.then_some(())).await.unwrap();
    assert!(stack.upstream.seen().iter().all(|seen| seen.method == "GET" && seen.target != CRASH));

    // The same requests join the same holds.
    let mut joined = Vec::new();
    for call in calls.clone() {
        joined.push(ticket(&call.header("prefer", "wait=1").send().await.unwrap()));
    }
    joined.sort();
    assert_eq!(joined, holds);
    assert!(stack.upstream.seen().iter().all(|seen| seen.method == "GET"));
    assert_eq!(alice.decide_all(&holds, Verdict::Approve, "checked").await.unwrap(), 2);
    for (target, call) in targets.iter().zip(calls) {
        let answer = until("the retry", LIMIT, async || {
            let answer = call.clone().send().await.unwrap();
            (answer.status != 429).then_some(answer)
        });
        let answer = answer.await.unwrap();
        assert!(passed(&answer), "{} {}", answer.status, answer.text());
        let again = call.header("prefer", "wait=1").send().await.unwrap();
        assert!(!holds.contains(&ticket(&again)), "an approval is good for one request");
        assert_eq!(stack.upstream.seen_at(target).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_hang_up_leave_nothing_behind() {
    const COUNT: usize = 20;
    let stack = start(json!({})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let calls = (0..COUNT).map(|index| {
        let call = stack.agent().post(&roles(&format!("u{index}")), JSON_BODY);
        if index % 2 == 0 { call } else { call.http2() }
    });
    let calls = calls.collect::<Vec<_>>();
    let waiting = calls.iter().map(|call| tokio::spawn(call.clone().send())).collect::<Vec<_>>();
    let holds = pending_holds(&alice, COUNT, LIMIT).await;
    assert_eq!(stack.statistic("http.agents.downstream_rq_active").await.unwrap(), COUNT as u64);
    waiting.iter().for_each(|call| call.abort());
    no_streams(&stack).await;
    assert!(stack.passes_routine().await);
    assert_eq!(alice.pending().await.unwrap().len(), COUNT, "hanging up changes no hold");
    assert_eq!(alice.decide_all(&holds, Verdict::Approve, "checked").await.unwrap(), holds.len());
    // The feed's news of streams that are gone must not hurt; the agents come back and pass.
    for call in calls {
        let answer = call.send().await.unwrap();
        assert!(passed(&answer), "{} {}", answer.status, answer.text());
    }
    assert_eq!(stack.upstream.seen().iter().filter(|seen| seen.method == "POST").count(), COUNT);
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
}

/// The filter counts the bytes that it keeps; were those of streams that are gone still among them, the last request would
/// find no room and get a ticket at once.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_agents_that_hang_up_are_given_back() {
    let stack = start(json!({"max_parked_bytes": 1_500_000})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let body = format!("{{\"role\": \"editor\", \"note\": \"{}\"}}", "x".repeat(600_000));
    for round in 0..5 {
        let targets = [roles(&format!("a{round}")), roles(&format!("b{round}"))];
        let calls = targets.clone().map(|target| tokio::spawn(stack.agent().post(&target, body.clone()).send()));
        for target in &targets {
            pending_hold(&alice, target).await;
        }
        calls.iter().for_each(|call| call.abort());
        no_streams(&stack).await;
    }
    let target = roles("last");
    let waiting = tokio::spawn(stack.agent().post(&target, body).send());
    let hold = pending_hold(&alice, &target).await;
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let answer = waiting.await.unwrap().unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
}

async fn no_streams(stack: &Stack) {
    until("the streams to be gone", LIMIT, async || {
        let active = stack.statistic("http.agents.downstream_rq_active").await.ok()?;
        (active == 0).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_request_is_not_sent_twice_when_the_upstream_resets() {
    let stack = start(json!({})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
    let hold = pending_hold(&alice, &target).await;
    stack.upstream.reset_connections(true);
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let answer = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
    stack.upstream.reset_connections(false);
    assert!(stack.passes_routine().await);
}

/// A new configuration is a second root context in the same VM: what the old one holds goes on, and comes to its end there.
#[tokio::test(flavor = "multi_thread")]
async fn change_of_configuration_loses_no_held_request() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, filter) = discovered(folder.path(), Options::default()).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let (before, after) = (roles("before"), roles("after"));
    let waiting = tokio::spawn(stack.agent().post(&before, JSON_BODY).send());
    let hold = pending_hold(&alice, &before).await;

    change_wait(folder.path(), &filter, "1s");
    let call = stack.agent().post(&after, JSON_BODY);
    let told = until("the new configuration to be in force", LIMIT, async || {
        let answer = tokio::time::timeout(Duration::from_secs(3), call.clone().send()).await.ok()?.unwrap();
        (answer.status == 403).then_some(answer)
    });
    let other = ticket(&told.await.unwrap());

    assert!(!waiting.is_finished(), "the old one's stream still waits");
    for hold in [&hold, &other] {
        assert_eq!(alice.decide(hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    }
    let answer = waiting.await.unwrap().unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
    let answer = until("the retry", LIMIT, async || {
        let answer = call.clone().send().await.unwrap();
        (answer.status != 429).then_some(answer)
    });
    let answer = answer.await.unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
    assert_eq!((stack.upstream.seen_at(&before).len(), stack.upstream.seen_at(&after).len()), (1, 1));
}

/// The old configuration's root context ends with its last stream: what it added to gauges goes, and what it had not told yet
/// is told. Two requests wait on one hold; of the one that opened it the ledger tells, of the other only its gateway can.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_configuration_leaves_nothing_untold() {
    let folder = tempfile::tempdir().unwrap();
    let sent = Arc::new(Mutex::new(Vec::<Exchange>::new()));
    let keep = sent.clone();
    let tamper = move |exchange: &mut Exchange| keep.lock().unwrap().push(exchange.clone());
    let options = Options { tamper: Some(Arc::new(tamper)), ..Options::default() };
    let (mut stack, filter) = discovered(folder.path(), options).await;
    let target = roles("before");
    let waiting = [0, 1].map(|_| tokio::spawn(stack.agent().post(&target, JSON_BODY).send()));
    let gauge = async |name: &str| stack.statistic(&format!("wasmcustom.holdgate.{name}")).await.unwrap_or(0);
    until("two requests to wait", LIMIT, async || (gauge("parked").await == 2).then_some(())).await.unwrap();

    change_wait(folder.path(), &filter, "1s");
    let call = stack.agent().post(&roles("after"), JSON_BODY);
    let told = until("the new configuration to be in force", LIMIT, async || {
        let answer = tokio::time::timeout(Duration::from_secs(3), call.clone().send()).await.ok()?.unwrap();
        (answer.status == 403).then_some(answer)
    });
    ticket(&told.await.unwrap());
    waiting.iter().for_each(JoinHandle::abort);
    let told = |path: &str, what: &str| {
        let sent = sent.lock().unwrap();
        let with = |exchange: &&Exchange| String::from_utf8_lossy(&exchange.request).contains(what);
        sent.iter().filter(|exchange| exchange.target == path && exchange.status / 100 == 2).filter(with).count()
    };
    until("what was left to tell", LIMIT, async || {
        // One hung up before the other, or both at once.
        (told("/v1/audit", "\"gone\"") == 1 && (1..=2).contains(&told("/v1/detach", "attempt"))).then_some(())
    })
    .await
    .unwrap();
    for name in ["parked", "parked_bytes", "audit_waiting", "feed_stale_workers"] {
        until(name, LIMIT, async || (gauge(name).await == 0).then_some(())).await.unwrap();
    }
    assert!(stack.passes_routine().await);
    // Envoy ends in order with such a context in it, and with records that nobody takes any more.
    stack.approval.kill();
    assert!(stack.passes_routine().await);
    change_wait(folder.path(), &filter, "2s");
    stack.envoy.stop(LIMIT).await.unwrap();
    let log = stack.envoy.log();
    assert!(!log.contains("Caught Segmentation") && !log.contains("assert failure"), "{log}");
}

/// A stack whose filter has its configuration from a file that Envoy watches (extension config discovery), and what stands there.
async fn discovered(folder: &Path, options: Options) -> (Stack, Value) {
    let named = folder.join("holdgate.json");
    let taken = Arc::new(Mutex::new(Value::Null));
    let filter = taken.clone();
    let edit = move |config: &mut Value| {
        config["node"] = json!({"id": "edge-1", "cluster": "edge"});
        let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
        let filters = config.pointer_mut(filters).unwrap().as_array_mut().unwrap();
        let ours = filters.iter_mut().find(|filter| filter["name"] == "holdgate").unwrap();
        let typed = ours["typed_config"].take();
        let source = json!({"path_config_source": {"path": named}, "resource_api_version": "V3"});
        let discovery = json!({"config_source": source, "type_urls": [typed["@type"]]});
        *ours = json!({"name": "holdgate", "config_discovery": discovery});
        write_filter(&named, &typed);
        *taken.lock().unwrap() = typed;
    };
    let stack = start_with(Options { envoy: Some(Arc::new(edit)), ..options }).await;
    let filter = filter.lock().unwrap().clone();
    (stack, filter)
}

/// Puts a configuration with another longest wait into force.
fn change_wait(folder: &Path, filter: &Value, wait: &str) {
    let mut changed = filter.clone();
    let value = changed.pointer_mut("/config/configuration/value").unwrap();
    let mut plugin: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
    plugin["max_wait"] = json!(wait);
    *value = json!(plugin.to_string());
    write_filter(&folder.join("holdgate.json"), &changed);
}

/// Envoy watches for files that are moved into place.
fn write_filter(file: &Path, typed: &Value) {
    let kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    let resource = json!({"@type": kind, "name": "holdgate", "typed_config": typed});
    let resources = json!({"version_info": typed.to_string().len().to_string(), "resources": [resource]});
    let new = file.with_extension("new");
    std::fs::write(&new, resources.to_string()).unwrap();
    std::fs::rename(&new, file).unwrap();
}
