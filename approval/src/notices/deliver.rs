//! Delivers notices to hooks: a task for each hook, so that one that hangs holds up no other, and never the writer.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{
    client::{Client, ClientError, SendError, TIME},
    config::Hook,
    payload,
};
use crate::{
    random,
    service::Service,
    store::{
        Command, StoreError, Tx,
        notices::{self, Delivery, Tried},
    },
};

/// Deliveries that are taken at once.
const TAKEN: u32 = 16;

/// How often is looked for something to deliver.
const LOOK: Duration = Duration::from_secs(1);

/// The pause after the first failure, and the longest, in seconds. It doubles each time.
const PAUSES: (u64, u64) = (5, 60 * 60);

/// After how many failures of one notice the next one is tried, too, before all wait: a receiver that fails at one of them is not one that
/// is out of order.
const DOUBTED: u64 = 3;

/// For how long delivery is tried, in seconds: a day.
pub const PATIENCE: u64 = 24 * 60 * 60;

/// Why notices cannot be delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// The tasks that deliver, made ready.
pub struct Couriers {
    service: Service,
    client: Arc<Client>,
    /// The name of this process in leases.
    me: Arc<str>,
}

impl Couriers {
    pub fn new(service: Service) -> Result<Self, DeliverError> {
        let client = Arc::new(Client::new(&service.notices)?);
        Ok(Couriers { service, client, me: random::secret()?.into() })
    }

    /// Delivers until the stop. Then what is under way is dropped, to be sent again, and the hooks are left to others.
    pub async fn run(self, stopping: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for hook in &self.service.notices.hooks {
            let (service, client, me) = (self.service.clone(), self.client.clone(), self.me.clone());
            let courier = Courier { service, client, me, hook: hook.clone() };
            tasks.spawn(courier.run(stopping.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

struct Courier {
    service: Service,
    client: Arc<Client>,
    me: Arc<str>,
    hook: Arc<Hook>,
}

impl Courier {
    async fn run(self, mut stopping: watch::Receiver<bool>) {
        loop {
            let round = tokio::select! {
                // An error says that whoever could ask for a stop is gone.
                _ = stopping.wait_for(|stop| *stop) => break,
                round = self.round() => round,
            };
            if let Err(error) = &round {
                tracing::error!(%error, hook = %self.hook.id, "notices could not be looked for");
            }
            if matches!(round, Ok(true)) {
                continue;
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                () = self.service.notices.news.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        if let Err(error) = self.release().await {
            tracing::warn!(%error, hook = %self.hook.id, "a hook could not be left to others");
        }
    }

    /// Delivers what is due; says whether there may be more.
    async fn round(&self) -> Result<bool, StoreError> {
        let (store, hook) = (&self.service.store, &self.hook.id);
        if !notices::is_due(&mut store.read().await?, hook, self.service.now()).await? {
            return Ok(false);
        }
        let take = Take { hook: hook.clone(), by: self.me.clone(), now: self.service.now() };
        let taken = store.write(take).await?;
        let more = !taken.is_empty();
        // When a notice that failed again and again is tried next, and it may be no outage.
        let mut doubted = None;
        for delivery in taken {
            let mut tried = self.send(&delivery).await;
            match &mut tried {
                Tried::Again { at, pause, .. } if *pause => match doubted {
                    // It is one; what comes first when it is over is what came first.
                    Some(until) => *at = (*at).max(until),
                    None if delivery.tries >= DOUBTED => {
                        doubted = Some(*at);
                        *pause = false;
                    }
                    None => {}
                },
                _ => doubted = None,
            }
            let rests = matches!(tried, Tried::Again { pause: true, .. });
            let (hook, by, now) = (hook.clone(), self.me.clone(), self.service.now());
            let kept = store.write(Settle { hook, by, entry: delivery.entry, tried, now }).await?;
            if rests || !kept {
                break;
            }
        }
        self.release().await?;
        Ok(more)
    }

    async fn send(&self, delivery: &Delivery) -> Tried {
        let (id, hook) = (&delivery.name, &self.hook.id);
        let Ok(body) = payload::write(self.hook.format, &delivery.body) else {
            return Tried::Failed { error: "the notice cannot be written".into() };
        };
        match self.client.send(&self.hook, id, self.service.now(), body).await {
            Ok(()) => {
                tracing::debug!(%hook, notice = %id, "a notice was delivered");
                Tried::Delivered
            }
            Err(error) => {
                let tried = self.again(delivery, &error);
                let gives_up = matches!(tried, Tried::Failed { .. });
                tracing::warn!(%hook, notice = %id, tries = delivery.tries + 1, gives_up, %error, "a notice was not taken");
                tried
            }
        }
    }

    fn again(&self, delivery: &Delivery, error: &SendError) -> Tried {
        let now = self.service.now();
        if now >= delivery.made_at.saturating_add(PATIENCE) {
            return Tried::Failed { error: error.to_string() };
        }
        let (first, longest) = PAUSES;
        let pause = first.saturating_mul(1 << delivery.tries.min(20)).min(longest);
        // Without random bytes the pause is only not spread.
        let spread = random::bytes::<1>().map_or(128, |[byte]| u64::from(byte));
        let pause = (pause * (205 + spread * 2 / 5)).div_ceil(256);
        Tried::Again { at: now.saturating_add(pause), error: error.to_string(), pause: error.is_outage() }
    }

    async fn release(&self) -> Result<(), StoreError> {
        let release = Release { hook: self.hook.id.clone(), by: self.me.clone() };
        self.service.store.write(release).await
    }
}

// A lease outlives the try that it covers.
const _: () = assert!(notices::LEASE > TIME.as_secs() * 2);

struct Take {
    hook: String,
    by: Arc<str>,
    now: u64,
}

impl Command for Take {
    type Answer = Vec<Delivery>;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<Vec<Delivery>, StoreError> {
        if !tx.take_hook(&self.hook, &self.by, self.now).await? {
            return Ok(Vec::new());
        }
        tx.due_deliveries(&self.hook, self.now, TAKEN).await
    }
}

struct Settle {
    hook: String,
    by: Arc<str>,
    entry: u64,
    tried: Tried,
    now: u64,
}

impl Command for Settle {
    type Answer = bool;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<bool, StoreError> {
        tx.settle((&self.hook, &self.by), self.entry, &self.tried, self.now).await
    }
}

struct Release {
    hook: String,
    by: Arc<str>,
}

impl Command for Release {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.release_hook(&self.hook, &self.by).await
    }
}
