//! The keys of one issuer as they are now: pinned, or fetched and refreshed.

use holdgate_protocol::{
    Hash,
    jws::{Algorithm, IssuerKeys, KeyError},
};

use crate::{
    config::{Issuer, KeyPlace, KeySource},
    gate::Answer,
};

/// Milliseconds between two fetches that unknown key ids bring about, however many requests carry them.
const UNKNOWN_AGAIN: u64 = 10_000;

/// Milliseconds until a failed fetch is tried again: without keys, and with those of the last good one.
const RETRY_EMPTY: u64 = 1_000;
const RETRY: u64 = 10_000;

pub(super) struct Keys {
    /// `None` until the first fetch has come.
    pub(super) current: Option<IssuerKeys>,
    /// Rises with each change; what older keys verified counts no longer.
    pub(super) generation: u32,
    fetch: Option<Fetch>,
}

struct Fetch {
    place: KeyPlace,
    /// When the next one is due, in Unix milliseconds.
    due: u64,
    in_flight: bool,
    /// When the last good set came.
    came_at: Option<u64>,
    /// Until when unknown key ids bring no fetch about.
    calm_until: u64,
    /// Of the set in use.
    body: Option<Hash>,
    failing: bool,
}

/// What to do about a token whose key is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// A fetch is under way, or about to be: ask again when it has ended.
    Await,
    /// There is no such key, as far as can be known now.
    Refuse,
    /// The last fetch failed: there may be one.
    Unavailable,
}

impl Keys {
    pub(super) fn new(issuer: &Issuer) -> Self {
        let (current, fetch) = match &issuer.keys {
            KeySource::Pinned(keys) => (Some(keys.clone()), None),
            KeySource::Fetched(place) => {
                let (place, failing) = (place.clone(), false);
                let fetch =
                    Fetch { place, due: 0, in_flight: false, came_at: None, calm_until: 0, body: None, failing };
                (None, Some(fetch))
            }
        };
        Keys { current, generation: 0, fetch }
    }

    pub(super) fn unknown(&mut self, now: u64) -> Unknown {
        match &mut self.fetch {
            None => Unknown::Refuse,
            Some(fetch) if fetch.in_flight => Unknown::Await,
            Some(fetch) if now >= fetch.calm_until => {
                (fetch.due, fetch.calm_until) = (now, now.saturating_add(UNKNOWN_AGAIN));
                Unknown::Await
            }
            // Asked for a moment ago, and sent with the next tick.
            Some(fetch) if fetch.due <= now => Unknown::Await,
            // A set that has come this moment says that there is no such key.
            Some(fetch) if fetch.came_at == Some(now) => Unknown::Refuse,
            // The set may be older than the key by this short while: to refuse it would end what the issuer has just begun.
            Some(_) => Unknown::Unavailable,
        }
    }

    pub(super) fn set_back(&mut self, back: u64) {
        if let Some(fetch) = &mut self.fetch {
            fetch.due = fetch.due.saturating_sub(back);
            fetch.calm_until = fetch.calm_until.saturating_sub(back);
        }
    }

    /// The place to fetch from, where that is due.
    pub(super) fn due(&mut self, now: u64) -> Option<&KeyPlace> {
        let fetch = self.fetch.as_mut().filter(|fetch| !fetch.in_flight && now >= fetch.due)?;
        fetch.in_flight = true;
        Some(&fetch.place)
    }

    /// Takes the answer to a fetch. A set that differs replaces the old one at once and as a whole; where none came the old
    /// one stays. The error is told once for a run of failures. `jitter` is 0..=255.
    pub(super) fn take(
        &mut self,
        now: u64,
        answer: Option<&Answer>,
        algorithms: &[Algorithm],
        jitter: u8,
    ) -> Result<(), Option<String>> {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        fetch.in_flight = false;
        let wrong = match answer {
            None => "no answer".to_owned(),
            Some(Answer { status: 200, body }) => match IssuerKeys::fetched(body, algorithms) {
                Ok(keys) => {
                    let spread = fetch.place.refresh / 10 * u64::from(jitter) / 256;
                    fetch.came_at = Some(now);
                    (fetch.failing, fetch.due) = (false, now.saturating_add(fetch.place.refresh - spread));
                    let body = Some(Hash::of(body));
                    if fetch.body != body {
                        (fetch.body, self.current) = (body, Some(keys));
                        self.generation = self.generation.wrapping_add(1);
                    }
                    return Ok(());
                }
                Err(error) => {
                    if error == KeyError::NoneUsable {
                        // The issuer has taken its keys back.
                        (fetch.body, self.current) = (None, None);
                        self.generation = self.generation.wrapping_add(1);
                    }
                    error.to_string()
                }
            },
            Some(Answer { status, .. }) => format!("status {status}"),
        };
        fetch.due = now.saturating_add(if self.current.is_some() { RETRY } else { RETRY_EMPTY });
        if std::mem::replace(&mut fetch.failing, true) { Err(None) } else { Err(Some(wrong)) }
    }
}
