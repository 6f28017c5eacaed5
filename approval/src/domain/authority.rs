//! Changes of authority: who may decide on what, and who takes part at all.

use std::fmt;

use holdgate_protocol::Actor;
use serde::{Deserialize, Serialize};

use super::{
    Scope,
    quota::{MAX_NAME, actor_name},
};

/// The role that may read and change people, eligibility, agents and gateways. It gives no right to decide on anything.
pub const ADMIN: &str = "holdgate-admin";

/// The role that may read holds and what is recorded of them. It gives no right to decide on anything.
pub const AUDITOR: &str = "holdgate-auditor";

/// How long a change waits for a second person, in seconds.
pub const WAITS_FOR_SECOND: u64 = 24 * 60 * 60;

/// The longest name, role or part of a scope, in bytes.
const MAX_TEXT: usize = 512;

/// The most rules, groups or agents in one scope.
const MAX_SCOPE: usize = 256;

/// Whether a role is the service's own. No requirement is met by it, whatever a policy says.
pub fn is_built_in(role: &str) -> bool {
    role == ADMIN || role == AUDITOR
}

/// One change, as it is asked for, proposed, and recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum AuthorityChange {
    AddPerson { person: String, name: String },
    RenamePerson { person: String, name: String },
    SuspendPerson { person: String },
    ResumePerson { person: String },
    Link { person: String, iss: String, sub: String },
    Unlink { person: String, iss: String, sub: String },
    AddGroup { group: String, name: String },
    AddMember { group: String, person: String },
    RemoveMember { group: String, person: String },
    Grant(Grant),
    EndEligibility { id: String },
    Certify { id: String },
    SuspendAgent { agent: Actor },
    ResumeAgent { agent: Actor },
    RetireGateway { fingerprint: String },
    RetirePublisher { fingerprint: String },
    SuspendGateways { group: String },
    ResumeGateways { group: String },
}

/// A role that is given to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub person: String,
    pub role: String,
    pub scope: Scope,
    pub from: Option<u64>,
    /// The first moment at which it does not hold any more.
    pub until: Option<u64>,
}

impl AuthorityChange {
    /// Whether it only takes away: then it counts at once, also where changes wait for a second person.
    pub fn takes_away(&self) -> bool {
        use AuthorityChange::*;
        // Unlinking and leaving a group take away, too: but whom they free from answering for an agent may approve then.
        matches!(
            self,
            SuspendPerson { .. }
                | EndEligibility { .. }
                | SuspendAgent { .. }
                | RetireGateway { .. }
                | RetirePublisher { .. }
                | SuspendGateways { .. }
        )
    }

    /// The person whom it names. Eligibility is named by its id alone: its person stands with it.
    pub fn person(&self) -> Option<&str> {
        use AuthorityChange::*;
        match self {
            AddPerson { person, .. }
            | RenamePerson { person, .. }
            | SuspendPerson { person }
            | ResumePerson { person }
            | Link { person, .. }
            | Unlink { person, .. }
            | AddMember { person, .. }
            | RemoveMember { person, .. }
            | Grant(self::Grant { person, .. }) => Some(person),
            _ => None,
        }
    }

    /// Whether all texts have the form that they must have. The error says what to mend.
    pub fn check(&self) -> Result<(), String> {
        use AuthorityChange::*;
        match self {
            AddPerson { person, name } | RenamePerson { person, name } => {
                check_id(person).and(check_text("name", name))
            }
            AddGroup { group, name } => check_id(group).and(check_text("name", name)),
            Link { iss, sub, .. } => check_text("iss", iss).and(check_text("sub", sub)),
            SuspendAgent { agent } => check_agent(agent),
            SuspendGateways { group } => check_text("group", group),
            Grant(grant) => grant.check(),
            _ => Ok(()),
        }
    }
}

