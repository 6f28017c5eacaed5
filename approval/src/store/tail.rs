//! The newest items of the feed, in memory: thousands of gateways' workers may wait for news, and each decision wakes them all.
//! What is older is read from the database.

use std::{
    collections::VecDeque,
    sync::{PoisonError, RwLock, RwLockWriteGuard},
};

use holdgate_protocol::gateway::{FeedItem, FeedPage};
use tokio::sync::watch;

/// Items that are kept.
pub(super) const KEPT: usize = 16_384;

/// One item as the database has it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub seq: u64,
    /// Without a group it is for all.
    pub group: Option<String>,
    pub item: FeedItem,
}

/// All items after a number, up to the newest one that this process knows of.
pub struct Tail {
    items: RwLock<Items>,
    head: watch::Sender<u64>,
}

struct Items {
    /// Everything after this number is here.
    from: u64,
    items: VecDeque<Told>,
}

impl Tail {
    pub(super) fn new(head: u64) -> Self {
        let items = Items { from: head, items: VecDeque::new() };
        Tail { items: RwLock::new(items), head: watch::Sender::new(head) }
    }

    /// The newest number that this process knows of.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Tells the newest number after each commit that raised it.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// How many wait for news at this moment.
    pub fn listeners(&self) -> usize {
        self.head.receiver_count()
    }

    /// Items for a group after a number. `None`: that number is outside of what is kept here.
    pub fn page(&self, group: &str, after: u64, limit: usize) -> Option<FeedPage> {
        let kept = self.items.read().unwrap_or_else(PoisonError::into_inner);
        let head = self.head();
        if after < kept.from || after > head {
            return None;
        }
        let begin = kept.items.partition_point(|told| told.seq <= after);
        let own = kept.items.range(begin..).filter(|told| told.seq <= head);
        let mut own = own.filter(|told| told.group.as_deref().is_none_or(|of| of == group));
        let (mut items, mut next) = (Vec::new(), head);
        for told in own.by_ref().take(limit) {
            items.push(told.item.clone());
            next = told.seq;
        }
        let full = items.len() == limit;
        Some(FeedPage { next: if full { next } else { head }, items })
    }

    /// Adds all items after `known`, which go up to `head`; those that are there already are left out. Where some between are missing, the
    /// tail begins anew.
    pub(super) fn add(&self, known: u64, told: Vec<Told>, head: u64) {
        let mut kept = self.write();
        let kept = &mut *kept;
        let present = self.head();
        if head <= present {
            return;
        }
        // As many as are kept at all were asked for: there may be more between.
        if known > present || told.len() >= KEPT {
            kept.items.clear();
            kept.from = told.first().map_or(head, |first| first.seq - 1).max(known);
        }
        kept.items.extend(told.into_iter().filter(|told| told.seq > present));
        let over = kept.items.len().saturating_sub(KEPT);
        kept.from = kept.items.drain(..over).next_back().map_or(kept.from, |last| last.seq);
        // Told while the items cannot be read: whoever knows the number finds them.
        self.head.send_replace(head);
    }

    /// Leaves out all up to a number.
    pub(super) fn forget(&self, until: u64) {
        let mut kept = self.write();
        let gone = kept.items.partition_point(|told| told.seq <= until);
        kept.items.drain(..gone);
        kept.from = kept.from.max(until);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Items> {
        self.items.write().unwrap_or_else(PoisonError::into_inner)
    }
}
