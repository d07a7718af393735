//! Text of the UDP plane: its listeners, each with its endpoints under it.
//!
//! Pure.

use super::{
    style::{DIM, ERROR, HEADING, OK, WARN},
    table::{Cell, Column, TableRow, render_table},
};
use crate::{
    support::format::{format_count, format_duration, format_plural},
    udp::{
        answer::{PlaneReport, UdpDrops, UdpEndpointReport, UdpListenerReport},
        config::{ProxyHeader, Sticky, UdpEndpoint, UdpListener},
        engine::Engine,
    },
};

const COLUMNS: [Column; 8] = [
    Column::left_aligned("LISTENER, ENDPOINT", 0),
    Column::left_aligned("STATE", 0),
    Column::right_aligned("WEIGHT", 3),
    Column::right_aligned("SESSIONS", 1),
    Column::right_aligned("IN", 2),
    Column::right_aligned("OUT", 2),
    Column::right_aligned("REFUSED", 4),
    Column::left_aligned("ADDRESS", 5),
];

/// Renders all listeners and the sums.
pub fn render_plane(
    plane: &PlaneReport,
    listeners: &[UdpListenerReport],
    width: Option<usize>,
) -> String {
    let rows: Vec<_> =
        listeners.iter().flat_map(|report| listener_rows(report, plane.engine)).collect();
    let table = if rows.is_empty() {
        "no listeners: docker-balancer has set none\n".to_owned()
    } else {
        render_table(&COLUMNS, &rows, width) + "\n"
    };
    let PlaneReport { sessions, session_limit, counters, .. } = plane;
    let traffic = counters.traffic;
    let listeners = format_plural(listeners.len(), "listener");
    if !plane.engine.counts_datagrams() {
        return format!("{table}{listeners}\n{}", render_engine(plane.engine));
    }
    format!(
        "{table}{listeners}, {} of {} sessions, {} datagrams in, {} out\n{}{}{}",
        format_count(*sessions),
        format_count(*session_limit),
        format_count(traffic.datagrams_in),
        format_count(traffic.datagrams_out),
        render_engine(plane.engine),
        render_events(plane),
        render_drops(counters.dropped),
    )
}

fn render_engine(engine: Engine) -> String {
    format!("engine {engine}: {}\n", describe_addresses(engine))
}

/// Returns which addresses the containers see.
pub fn describe_addresses(engine: Engine) -> &'static str {
    if engine.keeps_client_address() {
        "containers see the client's address"
    } else {
        "containers see the machine's address, not the client's"
    }
}

fn render_events(plane: &PlaneReport) -> String {
    let counters = plane.counters;
    let events = [
        (counters.refused, "refused"),
        (counters.resent, "sent again"),
        (counters.moved, "flows moved"),
        (counters.evicted, "sessions evicted"),
    ];
    join_line("since the start: ", &events)
}

fn render_drops(drops: UdpDrops) -> String {
    let reasons = [
        (drops.no_endpoint, "without endpoint"),
        (drops.session_limit, "over the session limit"),
        (drops.send_error, "not sent by the kernel"),
        (drops.kernel, "over the kernel's receive buffer"),
    ];
    join_line("lost: ", &reasons)
}

fn join_line(start: &str, counts: &[(u64, &str)]) -> String {
    let texts = counts.iter().filter(|(count, _)| *count > 0);
    let texts: Vec<_> =
        texts.map(|(count, text)| format!("{} {text}", format_count(*count))).collect();
    if texts.is_empty() { String::new() } else { format!("{start}{}\n", texts.join(", ")) }
}

fn listener_rows(report: &UdpListenerReport, engine: Engine) -> impl Iterator<Item = TableRow> {
    let count = move |number| format_engine_count(number, engine);
    let UdpListenerReport { listener, sessions, counters, .. } = report;
    let has_endpoint = listener.endpoints.iter().any(UdpEndpoint::accepts_flows);
    let (style, state) = if has_endpoint { (OK, "serving") } else { (WARN, "no endpoint") };
    let head = TableRow::Cells(vec![
        Cell::new(HEADING, listener.bind.to_string()),
        Cell::new(style, state),
        "".into(),
        count(*sessions).into(),
        count(counters.traffic.datagrams_in).into(),
        count(counters.traffic.datagrams_out).into(),
        count(counters.refused).into(),
        Cell::new(DIM, describe_rules(listener)),
    ]);
    let endpoints = listener.endpoints.iter().map(move |endpoint| {
        let report = report.endpoints.get(&endpoint.id).copied().unwrap_or_default();
        endpoint_row(endpoint, report, engine)
    });
    std::iter::once(head).chain(endpoints)
}

/// What the engine does not count is not 0.
fn format_engine_count(number: u64, engine: Engine) -> String {
    if engine.counts_datagrams() { format_count(number) } else { "-".to_owned() }
}

