//! Automata against the engine's own tests, on all short texts.

use holdgate_engine::{
    Atom, Attribute, Pattern, Test,
    conditions::{List, Size, ValueTest},
};
use holdgate_protocol::bundle::Effect;
use proptest::prelude::*;

use super::*;
use crate::solve::{
    budget::Budget,
    language::{Domain, of_domain, of_test},
    leaf::{Leaf, Truths},
};

fn leaf(of: Attribute, is: Test) -> Leaf {
    Leaf::new(&Atom::Value(ValueTest { of, is }), false, Effect::Deny, Truths::TRUE, 0)
}

/// All texts of up to so many of the pieces.
fn texts(pieces: &[&str], length: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..length {
        last = last.iter().flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}"))).collect();
        all.extend(last.iter().cloned());
    }
    all
}

fn pattern() -> Pattern {
    let classes = std::array::from_fn(|byte| match byte {
        0x61 => 1,
        0x62 => 2,
        _ => 0,
    });
    Pattern::new("ab".into(), classes, vec![0, 1, 0, 0, 1, 2, 2, 2, 2], vec![false, false, true]).unwrap()
}

#[test]
fn tests_of_texts_accept_what_the_engine_accepts() {
    let text = |text: &str| text.to_owned();
    let tests = [
        Test::In(List::strings([text("ab"), text("a"), text("ä")])),
        Test::NotIn(List::strings([text(""), text("ba")])),
        Test::Prefix(text("ab")),
        Test::Prefix(text("")),
        Test::Suffix(text("aba")),
        Test::Contains(text("aab")),
        Test::Contains(text("")),
        Test::Glob(text("a*b*").into()),
        Test::Glob(text("ab*ba").into()),
        Test::Glob(text("**").into()),
        Test::Matches(pattern()),
        Test::Size(Size { min: 2, max: Some(3) }),
        Test::Size(Size { min: 1, max: None }),
        Test::Size(Size { min: 0, max: Some(0) }),
    ];
    for test in tests {
        let leaf = leaf(Attribute::AgentId, test.clone());
        let dfa = of_test(&test).unwrap();
        for text in texts(&["a", "b", "ä", "/"], 5) {
            assert_eq!(dfa.accepts(&text), leaf.of_text(&text), "{text:?} {test:?}");
        }
    }
}

#[test]
fn templates_accept_the_canonical_paths_that_the_engine_accepts() {
    let canonical = of_domain(Domain::Path).unwrap();
    let paths: Vec<String> =
        texts(&["/", "a", "b", "3", "%C3%A4"], 6).into_iter().filter(|text| canonical.accepts(text)).collect();
    assert!(paths.len() > 1000);
    let templates = [
        "/",
        "/**",
        "/a",
        "/a/**",
        "/{x}",
        "/*/b",
        "/a*",
        "/*b",
        "/*3",
        "/a*b*3/**",
        "/{x}/{y}",
        "/%C3%A4",
        "/%C3%A4*/b",
        "/a**",
    ];
    for source in templates {
        let Ok(template) = source.parse::<holdgate_engine::Template>() else { continue };
        let test = Test::Template(template);
        let (dfa, leaf) = (of_test(&test).unwrap(), leaf(Attribute::Path, test));
        for path in &paths {
            assert_eq!(dfa.accepts(path), leaf.of_text(path), "{path} {source}");
        }
    }
}

#[test]
fn a_star_of_the_path_itself_is_no_gap() {
    let template = "/a%2Ab".parse().unwrap();
    let dfa = of_test(&Test::Template(template)).unwrap();
    assert!(dfa.accepts("/a*b") && !dfa.accepts("/axb") && !dfa.accepts("/a%2Ab"));
}

