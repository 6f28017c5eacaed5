//! Any sequence of events keeps what must always be true of a hold. The world below does with the domain what the service
//! does; the oracle keeps a history of its own and judges every transition by it, in another way than the domain does.

use std::{cell::RefCell, collections::BTreeMap};

use holdgate_protocol::RuleRef;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use oracle::Oracle;

mod oracle;

const PERIOD: u64 = 90 * 24 * 60 * 60;
const PERSONS: [&str; 5] = ["ann", "ben", "cem", "dora", "eve"];
const ROLES: [&str; 3] = ["iam", "sec", "lead"];

#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    /// The clock writes down what is overdue.
    Sweep,
    Decide {
        person: usize,
        verdict: Verdict,
        reason: bool,
        code: Option<usize>,
        signed_in: u64,
        unfit: bool,
    },
    Withdraw {
        person: usize,
        signed_in: u64,
    },
    Revoke {
        person: usize,
        signed_in: u64,
    },
    Redeem {
        attempt: usize,
        other_request: bool,
    },
    /// Whether it is, and whether its open holds are cancelled with it: a redemption must find it by itself too.
    SuspendAgent(bool, bool),
    SuspendPerson(usize, bool),
    Grant {
        person: usize,
        role: usize,
        scope: usize,
        lasts: Option<u64>,
        age: u64,
    },
    End(usize),
    Certify(usize),
    Own(usize, bool),
    OwnerKnown(bool),
    Publish(usize),
}

/// Codes of decisions, the last of which no requirement has.
const CODES: [&str; 3] = ["incident", "ticket", "other"];

