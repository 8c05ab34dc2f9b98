//! Instants and intervals as the API writes them.

use chrono::{DateTime, Datelike as _, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

use crate::Invalid;

/// A year of 366 days, in minutes: the longest `alert_interval`.
const MAX_INTERVAL_MINUTES: f64 = 366.0 * 24.0 * 60.0;

/// Times without an offset.
const LOCAL_FORMATS: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];

/// Writes a time as RFC 3339 in UTC with milliseconds.
pub fn format_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads RFC 3339; a time given without offset is UTC.
pub fn parse_time(field: &str, text: &str) -> Result<DateTime<Utc>, Invalid> {
    let with_offset = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc));
    let without = || {
        LOCAL_FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()).map(|at| at.and_utc())
    };
    with_offset()
        .or_else(without)
        .filter(|at| (1970..=9999).contains(&at.year()))
        .ok_or_else(|| Invalid::new(field, "must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z"))
}

/// Reads `alert_interval`: minutes, above 0, fractions allowed, at most a year; kept to the millisecond.
pub fn parse_interval(minutes: f64) -> Result<TimeDelta, Invalid> {
    let invalid = || Invalid::new("alert_interval", "must be a number of minutes above 0 and at most 527040 (a year)");
    if !(minutes > 0.0 && minutes <= MAX_INTERVAL_MINUTES) {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a year of milliseconds")]
    let millis = (minutes * 60_000.0).round() as i64;
    if millis == 0 { Err(invalid()) } else { Ok(TimeDelta::milliseconds(millis)) }
}

/// Returns the interval in minutes, as `alert_interval` shows it.
pub fn minutes_of(interval: TimeDelta) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a year of milliseconds is far below 2^53")]
    let millis = interval.num_milliseconds() as f64;
    millis / 60_000.0
}

/// Writes a span for people, in hours, minutes and seconds; tenths below ten seconds.
pub fn elapsed(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) if seconds < 10 => format!("{seconds}.{} s", span.subsec_millis().max(0) / 100),
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min {rest} s"),
    }
}

/// Returns milliseconds since the Unix epoch: how the table keeps instants.
pub fn to_millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

/// Returns the instant of `millis` since the Unix epoch; the epoch for a number that no calendar holds.
pub fn from_millis(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_offset_is_utc() {
        let at = parse_time("at", "2026-01-31T08:00:00").unwrap();
        assert_eq!(format_time(at), "2026-01-31T08:00:00.000Z");
        let at = parse_time("at", "2026-01-31T08:00:00+02:00").unwrap();
        assert_eq!(format_time(at), "2026-01-31T06:00:00.000Z");
    }

    #[test]
    fn an_interval_is_above_zero_and_at_most_a_year() {
        assert_eq!(parse_interval(0.1).unwrap(), TimeDelta::seconds(6));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9, 1e-9] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }
}
