//! The shipped configuration with one edit each, and what is found then.

mod around;
mod certificates;
mod files;
mod filter;

use super::*;

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");

/// Places of the shipped configuration, each of which is there once; edits insert before them.
const MANAGER: &str = "                codec_type: AUTO\n";
const LISTENERS: &str = "    - name: agents\n      address:\n";
const LISTENER: &str = "      per_connection_buffer_limit_bytes: 2097152\n";
const FIRST_FILTER: &str = "                  - name: holdgate\n                    typed_config:\n";
const ROUTER: &str = "                  - name: envoy.filters.http.router\n";
const ROUTES: &str = "                  name: agents\n                  virtual_hosts:\n";
const HOST: &str = "                      domains: [\"*\"]\n";
const ROUTE: &str = "                        - match: {prefix: /}\n                          route:\n";
const ACTION: &str = "                            cluster: upstream\n";
const CLUSTERS: &str = "    # The approval service's listener for gateways";

/// What one edit leads to: codes, each with the text that its finding points at.
struct Case {
    name: &'static str,
    /// What is replaced.
    old: &'static str,
    new: &'static str,
    found: &'static [(&'static str, &'static str)],
}

impl Case {
    fn edited(&self) -> String {
        assert_eq!(SHIPPED.matches(self.old).count(), 1, "{}: `{}` is not there once", self.name, self.old);
        let new = self.new.replace("{old}", self.old);
        SHIPPED.replace(self.old, &new)
    }
}

/// Codes with what they point at.
fn found(text: &str) -> Vec<(&'static str, String)> {
    let findings = examine("envoy.yaml", text.as_bytes());
    let pointed = |finding: &Finding| {
        let (Some(line), Some(from), Some(to)) = (finding.line, finding.column, finding.end_column) else {
            return String::new();
        };
        let line = text.lines().nth(line - 1).unwrap();
        line.chars().skip(from - 1).take(to - from).collect()
    };
    findings.iter().map(|finding| (finding.code, pointed(finding))).collect()
}

#[test]
fn the_shipped_configuration_has_no_findings() {
    assert_eq!(found(SHIPPED), []);
}

#[test]
fn each_edit_leads_to_its_findings_and_no_others() {
    let mut wrong = String::new();
    for case in around::CASES.iter().chain(filter::CASES) {
        let text = case.edited();
        let found = found(&text);
        let is_as_expected = found.iter().map(|(code, at)| (*code, at.as_str())).eq(case.found.iter().copied());
        if !is_as_expected {
            let messages: Vec<String> = examine("x", text.as_bytes()).into_iter().map(|one| one.message).collect();
            wrong.push_str(&format!("{}: {found:?}, not {:?}: {messages:#?}\n", case.name, case.found));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_code_is_shown_by_a_case() {
    let cases = around::CASES.iter().chain(filter::CASES).flat_map(|case| case.found).map(|(code, _)| *code);
    let shown: Vec<&str> = cases.chain(files::SHOWN).chain(certificates::SHOWN).collect();
    for code in Code::ALL {
        assert!(shown.contains(&code.id()), "{} ({})", code.id(), code.title());
    }
}

#[test]
fn every_finding_says_what_to_write() {
    for case in around::CASES.iter().chain(filter::CASES) {
        for finding in examine("envoy.yaml", case.edited().as_bytes()) {
            let help = finding.help.unwrap();
            assert!(!help.is_empty() && !help.ends_with('.'), "{}: {help}", case.name);
            assert!(!finding.message.ends_with('.') && !finding.message.contains("  "), "{}", finding.message);
            assert_eq!(finding.line.is_some(), finding.code != "HE004");
        }
    }
}

#[test]
fn codes_rise_and_their_table_is_complete() {
    let ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let readme = include_str!("../../../envoy/README.md");
    let (_, section) = readme.split_once("## What check-envoy finds\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| HE")?.strip_suffix(" |"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    let titles: Vec<(String, &str)> = rows.iter().map(|row| (format!("HE{}", row[0]), row[1])).collect();
    let expected: Vec<(String, &str)> = Code::ALL.iter().map(|code| (code.id().to_owned(), code.title())).collect();
    assert_eq!(titles, expected);
    assert!(rows.iter().all(|row| row.len() == 3 && !row[2].is_empty()), "{rows:?}");
}
