use super::*;

const SINGLETONS: [&str; 11] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "prefer",
    "transfer-encoding",
    "upgrade",
];

const HOSTS: [&str; 6] =
    ["host", "x-forwarded-host", "x-forwarded-server", "x-host", "x-http-host-override", "x-original-host"];

fn read(extra: &[(&str, &[u8])], target: &str) -> Result<Head, Malformed> {
    let mut pairs: Vec<(&str, &[u8])> = vec![
        (":method", b"POST"),
        (":scheme", b"http"),
        (":authority", b"IAM.example:80"),
        (":path", target.as_bytes()),
    ];
    for (name, value) in extra {
        pairs.retain(|(other, _)| !(name.starts_with(':') && other == name));
        pairs.push((name, value));
    }
    Head::read(pairs.into_iter().map(|(n, v)| (n.as_bytes().to_vec(), v.to_vec())).collect(), "authorization")
}

#[track_caller]
fn check_refused(extra: &[(&str, &[u8])], target: &str, detail: &str) {
    assert_eq!(read(extra, target), Err(Malformed(detail.into())), "{target}");
}

#[test]
fn a_plain_head_is_read_and_its_authority_normalised() {
    let head =
        read(&[("x-a", "é".as_bytes()), ("holdgate-x", b"1"), ("x-envoy-y", b"1")], "/iam/a%20b?x=%26&y").unwrap();
    assert_eq!((head.authority(), head.host(), head.renamed), ("iam.example", "iam.example", true));
    assert_eq!((head.path(), head.query()), ("/iam/a%20b", Some("x=%26&y")));
    assert_eq!(head.fields().collect::<Vec<_>>(), [("x-a", "é")]);
    let head = read(&[(":authority", b"[::1]:8443"), (":scheme", b"https")], "/").unwrap();
    assert_eq!((head.authority(), head.host(), head.renamed), ("[::1]:8443", "[::1]", false));
    assert_eq!(read(&[(":authority", b"[::1]")], "/").unwrap().host(), "[::1]");
}

#[test]
fn a_target_with_two_readings_is_refused() {
    for (target, detail) in [
        ("iam", "the path does not start with `/`"),
        ("http://a/iam", "the path does not start with `/`"),
        ("*", "the path does not start with `/`"),
        ("//iam", "the path has an empty segment"),
        ("/iam//users", "the path has an empty segment"),
        ("/iam/./users", "the path has a dot segment"),
        ("/iam/..", "the path has a dot segment"),
        ("/iam/users;v=1", "the path has a parameter (`;`)"),
        ("/iam/%75sers", "the path escapes a character that needs no escape"),
        ("/iam/%2e%2e/x", "the path has an escape that is not `%` and two upper-case hex digits"),
        ("/iam/%2E%2E/x", "the path escapes a character that needs no escape"),
        ("/iam%2Fusers", "the path has an escaped control character or separator"),
        ("/iam%5Cusers", "the path has an escaped control character or separator"),
        ("/iam/%2575sers", "the path has an escaped control character or separator"),
        ("/iam/users%3Bx", "the path has an escaped control character or separator"),
        ("/iam/users%00", "the path has an escaped control character or separator"),
        ("/iam/users%c3%a9", "the path has an escape that is not `%` and two upper-case hex digits"),
        ("/iam/%4", "the path has an escape that is not `%` and two upper-case hex digits"),
        ("/iam/..%C0%AF..%C0%AFx", "the path is not UTF-8 once its escapes are undone"),
        ("/iam/%FF", "the path is not UTF-8 once its escapes are undone"),
        ("/iam?a=%C3", "the query is not UTF-8 once its escapes are undone"),
        ("/iam/us\\ers", "the path has a character that must be escaped"),
        ("/iam/us ers", "the path has a character that must be escaped"),
        ("/iam/é", "the path has a character that must be escaped"),
        ("/iam/users#x", "the path has a character that must be escaped"),
        ("/iam?a#b", "the query has a character that must be escaped"),
        ("/iam?%61=1", "the query escapes a character that needs no escape"),
        ("/iam?a=%0A", "the query has an escaped control character or separator"),
    ] {
        check_refused(&[], target, detail);
    }
    assert!(read(&[], "/iam/%C3%A9/a:b@c").is_ok());
}