/// Scopes, and whether they cover the hold.
fn scopes() -> [(Scope, bool); 4] {
    let scope = |text: &str| serde_json::from_str(text).unwrap();
    [
        (scope("{}"), true),
        (scope(r#"{"rules": ["iam.*"], "groups": ["edge"]}"#), true),
        (scope(r#"{"rules": ["iam.read"]}"#), false),
        (scope(r#"{"groups": ["other"]}"#), false),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let person = 0..PERSONS.len();
    let signed_in = prop_oneof![9 => Just(0), 1 => Just(FRESH), 1 => Just(FRESH + 1)];
    let verdict = prop_oneof![9 => Just(Verdict::Approve), 1 => Just(Verdict::Deny)];
    let code = prop_oneof![1 => Just(None), 4 => Just(Some(1)), 1 => Just(Some(2))];
    let often = prop::bool::weighted(0.9);
    let rarely = prop::bool::weighted(0.1);
    let passed = prop::sample::select(vec![1, 30, 59, 60, 300, 450, 900, 1800]);
    let decide = (person.clone(), verdict, often, code, signed_in.clone(), rarely).prop_map(
        |(person, verdict, reason, code, signed_in, unfit)| Event::Decide {
            person,
            verdict,
            reason,
            code,
            signed_in,
            unfit,
        },
    );
    let granted = (
        person.clone(),
        0..ROLES.len(),
        0..4_usize,
        prop::option::of(1..900_u64),
        prop_oneof![Just(0), Just(PERIOD - 60)],
    );
    prop::collection::vec(
        prop_oneof![
            12 => decide,
            3 => passed.prop_map(Event::Pass),
            1 => Just(Event::Sweep),
            1 => (person.clone(), signed_in.clone()).prop_map(|(person, signed_in)| Event::Withdraw { person, signed_in }),
            1 => (person.clone(), signed_in).prop_map(|(person, signed_in)| Event::Revoke { person, signed_in }),
            6 => (0..2_usize, rarely).prop_map(|(attempt, other_request)| Event::Redeem { attempt, other_request }),
            1 => (any::<bool>(), any::<bool>()).prop_map(|(on, cancels)| Event::SuspendAgent(on, cancels)),
            2 => (person.clone(), any::<bool>()).prop_map(|(person, on)| Event::SuspendPerson(person, on)),
            2 => granted.prop_map(|(person, role, scope, lasts, age)| Event::Grant { person, role, scope, lasts, age }),
            2 => (0..8_usize).prop_map(Event::End),
            1 => (0..8_usize).prop_map(Event::Certify),
            2 => (person, any::<bool>()).prop_map(|(person, on)| Event::Own(person, on)),
            1 => any::<bool>().prop_map(Event::OwnerKnown),
            1 => (0..3_usize).prop_map(Event::Publish),
        ],
        1..40,
    )
}

fn requirements() -> impl Strategy<Value = Requirement> {
    let limits = (prop_oneof![9 => Just(1800), 1 => Just(0)], prop_oneof![9 => Just(600), 1 => Just(0)]);
    let counts = prop_oneof![Just((1, 0)), Just((2, 0)), Just((1, 1)), Just((2, 1)), Just((0, 0))];
    let escalate = prop::option::of(prop_oneof![Just(("lead", 25_u8)), Just(("lead", 1)), Just(("sec", 50))]);
    let asks = (prop::bool::weighted(0.3), prop::bool::weighted(0.3));
    (limits, counts, escalate, asks).prop_map(|((decide_within, use_within), (iam, sec), escalate, (reason, codes))| {
        let escalate = escalate.map(|(role, after)| Escalation { role: role.into(), after });
        let codes = if codes { vec!["incident".into(), "ticket".into()] } else { vec![] };
        let plain = requirement(&[("iam", iam), ("sec", sec)], reason);
        Requirement { decide_within, use_within, escalate, codes, ..plain }
    })
}

/// The roles that the persons have at first, as bits of [`ROLES`].
fn people() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(1_u8), Just(3), Just(2), Just(4), Just(7)], PERSONS.len())
}

/// A decision as the service keeps it.
#[derive(Clone, Debug)]
struct Kept {
    person: String,
    verdict: Verdict,
    roles: BTreeSet<String>,
    at: u64,
    withdrawn: bool,
}

struct World {
    now: u64,
    hold: Hold,
    decisions: Vec<Kept>,
    eligibilities: Vec<(Eligibility, bool)>,
    suspended: BTreeSet<String>,
    agent_suspended: bool,
    owners: BTreeSet<String>,
    owner_known: bool,
    in_force: Option<Hash>,
    oracle: Oracle,
}

impl World {
    fn new(requirement: &Requirement, people: &[u8]) -> Self {
        let mut hold = hold(requirement);
        hold.terms.rules = vec![RuleRef { id: "iam.grant".into(), hash: Hash::of(b"rule") }];
        hold.terms.requirement_hash = requirement.hash(&hold.terms.rules);
        let in_force = Some(hold.terms.requirement_hash);
        let mut world = World {
            now: NOW,
            hold,
            decisions: vec![],
            eligibilities: vec![],
            suspended: BTreeSet::new(),
            agent_suspended: false,
            owners: BTreeSet::new(),
            owner_known: true,
            in_force,
            oracle: Oracle::default(),
        };
        for (person, bits) in people.iter().enumerate() {
            for role in (0..ROLES.len()).filter(|role| bits & (1 << role) != 0) {
                world.happen(&Event::Grant { person, role, scope: 0, lasts: None, age: 0 });
            }
        }
        world
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pass(seconds) => self.now += seconds,
            Event::Sweep => drop(self.expire()),
            Event::Decide { person, verdict, reason, code, signed_in, unfit } => {
                let ballot = Ballot {
                    verdict: *verdict,
                    reason: if *reason { "why" } else { " " },
                    code: code.map(|code| CODES[code]),
                };
                self.decide(&self.reviewer(*person, *signed_in, *unfit), ballot);
            }
            Event::Withdraw { person, signed_in } => self.withdraw(&self.reviewer(*person, *signed_in, false)),
            Event::Revoke { person, signed_in } => self.revoke(&self.reviewer(*person, *signed_in, false)),
            Event::Redeem { attempt, other_request } => self.redeem(*attempt, *other_request),
            Event::SuspendAgent(on, cancels) => {
                self.agent_suspended = *on;
                if *on && *cancels {
                    self.cancel(Cause::Suspended);
                }
            }
            Event::SuspendPerson(person, on) => set(&mut self.suspended, PERSONS[*person], *on),
            Event::Grant { person, role, scope, lasts, age } => {
                let (scope, covers) = scopes()[*scope].clone();
                let (id, granted_by) = (self.eligibilities.len().to_string(), "init".to_owned());
                let granted_at = self.now - age;
                let (person, role) = (PERSONS[*person].to_owned(), ROLES[*role].to_owned());
                let (from, until) = (Some(granted_at), lasts.map(|lasts| self.now + lasts));
                let certified_at = granted_at;
                let one = Eligibility { id, person, role, scope, from, until, granted_by, granted_at, certified_at };
                self.eligibilities.push((one, covers));
            }
            Event::End(index) => {
                let now = self.now;
                let until = self.eligibilities.get_mut(*index).map(|(one, _)| &mut one.until);
                until.into_iter().for_each(|until| *until = Some(until.unwrap_or(u64::MAX).min(now)));
            }
            Event::Certify(index) => {
                let now = self.now;
                self.eligibilities.get_mut(*index).into_iter().for_each(|(one, _)| one.certified_at = now);
            }
            Event::Own(person, on) => set(&mut self.owners, PERSONS[*person], *on),
            Event::OwnerKnown(known) => self.owner_known = *known,
            Event::Publish(kind) => {
                let requirement = &self.hold.terms.requirement;
                let other = Requirement { decide_within: requirement.decide_within + 1, ..requirement.clone() };
                let same = Some(self.hold.terms.requirement_hash);
                self.in_force = [same, Some(other.hash(&self.hold.terms.rules)), None][*kind];
                // The cancelling of what a new policy changes is the service's; here the redemption must find it.
            }
        }
    }

    // What the service does.

    fn reviewer(&self, person: usize, signed_in: u64, unfit: bool) -> Reviewer {
        let person = PERSONS[person].to_owned();
        let unfit = unfit.then_some(Unfit::Client);
        Reviewer { roles: self.roles(&person), person, signed_in_at: self.now - signed_in, unfit }
    }

    fn roles(&self, person: &str) -> BTreeSet<String> {
        if self.suspended.contains(person) {
            return BTreeSet::new();
        }
        let own: Vec<Eligibility> =
            self.eligibilities.iter().map(|(one, _)| one).filter(|one| one.person == person).cloned().collect();
        crate::domain::eligibility::roles(&own, &self.hold.terms, self.now, PERIOD)
    }

    fn approvals(&self) -> Vec<Approval> {
        let standing = self.decisions.iter().filter(|kept| kept.verdict == Verdict::Approve && !kept.withdrawn);
        let approval = |kept: &Kept| {
            let (person, given, now) = (kept.person.clone(), kept.roles.clone(), self.roles(&kept.person));
            Approval { person, at: kept.at, given, now }
        };
        standing.map(approval).collect()
    }

    fn accountable(&self) -> Accountability {
        let unknown = (!self.owner_known).then(|| "nobody".to_owned());
        Accountability { persons: self.owners.clone(), unknown }
    }

    fn expire(&mut self) -> bool {
        let Some(change) = self.hold.overdue(self.now) else { return false };
        self.apply(change, None);
        true
    }

    fn decide(&mut self, reviewer: &Reviewer, ballot: Ballot<'_>) {
        self.expire();
        let Stage::Pending(pending) = self.hold.stage.clone() else { return };
        let (approvals, accountable) = (self.approvals(), self.accountable());
        let terms = self.hold.terms.clone();
        let case = Case {
            requirement: &terms.requirement,
            opened_at: self.hold.opened_at,
            accountable: &accountable,
            approvals: &approvals,
            now: self.now,
            fresh: FRESH,
        };
        let ruling = decide(pending, &case, reviewer, ballot);
        self.judge(reviewer, ballot, &ruling);
        let Ok(ruling) = ruling else { return };
        let (person, roles, verdict) = (reviewer.person.clone(), reviewer.roles.clone(), ballot.verdict);
        self.decisions.push(Kept { person, verdict, roles, at: self.now, withdrawn: false });
        let human = DecidedBy::Human;
        match ruling {
            Ruling::Counted { .. } => {}
            Ruling::Denied { .. } => self.apply(Change { stage: Stage::Denied, decided_by: human }, Some(reviewer)),
            Ruling::Approved { approved, factors, .. } => {
                self.look_at_factors(&factors);
                self.apply(Change { stage: Stage::Approved(approved), decided_by: human }, Some(reviewer));
            }
        }
    }

    fn withdraw(&mut self, reviewer: &Reviewer) {
        self.expire();
        let (approvals, accountable) = (self.approvals(), self.accountable());
        let Stage::Pending(pending) = self.hold.stage.clone() else { return };
        let (requirement, opened_at) = (&self.hold.terms.requirement, self.hold.opened_at);
        let (accountable, approvals) = (&accountable, &approvals[..]);
        let case = Case { requirement, opened_at, accountable, approvals, now: self.now, fresh: FRESH };
        let withdrawn = withdraw(pending, &case, reviewer);
        let had = self.oracle.approvals.contains_key(&reviewer.person);
        assert_eq!(withdrawn.is_ok(), had && self.is_fresh(reviewer), "an own approval, and no other, is withdrawn");
        let Ok(withdrawn) = withdrawn else { return };
        assert_eq!(withdrawn.approval.person, reviewer.person);
        self.oracle.approvals.remove(&reviewer.person);
        self.see("withdrawn");
        self.decisions.iter_mut().filter(|kept| kept.person == reviewer.person).for_each(|kept| kept.withdrawn = true);
    }

    fn revoke(&mut self, reviewer: &Reviewer) {
        self.expire();
        let accountable = self.accountable();
        let (requirement, opened_at) = (&self.hold.terms.requirement, self.hold.opened_at);
        let (accountable, now) = (&accountable, self.now);
        let case = Case { requirement, opened_at, accountable, approvals: &[], now, fresh: FRESH };
        if case.may_revoke(reviewer).is_err() {
            return;
        }
        assert!(self.is_fresh(reviewer) && self.may_speak(&reviewer.person), "who revokes is eligible");
        self.cancel(Cause::Revoked);
    }

    fn cancel(&mut self, cause: Cause) {
        if self.expire() {
            return;
        }
        let before = self.hold.stage.clone();
        match before.clone().cancel(cause, DecidedBy::Human) {
            Ok(change) => self.apply(change, None),
            Err(ended) => assert_eq!(ended, before),
        }
    }

    fn redeem(&mut self, attempt: usize, other_request: bool) {
        let mut claim = claim(&self.hold);
        claim.attempt = attempt.to_string();
        if other_request {
            claim.digest = Hash::of(b"other");
        }
        let (approvals, accountable) = (self.approvals(), self.accountable());
        let grounds = Grounds {
            agent_suspended: self.agent_suspended,
            in_force: self.in_force,
            accountable: &accountable,
            approvals: &approvals,
        };
        match redeem(self.hold.clone(), &claim, self.now) {
            Err(_) => {}
            Ok(Redeemed::Again { grant }) => {
                assert!(!other_request);
                assert_eq!(self.oracle.grants, [(attempt, grant)], "the same attempt has the same grant");
                assert!(self.now < self.hold.since + 60, "a grant was given again after its time");
                self.see("redeemed again");
            }
            Ok(Redeemed::Now(approved)) => {
                assert!(!other_request, "an approval covers one request");
                let change = match approved.recheck(&self.hold, &grounds) {
                    Ok(sound) => {
                        let grant = format!("grant {}", self.oracle.grants.len());
                        self.oracle.grants.push((attempt, grant.clone()));
                        sound.used(attempt.to_string(), grant, self.now + 60)
                    }
                    Err(change) => change,
                };
                self.apply(change, None);
            }
        }
    }
}

fn set(of: &mut BTreeSet<String>, person: &str, on: bool) {
    of.remove(person);
    of.extend(on.then(|| person.to_owned()));
}

/// What must have happened in some of the sequences, or the test shows nothing.
const SEEN: [&str; 13] = [
    "approved",
    "authority",
    "counted",
    "denied",
    "escalated",
    "expired",
    "met",
    "policy",
    "redeemed again",
    "revoked",
    "suspended",
    "used",
    "withdrawn",
];

#[test]
fn whatever_happens_a_hold_is_approved_and_used_only_as_its_requirement_says() {
    let seen = RefCell::new(BTreeMap::<&str, u32>::new());
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    let play = |(requirement, people, events): (Requirement, Vec<u8>, Vec<Event>)| {
        let mut world = World::new(&requirement, &people);
        for event in &events {
            world.happen(event);
            let standing: Vec<&String> =
                world.decisions.iter().filter(|kept| !kept.withdrawn).map(|kept| &kept.person).collect();
            let persons: BTreeSet<&String> = standing.iter().copied().collect();
            assert_eq!(persons.len(), standing.len(), "one decision of a person stands");
        }
        for (what, times) in world.oracle.seen {
            *seen.borrow_mut().entry(what).or_default() += times;
        }
        Ok(())
    };
    TestRunner::new(config).run(&(requirements(), people(), events()), play).unwrap();
    let seen = seen.into_inner();
    let missing: Vec<&str> = SEEN.into_iter().filter(|what| seen.get(what).is_none_or(|times| *times < 5)).collect();
    assert!(missing.is_empty(), "{missing:?} hardly ever happened: {seen:?}");
}
