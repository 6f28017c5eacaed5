//! Numbers to try: between exact decimals there is always another one.

use holdgate_engine::decimal::{Decimal, Number};

/// A number that no test can compare: its exponent leaves the range, so every test of it is unknown.
pub(crate) const BEYOND_COMPARISON: &str = "1e9223372036854775808";

/// Spellings of numbers such that every set of numbers that comparisons with `limits` tell apart has one among them.
/// `None` where they cannot be named.
///
/// Handsome ones come first: the limits and small integers, then the neighbours of limits, then what lies between.
pub(crate) fn candidates(limits: &[&Number]) -> Option<Vec<String>> {
    let mut sorted = limits.iter().map(|limit| Parts::read(limit.as_str())).collect::<Option<Vec<Parts>>>()?;
    sorted.sort_by(|a, b| compare(&a.spell(), &b.spell()));
    sorted.dedup();
    let mut found: Vec<String> = ["1", "0"].map(str::to_owned).into();
    found.extend(limits.iter().map(|limit| limit.as_str().to_owned()));
    for limit in &sorted {
        if let Some(whole) = limit.floor() {
            found.extend([whole.saturating_add(1), whole, whole.saturating_sub(1)].map(|number| number.to_string()));
        }
    }
    found.extend(sorted.windows(2).filter_map(|pair| if let [a, b] = pair { Parts::between(a, b) } else { None }));
    found.extend(sorted.first().and_then(|least| least.mirrored().above()).map(|above| above.mirrored().spell()));
    found.extend(sorted.last().and_then(Parts::above).map(|above| above.spell()));
    let mut known = std::collections::HashSet::new();
    found.retain(|spelling| Decimal::parse(spelling).is_some() && known.insert(spelling.clone()));
    Some(found)
}

fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    Decimal::parse(a).cmp(&Decimal::parse(b))
}

