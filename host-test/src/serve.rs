//! `holdgate serve`: the compiled filter as a small proxy on this machine, with a reviewer who follows a script, to try rules by curl.
//!
//! Keys, tokens and the reviewer are those of the cases and known to everybody, so that it listens on loopback only.

mod front;
mod host;
mod shown;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use holdgate_host::{Filter, plugin};
use hyper::Uri;

use crate::{failure::Failure, files, output::Outcome, rules, starter::Text};
use front::Upstream;
use host::{Asked, Host, Reviewer};
use shown::say;

/// How long the reviewer thinks where nothing else is said.
const THINKS: Duration = Duration::from_secs(3);

/// How often the rule files are looked at.
const LOOK: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Rule files, or folders of them; their rules are compiled together
    #[arg(required = true, value_name = "RULES")]
    paths: Vec<PathBuf>,
    /// Where agents connect, on this machine
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The API behind the proxy, as `http://HOST:PORT`; without it, one that answers with what it got
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The reviewer approves what is held, after this time (3s by default)
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["deny_after", "ask"])]
    approve_after: Option<Duration>,
    /// The reviewer denies what is held, after this time
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "ask")]
    deny_after: Option<Duration>,
    /// You are the reviewer: `y` or `n` and Enter decide the oldest hold, `y h2` the hold h2
    #[arg(long)]
    ask: bool,
    /// The compiled filter; without it, the one of the checkout around the rules is built
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let parsed = parsed.ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| "write a time such as `3s` or `2m`".to_owned())
}

/// Serves until the process is ended.
pub(crate) fn run(serve: &Serve) -> Result<Outcome, Failure> {
    if !serve.listen.ip().is_loopback() {
        return Err(Failure::NotLocal(serve.listen));
    }
    let upstream = serve.upstream.as_deref().map(upstream).transpose()?;
    let reviewer = match (serve.approve_after, serve.deny_after) {
        (_, Some(after)) => Reviewer::Denies(after),
        (None, None) if serve.ask => Reviewer::Asks,
        (after, None) => Reviewer::Approves(after.unwrap_or(THINKS)),
    };
    let before = state(&serve.paths);
    let compilation = rules::compile(&serve.paths)?;
    let (bytes, _) = rules::load(&compilation)?;
    let folder = serve.paths.first().map_or(Path::new("."), PathBuf::as_path);
    let wasm = serve.wasm.clone().map_or_else(|| plugin::built(folder).map_err(Failure::Plugin), Ok)?;
    let filter = Filter::load_cached(&wasm).map_err(Failure::Filter)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|cause| Failure::Listen { address: serve.listen, cause })?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(serve.listen));
    let listener = listener.map_err(|cause| Failure::Listen { address: serve.listen, cause })?;
    let address = listener.local_addr().map_err(|cause| Failure::Listen { address: serve.listen, cause })?;
    let (forward, forwarded) = tokio::sync::mpsc::unbounded_channel();
    let asks = Host::start(filter, bytes, reviewer, upstream.is_some().then_some(forward))?;
    runtime.spawn(front::serve(listener, asks.clone()));
    if let Some(upstream) = upstream {
        runtime.spawn(front::forward(upstream, forwarded, asks.clone()));
    }
    say(&shown::greeting(address, &compilation, &reviewer));
    if matches!(reviewer, Reviewer::Asks) {
        let asks = asks.clone();
        std::thread::spawn(move || host::read_decisions(&asks));
    }
    watch(&serve.paths, before, &asks);
    Outcome::good(&Text { text: String::new() })
}

fn upstream(url: &str) -> Result<Upstream, Failure> {
    let wrong = || Failure::UpstreamUrl(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    let authority = uri.authority().filter(|_| plain).ok_or_else(wrong)?;
    Ok(Upstream { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(80) })
}

/// Hands the rules over anew whenever a file is changed.
fn watch(paths: &[PathBuf], mut before: Vec<State>, asks: &std::sync::mpsc::Sender<Asked>) {
    let mut serial = 1;
    loop {
        std::thread::park_timeout(LOOK);
        let now = state(paths);
        if now == before {
            continue;
        }
        before = now;
        let compiled = rules::compile(paths).and_then(|compilation| {
            let id = compilation.policies().collect::<Vec<_>>().join("+");
            let bundle = compilation.load(&id, serial + 1);
            bundle.map_err(|problem| Failure::Findings(vec![crate::check::Finding::from(&problem)]))
        });
        match compiled {
            Ok((bytes, _)) => {
                serial += 1;
                if asks.send(Asked::Rules(bytes)).is_err() {
                    return;
                }
                say(&format!("the rules are read again: serial {serial}"));
            }
            Err(failure) => say(&format!("the rules stay as they were: {failure}")),
        }
    }
}

type State = (String, Option<(std::time::SystemTime, u64)>);

/// The rule files as they are now. A folder's are those that it has.
fn state(paths: &[PathBuf]) -> Vec<State> {
    let names = files::read_rule_files(paths).map(|files| files.into_iter().map(|(name, _)| name).collect());
    let names: Vec<String> = names.unwrap_or_else(|_| paths.iter().map(|path| path.display().to_string()).collect());
    let look = |name: &String| {
        let metadata = fs::metadata(name).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    names.into_iter().map(|name| (name.clone(), look(&name))).collect()
}
