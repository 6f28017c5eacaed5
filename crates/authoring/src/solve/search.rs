//! The search for a request that meets all goals.
//!
//! At every moment there is a concrete request that meets all leaves that were required so far. Only goals that it
//! does not meet are worked on: where there is a choice, the one with the fewest options left comes first. Each
//! required leaf and goal remembers the choices that it rests on, so that a dead end takes back the last choice that
//! had a part in it, and not merely the last one. If all options of all choices are dead ends there is no request.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use holdgate_engine::{
    Atom, Attribute, Test,
    conditions::{Comparison, List, Literal, Rate},
    decimal::Number,
};
use holdgate_engine::{Request, Truth};

use super::{
    budget::{Exhausted, Meter},
    goal::{CounterName, Goal, Leaves},
    group::Part,
    leaf::{Group, Leaf, Truths},
    text::{Solution, Texts},
    value::Maker,
    witness::{Count, Witness},
};

/// The most choices that rest on one another.
const MAX_LEVELS: usize = 512;

/// Goals that are looked at to find the one with the fewest options.
const LOOK_AT: usize = 16;

/// So many solved parts are remembered, then all are forgotten: memory is bounded as work is.
const REMEMBERED: usize = 20_000;

/// A set of choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Levels([u64; MAX_LEVELS / 64]);

impl Levels {
    fn and(mut self, other: Levels) -> Levels {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
        self
    }

    fn with(mut self, level: usize) -> Levels {
        if let Some(word) = self.0.get_mut(level / 64) {
            *word |= 1 << (level % 64);
        }
        self
    }

    fn without(mut self, level: usize) -> Levels {
        if let Some(word) = self.0.get_mut(level / 64) {
            *word &= !(1 << (level % 64));
        }
        self
    }

    fn has(self, level: usize) -> bool {
        self.0.get(level / 64).is_some_and(|word| word >> (level % 64) & 1 == 1)
    }
}

/// What came of a search.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A request that meets all goals.
    Found(Box<Witness>),
    /// There is none.
    Nothing,
    /// Not known, and why.
    Open(String),
}

/// What is known after some choices.
#[derive(Clone)]
struct State {
    required: BTreeMap<Group, Vec<(usize, Levels)>>,
    /// Goals with a choice.
    open: Vec<(Goal, Levels)>,
    request: Witness,
}

/// A choice that was made, and the options that are left.
struct Choice {
    /// Before the choice; `None` once the last option was taken.
    state: Option<Box<State>>,
    options: std::vec::IntoIter<Goal>,
    /// What the goal and the options that were ruled out rest on.
    why: Levels,
    /// What all dead ends so far rest on, but for this choice.
    blamed: Levels,
    /// Why one of the options was left open.
    unknown: Option<String>,
}

impl Choice {
    fn next(&mut self) -> Option<(Box<State>, Goal)> {
        let option = self.options.next()?;
        let state = if self.options.len() == 0 { self.state.take() } else { self.state.clone() };
        Some((state?, option))
    }
}

/// How far work on the goals comes.
enum End {
    Found(Box<State>),
    /// All that is left has several options.
    Choice(Choice),
    /// A dead end that rests on these choices.
    Dead(Levels),
    Open(String),
}

/// What went wrong with a goal that was added.
enum Refusal {
    Dead(Levels),
    Open(String),
}

/// What a search is made with, and what it has found out about groups of leaves.
pub(crate) struct Search<'s> {
    pub(crate) leaves: &'s Leaves,
    pub(crate) texts: &'s Texts,
    pub(crate) meter: &'s Meter,
    pub(crate) solved: &'s RefCell<HashMap<Vec<usize>, Rc<Solution<Part>>>>,
    /// Whether comparisons of two attributes may be left out of account: then `Found` is a possibility only.
    pub(crate) assume: bool,
}

