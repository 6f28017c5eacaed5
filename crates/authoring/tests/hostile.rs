//! Files that are meant to harm: each is refused (or read) soon and in little memory, with a message that can be shown.
//!
//! The limits of the tests are 256 MB, and a second; without optimisation several. What is built may take a little longer.
#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdgate_authoring::{Code, build, compile_bytes};

/// Counts the bytes that are in use, and the most that ever were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One at a time, as memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

const MOST_BYTES: usize = 256 * 1024 * 1024;

/// Without optimisation everything takes some ten times as long.
const MOST_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });

/// Builds a file within the limits; all that is said about it fits on a screen or two. What it holds is not counted.
fn try_build(name: &str, bytes: &[u8]) -> Vec<Code> {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let problems = match compile_bytes(&[("p.yaml", bytes)]) {
        Ok(compilation) => compilation.build("p", 1).err().into_iter().collect(),
        Err(problems) => problems,
    };
    let shown: String = problems.iter().map(ToString::to_string).collect();
    let (time, peak) = (start.elapsed(), PEAK.load(Ordering::Relaxed) - before);
    println!("{name}: {} KB, {time:?}, {} MB", bytes.len() / 1000, peak / 1_000_000);
    let most = if problems.is_empty() { 3 * MOST_TIME } else { MOST_TIME };
    assert!(time < most, "{name}: {time:?}");
    assert!(peak + bytes.len() < MOST_BYTES || problems.is_empty(), "{name}: {peak} bytes");
    assert!(shown.len() < 100_000 && problems.len() <= 101, "{name}: {} findings", problems.len());
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{name}");
    problems.iter().map(|problem| problem.code).collect()
}

const HEAD: &str = "format: 1\npolicy: p\n";

/// Without optimisation the files are smaller, so that the tests end soon.
const SMALLER: usize = if cfg!(debug_assertions) { 10 } else { 1 };

/// As many bytes as a file may have, made of repetitions.
fn full(head: &str, part: impl Fn(usize) -> String) -> Vec<u8> {
    some(head, usize::MAX, part)
}

/// At most so many repetitions.
fn some(head: &str, most: usize, part: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = head.to_owned();
    for number in 0..most {
        let next = part(number);
        if text.len() + next.len() > 8 * 1024 * 1024 {
            break;
        }
        text.push_str(&next);
    }
    text.into_bytes()
}

#[test]
fn a_file_that_is_too_large_is_not_even_parsed() {
    assert_eq!(try_build("50 MB", &vec![b' '; 50_000_000]), [Code::TooLarge]);
    let text = " ".repeat(8 * 1024 * 1024 + 1);
    assert_eq!(
        build(&[("p.yaml", &text)], "p", 1).unwrap_err().first().map(|problem| problem.code),
        Some(Code::TooLarge)
    );
}

#[test]
fn alias_bombs_end_at_the_first_anchor() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..100 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")));
    }
    assert_eq!(try_build("alias bomb", bomb.as_bytes()), [Code::AnchorOrTag]);
    assert_eq!(
        try_build("many anchors", &some("", 390_000 / SMALLER, |number| format!("- &a{number} x\n"))),
        [Code::AnchorOrTag]
    );
}

