//! `holdgate publish`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
};

use crate::place::{POLICY, Place};

/// Answers one request after the other on connections of their own, and returns them.
fn serve(answers: &[(&str, &str)]) -> (String, thread::JoinHandle<Vec<String>>) {
    let answers: Vec<String> = answers
        .iter()
        .map(|(head, body)| {
            format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        })
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || answers.iter().map(|answer| answer_one(&listener, answer)).collect());
    (address, served)
}

fn answer_one(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                stream.write_all(answer.as_bytes()).unwrap();
                return text;
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the request ends early: {text}");
        request.extend_from_slice(&buffer[..count]);
    }
}

/// What the service answers before anything is published.
const NOTHING: (&str, &str) = ("404 Not Found", r#"{"error":"not_found","detail":"no policy is published yet"}"#);

#[test]
fn a_bundle_is_published_with_the_credential() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    let said = place.succeeds("build demo.yaml --out demo.json --sign k.jwk");
    let rev = said.lines().find_map(|line| line.strip_prefix("revision ")).unwrap();

    let (address, served) = serve(&[NOTHING, ("201 Created", "")]);
    let outcome = place.run_with(&format!("publish demo.json --to {address}/ --yes"), Some("s3cret"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.stdout, format!("in force: nothing\npolicy demo, serial 1\nrevision {rev}\npublished\n"));
    let requests = served.join().unwrap();
    assert!(requests[0].starts_with("GET /api/bundles/current HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("authorization: Bearer s3cret\r\n"), "{}", requests[0]);
    let request = &requests[1];
    assert!(request.starts_with(&format!("PUT /api/bundles/{rev} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
    assert!(request.ends_with(std::str::from_utf8(&place.read("demo.json")).unwrap()), "{request}");

    let refusal = r#"{"error":"serial","detail":"serial 1 is not higher than serial 4"}"#;
    let (address, served) = serve(&[NOTHING, ("409 Conflict\r\ncontent-type: application/json", refusal)]);
    let outcome = place.run_with(&format!("publish demo.json --to {address} --yes"), Some("s3cret"));
    assert_eq!(outcome.stderr, "the service refused it (409): serial 1 is not higher than serial 4\n");
    assert_eq!(outcome.code, 1);
    served.join().unwrap();

    let (address, served) = serve(&[("302 Found\r\nlocation: /elsewhere", "")]);
    let outcome = place.run_with(&format!("publish demo.json --to {address}"), Some("s3cret"));
    let expected = format!("`{address}` does not answer as it should: it answered with status 302\n");
    assert_eq!((outcome.code, outcome.stderr), (2, expected));
    served.join().unwrap();
}

#[test]
fn publishing_needs_an_address_a_credential_and_a_service() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    place.succeeds("build demo.yaml --out demo.json --sign k.jwk");
    let expected = "set HOLDGATE_PUBLISHER_CREDENTIAL to what `holdgate-approval publisher add` printed\n";
    place.fails("publish demo.json --to http://127.0.0.1:1", 2, expected);
    for address in ["http://x.example", "ftp://127.0.0.1", "https://user@127.0.0.1", "https://"] {
        let outcome = place.run_with(&format!("publish demo.json --to {address}"), Some("c"));
        let expected = format!(
            "`{address}` is neither `https://` nor `http://` on this machine: a credential does not cross a network in clear \
             text; put TLS in front of the service, or run this where it runs\n"
        );
        assert_eq!((outcome.code, outcome.stderr), (2, expected));
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = place.run_with(&format!("publish demo.json --to http://{free}"), Some("c"));
    assert_eq!(outcome.code, 2);
    let start = format!("`http://{free}` does not answer as it should: ");
    assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
}

/// A place with the shipped rule files, and where these are.
fn place_with_policies() -> (Place, PathBuf) {
    let place = Place::new();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    fs::create_dir(place.path().join("policies")).unwrap();
    for entry in fs::read_dir(&policies).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), place.path().join("policies").join(entry.file_name())).unwrap();
    }
    (place, policies)
}

#[test]
fn the_commands_that_the_first_page_shows_policy_authors_work() {
    let (place, policies) = place_with_policies();
    place.write("old.yaml", POLICY).write("new.yaml", &POLICY.replace("/**", "/x/**"));
    let readme = fs::read_to_string(policies.join("../README.md")).unwrap();
    let (_, section) = readme.split_once("## Policy authors\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("holdgate ")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        let command = command.split('#').next().unwrap();
        // What stands between quotes is one word.
        let words = command
            .split('"')
            .enumerate()
            .flat_map(|(index, part)| if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
        let outcome = place.run_with_input(&words.collect::<Vec<_>>(), "");
        assert_eq!(outcome.code, 0, "{command}: {}{}", outcome.stdout, outcome.stderr);
    }
}

#[test]
fn the_commands_of_the_rule_files_readme_work() {
    let (place, policies) = place_with_policies();
    let readme = fs::read_to_string(policies.join("README.md")).unwrap();
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("holdgate ")).collect();
    assert_eq!(commands.len(), 8, "{commands:?}");
    for command in commands {
        if let Some((start, _)) = command.split_once("http://") {
            let (address, served) = serve(&[NOTHING, ("201 Created", "")]);
            assert_eq!(place.run_with(&format!("{start}{address} --yes"), Some("s3cret")).code, 0);
            served.join().unwrap();
        } else {
            place.succeeds(command);
        }
    }
}

#[test]
fn what_changes_is_shown_before_it_is_published() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    place.succeeds("build demo.yaml --out demo.json --sign k.jwk");
    let old = String::from_utf8(place.read("demo.json")).unwrap();
    place.write("demo.yaml", &POLICY.replace("[GET]", "[GET, HEAD]"));
    let said = place.succeeds("build demo.yaml --out demo.json --sign k.jwk");
    let rev = said.lines().find_map(|line| line.strip_prefix("revision ")).unwrap();
    let preview = format!(
        "in force: policy demo, serial 1\n~ `read` (allow): conditions\n\
         rules: 0 added, 0 removed, 1 changed, 0 as before\n\
         more permissive: deny, no rule matched -> allow by `read`\n  {{agent: {{id: agent}}, http: {{method: HEAD, path: /}}}}\n\
         more permissive than before\npolicy demo, serial 2\nrevision {rev}\n"
    );

    // A script does not publish by accident.
    let (address, served) = serve(&[("200 OK", &old)]);
    let outcome = place.run_with(&format!("publish demo.json --to {address}"), Some("s3cret"));
    let expected = format!(
        "{preview}nothing is published: there is no terminal to ask on; look at the changes above and add `--yes`\n"
    );
    assert_eq!((outcome.code, outcome.stderr, outcome.stdout.as_str()), (2, expected, ""));
    assert_eq!(served.join().unwrap().len(), 1, "nothing was put");

    let (address, served) = serve(&[("200 OK", &old), ("201 Created", "")]);
    let outcome = place.run_with(&format!("publish demo.json --to {address} --yes"), Some("s3cret"));
    assert_eq!((outcome.code, outcome.stdout), (0, format!("{preview}published\n")));
    served.join().unwrap();

    // What is in force already needs no question.
    let new = String::from_utf8(place.read("demo.json")).unwrap();
    let (address, served) = serve(&[("200 OK", &new), ("200 OK", "")]);
    let outcome = place.run_with(&format!("publish demo.json --to {address}"), Some("s3cret"));
    assert_eq!((outcome.code, outcome.stdout), (0, format!("published before; nothing changed\nrevision {rev}\n")));
    served.join().unwrap();

    let (address, served) = serve(&[("200 OK", "<html>")]);
    let outcome = place.run_with(&format!("publish demo.json --to {address} --yes"), Some("s3cret"));
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("does not answer as it should"), "{}", outcome.stderr);
    served.join().unwrap();
}
