//! Whatever a file holds, it is built or its mistakes are named; it is never half read.
#![expect(clippy::unwrap_used, reason = "test support")]

use holdgate_authoring::{Code, build, compile, compile_bytes};
use holdgate_engine::Policy;
use proptest::prelude::*;

const SHIPPED: &str = include_str!("../../../policies/iam-guardrails.yaml");
const EVERY_KEY: &str = include_str!("every-key.yaml");

/// Builds, or shows every mistake; both must work without a panic.
fn read(text: &str) -> Option<Policy> {
    match build(&[("p.yaml", text)], "p", 1) {
        Ok(bytes) => Some(Policy::load(&bytes).unwrap()),
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
            let strange = problems.iter().find(|problem| problem.code == Code::Internal);
            assert!(strange.is_none(), "{}\n{text}", strange.unwrap());
            None
        }
    }
}

#[test]
fn line_ends_of_other_systems_and_a_byte_order_mark_change_nothing() {
    let plain = build(&[("p.yaml", SHIPPED)], "p", 1).unwrap_or_else(|problems| panic!("{}", problems[0]));
    for text in [SHIPPED.replace('\n', "\r\n"), format!("\u{feff}{SHIPPED}"), SHIPPED.trim_end().to_owned()] {
        assert_eq!(build(&[("p.yaml", &text)], "p", 1).unwrap(), plain);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(5000), "{a: ".repeat(5000), "- ".repeat(5000), format!("a: {}", "[".repeat(100))] {
        assert!(read(&text).is_none());
    }
}

#[test]
fn every_rule_of_a_file_is_in_the_bundle() {
    let compilation = compile(&[("p.yaml", SHIPPED)]).unwrap();
    let policy = read(SHIPPED).unwrap();
    let (rules, _) = SHIPPED.split_once("\ntests:\n").unwrap();
    assert_eq!(policy.rules().len(), rules.matches("\n  - id: ").count());
    assert_eq!(compilation.tests().count(), SHIPPED.matches("\n  - name: ").count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_file_is_refused_or_read(file in prop::sample::select(vec![SHIPPED, EVERY_KEY]), cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, "[-:{}\\[\\],&*!|>'\"#%@ \n\ta-z0-9é\u{0}\u{85}\u{2028}]{0,6}"), 1..4)) {
        let mut text: Vec<char> = file.chars().collect();
        for (place, length, new) in cuts {
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, new.chars());
        }
        read(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_text_is_refused_or_read(text in "\\PC{0,60}|[-:{}\\[\\],&*!|>'\"#%@? \n\ta-z0-9]{0,60}") {
        read(&text);
    }

    /// What another file has in its place, such as a list where a text is read, is refused or means something.
    #[test]
    fn lines_in_another_order_are_refused_or_read(swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4)) {
        let mut lines: Vec<&str> = EVERY_KEY.lines().collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        read(&lines.join("\n"));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Err(problems) = compile_bytes(&[("p.yaml", &bytes)]) {
            prop_assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    }

    /// Taking a line out never lets a rule pass with a condition less: it is refused, or the line stood for itself.
    #[test]
    fn a_changed_spelling_of_a_key_is_refused(place in any::<prop::sample::Index>()) {
        let keys = ["matches:", "tags:", "rate:", "over:", "per:", "time:", "within:", "outside:", "zone:", "mcp:", "tool:", "args:", "query:", "headers:", "claim:", "when:", "never:", "always:", "given:", "match:", "http:", "methods:", "path:", "body:", "agent:", "approval:", "effect:", "in:", "suffix:", "redact:"];
        let places: Vec<usize> = keys.iter().flat_map(|key| EVERY_KEY.match_indices(key).map(|(at, _)| at)).collect();
        let at = places[place.index(places.len())];
        let mut text = EVERY_KEY.to_owned();
        text.insert(at, 'x');
        prop_assert!(read(&text).is_none());
    }
}