#[test]
fn deep_nesting_ends_where_it_is_too_deep() {
    for (name, part, code) in [
        ("flow lists", "[", Code::TooDeep),
        ("flow maps", "{a: ", Code::TooDeep),
        ("quoted keys", "{\"a\":", Code::TooDeep),
        ("block lists", "- ", Code::TooDeep),
        ("complex keys", "? ", Code::TooDeep),
    ] {
        assert_eq!(try_build(name, part.repeat(100_000).as_bytes()), [code], "{name}");
    }
    let stairs: String = (0..2000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert_eq!(try_build("stairs", stairs.as_bytes()), [Code::TooDeep]);
    let balanced = format!("{HEAD}rules: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(try_build("balanced", balanced.as_bytes()), [Code::TooDeep]);
}

#[test]
fn bytes_that_are_no_text_are_named() {
    for (name, bytes, code) in [
        ("NUL", b"format: 1\npolicy: \0p\n".as_slice(), Code::ControlCharacter),
        ("escape", b"format: 1\n\x1b[31mpolicy: p\n", Code::ControlCharacter),
        ("delete", b"policy: \x7f", Code::ControlCharacter),
        ("lone continuation", b"policy: \x80", Code::NotUtf8),
        ("overlong", b"policy: \xc0\xaf", Code::NotUtf8),
        ("surrogate", b"policy: \xed\xa0\x80", Code::NotUtf8),
        ("UTF-16", b"\xff\xfef\0o\0", Code::NotUtf8),
    ] {
        assert_eq!(try_build(name, bytes), [code], "{name}");
    }
    let mut late = vec![b'\n'; 8_000_000];
    late.push(0xff);
    assert_eq!(try_build("late", &late), [Code::NotUtf8]);
    assert_eq!(try_build("NULs", &vec![0; 8_000_000]), [Code::ControlCharacter]);
}

#[test]
fn very_many_values_are_refused_before_they_fill_the_memory() {
    for (name, head, part) in
        [("block list", "", "- a\n"), ("empty maps", "rules: [", "{},"), ("pairs", "rules: [", "a: ,")]
    {
        let codes = try_build(name, &full(head, |_| part.to_owned()));
        assert_eq!(codes, [Code::TooLarge], "{name}");
    }
}

#[test]
fn very_many_mistakes_are_counted_and_the_first_are_shown() {
    let unknown = try_build("unknown keys", &some(HEAD, 390_000 / SMALLER, |number| format!("key-{number}: 1\n")));
    assert_eq!((unknown.len(), unknown.last()), (101, Some(&Code::MoreFindings)));
    let same = try_build("one key", &some(HEAD, 390_000 / SMALLER, |_| "kkkkkkkkkk: 1\n".into()));
    assert_eq!((same.len(), same.last()), (101, Some(&Code::MoreFindings)));
    let rules = try_build(
        "empty rules",
        &some(&format!("{HEAD}rules:\n"), 150_000 / SMALLER, |_| "- effect: allowed\n".into()),
    );
    assert_eq!(rules.last(), Some(&Code::MoreFindings));
    let tests = try_build(
        "tests",
        &some(&format!("{HEAD}rules: []\ntests:\n"), 30_000 / SMALLER, |number| {
            format!(
                "- {{name: t{}, request: {{http: {{method: G, path: /}}}}, expect: {{effect: deny}}}}\n",
                number % 7
            )
        }),
    );
    assert_eq!(tests.last(), Some(&Code::MoreFindings));
    let many = "{ä: 1, é: 2}, ".repeat(120_000 / SMALLER);
    let one_line = try_build("mistakes in one line", format!("{{format: 1, policy: p, rules: [{many}]}}").as_bytes());
    assert_eq!(one_line.last(), Some(&Code::MoreFindings));
}

/// What was meant is looked for among many words, but not for every mistake of very many.
#[test]
fn very_many_wrong_words_do_not_cost_much_each() {
    let rule = |keys: &str| format!("{HEAD}rules: [{{id: a, effect: hold, {keys}}}]");
    let long = "r".repeat(40);
    let roles: String = (0..50_000 / SMALLER).map(|number| format!("{long}{number}: {{}}, ")).collect();
    let factors: String =
        (0..50_000 / SMALLER).map(|number| format!("{{role: {long}x{number}, approvals: 1}}, ")).collect();
    let roles = format!("{}\napprovers: {{{roles}}}", rule(&format!("approval: {{factors: [{factors}]}}")));
    assert_eq!(try_build("undeclared roles", roles.as_bytes()).last(), Some(&Code::MoreFindings));
    let zones = "{time: {within: {days: [mon]}, zone: Europa/Berlinchen}}, ".repeat(4000);
    let zones = rule(&format!("match: [{zones}]"));
    assert_eq!(try_build("unknown zones", zones.as_bytes()).last(), Some(&Code::MoreFindings));
    let regexes: String =
        (0..100_000 / SMALLER).map(|number| format!("/{number}: {{matches: \"(((a{number}\"}}, ")).collect();
    let regexes = rule(&format!("match: [{{body: {{{regexes}}}}}]"));
    assert_eq!(try_build("wrong regexes", regexes.as_bytes()).last(), Some(&Code::MoreFindings));
    let days = rule(&format!(
        "match: [{{time: {{zone: UTC, within: {{days: [{}]}}}}}}]",
        "monday, ".repeat(300_000 / SMALLER)
    ));
    assert_eq!(try_build("wrong days", days.as_bytes()).last(), Some(&Code::MoreFindings));
}

#[test]
fn very_long_lines_and_texts_are_read_and_shown_in_part() {
    let long = "x".repeat(8_000_000);
    for (name, text) in [
        ("long key", format!("{HEAD}{}: 1\n", "x".repeat(1000))),
        ("long quoted key", format!("{{\"{long}\": 1}}")),
        ("long scalar", format!("{HEAD}rules: {long}\n")),
        ("long comment", format!("# {long}\n{HEAD}")),
        ("long name", format!("format: 1\npolicy: {long}\nrules: []\n")),
        ("long duration", format!("{HEAD}rules: [{{id: a, effect: {long}, match: []}}]\n")),
        ("long digits", format!("{HEAD}rules: [{{id: {}}}]\n", "9".repeat(8_000_000))),
        ("long pointer", format!("{HEAD}rules: [{{id: a, match: [{{body: {{\"{long}\": 1}}}}]}}]\n")),
        (
            "long template",
            format!("{HEAD}rules: [{{id: a, match: [{{http: {{path: \"/{}\"}}}}]}}]\n", "{a}/".repeat(2_000_000)),
        ),
        (
            "long expression",
            format!("{HEAD}rules: [{{id: a, match: [{{http: {{path: /}}}}], when: \"{}\"}}]\n", "!".repeat(8_000_000)),
        ),
        ("long regex", format!("{HEAD}rules: [{{id: a, match: [{{body: {{/a: {{matches: \"{long}\"}}}}}}]}}]\n")),
    ] {
        assert!(!try_build(name, text.as_bytes()).is_empty(), "{name}");
    }
}

#[test]
fn a_small_file_does_not_become_a_huge_bundle() {
    let rule = |number: usize, entry: &str| format!("- {{id: r{number}, effect: deny, match: [{entry}]}}\n");
    let head = format!("{HEAD}rules:\n");
    let zones = some(&head, 20_000, |number| rule(number, "{time: {within: {days: [mon]}, zone: Europe/Berlin}}"));
    assert!(try_build("zones", &zones).contains(&Code::TooLarge));
    let regexes = some(&head, 20_000 / SMALLER, |number| {
        rule(number, &format!("{{body: {{/a: {{matches: \"[^é]{{300}}{}\"}}}}}}", number % 2000))
    });
    assert!(try_build("regexes", &regexes).contains(&Code::RegexTooLarge));
    let large = some(&head, 20_000 / SMALLER, |number| {
        rule(number, &format!("{{body: {{/a: {{matches: \".{{900}}{number}.{{900}}\"}}}}}}"))
    });
    assert!(try_build("large regexes", &large).contains(&Code::RegexTooLarge));
    let controls: String = (0..400_000).map(|number| format!("a/{number}, ")).collect();
    let controls = format!("{HEAD}controls: [{controls}]\nrules:\n{}", rule(1, "{http: {path: /}}").repeat(1000));
    assert!(try_build("controls", controls.as_bytes()).contains(&Code::TooLarge));
    let entries = "{http: {path: /}}, ".repeat(100_000);
    let when = vec!["agent.exists"; 200].join(" && ");
    let entries = format!("{head}- {{id: a, effect: deny, match: [{entries}], when: \"{when}\"}}\n");
    assert_eq!(try_build("entries", entries.as_bytes()), [Code::TooLarge]);
}

#[test]
fn large_maps_are_read_without_quadratic_effort() {
    let test = |body: &str| {
        format!(
            "{HEAD}rules: [{{id: a, effect: deny, match: [{{http: {{path: /}}}}]}}]\ntests:\n\
             - {{name: t, request: {{http: {{method: G, path: /}}, body: {{{body}}}}}, expect: {{effect: deny}}}}\n"
        )
    };
    let members: String = (0..250_000 / SMALLER).rev().map(|number| format!("k{number:06}: 1, ")).collect();
    assert!(try_build("body", test(&members).as_bytes()).is_empty());
    let roles: String = (0..60_000 / SMALLER).map(|number| format!("r{number}: {{}}, ")).collect();
    let factors: String = (0..60_000 / SMALLER).map(|number| format!("{{role: r{number}, approvals: 1}}, ")).collect();
    let hold = format!(
        "{HEAD}approvers: {{{roles}}}\nrules: [{{id: a, effect: hold, match: [{{http: {{path: /}}}}], \
         approval: {{factors: [{factors}], decide_within: 1h, use_within: 1h}}}}]\n"
    );
    assert!(try_build("roles", hold.as_bytes()).is_empty());
    let methods: String = (0..200_000 / SMALLER).map(|number| format!("{}, ", letters(number))).collect();
    let methods = format!("{HEAD}rules: [{{id: a, effect: deny, match: [{{http: {{methods: [{methods}]}}}}]}}]\n");
    assert!(try_build("methods", methods.as_bytes()).is_empty());
}

fn letters(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'A')).collect()
}

/// The whole of reading, compiling, writing and loading is linear.
#[test]
fn ten_thousand_rules_are_built_soon() {
    let rules: String = (0..10_000 / SMALLER)
        .map(|number| {
            format!(
                "  - id: rule.{number}\n    effect: deny\n    match:\n      \
                 - http: {{methods: [POST], path: \"/api/{number}/{{user}}/roles\"}}\n        \
                 agent: {{claims: {{team: t{number}}}}}\n        body: {{/role: {{in: [admin, owner]}}}}\n      \
                 - mcp: {{tool: tool_{number}}}\n"
            )
        })
        .collect();
    let text = format!("{HEAD}rules:\n{rules}");
    assert_eq!(try_build("10,000 rules", text.as_bytes()), []);
}
