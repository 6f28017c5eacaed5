//! The desk: plays the host and the approval service by the protocol's own messages.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use holdgate_protocol::audit::AuditBatch;

use super::*;

pub(super) const NOW: u64 = 1_790_000_000_000;
pub(super) const AUTHOR: u8 = 1;
pub(super) const GRANT: u8 = 2;
pub(super) const ISSUER: u8 = 3;

pub(super) struct Desk {
    pub(super) gate: Gate,
    pub(super) now: u64,
    pub(super) skew: u64,
    pub(super) author: u8,
    pub(super) tagged: bool,
    pub(super) subject: &'static str,
    /// The proxy's shared data.
    pub(super) memory: Memory,
    config: Value,
    /// Seconds.
    pub(super) token_life: u64,
    pub(super) forge: Option<fn(&mut Claims) -> Option<u8>>,
    pub(super) failing_redemptions: usize,
    pub(super) hang_up_while_redeeming: Option<StreamId>,
    pub(super) warnings: Vec<String>,
    /// The bundle that the gate asked to be kept last.
    pub(super) kept: Option<Vec<u8>>,
    /// Audit records that were sent, and the names of figures with what they come to.
    pub(super) records: Vec<Value>,
    pub(super) figures: BTreeMap<String, i64>,
    /// What the service answers to audit records.
    pub(super) audit_answer: Option<u16>,
    ids: StreamId,
    seq: u64,
    holds: HashMap<String, OpenHold>,
    hold_of: HashMap<StreamId, String>,
}

/// What came of a tick, with every callout answered until nothing more was asked.
#[derive(Default)]
pub(super) struct Done {
    /// Streams, and whether their permit is for a single use.
    pub(super) forwarded: Vec<(StreamId, bool)>,
    pub(super) replies: Vec<(StreamId, u16, Value)>,
    pub(super) reports: Vec<Value>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn problem(body: &Value) -> &str {
    body["type"].as_str().unwrap().strip_prefix("urn:holdgate:problem:").unwrap()
}

pub(super) fn jwks(seed: u8) -> Value {
    json!({"keys": [PrivateKey::from_seed(&[seed; 32]).to_public_jwk()]})
}

/// A compiled test of an attribute.
pub(super) fn value(of: Value, is: Value) -> Value {
    json!({"value": {"of": of, "is": is}})
}

/// A compiled test of the method.
pub(super) fn method(method: &str) -> Value {
    value(json!("method"), json!({"equals": {"string": method}}))
}

/// A bundle of the usual rules and of more, which replace those of the same id: {id, effect, any} and more.
pub(super) fn bundle(serial: u64, more: &Value) -> Vec<u8> {
    let path = |path: &str| value(json!("path"), json!({"template": path}));
    let text = value(json!({"body": "/text"}), json!({"exists": true}));
    let nobody = value(json!("agent"), json!({"exists": false}));
    let mut rules = vec![
        json!({"id": "open", "effect": "allow", "any": [[method("GET"), path("/iam/open"), nobody]]}),
        json!({"id": "read", "effect": "allow", "any": [[method("GET"), path("/iam/**")]]}),
        json!({"id": "note", "effect": "allow", "any": [[method("POST"), path("/iam/users/{user}/notes"), text]]}),
        json!({"id": "grant", "effect": "hold", "any": [[method("POST"), path("/iam/users/{user}/roles")]]}),
        json!({"id": "delete", "effect": "hold", "any": [[method("DELETE"), path("/iam/users/{user}")]]}),
    ];
    let more = more.as_array().unwrap();
    rules.retain(|rule| more.iter().all(|other| other["id"] != rule["id"]));
    rules.extend(more.iter().cloned());
    let mut requirements = Vec::new();
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let conditions = json!({"any": rule["any"]});
            let hash = rule_hash(&Json::from_serialize(&conditions).unwrap());
            let approval = (rule["effect"] == "hold").then(|| {
                let roles = rule["factors"].as_array().cloned().unwrap_or_else(|| vec!["iam-approver".into()]);
                let factors: Vec<Value> = roles.iter().map(|role| json!({"role": role, "approvals": 1})).collect();
                requirements.push(json!({"factors": factors, "decide_within": 600, "use_within": 600, "reason": false,
                    "show": null, "redact": [], "unbind": []}));
                json!({"requirement": requirements.len() - 1, "wait": 3600})
            });
            let or = |name: &str, default: Value| rule.get(name).cloned().unwrap_or(default);
            json!({"id": rule["id"], "effect": rule["effect"], "mode": or("mode", "enforce".into()),
                "reason": or("reason", Value::Null), "controls": or("controls", json!([])),
                "hash": hash, "conditions": conditions, "approval": approval})
        })
        .collect();
    let compiled: Vec<Rule<Conditions>> =
        rules.iter().map(|rule| Json::from_serialize(rule).unwrap().read().unwrap()).collect();
    let bundle = json!({"format": 1, "id": "p", "serial": serial, "requirements": requirements, "rules": rules,
        "needs": holdgate_engine::needs(&compiled)});
    Json::from_serialize(&bundle).unwrap().to_jcs()
}

