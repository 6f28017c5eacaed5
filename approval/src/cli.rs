//! The command line: first start, credentials, passwords, keys, serving.

mod keys;

mod authority;

use std::{
    fs, io,
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use holdgate_protocol::{Actor, Hash};
use tokio::sync::watch;

use keys::{AuthorsTask, Backup, KeyTask, existing};

use crate::{
    clock::{Clock as _, WallClock},
    directory::{Directory, Import},
    domain::{
        Lasting,
        quota::{Quotas, Setting},
        retention::{Kept, Retention},
    },
    http::{App, Listeners},
    keys::{read_authors, read_private},
    notices::{Hooks, deliver::Couriers},
    oidc::{Config, Provider},
    random,
    service::{
        DENY_COOLDOWN, Service, Settings,
        accounts::{SetPassword, hash_password},
        credentials::{AddCredential, Kind},
        decide::check_reason,
        denials::PROPOSE_SUSPENSION,
        export::Export,
        ledger::LedgerError,
        marks::{OUTCOME_AFTER, REMIND},
        suspend::{Resume, Suspend},
    },
    store::{Database, default_url, is_shared, ledger},
};

/// Holds requests of AI agents until a person with the authority has decided.
#[derive(Debug, Parser)]
#[command(name = "holdgate-approval", version)]
pub struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make a new data folder: database, keys, persons.
    Init(Init),
    /// Credentials of gateways.
    #[command(subcommand)]
    Gateway(GatewayTask),
    /// Credentials for publishing bundles.
    #[command(subcommand)]
    Publisher(PublisherTask),
    /// Persons of the directory.
    #[command(subcommand)]
    Person(PersonTask),
    /// Groups of persons, which may own agents.
    #[command(subcommand)]
    Group(authority::GroupTask),
    /// Who may decide on what.
    #[command(subcommand)]
    Eligibility(authority::EligibilityTask),
    /// The directory file.
    #[command(subcommand)]
    Directory(authority::DirectoryTask),
    /// Agents.
    #[command(subcommand)]
    Agent(AgentTask),
    /// Write the ledger as JSON Lines, for `holdgate ledger verify`; also while the service runs.
    Export(ExportTo),
    /// Keys that sign grants and the ledger.
    #[command(subcommand)]
    Key(KeyTask),
    /// The policy authors' public keys.
    #[command(subcommand)]
    Authors(AuthorsTask),
    /// Write a copy of the database while it serves.
    Backup(Backup),
    /// After a restore: cancel all that was open, so that nothing is used twice, and let gateways take a new snapshot.
    Restored(Data),
    /// Serve gateways and people until SIGINT or SIGTERM.
    Serve(Box<Serve>),
}