#[test]
fn domains_have_what_can_arrive() {
    let all = [
        (Domain::Path, "/", true),
        (Domain::Path, "/a/", true),
        (Domain::Path, "/a.b/~c/..d/x'y", true),
        (Domain::Path, "/%C3%A4/%20", true),
        (Domain::Path, "/%E2%82%AC", true),
        (Domain::Path, "", false),
        (Domain::Path, "a", false),
        (Domain::Path, "//", false),
        (Domain::Path, "/a//b", false),
        (Domain::Path, "/.", false),
        (Domain::Path, "/../a", false),
        (Domain::Path, "/a/..", false),
        (Domain::Path, "/a;b", false),
        (Domain::Path, "/a b", false),
        (Domain::Path, "/%61", false),
        (Domain::Path, "/%2F", false),
        (Domain::Path, "/%25", false),
        (Domain::Path, "/%00", false),
        (Domain::Path, "/%c3%a4", false),
        (Domain::Path, "/%C3", false),
        (Domain::Path, "/%C3a", false),
        (Domain::Path, "/%C3/%A4", false),
        (Domain::Path, "/%E2%82", false),
        (Domain::Path, "/%", false),
        (Domain::Path, "/%2", false),
        (Domain::Method, "GET", true),
        (Domain::Method, "M-SEARCH", true),
        (Domain::Method, "CONNEC", true),
        (Domain::Method, "CONNECTS", true),
        (Domain::Method, "CONNECT", false),
        (Domain::Method, "get", false),
        (Domain::Method, "", false),
        (Domain::Host, "api.example", true),
        (Domain::Host, "[2001:db8::1]", true),
        (Domain::Host, "api.", false),
        (Domain::Host, "API", false),
        (Domain::Host, "", false),
        (Domain::Wire, "a ü", true),
        (Domain::Wire, "a\nb", false),
        (Domain::Any, "a\nb\u{7f}", true),
    ];
    for (domain, text, is_in) in all {
        assert_eq!(of_domain(domain).unwrap().accepts(text), is_in, "{domain:?} {text:?}");
    }
    let longest = "A".repeat(32);
    let method = of_domain(Domain::Method).unwrap();
    assert!(method.accepts(&longest) && !method.accepts(&format!("{longest}A")));
}

/// The shortest text by trying all.
fn by_force(parts: &[Wanted], candidates: &[String]) -> Option<usize> {
    let fits = |text: &&String| parts.iter().all(|(dfa, wanted)| dfa.accepts(text) == *wanted);
    candidates.iter().filter(fits).map(String::len).filter(|length| *length > 0).min()
}

proptest! {
    /// What is found fits and is shortest; where nothing is found there is nothing.
    #[test]
    fn common_texts_are_those_of_brute_force(
        globs in prop::collection::vec(("[ab*]{1,4}", any::<bool>()), 1..5), least in 0..3_u64,
    ) {
        let mut parts: Vec<Wanted> = vec![(Rc::new(of_domain(Domain::Any).unwrap()), true)];
        for (glob, wanted) in globs {
            parts.push((Rc::new(of_test(&Test::Glob(glob.into())).unwrap()), wanted));
        }
        parts.push((Rc::new(of_test(&Test::Size(Size { min: least, max: Some(5) })).unwrap()), true));
        let meter = Meter::new(Budget::default());
        let found = common_text(&parts, &meter, |_| true).unwrap();
        let candidates = texts(&["a", "b", "c"], 5);
        match found {
            Common::Found(text) if text.is_empty() => prop_assert_eq!(by_force(&parts, &candidates), None),
            Common::Found(text) => {
                prop_assert!(parts.iter().all(|(dfa, wanted)| dfa.accepts(&text) == *wanted), "{}", text);
                prop_assert_eq!(by_force(&parts, &candidates), Some(text.len()));
            }
            Common::Nothing => {
                prop_assert_eq!(by_force(&parts, &candidates), None);
                prop_assert!(!parts.iter().all(|(dfa, wanted)| dfa.accepts("") == *wanted));
            }
            Common::Refused => prop_assert!(false, "nothing was refused"),
        }
    }
}

#[test]
fn work_is_bounded() {
    let meter = Meter::new(Budget { steps: 100 });
    let size = of_test(&Test::Size(Size { min: 5_000, max: None })).unwrap();
    let any = of_domain(Domain::Any).unwrap();
    assert_eq!(common_text(&[(Rc::new(any), true), (Rc::new(size), true)], &meter, |_| true), Err(Exhausted));
}
