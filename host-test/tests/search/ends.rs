//! A configuration that another one replaces ends with its last request, and leaves nothing untold.

use holdgate_authoring::cases::{Behaviour, Script, ServiceCall};
use holdgate_host::cases::{configuration::usual, driver::Driver, harness::Conditions, merge::merge};
use serde_json::json;

use crate::gateway::{Stage, sending, token};

/// A proxy in which one request is held under a configuration that is replaced while it waits; its handle.
fn replaced() -> (Stage, usize) {
    let mut stage = Stage::new(1, &json!({}), Conditions { quiet: true, ..Conditions::default() });
    let held = stage.harness.send(sending("DELETE", "/iam/users/7", &token("agent-7"), "", 0)).unwrap();
    stage.pass(3_000);
    assert_eq!(gauge(&mut stage, "parked"), 1);
    let mut changed = usual();
    merge(&mut changed, json!({"max_wait": "5s"}));
    stage.harness.reconfigure(&changed).unwrap();
    stage.pass(3_000);
    (stage, held)
}

fn gauge(stage: &mut Stage, name: &str) -> u64 {
    stage.harness.gateway().metrics().get(&format!("holdgate.{name}")).copied().unwrap_or(0)
}

fn feeds(stage: &Stage) -> usize {
    stage.service().arrived().iter().filter(|call| call.call == ServiceCall::Feed).count()
}

#[test]
fn gauges_and_records_outlive_a_configuration() {
    let (mut stage, held) = replaced();
    let records = stage.service().audit().len();
    let detached = |stage: &Stage| {
        let service = stage.service();
        service.arrived().iter().filter(|call| call.call == ServiceCall::Detach).count()
    };
    stage.harness.hang_up(held).unwrap();
    stage.pass(0);
    assert_eq!(detached(&stage), 1);
    stage.pass(60);
    for name in ["parked", "parked_bytes", "audit_waiting", "feed_stale_workers"] {
        assert_eq!(gauge(&mut stage, name), 0, "{name}");
    }
    let now = stage.service().audit().len();
    // The ledger has this hold and its hang-up, so that the gateway writes none of its own.
    assert_eq!(now, records);
    // The long poll of the old one is over, and the new one's goes on.
    assert_eq!(stage.harness.gateway().callouts().len(), 1);
    let before = feeds(&stage);
    stage.pass(60_000);
    let polls = feeds(&stage) - before;
    assert!((1..=3).contains(&polls), "{polls} polls in a minute");
    assert_eq!(stage.harness.findings(), [""; 0]);
}

#[test]
fn records_of_a_replaced_configuration_reach_the_service() {
    let mut stage = Stage::new(1, &json!({}), Conditions { quiet: true, ..Conditions::default() });
    let read = sending("GET", "/iam/users?page=1", &token("agent-7"), "", 0);
    for _ in 0..3 {
        stage.harness.send(read.clone()).unwrap();
    }
    assert_eq!(stage.service().audit().len(), 0);
    let mut changed = usual();
    merge(&mut changed, json!({"max_wait": "5s"}));
    stage.harness.reconfigure(&changed).unwrap();
    stage.pass(30);
    assert_eq!(stage.service().audit().len(), 3);
    assert_eq!(stage.harness.findings(), [""; 0]);
}

/// A service that does not take them keeps the old context for a while, and not for ever.
#[test]
fn a_replaced_configuration_does_not_wait_for_ever() {
    let (mut stage, held) = replaced();
    let does = Behaviour::Answer { status: 503, body: Vec::new() };
    stage.service().script(&[Script { call: None, does, times: None }]);
    stage.harness.send(sending("GET", "/iam/users?page=1", &token("agent-7"), "", 0)).unwrap();
    stage.harness.hang_up(held).unwrap();
    stage.pass(6_000);
    assert_eq!(gauge(&mut stage, "parked"), 0);
    let contexts = stage.harness.gateway().root_contexts();
    assert_eq!(contexts, 1);
}
