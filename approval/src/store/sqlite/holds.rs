//! Holds, what was captured of their requests, and their decisions.

use std::collections::{BTreeSet, HashMap};

use holdgate_protocol::{
    Hash, RuleRef,
    bundle::PolicyRef,
    gateway::{Asked, CapturedRequest, HoldState, OpenHold},
};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Connection, StoreError, Tx, int, rows, uint};
use crate::domain::{Approval, Approved, Cause, Change, Hold, Pending, Stage, Terms, Used, Verdict, quota::counted};

const COLUMNS: &str = "id, grp, agent, agent_key, digest, components, requirement, requirement_hash, rules, policy_id,
    policy_rev, policy_serial, opened_at, state, cause, since, deadline, used_attempt, grant_text, grant_expires_at";

/// The key by which a request finds its open hold.
#[derive(Clone, Copy, Debug)]
pub struct JoinKey<'a> {
    pub group: &'a str,
    pub agent_key: &'a Hash,
    pub digest: &'a Hash,
    pub requirement: &'a Hash,
}

/// A hold as a list shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub hold: Hold,
    pub place: Place,
    pub method: String,
    pub authority: String,
    pub path: String,
    pub query: Option<Query>,
}

/// The beginning of a query, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub text: String,
    /// Bytes that were left off.
    pub rest: u64,
}

/// The most characters of a query in a list.
const LISTED_QUERY: u32 = 512;

/// Where a list goes on: the deadline and id of the last one that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub deadline: u64,
    pub id: String,
}

/// One decision as it is kept.
#[derive(Clone, Debug)]
pub struct Decision {
    pub person: String,
    pub name: String,
    pub verdict: Verdict,
    pub role: String,
    pub roles: BTreeSet<String>,
    pub reason: String,
    pub signed_in_at: u64,
    pub decided_at: u64,
}

impl Decision {
    /// The decision as an approval that counts, if it is one.
    pub fn approval(&self) -> Option<Approval> {
        let approves = self.verdict == Verdict::Approve;
        approves.then(|| Approval { person: self.person.clone(), roles: self.roles.clone() })
    }
}

/// The hold with this id.
pub async fn find(connection: &mut Connection, id: &str) -> Result<Option<Hold>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM holds WHERE id = ?"));
    sqlx::query(sql).bind(id).fetch_optional(connection).await?.as_ref().map(hold).transpose()
}

/// The holds with these ids, by id.
pub async fn find_all(connection: &mut Connection, ids: &[&str]) -> Result<HashMap<String, Hold>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM holds WHERE id IN");
    let found = rows::find(connection, &query, ids).await?;
    let by_id = |row: &SqliteRow| hold(row).map(|hold| (hold.terms.id.clone(), hold));
    found.iter().map(by_id).collect()
}

/// The open hold of a request.
pub async fn find_open(connection: &mut Connection, key: JoinKey<'_>) -> Result<Option<Hold>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM holds WHERE grp = ? AND agent_key = ? AND digest = ? AND requirement_hash = ?
         AND state IN ('pending', 'approved')"
    ));
    let query = sqlx::query(sql).bind(key.group).bind(key.agent_key.to_string());
    let query = query.bind(key.digest.to_string()).bind(key.requirement.to_string());
    query.fetch_optional(connection).await?.as_ref().map(hold).transpose()
}

/// The denial that a request met last, if it is younger than `after`.
pub async fn find_denied(
    connection: &mut Connection,
    key: JoinKey<'_>,
    after: u64,
) -> Result<Option<Hold>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM holds WHERE grp = ? AND agent_key = ? AND digest = ? AND requirement_hash = ?
         AND state = 'denied' AND since > ? ORDER BY since DESC LIMIT 1"
    ));
    let query = sqlx::query(sql).bind(key.group).bind(key.agent_key.to_string());
    let query = query.bind(key.digest.to_string()).bind(key.requirement.to_string()).bind(int(after));
    query.fetch_optional(connection).await?.as_ref().map(hold).transpose()
}

/// Open holds whose deadline is at or before `now`, oldest first.
pub async fn overdue(connection: &mut Connection, now: u64, limit: u32) -> Result<Vec<Hold>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM holds WHERE state IN ('pending', 'approved') AND deadline <= ? ORDER BY deadline LIMIT ?"
    ));
    let rows = sqlx::query(sql).bind(int(now)).bind(limit).fetch_all(connection).await?;
    rows.iter().map(hold).collect()
}

/// All open holds.
pub async fn open(connection: &mut Connection) -> Result<Vec<Hold>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM holds WHERE state IN ('pending', 'approved')"));
    sqlx::query(sql).fetch_all(connection).await?.iter().map(hold).collect()
}

