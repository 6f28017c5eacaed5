//! What a command has to say: once as text for people, once as data.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use holdgate_protocol::shown::{MAX_MARKS, is_mark, is_unseen};
use serde::Serialize;

use crate::failure::Failure;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    #[default]
    #[value(alias = "human")]
    Text,
    /// One JSON document, described in host-test/README.md
    Json,
    /// SARIF 2.1.0, for code scanning (`check` and `check-envoy` only)
    Sarif,
    /// JUnit XML, for test reports (`test` and `run` only)
    Junit,
}

/// How a command ended, as its exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Good,
    /// What was examined has findings.
    Findings,
    /// It could not be decided whether there are findings.
    Undecided,
    /// The command was not told what it needs, or could not do its work.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Good => 0,
            Exit::Findings => 1,
            Exit::Usage => 2,
            Exit::Undecided => 3,
        })
    }
}

/// The result of a command, written in every form that it has.
pub(crate) struct Outcome {
    exit: Exit,
    text: String,
    json: String,
    /// The form of another tool: SARIF or JUnit.
    foreign: Option<String>,
}

impl Outcome {
    pub(crate) fn new(report: &(impl fmt::Display + Serialize), exit: Exit) -> Result<Self, Failure> {
        let mut json = plain(serde_json::to_string(report).map_err(Failure::Encode)?);
        json.push('\n');
        Ok(Outcome { exit, text: report.to_string(), json, foreign: None })
    }

    /// A result that went well.
    pub(crate) fn good(report: &(impl fmt::Display + Serialize)) -> Result<Self, Failure> {
        Outcome::new(report, Exit::Good)
    }

    /// With the form in which another tool reads it.
    pub(crate) fn with_foreign(mut self, text: String) -> Self {
        self.foreign = Some(text);
        self
    }
}

/// Writes a result, or why there is none: data to standard output, and for people results to standard output and failures
/// to standard error.
pub(crate) fn show(result: Result<Outcome, Failure>, format: Format) -> ExitCode {
    let (text, exit) = match result {
        Ok(Outcome { exit, text, json, foreign }) => match (format, foreign) {
            (Format::Text, _) => (text, exit),
            (Format::Json, _) => (json, exit),
            (Format::Sarif | Format::Junit, foreign) => (foreign.unwrap_or_default(), exit),
        },
        Err(failure) if format == Format::Text => {
            eprintln!("{failure}");
            return failure.exit().into();
        }
        Err(failure) => (failure.to_json(), failure.exit()),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => exit.into(),
        // The reader has seen enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit.into(),
        Err(error) => {
            eprintln!("cannot write the result: {error}");
            Exit::Usage.into()
        }
    }
}

/// The same JSON with escapes for characters that a terminal could act on: such ones stand in strings only.
fn plain(json: String) -> String {
    if !json.contains(is_unseen) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        if is_unseen(character) {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            out.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(character);
        }
    }
    out
}

/// A text of somebody else for a terminal: on one line, cut where it is long, and without characters that play tricks.
pub(crate) fn printable(text: &str) -> String {
    match text.char_indices().nth(LONG_TEXT).and_then(|(end, _)| text.get(..end)) {
        Some(start) => escaped(start) + "...",
        None => escaped(text),
    }
}

/// The same of a text whose length is known to be bounded.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::new();
    let mut marks = 0;
    for character in text.chars() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        let hidden = is_unseen(character) || marks > MAX_MARKS;
        if hidden { shown.extend(character.escape_unicode()) } else { shown.push(character) }
    }
    shown
}

/// The most characters of such a text.
const LONG_TEXT: usize = 200;
