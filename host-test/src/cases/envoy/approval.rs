//! The scripted approval service behind HTTP.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
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
    runtime::Runtime,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::{
    configuration::AUTHORITY,
    unit::{Case, locked},
    watch::shown,
};
use crate::{
    cases::{
        driver::Trouble,
        service::{Call, CallId, Delivery, Taken},
    },
    clock,
};

/// How often it is asked what is due.
const ROUND: Duration = Duration::from_millis(3);

/// The services of cases by the authority under which they are called.
pub(super) type Approvals = Arc<Mutex<HashMap<String, Arc<Approval>>>>;

/// A case's service as connections see it. Dropped, it answers nothing more.
pub(super) struct Approval {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    case: Arc<Case>,
    /// Locked before the service, so that no answer is fetched before somebody waits for it.
    open: Mutex<Open>,
    taken: Notify,
}

#[derive(Default)]
struct Open {
    waiting: HashMap<CallId, oneshot::Sender<Delivery>>,
    answered: HashSet<CallId>,
}

/// Takes calls until it is dropped.
pub(super) async fn serve(listener: TcpListener, approvals: Approvals) {
    while let Ok((stream, _)) = listener.accept().await {
        let approvals = approvals.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, approvals.clone()));
            let io = TokioIo::new(stream);
            // What is wrong with a connection ends it; the next one is served.
            let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, approvals: Approvals) -> Result<Response<Full<Bytes>>, Reset> {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let inner = {
        let approvals = locked(&approvals);
        // One that goes by another name has the proxy for itself.
        let only = approvals.values().next().filter(|_| approvals.len() == 1 && !authority.ends_with(AUTHORITY));
        approvals.get(&authority).or(only).map(|approval| approval.inner.clone())
    };
    inner.ok_or(Reset)?.answer(request).await
}

impl Approval {
    pub(super) fn start(case: Arc<Case>, runtime: &Runtime) -> Arc<Self> {
        let inner = Arc::new(Inner { case, open: Mutex::default(), taken: Notify::new() });
        let task = runtime.spawn(inner.clone().deliver());
        Arc::new(Approval { inner, task })
    }

    /// Brings what is due by now on its way.
    pub(super) fn deliver(&self) {
        self.inner.deliver_due();
    }
}

impl Drop for Approval {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Open> {
        locked(&self.open)
    }

    /// Brings what is due to whom it belongs, for ever.
    async fn deliver(self: Arc<Self>) {
        loop {
            let _nothing = tokio::time::timeout(ROUND, self.taken.notified()).await;
            self.deliver_due();
        }
    }

    fn deliver_due(&self) {
        let mut open = self.open();
        let due = locked(&self.case.service).due(clock::now());
        for (id, delivery) in due {
            match open.waiting.remove(&id) {
                Some(waiting) => {
                    open.answered.insert(id);
                    self.case.watch.happen(|_| waiting.send(delivery).is_ok());
                }
                None if open.answered.contains(&id) => {
                    let why = "over HTTP a call has one answer, and the script gives two";
                    self.case.watch.fail(Trouble::CannotPlay(why.to_owned()));
                }
                None => {}
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
            self.case.watch.fail(Trouble::CannotPlay(why.to_owned()));
            return Err(Reset);
        };
        self.case.watch.note(format!("call {id} to the service: {told}"));
        let mut waiting = Waiting { approval: &self, id, over: false };
        let delivery = answer.await.map_err(|_| Reset)?;
        waiting.over = true;
        match delivery {
            Delivery::Answer { status, body } => {
                self.case.watch.note(format!("answer to call {id}: {status} {}", shown(&body)));
                let answer = Response::builder().status(status).header("content-type", "application/json");
                answer.body(Full::new(body.into())).map_err(|_| Reset)
            }
            Delivery::Reset => {
                self.case.watch.note(format!("the stream of call {id} is reset"));
                Err(Reset)
            }
        }
    }

    /// `None`: the proxy was to refuse it.
    fn take(&self, call: Call) -> Option<(CallId, oneshot::Receiver<Delivery>)> {
        let mut open = self.open();
        match locked(&self.case.service).take(clock::now(), call) {
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
    approval: &'a Inner,
    id: CallId,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let Waiting { approval, id, .. } = self;
            approval.open().waiting.remove(id);
            locked(&approval.case.service).forget(*id);
            approval.case.watch.note(format!("the proxy has given up call {id}"));
        }
    }
}

/// Over HTTP/2 an error of a service resets its stream.
#[derive(Debug, thiserror::Error)]
#[error("reset, as the case says")]
pub(super) struct Reset;
