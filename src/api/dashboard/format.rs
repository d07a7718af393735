//! Numbers and times as the page says them.
//!
//! Pure.

/// `1,234,567`
pub(crate) fn format_count(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

/// `1 container`, `2 containers`, `no containers`.
pub(crate) fn format_plural(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", format_count(number as u64)),
    }
}

/// How long ago something was, in its largest unit. Both in milliseconds since 1970.
pub(crate) fn format_ago(at_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1000;
    if seconds == 0 { "just now".to_owned() } else { format!("{} ago", format_span(seconds)) }
}

/// Seconds, in the largest unit of which there is one.
pub(crate) fn format_span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(size, _)| *size <= seconds);
    unit.map_or_else(|| format!("{seconds} s"), |(size, unit)| format!("{} {unit}", seconds / size))
}

/// `12:03:55`, of the day in UTC.
pub(crate) fn format_clock(at_ms: u64) -> String {
    let seconds = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Microseconds, as `730 µs`, `4.2 ms` or `1.3 s`.
pub(crate) fn format_elapsed(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{}.{} ms", us / 1000, us / 100 % 10),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// A route's timeout: whole minutes or seconds where it is such.
pub(crate) fn format_timeout(ms: u64) -> String {
    match ms {
        ms if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        ms if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_formatted() {
        for (text, expected) in [
            (format_count(0), "0"),
            (format_count(999), "999"),
            (format_count(1_234_567), "1,234,567"),
            (format_plural(0, "route"), "no routes"),
            (format_plural(1, "route"), "1 route"),
            (format_plural(1000, "route"), "1,000 routes"),
            (format_ago(5000, 4000), "just now"),
            (format_ago(0, 59_999), "59 s ago"),
            (format_ago(0, 60_000), "1 min ago"),
            (format_ago(0, 7_200_000), "2 h ago"),
            (format_ago(0, 200_000_000), "2 d ago"),
            (format_clock(1_700_000_000_000), "22:13:20"),
            (format_elapsed(730), "730 µs"),
            (format_elapsed(4290), "4.2 ms"),
            (format_elapsed(1_340_000), "1.3 s"),
            (format_timeout(300_000), "5 min"),
            (format_timeout(90_000), "90 s"),
            (format_timeout(1500), "1500 ms"),
        ] {
            assert_eq!(text, expected);
        }
    }
}
