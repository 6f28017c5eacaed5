//! Callouts and what root contexts ask for.

use holdgate_gate::{Answer, Callout, Change, Command, Figure, RootCall, Step};

use super::{Native, Waiting, Whose};
use crate::cases::{
    driver::{CREDENTIAL, Handle},
    service::{Call, CallId, Delivery, Taken},
};

/// What a trace shows of a body.
const SHOWN: usize = 300;

impl Native {
    /// Makes a call; `None` where the proxy refuses it.
    pub(super) fn call(&mut self, callout: &Callout) -> Option<CallId> {
        let call = Call {
            method: callout.method.to_owned(),
            path: callout.path.clone(),
            authorization: Some(format!("Bearer {CREDENTIAL}")),
            body: callout.body.clone(),
        };
        let taken = self.with_service(|service, now| service.take(now, call));
        let body = shown(&callout.body);
        match taken {
            Taken::Call(id) => {
                self.note(format!("call {id} to the service: {} {} {body}", callout.method, callout.path));
                Some(id)
            }
            Taken::Refused => {
                self.note(format!("the proxy refuses a call to the service: {} {}", callout.method, callout.path));
                None
            }
        }
    }

    pub(super) fn wait_for(&mut self, id: CallId, callout: &Callout, whose: Whose) {
        self.calls.insert(id, Waiting { whose, until: self.now.saturating_add(callout.timeout.max(1)) });
    }

    /// Brings an answer to whom it belongs.
    pub(super) fn deliver(&mut self, id: CallId, delivery: Delivery) {
        let answer = match delivery {
            Delivery::Answer { status, body } => {
                self.note(format!("answer to call {id}: {status} {}", shown(&body)));
                Some(Answer { status, body })
            }
            Delivery::Reset => {
                self.note(format!("the stream of call {id} is reset"));
                None
            }
        };
        // A second answer finds nobody who waits for it, as in the plugin.
        match self.calls.remove(&id).map(|waiting| waiting.whose) {
            Some(Whose::Stream(handle)) => self.stream_answer(handle, answer),
            Some(Whose::Root { worker, root, call }) => {
                let answer = answer.filter(|answer| answer.body.len() <= call.longest_answer());
                let now = self.now;
                let Some(of) = self.root(worker, root) else { return };
                let commands = of.gate.root_answer(now, call, answer);
                self.carry_out(worker, root, commands);
            }
            None => {}
        }
    }

    pub(super) fn carry_out(&mut self, worker: usize, root: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Forward { stream, permit } => {
                    if let Some(handle) = self.handle(worker, stream) {
                        self.step(handle, Step::Forward(permit));
                    }
                }
                Command::Change { stream, changes } => {
                    if let Some(handle) = self.handle(worker, stream) {
                        self.change(handle, changes);
                    }
                }
                Command::Reply { stream, reply } => {
                    if let Some(handle) = self.handle(worker, stream) {
                        self.step(handle, Step::Reply(reply));
                    }
                }
                Command::Keep(bundle) => {
                    self.memory.keep(bundle);
                    if let Some(of) = self.root(worker, root) {
                        of.governed = true;
                    }
                }
                Command::Measure(figure) => self.measure(figure),
                Command::Warn(text) => self.log(text),
                // There is no other cluster than that of the service.
                Command::Fetch { call, .. } => self.refuse(worker, root, call),
                Command::Call { call, callout } => match self.call_of_root(worker, root, &call, &callout) {
                    Some(id) => self.wait_for(id, &callout, Whose::Root { worker, root, call }),
                    None => self.refuse(worker, root, call),
                },
            }
        }
    }

    fn call_of_root(&mut self, worker: usize, root: usize, call: &RootCall, callout: &Callout) -> Option<CallId> {
        // The feed is asked for once there is a snapshot.
        if let (RootCall::Feed, Some(of)) = (call, self.root(worker, root)) {
            of.fed = true;
        }
        self.call(callout)
    }

    fn refuse(&mut self, worker: usize, root: usize, call: RootCall) {
        if let Some(of) = self.root(worker, root) {
            of.refused.push(call);
        }
    }

    fn measure(&mut self, Figure { name, change }: Figure) {
        self.changed = true;
        let figure = self.observed.metrics.entry(name).or_default();
        match change {
            Change::Add(by) => *figure += by.cast_signed(),
            Change::Shift(by) => *figure += by,
            Change::Set(value) => *figure = value.cast_signed(),
        }
    }

    /// The stream of a number that is still there.
    fn handle(&self, worker: usize, id: u32) -> Option<Handle> {
        self.streams.iter().position(|stream| stream.is(worker, id))
    }
}

/// The beginning of a body, for people.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str(&format!("... ({} bytes)", body.len()));
    }
    shown
}
