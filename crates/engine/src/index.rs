//! The index: which entries of a policy can be anything but false for a request.
//!
//! Entries are split by one attribute after the other: the MCP tool, the path, a claim, the host, the method. An entry
//! that wants another value than the request has is false and never looked at. A value that is not known makes no entry
//! false, so that each split by a value keeps its entries a second time, split by what else they want.

use hashbrown::HashMap;
use holdgate_protocol::{
    Json, Pointer,
    sort::{sort_by, sorted_set},
};

use crate::{
    Mcp, Request,
    conditions::{Atom, Attribute, List, Literal, Test, ValueTest},
    template::{Segment, Template},
};

/// Entries that are few enough to be looked at one by one.
const FEW: usize = 4;

/// Splits on the way to an entry.
const MAX_DEPTH: usize = 4;

/// How often an entry is placed on the average, at most. A list of values places its entry once for each, and each split
/// by a value that may be unknown once more: without a bound, lists in several attributes would multiply.
const MAX_PLACES: usize = 16;

/// The claims that entries are split by are the ones that most of them want.
const MAX_CLAIMS: usize = 3;

/// The most values of a list that are looked up one by one.
const MAX_VALUES: usize = 256;

/// The place of an entry in the list that the index was built from.
pub(crate) type EntryId = u32;

/// An index over a list of entries.
#[derive(Debug)]
pub(crate) struct Index(Node);

#[derive(Debug)]
enum Node {
    Leaf(Box<[EntryId]>),
    ByValue(Box<ByValue>),
    ByPath(Box<ByPath>),
}

/// Entries by a text that they want an attribute to be, or to start with.
#[derive(Debug)]
struct ByValue {
    of: Attribute,
    exact: HashMap<String, Node>,
    prefixes: HashMap<String, Node>,
    /// The lengths of the prefixes, rising.
    lengths: Vec<usize>,
    /// All entries of `exact` and `prefixes`.
    unknown: Node,
    /// Entries that want nothing of the attribute.
    rest: Node,
}

/// Entries by the template that the path must match.
#[derive(Debug)]
struct ByPath {
    root: Segments,
    rest: Node,
}

/// The entries whose templates start with the same segments.
#[derive(Debug)]
struct Segments {
    literals: HashMap<String, Segments>,
    one: Option<Box<Segments>>,
    globs: Vec<(Segment, Segments)>,
    /// Templates that end here.
    end: Node,
    /// Templates that go on with `**`.
    open: Node,
}

/// What a request says about an attribute that entries are split by.
enum Found<'a> {
    Text(&'a str),
    /// No entry that asks for the attribute can be anything but false.
    Nothing,
    Unknown,
}

/// An entry to be placed.
#[derive(Clone, Copy)]
struct Item<'a> {
    id: EntryId,
    atoms: &'a [Atom],
}

/// An entry whose template goes on with these segments.
#[derive(Clone, Copy)]
struct Remaining<'a> {
    item: Item<'a>,
    segments: &'a [Segment],
    open: bool,
}

/// What an entry wants an attribute to be.
enum Wanted<'a> {
    Exact(Vec<&'a str>),
    Prefix(&'a str),
}

impl Index {
    pub(crate) fn new<'a>(entries: impl Iterator<Item = &'a [Atom]>) -> Index {
        let items: Vec<Item<'_>> = (0..).zip(entries).map(|(id, atoms)| Item { id, atoms }).collect();
        let mut room = items.len().saturating_mul(MAX_PLACES);
        Index(build(&items, &dimensions(&items), MAX_DEPTH, &mut room))
    }

    /// Calls `visit` with each entry that may be anything but false; with some more than once. Allocates nothing.
    pub(crate) fn candidates(&self, request: &Request<'_>, visit: &mut impl FnMut(EntryId)) {
        self.0.candidates(request, visit);
    }
}

/// Whether the index can rule an entry out: it wants a tool, a path, a claim, a host or a method by a text.
pub fn is_reached(entry: &[Atom]) -> bool {
    entry.iter().any(|atom| match atom {
        Atom::Value(ValueTest { is: Test::Template(template), .. }) => {
            template.segments().iter().any(|segment| !matches!(segment, Segment::One))
        }
        Atom::Value(test) => splits(&test.of) && wanted(test).is_some(),
        _ => false,
    })
}

fn splits(attribute: &Attribute) -> bool {
    matches!(attribute, Attribute::McpTool | Attribute::Host | Attribute::Method | Attribute::Claim(_))
}

