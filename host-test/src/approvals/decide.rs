//! `holdgate approvals approve`, `deny`, `revoke` and `withdraw`.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

use holdgate_protocol::gateway::ErrorAnswer;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Service, hold_path, show, shown::line};
use crate::{
    client::Answer,
    failure::Failure,
    output::{Exit, Outcome},
};

/// What to decide on, and why.
#[derive(clap::Args)]
pub(super) struct Decision {
    #[command(flatten)]
    taken: Taken,
    /// One of the reason codes that the hold asks for
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

/// Which holds, and why.
#[derive(clap::Args)]
pub(super) struct Taken {
    /// Ids of holds
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Why
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// Without showing the request and asking
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Approve,
    Deny,
}

/// How something is taken back.
#[derive(Clone, Copy)]
pub(super) enum Back {
    Revoke,
    Withdraw,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        }
    }
}

impl Back {
    fn word(self) -> &'static str {
        match self {
            Back::Revoke => "revoke",
            Back::Withdraw => "withdraw",
        }
    }
}

/// The word where the service did not answer.
const FAILED: &str = "no_answer";

/// What became of one hold.
#[derive(Serialize)]
struct Done {
    hold: String,
    /// Where the hold stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// Why it was not done: a word for programs, and a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize)]
struct Report {
    done: usize,
    refused: usize,
    items: Vec<Done>,
    #[serde(skip)]
    word: &'static str,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Done { hold, state, detail, error, .. } in &self.items {
            let (hold, state) = (line(hold), state.as_deref().map(line).unwrap_or_default());
            match (detail, self.word, state.as_str()) {
                (Some(detail), word, _) if error.as_deref() == Some(FAILED) => {
                    writeln!(f, "{hold}: whether {word} was taken is not known: {}", line(detail))?;
                }
                (Some(detail), word, _) => writeln!(f, "{hold}: {word} was not taken: {}", line(detail))?,
                (None, "approve", "pending") => writeln!(f, "{hold}: your approval counts; more are needed")?,
                (None, _, state) => writeln!(f, "{hold}: {state}")?,
            }
        }
        Ok(())
    }
}

impl Report {
    fn of(word: &'static str, items: Vec<Done>) -> Result<Outcome, Failure> {
        let refused = items.iter().filter(|item| item.error.is_some()).count();
        let report = Report { done: items.len() - refused, refused, items, word };
        Outcome::new(&report, if refused == 0 { Exit::Good } else { Exit::Findings })
    }
}

/// Decides on holds, one after the other; each is shown before, unless `--yes` says that it need not be.
pub(super) fn run(service: &Service, verdict: Verdict, decision: &Decision) -> Result<Outcome, Failure> {
    let Decision { taken, code } = decision;
    let word = verdict.word();
    each(service, taken, word, |hold| {
        // The digest of what was shown: were it another request, the service would refuse.
        let mut body = json!({"verdict": word, "reason": taken.reason, "digest": hold.digest});
        if let (Some(code), Some(body)) = (code, body.as_object_mut()) {
            body.insert("code".to_owned(), json!(code));
        }
        service.post(hold_path(&hold.id, "/decisions")?, &body)
    })
}

/// Takes holds, or one's own decisions on them, back.
pub(super) fn take_back(service: &Service, back: Back, taken: &Taken) -> Result<Outcome, Failure> {
    let word = back.word();
    each(service, taken, word, |hold| {
        service.post(hold_path(&hold.id, &format!("/{word}"))?, &json!({"reason": taken.reason}))
    })
}

fn each(
    service: &Service,
    taken: &Taken,
    word: &'static str,
    act: impl Fn(&show::Hold) -> Result<Answer, Failure>,
) -> Result<Outcome, Failure> {
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !taken.yes && !terminal {
        return Err(Failure::NobodyToDecide);
    }
    // A mistake in the last id is told before anything is decided.
    taken.ids.iter().try_for_each(|id| hold_path(id, "").map(|_| ()))?;
    let mut items = Vec::with_capacity(taken.ids.len());
    for id in &taken.ids {
        match one(service, taken, word, id, &act) {
            Ok(done) => items.push(done),
            Err(failure) if items.is_empty() => return Err(failure),
            // What was done before is told all the same.
            Err(failure) => items.push(Done::refused(id, FAILED.to_owned(), failure.to_string())),
        }
    }
    Report::of(word, items)
}

fn one(
    service: &Service,
    taken: &Taken,
    word: &'static str,
    id: &str,
    act: impl Fn(&show::Hold) -> Result<Answer, Failure>,
) -> Result<Done, Failure> {
    let (_, hold) = match show::detail(service, id) {
        Err(Failure::Refused { detail, .. }) => return Ok(Done::refused(id, "not_found".to_owned(), detail)),
        found => found?,
    };
    if hold.id != *id {
        return Err(service.0.unreachable("it shows another hold than the one that was asked for"));
    }
    if !taken.yes && !confirmed(&hold, word)? {
        return Ok(Done::refused(id, "not_wanted".to_owned(), "you did not confirm it".to_owned()));
    }
    Done::of(service, id, &act(&hold)?)
}

impl Done {
    fn of(service: &Service, id: &str, answer: &Answer) -> Result<Self, Failure> {
        match answer.status {
            200 => {
                let body: Value = service.0.read(answer)?;
                let state = body.get("state").and_then(Value::as_str).map(ToOwned::to_owned);
                let expires_at = body.get("expires_at").and_then(Value::as_u64);
                Ok(Done { hold: id.to_owned(), state, expires_at, error: None, detail: None })
            }
            400..500 => match answer.read::<ErrorAnswer>() {
                Ok(ErrorAnswer { error, detail }) => Ok(Done::refused(id, error, detail)),
                Err(_) => Err(service.0.refusal(answer)),
            },
            _ => Err(service.0.refusal(answer)),
        }
    }

    fn refused(id: &str, error: String, detail: String) -> Self {
        Done { hold: id.to_owned(), state: None, expires_at: None, error: Some(error), detail: Some(detail) }
    }
}

/// Shows the request on the terminal and asks.
fn confirmed(hold: &show::Hold, word: &str) -> Result<bool, Failure> {
    let mut terminal = io::stderr();
    let asked = write!(terminal, "{hold}{word} this request? [y/N] ").and_then(|()| terminal.flush());
    let mut answer = String::new();
    asked.and_then(|()| io::stdin().read_line(&mut answer)).map_err(Failure::Terminal)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