/// Holds in one state after a place in the list's order: open ones by deadline, the oldest first; ended ones by their
/// end, the newest first.
pub async fn list(
    connection: &mut Connection,
    state: HoldState,
    after: Option<&Place>,
    limit: u32,
) -> Result<Vec<Listed>, StoreError> {
    let open = matches!(state, HoldState::Pending | HoldState::Approved);
    let start = if open { (-1, "") } else { (i64::MAX, "") };
    let (deadline, id) = after.map_or(start, |place| (int(place.deadline), &place.id));
    let (sign, order) = if open { (">", "ASC") } else { ("<", "DESC") };
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS}, method, authority, path, substr(query, 1, {LISTED_QUERY}) AS query,
         length(CAST(query AS BLOB)) AS query_bytes FROM holds
         WHERE state = ? AND (deadline, id) {sign} (?, ?) ORDER BY deadline {order}, id {order} LIMIT ?"
    ));
    let query = sqlx::query(sql).bind(state.as_str()).bind(deadline).bind(id).bind(limit);
    let listed = |row: &SqliteRow| {
        let (method, authority, path) = (row.try_get("method")?, row.try_get("authority")?, row.try_get("path")?);
        let place = Place { deadline: uint(row.try_get("deadline")?), id: row.try_get("id")? };
        let query: Option<String> = row.try_get("query")?;
        let bytes = uint(row.try_get::<Option<i64>, _>("query_bytes")?.unwrap_or_default());
        let query = query.map(|text| Query { rest: bytes.saturating_sub(text.len() as u64), text });
        Ok(Listed { hold: hold(row)?, place, method, authority, path, query })
    };
    query.fetch_all(connection).await?.iter().map(listed).collect()
}

/// How many holds are in a state.
pub async fn count(connection: &mut Connection, state: HoldState) -> Result<u64, StoreError> {
    let query = sqlx::query("SELECT count(*) FROM holds WHERE state = ?").bind(state.as_str());
    Ok(uint(query.fetch_one(connection).await?.try_get(0)?))
}

/// What the gateway captured of a hold's request.
pub async fn captured(connection: &mut Connection, id: &str) -> Result<Option<CapturedRequest>, StoreError> {
    let query = sqlx::query("SELECT request FROM captures WHERE hold = ?").bind(id);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(row.try_get(0)?)?))
}

/// What the agent says of its request.
pub async fn agent_reason(connection: &mut Connection, id: &str) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT agent_reason FROM holds WHERE id = ?").bind(id).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
}

/// How the agent asked to be answered when the hold was opened.
pub async fn asked(connection: &mut Connection, id: &str) -> Result<Asked, StoreError> {
    let query = sqlx::query("SELECT asked_async, asked_wait FROM holds WHERE id = ?").bind(id);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(Asked::default()) };
    Ok(Asked { respond_async: row.try_get(0)?, wait: row.try_get::<Option<i64>, _>(1)?.map(uint) })
}

/// The decisions on a hold, oldest first.
pub async fn decisions(connection: &mut Connection, id: &str) -> Result<Vec<Decision>, StoreError> {
    let sql = "SELECT d.person, p.name, d.verdict, d.role, d.roles, d.reason, d.signed_in_at, d.decided_at
               FROM decisions d JOIN persons p ON p.id = d.person WHERE d.hold = ? ORDER BY d.number";
    let decision = |row: &SqliteRow| {
        let verdict: &str = row.try_get("verdict")?;
        Ok(Decision {
            person: row.try_get("person")?,
            name: row.try_get("name")?,
            verdict: if verdict == "approve" { Verdict::Approve } else { Verdict::Deny },
            role: row.try_get("role")?,
            roles: serde_json::from_str(row.try_get("roles")?)?,
            reason: row.try_get("reason")?,
            signed_in_at: uint(row.try_get("signed_in_at")?),
            decided_at: uint(row.try_get("decided_at")?),
        })
    };
    sqlx::query(sql).bind(id).fetch_all(connection).await?.iter().map(decision).collect()
}

/// The approvals of these holds that count, by hold.
pub async fn approvals(
    connection: &mut Connection,
    holds: &[&str],
) -> Result<HashMap<String, Vec<Approval>>, StoreError> {
    let query = "SELECT hold, person, roles FROM decisions WHERE verdict = 'approve' AND hold IN";
    let mut approvals: HashMap<String, Vec<Approval>> = HashMap::new();
    for row in rows::find(connection, query, holds).await? {
        let approval = Approval { person: row.try_get(1)?, roles: serde_json::from_str(row.try_get(2)?)? };
        approvals.entry(row.try_get(0)?).or_default().push(approval);
    }
    Ok(approvals)
}