/// The attributes to split by: those that are known of every request first, and the claims that most entries want.
fn dimensions(items: &[Item<'_>]) -> Vec<Attribute> {
    let mut claims: Vec<(usize, &Pointer)> = Vec::new();
    for pointer in items.iter().flat_map(|item| item.atoms).filter_map(|atom| match atom {
        Atom::Value(ValueTest { of: Attribute::Claim(pointer), .. }) => Some(pointer),
        _ => None,
    }) {
        // Far more claims than are split by are not counted.
        let room = claims.len() < 64;
        match claims.iter_mut().find(|(_, known)| *known == pointer) {
            Some((count, _)) => *count += 1,
            None if room => claims.push((1, pointer)),
            None => {}
        }
    }
    sort_by(&mut claims, |(a, x), (b, y)| b.cmp(a).then_with(|| x.as_str().cmp(y.as_str())));
    let claims = claims.into_iter().take(MAX_CLAIMS).map(|(_, pointer)| Attribute::Claim(pointer.clone()));
    [Attribute::McpTool, Attribute::Path, Attribute::Host, Attribute::Method].into_iter().chain(claims).collect()
}

/// Splits by the attribute that leaves the fewest entries to be looked at, as long as one helps and there is room.
fn build<'a>(items: &[Item<'a>], dimensions: &[Attribute], depth: usize, room: &mut usize) -> Node {
    let leaf = || Node::Leaf(items.iter().map(|item| item.id).collect());
    if items.len() <= FEW || depth == 0 {
        return leaf();
    }
    let splits = dimensions.iter().map(|dimension| (Spread::of(items, dimension), dimension));
    let helpful = splits.filter(|(spread, _)| spread.looked_at < items.len() && spread.places <= *room);
    let Some((spread, best)) = helpful.min_by_key(|(spread, _)| spread.looked_at) else { return leaf() };
    *room -= spread.places;
    let others: Vec<Attribute> = dimensions.iter().filter(|other| *other != best).cloned().collect();
    let mut below = |items: &[Item<'_>]| build(items, &others, depth - 1, room);
    let (keyed, rest): (Vec<Item<'a>>, Vec<Item<'a>>) = items.iter().partition(|item| key(item.atoms, best).is_some());
    if *best == Attribute::Path {
        let remaining = |item: &Item<'a>| {
            let template = template(item.atoms)?;
            Some(Remaining { item: *item, segments: template.segments(), open: template.is_open() })
        };
        let templates: Vec<Remaining<'_>> = keyed.iter().filter_map(remaining).collect();
        return Node::ByPath(Box::new(ByPath { root: Segments::new(&templates, &mut below), rest: below(&rest) }));
    }
    let (mut exact, mut prefixes) = (HashMap::<&str, Vec<Item<'_>>>::new(), HashMap::<&str, Vec<Item<'_>>>::new());
    for item in &keyed {
        match key(item.atoms, best) {
            Some(Wanted::Exact(values)) => {
                values.into_iter().for_each(|value| exact.entry(value).or_default().push(*item))
            }
            Some(Wanted::Prefix(prefix)) => prefixes.entry(prefix).or_default().push(*item),
            None => {}
        }
    }
    let mut nodes = |map: HashMap<&str, Vec<Item<'_>>>| -> HashMap<String, Node> {
        map.into_iter().map(|(value, items)| (value.to_owned(), below(&items))).collect()
    };
    let lengths = sorted_set(prefixes.keys().map(|prefix| prefix.len()).collect());
    Node::ByValue(Box::new(ByValue {
        of: best.clone(),
        exact: nodes(exact),
        prefixes: nodes(prefixes),
        lengths,
        unknown: if always_known(best) { Node::Leaf(Box::default()) } else { below(&keyed) },
        rest: below(&rest),
    }))
}

/// What a split by an attribute would come to.
struct Spread {
    /// Entries that are left for a request that meets the most frequent value.
    looked_at: usize,
    /// Entries that are placed, each as often as it is.
    places: usize,
}

impl Spread {
    fn of(items: &[Item<'_>], dimension: &Attribute) -> Spread {
        let (mut counts, mut rest) = (HashMap::<&str, usize>::new(), 0);
        for item in items {
            match key(item.atoms, dimension) {
                Some(Wanted::Exact(values)) => {
                    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
                }
                Some(Wanted::Prefix(prefix)) => *counts.entry(prefix).or_default() += 1,
                None => rest += 1,
            }
        }
        let unknown = if always_known(dimension) { 0 } else { items.len() - rest };
        Spread {
            looked_at: (rest + counts.values().max().copied().unwrap_or_default()).min(items.len()),
            places: rest + counts.values().sum::<usize>() + unknown,
        }
    }
}

fn always_known(attribute: &Attribute) -> bool {
    matches!(attribute, Attribute::Host | Attribute::Method | Attribute::Path)
}

fn template(atoms: &[Atom]) -> Option<&Template> {
    atoms.iter().find_map(|atom| match atom {
        Atom::Value(ValueTest { of: Attribute::Path, is: Test::Template(template) }) => Some(template),
        _ => None,
    })
}

/// What the entry wants of this attribute; for a path the text of its template, which tells templates apart.
fn key<'a>(atoms: &'a [Atom], dimension: &Attribute) -> Option<Wanted<'a>> {
    if *dimension == Attribute::Path {
        return template(atoms).map(|template| Wanted::Exact(vec![template.as_str()]));
    }
    atoms.iter().find_map(|atom| match atom {
        Atom::Value(test) if test.of == *dimension => wanted(test),
        _ => None,
    })
}

