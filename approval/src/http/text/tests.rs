use proptest::prelude::*;

use super::*;

#[test]
fn json_is_laid_out_without_changing_a_token() {
    let check = |text: &str, expected: &str| assert_eq!(body(text.as_bytes()).html.as_str(), expected);
    check("{ }", "{}");
    check(" [ ] ", "[]");
    check(
        r#"{"b":1.0e+2,"a":[1, true ,{}]}"#,
        "{\n  &quot;b&quot;: 1.0e+2,\n  &quot;a&quot;: [\n    1,\n    true,\n    {}\n  ]\n}",
    );
    check(r#""{\"[,\\""#, r"&quot;{\&quot;[,\\&quot;");
    check(r#"{"a": "\u202e"}"#, "{\n  &quot;a&quot;: &quot;\\u202e&quot;\n}");
}

#[test]
fn what_has_two_readings_is_shown_as_it_came() {
    let double = body(br#"{"a":1,"a":2}"#);
    assert_eq!((double.form, double.html.as_str()), ("text", "{&quot;a&quot;:1,&quot;a&quot;:2}"));
}

#[test]
fn unseen_characters_are_escaped_and_breaks_only_where_there_are_lines() {
    assert_eq!(line("a\nb").as_str(), "a<span class=\"escape\">\\u{a}</span>b");
    assert_eq!(lines("a\nb\r").as_str(), "a\nb<span class=\"escape\">\\u{d}</span>");
    for c in ['\u{0}', '\u{7f}', '\u{85}', '\u{200b}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}'] {
        assert!(!lines(&c.to_string()).as_str().contains(c), "{:x}", u32::from(c));
    }
    assert_eq!(line("Zoë, 日本").as_str(), "Zoë, 日本");
}

#[test]
fn blanks_that_would_push_text_out_of_sight_are_counted() {
    let run = |text: &str| lines(text).to_string();
    assert_eq!(
        line(&format!("viewer{}admin", " ".repeat(3000))).as_str(),
        "viewer<span class=\"escape\">\\u{20} × 3,000</span>admin"
    );
    assert_eq!(run("a        b"), "a        b");
    assert_eq!(run(&format!("a{}b", "\n".repeat(40))), "a<span class=\"escape\">\\u{a} × 40</span>b");
    assert_eq!(run(&format!("a\n{}b", " ".repeat(128))), format!("a\n{}b", " ".repeat(128)));
    assert!(run(&format!("a\n{}b", " ".repeat(129))).contains("\\u{20} × 129"));
    assert!(line(&"\t".repeat(9)).as_str().contains("\\u{9} × 9"));
    // However deep it is, JSON keeps its indents.
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    assert!(!body(deep.as_bytes()).html.as_str().contains("escape"));
    assert_eq!(shown(&" ".repeat(50), 20, false).as_str().matches("× 20").count(), 1, "and what is left is counted");
}

#[test]
fn a_byte_that_is_no_text_does_not_hide_the_text_around_it() {
    let form = body(b"name=M\xfcller&grant=admin&note=<b>");
    assert_eq!(form.form, "text, with bytes that are no UTF-8");
    assert_eq!(
        form.html.as_str(),
        "name=M<span class=\"escape\">\\x{fc}</span>ller&amp;grant=admin&amp;note=&lt;b&gt;"
    );
    let bytes = body(b"\xff\xfe\x00<admin>\x80\x81 end.");
    assert_eq!(bytes.form, "bytes");
    let row = bytes.html.as_str();
    assert!(row.starts_with("00000000  ff fe 00 3c 61") && row.contains("|...&lt;admin&gt;.. end|\n"), "{row}");
    assert!(row.ends_with("00000010  2e                                               |.|\n"), "{row}");
}

#[test]
fn marks_that_pile_up_are_escaped() {
    assert_eq!(line("e\u{301}\u{323}").as_str(), "e\u{301}\u{323}");
    let piled = line("e\u{301}\u{323}\u{302}\u{303}x").to_string();
    assert!(piled.starts_with("e\u{301}\u{323}<span") && piled.contains("\\u{302}") && piled.contains("\\u{303}"));
    assert_eq!(line("हिन्दी ไทย").as_str(), "हिन्दी ไทย");
}

#[test]
fn what_would_grow_by_being_laid_out_is_shown_as_it_came() {
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let many = format!("[{}]", vec![deep.as_str(); 2000].join(","));
    let view = body(many.as_bytes());
    assert_eq!((view.form, view.html.as_str()), ("JSON", many.as_str()));
    assert_eq!(laid_out(&many, 1000), None);
}

#[test]
fn times_are_told_in_two_units() {
    assert_eq!(
        [span(0), span(59), span(60), span(3_725), span(90_000)],
        ["0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h"]
    );
    assert_eq!(distance(100, 40), "in 1 min");
    assert_eq!(distance(40, 100), "1 min ago");
    assert_eq!([distance(40, 40), distance(40, 44), distance(40, 45)], ["just now", "just now", "5 s ago"]);
    assert_eq!(moment(1_790_000_000), "2026-09-21 14:13:20 UTC");
    assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1,000", "1,234,567"]);
}

proptest! {
    #[test]
    fn no_text_becomes_markup(text in any::<String>()) {
        let html = lines(&text).to_string().replace("<span class=\"escape\">", "").replace("</span>", "");
        prop_assert!(!html.contains(['<', '>', '"', '\'']));
    }

    #[test]
    fn every_byte_is_shown_or_counted(text in "[a-z]{0,40}", limit in 0..40_usize) {
        let html = shown(&text, limit, false).to_string();
        let kept = html.split('<').next().unwrap().len();
        prop_assert_eq!(kept, text.len().min(limit));
        prop_assert_eq!(html.contains(&format!("… {} bytes more", text.len() - kept)), kept < text.len());
    }
}
