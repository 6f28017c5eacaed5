//! What the scripted service knows: holds, the policy in force, suspended agents, the feed.

use std::collections::{BTreeSet, HashMap};

use holdgate_protocol::{
    Actor, Agent, Hash, Json,
    bundle::{self, Bundle, PolicyRef, SignedBundle},
    gateway::{FeedItem, HoldState, OpenHold},
};
use serde_json::Value;

use crate::cases::keys;

/// The number of the feed's newest item at the start.
const FIRST_SEQ: u64 = 100;

/// Seconds for which a denial stands.
pub(super) const COOLDOWN: u64 = 600;

/// Everything that the service remembers. Times are in Unix seconds by its own clock.
pub(super) struct Book {
    seq: u64,
    feed: Vec<(u64, FeedItem)>,
    published: Vec<Published>,
    suspended: Vec<Actor>,
    /// A hold's id is `h` and its place, counted from 1.
    holds: Vec<Opened>,
    /// The newest hold of an agent, a digest and a requirement.
    newest: HashMap<(Hash, Hash, Hash), usize>,
    /// When open holds end by themselves; some have ended otherwise by now.
    deadlines: BTreeSet<(u64, usize)>,
    /// Digests by agent and idempotency key.
    keys: HashMap<(Hash, String), Hash>,
    records: Vec<Value>,
}

/// A policy that was published.
pub(super) struct Published {
    pub(super) reference: PolicyRef,
    pub(super) bytes: Vec<u8>,
    pub(super) signed: SignedBundle,
    bundle: Bundle<Json>,
}

/// A hold.
#[derive(Clone, Debug)]
pub struct Opened {
    pub id: String,
    pub asked: OpenHold,
    pub state: HoldState,
    pub cause: Option<String>,
    /// The deadline of the state, in Unix seconds; the time of the end where it has ended.
    pub expires_at: u64,
    pub(super) use_within: u64,
    /// Attempt and grant of the redemption.
    pub(super) used: Option<(String, String)>,
}

/// What is known of a request whose hold is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'p> {
    pub method: &'p str,
    /// Path and query.
    pub target: &'p str,
    /// The agent's subject, where the case knows it.
    pub agent: Option<&'p str>,
    /// Bytes of its body.
    pub size: usize,
}

/// What came of an opening.
pub(super) enum Opening {
    New(usize),
    Joined(usize),
    Denied(usize),
    /// Status and word.
    Refused(u16, &'static str),
}

impl Default for Book {
    fn default() -> Self {
        Book {
            seq: FIRST_SEQ,
            feed: Vec::new(),
            published: Vec::new(),
            suspended: Vec::new(),
            holds: Vec::new(),
            newest: HashMap::new(),
            deadlines: BTreeSet::new(),
            keys: HashMap::new(),
            records: Vec::new(),
        }
    }
}

impl Book {
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Items that come after a number.
    pub(super) fn news(&self, after: u64) -> Vec<FeedItem> {
        let first = self.feed.partition_point(|(seq, _)| *seq <= after);
        self.feed.iter().skip(first).map(|(_, item)| item.clone()).collect()
    }

    pub(super) fn suspended(&self) -> &[Actor] {
        &self.suspended
    }

    pub(super) fn in_force(&self) -> Option<&Published> {
        self.published.last()
    }

    pub(super) fn published(&self, revision: &str) -> Option<&Published> {
        self.published.iter().find(|published| published.reference.rev.to_string() == revision)
    }

    pub(super) fn holds(&self) -> impl Iterator<Item = &Opened> {
        self.holds.iter()
    }

    pub(super) fn hold(&self, place: usize) -> Option<&Opened> {
        self.holds.get(place)
    }

    pub(super) fn hold_named(&mut self, id: &str) -> Option<&mut Opened> {
        let place = place_of(id)?;
        self.holds.get_mut(place)
    }

    pub(super) fn records(&self) -> &[Value] {
        &self.records
    }

    pub(super) fn take_records(&mut self, records: Vec<Value>) {
        self.records.extend(records);
    }

    /// The hold of a request, the newest one where several are alike.
    pub(super) fn find(&self, probe: &Probe<'_>) -> Option<&Opened> {
        let (path, query) = match probe.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (probe.target, None),
        };
        let fits = |hold: &&Opened| {
            let request = &hold.asked.request;
            request.method == probe.method
                && request.path == path
                && request.query.as_deref().map(|query| query.trim_start_matches('?')) == query
                && probe.agent.is_none_or(|agent| hold.asked.agent.sub == agent)
                && usize::try_from(request.body.size) == Ok(probe.size)
        };
        self.holds.iter().rfind(fits)
    }

    pub(super) fn publish(&mut self, now: u64, bytes: &[u8]) -> Result<(), String> {
        let bundle: Bundle<Json> = bundle::read(bytes).map_err(|error| error.to_string())?;
        let reference = PolicyRef { id: bundle.id.clone(), rev: bundle::revision(bytes), serial: bundle.serial };
        let signed = SignedBundle::sign(bytes, &keys::authors());
        self.published.push(Published { reference: reference.clone(), bytes: bytes.to_vec(), signed, bundle });
        let PolicyRef { id, rev, serial } = reference;
        self.tell(|seq| FeedItem::Policy { seq, id, serial, rev });
        // Open holds that the new policy judges otherwise are void.
        let required = |hold: &&Opened| self.requires(&hold.asked) != Some(hold.asked.requirement);
        let open = |hold: &&Opened| matches!(hold.state, HoldState::Pending | HoldState::Approved);
        let changed: Vec<String> =
            self.holds.iter().filter(open).filter(required).map(|hold| hold.id.clone()).collect();
        for hold in changed {
            self.change(now, &hold, HoldState::Cancelled, Some("policy".to_owned()));
        }
        Ok(())
    }

