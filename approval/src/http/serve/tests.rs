use std::net::SocketAddr;

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const SHORT: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);

async fn started(limits: Limits) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let poll = async || {
        sleep(SHORT * 4).await;
        "waited"
    };
    let large = async || vec![b'x'; 32 << 20];
    let router = Router::new()
        .route("/large", get(large))
        .route("/poll", get(poll))
        .route("/body", post(async |body: String| body));
    let (stop, stopping) = watch::channel(false);
    (address, stop, tokio::spawn(serve(listener, router, limits, stopping)))
}

async fn open(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first).await.unwrap();
    stream
}

/// Everything until the other side closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("it is closed in time");
    // A connection that is closed with unread bytes in it is reset.
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

fn limits(connections: usize) -> Limits {
    Limits { connections, head: SHORT, body: SHORT, silent: DEADLINE }
}

#[tokio::test]
async fn whoever_does_not_finish_a_head_is_cut_off() {
    let (address, _stop, _) = started(limits(16)).await;
    for first in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET /poll HT", b"GET /poll HTTP/1.1\r\nhost: x\r\n"] {
        let answer = rest(&mut open(address, first).await).await;
        assert!(!answer.contains("waited"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_must_come_in_time_but_an_answer_may_take_longer() {
    let (address, _stop, _) = started(limits(16)).await;
    let late = b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nonly";
    let answer = rest(&mut open(address, late).await).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let poll = b"GET /poll HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = rest(&mut open(address, poll).await).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("waited"), "{answer}");
}

const POLL: &[u8] = b"GET /poll HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// How an HTTP/2 client begins: with empty settings.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn in_a_full_listener_whoever_was_silent_longest_makes_room() {
    let patient = Limits { connections: 4, head: DEADLINE, body: DEADLINE, silent: DEADLINE };
    let (address, _stop, _) = started(patient).await;
    let mut under_way = open(address, POLL).await;
    sleep(SHORT / 4).await;
    let mut silent = Vec::new();
    for number in 0..40 {
        silent.push(open(address, if number % 2 == 0 { b"" } else { HTTP_2 }).await);
    }
    let mut another = open(address, POLL).await;
    assert!(rest(&mut another).await.ends_with("waited"), "nobody keeps others out by staying");
    assert!(rest(&mut under_way).await.ends_with("waited"), "nor drives out by it what is under way");
    rest(silent.first_mut().unwrap()).await;
    // Those that never end what they send leave, too, where others come.
    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(open(address, b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nonly").await);
    }
    assert!(rest(&mut open(address, POLL).await).await.ends_with("waited"));
}

#[tokio::test]
async fn a_connection_on_which_nothing_happens_is_closed() {
    let (address, _stop, _) = started(Limits { silent: SHORT * 6, ..limits(16) }).await;
    let mut idle = open(address, HTTP_2).await;
    let mut read_by_nobody = open(address, &b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20)).await;
    let mut poll = open(address, POLL).await;
    assert!(rest(&mut poll).await.ends_with("waited"), "a poll is not silent for as long as that");
    rest(&mut idle).await;
    sleep(SHORT * 10).await;
    let read = rest(&mut read_by_nobody).await.len();
    assert!(read < 32 << 20, "it is given up, {read}");
}

#[tokio::test]
async fn http_2_is_told_its_limit_of_streams() {
    let (address, _stop, _) = started(limits(16)).await;
    let mut stream = open(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS is 3 (RFC 9113 section 6.5.2).
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 200]), "{settings:?}");
}

#[tokio::test]
async fn a_stop_lets_what_is_under_way_end_and_takes_nothing_new() {
    let (address, stop, served) = started(Limits::of(16)).await;
    let mut poll = open(address, b"GET /poll HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let idle = open(address, b"").await;
    sleep(SHORT).await;
    stop.send(true).unwrap();
    assert!(rest(&mut poll).await.ends_with("waited"));
    drop(idle);
    tokio::time::timeout(DEADLINE, served).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
