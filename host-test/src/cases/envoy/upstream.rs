//! The upstream: notes what it gets, as it comes, and does what the case says.

use std::{sync::Mutex, time::Duration};

use holdgate_authoring::cases::UpstreamBehaviour;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Body as _, Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

use super::{
    approval::Reset,
    configuration::CLIENT,
    unit::{Clients, find, locked},
    watch::Watch,
};
use crate::cases::driver::{Got, Handle, Trouble};

/// The header by which an answer of the upstream is told from others.
pub(super) const MARK: &str = "x-holdgate-case-upstream";

/// What it does from now on.
pub(super) type Behaviour = Mutex<UpstreamBehaviour>;

/// Takes requests until it is dropped.
pub(super) async fn serve(listener: TcpListener, clients: Clients) {
    while let Ok((stream, _)) = listener.accept().await {
        let clients = clients.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, clients.clone()));
            let io = TokioIo::new(stream);
            let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, clients: Clients) -> Result<Response<Full<Bytes>>, Reset> {
    let (head, mut body) = request.into_parts();
    let client = head.headers.get(CLIENT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let got = Got {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        headers: fields(&head.headers),
        ..Got::default()
    };
    let ended = body.is_end_stream();
    // Who is unknown belongs to a case that is over.
    let (case, handle) = find(&clients, &client).ok_or(Reset)?;
    let watch = &case.watch;
    let twice = watch.happen(|state| {
        let name = state.name(handle);
        state.note(format!("`{name}` comes to the upstream: {} {}", got.method, got.target));
        let before = state.request(handle).map(|request| request.upstream.replace(Got { complete: ended, ..got }));
        before.flatten().is_some()
    });
    if twice {
        watch.fail(Trouble::Failed("the upstream got a request twice".to_owned()));
        return Err(Reset);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Reset)?;
        let ended = body.is_end_stream();
        note(watch, handle, |got| {
            got.body.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            got.trailers.extend(frame.trailers_ref().map(fields).unwrap_or_default());
            got.complete = ended;
        });
    }
    note(watch, handle, |got| got.complete = true);
    let does = locked(&case.upstream).clone();
    let UpstreamBehaviour::Answer(answer) = does else {
        watch.happen(|state| state.leave_unanswered(handle));
        if does == UpstreamBehaviour::Never {
            std::future::pending::<()>().await;
        }
        return Err(Reset);
    };
    tokio::time::sleep(Duration::from_millis(answer.after)).await;
    let mut response = Response::builder().status(answer.status).header(MARK, "1");
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(answer.body.into())).map_err(|_| Reset)
}

fn note(watch: &Watch, handle: Handle, act: impl FnOnce(&mut Got)) {
    watch.happen(|state| {
        if let Some(got) = state.request(handle).and_then(|request| request.upstream.as_mut()) {
            act(got);
        }
    });
}

/// Names and values, without what the driver has added.
fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let own = headers.iter().filter(|(name, _)| name.as_str() != CLIENT);
    own.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
