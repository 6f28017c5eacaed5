//! The parts of a request that depend on one another, each solved for itself.

use holdgate_engine::{
    Atom, Attribute, Test, Truth, Window,
    conditions::{Rate, Source, Tag},
};
use holdgate_protocol::{Json, Pointer};

use super::{
    budget::Exhausted,
    language::Domain,
    leaf::{Group, Leaf, Truths},
    text::Solution,
    value::{Kind, Maker, Tree},
    witness::{NOON, Witness, WitnessAgent, WitnessMessage},
};

/// What a part of a request is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Agent(Option<WitnessAgent>),
    /// The values of a header or query parameter.
    Values(Vec<String>),
    Content {
        body: Option<Json>,
        mcp: Option<WitnessMessage>,
    },
    Count(u64),
    Time(i64),
}

type Solved = Result<Solution<Part>, Exhausted>;

impl Maker<'_> {
    /// A part of a request that meets all its conditions.
    ///
    /// Values that are there and of their type are tried first: they make better examples than missing ones.
    pub(crate) fn part(self, group: &Group, leaves: &[&Leaf]) -> Solved {
        let known: Vec<Leaf> = leaves.iter().map(|leaf| leaf.known()).collect();
        if known.iter().zip(leaves).all(|(known, leaf)| known.allowed == leaf.allowed) {
            return self.any_part(group, leaves);
        }
        let found = self.any_part(group, &known.iter().collect::<Vec<_>>())?;
        if let Solution::Some(part) = found { Ok(Solution::Some(part)) } else { self.any_part(group, leaves) }
    }

    fn any_part(self, group: &Group, leaves: &[&Leaf]) -> Solved {
        let text =
            |domain, favourites: &[&str]| Ok(self.texts.solve(domain, favourites, leaves, self.meter)?.map(Part::Text));
        match group {
            Group::Method => text(Domain::Method, &["GET", "POST", "PUT", "DELETE"]),
            Group::Host => text(Domain::Host, &["api.example"]),
            Group::Path => text(Domain::Path, &["/"]),
            Group::Agent => self.agent(leaves),
            Group::Query(_) | Group::Header(_) => self.values(leaves),
            Group::Content => self.content(leaves),
            Group::Counter(_) => Ok(count(leaves)),
            Group::Time => self.time(leaves),
            Group::Compared => Ok(Solution::Open("two attributes are compared with one another".into())),
        }
    }

    fn agent(self, leaves: &[&Leaf]) -> Solved {
        let agent = self.some_agent(leaves)?.map(|agent| Part::Agent(Some(agent)));
        agent.or_else(|| {
            let nobody = leaves.iter().all(|leaf| leaf.of_nothing());
            Ok(if nobody { Solution::Some(Part::Agent(None)) } else { Solution::None })
        })
    }

    fn some_agent(self, leaves: &[&Leaf]) -> Result<Solution<WitnessAgent>, Exhausted> {
        let usual = WitnessAgent::default();
        let (mut ids, mut issuers) = (Vec::new(), Vec::new());
        let (mut owner, mut claims) = (Tree::default(), Tree::default());
        owner.limit_to(Kind::Text);
        claims.limit_to(Kind::Object);
        for leaf in leaves {
            match leaf.attribute() {
                Some(Attribute::Agent) if !leaf.of_json(Some(&Json::Null)) => return Ok(Solution::None),
                Some(Attribute::AgentId) => ids.push(*leaf),
                Some(Attribute::AgentIssuer) => issuers.push(*leaf),
                Some(Attribute::AgentOwner) => owner.require(leaf),
                Some(Attribute::Claim(pointer) | Attribute::Tag(Tag { source: Source::Claim(pointer), .. })) => {
                    claims.at(pointer.steps().iter().map(String::as_str)).require(leaf);
                }
                _ => {}
            }
        }
        // The first part that has no solution, or whose solution is open, tells what the whole has.
        macro_rules! solved {
            ($solution:expr) => {
                match $solution? {
                    Solution::Some(value) => value,
                    Solution::None => return Ok(Solution::None),
                    Solution::Open(why) => return Ok(Solution::Open(why)),
                }
            };
        }
        let id = solved!(self.texts.solve(Domain::Any, &[&usual.id], &ids, self.meter));
        let issuer = solved!(self.texts.solve(Domain::Any, &[&usual.issuer], &issuers, self.meter));
        let asked = !owner.is_free();
        let owner = solved!(self.solve(&owner));
        let claims = solved!(self.solve(&claims)).unwrap_or(usual.claims);
        let claimed = claims.as_object().and_then(|claims| claims.get("owner"));
        let owner = if asked { owner.as_ref() } else { claimed };
        let owner = owner.and_then(Json::as_str).map(str::to_owned);
        Ok(Solution::Some(WitnessAgent { id, issuer, owner, claims }))
    }

    /// One value that meets all conditions where there is one; else one for each that asks for some value.
    fn values(self, leaves: &[&Leaf]) -> Solved {
        if leaves.iter().all(|leaf| leaf.of_nothing()) {
            return Ok(Solution::Some(Part::Values(Vec::new())));
        }
        let one = |leaves: &[&Leaf]| self.texts.solve(Domain::Wire, &["a"], leaves, self.meter);
        one(leaves)?.map(|value| Part::Values(vec![value])).or_else(|| {
            let (some, all): (Vec<&Leaf>, Vec<&Leaf>) = leaves.iter().partition(|leaf| leaf.any_value());
            let mut values = Vec::new();
            for leaf in some {
                match one(&[&all[..], &[leaf]].concat())? {
                    Solution::Some(value) => values.push(value),
                    Solution::None => return Ok(Solution::None),
                    Solution::Open(why) => return Ok(Solution::Open(why)),
                }
            }
            // Without such conditions one value was the whole question.
            Ok(if values.is_empty() { Solution::None } else { Solution::Some(Part::Values(values)) })
        })
    }

    /// No MCP message, a call of a tool, or another message: then the body is that message.
    fn content(self, leaves: &[&Leaf]) -> Solved {
        let calls = |leaf: &&&Leaf| matches!(leaf.attribute(), Some(Attribute::McpTool | Attribute::McpArg(_)));
        let speaks = |leaf: &&&Leaf| !matches!(leaf.attribute(), Some(Attribute::Body(_)));
        let silent = if leaves.iter().filter(speaks).all(|leaf| leaf.elsewhere()) {
            let mut tree = Tree::default();
            for leaf in leaves {
                if let Some(Attribute::Body(pointer)) = leaf.attribute() {
                    tree.at(pointer.steps().iter().map(String::as_str)).require(leaf);
                }
            }
            self.solve(&tree)?.map(|body| Part::Content { body, mcp: None })
        } else {
            Solution::None
        };
        if leaves.iter().filter(speaks).count() == 0 {
            // An MCP message says nothing that a body could not say.
            return Ok(silent);
        }
        silent.or_else(|| self.message(leaves, true))?.or_else(|| {
            if leaves.iter().filter(calls).all(|leaf| leaf.elsewhere()) {
                self.message(leaves, false)
            } else {
                Ok(Solution::None)
            }
        })
    }

    fn message(self, leaves: &[&Leaf], call: bool) -> Solved {
        let allowed = if call { Truths::TRUE } else { Truths::FALSE };
        let is_call = Leaf::of_body(Pointer::root(), Leaf::equals("tools/call"), allowed);
        let version = Leaf::of_body(Pointer::root(), Leaf::equals("2.0"), Truths::TRUE);
        let mut tree = Tree::default();
        tree.limit_to(Kind::Object);
        tree.at(["jsonrpc"]).require(&version);
        tree.at(["method"]).require(&is_call);
        if call {
            tree.at(["params", "name"]).limit_to(Kind::Text);
        }
        let mut bare = true;
        let mut named = false;
        for leaf in leaves {
            let place = match leaf.attribute() {
                Some(Attribute::Body(pointer)) => {
                    bare = false;
                    tree.at(pointer.steps().iter().map(String::as_str))
                }
                Some(Attribute::McpMethod) => tree.at(["method"]),
                Some(Attribute::McpTool) if call => {
                    named = true;
                    tree.at(["params", "name"])
                }
                Some(Attribute::McpArg(pointer)) if call => {
                    tree.at(["params", "arguments"].into_iter().chain(pointer.steps().iter().map(String::as_str)))
                }
                _ => continue,
            };
            place.require(leaf);
        }
        // A call names a tool, unless something is said against it.
        let tool = Leaf::of_body(Pointer::root(), Test::Exists(true), Truths::TRUE);
        if call && bare && !named {
            tree.at(["params", "name"]).require(&tool);
        }
        Ok(self.solve(&tree)?.map(|body| {
            let text = |pointer: &[&str]| body.as_ref()?.at(&Pointer::of(pointer)).cloned();
            let string = |pointer: &[&str]| text(pointer)?.as_str().map(str::to_owned);
            let method = string(&["method"]).unwrap_or_default();
            let message = if call {
                WitnessMessage { method, tool: string(&["params", "name"]), args: text(&["params", "arguments"]) }
            } else {
                WitnessMessage { method, tool: None, args: None }
            };
            let mcp = Some(message);
            let whole = Witness { mcp: mcp.clone(), ..Witness::default() }.message();
            Part::Content { body: whole.filter(|_| bare).or(body), mcp }
        }))
    }

    fn time(self, leaves: &[&Leaf]) -> Solved {
        let windows: Vec<(&Window, &Leaf)> = leaves
            .iter()
            .filter_map(|leaf| if let Atom::Time(window) = &*leaf.atom { Some((window, *leaf)) } else { None })
            .collect();
        let meets = |time: i64| {
            windows.iter().all(|(window, leaf)| {
                // Only moments that all tables know are looked at.
                let truth = window.truth(Some(time));
                truth != Truth::Unknown && leaf.allowed.has(if leaf.negated { !truth } else { truth })
            })
        };
        let candidates = moments(&windows.iter().map(|(window, _)| *window).collect::<Vec<_>>());
        self.meter.spend((candidates.len() * windows.len()) as u64)?;
        Ok(candidates
            .into_iter()
            .find(|time| meets(*time))
            .map_or(Solution::None, |time| Solution::Some(Part::Time(time))))
    }
}

