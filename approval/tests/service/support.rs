//! One service in a folder of its own, and short ways to talk to it.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use holdgate_approval::{
    clock::SetClock,
    directory::{Directory, Import},
    http::{App, routes},
    keys::ServiceKeys,
    sealing::DataKeys,
    service::{
        Service, Settings,
        credentials::{AddCredential, Kind},
        keys::Make,
        who::Gateway,
    },
    store::{Command, Database, Statement, StoreError, Tx},
};
use holdgate_protocol::{
    Agent, Factor, Hash, Json, Requirement, RuleRef, b64, b64url,
    bundle::{self, Approval, Bundle, Effect, Mode, Needs, PolicyRef, Rule, SignedBundle},
    gateway::{
        Asked, CapturedBody, CapturedRequest, FeedPage, HoldAnswer, OpenHold, Redemption, RedemptionAnswer,
        RedemptionAnswers,
    },
    jws::{Jwks, Keys, PrivateKey},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::database;

pub const NOW: u64 = 1_790_000_000;
pub const PASSWORD: &str = "correct horse";

pub struct World {
    pub folder: tempfile::TempDir,
    /// The database.
    pub url: String,
    pub clock: SetClock,
    pub service: Service,
    pub gateways: Router,
    pub people: Router,
    pub stop: watch::Sender<bool>,
    pub policy: PolicyRef,
}

/// A gateway of a group as the service knows it once its credential was looked at.
pub fn let_in(group: &str) -> Gateway {
    Gateway { group: group.to_owned(), credential: Hash::of(format!("{group}-credential").as_bytes()) }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn authors() -> PrivateKey {
    PrivateKey::from_seed(&[3; 32])
}

/// The data key of every test.
pub fn data_keys() -> Arc<DataKeys> {
    Arc::new(DataKeys::parse(&b64url(&[5; 32]), "test").unwrap())
}

pub fn agent() -> Agent {
    Agent { iss: "https://idp.example".into(), sub: "bot".into(), act: vec![], owner: Some("olivia".into()) }
}

pub fn attempt(number: u64) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    b64url(&bytes)
}

pub fn requirement(factors: &[(&str, u32)]) -> Requirement {
    let factors = factors.iter().map(|(role, approvals)| Factor { role: (*role).into(), approvals: *approvals });
    Requirement {
        factors: factors.collect(),
        decide_within: 1800,
        use_within: 600,
        reason: false,
        show: None,
        redact: vec![],
        unbind: vec![],
        escalate: None,
        codes: vec![],
    }
    .normalise()
}

/// The published policy: `one` needs one approval, `two` two roles, `why` a reason, `reads` allows, `soon` is shadow.
pub fn policy(serial: u64, change: impl FnOnce(&mut Bundle<Value>)) -> (SignedBundle, PolicyRef) {
    let rule = |id: &str, effect, place: Option<usize>| {
        let conditions = json!({"rule": id});
        Rule {
            id: id.into(),
            effect,
            mode: Mode::Enforce,
            reason: Some(format!("Because of {id}")),
            controls: vec![],
            hash: bundle::rule_hash(&Json::from_serialize(&conditions).unwrap()),
            conditions,
            approval: place.map(|requirement| Approval { requirement, wait: 45 }),
        }
    };
    let with_reason = Requirement { reason: true, ..requirement(&[("iam", 1)]) };
    let mut bundle = Bundle {
        format: bundle::FORMAT,
        id: "guard".into(),
        serial,
        needs: Needs::default(),
        requirements: vec![requirement(&[("iam", 1)]), requirement(&[("iam", 1), ("sec", 1)]), with_reason],
        rules: vec![
            rule("reads", Effect::Allow, None),
            rule("one", Effect::Hold, Some(0)),
            rule("two", Effect::Hold, Some(1)),
            rule("why", Effect::Hold, Some(2)),
            Rule { mode: Mode::Shadow, ..rule("soon", Effect::Hold, Some(0)) },
        ],
    };
    change(&mut bundle);
    let bytes = Json::from_serialize(&bundle).unwrap().to_jcs();
    let reference = PolicyRef { id: bundle.id, rev: bundle::revision(&bytes), serial };
    (SignedBundle::sign(&bytes, &authors()), reference)
}

const DIRECTORY: &str = r#"
format: 1
people:
  - {id: alice, name: Alice Archer, password_hash: HASH, links: [{iss: "https://idp.example", sub: alice}],
     eligibility: [{role: iam, scope: "*"}]}
  - {id: bob, name: Bob Baker, password_hash: HASH, links: [{iss: "https://idp.example", sub: bob}],
     eligibility: [{role: iam, scope: guard}, {role: sec, scope: guard}]}
  - {id: carol, name: Carol Chen, password_hash: HASH, eligibility: [{role: iam, scope: other}]}
  - {id: dave, name: Dave Dunn, password_hash: HASH,
     eligibility: [{role: iam, scope: "*", from: 2020-01-01, until: 2021-01-01}]}
  - {id: olivia, name: Olivia Owens, password_hash: HASH, links: [{iss: "https://idp.example", sub: olivia}],
     eligibility: [{role: iam, scope: "*"}, {role: sec, scope: "*"}]}
  - {id: erin, name: Erin Ebb, password_hash: HASH,
     eligibility: [{role: iam, scope: guard, until: "2026-09-21T14:33:20Z"}]}
  - {id: lena, name: Lena Lead, password_hash: HASH, eligibility: [{role: lead, scope: guard}]}
  - {id: nopass, name: Nora Nopass, eligibility: [{role: iam, scope: "*"}]}
  - {id: ann, name: Ann Admin, password_hash: HASH, links: [{iss: "https://idp.example", sub: ann}],
     eligibility: [{role: holdgate-admin}]}
  - {id: abe, name: Abe Admin, password_hash: HASH, eligibility: [{role: holdgate-admin}]}
  - {id: audra, name: Audra Auditor, password_hash: HASH, eligibility: [{role: holdgate-auditor}]}
groups:
  - {id: platform, name: Platform team, members: [alice, olivia]}
  - {id: nobody, name: Empty team, members: []}
"#;

/// The hash of [`PASSWORD`] that takes so much memory to check, in KiB, and so long.
pub fn password_hash(memory: u32) -> String {
    use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher as _};
    let params = Params::new(memory, 1, 1, None).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(PASSWORD.as_bytes()).unwrap().to_string()
}

