//! Audit records on their way to the approval service: bounded, in batches, each sent until it is taken.
//!
//! A record is text as soon as it is made, so that what the spool takes up is known to the byte. Records have numbers that
//! rise by one in each epoch; one that finds no room has a number too, and so it is missed.

use std::collections::VecDeque;

use holdgate_protocol::audit;

/// Records of one batch, and the bytes of its body: what the service takes.
const MAX_RECORDS: u64 = audit::MAX_RECORDS as u64;
const MAX_BATCH: usize = audit::MAX_BYTES;

/// Bytes of one record; one that is longer is dropped, as no batch could carry it together with others.
const MAX_RECORD: usize = 64 * 1024;

/// Records and bytes that wait, in all. Of both, requests without a verified agent may fill the half: what anybody can
/// send does not displace what agents did.
const MAX_SPOOLED: u64 = 8_192;
const MAX_SPOOLED_BYTES: usize = 4 * 1024 * 1024;

/// Records of requests without a verified agent in one second, of one worker.
const MAX_UNVERIFIED: u32 = 256;

/// Milliseconds after which a batch is sent that is not full.
const MAX_AGE: u64 = 1_000;

/// Milliseconds until a batch is sent again: at first, and at most.
const FIRST_RETRY: u64 = 1_000;
const LAST_RETRY: u64 = 30_000;

/// Room for what stands around the records of a batch.
const ENVELOPE: usize = 256;

/// The records of one gate that the service has not taken yet.
pub(super) struct Spool {
    /// A name that no other gate has or had.
    pub(super) epoch: Option<String>,
    /// The number that was given out last.
    seq: u64,
    open: Batch,
    full: VecDeque<Batch>,
    records: u64,
    bytes: usize,
    in_flight: bool,
    retry_at: u64,
    retry_after: u64,
    /// Records that found no room since that was told last.
    pub(super) dropped: u64,
    /// Records that the service has refused since that was told last.
    pub(super) refused: u64,
    /// A second, and how many requests without a verified agent came in it.
    unverified: (u64, u32),
}

/// Records with neighbouring numbers.
#[derive(Default)]
struct Batch {
    from: u64,
    to: u64,
    dropped: u64,
    records: u64,
    /// When the first of them came, in Unix milliseconds.
    since: u64,
    text: Vec<u8>,
}

impl Spool {
    pub(super) fn new() -> Self {
        Spool {
            epoch: None,
            seq: 0,
            open: Batch::default(),
            full: VecDeque::new(),
            records: 0,
            bytes: 0,
            in_flight: false,
            retry_at: 0,
            retry_after: FIRST_RETRY,
            dropped: 0,
            refused: 0,
            unverified: (0, 0),
        }
    }

    /// Whether there is nothing that the service does not know of.
    pub(super) fn is_empty(&self) -> bool {
        self.open.from == 0 && self.full.is_empty()
    }

    /// No more comes: what is there need not wait for more.
    pub(super) fn finish(&mut self) {
        self.close();
    }

    /// What the service has not taken by now it will not get.
    pub(super) fn abandon(&mut self) {
        self.close();
        self.dropped += self.records;
        self.full.clear();
        (self.records, self.bytes) = (0, 0);
    }

    /// How many records wait.
    pub(super) fn len(&self) -> u64 {
        self.records
    }

    /// Adds the record that `write` appends to a text; its number comes first. `verified`: it is about a verified agent.
    pub(super) fn add(&mut self, now: u64, verified: bool, write: &mut dyn FnMut(&mut Vec<u8>)) {
        if self.open.text.len() >= MAX_BATCH - MAX_RECORD - ENVELOPE {
            self.close();
        }
        self.seq += 1;
        if self.open.from == 0 {
            (self.open.from, self.open.since) = (self.seq, now);
        }
        if !verified && self.is_flooded(now) {
            return self.drop_one();
        }
        let share = if verified { 1 } else { 2 };
        if self.records >= MAX_SPOOLED / share || self.bytes >= MAX_SPOOLED_BYTES / (share as usize) {
            return self.drop_one();
        }
        let before = self.open.text.len();
        put(&mut self.open.text, if before == 0 { b"{\"seq\":" } else { b",{\"seq\":" });
        number(&mut self.open.text, self.seq);
        write(&mut self.open.text);
        self.open.text.push(b'}');
        let size = self.open.text.len() - before;
        if size > MAX_RECORD {
            self.open.text.truncate(before);
            return self.drop_one();
        }
        self.open.records += 1;
        self.records += 1;
        self.bytes += size;
        if self.open.records == MAX_RECORDS {
            self.close();
        }
    }

