//! Figures that were written down, and what has changed since.

use std::{fmt, fs, path::Path};

use serde::Serialize;

use super::cost::{Cost, Costs};
use crate::failure::Failure;

/// A figure that is another one now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Change {
    /// The case, or the module.
    of: String,
    figure: String,
    was: u64,
    is: u64,
    /// It rose by more than is tolerated.
    pub(super) dearer: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { of, figure, was, is, dearer } = self;
        let word = if *dearer { "DEARER" } else { "changed" };
        let percent = (*is as f64 / (*was).max(1) as f64 - 1.0) * 100.0;
        write!(f, "{word}: {of}: {figure} {was} -> {is} ({percent:+.1} %)")
    }
}

pub(super) fn read(path: &Path) -> Result<Costs, Failure> {
    let bytes = fs::read(path).map_err(|cause| Failure::File { action: "read", path: path.to_owned(), cause })?;
    serde_json::from_slice(&bytes).map_err(|cause| Failure::Form {
        path: path.to_owned(),
        expected: "a baseline that `holdgate bench --save` wrote",
        cause,
    })
}

pub(super) fn save(path: &Path, costs: &Costs) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(costs).map_err(Failure::Encode)? + "\n";
    fs::write(path, text).map_err(|cause| Failure::File { action: "write", path: path.to_owned(), cause })
}

/// What has changed by more than is tolerated, in percent. Host calls and requests are compared exactly.
pub(super) fn compare(before: &Costs, now: &Costs, tolerance: f64) -> Vec<Change> {
    let mut changes = Changes { tolerance, all: Vec::new() };
    changes.figure("the filter", "bytes", before.module.bytes as u64, now.module.bytes as u64);
    let (was, is) = (before.module.imports.len(), now.module.imports.len());
    changes.exact("the filter", "imports", was as u64, is as u64);
    for (name, cost) in &now.cases {
        match before.cases.get(name) {
            Some(was) => changes.case(name, was, cost),
            None => changes.push(name, "is not in the baseline; fuel per request", 0, cost.fuel_per_request, false),
        }
    }
    changes.all
}

struct Changes {
    tolerance: f64,
    all: Vec<Change>,
}

impl Changes {
    fn case(&mut self, name: &str, was: &Cost, is: &Cost) {
        self.exact(name, "requests", was.requests, is.requests);
        self.figure(name, "fuel per request", was.fuel_per_request, is.fuel_per_request);
        self.figure(name, "fuel to start", was.fuel_to_start, is.fuel_to_start);
        self.figure(name, "memory", was.memory, is.memory);
        for (callback, now) in &is.callbacks {
            let before = was.callbacks.get(callback).copied().unwrap_or_default();
            let each = |fuel: u64, times: u64| fuel / times.max(1);
            let figure = format!("fuel of each {callback}");
            self.figure(name, &figure, each(before.fuel, before.times), each(now.fuel, now.times));
        }
        for (call, count) in &is.host_calls {
            self.exact(name, call, was.host_calls.get(call).copied().unwrap_or(0), *count);
        }
        for (call, count) in was.host_calls.iter().filter(|(call, _)| !is.host_calls.contains_key(*call)) {
            self.exact(name, call, *count, 0);
        }
    }

    fn figure(&mut self, of: &str, figure: &str, was: u64, is: u64) {
        let change = (is as f64 - was as f64) / (was.max(1) as f64) * 100.0;
        if change.abs() > self.tolerance {
            self.push(of, figure, was, is, change > 0.0);
        }
    }

    fn exact(&mut self, of: &str, figure: &str, was: u64, is: u64) {
        if was != is {
            self.push(of, figure, was, is, is > was);
        }
    }

    fn push(&mut self, of: &str, figure: &str, was: u64, is: u64, dearer: bool) {
        self.all.push(Change { of: of.to_owned(), figure: figure.to_owned(), was, is, dearer });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::cost::Callbacks, *};

    fn costs(fuel: u64, calls: u64) -> Costs {
        let cost = Cost {
            requests: 1,
            fuel_per_request: fuel,
            callbacks: BTreeMap::from([("on_log".to_owned(), Callbacks { times: 1, fuel })]),
            host_calls: BTreeMap::from([("proxy_log".to_owned(), calls)]),
            ..Cost::default()
        };
        Costs { cases: BTreeMap::from([("a".to_owned(), cost)]), ..Costs::default() }
    }

    #[test]
    fn what_became_dearer_is_told_from_what_became_cheaper_and_what_is_tolerated() {
        assert_eq!(compare(&costs(1000, 2), &costs(1030, 2), 3.0), []);
        let dearer = compare(&costs(1000, 2), &costs(1031, 2), 3.0);
        assert_eq!(dearer.iter().map(|change| change.dearer).collect::<Vec<_>>(), [true, true]);
        assert_eq!(dearer[0].to_string(), "DEARER: a: fuel per request 1000 -> 1031 (+3.1 %)");
        assert!(compare(&costs(1000, 2), &costs(900, 2), 3.0).iter().all(|change| !change.dearer));
        assert!(compare(&costs(1000, 2), &costs(1000, 3), 3.0)[0].dearer, "one more host call");
        assert!(!compare(&costs(1000, 2), &costs(1000, 1), 3.0)[0].dearer);
        let new = compare(&Costs::default(), &costs(1, 1), 3.0);
        assert!(new.iter().all(|change| !change.dearer), "{new:?}");
    }
}
