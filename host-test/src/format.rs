//! `holdgate fmt`.

use std::{fmt, path::PathBuf};

use holdgate_authoring::format::{FormatError, format};
use serde::Serialize;

use crate::{
    check::Finding,
    failure::{Failure, count},
    files::{self, Access},
    output::{Exit, Outcome},
};

/// What became of the files.
#[derive(Serialize)]
struct FormatReport {
    /// Whether nothing was written.
    check: bool,
    /// Files with another layout.
    changed: Vec<String>,
    /// What each of them has that an editor may not show.
    #[serde(skip)]
    marks: Vec<&'static str>,
    unchanged: usize,
}

impl fmt::Display for FormatReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = if self.check { "is not formatted; run `holdgate fmt`" } else { "formatted" };
        for (file, marks) in self.changed.iter().zip(&self.marks) {
            writeln!(f, "{file}: {said}{marks}")?;
        }
        if self.changed.is_empty() {
            writeln!(f, "{} formatted already", count(self.unchanged, "file"))?;
        }
        Ok(())
    }
}

/// Lays out rule files. All are read before the first is written.
pub(crate) fn run(paths: &[PathBuf], check: bool) -> Result<Outcome, Failure> {
    let mut outcomes = Vec::new();
    let mut findings = Vec::new();
    for (name, bytes) in files::read_rule_files(paths)? {
        match format(&name, &bytes) {
            Ok(formatted) => {
                let marks = marks(&bytes);
                outcomes.push((name, (formatted.as_bytes() != bytes).then_some((formatted, marks))));
            }
            Err(FormatError::Mistakes(mistakes)) => findings.extend(mistakes.iter().map(Finding::from)),
            Err(FormatError::NotKept) => return Err(Failure::NotFormatted(name)),
        }
    }
    if !findings.is_empty() {
        return Err(Failure::Findings(findings));
    }
    let mut report = FormatReport { check, changed: Vec::new(), marks: Vec::new(), unchanged: 0 };
    for (name, formatted) in outcomes {
        let Some((formatted, marks)) = formatted else {
            report.unchanged += 1;
            continue;
        };
        if !check {
            files::write(name.as_ref(), formatted.as_bytes(), Access::Kept)?;
        }
        report.changed.push(name);
        report.marks.push(marks);
    }
    let exit = if check && !report.changed.is_empty() { Exit::Findings } else { Exit::Good };
    Outcome::new(&report, exit)
}

/// What an editor may not show of a file, and `fmt` takes out.
fn marks(bytes: &[u8]) -> &'static str {
    match (bytes.starts_with(b"\xef\xbb\xbf"), bytes.windows(2).any(|pair| pair == b"\r\n")) {
        (true, true) => " (it has a byte-order mark, and lines that end with CR LF)",
        (true, false) => " (it has a byte-order mark)",
        (false, true) => " (its lines end with CR LF)",
        (false, false) => "",
    }
}
