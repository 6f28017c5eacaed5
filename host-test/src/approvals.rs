//! `holdgate approvals`: what reviewers do, for those who live in a terminal.
//!
//! What is shown was sent by an agent, and a terminal acts on what it is sent: nothing of it goes there as it came
//! (`shown.rs`). A decision carries the digest of the request that was shown, so that it counts for nothing else.

mod decide;
mod list;
mod session;
mod show;
mod shown;

use hyper::Method;
use serde_json::Value;

use crate::{
    client::{Answer, Ask, Blocking, Client},
    failure::Failure,
    output::Outcome,
};

pub(crate) use session::token;

/// The environment variable with the service's address.
const SERVICE: &str = "HOLDGATE_SERVICE";

/// The arguments of `holdgate approvals`.
#[derive(clap::Args)]
pub(crate) struct Approvals {
    /// The service's address for people, such as `http://127.0.0.1:8001`; HOLDGATE_SERVICE where it is left out
    #[arg(long, global = true, value_name = "URL")]
    to: Option<String>,
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Sign in with a password, asked for on the terminal or read from standard input, and keep the session
    SignIn {
        /// Your id in the directory
        #[arg(long, value_name = "NAME")]
        person: String,
    },
    /// End the session that was kept
    SignOut,
    /// List holds
    List(list::List),
    /// Show all that was captured of a request
    Show {
        /// Ids of holds
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Approve what is shown
    Approve(decide::Decision),
    /// Deny what is shown
    Deny(decide::Decision),
    /// Take back a hold, approved or not, before it is used
    Revoke(decide::Taken),
    /// Take back your own decision, before the last one is in
    Withdraw(decide::Taken),
}

/// Does what a reviewer asks.
pub(crate) fn run(arguments: &Approvals) -> Result<Outcome, Failure> {
    let address = match &arguments.to {
        Some(to) => to.clone(),
        None => std::env::var(SERVICE).ok().filter(|url| !url.is_empty()).ok_or(Failure::NoService)?,
    };
    match &arguments.task {
        Task::SignIn { person } => session::sign_in(&address, person),
        Task::SignOut => session::sign_out(&address),
        Task::List(list) => list::run(&Service::new(&address)?, list),
        Task::Show { ids } => show::run(&Service::new(&address)?, ids),
        Task::Approve(decision) => decide::run(&Service::new(&address)?, decide::Verdict::Approve, decision),
        Task::Deny(decision) => decide::run(&Service::new(&address)?, decide::Verdict::Deny, decision),
        Task::Revoke(taken) => decide::take_back(&Service::new(&address)?, decide::Back::Revoke, taken),
        Task::Withdraw(taken) => decide::take_back(&Service::new(&address)?, decide::Back::Withdraw, taken),
    }
}

/// The service as a signed-in person sees it.
struct Service(Blocking);

impl Service {
    fn new(address: &str) -> Result<Self, Failure> {
        let client = Client::new(address)?;
        Ok(Service(Blocking::new(client.with_credential(token(address)?))?))
    }

    /// An answer that is no error of who asks; 401 says how to sign in.
    fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        let answer = self.0.send(ask)?;
        if answer.status == 401 { Err(Failure::NotSignedIn) } else { Ok(answer) }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: String) -> Result<T, Failure> {
        let answer = self.ask(Ask::get(path))?;
        if answer.status == 200 { self.0.read(&answer) } else { Err(self.0.refusal(&answer)) }
    }

    fn post(&self, path: String, body: &Value) -> Result<Answer, Failure> {
        self.ask(Ask::new(Method::POST, path).json(body.to_string()))
    }
}

/// The path of a hold, whose id has no character that means something in one.
fn hold_path(id: &str, rest: &str) -> Result<String, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if id.is_empty() || !id.bytes().all(plain) {
        return Err(Failure::HoldId(id.to_owned()));
    }
    Ok(format!("/api/holds/{id}{rest}"))
}
