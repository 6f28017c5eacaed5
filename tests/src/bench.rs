//! What the gateway costs, measured on real Envoy: `cargo xtask bench gateway`.
//!
//! Scenarios are played in turn, round after round, so that whatever else the machine does hits all of them alike. What is
//! counted is CPU time of Envoy (and of nginx, where that decides), as the kernel tells it; not how long it took.

mod chart;
mod cost;
mod lanes;
mod load;
mod parked;
pub mod policy;
mod report;
mod tokens;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    reviewer::Verdict,
    stack::{Options, Stack},
};
use lanes::{Files, Filter, Lane};
use load::Requests;
use report::{Measured, Report};
use tokens::Algorithm;

/// What is measured, and where it goes.
pub struct Bench {
    /// The compiled filter that does nothing.
    pub noop: PathBuf,
    pub nginx: PathBuf,
    /// The folder for `gateway.json` and `gateway.svg`.
    pub out: PathBuf,
    pub rounds: usize,
    /// Requests of a scenario in a round; fewer where each wants a token of its own.
    pub requests: usize,
    pub parked: usize,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Load {
    /// The same `GET` with the same token.
    Same,
    /// A `GET` with a token that was never seen.
    Fresh(Algorithm),
    /// A `tools/call` of about so many bytes.
    Mcp(usize),
}

struct Scenario {
    name: &'static str,
    filter: Filter,
    load: Load,
}

const fn scenario(name: &'static str, filter: Filter, load: Load) -> Scenario {
    Scenario { name, filter, load }
}

const fn holdgate(rules: usize) -> Filter {
    Filter::Holdgate(rules, Algorithm::EdDsa)
}

const NO_FILTER: &str = "no filter";
const NOOP: &str = "no-op wasm filter";
const EXT_AUTHZ: &str = "ext_authz to nginx";
const TEN: &str = "Holdgate, 10 rules";
const TEN_THOUSAND: &str = "Holdgate, 10,000 rules";
const COLD_RS256: &str = "Holdgate, new RS256 token";
const MCP_2K: &str = "Holdgate, 2 KB tools/call";

/// All that is measured, in the order of the table. What a scenario adds is its cost less that of no filter under the same load.
const SCENARIOS: [Scenario; 20] = [
    scenario(NO_FILTER, Filter::None, Load::Same),
    scenario(NOOP, Filter::Noop, Load::Same),
    scenario("jwt_authn and RBAC", Filter::Native, Load::Same),
    scenario("Lua, three headers", Filter::Lua, Load::Same),
    scenario(EXT_AUTHZ, Filter::ExtAuthz, Load::Same),
    scenario(TEN, holdgate(10), Load::Same),
    scenario("Holdgate, 1,000 rules", holdgate(1_000), Load::Same),
    scenario(TEN_THOUSAND, holdgate(10_000), Load::Same),
    scenario("no filter, new EdDSA token", Filter::None, Load::Fresh(Algorithm::EdDsa)),
    scenario("jwt_authn and RBAC, new EdDSA token", Filter::Native, Load::Fresh(Algorithm::EdDsa)),
    scenario("Holdgate, new EdDSA token", holdgate(10), Load::Fresh(Algorithm::EdDsa)),
    scenario("no filter, new ES256 token", Filter::None, Load::Fresh(Algorithm::Es256)),
    scenario("Holdgate, new ES256 token", Filter::Holdgate(10, Algorithm::Es256), Load::Fresh(Algorithm::Es256)),
    scenario("no filter, new RS256 token", Filter::None, Load::Fresh(Algorithm::Rs256)),
    scenario(COLD_RS256, Filter::Holdgate(10, Algorithm::Rs256), Load::Fresh(Algorithm::Rs256)),
    scenario("no filter, 2 KB POST", Filter::None, Load::Mcp(2 * 1024)),
    scenario("no-op wasm filter, 2 KB POST", Filter::Noop, Load::Mcp(2 * 1024)),
    scenario(MCP_2K, Filter::Mcp, Load::Mcp(2 * 1024)),
    scenario("no filter, 64 KB POST", Filter::None, Load::Mcp(64 * 1024)),
    scenario("Holdgate, 64 KB tools/call", Filter::Mcp, Load::Mcp(64 * 1024)),
];

impl Bench {
    /// Measures everything, prints the table and writes the files.
    pub async fn run(&self) -> Result<()> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("`{}` cannot be made", self.out.display()))?;
        let mut report = Report { measured: self.requests_per_scenario().await?, ..Report::default() };
        for (verdict, name) in [(Verdict::Approve, "approved"), (Verdict::Deny, "denied")] {
            println!("parking {} requests, to be {name} in one go", self.parked);
            match parked::run(self.parked, verdict).await {
                Ok(parked) => drop(report.parked.insert(name, parked)),
                Err(error) => report.failures.push(format!("{} parked requests, {name}: {error:#}", self.parked)),
            }
        }
        print!("{}", report.to_text());
        std::fs::write(self.out.join("gateway.json"), format!("{:#}\n", report.to_json()))?;
        std::fs::write(self.out.join("gateway.svg"), chart::draw(&report.measured))?;
        println!("\nwrote gateway.json and gateway.svg to {}", self.out.display());
        Ok(())
    }

    async fn requests_per_scenario(&self) -> Result<Vec<Measured>> {
        let plugin = json!({"feed_max_age": "10m"});
        let stack = Box::pin(Stack::start(Options { plugin, ..Options::default() })).await?;
        println!("starting the gateways");
        let files = Files { noop: self.noop.clone(), nginx: self.nginx.clone() };
        let mut lanes: BTreeMap<Filter, Result<Lane, String>> = BTreeMap::new();
        for Scenario { filter, .. } in &SCENARIOS {
            if !lanes.contains_key(filter) {
                lanes.insert(*filter, Lane::start(&stack, &files, *filter).await?);
            }
        }
        println!("making tokens");
        let mut loads: BTreeMap<Load, Requests> = BTreeMap::new();
        for Scenario { load, filter, .. } in &SCENARIOS {
            // What no filter costs is of interest beside a filter only.
            let is_needed = *filter != Filter::None && lanes.get(filter).is_some_and(Result::is_ok);
            if is_needed && !loads.contains_key(load) {
                loads.insert(*load, self.requests(&stack, *load)?);
            }
        }
        let mut all: Vec<Measured> = SCENARIOS.iter().map(Measured::new).collect();
        // The first round is not counted: caches fill, connections and buffers are made.
        for round in 0..=self.rounds {
            let mut turns: Vec<_> = SCENARIOS.iter().zip(&mut all).collect();
            // No scenario always comes at the same place.
            turns.rotate_left(round * 7 % SCENARIOS.len());
            for (scenario, measured) in turns.into_iter().filter(|(_, measured)| measured.missing.is_none()) {
                let (lane, requests) = match (lanes.get(&scenario.filter), loads.get(&scenario.load)) {
                    (Some(Ok(lane)), Some(requests)) => (lane, requests),
                    (Some(Err(why)), _) => {
                        measured.missing = Some(why.clone());
                        continue;
                    }
                    _ => {
                        measured.missing = Some("nothing to compare with".into());
                        continue;
                    }
                };
                match self.measure(lane, requests, scenario.load, round).await {
                    Ok(cost) if round > 0 => measured.costs.push(cost),
                    Ok(_) => {}
                    Err(error) => measured.missing = Some(format!("{error:#}")),
                }
            }
            println!("round {round} of {}", self.rounds);
        }
        Ok(all)
    }

    /// Microseconds of CPU for each request.
    async fn measure(&self, lane: &Lane, requests: &Requests, load: Load, round: usize) -> Result<f64> {
        let count = self.count(load);
        // Holdgate and native filters see each fresh token once: those of this round follow those of the last.
        let first = if matches!(load, Load::Fresh(_)) { count * round } else { 0 };
        let before = cost::cpu(&lane.processes)?;
        let statuses = load::send(lane.address, requests, first, count).await?;
        let after = cost::cpu(&lane.processes)?;
        ensure!(statuses.keys().eq(&[200]), "answered {statuses:?} instead of 200");
        Ok((after - before) as f64 / 1000.0 / count as f64)
    }

    fn count(&self, load: Load) -> usize {
        match load {
            Load::Same => self.requests,
            Load::Fresh(_) | Load::Mcp(_) => self.requests.div_ceil(10),
        }
    }

    fn requests(&self, stack: &Stack, load: Load) -> Result<Requests> {
        let wire = |token: &str| {
            let path = policy::ALLOWED;
            format!(
                "GET {path} HTTP/1.1\r\nhost: api.example\r\nuser-agent: agent/1.0\r\naccept: */*\r\n\
                 authorization: Bearer {token}\r\n\r\n"
            )
            .into_bytes()
        };
        Ok(match load {
            Load::Same => Arc::from([wire(&stack.agent().token)]),
            Load::Fresh(algorithm) => {
                let count = self.count(load) * (self.rounds + 1);
                algorithm.tokens(&stack.issuer, count)?.iter().map(|token| wire(token)).collect()
            }
            Load::Mcp(size) => Arc::from([call(&stack.agent().token, size)]),
        })
    }
}

/// A `tools/call` with a list of texts, as tools for search and for documents have it.
fn call(token: &str, size: usize) -> Vec<u8> {
    let text = "a text of some words, as tools have it";
    let texts = vec![text; size / (text.len() + 3)];
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": policy::TOOL, "arguments": {"limit": 20, "query": "what is new", "texts": texts},
    }})
    .to_string();
    let (path, length) = (policy::MCP, body.len());
    format!(
        "POST {path} HTTP/1.1\r\nhost: api.example\r\nuser-agent: agent/1.0\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\nmcp-protocol-version: 2025-11-25\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
