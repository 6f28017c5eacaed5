//! What is known of agents beside their holds: how often they were denied, and whose suspension is proposed.

use std::collections::BTreeMap;

use holdgate_protocol::{Actor, Agent};
use serde::Serialize;

use super::{Connection, StoreError, Tx, quotas::WINDOW, sql::values};
use crate::domain::quota::actor_name;

/// How long a proposed suspension is shown, in seconds.
const SHOWN: u64 = 24 * 60 * 60;

/// An agent that has open holds, is suspended, or is proposed to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentLine {
    pub iss: String,
    pub sub: String,
    /// Holds that are pending or approved.
    pub open: u64,
    pub suspended_at: Option<u64>,
    /// Whether it was denied so often that its suspension is proposed.
    pub proposed: bool,
    pub proposed_at: Option<u64>,
}

/// The suspended agents and those that are proposed to be, and of the others those with the most open holds.
pub async fn agents(connection: &mut Connection, now: u64, limit: u32) -> Result<Vec<AgentLine>, StoreError> {
    let mut lines: BTreeMap<(String, String), AgentLine> = BTreeMap::new();
    let mut line = |agent: (String, String), fill: &dyn Fn(&mut AgentLine)| {
        let (iss, sub) = agent.clone();
        let new = AgentLine { iss, sub, open: 0, suspended_at: None, proposed: false, proposed_at: None };
        fill(lines.entry(agent).or_insert(new));
    };
    let sql = "SELECT iss, sub, since FROM suspended ORDER BY since DESC LIMIT $1";
    for row in connection.rows(sql, values![limit]).await? {
        let since = row.int("since")?;
        line((row.text("iss")?, row.text("sub")?), &|line| line.suspended_at = Some(since));
    }
    let sql =
        "SELECT name, proposed_at FROM proposed_suspensions WHERE proposed_at > $1 ORDER BY proposed_at DESC LIMIT $2";
    for row in connection.rows(sql, values![now.saturating_sub(SHOWN), limit]).await? {
        let at = row.int("proposed_at")?;
        line(row.json("name")?, &|line| (line.proposed, line.proposed_at) = (true, Some(at)));
    }
    let sql = "SELECT name, holds FROM quota_open WHERE subject = 'agent' ORDER BY holds DESC, name LIMIT $1";
    for row in connection.rows(sql, values![limit]).await? {
        let open = row.int("holds")?;
        line(row.json("name")?, &|line| line.open = open);
    }
    Ok(lines.into_values().collect())
}

/// An agent as it was when it asked last, in each of the forms that its last 20 holds have: on whose behalf, and with which owner.
pub async fn of(connection: &mut Connection, caller: &Actor) -> Result<Vec<Agent>, StoreError> {
    let sql = "SELECT agent FROM holds WHERE replace(agent, $1, '') <> agent ORDER BY opened_at DESC LIMIT 20";
    // What is searched for is the subject as it was written, quotes and escapes included.
    let sub = format!("\"sub\":{}", serde_json::Value::from(caller.sub.as_str()));
    let mut forms: Vec<Agent> = Vec::new();
    for row in connection.rows(sql, values![sub]).await? {
        let agent: Agent = row.json("agent")?;
        if agent.caller() == *caller && !forms.contains(&agent) {
            forms.push(agent);
        }
    }
    Ok(forms)
}

impl Tx {
    /// Counts denials of an agent; says how many it had in the last hour, to the minute.
    pub async fn count_denials(&mut self, name: &str, denials: u64, now: u64) -> Result<u64, StoreError> {
        let sql = "INSERT INTO agent_denials (name, minute, denials) VALUES ($1, $2, $3)
                   ON CONFLICT (name, minute) DO UPDATE SET denials = agent_denials.denials + $3";
        self.execute(sql, values![name, now / 60, denials]).await?;
        let sql = "SELECT CAST(sum(denials) AS BIGINT) AS hour FROM agent_denials WHERE name = $1 AND minute > $2";
        self.one(sql, values![name, (now / 60).saturating_sub(WINDOW)]).await?.int("hour")
    }

    /// Notes that an agent's suspension is proposed. `false`: it was proposed after `since` already.
    pub async fn propose_suspension(&mut self, name: &str, since: u64, now: u64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO proposed_suspensions (name, proposed_at) VALUES ($1, $2)
                   ON CONFLICT (name) DO UPDATE SET proposed_at = $2 WHERE proposed_suspensions.proposed_at <= $3";
        Ok(self.execute(sql, values![name, now, since]).await? == 1)
    }

    /// Forgets that an agent's suspension was proposed, now that somebody has seen to it.
    pub async fn forget_proposal(&mut self, agent: &Actor) -> Result<(), StoreError> {
        let sql = "DELETE FROM proposed_suspensions WHERE name = $1";
        self.execute(sql, values![actor_name(agent)]).await?;
        Ok(())
    }

    /// Forgets the minutes that count for nothing any more.
    pub async fn prune_denials(&mut self, now: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM agent_denials WHERE minute <= $1";
        self.execute(sql, values![(now / 60).saturating_sub(WINDOW)]).await?;
        Ok(())
    }
}
