//! Formatting of numbers and times for people: status, dashboard, log.
//!
//! Pure.

use std::time::Duration;
use time::OffsetDateTime;

/// Returns a number with separators: `1,234,567`.
pub fn format_count(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

/// Returns a count with its noun: `1 container`, `2 containers`, `no containers`.
pub fn format_plural(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", format_count(number as u64)),
    }
}

/// Returns an elapsed time in one or two units: `4s`, `2m 10s`, `3d 4h`.
pub fn format_span(span: Duration) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut remaining = span.as_secs();
    let largest = units.iter().position(|(_, size)| *size <= remaining).unwrap_or(3);
    let parts = units[largest..].iter().take(2).map(|(unit, size)| {
        let number = remaining / size;
        remaining %= size;
        (number, unit)
    });
    let parts: Vec<_> = parts.collect();
    let shown = parts.iter().enumerate().filter(|(at, (number, _))| *at == 0 || 0 < *number);
    shown.map(|(_, (number, unit))| format!("{number}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Returns how long ago an event was: `just now`, `2m 10s ago`.
pub fn format_ago(span: Duration) -> String {
    if span.as_secs() == 0 { "just now".to_owned() } else { format!("{} ago", format_span(span)) }
}

/// Returns a measured time with at most three digits: `730µs`, `4.2ms`, `1.3s`.
pub fn format_elapsed(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros}µs"),
        1000..10_000 => format!("{}.{}ms", micros / 1000, micros / 100 % 10),
        10_000..1_000_000 => format!("{}ms", micros / 1000),
        _ => format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// Returns a configured time exactly: `5m`, `1m 30s`, `1s 500ms`.
pub fn format_duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// Returns the date of a moment in Unix seconds, in UTC: `2027-02-10`. Moments outside of the years 1970 to 9999 get the
/// nearest date in them.
pub fn format_date(at: i64) -> String {
    /// The last second of 9999.
    const MAX: i64 = 253_402_300_799;
    let time = OffsetDateTime::from_unix_timestamp(at.clamp(0, MAX));
    time.map(|time| time.date().to_string()).unwrap_or_default()
}

/// Returns the time of day in UTC: `12:03:55`.
pub fn format_clock(at_ms: u64) -> String {
    let seconds = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_of_moment_is_formatted() {
        for (at, expected) in [
            (0, "1970-01-01"),
            (1_786_752_000, "2026-08-15"),
            (i64::MIN, "1970-01-01"),
            (i64::MAX, "9999-12-31"),
        ] {
            assert_eq!(format_date(at), expected, "{at}");
        }
    }

    #[test]
    fn count_and_plural_are_formatted() {
        for (text, expected) in [
            (format_count(0), "0"),
            (format_count(999), "999"),
            (format_count(1_234_567), "1,234,567"),
            (format_plural(0, "route"), "no routes"),
            (format_plural(1, "route"), "1 route"),
            (format_plural(1000, "route"), "1,000 routes"),
        ] {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn span_is_formatted_with_at_most_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (130, "2m 10s"),
            (3600, "1h"),
            (3661, "1h 1m"),
            (90_000, "1d 1h"),
            (86_460, "1d"),
        ] {
            assert_eq!(format_span(Duration::from_secs(seconds)), expected);
        }
        for (ms, expected) in [(999, "just now"), (59_999, "59s ago"), (7_200_000, "2h ago")] {
            assert_eq!(format_ago(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn elapsed_time_is_formatted_with_at_most_three_digits() {
        for (micros, expected) in [
            (0, "0µs"),
            (999, "999µs"),
            (1290, "1.2ms"),
            (83_400, "83ms"),
            (999_999, "999ms"),
            (1_340_000, "1.3s"),
        ] {
            assert_eq!(format_elapsed(micros), expected);
        }
    }

    #[test]
    fn configured_time_and_clock_are_formatted() {
        for (ms, expected) in [(300_000, "5m"), (90_000, "1m 30s"), (1500, "1s 500ms")] {
            assert_eq!(format_duration(Duration::from_millis(ms)), expected);
        }
        assert_eq!(format_clock(1_700_000_000_000), "22:13:20");
    }
}
