//! Exact decimals. Numbers are compared as they are spelled, never as binary floats: `0.1` is `0.1`, and no two
//! numbers are equal because they round to the same float.

use std::{cmp::Ordering, fmt};

use holdgate_protocol::json::{FromJson, Place, ShapeError};
use serde::Serialize;

/// A number within its spelling: ±0.DIGITS × 10^exponent, where DIGITS neither start nor end with a zero.
///
/// The digits lie in two parts, as a point may stand between them. Zero has no digits. Reading and comparing take time
/// in proportion to the length of the spelling, whatever the exponent is.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Reads a number as JSON spells it (RFC 8259 section 6). `None` for any other text, and where the exponent leaves
    /// the range of `i64`: such a number cannot be compared, and the atom that asks for it is unknown.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = skip(text.as_bytes(), b"-");
        let (whole, rest) = take_digits(rest);
        if whole.is_empty() || matches!(whole, [b'0', _, ..]) {
            return None;
        }
        let (point, rest) = skip(rest, b".");
        let (fraction, rest) = if point { take_digits(rest) } else { (&[][..], rest) };
        if point && fraction.is_empty() {
            return None;
        }
        let (power, rest) = skip(rest, b"eE");
        let exponent = if power { parse_exponent(rest)? } else { 0 };
        if !power && !rest.is_empty() {
            return None;
        }

        let whole = without_leading_zeros(whole);
        let significant = without_leading_zeros(fraction);
        let shift = if whole.is_empty() {
            i64::try_from(fraction.len() - significant.len()).ok()?.checked_neg()?
        } else {
            i64::try_from(whole.len()).ok()?
        };
        let exponent = exponent.checked_add(shift)?;
        let fraction = without_trailing_zeros(if whole.is_empty() { significant } else { fraction });
        let whole = if fraction.is_empty() { without_trailing_zeros(whole) } else { whole };
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Decimal { negative: negative && !zero, whole, fraction, exponent: if zero { 0 } else { exponent } })
    }

    /// -1, 0 or 1.
    fn sign(self) -> i8 {
        match (self.whole.is_empty() && self.fraction.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn magnitude(self, other: Self) -> Ordering {
        let digits = |number: Self| number.whole.iter().chain(number.fraction);
        self.exponent.cmp(&other.exponent).then_with(|| digits(self).cmp(digits(other)))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| {
            let magnitude = self.magnitude(*other);
            if self.negative { magnitude.reverse() } else { magnitude }
        })
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal<'_> {}

/// A number of a rule: its spelling, and its digits ready to be compared.
#[derive(Clone, Debug, Serialize)]
#[serde(into = "String")]
pub struct Number {
    spelling: String,
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

/// The text is not a number that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number as JSON spells it, with an exponent of at most 18 digits")]
pub struct NumberError(pub String);

impl Number {
    pub fn as_decimal(&self) -> Decimal<'_> {
        Decimal { negative: self.negative, whole: &self.digits, fraction: &[], exponent: self.exponent }
    }

    pub fn as_str(&self) -> &str {
        &self.spelling
    }
}

impl TryFrom<String> for Number {
    type Error = NumberError;

    fn try_from(spelling: String) -> Result<Self, NumberError> {
        let Some(Decimal { negative, whole, fraction, exponent }) = Decimal::parse(&spelling) else {
            return Err(NumberError(spelling));
        };
        let digits = [whole, fraction].concat();
        Ok(Number { spelling, negative, digits, exponent })
    }
}

impl FromJson for Number {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        Number::try_from(place.read::<String>()?).map_err(|error| place.error(&error.to_string()))
    }
}

impl From<Number> for String {
    fn from(number: Number) -> String {
        number.spelling
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.spelling == other.spelling
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

fn skip<'a>(bytes: &'a [u8], any_of: &[u8]) -> (bool, &'a [u8]) {
    match bytes.split_first() {
        Some((first, rest)) if any_of.contains(first) => (true, rest),
        _ => (false, bytes),
    }
}

fn take_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, _) = skip(bytes, b"-");
    let (_, digits) = skip(bytes, b"+-");
    let digits = match take_digits(digits) {
        ([], _) => return None,
        (digits, []) => digits,
        _ => return None,
    };
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        value.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
    })
}

