//! Plays cases: the steps in their order, on whatever driver there is.

mod verdict;

pub use verdict::request as request_of;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use holdgate_authoring::cases::{
    Act, Callout, Case, Decision, Expected, Hold, Named, Outcome, Play, PolicySource, Quantity, Scenario, Step,
};
use holdgate_protocol::Actor;
use serde_json::Value;

use crate::Profile;

use super::{
    configuration,
    driver::{Driver, Setup, SharedService, TraceLine, Trouble},
    judge::{Difference, Seen, Sent, judge},
    merge,
    policies::Policies,
    service::{Probe, Service},
    tokens,
};

/// When cases begin that name no time: 2026-01-07T12:00:00Z, in Unix seconds.
const BEGINNING: i64 = 1_767_787_200;

/// Hosts on which the filter cannot do all that it is for; it must stay closed there.
const LACKING: [Profile; 2] = [Profile::EnvoyWithoutHeadersStop, Profile::Strict];

/// How long a hold is waited for that is to be decided.
const HOLD: Duration = Duration::from_secs(10);

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    pub end: End,
    /// What happened, oldest first.
    pub trace: Vec<TraceLine>,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    /// At the step of this line, or at its end, something was not as expected.
    Failed {
        line: usize,
        differences: Vec<Difference>,
    },
    /// The driver cannot play it, and the case says so.
    Skipped(String),
    /// The host lacks what the filter needs, and other things came than expected; but nothing has passed that should not.
    Closed,
    /// It could not be played to its end.
    Broken {
        line: usize,
        why: String,
    },
}

/// Makes a driver for one case.
pub type Make<'m> = &'m dyn Fn(Setup) -> Result<Box<dyn Driver>, Trouble>;

/// Plays one case. `place` names the driver, and the profile where it has one: what `not_on` may name.
pub fn play(case: &Case, policy: &PolicySource, policies: &Policies, place: &[&str], make: Make<'_>) -> Played {
    let without_trace = |end| Played { end, trace: Vec::new() };
    let line = case.at.line;
    let converted;
    let scenario = match &case.play {
        Play::Scenario(scenario) => scenario,
        Play::Verdict(example) => {
            match policies.load(policy, 1) {
                Ok((_, policy)) => {
                    if let Err((expected, came)) = example.check(&policy) {
                        let differences = vec![Difference { what: "the verdict".to_owned(), expected, came }];
                        return without_trace(End::Failed { line, differences });
                    }
                }
                Err(why) => return without_trace(End::Broken { line, why: why.to_string() }),
            }
            let Some(scenario) = verdict::as_scenario(example) else { return without_trace(End::Passed) };
            converted = scenario;
            &converted
        }
    };
    if let Some((_, why)) = scenario.not_on.iter().find(|(not_on, _)| place.contains(&not_on.as_str())) {
        return without_trace(End::Skipped(why.clone()));
    }
    let policy = scenario.policy.as_ref().unwrap_or(policy);
    let lacking = LACKING.iter().any(|profile| place.contains(&profile.name()));
    match Player::start(scenario, policy, policies, make) {
        Ok(mut player) => {
            let mut end = player.play(scenario, line);
            if lacking && !matches!(end, End::Passed) && player.is_closed(scenario) {
                end = End::Closed;
            }
            Played { end, trace: player.driver.trace() }
        }
        // Where the filter does not come to decide, nothing passes.
        Err(_) if lacking => without_trace(End::Closed),
        Err(why) => without_trace(End::Broken { line, why }),
    }
}

struct Player<'p> {
    driver: Box<dyn Driver>,
    service: SharedService,
    policies: &'p Policies,
    /// What is published where a step names no other.
    policy: PolicySource,
    configuration: Value,
    sent: Vec<Sent>,
}

