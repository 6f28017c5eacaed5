//! Counts of requests in sliding windows, by all workers of one proxy together, in bounded memory.
//!
//! What is counted lies in a table of pages in the proxy's shared data. A counter's place (by the rule, or by rule and agent)
//! is a keyed hash: nobody outside can tell which ones share a page. A page has a bounded number of places, and one
//! that still counts is never given to another: whoever brings new keys can fill the table, and make nobody's count smaller. A
//! count that finds no place is unknown, which holds and denies.

use holdgate_engine::{Counter, Policy, Request, conditions::By};
use holdgate_protocol::{Hash, bundle::Mode};

use crate::Host;

/// Pages of the table for rules that are enforced, those for rules in shadow mode behind them, and places of a page. All of
/// them in use are less than 7 MiB.
const PAGES: u16 = 512;
const SHADOW_PAGES: u16 = 64;
const PLACES: usize = 128;

/// The version of a page that is not there: none that is there has it, so that of two workers that make one, one does. Hosts
/// count versions from 1, and take 0 for leave to replace what there may be.
const NEW: u32 = u32::MAX;

/// The parts of a window that are counted for themselves. The count is that of the window and of at most one part more.
const PARTS: u64 = 16;

/// So many parts are kept: those of a window, and the one at hand.
const KEPT: usize = 17;

/// Tries to write a page before the count is unknown. Each one that fails means that another worker's succeeded.
const TRIES: usize = 32;

/// How a page begins: its format.
const FORMAT: [u8; 1] = [1];

/// The table of one gateway group, as one gate reaches it.
pub(super) struct Rates {
    secret: [u8; 32],
    group: String,
}

/// Where something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    page: u16,
    place: u64,
}

/// What a request has been counted for, so that it counts once, however often it is evaluated.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<(Key, Option<u64>)>);

impl Counted {
    /// How many of its counts are unknown.
    pub(super) fn unknown(&self) -> usize {
        self.0.iter().filter(|(_, count)| count.is_none()).count()
    }
}

impl Rates {
    /// The gateway's credential keys the hash, as it is what all workers and nobody else has.
    pub(super) fn new(credential: &str, group: &str) -> Self {
        Rates {
            secret: *Hash::of(format!("holdgate rates\n{credential}").as_bytes()).as_bytes(),
            group: group.to_owned(),
        }
    }

    /// Counts a request where it has not been counted yet; a count for each of [`Policy::rates`], or nothing where none counts it.
    ///
    /// `whole`: nothing more will be known of the request, so that what its body could still rule out counts too.
    pub(super) fn count(
        &self,
        host: &mut dyn Host,
        now: u64,
        policy: &Policy,
        request: &Request<'_>,
        whole: bool,
        counted: &mut Counted,
    ) -> Vec<Option<u64>> {
        let mut counts = Vec::new();
        if policy.rates().is_empty() {
            return counts;
        }
        policy.counting(request, &mut |place, pending| {
            let Some(counter) = policy.rates().get(place).filter(|_| whole || !pending) else { return };
            let key = self.key(policy, counter, request);
            let known = counted.0.iter().find(|(other, _)| *other == key).map(|(_, count)| *count);
            let count = known.unwrap_or_else(|| {
                let count = self.add(host, now, key, counter.per);
                counted.0.push((key, count));
                count
            });
            if counts.is_empty() {
                counts.resize(policy.rates().len(), None);
            }
            if let Some(slot) = counts.get_mut(place) {
                *slot = count;
            }
        });
        counts
    }

    #[inline(never)]
    fn key(&self, policy: &Policy, counter: &Counter, request: &Request<'_>) -> Key {
        let rule = policy.rule(counter.rule);
        // Requests without an agent are counted together.
        let agent = request.agent.filter(|_| counter.by == By::Agent);
        let (iss, id) = agent.map_or(("", ""), |agent| (agent.iss, agent.id));
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(&self.secret);
        text.extend_from_slice(rule.hash.as_bytes());
        for part in [rule.id.as_bytes(), iss.as_bytes(), id.as_bytes(), &counter.entry.to_le_bytes()] {
            text.extend_from_slice(&part.len().to_le_bytes());
            text.extend_from_slice(part);
        }
        let [a, b, c, d, e, f, g, h, i, j, ..] = *Hash::of(&text).as_bytes();
        // What nobody enforces takes no room from what is.
        let (first, pages) = if rule.mode == Mode::Shadow { (PAGES, SHADOW_PAGES) } else { (0, PAGES) };
        let page = first + u16::from_le_bytes([i, j]) % pages;
        Key { page, place: u64::from_le_bytes([a, b, c, d, e, f, g, h]) }
    }

