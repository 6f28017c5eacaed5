//! Reviewers' load, and rules that hold in vain.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Service;
use crate::{
    meters::Present,
    store::{
        Command, StoreError, Tx,
        figures::{self, Counted, Decided},
        ledger, notices,
    },
};

/// The most holds, and the most decisions, that figures are made of: the newest ones.
const MOST: u32 = 50_000;

/// From how many approvals on a reviewer may be told to look closer, and below how many seconds a look is none.
const STAMPS: (usize, u64) = (20, 5);

/// From how many holds on a rule may be told never to be denied.
const IN_VAIN: u64 = 50;

/// The figures of a span of time.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub since: u64,
    pub until: u64,
    /// `false`: there were more holds or decisions than figures are made of, and the oldest are left out.
    pub complete: bool,
    pub open: Open,
    pub holds: Holds,
    pub decisions: Times,
    pub reviewers: Vec<Reviewer>,
    pub rules: Vec<Rule>,
}

/// What is open now.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Open {
    pub pending: u64,
    pub approved: u64,
    /// The age of the oldest that waits, in seconds.
    pub oldest: Option<u64>,
}

/// What became of the holds that were opened in the span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holds {
    pub opened: u64,
    /// Approved, and used or still to be used.
    pub approved: u64,
    pub denied: u64,
    pub expired: u64,
    pub cancelled: u64,
    /// Of those that ended or were approved, how many of a hundred expired.
    pub expired_percent: u64,
}

/// How long decisions of the span took from the opening of their holds, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    pub count: u64,
    pub median: Option<u64>,
    pub p90: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Reviewer {
    pub person: String,
    pub name: String,
    pub approvals: u64,
    pub denials: u64,
    /// The median of the time from the first look at a hold to its approval, in seconds.
    pub looked: Option<u64>,
    /// Approvals of holds that the person looked at for less than 5 seconds, or never.
    pub unread: u64,
    pub warning: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    pub rule: String,
    #[serde(flatten)]
    pub holds: Holds,
    pub remark: Option<String>,
}

impl Service {
    /// The figures since a time.
    pub async fn figures(&self, since: u64) -> Result<Figures, StoreError> {
        let now = self.now();
        let mut connection = self.store.read().await?;
        let (pending, approved, oldest) = figures::open(&mut connection).await?;
        let holds = figures::holds(&mut connection, since, MOST).await?;
        let decisions = figures::decisions(&mut connection, since, MOST).await?;
        drop(connection);
        let full = |count: usize| u32::try_from(count).is_ok_and(|count| count < MOST);
        Ok(Figures {
            since,
            until: now,
            complete: full(holds.len()) && full(decisions.len()),
            open: Open { pending, approved, oldest: oldest.map(|oldest| now.saturating_sub(oldest)) },
            holds: Holds::of(holds.iter()),
            decisions: Times::of(decisions.iter().map(|decided| decided.after).collect()),
            reviewers: reviewers(&decisions),
            rules: rules(&holds),
        })
    }

    /// Notes that a person looks at a hold. What cannot be noted keeps nobody from looking.
    pub async fn note_view(&self, hold: &str, person: &str) {
        let noted = async {
            if figures::has_viewed(&mut self.store.read().await?, hold, person).await? {
                return Ok(());
            }
            self.store.write(View { hold: hold.to_owned(), person: person.to_owned(), now: self.now() }).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, "a look at a hold could not be noted");
        }
    }

    /// What `/metrics` looks up.
    pub async fn present(&self) -> Result<Present, StoreError> {
        let mut connection = self.store.read().await?;
        let (pending, approved, oldest) = figures::open(&mut connection).await?;
        Ok(Present {
            pending,
            approved,
            oldest: oldest.map_or(0, |oldest| self.now().saturating_sub(oldest)),
            listeners: self.store.tail().listeners() as u64,
            ledger: ledger::size(&mut connection).await?,
            undelivered: notices::count(&mut connection, "pending").await?,
            failed: notices::count(&mut connection, "failed").await?,
        })
    }
}

impl Holds {
    fn of<'h>(holds: impl Iterator<Item = &'h Counted>) -> Self {
        let mut count = Holds::default();
        for hold in holds {
            count.opened += 1;
            match hold.state.as_str() {
                "approved" | "used" => count.approved += 1,
                "denied" => count.denied += 1,
                "expired" => count.expired += 1,
                "cancelled" => count.cancelled += 1,
                _ => {}
            }
        }
        let ended = count.approved + count.denied + count.expired + count.cancelled;
        count.expired_percent = (count.expired * 100).checked_div(ended).unwrap_or_default();
        count
    }
}

impl Times {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Times { count: times.len() as u64, median: share(&times, 50), p90: share(&times, 90) }
    }
}

/// The smallest of sorted times that so many of a hundred do not exceed.
fn share(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

fn reviewers(decisions: &[Decided]) -> Vec<Reviewer> {
    let mut by_person: BTreeMap<&str, Vec<&Decided>> = BTreeMap::new();
    for decided in decisions {
        by_person.entry(&decided.person).or_default().push(decided);
    }
    let reviewer = |(person, decided): (&str, Vec<&Decided>)| {
        let name = decided.first().map_or_else(String::new, |first| first.name.clone());
        let approvals: Vec<&Decided> = decided.iter().copied().filter(|decided| decided.approves).collect();
        let (stamps, look) = STAMPS;
        let mut looked: Vec<u64> = approvals.iter().filter_map(|decided| decided.looked).collect();
        looked.sort_unstable();
        let unread = approvals.iter().filter(|decided| decided.looked.is_none_or(|seconds| seconds < look)).count();
        let stamped = approvals.len() >= stamps && unread * 10 >= approvals.len() * 9;
        let warning = stamped.then(|| {
            let all = approvals.len();
            format!("{unread} of {all} approvals came without a look at the hold, or within {look} seconds of one")
        });
        Reviewer {
            person: person.to_owned(),
            name,
            approvals: approvals.len() as u64,
            denials: (decided.len() - approvals.len()) as u64,
            looked: share(&looked, 50),
            unread: unread as u64,
            warning,
        }
    };
    let mut reviewers: Vec<Reviewer> = by_person.into_iter().map(reviewer).collect();
    reviewers.sort_by_key(|reviewer| std::cmp::Reverse(reviewer.approvals + reviewer.denials));
    reviewers
}

fn rules(holds: &[Counted]) -> Vec<Rule> {
    let names: BTreeSet<&str> = holds.iter().flat_map(|hold| &hold.rules).map(|rule| rule.id.as_str()).collect();
    let mut by_rule: BTreeMap<&str, Vec<&Counted>> = names.into_iter().map(|name| (name, Vec::new())).collect();
    for hold in holds {
        for rule in &hold.rules {
            if let Some(own) = by_rule.get_mut(rule.id.as_str()) {
                own.push(hold);
            }
        }
    }
    let rule = |(rule, holds): (&str, Vec<&Counted>)| {
        let holds = Holds::of(holds.into_iter());
        let remark = (holds.opened >= IN_VAIN && holds.denied == 0)
            .then(|| format!("this rule has held {} requests and none was denied", holds.opened));
        Rule { rule: rule.to_owned(), holds, remark }
    };
    let mut rules: Vec<Rule> = by_rule.into_iter().map(rule).collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.holds.opened));
    rules
}

struct View {
    hold: String,
    person: String,
    now: u64,
}

impl Command for View {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.note_view(&self.hold, &self.person, self.now).await
    }
}