/// Moments such that every combination of what the windows say at any time is met by one of them.
///
/// What they say changes only when an offset changes, and at the minutes at which windows begin and end. Between two
/// changes of offsets it repeats itself every week, so the first week of each such time is enough, and of several with
/// the same offsets one that lasts a week.
fn moments(windows: &[&Window]) -> Vec<i64> {
    const DAY: i64 = 86_400;
    let end = windows.iter().map(|window| window.until).min().unwrap_or(i64::MAX);
    let mut changes: Vec<i64> = windows.iter().flat_map(|window| &window.offsets).map(|offset| offset.from).collect();
    changes.sort_unstable();
    changes.dedup();
    let mut seen: Vec<Vec<i32>> = Vec::new();
    let mut found = vec![NOON];
    for (index, start) in changes.iter().enumerate() {
        let next = changes.get(index + 1).copied().unwrap_or(end).min(end);
        let offset = |window: &&Window| {
            let before = window.offsets.partition_point(|offset| offset.from <= *start).checked_sub(1)?;
            window.offsets.get(before).map(|offset| offset.seconds)
        };
        let Some(offsets) = windows.iter().map(offset).collect::<Option<Vec<i32>>>() else { continue };
        if next <= *start || seen.contains(&offsets) {
            continue;
        }
        // The week that people would name is that of the usual moment, where these are the offsets then.
        let usual = (*start..next).contains(&NOON) && NOON + 8 * DAY <= next;
        let first = if usual { NOON } else { *start };
        found.push(first);
        for (window, seconds) in windows.iter().zip(&offsets) {
            let local = first + i64::from(*seconds);
            for day in 0..=8 {
                let midnight = (local.div_euclid(DAY) + day) * DAY - i64::from(*seconds);
                let minutes = [0, window.from, window.to].map(|minute| midnight + i64::from(minute) * 60);
                found.extend(minutes.into_iter().filter(|time| (first..next).contains(time)));
            }
        }
        if next - first >= 7 * DAY {
            seen.push(offsets);
        }
    }
    found
}

/// A count from 1 that lies on the wanted sides of all limits.
fn count(leaves: &[&Leaf]) -> Solution<Part> {
    let over = |leaf: &&&Leaf| if let Atom::Rate(Rate { over, .. }) = &*leaf.atom { Some(*over) } else { None };
    let limits: Vec<u64> = leaves.iter().filter_map(|leaf| over(&leaf)).collect();
    let meets = |count: u64| {
        leaves.iter().zip(&limits).all(|(leaf, over)| leaf.allowed.has(Truth::from((count > *over) != leaf.negated)))
    };
    let candidates = std::iter::once(1).chain(limits.iter().map(|over| over.saturating_add(1)));
    candidates.filter(|count| meets(*count)).min().map_or(Solution::None, |count| Solution::Some(Part::Count(count)))
}
