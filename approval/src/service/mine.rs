//! What of a list is the reader's: on which holds they can decide, on which they have, and on which they cannot.

use std::collections::HashMap;

use super::{Service, authority::Authority, sight::Sight};
use crate::{
    domain::{Approval, Case, Filled, Hold, Refusal, Reviewer, Stage, Verdict},
    store::{
        StoreError, holds,
        people::Session,
        seen::{self, Ended, Head},
    },
};

/// What a hold is to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mine {
    /// The reader can decide, and an approval would count for this factor.
    Open(Filled),
    /// The reader can deny; an approval would not count.
    DenyOnly(Refusal),
    /// The reader has said so already.
    Decided(Verdict),
    /// The reader cannot decide.
    Not(Refusal),
    /// It waits for nobody any more.
    Ended,
}

/// A hold by which a reader is asked whether they mean it.
#[derive(Debug)]
pub struct Asked {
    pub hold: Hold,
    pub head: Head,
    pub mine: Mine,
}

impl Service {
    /// What these holds are to the reader, in their order. How long ago the reader signed in is not asked here.
    pub async fn mine(&self, reader: &Session, holds: &[&Hold]) -> Result<Vec<Mine>, StoreError> {
        let (now, lasting) = (self.now(), self.settings.lasting);
        let mut connection = self.store.read().await?;
        let pending = |hold: &&&Hold| matches!(hold.stage, Stage::Pending(_));
        let ids: Vec<&str> = holds.iter().filter(pending).map(|hold| hold.terms.id.as_str()).collect();
        let mut approvals = holds::approvals(&mut connection, &ids).await?;
        let own = holds::decided_by(&mut connection, &reader.person.id, &ids).await?;
        let mut authority = Authority::at(now, lasting);
        authority.look_up(&mut connection, holds.iter().filter(pending).map(|hold| &hold.terms)).await?;
        let mut all = Vec::with_capacity(holds.len());
        for hold in holds {
            let terms = &hold.terms;
            if !pending(&hold) {
                all.push(Mine::Ended);
                continue;
            }
            if let Some(verdict) = own.get(&terms.id) {
                all.push(Mine::Decided(*verdict));
                continue;
            }
            let mut approvals: Vec<Approval> = approvals.remove(&terms.id).unwrap_or_default();
            authority.look_at(&mut connection, &mut approvals, terms).await?;
            let (person, unfit) = (reader.person.id.clone(), reader.unfit);
            let roles = authority.roles(&mut connection, &person, terms).await?;
            let reviewer = Reviewer { person, roles, signed_in_at: now, unfit };
            let accountable = authority.accountable(&mut connection, terms).await?;
            let (requirement, opened_at, approvals) = (&terms.requirement, hold.opened_at, approvals.as_slice());
            let case = Case { requirement, opened_at, accountable, approvals, now, fresh: lasting.fresh };
            all.push(match (case.may_decide(&reviewer), case.would_fill(&reviewer)) {
                (Err(refusal), _) => Mine::Not(refusal),
                (Ok(_), Err(refusal)) => Mine::DenyOnly(refusal),
                (Ok(_), Ok(by)) => match &accountable.unknown {
                    Some(why) => Mine::DenyOnly(Refusal::OwnerUnknown(why.clone())),
                    None => Mine::Open(by),
                },
            });
        }
        Ok(all)
    }

    /// Those of these holds that the reader sees, each once and in this order, with what they are to the reader.
    pub async fn asked(&self, reader: &Session, ids: &[&str]) -> Result<Vec<Asked>, StoreError> {
        let now = self.now();
        let mut connection = self.store.read().await?;
        let sight = Sight::of(&mut connection, &reader.person.id, now, self.settings.lasting).await?;
        let mut found = holds::find_all(&mut connection, ids).await?;
        let named = ids.iter().filter_map(|id| found.remove(*id)).collect();
        let seen = sight.filter(&mut connection, named).await?;
        let holds: Vec<Hold> = seen.into_iter().map(|hold: Hold| hold.at(now)).collect();
        let mut heads = seen::heads(&mut connection, ids).await?;
        drop(connection);
        let mine = self.mine(reader, &holds.iter().collect::<Vec<_>>()).await?;
        let asked = holds.into_iter().zip(mine).filter_map(|(hold, mine)| {
            let head = heads.remove(&hold.terms.id)?;
            Some(Asked { hold, head, mine })
        });
        Ok(asked.collect())
    }

    /// What became of holds that a list shows, by hold.
    pub async fn ended(&self, ids: &[&str]) -> Result<HashMap<String, Ended>, StoreError> {
        seen::ended(&mut self.store.read().await?, ids).await
    }
}