fn without_leading_zeros(mut digits: &[u8]) -> &[u8] {
    while let Some((b'0', rest)) = digits.split_first() {
        digits = rest;
    }
    digits
}

fn without_trailing_zeros(mut digits: &[u8]) -> &[u8] {
    while let Some((b'0', rest)) = digits.split_last() {
        digits = rest;
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        Decimal::parse(a).unwrap().cmp(&Decimal::parse(b).unwrap())
    }

    #[test]
    fn equal_values_are_equal_however_they_are_spelled() {
        for group in [
            &["1", "1.0", "10e-1", "0.1e1", "1E+0", "1000e-3", "0.001e3", "1e00000000000000000000000"][..],
            &["0", "-0", "0.000", "0e9", "-0.0e-7"],
            &["-12.5", "-125e-1", "-0.0125E3"],
            &["100", "1e2", "1.00e2", "0.1e3"],
        ] {
            for a in group {
                assert!(group.iter().all(|b| compare(a, b) == Ordering::Equal), "{a}");
            }
        }
    }

    #[test]
    fn order_is_that_of_the_values_where_floats_would_round() {
        let rising = [
            "-1e9223372036854775806",
            "-2",
            "-1.0000000000000000000001",
            "-1",
            "-1e-400",
            "0",
            "1e-400",
            "2e-400",
            "0.09",
            "0.1",
            "0.1000000000000000055511151231257827",
            "0.11",
            "9007199254740992",
            "9007199254740993",
            "1e400",
            "1e401",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn other_texts_and_exponents_out_of_range_are_no_decimals() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-01",
            ".5",
            "1.",
            "1e",
            "1e+",
            "1e1.5",
            "0x1",
            "1_000",
            "NaN",
            "inf",
            " 1",
            "1 ",
            "1e--1",
            "1e9223372036854775808",
            "1e-9223372036854775809",
            "10e9223372036854775807",
            "0.01e-9223372036854775808",
        ] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
        assert_eq!(Number::try_from("1.".to_owned()), Err(NumberError("1.".into())));
    }

    #[test]
    fn a_long_number_takes_linear_time() {
        let long = format!("0.{}1e{}", "0".repeat(1 << 20), 1 << 20);
        assert_eq!(compare(&long, "0.1"), Ordering::Equal);
        assert_eq!(compare(&"9".repeat(1 << 20), &"9".repeat((1 << 20) - 1)), Ordering::Greater);
    }

    proptest! {
        /// Against integers: m × 10^e, with the point and the exponent moved at will.
        #[test]
        fn agrees_with_integers(
            a in -9_999_999_i64..9_999_999, b in -9_999_999_i64..9_999_999, shift_a in 0_u32..5, shift_b in 0_u32..5,
            zeros in 0_usize..4,
        ) {
            let spell = |value: i64, shift: u32| {
                let scale = 10_i64.pow(shift);
                let sign = if value < 0 { "-" } else { "" };
                let (whole, part) = (value.abs() / scale, value.abs() % scale);
                let part = if shift == 0 { "0".to_owned() } else { format!("{part:0width$}", width = shift as usize) };
                format!("{sign}{whole}.{part}{}e{shift}", "0".repeat(zeros))
            };
            let (left, right) = (spell(a, shift_a), spell(b, shift_b));
            prop_assert_eq!(compare(&left, &right), a.cmp(&b));
            prop_assert_eq!(compare(&left, &a.to_string()), Ordering::Equal);
        }

        #[test]
        fn number_keeps_spelling_and_value(text in "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,8})?([eE][+-]?[0-9]{1,3})?") {
            let number = Number::try_from(text.clone()).unwrap();
            prop_assert_eq!(number.as_decimal(), Decimal::parse(&text).unwrap());
            prop_assert_eq!(String::from(number), text);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,20}|[-+.0-9eE]{0,20}") {
            let json = holdgate_protocol::Json::parse(text.as_bytes());
            let number = matches!(json, Ok(holdgate_protocol::Json::Number(_)));
            prop_assert!(number || Decimal::parse(&text).is_none() || text.contains(' '));
        }
    }
}
