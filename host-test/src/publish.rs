//! `holdgate publish`.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use holdgate_authoring::Budget;
use holdgate_protocol::{
    bundle::{PolicyRef, SignedBundle},
    gateway::ErrorAnswer,
};
use serde::Serialize;

use crate::{bundles, changes::Changes, diff::Meaning, failure::Failure, files, output::Outcome};

/// The environment variable with the publisher's credential.
const CREDENTIAL: &str = "HOLDGATE_PUBLISHER_CREDENTIAL";

const TIMEOUT: Duration = Duration::from_secs(30);

/// The arguments of `holdgate publish`.
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// A signed bundle
    file: PathBuf,
    /// The service's address for people, such as `http://127.0.0.1:8001`
    #[arg(long, value_name = "URL")]
    to: String,
    /// Publish without asking, as a script must
    #[arg(long)]
    yes: bool,
}

/// What was published.
#[derive(Serialize)]
struct Published {
    #[serde(flatten)]
    policy: PolicyRef,
    /// The policy that was in force; `null` if there was none.
    before: Option<PolicyRef>,
    /// Against the policy that was in force.
    changes: Option<Changes>,
    /// Over all requests; `null` where the policy in force cannot be loaded by this version.
    meaning: Option<Meaning>,
    /// What gateways need in their configuration for these rules.
    requires: Vec<&'static str>,
    /// False if this revision was in force already.
    published: bool,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Published { policy, published, .. } = self;
        if *published {
            writeln!(f, "{}published", Preview(self))
        } else {
            write!(f, "published before; nothing changed\nrevision {}\n", policy.rev)
        }
    }
}

/// What would change.
struct Preview<'a>(&'a Published);

impl fmt::Display for Preview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Published { policy, before, changes, meaning, requires, .. } = self.0;
        match before {
            Some(before) => writeln!(f, "in force: policy {}, serial {}", before.id, before.serial)?,
            None => writeln!(f, "in force: nothing")?,
        }
        if let Some(changes) = changes {
            write!(f, "{changes}")?;
        }
        if let Some(meaning) = meaning {
            write!(f, "{meaning}")?;
        }
        write!(f, "{}{}", bundles::describe(policy), bundles::hint(requires))
    }
}

/// Hands a signed bundle to the service, after a look at what it changes.
pub(crate) fn run(arguments: &Publish) -> Result<Outcome, Failure> {
    let Publish { file, to, yes } = arguments;
    let signed = bundles::read_signed(file)?;
    let (policy, new) = bundles::content(file, &signed)?;
    let credential = std::env::var(CREDENTIAL).ok().filter(|credential| !credential.is_empty());
    let service = Service::new(to, credential.ok_or(Failure::NoCredential)?)?;
    let before = service.in_force()?;
    let (before, changes, meaning) = match before {
        Some(in_force) => {
            let (before, old) = bundles::content(Path::new(to), &in_force)?;
            let policies = bundles::policy(&in_force).zip(bundles::policy(&signed));
            let meaning = policies.map(|(old, new)| Meaning::between(&old, &new, Budget::default().steps));
            (Some(before), Some(Changes::between(&old, &new)), meaning)
        }
        None => (None, None, None),
    };
    let known = before.as_ref().is_some_and(|before| before.rev == policy.rev);
    let requires = bundles::requires(&new.needs);
    let mut report = Published { policy, requires, before, changes, meaning, published: false };
    if !yes && !known {
        confirm(&Preview(&report).to_string())?;
    }
    report.published = service.publish(&report.policy, files::read(file)?)?;
    Outcome::good(&report)
}

/// Asks on the terminal.
fn confirm(preview: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::NobodyToAsk(preview.to_owned()));
    }
    let mut terminal = io::stderr();
    let asked = write!(terminal, "{preview}publish this? [y/N] ").and_then(|()| terminal.flush());
    let mut answer = String::new();
    asked.and_then(|()| io::stdin().read_line(&mut answer)).map_err(Failure::Terminal)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::NotWanted) }
}

/// The approval service as a publisher sees it.
struct Service<'a> {
    to: &'a str,
    agent: ureq::Agent,
    credential: String,
}

impl<'a> Service<'a> {
    fn new(to: &'a str, credential: String) -> Result<Self, Failure> {
        if !is_on_this_machine(to) {
            return Err(Failure::Address(to.to_owned()));
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // The credential goes to the address that was named, and nowhere else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Service { to, agent, credential: format!("Bearer {credential}") })
    }

    fn url(&self, name: &str) -> String {
        format!("{}/api/bundles/{name}", self.to.trim_end_matches('/'))
    }

    fn unreachable(&self, problem: impl fmt::Display) -> Failure {
        Failure::Unreachable { url: self.to.to_owned(), problem: problem.to_string() }
    }

    /// The bundle in force; `None` if nothing was published yet.
    fn in_force(&self) -> Result<Option<SignedBundle>, Failure> {
        let request = self.agent.get(self.url("current")).header("authorization", &self.credential);
        let mut answer = request.call().map_err(|error| self.unreachable(error))?;
        match answer.status().as_u16() {
            200 => {
                let body = answer.body_mut().read_to_vec().map_err(|error| self.unreachable(error))?;
                serde_json::from_slice(&body).map(Some).map_err(|error| self.unreachable(error))
            }
            404 => Ok(None),
            status => Err(self.refusal(status, &mut answer)),
        }
    }

    /// Whether the revision is new to the service.
    fn publish(&self, policy: &PolicyRef, content: Vec<u8>) -> Result<bool, Failure> {
        let request = self.agent.put(self.url(&policy.rev.to_string())).header("authorization", &self.credential);
        let answer = request.header("content-type", "application/json").send(content);
        let mut answer = answer.map_err(|error| self.unreachable(error))?;
        match answer.status().as_u16() {
            200 => Ok(false),
            201 => Ok(true),
            status => Err(self.refusal(status, &mut answer)),
        }
    }

    fn refusal(&self, status: u16, answer: &mut ureq::http::Response<ureq::Body>) -> Failure {
        let body = answer.body_mut().read_to_vec().unwrap_or_default();
        match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(ErrorAnswer { detail, .. }) if (400..500).contains(&status) => Failure::Refused { status, detail },
            _ => self.unreachable(format!("it answered with status {status}")),
        }
    }
}

/// Whether an address is `http://` and loopback. The credential does not cross a network in clear text.
fn is_on_this_machine(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
