//! The file of `--notices`: hooks, and the hosts that they may lead to.

use std::{collections::BTreeSet, fmt, fs, net::IpAddr, path::Path, sync::Arc};

use holdgate_protocol::from_b64;
use hyper::Uri;
use serde::Deserialize;
use tokio::sync::Notify;

use super::{EVENTS, matches};
use crate::yaml;

/// The most hooks in one file; each has a task of its own.
const MAX_HOOKS: usize = 32;

/// The largest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// The bytes that a secret may have (Standard Webhooks).
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// All hooks.
#[derive(Debug, Default)]
pub struct Hooks {
    pub hooks: Vec<Arc<Hook>>,
    /// Hosts that hooks may lead to, by their names or `*.` and the end of names.
    pub hosts: Arc<BTreeSet<String>>,
    /// Where people find the console.
    pub console: String,
    /// Told after something was written down for hooks.
    pub news: Notify,
}

/// One place that is told.
#[derive(Debug)]
pub struct Hook {
    pub id: String,
    pub url: Url,
    pub secret: Option<Secret>,
    events: Vec<String>,
    rules: Option<Vec<String>>,
    pub format: Format,
}

/// How a notice is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Holdgate,
    Slack,
}

/// An address that may itself be a secret: only its host is shown.
pub struct Url(pub Uri);

/// What notices are signed with.
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/...", self.0.host().unwrap_or_default())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HooksError(String);

fn wrong<T>(what: impl fmt::Display) -> Result<T, HooksError> {
    Err(HooksError(what.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hosts: Vec<String>,
    hooks: Vec<RawHook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHook {
    id: String,
    url: Option<String>,
    url_env: Option<String>,
    url_file: Option<String>,
    secret_env: Option<String>,
    secret_file: Option<String>,
    events: Option<Vec<String>>,
    rules: Option<Vec<String>>,
    #[serde(default)]
    format: Format,
}

impl Hooks {
    /// Reads the file, and the secrets that it names. `console`: where people find the console.
    pub fn read(path: &Path, console: &str) -> Result<Self, HooksError> {
        let shown = path.display();
        let size = fs::metadata(path).map(|file| file.len());
        if size.is_ok_and(|size| size > MAX_FILE) {
            return wrong(format!("`{shown}` is larger than {MAX_FILE} bytes"));
        }
        let text =
            fs::read_to_string(path).map_err(|error| HooksError(format!("`{shown}` cannot be read: {error}")))?;
        let variable = |name: &str| std::env::var(name).ok();
        Hooks::parse(&text, console, variable).map_err(|error| HooksError(format!("`{shown}`: {error}")))
    }

    /// The same from a text, with something that looks up variables of the environment.
    pub fn parse(text: &str, console: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, HooksError> {
        let file: File = yaml::read(text).map_err(HooksError)?;
        let console = console_url(console)?;
        if file.hooks.len() > MAX_HOOKS {
            return wrong(format!("{} hooks are too many; name at most {MAX_HOOKS}", file.hooks.len()));
        }
        let hosts: BTreeSet<String> = file.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
            return wrong(format!(
                "hosts: `{host}` is neither a host's name, `*.` and the end of names, nor an address"
            ));
        }
        let mut ids = BTreeSet::new();
        let mut hooks = Vec::new();
        for (number, raw) in file.hooks.into_iter().enumerate() {
            let id = raw.id.clone();
            let named = |error: HooksError| HooksError(format!("hooks[{number}] `{id}`: {error}"));
            if !ids.insert(id.clone()) {
                return Err(named(HooksError("another hook has this id".into())));
            }
            hooks.push(Arc::new(hook(raw, &hosts, &variable).map_err(named)?));
        }
        Ok(Hooks { hooks, hosts: Arc::new(hosts), console, news: Notify::new() })
    }
}

impl Hook {
    /// Whether it is told of an event. What is about no hold goes to hooks that name no rules.
    pub fn wants<'r>(&self, event: &str, rules: Option<impl IntoIterator<Item = &'r str>>) -> bool {
        let event = self.events.iter().any(|pattern| matches(pattern, event));
        let rule = match (&self.rules, rules) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(patterns), Some(rules)) => {
                rules.into_iter().any(|rule| patterns.iter().any(|pattern| matches(pattern, rule)))
            }
        };
        event && rule
    }
}