/// What it does, in words.
impl fmt::Display for AuthorityChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AuthorityChange::*;
        match self {
            AddPerson { person, name } => write!(f, "add person `{person}`, {name}"),
            RenamePerson { person, name } => write!(f, "call person `{person}` {name}"),
            SuspendPerson { person } => write!(f, "suspend person `{person}`"),
            ResumePerson { person } => write!(f, "resume person `{person}`"),
            Link { person, iss, sub } => write!(f, "give `{person}` the identity `{sub}` at `{iss}`"),
            Unlink { person, iss, sub } => write!(f, "take from `{person}` the identity `{sub}` at `{iss}`"),
            AddGroup { group, name } => write!(f, "add group `{group}`, {name}"),
            AddMember { group, person } => write!(f, "add `{person}` to group `{group}`"),
            RemoveMember { group, person } => write!(f, "take `{person}` out of group `{group}`"),
            Grant(grant) => write!(f, "make `{}` eligible for `{}`", grant.person, grant.role),
            EndEligibility { id } => write!(f, "end eligibility {id}"),
            Certify { id } => write!(f, "certify eligibility {id}"),
            SuspendAgent { agent } => write!(f, "suspend agent `{}` of `{}`", agent.sub, agent.iss),
            ResumeAgent { agent } => write!(f, "resume agent `{}` of `{}`", agent.sub, agent.iss),
            RetireGateway { fingerprint } => write!(f, "retire the gateway credential `{fingerprint}`"),
            RetirePublisher { fingerprint } => write!(f, "retire the publisher's credential `{fingerprint}`"),
            SuspendGateways { group } => write!(f, "suspend the gateway group `{group}`"),
            ResumeGateways { group } => write!(f, "resume the gateway group `{group}`"),
        }
    }
}

impl Grant {
    /// Whether its texts and times have the form that they must have. The error says what to mend.
    pub fn check(&self) -> Result<(), String> {
        check_text("role", &self.role)?;
        if let (Some(from), Some(until)) = (self.from, self.until)
            && until <= from
        {
            return Err(format!("the eligibility for `{}` ends before it begins", self.role));
        }
        self.scope.check()
    }
}

impl Scope {
    /// Whether its lists and texts are in bounds. The error says what to mend.
    pub fn check(&self) -> Result<(), String> {
        let Scope { rules, groups, agents, policy } = self;
        let counts = [
            ("rules", rules.as_ref().map(Vec::len)),
            ("groups", groups.as_ref().map(Vec::len)),
            ("agents", agents.as_ref().map(Vec::len)),
        ];
        for (name, count) in counts {
            if count.is_some_and(|count| count == 0 || count > MAX_SCOPE) {
                return Err(format!("`scope.{name}` has 1 to {MAX_SCOPE} entries; leave it out for all"));
            }
        }
        for group in groups.iter().flatten() {
            check_text("scope.groups", group)?;
        }
        for agent in agents.iter().flatten() {
            check_text("scope.agents", &agent.iss).and(check_text("scope.agents", &agent.sub))?;
        }
        policy.as_deref().map_or(Ok(()), |policy| check_text("scope.policy", policy))
    }
}

/// Whether a text can be the id of a person or a group. The error says what to mend.
pub fn check_id(id: &str) -> Result<(), String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if !id.is_empty() && id.len() <= 64 && id.chars().all(sound) {
        return Ok(());
    }
    Err("an id has 1 to 64 letters, digits, `.`, `_`, `-`, `@`".into())
}

/// Whether an agent can have holds under this name: whatever has some can be suspended.
fn check_agent(agent: &Actor) -> Result<(), String> {
    if agent.iss.is_empty() || agent.sub.is_empty() || actor_name(agent).len() > MAX_NAME {
        return Err(format!("`iss` and `sub` are not empty, and have {MAX_NAME} bytes at most, together and as JSON"));
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    if !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("`{what}` has 1 to {MAX_TEXT} bytes, none of them a control character"))
}
