//! Everything about one hold: what was captured, who decided in which role and after what look, and what became of it.
//!
//! What has ended is shown as it was then, whatever has become of people and policy since.

use std::collections::HashMap;

use holdgate_protocol::gateway::{Asked, CapturedRequest, Outcome};
use serde::Serialize;
use serde_json::Value;

use super::{Service, authority::Authority, sight::Sight};
use crate::{
    domain::{Accountability, Approval, Case, Eligibility, Filled, Hold, Refusal, Reviewer, Stage, Terms, eligibility},
    store::{
        Connection, StoreError, attempts, directory,
        holds::{self, Decision},
        ledger, people,
        people::Session,
        policy, seen,
    },
};

/// Entries of the ledger that are read at once.
const AT_ONCE: u32 = 500;

/// The most entries of one hold that are shown.
const MOST: usize = 2000;

/// Everything about one hold that a reviewer sees.
#[derive(Debug)]
pub struct Detail {
    pub hold: Hold,
    pub captured: Option<CapturedRequest>,
    pub agent_reason: Option<String>,
    pub asked: Asked,
    pub decisions: Vec<Taken>,
    /// Who stands for which factor: as it counts now while the hold is pending, else as it was when that ended.
    pub filled: Vec<Filled>,
    /// Role and number of approvals, while it is pending.
    pub missing: Vec<(String, u32)>,
    pub accountable: Accountability,
    /// The names of those who answer for the agent, and of all others of whom the detail speaks.
    pub names: HashMap<String, String>,
    pub outcomes: Vec<Outcome>,
    /// `reported` or `unknown`; nothing while one may still come.
    pub outcome: Option<&'static str>,
    /// Rule ids with the reason that the policy gave under which the request was held.
    pub rules: Vec<(String, Option<String>)>,
    /// Why the reader cannot decide at this moment.
    pub hindrance: Option<Refusal>,
    /// In what the reader would decide; nothing where they cannot, or where only a denial would count.
    pub standing: Option<Standing>,
    /// Whether the reader has an approval that can be taken back.
    pub can_withdraw: bool,
    /// Whether the reader can take back the hold, which is approved.
    pub can_revoke: bool,
    /// Until when the reader's sign-in is recent enough to decide.
    pub fresh_until: u64,
    pub history: Vec<Happened>,
}

/// A decision with what came before and after it.
#[derive(Debug)]
pub struct Taken {
    pub decision: Decision,
    /// Seconds from the first look at the hold; `None`: decided without one.
    pub looked: Option<u64>,
    /// How the person had signed in, as the ledger has it.
    pub via: Option<Value>,
    /// Why it was withdrawn.
    pub withdrawn_reason: Option<String>,
}

/// By what authority a reviewer would decide.
#[derive(Debug)]
pub struct Standing {
    /// The factor that an approval would count for.
    pub by: Filled,
    pub eligibility: Eligibility,
    /// When the eligibility ends, also for want of a certification.
    pub until: Option<u64>,
    /// Further roles of the person for this hold.
    pub others: Vec<String>,
}

/// Something that happened to a hold.
#[derive(Clone, Debug, Serialize)]
pub struct Happened {
    /// The number in the ledger. A first look has none.
    pub seq: Option<u64>,
    pub time: u64,
    /// As in the ledger, or `viewed`.
    pub kind: String,
    pub person: Option<String>,
    pub reason: Option<String>,
    /// What else the ledger says of it.
    #[serde(skip)]
    pub data: Value,
}

