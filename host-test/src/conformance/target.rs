//! The service that is checked, and what checks need of it: holds, decisions, the published policy.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use holdgate_protocol::{
    Agent, Hash, Json, RuleRef, b64, b64url,
    bundle::{self, Bundle, Effect, Mode, PolicyRef, SignedBundle},
    digest::{RequestHead, request_digest},
    from_b64url,
    gateway::{
        Asked, CapturedBody, CapturedRequest, HoldAnswer, HoldState, OpenHold, Redemption, RedemptionAnswer,
        RedemptionAnswers, StateAnswer, TaskAnswer, VERSION,
    },
    jws::Keys,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Conformance,
    expect::{Expect as _, Trouble, Verdict, fail, same},
};
use crate::{
    approvals,
    client::{Answer, Ask, Client},
    failure::Failure,
    keys,
};

/// The environment variables with the credentials of gateways.
const CREDENTIAL: &str = "HOLDGATE_GATEWAY_CREDENTIAL";
const OTHER_CREDENTIAL: &str = "HOLDGATE_OTHER_GATEWAY_CREDENTIAL";

/// The longest that a task is asked to wait.
const LONG: Duration = Duration::from_secs(20);

/// The most rules that are tried for one on which the person may decide.
const TRIED: usize = 16;

/// The service under examination.
pub(super) struct Target {
    pub(super) gateway: Client,
    /// The same service, as another gateway group sees it.
    pub(super) other: Option<Client>,
    /// The same service, asked by nobody.
    pub(super) nobody: Client,
    pub(super) keys: Option<Keys>,
    /// As `/v1/state` had it at the start.
    pub(super) state: Option<StateAnswer>,
    policy: Result<Policy, String>,
    decides: Decides,
    issuer: String,
    owner: Option<String>,
    /// A name that no other run has.
    run: String,
    agents: Cell<u64>,
    opened: RefCell<BTreeSet<String>>,
}

/// The policy in force, and the rule by which the checks hold requests.
pub(super) struct Policy {
    pub(super) reference: PolicyRef,
    pub(super) bundle: Bundle<Json>,
    pub(super) rule: RuleRef,
    pub(super) requirement: Hash,
    unbind: Vec<String>,
}

/// Who decides.
enum Decides {
    /// A person's API.
    People {
        client: Client,
        person: String,
    },
    /// Somebody at the console; what they decided on, and was not taken yet.
    ByHand {
        approved: RefCell<VecDeque<Held>>,
        denied: RefCell<VecDeque<Held>>,
        until: Instant,
    },
    Nobody(String),
}

/// A request that is held.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) ask: OpenHold,
    pub(super) answer: HoldAnswer,
}

impl Target {
    pub(super) async fn of(arguments: &Conformance, approved: usize, denied: usize) -> Result<Self, Failure> {
        let credential = |name| std::env::var(name).ok().filter(|credential: &String| !credential.is_empty());
        let nobody = Client::new(&arguments.url)?;
        let own = credential(CREDENTIAL).ok_or(Failure::NoGatewayCredential)?;
        let gateway = nobody.clone().with_credential(own);
        let other = credential(OTHER_CREDENTIAL).map(|other| nobody.clone().with_credential(other));
        let keys = match &arguments.grant_keys {
            Some(path) => Some(keys::read_public(path)?),
            None => None,
        };
        let state = gateway.send(Ask::get("/v1/state")).await;
        let state = state
            .map_err(|problem| Failure::Unreachable { url: arguments.url.clone(), problem: problem.to_string() })?;
        let state: Option<StateAnswer> = state.read().ok();
        let policy = Policy::in_force(&gateway, state.as_ref()).await;
        let people = match &arguments.people {
            Some(url) => Some(Client::new(url)?.with_credential(approvals::token(url)?)),
            None => None,
        };
        let until = Instant::now() + Duration::from_secs(arguments.patience);
        let mut target = Target {
            gateway,
            other,
            nobody,
            keys,
            state,
            policy,
            decides: Decides::Nobody("nobody decides here; give `--people` or `--approve-by-hand`".to_owned()),
            issuer: arguments.issuer.clone(),
            owner: arguments.owner.clone(),
            run: random(),
            agents: Cell::new(0),
            opened: RefCell::default(),
        };
        match people {
            Some(client) => target.find_rule_for(client).await,
            None if arguments.approve_by_hand => target.ask_a_person(approved, denied, until).await,
            None => {}
        }
        Ok(target)
    }

