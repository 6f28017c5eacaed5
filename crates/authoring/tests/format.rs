//! What `holdgate fmt` does to rule files, and what it never does.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

use holdgate_authoring::format::{FormatError, format};
use proptest::prelude::*;

fn check(text: &str, expected: &str) {
    let formatted = format("x.yaml", text.as_bytes()).unwrap();
    assert_eq!(formatted, expected);
    assert_eq!(format("x.yaml", formatted.as_bytes()).unwrap(), expected, "a second time");
}

#[test]
fn white_space_is_put_in_order() {
    check(
        "\n\npolicy:   demo   \n\n\n\nrules:\n- id:  a\n  match:\n      - http: { methods: [ GET,POST ] , path: '/x' }\n",
        "policy: demo\n\nrules:\n  - id: a\n    match:\n      - http: {methods: [GET, POST], path: '/x'}\n",
    );
    check("a: [1,\n  2,\n  ]\r\nb: {}\r\nc: [ ]\nd:\n", "a: [1, 2]\nb: {}\nc: []\nd:\n");
    check("a:\n\n  b: 1\n\n\n  c: 2", "a:\n  b: 1\n\n  c: 2\n");
    check("- - a\n  - b\n-   - c\n", "- - a\n  - b\n- - c\n");
}

#[test]
fn comments_stay_with_what_they_are_about() {
    let text = "\
# yaml-language-server: $schema=schema/policy.v1.json
format: 1   # the first

# about the policy

policy: demo
rules: # all
  # about a
  - id: a # its name
    # last words on a

    # more
  # about b
  - # in front of b
    id: b
    match: # entries
      - {a: 1, # one
         b: 2} # two
# the end
";
    let expected = "\
# yaml-language-server: $schema=schema/policy.v1.json
format: 1 # the first

# about the policy

policy: demo
rules: # all
  # about a
  - id: a # its name
    # last words on a

    # more
  # about b
  # in front of b
  - id: b
    match: # entries
      # two
      - a: 1 # one
        b: 2
# the end
";
    check(text, expected);
}

#[test]
fn known_keys_get_their_order_and_lists_keep_theirs() {
    check(
        "policy: p\nformat: 1\nrules:\n  - effect: deny\n    # why\n    id: b\n  - {when: x, id: a}\ntests: []\n",
        "format: 1\npolicy: p\nrules:\n  # why\n  - id: b\n    effect: deny\n  - {when: x, id: a}\ntests: []\n",
    );
    // This comment may be about the file: nothing moves in front of it.
    let text = "# about all\npolicy: p\nformat: 1\n";
    check(text, text);
}

#[test]
fn texts_over_several_lines_keep_their_meaning() {
    let text = "a: |\n      one\n        two\n\n      three\nb: >-\n    x\n    y\nc: |+\n  z\n\nd: plain\n     goes on\n\n     here\n\
                e: \"q\n   r\"\n";
    let expected = "a: |\n  one\n    two\n\n  three\nb: >-\n  x\n  y\nc: |+\n  z\n\nd: plain\n  goes on\n\n  here\n\
                    e: \"q\n  r\"\n";
    check(text, expected);
}

#[test]
fn a_long_line_becomes_a_block() {
    let items: Vec<String> = (0..40).map(|number| format!("item-{number}")).collect();
    let text = format!("a: [{}]\n", items.join(", "));
    let lines: String = items.iter().map(|item| format!("  - {item}\n")).collect();
    check(&text, &format!("a:\n{lines}"));
}

#[test]
fn what_cannot_be_read_or_kept_is_refused() {
    let mistakes = |text: &str| matches!(format("x.yaml", text.as_bytes()), Err(FormatError::Mistakes(found)) if !found.is_empty());
    for text in ["a: 1\na: 2\n", "a: &x 1\n", "a: [\n", "", "a: 1\n---\nb: 2\n", "# only\n"] {
        assert!(mistakes(text), "{text}");
    }
    let json = "{\"a\": 1,\n   \"b\": [ 2 ]}\n";
    check(json, json);
}

#[test]
fn shipped_files_are_formatted_and_nothing_of_them_is_lost() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut count = 0;
    for folder in ["policies", "tests/cases"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let formatted = format(&path.display().to_string(), text.as_bytes()).unwrap();
                assert_eq!(format("again", formatted.as_bytes()).unwrap(), formatted, "{}", path.display());
                assert_eq!(formatted, text, "{} is formatted; run `holdgate fmt`", path.display());
                count += 1;
            }
        }
    }
    assert!(count >= 2);
}

