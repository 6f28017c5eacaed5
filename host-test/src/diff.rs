//! `holdgate diff`.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use holdgate_authoring::{Answered, Budget, Change, Diff, Kind};
use holdgate_engine::Policy;
use holdgate_protocol::{Escalation, Pointer, Requirement, bundle, bundle::Effect};
use serde::Serialize;

use crate::{
    changes::{Changes, word},
    explain::span,
    failure::Failure,
    output::{Exit, Outcome},
    prove::verdict,
    replay::{Format, Judge, Reader, endpoint, parts},
    rules,
};

/// The arguments of `holdgate diff`.
///
/// Exit codes: 0 nothing became more permissive, which is proved; 1 something did; 3 it could not be decided.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A bundle, a rule file or a folder of them
    old: PathBuf,
    /// A bundle, a rule file or a folder of them
    new: PathBuf,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    fail_on: FailOn,
    /// Count changed verdicts on the records of a log, as `replay` reads them
    #[arg(long, value_name = "FILE")]
    traffic: Vec<PathBuf>,
    /// What the logs are; found out by itself if left out
    #[arg(long, value_name = "KIND")]
    from: Option<Format>,
    /// The path of an MCP endpoint in the logs; may be given several times
    #[arg(long, value_name = "PATH", value_parser = endpoint)]
    mcp: Vec<String>,
    /// The most steps that one question may take; what would take more is left open
    #[arg(long, value_name = "STEPS", default_value_t = Budget::default().steps)]
    budget: u64,
}

/// What makes a comparison fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A request that may pass, or pass with less, and did not before
    #[default]
    MorePermissive,
    /// Any request with another verdict or requirement
    AnyChange,
}

/// How the verdicts of two policies differ, over all requests.
#[derive(Serialize)]
pub(crate) struct Meaning {
    /// `yes`, `no` (proved) or `unknown`
    pub(crate) more_permissive: &'static str,
    regions: Vec<Region>,
    /// Whether `regions` are all.
    complete: bool,
    /// Why something was left open.
    open: Vec<String>,
}

/// Requests whose verdict or requirement is another one, by an example.
#[derive(Serialize)]
struct Region {
    /// `more_permissive`, `requirement_changed`, `stricter` or `as_strict`
    kind: &'static str,
    old: Side,
    new: Side,
    /// What differs between two requirements.
    differs: Vec<String>,
    request: String,
}

#[derive(Serialize)]
struct Side {
    effect: Effect,
    rule: Option<String>,
    requirement: Option<Requirement>,
}

impl Meaning {
    /// Compares what two policies say about every request.
    pub(crate) fn between(old: &Policy, new: &Policy, budget: u64) -> Self {
        let Diff { changes, complete, more_permissive, open } =
            holdgate_authoring::diff(old, new, Budget { steps: budget });
        let side = |outcome: holdgate_authoring::Outcome| Side {
            effect: outcome.effect,
            rule: outcome.rule,
            requirement: outcome.requirement,
        };
        let region = |Change { kind, old, new, witness }: Change| Region {
            kind: match kind {
                Kind::MorePermissive => "more_permissive",
                Kind::RequirementChanged => "requirement_changed",
                Kind::Stricter => "stricter",
                Kind::AsStrict => "as_strict",
            },
            differs: match (&old.requirement, &new.requirement) {
                (Some(old), Some(new)) => differences(old, new),
                _ => Vec::new(),
            },
            old: side(old),
            new: side(new),
            request: witness.to_yaml(),
        };
        Meaning {
            more_permissive: match more_permissive {
                Answered::No => "no",
                Answered::Yes => "yes",
                Answered::Unknown => "unknown",
            },
            regions: changes.into_iter().map(region).collect(),
            complete,
            open,
        }
    }
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meaning { more_permissive, regions, complete, open } = self;
        for Region { kind, old, new, differs, request } in regions {
            let kind = kind.replace('_', " ");
            writeln!(f, "{kind}: {old} -> {new}")?;
            if !differs.is_empty() {
                writeln!(f, "  {}", differs.join(", "))?;
            }
            writeln!(f, "  {request}")?;
        }
        if regions.is_empty() && *complete {
            writeln!(f, "no request has another verdict or requirement")?;
        }
        let mut told = BTreeMap::<&str, usize>::new();
        open.iter().for_each(|why| *told.entry(why).or_default() += 1);
        for (why, times) in told {
            let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
            writeln!(f, "left open: {why}{times}")?;
        }
        match *more_permissive {
            "no" => writeln!(f, "nothing became more permissive: proved"),
            "yes" => writeln!(f, "more permissive than before"),
            _ => writeln!(f, "whether anything became more permissive could not be decided"),
        }
    }
}