impl<'p> Player<'p> {
    fn start(
        scenario: &Scenario,
        policy: &PolicySource,
        policies: &'p Policies,
        make: Make<'_>,
    ) -> Result<Self, String> {
        let mut configuration = configuration::usual();
        scenario.plugin.iter().for_each(|patch| merge::merge(&mut configuration, merge::to_value(patch)));
        let time = u64::try_from(scenario.time.unwrap_or(BEGINNING)).unwrap_or(0).saturating_mul(1000);
        let mut service = Service::new();
        let bytes = policies.bundle(policy, 1).map_err(|error| error.to_string())?;
        service.publish(time, &bytes)?;
        service.script(&scenario.service);
        let service = Arc::new(Mutex::new(service));
        let setup = Setup {
            configuration: configuration.clone(),
            workers: scenario.workers,
            time,
            timed: scenario.time.is_some(),
            service: service.clone(),
            upstream: scenario.upstream.clone(),
            ready: scenario.service.is_empty(),
        };
        let driver = make(setup).map_err(|trouble| trouble.to_string())?;
        Ok(Player { driver, service, policies, policy: policy.clone(), configuration, sent: Vec::new() })
    }

    fn play(&mut self, scenario: &Scenario, first_line: usize) -> End {
        for (place, Step { at, act }) in scenario.steps.iter().enumerate() {
            let line = if at.line == 0 { first_line } else { at.line };
            let last = place + 1 == scenario.steps.len();
            let came = self.step(act).and_then(|differences| match act {
                Act::Expect(expected) if last && differences.is_empty() => self.still(expected),
                _ => Ok(differences),
            });
            match came {
                Ok(differences) if differences.is_empty() => {}
                Ok(differences) => return End::Failed { line, differences },
                Err(trouble) => return End::Broken { line, why: trouble.to_string() },
            }
        }
        let found = self.driver.findings();
        if !found.is_empty() {
            return End::Broken {
                line: first_line,
                why: format!("the filter got something wrong: {}", found.join("; ")),
            };
        }
        End::Passed
    }

    /// Whether nothing has passed that the scenario lets pass nowhere.
    fn is_closed(&mut self, scenario: &Scenario) -> bool {
        let passes = |name: &str| {
            scenario.steps.iter().any(|step| match &step.act {
                Act::Expect(expected) => {
                    let mut of = expected.requests.iter().filter(|(other, _)| other == name);
                    of.any(|(_, request)| request.outcome == Some(Outcome::Forwarded))
                }
                _ => false,
            })
        };
        let observed = self.driver.observe();
        let seen = |handle: &usize| observed.requests.get(*handle).is_some_and(|request| request.upstream.is_some());
        self.sent.iter().all(|sent| passes(&sent.name) || !sent.handles.iter().any(seen))
    }

    fn step(&mut self, act: &Act) -> Result<Vec<Difference>, Trouble> {
        match act {
            Act::Send(all) => all.iter().try_for_each(|named| self.send(named))?,
            Act::Wait(milliseconds) => self.pass(*milliseconds)?,
            Act::Expect(expected) => return self.expect(expected),
            Act::Service(scripts) => self.service().script(scripts),
            Act::Clock(ahead) => self.service().set_clock(*ahead),
            Act::Decide(decisions) => decisions.iter().try_for_each(|decision| self.decide(decision))?,
            Act::Publish { serial, policy } => self.publish(*serial, policy.as_ref())?,
            Act::Suspend { issuer, id, suspended } => {
                let now = self.driver.now();
                let agent = Actor { iss: issuer.clone(), sub: id.clone() };
                self.service().suspend(now, &agent, *suspended);
            }
            Act::HangUp(names) => {
                for name in names {
                    let handles = self.sent.iter().find(|sent| sent.name == *name);
                    let handles = handles.map(|sent| sent.handles.clone()).unwrap_or_default();
                    handles.into_iter().try_for_each(|handle| self.driver.hang_up(handle))?;
                }
            }
            Act::Reconfigure(patch) => {
                merge::merge(&mut self.configuration, merge::to_value(patch));
                self.driver.reconfigure(&self.configuration)?;
            }
            Act::Restart(what) => self.driver.restart(*what)?,
            Act::Upstream(behaviour) => self.driver.upstream(behaviour)?,
        }
        // What follows at once is seen by the next step.
        self.pass(0)?;
        Ok(Vec::new())
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&mut self, milliseconds: u64) -> Result<(), Trouble> {
        self.driver.pass(Duration::from_millis(milliseconds), &mut |_| false).map(drop)
    }