/// A tree that is written in some layout.
#[derive(Clone, Debug)]
enum Wild {
    Scalar(String),
    List(Vec<Wild>),
    Map(Vec<(String, Wild)>),
}

fn wild() -> impl Strategy<Value = Wild> {
    let scalar = prop_oneof![
        "[a-z]{1,6}",
        "'[a-z #:,{}]{0,5}'",
        "\"[a-z #:,{}]{0,5}\"",
        "[0-9]{1,4}",
        Just("/iam/**".to_owned()),
        Just("a.b-c".to_owned()),
        Just(String::new()),
    ];
    let leaf = scalar.prop_map(Wild::Scalar);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Wild::List),
            prop::collection::btree_map("[a-z]{1,5}|\"/[a-z]{1,3}\"", inner, 0..4)
                .prop_map(|map| Wild::Map(map.into_iter().collect())),
        ]
    })
}

/// Takes choices from a list, over and over.
struct Choices(Vec<u8>, usize);

impl Choices {
    fn next(&mut self, below: u8) -> u8 {
        self.1 += 1;
        self.0.get(self.1 % self.0.len().max(1)).copied().unwrap_or_default() % below
    }

    fn comments(&mut self, indent: usize, out: &mut String) {
        match self.next(6) {
            0 => out.push('\n'),
            1 => out.push_str(&format!("{:indent$}# own {}\n", "", self.1)),
            2 => out.push_str(&format!("\n\n{:indent$}#own {}\n\n", "", self.1)),
            _ => {}
        }
    }

    fn beside(&mut self) -> String {
        if self.next(4) == 0 { format!("  # beside {}\n", self.1) } else { "  \n".to_owned() }
    }
}

fn flow(wild: &Wild, choices: &mut Choices) -> String {
    let gap = ["", " ", "  "].get(usize::from(choices.next(3))).copied().unwrap();
    match wild {
        Wild::Scalar(text) if text.is_empty() => "null".into(),
        Wild::Scalar(text) => text.clone(),
        Wild::List(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(item, choices)).collect();
            format!("[{gap}{}{gap}]", items.join(&format!("{gap},{gap}")))
        }
        Wild::Map(members) => {
            let one = |(key, value): &(String, Wild)| format!("{key}: {}", flow(value, choices));
            let members: Vec<String> = members.iter().map(one).collect();
            format!("{{{gap}{}{gap}}}", members.join(&format!("{gap}, ")))
        }
    }
}

/// Writes a value behind `key:` or `-`.
fn block(wild: &Wild, indent: usize, choices: &mut Choices, out: &mut String) {
    let empty = match wild {
        Wild::Scalar(_) => true,
        Wild::List(items) => items.is_empty(),
        Wild::Map(members) => members.is_empty(),
    };
    if empty || choices.next(4) == 0 {
        let written = match wild {
            Wild::Scalar(text) => text.clone(),
            other => flow(other, choices),
        };
        out.push_str(&format!(" {written}"));
        out.push_str(&choices.beside());
        return;
    }
    out.push_str(&choices.beside());
    let indent = indent + 1 + usize::from(choices.next(4));
    match wild {
        Wild::Scalar(_) => {}
        Wild::List(items) => {
            for item in items {
                choices.comments(indent, out);
                out.push_str(&format!("{:indent$}-", ""));
                block(item, indent, choices, out);
            }
        }
        Wild::Map(members) => {
            for (key, value) in members {
                choices.comments(indent, out);
                out.push_str(&format!("{:indent$}{key}:", ""));
                block(value, indent, choices, out);
            }
        }
    }
    choices.comments(indent, out);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// `format` itself compares meaning and comments; here nothing of this kind may be refused, and once must be enough.
    #[test]
    fn any_layout_is_formatted_once_and_for_all(
        value in wild(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let mut choices = Choices(choices, 0);
        let mut text = String::from("# head\nroot:");
        block(&value, 0, &mut choices, &mut text);
        text.push_str("rules:\n- effect: x\n  id: y\n");
        match format("wild", text.as_bytes()) {
            Ok(formatted) => {
                prop_assert_eq!(format("again", formatted.as_bytes()), Ok(formatted.clone()), "{}\n->\n{}", text, formatted);
            }
            Err(error) => prop_assert!(false, "{:?}\n{}", error, text),
        }
    }

    #[test]
    fn any_text_is_formatted_or_refused(text in "[a-c:#\\-\\[\\]{},|>'\"\n ]{0,60}") {
        if let Ok(formatted) = format("noise", text.as_bytes()) {
            prop_assert_eq!(format("again", formatted.as_bytes()), Ok(formatted.clone()), "{:?}", text);
        }
    }
}
