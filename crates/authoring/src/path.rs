//! The paths that a gateway lets in, so that no test is about a request that never comes to the rules.
//!
//! The solver has the same language as an automaton (`solve/language.rs`); here it is told why a path is not in it.

use std::fmt::Write as _;

/// Why the gateway refuses a path, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) why: String,
    pub(crate) mend: String,
}

/// What is wrong with a path that starts with `/`; `None` for a canonical one.
pub(crate) fn fault(path: &str) -> Option<Fault> {
    let fault = |why: &str, mend: &str| Some(Fault { why: why.into(), mend: mend.into() });
    if path.contains(['{', '}']) {
        return fault(
            "a request has no placeholders",
            "write what stands there in a request: `/iam/users/7` for `/iam/users/{user}`",
        );
    }
    if path.contains("//") {
        return fault("it has an empty segment", "leave out one of the slashes");
    }
    if path.contains(';') {
        return fault("it has a parameter (`;`), which servers read differently", "leave out `;` and what follows it");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return fault("it has a dot segment", "write the path that it leads to, without `.` and `..`");
    }
    octets(path).or_else(|| {
        let fine = std::str::from_utf8(&decoded(path)).is_ok();
        if fine {
            None
        } else {
            fault("its escapes are not UTF-8", "write each character with all of its bytes: `%C3%A4`")
        }
    })
}

/// Characters that must be escaped, and escapes that must not be there.
fn octets(path: &str) -> Option<Fault> {
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        let (here, behind) = rest.split_at(character.len_utf8());
        rest = behind;
        if character == '%' {
            let Some((escape, behind)) = behind.split_at_checked(2) else { return Some(broken()) };
            rest = behind;
            if let Some(fault) = escaped(escape) {
                return Some(fault);
            }
        } else if character == '\\' || character.is_ascii_control() {
            let why = format!("it has the character `{}`, which no path may have", character.escape_default());
            return Some(Fault { why, mend: "leave it out; its escape is refused too".into() });
        } else if character != '/' && !u8::try_from(character).is_ok_and(is_plain) {
            let why = format!("the character `{here}` must be escaped");
            return Some(Fault { why, mend: format!("write `{}` for it", escape_of(here)) });
        }
    }
    None
}

/// What is wrong with the two characters behind a `%`.
fn escaped(digits: &str) -> Option<Fault> {
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let Some(octet) = u8::from_str_radix(digits, 16).ok().filter(|_| hexadecimal) else { return Some(broken()) };
    let character = char::from(octet);
    if is_plain(octet) {
        let why = format!("`%{digits}` is an escape of `{character}`, which needs none");
        return Some(Fault { why, mend: format!("write `{character}`") });
    }
    if octet.is_ascii_control() || b"/\\;%".contains(&octet) {
        let why = format!("`%{digits}` hides `{}`, which servers read differently", character.escape_default());
        return Some(Fault { why, mend: "leave it out: no spelling of it passes the gateway".into() });
    }
    let upper = digits.to_ascii_uppercase();
    (upper != digits)
        .then(|| Fault { why: format!("the escape `%{digits}` is in lower case"), mend: format!("write `%{upper}`") })
}

fn broken() -> Fault {
    Fault {
        why: "a `%` stands there without two hexadecimal digits".into(),
        mend: "leave it out: no spelling of a `%` itself passes the gateway".into(),
    }
}

/// Whether the octet stands in a path as itself.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&octet)
}

fn escape_of(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        let _ = write!(escaped, "%{byte:02X}");
        escaped
    })
}

/// The octets of a path whose escapes are well formed.
fn decoded(path: &str) -> Vec<u8> {
    let mut pieces = path.split('%');
    let mut octets: Vec<u8> = pieces.next().unwrap_or_default().into();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or_default();
        octets.extend(u8::from_str_radix(digits, 16));
        octets.extend(rest.bytes());
    }
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::solve::{Domain, of_domain};

    #[test]
    fn faults_are_named_with_their_mend() {
        for (path, why, mend) in [
            ("/a/../admin", "dot segment", "without `.`"),
            ("//x", "empty segment", "slashes"),
            ("/a;b", "parameter", "leave out `;`"),
            ("/%2e%2e/x", "`%2e` is an escape of `.`", "write `.`"),
            ("/%61", "`%61` is an escape of `a`", "write `a`"),
            ("/%c3%A4", "`%c3` is in lower case", "write `%C3`"),
            ("/a%2Fb", "`%2F` hides `/`", "no spelling"),
            ("/100%", "without two", "no spelling"),
            ("/%+1", "without two", "no spelling"),
            ("/a b", "` ` must be escaped", "write `%20`"),
            ("/ä", "`ä` must be escaped", "write `%C3%A4`"),
            ("/%C3", "not UTF-8", "all of its bytes"),
            ("/iam/users/{user}", "no placeholders", "/iam/users/7"),
            ("/a\\b", "may have", "leave it out"),
        ] {
            let Fault { why: found, mend: help } = fault(path).unwrap();
            assert!(found.contains(why) && help.contains(mend), "{path}: {found}; {help}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn paths_without_a_fault_are_those_of_the_solver(
            parts in prop::collection::vec(prop::sample::select(vec![
                "/", "a", ".", "..", "%", "%20", "%2e", "%2E", "%C3", "%A4", "%c3%a4", "ä", ";", "{", " ", "%2F", "%00", "@", "%F0%9F%98%80",
            ]), 0..8),
        ) {
            let path = format!("/{}", parts.concat());
            let known = of_domain(Domain::Path).unwrap().accepts(&path);
            prop_assert_eq!(fault(&path).is_none(), known, "{}: {:?}", path, fault(&path));
        }
    }
}
