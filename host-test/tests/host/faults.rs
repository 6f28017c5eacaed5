//! What filters get wrong, and what goes wrong around them: found and told, never a panic.

use holdgate_host::{Fault, FaultKind, Filter, Gateway, HostError, Options, Request, UpstreamAnswer};

use crate::guest::{findings, gateway, guest};

/// One wrong call in `proxy_on_request_headers`.
fn found(call: &str) -> Vec<String> {
    let function = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (drop {call}) (i32.const 0))"#
    );
    let mut gateway = gateway(&function);
    gateway.on_upstream(|_| UpstreamAnswer::new(200, ""));
    let id = gateway.send(&Request::new("GET", "/"));
    assert!(gateway.exchange(id).over);
    findings(&gateway)
}

#[test]
fn what_a_filter_gets_wrong_is_told_with_the_call_and_the_callback() {
    let wrong = [
        ("(call $log (i32.const 2) (i32.const -16) (i32.const 64))", "64 bytes at 4294967280 are outside"),
        ("(call $log (i32.const 9) (i32.const 0) (i32.const 1))", "no log level 9"),
        ("(call $header (i32.const 0) (i32.const 2056) (i32.const 7) (i32.const 1) (i32.const -1))", ""),
        (
            "(call $bytes (i32.const 77) (i32.const 0) (i32.const 1) (i32.const 3000) (i32.const 3004))",
            "kind of buffer 77",
        ),
        (
            "(call $set_bytes (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2064) (i32.const 4))",
            "request body is changed",
        ),
        (
            "(call $http_call (i32.const 2048) (i32.const 4) (i32.const 2048) (i32.const 9) (i32.const 0) (i32.const 0) \
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3000))",
            "not the form of the ABI",
        ),
        (
            "(call $http_call (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3000))",
            "without `:method`",
        ),
        ("(call $increment (i32.const 400) (i64.const 1))", "never defined"),
        ("(call $grpc (i32.const 1))", "over gRPC"),
        ("(call $done)", "not over"),
        ("(call $unknown)", "`proxy_of_tomorrow`, which this host does not know"),
        (
            "(call $reply (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))",
            "99 is no status",
        ),
    ];
    for (call, expected) in wrong {
        let found = found(call);
        if expected.is_empty() {
            // There is no such header: nothing was to be written.
            assert!(found.is_empty(), "{found:?}");
            continue;
        }
        assert!(found.iter().any(|what| what.contains(expected)), "{call}: {found:?}");
        assert!(
            found.iter().all(|what| what.contains("worker 0") && what.contains("proxy_on_request_headers")),
            "{found:?}"
        );
    }
}

#[test]
fn any_status_can_be_put_in_the_way_of_any_call() {
    let logging = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $log (i32.const 2) (i32.const 2064) (i32.const 4)))"#;
    let mut gateway = gateway(logging);
    gateway.on_upstream(|_| UpstreamAnswer::new(200, ""));
    gateway.count_calls();
    let fault = |number, kind| Fault { call: "proxy_log".into(), number, kind };
    gateway.put_faults(vec![fault(2, FaultKind::Status(1)), fault(3, FaultKind::Trap)]);
    let statuses: Vec<_> = (0..4)
        .map(|_| {
            let id = gateway.send(&Request::new("GET", "/"));
            gateway.exchange(id).status()
        })
        .collect();
    // The second one returned the status, which is `pause`; the third one ended the VM and with it the second one.
    assert_eq!(statuses, [Some(200), None, Some(503), Some(503)]);
    assert_eq!(gateway.calls_made().get("proxy_log"), Some(&3));
    assert_eq!(gateway.logs().len(), 1);
    assert!(gateway.findings().iter().any(|finding| finding.fatal), "{:?}", gateway.findings());
}

#[test]
fn what_is_no_filter_is_refused_with_what_it_lacks() {
    assert!(matches!(Filter::compile(b"\0asm"), Err(HostError::Module(_))));
    let lacking = |text: &str| Filter::compile(&wat::parse_str(text).unwrap()).unwrap();
    let start = |text: &str| match Gateway::start(&lacking(text), Options::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("started"),
    };
    assert!(start("(module)").contains("exports no `memory`"));
    assert!(start(r#"(module (memory (export "memory") 1))"#).contains("proxy_abi_version_0_2_1"));
    let refusing = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
      (drop (call $log (i32.const 4) (i32.const 2064) (i32.const 4))) (i32.const 0))"#;
    let error = Gateway::start(&guest(refusing), Options::default()).err().unwrap();
    assert_eq!(error.to_string(), "the filter refused its configuration; it logged: seen");
    let trapping = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) unreachable)"#;
    let error = Gateway::start(&guest(trapping), Options::default()).err().unwrap().to_string();
    assert!(error.starts_with("`proxy_on_vm_start` ended in a trap:"), "{error}");
}
