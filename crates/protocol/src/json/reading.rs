//! What readers of JSON agree on beyond its grammar: names that fold to one, numbers out of reach, names with a meaning.

use super::{Json, JsonError, JsonErrorKind, Number, Object};
use crate::sort::sort_by;

/// The most significant digits of an integer (those of 64 bits), and of any other number (those of a binary double).
const MAX_INTEGER_DIGITS: usize = 20;
const MAX_DIGITS: usize = 17;

/// The powers of ten between which a double is neither zero nor infinite.
const POWERS: std::ops::RangeInclusive<i64> = -306..=308;

/// Objects with more members are searched for twins by sorting.
const FEW: usize = 16;

/// A name as readers see it that do not tell cases apart: equal for all names that Unicode case folding makes equal, full
/// or simple. So that no locale matters, `ı` and `İ` are `i` too.
#[inline(never)]
pub fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Down before up, for `ẞ`; up before down, for `ſ`, the Kelvin sign and whatever folds to several letters.
    let cased = name.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    cased.filter(|character| *character != '\u{307}').collect()
}

impl Json {
    /// The value itself, if readers who keep to the grammar can still not disagree about it: no object has two keys that
    /// differ in case only (those who fold case take the last), or the key `__proto__` (to some it is the object's
    /// prototype); no text has a NUL, where others end; no number is rounded to zero, to infinity or beyond the digits that
    /// a double has, while integers may have 20 digits.
    pub fn without_twins(self) -> Result<Json, JsonError> {
        match self.second_reading() {
            Some(kind) => Err(JsonError { kind, at: 0 }),
            None => Ok(self),
        }
    }

    fn second_reading(&self) -> Option<JsonErrorKind> {
        match self {
            Json::Null | Json::Bool(_) => None,
            Json::String(text) => text.contains('\0').then_some(JsonErrorKind::Nul),
            Json::Number(number) => (!number.is_common()).then_some(JsonErrorKind::Number),
            Json::Array(items) => items.iter().find_map(Json::second_reading),
            Json::Object(object) => {
                object.second_reading().or_else(|| object.0.iter().find_map(|(_, value)| value.second_reading()))
            }
        }
    }
}

impl Object {
    fn second_reading(&self) -> Option<JsonErrorKind> {
        let keys = || self.0.iter().map(|(key, _)| key.as_str());
        let few = self.0.len() <= FEW && keys().all(str::is_ascii);
        let twins = if few {
            keys().enumerate().any(|(index, key)| keys().skip(index + 1).any(|other| key.eq_ignore_ascii_case(other)))
        } else {
            let mut folded: Vec<String> = keys().map(folded).collect();
            sort_by(&mut folded, String::cmp);
            folded.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
        };
        if twins {
            return Some(JsonErrorKind::TwinKeys);
        }
        keys().find_map(|key| match key {
            "__proto__" => Some(JsonErrorKind::Prototype),
            key => key.contains('\0').then_some(JsonErrorKind::Nul),
        })
    }
}

impl Number {
    /// Whether readers of 64-bit integers and of doubles get a number of this size out of it.
    fn is_common(&self) -> bool {
        let (mantissa, power) = self.0.split_once(['e', 'E']).unwrap_or((&self.0, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('-').trim_start_matches('0');
        let integer = power == "0" && whole.len() == mantissa.trim_start_matches('-').len();
        let leading = fraction.len() - fraction.trim_start_matches('0').len();
        let digits = if whole.is_empty() { fraction.len() - leading } else { whole.len() + fraction.len() };
        let Ok(power) = power.parse::<i32>() else { return false };
        let shift = if whole.is_empty() { 0 - length(leading) } else { length(whole.len()) };
        let most = if integer { MAX_INTEGER_DIGITS } else { MAX_DIGITS };
        digits <= most && (digits == 0 || POWERS.contains(&(i64::from(power) + shift)))
    }
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