/// A host with a memory of its own, and numbers in place of randomness.
pub(super) struct TestHost {
    pub(super) random: bool,
    pub(super) nonces: u8,
    pub(super) peer: Option<String>,
    /// Whether there is shared data at all.
    pub(super) shares: bool,
    pub(super) memory: Memory,
}

/// Shared data with the version of each value.
pub(super) type Memory = Rc<RefCell<HashMap<String, (Vec<u8>, u32)>>>;

impl Default for TestHost {
    fn default() -> Self {
        TestHost { random: true, nonces: 0, peer: None, shares: true, memory: Memory::default() }
    }
}

impl Host for TestHost {
    fn nonce(&mut self) -> Option<[u8; 16]> {
        self.nonces = self.nonces.wrapping_add(1);
        self.random.then_some([self.nonces; 16])
    }

    fn verify_signature(&mut self, _key: &[u8], _signature: &[u8], _text: &[u8]) -> Option<bool> {
        None
    }

    fn peer(&mut self) -> Option<String> {
        self.peer.clone()
    }

    fn shared(&mut self, key: &str) -> (Option<Vec<u8>>, u32) {
        let memory = self.memory.borrow();
        memory.get(key).map_or((None, 0), |(value, version)| (Some(value.clone()), *version))
    }

    fn share(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let mut memory = self.memory.borrow_mut();
        let now = memory.get(key).map(|(_, version)| *version);
        // As proxy-wasm's shared data has it.
        let current = self.shares && (version == 0 || now.is_none_or(|now| version == now));
        if current {
            memory.insert(key.to_owned(), (value.to_vec(), now.unwrap_or_default() + 1));
        }
        current
    }
}

impl Desk {
    pub(super) fn new(change: impl FnOnce(&mut Value)) -> Self {
        let mut config = json!({
            "group": "edge",
            "approval": {"cluster": "approval", "authority": "approval.internal"},
            "identity": {"issuers": [{"iss": "https://idp", "aud": "https://api", "algs": ["EdDSA"], "jwks": jwks(ISSUER)}]},
            "bundle_keys": jwks(AUTHOR), "grant_keys": jwks(GRANT),
        });
        change(&mut config);
        Desk::over(Memory::default(), &config)
    }

    /// Another worker of the proxy that this desk's gate stands in.
    pub(super) fn beside(other: &Desk) -> Self {
        Desk::reconfigured(other, |_| {})
    }

    /// A gate with a changed configuration in the same proxy.
    pub(super) fn reconfigured(other: &Desk, change: impl FnOnce(&mut Value)) -> Self {
        let mut config = other.config.clone();
        change(&mut config);
        let mut desk = Desk::over(other.memory.clone(), &config);
        desk.snapshot(None);
        desk
    }

