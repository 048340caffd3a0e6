//! `[[channel]]` tables: what the settings say of channels, whatever their
//! source says.

use std::time::Duration;

use super::{
    table::Table,
    values::{INTERVALS, parse_time_in},
};
use crate::{
    error::Result,
    telemetry::{Filter, Rule},
};

/// A reading a day is the rarest.
const DAY: Duration = Duration::from_secs(86_400);

/// Reads one table; `None`, with what is wrong noted, when it is of no use.
pub(super) fn read(table: &mut Table<'_>) -> Option<Rule> {
    table.is("a channel");
    table.need("name", "\"room/temp\", or \"room/#\"");
    let filter = table.parsed("name", "\"room/temp\"", Filter::parse);
    let text = |table: &mut Table<'_>, key, example: &str| {
        table.text(key, example).map(|text| text.value.to_owned())
    };
    let label = text(table, "label", "\"Living room\"");
    let unit = text(table, "unit", "\"Cel\"");
    let scale = table.number("scale", "0.001");
    let offset = table.number("offset", "-2.5");
    let min = table.number("min", "0");
    let max = table.number("max", "85");
    let stale_after = table
        .parsed("stale_after", "\"30s\"", |text| parse_time_in(text, Duration::from_secs(1), DAY));
    let every = table.parsed("every", "\"10s\"", pace);
    let idle_every = table.parsed("idle_every", "\"60s\"", pace);
    let hide = table.truth("hide");
    if let (Some(least), Some(most)) = (min, max) {
        if least > most {
            table.complain(
                table.start(),
                format!("min {least} is more than max {most}: exchange them"),
            );
        }
    }
    if scale == Some(0.0) {
        table.complain(table.start(), "a scale of 0 makes every reading the same: leave it out");
    }
    let filter = filter?;
    Some(Rule {
        filter,
        label,
        unit,
        scale,
        offset,
        min,
        max,
        stale_after,
        hide,
        every,
        idle_every,
    })
}

fn pace(text: &str) -> Result<Duration> {
    parse_time_in(text, INTERVALS.0, DAY)
}
