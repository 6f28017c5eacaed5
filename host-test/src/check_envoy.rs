//! `holdgate check-envoy`: ways around the filter in a configuration of Envoy, and what undoes it.
//!
//! A file is read as Envoy reads it, all of its listeners, routes and clusters are collected, and each part is then held
//! against what the filter needs. What the file does not have, such as listeners that come from a management server, is
//! said to be not looked at. A dump of a running proxy (`/config_dump`) has those, too.

mod bootstrap;
mod certificates;
mod clusters;
mod codes;
mod filters;
mod holdgate;
mod listeners;
mod manager;
mod node;
mod report;
mod routes;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use holdgate_authoring::{MAX_BYTES, Source};
use serde::Serialize;

use crate::{
    check::{self, Finding},
    failure::{Failure, count},
    files,
    output::{Exit, Outcome},
};
use bootstrap::Bootstrap;
use codes::Code;
use report::Report;

/// What is wrong with some configurations.
#[derive(Serialize)]
struct EnvoyReport {
    files: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

impl fmt::Display for EnvoyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.findings.is_empty() {
            check::write_findings(&self.findings, f)?;
            return writeln!(f);
        }
        writeln!(f, "{}: no way around the filter found", count(self.files, "configuration"))
    }
}

/// Says how agents get around the filter. Warnings alone are no failure, unless `strict` says so.
pub(crate) fn run(paths: &[PathBuf], strict: bool) -> Result<Outcome, Failure> {
    let mut findings = Vec::new();
    for path in paths {
        findings.extend(examine(&path.display().to_string(), &files::read_source(path)?));
    }
    let (errors, warnings) = check::number(&findings);
    let exit = if errors > 0 || (strict && warnings > 0) { Exit::Findings } else { Exit::Good };
    let sarif = check::sarif::document(&findings)?;
    Ok(Outcome::new(&EnvoyReport { files: paths.len(), errors, warnings, findings }, exit)?.with_foreign(sarif))
}

/// The findings of one file, in the order of their places.
fn examine(name: &str, bytes: &[u8]) -> Vec<Finding> {
    let text = match str::from_utf8(bytes) {
        Ok(_) if bytes.len() > MAX_BYTES => {
            let problem = format!("the file has more than {MAX_BYTES} bytes, the most that are read");
            return vec![report::of_file(name, Code::Unreadable, &problem, "name a bootstrap file of Envoy")];
        }
        Ok(text) => text,
        Err(error) => {
            let problem = format!("the byte at {} is not UTF-8", error.valid_up_to());
            let help = "save the file as UTF-8; protobuf files (`.pb`) are not read, write YAML or JSON";
            return vec![report::of_file(name, Code::Unreadable, &problem, help)];
        }
    };
    let source = Source::new(name, text);
    let mut report = Report::new(name, &source);
    match node::parse(&source) {
        Err(problem) => report.add(problem.code, problem.span, problem.message, problem.help),
        Ok(root) => {
            if let Some(bootstrap) = Bootstrap::read(&root, &mut report) {
                bootstrap.check(&mut report);
                listeners::check(&bootstrap, &mut report);
            }
        }
    }
    report.finish()
}
