//! The corpus of cases that several drivers run: `tests/cases/*.yaml`.
//!
//! A file names a policy and lists requests with the verdict that every driver must come to.

use crate::{
    diagnostic::{Diagnostic, Source},
    example::{self, Example},
    reader::{Reader, Shape},
};

const FILE: Shape = Shape { what: "a file of cases", keys: &["policy", "cases"], later: &[] };
const CASE: Shape = Shape { what: "a case", keys: &["name", "why", "request", "expect"], later: &[] };

/// One file of the corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFile {
    /// The path of the rule file, from the top of the project.
    pub policy: String,
    pub cases: Vec<Example>,
}

/// Reads a file of cases, or reports all that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<CaseFile, Vec<Diagnostic>> {
    let mut reader = Reader::new(Source { name, text });
    let file = read_file(&mut reader);
    match file {
        Some(file) if reader.problems.is_empty() => Ok(file),
        _ => Err(reader.problems),
    }
}

fn read_file(reader: &mut Reader<'_>) -> Option<CaseFile> {
    let root = reader.parse()?;
    let fields = reader.fields(&root, &FILE)?;
    let policy = reader.require(fields, "policy", "a file of cases").and_then(|node| reader.text(node, "`policy`"));
    let nodes =
        reader.require(fields, "cases", "a file of cases").and_then(|node| reader.filled_list(node, "`cases`"))?;
    let mut cases: Vec<Example> = Vec::new();
    for node in nodes {
        let Some(case) = example::read_case(reader, node, &CASE) else { continue };
        if cases.iter().any(|other| other.name == case.name) {
            reader.error::<()>(case.at, format!("the case `{}` stands there twice", case.name));
        }
        cases.push(case);
    }
    Some(CaseFile { policy: policy?, cases })
}
