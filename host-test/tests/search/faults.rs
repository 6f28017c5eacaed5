//! Any status at any host call, and a trap at any: nothing passes that would not have passed, nothing is left behind.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use holdgate_authoring::cases::Case;
use holdgate_host::{
    Fault, FaultKind,
    cases::{
        harness::{Account, Conditions},
        play::End,
    },
};

use crate::corpus::{File, accounted, corpus, is_playable};

/// Statuses that a host answers where it cannot do what it is asked: not found, bad argument, internal failure.
const STATUSES: [u32; 3] = [1, 2, 10];

/// A case is examined call by call if its name is here; of the others each call of a stride.
const THOROUGHLY: [&str; 4] = ["a role is held for one person", "a note passes", "a large payment", "reading passes"];

/// Every so many calls of a case that is not examined thoroughly; `HOLDGATE_EVERY_FAULT=1` examines each.
const STRIDE: usize = 307;

struct Job<'c> {
    file: &'c File,
    case: &'c Case,
    clean: &'c Account,
    fault: Fault,
}

/// How often what was asked for went on, by method and target.
fn forwarded(account: &Account) -> BTreeMap<(&str, &str), usize> {
    let mut counts = BTreeMap::new();
    for got in account.observed.requests.iter().filter_map(|request| request.upstream.as_ref()) {
        *counts.entry((got.method.as_str(), got.target.as_str())).or_default() += 1;
    }
    counts
}

/// Where the proxy-wasm SDK itself ends the VM: it dispatches callouts and finds the context of their answers, and panics on
/// statuses that no host has for these calls. Nothing passes then, either.
fn ends_in_the_sdk(fault: &Fault) -> bool {
    match fault.call.as_str() {
        "proxy_set_effective_context" => true,
        "proxy_http_call" => fault.kind == FaultKind::Status(1),
        _ => false,
    }
}

/// What must hold whatever goes wrong with a host call.
fn violations(clean: &Account, end: &End, account: Option<&Account>, fault: &Fault) -> Vec<String> {
    let Some(account) = account else {
        // It was not started: the configuration was refused, and so is every request.
        return if matches!(end, End::Broken { .. }) { Vec::new() } else { vec!["there is no account".to_owned()] };
    };
    let mut wrong = Vec::new();
    // Where one is lost, another of the same may go on in its place: one approval, or one place below a rate, is as good for it.
    let allowed = forwarded(clean);
    for ((method, target), count) in forwarded(account) {
        let before = allowed.get(&(method, target)).copied().unwrap_or(0);
        if count > before {
            wrong
                .push(format!("`{method} {target}` went on to the upstream {count} times, without the fault {before}"));
        }
    }
    let trapped = matches!(fault.kind, FaultKind::Trap) || ends_in_the_sdk(fault);
    wrong.extend(account.findings.iter().filter(|finding| finding.fatal && !trapped).map(ToString::to_string));
    if account.left > 0 {
        wrong.push(format!("{} requests were left behind", account.left));
    }
    wrong
}

fn jobs<'c>(file: &'c File, case: &'c Case, clean: &'c Account, seed: usize) -> Vec<Job<'c>> {
    let every = std::env::var_os("HOLDGATE_EVERY_FAULT").is_some_and(|value| value == "1");
    let thoroughly = every || THOROUGHLY.contains(&case.name.as_str());
    let mut jobs = Vec::new();
    for (call, count) in &clean.calls {
        for number in 1..=*count {
            let kinds = STATUSES.into_iter().map(FaultKind::Status).chain([FaultKind::Trap]);
            for kind in kinds {
                let fault = Fault { call: (*call).to_owned(), number, kind };
                jobs.push(Job { file, case, clean, fault });
            }
        }
    }
    let mut at = seed;
    jobs.retain(|_| {
        at += 1;
        thoroughly || at.is_multiple_of(STRIDE)
    });
    jobs
}

#[test]
fn whatever_host_call_fails_nothing_passes_that_should_not() {
    let files = corpus();
    let cases: Vec<(&File, &Case)> = files
        .iter()
        .flat_map(|file| file.file.cases.iter().map(move |case| (file, case)))
        .filter(|(_, case)| is_playable(case))
        .collect();
    let clean: Vec<Account> = cases
        .iter()
        .map(|(file, case)| {
            let (end, account) = accounted(file, case, Conditions::default());
            assert!(matches!(end, End::Passed), "{}: {end:?}", case.name);
            account.unwrap()
        })
        .collect();
    for account in &clean {
        assert_eq!((account.left, account.findings.len()), (0, 0));
    }
    let jobs: Vec<Job<'_>> = cases
        .iter()
        .zip(&clean)
        .enumerate()
        .flat_map(|(seed, ((file, case), clean))| jobs(file, case, clean, seed))
        .collect();
    println!("{} faults", jobs.len());
    assert!(jobs.len() > 1_000, "{}", jobs.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let conditions = Conditions { faults: vec![job.fault.clone()], ..Conditions::default() };
            let (end, account) = accounted(job.file, job.case, conditions);
            for what in violations(job.clean, &end, account.as_ref(), &job.fault) {
                let Fault { call, number, kind } = &job.fault;
                let place = format!("{}: {}", job.file.name, job.case.name);
                wrong.lock().unwrap().push(format!("{place}: `{call}` number {number} {kind:?}: {what}"));
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}
