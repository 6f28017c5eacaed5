//! What passes the chain and when, by profile.

use holdgate_host::{
    AnsweredBy, Exchange, FailurePolicy, Filter, Gateway, Options, Profile, Request, UpstreamAnswer, pairs,
};

use crate::guest::{MAP, findings, gateway, guest};

/// Pauses at the headers, asks `auth`, and goes on when the answer has headers.
fn asking() -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $http_call (i32.const 2048) (i32.const 4) (i32.const 1024) (i32.const {MAP}) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 3000)))
             (i32.const 1))
           (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 1))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
             (if (local.get 2)
               (then
                 (drop (call $set_header (i32.const 0) (i32.const 2056) (i32.const 7) (i32.const 2064) (i32.const 4)))
                 (drop (call $continue (i32.const 0))))
               (else
                 (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 2064) (i32.const 4)
                   (i32.const 0) (i32.const 0) (i32.const -1))))))"#
    )
}

/// Buffers the body and sends it on with another beginning.
const PREFIXING: &str = r#"
  (func (export "proxy_on_request_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
    (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
    (drop (call $set_bytes (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2064) (i32.const 4)))
    (i32.const 0))"#;

fn on(profile: Profile, filter: &Filter) -> Gateway {
    let mut gateway = Gateway::start(filter, Options { profile, buffer_limit: 16, ..Options::default() }).unwrap();
    gateway.on_upstream(|_| UpstreamAnswer::new(200, "hello"));
    gateway
}

fn post(pieces: &[&str]) -> Request {
    let mut request = Request::new("POST", "/x");
    request.body = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    request
}

#[test]
fn a_paused_request_waits_for_its_callout_and_nothing_of_it_goes_out() {
    let filter = guest(&asking());
    for profile in [Profile::Envoy, Profile::EnvoyWithoutHeadersStop, Profile::NgxWasm, Profile::Strict] {
        let mut gateway = on(profile, &filter);
        let id = gateway.send(&post(&["one", "two"]));
        let exchange = gateway.exchange(id);
        assert!(exchange.waits() && exchange.upstream.headers.is_none(), "{profile}");
        let callout = gateway.callouts().pop().unwrap();
        assert_eq!((callout.cluster.as_str(), callout.path(), callout.timeout), ("auth", "/check", 500));
        gateway.answer(&callout, holdgate_host::Answer::new(200, "")).unwrap();
        gateway.settle();
        // Where the body came only after the request went on, the filter paused it again.
        let again = profile != Profile::Envoy;
        let exchange = gateway.exchange(id);
        assert_eq!(exchange.waits(), again, "{profile}");
        if !again {
            assert_eq!(exchange.upstream.header("x-guest"), Some(&b"seen"[..]));
            assert_eq!((exchange.upstream.body.as_slice(), exchange.status()), (&b"onetwo"[..], Some(200)));
        }
        let headers_went = profile == Profile::EnvoyWithoutHeadersStop || profile == Profile::Strict;
        assert_eq!(exchange.upstream.headers.is_some(), headers_went || !again, "{profile}");
    }
}

#[test]
fn a_callout_that_is_reset_ends_in_the_filters_own_answer() {
    let mut gateway = gateway(&asking());
    gateway.on_call(|_, _| holdgate_host::Reply::reset());
    let id = gateway.send(&Request::new("GET", "/"));
    let exchange = gateway.exchange(id);
    assert_eq!((exchange.status(), exchange.answered_by), (Some(403), Some(AnsweredBy::Filter)));
    assert_eq!(exchange.client.body, b"seen");
    assert_eq!(exchange.client.header("content-length"), Some(&b"4"[..]));
    assert!(exchange.over && exchange.upstream.headers.is_none());
    assert_eq!(gateway.open_streams(), 0);
    assert!(gateway.trace().iter().any(|line| line.text.contains("send_local_response")), "{:#?}", gateway.trace());
}

#[test]
fn bodies_are_shown_as_they_grow_and_can_be_changed() {
    for profile in Profile::ALL {
        let mut gateway = on(profile, &guest(PREFIXING));
        let id = gateway.send(&post(&["one", "", "two"]));
        let exchange = gateway.exchange(id);
        assert_eq!(exchange.upstream.body, b"seenonetwo", "{profile}");
        assert!(exchange.upstream.complete && exchange.over);
        let id = gateway.send(&Request::new("GET", "/"));
        assert_eq!(gateway.exchange(id).status(), Some(200), "{profile}");
        assert_eq!(findings(&gateway), [""; 0], "{profile}");
    }
}

#[test]
fn a_body_over_the_buffer_is_refused_by_the_proxy_or_on_nginx_not_shown() {
    for profile in [Profile::Envoy, Profile::EnvoyWithoutHeadersStop, Profile::Strict] {
        let mut gateway = on(profile, &guest(PREFIXING));
        let id = gateway.send(&post(&["0123456789", "0123456789", "0"]));
        let exchange = gateway.exchange(id);
        assert_eq!((exchange.status(), exchange.answered_by), (Some(413), Some(AnsweredBy::Proxy)), "{profile}");
    }
    // What is passed without a pause is not buffered.
    let mut passing = on(Profile::Envoy, &guest(""));
    let id = passing.send(&post(&["0123456789", "0123456789", "0"]));
    assert_eq!(passing.exchange(id).upstream.body.len(), 21);
    let mut gateway = on(Profile::NgxWasm, &guest(PREFIXING));
    let id = gateway.send(&post(&["0123456789", "0123456789"]));
    let exchange = gateway.exchange(id);
    assert_eq!((exchange.status(), exchange.upstream.body.len()), (Some(200), 20));
}

#[test]
fn headers_that_went_on_cannot_be_changed_and_the_attempt_is_found() {
    let late = r#"
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $set_header (i32.const 0) (i32.const 2056) (i32.const 7) (i32.const 2064) (i32.const 4)))"#;
    for (profile, works) in [(Profile::Envoy, false), (Profile::NgxWasm, true), (Profile::Strict, false)] {
        let mut gateway = on(profile, &guest(late));
        let id = gateway.send(&post(&["x"]));
        let exchange = gateway.exchange(id);
        assert_eq!(exchange.upstream.header("x-guest").is_some(), works, "{profile}");
        assert_eq!(findings(&gateway).iter().any(|what| what.contains("changed where they went on")), !works);
    }
}

