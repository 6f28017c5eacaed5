//! `holdgate publish`.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use holdgate_authoring::Budget;
use holdgate_protocol::bundle::{PolicyRef, SignedBundle};
use hyper::Method;
use serde::Serialize;

use crate::{
    bundles,
    changes::Changes,
    client::{Ask, Blocking, Client},
    diff::Meaning,
    failure::Failure,
    files,
    output::Outcome,
};

/// The environment variable with the publisher's credential.
const CREDENTIAL: &str = "HOLDGATE_PUBLISHER_CREDENTIAL";

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
    let client = Client::new(to)?.with_credential(credential.ok_or(Failure::NoCredential)?);
    let service = Service(Blocking::new(client)?);
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
struct Service(Blocking);

impl Service {
    /// The bundle in force; `None` if nothing was published yet.
    fn in_force(&self) -> Result<Option<SignedBundle>, Failure> {
        let answer = self.0.send(Ask::get("/api/bundles/current"))?;
        match answer.status {
            200 => self.0.read(&answer).map(Some),
            404 => Ok(None),
            _ => Err(self.0.refusal(&answer)),
        }
    }

    /// Whether the revision is new to the service.
    fn publish(&self, policy: &PolicyRef, content: Vec<u8>) -> Result<bool, Failure> {
        let answer = self.0.send(Ask::new(Method::PUT, format!("/api/bundles/{}", policy.rev)).json(content))?;
        match answer.status {
            200 => Ok(false),
            201 => Ok(true),
            _ => Err(self.0.refusal(&answer)),
        }
    }
}
