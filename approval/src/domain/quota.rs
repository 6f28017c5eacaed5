//! Quotas: how many holds an agent, an owner or a rule may have open, how many may be opened in an hour, and how often
//! they may be joined.

use std::str::FromStr;

use holdgate_protocol::{Actor, Agent, RuleRef};

/// Whose holds are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Agent,
    Owner,
    Rule,
}

/// Over which holds a limit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Those that are pending or approved now.
    Open,
    /// Those that were opened in the last hour, to the minute.
    Hour,
}

/// The most holds of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub open: u64,
    pub hour: u64,
}

/// The quotas of all subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub agent: Quota,
    pub owner: Quota,
    pub rule: Quota,
    /// How often an agent may join pending holds in an hour.
    pub joins: u64,
    /// How many tries may wait on one hold at once.
    pub waiting: u64,
}

/// For how many seconds a try that asked for a hold counts as one that waits, unless its agent hangs up before.
pub const WAITS: u64 = 60;

impl Default for Quotas {
    /// What reviewers can bear; an agent that runs wild is stopped by its own quota, before it takes up its owner's.
    fn default() -> Self {
        Quotas {
            agent: Quota { open: 100, hour: 200 },
            owner: Quota { open: 500, hour: 1000 },
            rule: Quota { open: 1000, hour: 2000 },
            // A try each second, be it the next for one hold or for several: gateways let no agent ask more often.
            joins: 3600,
            waiting: 64,
        }
    }
}

/// A limit that has a name: on the holds of a subject, or on tries that join one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `agent.open`, `agent.hour`, `owner.open`, `owner.hour`, `rule.open` or `rule.hour`.
    Holds(Subject, Span),
    /// `agent.joins`: how often an agent joined pending holds in the last hour, to the minute.
    Joins,
    /// `hold.waiting`: tries that wait on one hold, which are those of the last [`WAITS`] seconds.
    Waiting,
}

impl Subject {
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Agent => "agent",
            Subject::Owner => "owner",
            Subject::Rule => "rule",
        }
    }
}

impl Limit {
    /// The name on the wire and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Holds(Subject::Agent, Span::Open) => "agent.open",
            Limit::Holds(Subject::Agent, Span::Hour) => "agent.hour",
            Limit::Holds(Subject::Owner, Span::Open) => "owner.open",
            Limit::Holds(Subject::Owner, Span::Hour) => "owner.hour",
            Limit::Holds(Subject::Rule, Span::Open) => "rule.open",
            Limit::Holds(Subject::Rule, Span::Hour) => "rule.hour",
            Limit::Joins => "agent.joins",
            Limit::Waiting => "hold.waiting",
        }
    }

    fn all() -> impl Iterator<Item = Limit> {
        let subjects = [Subject::Agent, Subject::Owner, Subject::Rule];
        let holds = subjects.into_iter().flat_map(|subject| [Span::Open, Span::Hour].map(|span| (subject, span)));
        holds.map(|(subject, span)| Limit::Holds(subject, span)).chain([Limit::Joins, Limit::Waiting])
    }
}

impl Quotas {
    pub fn of(&self, subject: Subject) -> Quota {
        match subject {
            Subject::Agent => self.agent,
            Subject::Owner => self.owner,
            Subject::Rule => self.rule,
        }
    }

    /// The quotas with one limit set.
    #[must_use]
    pub fn with(mut self, setting: Setting) -> Self {
        let (subject, span) = match setting.limit {
            Limit::Joins => return Quotas { joins: setting.most, ..self },
            Limit::Waiting => return Quotas { waiting: setting.most, ..self },
            Limit::Holds(subject, span) => (subject, span),
        };
        let quota = match subject {
            Subject::Agent => &mut self.agent,
            Subject::Owner => &mut self.owner,
            Subject::Rule => &mut self.rule,
        };
        match span {
            Span::Open => quota.open = setting.most,
            Span::Hour => quota.hour = setting.most,
        }
        self
    }
}

/// One limit as it is set: `agent.open=500`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub limit: Limit,
    pub most: u64,
}

/// The text is not `NAME=NUMBER` with the name of a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use NAME=NUMBER, where NAME is `agent`, `owner` or `rule`, then `.open` or `.hour`; or `agent.joins`, `hold.waiting`"
)]
pub struct SettingError;

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let (name, most) = text.split_once('=').ok_or(SettingError)?;
        let limit = Limit::all().find(|limit| limit.as_str() == name).ok_or(SettingError)?;
        Ok(Setting { limit, most: most.parse().map_err(|_| SettingError)? })
    }
}

/// Under which names a hold of this agent and these rules is counted.
pub fn counted(agent: &Agent, rules: &[RuleRef]) -> Vec<(Subject, String)> {
    let mut names = vec![(Subject::Agent, agent_name(agent))];
    names.extend(agent.owner.as_deref().map(|owner| {
        // Groups are the directory's, whoever issued the token.
        let group = owner.starts_with("group/");
        (Subject::Owner, if group { owner.to_owned() } else { pair(&agent.iss, owner) })
    }));
    names.extend(rules.iter().map(|rule| (Subject::Rule, rule.id.clone())));
    names
}

/// Under which name what an agent does is counted.
pub fn agent_name(agent: &Agent) -> String {
    actor_name(&agent.caller())
}

/// The longest name under which holds are counted, in bytes: an agent's issuer and subject, its owner, or a rule. An index of
/// PostgreSQL takes no longer ones than 2,700.
pub const MAX_NAME: usize = 2048;

/// The same for an agent that is known by its name alone.
pub fn actor_name(agent: &Actor) -> String {
    pair(&agent.iss, &agent.sub)
}

fn pair(iss: &str, name: &str) -> String {
    serde_json::json!([iss, name]).to_string()
}