impl Tx {
    /// Keeps a new hold with what was captured.
    pub async fn insert_hold(&mut self, hold: &Hold, ask: &OpenHold) -> Result<(), StoreError> {
        let terms = &hold.terms;
        let sql = "INSERT INTO holds (id, grp, agent, agent_key, digest, components, requirement, requirement_hash,
                   rules, policy_id, policy_rev, policy_serial, method, authority, path, query, agent_reason,
                   idempotency_key, asked_async, asked_wait, opened_at, state, since, deadline)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(&terms.id)
            .bind(&terms.group)
            .bind(serde_json::to_string(&terms.agent)?)
            .bind(terms.agent_key.to_string())
            .bind(terms.digest.to_string())
            .bind(serde_json::to_string(&terms.components)?)
            .bind(serde_json::to_string(&terms.requirement)?)
            .bind(terms.requirement_hash.to_string())
            .bind(serde_json::to_string(&terms.rules)?)
            .bind(&terms.policy.id)
            .bind(terms.policy.rev.to_string())
            .bind(int(terms.policy.serial))
            .bind(&ask.request.method)
            .bind(&ask.request.authority)
            .bind(&ask.request.path)
            .bind(&ask.request.query)
            .bind(&ask.agent_reason)
            .bind(&ask.idempotency_key)
            .bind(ask.asked.respond_async)
            .bind(ask.asked.wait.map(int))
            .bind(int(hold.opened_at))
            .bind(hold.stage.state().as_str())
            .bind(int(hold.since))
            .bind(int(hold.expires_at()))
            .execute(&mut **self)
            .await?;
        let query = sqlx::query("INSERT INTO captures (hold, request) VALUES (?, ?)").bind(&terms.id);
        query.bind(serde_json::to_vec(&ask.request)?).execute(&mut **self).await?;
        self.count_opened(&counted(&terms.agent, &terms.rules), hold.opened_at).await
    }

    /// Deletes what was captured of holds that ended at or before `until`, from the files too; says of how many.
    pub async fn delete_captures(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM captures WHERE hold IN (SELECT hold FROM captures JOIN holds ON holds.id = hold
                   WHERE state NOT IN ('pending', 'approved') AND since <= ? LIMIT ?)";
        let deleted = sqlx::query(sql).bind(int(until)).bind(limit).execute(&mut **self).await?.rows_affected();
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
        let changed = rows::write(self, (head, tail), changes, |mut row, (before, change)| {
            let used = if let Stage::Used(used) = &change.stage { Some(used) } else { None };
            row.push_bind(&*before.terms.id).push_bind(before.stage.state().as_str());
            row.push_bind(change.stage.state().as_str()).push_bind(change.stage.cause().map(Cause::as_str));
            row.push_bind(int(now)).push_bind(int(change.stage.deadline().unwrap_or(now)));
            row.push_bind(used.map(|used| &*used.attempt)).push_bind(used.map(|used| &*used.grant));
            row.push_bind(used.map(|used| int(used.grant_expires_at)));
        })
        .await?;
        if usize::try_from(changed) != Ok(changes.len()) {
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
        let head = "INSERT INTO decisions (hold, person, verdict, role, roles, reason, signed_in_at, decided_at) ";
        rows::write(self, (head, ""), &decided, |mut row, ((hold, decision), roles)| {
            row.push_bind(&**hold).push_bind(&*decision.person);
            row.push_bind(if decision.verdict == Verdict::Approve { "approve" } else { "deny" });
            row.push_bind(&*decision.role).push_bind(&***roles).push_bind(&*decision.reason);
            row.push_bind(int(decision.signed_in_at)).push_bind(int(decision.decided_at));
        })
        .await?;
        Ok(())
    }
}

fn hold(row: &SqliteRow) -> Result<Hold, StoreError> {
    let deadline = uint(row.try_get("deadline")?);
    let since = uint(row.try_get("since")?);
    let stage = match row.try_get("state")? {
        "pending" => Stage::Pending(Pending { decide_by: deadline }),
        "approved" => Stage::Approved(Approved { use_by: deadline }),
        "denied" => Stage::Denied,
        "expired" => Stage::Expired,
        "cancelled" => Stage::Cancelled(match row.try_get("cause")? {
            "revoked" => Cause::Revoked,
            "policy" => Cause::Policy,
            "suspended" => Cause::Suspended,
            _ => return Err(StoreError::Corrupt("holds.cause")),
        }),
        "used" => Stage::Used(Used {
            attempt: row.try_get("used_attempt")?,
            grant: row.try_get("grant_text")?,
            grant_expires_at: uint(row.try_get("grant_expires_at")?),
        }),
        _ => return Err(StoreError::Corrupt("holds.state")),
    };
    let hash = |column: &'static str| {
        let text: &str = row.try_get(column)?;
        text.parse::<Hash>().map_err(|_| StoreError::Corrupt(column))
    };
    let rules: Vec<RuleRef> = serde_json::from_str(row.try_get("rules")?)?;
    let policy = PolicyRef {
        id: row.try_get("policy_id")?,
        rev: hash("policy_rev")?,
        serial: uint(row.try_get("policy_serial")?),
    };
    let terms = Terms {
        id: row.try_get("id")?,
        group: row.try_get("grp")?,
        agent: serde_json::from_str(row.try_get("agent")?)?,
        agent_key: hash("agent_key")?,
        digest: hash("digest")?,
        components: serde_json::from_str(row.try_get("components")?)?,
        requirement: serde_json::from_str(row.try_get("requirement")?)?,
        requirement_hash: hash("requirement_hash")?,
        rules,
        policy,
    };
    Ok(Hold { terms, opened_at: uint(row.try_get("opened_at")?), since, stage })
}
