//! A folder in which the binary runs.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

pub(crate) const POLICY: &str = "\
format: 1
policy: demo
owner: team@example.com
controls: [nist-csf-2.0/PR.AA-05]
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET], path: /**}
tests:
  - name: a read passes
    request: {agent: {}, http: {method: GET, path: /x}}
    expect: {effect: allow, rule: read}
";

/// How a run ended.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A folder of its own for each test; the binary runs in it, so that its messages have short paths.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Place(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path().join(name), text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    pub(crate) fn run(&self, arguments: &str) -> Outcome {
        self.run_with(arguments, None)
    }

    pub(crate) fn run_with(&self, arguments: &str, credential: Option<&str>) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate"));
        command
            .stdin(Stdio::null())
            .args(arguments.split(' '))
            .current_dir(self.path())
            .env_remove("HOLDGATE_PUBLISHER_CREDENTIAL");
        command.envs(credential.map(|credential| ("HOLDGATE_PUBLISHER_CREDENTIAL", credential)));
        Outcome::from(command.output().unwrap())
    }

    /// With arguments that have spaces, and something on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate"));
        command.args(arguments).current_dir(self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Outcome::from(child.wait_with_output().unwrap())
    }

    #[track_caller]
    pub(crate) fn succeeds(&self, arguments: &str) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments}");
        outcome.stdout
    }

    #[track_caller]
    pub(crate) fn fails(&self, arguments: &str, code: i32, stderr: &str) {
        let outcome = self.run(arguments);
        assert_eq!((outcome.stderr.as_str(), outcome.code), (stderr, code), "{arguments}");
        assert_eq!(outcome.stdout, "", "{arguments}");
    }

    /// No temporary file stays behind.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn kid(said: &str) -> &str {
    said.lines().next().unwrap().strip_prefix("key ").unwrap()
}