impl World {
    /// A service with the directory above, gateways `edge` and `other`, and policy `guard` with serial 1.
    pub async fn new() -> World {
        World::with(Settings::default()).await
    }

    /// The same with other settings.
    pub async fn with(settings: Settings) -> World {
        let folder = tempfile::tempdir().unwrap();
        let jwks = Jwks { keys: vec![authors().to_public_jwk()] };
        let url = database::url(folder.path()).await;
        let store = Database::open(&url, true).await.unwrap();
        let make = Make {
            data: data_keys(),
            identity: store.identity().await.unwrap(),
            authors: jwks,
            grant: PrivateKey::from_seed(&holdgate_approval::random::bytes().unwrap()),
            ledger: PrivateKey::from_seed(&holdgate_approval::random::bytes().unwrap()),
            now: NOW,
        };
        store.write(make).await.unwrap();
        let directory =
            Directory::parse(&DIRECTORY.replace("HASH", &format!("{:?}", password_hash(argon2::Params::MIN_M_COST))))
                .unwrap();
        store.write(Import { directory, now: NOW }).await.unwrap();
        for (kind, name) in [(Kind::Gateway, "edge"), (Kind::Gateway, "other"), (Kind::Publisher, "ci")] {
            let hash = Hash::of(format!("{name}-credential").as_bytes());
            store.write(AddCredential { kind, name: name.into(), hash, now: NOW }).await.unwrap();
        }
        let (signed, policy) = policy(1, |_| {});
        let world = World::on(folder, url, store, SetClock::at(NOW), policy, settings).await;
        let answer = world.publish(&signed, &world.policy.rev).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        world
    }