    /// Whether so many requests without a verified agent came in this second that no more of them are written down: anyone
    /// can send them, and each record is stored for good.
    fn is_flooded(&mut self, now: u64) -> bool {
        let second = now / 1000;
        if self.unverified.0 != second {
            self.unverified = (second, 0);
        }
        self.unverified.1 += 1;
        self.unverified.1 > MAX_UNVERIFIED
    }

    fn drop_one(&mut self) {
        self.open.dropped += 1;
        self.dropped += 1;
    }

    fn close(&mut self) {
        if self.open.from > 0 {
            self.open.to = self.seq;
            self.full.push_back(std::mem::take(&mut self.open));
        }
    }

    /// The clock was set back: what is due is so after as long as before.
    pub(super) fn set_back(&mut self, back: u64) {
        self.retry_at = self.retry_at.saturating_sub(back);
        self.open.since = self.open.since.saturating_sub(back);
    }

    /// The body of the next batch, where one is due.
    pub(super) fn due(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.in_flight || now < self.retry_at {
            return None;
        }
        if self.full.is_empty() && now >= self.open.since.saturating_add(MAX_AGE) {
            self.close();
        }
        let (batch, epoch) = (self.full.front()?, self.epoch.as_ref()?);
        self.in_flight = true;
        let mut body = Vec::with_capacity(batch.text.len() + ENVELOPE);
        put(&mut body, b"{\"vm_epoch\":");
        string(&mut body, epoch);
        for (name, value) in [("from_seq", batch.from), ("to_seq", batch.to), ("dropped", batch.dropped)] {
            put(&mut body, b",\"");
            put(&mut body, name.as_bytes());
            put(&mut body, b"\":");
            number(&mut body, value);
        }
        put(&mut body, b",\"records\":[");
        put(&mut body, &batch.text);
        put(&mut body, b"]}");
        Some(body)
    }

    /// What came back to the batch that was sent last; `false` where it is to be sent again.
    pub(super) fn answered(&mut self, now: u64, status: Option<u16>) -> bool {
        self.in_flight = false;
        match status {
            Some(202) => {}
            // It will never be taken. What it held is missing there, and counted here.
            Some(400 | 409 | 413 | 422) => self.refused += self.full.front().map_or(0, |batch| batch.records),
            _ => {
                self.retry_at = now.saturating_add(self.retry_after);
                self.retry_after = (self.retry_after * 2).min(LAST_RETRY);
                return false;
            }
        }
        self.retry_after = FIRST_RETRY;
        if let Some(batch) = self.full.pop_front() {
            self.records = self.records.saturating_sub(batch.records);
            self.bytes = self.bytes.saturating_sub(batch.text.len());
        }
        true
    }
}

/// Appends bytes that are JSON already.
#[inline(never)]
pub(super) fn put(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(bytes);
}

/// Appends a JSON string.
#[inline(never)]
pub(super) fn string(text: &mut Vec<u8>, value: &str) {
    json(text, value);
}

/// Appends a number.
#[inline(never)]
pub(super) fn number(text: &mut Vec<u8>, value: u64) {
    json(text, &value);
}

/// Appends a value as JSON.
pub(super) fn json<T: serde::Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    // Writing to memory does not fail, and neither do the types that are written here.
    let _written = serde_json::to_writer(text, value);
}

#[cfg(test)]
mod tests;
