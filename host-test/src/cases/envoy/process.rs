//! Envoy's process and what it writes.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::cases::driver::{CREDENTIAL, Trouble};

/// Lines of the log that are shown when it ends by itself.
const SHOWN: usize = 12;

/// Envoy, running; dropped, it is killed.
pub(super) struct Process {
    child: Child,
    admin_file: PathBuf,
}

/// A file to which lines are added.
pub(super) struct Tail {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

/// Where access log and log go.
pub(super) fn logs(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("access.log"), folder.join("envoy.log"))
}

impl Process {
    pub(super) fn start(
        binary: &Path,
        folder: &Path,
        configuration: &Path,
        concurrency: usize,
    ) -> Result<Self, Trouble> {
        let failed = |error| Trouble::Failed(format!("`{}` cannot be run: {error}", binary.display()));
        let (access, log) = logs(folder);
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path).map_err(failed);
        let admin_file = folder.join("admin.address");
        let _was_not_there = std::fs::remove_file(&admin_file);
        let mut command = Command::new(binary);
        command.arg("--config-path").arg(configuration).arg("--admin-address-path").arg(&admin_file);
        command.args(["--concurrency", &concurrency.to_string()]);
        // It shares nothing with others of its kind, and leaves nothing behind when it is killed.
        command.arg("--disable-hot-restart");
        command.args(["--log-level", "warning", "--component-log-level", "wasm:info", "--log-format", "[%l][%n] %v"]);
        command.args(["--file-flush-interval-msec", "5"]);
        command.env("HOLDGATE_GATEWAY_CREDENTIAL", CREDENTIAL);
        command.stdin(Stdio::null()).stdout(open(&access)?).stderr(open(&log)?);
        let child = command.spawn().map_err(failed)?;
        Ok(Process { child, admin_file })
    }

    /// Where its admin port is, once it has one.
    pub(super) fn admin(&self) -> Option<SocketAddr> {
        std::fs::read_to_string(&self.admin_file).ok()?.trim().parse().ok()
    }

    /// An error if it has ended by itself.
    pub(super) fn check(&mut self, folder: &Path) -> Result<(), Trouble> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = std::fs::read(logs(folder).1).unwrap_or_default();
                let log = String::from_utf8_lossy(&log).into_owned();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
                Err(Trouble::Failed(format!("Envoy ended ({status}):\n{last}")))
            }
            Err(error) => Err(Trouble::Failed(format!("Envoy cannot be asked after: {error}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Tail { path, offset: 0, rest: Vec::new() }
    }

    /// The whole lines that have come since the last question.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // What cannot be read now is read the next time.
        let _unread = self.read();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let rest = self.rest.split_off(end + 1);
            let line = std::mem::replace(&mut self.rest, rest);
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        lines
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += u64::try_from(file.read_to_end(&mut self.rest)?).unwrap_or_default();
        Ok(())
    }
}