#[test]
fn trailers_of_requests_and_answers_pass() {
    let mut gateway = gateway("");
    gateway.on_upstream(|seen| {
        assert_eq!(seen.upstream.trailers, Some(pairs([("x-sum", "1")])));
        let (headers, body) = (pairs([(":status", "200")]), vec![b"a".to_vec(), b"b".to_vec()]);
        let (trailers, after) = (Some(pairs([("x-end", "2")])), std::time::Duration::ZERO);
        UpstreamAnswer::Answer { headers, body, trailers, after }
    });
    let mut request = post(&["a"]);
    request.trailers = Some(pairs([("x-sum", "1")]));
    let id = gateway.send(&request);
    let exchange = gateway.exchange(id);
    assert_eq!(exchange.client.body, b"ab");
    assert_eq!(exchange.client.trailers, Some(pairs([("x-end", "2")])));
    assert!(exchange.over);
}

#[test]
fn an_upstream_that_breaks_off_is_answered_by_the_proxy() {
    let mut gateway = gateway("");
    gateway.on_upstream(|_| UpstreamAnswer::Reset);
    let id = gateway.send(&Request::new("GET", "/"));
    let Exchange { client, answered_by, over, .. } = gateway.exchange(id);
    assert_eq!((client.status(), answered_by, over), (Some(503), Some(AnsweredBy::Proxy), true));
}

#[test]
fn local_replies_pass_through_the_filter_again() {
    let marking = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $reply (i32.const 429) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
        (i32.const 1))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (drop (call $set_header (i32.const 2) (i32.const 2056) (i32.const 7) (i32.const 2064) (i32.const 4)))
        (i32.const 0))"#;
    let mut gateway = gateway(marking);
    let id = gateway.send(&Request::new("GET", "/"));
    let exchange = gateway.exchange(id);
    assert_eq!((exchange.status(), exchange.client.header("x-guest")), (Some(429), Some(&b"seen"[..])));
}

#[test]
fn a_request_let_go_on_that_is_not_paused_is_found() {
    let hasty = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (drop (call $continue (i32.const 0))) (i32.const 1))"#;
    let mut gateway = gateway(hasty);
    let id = gateway.send(&Request::new("GET", "/"));
    assert!(gateway.exchange(id).waits(), "the host does not listen, and the request hangs");
    assert!(findings(&gateway).iter().any(|what| what.contains("not paused")), "{:?}", findings(&gateway));
}

#[test]
fn a_filter_that_fails_open_lets_requests_by() {
    let trapping = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)"#;
    let options = Options { failure_policy: FailurePolicy::Open, ..Options::default() };
    let mut gateway = Gateway::start(&guest(trapping), options).unwrap();
    gateway.send(&Request::new("GET", "/"));
    let id = gateway.send(&Request::new("GET", "/"));
    assert!(gateway.exchange(id).upstream.complete);
}