/// What a requirement asks otherwise than another one.
fn differences(old: &Requirement, new: &Requirement) -> Vec<String> {
    let mut differs = Vec::new();
    let factors = |requirement: &Requirement| {
        let factors = requirement.factors.iter().map(|factor| format!("{} x {}", factor.approvals, factor.role));
        factors.collect::<Vec<_>>().join(" + ")
    };
    let reason = |requirement: &Requirement| if requirement.reason { "required" } else { "optional" }.to_owned();
    let show = |requirement: &Requirement| match &requirement.show {
        None => "everything".to_owned(),
        Some(parts) if parts.is_empty() => "nothing".to_owned(),
        Some(parts) => parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let escalate = |requirement: &Requirement| match &requirement.escalate {
        None => "to nobody".to_owned(),
        Some(Escalation { role, after }) => format!("to {role} after {after}%"),
    };
    for (name, old, new) in [
        ("factors", factors(old), factors(new)),
        ("decide_within", span(old.decide_within), span(new.decide_within)),
        ("use_within", span(old.use_within), span(new.use_within)),
        ("reason", reason(old), reason(new)),
        ("show", show(old), show(new)),
        ("escalate", escalate(old), escalate(new)),
    ] {
        if old != new {
            differs.push(format!("{name} {old} -> {new}"));
        }
    }
    let mut list = |name: &str, old: Vec<String>, new: Vec<String>| {
        let missing = |of: &[String], from: &[String]| {
            let missing = of.iter().filter(|item| !from.contains(item)).map(String::as_str);
            missing.collect::<Vec<_>>().join(" ")
        };
        for (verb, items) in [("loses", missing(&old, &new)), ("gains", missing(&new, &old))] {
            if !items.is_empty() {
                differs.push(format!("{name} {verb} {items}"));
            }
        }
    };
    let pointers = |pointers: &[Pointer]| pointers.iter().map(ToString::to_string).collect();
    list("redact", pointers(&old.redact), pointers(&new.redact));
    list("unbind", old.unbind.clone(), new.unbind.clone());
    list("reason_codes", old.codes.clone(), new.codes.clone());
    differs
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&verdict(self.effect, self.rule.as_deref()))?;
        if let Some(requirement) = &self.requirement {
            let factors = requirement.factors.iter().map(|factor| format!("{} x {}", factor.approvals, factor.role));
            write!(f, " ({})", factors.collect::<Vec<_>>().join(" + "))?;
        }
        Ok(())
    }
}

/// All that a comparison finds.
#[derive(Serialize)]
struct Report {
    rules: Changes,
    #[serde(flatten)]
    meaning: Meaning,
    /// Present with `--traffic`.
    traffic: Option<Traffic>,
}

/// Verdicts on recorded requests.
#[derive(Default, Serialize)]
struct Traffic {
    records: u64,
    /// Records that could not be read, or that the filter refuses before any rule is asked.
    skipped: u64,
    changed: u64,
    moves: Vec<Move>,
}

#[derive(Serialize)]
struct Move {
    from: Effect,
    to: Effect,
    count: u64,
    /// Those that something could change that the records do not tell.
    uncertain: u64,
    /// Where the first of them stands.
    first: String,
}

/// Compares two policies.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let any = |path| rules::any_policy(std::slice::from_ref(path));
    let (old, new) = (any(&arguments.old)?, any(&arguments.new)?);
    let load = |bytes: &[u8], path: &PathBuf| {
        Policy::load(bytes).map_err(|problem| Failure::Load { file: path.clone(), problem })
    };
    let content = |bytes: &[u8], path: &PathBuf| {
        bundle::read(bytes).map_err(|problem| Failure::Bundle { file: path.clone(), problem })
    };
    let report = Report {
        rules: Changes::between(&content(&old, &arguments.old)?, &content(&new, &arguments.new)?),
        meaning: Meaning::between(&load(&old, &arguments.old)?, &load(&new, &arguments.new)?, arguments.budget),
        traffic: if arguments.traffic.is_empty() { None } else { Some(traffic(arguments, &old, &new)?) },
    };
    let changed = !report.meaning.regions.is_empty();
    let exit = match (report.meaning.more_permissive, arguments.fail_on) {
        ("yes", _) => Exit::Findings,
        (_, FailOn::AnyChange) if changed => Exit::Findings,
        ("no", FailOn::MorePermissive) => Exit::Good,
        (_, FailOn::AnyChange) if report.meaning.complete => Exit::Good,
        _ => Exit::Undecided,
    };
    Outcome::new(&report, exit)
}

/// Asks both policies about every record.
fn traffic(arguments: &Arguments, old: &[u8], new: &[u8]) -> Result<Traffic, Failure> {
    let (mut old, mut new) = (Judge::new(old, &arguments.mcp)?, Judge::new(new, &arguments.mcp)?);
    let mut traffic = Traffic::default();
    let mut moves: BTreeMap<(Effect, Effect), Move> = BTreeMap::new();
    let mut reader = Reader::new(arguments.from);
    for file in &arguments.traffic {
        reader.each(file, &mut |place, record| {
            traffic.records += 1;
            let Ok(record) = record else {
                traffic.skipped += 1;
                return Ok(());
            };
            let (Ok(before), Ok(after)) = (old.judge(&record, |_, _, _| ())?, new.judge(&record, |_, _, _| ())?) else {
                traffic.skipped += 1;
                return Ok(());
            };
            let (from, to) = (parts(before.verdict).0, parts(after.verdict).0);
            if from != to {
                traffic.changed += 1;
                let first = || Move { from, to, count: 0, uncertain: 0, first: place.to_string() };
                let moved = moves.entry((from, to)).or_insert_with(first);
                moved.count += 1;
                moved.uncertain += u64::from(!(before.certain && after.certain));
            }
            Ok(())
        })?;
    }
    reader.done();
    traffic.moves = moves.into_values().collect();
    Ok(traffic)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { rules, meaning, traffic } = self;
        write!(f, "{rules}")?;
        if let Some(Traffic { records, skipped, changed, moves }) = traffic {
            writeln!(f, "traffic: {changed} of {records} records have another verdict, {skipped} left out")?;
            for Move { from, to, count, uncertain, first } in moves {
                let uncertain = if *uncertain > 0 { format!(", {uncertain} uncertain") } else { String::new() };
                writeln!(f, "  {} -> {}: {count}{uncertain}, first {first}", word(*from), word(*to))?;
            }
        }
        write!(f, "{meaning}")?;
        if meaning.open.is_empty() { Ok(()) } else { writeln!(f, "more may be decided with a higher `--budget`") }
    }
}
