//! Several workers, failing VMs, another configuration, and mass answers.

use std::time::Duration;

use holdgate_host::{FailurePolicy, Gateway, Options, Profile, Request, UpstreamAnswer};

use crate::guest::{findings, guest};

/// Pauses each request; a tick answers or wakes all that are parked, by the effective context. Contexts from 2 on are streams here.
fn parking(action: &str) -> String {
    format!(
        r#"(global $last (mut i32) (i32.const 0))
           (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (drop (call $tick_every (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (global.set $last (local.get 0))
             (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (local $id i32)
             (local.set $id (i32.const 2))
             (loop $next
               (if (i32.le_u (local.get $id) (global.get $last)) (then
                 (if (i32.eqz (call $effective (local.get $id))) (then {action}))
                 (local.set $id (i32.add (local.get $id) (i32.const 1)))
                 (br $next))))
             (drop (call $effective (local.get 0))))"#
    )
}

const WAKE: &str = "(drop (call $continue (i32.const 0)))";
const ANSWER: &str = "(drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
                      (i32.const 0) (i32.const 0) (i32.const -1)))";

fn gateway(action: &str, options: Options) -> Gateway {
    let mut gateway = Gateway::start(&guest(&parking(action)), options).unwrap();
    gateway.on_upstream(|_| UpstreamAnswer::new(200, ""));
    gateway
}

fn parked(gateway: &mut Gateway, count: usize) -> Vec<holdgate_host::StreamId> {
    (0..count).map(|_| gateway.send(&Request::new("GET", "/"))).collect()
}

#[test]
fn ten_thousand_parked_streams_wake_in_one_callback() {
    let mut gateway = gateway(WAKE, Options::default());
    let ids = parked(&mut gateway, 10_000);
    assert_eq!(gateway.open_streams(), 10_000);
    gateway.advance(Duration::from_millis(10));
    assert!(ids.iter().all(|id| gateway.take(*id).unwrap().status() == Some(200)));
    assert_eq!((gateway.open_streams(), findings(&gateway).len()), (0, 0));
}

#[test]
fn more_than_300_answers_in_one_callback_exhaust_the_stack_and_all_that_is_held_is_lost() {
    for (count, lost) in [(300, false), (301, true)] {
        let mut gateway = gateway(ANSWER, Options::default());
        let ids = parked(&mut gateway, count);
        gateway.advance(Duration::from_millis(10));
        if lost {
            assert!(gateway.open_streams() > 0, "nothing has touched them yet");
            gateway.advance(Options::default().idle_timeout);
        }
        let statuses: Vec<_> = ids.iter().map(|id| gateway.take(*id).unwrap().status()).collect();
        assert_eq!(statuses.contains(&Some(503)), lost);
        assert_eq!(findings(&gateway).iter().any(|what| what.contains("stack is exhausted")), lost);
    }
}

#[test]
fn where_streams_are_not_woken_from_the_root_context_the_worker_ends_with_the_attempt() {
    for profile in [Profile::NgxWasm, Profile::Strict] {
        let mut gateway = gateway(WAKE, Options { profile, ..Options::default() });
        let id = gateway.send(&Request::new("GET", "/"));
        gateway.advance(Duration::from_millis(10));
        let exchange = gateway.exchange(id);
        assert!(exchange.reset && exchange.over && exchange.upstream.headers.is_none());
        assert!(findings(&gateway).iter().any(|what| what.contains("woken or answered from another context")));
    }
}

#[test]
fn a_vm_that_traps_loses_its_streams_and_comes_back_by_its_policy() {
    for (failure_policy, later) in [(FailurePolicy::Reload, None), (FailurePolicy::Closed, Some(503))] {
        let mut gateway = gateway(WAKE, Options { workers: 2, failure_policy, ..Options::default() });
        let first = gateway.send_to(0, &Request::new("GET", "/"));
        let other = gateway.send_to(1, &Request::new("GET", "/"));
        let second = gateway.open(0, &Request::new("POST", "/"), false);
        gateway.trap(0);
        // As on Envoy, they hear of it when something next comes of them.
        assert!(gateway.exchange(first).waits() && gateway.exchange(second).waits());
        gateway.data(second, b"x", false);
        assert_eq!(gateway.exchange(second).status(), Some(503));
        assert!(gateway.exchange(first).upstream.headers.is_none());
        assert!(gateway.exchange(other).waits(), "another worker's streams are its own");
        let at_once = gateway.send_to(0, &Request::new("GET", "/"));
        assert_eq!(gateway.exchange(at_once).status(), Some(503));
        gateway.advance(Duration::from_secs(1));
        let after = gateway.send_to(0, &Request::new("GET", "/"));
        assert_eq!(gateway.exchange(after).status(), later, "{failure_policy:?}");
        gateway.advance(Options::default().idle_timeout);
        assert_eq!(gateway.exchange(first).status(), Some(503));
    }
}

#[test]
fn values_are_shared_with_compare_and_swap_and_queues_tell_their_owner() {
    // Worker by worker: the first one makes the value, and a stale version is refused. The queue's owner takes what comes.
    let sharing = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $share (i32.const 2048) (i32.const 4) (i32.const 2064) (i32.const 4) (i32.const 0)))
        (drop (call $queue (i32.const 2048) (i32.const 4) (i32.const 3000)))
        (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $enqueue (i32.load (i32.const 3000)) (i32.const 2056) (i32.const 7)))
        (call $share (i32.const 2048) (i32.const 4) (i32.const 2056) (i32.const 7) (i32.const 1)))
      (func (export "proxy_on_queue_ready") (param i32 i32)
        (drop (call $dequeue (local.get 1) (i32.const 3100) (i32.const 3104)))
        (drop (call $log (i32.const 2) (i32.load (i32.const 3100)) (i32.load (i32.const 3104)))))"#;
    let mut one = Gateway::start(&guest(sharing), Options::default()).unwrap();
    one.on_upstream(|_| UpstreamAnswer::new(200, ""));
    let first = one.send(&Request::new("GET", "/"));
    assert_eq!(one.exchange(first).status(), Some(200), "version 1 is in force");
    assert_eq!(one.shared("auth"), Some((&b"x-guest"[..], 2)));
    let second = one.send(&Request::new("GET", "/"));
    assert!(one.exchange(second).waits(), "`cas mismatch` is no `continue`");
    let told: Vec<_> = one.take_logs().into_iter().map(|log| log.text).collect();
    assert_eq!(told, ["x-guest", "x-guest"]);
    // A second worker that registers the same queue takes it away from the first.
    let two = Gateway::start(&guest(sharing), Options { workers: 2, ..Options::default() }).unwrap();
    assert!(findings(&two).iter().any(|what| what.contains("first owner")), "{:?}", findings(&two));
}

#[test]
fn a_new_configuration_is_a_second_root_context_and_the_old_one_ends_with_its_streams() {
    let telling = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.ne (local.get 1) (i32.const 3)))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_delete") (param i32) (drop (call $log (i32.const 2) (i32.const 2064) (i32.const 4))))"#;
    let mut gateway = Gateway::start(&guest(telling), Options { trace: true, ..Options::default() }).unwrap();
    let held = gateway.send(&Request::new("GET", "/"));
    let error = gateway.configure(b"bad".to_vec()).unwrap_err();
    assert!(error.to_string().starts_with("the filter refused its configuration"), "{error}");
    gateway.configure(b"other".to_vec()).unwrap();
    assert!(gateway.exchange(held).waits() && gateway.logs().is_empty());
    gateway.hang_up(held);
    assert_eq!(gateway.logs().len(), 2, "the stream was deleted, and then its root context");
    let trace = gateway.trace().iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n");
    assert!(trace.contains("on_delete(1,)") || trace.contains("on_delete1"), "{trace}");
}
