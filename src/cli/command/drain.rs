//! `drain` and `undrain`.

use super::CommandOutput;
use crate::{
    api::control::{
        CutCount, DrainRequest, DrainStatus, UndrainRequest, UndrainedBalancer, client::post,
    },
    support::format::{format_duration, format_plural},
};
use anyhow::{Result, bail};
use std::{path::Path, time::Duration};

pub(crate) async fn drain_container(
    socket: &Path,
    container: &str,
    wait: Duration,
    cut: bool,
) -> Result<CommandOutput> {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let request = DrainRequest { container: container.to_owned(), wait_ms, cut };
    let status: DrainStatus = post(socket, "/drain", &request, wait).await?;
    let (name, note) = (container_name(&status), unserved_note(&status));
    let wait = format_duration(wait);
    if status.drained {
        let cut = status.cut.map(|cut| format!("; ended {} after {wait}", describe_cut(cut)));
        return Ok(format!("{name} is drained{}{note}", cut.unwrap_or_default()).into());
    }
    let left = describe_left(&status);
    bail!("{name} gets no new requests, but {left} after {wait}{note}")
}

/// Returns what is left, as in "1 request is still in flight".
fn describe_left(status: &DrainStatus) -> String {
    let describe = |count: Option<u64>, noun: &str, state: &str| {
        let verb = if count == Some(1) { "is" } else { "are" };
        Some(format!("{} {verb} still {state}", describe_count(count?, noun)?))
    };
    let requests = describe(status.sessions, "request", "in flight");
    let flows = describe(status.flows, "flow", "open");
    let others = status.others.iter().map(describe_other);
    requests.into_iter().chain(flows).chain(others).collect::<Vec<_>>().join(" and ")
}

/// Returns what is left on another balancer, as in "1 is still open on lb2".
fn describe_other(UndrainedBalancer { balancer, open }: &UndrainedBalancer) -> String {
    match open {
        Some(1) => format!("1 is still open on {balancer}"),
        Some(count) => format!("{count} are still open on {balancer}"),
        None => format!("{balancer} has not reported what is open there"),
    }
}

/// Returns what was ended, as in "1 request and 2 flows".
fn describe_cut(CutCount { sessions, flows }: CutCount) -> String {
    let counts = [(sessions, "request"), (flows, "flow")];
    let counts = counts.into_iter().filter_map(|(count, noun)| describe_count(count, noun));
    counts.collect::<Vec<_>>().join(" and ")
}

fn describe_count(count: u64, noun: &str) -> Option<String> {
    (0 < count).then(|| format_plural(usize::try_from(count).unwrap_or(usize::MAX), noun))
}

pub(crate) async fn undrain_container(socket: &Path, container: &str) -> Result<CommandOutput> {
    let request = UndrainRequest { container: container.to_owned() };
    let status: DrainStatus = post(socket, "/undrain", &request, Duration::ZERO).await?;
    Ok(format!("{} gets new requests again", container_name(&status)).into())
}

/// Returns a note if the drained container was the last one of a route.
fn unserved_note(status: &DrainStatus) -> String {
    if status.unserved.is_empty() {
        return String::new();
    }
    let routes = status.unserved.join(", ");
    format!("; no other container serves {routes}: requests wait for a container, then get 503")
}

fn container_name(status: &DrainStatus) -> String {
    format!("container {} ({})", status.container, status.id.get(..12).unwrap_or(&status.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_that_is_not_drained_has_what_is_left() {
        for (sessions, flows, expected) in [
            (Some(1), None, "1 request is still in flight"),
            (Some(2), Some(0), "2 requests are still in flight"),
            (Some(0), Some(1), "1 flow is still open"),
            (Some(3), Some(2), "3 requests are still in flight and 2 flows are still open"),
        ] {
            let (container, id) = ("web".to_owned(), "0123456789ab".to_owned());
            let status = sample_status(container, id, sessions, flows);
            assert_eq!(describe_left(&status), expected);
        }
    }

    fn sample_status(
        container: String,
        id: String,
        sessions: Option<u64>,
        flows: Option<u64>,
    ) -> DrainStatus {
        let (drained, cut, others, unserved) = (false, None, Vec::new(), Vec::new());
        DrainStatus { container, id, sessions, flows, drained, cut, others, unserved }
    }

    #[test]
    fn balancers_that_are_not_drained_are_named() {
        for (sessions, others, expected) in [
            (Some(0), &[("lb2", Some(1))][..], "1 is still open on lb2"),
            (
                Some(1),
                &[("lb2", Some(3)), ("lb3", None)],
                "1 request is still in flight and 3 are still open on lb2 and lb3 has not reported \
                 what is open there",
            ),
        ] {
            let mut status =
                sample_status("web".to_owned(), "0123456789ab".to_owned(), sessions, None);
            let other = |(name, open): &(&str, _)| UndrainedBalancer {
                balancer: (*name).to_owned(),
                open: *open,
            };
            status.others = others.iter().map(other).collect();
            assert_eq!(describe_left(&status), expected);
        }
    }

    #[test]
    fn cut_container_has_what_was_ended() {
        for (sessions, flows, expected) in
            [(1, 0, "1 request"), (0, 1, "1 flow"), (2, 3, "2 requests and 3 flows")]
        {
            assert_eq!(describe_cut(CutCount { sessions, flows }), expected);
        }
    }
}