    /// Looks for a rule on which this person alone can decide.
    async fn find_rule_for(&mut self, client: Client) {
        let session: Result<Answer, _> = client.send(Ask::get("/api/session")).await;
        let session = session.map_err(|error| error.to_string()).and_then(|answer| match answer.status {
            200 => answer.read::<Value>().map_err(|error| error.to_string()),
            _ => Err(answer.told()),
        });
        let person = match session {
            Ok(session) => session.get("person").and_then(Value::as_str).unwrap_or_default().to_owned(),
            Err(why) => {
                self.decides = Decides::Nobody(format!("HOLDGATE_TOKEN signs nobody in at `--people`: {why}"));
                return;
            }
        };
        self.decides = Decides::People { client, person };
        let Ok(policy) = &self.policy else { return };
        let mut why = "no rule can be approved by one person".to_owned();
        for (rule, requirement, unbind) in policy.alternatives().into_iter().take(TRIED) {
            if let Ok(policy) = &mut self.policy {
                (policy.rule, policy.requirement, policy.unbind) = (rule, requirement, unbind);
            }
            let Ok(held) = self.held().await else { continue };
            match self.decide(&held, "approve").await {
                Ok(answer)
                    if answer
                        .read::<Value>()
                        .is_ok_and(|answer| answer.get("state").is_some_and(|state| state == "approved")) =>
                {
                    return;
                }
                Ok(answer) => {
                    why = format!(
                        "hold `{}` of rule `{}`: {}",
                        held.answer.hold,
                        held.ask.rules.iter().map(|rule| &*rule.id).collect::<Vec<_>>().join(", "),
                        answer.told()
                    )
                }
                Err(Trouble::Failed(problem) | Trouble::NotRun(problem)) => why = problem,
            }
        }
        self.decides =
            Decides::Nobody(format!("the person of HOLDGATE_TOKEN could not approve what the checks open: {why}"));
    }

    /// Opens what the checks take, and tells a person what to do.
    async fn ask_a_person(&mut self, approved: usize, denied: usize, until: Instant) {
        let mut queues = [VecDeque::new(), VecDeque::new()];
        for (queue, (count, word)) in queues.iter_mut().zip([(approved, "approve"), (denied, "deny")]) {
            for _ in 0..count {
                let Ok(ask) = self.ask_for(&format!("/holdgate-conformance/please-{word}")) else { return };
                let Ok(held) = self.open(ask).await else { continue };
                queue.push_back(held);
            }
        }
        let [approved, denied] = queues;
        eprintln!(
            "in the console, please approve the {} holds of `/holdgate-conformance/please-approve` and deny the {} of \
             `/holdgate-conformance/please-deny`",
            approved.len(),
            denied.len()
        );
        self.decides = Decides::ByHand { approved: RefCell::new(approved), denied: RefCell::new(denied), until };
    }

    pub(super) fn policy(&self) -> Verdict<&Policy> {
        self.policy.as_ref().map_err(|why| Trouble::NotRun(format!("no policy could be read: {why}")))
    }

    /// What a gateway sends for a request that no one made before, of an agent of its own.
    pub(super) fn ask(&self) -> Verdict<OpenHold> {
        self.ask_for("/holdgate-conformance/check")
    }

    fn ask_for(&self, path: &str) -> Verdict<OpenHold> {
        let policy = self.policy()?;
        self.agents.set(self.agents.get() + 1);
        let agent = Agent {
            iss: self.issuer.clone(),
            sub: format!("conformance-{}-{}", self.run, self.agents.get()),
            act: Vec::new(),
            owner: self.owner.clone(),
        };
        let body = json!({"conformance": random()}).to_string();
        let fields = [("content-type", "application/json")];
        let (method, scheme, authority) = ("POST", "https", "conformance.example");
        let head = RequestHead { method, scheme, authority, path, query: None, fields: fields.to_vec() };
        let digest = request_digest(&head, body.as_bytes(), "authorization", &policy.unbind);
        let digest = digest.map_err(|error| Trouble::NotRun(error.to_string()))?;
        let size = body.len() as u64;
        Ok(OpenHold {
            v: VERSION,
            attempt: random(),
            agent,
            digest: digest.digest,
            components: digest.components,
            policy: policy.reference.clone(),
            rules: vec![policy.rule.clone()],
            requirement: policy.requirement,
            request: CapturedRequest {
                method: method.to_owned(),
                scheme: scheme.to_owned(),
                authority: authority.to_owned(),
                path: path.to_owned(),
                query: None,
                fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
                body: CapturedBody { b64: Some(b64(body.as_bytes())), size, redacted: Vec::new() },
            },
            agent_reason: Some("checks the approval service".to_owned()),
            idempotency_key: None,
            asked: Asked::default(),
        })
    }

