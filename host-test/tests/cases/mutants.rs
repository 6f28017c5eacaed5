//! An expectation that nothing can fail is none: each one of the corpus is changed in turn, and the case must notice.

use holdgate_authoring::cases::{
    Act, Bodied, Case, Expected, ExpectedReply, ExpectedRequest, ExpectedUpstream, Members, Operator, Outcome, Play,
    Quantity, Test,
};
use holdgate_host::cases::play::End;
use holdgate_protocol::{Json, Pointer};

use crate::{corpus, each};

#[test]
fn every_expectation_of_the_corpus_can_fail() {
    let corpus = corpus();
    let survivors = each(&corpus, |loaded| {
        let mut survivors = Vec::new();
        for case in &loaded.file.cases {
            let mutants = mutants(case);
            assert!(!mutants.is_empty() || matches!(case.play, Play::Verdict(_)), "`{}` expects nothing", case.name);
            for (what, mutant) in mutants {
                if !matches!(loaded.play(&mutant).end, End::Failed { .. }) {
                    survivors.push(format!("{}: `{}`: {what}", loaded.path.display(), case.name));
                }
            }
        }
        survivors
    });
    assert!(survivors.is_empty(), "nobody notices:\n{}", survivors.join("\n"));
}

/// The case with one of its expectations changed, for each of them.
fn mutants(case: &Case) -> Vec<(String, Case)> {
    let Play::Scenario(scenario) = &case.play else { return Vec::new() };
    let mut mutants = Vec::new();
    for (place, step) in scenario.steps.iter().enumerate() {
        let Act::Expect(expected) = &step.act else { continue };
        for (what, other) in of_expected(expected) {
            let mut scenario = scenario.clone();
            // What holds goes on holding: nothing is waited for.
            scenario.steps[place].act = Act::Expect(Box::new(other));
            let case = Case { play: Play::Scenario(scenario), ..case.clone() };
            mutants.push((format!("line {}: {what}", step.at.line), case));
        }
    }
    mutants
}

fn of_expected(expected: &Expected) -> Vec<(String, Expected)> {
    let mut all = Vec::new();
    for (place, (name, request)) in expected.requests.iter().enumerate() {
        for (what, other) in of_request(request) {
            let mut mutant = expected.clone();
            mutant.requests[place].1 = other;
            all.push((format!("{name}: {what}"), mutant));
        }
    }
    for (what, metrics) in of_tests(&expected.metrics) {
        all.push((format!("the metric {what}"), Expected { metrics, ..expected.clone() }));
    }
    if expected.logs.is_some() {
        let logs = Some(vec!["no such line".to_owned()]);
        all.push(("the log".to_owned(), Expected { logs, ..expected.clone() }));
    }
    if let Some(records) = &expected.audit {
        let mut more = records.clone();
        more.push(Members::new());
        all.push(("one record more".to_owned(), Expected { audit: Some(more), ..expected.clone() }));
        for (place, record) in records.iter().enumerate() {
            for (what, other) in of_members(record) {
                let mut records = records.clone();
                records[place] = other;
                all.push((format!("record {place}: {what}"), Expected { audit: Some(records), ..expected.clone() }));
            }
        }
    }
    for (place, callout) in expected.callouts.iter().enumerate() {
        let count = match callout.count {
            Quantity::Some => Quantity::Exactly(99),
            Quantity::Exactly(count) => Quantity::Exactly(count + 1),
        };
        let mut mutant = expected.clone();
        mutant.callouts[place].count = count;
        all.push((format!("callout {place}: the count"), mutant));
        if callout.count == Quantity::Exactly(0) {
            continue;
        }
        for (what, members) in of_members(&callout.members) {
            let mut mutant = expected.clone();
            mutant.callouts[place].members = members;
            all.push((format!("callout {place}: {what}"), mutant));
        }
    }
    if let Some(holds) = expected.holds {
        all.push(("the number of holds".to_owned(), Expected { holds: Some(holds + 1), ..expected.clone() }));
    }
    all
}

fn of_request(request: &ExpectedRequest) -> Vec<(String, ExpectedRequest)> {
    let mut all = Vec::new();
    if let Some(outcome) = request.outcome {
        let other = if outcome == Outcome::Gone { Outcome::Reset } else { Outcome::Gone };
        all.push(("the outcome".to_owned(), ExpectedRequest { outcome: Some(other), ..request.clone() }));
    }
    if request.decision.is_some() {
        let decision = Some("no such word".to_owned());
        all.push(("the decision".to_owned(), ExpectedRequest { decision, ..request.clone() }));
    }
    for (what, upstream) in request.upstream.iter().flat_map(of_upstream) {
        all.push((format!("upstream: {what}"), ExpectedRequest { upstream: Some(upstream), ..request.clone() }));
    }
    for (what, reply) in request.reply.iter().flat_map(of_reply) {
        all.push((format!("reply: {what}"), ExpectedRequest { reply: Some(reply), ..request.clone() }));
    }
    all
}