    /// The hash of what the policy in force asks for, by the rules that a gateway names.
    fn requires(&self, asked: &OpenHold) -> Option<Hash> {
        let bundle = &self.published.last()?.bundle;
        let known = |id: &str, hash: Hash| bundle.rules.iter().any(|rule| rule.id == id && rule.hash == hash);
        let ids: Vec<&str> = asked.rules.iter().map(|rule| rule.id.as_str()).collect();
        let all = asked.rules.iter().all(|rule| known(&rule.id, rule.hash));
        bundle.united(&ids).filter(|_| all).map(|requirement| requirement.hash(&asked.rules))
    }

    pub(super) fn suspend(&mut self, now: u64, agent: &Actor, suspended: bool) {
        self.suspended.retain(|other| other != agent);
        if suspended {
            self.suspended.push(agent.clone());
        }
        let Actor { iss, sub } = agent.clone();
        self.tell(|seq| FeedItem::Agent { seq, iss, sub, suspended });
        if !suspended {
            return;
        }
        let open = |hold: &&Opened| {
            matches!(hold.state, HoldState::Pending | HoldState::Approved) && hold.asked.agent.caller() == *agent
        };
        let open: Vec<String> = self.holds.iter().filter(open).map(|hold| hold.id.clone()).collect();
        for hold in open {
            self.change(now, &hold, HoldState::Cancelled, Some("suspended".to_owned()));
        }
    }

    pub(super) fn is_suspended(&self, agent: &Agent) -> bool {
        self.suspended.contains(&agent.caller())
    }

    pub(super) fn open(&mut self, now: u64, asked: OpenHold) -> Opening {
        let Some(published) = self.published.last() else { return Opening::Refused(422, "unknown_revision") };
        if published.reference.rev != asked.policy.rev {
            return Opening::Refused(422, "unknown_revision");
        }
        let ids: Vec<&str> = asked.rules.iter().map(|rule| rule.id.as_str()).collect();
        let Some(requirement) = published.bundle.united(&ids) else { return Opening::Refused(422, "unknown_rule") };
        if self.requires(&asked) != Some(asked.requirement) {
            return Opening::Refused(422, "requirement_mismatch");
        }
        if self.is_suspended(&asked.agent) {
            return Opening::Refused(403, "agent_suspended");
        }
        let agent = asked.agent.key();
        if let Some(key) = &asked.idempotency_key {
            let digest = self.keys.entry((agent, key.clone())).or_insert(asked.digest);
            if *digest != asked.digest {
                return Opening::Refused(409, "idempotency_key");
            }
        }
        let key = (agent, asked.digest, asked.requirement);
        let known = self.newest.get(&key).and_then(|place| Some((*place, self.holds.get(*place)?)));
        match known {
            Some((place, hold)) if matches!(hold.state, HoldState::Pending | HoldState::Approved) => {
                return Opening::Joined(place);
            }
            Some((place, hold)) if hold.state == HoldState::Denied && now < hold.expires_at => {
                return Opening::Denied(place);
            }
            _ => {}
        }
        let (place, expires_at) = (self.holds.len(), now.saturating_add(requirement.decide_within));
        self.newest.insert(key, place);
        self.deadlines.insert((expires_at, place));
        self.holds.push(Opened {
            id: format!("h{}", place + 1),
            state: HoldState::Pending,
            cause: None,
            expires_at,
            use_within: requirement.use_within,
            used: None,
            asked,
        });
        Opening::New(place)
    }

    /// Changes the state of a hold and tells of it. `false`: there is none of this id.
    pub(super) fn change(&mut self, now: u64, id: &str, state: HoldState, cause: Option<String>) -> bool {
        let Some(hold) = self.hold_named(id) else { return false };
        hold.state = state;
        hold.cause.clone_from(&cause);
        hold.expires_at = match state {
            HoldState::Approved => now.saturating_add(hold.use_within),
            HoldState::Denied => now.saturating_add(COOLDOWN),
            _ => now,
        };
        if let (Some(place), Some(deadline)) = (place_of(id), hold.deadline()) {
            self.deadlines.insert((deadline, place));
        }
        let hold = id.to_owned();
        self.tell(|seq| FeedItem::Hold { seq, hold, state, cause });
        true
    }

    /// Ends holds whose time is over.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some((deadline, place)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.pop_first();
            let hold = self.holds.get(place).filter(|hold| hold.deadline() == Some(deadline));
            if let Some(id) = hold.map(|hold| hold.id.clone()) {
                self.change(now, &id, HoldState::Expired, None);
            }
        }
    }

    /// When the next hold ends by itself, or would if it were still open.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn tell(&mut self, item: impl FnOnce(u64) -> FeedItem) {
        self.seq += 1;
        self.feed.push((self.seq, item(self.seq)));
    }
}

fn place_of(id: &str) -> Option<usize> {
    id.strip_prefix('h')?.parse::<usize>().ok()?.checked_sub(1)
}

impl Opened {
    /// When it ends by itself, where it is open.
    fn deadline(&self) -> Option<u64> {
        matches!(self.state, HoldState::Pending | HoldState::Approved).then_some(self.expires_at)
    }
}
