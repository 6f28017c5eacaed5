//! The corpus of cases that several drivers run: `tests/cases/*.yaml`.
//!
//! A file names a policy and lists requests with the verdict that every driver must come to.

use std::collections::BTreeSet;

use crate::{
    codes::Code,
    diagnostic::{Diagnostic, Quoted, Source},
    example::{self, Example},
    reader::Reader,
    shape::{Key, Kind, Shape},
    tags::Tags,
};

const FILE: Shape = Shape {
    what: "a file of cases",
    keys: &[
        Key::required("policy", Kind::Text, "The path of the rule file, from the top of the project."),
        Key::required("cases", Kind::Filled(&Kind::Map(&CASE)), "Requests with their verdicts."),
    ],
    later: &[],
};
const CASE: Shape = Shape {
    what: "a case",
    keys: &[
        Key::required("name", Kind::Text, "What is shown; unique in the file."),
        Key::optional("why", Kind::Text, "What went wrong once, or could."),
        Key::required("request", Kind::Map(&example::REQUEST), "The request."),
        Key::required("expect", Kind::Map(&example::EXPECT), "What the policy says about it."),
    ],
    later: &[],
};

/// One file of the corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFile {
    /// The path of the rule file, from the top of the project.
    pub policy: String,
    pub cases: Vec<Example>,
}

/// Reads a file of cases, or reports all that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<CaseFile, Vec<Diagnostic>> {
    let source = Source::new(name, text);
    let mut reader = Reader::new(&source);
    let file = read_file(&mut reader);
    match file {
        Some(file) if reader.found() == 0 => Ok(file),
        _ => Err(reader.finish()),
    }
}

fn read_file(reader: &mut Reader<'_>) -> Option<CaseFile> {
    let root = reader.parse()?;
    let fields = reader.fields(&root, &FILE)?;
    let policy = reader.require(fields, "policy").and_then(|node| reader.text(node, "`policy`"));
    let nodes = reader.require(fields, "cases").and_then(|node| reader.filled_list(node, "`cases`"))?;
    let mut cases: Vec<Example> = Vec::new();
    let mut names = BTreeSet::new();
    for node in nodes {
        let Some(case) = example::read_as(reader, node, &CASE, &mut Tags::default()) else { continue };
        if !names.insert(case.name.clone()) {
            let message = format!("the case {} stands there twice", Quoted(&case.name));
            reader.error::<()>(case.at, Code::DuplicateTest, message);
        }
        cases.push(case);
    }
    Some(CaseFile { policy: policy?, cases })
}