#[test]
fn headers_with_two_readings_are_refused() {
    check_refused(&[("x-a", b"\xff")], "/", "the value of `x-a` is not UTF-8");
    check_refused(&[("x-a", b"1\r\nx-b: 2")], "/", "the value of `x-a` has a control character");
    for name in ["x_a", "x.a", "X-A", ":x", ":protocol", "", "x-\u{e9}", "x a"] {
        let detail = "a header name has another character than lower-case letters, digits and `-`";
        check_refused(&[(name, b"1")], "/", detail);
    }
    for name in OVERRIDES {
        check_refused(&[(name, b"DELETE")], "/", &format!("`{name}` asks that the request be read as another one"));
    }
    for name in SINGLETONS {
        let value = match name {
            "connection" => &b"close"[..],
            "host" => b"IAM.example",
            "expect" => b"100-Continue",
            "transfer-encoding" => b"chunked",
            "upgrade" => b"WebSocket",
            _ => b"1",
        };
        assert!(read(&[(name, value)], "/").is_ok(), "{name}");
        check_refused(&[(name, value), (name, value)], "/", &format!("`{name}` stands there twice"));
    }
    for (name, values) in [
        ("connection", &["x-role", "close, x-role", "content-length"][..]),
        ("content-length", &["", "+5", "-1", "5,5", "0x5", "5 5"]),
        ("expect", &["", "200-ok", "100-continue, x"]),
        ("transfer-encoding", &["", "gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked"]),
        ("upgrade", &["", "h2c", "websocket, h2c", "TLS/1.0"]),
    ] {
        for value in values {
            let detail = format!("`{name}` asks for what the gateway does not do");
            check_refused(&[(name, value.as_bytes())], "/", &detail);
        }
    }
    let head = read(&[("x-role", b" admin\t")], "/").unwrap();
    assert_eq!(head.field("x-role"), Some("admin"), "HTTP/2 brings along what is no part of a value");
    let lengths = &[("transfer-encoding", &b"chunked"[..]), ("content-length", b"1")];
    check_refused(lengths, "/", "the length of the body is given in two ways");
    for name in HOSTS {
        assert!(read(&[(name, b"iam.EXAMPLE")], "/").is_ok(), "{name}");
        for other in ["other.example", "", "iam.example, other.example", "iam.example:81"] {
            check_refused(&[(name, other.as_bytes())], "/", "a header names another host than the authority");
        }
    }
    assert!(read(&[("forwarded", b"for=1.2.3.4")], "/").is_ok());
    check_refused(&[("forwarded", b"for=x;Host=a")], "/", "a header names another host than the authority");
    let pairs = [(":method", "GET"), (":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    assert_eq!(
        Head::read(pairs.into_iter().collect(), "authorization"),
        Err(Malformed("`:method` stands there twice".into()))
    );
}

#[test]
fn methods_schemes_and_authorities_outside_http_are_refused() {
    for method in ["get", "", "GE T", "G\u{c9}T"] {
        check_refused(&[(":method", method.as_bytes())], "/", "the method is not a word in upper case");
    }
    check_refused(&[(":method", b"CONNECT")], "/", "CONNECT is not served");
    check_refused(&[(":scheme", b"ftp")], "/", "the scheme is neither http nor https");
    for authority in [
        "",
        "a b",
        "user@a",
        "a:0",
        "a:99999",
        "a:+1",
        "a:08",
        "a.",
        "[::g]",
        "a:b:c",
        "a/b",
        "[0:0::1]",
        "127.1",
        "0x7f.0.0.1",
        "127.0.0.01",
        "2130706433",
        "a.0x7",
        "256.1.1.1",
    ] {
        let detail = "the authority is not a host with an optional port";
        check_refused(&[(":authority", authority.as_bytes())], "/", detail);
    }
}

/// Eight bytes at a time see what each byte by itself shows.
#[test]
fn control_characters_are_seen_at_every_place() {
    for length in 0..20 {
        let plain: String = "~ ".chars().cycle().take(length).collect();
        assert!(is_printable(plain.as_bytes()) && !has_control(&plain));
        for at in 0..length {
            for byte in 0..=u8::MAX {
                let mut bytes = plain.as_bytes().to_vec();
                bytes[at] = byte;
                assert_eq!(is_printable(&bytes), (b' '..=b'~').contains(&byte), "{byte} at {at}");
            }
        }
    }
    assert!(
        has_control("a\u{85}b") && !has_control("a\tb") && !has_control("a\u{e9}b") && has_control("12345678\u{7f}")
    );
}
