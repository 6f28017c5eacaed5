//! Who is connected to a listener, how long each has been silent, and who makes room for others.
//!
//! Whoever connects is let in. Where there is no room, the one leaves who has been silent longest, those last who have a request under
//! way: so nobody keeps others out by staying, whatever they send from time to time, and no address has to be told from another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The places of a listener.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
    /// One has become free.
    free: Notify,
}

#[derive(Default)]
struct Taken {
    /// The number of the next one.
    next: u64,
    peers: HashMap<u64, Arc<Peer>>,
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    number: u64,
    peer: Arc<Peer>,
    places: Arc<Places>,
}

/// What is known of whoever has a place.
pub(super) struct Peer {
    heard: Mutex<Heard>,
    /// Somebody needs the place.
    leave: Notify,
}

#[derive(Clone, Copy)]
struct Heard {
    /// Requests under way.
    requests: usize,
    /// When the last one began or ended, or something of its answer was sent.
    last: Instant,
}

/// A request under way, with its answer, until both are through.
pub(super) struct UnderWay(Arc<Peer>);

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Places { most, taken: Mutex::default(), free: Notify::new() })
    }

    /// Takes a place. One listener asks for one at a time.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.try_take() {
                return place;
            }
            self.free.notified().await;
        }
    }

    /// Takes a place, or asks for one.
    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.peers.len() >= self.most {
            if let Some(silent) = taken.peers.values().min_by_key(|peer| peer.rank()) {
                silent.leave.notify_one();
            }
            return None;
        }
        let heard = Mutex::new(Heard { requests: 0, last: Instant::now() });
        let (number, peer) = (taken.next, Arc::new(Peer { heard, leave: Notify::new() }));
        taken.next += 1;
        taken.peers.insert(number, peer.clone());
        Some(Place { number, peer, places: self.clone() })
    }

    /// Waits until nobody has a place any more.
    pub(super) async fn empty(&self) {
        while !self.taken.lock().unwrap_or_else(PoisonError::into_inner).peers.is_empty() {
            self.free.notified().await;
        }
    }
}

impl Place {
    pub(super) fn peer(&self) -> Arc<Peer> {
        self.peer.clone()
    }

    /// Waits until somebody needs the place.
    pub(super) async fn wanted(&self) {
        self.peer.leave.notified().await;
    }

    /// Waits until the connection has been silent for so long.
    pub(super) async fn silent(&self, limit: Duration) {
        loop {
            let until = self.peer.heard().last + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().unwrap_or_else(PoisonError::into_inner).peers.remove(&self.number);
        self.places.free.notify_one();
    }
}

impl Peer {
    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.change(|heard| heard.requests += 1);
        UnderWay(self.clone())
    }

    fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut heard);
        heard.last = Instant::now();
    }

    /// Who makes room comes first.
    fn rank(&self) -> (bool, Instant) {
        let Heard { requests, last } = self.heard();
        (requests > 0, last)
    }
}

impl UnderWay {
    /// Something of the answer is sent.
    pub(super) fn goes_on(&self) {
        self.0.change(|_| {});
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.change(|heard| heard.requests = heard.requests.saturating_sub(1));
    }
}