fn hook(
    raw: RawHook,
    hosts: &BTreeSet<String>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Hook, HooksError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if raw.id.is_empty() || raw.id.len() > 64 || !raw.id.chars().all(sound) {
        return wrong("an id has 1 to 64 letters, digits, `.`, `_`, `-`");
    }
    let look = |name: &str| {
        variable(name).ok_or_else(|| HooksError(format!("the environment has no `{}`", without_secret(name))))
    };
    let file = |path: &str| {
        let shown = without_secret(path);
        let text = fs::read_to_string(path).map_err(|error| HooksError(format!("`{shown}` cannot be read: {error}")));
        Ok::<_, HooksError>(text?.trim().to_owned())
    };
    let url = match (&raw.url, &raw.url_env, &raw.url_file) {
        (Some(url), None, None) => url.clone(),
        (None, Some(name), None) => look(name)?,
        (None, None, Some(path)) => file(path)?,
        _ => return wrong("give one of `url`, `url_env`, `url_file`"),
    };
    let url = Url(address(&url, hosts)?);
    let secret = match (&raw.secret_env, &raw.secret_file) {
        (None, None) => None,
        (Some(name), None) => Some(look(name)?),
        (None, Some(path)) => Some(file(path)?),
        _ => return wrong("give one of `secret_env`, `secret_file`"),
    };
    let secret = secret.map(|text| secret_of(&text)).transpose()?;
    if secret.is_none() && raw.format == Format::Holdgate {
        return wrong("`secret_env` or `secret_file` is missing: notices are signed");
    }
    let events = raw.events.unwrap_or_else(|| vec!["*".to_owned()]);
    for pattern in &events {
        if !EVENTS.iter().any(|event| matches(pattern, event)) {
            return wrong(format!("no event is called `{pattern}`; there are {}", EVENTS.join(", ")));
        }
    }
    Ok(Hook { id: raw.id, url, secret, events, rules: raw.rules, format: raw.format })
}

fn secret_of(text: &str) -> Result<Secret, HooksError> {
    let bytes = text.strip_prefix("whsec_").and_then(from_b64).filter(|bytes| SECRET.contains(&bytes.len()));
    let form =
        "the secret is not `whsec_` and base64 of 24 to 64 bytes; make one: `echo whsec_$(openssl rand -base64 32)`";
    bytes.map(Secret).ok_or_else(|| HooksError(form.to_owned()))
}

/// Reads an address that may itself be a secret: an error shows no more than its host.
fn address(text: &str, hosts: &BTreeSet<String>) -> Result<Uri, HooksError> {
    let malformed = || HooksError("the address is not `https://HOST/...`".into());
    let uri: Uri = text.parse().map_err(|_| malformed())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(malformed()) };
    if authority.as_str().contains('@') {
        return wrong("the address has a user name; sign notices with a secret instead");
    }
    let host = plain_host(authority.host());
    let own = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match scheme {
        "https" => {}
        "http" if own => {}
        "http" => return wrong(format!("`http` is for this machine only; use `https` for `{host}`")),
        _ => return Err(malformed()),
    }
    if !is_listed(&host, hosts) {
        return wrong(format!("the host `{host}` is not listed in `hosts`"));
    }
    Ok(uri)
}

/// The name of a variable or file; what is no name is the secret itself, at the wrong place.
fn without_secret(name: &str) -> &str {
    if name.starts_with("whsec_") || name.contains("://") { "..." } else { name }
}

/// A host in lower case, without the brackets of an IPv6 address and the dot at its end.
pub(super) fn plain_host(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a host is listed, by its name or by the end of it.
pub(super) fn is_listed(host: &str, hosts: &BTreeSet<String>) -> bool {
    let ends = |pattern: &String| pattern.strip_prefix('*').is_some_and(|end| host.ends_with(end));
    hosts.contains(host) || (host.parse::<IpAddr>().is_err() && hosts.iter().any(ends))
}

fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    host.parse::<IpAddr>().is_ok() || (!name.is_empty() && name.chars().all(plain))
}

