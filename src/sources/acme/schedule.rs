//! When to renew a certificate, and when to try again after a failure.
//!
//! Pure. All moments are Unix seconds. Random spreads are derived from the name, so that the same state always leads to
//! the same decision.

use super::{acme_host::AcmeHost, ledger::RenewalWindow};
use sha1::{Digest, Sha1};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// The pauses after the first failures in a row. Each later one is the last again.
const HOST_PAUSES: [i64; 4] = [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY];
/// The same for a failure that affects all hosts. An outage of the CA ends at some time, so the pauses stay shorter.
const ACCOUNT_PAUSES: [i64; 3] = [MINUTE, 10 * MINUTE, 100 * MINUTE];
/// The longest pause that a CA can cause.
const MAX_RETRY_AFTER: i64 = 7 * DAY;
/// Certificates that are valid for a shorter time are renewed at half of it, as Let's Encrypt recommends.
const SHORT_LIFETIME: i64 = 10 * DAY;

/// Returns a number that depends only on the host and the purpose.
fn hash(host: &AcmeHost, purpose: &str) -> u64 {
    let digest = Sha1::digest(format!("{purpose} {host}"));
    digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Returns `span`, changed by at most `percent` percent.
fn spread(span: i64, percent: i64, hash: u64) -> i64 {
    let width = span * percent / 100;
    let steps = u64::try_from(2 * width + 1).unwrap_or(1);
    span - width + i64::try_from(hash % steps).unwrap_or(0)
}

/// Returns how long to wait after `failures` failures in a row, the last of which ended with `retry_after`.
pub fn pause_after_failure(host: &AcmeHost, failures: u32, retry_after: Option<i64>) -> i64 {
    let pause = spread(step(&HOST_PAUSES, failures), 10, hash(host, &failures.to_string()));
    extend_pause(pause, retry_after)
}

/// Returns how long all orders wait after `failures` failures of the account or the CA in a row.
pub fn pause_after_account_failure(failures: u32, retry_after: Option<i64>) -> i64 {
    extend_pause(step(&ACCOUNT_PAUSES, failures), retry_after)
}

fn step(pauses: &[i64], failures: u32) -> i64 {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    pauses.get(index).or(pauses.last()).copied().unwrap_or(DAY)
}

/// A CA can only extend a pause: a Retry-After of one second would otherwise cause one failure per second.
fn extend_pause(pause: i64, retry_after: Option<i64>) -> i64 {
    pause.max(retry_after.unwrap_or(0).min(MAX_RETRY_AFTER))
}

/// Returns when to renew a certificate: within the CA's window (ARI), or else after two thirds of its lifetime (half of
/// a short one).
pub fn renew_at(
    host: &AcmeHost,
    (not_before, not_after): (i64, i64),
    window: Option<RenewalWindow>,
) -> i64 {
    if let Some(window) = window {
        return window.start + offset_in(window, hash(host, "window"));
    }
    let life = (not_after - not_before).max(0);
    let part = if life < SHORT_LIFETIME { life / 2 } else { life * 2 / 3 };
    not_before + spread(part, 5, hash(host, "renewal"))
}

/// Returns the earliest moment to renew a certificate that is itself a renewal. A CA whose window is always in the past
/// would otherwise cause one renewal after the other, and no limit applies to renewals.
pub fn earliest_renewal((not_before, not_after): (i64, i64), renewed_at: Option<i64>) -> i64 {
    let pause = ((not_after - not_before) / 10).clamp(MINUTE, DAY);
    renewed_at.map_or(0, |at| at + pause)
}

fn offset_in(window: RenewalWindow, hash: u64) -> i64 {
    let length = u64::try_from(window.end - window.start).unwrap_or(0).max(1);
    i64::try_from(hash % length).unwrap_or(0)
}

/// Returns when to ask for the renewal window again. The CA's delay is used from one hour to one day, so that an order
/// of a CA to renew early arrives within a day.
pub fn ask_window_at(now: i64, retry_after: Option<i64>) -> i64 {
    now + retry_after.unwrap_or(DAY / 4).clamp(HOUR, DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> AcmeHost {
        name.parse().unwrap()
    }

    #[test]
    fn pause_grows_to_one_day() {
        for (failures, expected) in [(1, 60), (2, 600), (3, 6000), (4, DAY), (5, DAY), (99, DAY)] {
            let pause = pause_after_failure(&host("a.example.com"), failures, None);
            assert!((pause - expected).abs() <= expected / 10, "{failures}: {pause}");
        }
    }

    #[test]
    fn retry_after_extends_pause_up_to_a_week() {
        let pause = |after| pause_after_failure(&host("a.example.com"), 1, Some(after));
        assert!(pause(1) < 70);
        assert_eq!(pause(5000), 5000);
        assert_eq!(pause(i64::MAX), 7 * DAY);
        assert_eq!(pause_after_account_failure(9, Some(7000)), 7000);
        assert_eq!(pause_after_account_failure(9, None), 6000);
    }

    #[test]
    fn hosts_are_spread_and_each_keeps_its_moment() {
        let at = |name: &str| renew_at(&host(name), (0, 90 * DAY), None);
        let moments: std::collections::BTreeSet<_> =
            (0..50).map(|n| at(&format!("h{n}.example.com"))).collect();
        assert!(45 < moments.len(), "{moments:?}");
        assert!(moments.iter().all(|at| (57 * DAY..=63 * DAY).contains(at)), "{moments:?}");
        assert_eq!(at("a.example.com"), at("a.example.com"));
    }

    #[test]
    fn short_certificate_is_renewed_at_half_of_its_life() {
        let at = renew_at(&host("a.example.com"), (1000, 1000 + 6 * DAY), None);
        assert!((at - 1000 - 3 * DAY).abs() <= 3 * DAY / 20, "{at}");
    }

    #[test]
    fn window_decides_if_there_is_one() {
        let window = RenewalWindow { start: 500, end: 600 };
        let at = renew_at(&host("a.example.com"), (0, 90 * DAY), Some(window));
        assert!((500..600).contains(&at), "{at}");
        let odd = RenewalWindow { start: 500, end: 400 };
        assert_eq!(renew_at(&host("a.example.com"), (0, 90 * DAY), Some(odd)), 500);
    }

    #[test]
    fn window_is_queried_at_least_daily() {
        for (after, expected) in [(None, DAY / 4), (Some(1), HOUR), (Some(99 * DAY), DAY)] {
            assert_eq!(ask_window_at(1000, after), 1000 + expected);
        }
    }
}
