//! Bodies on the wire: cut in any way they come to one verdict; what no rule looks into flows; slow ones are counted.

use std::time::Duration;

use holdgate_tests::{
    agent::Agent,
    http,
    stack::{Options, Stack},
    until,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    attempts::{
        policy,
        wire::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame, preface, split},
    },
    common::{LIMIT, start_with},
};

const UPLOAD: usize = 50 * 1024 * 1024;

/// What Envoy may grow by while that flows through it.
const GROWTH: u64 = 24 * 1024 * 1024;

async fn start(plugin: serde_json::Value, upstream_http2: bool) -> Stack {
    let mut all = json!({"policy": "attempts", "max_wait": "1s"});
    all.as_object_mut().unwrap().extend(plugin.as_object().unwrap().clone());
    start_with(Options { policy: Some(policy()), plugin: all, upstream_http2, ..Options::default() }).await
}

fn head(agent: &Agent, target: &str) -> String {
    let token = &agent.token;
    format!(
        "POST {target} HTTP/1.1\r\nhost: api.example\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
}

fn chunk(octets: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", octets.len()).as_bytes(), octets, b"\r\n"].concat()
}

fn fields(agent: &Agent, target: &str) -> Vec<u8> {
    let token = format!("Bearer {}", agent.token);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "api.example"),
        (":path", target),
        ("authorization", &token),
        ("content-type", "application/json"),
        ("te", "trailers"),
    ];
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    block(&fields)
}

