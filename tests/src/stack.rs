//! The whole product as real processes on loopback: sample upstream, approval service, Envoy with the filter.

mod envoy;
mod places;
mod ports;
mod process;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use holdgate_protocol::jws::PrivateKey;
use serde_json::{Value, json};

use crate::{
    agent::Agent,
    http,
    identity::{Issuer, merge, new_key},
    reviewer::Reviewer,
    tamper::{Hook, Proxy},
    until,
    upstream::{MARK, Upstream},
};

pub use places::Places;
pub use ports::Ports;
pub use process::Process;

/// The gateway group of the stack's one gateway.
pub const GROUP: &str = "edge";

/// The agents' issuer, to which people are linked too.
pub const ISSUER: &str = "https://idp.example";

/// How long a part may take until it serves.
const STARTUP: Duration = Duration::from_secs(60);

/// The people of the directory: id, name, and the roles in which they may decide.
pub const PEOPLE: [(&str, &str, &[&str]); 3] = [
    ("alice", "Alice Archer", &["iam-approver"]),
    ("bob", "Bob Baker", &["iam-approver", "security-lead"]),
    ("carol", "Carol Carver", &["iam-approver"]),
];

/// The person who answers for [`Stack::agent`]: eligible, and still not able to approve its requests.
pub const OWNER: &str = "carol";

/// A change of Envoy's configuration.
pub type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// What a stack is made of. [`Options::default`] is what most tests want.
#[derive(Clone)]
pub struct Options {
    /// The text of the rule file; `None` takes the shipped one.
    pub policy: Option<String>,
    /// Set over the template's plugin configuration (RFC 7396).
    pub plugin: Value,
    /// Whether Envoy speaks HTTP/2 to the sample upstream.
    pub upstream_http2: bool,
    /// Changes Envoy's configuration before it starts.
    pub envoy: Option<Edit>,
    /// Where the gateway's route leads in place of the sample upstream.
    pub upstream: Option<SocketAddr>,
    /// Envoy's worker threads.
    pub concurrency: u32,
    /// Further arguments of `holdgate-approval serve`.
    pub serve: Vec<String>,
    /// Rewrites answers of the service on their way to the filter.
    pub tamper: Option<Hook>,
    /// The first port of a fixed range; `None` takes free ones.
    pub port_base: Option<u16>,
    /// Where keys, database, configuration and logs go, made anew; `None` takes a folder that is removed again.
    pub data: Option<PathBuf>,
    /// Called with each step of the start.
    pub progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        let (policy, envoy, upstream, tamper, port_base, data) = (None, None, None, None, None, None);
        Options {
            policy,
            plugin: json!({}),
            upstream,
            upstream_http2: false,
            envoy,
            concurrency: 1,
            serve: Vec::new(),
            tamper,
            port_base,
            data,
            progress: |_| {},
        }
    }
}

