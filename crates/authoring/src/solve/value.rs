//! JSON values that meet conditions: pointers that begin alike lead into one value.

use std::collections::BTreeMap;

use holdgate_engine::{
    Test,
    conditions::{Literal, Size},
};
use holdgate_protocol::{Json, Pointer, json::Object};

use super::{
    budget::{Exhausted, Meter},
    language::Domain,
    leaf::{Leaf, Truths, Wants},
    number,
    text::{Solution, Texts, limits},
};

/// A longer list, or an object with more members, is given up.
const MAX_ITEMS: u64 = 2_000;

/// The conditions of a value and of the values within it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree<'a> {
    leaves: Vec<&'a Leaf>,
    children: BTreeMap<&'a str, Tree<'a>>,
    kind: Kind,
}

/// What a value may be at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Any,
    /// A text, or missing.
    Text,
    /// An object that is there.
    Object,
}

/// A value, or that it is missing.
type Found = Solution<Option<Json>>;

impl<'a> Tree<'a> {
    /// The place of a pointer in the tree.
    pub(crate) fn at(&mut self, steps: impl IntoIterator<Item = &'a str>) -> &mut Tree<'a> {
        steps.into_iter().fold(self, |tree, step| tree.children.entry(step).or_default())
    }

    pub(crate) fn require(&mut self, leaf: &'a Leaf) {
        self.leaves.push(leaf);
    }

    pub(crate) fn limit_to(&mut self, kind: Kind) {
        self.kind = kind;
    }

    pub(crate) fn is_free(&self) -> bool {
        self.leaves.is_empty() && self.children.is_empty()
    }

    fn fits(&self, value: Option<&Json>) -> bool {
        self.leaves.iter().all(|leaf| leaf.of_json(value))
    }

    /// Whether all conditions are met where there is no value, nor one within it.
    fn may_be_missing(&self) -> bool {
        self.kind != Kind::Object && self.fits(None) && self.children.values().all(Tree::may_be_missing)
    }

    fn has_no_parts(&self) -> bool {
        self.children.values().all(Tree::may_be_missing)
    }
}

/// What values are made with.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'s> {
    pub(crate) texts: &'s Texts,
    pub(crate) meter: &'s Meter,
}

