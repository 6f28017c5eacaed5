//! A PostgreSQL server for the tests: on loopback, without passwords, gone at the end.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::install;
use crate::run::{answers, succeed_quietly};

/// Names a server that is taken instead; its role must be allowed to make databases.
const URL: &str = "HOLDGATE_TEST_POSTGRES_URL";

/// Names the folder of the server's programs, for tests that stop and start one of their own.
const PROGRAMS: &str = "HOLDGATE_POSTGRES_BIN";

/// The beginning of the folders' names, which end with the number of their maker's process.
const FOLDER: &str = "holdgate-postgres-";

/// What a killed machine would lose does not matter here, and tests on many databases at once need connections.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=500",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];

/// A server that tests may use, which is stopped when this is dropped if it was started here.
pub(crate) struct Postgres {
    url: OsString,
    /// `None` where a server was named and no programs are on this machine.
    programs: Option<PathBuf>,
    server: Option<Server>,
}

struct Server {
    process: Child,
    folder: PathBuf,
}

impl Postgres {
    /// The server that is named by the environment, or a new one.
    pub(crate) fn start() -> Result<Self> {
        if let Some(url) = env::var_os(URL).filter(|url| !url.is_empty()) {
            return Ok(Postgres { url, programs: programs(), server: None });
        }
        let programs = match programs() {
            Some(programs) => programs,
            None => {
                let missing = format!("no PostgreSQL server, which the tests need: name one in {URL}, or install it");
                install(&["postgresql"], &missing)?;
                programs().with_context(|| format!("{missing}: what was installed has no `initdb`"))?
            }
        };
        let (server, port) = Server::start(&programs)?;
        let url = format!("postgres://holdgate@127.0.0.1:{port}/postgres").into();
        Ok(Postgres { url, programs: Some(programs), server: Some(server) })
    }

    /// Tells a command of the server by its environment.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env(URL, &self.url).envs(self.programs.iter().map(|programs| (PROGRAMS, programs)));
    }

    /// Prints how to tell a shell of the server, and waits until it ends.
    pub(crate) fn serve(mut self) -> Result<()> {
        println!("export {URL}={}", self.url.to_string_lossy());
        if let Some(programs) = &self.programs {
            println!("export {PROGRAMS}={}", programs.display());
        }
        let Some(server) = &mut self.server else { return Ok(()) };
        let status = server.process.wait()?;
        if status.success() { Ok(()) } else { bail!("the server ended with {status}") }
    }
}

/// The folder with `initdb` and `postgres`: the one that is named, that of the `PATH`, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    if let Some(named) = env::var_os(PROGRAMS).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let on_path = env::var_os("PATH").unwrap_or_default();
    // A link leads to the folder in which the other programs are, too.
    let on_path = env::split_paths(&on_path).filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok());
    let on_path = on_path.filter_map(|program| program.parent().map(Path::to_owned));
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    debian.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    let whole = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file());
    on_path.chain(debian).find(whole)
}

impl Server {
    fn start(programs: &Path) -> Result<(Self, u16)> {
        sweep();
        let folder = env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        let user = user()?;
        if let Some(user) = &user {
            succeed_quietly(Command::new("chown").arg(user).arg(&folder))?;
        }
        let data = folder.join("data");
        let mut initdb = command(user.as_deref(), &programs.join("initdb"));
        initdb.args(["--username=holdgate", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        succeed_quietly(initdb.arg(&data).current_dir(&folder))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut postgres = command(user.as_deref(), &programs.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string()]).current_dir(&folder);
        for setting in SETTINGS {
            postgres.args(["-c", setting]);
        }
        let spawned = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut server = Server { process: spawned.context("`postgres` cannot be run")?, folder };
        server.await_ready()?;
        Ok((server, port))
    }

    /// Reads what the server says until it is ready; what it says after that is read, so that it need not wait, and
    /// dropped.
    fn await_ready(&mut self) -> Result<()> {
        let mut said = BufReader::new(self.process.stderr.take().context("`postgres` has no output")?);
        let mut all = String::new();
        loop {
            let begin = all.len();
            if said.read_line(&mut all)? == 0 {
                bail!("`postgres` did not start:\n{all}");
            }
            if all.get(begin..).is_some_and(|line| line.contains("ready to accept connections")) {
                break;
            }
        }
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is the fast stop, which does not wait for clients.
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes the folders of makers that were killed before they could do it; their servers ended with them.
fn sweep() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(maker) = name.to_str().and_then(|name| name.strip_prefix(FOLDER)) else { continue };
        if maker.parse::<u32>().is_ok() && !Path::new("/proc").join(maker).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// As whom the server runs: it refuses to run as root.
fn user() -> Result<Option<String>> {
    let output = Command::new("id").arg("-u").output().context("`id` cannot be run")?;
    if output.stdout.trim_ascii() != b"0" {
        return Ok(None);
    }
    let known = |user: &str| answers("id", &["-u", user]);
    let user = ["postgres", "nobody"].into_iter().find(|user| known(user));
    Ok(Some(
        user.context("neither `postgres` nor `nobody` is a user here: PostgreSQL does not run as root")?.to_owned(),
    ))
}

/// A program that ends when this process does, however it does: `setpriv` becomes the program.
fn command(user: Option<&str>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid"]).arg(group(user)).arg("--init-groups");
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program).env_remove("PGDATA").env("LC_ALL", "C");
    command
}

fn group(user: &str) -> String {
    let output = Command::new("id").args(["-g", user]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn server_listens_until_it_is_dropped_and_leaves_nothing() {
        let programs = programs().expect("PostgreSQL's programs");
        let (server, port) = Server::start(&programs).unwrap();
        let folder = server.folder.clone();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(folder.join("data/PG_VERSION").is_file());
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists());
    }
}
