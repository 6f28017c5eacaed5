//! Trace context (W3C): what a request carries of it goes along with its own callouts, and nowhere else.

use crate::Head;

/// The longest `tracestate` that is passed on, and the most members (section 3.3.1).
const MAX_STATE: usize = 512;
const MAX_MEMBERS: usize = 32;

/// The headers for a callout that is made for this request. What has not exactly the form of version 00 is left out.
#[inline(never)]
pub(crate) fn context(head: &Head) -> Vec<(&'static str, String)> {
    let mut context = Vec::new();
    let (mut parents, mut state) = (0, String::new());
    for (name, value) in head.fields() {
        if name == "traceparent" {
            parents += 1;
            if is_parent(value.as_bytes()) {
                context.push(("traceparent", value.to_owned()));
            }
        } else if name == "tracestate" {
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(value);
        }
    }
    if parents != 1 || context.is_empty() {
        return Vec::new();
    }
    if is_state(&state) {
        context.push(("tracestate", state));
    }
    context
}

/// `00-{32}-{16}-{2}` in lower-case hex, with neither id all zeros (section 3.2.2).
fn is_parent(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'-');
    let mut id = |length: usize| {
        let part = parts.next().unwrap_or_default();
        let hex = part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (hex && part.len() == length, part.iter().any(|byte| *byte != b'0'))
    };
    text.len() == 55
        && text.starts_with(b"00-")
        && id(2).0
        && id(32) == (true, true)
        && id(16) == (true, true)
        && id(2).0
}

/// Members `key=value`, separated by commas (section 3.3.1).
fn is_state(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    text.len() <= MAX_STATE
        && text.bytes().filter(|byte| *byte == b',').count() < MAX_MEMBERS
        && text.split(',').all(|member| {
            let (key, value) = member.trim().split_once('=').unwrap_or_default();
            let value_is = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
            !key.is_empty() && !value.is_empty() && key.bytes().all(plain) && value.bytes().all(value_is)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: &[(&str, &str)]) {
        let line = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
        let context = context(&Head::read(line.iter().chain(fields).copied().collect(), "authorization").unwrap());
        let context: Vec<_> = context.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(context, expected);
    }

    #[test]
    fn what_has_the_form_of_the_standard_goes_along() {
        check(&[("traceparent", PARENT)], &[("traceparent", PARENT)]);
        let state = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
        check(&[("traceparent", PARENT), ("tracestate", state)], &[("traceparent", PARENT), ("tracestate", state)]);
        let split = [("tracestate", "a=1"), ("traceparent", PARENT), ("tracestate", "t/b@c=2 3")];
        check(&split, &[("traceparent", PARENT), ("tracestate", "a=1,t/b@c=2 3")]);
    }

    #[test]
    fn anything_else_is_left_out() {
        let wrong = [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ];
        for parent in wrong {
            check(&[("traceparent", parent), ("tracestate", "a=1")], &[]);
        }
        check(&[("traceparent", PARENT), ("traceparent", PARENT)], &[]);
        check(&[("tracestate", "a=1")], &[]);
        let long = format!("a={}", "x".repeat(MAX_STATE));
        let many = vec!["a=1"; MAX_MEMBERS + 1].join(",");
        for state in ["", "a", "=1", "A=1", "a=", "a=1,,b=2", "a=\u{e4}", "a=1=2", long.as_str(), many.as_str()] {
            check(&[("traceparent", PARENT), ("tracestate", state)], &[("traceparent", PARENT)]);
        }
    }
}