/// ±0.DIGITS × 10^exponent, without zeros at either end; zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Parts {
    fn read(spelling: &str) -> Option<Parts> {
        let (negative, rest) = spelling.strip_prefix('-').map_or((false, spelling), |rest| (true, rest));
        let (mantissa, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let significant = digits.trim_start_matches('0');
        let leading = i64::try_from(digits.len() - significant.len()).ok()?;
        let power: i64 = power.strip_prefix('+').unwrap_or(power).parse().ok()?;
        let exponent = power.checked_add(i64::try_from(whole.len()).ok()? - leading)?;
        let digits = significant.trim_end_matches('0').to_owned();
        let zero = digits.is_empty();
        Some(Parts { negative: negative && !zero, digits, exponent: if zero { 0 } else { exponent } })
    }

    /// As people write it where that is short, else with an exponent.
    fn spell(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let length = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        if self.digits.is_empty() {
            "0".to_owned()
        } else if (length..=20).contains(&self.exponent) {
            let zeros = usize::try_from(self.exponent - length).unwrap_or_default();
            format!("{sign}{}{}", self.digits, "0".repeat(zeros))
        } else if (1..length).contains(&self.exponent) {
            let (whole, fraction) =
                usize::try_from(self.exponent).ok().and_then(|at| self.digits.split_at_checked(at)).unwrap_or_default();
            format!("{sign}{whole}.{fraction}")
        } else if (-5..=0).contains(&self.exponent) {
            let zeros = usize::try_from(-self.exponent).unwrap_or_default();
            format!("{sign}0.{}{}", "0".repeat(zeros), self.digits)
        } else {
            format!("{sign}0.{}e{}", self.digits, self.exponent)
        }
    }

    fn mirrored(&self) -> Parts {
        Parts { negative: !self.negative && !self.digits.is_empty(), ..self.clone() }
    }

    /// The greatest integer that is not greater, if it is of ordinary size.
    fn floor(&self) -> Option<i64> {
        if self.exponent > 15 {
            return None;
        }
        let kept = usize::try_from(self.exponent).unwrap_or_default();
        let mut whole: i64 = 0;
        for place in 0..kept {
            let digit = self.digits.as_bytes().get(place).map_or(0, |digit| i64::from(digit - b'0'));
            whole = whole.checked_mul(10)?.checked_add(digit)?;
        }
        let exact = self.digits.len() <= kept;
        Some(if !self.negative {
            whole
        } else if exact {
            -whole
        } else {
            -whole - 1
        })
    }

    /// A number that is greater.
    fn above(&self) -> Option<Parts> {
        let one = Parts { negative: false, digits: "1".into(), exponent: 1 };
        if self.digits.is_empty() {
            return Some(one);
        }
        if self.negative {
            // Towards zero: half as many powers of ten.
            return Some(Parts { negative: false, digits: String::new(), exponent: 0 });
        }
        Some(match self.exponent.max(0).checked_add(1) {
            Some(exponent) => Parts { negative: false, digits: "1".into(), exponent },
            // No exponent is greater; another digit makes the number so.
            None => Parts { digits: format!("{}5", self.digits), ..self.clone() },
        })
    }

    /// The spelling of a number between two that differ; `less` is the smaller one.
    fn between(less: &Parts, greater: &Parts) -> Option<String> {
        if less.negative && !greater.negative {
            return if greater.digits.is_empty() {
                // Between a negative number and zero.
                less.nearer_to_zero().map(|found| found.spell())
            } else {
                Some("0".to_owned())
            };
        }
        if less.negative {
            return Self::between_positive(&greater.mirrored(), &less.mirrored()).map(|found| found.mirrored().spell());
        }
        Self::between_positive(less, greater).map(|found| found.spell())
    }

    /// A number between this one and zero. Beside the least exponent there may be none: 0.1 has the least digits.
    fn nearer_to_zero(&self) -> Option<Parts> {
        match self.exponent.checked_sub(1) {
            Some(exponent) => Some(Parts { exponent, ..self.clone() }),
            None if self.digits != "1" => Some(Parts { digits: "1".into(), ..self.clone() }),
            None => None,
        }
    }

    /// One digit behind the longer of the two: less than what is between them.
    fn between_positive(less: &Parts, greater: &Parts) -> Option<Parts> {
        if less.digits.is_empty() {
            return greater.nearer_to_zero();
        }
        let length = if less.exponent == greater.exponent {
            less.digits.len().max(greater.digits.len())
        } else {
            less.digits.len()
        };
        // Five is halfway to the next digit: `0.75` between `0.7` and `0.8`.
        let zeros = "0".repeat(length - less.digits.len());
        Some(Parts { digits: format!("{}{zeros}5", less.digits), ..less.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn what_lies_between_is_handsome() {
        let between = |a: &str, b: &str| Parts::between(&Parts::read(a).unwrap(), &Parts::read(b).unwrap()).unwrap();
        assert_eq!(between("0.7", "0.8"), "0.75");
        assert_eq!(between("0", "1"), "0.1");
        assert_eq!(between("-1", "0"), "-0.1");
        assert_eq!(between("-3", "8"), "0");
        assert_eq!(between("99", "100"), "99.5");
        assert_eq!(between("100", "101"), "100.5");
        assert_eq!(between("-101", "-100"), "-100.5");
        assert_eq!(between("1e100", "1e101"), "0.15e101");
    }

    proptest! {
        /// Every place of a number among the limits - below, on, between, above - is taken by a candidate.
        #[test]
        fn every_place_has_a_candidate(
            limits in prop::collection::vec(near(SMALL), 1..5), other in near(SMALL),
        ) {
            every_place_is_taken(&limits, &other)?;
        }

        /// At the ends of the range of exponents as well.
        #[test]
        fn every_place_at_the_edge_has_a_candidate(
            limits in prop::collection::vec(near(GREAT), 1..4), other in near(GREAT),
        ) {
            let all = limits.iter().chain([&other]);
            if all.into_iter().all(|number| Decimal::parse(number).is_some()) {
                every_place_is_taken(&limits, &other)?;
            }
        }

        #[test]
        fn parts_keep_the_value(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?") {
            let spelled = Parts::read(&text).unwrap().spell();
            prop_assert_eq!(Decimal::parse(&spelled), Decimal::parse(&text), "{}", spelled);
        }
    }

    const SMALL: &str = "[0-9]{1,2}";
    const GREAT: &str = "922337203685477580[0-9]";

    fn near(exponent: &'static str) -> impl Strategy<Value = String> {
        let form = format!("-?(0|[1-9][0-9]{{0,3}})(\\.[0-9]{{1,3}})?(e-?{exponent})?");
        prop::string::string_regex(&form).unwrap()
    }

    fn every_place_is_taken(limits: &[String], other: &str) -> Result<(), TestCaseError> {
        let numbers: Vec<Number> = limits.iter().map(|limit| number(limit)).collect();
        let place = |spelling: &str| -> Vec<Ordering> { limits.iter().map(|limit| compare(spelling, limit)).collect() };
        let found = candidates(&numbers.iter().collect::<Vec<_>>()).unwrap();
        prop_assert!(found.iter().any(|candidate| place(candidate) == place(other)), "{other} among {limits:?}");
        Ok(())
    }
}
