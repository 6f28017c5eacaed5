//! Drives a filter from Rust, in a few lines: `cargo run -p holdgate-host-test --example drive -- FILTER.wasm [N]` sends N requests
//! without a body and tells how many a second went through. The filter is given no configuration; for Holdgate's own filter see
//! `holdgate run` and `holdgate serve`.

use std::{path::PathBuf, time::Instant};

use holdgate_host::{Filter, Gateway, HostError, Options, Request, UpstreamAnswer};

fn main() -> Result<(), HostError> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(path) = arguments.next().map(PathBuf::from) else {
        eprintln!("name a filter: drive FILTER.wasm [N]");
        return Ok(());
    };
    let count: u32 = arguments.next().and_then(|count| count.to_str()?.parse().ok()).unwrap_or(1_000);
    let filter = Filter::load(&path)?;
    let mut gateway = Gateway::start(&filter, Options::default())?;
    gateway.on_upstream(|_| UpstreamAnswer::new(200, "hello"));
    let request = Request::new("GET", "/").header("x-example", "1");
    let begun = Instant::now();
    for _ in 0..count {
        let id = gateway.send(&request);
        let exchange = gateway.take(id);
        assert!(exchange.is_some_and(|exchange| exchange.upstream.complete), "the filter did not let a request pass");
    }
    let each = begun.elapsed() / count.max(1);
    println!("{count} requests, {each:?} each; findings: {:?}", gateway.findings());
    Ok(())
}