impl Maker<'_> {
    /// A value that meets all conditions, `None` for a missing one; the simplest that will do.
    pub(crate) fn solve(self, tree: &Tree<'_>) -> Result<Found, Exhausted> {
        self.meter.spend(1 + tree.leaves.len() as u64)?;
        if tree.may_be_missing() {
            return Ok(Solution::Some(None));
        }
        self.solve_present(tree).map(|found| found.map(Some))
    }

    fn solve_present(self, tree: &Tree<'_>) -> Result<Solution<Json>, Exhausted> {
        if tree.kind == Kind::Object {
            return self.object(tree);
        }
        let scalar = if tree.has_no_parts() { self.scalar(tree)? } else { Solution::None };
        scalar.or_else(|| {
            if tree.kind == Kind::Text {
                return Ok(Solution::None);
            }
            self.object(tree)?.or_else(|| self.array(tree))
        })
    }

    fn scalar(self, tree: &Tree<'_>) -> Result<Solution<Json>, Exhausted> {
        let text = self.texts.solve(Domain::Any, &["a"], &tree.leaves, self.meter)?.map(Json::String);
        text.or_else(|| {
            if tree.kind == Kind::Text {
                return Ok(Solution::None);
            }
            let Some(numbers) = number::candidates(&limits(&tree.leaves)) else {
                return Ok(Solution::Open("a number is beyond comparison".into()));
            };
            let mut candidates: Vec<Json> = numbers
                .iter()
                .map(String::as_str)
                .chain([number::BEYOND_COMPARISON])
                .filter_map(|spelling| Json::parse(spelling.as_bytes()).ok())
                .collect();
            candidates.extend([Json::Bool(true), Json::Bool(false), Json::Null]);
            self.meter.spend((candidates.len() * tree.leaves.len()) as u64)?;
            Ok(candidates.into_iter().find(|value| tree.fits(Some(value))).map_or(Solution::None, Solution::Some))
        })
    }

    /// As few members as possible are there; what is missing to a size is filled up.
    fn object(self, tree: &Tree<'_>) -> Result<Solution<Json>, Exhausted> {
        let mut members = Object::default();
        for (key, child) in &tree.children {
            match self.solve(child)? {
                Solution::Some(Some(value)) => members.set((*key).to_owned(), value),
                Solution::Some(None) => {}
                Solution::None => return Ok(Solution::None),
                Solution::Open(why) => return Ok(Solution::Open(why)),
            }
        }
        let needed = members.iter().count() as u64;
        let mut sizes = turning_points(tree);
        sizes.push(needed);
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes.into_iter().filter(|size| *size >= needed) {
            if size > MAX_ITEMS {
                return Ok(Solution::Open(format!("an object with {size} members is not made")));
            }
            self.meter.spend(1 + size)?;
            let mut filled = members.clone();
            let fresh =
                (1..).map(|number| format!("k{number}")).filter(|key| !tree.children.contains_key(key.as_str()));
            fresh.take(usize::try_from(size - needed).unwrap_or_default()).for_each(|key| filled.set(key, Json::Null));
            let object = Json::Object(filled);
            if tree.fits(Some(&object)) {
                return Ok(Solution::Some(object));
            }
        }
        Ok(Solution::None)
    }

    fn array(self, tree: &Tree<'_>) -> Result<Solution<Json>, Exhausted> {
        let mut places: BTreeMap<u64, &Tree<'_>> = BTreeMap::new();
        for (key, child) in &tree.children {
            match array_index(key) {
                Some(index) => {
                    places.insert(index, child);
                }
                None if child.may_be_missing() => {}
                None => return Ok(Solution::None),
            }
        }
        // What must occur in the list, each value once, and what must not.
        let (mut wanted, mut barred): (Vec<Json>, Vec<Leaf>) = (Vec::new(), Vec::new());
        for leaf in &tree.leaves {
            let Some(Test::Includes(literal)) = leaf.test() else { continue };
            let is_met = |value: &Json| leaf.of_json(Some(&Json::Array(vec![value.clone()])));
            match leaf.wants() {
                Wants::Truth(true) if !wanted.iter().any(is_met) => wanted.push(json_of(literal)),
                Wants::Truth(false) => {
                    let other = Test::Equals(literal.clone());
                    barred.push(Leaf::of_body(Pointer::root(), other, Truths::TRUE.others()));
                }
                _ => {}
            }
        }
        let mut lengths: Vec<u64> = turning_points(tree);
        lengths.extend(places.keys().flat_map(|index| [*index, index.saturating_add(1)]));
        // A longer list has more room; nothing else changes between two turning points.
        let room = wanted.len() as u64;
        lengths = lengths.iter().flat_map(|length| (0..=room).map(move |more| length.saturating_add(more))).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut open = None;
        for length in lengths {
            if length > MAX_ITEMS {
                open.get_or_insert(format!("a list of {length} items is not made"));
                break;
            }
            match self.array_of(tree, length, &places, &wanted, &barred)? {
                Solution::Some(list) => return Ok(Solution::Some(list)),
                Solution::None => {}
                Solution::Open(why) => open = Some(why),
            }
        }
        Ok(open.map_or(Solution::None, Solution::Open))
    }

    fn array_of(
        self,
        tree: &Tree<'_>,
        length: u64,
        places: &BTreeMap<u64, &Tree<'_>>,
        wanted: &[Json],
        barred: &[Leaf],
    ) -> Result<Solution<Json>, Exhausted> {
        if places.range(length..).any(|(_, child)| !child.may_be_missing()) {
            return Ok(Solution::None);
        }
        self.meter.spend(1 + length)?;
        let mut free = (0..length).filter(|index| !places.contains_key(index));
        let mut items: Vec<Json> = (0..length).map(|_| Json::Null).collect();
        let mut set = |index: u64, value: Json| {
            if let Some(item) = usize::try_from(index).ok().and_then(|index| items.get_mut(index)) {
                *item = value;
            }
        };
        let mut children: Vec<(u64, Tree<'_>)> =
            places.range(..length).map(|(index, child)| (*index, (*child).clone())).collect();
        for (_, child) in &mut children {
            barred.iter().for_each(|leaf| child.require(leaf));
        }
        // What finds no free place has to be one of the items that have conditions of their own.
        let room = free.clone().count();
        let homes = if wanted.len() > room { homes(wanted, &children) } else { vec![None; children.len()] };
        for ((index, child), home) in children.iter().zip(&homes) {
            if let Some(value) = home.and_then(|number| wanted.get(number)) {
                set(*index, value.clone());
                continue;
            }
            match self.solve_present(child)? {
                Solution::Some(value) => set(*index, value),
                Solution::None => return Ok(Solution::None),
                Solution::Open(why) => return Ok(Solution::Open(why)),
            }
        }
        for (number, value) in wanted.iter().enumerate() {
            if !homes.contains(&Some(number))
                && let Some(index) = free.next()
            {
                set(index, value.clone());
            }
        }
        let list = Json::Array(items);
        Ok(if tree.fits(Some(&list)) { Solution::Some(list) } else { Solution::None })
    }
}

/// For each child the value that it takes in, such that as many values as possible are taken in.
fn homes(wanted: &[Json], children: &[(u64, Tree<'_>)]) -> Vec<Option<usize>> {
    fn settle(
        value: usize,
        fits: &impl Fn(usize, usize) -> bool,
        homes: &mut [Option<usize>],
        asked: &mut [bool],
    ) -> bool {
        for child in 0..homes.len() {
            let free = asked.get_mut(child).filter(|asked| !**asked && fits(value, child));
            let Some(asked_before) = free else { continue };
            *asked_before = true;
            let guest = homes.get(child).copied().flatten();
            // Whoever lives there may find another place.
            if guest.is_none_or(|guest| settle(guest, fits, homes, asked)) {
                if let Some(home) = homes.get_mut(child) {
                    *home = Some(value);
                }
                return true;
            }
        }
        false
    }
    let fits = |value: usize, child: usize| {
        let (value, child) = (wanted.get(value), children.get(child).map(|(_, child)| child));
        child.is_some_and(|child| child.has_no_parts() && child.fits(value))
    };
    let mut homes = vec![None; children.len()];
    for value in 0..wanted.len() {
        settle(value, &fits, &mut homes, &mut vec![false; children.len()]);
    }
    homes
}

/// The sizes at which a test of the size changes what it says, and zero.
fn turning_points(tree: &Tree<'_>) -> Vec<u64> {
    let mut points = vec![0];
    for leaf in &tree.leaves {
        if let Some(Test::Size(Size { min, max })) = leaf.test() {
            points.push(*min);
            points.extend(max.map(|max| max.saturating_add(1)));
        }
    }
    points
}

fn json_of(literal: &Literal) -> Json {
    match literal {
        Literal::String(text) => Json::String(text.clone()),
        Literal::Bool(value) => Json::Bool(*value),
        Literal::Number(number) => Json::parse(number.as_str().as_bytes()).unwrap_or(Json::Null),
    }
}

/// An index as RFC 6901 spells it.
fn array_index(key: &str) -> Option<u64> {
    let index: u64 = key.parse().ok()?;
    (index.to_string() == key).then_some(index)
}
