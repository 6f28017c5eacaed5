//! Regular expressions that are plain texts.

/// The plain test that says the same as an expression, if there is one.
pub(super) fn of(source: &str) -> Option<String> {
    let (anchored, rest) = source.strip_prefix('^').map_or((false, source), |rest| (true, rest));
    let (ended, rest) =
        rest.strip_suffix('$').filter(|rest| !ends_escaped(rest)).map_or((false, rest), |rest| (true, rest));
    let rest = if anchored { rest.strip_suffix(".*").filter(|rest| !ends_escaped(rest)).unwrap_or(rest) } else { rest };
    let text = literal(rest)?;
    let operator = match (anchored, ended) {
        (true, true) => "equals",
        (true, false) => "prefix",
        (false, true) => "suffix",
        (false, false) => "contains",
    };
    Some(format!("{operator}: {}", serde_json::to_string(&text).ok()?))
}

fn ends_escaped(text: &str) -> bool {
    text.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// The text that an expression without operators stands for.
fn literal(source: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn plain_texts_are_told_from_expressions() {
        for (source, expected) in [
            ("^s3://backup/", Some(r#"prefix: "s3://backup/""#)),
            ("^admin$", Some(r#"equals: "admin""#)),
            (r"@example\.com$", Some(r#"suffix: "@example.com""#)),
            ("drop table", Some(r#"contains: "drop table""#)),
            ("^/tmp/.*", Some(r#"prefix: "/tmp/""#)),
            (r"cost\$", Some(r#"contains: "cost$""#)),
            ("^a[0-9]$", None),
            ("a|b", None),
            (r"\d", None),
            ("^", None),
            ("a.c", None),
        ] {
            assert_eq!(of(source).as_deref(), expected, "{source}");
        }
    }
}
