//! Time passes only when it is let, and callouts end as they are told to.

use std::time::Duration;

use holdgate_host::{Gateway, Options, Reply, Request, UpstreamAnswer};

use crate::guest::{MAP, gateway, guest};

/// Asks `auth` for each request, with a limit of 500 ms, and counts the answers in a metric; a tick each 10 ms counts too.
fn counting() -> String {
    format!(
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
             (drop (call $define (i32.const 0) (i32.const 2048) (i32.const 4) (i32.const 3000)))
             (drop (call $define (i32.const 0) (i32.const 2056) (i32.const 7) (i32.const 3004)))
             (drop (call $tick_every (i32.const 10)))
             (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (drop (call $increment (i32.load (i32.const 3004)) (i64.const 1))))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $http_call (i32.const 2048) (i32.const 4) (i32.const 1024) (i32.const {MAP}) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 3008))
             (if (then (drop (call $reply (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const -1)))))
             (i32.const 1))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
             (drop (call $increment (i32.load (i32.const 3000)) (i64.const 1)))
             (if (i32.gt_u (local.get 3) (i32.const 2)) (then (drop (call $continue (i32.const 0))))))"#
    )
}

fn answers(gateway: &Gateway) -> u64 {
    gateway.metrics().get("auth").copied().unwrap_or_default()
}

#[test]
fn a_tick_comes_each_period_and_a_wait_costs_no_time() {
    let mut gateway = gateway(&counting());
    gateway.advance(Duration::from_millis(9));
    assert_eq!(gateway.metrics()["x-guest"], 0);
    gateway.advance(Duration::from_millis(1));
    assert_eq!(gateway.metrics()["x-guest"], 1);
    let begun = std::time::Instant::now();
    gateway.advance(Duration::from_secs(45));
    assert_eq!(gateway.metrics()["x-guest"], 4501);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn answers_come_when_they_are_told_to_or_as_504_when_the_limit_is_over() {
    for (later, answered) in [(0, 0), (499, 499), (500, 500), (9_000, 500)] {
        let mut gateway = gateway(&counting());
        gateway.on_upstream(|_| UpstreamAnswer::new(200, ""));
        gateway.on_call(move |_, _| Reply::new(200, "yes").after(Duration::from_millis(later)));
        let id = gateway.send(&Request::new("GET", "/"));
        if answered > 0 {
            assert!(gateway.exchange(id).waits());
            gateway.advance(Duration::from_millis(answered - 1));
            assert_eq!(answers(&gateway), 0);
            gateway.advance(Duration::from_millis(1));
        }
        assert_eq!(answers(&gateway), 1, "after {later} ms");
        let late = gateway
            .trace()
            .iter()
            .any(|line| line.text.contains("on_http_call_response") && line.text.contains(", 24, "));
        assert_eq!(late, later >= 500, "the body of a 504 has 24 bytes");
        assert_eq!(gateway.exchange(id).status(), Some(200));
        gateway.advance(Duration::from_secs(20));
        assert_eq!(answers(&gateway), 1, "what came too late is not told of");
    }
}

#[test]
fn silence_ends_by_the_limit_and_a_double_answer_comes_twice() {
    let mut gateway = gateway(&counting());
    gateway.on_call(|_, _| Reply::Silence);
    gateway.send(&Request::new("GET", "/"));
    gateway.advance(Duration::from_millis(500));
    assert_eq!((answers(&gateway), gateway.callouts().len()), (1, 0));
    gateway.on_call(|_, _| Reply::new(200, "").twice());
    gateway.send(&Request::new("GET", "/"));
    assert_eq!((answers(&gateway), gateway.callouts().len()), (3, 0));
}

#[test]
fn a_call_that_the_host_refuses_is_refused_at_once() {
    let mut gateway = gateway(&counting());
    gateway.on_call(|_, _| Reply::Refuse(10));
    let id = gateway.send(&Request::new("GET", "/"));
    assert_eq!(gateway.exchange(id).status(), Some(500));
    assert!(gateway.callouts().is_empty());
}

#[test]
fn the_answer_to_a_stream_that_has_ended_is_not_told_of() {
    let mut gateway = gateway(&counting());
    gateway.on_call(|_, _| Reply::new(200, "yes").after(Duration::from_millis(100)));
    let id = gateway.send(&Request::new("GET", "/"));
    gateway.hang_up(id);
    assert!(gateway.exchange(id).reset && gateway.callouts().is_empty());
    gateway.advance(Duration::from_secs(1));
    assert_eq!(answers(&gateway), 0);
}

#[test]
fn two_runs_are_the_same_to_the_last_line() {
    let run = || {
        let mut gateway = Gateway::start(&guest(&counting()), Options { trace: true, ..Options::default() }).unwrap();
        gateway.on_call(|_, _| Reply::new(200, "yes").after(Duration::from_millis(7)));
        for _ in 0..3 {
            gateway.send(&Request::new("GET", "/"));
            gateway.advance(Duration::from_millis(15));
        }
        gateway.trace().to_vec()
    };
    let lines = run();
    assert!(lines.len() > 20);
    assert_eq!(lines, run());
}
