//! How often HAProxy checks servers, and how many checks may fail.
//!
//! Pure. The interval grows with the number of servers, so that one balancer makes at most about 1,000 checks a second:
//! a container of many balancers gets the checks of all. HAProxy cannot change the interval of a server while it runs.
//! So the interval has few steps, is no part of a server's identity, and a step changes only the files and the servers
//! that are added later. The others keep their interval until the next reload. An interval that a label sets is that of
//! its server whatever the number of servers, and a part of the server's identity: a policy of the settings file may
//! change it while the container runs.

use crate::model::{
    label_option::OptionValues,
    option_value::{CheckInterval, CheckMethod},
    route::{Route, Routes},
};
use std::time::Duration;

/// Up to this many servers have the shortest interval.
const SERVERS_AT_SHORTEST: usize = 2000;
/// The limits of the time between two checks of a server that is up.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

/// The times of the checks of one configuration, or of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckTiming {
    /// The time between two checks of a server that is up: 2 to 30 s, or what the server's options say.
    pub interval: Duration,
    /// How long a request waits for the only container of its route.
    pub wait: Duration,
}

impl CheckTiming {
    /// Returns the times for a configuration with all of these routes.
    pub fn new(routes: &Routes, wait: Duration) -> Self {
        Self { interval: check_interval(count_checked_servers(routes)), wait }
    }

    /// Returns the times for a server with these options.
    #[must_use]
    pub fn of_server(self, options: &OptionValues) -> Self {
        let own = options.get::<CheckInterval>().duration();
        Self { interval: own.unwrap_or(self.interval), ..self }
    }

    /// Returns how many checks in a row fail in the time for which requests wait.
    pub fn fall_count(self) -> u32 {
        let count = self.wait.as_millis().div_ceil(self.interval.as_millis());
        u32::try_from(count).unwrap_or(u32::MAX).max(1)
    }
}

/// Returns the interval for this number of servers: doubled each time that the number of servers doubles.
pub fn check_interval(servers: usize) -> Duration {
    let factor = servers.div_ceil(SERVERS_AT_SHORTEST).max(1).next_power_of_two();
    SHORTEST.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX)).min(LONGEST)
}

fn count_checked_servers(routes: &Routes) -> usize {
    let is_checked = |route: &Route| route.policy.get::<CheckMethod>() != CheckMethod::Off;
    let routes = routes.0.iter().filter(|(key, route)| !key.is_udp() && is_checked(route));
    routes.map(|(_, route)| route.endpoints.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_doubles_with_number_of_servers_up_to_limit() {
        for (servers, seconds) in [
            (0, 2),
            (1, 2),
            (2000, 2),
            (2001, 4),
            (4000, 4),
            (4001, 8),
            (8000, 8),
            (8001, 16),
            (16_000, 16),
            (16_001, 30),
            (30_000, 30),
            (usize::MAX, 30),
        ] {
            assert_eq!(check_interval(servers), Duration::from_secs(seconds), "{servers}");
        }
    }

    #[test]
    fn rate_of_checks_is_at_most_1000_per_second_up_to_30000_servers() {
        for servers in 0..=30_000 {
            let rate = u128::from(servers as u64) * 1000 / check_interval(servers).as_millis();
            assert!(rate <= 1000, "{servers}: {rate}");
        }
    }

    #[test]
    fn failed_checks_last_as_long_as_requests_wait() {
        for (wait, interval, expected) in
            [(10, 2, 5), (10, 4, 3), (10, 30, 1), (0, 2, 1), (60, 8, 8), (1, 2, 1)]
        {
            let [wait, interval] = [wait, interval].map(Duration::from_secs);
            assert_eq!(CheckTiming { interval, wait }.fall_count(), expected, "{wait:?}");
        }
    }
}
