//! Attempts as octets on a socket: HTTP/1.1 as it stands in the table, HTTP/2 in frames without any check.

use std::time::Duration;

use holdgate_tests::{agent::Agent, upstream::MARK};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Attempt, Outcome, octets};

/// How long an answer may take. Where Envoy waits for more octets than come, this is what the attempt costs.
const LIMIT: Duration = Duration::from_secs(4);

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const AWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What came of an attempt, and what was answered.
pub(super) async fn send(agent: &Agent, attempt: Attempt<'_>) -> (Outcome, String) {
    let fields = attempt.pairs("h2", &agent.token);
    if fields.is_empty() {
        let answer = exchange(agent, &request(agent, attempt)).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        (outcome(&text, attempt), text)
    } else {
        let answer = exchange(agent, &frames(&fields, attempt)).await;
        outcome_of_frames(&answer, attempt)
    }
}

/// Writes octets and reads until the gateway hangs up, a frame says that nothing more comes, or the time is over.
async fn exchange(agent: &Agent, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(agent.gateway).await.unwrap();
    // A gateway may hang up while it is still written to.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
            if is_over(&answer) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LIMIT, read).await;
    answer
}

fn request(agent: &Agent, attempt: Attempt<'_>) -> Vec<u8> {
    let authorization = format!("Authorization: Bearer {}", agent.token);
    if let Some(raw) = attempt.text("raw") {
        return octets(&raw.replace("$AUTH", &authorization));
    }
    let mut head = format!("{} HTTP/1.1\r\n", attempt.text("send").unwrap());
    let lines = attempt.body_lines();
    let mut all = vec![format!("Host: {}", attempt.host()), authorization];
    if !lines.iter().any(|line| line.starts_with("Connection")) {
        all.push("Connection: close".to_owned());
    }
    all.extend(lines);
    all.iter().for_each(|line| head.extend([line.as_str(), "\r\n"]));
    [octets(&head), b"\r\n".to_vec(), attempt.body()].concat()
}

fn outcome(text: &str, attempt: Attempt<'_>) -> Outcome {
    if text.contains(MARK) {
        return Outcome::Passed;
    }
    if text.contains(&format!("\"rule\":\"{}\"", attempt.rule())) {
        return Outcome::Met;
    }
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map_or(Outcome::Closed, Outcome::Status)
}

/// A connection of one stream: preface, settings, the request's frames.
fn frames(fields: &[(Vec<u8>, Vec<u8>)], attempt: Attempt<'_>) -> Vec<u8> {
    let mut out = preface();
    let (body, trailers) = (attempt.body(), attempt.pairs("trailers", ""));
    let end = |last: bool| if last { END_STREAM } else { 0 };
    let only_head = body.is_empty() && trailers.is_empty();
    frame(&mut out, HEADERS, END_HEADERS | end(only_head), 1, &block(fields));
    if !only_head {
        frame(&mut out, DATA, end(trailers.is_empty()), 1, &body);
    }
    if !trailers.is_empty() {
        frame(&mut out, HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers));
    }
    out
}

/// What a connection begins with.
pub(crate) fn preface() -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, b"");
    out
}

pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Fields as literals that are never indexed (RFC 7541 section 6.2.3), without Huffman codes.
pub(crate) fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x10);
        for text in [name, value] {
            length(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn length(out: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return out.push(value as u8);
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push((value % 128) as u8 | 128);
        value /= 128;
    }
    out.push(value as u8);
}

/// Kind, flags, stream and payload of each frame that has come whole.
pub(crate) fn split(mut octets: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = octets.split_at_checked(9) {
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(size) else { break };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push((head[3], head[4], stream, payload.to_vec()));
        octets = rest;
    }
    frames
}

/// Whether a stream or connection of HTTP/2 has ended; never true of HTTP/1.1, which begins with `HTTP`.
fn is_over(answer: &[u8]) -> bool {
    let ended = |(kind, flags, stream, _): &(u8, u8, u32, Vec<u8>)| match *kind {
        DATA | HEADERS => *stream == 1 && flags & END_STREAM != 0,
        kind => kind == RESET || kind == AWAY,
    };
    !answer.starts_with(b"HTTP") && split(answer).iter().any(ended)
}

fn outcome_of_frames(answer: &[u8], attempt: Attempt<'_>) -> (Outcome, String) {
    let frames = split(answer);
    let of = |wanted: u8| frames.iter().filter(move |(kind, _, stream, _)| *kind == wanted && *stream == 1);
    let text: Vec<u8> = of(DATA).flat_map(|(.., payload)| payload.clone()).collect();
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.contains("urn:holdgate:problem:") {
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        let status = problem["status"].as_u64().unwrap() as u16;
        return (if problem["rule"] == attempt.rule() { Outcome::Met } else { Outcome::Status(status) }, text);
    }
    // Envoy's own refusals have a status of the static table; a change of the dynamic table's size may stand before it.
    let status = of(HEADERS).next().and_then(|(.., payload)| payload.iter().find(|octet| **octet >> 5 != 1).copied());
    let outcome = match status {
        Some(0x8c) => Outcome::Status(400),
        Some(_) => Outcome::Passed,
        None => Outcome::Closed,
    };
    (outcome, format!("{text} {frames:?}"))
}
