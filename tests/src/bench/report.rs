//! The figures beside what was aimed at.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::{
    COLD_RS256, EXT_AUTHZ, Filter, Load, MCP_2K, NO_FILTER, NOOP, Scenario, TEN, TEN_THOUSAND, parked::Parked,
};

/// What a scenario cost in each round, in microseconds of CPU for a request.
pub(super) struct Measured {
    pub(super) name: &'static str,
    is_bare: bool,
    load: Load,
    pub(super) costs: Vec<f64>,
    /// Why there are no figures: the filter does not do this yet.
    pub(super) missing: Option<String>,
}

#[derive(Default)]
pub(super) struct Report {
    pub(super) measured: Vec<Measured>,
    pub(super) parked: BTreeMap<&'static str, Parked>,
    pub(super) failures: Vec<String>,
}

/// A figure that was aimed at.
struct Aim {
    what: &'static str,
    most: f64,
    unit: &'static str,
    is: Option<f64>,
}

impl Measured {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let Scenario { name, filter, load } = *scenario;
        Measured { name, is_bare: filter == Filter::None, load, costs: Vec::new(), missing: None }
    }

    /// The round at this part of the way from the cheapest to the dearest: 0.5 is the median.
    fn quantile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.costs.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * part).round() as usize).copied()
    }

    pub(super) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

/// What a scenario adds to no filter under the same load: the median of the differences round by round.
pub(super) fn added(all: &[Measured], measured: &Measured) -> Option<f64> {
    let bare = all.iter().find(|other| other.is_bare && other.load == measured.load)?;
    let pairs = measured.costs.iter().zip(&bare.costs);
    let mut differences: Vec<f64> = pairs.map(|(cost, bare)| cost - bare).collect();
    differences.sort_by(f64::total_cmp);
    differences.get(differences.len().checked_sub(1)? / 2).copied()
}

impl Report {
    fn added(&self, name: &str) -> Option<f64> {
        added(&self.measured, self.measured.iter().find(|measured| measured.name == name)?)
    }

    fn aims(&self) -> Vec<Aim> {
        let ratio = |of: &str, to: &str| Some(self.added(of)? / self.added(to)?);
        let aim = |what, is, most, unit| Aim { what, most, unit, is };
        let parked = |name: &str, figure: fn(&Parked) -> f64| self.parked.get(name).map(figure);
        let memory = parked("approved", |parked| parked.memory / 1024.0);
        vec![
            aim("allowed, to what a no-op filter adds", ratio(TEN, NOOP), 2.0, "times"),
            aim("allowed, to what ext_authz adds", ratio(TEN, EXT_AUTHZ), 0.35, "times"),
            aim("10,000 rules to 10 rules", ratio(TEN_THOUSAND, TEN), 1.1, "times"),
            aim("2 KB tools/call, added", self.added(MCP_2K), 25.0, "us"),
            aim("new RS256 token, added", self.added(COLD_RS256), 60.0, "us"),
            aim("memory of a parked stream", memory, 16.0, "KiB"),
            aim("all parked ones approved and forwarded", parked("approved", |p| p.decided_to_answered), 5.0, "s"),
            aim("all parked ones denied", parked("denied", |p| p.decided_to_answered), 5.0, "s"),
            aim("size of the filter", self.filter_size(), 1.0, "MiB"),
        ]
    }

    fn filter_size(&self) -> Option<f64> {
        let places = crate::stack::Places::find().ok()?;
        Some(std::fs::metadata(places.filter).ok()?.len() as f64 / 1024.0 / 1024.0)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "\nCPU of the proxy for each request, in us; one worker\n{:<38} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
            "", "median", "least", "most", "added", "x no-op"
        );
        let noop = self.added(NOOP);
        for measured in &self.measured {
            let figure = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"));
            let added = added(&self.measured, measured).filter(|_| !measured.is_bare);
            let times = added.zip(noop).map(|(added, noop)| added / noop);
            let (least, most) = (measured.quantile(0.0), measured.quantile(1.0));
            // Writing to a String does not fail.
            let _ = match &measured.missing {
                Some(why) => writeln!(text, "{:<38} not there: {why:.160}", measured.name),
                None => writeln!(
                    text,
                    "{:<38} {:>8} {:>8} {:>8} {:>8} {:>8}",
                    measured.name,
                    figure(measured.median()),
                    figure(least),
                    figure(most),
                    figure(added),
                    figure(times)
                ),
            };
        }
        for (name, parked) in &self.parked {
            let Parked { count, memory, of_envoy, decided_to_answered, deciding } = parked;
            let (kib, of_envoy) = (memory / 1024.0, of_envoy / 1024.0);
            let _ = writeln!(
                text,
                "\n{count} parked requests, {name}: {kib:.1} KiB each beside the body, {of_envoy:.1} of it Envoy's own; answered {decided_to_answered:.2} s \
                 after the first decision was sent, of which the service took {deciding:.2} s to take all decisions"
            );
        }
        text.push_str("\naims\n");
        for Aim { what, most, unit, is } in self.aims() {
            let verdict = match is {
                Some(is) if is <= most => format!("{is:>8.2} {unit:<5}  met"),
                Some(is) => format!("{is:>8.2} {unit:<5}  MISSED"),
                None => "       - not measured".to_owned(),
            };
            let _ = writeln!(text, "{what:<42} at most {most:>6} {unit:<5}: {verdict}");
        }
        for failure in &self.failures {
            let _ = writeln!(text, "failed: {failure}");
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let scenario = |measured: &Measured| {
            json!({
                "name": measured.name, "us": measured.costs, "median_us": measured.median(),
                "added_us": added(&self.measured, measured), "missing": measured.missing,
            })
        };
        let aim = |aim: Aim| {
            let met = aim.is.map(|is| is <= aim.most);
            json!({"aim": aim.what, "at_most": aim.most, "unit": aim.unit, "is": aim.is, "met": met})
        };
        let parked: BTreeMap<&str, Value> =
            self.parked.iter().map(|(name, parked)| (*name, parked.to_json())).collect();
        json!({
            "baseline": NO_FILTER, "scenarios": self.measured.iter().map(scenario).collect::<Vec<_>>(),
            "parked": parked, "aims": self.aims().into_iter().map(aim).collect::<Vec<_>>(), "failures": self.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(filter: Filter, load: Load, costs: &[f64]) -> Measured {
        let mut measured = Measured::new(&Scenario { name: "x", filter, load });
        measured.costs = costs.to_vec();
        measured
    }

    #[test]
    fn what_is_added_is_told_against_the_same_load_and_round() {
        let all = [
            measured(Filter::None, Load::Same, &[20.0, 30.0, 21.0]),
            measured(Filter::None, Load::Mcp(1), &[40.0, 40.0, 40.0]),
            measured(Filter::Noop, Load::Same, &[25.0, 36.0, 28.0]),
            measured(Filter::Noop, Load::Mcp(1), &[44.0, 45.0, 46.0]),
            measured(Filter::Lua, Load::Same, &[]),
        ];
        let added: Vec<_> = all.iter().map(|one| added(&all, one)).collect();
        assert_eq!(added, [Some(0.0), Some(0.0), Some(6.0), Some(5.0), None]);
        assert_eq!((all[2].median(), all[2].quantile(1.0)), (Some(28.0), Some(36.0)));
    }
}
