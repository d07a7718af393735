//! Whether a record that was published is visible at all name servers of its zone.
//!
//! Pure.

use std::{collections::BTreeMap, time::Duration};

/// The pauses between two looks: short at first, because most servers publish a record at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What one name server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Observation {
    Present,
    Absent,
    Unreachable,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Visible,
    /// Look again after this pause.
    Wait(Duration),
    /// The limit is over; these name servers lack the record.
    Late(Vec<String>),
    /// No name server can be reached from here.
    Unreachable,
}

/// Judges what the name servers answer, `elapsed` after the first look. A name server that cannot be reached does not
/// count if another one can.
pub(super) fn judge(
    observations: &BTreeMap<String, Observation>,
    elapsed: Duration,
    limit: Duration,
) -> Verdict {
    let with = |wanted| observations.iter().filter(move |(_, seen)| **seen == wanted);
    let absent: Vec<_> = with(Observation::Absent).map(|(server, _)| server.clone()).collect();
    let remaining = limit.saturating_sub(elapsed);
    match absent.is_empty() {
        true if with(Observation::Present).next().is_none() => Verdict::Unreachable,
        true => Verdict::Visible,
        false if remaining.is_zero() => Verdict::Late(absent),
        false => Verdict::Wait((elapsed / 2).clamp(PAUSES.0, PAUSES.1).min(remaining)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Observation::*, *};

    const LIMIT: Duration = Duration::from_mins(2);

    #[test]
    fn all_reachable_servers_must_have_the_record() {
        let wait = Verdict::Wait(PAUSES.0);
        for (seen, expected) in [
            (vec![], Verdict::Unreachable),
            (vec![Unreachable, Unreachable], Verdict::Unreachable),
            (vec![Present, Present], Verdict::Visible),
            (vec![Present, Unreachable], Verdict::Visible),
            (vec![Present, Absent], wait.clone()),
            (vec![Absent, Unreachable], wait),
        ] {
            let seen = seen.into_iter().enumerate().map(|(n, seen)| (format!("ns{n}"), seen));
            assert_eq!(judge(&seen.clone().collect(), Duration::ZERO, LIMIT), expected, "{seen:?}");
        }
    }

    #[test]
    fn pauses_grow_until_the_limit_names_the_servers() {
        let seen = [("ns1", Present), ("ns2", Absent)].map(|(n, seen)| (n.to_owned(), seen));
        let seen = BTreeMap::from(seen);
        for (elapsed, pause) in
            [(0, 250), (400, 250), (2_000, 1_000), (60_000, 5_000), (119_900, 100)]
        {
            let verdict = judge(&seen, Duration::from_millis(elapsed), LIMIT);
            assert_eq!(verdict, Verdict::Wait(Duration::from_millis(pause)), "{elapsed}");
        }
        assert_eq!(judge(&seen, LIMIT, LIMIT), Verdict::Late(vec!["ns2".to_owned()]));
    }
}
