use holdgate_protocol::Factor;

use super::*;

fn requirement(show: Option<&[&str]>, redact: &[&str]) -> Requirement {
    let pointers = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<Pointer>>();
    Requirement {
        factors: vec![Factor { role: "iam".into(), approvals: 1 }],
        decide_within: 60,
        use_within: 60,
        reason: false,
        show: show.map(pointers),
        redact: pointers(redact),
        unbind: vec![],
        escalate: None,
        codes: vec![],
    }
}

fn capture(body: &[u8], requirement: &Requirement) -> (Option<String>, Vec<String>) {
    let captured = Redactor::new("credential").body(body, requirement);
    assert_eq!(captured.size, body.len() as u64);
    let text = captured.b64.map(|text| String::from_utf8(holdgate_protocol::from_b64(&text).unwrap()).unwrap());
    (text, captured.redacted.iter().map(Pointer::to_string).collect())
}

#[test]
fn a_body_without_redaction_is_captured_as_it_came() {
    let (text, redacted) = capture(b"{ \"b\":1,\n\"a\":2 } ", &requirement(None, &[]));
    assert_eq!((text.as_deref(), redacted.len()), (Some("{ \"b\":1,\n\"a\":2 } "), 0));
}

#[test]
fn what_is_redacted_or_not_shown_leaves_as_an_hmac() {
    let body = br#"{"role":"admin","user":{"name":"eve","phone":"555"},"notes":["n1","n2"]}"#;
    let (text, redacted) = capture(body, &requirement(Some(&["/role", "/user"]), &["/user/phone"]));
    let text = text.unwrap();
    assert!(text.contains(r#""role":"admin""#) && text.contains(r#""name":"eve""#), "{text}");
    assert!(!text.contains("555") && !text.contains("n1"), "{text}");
    assert_eq!(redacted, ["/notes", "/user/phone"]);
    let (same, _) = capture(body, &requirement(Some(&["/role", "/user"]), &["/user/phone"]));
    assert_eq!(same.as_deref(), Some(text.as_str()));
    let other = Redactor::new("other").body(body, &requirement(None, &["/role"]));
    let ours = Redactor::new("credential").body(body, &requirement(None, &["/role"]));
    assert_ne!(other.b64, ours.b64);
}

#[test]
fn a_body_whose_parts_cannot_be_told_apart_stays_in_the_filter() {
    assert_eq!(capture(b"secret=1", &requirement(None, &["/secret"])), (None, vec![String::new()]));
    assert_eq!(capture(br#"{"a":1,"a":2}"#, &requirement(Some(&["/a"]), &[])), (None, vec![String::new()]));
    let (text, redacted) = capture(br#""secret""#, &requirement(Some(&["/a"]), &[]));
    assert!(text.unwrap().contains("hmac") && redacted == [""]);
}

#[test]
fn credentials_never_leave_the_filter() {
    let field = |name: &str| (name.to_owned(), "secret".to_owned());
    let line = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
    let fields =
        ["authorization", "cookie", "proxy-authorization", "x-agent-token", "accept"].map(|name| (name, "secret"));
    let head = Head::read(line.into_iter().chain(fields).collect(), "x-agent-token").unwrap();
    let captured = Redactor::new("credential").capture(&head, b"", &requirement(None, &[]), "x-agent-token");
    assert_eq!(captured.fields, [field("accept")]);
}

/// Ten thousand elements under a long name once took seconds: each copied the whole path to itself.
#[test]
fn a_body_that_is_made_to_be_slow_to_redact_is_not() {
    let body = format!(r#"{{"{}":[{}0],"secret":1}}"#, "k".repeat(500_000), "0,".repeat(250_000));
    let (text, redacted) = capture(body.as_bytes(), &requirement(None, &["/secret"]));
    assert_eq!((text.is_some(), redacted), (true, vec!["/secret".to_owned()]));
    let many = format!(r#"{{"items":[{}0]}}"#, "0,".repeat(250_000));
    let (text, redacted) = capture(many.as_bytes(), &requirement(Some(&["/items/0"]), &[]));
    assert_eq!((text, redacted), (None, vec![String::new()]));
}