fn endpoint_row(endpoint: &UdpEndpoint, report: UdpEndpointReport, engine: Engine) -> TableRow {
    let count = |number| format_engine_count(number, engine);
    let name = if endpoint.name.is_empty() { &endpoint.id } else { &endpoint.name };
    let (style, state) = match () {
        () if report.refusing => (ERROR, "refusing"),
        () if endpoint.accepts_flows() => (OK, "up"),
        () => (WARN, "draining"),
    };
    TableRow::Cells(vec![
        format!("  {name}").into(),
        Cell::new(style, state),
        endpoint.weight.to_string().into(),
        count(report.sessions).into(),
        count(report.traffic.datagrams_in).into(),
        count(report.traffic.datagrams_out).into(),
        count(report.refused).into(),
        endpoint.address.to_string().into(),
    ])
}

fn describe_rules(listener: &UdpListener) -> String {
    let sticky = match listener.sticky {
        Sticky::Flow => "flow",
        Sticky::Source => "source",
        Sticky::None => "none",
    };
    let sticky = Some(format!("sticky={sticky}"));
    let idle = Some(format!("idle={}", format_duration(listener.idle)));
    let replies = listener.replies.map(|count| format!("replies={count}"));
    let proxy = (listener.proxy == ProxyHeader::V2).then(|| "proxy=v2".to_owned());
    let rules = [sticky, idle, replies, proxy];
    rules.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::answer::{UdpCounters, UdpTraffic};
    use std::collections::BTreeMap;

    fn check(plane: &PlaneReport, listeners: &[UdpListenerReport], expected: &[&str]) {
        let text = render_plane(plane, listeners, None);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    fn report() -> UdpListenerReport {
        let endpoint = |id: &str, flows| UdpEndpoint {
            id: id.into(),
            name: format!("dns-{id}"),
            address: "10.0.0.2:5353".parse().unwrap(),
            weight: 100,
            flows,
        };
        let mut listener = UdpListener::new("[::]:53".parse().unwrap());
        listener.endpoints = vec![
            endpoint("1", crate::udp::config::NewFlows::Accept),
            endpoint("2", crate::udp::config::NewFlows::Drain),
        ];
        listener.replies = Some(1);
        let traffic =
            UdpTraffic { datagrams_in: 1234, bytes_in: 9, datagrams_out: 1200, bytes_out: 9 };
        let busy = UdpEndpointReport { sessions: 3, refusing: false, traffic, refused: 2 };
        UdpListenerReport {
            listener,
            sessions: 3,
            counters: UdpCounters { traffic, refused: 2, ..UdpCounters::default() },
            endpoints: BTreeMap::from([("1".to_owned(), busy)]),
        }
    }

    #[test]
    fn plane_without_listeners_is_one_line_and_sums() {
        check(
            &PlaneReport { session_limit: 21_174, ..PlaneReport::default() },
            &[],
            &[
                "no listeners: docker-balancer has set none",
                "no listeners, 0 of 21,174 sessions, 0 datagrams in, 0 out",
                "engine user: containers see the machine's address, not the client's",
            ],
        );
    }

    #[test]
    fn engine_that_does_not_count_has_no_numbers() {
        let report = UdpListenerReport { endpoints: BTreeMap::new(), ..report() };
        check(
            &PlaneReport { engine: Engine::Nft, ..PlaneReport::default() },
            &[report],
            &[
                "LISTENER, ENDPOINT  STATE     WEIGHT  SESSIONS  IN  OUT  REFUSED  ADDRESS",
                "[::]:53             serving                  -   -    -        -  sticky=flow idle=2m replies=1",
                "  dns-1             up           100         -   -    -        -  10.0.0.2:5353",
                "  dns-2             draining     100         -   -    -        -  10.0.0.2:5353",
                "",
                "1 listener",
                "engine nft: containers see the client's address",
            ],
        );
    }

    #[test]
    fn listener_has_rows_of_its_endpoints_and_losses() {
        let report = report();
        let mut counters = report.counters;
        counters.dropped.kernel = 7;
        let plane = PlaneReport {
            sessions: 3,
            session_limit: 1000,
            listeners: 1,
            counters,
            ..PlaneReport::default()
        };
        check(
            &plane,
            &[report],
            &[
                "LISTENER, ENDPOINT  STATE     WEIGHT  SESSIONS     IN    OUT  REFUSED  ADDRESS",
                "[::]:53             serving                  3  1,234  1,200        2  sticky=flow idle=2m replies=1",
                "  dns-1             up           100         3  1,234  1,200        2  10.0.0.2:5353",
                "  dns-2             draining     100         0      0      0        0  10.0.0.2:5353",
                "",
                "1 listener, 3 of 1,000 sessions, 1,234 datagrams in, 1,200 out",
                "engine user: containers see the machine's address, not the client's",
                "since the start: 2 refused",
                "lost: 7 over the kernel's receive buffer",
            ],
        );
    }
}