fn of_upstream(upstream: &ExpectedUpstream) -> Vec<(String, ExpectedUpstream)> {
    let mut all = Vec::new();
    let wrong = || Some("no-such".to_owned());
    if upstream.method.is_some() {
        all.push(("method".to_owned(), ExpectedUpstream { method: wrong(), ..upstream.clone() }));
    }
    if upstream.target.is_some() {
        all.push(("target".to_owned(), ExpectedUpstream { target: wrong(), ..upstream.clone() }));
    }
    for (what, headers) in of_tests(&upstream.headers) {
        all.push((format!("header {what}"), ExpectedUpstream { headers, ..upstream.clone() }));
    }
    for (what, trailers) in of_tests(&upstream.trailers) {
        all.push((format!("trailer {what}"), ExpectedUpstream { trailers, ..upstream.clone() }));
    }
    for (what, body) in upstream.body.iter().flat_map(of_body) {
        all.push((what, ExpectedUpstream { body: Some(body), ..upstream.clone() }));
    }
    all
}

fn of_reply(reply: &ExpectedReply) -> Vec<(String, ExpectedReply)> {
    let mut all = Vec::new();
    let wrong = || Some("no-such".to_owned());
    if let Some(status) = reply.status {
        all.push(("status".to_owned(), ExpectedReply { status: Some(status + 1), ..reply.clone() }));
    }
    if reply.problem.is_some() {
        all.push(("problem".to_owned(), ExpectedReply { problem: wrong(), ..reply.clone() }));
    }
    if reply.next_action.is_some() {
        all.push(("next_action".to_owned(), ExpectedReply { next_action: wrong(), ..reply.clone() }));
    }
    if reply.rule.is_some() {
        all.push(("rule".to_owned(), ExpectedReply { rule: Some(wrong()), ..reply.clone() }));
    }
    for (what, headers) in of_tests(&reply.headers) {
        all.push((format!("header {what}"), ExpectedReply { headers, ..reply.clone() }));
    }
    for (what, body) in reply.body.iter().flat_map(of_body) {
        all.push((what, ExpectedReply { body: Some(body), ..reply.clone() }));
    }
    all
}

fn of_body(body: &Bodied) -> Vec<(String, Bodied)> {
    match body {
        Bodied::Bytes(_) => vec![("the body".to_owned(), Bodied::Bytes(b"no such body".to_vec()))],
        Bodied::Json(_) => vec![("the body".to_owned(), Bodied::Json("no such body".into()))],
        Bodied::Members(members) => {
            of_members(members).into_iter().map(|(what, members)| (what, Bodied::Members(members))).collect()
        }
    }
}

fn of_members(members: &Members) -> Vec<(String, Members)> {
    changed(members, |pointer: &Pointer| pointer.as_str().to_owned())
}

fn of_tests(tests: &[(String, Test)]) -> Vec<(String, Vec<(String, Test)>)> {
    changed(tests, String::clone)
}

/// The list with one of its tests turned into one that fails where it held.
fn changed<K: Clone>(tests: &[(K, Test)], name: impl Fn(&K) -> String) -> Vec<(String, Vec<(K, Test)>)> {
    let mut all = Vec::new();
    for (place, (key, test)) in tests.iter().enumerate() {
        for other in of_test(test) {
            let mut tests = tests.to_vec();
            tests[place].1 = other;
            all.push((name(key), tests));
        }
    }
    all
}

fn of_test(test: &Test) -> Vec<Test> {
    let wrong = || Json::String("no such value".to_owned());
    match test {
        Test::Is(_) | Test::Absent => vec![Test::Is(wrong())],
        Test::All(tests) => (0..tests.len())
            .map(|place| {
                let mut tests = tests.clone();
                let (operator, value) = &mut tests[place];
                *value = match operator {
                    Operator::Exists => Json::Bool(*value == Json::Bool(false)),
                    Operator::Gte => Json::parse(b"1e18").unwrap(),
                    Operator::Lte => Json::parse(b"-1").unwrap(),
                    Operator::Equals | Operator::Contains | Operator::Prefix => wrong(),
                };
                Test::All(tests)
            })
            .collect(),
    }
}
