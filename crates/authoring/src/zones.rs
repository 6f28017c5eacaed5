//! Time zones to offsets: what the clocks of a place show, for the years that a policy may be in force.
//!
//! The tables come with this program and never from the system, so that the same files give the same bytes everywhere.

use holdgate_engine::window::Offset;
use jiff::{
    Timestamp,
    civil::date,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::{diagnostic::Quoted, reader::nearest};

/// The offsets of a zone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Zone {
    /// In the order of time, from the start of 2025; neighbours differ.
    pub(crate) offsets: Vec<Offset>,
    /// From this moment on nothing is known: the start of 2056.
    pub(crate) until: i64,
}

/// Resolves the IANA name of a zone, or says which one was probably meant.
pub(crate) fn resolve(name: &str) -> Result<Zone, String> {
    let database = TimeZoneDatabase::bundled();
    let zone = database.get(name).ok().filter(|zone| zone.iana_name() == Some(name));
    let Some(zone) = zone else { return Err(suggestion(&database, name)) };
    let moment = |year| date(year, 1, 1).to_zoned(TimeZone::UTC).map(|moment| moment.timestamp());
    let (Ok(first), Ok(last)) = (moment(2025), moment(2056)) else { return Err(String::new()) };
    let mut offsets = vec![Offset { from: first.as_second(), seconds: zone.to_offset(first).seconds() }];
    let later = zone.following(first).take_while(|transition| transition.timestamp() < last);
    for (at, seconds) in later.map(|transition| (transition.timestamp(), transition.offset().seconds())) {
        if offsets.last().is_some_and(|offset| offset.seconds != seconds) {
            offsets.push(Offset { from: Timestamp::as_second(at), seconds });
        }
    }
    Ok(Zone { offsets, until: last.as_second() })
}

fn suggestion(database: &TimeZoneDatabase, name: &str) -> String {
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    // A city without its continent, or with another one.
    let city = name.rsplit('/').next().unwrap_or(name).replace(' ', "_");
    let same = |known: &&&str| known.rsplit('/').next().is_some_and(|other| other.eq_ignore_ascii_case(&city));
    match nearest(name, &known).or_else(|| known.iter().find(same).copied()) {
        Some(known) => format!("did you mean {}?", Quoted(known)),
        None => "write a name of the IANA database, such as `Europe/Berlin` or `UTC`".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offsets_of_a_zone_with_summer_time_change_twice_a_year() {
        let zone = resolve("Europe/Berlin").unwrap();
        assert_eq!(zone.offsets.len(), 1 + 2 * 31);
        // 2025-01-01, 2025-03-30T01:00Z and 2025-10-26T01:00Z.
        let first: Vec<_> = zone.offsets.iter().take(3).map(|offset| (offset.from, offset.seconds)).collect();
        assert_eq!(first, [(1_735_689_600, 3600), (1_743_296_400, 7200), (1_761_440_400, 3600)]);
        assert!(zone.offsets.is_sorted_by(|a, b| a.from < b.from && a.seconds != b.seconds));
        assert_eq!(zone.until, 2_713_910_400);
        assert_eq!(resolve("UTC").unwrap().offsets, [Offset { from: 1_735_689_600, seconds: 0 }]);
        assert_eq!(resolve("Asia/Kolkata").unwrap().offsets[0].seconds, 19_800);
    }

    #[test]
    fn a_name_that_is_not_known_is_answered_with_the_one_that_was_meant() {
        for (wrong, meant) in [("Europe/Berln", "Europe/Berlin"), ("berlin", "Europe/Berlin"), ("utc", "UTC")] {
            assert_eq!(resolve(wrong).unwrap_err(), format!("did you mean `{meant}`?"), "{wrong}");
        }
        assert!(resolve("Middle/Earth/Shire").unwrap_err().contains("IANA"));
    }
}
