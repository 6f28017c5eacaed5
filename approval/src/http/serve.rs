//! One listener: how many connections it takes, and how long each may take to say what it wants.
//!
//! Answers have no limit of time: long polls wait. What is limited is how long a peer may keep us reading, and how long nothing may
//! happen at all.

mod places;

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Sleep, sleep},
};
use tower::ServiceExt as _;

use places::{Places, UnderWay};

/// Requests that one HTTP/2 connection may have under way. Proxies are told to send at most half of them.
const STREAMS: u32 = 200;

/// How often an HTTP/2 peer is asked whether it is there still, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// The pause after the system refused a connection, for want of file descriptors mostly.
const PAUSE: Duration = Duration::from_millis(500);

/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The address that a request comes from: of a client, or of a proxy in front.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub IpAddr);

/// What one listener bears.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once. A further one takes the place of the one that has been silent longest.
    pub(super) connections: usize,
    /// How long the head of a request may take.
    pub(super) head: Duration,
    /// How long the body of a request may take.
    pub(super) body: Duration,
    /// How long a connection may be silent: no request begins or ends, and nothing of an answer is sent. Longer than a poll waits.
    pub(super) silent: Duration,
}

impl Limits {
    /// The usual times, for this many connections.
    pub(super) fn of(connections: usize) -> Self {
        let [head, body, silent] = [10, 30, 75].map(Duration::from_secs);
        Limits { connections, head, body, silent }
    }
}

/// Serves until the stop, then until the requests that are under way are answered.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    let (interval, timeout) = PING;
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(interval).keep_alive_timeout(timeout);
    http2.max_concurrent_streams(STREAMS);

    let places = Places::new(limits.connections);
    loop {
        let accepted = tokio::select! {
            // An error says that nobody can ask for a stop any more: whoever could is gone, so it is one.
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, address)) = accepted else { continue };
        let place = places.take().await;
        let (router, peer) = (router.clone(), place.peer());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (router, under_way) = (router.clone(), peer.begin());
            let mut request = request.map(|body| Body::new(TimedBody { body, end: Box::pin(sleep(limits.body)) }));
            request.extensions_mut().insert(Remote(address));
            async move {
                let response = router.oneshot(request).await?;
                Ok::<_, Infallible>(response.map(|body| Answer { body, under_way }))
            }
        });
        let io = TokioIo::new(Greeted::new(stream, limits.head));
        let connection = builder.serve_connection(io, service).into_owned();
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let silent = tokio::select! {
                // What has arrived already is under way.
                biased;
                ended = connection.as_mut() => return told(ended),
                () = place.wanted() => return,
                () = place.silent(limits.silent) => true,
                _ = stopping.wait_for(|stop| *stop) => false,
            };
            // What is under way may end. Of a peer that was silent that is nothing, or it does not go on.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection.as_mut() => told(ended),
                () = place.wanted() => {}
                () = sleep(limits.head), if silent => {}
            }
        });
    }
    drop(listener);
    places.empty().await;
}

fn told(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
    match listener.accept().await {
        Ok((stream, address)) => {
            // Answers are small and whole; there is nothing to wait for. Without it they are only later.
            let _ = stream.set_nodelay(true);
            Some((stream, address.ip()))
        }
        Err(error) => {
            let gone = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
            if !gone {
                tracing::error!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
            None
        }
    }
}

/// The body of an answer, with which its request is through.
struct Answer {
    body: Body,
    under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.under_way.goes_on();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which fails when it takes too long to come.
struct TimedBody {
    body: Incoming,
    end: Pin<Box<Sleep>>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => {
                ready!(self.end.as_mut().poll(cx));
                Poll::Ready(Some(Err("it took too long to arrive".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that must say in time which version of HTTP it speaks: before that, no other limit counts.
struct Greeted {
    stream: TcpStream,
    /// What came so far, and until when the rest must; `None` once the version is plain.
    greeting: Option<(Vec<u8>, Pin<Box<Sleep>>)>,
}

impl Greeted {
    fn new(stream: TcpStream, limit: Duration) -> Self {
        Greeted { stream, greeting: Some((Vec::new(), Box::pin(sleep(limit)))) }
    }
}

impl AsyncRead for Greeted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((seen, end)) = &mut self.greeting else { return read };
        if read.is_pending() {
            ready!(end.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        seen.extend(buffer.filled().iter().skip(before).take(PREFACE.len()));
        if seen.len() >= PREFACE.len() || !PREFACE.starts_with(seen) {
            self.greeting = None;
        }
        read
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
