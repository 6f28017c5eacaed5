//! Durations as people write them: `45s`, `10m`, `1h`, `7d`.

/// Reads a duration in whole seconds; `None` for anything but a positive integer and one of the units `s m h d`.
pub fn seconds(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count = text.get(..text.len() - 1)?;
    let plain = count.starts_with(|first: char| first.is_ascii_digit() && first != '0');
    if plain { count.parse::<u64>().ok()?.checked_mul(unit) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_seconds_minutes_hours_days_and_nothing_else_is_read() {
        for (text, expected) in [("45s", 45), ("10m", 600), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in ["", "s", "45", "0s", "-1s", "+1s", "1.5h", " 1s", "1 s", "1w", "1H", "99999999999999999d", "1é"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
