//! Windows of the week in a time zone whose offsets were resolved when the policy was built.

use holdgate_protocol::json::{FromJson, Place, ShapeError};
use serde::Serialize;

use crate::Truth;

const DAY: i64 = 24 * 60 * 60;

/// The hours of some days of the week, or all the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Whether the condition is that the time lies outside of the window.
    pub outside: bool,
    /// The days on which the window starts: rising, none twice, one at least.
    pub days: Vec<Day>,
    /// The first minute of the day, from 0 to 1439.
    pub from: u16,
    /// The minute at which the window ends, from 0 to 1439: at or before `from` it is one of the next day.
    pub to: u16,
    /// The name of the time zone, for people.
    pub zone: String,
    /// The zone's offsets from UTC, rising in time.
    pub offsets: Vec<Offset>,
    /// Unix seconds at which the offsets end. From then on the time of the zone is not known.
    pub until: i64,
}

/// A zone's offset from UTC, until the next one is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Offset {
    /// Unix seconds.
    pub from: i64,
    /// To be added to UTC.
    pub seconds: i32,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// The days of the week in the order of 1 January 1970, which was a Thursday.
const SINCE_EPOCH: [Day; 7] = [Day::Thu, Day::Fri, Day::Sat, Day::Sun, Day::Mon, Day::Tue, Day::Wed];

impl Window {
    /// Whether a moment (Unix seconds) meets the condition; unknown where it, or the zone's offset then, is not known.
    pub fn truth(&self, time: Option<i64>) -> Truth {
        let Some(time) = time.filter(|time| *time < self.until) else { return Truth::Unknown };
        let next = self.offsets.partition_point(|offset| offset.from <= time);
        let Some(offset) = next.checked_sub(1).and_then(|at| self.offsets.get(at)) else { return Truth::Unknown };
        let local = time.saturating_add(i64::from(offset.seconds));
        let (day, minute) = (local.div_euclid(DAY), local.rem_euclid(DAY) / 60);
        let starts_on = |day: i64| {
            let weekday = usize::try_from(day.rem_euclid(7)).ok().and_then(|at| SINCE_EPOCH.get(at));
            weekday.is_some_and(|weekday| self.days.contains(weekday))
        };
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let inside = if from < to {
            starts_on(day) && (from..to).contains(&minute)
        } else {
            (starts_on(day) && minute >= from) || (starts_on(day - 1) && minute < to)
        };
        (inside != self.outside).into()
    }

    /// Whether the parts are as they are described.
    pub(crate) fn is_sound(&self) -> bool {
        let within_a_day = |minute: u16| minute < 24 * 60;
        !self.days.is_empty()
            && self.days.is_sorted_by(|a, b| a < b)
            && within_a_day(self.from)
            && within_a_day(self.to)
            && !self.offsets.is_empty()
            && self.offsets.is_sorted_by(|a, b| a.from < b.from)
            && self.offsets.iter().all(|offset| i64::from(offset.seconds).abs() <= DAY)
    }
}

const DAYS: [(&str, Day); 7] = [
    ("mon", Day::Mon),
    ("tue", Day::Tue),
    ("wed", Day::Wed),
    ("thu", Day::Thu),
    ("fri", Day::Fri),
    ("sat", Day::Sat),
    ("sun", Day::Sun),
];

impl FromJson for Window {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [outside, days, from, to, zone, offsets, until] =
            place.members(&["outside", "days", "from", "to", "zone", "offsets", "until"])?;
        Ok(Window {
            outside: outside.flag()?,
            days: days.list()?,
            from: from.whole()?,
            to: to.whole()?,
            zone: zone.read()?,
            offsets: offsets.list()?,
            until: until.signed()?,
        })
    }
}

impl FromJson for Offset {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [from, seconds] = place.members(&["from", "seconds"])?;
        Ok(Offset { from: from.signed()?, seconds: seconds.signed()? })
    }
}

impl FromJson for Day {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.word(&DAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-05T00:00:00Z, a Monday.
    const MONDAY: i64 = 1_767_571_200;

    fn window(days: &[Day], from: u16, to: u16) -> Window {
        let offsets = vec![Offset { from: 0, seconds: 0 }];
        let zone = "UTC".to_owned();
        Window { outside: false, days: days.to_vec(), from, to, zone, offsets, until: MONDAY + 365 * DAY }
    }

    fn at(day: i64, hour: i64, minute: i64) -> Option<i64> {
        Some(MONDAY + day * DAY + hour * 3600 + minute * 60)
    }

    #[test]
    fn a_window_has_its_first_minute_and_not_its_last() {
        let office = window(&[Day::Mon, Day::Tue], 8 * 60, 18 * 60);
        for (time, inside) in [
            (at(0, 7, 59), false),
            (at(0, 8, 0), true),
            (at(1, 17, 59), true),
            (at(1, 18, 0), false),
            (at(2, 9, 0), false),
        ] {
            assert_eq!(office.truth(time), Truth::from(inside), "{time:?}");
            assert_eq!(Window { outside: true, ..office.clone() }.truth(time), Truth::from(!inside), "{time:?}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_starts() {
        let night = window(&[Day::Fri], 22 * 60, 6 * 60);
        for (time, inside) in [
            (at(4, 5, 0), false),
            (at(4, 22, 0), true),
            (at(5, 5, 59), true),
            (at(5, 6, 0), false),
            (at(5, 23, 0), false),
        ] {
            assert_eq!(night.truth(time), Truth::from(inside), "{time:?}");
        }
        let whole = window(&[Day::Sun], 0, 0);
        assert_eq!(whole.truth(at(6, 0, 0)), Truth::True);
        assert_eq!(whole.truth(at(6, 23, 59)), Truth::True);
        assert_eq!(whole.truth(at(7, 0, 0)), Truth::False);
        assert_eq!(whole.truth(Some(MONDAY - 1)), Truth::True, "the Sunday before");
    }

    #[test]
    fn the_offset_in_force_counts_and_beyond_the_table_nothing_is_known() {
        let mut window = window(&[Day::Mon], 0, 60);
        window.offsets = vec![Offset { from: MONDAY - DAY, seconds: 3600 }, Offset { from: MONDAY, seconds: -3600 }];
        assert_eq!(window.truth(Some(MONDAY - 1)), Truth::True, "00:59:59 of Monday, an hour ahead");
        assert_eq!(window.truth(Some(MONDAY)), Truth::False, "23:00 of Sunday, an hour behind");
        assert_eq!(window.truth(Some(MONDAY - DAY - 1)), Truth::Unknown);
        assert_eq!(window.truth(Some(window.until)), Truth::Unknown);
        assert_eq!(window.truth(None), Truth::Unknown);
    }
}