    fn over(memory: Memory, config: &Value) -> Self {
        let host = TestHost { memory: memory.clone(), ..TestHost::default() };
        let parsed = Config::parse(config.to_string().as_bytes()).unwrap();
        Desk {
            gate: Gate::new(parsed, "credential", Box::new(host)),
            memory,
            config: config.clone(),
            subject: "agent-7",
            now: NOW,
            skew: 0,
            author: AUTHOR,
            tagged: true,
            token_life: 3_600,
            forge: None,
            failing_redemptions: 0,
            hang_up_while_redeeming: None,
            warnings: Vec::new(),
            kept: None,
            records: Vec::new(),
            figures: BTreeMap::new(),
            audit_answer: Some(202),
            ids: 1,
            seq: 30,
            holds: HashMap::new(),
            hold_of: HashMap::new(),
        }
    }

    /// A desk whose gate serves the usual rules.
    pub(super) fn ready() -> Self {
        Desk::with_policy(|_| {})
    }

    pub(super) fn with_policy(change: impl FnOnce(&mut Value)) -> Self {
        let mut desk = Desk::new(change);
        desk.snapshot(None);
        desk.publish(1, json!([]));
        desk
    }

    pub(super) fn agent(&self) -> Agent {
        Agent { iss: "https://idp".into(), sub: "agent-7".into(), act: vec![], owner: Some("group/iam".into()) }
    }

    pub(super) fn next_id(&mut self) -> StreamId {
        self.ids += 1;
        self.ids
    }

    pub(super) fn hold_of(&self, id: StreamId) -> String {
        self.hold_of[&id].clone()
    }

