use proptest::prelude::*;

use super::*;

fn matches(template: &str, path: &str) -> bool {
    template.parse::<Template>().unwrap().matches(path)
}

#[track_caller]
fn check(template: &str, matching: &[&str], other: &[&str]) {
    for path in matching {
        assert!(matches(template, path), "{template} should match {path}");
    }
    for path in other {
        assert!(!matches(template, path), "{template} should not match {path}");
    }
}

#[test]
fn literals_match_case_sensitively_and_wholly() {
    check(
        "/iam/users",
        &["/iam/users"],
        &["/iam/Users", "/iam/users/", "/iam/users/7", "/iam/user", "/iam", "/", "*", ""],
    );
    check("/", &["/"], &["//", "/a", ""]);
}

#[test]
fn a_name_or_a_star_matches_one_segment_that_is_not_empty() {
    for template in ["/iam/users/{user}/roles", "/iam/users/*/roles"] {
        check(
            template,
            &["/iam/users/7/roles", "/iam/users/a%20b/roles"],
            &["/iam/users//roles", "/iam/users/7/roles/", "/iam/users/roles", "/iam/users/7/8/roles", "/iam/users/7"],
        );
    }
}

#[test]
fn a_rest_matches_any_number_of_segments_and_none() {
    check("/iam/**", &["/iam", "/iam/", "/iam/x", "/iam/x/y", "/iam/x/"], &["/", "/iamx", "/IAM/x", "/x/iam"]);
    check("/**", &["/", "/a", "/a/b/"], &["", "*"]);
    check("/{a}/**", &["/x", "/x/", "/x/y"], &["/", "//x"]);
}

#[test]
fn a_star_inside_a_segment_takes_whole_characters() {
    check("/v*/x", &["/v1/x", "/v/x"], &["/V1/x", "/1v/x", "/v1/y/x"]);
    check("/*.json", &["/.json", "/a.json", "/a.json.json"], &["/a.jsonx", "/json", "/a/.json"]);
    check("/a*b*c", &["/abc", "/aXbYc", "/abbcc"], &["/ac", "/abcX", "/aXc"]);
    check("/a*a", &["/aa", "/aXa"], &["/a"]);
    // The tail of an escape is not a character of its own.
    check("/*C3", &["/xC3"], &["/%C3", "/%25%C3"]);
    check("/*3*", &["/3", "/%C33"], &["/%C3"]);
}

#[test]
fn text_form_is_canonical() {
    for (source, canonical) in [
        ("/müller", "/m%C3%BCller"),
        ("/m%c3%bcller", "/m%C3%BCller"),
        ("/%61%2d~", "/a-~"),
        ("/a b", "/a%20b"),
        ("/100%25", "/100%25"),
        ("/%2a", "/%2A"),
        ("/x%2A*", "/x%2A*"),
        ("/{user}/%7Bx%7D", "/{user}/%7Bx%7D"),
        ("/a:b@c!$&'()+,=", "/a:b@c!$&'()+,="),
    ] {
        let template: Template = source.parse().unwrap();
        assert_eq!(template.as_str(), canonical);
        assert_eq!(Template::try_from(canonical.to_owned()), Ok(template));
        if source != canonical {
            let error = Template::try_from(source.to_owned()).unwrap_err();
            assert_eq!(error, TemplateError::NotCanonical(canonical.to_owned()));
        }
    }
    check("/%2a", &["/*"], &["/x", "/%2A"]);
    check("/müller/*", &["/m%C3%BCller/x"], &["/müller/x"]);
}

#[test]
fn what_no_canonical_path_can_match_is_refused() {
    let error = |source: &str| source.parse::<Template>().unwrap_err();
    assert_eq!(error("iam"), TemplateError::NoLeadingSlash);
    assert_eq!(error(""), TemplateError::NoLeadingSlash);
    assert_eq!(error("/**/x"), TemplateError::RestNotLast);
    assert_eq!(error("/a**"), TemplateError::RestNotLast);
    assert_eq!(error("/***"), TemplateError::RestNotLast);
    assert_eq!(error("/a//b"), TemplateError::EmptySegment);
    assert_eq!(error("/a/"), TemplateError::EmptySegment);
    assert_eq!(error("/a/../b"), TemplateError::DotSegment("..".into()));
    assert_eq!(error("/%2e"), TemplateError::DotSegment("%2e".into()));
    assert_eq!(error("/x{y}"), TemplateError::Name("x{y}".into()));
    assert_eq!(error("/{}"), TemplateError::Name("{}".into()));
    assert_eq!(error("/{a*}"), TemplateError::Name("{a*}".into()));
    assert_eq!(error("/{a}/{a}"), TemplateError::RepeatedName("{a}".into()));
    assert_eq!(error("/a%2"), TemplateError::Escape("%2".into()));
    assert_eq!(error("/a%zz"), TemplateError::Escape("%zz".into()));
    assert_eq!(error("/a%2Fb"), TemplateError::Forbidden("%2F".into()));
    assert_eq!(error("/a;b"), TemplateError::Forbidden(";".into()));
    assert_eq!(error("/a?b=1"), TemplateError::Query('?'));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic_and_its_canonical_form_is_stable(source in "(/[a-c*{}%2F.é]{0,5}){0,4}|\\PC{0,12}") {
        if let Ok(template) = source.parse::<Template>() {
            prop_assert_eq!(template.as_str().parse::<Template>(), Ok(template.clone()));
            let _ = template.matches(&source);
        }
    }

    /// Against a plain recursive matcher over characters.
    #[test]
    fn globs_agree_with_a_naive_matcher(pattern in "[ab*]{1,6}", part in "[ab]{0,8}") {
        prop_assume!(!pattern.contains("**"));
        fn naive(pattern: &[u8], part: &[u8]) -> bool {
            match pattern.split_first() {
                None => part.is_empty(),
                Some((b'*', rest)) => (0..=part.len()).any(|at| naive(rest, &part[at..])),
                Some((byte, rest)) => part.first() == Some(byte) && naive(rest, &part[1..]),
            }
        }
        let expected = naive(pattern.as_bytes(), part.as_bytes()) && !part.is_empty();
        prop_assert_eq!(matches(&format!("/{pattern}"), &format!("/{part}")), expected);
    }
}