impl Search<'_> {
    pub(crate) fn run(&self, goals: &[Goal]) -> Result<Outcome, Exhausted> {
        let request = Witness::default();
        let mut state = Box::new(State { required: BTreeMap::new(), open: Vec::new(), request });
        for goal in goals {
            match self.add(&mut state, goal, Levels::default())? {
                Ok(()) => {}
                Err(Refusal::Dead(_)) => return Ok(Outcome::Nothing),
                Err(Refusal::Open(why)) => return Ok(Outcome::Open(why)),
            }
        }
        Ok(match self.explore(state)? {
            End::Found(state) => Outcome::Found(Box::new(state.request)),
            End::Dead(_) => Outcome::Nothing,
            End::Choice(_) => Outcome::Open("a choice was not made".into()),
            End::Open(why) => Outcome::Open(why),
        })
    }

    /// Adds a goal: leaves are required at once, choices are left open.
    fn add(&self, state: &mut State, goal: &Goal, why: Levels) -> Result<Result<(), Refusal>, Exhausted> {
        match goal {
            Goal::All(parts) => {
                for part in parts.iter() {
                    if let Err(refusal) = self.add(state, part, why)? {
                        return Ok(Err(refusal));
                    }
                }
                Ok(Ok(()))
            }
            Goal::Any(options) => match &**options {
                [] => Ok(Err(Refusal::Dead(why))),
                [only] => self.add(state, only, why),
                _ => {
                    state.open.push((goal.clone(), why));
                    Ok(Ok(()))
                }
            },
            Goal::Check(_) => {
                state.open.push((goal.clone(), why));
                Ok(Ok(()))
            }
            Goal::Leaf(number) => self.require(state, *number, why),
        }
    }

    fn require(&self, state: &mut State, number: usize, why: Levels) -> Result<Result<(), Refusal>, Exhausted> {
        let Some(leaf) = self.leaves.get(number) else { return Ok(Err(Refusal::Open("a condition is lost".into()))) };
        if leaf.group == Group::Compared {
            if !self.assume {
                state.open.push((Goal::Leaf(number), why));
            }
            return Ok(Ok(()));
        }
        let required = state.required.entry(leaf.group.clone()).or_default();
        if required.iter().any(|(other, _)| *other == number) {
            return Ok(Ok(()));
        }
        required.push((number, why));
        self.meter.spend(1)?;
        // "Unknown" is put up with where nothing else will do: it makes a poor example.
        let holds = self.holds(&Goal::Leaf(number), &state.request);
        if holds && state.request.with_fields(|request| leaf.is_known_of(request)) {
            return Ok(Ok(()));
        }
        let required = required.clone();
        let numbers: Vec<usize> = required.iter().map(|(number, _)| *number).collect();
        Ok(match &*self.solve(&leaf.group, numbers)? {
            Solution::Some(part) => {
                self.set(&mut state.request, &leaf.group, part.clone());
                Ok(())
            }
            Solution::Open(_) if holds => Ok(()),
            // The request at hand meets them all: whoever says that none does is wrong, and must not prove anything.
            Solution::None if holds => {
                debug_assert!(false, "no {:?} was found, but {} is one", leaf.group, state.request.to_yaml());
                Err(Refusal::Open("two ways to decide a condition disagree".into()))
            }
            Solution::Open(why) => Err(Refusal::Open(why.clone())),
            Solution::None => Err(Refusal::Dead(self.explain(&leaf.group, &required, number)?.and(why))),
        })
    }

    /// Makes choices until all goals are met, and takes back those that had a part in a dead end. Choices lie on a stack
    /// of their own, so that their number is no matter of the thread's.
    fn explore(&self, start: Box<State>) -> Result<End, Exhausted> {
        let mut choices: Vec<Choice> = Vec::new();
        let mut end = self.settle(start)?;
        loop {
            match end {
                End::Found(_) => return Ok(end),
                End::Choice(_) if choices.len() >= MAX_LEVELS => {
                    end = End::Open(format!("more than {MAX_LEVELS} choices rest on one another"));
                    continue;
                }
                End::Choice(choice) => choices.push(choice),
                // Where a choice had no part in it, another option would end in the same way.
                End::Dead(levels) => match choices.len().checked_sub(1).zip(choices.last_mut()) {
                    None => return Ok(End::Dead(levels)),
                    Some((level, choice)) if levels.has(level) => {
                        choice.blamed = choice.blamed.and(levels.without(level))
                    }
                    Some(_) => {
                        choices.pop();
                        end = End::Dead(levels);
                        continue;
                    }
                },
                End::Open(why) => match choices.last_mut() {
                    None => return Ok(End::Open(why)),
                    Some(choice) => {
                        choice.unknown.get_or_insert(why);
                    }
                },
            }
            let level = choices.len().saturating_sub(1);
            end = match choices
                .last_mut()
                .and_then(|choice| choice.next().map(|(state, goal)| (state, goal, choice.why)))
            {
                Some((mut state, option, why)) => match self.add(&mut state, &option, why.with(level))? {
                    Ok(()) => self.settle(state)?,
                    Err(Refusal::Dead(levels)) => End::Dead(levels),
                    Err(Refusal::Open(why)) => End::Open(why),
                },
                None => match choices.pop() {
                    Some(Choice { unknown: Some(why), .. }) => End::Open(why),
                    Some(choice) => End::Dead(choice.blamed),
                    None => return Ok(End::Open("no goal is left".into())),
                },
            };
        }
    }

    /// Works on goals that are not met as long as they leave no choice.
    fn settle(&self, mut state: Box<State>) -> Result<End, Exhausted> {
        loop {
            self.meter.spend(1 + state.open.len() as u64 / 8)?;
            let unmet = state.request.with_fields(|request| -> Vec<usize> {
                let unmet = |goal: &Goal| !self.holds_in(goal, request, &state.request);
                (0..).zip(&state.open).filter(|(_, (goal, _))| unmet(goal)).map(|(at, _)| at).take(LOOK_AT).collect()
            });
            if unmet.is_empty() {
                return Ok(End::Found(state));
            }
            let mut best: Option<(usize, Vec<Goal>, Levels)> = None;
            for at in unmet {
                let Some((goal, why)) = state.open.get(at).cloned() else { continue };
                let (options, why) = self.options(&state, &goal, why)?;
                if best.as_ref().is_none_or(|(_, fewest, _)| options.len() < fewest.len()) {
                    let decided = options.len() <= 1;
                    best = Some((at, options, why));
                    if decided {
                        break;
                    }
                }
            }
            let Some((at, options, why)) = best else { return Ok(End::Open("no goal is left".into())) };
            state.open.swap_remove(at);
            match options.as_slice() {
                [] => return Ok(End::Dead(why)),
                [only] => match self.add(&mut state, only, why)? {
                    Ok(()) => {}
                    Err(Refusal::Dead(levels)) => return Ok(End::Dead(levels)),
                    Err(Refusal::Open(why)) => return Ok(End::Open(why)),
                },
                _ => {
                    let options = options.into_iter();
                    return Ok(End::Choice(Choice { state: Some(state), options, why, blamed: why, unknown: None }));
                }
            }
        }
    }

    /// The options that are not ruled out by what is required, and what the others and the goal itself rest on.
    fn options(&self, state: &State, goal: &Goal, why: Levels) -> Result<(Vec<Goal>, Levels), Exhausted> {
        let compared;
        let options: &[Goal] = match goal {
            Goal::Any(options) => options,
            Goal::Leaf(leaf) => {
                compared = self.comparisons(*leaf);
                &compared
            }
            Goal::Check(_) | Goal::All(_) => &[],
        };
        let (mut left, mut why) = (Vec::new(), why);
        for option in options {
            match self.conflict(state, option)? {
                Some(levels) => why = why.and(levels),
                None => left.push(option.clone()),
            }
        }
        Ok((left, why))
    }

    /// What rules a goal out, as far as one look tells.
    fn conflict(&self, state: &State, goal: &Goal) -> Result<Option<Levels>, Exhausted> {
        match goal {
            Goal::Leaf(number) => {
                let Some(leaf) = self.leaves.get(*number) else { return Ok(None) };
                let Some(required) = state.required.get(&leaf.group) else {
                    // Alone it may be impossible as well.
                    return self.rules_out(&leaf.group, &[], *number);
                };
                if required.iter().any(|(other, _)| other == number) {
                    return Ok(None);
                }
                self.rules_out(&leaf.group, required, *number)
            }
            Goal::All(parts) => {
                for part in parts.iter() {
                    if let Some(levels) = self.conflict(state, part)? {
                        return Ok(Some(levels));
                    }
                }
                Ok(None)
            }
            Goal::Any(options) => {
                let mut why = Levels::default();
                for option in options.iter() {
                    match self.conflict(state, option)? {
                        Some(levels) => why = why.and(levels),
                        None => return Ok(None),
                    }
                }
                Ok(Some(why))
            }
            Goal::Check(_) => Ok(None),
        }
    }

    fn rules_out(
        &self,
        group: &Group,
        required: &[(usize, Levels)],
        number: usize,
    ) -> Result<Option<Levels>, Exhausted> {
        if *group == Group::Compared {
            return Ok(None);
        }
        let mut all = required.to_vec();
        all.push((number, Levels::default()));
        let numbers = all.iter().map(|(number, _)| *number).collect();
        Ok(match &*self.solve(group, numbers)? {
            Solution::None => Some(self.explain(group, &all, number)?),
            _ => None,
        })
    }

    /// What a conflict with `last` rests on: one other leaf, if these two are enough, else a set none of which can be
    /// left out.
    fn explain(&self, group: &Group, all: &[(usize, Levels)], last: usize) -> Result<Levels, Exhausted> {
        if *self.solve(group, vec![last])? == Solution::None {
            return Ok(Levels::default());
        }
        for (other, why) in all.iter().filter(|(other, _)| *other != last) {
            if *self.solve(group, vec![*other, last])? == Solution::None {
                return Ok(*why);
            }
        }
        let mut needed = all.to_vec();
        for (other, _) in all.iter().filter(|(other, why)| *other != last && *why != Levels::default()) {
            let without: Vec<usize> =
                needed.iter().map(|(number, _)| *number).filter(|number| number != other).collect();
            if *self.solve(group, without)? == Solution::None {
                needed.retain(|(number, _)| number != other);
            }
        }
        Ok(needed.iter().fold(Levels::default(), |levels, (_, why)| levels.and(*why)))
    }

    fn solve(&self, group: &Group, mut numbers: Vec<usize>) -> Result<Rc<Solution<Part>>, Exhausted> {
        numbers.sort_unstable();
        numbers.dedup();
        if let Some(known) = self.solved.borrow().get(&numbers) {
            return Ok(known.clone());
        }
        let leaves: Vec<Rc<Leaf>> = numbers.iter().filter_map(|number| self.leaves.get(*number)).collect();
        let maker = Maker { texts: self.texts, meter: self.meter };
        let part = Rc::new(maker.part(group, &leaves.iter().map(|leaf| &**leaf).collect::<Vec<_>>())?);
        let mut solved = self.solved.borrow_mut();
        if solved.len() >= REMEMBERED {
            solved.clear();
        }
        solved.insert(numbers, part.clone());
        Ok(part)
    }

    fn set(&self, request: &mut Witness, group: &Group, part: Part) {
        let replace = |list: &mut Vec<(String, String)>, name: &str, values: Vec<String>| {
            list.retain(|(other, _)| other != name);
            list.extend(values.into_iter().map(|value| (name.to_owned(), value)));
        };
        match (group, part) {
            (Group::Method, Part::Text(text)) => request.method = text,
            (Group::Host, Part::Text(text)) => request.host = text,
            (Group::Path, Part::Text(text)) => request.path = text,
            (Group::Agent, Part::Agent(agent)) => request.agent = agent,
            (Group::Query(name), Part::Values(values)) => replace(&mut request.query, name, values),
            (Group::Header(name), Part::Values(values)) => replace(&mut request.headers, name, values),
            (Group::Content, Part::Content { body, mcp }) => {
                request.body = body;
                request.mcp = mcp;
            }
            (Group::Time, Part::Time(time)) => request.time = time,
            (Group::Counter(number), Part::Count(count)) => {
                let Some(name) = self.leaves.counter(*number) else { return };
                request.counts.retain(|known| !name.is_of(known));
                if count > 1 {
                    let CounterName { rule, entry, per, by, of } = name;
                    request.counts.push(Count { rule, entry, per, by, of: Some(of), count });
                }
            }
            _ => {}
        }
    }

    /// The comparisons that a request does not meet, though the goal rests on them.
    pub(crate) fn unmet_comparisons(&self, goal: &Goal, witness: &Witness) -> Vec<Rc<Leaf>> {
        let strict = Search { assume: false, ..*self };
        if strict.holds(goal, witness) {
            return Vec::new();
        }
        match goal {
            Goal::All(parts) => parts.iter().flat_map(|part| self.unmet_comparisons(part, witness)).collect(),
            Goal::Any(options) => {
                let option = options.iter().find(|option| self.holds(option, witness));
                option.map(|option| self.unmet_comparisons(option, witness)).unwrap_or_default()
            }
            Goal::Leaf(number) | Goal::Check(number) => self.leaves.get(*number).into_iter().collect(),
        }
    }

    pub(crate) fn holds(&self, goal: &Goal, witness: &Witness) -> bool {
        witness.with_fields(|request| self.holds_in(goal, request, witness))
    }

    fn holds_in(&self, goal: &Goal, request: &Request<'_>, witness: &Witness) -> bool {
        match goal {
            Goal::All(parts) => parts.iter().all(|part| self.holds_in(part, request, witness)),
            Goal::Any(parts) => parts.iter().any(|part| self.holds_in(part, request, witness)),
            Goal::Leaf(number) | Goal::Check(number) => {
                let Some(leaf) = self.leaves.get(*number) else { return false };
                match (&leaf.group, &*leaf.atom) {
                    (Group::Counter(counter), Atom::Rate(Rate { over, .. })) => {
                        let count = self.leaves.counter(*counter).map_or(1, |name| {
                            let known = witness.counts.iter().find(|known| name.is_of(known));
                            known.map_or(1, |known| known.count)
                        });
                        leaf.allowed.has(Truth::from((count > *over) != leaf.negated))
                    }
                    (Group::Compared, _) if self.assume => true,
                    _ => leaf.holds(request),
                }
            }
        }
    }

    /// Ways in which a comparison may come out as wanted: pairs of values, and one that is missing.
    fn comparisons(&self, number: usize) -> Vec<Goal> {
        let Some(leaf) = self.leaves.get(number) else { return Vec::new() };
        let Atom::Compare(Comparison { left, right, .. }) = &*leaf.atom else { return Vec::new() };
        let mut values: Vec<Literal> = Vec::new();
        for tested in [left, right].into_iter().flat_map(|attribute| self.leaves.tests_of(attribute)) {
            match tested.test() {
                Some(Test::Equals(literal)) => values.push(literal.clone()),
                Some(Test::In(List::Strings(list))) => values.extend(list.iter().take(2).cloned().map(Literal::String)),
                Some(Test::In(List::Numbers(list))) => values.extend(list.iter().take(2).cloned().map(Literal::Number)),
                Some(Test::Lt(limit) | Test::Lte(limit) | Test::Gt(limit) | Test::Gte(limit)) => {
                    values.push(Literal::Number(limit.clone()));
                }
                _ => {}
            }
        }
        let number_of = |text: &str| Number::try_from(text.to_owned()).ok().map(Literal::Number);
        values.extend(["a", "b"].map(|text| Literal::String(text.to_owned())));
        values.extend(["1", "2"].into_iter().filter_map(number_of));
        values.extend([true, false].map(Literal::Bool));
        values.truncate(12);
        let is = |attribute: &Attribute, value: &Literal| {
            self.leaves.value(attribute, Test::Equals(value.clone()), Truths::TRUE)
        };
        let missing = |attribute: &Attribute| self.leaves.value(attribute, Test::Exists(false), Truths::TRUE);
        let mut goals: Vec<Goal> = Vec::new();
        for one in &values {
            let pairs = values.iter().filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(one));
            goals.extend(pairs.map(|other| Goal::all([is(left, one), is(right, other), Goal::Check(number)])));
        }
        goals.push(Goal::all([missing(left), Goal::Check(number)]));
        goals.push(Goal::all([missing(right), Goal::Check(number)]));
        goals
    }
}