    pub(super) async fn get(&self, path: impl Into<String>) -> Verdict<Answer> {
        Ok(self.gateway.send(Ask::get(path)).await?)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Verdict<Answer> {
        Ok(self.gateway.send(Ask::new(hyper::Method::POST, path).json(body.to_string())).await?)
    }

    /// Opens a hold that was not there.
    pub(super) async fn open(&self, ask: OpenHold) -> Verdict<Held> {
        let answer = self.post("/v1/holds", &json!(ask)).await?;
        let answer: HoldAnswer = answer.json(&[201], "for a request that was never held")?;
        self.opened.borrow_mut().insert(answer.hold.clone());
        Ok(Held { ask, answer })
    }

    /// A new hold of a new request.
    pub(super) async fn held(&self) -> Verdict<Held> {
        self.open(self.ask()?).await
    }

    /// A hold that was approved a moment ago.
    pub(super) async fn approved(&self) -> Verdict<Held> {
        self.decided("approve").await
    }

    pub(super) async fn denied(&self) -> Verdict<Held> {
        self.decided("deny").await
    }

    async fn decided(&self, verdict: &str) -> Verdict<Held> {
        let wanted = if verdict == "approve" { HoldState::Approved } else { HoldState::Denied };
        match &self.decides {
            Decides::Nobody(why) => Err(Trouble::NotRun(why.clone())),
            Decides::People { .. } => {
                let held = self.held().await?;
                let answer = self.decide(&held, verdict).await?;
                let state =
                    answer.read::<Value>().ok().and_then(|answer| Some(answer.get("state")?.as_str()?.to_owned()));
                if state.as_deref() != Some(wanted.as_str()) {
                    return Err(Trouble::NotRun(format!("the decision was not taken: {}", answer.told())));
                }
                Ok(held)
            }
            Decides::ByHand { approved, denied, until } => {
                let queue = if verdict == "approve" { approved } else { denied };
                let held = queue.borrow_mut().pop_front();
                let held = held.ok_or_else(|| Trouble::NotRun("no hold was opened for it at the start".to_owned()))?;
                loop {
                    let task = self.task(&held, LONG).await?;
                    if task.state == wanted {
                        return Ok(held);
                    }
                    if task.state != HoldState::Pending || Instant::now() > *until {
                        let why =
                            format!("hold `{}` is {}: nobody did {verdict} it", held.answer.hold, task.state.as_str());
                        return Err(Trouble::NotRun(why));
                    }
                }
            }
        }
    }

    /// Decides by the people's API, as the person of the token.
    pub(super) async fn decide(&self, held: &Held, verdict: &str) -> Verdict<Answer> {
        let client = self.people()?;
        let detail = client.send(Ask::get(format!("/api/holds/{}", held.answer.hold))).await?;
        let detail: Value = detail.read().unwrap_or_default();
        let mut body = json!({"verdict": verdict, "reason": "holdgate conformance", "digest": held.ask.digest});
        if let (Some(code), Some(body)) = (detail.pointer("/requirement/codes/0"), body.as_object_mut()) {
            body.insert("code".to_owned(), code.clone());
        }
        let path = format!("/api/holds/{}/decisions", held.answer.hold);
        Ok(client.send(Ask::new(hyper::Method::POST, path).json(body.to_string())).await?)
    }

    /// The people's API, for what can be seen or timed there only.
    pub(super) fn people(&self) -> Verdict<&Client> {
        match &self.decides {
            Decides::People { client, .. } => Ok(client),
            Decides::ByHand { .. } => Err(Trouble::NotRun("it needs the people's API; give `--people`".to_owned())),
            Decides::Nobody(why) => Err(Trouble::NotRun(why.clone())),
        }
    }

    /// The id of the person who decides.
    pub(super) fn person(&self) -> Verdict<&str> {
        self.people()?;
        match &self.decides {
            Decides::People { person, .. } => Ok(person),
            _ => Err(Trouble::NotRun("nobody is known by name".to_owned())),
        }
    }

    pub(super) fn other(&self) -> Verdict<&Client> {
        let missing = || Trouble::NotRun(format!("it needs the credential of another group in {OTHER_CREDENTIAL}"));
        self.other.as_ref().ok_or_else(missing)
    }

    pub(super) async fn task(&self, held: &Held, wait: Duration) -> Verdict<TaskAnswer> {
        self.get(task_path(&held.answer.hold, &held.ask.agent.key(), wait))
            .await?
            .json(&[200], "for a hold of this agent")
    }

    pub(super) async fn redeem(&self, items: &[Redemption]) -> Verdict<Vec<RedemptionAnswer>> {
        let answer = self.post("/v1/redemptions", &json!({"items": items})).await?;
        let answer: RedemptionAnswers = answer.json(&[200], "for a batch of redemptions")?;
        same("number of answers", &items.len(), &answer.items.len())?;
        Ok(answer.items)
    }

    pub(super) async fn redeem_one(&self, item: Redemption) -> Verdict<RedemptionAnswer> {
        match self.redeem(&[item]).await?.pop() {
            Some(answer) => Ok(answer),
            None => fail("one answer", "none"),
        }
    }

    /// How many holds were opened; few of them have ended.
    pub(super) fn left_open(&self) -> usize {
        self.opened.borrow().len()
    }

    /// A hold is not open any more.
    pub(super) fn ended(&self, held: &Held) {
        self.opened.borrow_mut().remove(&held.answer.hold);
    }
}

impl Held {
    pub(super) fn redemption(&self, attempt: String) -> Redemption {
        Redemption {
            hold: self.answer.hold.clone(),
            attempt,
            digest: self.ask.digest,
            agent: self.ask.agent.clone(),
            requirement: self.ask.requirement,
        }
    }
}

pub(super) fn task_path(hold: &str, agent: &Hash, wait: Duration) -> String {
    format!("/v1/tasks/{hold}?agent={agent}&wait={}", wait.as_secs())
}

impl Policy {
    async fn in_force(gateway: &Client, state: Option<&StateAnswer>) -> Result<Self, String> {
        let reference = state.ok_or("`/v1/state` does not answer as it should")?.policy.clone();
        let reference = reference.ok_or("none is published")?;
        let answer = gateway.send(Ask::get(format!("/v1/bundles/{}", reference.rev))).await;
        let signed: SignedBundle =
            answer.map_err(|error| error.to_string())?.read().map_err(|error| format!("the bundle: {error}"))?;
        let bytes = from_b64url(&signed.bundle).ok_or("the bundle is not base64url")?;
        let bundle = bundle::read::<Json>(&bytes).map_err(|error| error.to_string())?;
        let nothing = RuleRef { id: String::new(), hash: Hash::of(b"") };
        let policy = Policy { reference, bundle, rule: nothing, requirement: Hash::of(b""), unbind: Vec::new() };
        let (rule, requirement, unbind) = policy.alternatives().into_iter().next().ok_or("no rule of it holds")?;
        Ok(Policy { rule, requirement, unbind, ..policy })
    }

