//! Deterministic figures of the shipped filter: fuel and host calls of a request, played on the native host, against the
//! committed ones. They are the same on every machine, however busy it is, so that a slowdown is seen where it is made.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod baseline;
mod gateway;

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use baseline::Figure;
use gateway::Gateway;
use holdgate_host::{AnsweredBy, Filter};
use holdgate_tests::bench::policy;

/// The most that the filter may be, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// Requests before the one that is counted: tables have grown, and what can be remembered is.
const WARM: usize = 8;

/// The filter that `HOLDGATE_WASM` names, as `cargo xtask test` does after it built it; otherwise it is built here.
fn filter() -> PathBuf {
    if let Some(named) = std::env::var_os("HOLDGATE_WASM").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", "holdgate-plugin", "--profile", "wasm", "--target", "wasm32-wasip1"]);
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "the filter does not compile");
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().find(|folder| folder.join("wasm32-wasip1/wasm").is_dir()).unwrap();
    target.join("wasm32-wasip1/wasm/holdgate.wasm")
}

/// One kind of request, as it stands in the baseline.
struct Play {
    name: &'static str,
    rules: usize,
    method: &'static str,
    path: &'static str,
    /// A token that was never seen before, in each request.
    cold: bool,
    /// The status of the filter's own answer; `None` where the request goes on.
    refused: Option<u16>,
}

const ALLOWED: Play = Play {
    name: "allowed, 10 rules, known token",
    rules: 10,
    method: "GET",
    path: policy::ALLOWED,
    cold: false,
    refused: None,
};

const PLAYS: [Play; 5] = [
    ALLOWED,
    Play { name: "allowed, 1000 rules, known token", rules: 1_000, ..ALLOWED },
    Play { name: "allowed, 10000 rules, known token", rules: 10_000, ..ALLOWED },
    Play { name: "allowed, 10 rules, new EdDSA token", cold: true, ..ALLOWED },
    Play {
        name: "denied, 10 rules, known token",
        method: "DELETE",
        path: policy::DENIED,
        refused: Some(403),
        ..ALLOWED
    },
];

#[test]
fn a_request_costs_what_it_did() {
    let path = filter();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= MAX_SIZE, "`holdgate.wasm` has {size} bytes; {MAX_SIZE} are the most");
    let filter = Filter::load(&path).unwrap();
    let mut figures = BTreeMap::new();
    for play in &PLAYS {
        let mut gateway = Gateway::start(&filter, play.rules);
        for _ in 0..WARM {
            gateway.request(play.method, play.path, play.cold);
        }
        let done = gateway.request(play.method, play.path, play.cold);
        let exchange = &done.exchange;
        let refused = exchange.status().filter(|_| exchange.answered_by == Some(AnsweredBy::Filter));
        assert_eq!(refused, play.refused, "{}: {exchange:?}", play.name);
        assert_eq!(exchange.upstream.complete, play.refused.is_none());
        figures.insert(play.name.to_owned(), Figure::of(&done));
    }
    baseline::check(&figures);

    // Sublinear in the number of rules: the index, and not the rules, is looked at.
    let fuel = |play: &Play| figures.get(play.name).unwrap().fuel;
    assert!(fuel(&PLAYS[2]) * 10 <= fuel(&PLAYS[0]) * 11, "10,000 rules cost more than 1.1 times what 10 cost");
}
