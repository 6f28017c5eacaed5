//! A worker of a proxy: its VM, and what happens where it has none any more.

use crate::{
    filter::Filter,
    finding::HostError,
    message::{AnsweredBy, Exchange, Message, Pairs, pairs},
    proxy::{Event, Proxy},
    stream::{Stream, StreamId},
    vm::{Dead, Vm},
};

/// Nanoseconds until a VM that failed is made anew (measured on Envoy: about a second).
const BACK_OFF: u64 = 1_000_000_000;

/// What a proxy does once the VM of a worker has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Each request is answered 503, for ever.
    Closed,
    /// Each request is answered 503, until a second has passed; then the VM is made anew.
    #[default]
    Reload,
    /// Requests go on without the filter.
    Open,
}

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) vm: Option<Vm>,
    /// The root context of the configuration in force.
    pub(crate) root: u32,
    vms: u64,
    failed_at: u64,
}

impl Worker {
    pub(crate) fn start(filter: &Filter, proxy: &mut Box<Proxy>, index: usize) -> Result<Self, HostError> {
        let mut worker = Worker { index, vm: None, root: 0, vms: 0, failed_at: 0 };
        worker.renew(filter, proxy)?;
        Ok(worker)
    }

    /// A worker without a filter, which answers every request 503.
    pub(crate) fn closed(index: usize) -> Self {
        Worker { index, vm: None, root: 0, vms: 0, failed_at: u64::MAX - BACK_OFF }
    }

    /// Makes a VM in place of the one that was there.
    pub(crate) fn renew(&mut self, filter: &Filter, proxy: &mut Box<Proxy>) -> Result<(), HostError> {
        self.vms += 1;
        let mut vm = Vm::start(filter, proxy, self.index, self.vms)?;
        self.root = vm.configure(proxy)?;
        self.vm = Some(vm);
        Ok(())
    }

    /// A request comes; its context, or `None` where the filter has not seen it and it is over.
    pub(crate) fn open(
        &mut self,
        filter: &Filter,
        proxy: &mut Box<Proxy>,
        policy: FailurePolicy,
        stream: Stream,
        end: bool,
    ) -> Option<u32> {
        if self.vm.is_none() && policy == FailurePolicy::Reload && proxy.now >= self.failed_at + BACK_OFF {
            // A filter that cannot be started again leaves the worker without one, for another second.
            if self.renew(filter, proxy).is_err() {
                (self.vm, self.failed_at) = (None, proxy.now);
            }
        }
        let root = self.root;
        let Some(vm) = &mut self.vm else {
            without_filter(proxy, policy, stream, end);
            return None;
        };
        match vm.open(proxy, root, stream, end) {
            Ok(context) => Some(context),
            Err(Dead) => {
                self.fail(proxy);
                None
            }
        }
    }

    /// Enters the VM, if it is the one that is meant; it is gone if it traps.
    pub(crate) fn with<T>(
        &mut self,
        proxy: &mut Box<Proxy>,
        number: Option<u64>,
        work: impl FnOnce(&mut Vm, &mut Box<Proxy>) -> Result<T, Dead>,
    ) -> Option<T> {
        let vm = self.vm.as_mut().filter(|vm| number.is_none_or(|number| vm.number() == number))?;
        let result = work(vm, proxy);
        if result.is_err() {
            self.fail(proxy);
        }
        result.ok()
    }

    /// The VM has failed. The stream in whose callback it did is answered 503; the others are when the proxy next touches them
    /// (measured on Envoy): something comes of them, or they have been idle for too long.
    pub(crate) fn fail(&mut self, proxy: &mut Box<Proxy>) {
        if !proxy.profile.wakes_from_root() {
            // The process ends with it.
            return self.vanish(proxy);
        }
        let active = self.vm.as_mut().map_or(0, |vm| vm.state().active);
        self.end(proxy, |proxy, context, id, exchange| {
            if context == active {
                refuse_lost(proxy, id, exchange);
            } else {
                proxy.plan(proxy.idle, Event::Idle(id));
                proxy.lost.insert(id, exchange);
            }
        });
    }

    /// The VM ends, and all of its streams in the proxy's own answer.
    pub(crate) fn stop(&mut self, proxy: &mut Box<Proxy>) {
        self.end(proxy, |proxy, _, id, exchange| refuse_lost(proxy, id, exchange));
    }

    /// The process is gone: so are its connections.
    pub(crate) fn vanish(&mut self, proxy: &mut Box<Proxy>) {
        self.end(proxy, |proxy, _, id, mut exchange| {
            (exchange.over, exchange.reset) = (true, true);
            proxy.finish(id, exchange);
        });
    }

    fn end(&mut self, proxy: &mut Box<Proxy>, mut ended: impl FnMut(&mut Proxy, u32, StreamId, Exchange)) {
        self.failed_at = proxy.now;
        let Some(mut vm) = self.vm.take() else { return };
        proxy.gone.extend(vm.state().callouts.values().map(|callout| (callout.worker, callout.token)));
        let mut streams: Vec<(u32, Stream)> = vm.state().streams.drain().collect();
        streams.sort_by_key(|(context, _)| *context);
        for (context, Stream { id, exchange, .. }) in streams {
            ended(proxy, context, id, exchange);
        }
    }
}

/// The proxy answers a stream by itself whose VM has failed.
pub(crate) fn refuse_lost(proxy: &mut Proxy, id: StreamId, mut exchange: Exchange) {
    refuse(&mut exchange, proxy.now);
    proxy.finish(id, exchange);
}

/// What the proxy answers by itself where the filter should have been asked.
fn refuse(exchange: &mut Exchange, now: u64) {
    exchange.over = true;
    if exchange.client.headers.is_some() {
        exchange.reset |= !exchange.client.complete;
        return;
    }
    exchange.answered_by = Some(AnsweredBy::Proxy);
    exchange.client = Message {
        headers: Some(pairs([(":status", "503"), ("content-length", "0")])),
        complete: true,
        at: now,
        ..Message::default()
    };
}

fn without_filter(proxy: &mut Proxy, policy: FailurePolicy, stream: Stream, end: bool) {
    let Stream { id, request, mut exchange, .. } = stream;
    if policy == FailurePolicy::Open {
        let headers: Option<Pairs> = Some(request.headers);
        exchange.upstream = Message { headers, complete: end, at: proxy.now, ..Message::default() };
        exchange.over = true;
    } else {
        refuse(&mut exchange, proxy.now);
    }
    proxy.finish(id, exchange);
}

/// Where a stream is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) worker: usize,
    pub(crate) vm: u64,
    pub(crate) context: u32,
}