    fn send(&mut self, named: &Named) -> Result<(), Trouble> {
        let request = &named.request;
        let place = self.configuration.pointer("/identity/header").and_then(Value::as_str).unwrap_or("authorization");
        let place = place.to_owned();
        let token = tokens::header(&request.token, self.driver.now() / 1000, &place);
        let token = token.map(|token| (place.into_bytes(), token.into_bytes()));
        let sending = super::driver::Sending {
            name: named.name.clone(),
            method: request.method.clone(),
            target: request.target.clone(),
            host: request.host.clone(),
            version: request.version,
            headers: token.into_iter().chain(request.headers.iter().cloned()).collect(),
            body: request.body.clone(),
            chunks: request.chunks.clone(),
            pause: Duration::from_millis(request.pause),
            trailers: request.trailers.clone(),
            worker: named.worker.map(|worker| worker.saturating_sub(1)),
        };
        let mut handles = Vec::new();
        for _ in 0..named.times {
            handles.push(self.driver.send(sending.clone())?);
        }
        self.sent.push(Sent { name: named.name.clone(), sending, handles });
        Ok(())
    }

    fn expect(&mut self, expected: &Expected) -> Result<Vec<Difference>, Trouble> {
        let Player { driver, service, sent, .. } = self;
        let mut differences = Vec::new();
        driver.pass(Duration::from_millis(expected.within), &mut |observed| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner);
            differences = judge(expected, &Seen { observed, sent, service: &service });
            differences.is_empty()
        })?;
        Ok(differences)
    }

    /// That something came too often, or came at all, shows only after a while: counts must be what they are then, too.
    fn still(&mut self, expected: &Expected) -> Result<Vec<Difference>, Trouble> {
        let exact = |callout: &&Callout| matches!(callout.count, Quantity::Exactly(_));
        let callouts: Vec<Callout> = expected.callouts.iter().filter(exact).cloned().collect();
        let (requests, metrics) = (Vec::new(), Vec::new());
        let counted = Expected { requests, metrics, logs: None, callouts, within: 0, ..expected.clone() };
        if counted.audit.is_none() && counted.holds.is_none() && counted.callouts.is_empty() {
            return Ok(Vec::new());
        }
        let afterwards = self.driver.afterwards();
        self.driver.pass(afterwards, &mut |_| false)?;
        self.expect(&counted)
    }

    /// Decides a hold, once it is there.
    fn decide(&mut self, decision: &Decision) -> Result<(), Trouble> {
        let Player { driver, service, sent, .. } = self;
        let find = || {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner);
            let hold = match &decision.hold {
                Hold::Last => service.holds().last().cloned(),
                Hold::Of(name) => sent.iter().find(|sent| sent.name == *name).and_then(|sent| {
                    let request = &sent.sending;
                    let (method, target) = (request.method.as_str(), request.target.as_str());
                    let agent = agent_of(request);
                    service
                        .hold_of(&Probe { method, target, agent: agent.as_deref(), size: request.body.len() })
                        .cloned()
                }),
            };
            hold.map(|hold| hold.id)
        };
        let mut hold = None;
        driver.pass(HOLD, &mut |_| {
            hold = find();
            hold.is_some()
        })?;
        let Some(hold) = hold else {
            let whose = match &decision.hold {
                Hold::Last => "no hold".to_owned(),
                Hold::Of(name) => format!("no hold for `{name}`"),
            };
            return Err(Trouble::Failed(format!("{whose} was opened within ten seconds, and one is to be decided")));
        };
        let now = driver.now();
        self.service().decide(now, &hold, decision.state, decision.cause.clone());
        Ok(())
    }

    fn publish(&mut self, serial: u64, policy: Option<&PolicySource>) -> Result<(), Trouble> {
        if let Some(policy) = policy {
            self.policy = policy.clone();
        }
        let bundle = self.policies.bundle(&self.policy, serial);
        let bytes = bundle.map_err(|error| Trouble::Failed(error.to_string()))?;
        let now = self.driver.now();
        self.service().publish(now, &bytes).map_err(Trouble::Failed)
    }
}

/// The subject of the token that a request carries.
fn agent_of(request: &super::driver::Sending) -> Option<String> {
    let token = request
        .headers
        .iter()
        .find_map(|(_, value)| str::from_utf8(value).ok()?.split(' ').next_back()?.split('.').nth(1));
    let claims: Value = serde_json::from_slice(&holdgate_protocol::from_b64url(token?)?).ok()?;
    claims.get("sub").and_then(Value::as_str).map(str::to_owned)
}
