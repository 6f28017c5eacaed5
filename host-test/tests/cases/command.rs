//! `holdgate run` as its users see it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

const CASES: &str = "\
policy: rules.policy.yaml
requests:
  read: {http: GET /x}
  pay: {http: POST /pay, body: {amount: 5}}
cases:
  - name: a read passes
    request: {like: read}
    expect: forwarded
  - name: a payment waits
    why: Somebody looks at it.
    steps: [{send: pay}, {decide: denied}]
    expect: {outcome: forwarded, reply: {status: 200, json: {/decided_by: nobody}}}
  - name: what cannot be played here
    not_on: {native: there is no network}
    request: {like: read}
    expect: waiting
";
const RULES: &str = "\
format: 1
policy: p
approvers: {lead: {}}
rules:
  - {id: read, effect: allow, match: [{http: {methods: [GET], path: /**}}]}
  - id: pay
    effect: hold
    match: [{http: {methods: [POST], path: /pay}}]
    approval: {factors: [{role: lead, approvals: 1}], decide_within: 1h, use_within: 10m}
";

fn folder(cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cases.yaml"), cases).unwrap();
    fs::write(folder.path().join("rules.policy.yaml"), RULES).unwrap();
    folder
}

/// Exit code, standard output and standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_holdgate"))
        .current_dir(folder)
        .args(["run", "--on", "native"])
        .args(arguments)
        .output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_case_that_fails_shows_what_was_expected_what_came_and_what_happened() {
    let folder = folder(CASES);
    let (code, shown, _) = run(folder.path(), &["."]);
    assert_eq!(code, 1, "{shown}");
    for part in [
        "./cases.yaml:9:11: case `a payment waits` failed on native, at line 12",
        "`request`: the outcome\n    expected: forwarded to the upstream\n    came:     answered by the gateway: 403",
        "why this case: Somebody looks at it.",
        "what happened:",
        "call 4 to the service: POST /v1/holds",
        "1 case passed, 1 failed, 1 skipped in ",
    ] {
        let part = part.replace("`request`", "`pay`");
        assert!(shown.contains(&part), "`{part}` is not in\n{shown}");
    }
    assert!(!shown.contains("a read passes"), "{shown}");
}

#[test]
fn cases_can_be_chosen_and_traced() {
    let folder = folder(CASES);
    let (code, shown, _) = run(folder.path(), &["cases.yaml", "--filter", "read", "--trace", "--jobs", "1"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("case `a read passes` passed on native"), "{shown}");
    assert!(shown.contains("goes on to the upstream") && shown.contains("1 case passed in"), "{shown}");
    let (code, _, told) = run(folder.path(), &["cases.yaml", "--filter", "nothing of that name"]);
    assert_eq!((code, told.trim()), (2, "no case has `nothing of that name` in its name"));
}

#[test]
fn programs_read_json_and_junit() {
    let folder = folder(CASES);
    let (code, shown, _) = run(folder.path(), &[".", "--format", "json"]);
    let report: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &report["passed"], &report["failed"], &report["skipped"]), (1, &1.into(), &1.into(), &1.into()));
    let failed = &report["cases"][1];
    assert_eq!((&failed["name"], &failed["came"]["outcome"]), (&"a payment waits".into(), &"failed".into()));
    assert_eq!(failed["came"]["differences"][0]["expected"], "forwarded to the upstream");
    assert!(failed["trace"].as_array().unwrap().len() > 3);

    let (_, shown, _) = run(folder.path(), &[".", "--format", "junit"]);
    assert!(shown.contains(r#"<testsuites name="holdgate" tests="3" skipped="1" failures="1" errors="0">"#), "{shown}");
    assert!(shown.contains(r#"<skipped message="there is no network"/>"#), "{shown}");
    let (code, shown, _) = run(folder.path(), &[".", "--filter", "read", "--format", "human"]);
    assert!(code == 0 && shown.starts_with("1 case passed in"), "{shown}");
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let mistakes = [
        ("expect: forwarded", "expect: {outcome: fowarded}", "did you mean `forwarded`?"),
        ("{like: read}", "{like: red}", "there is no request `red`"),
        ("{send: pay}", "{sent: pay}", "did you mean `send`?"),
        ("{send: pay}", "{send: pay, wait: 1s}", "a step is one thing that happens"),
        ("{send: pay}", "{send: pay}, {send: pay}", "give this try a name of its own"),
        ("{decide: denied}", "{decide: {pya: denied}}", "did you mean `pay`?"),
        ("native: there", "navite: there", "`navite` is no driver and no profile"),
        ("reply: {status: 200", "reply: {status: 200, text: a", "a body is described once"),
        ("/decided_by: nobody", "decided_by: nobody", "write `/decided_by` to name a member"),
        ("expect: waiting", "exepct: waiting", "did you mean `expect`?"),
        ("body: {amount: 5}", "body: {amount: 5}, pause: 5", "is not a time"),
    ];
    for (right, wrong, told) in mistakes {
        let folder = folder(&CASES.replacen(right, wrong, 1));
        let (code, _, shown) = run(folder.path(), &["cases.yaml"]);
        assert!(code == 1 && shown.contains(told) && shown.contains("cases.yaml:"), "{wrong}: {code}\n{shown}");
    }
    let folder = folder(&CASES.replace("rules.policy.yaml", "rule.policy.yaml"));
    let (code, shown, _) = run(folder.path(), &["cases.yaml"]);
    assert!(code == 1 && shown.contains("is neither beside `cases.yaml` nor in a folder above it"), "{shown}");
}

#[test]
fn watched_cases_are_played_again_when_a_file_changes() {
    let folder = folder(CASES);
    let arguments = ["run", "--on", "native", "cases.yaml", "--filter", "read", "--watch"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate"));
    let command = command.current_dir(folder.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let next = || told.recv_timeout(Duration::from_secs(60)).unwrap();
    let first = next();
    // Both the cases and the rules that they name are watched.
    let rules =
        RULES.replace("effect: allow, match: [{http: {methods: [GET]", "effect: deny, match: [{http: {methods: [GET]");
    fs::write(folder.path().join("rules.policy.yaml"), rules).unwrap();
    let second = next();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.starts_with("1 case passed in "), "{first}");
    assert!(second.contains("case `a read passes` failed on native"), "{second}");
}

/// A case that is never decided upon, or waits for a hold that never comes, ends all the same.
#[test]
fn a_case_that_cannot_go_on_says_why() {
    let folder = folder(&CASES.replacen("{send: pay}", "{send: read}", 1));
    let (code, shown, _) = run(folder.path(), &[".", "--filter", "waits"]);
    assert_eq!(code, 1);
    assert!(shown.contains("could not be played on native, at line 11"), "{shown}");
    assert!(shown.contains("no hold was opened within ten seconds, and one is to be decided"), "{shown}");
}
