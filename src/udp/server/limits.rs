//! The number of sessions that this machine allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// The range of ports of sockets that request none.
const PORT_RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Files of the program, its control socket and its threads.
const OTHER_FILES: u64 = 256;

/// Raises the limit of open files as far as permitted, and returns the limit; `None` means no limit.
pub(super) fn raise_file_limit() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without permission the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current
}

/// Reads the number of local ports, or returns `None` where it cannot be read.
pub(super) fn read_port_count() -> Option<u64> {
    parse_port_range(&fs::read_to_string(PORT_RANGE_FILE).ok()?)
}

fn parse_port_range(text: &str) -> Option<u64> {
    let mut bounds = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    (last + 1).checked_sub(first)
}

/// Returns the greatest number of sessions. Each has a file and a local port of its own. A quarter of the ports remains
/// for other programs: without one, the machine could not even look up a name.
pub(super) fn limit_sessions(requested: u64, files: Option<u64>, ports: Option<u64>) -> u64 {
    let by_files = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES));
    let by_ports = ports.map_or(u64::MAX, |ports| ports / 4 * 3);
    requested.min(by_files).min(by_ports).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_limited_by_files_and_ports() {
        for (requested, files, ports, expected) in [
            (65_536, None, None, 65_536),
            (65_536, Some(524_288), Some(28_232), 21_174),
            (1000, Some(524_288), Some(28_232), 1000),
            (65_536, Some(1024), Some(28_232), 768),
            (65_536, Some(100), Some(28_232), 1),
        ] {
            assert_eq!(limit_sessions(requested, files, ports), expected);
        }
    }

    #[test]
    fn port_range_is_counted_inclusively() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(28_232));
        assert_eq!(parse_port_range("many"), None);
    }
}
