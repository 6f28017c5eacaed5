//! Holds, what was captured of their requests, and their decisions.

use std::collections::{BTreeSet, HashMap};

use holdgate_protocol::{
    Hash,
    bundle::PolicyRef,
    gateway::{Asked, CapturedRequest, HoldState},
};

use super::{
    Connection, StoreError, Tx, keys,
    sql::{Row, values},
};
use crate::{
    domain::{Approval, Approved, Cause, Change, Hold, Pending, Stage, Terms, Used, Verdict, quota::counted},
    sealing::DataKeys,
};

pub(super) const COLUMNS: &str =
    "id, grp, agent, agent_key, digest, components, requirement, requirement_hash, rules, policy_id,
    policy_rev, policy_serial, opened_at, state, cause, since, deadline, used_attempt, grant_text, grant_expires_at";

/// The key by which a request finds its open hold.
#[derive(Clone, Copy, Debug)]
pub struct JoinKey<'a> {
    pub group: &'a str,
    pub agent_key: &'a Hash,
    pub digest: &'a Hash,
    pub requirement: &'a Hash,
}

/// One decision as it is kept.
#[derive(Clone, Debug)]
pub struct Decision {
    pub person: String,
    pub name: String,
    pub verdict: Verdict,
    pub role: String,
    /// Whether it was by the escalation.
    pub escalated: bool,
    pub roles: BTreeSet<String>,
    pub reason: String,
    /// One of the reason codes that the hold asks for.
    pub code: Option<String>,
    pub signed_in_at: u64,
    pub decided_at: u64,
    pub withdrawn_at: Option<u64>,
    /// The roles in which it counts no more, for good.
    pub lost: BTreeSet<String>,
}

impl Decision {
    /// The decision as an approval that stands, if it is one, with the roles that it was given in and has not lost.
    pub fn approval(&self) -> Option<Approval> {
        let given = &self.roles - &self.lost;
        let stands = self.verdict == Verdict::Approve && self.withdrawn_at.is_none() && !given.is_empty();
        let (person, now) = (self.person.clone(), given.clone());
        stands.then_some(Approval { person, at: self.decided_at, given, now })
    }
}

/// The hold with this id.
pub async fn find(connection: &mut Connection, id: &str) -> Result<Option<Hold>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM holds WHERE id = $1");
    connection.row(sql, values![id]).await?.as_ref().map(hold).transpose()
}

/// The holds with these ids, by id.
pub async fn find_all(connection: &mut Connection, ids: &[&str]) -> Result<HashMap<String, Hold>, StoreError> {
    let found = connection.find(&format!("SELECT {COLUMNS} FROM holds WHERE id IN"), ids).await?;
    let by_id = |row: &Row| hold(row).map(|hold| (hold.terms.id.clone(), hold));
    found.iter().map(by_id).collect()
}

/// The hold that a request has open, if any, before the denial that it met last, if that is younger than `after`.
pub async fn met(connection: &mut Connection, key: JoinKey<'_>, after: u64) -> Result<Vec<Hold>, StoreError> {
    let of = "grp = $1 AND agent_key = $2 AND digest = $3 AND requirement_hash = $4";
    let sql = format!(
        "SELECT {COLUMNS} FROM holds WHERE {of} AND state IN ('pending', 'approved') UNION ALL
         SELECT * FROM (SELECT {COLUMNS} FROM holds WHERE {of} AND state = 'denied' AND since > $5
                        ORDER BY since DESC LIMIT 1) AS denied"
    );
    let values = values![key.group, key.agent_key, key.digest, key.requirement, after];
    let mut found = connection.rows(sql, values).await?.iter().map(hold).collect::<Result<Vec<Hold>, _>>()?;
    found.sort_by_key(|hold| hold.stage.deadline().is_none());
    Ok(found)
}

/// Open holds whose deadline is at or before `now`, oldest first.
pub async fn overdue(connection: &mut Connection, now: u64, limit: u32) -> Result<Vec<Hold>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM holds WHERE state IN ('pending', 'approved') AND deadline <= $1 ORDER BY deadline LIMIT $2"
    );
    connection.rows(sql, values![now, limit]).await?.iter().map(hold).collect()
}

/// All open holds.
pub async fn open(connection: &mut Connection) -> Result<Vec<Hold>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM holds WHERE state IN ('pending', 'approved')");
    connection.rows(sql, values![]).await?.iter().map(hold).collect()
}