    /// Rules that hold, one for each set of factors, those that need the fewest approvals first; with the hash of what
    /// they require, and what its digest leaves out.
    fn alternatives(&self) -> Vec<(RuleRef, Hash, Vec<String>)> {
        let holds = self.bundle.rules.iter().filter(|rule| rule.effect == Effect::Hold && rule.mode == Mode::Enforce);
        let mut found: Vec<_> = holds
            .filter_map(|rule| {
                let (rule, requirement) = (rule.reference(), self.bundle.united(&[&rule.id])?);
                let needed: u32 = requirement.factors.iter().map(|factor| factor.approvals).sum();
                let hash = requirement.hash(std::slice::from_ref(&rule));
                Some((needed, requirement.factors, (rule, hash, requirement.unbind)))
            })
            .collect();
        found.sort_by_key(|(needed, ..)| *needed);
        let mut seen = Vec::new();
        found.retain(|(_, factors, _)| {
            !seen.contains(factors) && {
                seen.push(factors.clone());
                true
            }
        });
        found.into_iter().map(|(.., rule)| rule).collect()
    }
}

/// base64url of 16 random bytes.
pub(super) fn random() -> String {
    let mut bytes = [0; 16];
    // Without randomness names repeat, and the checks that meet the same hold twice say so.
    let _ = getrandom::fill(&mut bytes);
    b64url(&bytes)
}
