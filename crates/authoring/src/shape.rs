//! What the maps of a rule file may hold: one table, from which files are read and their JSON Schema is written.

/// What a map may hold.
pub(crate) struct Shape {
    /// Its name in messages.
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [Key],
    /// Keys that the design has and this version does not evaluate.
    pub(crate) later: &'static [&'static str],
}

/// A key of a map.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    /// What it means, for editors.
    pub(crate) about: &'static str,
}

/// What may stand behind a key. The functions that read a value ask for more than this tells, such as what a pointer
/// looks like; they never ask for less.
pub(crate) enum Kind {
    Any,
    Text,
    Name,
    Bool,
    /// A whole number from 1.
    Count,
    /// A whole number from 0.
    Whole,
    Number,
    /// A whole number, or a text without quotes that YAML reads as one.
    Format(&'static str),
    Duration,
    /// As `Duration`, or in milliseconds: `50ms`.
    Time,
    /// A whole percentage from 1 to 99: `50%`.
    Share,
    Pointer,
    /// `HH:MM`.
    Clock,
    Word(fn() -> Vec<&'static str>),
    /// A plain value or a map of operators.
    Value,
    /// A text, a number or a truth value.
    Literal,
    List(&'static Kind),
    /// A list that must not be empty.
    Filled(&'static Kind),
    /// A map with the keys of a shape.
    Map(&'static Shape),
    /// A map with any keys.
    Each(&'static Kind),
    /// As `Each`, with pointers as keys.
    Pointers(&'static Kind),
    OneOf(&'static [Kind]),
    Null,
}

impl Key {
    pub(crate) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Key { name, kind, required: false, about }
    }

    pub(crate) const fn required(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Key { name, kind, required: true, about }
    }
}

impl Shape {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.name == key)
    }

    /// What a key means, as the end of a message.
    pub(crate) fn about(&self, key: &str) -> Option<String> {
        let about = self.keys.iter().find(|known| known.name == key)?.about;
        let mut rest = about.trim_end_matches('.').chars();
        let first = rest.next()?;
        Some(first.to_lowercase().chain(rest).collect())
    }

    /// The keys whose maps have a key of this name, or its plural, with what it is called there.
    pub(crate) fn homes(&self, key: &str) -> Vec<(&'static str, &'static str)> {
        let is_meant = |name: &&str| name.strip_prefix(key).is_some_and(|rest| matches!(rest, "" | "s"));
        let of =
            |kind: &Kind| if let Kind::Map(shape) = kind { shape.names().into_iter().find(is_meant) } else { None };
        let home = |kind: &Kind| match kind {
            Kind::OneOf(kinds) => kinds.iter().find_map(of),
            kind => of(kind),
        };
        self.keys.iter().filter_map(|known| Some((known.name, home(&known.kind)?))).collect()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// The words of a table of words and their values.
pub(crate) fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}
