//! A child process that can be killed and started again.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::until;

/// How much of a log is shown when a test fails.
const TAIL: usize = 16 * 1024;

/// One part of the product, running or not; what it writes goes to a file.
pub struct Process {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not started yet. Its log is `NAME.log` in `folder`.
    pub fn new(name: &'static str, program: PathBuf, arguments: Vec<String>, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        Process { name, program, arguments, environment: Vec::new(), log, child: None }
    }

    #[must_use]
    pub fn environment(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    pub fn start(&mut self) -> Result<()> {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("`{}` cannot be run", self.program.display()))?);
        Ok(())
    }

    /// The id of the process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// An error, with the end of the log, if the process has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.map(|status| status.to_string()),
            None => Some("not running".to_owned()),
        };
        match ended {
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
        let ended = until("the end of a process", limit, async || child.try_wait().ok().flatten()).await;
        self.kill();
        ended.map(|_| ()).with_context(|| format!("{} does not stop", self.name))
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its log under a heading.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let start = log.len().saturating_sub(TAIL);
        let tail = log.char_indices().find(|(index, _)| *index >= start).map_or("", |(index, _)| log.split_at(index).1);
        format!("--- {}\n{tail}\n", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
