//! PostgreSQL goes away under load, in each way that it can: what was answered stays, and nobody has to lend a hand.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use holdgate_approval::{
    service::{Settings, open::OpenError},
    store::Database,
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::timeout,
};

use crate::{
    database,
    kill::Load,
    process::made,
    support::{World, let_in},
};

/// The longest time until the service is well again after the server is.
const RECOVERY: Duration = Duration::from_secs(15);

/// A server of its own, which keeps what it has said (`fsync` is on).
pub struct Server {
    pub folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
}

impl Server {
    pub fn start() -> Self {
        let named = std::env::var("HOLDGATE_POSTGRES_BIN").ok().filter(|named| !named.is_empty()).map(PathBuf::from);
        let installed = || {
            let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
            versions.map(|version| version.unwrap().path().join("bin")).max()
        };
        let binaries = named.or_else(installed);
        let missing = "no PostgreSQL server is installed: name its folder in HOLDGATE_POSTGRES_BIN";
        let binaries = binaries.unwrap_or_else(|| panic!("{missing}"));
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server { folder, binaries, port };
        if is_root() {
            std::os::unix::fs::chown(server.folder.path(), Some(id_of_postgres("-u")), Some(id_of_postgres("-g")))
                .unwrap();
        }
        server.run("initdb", &["-U", "holdgate", "-A", "trust", "-E", "UTF8"]);
        server.run("pg_ctl", &["-w", "-o", &server.options(), "start"]);
        server
    }

    fn options(&self) -> String {
        format!("-p {} -k {} -c listen_addresses=127.0.0.1", self.port, self.folder.path().display())
    }

    pub fn url(&self) -> String {
        format!("postgres://holdgate@127.0.0.1:{}/postgres", self.port)
    }

    /// Writes a file into its data folder, which it alone may read.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join("data").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(id_of_postgres("-u")), Some(id_of_postgres("-g"))).unwrap();
        }
    }

    /// `immediate` is a crash: what is not on the disk is lost.
    pub fn restart(&self, how: &str) {
        self.run("pg_ctl", &["-w", "-m", how, "-o", &self.options(), "restart"]);
    }

    /// The server refuses to run as root.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.folder.path().join("data")).args(arguments).current_dir(self.folder.path());
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(done.success(), "{command:?}: {done}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t")
}

fn id_of_postgres(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

async fn well_again(load: &Load) -> Duration {
    let begun = Instant::now();
    while !load.is_well().await {
        assert!(begun.elapsed() < RECOVERY, "the service does not come back by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// Cuts all connections of the service.
async fn cut(url: &str) -> u64 {
    let mut admin = PgConnection::connect(url).await.unwrap();
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdgate-approval'";
    admin.execute(sql).await.unwrap().rows_affected()
}

async fn data_on(folder: &Path, server: &Server) -> PathBuf {
    let data = folder.join("data");
    database::use_at(&data, &server.url()).await;
    made(folder).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_the_server_and_the_connections() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let data = data_on(folder.path(), &server).await;
    let mut load = Load::new(&data).await;
    let tasks = load.tasks();
    let mut slowest = Duration::ZERO;
    for round in 0..12 {
        let before = load.answered();
        tokio::time::sleep(Duration::from_millis(150 + round * 37)).await;
        match round % 4 {
            0 => server.restart("immediate"),
            1 => server.restart("fast"),
            _ => assert!(cut(&server.url()).await > 0, "there was no connection to cut"),
        }
        slowest = slowest.max(well_again(&load).await);
        assert!(load.answered() >= before);
    }
    load.stop();
    for task in tasks {
        task.await.unwrap();
    }
    let (answered, redeemed) = load.check(&data).await;
    eprintln!("12 outages, {answered} holds answered, {redeemed} redeemed, well again after {slowest:?} at most");
    assert!(answered > 12 && redeemed > 3, "there was little load");
}

/// What lies between the service and a database host. While it is down, bytes vanish and no connection is closed; those that it has
/// swallowed something of stay as they are for ever.
struct Wire {
    url: String,
    down: Arc<AtomicBool>,
}

impl Wire {
    async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (head, rest) = url.split_once('@').unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let url = format!("{head}@{}/{name}", listener.local_addr().unwrap());
        let (down, host) = (Arc::new(AtomicBool::new(false)), host.to_owned());
        let is_down = down.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (from, to) = client.into_split();
                let (back, forth) = TcpStream::connect(&host).await.unwrap().into_split();
                tokio::spawn(carry(from, forth, is_down.clone()));
                tokio::spawn(carry(back, to, is_down.clone()));
            }
        });
        Wire { url, down }
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, down: Arc<AtomicBool>) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if down.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_database_host_that_vanishes_without_a_word_is_given_up() {
    let direct = World::new().await;
    let wire = Wire::before(&direct.url).await;
    let (folder, store) = (tempfile::tempdir().unwrap(), Database::open(&wire.url, false).await.unwrap());
    let (clock, policy) = (direct.clock.clone(), direct.policy.clone());
    let world = World::on(folder, wire.url.clone(), store, clock, policy, Settings::default()).await;
    world.held(&["one"], "before").await;
    let all = async || {
        let mut readers = JoinSet::new();
        for store in std::iter::repeat_n(world.service.store.clone(), 12) {
            let sql = "SELECT count(*) AS n FROM holds";
            readers.spawn(async move { store.read().await.unwrap().one(sql, vec![]).await.unwrap().int("n").unwrap() });
        }
        readers.join_all().await
    };
    assert_eq!(all().await, [1; 12], "each connection for reading was used");

    wire.down.store(true, Ordering::SeqCst);
    let opens = world.ask(&["one"], "lost");
    let edge = let_in("edge");
    let (lost, read) = tokio::join!(
        timeout(Duration::from_secs(60), world.service.open_hold(&edge, opens.clone())),
        // Whoever reads meanwhile gives up before.
        timeout(Duration::from_secs(1), all()),
    );
    let lost = lost.expect("the writer hangs").unwrap_err();
    assert!(matches!(lost, OpenError::Store(_)), "{lost}");
    assert!(read.is_err());

    wire.down.store(false, Ordering::SeqCst);
    let again = timeout(Duration::from_secs(10), world.open(&opens)).await.expect("nobody has to lend a hand");
    assert_eq!(again.0.as_u16(), 201, "it was not opened before");
    assert_eq!(timeout(Duration::from_secs(10), all()).await.expect("readers come back"), [2; 12]);
}