/// The running product. Dropped, all of it stops; dropped by a panic, it shows its logs first.
pub struct Stack {
    pub upstream: Upstream,
    pub issuer: Issuer,
    pub ports: Ports,
    pub approval: Process,
    pub envoy: Process,
    passwords: Vec<(&'static str, String)>,
    publisher: String,
    credential: String,
    plugin: Value,
    places: Places,
    folder: PathBuf,
    _proxy: Option<Proxy>,
    _temporary: Option<tempfile::TempDir>,
}

impl Stack {
    /// Starts everything in the order of a first start, and returns when the filter decides.
    pub async fn start(options: Options) -> Result<Self> {
        let places = Places::find()?;
        let ports = Ports::choose(options.port_base)?;
        let (folder, temporary) = make_folder(options.data.as_deref())?;
        let say = options.progress;

        say("making keys, database and credentials");
        let policy = match &options.policy {
            Some(text) => write(&folder.join("policy.yaml"), text)?,
            None => places.shipped_policy(),
        };
        let issuer = Issuer::new(ISSUER)?;
        let authors = folder.join("keys/authors");
        std::fs::create_dir_all(folder.join("keys"))?;
        places.holdgate(&["keygen", "--out", &text(&authors)])?;
        places.holdgate(&["keygen", "--out", &text(&folder.join("keys/grant"))])?;
        let grant_key = text(&folder.join("keys/grant.jwk"));
        let data = text(&folder.join("approval"));
        let directory = write(&folder.join("directory.yaml"), &directory().to_string())?;
        let authors_jwks = authors.with_extension("jwks.json");
        let init = ["init", "--data", &data, "--authors-keys", &text(&authors_jwks), "--directory", &text(&directory)];
        places.approval(&[&init[..], &["--grant-key", &grant_key]].concat(), None)?;
        let credential = places.approval(&["gateway", "add", GROUP, "--data", &data], None)?;
        let publisher = places.approval(&["publisher", "add", "ci", "--data", &data], None)?;
        let mut passwords = Vec::new();
        for (person, ..) in PEOPLE {
            let password = new_password()?;
            places.approval(&["person", "set-password", person, "--data", &data], Some(&password))?;
            passwords.push((person, password));
        }

        say("starting the sample upstream and the approval service");
        let upstream = Upstream::start(ports.upstream()).await?;
        let service = ["serve", "--data", &data, "--gateways", &text_of(ports.service()), "--people"];
        let service = service.into_iter().map(str::to_owned).chain([text_of(ports.people())]).chain(options.serve);
        let approval = Process::new("approval", places.approval_binary(), service.collect(), &folder);
        let proxy = match options.tamper {
            Some(hook) => Some(Proxy::start(ports.proxy(), ports.service(), hook).await?),
            None => None,
        };

        let plugin = plugin_configuration(&issuer, &authors_jwks, &folder, options.plugin)?;
        let seen_as_service = if proxy.is_some() { ports.proxy() } else { ports.service() };
        let leads_to = options.upstream.unwrap_or(ports.upstream());
        let mut config =
            envoy::configuration(&places, &ports, leads_to, seen_as_service, plugin.clone(), options.upstream_http2)?;
        if let Some(edit) = &options.envoy {
            edit(&mut config);
        }
        let config = write(&folder.join("envoy.json"), &format!("{config:#}"))?;
        let envoy = envoy::process("envoy", &places, &config, options.concurrency, credential.clone(), &folder);

        let folder = folder.clone();
        let mut stack = Stack {
            upstream,
            issuer,
            ports,
            approval,
            envoy,
            passwords,
            publisher,
            credential,
            plugin,
            places,
            folder,
            _proxy: proxy,
            _temporary: temporary,
        };
        stack.start_approval().await?;
        say("publishing the policy");
        stack.publish(1, &policy)?;
        say("starting Envoy with the filter");
        stack.start_envoy().await?;
        Ok(stack)
    }

    /// Starts the service, on the same ports and data as before, and waits until it serves.
    pub async fn start_approval(&mut self) -> Result<()> {
        self.approval.start()?;
        let (gateways, people) = (self.ports.service(), self.ports.people());
        self.ready("the approval service", async |stack: &mut Stack| {
            stack.approval.check()?;
            Ok(healthy(gateways, "/healthz").await && healthy(people, "/healthz").await)
        })
        .await
    }

    /// Starts Envoy, on the same ports and configuration as before, and waits until the filter decides.
    pub async fn start_envoy(&mut self) -> Result<()> {
        self.envoy.start()?;
        let admin = self.ports.admin();
        self.ready("Envoy", async |stack: &mut Stack| {
            stack.envoy.check()?;
            Ok(healthy(admin, "/ready").await && stack.decides().await)
        })
        .await
    }