    pub async fn on(
        folder: tempfile::TempDir,
        url: String,
        store: Database,
        clock: SetClock,
        policy: PolicyRef,
        settings: Settings,
    ) -> World {
        let keys = ServiceKeys::load(&store, data_keys()).await.unwrap();
        let service = Service::new(store, Arc::new(clock.clone()), keys, "holdgate-approval", settings).unwrap();
        let (stop, stopping) = watch::channel(false);
        let app = App::new(service.clone(), false, stopping);
        let (gateways, people) = (routes::gateways(app.clone()), routes::people(app));
        World { folder, url, clock, service, gateways, people, stop, policy }
    }

    /// The same folder after the process is gone.
    pub async fn reopened(self) -> World {
        let World { folder, url, clock, policy, service, .. } = self;
        let settings = service.settings;
        drop(service);
        let store = Database::open(&url, false).await.unwrap();
        World::on(folder, url, store, clock, policy, settings).await
    }

    /// The public key of the ledger.
    pub fn ledger_keys(&self) -> Keys {
        Keys::new(&Jwks { keys: vec![self.service.keys().ledger(self.service.now()).unwrap().to_public_jwk()] })
            .unwrap()
    }

    /// Runs statements past the service, in one transaction.
    pub async fn run<S: AsRef<str>>(&self, statements: &[S]) -> Result<(), StoreError> {
        let statements = statements.iter().map(|sql| sql.as_ref().to_owned()).collect();
        self.service.store.write(Statements(statements)).await
    }

