//! Warnings that the author of a file means so.

use crate::{
    codes::{Code, Severity},
    diagnostic::{Quoted, Span},
    node::{Member, Node},
    reader::{Reader, nearest},
};

/// A warning that is not shown, because the file says why it is meant so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acceptance {
    pub(crate) code: Code,
    /// The place of the code.
    pub(crate) at: Span,
    /// `None`: for the whole file.
    pub(crate) rule: Option<String>,
}

/// Reads `accept`: codes of warnings, each with the reason.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, rule: Option<&str>) -> Vec<Acceptance> {
    let mut acceptances = Vec::new();
    for Member { key, at, value } in reader.members(node, "`accept`").unwrap_or_default() {
        reader.text(value, "the reason");
        match Code::ALL.iter().find(|code| code.id() == key) {
            Some(code) if code.severity() == Severity::Warning => {
                acceptances.push(Acceptance { code: *code, at: *at, rule: rule.map(str::to_owned) });
            }
            Some(code) => {
                let message = format!("{code} ({}) is an error and cannot be accepted", code.title());
                reader.error::<()>(*at, Code::NotAcceptable, message);
            }
            None => {
                let known: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
                let help = nearest(key, &known).map_or_else(
                    || {
                        "write the code that `check` shows in brackets: `accept: {HG202: why it is meant so}`"
                            .to_owned()
                    },
                    |code| format!("did you mean `{code}`?"),
                );
                let message = format!("{} is not the code of a finding", Quoted(key));
                reader.error_with_help::<()>(*at, Code::NotAcceptable, message, help);
            }
        }
    }
    acceptances
}
