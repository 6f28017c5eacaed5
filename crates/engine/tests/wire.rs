//! Policies on the wire: what is written is read again as it was, and nothing else is.
#![expect(clippy::unwrap_used, reason = "test support")]

use holdgate_engine::{
    Atom, Attribute, Conditions, Expr, Pattern, Test, Window,
    conditions::{By, Comparison, List, Literal, Order, Rate, Size, Source, Tag, ValueTest},
    window::{Day, Offset},
};
use holdgate_protocol::{
    Escalation, Factor, Hash, Json, Pointer, Requirement,
    bundle::{Approval, Bundle, Effect, Mode, Needs, Rule},
};
use proptest::{option, prelude::*, sample::select};

const TEXTS: [&str; 6] = ["", "iam", "Ä\u{1f600}\"\\", "a*b", "\u{0}\n", "header"];

fn text() -> impl Strategy<Value = String> + Clone {
    select(&TEXTS).prop_map(str::to_owned)
}

fn texts() -> impl Strategy<Value = Vec<String>> + Clone {
    prop::collection::vec(text(), 0..3)
}

fn pointer() -> impl Strategy<Value = Pointer> + Clone {
    select(vec!["", "/a", "/a~1b/0", "/~0"]).prop_map(|text| text.parse().unwrap())
}

fn number() -> impl Strategy<Value = holdgate_engine::decimal::Number> + Clone {
    select(vec!["0", "-0", "0.70", "1e400", "-12345678901234567890"])
        .prop_map(|text| text.to_owned().try_into().unwrap())
}

fn attribute() -> impl Strategy<Value = Attribute> + Clone {
    use Attribute as A;
    let words = vec![A::Method, A::Host, A::Path, A::Agent, A::AgentId, A::AgentIssuer, A::AgentOwner, A::McpMethod];
    let source = prop_oneof![text().prop_map(Source::Header), pointer().prop_map(Source::Claim)];
    prop_oneof![
        select(words),
        Just(A::McpTool),
        pointer().prop_map(A::Claim),
        pointer().prop_map(A::Body),
        pointer().prop_map(A::McpArg),
        text().prop_map(A::Query),
        text().prop_map(A::Header),
        (text(), source).prop_map(|(name, source)| A::Tag(Tag { name, source })),
    ]
}

/// Texts in which `ab` occurs.
fn pattern() -> Pattern {
    let classes = std::array::from_fn(|byte| match byte {
        0x61 => 1,
        0x62 => 2,
        _ => 0,
    });
    Pattern::new("ab".into(), classes, vec![0, 1, 0, 0, 1, 2, 2, 2, 2], vec![false, false, true]).unwrap()
}

fn test() -> impl Strategy<Value = Test> + Clone {
    let literal = prop_oneof![
        text().prop_map(Literal::String),
        number().prop_map(Literal::Number),
        any::<bool>().prop_map(Literal::Bool)
    ];
    let list =
        prop_oneof![texts().prop_map(List::Strings), prop::collection::vec(number(), 0..3).prop_map(List::Numbers)];
    let template = select(vec!["/", "/**", "/a/{x}", "/b*"]).prop_map(|text| Test::Template(text.parse().unwrap()));
    let of_text = select(vec![Test::Prefix as fn(String) -> Test, Test::Suffix, Test::Contains]);
    let of_number = select(vec![Test::Lt as fn(_) -> Test, Test::Lte, Test::Gt, Test::Gte]);
    prop_oneof![
        literal.clone().prop_map(Test::Equals),
        literal.prop_map(Test::Includes),
        list.clone().prop_map(Test::In),
        list.prop_map(Test::NotIn),
        any::<bool>().prop_map(Test::Exists),
        (of_number, number()).prop_map(|(of, number)| of(number)),
        (of_text, text()).prop_map(|(of, text)| of(text)),
        Just(Test::Matches(pattern())),
        text().prop_map(|text| Test::Glob(text.into())),
        template,
        (any::<u64>(), option::of(any::<u64>())).prop_map(|(min, max)| Test::Size(Size { min, max })),
    ]
}

