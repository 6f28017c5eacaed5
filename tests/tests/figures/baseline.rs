//! The committed figures, and how the new ones differ from them.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use crate::gateway::Done;

/// Percent by which the fuel of a request may differ from the committed figure.
const TOLERANCE: f64 = 3.0;

/// Where the figures are committed.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/filter.json");

/// Set to 1, the new figures are written down instead of compared.
const BLESS: &str = "HOLDGATE_BLESS";

/// What one request cost.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) fuel: u64,
    callbacks: BTreeMap<String, u64>,
    host_calls: BTreeMap<String, u64>,
}

impl Figure {
    pub(crate) fn of(done: &Done) -> Self {
        let callbacks = done.callbacks.iter().map(|callback| (callback.name.to_owned(), callback.fuel)).collect();
        let host_calls = done.calls().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        Figure { fuel: done.fuel(), callbacks, host_calls }
    }

    fn to_json(&self) -> Value {
        json!({"fuel": self.fuel, "callbacks": self.callbacks, "host_calls": self.host_calls})
    }
}

/// Compares with the committed figures; fails with all that moved, and by how much.
pub(crate) fn check(figures: &BTreeMap<String, Figure>) {
    for (name, figure) in figures {
        println!("{name}: {} fuel, host calls {:?}", figure.fuel, figure.host_calls);
    }
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        let all: BTreeMap<&String, Value> = figures.iter().map(|(name, figure)| (name, figure.to_json())).collect();
        std::fs::write(FILE, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
        return;
    }
    let committed = std::fs::read_to_string(Path::new(FILE)).unwrap();
    let committed: BTreeMap<String, Value> = serde_json::from_str(&committed).unwrap();
    let findings = differences(&committed, figures);
    assert!(
        findings.is_empty(),
        "{}\nIf that is meant, {BLESS}=1 writes the new figures to tests/baseline/filter.json.",
        findings.join("\n")
    );
}

fn differences(committed: &BTreeMap<String, Value>, figures: &BTreeMap<String, Figure>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, figure) in figures {
        let Some(before) = committed.get(name) else {
            findings.push(format!("{name}: has no committed figure"));
            continue;
        };
        let moved = |was: &Value, is: u64| (is as f64 / was.as_f64().unwrap_or(1.0) - 1.0) * 100.0;
        let percent = moved(&before["fuel"], figure.fuel);
        if percent.abs() > TOLERANCE {
            let word = if percent > 0.0 { "slower" } else { "faster" };
            findings.push(format!("{name}: {word}, fuel {} -> {} ({percent:+.1} %)", before["fuel"], figure.fuel));
            for (callback, fuel) in &figure.callbacks {
                let was = &before["callbacks"][callback];
                if moved(was, *fuel).abs() > TOLERANCE {
                    findings.push(format!("  {callback}: {was} -> {fuel} ({:+.1} %)", moved(was, *fuel)));
                }
            }
        }
        if before["host_calls"] != json!(figure.host_calls) {
            let (was, is) = (&before["host_calls"], json!(figure.host_calls));
            findings.push(format!("{name}: other host calls, {was} -> {is}"));
        }
    }
    let gone = committed.keys().filter(|name| !figures.contains_key(*name));
    findings.extend(gone.map(|name| format!("{name}: committed, and not measured any more")));
    findings
}

#[test]
fn what_moved_is_named_with_its_percentage() {
    let figure = |fuel: u64, calls: u64| Figure {
        fuel,
        callbacks: [("proxy_on_log".to_owned(), fuel)].into(),
        host_calls: [("proxy_log".to_owned(), calls)].into(),
    };
    let committed = |fuel, calls| BTreeMap::from([("a".to_owned(), figure(fuel, calls).to_json())]);
    let now = |fuel, calls| BTreeMap::from([("a".to_owned(), figure(fuel, calls))]);
    assert!(differences(&committed(1000, 2), &now(1020, 2)).is_empty());
    let slower = differences(&committed(1000, 2), &now(1100, 2));
    assert_eq!(slower, ["a: slower, fuel 1000 -> 1100 (+10.0 %)", "  proxy_on_log: 1000 -> 1100 (+10.0 %)"]);
    assert!(differences(&committed(1000, 2), &now(900, 2))[0].contains("faster"));
    assert!(differences(&committed(1000, 2), &now(1000, 3))[0].contains("other host calls"));
    assert_eq!(differences(&BTreeMap::new(), &now(1, 1)), ["a: has no committed figure"]);
    assert_eq!(differences(&committed(1, 1), &BTreeMap::new()), ["a: committed, and not measured any more"]);
}
