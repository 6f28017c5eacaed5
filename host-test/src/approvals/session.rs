//! Signing in, and where the session is kept.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, BufRead as _, IsTerminal as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shown::{line, moment};
use crate::{
    client::{Ask, Blocking, Client},
    failure::Failure,
    files::{self, Access},
    output::Outcome,
};

/// The environment variable with a token that is kept elsewhere.
const TOKEN: &str = "HOLDGATE_TOKEN";

/// A session that is kept: whoever reads it can decide in the person's name until it ends.
#[derive(Serialize, Deserialize)]
struct Session {
    person: String,
    token: String,
    expires_at: u64,
}

/// Sessions by the service's address.
type Sessions = BTreeMap<String, Session>;

/// What `POST /api/sessions` answers.
#[derive(Deserialize)]
struct SignedIn {
    token: String,
    person: String,
    name: String,
    expires_at: u64,
}

#[derive(Serialize)]
struct Report {
    person: String,
    name: Option<String>,
    signed_in: bool,
    expires_at: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { person, name, signed_in, expires_at } = self;
        let name = name.as_deref().map(|name| format!(" ({})", line(name))).unwrap_or_default();
        match (signed_in, expires_at) {
            (true, Some(end)) => writeln!(f, "signed in as {}{name} until {}", line(person), moment(*end)),
            _ => writeln!(f, "signed out: {}{name}", line(person)),
        }
    }
}

/// The token for a service: that of the environment, else the one that was kept.
pub(crate) fn token(address: &str) -> Result<String, Failure> {
    if let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()) {
        return Ok(token);
    }
    let session = read(&place()?)?.remove(key(address));
    session.map(|session| session.token).ok_or(Failure::NotSignedIn)
}

/// Signs a person in, and keeps the session.
pub(super) fn sign_in(address: &str, person: &str) -> Result<Outcome, Failure> {
    let service = Blocking::new(Client::new(address)?)?;
    let place = place()?;
    // What is there already is looked at first: the password is not asked for in vain.
    let mut sessions = read(&place)?;
    let body = json!({"person": person, "password": password(person)?}).to_string();
    let answer = service.send(Ask::new(Method::POST, "/api/sessions").json(body))?;
    if answer.status != 201 {
        return Err(service.refusal(&answer));
    }
    let SignedIn { token, person, name, expires_at } = service.read(&answer)?;
    sessions.insert(key(address).to_owned(), Session { person: person.clone(), token, expires_at });
    write(&place, &sessions)?;
    Outcome::good(&Report { person, name: Some(name), signed_in: true, expires_at: Some(expires_at) })
}

/// Ends the session that was kept, here and there.
pub(super) fn sign_out(address: &str) -> Result<Outcome, Failure> {
    let place = place()?;
    let mut sessions = read(&place)?;
    let Session { person, token, .. } = sessions.remove(key(address)).ok_or(Failure::NotSignedIn)?;
    let service = Blocking::new(Client::new(address)?.with_credential(token))?;
    let answer = service.send(Ask::new(Method::DELETE, "/api/sessions/current"))?;
    // 401: it has ended there already.
    if !matches!(answer.status, 204 | 401) {
        return Err(service.refusal(&answer));
    }
    write(&place, &sessions)?;
    Outcome::good(&Report { person, name: None, signed_in: false, expires_at: None })
}

/// The first line of standard input, or what is typed on the terminal, where it is not shown.
fn password(person: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("password of {person}: ")).map_err(Failure::Terminal);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Failure::Terminal)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// One service has one session, with or without a slash at its end.
fn key(address: &str) -> &str {
    address.trim_end_matches('/')
}

/// Where sessions are kept, by the XDG base directories.
fn place() -> Result<PathBuf, Failure> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    Ok(state.ok_or(Failure::NoStateFolder)?.join("holdgate/sessions.json"))
}

fn read(place: &Path) -> Result<Sessions, Failure> {
    let mode = match fs::metadata(place) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sessions::new()),
        Err(cause) => return Err(files::failed("read", place, cause)),
    };
    if mode & 0o077 != 0 {
        return Err(Failure::OpenSession { path: place.to_owned(), mode });
    }
    files::read_json(place, "a file of sessions")
}

fn write(place: &Path, sessions: &Sessions) -> Result<(), Failure> {
    if let Some(folder) = place.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|cause| files::failed("make the folder", folder, cause))?;
    }
    let text = serde_json::to_vec_pretty(sessions).map_err(Failure::Encode)?;
    files::write(place, &text, Access::Private)
}
