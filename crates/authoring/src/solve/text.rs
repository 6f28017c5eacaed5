//! Texts that meet conditions: by value where the conditions name values, else by automata.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use holdgate_engine::{
    Test,
    conditions::{List, Literal},
    decimal::Number,
};

use super::{
    automata::{Common, Dfa, Wanted, common_text},
    budget::{Exhausted, Meter},
    language::{self, Domain},
    leaf::{Leaf, Wants},
    number,
};

/// A value that meets all conditions, or that there is none, or why it is not known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Solution<T> {
    Some(T),
    None,
    Open(String),
}

impl<T> Solution<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Solution<U> {
        match self {
            Solution::Some(value) => Solution::Some(f(value)),
            Solution::None => Solution::None,
            Solution::Open(why) => Solution::Open(why),
        }
    }

    /// The other one where this one is none; what is open stays open unless the other one has a value.
    pub(crate) fn or_else(
        self,
        other: impl FnOnce() -> Result<Solution<T>, Exhausted>,
    ) -> Result<Solution<T>, Exhausted> {
        match self {
            Solution::Some(value) => Ok(Solution::Some(value)),
            Solution::None => other(),
            Solution::Open(why) => Ok(match other()? {
                Solution::Some(value) => Solution::Some(value),
                _ => Solution::Open(why),
            }),
        }
    }
}

/// Finds texts, and remembers the automata that it made.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    tests: RefCell<HashMap<String, Option<Rc<Dfa>>>>,
    domains: RefCell<HashMap<Domain, Option<Rc<Dfa>>>>,
}

/// A question about one text.
struct Wish<'a> {
    leaves: &'a [&'a Leaf],
    domain: Rc<Dfa>,
}

impl Wish<'_> {
    fn fits(&self, text: &str) -> bool {
        self.domain.accepts(text) && self.leaves.iter().all(|leaf| leaf.of_text(text))
    }
}

impl Texts {
    /// A text of the domain that meets all conditions; one of the favourites, if one will do.
    pub(crate) fn solve(
        &self,
        domain: Domain,
        favourites: &[&str],
        leaves: &[&Leaf],
        meter: &Meter,
    ) -> Result<Solution<String>, Exhausted> {
        let Some(all) = self.domain(domain) else { return Ok(too_large()) };
        let wish = Wish { leaves, domain: all };
        let cost = 1 + leaves.len() as u64;
        if let Some(values) = leaves.iter().find_map(|leaf| values_of(leaf)) {
            meter.spend(values.len() as u64 * cost)?;
            let found = values.iter().find(|value| wish.fits(value));
            return Ok(found.map_or(Solution::None, |value| Solution::Some(value.clone())));
        }
        if start_apart(leaves) {
            return Ok(Solution::None);
        }
        let favourites = favourites.iter().map(|text| (*text).to_owned());
        for guess in favourites.chain(leaves.iter().flat_map(|leaf| guesses(leaf))) {
            meter.spend(cost)?;
            if wish.fits(&guess) {
                return Ok(Solution::Some(guess));
            }
        }
        let (values, texts): (Vec<&Leaf>, Vec<&Leaf>) = leaves.iter().partition(|leaf| !decides_texts(leaf));
        if domain != Domain::Wire || values.is_empty() {
            let met = values.iter().all(|leaf| leaf.of_text(""));
            return if met { self.search(&wish, Vec::new(), &texts, meter) } else { Ok(Solution::None) };
        }
        // On the wire a text may stand for a number or a boolean. Of any other text the tests of such values say the
        // same.
        let words = ["true".to_owned(), "false".to_owned()];
        meter.spend(words.len() as u64 * cost)?;
        if let Some(word) = words.iter().find(|word| wish.fits(word)) {
            return Ok(Solution::Some(word.clone()));
        }
        let other = vec![language::no_number(), language::none_of(&words)];
        let plain = if values.iter().all(|leaf| leaf.of_text("a")) {
            self.search(&wish, other, &texts, meter)?
        } else {
            Solution::None
        };
        plain.or_else(|| self.number(&wish, &values, &texts, meter))
    }

    /// A text that stands for a number: all numbers that the tests tell apart are tried.
    fn number(
        &self,
        wish: &Wish<'_>,
        values: &[&Leaf],
        texts: &[&Leaf],
        meter: &Meter,
    ) -> Result<Solution<String>, Exhausted> {
        let Some(mut candidates) = number::candidates(&limits(values)) else {
            return Ok(Solution::Open("a number is beyond comparison".into()));
        };
        candidates.push(number::BEYOND_COMPARISON.to_owned());
        meter.spend((candidates.len() * wish.leaves.len()) as u64)?;
        if let Some(found) = candidates.iter().find(|spelling| wish.fits(spelling)) {
            return Ok(Solution::Some(found.clone()));
        }
        if !candidates.iter().any(|spelling| values.iter().all(|leaf| leaf.of_text(spelling))) {
            return Ok(Solution::None);
        }
        // Some numbers would do, but not in these spellings.
        Ok(match self.search(wish, vec![language::any_number()], texts, meter)? {
            Solution::Open(_) => Solution::Open("a value on the wire is tested as a number and as a text".into()),
            solved => solved,
        })
    }

