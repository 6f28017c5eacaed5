//! A request that refutes a proof, written into the rule file as a test.

use holdgate_authoring::{Claim, Compilation, Proof};
use holdgate_protocol::bundle::Effect;

use crate::{
    changes::word,
    failure::Failure,
    files::{self, Access},
};

/// Adds a test to the file, and returns its name; `None` if it has a test of this name already.
///
/// Nothing else of the file changes: what comes out is read again and compared.
pub(super) fn test(file: &str, proof: &Proof, request: &str) -> Result<Option<String>, Failure> {
    let not_saved = || Failure::NotSaved { file: file.into(), request: request.to_owned() };
    let bytes = files::read(file.as_ref())?;
    let text = String::from_utf8(bytes).map_err(|_| not_saved())?;
    let before = read(file, &text).ok_or_else(not_saved)?;
    let name = format!("refutes: {}", proof.id);
    if before.tests().any(|(_, test)| test.name == name) {
        return Ok(None);
    }
    let at = before.files().first().and_then(|file| file.tests_at).map(|span| span.line);
    let changed = insert(&text, at, &name, request, expected(proof.claim));
    let after = read(file, &changed).ok_or_else(not_saved)?;
    let bundle = |compilation: &Compilation| compilation.build("x", 1).ok();
    let old: Vec<_> = before.tests().map(|(_, test)| &test.name).collect();
    let new: Vec<_> = after.tests().map(|(_, test)| &test.name).collect();
    let added = new.split_last().is_some_and(|(last, others)| **last == name && others == old.as_slice());
    if !added || bundle(&before) != bundle(&after) {
        return Err(not_saved());
    }
    files::write(file.as_ref(), changed.as_bytes(), Access::Kept)?;
    Ok(Some(name))
}

fn read(file: &str, text: &str) -> Option<Compilation> {
    holdgate_authoring::compile(&[(file, text)]).ok()
}

/// The effect that the author most likely wants.
fn expected(claim: Claim) -> Effect {
    match claim {
        Claim::Always(effect) => effect,
        Claim::Never(Effect::Deny) => Effect::Allow,
        Claim::Never(Effect::Allow | Effect::Hold) => Effect::Deny,
    }
}

/// Puts a test behind the last one of the list whose key stands in line `at`, or a list at the end of the file.
fn insert(text: &str, at: Option<usize>, name: &str, request: &str, expected: Effect) -> String {
    let quoted = serde_json::Value::from(name).to_string();
    // The file keeps its own line ends.
    let end_of_line = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let whole: Vec<&str> = text.split_inclusive('\n').collect();
    let lines: Vec<&str> = text.lines().collect();
    let start = at.unwrap_or(lines.len()).min(lines.len());
    let inside = |line: &&str| line.is_empty() || line.starts_with([' ', '-', '#']);
    let behind = lines.iter().skip(start).take_while(|line| inside(line)).count();
    let block = lines.iter().skip(start).take(behind);
    // Comments and empty lines at the end may belong to what comes next.
    let loose = |line: &&str| line.is_empty() || line.starts_with('#');
    let end = start + behind - block.clone().rev().take_while(|line| loose(line)).count();
    let indent = block
        .map(|line| (line.len() - line.trim_start().len(), line.trim_start()))
        .find(|(_, line)| line.starts_with('-'));
    let indent = " ".repeat(indent.map_or(2, |(indent, _)| indent));
    let mut written: String = whole.iter().take(end).copied().collect();
    let mut add = |line: &str| {
        if !written.is_empty() && !written.ends_with('\n') {
            written.push_str(end_of_line);
        }
        written.push_str(line);
        written.push_str(end_of_line);
    };
    if at.is_none() {
        add("tests:");
    }
    add(&format!("{indent}- name: {quoted}"));
    add(&format!("{indent}  request: {request}"));
    add(&format!("{indent}  expect: {{effect: {}}}", word(expected)));
    written.extend(whole.iter().skip(end).copied());
    written
}
