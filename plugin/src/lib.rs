//! The filter: proxy-wasm's callbacks around [`holdgate_gate`], and nothing else.
//!
//! Every root context has a gate of its own, so that a new configuration in the same VM starts clean while the old
//! one's streams end. No borrow of the gate is held while the host is told to do something: an answer to a stream enters
//! the VM anew.

mod host;
#[cfg(feature = "trap")]
mod trap;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use holdgate_gate::{Command, Config, ConfigError, Gate, RootCall, STREAM_ANSWER, Step, StreamId, config::AwaitBody};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};

/// Milliseconds between two ticks: the longest that a woken stream waits for its place in a bounded batch.
const TICK: u32 = 25;

/// Where the gateway's credential stands in the proxy's environment.
const CREDENTIAL: &str = "HOLDGATE_GATEWAY_CREDENTIAL";

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| {
        Box::new(Root {
            id,
            gate: None,
            vm_configuration: Vec::new(),
            calls: HashMap::new(),
            refused: Vec::new(),
            metrics: Default::default(),
        })
    });
}}

/// What the streams of a root context share.
struct Shared {
    gate: RefCell<Gate>,
    service: host::Service,
    /// Where the bundle in force is kept for the next VM.
    kept_as: String,
}

struct Root {
    id: u32,
    gate: Option<Rc<Shared>>,
    /// The credential, on hosts that have no environment.
    vm_configuration: Vec<u8>,
    calls: HashMap<u32, RootCall>,
    /// Calls that the host would not make; the gate hears of them at the next tick.
    refused: Vec<RootCall>,
    metrics: host::Metrics,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        if let (Some(call), Some(shared)) = (self.calls.remove(&token), self.gate.clone()) {
            let answer = host::answer(headers, body, call.longest_answer());
            let Some(now) = host::now() else {
                // Nothing is decided without the time: it is asked for again.
                self.refused.push(call);
                return;
            };
            let commands = shared.gate.borrow_mut().root_answer(now, call, answer);
            self.carry_out(&shared, commands);
            if self.is_over(&shared, now) {
                host::done();
            }
        }
    }

    /// A newer configuration has taken this one's place, and the last stream is gone.
    fn on_done(&mut self) -> bool {
        let (Some(shared), Some(now)) = (self.gate.clone(), host::now()) else { return true };
        let commands = shared.gate.borrow_mut().end(now);
        self.carry_out(&shared, commands);
        self.is_over(&shared, now)
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        self.vm_configuration = host::vm_configuration(size);
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        match configure(size, &self.vm_configuration) {
            Ok(shared) => {
                self.gate = Some(Rc::new(shared));
                host::tick_every(TICK);
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &format!("the filter's configuration is refused: {error}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let (Some(shared), Some(now)) = (self.gate.clone(), host::now()) {
            let refused = std::mem::take(&mut self.refused);
            let commands = shared.gate.borrow_mut().tick(now, refused);
            self.carry_out(&shared, commands);
            if self.is_over(&shared, now) {
                host::done();
            }
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { id, shared: self.gate.clone(), phase: Phase::New, bodiless: false, listing: None }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

fn configure(size: usize, vm_configuration: &[u8]) -> Result<Shared, ConfigError> {
    let config = Config::parse(&host::configuration(size))?;
    let credential = match config.body {
        AwaitBody::Pause => std::env::var(CREDENTIAL).map_err(|_| ConfigError::Credential)?,
        // ngx_wasm_module gives a filter no environment. What it gives the VM is shown nowhere; on Envoy it would be.
        AwaitBody::Continue => String::from_utf8_lossy(vm_configuration).trim().to_owned(),
    };
    if credential.is_empty() {
        return Err(match config.body {
            AwaitBody::Pause => ConfigError::Credential,
            AwaitBody::Continue => ConfigError::ModuleCredential,
        });
    }
    let service = host::Service {
        cluster: config.approval.cluster.clone(),
        authority: config.approval.authority.clone(),
        authorization: format!("Bearer {credential}"),
    };
    let kept_as = format!("holdgate/bundle/{}", config.group);
    let mut gate = Gate::new(config, &credential, Box::new(host::Proxy));
    if let Some(kept) = host::kept(&kept_as) {
        gate.restore(&kept);
    }
    Ok(Shared { gate: RefCell::new(gate), service, kept_as })
}

impl Root {
    /// Whether the host may delete this context: it wants to, and nothing is left to tell.
    fn is_over(&mut self, shared: &Shared, now: u64) -> bool {
        let over = shared.gate.borrow().has_ended(now);
        if over {
            self.gate = None;
            // Envoy runs the timer of a context that is gone for ever.
            host::tick_every(0);
        }
        over
    }

    fn carry_out(&mut self, shared: &Shared, commands: Vec<Command>) {
        // The stream whose change failed: the step that follows is not for what it has become.
        let mut unchanged = None;
        for command in commands {
            match command {
                Command::Forward { stream, .. } if unchanged == Some(stream) => {}
                Command::Forward { stream, permit } => host::in_stream(stream, self.id, || host::resume(permit)),
                Command::Change { stream, changes } => host::in_stream(stream, self.id, || {
                    if !host::change_request(&changes, usize::MAX) {
                        unchanged = Some(stream);
                        host::reply_unable();
                    }
                }),
                Command::Reply { stream, reply } => host::in_stream(stream, self.id, || host::reply(&reply)),
                Command::Keep(bundle) => host::keep(&shared.kept_as, &bundle),
                Command::Measure(figure) => self.metrics.tell(figure),
                Command::Warn(text) => host::log(LogLevel::Warn, &text),
                Command::Fetch { call, place } => match host::fetch(&place) {
                    Some(token) => drop(self.calls.insert(token, call)),
                    None => self.refused.push(call),
                },
                Command::Call { call, callout } => match host::call(&shared.service, &callout) {
                    Some(token) => drop(self.calls.insert(token, call)),
                    None => self.refused.push(call),
                },
            }
        }
    }
}

/// One request as the host shows it; what is known of it is in the gate.
struct Stream {
    id: StreamId,
    /// `None` where the root context has no configuration: nothing passes.
    shared: Option<Rc<Shared>>,
    phase: Phase,
    /// Judged as a request without a body, which must not have one then.
    bodiless: bool,
    /// The answer is a list of tools, which is kept until it is whole; so many bytes of it have come.
    listing: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// The gate decides.
    Waiting,
    /// It goes on, body and all.
    Passing,
    /// It was answered here.
    Answered,
}

impl Stream {
    fn pass(&mut self) -> Action {
        self.phase = Phase::Passing;
        Action::Continue
    }

    /// The host has not done what must be done before the request can go on: it does not.
    fn give_up(&mut self) -> Action {
        self.phase = Phase::Answered;
        host::reply_unable();
        Action::Pause
    }

    /// Puts what the agent may see in place of a list that has come whole.
    fn filter_list(&mut self, shared: &Shared) {
        let Some(size) = self.listing.take() else { return };
        let body = host::response_body(size);
        let other = shared.gate.borrow_mut().list(host::now().unwrap_or(u64::MAX), self.id, &body);
        other.iter().for_each(|other| host::set_response_body(other, size));
    }

    /// Carries a step out and says what the host is to do with the request.
    fn carry_out(&mut self, shared: &Shared, mut step: Step) -> Action {
        loop {
            match step {
                Step::Forward(permit) => return if host::mark(permit) { self.pass() } else { self.give_up() },
                Step::Await => {
                    self.phase = Phase::Waiting;
                    return Action::Pause;
                }
                Step::Reply(reply) => {
                    self.phase = Phase::Answered;
                    host::reply(&reply);
                    return Action::Pause;
                }
                Step::Call(callout) => match host::call(&shared.service, &callout) {
                    Some(_token) => step = Step::Await,
                    None => match host::now() {
                        Some(now) => step = shared.gate.borrow_mut().stream_answer(now, self.id, None),
                        None => return self.give_up(),
                    },
                },
            }
        }
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body: usize, _trailers: usize) {
        if let (Phase::Waiting, Some(shared)) = (self.phase, self.shared.clone()) {
            let answer = host::answer(headers, body, STREAM_ANSWER);
            let Some(now) = host::now() else {
                self.give_up();
                return;
            };
            let step = shared.gate.borrow_mut().stream_answer(now, self.id, answer);
            // Nothing is returned to the host here: a paused request is told to go on.
            if let Step::Forward(permit) = step {
                self.phase = Phase::Passing;
                host::resume(permit);
            } else {
                self.carry_out(&shared, step);
            }
        }
    }

    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            shared.gate.borrow_mut().closed(self.id);
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        #[cfg(feature = "trap")]
        trap::spring();
        let Some(shared) = self.shared.clone() else {
            return self.give_up();
        };
        let headers = match shared.gate.borrow().awaits_bodies_by() {
            AwaitBody::Pause => host::request_headers(),
            AwaitBody::Continue => host::request_headers_of_nginx(),
        };
        let Some(now) = host::now() else { return self.give_up() };
        let opened = shared.gate.borrow_mut().head(now, self.id, headers, end);
        let removed = opened.remove.iter().all(|name| host::remove_request_header(name));
        let named = opened.authority.iter().all(|authority| host::set_request_header(":authority", authority));
        if !removed || !named {
            return self.give_up();
        }
        self.bodiless = opened.bodiless;
        let awaits = matches!(opened.step, Step::Await);
        match self.carry_out(&shared, opened.step) {
            // Such a host brings the whole body before it goes on, but only if the headers are not paused.
            Action::Pause if awaits && shared.gate.borrow().awaits_bodies_by() == AwaitBody::Continue => {
                Action::Continue
            }
            action => action,
        }
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        let Some(shared) = self.shared.clone() else { return Action::Pause };
        match self.phase {
            Phase::Passing if self.bodiless && size > 0 => {
                let step = shared.gate.borrow_mut().surplus(self.id);
                return self.carry_out(&shared, step);
            }
            Phase::Passing => return Action::Continue,
            Phase::New | Phase::Answered => return Action::Pause,
            Phase::Waiting => {}
        }
        if !shared.gate.borrow().awaits_body(self.id) {
            // The root context may have let it go on while its body was coming.
            let through = shared.gate.borrow().is_through(self.id);
            return if through { Action::Continue } else { Action::Pause };
        }
        if !end {
            let step = shared.gate.borrow_mut().body_so_far(self.id, size);
            return self.carry_out(&shared, step);
        }
        let body = host::request_body(size);
        let Some(now) = host::now() else { return self.give_up() };
        let step = shared.gate.borrow_mut().body(now, self.id, body);
        let changes = shared.gate.borrow_mut().changes();
        if changes.is_some_and(|changes| !host::change_request(&changes, size)) {
            return self.give_up();
        }
        self.carry_out(&shared, step)
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let Some(shared) = self.shared.clone() else { return Action::Pause };
        if shared.gate.borrow().is_through(self.id) {
            self.phase = Phase::Passing;
        }
        match self.phase {
            Phase::Passing => {
                let unread = shared.gate.borrow().unread_trailers(&host::request_trailers());
                let removed = unread.iter().all(|name| host::remove_request_trailer(name));
                if removed { Action::Continue } else { self.give_up() }
            }
            Phase::New | Phase::Answered => Action::Pause,
            Phase::Waiting => {
                let step = shared.gate.borrow_mut().trailers(self.id);
                self.carry_out(&shared, step)
            }
        }
    }

    fn on_http_response_headers(&mut self, _count: usize, end: bool) -> Action {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.gate.borrow().awaits_answer(self.id)) else {
            return Action::Continue;
        };
        if shared.gate.borrow().awaits_response(self.id) {
            let status = host::upstream_status();
            shared.gate.borrow_mut().response(self.id, status);
        }
        if !end && shared.gate.borrow().awaits_list(self.id) {
            let (status, content_type, encoded) = host::answers_list();
            if shared.gate.borrow_mut().list_head(self.id, status, content_type.as_deref(), encoded) {
                self.listing = Some(0);
                host::forget_body_headers();
            }
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        let Some(shared) = self.shared.clone().filter(|_| self.listing.is_some()) else { return Action::Continue };
        self.listing = shared.gate.borrow_mut().list_so_far(self.id, size).then_some(size);
        if self.listing.is_some() && !end {
            return Action::Pause;
        }
        self.filter_list(&shared);
        Action::Continue
    }

    /// Where trailers follow, no part of the body was its last.
    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        if let Some(shared) = self.shared.clone() {
            self.filter_list(&shared);
        }
        Action::Continue
    }
}
