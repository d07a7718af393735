//! Signals as Docker writes them: `15`, `TERM`, `SIGTERM`, `RTMIN+3`.
//!
//! Pure.

use nix::sys::signal::Signal;

pub(crate) const KILL: i32 = 9;
pub(crate) const TERM: i32 = 15;

/// The numbers of the first and the last real-time signal on Linux, which the engine uses too.
const REALTIME_RANGE: (i32, i32) = (34, 64);

/// Returns the signal's number; `None` if the text is not a signal.
pub fn parse_signal(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REALTIME_RANGE.1).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    parse_realtime(name)
        .or_else(|| format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32))
}

fn parse_realtime(name: &str) -> Option<i32> {
    let (first, last) = REALTIME_RANGE;
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(more), _) => first.checked_add(offset(more)?)?,
        (_, Some(less)) => last.checked_add(offset(less)?)?,
        _ => return None,
    };
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn signal_is_parsed_from_number_or_name() {
        for (text, expected) in [
            ("15", Some(15)),
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("SIGQUIT", Some(3)),
            ("QUIT", Some(3)),
            ("WINCH", Some(28)),
            ("9", Some(9)),
            ("RTMIN", Some(34)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("RTMIN+2147483647", None),
            ("RTMIN-2147483648", None),
            ("RTMAX+2147483647", None),
            ("RTMAX-2147483648", None),
            ("0", None),
            ("65", None),
            ("", None),
            ("SIG", None),
            ("loud", None),
        ] {
            assert_eq!(parse_signal(text), expected, "{text}");
        }
    }
}
