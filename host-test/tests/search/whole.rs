//! Whole lives of requests in any order: agents, reviewers, a service that fails, VMs that restart. After each step nothing
//! has passed that no rule allows and nobody has approved.

use std::{collections::BTreeMap, sync::mpsc, time::Duration};

use holdgate_authoring::cases::{Behaviour, Chunks, Restart, Script, ServiceCall};
use holdgate_host::cases::{
    driver::Driver,
    harness::{Account, Conditions},
};
use holdgate_protocol::gateway::HoldState;
use proptest::prelude::*;
use serde_json::json;

use crate::gateway::{Stage, bundle, sending, token};

const WORKERS: usize = 2;

/// What an agent asks for. The number tells requests apart that are not the same one sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Note(u8),
    Role(u8),
    Delete(u8),
    Audit,
}

impl Kind {
    fn line(self) -> (&'static str, String, String) {
        match self {
            Kind::Read => ("GET", "/iam/users?page=1".to_owned(), String::new()),
            Kind::Note(user) => ("POST", format!("/iam/users/{user}/notes"), r#"{"text":"hello"}"#.to_owned()),
            Kind::Role(user) => ("POST", format!("/iam/users/{user}/roles"), r#"{"role":"viewer"}"#.to_owned()),
            Kind::Delete(user) => ("DELETE", format!("/iam/users/{user}"), String::new()),
            Kind::Audit => ("POST", "/iam/audit/2026".to_owned(), "{}".to_owned()),
        }
    }

    fn is_held(self) -> bool {
        matches!(self, Kind::Role(_) | Kind::Delete(_))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send { kind: Kind, worker: usize, cut: Option<usize>, patient: bool },
    Wait(u64),
    Decide { nth: usize, state: HoldState },
    Script { call: Option<ServiceCall>, does: Behaviour, times: Option<u64> },
    HangUp(usize),
    Reconfigure(u64),
    Restart(usize),
    Publish,
    Suspend(bool),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        2 => Just(Kind::Read),
        2 => (0..3_u8).prop_map(Kind::Note),
        5 => (0..3_u8).prop_map(Kind::Role),
        3 => (0..3_u8).prop_map(Kind::Delete),
        1 => Just(Kind::Audit),
    ]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let whole = prop_oneof![
        Just(Behaviour::Well),
        Just(Behaviour::Never),
        Just(Behaviour::Reset),
        Just(Behaviour::Timeout),
        Just(Behaviour::Unreachable),
        Just(Behaviour::Refused),
        Just(Behaviour::NotJson),
        Just(Behaviour::TooLong),
        Just(Behaviour::WrongSignature),
        Just(Behaviour::WrongDigest),
        Just(Behaviour::Replayed),
    ];
    let answer = prop_oneof![Just(200_u16), Just(202), Just(403), Just(404), Just(409), Just(429), Just(500)];
    let answer = answer.prop_map(|status| Behaviour::Answer { status, body: b"{}".to_vec() });
    prop_oneof![6 => whole, 2 => (1..4000_u64).prop_map(Behaviour::Late), 1 => answer]
}

fn step() -> impl Strategy<Value = Step> {
    let calls = prop_oneof![
        Just(None),
        Just(Some(ServiceCall::Holds)),
        Just(Some(ServiceCall::Redemptions)),
        Just(Some(ServiceCall::Feed)),
        Just(Some(ServiceCall::Outcomes)),
        Just(Some(ServiceCall::State)),
        Just(Some(ServiceCall::Bundles)),
        Just(Some(ServiceCall::Audit)),
    ];
    let states = prop_oneof![
        4 => Just(HoldState::Approved),
        2 => Just(HoldState::Denied),
        1 => Just(HoldState::Cancelled),
        1 => Just(HoldState::Expired),
    ];
    let send = (kind(), 0..WORKERS, prop::option::of(0..20_usize), any::<bool>());
    prop_oneof![
        8 => send.prop_map(|(kind, worker, cut, patient)| Step::Send { kind, worker, cut, patient }),
        5 => prop_oneof![Just(30), Just(200), Just(3_000), Just(50_000)].prop_map(Step::Wait),
        6 => (any::<usize>(), states).prop_map(|(nth, state)| Step::Decide { nth, state }),
        3 => (calls, behaviour(), prop::option::of(1..3_u64))
            .prop_map(|(call, does, times)| Step::Script { call, does, times }),
        2 => any::<usize>().prop_map(Step::HangUp),
        1 => (1..60_u64).prop_map(Step::Reconfigure),
        1 => (1..=WORKERS).prop_map(Step::Restart),
        1 => Just(Step::Publish),
        1 => any::<bool>().prop_map(Step::Suspend),
    ]
}

struct Run {
    stage: Stage,
    token: String,
    kinds: Vec<Kind>,
    serial: u64,
    /// Approvals that were ever given, by the hold's id, with the target that they are for.
    approved: BTreeMap<String, String>,
}

impl Run {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Send { kind, worker, cut, patient } => {
                let (method, target, body) = kind.line();
                let mut request = sending(method, &target, &self.token, &body, *worker);
                if let Some(cut) = cut {
                    request.chunks = Chunks::Sizes(vec![*cut]);
                }
                if !patient {
                    request.headers.push((b"prefer".to_vec(), b"respond-async".to_vec()));
                }
                self.stage.harness.send(request).unwrap();
                self.kinds.push(*kind);
            }
            Step::Wait(milliseconds) => self.stage.pass(*milliseconds),
            Step::Decide { nth, state } => {
                let now = self.stage.harness.now();
                let mut service = self.stage.service();
                let holds: Vec<_> = service.holds().cloned().collect();
                if let Some(hold) = holds.get(nth % holds.len().max(1)).filter(|hold| hold.state == HoldState::Pending)
                {
                    service.decide(now, &hold.id, *state, None);
                    drop(service);
                    if *state == HoldState::Approved {
                        let target = format!("{} {}", hold.asked.request.method, hold.asked.request.path);
                        self.approved.insert(hold.id.clone(), target);
                    }
                }
            }
            Step::Script { call, does, times } => {
                let script = Script { call: *call, does: does.clone(), times: *times };
                self.stage.service().script(&[script]);
            }
            Step::HangUp(nth) if !self.kinds.is_empty() => {
                self.stage.harness.hang_up(nth % self.kinds.len()).unwrap();
            }
            Step::HangUp(_) => {}
            Step::Reconfigure(wait) => {
                let mut configuration = holdgate_host::cases::configuration::usual();
                holdgate_host::cases::merge::merge(&mut configuration, json!({"max_wait": format!("{wait}s")}));
                self.stage.harness.reconfigure(&configuration).unwrap();
            }
            Step::Restart(worker) => self.stage.harness.restart(Restart::Worker(*worker)).unwrap(),
            Step::Publish => {
                self.serial += 1;
                let now = self.stage.harness.now();
                self.stage.service().publish(now, &bundle(self.serial)).unwrap();
            }
            Step::Suspend(suspended) => {
                let agent = holdgate_protocol::Actor {
                    iss: holdgate_host::cases::configuration::ISSUER.to_owned(),
                    sub: "agent-7".to_owned(),
                };
                let now = self.stage.harness.now();
                self.stage.service().suspend(now, &agent, *suspended);
            }
        }
        self.stage.pass(0);
    }

