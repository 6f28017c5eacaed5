//! Load: requests over some HTTP/1.1 connections that stay open, each connection one request after the other.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const CONNECTIONS: usize = 16;

/// The longest answer that is expected.
const MAX_ANSWER: usize = 64 * 1024;

/// Requests as they go over the wire, sent in turn.
pub(super) type Requests = Arc<[Vec<u8>]>;

/// How many answers had which status.
pub(super) type Statuses = BTreeMap<u16, usize>;

/// Sends so many requests, from `first` in the list on, and begins anew at its end.
pub(super) async fn send(to: SocketAddr, requests: &Requests, first: usize, count: usize) -> Result<Statuses> {
    let next = Arc::new(AtomicUsize::new(0));
    let connections = (0..CONNECTIONS.min(count)).map(|_| {
        let (requests, next) = (requests.clone(), next.clone());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(to).await.with_context(|| format!("no connection to {to}"))?;
            stream.set_nodelay(true)?;
            let (mut statuses, mut answer) = (Statuses::new(), vec![0; MAX_ANSWER]);
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get((first + index) % requests.len()).filter(|_| index < count) else {
                    return anyhow::Ok(statuses);
                };
                stream.write_all(request).await?;
                *statuses.entry(read(&mut stream, &mut answer).await?).or_default() += 1;
            }
        })
    });
    let mut all = Statuses::new();
    for connection in connections.collect::<Vec<_>>() {
        for (status, count) in connection.await?? {
            *all.entry(status).or_default() += count;
        }
    }
    Ok(all)
}

/// Reads one answer with a Content-Length to its end; its status.
async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u16> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).filter(|room| !room.is_empty()).context("an answer is too long")?;
        let more = stream.read(room).await?;
        if more == 0 {
            bail!("the gateway hung up");
        }
        filled += more;
        let so_far = buffer.get(..filled).unwrap_or_default();
        let Some(end) = so_far.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(so_far.get(..end).unwrap_or_default()).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")).map_or(Ok(0), |n| n.trim().parse());
        if filled >= end + 4 + length.unwrap_or(0) {
            return head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer has no status");
        }
    }
}
