//! What follows from the ledger: it is read on from where it was read to, and what is due later and who is told is written
//! down, once for all instances.

use std::collections::HashMap;

use holdgate_protocol::{Actor, Hash, b64url, grant};

use super::Service;
use crate::{
    domain::Hold,
    notices::{
        self,
        payload::{AgentPart, HoldPart, Payload, RulePart, shown},
    },
    store::{
        Command, Connection, StoreError, Tx, holds, ledger,
        ledger::Entry,
        marks::Mark,
        notices::{Notice, followed, targets},
    },
};

/// Entries that are followed in one transaction.
const BATCH: u32 = 500;

impl Service {
    /// Follows the ledger to its end.
    pub async fn follow(&self) -> Result<(), StoreError> {
        loop {
            let mut connection = self.store.read().await?;
            let from = followed(&mut connection).await?;
            let entries = ledger::page(&mut connection, None, from, BATCH).await?;
            let Some(to) = entries.last().map(|entry| entry.seq) else { return Ok(()) };
            let marks = self.marks(&mut connection, &entries).await?;
            let notices = self.notices(&mut connection, &entries).await?;
            drop(connection);
            let told = !notices.is_empty();
            let more = entries.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
            self.store.write(Follow { from, to, marks, notices, now: self.now() }).await?;
            if told {
                self.notices.news.notify_waiters();
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// What is to be looked at later.
    async fn marks(
        &self,
        connection: &mut Connection,
        entries: &[Entry],
    ) -> Result<Vec<(String, Mark, u64)>, StoreError> {
        let of = |kind: &str| -> Vec<(&str, u64)> {
            let some = entries.iter().filter(|entry| entry.kind == kind);
            some.filter_map(|entry| Some((entry.hold.as_deref()?, entry.time))).collect()
        };
        let opened = of("hold.opened");
        let ids: Vec<&str> = opened.iter().map(|(hold, _)| *hold).collect();
        let known = holds::find_all(connection, &ids).await?;
        let mut marks = Vec::new();
        for hold in known.into_values() {
            let requirement = &hold.terms.requirement;
            let escalates = requirement.escalates_at(hold.opened_at);
            if self.settings.remind > 0 {
                let share = requirement.decide_within.saturating_mul(self.settings.remind) / 100;
                marks.push((hold.terms.id.clone(), Mark::Remind, hold.opened_at.saturating_add(share)));
            }
            marks.extend(escalates.map(|due| (hold.terms.id, Mark::Escalate, due)));
        }
        for (hold, time) in of("hold.used") {
            let due = time.saturating_add(grant::MAX_LIFE).saturating_add(self.settings.outcome_after);
            marks.push((hold.to_owned(), Mark::Outcome, due));
        }
        Ok(marks)
    }

    /// Who is told of what.
    async fn notices(
        &self,
        connection: &mut Connection,
        entries: &[Entry],
    ) -> Result<Vec<(Notice, Vec<String>)>, StoreError> {
        if self.notices.hooks.is_empty() {
            return Ok(Vec::new());
        }
        let told: Vec<(&Entry, &'static str)> =
            entries.iter().filter_map(|entry| Some((entry, notices::event(&entry.kind)?))).collect();
        let mut ids: Vec<&str> = told.iter().filter_map(|(entry, _)| entry.hold.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let known = holds::find_all(connection, &ids).await?;
        let targets: HashMap<String, [String; 3]> = targets(connection, &ids).await?.into_iter().collect();
        let mut notices = Vec::new();
        for (entry, event) in told {
            let hold = entry.hold.as_ref().and_then(|id| known.get(id));
            let rules = hold.map(|hold| hold.terms.rules.iter().map(|rule| rule.id.as_str()));
            let wants = self.notices.hooks.iter().filter(|hook| hook.wants(event, rules.clone()));
            let hooks: Vec<String> = wants.map(|hook| hook.id.clone()).collect();
            if hooks.is_empty() {
                continue;
            }
            let target = hold.and_then(|hold| targets.get(&hold.terms.id));
            let body = serde_json::to_string(&self.payload(entry, event, hold.zip(target))?)?;
            let name = Hash::of(format!("{}\n{}\n{}\n{:?}", self.issuer, entry.seq, entry.time, entry.hold).as_bytes());
            let name: String = b64url(name.as_bytes()).chars().take(22).collect();
            let (entry, made_at, hold) = (entry.seq, entry.time, entry.hold.clone());
            notices.push((Notice { entry, name: format!("msg_{name}"), event, hold, made_at, body }, hooks));
        }
        Ok(notices)
    }

    fn payload(
        &self,
        entry: &Entry,
        event: &'static str,
        hold: Option<(&Hold, &[String; 3])>,
    ) -> Result<Payload, StoreError> {
        let data: serde_json::Value = serde_json::from_str(&entry.data)?;
        let console = &self.notices.console;
        let (event, time) = (event.to_owned(), entry.time);
        let Some((hold, [method, authority, path])) = hold else {
            let agent = data.get("agent").and_then(|agent| serde_json::from_value::<Actor>(agent.clone()).ok());
            let agent = agent.as_ref().map(AgentPart::of);
            return Ok(Payload { event, time, hold: None, agent, link: format!("{console}/holds") });
        };
        let terms = &hold.terms;
        let published = self.store.policy();
        let reason = |rule: &str| published.as_ref().and_then(|policy| policy.reason(rule)).map(shown);
        let cancelled = event == "hold.cancelled";
        let part = HoldPart {
            id: terms.id.clone(),
            group: terms.group.clone(),
            rules: terms.rules.iter().map(|rule| RulePart { id: rule.id.clone(), reason: reason(&rule.id) }).collect(),
            method: shown(method),
            authority: shown(authority),
            path: shown(path),
            deadline: hold.stage.deadline(),
            cause: hold.stage.cause().filter(|_| cancelled).map(|cause| cause.as_str().to_owned()),
        };
        let link = format!("{console}/holds/{}", terms.id);
        Ok(Payload { event, time, hold: Some(part), agent: Some(AgentPart::of(&terms.agent.caller())), link })
    }
}

struct Follow {
    from: u64,
    to: u64,
    marks: Vec<(String, Mark, u64)>,
    notices: Vec<(Notice, Vec<String>)>,
    now: u64,
}

impl Command for Follow {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        // Otherwise another instance was there before.
        if tx.follow(self.from, self.to).await? {
            tx.insert_marks(&self.marks).await?;
            tx.insert_notices(&self.notices, self.now).await?;
        }
        Ok(())
    }
}