fn console_url(text: &str) -> Result<String, HooksError> {
    let uri: Uri = text.parse().map_err(|_| HooksError(format!("the console's address `{text}` is no address")))?;
    let plain = !text.contains(|c: char| matches!(c, '|' | '<' | '>' | '"' | '&') || c.is_whitespace());
    if !plain || !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return wrong(format!("the console's address `{text}` is not `https://HOST` or `https://HOST/PATH`"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Format, Hooks};

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    fn read(text: &str) -> Result<Hooks, String> {
        let variable = |name: &str| match name {
            "S" => Some(SECRET.to_owned()),
            "WEAK" => Some("whsec_c2hvcnQ=".to_owned()),
            "U" => Some("https://hooks.slack.com/services/T0/B0/verysecret".to_owned()),
            _ => None,
        };
        Hooks::parse(text, "https://console.example/", variable).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_names_hooks_and_hides_what_is_secret() {
        let hooks = read(
            "hosts: [a.example, '*.slack.com', 127.0.0.1]\nhooks:\n  - {id: a, url: 'https://a.example/x', secret_env: S, \
             events: ['hold.*'], rules: ['iam-*']}\n  - {id: chat, url_env: U, format: slack}\n  - {id: own, url: \
             'http://127.0.0.1:9/', secret_env: S}",
        );
        let hooks = hooks.unwrap();
        assert_eq!(hooks.console, "https://console.example");
        let shown = format!("{hooks:?}");
        assert!(
            !shown.contains("verysecret") && !shown.contains("0123") && shown.contains("hooks.slack.com"),
            "{shown}"
        );
        let (a, chat) = (&hooks.hooks[0], &hooks.hooks[1]);
        assert!(a.wants("hold.opened", Some(["iam-roles"])) && !a.wants("hold.opened", Some(["pay"])));
        assert!(!a.wants("agent.suspended", None::<[&str; 0]>) && chat.wants("agent.suspended", None::<[&str; 0]>));
        assert_eq!(chat.format, Format::Slack);
    }

    #[test]
    fn a_mistake_shows_nothing_that_is_secret() {
        let url = "https://hooks.slack.com/services/T0/B0/verysecret";
        for text in [
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url: '{url}', secrets_env: S}}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url: ['{url}'], secret_env: S}}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url: '{url}', secret_env: {SECRET}}}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url: '{url}', secret_file: {SECRET}}}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url_env: '{url}', secret_env: S}}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url_file: '{url}', secret_env: S}}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - '{url}'"),
            format!("hosts: ['*.slack.com']\nhooks: {url}"),
            format!("hosts: ['*.slack.com']\nhooks:\n  - {{id: a, url: '{url}', secret_env: S"),
            format!("hosts: ['*.slack.com']\nhooks:\n\t- url: {url}"),
        ] {
            let error = read(&text).map(|_| ()).unwrap_err();
            assert!(!error.is_empty() && !error.contains("verysecret") && !error.contains("MDEy"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let hook = |rest: &str| format!("hosts: [a.example, localhost]\nhooks: [{{id: a, {rest}}}]");
        for (text, words) in [
            (hook("url: 'https://b.example/', secret_env: S"), "the host `b.example` is not listed"),
            (hook("url: 'http://a.example/', secret_env: S"), "use `https` for `a.example`"),
            (hook("url: 'https://u:p@a.example/', secret_env: S"), "has a user name"),
            (hook("url: 'ftp://a.example/', secret_env: S"), "is not `https://HOST"),
            (hook("url: 'https://a.example.evil.test/', secret_env: S"), "is not listed"),
            (hook("url: 'https://a.example/'"), "notices are signed"),
            (hook("url: 'https://a.example/', secret_env: WEAK"), "24 to 64 bytes"),
            (hook("url: 'https://a.example/', secret_env: NONE"), "the environment has no `NONE`"),
            (hook("url: 'https://a.example/', secret_env: S, events: [hold.open]"), "no event is called `hold.open`"),
            (hook("url: 'https://a.example/', secret: x"), "secret"),
            (hook("secret_env: S"), "give one of `url`"),
            ("hosts: ['a b']\nhooks: []".to_owned(), "hosts: `a b`"),
            ("hooks: []".to_owned(), "hosts"),
        ] {
            let error = read(&text).map(|_| ()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