/// The open holds that a person has approved.
pub async fn approved_by(connection: &mut Connection, person: &str) -> Result<Vec<Hold>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM holds WHERE state IN ('pending', 'approved')
         AND id IN (SELECT hold FROM decisions WHERE person = $1 AND verdict = 'approve') ORDER BY id"
    );
    connection.rows(sql, values![person]).await?.iter().map(hold).collect()
}

/// Those of these holds that a person has decided on.
pub async fn decided_on(
    connection: &mut Connection,
    person: &str,
    holds: &[&str],
) -> Result<BTreeSet<String>, StoreError> {
    let rows = connection.find("SELECT person, hold FROM decisions WHERE hold IN", holds).await?;
    let mut own = BTreeSet::new();
    for row in rows {
        if row.text("person")? == person {
            own.insert(row.text("hold")?);
        }
    }
    Ok(own)
}

/// The first holds in a state, up to so many, as sorts: one hold that stands for all that are alike in what says who sees
/// them, and their number.
pub async fn sorts(connection: &mut Connection, state: HoldState, most: u32) -> Result<Vec<(Hold, u64)>, StoreError> {
    let sql = format!(
        "WITH sorts AS (SELECT min(id) AS one, count(*) AS alike FROM
           (SELECT id, grp, agent_key, requirement_hash, rules, policy_id FROM holds WHERE state = $1 LIMIT $2) AS looked_at
           GROUP BY grp, agent_key, requirement_hash, rules, policy_id)
         SELECT {COLUMNS}, sorts.alike FROM sorts JOIN holds ON holds.id = sorts.one"
    );
    let sort = |row: &Row| Ok((hold(row)?, row.int("alike")?));
    connection.rows(sql, values![state.as_str(), most]).await?.iter().map(sort).collect()
}

/// What the gateway captured of a hold's request.
pub async fn captured(
    connection: &mut Connection,
    id: &str,
    keys: &DataKeys,
) -> Result<Option<CapturedRequest>, StoreError> {
    let row = connection.row("SELECT request FROM captures WHERE hold = $1", values![id]).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&keys::open_capture(id, row.bytes("request")?, keys)?)?))
}

/// What the entry of a hold's opening vouches for: the salt, and the bytes of the request. Holds of an earlier version have none.
pub async fn opening(
    connection: &mut Connection,
    id: &str,
    keys: &DataKeys,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
    let sql = "SELECT salt, request FROM captures WHERE hold = $1 AND salt IS NOT NULL";
    let row = connection.row(sql, values![id]).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((row.bytes("salt")?, keys::open_capture(id, row.bytes("request")?, keys)?)))
}

/// What the agent says of its request.
pub async fn agent_reason(connection: &mut Connection, id: &str) -> Result<Option<String>, StoreError> {
    let row = connection.row("SELECT agent_reason FROM holds WHERE id = $1", values![id]).await?;
    Ok(row.map(|row| row.text_or_null("agent_reason")).transpose()?.flatten())
}

/// How the agent asked to be answered when the hold was opened.
pub async fn asked(connection: &mut Connection, id: &str) -> Result<Asked, StoreError> {
    let row = connection.row("SELECT asked_async, asked_wait FROM holds WHERE id = $1", values![id]).await?;
    let Some(row) = row else { return Ok(Asked::default()) };
    Ok(Asked { respond_async: row.flag("asked_async")?, wait: row.int_or_null("asked_wait")? })
}

/// The decisions on a hold, oldest first.
pub async fn decisions(connection: &mut Connection, id: &str) -> Result<Vec<Decision>, StoreError> {
    let lost = lost(connection, &[id]).await?;
    let sql =
        "SELECT d.number, d.person, p.name, d.verdict, d.role, d.roles, d.escalated, d.reason, d.code, d.signed_in_at,
               d.decided_at, w.withdrawn_at FROM decisions d JOIN persons p ON p.id = d.person
               LEFT JOIN withdrawals w ON w.decision = d.number WHERE d.hold = $1 ORDER BY d.number";
    let decision = |row: &Row| {
        Ok(Decision {
            person: row.text("person")?,
            name: row.text("name")?,
            verdict: verdict(row)?,
            role: row.text("role")?,
            roles: row.json("roles")?,
            escalated: row.flag("escalated")?,
            reason: row.text("reason")?,
            code: row.text_or_null("code")?,
            signed_in_at: row.int("signed_in_at")?,
            decided_at: row.int("decided_at")?,
            withdrawn_at: row.int_or_null("withdrawn_at")?,
            lost: lost.get(&row.int("number")?).cloned().unwrap_or_default(),
        })
    };
    connection.rows(sql, values![id]).await?.iter().map(decision).collect()
}