    #[inline(never)]
    fn add(&self, host: &mut dyn Host, now: u64, key: Key, per: u64) -> Option<u64> {
        let name = format!("holdgate/rates/{}/{}", self.group, key.page);
        for tried in 0..TRIES {
            let (page, version) = host.shared(&name);
            let version = match &page {
                Some(_) => version,
                None if tried == 0 => NEW,
                // A host that makes nothing with a version, as ngx_wasm_module: there 0 replaces nothing.
                None => 0,
            };
            let mut page = page.map_or_else(Page::default, |page| Page::read(&page));
            let count = page.add(now, key.place, per)?;
            if host.share(&name, &page.write(), version) {
                return Some(count);
            }
        }
        None
    }
}

/// Some counts that lie in shared data together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page(Vec<Place>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    key: u64,
    /// The length of a part, in milliseconds.
    part: u32,
    /// The number of the part that was counted last, since 1970.
    last: u64,
    /// Requests by part, each at its number modulo [`KEPT`].
    counts: [u32; KEPT],
}

impl Page {
    /// Counts one request; the count with it, or `None` where there is no room.
    fn add(&mut self, now: u64, key: u64, per: u64) -> Option<u64> {
        // What has run out makes room; nothing else does.
        self.0.retain(|place| place.number(now) < place.last.saturating_add(KEPT as u64));
        // Rounded up: the parts are never shorter than the window.
        let part = u32::try_from(per.saturating_mul(1000).div_ceil(PARTS)).unwrap_or(u32::MAX).max(1);
        if let Some(place) = self.0.iter_mut().find(|place| place.key == key) {
            return Some(place.add(now));
        }
        if self.0.len() >= PLACES {
            return None;
        }
        let mut place = Place { key, part, last: now / u64::from(part), counts: [0; KEPT] };
        let count = place.add(now);
        self.0.push(place);
        Some(count)
    }

    /// A page that nothing of ours has written counts nothing.
    fn read(bytes: &[u8]) -> Page {
        let places = bytes.strip_prefix(&FORMAT).unwrap_or_default().as_chunks::<{ Place::SIZE }>().0;
        Page(places.iter().filter_map(|place| Place::read(place)).collect())
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FORMAT.len() + self.0.len() * Place::SIZE);
        bytes.extend(FORMAT);
        for place in &self.0 {
            bytes.extend(place.key.to_le_bytes());
            bytes.extend(place.part.to_le_bytes());
            bytes.extend(place.last.to_le_bytes());
            place.counts.iter().for_each(|count| bytes.extend(count.to_le_bytes()));
        }
        bytes
    }
}

impl Place {
    const SIZE: usize = 8 + 4 + 8 + 4 * KEPT;

    fn read(bytes: &[u8]) -> Option<Place> {
        let (key, bytes) = bytes.split_first_chunk()?;
        let (part, bytes) = bytes.split_first_chunk()?;
        let (last, bytes) = bytes.split_first_chunk()?;
        let mut counts = [0; KEPT];
        for (count, bytes) in counts.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *count = u32::from_le_bytes(*bytes);
        }
        let part = u32::from_le_bytes(*part).max(1);
        Some(Place { key: u64::from_le_bytes(*key), part, last: u64::from_le_bytes(*last), counts })
    }

    fn number(&self, now: u64) -> u64 {
        now / u64::from(self.part)
    }

    fn add(&mut self, now: u64) -> u64 {
        // A clock that goes back takes nothing away.
        let number = self.number(now).max(self.last);
        for passed in (self.last.saturating_add(1)..=number).take(KEPT) {
            self.at(passed, |count| *count = 0);
        }
        self.last = number;
        self.at(number, |count| *count = count.saturating_add(1));
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    fn at(&mut self, number: u64, change: impl FnOnce(&mut u32)) {
        let index = usize::try_from(number % KEPT as u64).unwrap_or_default();
        self.counts.get_mut(index).map(change);
    }
}

#[cfg(test)]
mod tests;