    /// Another instance on the same database, with a clock of its own.
    pub async fn second(&self) -> World {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap) {
            let name = file.file_name().into_string().unwrap();
            if name.contains(".jwk") || name.ends_with(".key") {
                std::fs::copy(file.path(), folder.path().join(name)).unwrap();
            }
        }
        let store = Database::open(&self.url, false).await.unwrap();
        let clock = SetClock::at(self.service.now());
        World::on(folder, self.url.clone(), store, clock, self.policy.clone(), self.service.settings).await
    }

    /// The number `n` that a query gives.
    pub async fn number(&self, sql: impl Into<Statement>) -> u64 {
        self.service.store.read().await.unwrap().one(sql, vec![]).await.unwrap().int("n").unwrap()
    }

    /// What a gateway sends for a request held by `rules`; `body` makes it another request.
    pub fn ask(&self, rules: &[&str], body: &str) -> OpenHold {
        let published = self.service.store.policy().unwrap();
        let rule = |id: &&str| {
            let rule = published.bundle.rules.iter().find(|rule| rule.id == **id);
            rule.map_or(RuleRef { id: (*id).into(), hash: Hash::of(b"") }, Rule::reference)
        };
        let rules: Vec<RuleRef> = rules.iter().map(rule).collect();
        let requirement = published.requirement(&rules).map_or(Hash::of(b"?"), |(_, hash)| hash);
        OpenHold {
            v: 1,
            attempt: attempt(1),
            agent: agent(),
            digest: Hash::of(body.as_bytes()),
            components: vec!["@method".into(), "@path".into(), "content-digest".into()],
            policy: published.reference.clone(),
            rules,
            requirement,
            request: CapturedRequest {
                method: "POST".into(),
                scheme: "https".into(),
                authority: "iam.example".into(),
                path: "/iam/users/7/roles".into(),
                query: None,
                fields: vec![("content-type".into(), "application/json".into())],
                body: CapturedBody { b64: Some(b64(body.as_bytes())), size: body.len() as u64, redacted: vec![] },
            },
            agent_reason: None,
            idempotency_key: None,
            asked: Asked::default(),
        }
    }

    pub async fn open(&self, ask: &OpenHold) -> (StatusCode, HoldAnswer) {
        let answer = self.gateway("edge", "POST", "/v1/holds", &json!(ask)).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        (answer.status, serde_json::from_str(&answer.text).unwrap())
    }

    /// Opens a hold for a new request.
    pub async fn held(&self, rules: &[&str], body: &str) -> (OpenHold, String) {
        let ask = self.ask(rules, body);
        let (_, answer) = self.open(&ask).await;
        (ask, answer.hold)
    }

    /// What a gateway is told that is not let through.
    pub async fn refused(&self, ask: &OpenHold) -> (u16, String) {
        let answer = self.gateway("edge", "POST", "/v1/holds", &json!(ask)).await;
        (answer.status.as_u16(), answer.error())
    }

    pub async fn redeem(&self, hold: &str, ask: &OpenHold, number: u64) -> RedemptionAnswer {
        let answer = self.gateway("edge", "POST", "/v1/redemptions", &redemption(hold, ask, number)).await;
        let mut answers: RedemptionAnswers = serde_json::from_str(&answer.text).unwrap();
        answers.items.remove(0)
    }

    pub async fn feed(&self, after: u64) -> FeedPage {
        let answer = self.gateway("edge", "GET", &format!("/v1/feed?after={after}"), &Value::Null).await;
        serde_json::from_str(&answer.text).unwrap()
    }

    pub async fn publish(&self, signed: &SignedBundle, rev: &Hash) -> Answer {
        let request = Request::put(format!("/api/bundles/{rev}")).header("authorization", "Bearer ci-credential");
        send(&self.people, request.body(serde_json::to_vec(signed).unwrap().into()).unwrap()).await
    }

    pub async fn gateway(&self, group: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {group}-credential"));
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        send(&self.gateways, request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap();
        send(&self.people, request).await
    }

    pub async fn post_form(&self, path: &str, cookie: &str, form: &str) -> Answer {
        let request = Request::post(path).header("cookie", cookie);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        send(&self.people, request.body(form.to_owned().into()).unwrap()).await
    }

    pub async fn sign_in(&self, person: &str) -> Reviewer<'_> {
        let signed = self.service.sign_in(person, PASSWORD).await.unwrap();
        let cookie = format!("holdgate_session={}", signed.token);
        let session = self.get("/api/session", &cookie).await.json();
        Reviewer { world: self, cookie, csrf: session["csrf"].as_str().unwrap().to_owned() }
    }
}

struct Statements(Vec<String>);

impl Command for Statements {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for sql in self.0 {
            tx.execute(sql, vec![]).await?;
        }
        Ok(())
    }
}

pub fn redemption(hold: &str, ask: &OpenHold, number: u64) -> Value {
    let item = Redemption {
        hold: hold.into(),
        attempt: attempt(number),
        digest: ask.digest,
        agent: ask.agent.clone(),
        requirement: ask.requirement,
    };
    json!({"items": [item]})
}

pub struct Reviewer<'w> {
    world: &'w World,
    pub cookie: String,
    pub csrf: String,
}

impl Reviewer<'_> {
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = Request::post(path).header("cookie", &self.cookie).header("x-csrf-token", &self.csrf);
        send(&self.world.people, request.body(body.to_string().into()).unwrap()).await
    }

    /// Takes something away, by the address alone.
    pub async fn delete(&self, path: &str) -> Answer {
        let request = Request::delete(path).header("cookie", &self.cookie).header("x-csrf-token", &self.csrf);
        send(&self.world.people, request.body(Body::empty()).unwrap()).await
    }

    pub async fn decide(&self, hold: &str, verdict: &str) -> Answer {
        self.post(&format!("/api/holds/{hold}/decisions"), json!({"verdict": verdict, "reason": "looked at it"})).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.world.get(path, &self.cookie).await
    }
}

pub async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}
