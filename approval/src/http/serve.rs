//! One listener: how many connections it takes, and how long each may take to say what it wants.
//!
//! Answers have no limit of time: long polls wait. What is limited is how long a peer may keep us reading.

use std::{
    io,
    pin::Pin,
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
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Sleep, sleep},
};

/// Requests that one HTTP/2 connection may have under way. Proxies are told to send at most half of them.
const STREAMS: u32 = 200;

/// How often an HTTP/2 peer is asked whether it is there still, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// The pause after the system refused a connection, for want of file descriptors mostly.
const PAUSE: Duration = Duration::from_millis(500);

/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What one listener bears.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once. Further ones wait to be accepted, in the system's queue.
    pub(super) connections: usize,
    /// How long the head of a request may take.
    pub(super) head: Duration,
    /// How long the body of a request may take.
    pub(super) body: Duration,
}

impl Limits {
    /// The usual times, for this many connections.
    pub(super) fn of(connections: usize) -> Self {
        Limits { connections, head: Duration::from_secs(10), body: Duration::from_secs(30) }
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

    let room = std::sync::Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            // An error says that nobody can ask for a stop any more: whoever could is gone, so it is one.
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let router = router.clone();
        let timed = move |request: Request<Incoming>| {
            request.map(|body| Body::new(TimedBody { body, end: Box::pin(sleep(limits.body)) }))
        };
        let service = TowerToHyperService::new(tower::ServiceExt::map_request(router, timed));
        let io = TokioIo::new(Greeted::new(stream, limits.head));
        let connection = graceful.watch(builder.serve_connection(io, service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The next connection with its place, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &std::sync::Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and whole; there is nothing to wait for. Without it they are only later.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
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
