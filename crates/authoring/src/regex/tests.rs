use holdgate_engine::Pattern;
use proptest::prelude::*;

use super::{RegexError, weight};

fn compile(source: &str) -> Result<Pattern, RegexError> {
    super::compile(source).map(|(pattern, _)| pattern)
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.accepts(text.bytes().fold(pattern.start(), |state, byte| pattern.step(state, byte)))
}

/// Which of the texts a source matches.
fn matched<'t>(source: &str, texts: &[&'t str]) -> Vec<&'t str> {
    let pattern = compile(source).unwrap_or_else(|error| panic!("{source}: {}", error.message));
    texts.iter().copied().filter(|text| matches(&pattern, text)).collect()
}

#[test]
fn a_part_of_the_text_is_enough_unless_anchors_say_otherwise() {
    let texts = ["", "ab", "xabx", "a\nb", "ab\n", "x\nab"];
    assert_eq!(matched("ab", &texts), ["ab", "xabx", "ab\n", "x\nab"]);
    assert_eq!(matched("^ab", &texts), ["ab", "ab\n"]);
    assert_eq!(
        matched("ab$", &texts),
        ["ab", "xabx"].split_at(1).0.iter().copied().chain(["x\nab"]).collect::<Vec<_>>()
    );
    assert_eq!(matched("^ab$", &texts), ["ab"]);
    assert_eq!(matched("(?m)^ab$", &texts), ["ab", "ab\n", "x\nab"]);
    assert_eq!(matched("a.b", &texts), [""; 0]);
    assert_eq!(matched("(?s)a.b", &texts), ["a\nb"]);
    assert_eq!(matched("\\Aab\\z", &texts), ["ab"]);
    assert_eq!(matched("", &texts), texts);
}

#[test]
fn perl_classes_and_boundaries_are_about_ascii_and_the_rest_about_characters() {
    // Arabic-Indic digit, vertical tab, no-break space, a letter with an accent.
    let texts = ["7", "٧", "\u{b}", "\u{a0}", "é", "_", " "];
    assert_eq!(matched("^\\d$", &texts), ["7"]);
    assert_eq!(matched("^\\w$", &texts), ["7", "_"]);
    assert_eq!(matched("^\\s$", &texts), [" "]);
    assert_eq!(matched("^[^\\s\\w]$", &texts), ["٧", "\u{b}", "\u{a0}", "é"]);
    assert_eq!(matched("^\\D$", &texts), ["٧", "\u{b}", "\u{a0}", "é", "_", " "]);
    assert_eq!(matched("^.$", &texts), texts);
    assert_eq!(matched("\\bx", &["éx", "ax", "x"]), ["éx", "x"]);
    assert_eq!(matched("(?i)^É$", &["é", "É", "e"]), ["é", "É"]);
    assert_eq!(matched("^\\pL$", &texts), ["é"]);
}

/// As in the table of `regexp/syntax` of Go and in RE2's own: where case does not matter the Kelvin sign is a `k` and the
/// long s an `s`, in perl classes too.
#[test]
fn perl_classes_fold_as_those_of_re2_do() {
    let texts = ["k", "-", "\u{17f}", "\u{212a}", "é"];
    for (source, expected) in [
        ("^\\w$", &["k"][..]),
        ("(?i)^\\w$", &["k", "\u{17f}", "\u{212a}"]),
        ("(?i)^\\W$", &["-", "é"]),
        ("(?i)^[\\w-]$", &["k", "-", "\u{17f}", "\u{212a}"]),
        ("(?i)^[^\\w-]$", &["é"]),
        ("(?i)^[\\W]$", &["-", "é"]),
        ("(?i)^[^\\W]$", &["k", "\u{17f}", "\u{212a}"]),
        ("(?i)^[[:lower:]]$", &["k", "\u{17f}", "\u{212a}"]),
    ] {
        assert_eq!(matched(source, &texts), expected, "{source}");
    }
}

