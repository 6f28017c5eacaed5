//! The scripted approval service behind HTTP.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
};

use super::watch::{Watch, shown};
use crate::{
    cases::{
        driver::{SharedService, Trouble},
        service::{Call, CallId, Delivery, Taken},
    },
    clock,
};

/// How often it is asked what is due.
const ROUND: Duration = Duration::from_millis(3);

/// The service as connections see it.
pub(super) struct Approval {
    service: SharedService,
    watch: Arc<Watch>,
    /// Locked before the service, so that no answer is fetched before somebody waits for it.
    open: Mutex<Open>,
    taken: Notify,
}

#[derive(Default)]
struct Open {
    waiting: HashMap<CallId, oneshot::Sender<Delivery>>,
    answered: HashSet<CallId>,
}

impl Approval {
    pub(super) fn new(service: SharedService, watch: Arc<Watch>) -> Arc<Self> {
        Arc::new(Approval { service, watch, open: Mutex::default(), taken: Notify::new() })
    }

    /// Answers calls until it is dropped.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        tokio::spawn(self.clone().deliver());
        while let Ok((stream, _)) = listener.accept().await {
            let approval = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| approval.clone().answer(request));
                let io = TokioIo::new(stream);
                // What is wrong with a connection ends it; the next one is served.
                let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            });
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what is due to whom it belongs, for ever.
    async fn deliver(self: Arc<Self>) {
        loop {
            let _nothing = tokio::time::timeout(ROUND, self.taken.notified()).await;
            let mut open = self.open();
            let due = self.service.lock().unwrap_or_else(PoisonError::into_inner).due(clock::now());
            for (id, delivery) in due {
                match open.waiting.remove(&id) {
                    Some(waiting) => {
                        open.answered.insert(id);
                        let _gone = waiting.send(delivery);
                    }
                    None if open.answered.contains(&id) => {
                        let why = "over HTTP a call has one answer, and the script gives two";
                        self.watch.fail(Trouble::CannotPlay(why.to_owned()));
                    }
                    None => {}
                }
            }
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Reset> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Reset)?.to_bytes().to_vec();
        let method = head.method.to_string();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let authorization = head.headers.get("authorization");
        let authorization = authorization.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let told = format!("{method} {path} {}", shown(&body));
        let Some((id, answer)) = self.take(Call { method, path, authorization, body }) else {
            let why = "Envoy refuses calls to clusters that it does not know, and to no others";
            self.watch.fail(Trouble::CannotPlay(why.to_owned()));
            return Err(Reset);
        };
        self.watch.note(format!("call {id} to the service: {told}"));
        let mut waiting = Waiting { approval: &self, id, over: false };
        let delivery = answer.await.map_err(|_| Reset)?;
        waiting.over = true;
        match delivery {
            Delivery::Answer { status, body } => {
                self.watch.note(format!("answer to call {id}: {status} {}", shown(&body)));
                let answer = Response::builder().status(status).header("content-type", "application/json");
                answer.body(Full::new(body.into())).map_err(|_| Reset)
            }
            Delivery::Reset => {
                self.watch.note(format!("the stream of call {id} is reset"));
                Err(Reset)
            }
        }
    }

    /// `None`: the proxy was to refuse it.
    fn take(&self, call: Call) -> Option<(CallId, oneshot::Receiver<Delivery>)> {
        let mut open = self.open();
        match self.service.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), call) {
            Taken::Refused => None,
            Taken::Call(id) => {
                let (sender, receiver) = oneshot::channel();
                open.waiting.insert(id, sender);
                self.taken.notify_one();
                Some((id, receiver))
            }
        }
    }
}

/// A call that is under way. Given up by the proxy, it is forgotten.
struct Waiting<'a> {
    approval: &'a Approval,
    id: CallId,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let Waiting { approval, id, .. } = self;
            approval.open().waiting.remove(id);
            approval.service.lock().unwrap_or_else(PoisonError::into_inner).forget(*id);
            approval.watch.note(format!("the proxy has given up call {id}"));
        }
    }
}

/// Over HTTP/2 an error of a service resets its stream.
#[derive(Debug, thiserror::Error)]
#[error("reset, as the case says")]
pub(super) struct Reset;
