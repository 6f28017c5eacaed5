//! What people read of it.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use holdgate_authoring::{Compilation, Example, Rates};
use holdgate_host::{
    cases::{play, tokens},
    clock,
};
use holdgate_protocol::bundle::Effect;

use super::host::Reviewer;

/// Seconds for which the tokens that are shown are good.
const DAY: u64 = 24 * 3600;

/// Writes a line, or several. What agents send is in them, so that no other control characters are written; and lines to paste, so that
/// none is cut.
pub(super) fn say(text: &str) {
    let mut out = io::stdout().lock();
    for line in text.lines() {
        let line: String =
            line.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
        // Nobody may read any more; requests are answered all the same.
        let _unread = writeln!(out, "{line}");
    }
    let _unread = out.flush();
}

/// Where it listens, and what to paste.
pub(super) fn greeting(address: SocketAddr, compilation: &Compilation, reviewer: &Reviewer) -> String {
    let policies = compilation.policies().collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!("{policies}: {} rules; listening on http://{address}", compilation.rules()),
        match reviewer {
            Reviewer::Approves(after) => format!("what is held is approved after {after:?}"),
            Reviewer::Denies(after) => format!("what is held is denied after {after:?}"),
            Reviewer::Asks => {
                "what is held waits for you: `y` or `n` and Enter decide the oldest, `y h2` the hold h2".to_owned()
            }
        },
        "the rules are read again when a file changes; Ctrl-C ends it".to_owned(),
        String::new(),
    ];
    for (word, effect) in [("allowed", Effect::Allow), ("denied", Effect::Deny), ("held", Effect::Hold)] {
        let fits = |example: &&Example| {
            let playable = example.rates == Rates::All(1) && example.agent.is_some() && example.mcp.is_none();
            example.expect.effect == effect && playable
        };
        match compilation.tests().map(|(_, example)| example).find(fits) {
            Some(example) => lines.push(format!("# {word}: {}\n{}\n", example.name, curl(address, example))),
            None => lines.push(format!("# {word}: no test of these rules asks for it\n")),
        }
    }
    lines.join("\n")
}

/// A test of the rules as a line for a shell, with a token of its agent.
fn curl(address: SocketAddr, example: &Example) -> String {
    let mut request = play::request_of(example);
    if let holdgate_authoring::cases::Token::Agent { expires_in, .. } = &mut request.token {
        *expires_in = DAY;
    }
    let token = tokens::header(&request.token, clock::now() / 1000, "authorization");
    let mut words = vec!["curl -i".to_owned()];
    if request.method != "GET" {
        words.push(format!("-X {}", quoted(&request.method)));
    }
    words.push(quoted(&format!("http://{address}{}", request.target)));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = ("host".to_owned(), request.host.clone());
    let token = token.map(|token| ("authorization".to_owned(), token));
    let others = request.headers.iter().map(|(name, value)| (text(name), text(value)));
    for (name, value) in [host].into_iter().chain(token).chain(others) {
        words.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
    }
    if !request.body.is_empty() {
        words.push(format!("--data-binary {}", quoted(&text(&request.body))));
    }
    words.join(" ")
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
