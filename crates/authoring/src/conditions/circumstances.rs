//! What is asked not of the request but of its moment: how many came before it, and what the clock shows.

use holdgate_engine::{
    Window,
    conditions::{By, Rate},
    window::Day,
};

use crate::{
    codes::Code,
    diagnostic::Quoted,
    node::{Node, Value},
    reader::{DAY, Reader, describe},
    shape::{Key, Kind, Shape, words},
    zones,
};

pub(super) const RATE: Shape = Shape {
    what: "`rate`",
    keys: &[
        Key::required("over", Kind::Count, "More than so many requests, this one included."),
        Key::required("per", Kind::Duration, "The length of the sliding window."),
        Key::optional("by", Kind::Word(|| words(&BY)), "Whose requests are counted together: those of each agent."),
    ],
    later: &[],
};
pub(super) const TIME: Shape = Shape {
    what: "`time`",
    keys: &[
        Key::optional("within", Kind::Map(&HOURS), "The moment lies in these hours."),
        Key::optional("outside", Kind::Map(&HOURS), "The moment does not lie in these hours."),
        Key::required("zone", Kind::Text, "The name of a time zone of the IANA database: `Europe/Berlin`."),
    ],
    later: &[],
};
const HOURS: Shape = Shape {
    what: "the hours of `time`",
    keys: &[
        Key::optional(
            "days",
            Kind::Filled(&Kind::Word(|| words(&DAYS))),
            "The days on which the hours start: every day.",
        ),
        Key::optional("from", Kind::Clock, "The first minute, as `HH:MM`."),
        Key::optional("to", Kind::Clock, "The minute at which they end; before `from` it is one of the next day."),
    ],
    later: &[],
};

const BY: [(&str, By); 2] = [("agent", By::Agent), ("rule", By::Rule)];
const DAYS: [(&str, Day); 7] = [
    ("mon", Day::Mon),
    ("tue", Day::Tue),
    ("wed", Day::Wed),
    ("thu", Day::Thu),
    ("fri", Day::Fri),
    ("sat", Day::Sat),
    ("sun", Day::Sun),
];

/// What one offset of a zone weighs in a bundle.
const OFFSET_WEIGHT: usize = 64;

pub(super) fn read_rate(reader: &mut Reader<'_>, node: &Node) -> Option<Rate> {
    let fields = reader.fields(node, &RATE)?;
    let over = reader.require(fields, "over").and_then(|node| reader.count(node, "`over`"));
    let per = reader.require(fields, "per").and_then(|node| reader.duration(node, "`per`", DAY));
    let by = fields.get("by").map_or(Some(By::Agent), |node| reader.word(node, "a way to count", &BY));
    Some(Rate { over: over?, per: per?, by: by?, slot: 0 })
}

pub(super) fn read_time(reader: &mut Reader<'_>, node: &Node) -> Option<Window> {
    let fields = reader.fields(node, &TIME)?;
    let zone = reader.require(fields, "zone").and_then(|node| Some((reader.text(node, "`zone`")?, node.span)));
    let (hours, outside) = match (fields.get("within"), fields.get("outside")) {
        (Some(hours), None) => (hours, false),
        (None, Some(hours)) => (hours, true),
        _ => {
            let help = "write `time: {within: {from: \"08:00\", to: \"18:00\"}, zone: Europe/Berlin}`, or `outside`";
            let message = "`time` has either `within` or `outside`";
            return reader.error_with_help(node.span, Code::EitherOr, message, help);
        }
    };
    let hours = read_hours(reader, hours);
    let (zone, at) = zone?;
    let resolved = match zones::resolve(&zone) {
        Ok(resolved) => resolved,
        Err(help) => {
            let message = format!("{} is not a time zone", Quoted(&zone));
            return reader.error_with_help(at, Code::UnknownZone, message, help);
        }
    };
    reader.weigh(resolved.offsets.len() * OFFSET_WEIGHT, at)?;
    let (days, from, to) = hours?;
    Some(Window { outside, days, from, to, zone, offsets: resolved.offsets, until: resolved.until })
}

fn read_hours(reader: &mut Reader<'_>, node: &Node) -> Option<(Vec<Day>, u16, u16)> {
    let fields = reader.fields(node, &HOURS)?;
    let days = match fields.get("days") {
        None => Some(DAYS.iter().map(|(_, day)| *day).collect()),
        Some(node) => read_days(reader, node),
    };
    let hours = match (fields.get("from"), fields.get("to")) {
        (Some(from), Some(to)) => read_clock(reader, from).zip(read_clock(reader, to)),
        // From midnight to midnight.
        (None, None) if fields.get("days").is_some() => Some((0, 0)),
        (None, None) => {
            let help = "write `days`, or `from` and `to`";
            let message = "these hours are always: they have neither days nor a start and an end";
            reader.error_with_help(node.span, Code::NoCondition, message, help)
        }
        _ => {
            let help = "write both as `\"HH:MM\"`, or neither for whole days";
            reader.error_with_help(node.span, Code::EitherOr, "`from` and `to` go together", help)
        }
    };
    let (from, to) = hours?;
    Some((days?, from, to))
}

fn read_days(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Day>> {
    let items = reader.filled_list(node, "`days`")?;
    let mut days = Vec::new();
    for item in items {
        let Some(day) = reader.word(item, "a day", &DAYS) else { continue };
        if days.contains(&day) {
            reader.error::<()>(item.span, Code::Repeated, "this day stands there twice");
        } else {
            days.push(day);
        }
    }
    days.sort();
    (days.len() == items.len()).then_some(days)
}

/// Minutes of the day.
fn read_clock(reader: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let Value::Scalar { text, .. } = &node.value else {
        return reader.wrong(node.span, format!("a time of the day is a text, not {}", describe(&node.value)));
    };
    let part = |text: &str, below: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u16| digits && *number < below)
    };
    let minutes = text.split_once(':').and_then(|(hour, minute)| Some(part(hour, 24)? * 60 + part(minute, 60)?));
    minutes.or_else(|| {
        let help =
            "write hours and minutes in quotes, from `\"00:00\"` to `\"23:59\"`; the end of a day is `\"00:00\"`";
        reader.error_with_help(node.span, Code::NotATime, format!("{} is not a time of the day", Quoted(text)), help)
    })
}