#[derive(Debug, Args)]
struct Init {
    #[command(flatten)]
    data: Data,
    /// The policy authors' public keys, a JWKS file.
    #[arg(long, value_name = "JWKS")]
    authors_keys: PathBuf,
    /// Persons, groups and what persons are eligible for.
    #[arg(long, value_name = "YAML")]
    directory: Option<PathBuf>,
    /// Sign grants with this key instead of a new one: a private Ed25519 JWK.
    #[arg(long, value_name = "JWK")]
    grant_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Data {
    /// The data folder.
    #[arg(long = "data", value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
enum GatewayTask {
    /// Make a credential for a gateway group and print it once. The two newest of a group are valid.
    Add {
        group: String,
        #[command(flatten)]
        data: Data,
    },
    /// List the credentials, with the fingerprints that tell them apart.
    List(Data),
    /// Refuse a credential from now on, also while the service runs.
    Retire(authority::OneCredential),
    /// Refuse all credentials of a group, and cancel its open holds.
    Suspend(authority::OneGroup),
    /// Let the valid credentials of a group in again. What was cancelled stays cancelled.
    Resume(authority::OneGroup),
}

#[derive(Debug, Subcommand)]
enum PublisherTask {
    /// Make a credential for publishing bundles and print it once.
    Add {
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// List the credentials, with the fingerprints that tell them apart.
    List(Data),
    /// Refuse a credential from now on, also while the service runs.
    Retire(authority::OneCredential),
}

#[derive(Debug, Subcommand)]
enum PersonTask {
    /// Add a person, who can do nothing yet.
    Add(authority::AddPerson),
    /// Let a person do nothing any more; their sessions and approvals end at once, also while the service runs.
    Suspend(authority::OnePerson),
    /// Let a suspended person in again. What they had approved counts no more.
    Resume(authority::OnePerson),
    /// Give a person an identity at an issuer.
    Link(authority::LinkPerson),
    /// Take an identity from a person; their sessions from its issuer end at once.
    Unlink(authority::LinkPerson),
    /// Read a password from standard input (its first line) and set it.
    SetPassword {
        id: String,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Subcommand)]
enum AgentTask {
    /// Refuse all that an agent asks, and cancel its open holds. It counts at once, also while the service runs.
    Suspend(AgentName),
    /// Let a suspended agent ask again. What was cancelled stays cancelled.
    Resume(AgentName),
}

#[derive(Debug, Args)]
struct AgentName {
    /// The issuer of the agent's tokens, as in their `iss`.
    iss: String,
    /// The agent: the `sub` of its tokens, or of the current actor where they have `act`.
    sub: String,
    /// Why, for the ledger.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
struct ExportTo {
    #[command(flatten)]
    data: Data,
    /// The file to write, which must not be there; standard output if it is left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// As it is given to `serve`; by default what the checkpoint that was kept last says.
    #[arg(long)]
    issuer: Option<String>,
}

#[derive(Debug, Args)]
struct Serve {
    /// The data folder.
    #[arg(long = "data", value_name = "DIR", env = "HOLDGATE_DATA")]
    folder: PathBuf,
    /// A YAML file with these options by their names: `people: 127.0.0.1:8001`. An argument counts before the environment,
    /// and that before the file.
    #[arg(long, value_name = "YAML", env = "HOLDGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Where gateways connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8002", env = "HOLDGATE_GATEWAYS")]
    gateways: SocketAddr,
    /// Where people connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001", env = "HOLDGATE_PEOPLE")]
    people: SocketAddr,
    /// The `iss` of grants, and the name of the ledger: one of its own for each service.
    #[arg(long, default_value = ISSUER, env = "HOLDGATE_ISSUER")]
    issuer: String,
    /// Give cookies `Secure` and the `__Host-` prefix: the console is behind TLS.
    #[arg(long, env = "HOLDGATE_SECURE_COOKIES")]
    secure_cookies: bool,
    /// The OpenID provider at which people sign in, and whose access tokens the API takes.
    #[arg(long, value_name = "YAML", env = "HOLDGATE_OIDC")]
    oidc: Option<PathBuf>,
    /// The most holds: `agent.open` (100), `agent.hour` (200), `owner.open` (500), `owner.hour` (1000), `rule.open`
    /// (1000) and `rule.hour` (2000); the most tries that join them: `agent.joins` in an hour (3600) and `hold.waiting` at
    /// once (64). May be repeated.
    #[arg(long, value_name = "NAME=NUMBER", value_delimiter = ',', env = "HOLDGATE_QUOTA")]
    quota: Vec<Setting>,
    /// For how many seconds the same request stays denied after a denial.
    #[arg(long, value_name = "SECONDS", default_value_t = DENY_COOLDOWN, env = "HOLDGATE_DENY_COOLDOWN")]
    deny_cooldown: u64,
    /// How long is kept what is not kept for good: `captures` of requests after the end of their holds (30d), `attempts`
    /// (1d) and `audit` records (400d). May be repeated.
    #[arg(long, value_name = "NAME=TIME", value_delimiter = ',', env = "HOLDGATE_KEEP")]
    keep: Vec<Kept>,
    /// Who is told of what happens, by webhooks: a YAML file.
    #[arg(long, value_name = "YAML", env = "HOLDGATE_NOTICES")]
    notices: Option<PathBuf>,
    /// Where people find the console, for the links of notices.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001", env = "HOLDGATE_CONSOLE_URL")]
    console_url: String,
    /// After which share of the time for deciding a reminder is sent, in percent; 0 for never.
    #[arg(long, value_name = "PERCENT", default_value_t = REMIND, env = "HOLDGATE_REMIND",
          value_parser = clap::value_parser!(u64).range(0..100))]
    remind: u64,
    /// For how many seconds after the end of its grant the outcome of a request is waited for; then it is unknown.
    #[arg(long, value_name = "SECONDS", default_value_t = OUTCOME_AFTER, env = "HOLDGATE_OUTCOME_AFTER")]
    outcome_after: u64,
    /// Where metrics are collected, without sign-in: an address of this machine, best.
    #[arg(long, value_name = "ADDRESS", env = "HOLDGATE_METRICS")]
    metrics: Option<SocketAddr>,
    /// After how many days an eligibility that nobody certified counts no more; 0 for never.
    #[arg(long, value_name = "DAYS", default_value_t = 90, env = "HOLDGATE_RECERTIFY")]
    recertify: u64,
    /// Changes of authority by the API wait until another administrator has confirmed them, for at most 24 hours. What only
    /// takes away counts at once.
    #[arg(long, env = "HOLDGATE_SECOND_PERSON")]
    second_person: bool,
    /// After how many denials in an hour an agent's suspension is proposed; 0 for never.
    #[arg(long, value_name = "NUMBER", default_value_t = PROPOSE_SUSPENSION, env = "HOLDGATE_PROPOSE_SUSPENSION")]
    propose_suspension: u64,
}

/// The default of `--issuer`.
const ISSUER: &str = "holdgate-approval";

/// One line that says what to mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CliError(String);

impl CliError {
    /// An error with this text.
    pub fn new(what: String) -> Self {
        CliError(what)
    }
}

fn fail<T>(what: impl std::fmt::Display) -> Result<T, CliError> {
    Err(CliError(what.to_string()))
}

fn named(error: impl std::fmt::Display) -> CliError {
    CliError(error.to_string())
}

/// Does what the command line asks.
pub async fn run(arguments: Arguments) -> Result<(), CliError> {
    match arguments.task {
        Task::Init(init) => make(init).await,
        Task::Gateway(GatewayTask::Add { group, data }) => {
            check_name("group", &group)?;
            add_credential(&data.folder, |hash, now| AddCredential { kind: Kind::Gateway, name: group, hash, now })
                .await
        }
        Task::Gateway(GatewayTask::List(data)) => authority::list_gateways(&data).await,
        Task::Gateway(GatewayTask::Retire(one)) => authority::retire_gateway(one).await,
        Task::Gateway(GatewayTask::Suspend(one)) => authority::suspend_gateways(one).await,
        Task::Gateway(GatewayTask::Resume(one)) => authority::resume_gateways(one).await,
        Task::Publisher(PublisherTask::List(data)) => authority::list_publishers(&data).await,
        Task::Publisher(PublisherTask::Retire(one)) => authority::retire_publisher(one).await,
        Task::Publisher(PublisherTask::Add { name, data }) => {
            check_name("name", &name)?;
            add_credential(&data.folder, |hash, now| AddCredential { kind: Kind::Publisher, name, hash, now }).await
        }
        Task::Person(PersonTask::SetPassword { id, data }) => set_password(&data.folder, id).await,
        Task::Person(PersonTask::Add(add)) => authority::add_person(add).await,
        Task::Person(PersonTask::Suspend(one)) => authority::suspend_person(one).await,
        Task::Person(PersonTask::Resume(one)) => authority::resume_person(one).await,
        Task::Person(PersonTask::Link(link)) => authority::link_person(link).await,
        Task::Person(PersonTask::Unlink(link)) => authority::unlink_person(link).await,
        Task::Group(task) => authority::group(task).await,
        Task::Eligibility(task) => authority::eligibility(task).await,
        Task::Directory(task) => authority::directory(task).await,
        Task::Agent(AgentTask::Suspend(name)) => suspend(name).await,
        Task::Agent(AgentTask::Resume(name)) => resume(name).await,
        Task::Export(to) => export(to).await,
        Task::Key(task) => keys::key(task).await,
        Task::Authors(task) => keys::authors(task).await,
        Task::Backup(backup) => keys::backup(backup).await,
        Task::Restored(data) => keys::restored(&data.folder).await,
        Task::Serve(serve) => listen(*serve).await,
    }
}

fn database_url(data: &Path) -> String {
    match std::env::var("HOLDGATE_DATABASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => default_url(data),
    }
}

async fn make(init: Init) -> Result<(), CliError> {
    let data = &init.data.folder;
    let (authors, _) = read_authors(&init.authors_keys).map_err(named)?;
    let directory = match &init.directory {
        Some(path) => Some(Directory::read(path).map_err(|error| named(format!("`{}` {error}", path.display())))?),
        None => None,
    };
    let grant = match &init.grant_key {
        Some(path) => read_private(path).map_err(named)?,
        None => keys::new_key()?,
    };
    if ["grant.jwk", "grant.jwks.json", "holdgate.db"].iter().any(|name| data.join(name).exists()) {
        return fail(format!("`{}` is a data folder already; name another one, or `serve` this one", data.display()));
    }
    fs::create_dir_all(data).map_err(|error| named(format!("cannot make `{}`: {error}", data.display())))?;
    #[cfg(unix)]
    fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(|error| named(format!("cannot close `{}` to others: {error}", data.display())))?;
    let store = Database::open(&database_url(data), true).await.map_err(named)?;
    if keys::is_made(&store).await? {
        return fail("the database was made already; `serve` it with its data key, or name another one");
    }
    if let Some(directory) = directory {
        store.write(Import { directory, now: WallClock.now() }).await.map_err(named)?;
    }
    // Last, so that a first start that failed halfway can be tried again with an empty folder only.
    keys::make(&store, data, authors, (grant, keys::new_key()?)).await?;
    println!("made {}", data.display());
    println!("grant keys   {}", data.join("grant.jwks.json").display());
    println!("ledger keys  {}", data.join("ledger.jwks.json").display());
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), CliError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(sound) {
        return Ok(());
    }
    fail(format!("{what} `{name}`: use 1 to 64 letters, digits, `.`, `_`, `-`"))
}

async fn add_credential(data: &Path, command: impl FnOnce(Hash, u64) -> AddCredential) -> Result<(), CliError> {
    let store = existing(data).await?;
    let credential = random::secret().map_err(named)?;
    store.write(command(Hash::of(credential.as_bytes()), WallClock.now())).await.map_err(named)?;
    println!("{credential}");
    Ok(())
}

async fn set_password(data: &Path, person: String) -> Result<(), CliError> {
    let store = existing(data).await?;
    let mut password = String::new();
    io::stdin().lock().read_line(&mut password).map_err(|error| named(format!("standard input: {error}")))?;
    let hash = hash_password(password.trim_end_matches(['\n', '\r'])).map_err(named)?;
    let known = store.write(SetPassword { person: person.clone(), hash, now: WallClock.now() }).await.map_err(named)?;
    if known { Ok(()) } else { fail(format!("no person has the id `{person}`; persons come from the directory")) }
}

async fn suspend(name: AgentName) -> Result<(), CliError> {
    let AgentName { iss, sub, reason, data } = name;
    check_agent(&iss, &sub, &reason)?;
    let store = existing(&data.folder).await?;
    let suspend = Suspend { agent: Actor { iss, sub: sub.clone() }, reason, now: WallClock.now() };
    match store.write(suspend).await.map_err(named)? {
        Some(cancelled) => println!("suspended `{sub}`; open holds that were cancelled: {cancelled}"),
        None => println!("`{sub}` is suspended already"),
    }
    Ok(())
}

async fn resume(name: AgentName) -> Result<(), CliError> {
    let AgentName { iss, sub, reason, data } = name;
    check_agent(&iss, &sub, &reason)?;
    let store = existing(&data.folder).await?;
    let agent = Actor { iss: iss.clone(), sub: sub.clone() };
    if !store.write(Resume { agent, reason, now: WallClock.now() }).await.map_err(named)? {
        return fail(format!("no agent `{sub}` of `{iss}` is suspended; name issuer and subject as for `suspend`"));
    }
    println!("resumed `{sub}`");
    Ok(())
}

fn check_agent(iss: &str, sub: &str, reason: &str) -> Result<(), CliError> {
    if iss.is_empty() || sub.is_empty() {
        return fail("name the agent by its issuer and its subject; neither is empty");
    }
    check_reason(reason).map_err(named)
}

async fn export(to: ExportTo) -> Result<(), CliError> {
    let (store, keys) = keys::with_keys(&to.data.folder).await?;
    let known = match to.issuer {
        Some(issuer) => Some(issuer),
        None => ledger::last_origin(&mut store.read().await.map_err(named)?).await.map_err(named)?,
    };
    let key = keys.ledger(WallClock.now()).ok_or_else(|| named(LedgerError::NoKey))?;
    let mut export = Export::begin(store, key, known.as_deref().unwrap_or(ISSUER)).await.map_err(named)?;
    let cannot = |error: io::Error| match &to.out {
        Some(path) => named(format!("cannot write `{}`: {error}", path.display())),
        None => named(format!("cannot write: {error}")),
    };
    let mut out: Box<dyn io::Write> = match &to.out {
        Some(path) => Box::new(fs::File::create_new(path).map_err(cannot)?),
        None => Box::new(io::stdout()),
    };
    while let Some(piece) = export.next().await.map_err(named)? {
        out.write_all(piece.as_bytes()).map_err(cannot)?;
    }
    out.flush().map_err(cannot)
}

async fn listen(serve: Serve) -> Result<(), CliError> {
    let data = &serve.folder;
    if let Some(config) = &serve.config {
        tracing::info!(config = %config.display(), "settings were read");
    }
    let hooks = match &serve.notices {
        Some(path) => Hooks::read(path, &serve.console_url).map_err(named)?,
        None => Hooks::default(),
    };
    let provider = serve.oidc.as_deref().map(|path| provider(path, serve.secure_cookies)).transpose()?;
    // Held until the end of the process, however it ends.
    let url = database_url(data);
    let _alone = if is_shared(&url) || !data.is_dir() { None } else { Some(alone(data)?) };
    let (store, keys) = keys::with_keys(data).await?;
    let clock = std::sync::Arc::new(WallClock);
    let quotas = serve.quota.into_iter().fold(Quotas::default(), Quotas::with);
    let retention = serve.keep.into_iter().fold(Retention::default(), Retention::with);
    let Serve { deny_cooldown, remind, outcome_after, second_person, propose_suspension, .. } = serve;
    let recertify_within = if serve.recertify == 0 { u64::MAX } else { serve.recertify.saturating_mul(24 * 60 * 60) };
    let lasting = Lasting { recertify_within, ..Lasting::default() };
    let settings = Settings {
        quotas,
        deny_cooldown,
        retention,
        lasting,
        remind,
        outcome_after,
        second_person,
        propose_suspension,
    };
    let service = Service::new(store, clock, keys, &serve.issuer, settings).map_err(named)?.with_notices(hooks);
    let couriers = Couriers::new(service.clone()).map_err(named)?;
    let listeners = Listeners::bind(serve.gateways, serve.people).await.map_err(named)?;
    let listeners = listeners.with_metrics(serve.metrics).await.map_err(named)?;
    let (gateways, people) = listeners.addresses().map_err(named)?;
    let (stop, stopping) = watch::channel(false);
    // Before anybody is told that it is ready, and may tell it to stop.
    let signal = stop_signal().map_err(|error| named(format!("signals cannot be awaited: {error}")))?;
    tokio::spawn(async move {
        signal.await;
        tracing::info!("stopping");
        // Once nobody listens, all is over anyway.
        let _ = stop.send(true);
    });
    println!("gateways http://{gateways}\npeople http://{people}");
    if let Some(metrics) = listeners.metrics().map_err(named)? {
        println!("metrics http://{metrics}");
    }
    io::stdout().flush().map_err(named)?;
    tracing::info!(%gateways, "ready for gateways");
    tracing::info!(%people, "ready for people");
    let app = App::new(service, serve.secure_cookies, stopping);
    listeners.serve(provider.into_iter().fold(app, App::with_provider), couriers).await;
    Ok(())
}

fn provider(path: &Path, secure_cookies: bool) -> Result<Provider, CliError> {
    let config = Config::read(path).map_err(|error| named(format!("`{}` {error}", path.display())))?;
    if config.is_public_by_tls() != secure_cookies {
        let scheme = if secure_cookies { "http" } else { "https" };
        let mend = if secure_cookies { "name its https address" } else { "add `--secure-cookies`" };
        return fail(format!(
            "`{}` `public_url` is {scheme}, and cookies are not made for that: {mend}",
            path.display()
        ));
    }
    Provider::new(config).map_err(named)
}

/// Takes the data folder for one serving process: who waits at one would not hear what is decided at
/// another.
fn alone(data: &Path) -> Result<fs::File, CliError> {
    let path = data.join("serve.lock");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let cannot = |error: io::Error| named(format!("`{}` cannot be locked: {error}", path.display()));
    let file = options.open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::Error(error)) => Err(cannot(error)),
        Err(fs::TryLockError::WouldBlock) => {
            fail(format!("`{}` is served by another process already; stop that one first", data.display()))
        }
    }
}

/// Ends at the first signal to stop. Signals are caught from now on, not only once somebody waits.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without a way to hear of it, nothing stops the service but its end.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
