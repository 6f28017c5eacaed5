//! `holdgate check-envoy`.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::place::Place;

fn shipped() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/envoy.yaml")).unwrap()
}

#[test]
fn an_operator_is_told_where_and_what_to_write() {
    let place = Place::new();
    let text = shipped().replace("FAIL_RELOAD", "FAIL_OPEN").replace("cluster: upstream\n", "cluster: approval\n");
    place.write("envoy.yaml", &text);
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let (route, policy) = (line("cluster: approval"), line("FAIL_OPEN"));
    // The edge is as wide as the number of the line.
    let (a, b) = (" ".repeat(route.to_string().len()), " ".repeat(policy.to_string().len()));
    let expected = format!(
        "\
envoy.yaml:{route}:38: error[HE111]: `approval` leads to the approval service: agents can send it what only the filter may
{a} |
{route} |                             cluster: approval
{a} |                                      ^^^^^^^^
{a} = help: remove the route; agents ask for their tasks at `/.well-known/holdgate/tasks/`, which the filter answers

envoy.yaml:{policy}:41: error[HE119]: when the filter fails, requests pass it unseen; an agent that makes it fail is free
{b} |
{policy} |                         failure_policy: FAIL_OPEN
{b} |                                         ^^^^^^^^^
{b} = help: write `failure_policy: FAIL_RELOAD` in the filter's `config`, and no `fail_open`

2 mistakes found
"
    );
    let outcome = place.run("check-envoy envoy.yaml");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.code), (expected.as_str(), "", 1));

    let outcome = place.run("check-envoy envoy.yaml --format json");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (outcome.code, &report["files"], &report["errors"], &report["warnings"]),
        (1, &1.into(), &2.into(), &0.into())
    );
    let finding = &report["findings"][0];
    assert_eq!((&finding["code"], &finding["line"], &finding["column"]), (&"HE111".into(), &route.into(), &38.into()));
    assert_eq!(finding["page"], "envoy/README.md#what-check-envoy-finds");

    let outcome = place.run("check-envoy envoy.yaml --format sarif");
    let sarif: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"][1]["ruleId"], "HE119");
    assert_eq!(outcome.code, 1);
}

#[test]
fn warnings_of_a_proxy_fail_only_where_they_are_asked_to() {
    let place = Place::new();
    place.write("good.yaml", &shipped()).write("warn.yaml", &shipped().replace("FAIL_RELOAD", "FAIL_CLOSED"));
    assert_eq!(
        place.succeeds("check-envoy --strict good.yaml good.yaml"),
        "2 configurations: no way around the filter found\n"
    );
    let said = place.succeeds("check-envoy good.yaml warn.yaml");
    assert!(said.starts_with("warn.yaml:") && said.ends_with("\n\n1 warning found\n"), "{said}");
    let outcome = place.run("check-envoy warn.yaml --strict");
    assert_eq!((outcome.code, outcome.stdout), (1, said));
}

#[test]
fn a_file_that_is_not_there_is_no_finding() {
    let place = Place::new();
    place.fails("check-envoy nothing.yaml", 2, "cannot read `nothing.yaml`: No such file or directory (os error 2)\n");
    assert_eq!(place.run("check-envoy").code, 2);
    assert_eq!(place.run("check-envoy x.yaml --format junit").code, 2);
    let outcome = place.run("check-envoy /dev/zero");
    assert!(outcome.stdout.contains("error[HE001]"), "{}", outcome.stdout);
    assert_eq!(outcome.code, 1);
}

#[test]
fn the_commands_for_operators_work() {
    let place = Place::new();
    place.write("envoy.yaml", &shipped());
    let (_, section) = include_str!("../../README.md").split_once("## Envoy\n").unwrap();
    let (block, _) = section.split_once("```\n").unwrap().1.split_once("```").unwrap();
    let commands: Vec<&str> = block.lines().map(|line| line.split(" #").next().unwrap().trim_end()).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        if let Some(arguments) = command.strip_prefix("holdgate ") {
            place.succeeds(arguments);
        } else {
            // The admin interface of the shipped configuration answers this; its form is that of Envoy 1.40.
            assert_eq!(command, "curl -s localhost:8004/config_dump > dump.json");
            assert!(shipped().contains("{address: 127.0.0.1, port_value: 8004}"));
            place.write("dump.json", &dump().to_string());
        }
    }
}

/// What a proxy with the shipped configuration shows of itself.
fn dump() -> Value {
    let config: Value = serde_saphyr::from_str(&shipped()).unwrap();
    let wrapped = |list: &str, name: &str| -> Value {
        let items = config["static_resources"][list].as_array().unwrap().iter();
        items.map(|item| json!({ name: item, "last_updated": "2026-01-07T12:00:00.000Z" })).collect()
    };
    json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": config},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": wrapped("clusters", "cluster")},
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": wrapped("listeners", "listener")},
    ]})
}