    /// What must hold at every moment.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let observed = self.stage.harness.observe();
        let mut passed: BTreeMap<String, usize> = BTreeMap::new();
        for (kind, request) in self.kinds.iter().zip(&observed.requests) {
            let Some(got) = &request.upstream else { continue };
            prop_assert!(*kind != Kind::Audit, "a request that a rule denies has passed");
            let (method, target, body) = kind.line();
            prop_assert_eq!((got.method.as_str(), got.target.as_str()), (method, target.as_str()));
            if got.complete {
                prop_assert_eq!(String::from_utf8_lossy(&got.body), body);
            }
            if kind.is_held() {
                *passed.entry(format!("{method} {target}")).or_default() += 1;
            }
        }
        for (target, count) in passed {
            let approvals = self.approved.values().filter(|other| **other == target).count();
            prop_assert!(count <= approvals, "{} passed {} times with {} approvals", target, count, approvals);
        }
        let fatal = self.stage.harness.findings();
        prop_assert!(fatal.is_empty(), "{:?}", fatal);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_passes_without_a_rule_or_an_approval_of_its_own(steps in prop::collection::vec(step(), 1..40)) {
        let (sender, accounts) = mpsc::channel();
        let conditions = Conditions { account: Some(sender), ..Conditions::default() };
        let stage = Stage::new(WORKERS, &json!({"max_wait": "30s"}), conditions);
        let mut run = Run {
            stage, token: token("agent-7"), kinds: Vec::new(), serial: 1, approved: BTreeMap::new(),
        };
        for step in &steps {
            run.take(step);
            run.check()?;
        }
        // The service does well again, and everything that waits comes to its end.
        run.stage.service().script(&[Script { call: None, does: Behaviour::Well, times: None }]);
        run.stage.harness.pass(Duration::from_secs(120), &mut |_| false).unwrap();
        run.check()?;
        let ends = run.stage.harness.observe();
        for (kind, request) in run.kinds.iter().zip(&ends.requests) {
            prop_assert!(request.reply.is_some() || request.gone, "{:?} waits for ever: {:?}", kind, request);
        }
        drop(run);
        let account: Account = accounts.try_iter().last().unwrap();
        prop_assert_eq!(account.left, 0);
        for gauge in ["parked", "parked_bytes", "feed_stale_workers"] {
            let level = account.metrics.get(&format!("holdgate.{gauge}")).copied().unwrap_or(0);
            // A VM that is taken away takes nothing back any more.
            let taken_away = steps.iter().any(|step| matches!(step, Step::Restart(_)));
            prop_assert!(level == 0 || taken_away, "{} stays {}", gauge, level);
        }
    }
}
