//! `cargo xtask bench`: the benchmarks of the crates, and the command line as its users wait for it.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::run::{Workspace, cargo_in, succeed};

/// Times that each command is run.
const RUNS: usize = 7;

/// Rules of the large policy, and records of the large log.
const RULES: usize = 10_000;
const RECORDS: usize = 1_000_000;

/// Runs the benchmarks and prints their figures; nothing fails because it is slow.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    let root = &workspace.root;
    succeed(&mut cargo_in(
        root,
        &["bench", "--package", "holdgate-engine", "--package", "holdgate-authoring", "--benches"],
    ))?;
    succeed(&mut cargo_in(root, &["build", "--release", "--package", "holdgate-host-test"]))?;
    let holdgate = workspace.target.join("release/holdgate");
    let place = workspace.target.join("bench");
    if place.exists() {
        fs::remove_dir_all(&place).context("the last bench cannot be cleared away")?;
    }
    fs::create_dir_all(&place).context("the bench has no place")?;
    fs::write(place.join("large.yaml"), large_policy()?)?;
    fs::write(place.join("audit.jsonl"), audit_log()?)?;

    println!("\nthe command line, release build, {RUNS} runs each");
    println!("{:<46} {:>9} {:>9} {:>9}", "", "least", "median", "most");
    let policies = root.join("policies");
    let time = |what: &str, arguments: &[&str], folder: &Path| measure(&holdgate, what, arguments, folder);
    let policies = policies.to_string_lossy();
    time("check of all shipped files", &["check", &policies], &place)?;
    time("prove of all shipped files", &["prove", &policies], &place)?;
    time("test of all shipped files", &["test", &policies], &place)?;
    time(&format!("build of {RULES} rules"), &["build", "large.yaml", "--out", "large.jcs"], &place)?;
    let replay = ["replay", "audit.jsonl", "--policy", &format!("{policies}/iam-guardrails.yaml")];
    let median = time(&format!("replay of {RECORDS} audit records"), &replay, &place)?;
    let rate = f64::from(u32::try_from(RECORDS)?) / median.as_secs_f64();
    println!("{:<46} {rate:>9.0} records a second", "");
    Ok(())
}

/// Runs a command some times, prints how long it took, and gives the median.
fn measure(program: &Path, what: &str, arguments: &[&str], folder: &Path) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let status = Command::new(program).args(arguments).current_dir(folder).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "`holdgate {}` failed", arguments.join(" "));
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    let (least, median, most) = (at(0), at(RUNS / 2), at(RUNS - 1));
    println!("{what:<46} {:>9.3?} {:>9.3?} {:>9.3?}", least, median, most);
    Ok(median)
}

/// A policy of many rules on paths, tools and claims, as a company with many services has it.
fn large_policy() -> Result<String> {
    let mut text = String::from(
        "format: 1\npolicy: large\nowner: team@example.com\ncontrols: [nist-csf-2.0/PR.AA-05]\n\
         approvers: {lead: {}}\nrules:\n",
    );
    for index in 0..RULES {
        writeln!(text, "  - id: rule-{index}")?;
        match index % 4 {
            0 => write!(
                text,
                "    effect: allow\n    match:\n      - http: {{methods: [GET], path: \"/service-{index}/{{id}}/**\"}}\n"
            )?,
            1 => write!(
                text,
                "    effect: allow\n    match:\n      - {{http: {{path: /mcp}}, mcp: {{tool: tool-{index}}}}}\n"
            )?,
            2 => write!(
                text,
                "    effect: hold\n    match:\n      - http: {{methods: [POST], path: /service-{index}/orders}}\n        \
                 body: {{/amount: {{gt: 100}}}}\n    approval: {{factors: [{{role: lead, approvals: 1}}], \
                 decide_within: 1h, use_within: 10m}}\n"
            )?,
            _ => write!(
                text,
                "    effect: deny\n    match:\n      - http: {{methods: [DELETE], path: /service-{index}/**}}\n        \
                 agent: {{claims: {{team: {{notIn: [team-{index}]}}}}}}\n"
            )?,
        }
    }
    text.push_str(
        "tests:\n  - name: a read\n    request: {agent: {}, http: {method: GET, path: /service-0/1}}\n    \
         expect: {effect: allow, rule: rule-0}\n",
    );
    Ok(text)
}

/// Audit records as the gateway writes them, of some agents and paths.
fn audit_log() -> Result<String> {
    let mut text = String::new();
    for index in 0..RECORDS {
        let (method, path, effect) = match index % 10 {
            0 => ("POST", "/iam/users/7/roles", "hold"),
            1 => ("DELETE", "/iam/users/9", "hold"),
            2 => ("POST", "/iam/users/7/notes", "allow"),
            _ => ("GET", "/iam/users", "allow"),
        };
        let (agent, time) = (index % 97, 1_767_571_200 + index / 50);
        writeln!(
            text,
            r#"{{"seq":{index},"t":{time},"effect":"{effect}","decided_by":"policy","code":"rule","rules":[],"policy":{{"id":"iam-guardrails","rev":"sha-256:0","serial":1}},"agent":{{"iss":"https://idp.example","sub":"agent-{agent}","act":[],"owner":"group/iam"}},"request":{{"method":"{method}","authority":"iam.example","path":"{path}","digest":null}},"hold":null,"status":200}}"#
        )?;
    }
    Ok(text)
}
