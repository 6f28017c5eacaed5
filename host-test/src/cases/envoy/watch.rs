//! What is seen of a case: gathered by all tasks, read by the driver.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    cases::driver::{Handle, Observed, ObservedRequest, Reply, TraceLine, Trouble},
    clock,
};

/// What a trace shows of a body.
const SHOWN: usize = 300;

/// Shared by the tasks that play a case.
pub(super) struct Watch {
    state: Mutex<State>,
    changed: Notify,
}

pub(super) struct State {
    pub(super) observed: Observed,
    trace: Vec<TraceLine>,
    names: Vec<String>,
    /// Requests that the upstream was told not to answer: what the agent gets then is the proxy's word for it.
    unanswered: HashSet<Handle>,
    trouble: Option<Trouble>,
    happened_at: Instant,
}

impl Watch {
    pub(super) fn new() -> Self {
        let state = State {
            observed: Observed::default(),
            trace: Vec::new(),
            names: Vec::new(),
            unanswered: HashSet::new(),
            trouble: None,
            happened_at: Instant::now(),
        };
        Watch { state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happens.
    pub(super) fn happen<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.happened_at = Instant::now();
        let result = act(&mut state);
        drop(state);
        self.changed.notify_one();
        result
    }

    pub(super) fn note(&self, text: impl Into<String>) {
        self.happen(|state| state.note(text));
    }

    /// A request of its own.
    pub(super) fn open(&self, name: &str) -> Handle {
        self.happen(|state| {
            let handle = state.observed.requests.len();
            state.observed.requests.push(ObservedRequest::default());
            state.names.push(name.to_owned());
            handle
        })
    }

    /// The metrics as they are now.
    pub(super) fn learn(&self, metrics: BTreeMap<String, i64>) {
        self.state().observed.metrics = metrics;
    }

    /// A line of the filter's log, `told` where it is a warning.
    pub(super) fn log(&self, text: &str, told: bool) {
        self.happen(|state| {
            state.note(format!("log: {text}"));
            if told {
                state.observed.logs.push(text.to_owned());
            }
        });
    }

    /// The case cannot go on.
    pub(super) fn fail(&self, trouble: Trouble) {
        self.happen(|state| {
            state.note(trouble.to_string());
            state.trouble.get_or_insert(trouble);
        });
    }

    pub(super) fn observed(&self) -> Result<Observed, Trouble> {
        let state = self.state();
        state.trouble.clone().map_or_else(|| Ok(state.observed.clone()), Err)
    }

    pub(super) fn trace(&self) -> Vec<TraceLine> {
        self.state().trace.clone()
    }

    /// How long nothing has happened.
    pub(super) fn quiet_for(&self) -> Duration {
        self.state().happened_at.elapsed()
    }

    /// Waits until something happens, for a while at most.
    pub(super) async fn changed(&self, most: Duration) {
        let _nothing = tokio::time::timeout(most, self.changed.notified()).await;
    }
}

impl State {
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.trace.push(TraceLine { at: clock::now(), text: text.into() });
    }

    pub(super) fn request(&mut self, handle: Handle) -> Option<&mut ObservedRequest> {
        self.observed.requests.get_mut(handle)
    }

    pub(super) fn name(&self, handle: Handle) -> String {
        self.names.get(handle).cloned().unwrap_or_default()
    }

    pub(super) fn leave_unanswered(&mut self, handle: Handle) {
        self.unanswered.insert(handle);
    }

    /// The agent has its answer: `marked` where it is the upstream's.
    pub(super) fn answered(&mut self, handle: Handle, reply: Reply, marked: bool) {
        let by_gateway = !marked && !self.unanswered.contains(&handle);
        let (who, name) = (if by_gateway { "the gateway" } else { "the upstream" }, self.name(handle));
        self.note(format!("{who} answers `{name}`: {} {}", reply.status, shown(&reply.body)));
        if let Some(request) = self.request(handle) {
            request.reply = Some(reply);
            request.by_gateway = by_gateway;
        }
    }
}

/// The beginning of a body, for people.
pub(super) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str(&format!("... ({} bytes)", body.len()));
    }
    shown
}
