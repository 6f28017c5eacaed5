//! Reads values of our own types out of a [`Json`]: by name, and with an error that says where a value does not fit.
//!
//! serde's derived readers are one more copy of much code for each type, and the filter has no room for them. Here a
//! member costs a call: whatever can be is not generic, paths are kept on the stack and spelled out only for an error.

use super::{Json, Object};

/// A type that has one form in JSON.
pub trait FromJson: Sized {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError>;
}

/// Why a value does not have the form that was expected: the path to it, what is wrong, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(Box<str>);

/// A value, or the lack of one, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    value: Option<&'a Json>,
    step: Step<'a>,
    parent: Option<&'a Place<'a>>,
}

/// How a place is reached from its parent.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

/// One of several forms: the name of the only member, and how its value is read.
pub type Variant<T> = (&'static str, fn(&Place<'_>) -> Result<T, ShapeError>);

/// The most characters of a foreign text that an error repeats.
const SHOWN: usize = 64;

impl Json {
    /// Reads the value as one of our types.
    pub fn read<T: FromJson>(&self) -> Result<T, ShapeError> {
        T::from_json(&Place::of(self))
    }
}

impl<'a> Place<'a> {
    /// The place of a whole value.
    pub fn of(value: &'a Json) -> Self {
        Place { value: Some(value), step: Step::Index(0), parent: None }
    }

    /// The members of an object, in the order of their names, each there or not; an object with others is refused.
    pub fn members<const N: usize>(&self, names: &[&'static str; N]) -> Result<[Place<'_>; N], ShapeError> {
        let mut places = [*self; N];
        self.find(names, &mut places, true)?;
        Ok(places)
    }

    /// The members of an object that may have others, which are ignored.
    pub fn known_members<const N: usize>(&self, names: &[&'static str; N]) -> Result<[Place<'_>; N], ShapeError> {
        let mut places = [*self; N];
        self.find(names, &mut places, false)?;
        Ok(places)
    }

    /// Reads the value as `T`.
    pub fn read<T: FromJson>(&self) -> Result<T, ShapeError> {
        T::from_json(self)
    }

    /// The place itself, unless its value is missing or null.
    pub fn given(&self) -> Option<&Self> {
        match self.value {
            None | Some(Json::Null) => None,
            Some(_) => Some(self),
        }
    }

    /// Reads the value as `T`; `None` where it is missing or null.
    pub fn optional<T: FromJson>(&self) -> Result<Option<T>, ShapeError> {
        self.given().map(T::from_json).transpose()
    }

    /// Whether there is a value, be it null.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// The value as it is.
    pub fn json(&self) -> Result<&'a Json, ShapeError> {
        self.value.ok_or_else(|| self.error("missing"))
    }

    pub fn is_text(&self) -> bool {
        matches!(self.value, Some(Json::String(_)))
    }

    pub fn text(&self) -> Result<&'a str, ShapeError> {
        if let Some(Json::String(text)) = self.value { Ok(text) } else { Err(self.expected("a text")) }
    }

    pub fn flag(&self) -> Result<bool, ShapeError> {
        if let Some(Json::Bool(flag)) = self.value { Ok(*flag) } else { Err(self.expected("`true` or `false`")) }
    }

    /// A whole number from 0 that `T` can hold.
    pub fn whole<T: TryFrom<u64>>(&self) -> Result<T, ShapeError> {
        T::try_from(self.digits(false)?).map_err(|_| self.out_of_bounds())
    }