#[test]
fn the_automaton_is_the_smallest_one_and_does_not_depend_on_the_spelling() {
    let table = |source: &str| {
        let pattern = compile(source).unwrap();
        let states = 0..u16::try_from(pattern.states()).unwrap();
        let rows =
            states.map(|state| (pattern.accepts(state), (0..=255).map(move |byte| (state, byte)).collect::<Vec<_>>()));
        rows.map(|(accepts, cells)| {
            (accepts, cells.into_iter().map(|(state, byte)| pattern.step(state, byte)).collect::<Vec<_>>())
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(compile("ab").unwrap().states(), 3);
    assert_eq!(compile("^a").unwrap().states(), 3);
    assert_eq!(compile(".*").unwrap().states(), 1);
    for (one, other) in [("ab|ac", "a[bc]"), ("x+y", "xx*y"), ("(?:a|b)*c", "c"), ("[0-9]{2}", "\\d\\d")] {
        assert_eq!(table(one), table(other), "{one} {other}");
    }
}

#[test]
fn what_re2_has_not_or_reads_otherwise_is_refused_with_a_way_out() {
    for (source, message, help) in [
        ("(?=a)", "look-around", "several tests"),
        ("(a)\\1", "backreferences", "cannot refer"),
        ("[[a]]", "at character 2: `[a]`", "classes within classes"),
        ("[a&&b]", "RE2", "escape them"),
        ("(?x)a b", "`x`", "flags"),
        ("\\<a", "RE2", "boundaries"),
        ("\\u0041", "RE2", "as itself"),
        ("a{,3}", "decimal", "{0,3}"),
        ("\\p{Elvish}", "property", "a name such as"),
        ("(a", "unclosed group", "close it"),
        ("*a", "repetition operator missing", "backslash"),
        ("é\\y", "at character 2", "backslash"),
    ] {
        let error = compile(source).unwrap_err();
        assert!(error.message.contains(message) && !error.too_large, "{source}: {}", error.message);
        assert!(error.help.as_deref().unwrap_or_default().contains(help), "{source}: {:?}", error.help);
    }
}

#[test]
fn an_expression_that_would_be_huge_is_refused_soon() {
    for source in [".{1000}.{1000}", "(a|aa|aaa)*.{60}b.{60}", "[ab]*a[ab]{18}", "\\pL{300}", &"(a*)*".repeat(4000)] {
        let error = compile(source).unwrap_err();
        assert!(error.too_large && error.help.is_some(), "{}", error.message);
    }
    let nested = format!("{}a{}", "(".repeat(5000), ")".repeat(5000));
    assert!(compile(&nested).is_err());
    assert!(weight(&compile("a{200}").unwrap()) < 4096);
}

/// Expressions that both engines read: few letters, all operators.
fn source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => prop::sample::select(vec!["a", "B", "0", "_", " ", "-", "€", "."]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["\\d", "\\w", "\\s", "\\D", "\\W", "\\S"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["[a-c]", "[^a]", "[\\w-]", "[^\\s0]", "[€_]"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["^", "$", "\\b", "\\B", "\\A", "\\z"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            2 => prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            2 => (inner.clone(), prop::sample::select(vec!["*", "+", "?", "{2}", "{0,2}", "*?"]))
                .prop_map(|(part, times)| format!("(?:{part}){times}")),
            1 => (inner, prop::sample::select(vec!["i", "s", "m"])).prop_map(|(part, flag)| format!("(?{flag}:{part})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The inputs have no character on which ASCII and Unicode differ about `\d`, `\w` and `\s`.
    #[test]
    fn a_pattern_matches_what_the_regex_crate_matches(
        source in source(),
        texts in prop::collection::vec("[aAbBc0_ \n€-]{0,8}", 16),
    ) {
        let oracle = regex::bytes::Regex::new(&source.replace("\\b", "(?-u:\\b)").replace("\\B", "(?-u:\\B)")).unwrap();
        let Ok(pattern) = compile(&source) else { return Ok(()) };
        for text in texts {
            prop_assert_eq!(matches(&pattern, &text), oracle.is_match(text.as_bytes()), "{:?} on {:?}", source, text);
        }
    }
}
