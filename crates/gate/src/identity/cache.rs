//! Verified tokens by the SHA-256 of their bytes, so that a signature is verified once and not for each request.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
};

use holdgate_protocol::{Actor, Json};

use super::Identity;

/// The most bytes that remembered tokens take, about.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a token costs beside its claims, in bytes: its place in the table, which may be half empty, and its identity.
const OVERHEAD: usize = 512;

/// What an allocation costs beside what is asked for, in bytes, about.
const BLOCK: usize = 16;

/// A bounded cache of two generations: what is used stays, because a token that is found in the old generation moves to
/// the young one. Whoever fills it with many good tokens of its own therefore drives out only what nobody used since.
/// Nothing is ever searched through to make room.
pub(super) struct TokenCache {
    young: Generation,
    old: Generation,
    /// Entries of one generation.
    capacity: usize,
}

#[derive(Default)]
struct Generation {
    entries: HashMap<[u8; 32], Entry, BuildHasherDefault<FirstBytes>>,
    bytes: usize,
}

/// A verified token.
pub(super) struct Entry {
    pub(super) identity: Rc<Identity>,
    /// Bytes that it takes.
    cost: usize,
}

impl TokenCache {
    /// A cache for so many tokens; 0 remembers nothing.
    pub(super) fn new(entries: usize) -> Self {
        TokenCache { young: Generation::default(), old: Generation::default(), capacity: entries.div_ceil(2) }
    }

    pub(super) fn get(&mut self, token: &[u8; 32]) -> Option<&Entry> {
        if !self.young.entries.contains_key(token) {
            let entry = self.old.remove(token)?;
            self.insert(*token, entry);
        }
        self.young.entries.get(token)
    }

    pub(super) fn insert(&mut self, token: [u8; 32], entry: Entry) {
        if self.capacity == 0 {
            return;
        }
        if self.young.entries.len() >= self.capacity || self.young.bytes + entry.cost > MAX_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += entry.cost;
        if let Some(replaced) = self.young.entries.insert(token, entry) {
            self.young.bytes = self.young.bytes.saturating_sub(replaced.cost);
        }
    }

    pub(super) fn remove(&mut self, token: &[u8; 32]) {
        let _removed = self.young.remove(token).or_else(|| self.old.remove(token));
    }

    /// Keeps what `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for generation in [&mut self.young, &mut self.old] {
            let bytes = &mut generation.bytes;
            generation.entries.retain(|_, entry| {
                let kept = keep(entry);
                *bytes = bytes.saturating_sub(if kept { 0 } else { entry.cost });
                kept
            });
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.young.entries.len() + self.old.entries.len(), self.young.bytes + self.old.bytes)
    }
}

impl Generation {
    fn remove(&mut self, token: &[u8; 32]) -> Option<Entry> {
        let entry = self.entries.remove(token)?;
        self.bytes = self.bytes.saturating_sub(entry.cost);
        Some(entry)
    }
}

impl Entry {
    pub(super) fn new(identity: Rc<Identity>) -> Self {
        let Identity { agent, caller, json, claims, .. } = &*identity;
        let actors = agent.act.iter().map(|actor| text(&actor.iss) + text(&actor.sub) + size_of::<Actor>());
        let texts = [&agent.iss, &agent.sub, &caller.iss, &caller.sub].map(|part| text(part)).iter().sum::<usize>();
        let owner = agent.owner.as_deref().map_or(0, text);
        let cost = OVERHEAD + texts + owner + actors.sum::<usize>() + json.capacity() + heap(claims);
        Entry { identity, cost }
    }
}

/// Bytes that a value takes beside its own place: many small members take far more than their text.
fn heap(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) => 0,
        Json::Number(number) => text(number.as_str()),
        Json::String(value) => text(value),
        Json::Array(items) => BLOCK + items.iter().map(|item| 2 * size_of::<Json>() + heap(item)).sum::<usize>(),
        Json::Object(members) => {
            // Lists grow by doubling.
            let each = |(name, value): (&str, &Json)| 2 * size_of::<(String, Json)>() + text(name) + heap(value);
            BLOCK + members.iter().map(each).sum::<usize>()
        }
    }
}

fn text(text: &str) -> usize {
    BLOCK + text.len()
}

/// The first eight bytes of a hash are a hash: nobody chooses them without finding so many tokens that verify.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(self.0, |first| u64::from_le_bytes(*first));
    }

    /// The length of the array comes before its bytes.
    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests;
