//! `holdgate replay`.

use std::{fs::File, io::Write as _};

use holdgate_protocol::audit::AuditRecord;
use serde_json::{Value, json};

use crate::place::Place;

const POLICY: &str = "\
format: 1
policy: demo
approvers: {boss: {}, chief: {}}
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET], path: /**}
  - id: stranger
    effect: deny
    match:
      - agent: {id: {equals: bad-bot}}
  - id: write
    effect: hold
    match:
      - http: {methods: [POST], path: /**}
    approval: {factors: [{role: boss, approvals: 1}], decide_within: 10m, use_within: 10m}
  - id: admin
    effect: hold
    match:
      - http: {methods: [PUT], path: /roles}
        body: {/role: {equals: admin}}
    approval: {factors: [{role: boss, approvals: 1}, {role: chief, approvals: 1}], decide_within: 30m, use_within: 10m}
  - id: put
    effect: allow
    match:
      - http: {methods: [PUT], path: /roles}
  - id: team
    effect: deny
    match:
      - http: {methods: [DELETE], path: /**}
        agent: {claims: {team: {exists: false}}}
  - id: trial
    effect: deny
    mode: shadow
    match:
      - http: {path: /x}
tests:
  - name: a read passes
    request: {agent: {}, http: {method: GET, path: /x}}
    expect: {effect: allow, rule: read}
";

fn audit(time: u64, effect: &str, method: &str, path: &str, agent: &Value) -> String {
    let request = json!({"method": method, "authority": "api.example", "path": path, "digest": null});
    let record = json!({
        "seq": 1, "t": time, "effect": effect, "decided_by": "policy", "code": "rule", "rules": [], "policy": null,
        "agent": agent, "request": request, "hold": null, "status": null,
    });
    // As gateways write it.
    let record: AuditRecord<'_> = serde_json::from_value(record).unwrap();
    serde_json::to_string(&record).unwrap() + "\n"
}

fn agent(id: &str) -> Value {
    json!({"iss": "https://idp.example", "sub": "user", "act": [{"iss": "https://idp.example", "sub": id}], "owner": "group/a"})
}

fn replay(place: &Place, arguments: &str) -> Value {
    let outcome = place.run(&format!("replay {arguments} --policy p.yaml --format json"));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let (records, bad) = (&report["records"], &report["bad"]["count"]);
    let code = if records == bad { 2 } else { i32::from(*bad != 0) };
    assert_eq!((outcome.code, outcome.stderr.as_str()), (code, ""), "{report}");
    report
}

fn counts(allow: u64, hold: u64, deny: u64) -> Value {
    json!({"allow": allow, "hold": hold, "deny": deny})
}

#[test]
fn audit_records_are_judged_again() {
    let place = Place::new();
    let mut log = String::new();
    for (effect, method, path, who) in [
        ("allow", "GET", "/x", agent("bot")),
        ("allow", "GET", "/x", agent("bad-bot")),
        ("allow", "POST", "/y", agent("bot")),
        ("hold", "POST", "/y", agent("bot-2")),
        ("allow", "PUT", "/roles", agent("bot")),
        ("allow", "DELETE", "/z", agent("bot")),
        ("deny", "GET", "/x", Value::Null),
        ("deny", "GET", "/a//b", agent("bot")),
    ] {
        log.push_str(&audit(1_790_000_000, effect, method, path, &who));
    }
    log.push_str("{\"t\":1}\nnonsense\n\n");
    place.write("p.yaml", POLICY).write("log.jsonl", &log);
    let report = replay(&place, "log.jsonl");
    assert_eq!(report["records"], 10);
    assert_eq!(report["verdicts"], counts(1, 3, 3));
    // Whether the PUT makes somebody an admin, and whether the DELETE comes from a team, no audit record tells.
    assert_eq!(report["uncertain"], counts(0, 1, 1));
    let looked_at = json!([{"what": "claims", "rules": 1}, {"what": "body", "rules": 1}]);
    assert_eq!(report["looked_at"], looked_at);
    assert_eq!(report["no_rule"], 0, "it is not known that nobody is no bad bot");
    assert_eq!(report["compared"], 7);
    let moved = |from: &str, to: &str, count: u64, uncertain: u64| json!({"from": from, "to": to, "count": count, "uncertain": uncertain});
    assert_eq!(report["changed"], json!([moved("allow", "hold", 2, 1), moved("allow", "deny", 2, 1)]));
    let rule = |id: &str| report["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == id).unwrap().clone();
    assert_eq!(
        (&rule("write")["held"], &rule("admin")["uncertain"], &rule("trial")["shadow"]),
        (&json!(2), &json!(1), &json!(3))
    );
    assert_eq!(report["bad"]["count"], 2);
    assert!(report["bad"]["first"][0].as_str().unwrap().starts_with("log.jsonl:9: missing field `effect`"), "{report}");
    assert_eq!(report["refused"], json!({"count": 1, "first": ["log.jsonl:8: the path has an empty segment"]}));
    let busiest = &report["agents"][0];
    assert_eq!((&busiest["agent"], &busiest["verdicts"]), (&json!("bot"), &counts(1, 2, 1)));
    let report = replay(&place, "log.jsonl --top 1");
    assert_eq!((report["agents"].as_array().unwrap().len(), &report["other_agents"]), (1, &counts(0, 1, 2)));
    let said = place.run("replay log.jsonl --policy p.yaml").stdout;
    for part in [
        "10 records: 1 allow, 3 hold, 3 deny\n2 could not be read:\n  log.jsonl:9: ",
        "2 verdicts rest on what the records do not tell (0 allow, 1 hold, 1 deny)",
        "changed verdicts: 4 of 7\n  allow -> hold: 2, 1 of them uncertain\n",
        "        2 hold  write\n",
        "        3 deny  trial, shadow: would have matched\n",
        "        3 2026-09-21T14:00:00Z\n",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn envoy_logs_are_read_compressed_or_not() {
    let place = Place::new();
    let policy = POLICY.replace("methods: [POST], path: /**}", "methods: [POST], path: /**}\n      - agent: {owner: {equals: group/b}}\n        http: {methods: [PATCH], path: /p}");
    place.write("p.yaml", &policy.replace("agent: {id: {equals: bad-bot}}", "http: {path: /never}"));
    let line = |time: &str, method: &str, path: &str, agent: &str| {
        format!(
            "{{\"start_time\":{time},\"method\":\"{method}\",\"authority\":\"API.example:443\",\"path\":\"{path}\",\
             \"response_code\":200{agent}}}\n"
        )
    };
    let told = ",\"agent_id\":\"bot\",\"agent_issuer\":\"https://i\",\"agent_owner\":\"group/a\"";
    let log = line("\"2026-01-07T12:34:56.789Z\"", "GET", "/x?a=1", "")
        + &line("\"1767789296\"", "PATCH", "/p?a=1", told)
        + &line("null", "PATCH", "/p", ",\"agent_id\":\"-\",\"agent_issuer\":null")
        + &line("\"-\"", "POST", "/p", ",\"headers\":{\"x-risk\":\"1\",\"x-none\":null}");
    place.write("log.jsonl", &log);
    let report = replay(&place, "log.jsonl");
    assert_eq!((&report["verdicts"], &report["bad"]["count"]), (&counts(1, 2, 1), &json!(0)));
    // The patch of an agent that the log does not tell may come from group/b.
    assert_eq!(report["uncertain"], counts(0, 1, 0));
    assert_eq!(report["untimed"], 2);
    let mut file =
        flate2::write::GzEncoder::new(File::create(place.path().join("log.gz")).unwrap(), flate2::Compression::fast());
    file.write_all(log.as_bytes()).unwrap();
    file.finish().unwrap();
    assert_eq!(replay(&place, "log.gz"), report);
    assert_eq!(replay(&place, "log.gz log.jsonl")["records"], 8);
}

#[test]
fn archives_of_browsers_have_bodies_and_headers() {
    let place = Place::new();
    let policy = POLICY.replace(
        "tests:",
        "  - id: unsure\n    effect: deny\n    match:\n      - http: {methods: [POST], headers: {x-risk: {gt: 5}}}\ntests:",
    );
    let entry = |method: &str, url: &str, headers: Value, body: Value| {
        let request = json!({"method": method, "url": url, "headers": headers, "postData": body});
        json!({"startedDateTime": "2026-01-07T12:00:00+01:00", "request": request, "response": {"status": 200}})
    };
    let body = |text: &str| json!({"mimeType": "application/json", "text": text});
    let risk = json!([{"name": "X-Risk", "value": "9"}, {"name": ":path", "value": "/"}]);
    let entries = [
        entry("PUT", "https://api.example/roles", json!([]), body(r#"{"role":"admin"}"#)),
        entry("PUT", "https://api.example/roles", json!([]), body(r#"{"role":"viewer"}"#)),
        entry("PUT", "https://api.example/roles?x=1#f", json!([]), body(r#"{"role":"admin","role":"x"}"#)),
        entry("PUT", "https://api.example/roles", json!([]), json!({"mimeType": "application/json"})),
        entry("POST", "https://api.example/y", risk, Value::Null),
        json!({"request": {"method": "GET"}}),
        entry("GET", "nowhere", json!([]), Value::Null),
    ];
    let har = json!({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": entries}});
    place.write("p.yaml", &policy.replace("agent: {id: {equals: bad-bot}}", "http: {path: /never}"));
    for text in [format!("\u{feff}{har}"), serde_json::to_string_pretty(&har).unwrap()] {
        place.write("x.har", &text);
        let report = replay(&place, "x.har");
        assert_eq!((&report["records"], &report["bad"]["count"]), (&json!(7), &json!(2)));
        assert_eq!(report["verdicts"], counts(1, 3, 1));
        assert_eq!(report["uncertain"], counts(0, 2, 0), "bodies that have no single reading, or no text");
    }
}

#[test]
fn reviewers_are_forecast_from_the_holds_of_the_record() {
    let place = Place::new();
    place.write("p.yaml", POLICY);
    // 40 holds in the first hour and 20 in the second, 4 of each 5 with two minutes of work for one person.
    let log: String = (0..60)
        .map(|at| {
            let time = if at < 40 { 3600 + at * 80 } else { 7200 + (at - 40) * 180 };
            audit(time, "hold", if at % 5 == 0 { "PUT" } else { "POST" }, "/roles", &agent("bot"))
        })
        .collect();
    place.write("log.jsonl", &log);
    let report = replay(&place, "log.jsonl --reviewers 2 --handling 2m");
    assert_eq!(report["holds_per_hour"], json!([{"start": 3600, "holds": 40}, {"start": 7200, "holds": 20}]));
    let load = &report["reviewers"];
    assert_eq!(
        (&load["reviewers"], &load["handling"], &load["decisions_per_hold"]),
        (&json!(2), &json!(120), &json!(1.2))
    );
    let busiest = &load["busiest"];
    assert_eq!(busiest["holds_per_hour"], 40.0);
    assert!((busiest["load"].as_f64().unwrap() - 0.8).abs() < 1e-9, "{busiest}");
    let (mean, busy) = (load["mean"]["expires"].as_f64().unwrap(), busiest["expires"].as_f64().unwrap());
    assert!(mean < busy && busy < 0.2, "{load}");
    let said = place.succeeds("replay log.jsonl --policy p.yaml --reviewers 1");
    assert!(said.contains("busiest hour: 40.0 holds, load 160 %"), "{said}");
    assert!(said.contains("M/M/c+D"), "the model is named: {said}");
    assert!(said.contains("at most 1 % expire with 3 or more reviewers"), "{said}");
}

#[test]
fn a_log_does_not_play_tricks_on_a_terminal() {
    let place = Place::new();
    let long = "x".repeat(100_000);
    let log = audit(1, "allow", "GET", "/x", &agent("\u{1b}[2Jbot\u{202e}")) + &format!("{{\"t\":\"\u{9b}{long}\"}}\n");
    place.write("p.yaml", POLICY).write("log.jsonl", &log);
    let said = place.run("replay log.jsonl --policy p.yaml").stdout;
    assert!(said.contains("deny  \\u{1b}[2Jbot\\u{202e}\n"), "{said}");
    assert!(!said.contains('\u{9b}') && said.len() < 3000, "{said}");
}

#[test]
fn what_is_no_log_is_said() {
    let place = Place::new();
    place.write("p.yaml", POLICY).write("x.txt", "GET / 200\n").write("x.har", "{\"log\": {\"entries\": [");
    let expected =
        "`x.txt` is no log that is known; say what it is with `--from audit`, `--from envoy` or `--from har`\n";
    place.fails("replay x.txt --policy p.yaml", 2, expected);
    assert_eq!(replay(&place, "x.txt --from envoy")["bad"]["count"], 1);
    let outcome = place.run("replay x.har --policy p.yaml");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.starts_with("`x.har` is not a HAR archive: EOF"), "{}", outcome.stderr);
    assert_eq!(place.run("replay x.txt --policy p.yaml --handling 2").code, 2);
    assert_eq!(place.run("replay no.txt --policy p.yaml").code, 2);
    assert_eq!(place.run("replay x.txt").code, 2);
    // A bundle is a policy too.
    place.write("log.jsonl", &audit(1, "allow", "GET", "/x", &agent("bot")));
    place.succeeds("build p.yaml --out p.jcs");
    assert!(place.succeeds("replay log.jsonl --policy p.jcs").contains("1 records: 1 allow"));
}

#[test]
fn the_documented_line_of_an_access_log_is_read() {
    let place = Place::new();
    let readme = include_str!("../../README.md");
    let fenced = |language: &str| {
        let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let line: Value = serde_json::from_str(fenced("json")).unwrap();
    let names: Vec<&str> = fenced("yaml").lines().skip(1).map(|line| line.trim().split(':').next().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| line.get(**name).is_some()).count(), line.as_object().unwrap().len());
    let rules = "\
format: 1
policy: demo
rules:
  - id: known
    effect: allow
    match:
      - http: {path: /iam/users, query: {page: {equals: '2'}}, headers: {x-model-confidence: {gt: 0.8}}}
        agent: {id: {equals: bot-1}, owner: {equals: group/iam}}
tests: []
";
    place.write("p.yaml", rules).write("log.jsonl", fenced("json"));
    let report = replay(&place, "log.jsonl");
    assert_eq!((&report["verdicts"], &report["uncertain"]), (&counts(1, 0, 0), &counts(0, 0, 0)));
    assert_eq!(report["untimed"], 0);
}

#[test]
fn rates_and_times_of_day_are_replayed() {
    let place = Place::new();
    let rules = "\
format: 1
policy: demo
rules:
  - id: burst
    effect: deny
    match:
      - http: {path: /b}
        rate: {over: 2, per: 1m, by: agent}
  - id: night
    effect: deny
    match:
      - http: {path: /n}
        time: {outside: {from: '08:00', to: '18:00'}, zone: Europe/Berlin}
  - id: all
    effect: allow
    match:
      - http: {path: /**}
tests: []
";
    place.write("p.yaml", rules);
    let noon = 1_767_783_600; // 2026-01-07T11:00:00Z, noon in Berlin
    let log: String = [
        (noon, "/b", "one"),
        (noon + 10, "/b", "two"),
        (noon + 20, "/b", "one"),
        (noon + 59, "/b", "one"),
        (noon + 61, "/b", "two"),
        (noon + 130, "/b", "one"),
        (noon, "/n", "one"),
        (noon + 7 * 3600, "/n", "one"),
    ]
    .map(|(time, path, id)| audit(time, "allow", "GET", path, &agent(id)))
    .concat();
    place.write("log.jsonl", &log);
    let report = replay(&place, "log.jsonl");
    assert_eq!((&report["verdicts"], &report["uncertain"]), (&counts(6, 0, 2), &counts(0, 0, 0)));
    assert_eq!(report["agents"][0]["verdicts"], counts(4, 0, 2));
}

#[test]
fn tool_calls_of_an_archive_are_judged_by_their_arguments() {
    let place = Place::new();
    let rules = "\
format: 1
policy: demo
rules:
  - id: pay
    effect: deny
    match:
      - mcp: {tool: pay, args: {/amount: {gt: 100}}}
  - id: all
    effect: allow
    match:
      - http: {path: /**}
tests: []
";
    place.write("p.yaml", rules);
    let call = |amount: u32| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pay", "arguments": {"amount": amount}}});
        json!({"request": {"method": "POST", "url": "https://a.example/mcp", "postData": {"text": body.to_string()}}})
    };
    place.write("x.har", &json!({"log": {"entries": [call(7), call(700)]}}).to_string());
    assert_eq!(replay(&place, "x.har")["verdicts"], counts(2, 0, 0), "without --mcp it is a path like any other");
    assert_eq!(replay(&place, "x.har --mcp /mcp")["verdicts"], counts(1, 0, 1));
    place.write("log.jsonl", &audit(1, "allow", "POST", "/mcp", &agent("bot")));
    let report = replay(&place, "log.jsonl --mcp /mcp");
    assert_eq!((&report["verdicts"], &report["uncertain"]), (&counts(0, 0, 1), &counts(0, 0, 1)));
}

#[test]
fn rates_and_times_that_nothing_is_known_of_are_uncertain() {
    let place = Place::new();
    let rules = "\
format: 1
policy: demo
rules:
  - id: burst
    effect: deny
    match:
      - http: {path: /b}
        rate: {over: 2, per: 1m, by: agent}
  - id: all-burst
    effect: deny
    match:
      - http: {path: /c}
        rate: {over: 2, per: 1m, by: rule}
  - id: night
    effect: deny
    match:
      - http: {path: /n}
        time: {outside: {from: '08:00', to: '18:00'}, zone: Europe/Berlin}
  - id: tool
    effect: deny
    match:
      - mcp: {tool: pay}
  - id: all
    effect: allow
    match:
      - http: {path: /**}
tests: []
";
    let line = |path: &str, rest: &str| {
        format!("{{\"method\":\"GET\",\"authority\":\"a.example\",\"path\":\"{path}\"{rest}}}\n")
    };
    let timed = ",\"start_time\":\"2026-01-07T12:00:00Z\"";
    let known = ",\"start_time\":\"2026-01-07T12:00:00Z\",\"agent_id\":\"bot\",\"agent_issuer\":\"https://i\"";
    place.write("p.yaml", rules);
    place.write("log.jsonl", &[line("/b", known), line("/c", known), line("/n", known), line("/x", known)].concat());
    let report = replay(&place, "log.jsonl");
    assert_eq!((&report["verdicts"], &report["looked_at"]), (&counts(4, 0, 0), &json!([])));
    // Of a request of some agent, at a known time, only the rate of agents is unknown.
    place.write("log.jsonl", &[line("/b", timed), line("/c", timed), line("/n", timed), line("/x", timed)].concat());
    let report = replay(&place, "log.jsonl");
    assert_eq!((&report["verdicts"], &report["uncertain"]), (&counts(3, 0, 1), &counts(0, 0, 1)));
    assert_eq!(report["looked_at"], json!([{"what": "rate", "rules": 1}]));
    // Counters of one kind of records are not those of another: three of these are too many, known agent or not.
    let mixed = [line("/c", timed), line("/c", known), line("/c", timed)].concat();
    place.write("log.jsonl", &mixed);
    assert_eq!(replay(&place, "log.jsonl")["verdicts"], counts(2, 0, 1));
    place.write("log.jsonl", &[line("/b", ""), line("/c", ""), line("/n", ""), line("/x", "")].concat());
    let report = replay(&place, "log.jsonl");
    assert_eq!((&report["verdicts"], &report["uncertain"]), (&counts(1, 0, 3), &counts(0, 0, 3)));
    assert_eq!(report["looked_at"], json!([{"what": "rate", "rules": 2}, {"what": "time", "rules": 1}]));
    let said = place.succeeds("replay log.jsonl --policy p.yaml");
    for part in [
        "the rules look at: rate (2 rules), time (1 rule)\n",
        "4 records have no time\n",
        "hint: 1 rule asks for MCP messages, and no path is an MCP endpoint; name one with `--mcp /path`\n",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!place.succeeds("replay log.jsonl --policy p.yaml --mcp /mcp").contains("hint: "));
    assert_eq!(place.run("replay log.jsonl --policy p.yaml --mcp mcp").code, 2);
}

#[test]
fn what_could_not_be_read_shows_in_the_exit_code() {
    let place = Place::new();
    place.write("p.yaml", POLICY).write("q.yaml", &crate::place::POLICY.replace("demo", "other").replace("read", "q"));
    let good = audit(1, "allow", "GET", "/x", &agent("bot"));
    let code = |log: &str| {
        place.write("log.jsonl", log);
        // The files may stand behind the policies.
        let outcome = place.run("replay --policy p.yaml --policy q.yaml log.jsonl --from audit");
        assert!(outcome.stdout.contains("records: "), "{}", outcome.stderr);
        outcome.code
    };
    assert_eq!(code(&good), 0);
    assert_eq!(code(&format!("{good}bad\n")), 1);
    assert_eq!(code("bad\nbad\n"), 2);
    assert_eq!(code(""), 2, "no record at all");
    place.write("log.jsonl", &"bad\n".repeat(5));
    let said = place.run("replay log.jsonl --policy p.yaml --from audit").stdout;
    assert!(said.contains("  and 2 more\n"), "{said}");
}

#[test]
fn an_archive_takes_no_more_memory_than_an_entry_may_have() {
    let place = Place::new();
    place.write("p.yaml", POLICY);
    let response = json!({"content": {"text": "x".repeat(17 << 20)}});
    let entry = |url: &str| json!({"request": {"method": "GET", "url": url}, "response": response});
    let archive = |entries: Value| json!({"log": {"version": "1.2", "entries": entries}}).to_string();
    place.write("x.har", &archive(json!([entry("https://a.example/x"), entry("https://a.example/x")])));
    assert_eq!(replay(&place, "x.har")["verdicts"]["allow"], 0, "it is not known that it is no bad bot");
    assert_eq!(replay(&place, "x.har")["records"], 2, "of responses nothing is kept");
    place.write("x.har", &archive(json!([entry(&format!("https://a.example/{}", "x".repeat(17 << 20)))])));
    let expected = "`x.har` is not a HAR archive: an entry is longer than 16 MiB at line 1 column ";
    let outcome = place.run("replay x.har --policy p.yaml");
    assert_eq!((outcome.code, outcome.stderr.starts_with(expected)), (2, true), "{}", outcome.stderr);
}

#[test]
fn the_audit_record_of_the_readme_is_one() {
    let place = Place::new();
    let line = include_str!("../../README.md").lines().find(|line| line.trim_start().starts_with("{\"t\":")).unwrap();
    place.write("p.yaml", POLICY).write("log.jsonl", line.trim());
    let report = replay(&place, "log.jsonl");
    assert_eq!(
        (&report["verdicts"], &report["compared"], &report["untimed"]),
        (&counts(0, 1, 0), &json!(1), &json!(0))
    );
    assert_eq!(report["agents"][0]["agent"], "bot-1");
}
