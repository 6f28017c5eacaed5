//! What was counted, and how it is shown.

use std::{collections::BTreeMap, fmt};

use holdgate_host::cases::harness::Account;
use serde::{Deserialize, Serialize};

use super::baseline::Change;

/// A callback of the filter, by its name without `proxy_`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Callbacks {
    pub(super) times: u64,
    /// Of all times together.
    pub(super) fuel: u64,
}

/// What a case costs, from its first request on. Starting and configuring the filter, and its timer, stand apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) requests: u64,
    /// Of the requests' callbacks and of the answers to callouts, divided by the requests.
    pub(super) fuel_per_request: u64,
    /// Until the first request.
    pub(super) fuel_to_start: u64,
    pub(super) callbacks: BTreeMap<String, Callbacks>,
    /// Host calls by name, ticks left out.
    pub(super) host_calls: BTreeMap<String, u64>,
    /// The most bytes of linear memory.
    pub(super) memory: u64,
}

/// The compiled filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Module {
    pub(super) bytes: usize,
    pub(super) imports: Vec<String>,
}

/// The figures of a run, as a baseline keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Costs {
    pub(super) module: Module,
    pub(super) cases: BTreeMap<String, Cost>,
}

const TICK: &str = "proxy_on_tick";

impl Cost {
    pub(super) fn of(account: &Account) -> Self {
        let first = account.costs.iter().position(|callback| callback.name == "proxy_on_request_headers");
        let (start, play) = account.costs.split_at(first.unwrap_or(account.costs.len()));
        let mut cost = Cost {
            fuel_to_start: start.iter().map(|callback| callback.fuel).sum(),
            memory: account.memory as u64,
            ..Cost::default()
        };
        let mut fuel = 0;
        for callback in play {
            let name = callback.name.strip_prefix("proxy_").unwrap_or(callback.name);
            let entry = cost.callbacks.entry(name.to_owned()).or_default();
            entry.times += 1;
            entry.fuel += callback.fuel;
            if callback.name == TICK {
                continue;
            }
            fuel += callback.fuel;
            for (name, count) in &callback.calls {
                *cost.host_calls.entry((*name).to_owned()).or_default() += count;
            }
        }
        cost.requests = cost.callbacks.get("on_request_headers").map_or(0, |callbacks| callbacks.times);
        cost.fuel_per_request = fuel / cost.requests.max(1);
        cost
    }
}

/// What is shown.
#[derive(Serialize)]
pub(super) struct Report<'r> {
    #[serde(flatten)]
    costs: &'r Costs,
    /// In comparison with a baseline.
    changes: Option<Vec<Change>>,
}

impl<'r> Report<'r> {
    pub(super) fn new(costs: &'r Costs, changes: Option<Vec<Change>>) -> Self {
        Report { costs, changes }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Costs { module, cases } = self.costs;
        let widest = cases.keys().map(|name| name.chars().count()).max().unwrap_or(0).min(90);
        writeln!(f, "{:widest$}  requests  fuel/request  host calls  memory", "case")?;
        for (name, cost) in cases {
            let calls: u64 = cost.host_calls.values().sum();
            let memory = cost.memory / 1024;
            writeln!(
                f,
                "{name:widest$}  {:>8}  {:>12}  {calls:>10}  {memory} KiB",
                cost.requests, cost.fuel_per_request
            )?;
        }
        writeln!(f, "the filter has {} bytes and {} imports", module.bytes, module.imports.len())?;
        let Some(changes) = &self.changes else { return Ok(()) };
        if changes.is_empty() {
            return writeln!(f, "nothing has changed against the baseline");
        }
        changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}