async fn exchange(agent: &Agent, octets: &[u8], is_whole: fn(&[u8]) -> bool) -> String {
    let mut stream = TcpStream::connect(agent.gateway).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // Each write is a packet of its own, so that the proxy sees the cuts.
    for piece in octets.chunks(97) {
        stream.write_all(piece).await.unwrap();
    }
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    let read = async {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
            if is_whole(&answer) {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn has_ended(answer: &[u8]) -> bool {
    split(answer).iter().any(|(kind, flags, ..)| [DATA, HEADERS].contains(kind) && flags & END_STREAM != 0)
}

/// The hold's id is that of its digest: whoever cuts the same body otherwise joins the same hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_comes_to_one_hold_and_one_verdict_however_it_is_cut() {
    let stack = start(json!({}), false).await;
    let agent = stack.agent();
    for (target, body, told) in [
        ("/iam/users/7/roles", r#"{"role": "viewer", "note": "é\u00e9"}"#, "\"status_endpoint\":\""),
        ("/body", r#"{"role": "admin", "note": "é\u00e9"}"#, "\"rule\":\"body.role\""),
    ] {
        let mut answers = Vec::new();
        for size in [1, 2, 7, 1000] {
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            let chunks: Vec<u8> = pieces.iter().flat_map(|piece| chunk(piece)).collect();
            let request = [head(&agent, target).as_bytes(), &chunks, b"0\r\n\r\n"].concat();
            answers.push(exchange(&agent, &request, |_| false).await);
            for empty_end in [false, true] {
                let mut request = preface();
                frame(&mut request, HEADERS, END_HEADERS, 1, &fields(&agent, target));
                for (index, piece) in pieces.iter().enumerate() {
                    let last = index + 1 == pieces.len() && !empty_end;
                    frame(&mut request, DATA, if last { END_STREAM } else { 0 }, 1, piece);
                }
                if empty_end {
                    frame(&mut request, DATA, END_STREAM, 1, b"");
                }
                answers.push(exchange(&agent, &request, has_ended).await);
            }
        }
        let told_of = |answer: &String| {
            let (_, rest) = answer.split_once(told).unwrap_or_else(|| panic!("{target}: {answer}"));
            rest.split('"').next().unwrap().to_owned()
        };
        let first = told_of(&answers[0]);
        assert!(answers.iter().all(|answer| told_of(answer) == first), "{target}: {answers:?}");
    }
    assert!(stack.upstream.seen_at("/body").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_no_rule_looks_into_flows_and_costs_no_memory() {
    let stack = start(json!({}), false).await;
    let agent = stack.agent();
    let mut stream = TcpStream::connect(agent.gateway).await.unwrap();
    stream.write_all(head(&agent, "/upload").as_bytes()).await.unwrap();
    let piece = vec![b'x'; 256 * 1024];
    stream.write_all(&chunk(&piece)).await.unwrap();
    let received = async |least: usize| {
        until("the upload at the upstream", LIMIT, async || (stack.upstream.received() >= least).then_some(())).await
    };
    received(piece.len()).await.expect("the first bytes arrive before the last are sent");
    let before = memory(&stack).await;
    for _ in 1..UPLOAD / piece.len() {
        stream.write_all(&chunk(&piece)).await.unwrap();
    }
    received(UPLOAD).await.unwrap();
    let grown = memory(&stack).await.saturating_sub(before);
    assert!(grown < GROWTH, "Envoy grew by {grown} bytes");
    assert!(stack.upstream.seen_at("/upload").is_empty(), "it has not ended");
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    until("the whole upload", LIMIT, async || stack.upstream.seen_at("/upload").pop()).await.unwrap();
}

/// Bytes that Envoy has allocated.
async fn memory(stack: &Stack) -> u64 {
    let answer = http::get(stack.ports.admin(), "/memory").await.unwrap().json();
    answer["allocated"].as_str().unwrap().parse().unwrap()
}

/// As gRPC does it: each side speaks before the other has ended, with trailers at the end of both.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_both_directions_flows_and_its_trailers_are_cleaned() {
    let stack = start(json!({}), true).await;
    let agent = stack.agent();
    let mut stream = TcpStream::connect(agent.gateway).await.unwrap();
    let mut opening = preface();
    frame(&mut opening, HEADERS, END_HEADERS, 1, &fields(&agent, "/stream"));
    stream.write_all(&opening).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let mut said = Vec::new();
    for word in ["one", "two", "three"] {
        let mut data = Vec::new();
        frame(&mut data, DATA, 0, 1, word.as_bytes());
        stream.write_all(&data).await.unwrap();
        said.extend_from_slice(word.as_bytes());
        let echoed = async {
            while data_of(&answer) != said {
                let count = stream.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the gateway hung up behind `{word}`");
                answer.extend_from_slice(&buffer[..count]);
            }
        };
        tokio::time::timeout(LIMIT, echoed).await.expect("an echo before the end");
    }
    let trailers = ["x-checksum", "x-role", "holdgate-agent", "x-envoy-retry-on", "authorization", "x-debug"];
    let trailers: Vec<_> = trailers.iter().map(|name| (name.as_bytes().to_vec(), b"admin".to_vec())).collect();
    let mut end = Vec::new();
    frame(&mut end, HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers));
    stream.write_all(&end).await.unwrap();
    let ended = async {
        while !has_ended(&answer) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the gateway hung up");
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(LIMIT, ended).await.unwrap();
    let last = split(&answer).into_iter().rfind(|(kind, ..)| [DATA, HEADERS].contains(kind)).unwrap();
    assert_eq!(last.0, HEADERS, "trailers come back");
    // Rules look at `x-role` and `x-debug` in this policy.
    assert_eq!(stack.upstream.trailers(), ["x-checksum"]);
}

fn data_of(answer: &[u8]) -> Vec<u8> {
    let data = split(answer).into_iter().filter(|(kind, ..)| *kind == DATA);
    data.flat_map(|(.., payload)| payload).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_of_one_agent_do_not_fill_the_gateway() {
    let stack = start(json!({"max_agent_bytes": 40_000, "max_body": 40_000, "body_within": "3s"}), false).await;
    let (agent, other) = (stack.agent(), stack.agent_with(json!({"sub": "agent-9"})));
    let begin = async |agent: &Agent, size: usize| {
        let mut stream = TcpStream::connect(agent.gateway).await.unwrap();
        let octets = [head(agent, "/body").as_bytes(), &chunk(&vec![b' '; size])].concat();
        stream.write_all(&octets).await.unwrap();
        stream
    };
    let answer = async |mut stream: TcpStream| {
        let mut text = String::new();
        let _ = tokio::time::timeout(LIMIT, stream.read_to_string(&mut text)).await;
        text
    };
    let slow = begin(&agent, 25_000).await;
    // Until the gateway has counted what came first, the second has room; then it has none.
    let refused = until("a refusal", LIMIT, async || {
        let text = tokio::time::timeout(Duration::from_secs(1), answer(begin(&agent, 25_000).await)).await;
        text.ok().filter(|text| text.starts_with("HTTP/1.1 429"))
    });
    let refused = refused.await.unwrap();
    assert!(refused.contains("urn:holdgate:problem:quota"), "{refused}");
    let mut others = begin(&other, 25_000).await;
    others.write_all(&[chunk(br#"{"role":"viewer"}"#), b"0\r\n\r\n".to_vec()].concat()).await.unwrap();
    assert!(answer(others).await.starts_with("HTTP/1.1 404"), "another agent has room of its own");
    let late = answer(slow).await;
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
}