fn atom() -> impl Strategy<Value = Atom> + Clone {
    let order = select(vec![Order::Eq, Order::Ne, Order::Lt, Order::Lte, Order::Gt, Order::Gte]);
    let day = select(vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun]);
    let offset = (any::<i64>(), any::<i32>()).prop_map(|(from, seconds)| Offset { from, seconds });
    let window = (
        (any::<bool>(), prop::collection::vec(day, 0..8), any::<u16>(), any::<u16>()),
        (text(), prop::collection::vec(offset, 0..3), any::<i64>()),
    );
    prop_oneof![
        4 => (attribute(), test()).prop_map(|(of, is)| Atom::Value(ValueTest { of, is })),
        1 => (attribute(), order, attribute()).prop_map(|(left, is, right)| Atom::Compare(Comparison { left, is, right })),
        1 => (any::<u64>(), any::<u64>(), select(vec![By::Agent, By::Rule]))
            .prop_map(|(over, per, by)| Atom::Rate(Rate { over, per, by, slot: 0 })),
        1 => window.prop_map(|((outside, days, from, to), (zone, offsets, until))| {
            Atom::Time(Window { outside, days, from, to, zone, offsets, until })
        }),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![atom().prop_map(Expr::Is), atom().prop_map(Expr::IsNot)];
    leaf.prop_recursive(3, 8, 3, |part| {
        let parts = prop::collection::vec(part, 0..3);
        prop_oneof![parts.clone().prop_map(Expr::All), parts.prop_map(Expr::Any)]
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let any = prop::collection::vec(prop::collection::vec(atom(), 0..3), 0..3);
    (any, option::of(expr())).prop_map(|(any, when)| Conditions { any, when })
}

fn rule() -> impl Strategy<Value = Rule<Conditions>> {
    let effect = select(vec![Effect::Allow, Effect::Hold, Effect::Deny]);
    let approval = option::of((any::<u16>(), any::<u64>()));
    ((text(), effect, any::<bool>(), option::of(text())), (texts(), conditions(), approval)).prop_map(
        |((id, effect, enforced, reason), (controls, conditions, approval))| Rule {
            hash: Hash::of(id.as_bytes()),
            id,
            effect,
            mode: if enforced { Mode::Enforce } else { Mode::Shadow },
            reason,
            controls,
            conditions,
            approval: approval.map(|(requirement, wait)| Approval { requirement: requirement.into(), wait }),
        },
    )
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let factor = (text(), any::<u32>()).prop_map(|(role, approvals)| Factor { role, approvals });
    let pointers = || prop::collection::vec(pointer(), 0..3);
    let seconds = (any::<u64>(), any::<u64>());
    let escalate = option::of((text(), 1..=99_u8)).prop_map(|it| it.map(|(role, after)| Escalation { role, after }));
    let shown = (option::of(pointers()), pointers());
    (prop::collection::vec(factor, 0..3), seconds, any::<bool>(), shown, texts(), escalate, texts()).prop_map(
        |(factors, (decide_within, use_within), reason, (show, redact), unbind, escalate, codes)| Requirement {
            factors,
            decide_within,
            use_within,
            reason,
            show,
            redact,
            unbind,
            escalate,
            codes,
        },
    )
}

fn bundle() -> impl Strategy<Value = Bundle<Conditions>> {
    let flags = any::<[bool; 4]>();
    let needs = (flags, texts(), texts(), texts()).prop_map(|([body, mcp, rates, time], claims, headers, query)| {
        Needs { body, claims, headers, mcp, query, rates, time }
    });
    let rules = prop::collection::vec(rule(), 0..3);
    let head = (any::<u32>(), text(), any::<u64>());
    (head, needs, prop::collection::vec(requirement(), 0..2), rules).prop_map(
        |((format, id, serial), needs, requirements, rules)| Bundle { format, id, serial, needs, requirements, rules },
    )
}

/// The value with one more member in the object that is reached as the `at`th; `None` where there are fewer.
fn with_stranger(value: &Json, at: &mut usize) -> Option<Json> {
    let parts: Vec<(Option<&str>, &Json)> = match value {
        Json::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Json::Object(object) => object.iter().map(|(key, value)| (Some(key), value)).collect(),
        _ => return None,
    };
    let is_object = matches!(value, Json::Object(_));
    if is_object && *at == 0 {
        let mut object = value.as_object()?.clone();
        object.set("stranger".to_owned(), Json::Null);
        return Some(Json::Object(object));
    }
    *at -= usize::from(is_object);
    let (index, changed) = parts
        .iter()
        .enumerate()
        .find_map(|(index, (_, part))| with_stranger(part, at).map(|changed| (index, changed)))?;
    let part = |(other, (_, part)): (usize, &(Option<&str>, &Json))| {
        if other == index { changed.clone() } else { (*part).clone() }
    };
    if !is_object {
        return Some(parts.iter().enumerate().map(part).collect());
    }
    let mut object = value.as_object()?.clone();
    parts
        .iter()
        .enumerate()
        .for_each(|(at, named)| object.set(named.0.unwrap_or_default().to_owned(), part((at, named))));
    Some(Json::Object(object))
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_and_written_the_same(bundle in bundle()) {
        let json = Json::from_serialize(&bundle).unwrap();
        let read: Bundle<Conditions> = json.read().unwrap();
        prop_assert_eq!(&read, &bundle);
        prop_assert_eq!(Json::from_serialize(&read).unwrap().to_jcs(), json.to_jcs());
        // Serde's way leads to the same reader.
        let text = serde_json::to_string(&bundle.requirements).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Requirement>>(&text).unwrap(), read.requirements);
    }

    #[test]
    fn no_object_of_a_bundle_may_have_a_member_more(bundle in bundle(), mut at in 0..40_usize) {
        let json = Json::from_serialize(&bundle).unwrap();
        if let Some(changed) = with_stranger(&json, &mut at) {
            prop_assert!(changed != json);
            let error = changed.read::<Bundle<Conditions>>().unwrap_err().to_string();
            let one_form = error.ends_with("expected an object with one member");
            prop_assert!(error.contains("`stranger` is not known here") || one_form, "{error}");
        }
    }
}