    pub(super) fn pairs(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let claims = json!({"iss": "https://idp", "aud": "https://api", "sub": self.subject, "owner": "group/iam",
            "exp": NOW / 1000 + self.token_life});
        let token = PrivateKey::from_seed(&[ISSUER; 32]).sign("JWT", claims.to_string().as_bytes());
        let token = format!("Bearer {token}");
        let mut pairs = vec![(":method", method), (":scheme", "http"), (":authority", "iam.example"), (":path", path)];
        if !more.iter().any(|(name, _)| *name == "content-type") {
            pairs.push(("content-type", "application/json"));
        }
        if self.tagged {
            pairs.push(("authorization", &token));
        }
        pairs.extend(more);
        pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// Sends a request with its body in one piece.
    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> (StreamId, Step) {
        let id = self.next_id();
        let pairs = self.pairs(method, path, &[]);
        let opened = self.gate.head(self.now, id, pairs, body.is_empty());
        match opened.step {
            Step::Await if !body.is_empty() => (id, self.gate.body(self.now, id, Some(body.to_vec()))),
            step => (id, step),
        }
    }

    pub(super) fn passes(&mut self, method: &str, path: &str, body: &[u8]) -> bool {
        matches!(self.send(method, path, body).1, Step::Forward(permit) if !permit.is_single_use())
    }

    /// Status and kind of the problem.
    #[track_caller]
    pub(super) fn refused(&mut self, method: &str, path: &str, body: &[u8]) -> (StreamId, (u16, String)) {
        match self.send(method, path, body) {
            (id, Step::Reply(reply)) => {
                let body: Value = serde_json::from_slice(&reply.body).unwrap();
                (id, (reply.status, problem(&body).to_owned()))
            }
            (_, other) => panic!("not refused: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn opening(&mut self, method: &str, path: &str, body: &[u8]) -> (StreamId, Callout) {
        match self.send(method, path, body) {
            (id, Step::Call(callout)) => (id, callout),
            (_, other) => panic!("not held: {other:?}"),
        }
    }

    /// The answer of a service that makes a hold of a callout, unless it has one of the same digest.
    pub(super) fn hold_answer(&mut self, callout: &Callout, state: &str, seq: u64) -> Answer {
        assert_eq!((callout.method, callout.path.as_str()), ("POST", "/v1/holds"));
        let open: OpenHold = serde_json::from_slice(&callout.body).unwrap();
        let known = self.holds.iter().find(|(_, other)| other.digest == open.digest).map(|(hold, _)| hold.clone());
        let hold = known.unwrap_or_else(|| format!("h{}", self.holds.len() + 1));
        self.holds.insert(hold.clone(), open);
        let state = serde_json::from_value(state.into()).unwrap();
        let answer = HoldAnswer { hold, state, seq, expires_at: self.now / 1000 + 600, request_state: "hg1.x".into() };
        Answer { status: 201, body: serde_json::to_vec(&answer).unwrap() }
    }

    #[track_caller]
    pub(super) fn held(&mut self, method: &str, path: &str, body: &[u8]) -> StreamId {
        let (id, callout) = self.opening(method, path, body);
        let answer = self.hold_answer(&callout, "pending", self.seq);
        let hold: HoldAnswer = serde_json::from_slice(&answer.body).unwrap();
        self.hold_of.insert(id, hold.hold);
        assert!(matches!(self.gate.stream_answer(self.now, id, Some(answer)), Step::Await));
        id
    }

    pub(super) fn snapshot(&mut self, policy: Option<PolicyRef>) {
        let seconds = self.now / 1000 + self.skew;
        let state = json!({"seq": self.seq, "suspended": [], "policy": policy, "now": seconds});
        let answer = Answer { status: 200, body: state.to_string().into_bytes() };
        let commands = self.gate.root_answer(self.now, RootCall::State, Some(answer));
        self.note_warnings(&commands);
    }

    /// Publishes a bundle and lets the gate fetch it.
    pub(super) fn publish(&mut self, serial: u64, more: Value) {
        let bytes = bundle(serial, &more);
        let rev = Hash::of(&bytes);
        let signed = holdgate_protocol::bundle::SignedBundle::sign(&bytes, &PrivateKey::from_seed(&[self.author; 32]));
        self.feed(vec![json!({"seq": self.seq + 1, "type": "policy", "id": "p", "serial": serial, "rev": rev})]);
        let commands = self.gate.tick(self.now, vec![]);
        self.note_warnings(&commands);
        let answer = Answer { status: 200, body: serde_json::to_vec(&signed).unwrap() };
        let commands = self.gate.root_answer(self.now, RootCall::Bundle(rev), Some(answer));
        self.note_warnings(&commands);
    }

    pub(super) fn feed(&mut self, items: Vec<Value>) {
        self.seq += 100;
        let page = json!({"next": self.seq, "items": items}).to_string().into_bytes();
        self.gate.page(self.now, Some(&Answer { status: 200, body: page }));
    }

    pub(super) fn fresh(&mut self) {
        self.feed(vec![]);
    }

    pub(super) fn decide(&mut self, hold: &str, state: &str) {
        let seq = self.seq + 1;
        self.feed(vec![json!({"seq": seq, "type": "hold", "hold": hold, "state": state})]);
    }

    pub(super) fn note_warnings(&mut self, commands: &[Command]) {
        let warnings = commands.iter().filter_map(|command| match command {
            Command::Warn(text) => Some(text.clone()),
            _ => None,
        });
        self.warnings.extend(warnings);
        let mut kept = commands.iter().filter_map(|command| match command {
            Command::Keep(bundle) => Some(bundle.clone()),
            _ => None,
        });
        self.kept = kept.next_back().or(self.kept.take());
        for command in commands {
            match command {
                Command::Call { call: RootCall::Audit, callout } => {
                    let more = self.take_records(callout);
                    self.note_warnings(&more);
                }
                Command::Measure(figure) => self.measure(figure.clone()),
                _ => {}
            }
        }
    }

    /// Answers a batch of audit records.
    fn take_records(&mut self, callout: &Callout) -> Vec<Command> {
        if self.audit_answer == Some(202) {
            // As strictly as the service reads it.
            serde_json::from_slice::<AuditBatch<'static>>(&callout.body).unwrap();
            let batch: Value = serde_json::from_slice(&callout.body).unwrap();
            self.records.extend(batch["records"].as_array().unwrap().iter().cloned());
        }
        let answer = self.audit_answer.map(|status| Answer { status, body: b"{}".to_vec() });
        self.gate.root_answer(self.now, RootCall::Audit, answer)
    }

    fn measure(&mut self, Figure { name, change }: Figure) {
        let figure = self.figures.entry(name).or_default();
        match change {
            Change::Add(by) => *figure += by.cast_signed(),
            Change::Shift(by) => *figure += by,
            Change::Set(value) => *figure = value.cast_signed(),
        }
    }

    pub(super) fn tick(&mut self) -> Done {
        let mut done = Done::default();
        let mut commands: VecDeque<Command> = self.gate.tick(self.now, vec![]).into();
        while let Some(command) = commands.pop_front() {
            match command {
                Command::Forward { stream, permit } => done.forwarded.push((stream, permit.is_single_use())),
                Command::Reply { stream, reply } => {
                    done.replies.push((stream, reply.status, serde_json::from_slice(&reply.body).unwrap()));
                }
                Command::Warn(text) => done.warnings.push(text),
                Command::Call { call: RootCall::Report, callout } => {
                    done.reports.push(serde_json::from_slice(&callout.body).unwrap());
                }
                Command::Call { call: call @ RootCall::Redeem(_), callout } => {
                    // As the host does, and the service.
                    let answer = self.redemptions(&callout).filter(|answer| {
                        callout.body.len() <= 2 * 1024 * 1024 && answer.body.len() <= call.longest_answer()
                    });
                    commands.extend(self.gate.root_answer(self.now, call, answer));
                }
                Command::Call { call: RootCall::Audit, callout } => commands.extend(self.take_records(&callout)),
                Command::Measure(figure) => self.measure(figure),
                Command::Call { .. } | Command::Change { .. } | Command::Fetch { .. } | Command::Keep(_) => {}
            }
        }
        done
    }

    pub(super) fn redemptions(&mut self, callout: &Callout) -> Option<Answer> {
        if let Some(id) = self.hang_up_while_redeeming.take() {
            self.gate.closed(id);
        }
        if self.failing_redemptions > 0 {
            self.failing_redemptions -= 1;
            return None;
        }
        let asked: Redemptions = serde_json::from_slice(&callout.body).unwrap();
        let item = |item: &holdgate_protocol::gateway::Redemption| {
            let open = &self.holds[&item.hold];
            assert_eq!((item.digest, item.requirement), (open.digest, open.requirement));
            let mut claims = self.claims(open, &item.hold, &item.attempt);
            let key = self.forge.and_then(|forge| forge(&mut claims)).unwrap_or(GRANT);
            json!({"hold": item.hold, "grant": claims.sign(&PrivateKey::from_seed(&[key; 32])).unwrap()})
        };
        let items: Vec<Value> = asked.items.iter().map(item).collect();
        Some(Answer { status: 200, body: json!({"items": items}).to_string().into_bytes() })
    }

    fn claims(&self, open: &OpenHold, hold: &str, attempt: &str) -> Claims {
        let now = self.now / 1000 + self.skew;
        Claims {
            iss: "holdgate-approval".into(),
            aud: "edge".into(),
            sub: open.agent.principal().unwrap_or_default().into(),
            act: ActorChain::of(&open.agent),
            txn: hold.into(),
            jti: "j".into(),
            iat: now,
            nbf: now,
            exp: now + 60,
            nonce: attempt.into(),
            req: Covered { c: open.components.clone(), h: open.digest },
            policy: GrantPolicy { id: "p".into(), rev: open.policy.rev, requirement: open.requirement },
            rules: open.rules.clone(),
        }
    }
}
