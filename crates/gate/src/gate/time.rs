//! A clock that is set back. The gate remembers moments of the proxy's clock: were they left as they are, a feed would stay fresh
//! for as long as the clock was set back, and what is due would not be done for as long.

use std::collections::BTreeSet;

use super::{Gate, Stream};

impl Gate {
    /// Notices that the clock was set back since the last entry, and moves what is remembered with it.
    pub(super) fn keep_time(&mut self, now: u64) {
        let back = self.seen.saturating_sub(now);
        self.seen = now;
        if back > 0 {
            self.set_back(back);
        }
    }

    fn set_back(&mut self, back: u64) {
        let feed = &mut self.feed;
        for moment in [&mut feed.fresh_at, &mut feed.retry_at, &mut feed.fetch_at] {
            *moment = moment.saturating_sub(back);
        }
        // Whichever clock was wrong: it is looked at again.
        feed.compare_at = 0;
        self.deadlines = BTreeSet::new();
        for (id, stream) in &mut self.streams {
            let until = match stream {
                Stream::Keys(awaiting) => &mut awaiting.until,
                Stream::Body(awaiting) => &mut awaiting.until,
                Stream::Parked(held, _) => &mut held.until,
                Stream::Opening(held) | Stream::Polling(held, ..) => {
                    held.until = held.until.saturating_sub(back);
                    continue;
                }
                _ => continue,
            };
            *until = until.saturating_sub(back);
            self.deadlines.insert((*until, *id));
        }
        // These only keep agents from asking too often.
        self.asked.clear();
        self.identities.set_back(back);
        self.telling.spool.set_back(back);
        self.telling.figures.set_back(back);
        self.ending.set_back(back);
    }
}