/// The approvals of these holds that stand, by hold, with the roles that they were given in and have not lost. What their persons
/// may decide on now is left to be looked at.
pub async fn approvals(
    connection: &mut Connection,
    holds: &[&str],
) -> Result<HashMap<String, Vec<Approval>>, StoreError> {
    let lost = lost(connection, holds).await?;
    let query = "SELECT number, hold, person, roles, decided_at FROM decisions d WHERE verdict = 'approve'
                 AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number) AND hold IN";
    let mut approvals: HashMap<String, Vec<Approval>> = HashMap::new();
    for row in connection.find(query, holds).await? {
        if let Some(given) = left(&row, &lost)? {
            let approval =
                Approval { person: row.text("person")?, at: row.int("decided_at")?, given, now: BTreeSet::new() };
            approvals.entry(row.text("hold")?).or_default().push(approval);
        }
    }
    Ok(approvals)
}

/// What a person has decided on these holds, where it stands, by hold.
pub async fn decided_by(
    connection: &mut Connection,
    person: &str,
    holds: &[&str],
) -> Result<HashMap<String, Verdict>, StoreError> {
    let lost = lost(connection, holds).await?;
    let query = "SELECT number, hold, person, verdict, roles FROM decisions d
                 WHERE NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number) AND hold IN";
    let mut decided = HashMap::new();
    for row in connection.find(query, holds).await? {
        if row.text("person")? == person && left(&row, &lost)?.is_some() {
            decided.insert(row.text("hold")?, verdict(&row)?);
        }
    }
    Ok(decided)
}

/// The roles in which approvals of these holds count no more, by decision.
async fn lost(connection: &mut Connection, holds: &[&str]) -> Result<HashMap<u64, BTreeSet<String>>, StoreError> {
    let query =
        "SELECT l.decision, l.role FROM lost_approvals l JOIN decisions d ON d.number = l.decision WHERE d.hold IN";
    let mut lost: HashMap<u64, BTreeSet<String>> = HashMap::new();
    for row in connection.find(query, holds).await? {
        lost.entry(row.int("decision")?).or_default().insert(row.text("role")?);
    }
    Ok(lost)
}

/// The roles that a decision has not lost; `None` where it has lost them all.
fn left(row: &Row, lost: &HashMap<u64, BTreeSet<String>>) -> Result<Option<BTreeSet<String>>, StoreError> {
    let roles: BTreeSet<String> = row.json("roles")?;
    Ok(match lost.get(&row.int("number")?) {
        None => Some(roles),
        Some(lost) => Some(&roles - lost).filter(|left| !left.is_empty()),
    })
}

impl Tx {
    /// Deletes what was captured of holds that ended at or before `until`, from the files too; says of how many.
    pub async fn delete_captures(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM captures WHERE hold IN (SELECT hold FROM captures JOIN holds ON holds.id = hold
                   WHERE state NOT IN ('pending', 'approved') AND since <= $1 LIMIT $2)";
        let deleted = self.execute(sql, values![until, limit]).await?;
        self.erases |= deleted > 0;
        Ok(deleted)
    }

    /// Brings holds from the states that were read to others; a hold stands there once. `false`: some are not in the state
    /// that was read any more, and what this has written must not stay.
    pub async fn change_holds(&mut self, changes: &[(&Hold, &Change)], now: u64) -> Result<bool, StoreError> {
        let head = "WITH new (id, was, state, cause, since, deadline, attempt, permit, valid_until) AS (";
        let tail =
            ") UPDATE holds SET state = new.state, cause = new.cause, since = new.since, deadline = new.deadline,
                    used_attempt = new.attempt, grant_text = new.permit, grant_expires_at = new.valid_until
                    FROM new WHERE holds.id = new.id AND holds.state = new.was";
        let changed = self.write((head, tail), changes, |(before, change)| {
            let used = if let Stage::Used(used) = &change.stage { Some(used) } else { None };
            values![
                &before.terms.id,
                before.stage.state().as_str(),
                change.stage.state().as_str(),
                change.stage.cause().map(Cause::as_str),
                now,
                change.stage.deadline().unwrap_or(now),
                used.map(|used| used.attempt.as_str()),
                used.map(|used| used.grant.as_str()),
                used.map(|used| used.grant_expires_at),
            ]
        });
        if usize::try_from(changed.await?) != Ok(changes.len()) {
            return Ok(false);
        }
        let ended = |(before, change): &&(&Hold, &Change)| {
            before.stage.deadline().is_some() && change.stage.deadline().is_none()
        };
        let names = changes.iter().filter(ended).flat_map(|(hold, _)| counted(&hold.terms.agent, &hold.terms.rules));
        self.count_ended(names).await?;
        Ok(true)
    }