impl Service {
    /// Everything about one hold, and whether the reader can decide on it. `None` also where it is not theirs to see.
    pub async fn detail(&self, id: &str, reader: &Session) -> Result<Option<Detail>, StoreError> {
        let (now, lasting) = (self.now(), self.settings.lasting);
        let mut connection = self.store.read().await?;
        let Some(hold) = holds::find(&mut connection, id).await? else { return Ok(None) };
        let sight = Sight::of(&mut connection, &reader.person.id, now, lasting).await?;
        if !sight.sees(&mut connection, &hold).await? {
            return Ok(None);
        }
        let hold = hold.at(now);
        let captured = holds::captured(&mut connection, id, &self.keys().data).await?;
        let agent_reason = holds::agent_reason(&mut connection, id).await?;
        let asked = holds::asked(&mut connection, id).await?;
        let decisions = holds::decisions(&mut connection, id).await?;
        let outcomes = attempts::outcomes(&mut connection, id).await?;
        let rules = self.rules(&mut connection, &hold.terms).await?;
        let history = history(&mut connection, id).await?;

        let mut authority = Authority::at(now, lasting);
        let accountable = authority.accountable(&mut connection, &hold.terms).await?.clone();
        let (person, signed_in_at) = (reader.person.id.clone(), reader.signed_in_at);
        let roles = authority.roles(&mut connection, &person, &hold.terms).await?;
        let reviewer = Reviewer { person, roles, signed_in_at, unfit: reader.unfit };
        let mut approvals: Vec<Approval> = decisions.iter().filter_map(Decision::approval).collect();
        let pending = matches!(hold.stage, Stage::Pending(_));
        if pending {
            authority.look_at(&mut connection, &mut approvals, &hold.terms).await?;
        }
        let case = Case {
            requirement: &hold.terms.requirement,
            opened_at: hold.opened_at,
            accountable: &accountable,
            approvals: &approvals,
            now,
            fresh: lasting.fresh,
        };
        let approved = approvals.iter().any(|approval| approval.person == reviewer.person);
        // What another sign-in would not change comes first.
        let fresh = Reviewer { signed_in_at: now, ..reviewer.clone() };
        let hindrance = case.may_decide(&fresh).and_then(|_| case.may_decide(&reviewer)).err();
        let hindrance = hindrance.or(approved.then_some(Refusal::AlreadyDecided));
        let can_revoke = matches!(hold.stage, Stage::Approved(_)) && case.may_revoke(&fresh).is_ok();
        let (missing, filled) =
            if pending { (case.missing(), case.filled()) } else { (Vec::new(), filled_then(&case, &history)) };
        let may = pending && !approved && matches!(hindrance, None | Some(Refusal::SignInAgain));
        let by = may.then(|| case.would_fill(&reviewer).ok()).flatten();
        let standing = match by {
            Some(by) => {
                // What was granted by somebody who answers for the agent counts for nothing here.
                let mut own = people::eligibilities(&mut connection, &reviewer.person).await?;
                own.retain(|one| !accountable.persons.contains(&one.granted_by));
                standing(own, by, &reviewer, &hold.terms, (now, lasting.recertify_within))
            }
            None => None,
        };
        let speaks_of = accountable.persons.iter().chain(history.iter().filter_map(|one| one.person.as_ref()));
        let speaks_of = speaks_of.chain(standing.iter().map(|standing| &standing.eligibility.granted_by));
        let speaks_of: Vec<&str> = speaks_of.chain(filled.iter().map(|one| &one.person)).map(String::as_str).collect();
        let mut names = seen::names(&mut connection, &speaks_of).await?;
        if let Some((owner, group)) =
            hold.terms.agent.owner.as_deref().and_then(|o| Some((o, o.strip_prefix("group/")?)))
            && let Some(name) = directory::group_name(&mut connection, group).await?
        {
            names.insert(owner.to_owned(), name);
        }
        drop(connection);

        let unknown = self.outcome_is_unknown(&hold.stage, outcomes.len());
        Ok(Some(Detail {
            captured,
            agent_reason,
            asked,
            decisions: decisions.into_iter().map(|decision| taken(decision, &history)).collect(),
            filled,
            missing,
            names,
            outcome: if unknown { Some("unknown") } else { (!outcomes.is_empty()).then_some("reported") },
            outcomes,
            rules,
            hindrance,
            standing,
            can_withdraw: approved && pending,
            can_revoke,
            fresh_until: signed_in_at.saturating_add(lasting.fresh),
            history,
            accountable,
            hold,
        }))
    }