fn wanted(test: &ValueTest) -> Option<Wanted<'_>> {
    match &test.is {
        Test::Equals(Literal::String(text)) => Some(Wanted::Exact(vec![text])),
        Test::In(List::Strings(list)) if list.len() <= MAX_VALUES => {
            Some(Wanted::Exact(list.iter().map(String::as_str).collect()))
        }
        Test::Prefix(prefix) => Some(Wanted::Prefix(prefix)),
        Test::Glob(glob) => match glob.pieces() {
            [only] => Some(Wanted::Exact(vec![only])),
            [first, ..] => Some(Wanted::Prefix(first)),
            [] => None,
        },
        _ => None,
    }
    .filter(|wanted| !matches!(wanted, Wanted::Prefix("")))
}

impl Segments {
    fn new(templates: &[Remaining<'_>], below: &mut impl FnMut(&[Item<'_>]) -> Node) -> Segments {
        let (mut end, mut open) = (Vec::new(), Vec::new());
        let mut groups: HashMap<&Segment, Vec<Remaining<'_>>> = HashMap::new();
        for template in templates {
            match template.segments.split_first() {
                Some((first, segments)) => groups.entry(first).or_default().push(Remaining { segments, ..*template }),
                None if template.open => open.push(template.item),
                None => end.push(template.item),
            }
        }
        let mut segments =
            Segments { literals: HashMap::new(), one: None, globs: Vec::new(), end: below(&end), open: below(&open) };
        for (first, group) in groups {
            let next = Segments::new(&group, below);
            match first {
                Segment::Literal(text) => drop(segments.literals.insert(text.clone(), next)),
                Segment::One => segments.one = Some(Box::new(next)),
                Segment::Glob { .. } => segments.globs.push((first.clone(), next)),
            }
        }
        segments
    }

    /// `rest`: the segments to come, `None` after the last.
    fn candidates(&self, rest: Option<&str>, request: &Request<'_>, visit: &mut impl FnMut(EntryId)) {
        self.open.candidates(request, visit);
        let Some(rest) = rest else { return self.end.candidates(request, visit) };
        let (part, rest) = rest.split_once('/').map_or((rest, None), |(part, rest)| (part, Some(rest)));
        if let Some(next) = self.literals.get(part) {
            next.candidates(rest, request, visit);
        }
        if let Some(next) = self.one.as_ref().filter(|_| !part.is_empty()) {
            next.candidates(rest, request, visit);
        }
        for (_, next) in self.globs.iter().filter(|(glob, _)| glob.matches(part)) {
            next.candidates(rest, request, visit);
        }
    }
}

impl Node {
    fn candidates(&self, request: &Request<'_>, visit: &mut impl FnMut(EntryId)) {
        match self {
            Node::Leaf(entries) => entries.iter().copied().for_each(visit),
            Node::ByPath(split) => {
                if let Some(rest) = request.path.strip_prefix('/') {
                    split.root.candidates(Some(rest), request, visit);
                }
                split.rest.candidates(request, visit);
            }
            Node::ByValue(split) => {
                match find(&split.of, request) {
                    Found::Text(text) => {
                        if let Some(node) = split.exact.get(text) {
                            node.candidates(request, visit);
                        }
                        for length in &split.lengths {
                            if let Some(node) = text.get(..*length).and_then(|prefix| split.prefixes.get(prefix)) {
                                node.candidates(request, visit);
                            }
                        }
                    }
                    Found::Nothing => {}
                    Found::Unknown => split.unknown.candidates(request, visit),
                }
                split.rest.candidates(request, visit);
            }
        }
    }
}

fn find<'a>(attribute: &Attribute, request: &Request<'a>) -> Found<'a> {
    match attribute {
        Attribute::Method => Found::Text(request.method),
        Attribute::Host => Found::Text(request.host),
        Attribute::McpTool => match request.mcp {
            Mcp::Message { method: crate::value::TOOLS_CALL, tool, .. } => tool.map_or(Found::Unknown, Found::Text),
            Mcp::None | Mcp::Message { .. } => Found::Nothing,
            Mcp::Tool(tool) => Found::Text(tool),
            Mcp::Unread => Found::Unknown,
        },
        Attribute::Claim(pointer) => match request.agent.and_then(|agent| agent.claims.at(pointer)) {
            Some(Json::String(text)) => Found::Text(text),
            _ => Found::Unknown,
        },
        _ => Found::Unknown,
    }
}

#[cfg(test)]
mod tests;