    async fn ready(&mut self, what: &str, mut probe: impl AsyncFnMut(&mut Stack) -> Result<bool>) -> Result<()> {
        until(what, STARTUP, async || match probe(self).await {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
        .await?
    }

    /// Whether the filter comes to a verdict, be it yes or no: it has a policy and has reached the service.
    async fn decides(&self) -> bool {
        let answer = self.agent().get("/iam/users?ready").send().await;
        answer.is_ok_and(|answer| answer.status != 503)
    }

    /// Whether a routine request gets through now.
    pub async fn passes_routine(&self) -> bool {
        let answer = self.agent().get("/iam/users?ready").send().await;
        answer.is_ok_and(|answer| answer.status == 200 && answer.header(MARK).is_some())
    }

    /// Compiles, signs and publishes another rule file in place of the stack's.
    pub fn publish_text(&self, serial: u64, policy: &str) -> Result<()> {
        self.publish(serial, &write(&self.folder.join(format!("policy.{serial}.yaml")), policy)?)
    }

    /// Compiles, signs and publishes a rule file.
    fn publish(&self, serial: u64, policy: &Path) -> Result<()> {
        let bundle = text(&self.folder.join(format!("policy.{serial}.bundle")));
        let key = text(&self.folder.join("keys/authors.jwk"));
        let serial = serial.to_string();
        self.places.holdgate(&["build", &text(policy), "--out", &bundle, "--serial", &serial, "--sign", &key])?;
        let to = format!("http://{}", self.ports.people());
        let credential = [("HOLDGATE_PUBLISHER_CREDENTIAL", self.publisher.as_str())];
        self.places.holdgate_with(&["publish", &bundle, "--to", &to, "--yes"], &credential)
    }

    /// Another Envoy with one worker beside the stack's, not started, and its ports: the same but for what `plugin` sets over
    /// the plugin configuration, and what `edit` does to Envoy's.
    pub fn another_envoy(
        &self,
        name: &'static str,
        plugin: Value,
        edit: impl FnOnce(&mut Value) -> Result<()>,
    ) -> Result<(Process, Ports)> {
        let ports = Ports::choose(None)?;
        let mut all = self.plugin.clone();
        merge(&mut all, plugin);
        let mut config =
            envoy::configuration(&self.places, &ports, self.ports.upstream(), self.ports.service(), all, false)?;
        edit(&mut config)?;
        let config = write(&self.folder.join(format!("{name}.json")), &config.to_string())?;
        Ok((envoy::process(name, &self.places, &config, 1, self.credential.clone(), &self.folder), ports))
    }

    /// Compiles and signs a rule file; the bundle as it stands in a plugin configuration.
    pub fn bundle(&self, policy: &str, serial: &str) -> Result<Value> {
        let rules = write(&self.folder.join("bundle.yaml"), policy)?;
        let bundle = self.folder.join("bundle.jcs");
        // What an earlier call wrote has another content under the same serial.
        if bundle.exists() {
            std::fs::remove_file(&bundle)?;
        }
        let key = text(&self.folder.join("keys/authors.jwk"));
        self.places.holdgate(&["build", &text(&rules), "--out", &text(&bundle), "--serial", serial, "--sign", &key])?;
        Ok(serde_json::from_slice(&std::fs::read(bundle)?)?)
    }

    /// Where the stack's files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The service's own key for grants, as whoever stole it would have it.
    pub fn grant_key(&self) -> Result<PrivateKey> {
        let jwk = serde_json::from_slice(&std::fs::read(self.folder.join("keys/grant.jwk"))?)?;
        PrivateKey::from_jwk(&jwk).context("`grant.jwk` is not a private key")
    }

    /// The usual agent: Carol answers for it.
    pub fn agent(&self) -> Agent {
        self.agent_with(json!({}))
    }

    /// An agent whose token has these claims set over the usual ones; a null takes one away.
    pub fn agent_with(&self, claims: Value) -> Agent {
        Agent { gateway: self.ports.gateway(), token: self.issuer.token(usual_claims(claims)) }
    }

    /// An agent with this token.
    pub fn agent_with_token(&self, token: String) -> Agent {
        Agent { gateway: self.ports.gateway(), token }
    }

    pub fn password(&self, person: &str) -> Option<&str> {
        self.passwords.iter().find(|(id, _)| *id == person).map(|(_, password)| password.as_str())
    }

    /// Signs a person of [`PEOPLE`] in.
    pub async fn sign_in(&self, person: &str) -> Result<Reviewer> {
        let password = self.password(person).with_context(|| format!("`{person}` is not in the directory"))?;
        Reviewer::sign_in(self.ports.people(), person, password).await
    }

    /// Envoy's own figures, by name.
    pub async fn statistic(&self, name: &str) -> Result<u64> {
        let answer = http::get(self.ports.admin(), "/stats?format=text").await?.text();
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = line.with_context(|| format!("Envoy has no statistic `{name}`"))?;
        Ok(value.parse()?)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.envoy.kill();
        self.approval.kill();
        if std::thread::panicking() {
            eprintln!("{}{}", self.approval.log_tail(), self.envoy.log_tail());
        }
    }
}

/// The claims of the usual agent under `claims`.
pub fn usual_claims(claims: Value) -> Value {
    let mut all = json!({"sub": "agent-7", "owner": OWNER, "team": "iam"});
    // Nulls are kept: the issuer takes away what they name.
    if let (Value::Object(all), Value::Object(claims)) = (&mut all, claims) {
        all.extend(claims);
    }
    all
}

async fn healthy(address: SocketAddr, target: &str) -> bool {
    http::get(address, target).await.is_ok_and(|answer| answer.status == 200)
}

fn make_folder(data: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(data) = data else {
        let temporary = tempfile::Builder::new().prefix("holdgate-").tempdir()?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    let mark = data.join(".holdgate-demo");
    if data.exists() {
        // Only what an earlier start made is removed.
        if !mark.exists() && std::fs::read_dir(data)?.next().is_some() {
            bail!("`{}` is not empty and not of an earlier start: name another folder", data.display());
        }
        std::fs::remove_dir_all(data).with_context(|| format!("`{}` cannot be removed", data.display()))?;
    }
    std::fs::create_dir_all(data).with_context(|| format!("`{}` cannot be made", data.display()))?;
    std::fs::write(mark, "")?;
    Ok((data.to_owned(), None))
}

/// The directory of persons; JSON is YAML too.
fn directory() -> Value {
    let person = |(id, name, roles): &(&str, &str, &[&str])| {
        let eligibility = roles.iter().map(|role| json!({"role": role, "scope": "*"}));
        json!({
            "id": id, "name": name, "links": [{"iss": ISSUER, "sub": id}],
            "eligibility": eligibility.collect::<Vec<_>>(),
        })
    };
    let groups = json!([{"id": "iam", "name": "Identity team", "members": ["alice", "bob"]}]);
    json!({"format": 1, "people": PEOPLE.iter().map(person).collect::<Vec<_>>(), "groups": groups})
}

fn plugin_configuration(issuer: &Issuer, authors: &Path, folder: &Path, overrides: Value) -> Result<Value> {
    let read = |path: &Path| -> Result<Value> {
        let text = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    };
    let mut plugin = json!({
        "group": GROUP,
        "identity": {"issuers": [{
            "iss": issuer.iss, "aud": crate::identity::AUDIENCE, "algs": ["EdDSA"], "jwks": issuer.jwks(),
            "owner_claim": "owner", "owner_issuer": issuer.iss,
        }]},
        "bundle_keys": read(authors)?,
        "grant_keys": read(&folder.join("approval/grant.jwks.json"))?,
    });
    merge(&mut plugin, overrides);
    Ok(plugin)
}

/// A password that nobody has to remember: the id of a key made for nothing else.
fn new_password() -> Result<String> {
    Ok(new_key()?.kid().replace(['-', '_'], "x"))
}

fn write(path: &Path, text: &str) -> Result<PathBuf> {
    std::fs::write(path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    Ok(path.to_owned())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn text_of(address: SocketAddr) -> String {
    address.to_string()
}