    /// A whole number, be it negative, that `T` can hold.
    pub fn signed<T: TryFrom<i64>>(&self) -> Result<T, ShapeError> {
        let magnitude = self.digits(true)?;
        let negative = matches!(self.value, Some(Json::Number(number)) if number.as_str().starts_with('-'));
        let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| self.out_of_bounds())
    }

    /// The items of a list.
    pub fn items(&self) -> Result<impl ExactSizeIterator<Item = Place<'_>>, ShapeError> {
        let Some(Json::Array(items)) = self.value else { return Err(self.expected("a list")) };
        let place = |(index, value)| Place { value: Some(value), step: Step::Index(index), parent: Some(self) };
        Ok(items.iter().enumerate().map(place))
    }

    pub fn list<T: FromJson>(&self) -> Result<Vec<T>, ShapeError> {
        let items = self.items()?;
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.push(T::from_json(&item)?);
        }
        Ok(list)
    }

    /// One of several words, by what it stands for.
    pub fn word<T: Clone>(&self, words: &[(&'static str, T)]) -> Result<T, ShapeError> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| self.not_among(text, &mut words.iter().map(|(word, _)| *word)))
    }

    /// One of several forms: an object with one member, whose name says which it is.
    pub fn variant<T>(&self, variants: &[Variant<T>]) -> Result<T, ShapeError> {
        let (name, place) = self.only_member()?;
        match variants.iter().find(|(known, _)| *known == name) {
            Some((_, read)) => read(&place),
            None => Err(self.not_among(name, &mut variants.iter().map(|(known, _)| *known))),
        }
    }

    /// That the value does not fit: the path to it and `problem`.
    #[cold]
    pub fn error(&self, problem: &str) -> ShapeError {
        let mut text = String::new();
        if self.parent.is_some() {
            text.push('`');
            self.write_path(&mut text);
            text.push_str("`: ");
        }
        text.push_str(problem);
        ShapeError(text.into())
    }

    #[cold]
    fn expected(&self, what: &str) -> ShapeError {
        let found = match self.value {
            None => return self.error("missing"),
            Some(Json::Null) => "`null`",
            Some(Json::Bool(_)) => "a flag",
            Some(Json::Number(_)) => "a number",
            Some(Json::String(_)) => "a text",
            Some(Json::Array(_)) => "a list",
            Some(Json::Object(_)) => "an object",
        };
        self.error(&["expected ", what, ", found ", found].concat())
    }

    #[cold]
    fn out_of_bounds(&self) -> ShapeError {
        let Some(Json::Number(number)) = self.value else { return self.expected("a whole number") };
        self.error(&["`", &shown(number.as_str()), "` is not a whole number within bounds"].concat())
    }

    #[cold]
    fn not_among(&self, name: &str, known: &mut dyn Iterator<Item = &'static str>) -> ShapeError {
        let known: String = known.flat_map(|known| [", `", known, "`"]).collect();
        let known = known.strip_prefix(", ").unwrap_or(&known);
        self.error(&["`", &shown(name), "` is not known here; expected one of ", known].concat())
    }

    fn write_path(&self, out: &mut String) {
        let Some(parent) = self.parent else { return };
        parent.write_path(out);
        match self.step {
            Step::Name(name) => {
                if parent.parent.is_some() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(index) => {
                out.push('[');
                out.push_str(&index.to_string());
                out.push(']');
            }
        }
    }

    fn object(&self) -> Result<&'a Object, ShapeError> {
        if let Some(Json::Object(object)) = self.value { Ok(object) } else { Err(self.expected("an object")) }
    }

    fn find<'s>(&'s self, names: &[&'static str], places: &mut [Place<'s>], only: bool) -> Result<(), ShapeError> {
        let object = self.object()?;
        let mut found = 0;
        for (place, name) in places.iter_mut().zip(names) {
            let value = object.get(name);
            found += usize::from(value.is_some());
            *place = Place { value, step: Step::Name(name), parent: Some(self) };
        }
        match object.iter().find(|(key, _)| only && found < object.0.len() && !names.contains(key)) {
            Some((stranger, _)) => Err(self.not_among(stranger, &mut names.iter().copied())),
            None => Ok(()),
        }
    }

    fn only_member(&self) -> Result<(&'a str, Place<'_>), ShapeError> {
        match self.object()?.0.as_slice() {
            [(name, value)] => Ok((name, Place { value: Some(value), step: Step::Name(name), parent: Some(self) })),
            _ => Err(self.error("expected an object with one member")),
        }
    }

    /// The digits of a whole number.
    fn digits(&self, signed: bool) -> Result<u64, ShapeError> {
        let Some(Json::Number(number)) = self.value else { return Err(self.expected("a whole number")) };
        let digits = number.as_str();
        let digits = if signed { digits.strip_prefix('-').unwrap_or(digits) } else { digits };
        digits.parse().map_err(|_| self.out_of_bounds())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

impl FromJson for Json {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.json().cloned()
    }
}

impl FromJson for String {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.text().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