    /// Keeps decisions with the holds that they are on.
    pub async fn insert_decisions(&mut self, decisions: &[(String, Decision)]) -> Result<(), StoreError> {
        let roles = |(_, decision): &(String, Decision)| serde_json::to_string(&decision.roles);
        let roles = decisions.iter().map(roles).collect::<Result<Vec<_>, _>>()?;
        let decided: Vec<_> = decisions.iter().zip(&roles).collect();
        let head = "INSERT INTO decisions (hold, person, verdict, role, roles, escalated, reason, code, signed_in_at,
                    decided_at)";
        self.write((head, ""), &decided, |((hold, decision), roles)| {
            let verdict = if decision.verdict == Verdict::Approve { "approve" } else { "deny" };
            values![
                hold,
                &decision.person,
                verdict,
                &decision.role,
                *roles,
                decision.escalated,
                &decision.reason,
                &decision.code,
                decision.signed_in_at,
                decision.decided_at,
            ]
        })
        .await?;
        Ok(())
    }

    /// Notes in which roles a person's approvals of holds count no more, for good.
    pub async fn lose(&mut self, person: &str, lost: &[(String, String)], now: u64) -> Result<(), StoreError> {
        let head = "WITH lost (hold, person, role, lost_at) AS (";
        let tail = ") INSERT INTO lost_approvals (decision, role, lost_at) SELECT d.number, lost.role, lost.lost_at
                    FROM lost JOIN decisions d ON d.hold = lost.hold AND d.person = lost.person
                    WHERE d.verdict = 'approve' ON CONFLICT DO NOTHING";
        self.write((head, tail), lost, |(hold, role)| values![hold, person, role, now]).await?;
        Ok(())
    }

    /// Takes back the approval of a person.
    pub async fn withdraw(
        &mut self,
        hold: &str,
        person: &str,
        reason: &str,
        signed_in_at: u64,
        now: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO withdrawals (decision, reason, signed_in_at, withdrawn_at)
                   SELECT number, $1, $2, $3 FROM decisions d WHERE hold = $4 AND person = $5 AND verdict = 'approve'
                   AND number = (SELECT max(number) FROM decisions WHERE hold = $4 AND person = $5)
                   AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number)";
        match self.execute(sql, values![reason, signed_in_at, now, hold, person]).await? {
            1 => Ok(()),
            _ => Err(StoreError::Corrupt("withdrawals")),
        }
    }
}

fn verdict(row: &Row) -> Result<Verdict, StoreError> {
    Ok(if row.text("verdict")? == "approve" { Verdict::Approve } else { Verdict::Deny })
}

pub(super) fn hold(row: &Row) -> Result<Hold, StoreError> {
    let (deadline, since) = (row.int("deadline")?, row.int("since")?);
    let stage = match row.text("state")?.as_str() {
        "pending" => Stage::Pending(Pending { decide_by: deadline }),
        "approved" => Stage::Approved(Approved { use_by: deadline }),
        "denied" => Stage::Denied,
        "expired" => Stage::Expired,
        "cancelled" => {
            let cause = Cause::named(&row.text("cause")?);
            Stage::Cancelled(cause.ok_or(StoreError::Corrupt("holds.cause"))?)
        }
        "used" => Stage::Used(Used {
            attempt: row.text("used_attempt")?,
            grant: row.text("grant_text")?,
            grant_expires_at: row.int("grant_expires_at")?,
        }),
        _ => return Err(StoreError::Corrupt("holds.state")),
    };
    let policy =
        PolicyRef { id: row.text("policy_id")?, rev: row.hash("policy_rev")?, serial: row.int("policy_serial")? };
    let terms = Terms {
        id: row.text("id")?,
        group: row.text("grp")?,
        agent: row.json("agent")?,
        agent_key: row.hash("agent_key")?,
        digest: row.hash("digest")?,
        components: row.json("components")?,
        requirement: row.json("requirement")?,
        requirement_hash: row.hash("requirement_hash")?,
        rules: row.json("rules")?,
        policy,
    };
    Ok(Hold { terms, opened_at: row.int("opened_at")?, since, stage })
}