    /// A text that meets the conditions of texts, lies in further languages and fits altogether.
    fn search(
        &self,
        wish: &Wish<'_>,
        languages: Vec<Option<Dfa>>,
        texts: &[&Leaf],
        meter: &Meter,
    ) -> Result<Solution<String>, Exhausted> {
        let mut parts: Vec<Wanted> = vec![(wish.domain.clone(), true)];
        for dfa in languages {
            let Some(dfa) = dfa else { return Ok(too_large()) };
            parts.push((Rc::new(dfa), true));
        }
        for leaf in texts {
            match leaf.wants() {
                Wants::Anything => {}
                Wants::Nothing => return Ok(Solution::None),
                Wants::Truth(wanted) => match leaf.test().and_then(|test| self.test(test)) {
                    Some(dfa) => parts.push((dfa, wanted)),
                    None => return Ok(too_large()),
                },
            }
        }
        Ok(match common_text(&parts, meter, |text| wish.fits(text))? {
            Common::Found(text) => Solution::Some(text),
            Common::Nothing => Solution::None,
            Common::Refused => Solution::Open("the conditions of a text could not be met together".into()),
        })
    }

    fn test(&self, test: &Test) -> Option<Rc<Dfa>> {
        let key = serde_json::to_string(test).ok()?;
        let mut known = self.tests.borrow_mut();
        known.entry(key).or_insert_with(|| language::of_test(test).map(Rc::new)).clone()
    }

    fn domain(&self, domain: Domain) -> Option<Rc<Dfa>> {
        let mut known = self.domains.borrow_mut();
        known.entry(domain).or_insert_with(|| language::of_domain(domain).map(Rc::new)).clone()
    }
}

fn too_large<T>() -> Solution<T> {
    Solution::Open("a test of a text makes too large an automaton".into())
}

/// Whether texts differ in what the test says of them.
fn decides_texts(leaf: &Leaf) -> bool {
    match leaf.test() {
        Some(Test::Equals(literal)) => matches!(literal, Literal::String(_)),
        Some(Test::In(list) | Test::NotIn(list)) => matches!(list, List::Strings(_)),
        Some(
            Test::Prefix(_)
            | Test::Suffix(_)
            | Test::Contains(_)
            | Test::Matches(_)
            | Test::Glob(_)
            | Test::Template(_)
            | Test::Size(_),
        ) => true,
        _ => false,
    }
}

/// The only texts that meet the leaf, where it names them.
fn values_of(leaf: &Leaf) -> Option<&[String]> {
    let wanted = leaf.wants();
    match leaf.test()? {
        Test::Equals(Literal::String(text)) if wanted == Wants::Truth(true) => Some(std::slice::from_ref(text)),
        Test::In(List::Strings(texts)) if wanted == Wants::Truth(true) => Some(texts),
        Test::NotIn(List::Strings(texts)) if wanted == Wants::Truth(false) => Some(texts),
        _ => None,
    }
}

/// Whether two tests ask for different beginnings: most paths of different rules do, and need no automata.
fn start_apart(leaves: &[&Leaf]) -> bool {
    let starts = || leaves.iter().filter_map(|leaf| start_of(leaf));
    let Some(longest) = starts().max_by_key(|start| start.len()) else { return false };
    starts().any(|start| !longest.starts_with(start))
}

/// What a text that meets the leaf begins with.
fn start_of(leaf: &Leaf) -> Option<&str> {
    let until = |text: &'static str| move |whole: &str| whole.find(text).unwrap_or(whole.len());
    let test = leaf.test().filter(|_| leaf.wants() == Wants::Truth(true))?;
    match test {
        Test::Prefix(prefix) => Some(prefix),
        Test::Glob(glob) => glob.as_str().get(..until("*")(glob.as_str())),
        Test::Template(template) => {
            // `/a/**` has `/a`; an escape of a star ends it as well.
            let text = template.as_str();
            let end = ["/**", "*", "{", "%2A"].into_iter().map(|gap| until(gap)(text)).min();
            text.get(..end?)
        }
        _ => None,
    }
}

/// Texts that people would write for the test.
fn guesses(leaf: &Leaf) -> Vec<String> {
    match leaf.test() {
        Some(Test::Prefix(prefix)) => vec![prefix.clone(), format!("{prefix}a")],
        Some(Test::Suffix(suffix)) => vec![format!("a{suffix}"), suffix.clone()],
        Some(Test::Contains(part)) => vec![part.clone()],
        Some(Test::Glob(glob)) => vec![glob.as_str().replace('*', "a"), glob.as_str().replace('*', "")],
        Some(Test::Template(template)) => vec![example_path(template.as_str())],
        Some(Test::Equals(Literal::Bool(_))) => vec!["true".into(), "false".into()],
        _ => Vec::new(),
    }
}

fn example_path(template: &str) -> String {
    let filled = template.split('/').filter(|segment| *segment != "**").map(|segment| {
        if segment == "*" || segment.starts_with('{') { "1".to_owned() } else { segment.replace('*', "") }
    });
    let path = filled.collect::<Vec<_>>().join("/");
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The numbers that the tests compare with.
pub(crate) fn limits<'a>(leaves: &[&'a Leaf]) -> Vec<&'a Number> {
    let mut limits = Vec::new();
    for leaf in leaves {
        match leaf.test() {
            Some(Test::Equals(Literal::Number(limit)) | Test::Lt(limit) | Test::Lte(limit)) => limits.push(limit),
            Some(Test::Gt(limit) | Test::Gte(limit)) => limits.push(limit),
            Some(Test::In(List::Numbers(list)) | Test::NotIn(List::Numbers(list))) => limits.extend(list),
            _ => {}
        }
    }
    limits
}