    /// The rules of a hold with the reasons that they gave in the policy under which the request was held.
    async fn rules(
        &self,
        connection: &mut Connection,
        terms: &Terms,
    ) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let in_force = self.store.policy().filter(|policy| policy.reference.rev == terms.policy.rev);
        let then = match in_force {
            Some(policy) => Some(policy),
            None => policy::published(connection, &terms.policy.rev).await?.map(Into::into),
        };
        let reason = |rule: &str| then.as_ref().and_then(|policy| policy.reason(rule)).map(ToOwned::to_owned);
        Ok(terms.rules.iter().map(|rule| (rule.id.clone(), reason(&rule.id))).collect())
    }
}

/// What the ledger has of a hold, with the first looks at it among it.
async fn history(connection: &mut Connection, id: &str) -> Result<Vec<Happened>, StoreError> {
    let (mut history, mut after) = (Vec::new(), 0);
    while history.len() < MOST {
        let page = ledger::page(connection, Some(id), after, AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for entry in page {
            let data: Value = serde_json::from_str(&entry.data)?;
            let text = |name: &str| data.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            let (seq, time, kind) = (Some(entry.seq), entry.time, entry.kind);
            let reason = text("reason").filter(|reason| !reason.trim().is_empty());
            history.push(Happened { seq, time, kind, person: text("person"), reason, data });
        }
    }
    let looks = seen::views(connection, id).await?.into_iter().map(|(person, time)| Happened {
        seq: None,
        time,
        kind: "viewed".to_owned(),
        person: Some(person),
        reason: None,
        data: Value::Null,
    });
    history.extend(looks);
    // Within one second the ledger's order holds, and a look comes before what is done on the page, behind the opening.
    history.sort_by_key(|one| (one.time, one.kind != "hold.opened", one.seq));
    Ok(history)
}

/// Who stood for which factor when a hold was approved; of one that was not, what its approvals came to.
fn filled_then(case: &Case<'_>, history: &[Happened]) -> Vec<Filled> {
    let approved = history.iter().rev().find(|one| one.kind == "hold.approved");
    let factors = approved.and_then(|one| one.data.get("factors"));
    if let Some(Ok(filled)) = factors.map(|factors| serde_json::from_value(factors.clone())) {
        return filled;
    }
    let nobody = Accountability::default();
    Case { accountable: &nobody, ..*case }.filled()
}

/// By which eligibility a reviewer would decide: of several that give the role, the one that lasts longest.
fn standing(
    own: Vec<Eligibility>,
    by: Filled,
    reviewer: &Reviewer,
    terms: &Terms,
    (now, within): (u64, u64),
) -> Option<Standing> {
    let escalation = terms.requirement.escalate.as_ref().filter(|_| by.escalated);
    let role = escalation.map_or(&by.role, |escalation| &escalation.role);
    let counts = |one: &Eligibility| one.role == *role && !eligibility::roles([one], terms, now, within).is_empty();
    let ends = |one: &Eligibility| {
        let certified = one.granted_at.max(one.certified_at).checked_add(within);
        [one.until, certified].into_iter().flatten().min()
    };
    let longest = own.into_iter().filter(counts).max_by_key(|one| ends(one).unwrap_or(u64::MAX));
    let asked = |role: &String| terms.requirement.factors.iter().any(|factor| factor.role == *role);
    let others = reviewer.roles.iter().filter(|other| *other != role && asked(other)).cloned().collect();
    longest.map(|eligibility| Standing { by, until: ends(&eligibility), eligibility, others })
}

/// A decision with what the history says of it.
fn taken(decision: Decision, history: &[Happened]) -> Taken {
    let own = || history.iter().filter(|one| one.person.as_deref() == Some(&*decision.person));
    let viewed = own().find(|one| one.kind == "viewed").map(|one| one.time);
    let decides = |one: &&Happened| matches!(&*one.kind, "hold.approval" | "hold.approved" | "hold.denied");
    let said = own().filter(decides).find(|one| one.time == decision.decided_at);
    let withdrawn = own().find(|one| one.kind == "hold.withdrawn" && Some(one.time) == decision.withdrawn_at);
    Taken {
        looked: viewed.and_then(|viewed| decision.decided_at.checked_sub(viewed)),
        via: said.and_then(|one| one.data.get("via")).cloned(),
        withdrawn_reason: withdrawn.and_then(|one| one.reason.clone()),
        decision,
    }
}
