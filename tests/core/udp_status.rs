//! What status and explain show of docker-glue-udp.

use crate::common::story;
use docker_glue::{
    report::{
        StateSnapshot,
        explain::{Explanation, FlowTarget, explain, request::ExplainRequest},
        offline::offline_snapshot,
        status::{Load, Status},
        text_report::render_status,
        udp_status::DatagramCounts,
    },
    routing::udp_listener::udp_listener,
    udp::{
        answer::{
            PlaneReport, UdpCounters, UdpDrops, UdpEndpointReport, UdpListenerReport, UdpReport,
            UdpTraffic,
        },
        engine::Engine,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const STORY: &str = "ns1 172.17.0.6 glue_udp_53_replies=1\n\
                     ns2 172.17.0.7 glue_udp_53_replies=1\n\
                     log 172.17.0.8 glue_udp_514_sticky=none\n\
                     off 172.17.0.9 paused glue_udp_69_bind=69\n\
                     web 172.17.0.9 glue_http_80_host=web.test";

/// Returns a state in which docker-glue-udp serves port 53 at two addresses, and reports these datagrams at each.
fn snapshot(engine: Engine) -> StateSnapshot {
    let (world, rules) = (story::parse_world(STORY), story::default_rules());
    let wait = Duration::from_secs(10);
    let mut snapshot = offline_snapshot(world, rules, None, None, wait, (Instant::now(), 0));
    let traffic = UdpTraffic { datagrams_in: 20, datagrams_out: 18, bytes_in: 90, bytes_out: 80 };
    let dropped = UdpDrops { no_endpoint: 2, kernel: 1, ..UdpDrops::default() };
    let counters = UdpCounters { traffic, refused: 4, dropped, ..UdpCounters::default() };
    let endpoint = UdpEndpointReport { sessions: 3, traffic, refused: 4, refusing: false };
    let (_, route) = snapshot.routes.0.iter().find(|(key, _)| key.is_udp()).unwrap();
    let report = |bind: &str| {
        let listener = udp_listener(bind.parse().unwrap(), route);
        let first = listener.endpoints[0].id.clone();
        let endpoints = [(first, endpoint)].into();
        let bind = listener.bind;
        (bind, Arc::new(UdpListenerReport { listener, sessions: 3, counters, endpoints }))
    };
    let plane = PlaneReport {
        version: "0.1.0".to_owned(),
        engine,
        pid: 7,
        sessions: 6,
        session_limit: 21_174,
        counters,
        ..PlaneReport::default()
    };
    let listeners = [report("192.0.2.1:53"), report("192.0.2.2:53")].into();
    snapshot.udp = Some(Arc::new(UdpReport { plane, listeners }));
    snapshot
}

fn explain_from(snapshot: &StateSnapshot, url: &str, from: &str) -> Explanation {
    let (method, url) = ("GET".parse().unwrap(), url.parse().unwrap());
    let request = ExplainRequest::with_client(method, url, Some(from.parse().unwrap()));
    explain(&request.unwrap(), snapshot, None)
}

#[test]
fn route_of_datagrams_has_the_sum_of_its_listeners() {
    let status = Status::from_snapshot(&snapshot(Engine::User), None);
    let route = status.routes.iter().find(|route| route.route == "udp://*:53").unwrap();
    let counts = DatagramCounts { datagrams_in: 40, datagrams_out: 36, refused: 8, dropped: 6 };
    assert_eq!(route.datagrams, Some(counts));
    let load = Load { sessions: 6, requests: 40, errors: 14, ..Load::default() };
    assert_eq!(route.load, Some(load));
    let server = Load { sessions: 6, requests: 40, errors: 8, ..Load::default() };
    assert_eq!(
        route.servers.iter().map(|server| server.load).collect::<Vec<_>>(),
        [Some(server), Some(Load::default())]
    );
    let others = status.routes.iter().filter(|other| other.route != route.route);
    let has_datagrams: Vec<_> = others.map(|other| other.datagrams.is_some()).collect();
    assert_eq!(has_datagrams, [false; 3], "docker-glue-udp does not serve them");
}

#[test]
fn status_names_engine_and_addresses_that_containers_see() {
    for (engine, text) in [
        (
            Engine::User,
            "engine user: containers see the machine's address, not the client's; 6 of 21,174 sessions; \
             3 datagrams lost",
        ),
        // The kernel does not count them.
        (Engine::Nft, "engine nft: containers see the client's address"),
    ] {
        let status = Status::from_snapshot(&snapshot(engine), None);
        let udp = status.udp.as_ref().unwrap();
        assert_eq!((udp.engine, udp.client_address), (engine, engine == Engine::Nft));
        let line = format!("UDP      docker-glue-udp 0.1.0, pid 7, {text}");
        let page = anstream::adapter::strip_str(&render_status(&status, None)).to_string();
        assert!(page.lines().any(|found| found == line), "{page}");
    }
}

/// Returns the status as JSON, which has no numbers of datagrams if nothing counts them.
fn json_status(snapshot: &StateSnapshot) -> serde_json::Value {
    let status = Status::from_snapshot(snapshot, None);
    let json = serde_json::to_value(&status).unwrap();
    // An operator's command reads the same.
    assert_eq!(serde_json::from_value::<Status>(json.clone()).unwrap(), status);
    json
}

#[test]
fn numbers_are_absent_of_an_engine_that_does_not_count() {
    let mut silent = snapshot(Engine::User);
    silent.udp = None;
    for (snapshot, is_counted) in
        [(snapshot(Engine::User), true), (snapshot(Engine::Nft), false), (silent, false)]
    {
        let json = json_status(&snapshot);
        for field in ["sessions", "session_limit", "datagrams_in", "datagrams_out", "dropped"] {
            assert_eq!(json["udp"].get(field).is_some(), is_counted, "{field}: {json:#}");
        }
        for list in ["listeners", "routes"] {
            for item in json[list].as_array().unwrap() {
                let servers = item["servers"].as_array().cloned().unwrap_or_default();
                for item in servers.iter().chain([item]) {
                    let is_counted = is_counted || item["protocol"] == "http";
                    let is_web = item["container"] == "web" || item["port"] == 80;
                    for field in ["sessions", "requests", "rate", "errors", "server_errors"] {
                        let found = item.get(field).is_some();
                        assert_eq!(found, is_counted || is_web, "{field}: {item:#}");
                    }
                }
            }
        }
        let route = json["routes"].as_array().unwrap();
        let route = route.iter().find(|route| route["route"] == "udp://*:53").unwrap();
        assert_eq!(route["datagrams"].is_object(), is_counted, "{route:#}");
    }
}

#[test]
fn tables_have_no_numbers_of_an_engine_that_does_not_count() {
    for (engine, listener, server) in [
        (Engine::User, "udp :53 1 6 0 40 14 0", "ns1 up 100 6 0 40 8 0 172.17.0.6:53"),
        (Engine::Nft, "udp :53 1 - - - - -", "ns1 up 100 - - - - - 172.17.0.6:53"),
    ] {
        let status = Status::from_snapshot(&snapshot(engine), None);
        let page = anstream::adapter::strip_str(&render_status(&status, None)).to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [listener, server, "web up 100 0 0 0 0 0 172.17.0.9:80"] {
            assert!(page.lines().any(|line| words(line) == expected), "{expected}: {page}");
        }
    }
}

#[test]
fn docker_glue_udp_that_does_not_answer_is_shown_with_routes_of_datagrams_only() {
    let line = "UDP      docker-glue-udp does not answer\n";
    let mut snapshot = snapshot(Engine::User);
    snapshot.udp = None;
    let page =
        |snapshot: &StateSnapshot| render_status(&Status::from_snapshot(snapshot, None), None);
    assert!(anstream::adapter::strip_str(&page(&snapshot)).to_string().contains(line));
    snapshot.routes.0.retain(|key, _| !key.is_udp());
    let page = anstream::adapter::strip_str(&page(&snapshot)).to_string();
    assert!(!page.lines().any(|line| line.starts_with("UDP ")), "{page}");
}

#[test]
fn flow_of_a_client_goes_to_the_container_of_its_address_and_port() {
    let snapshot = snapshot(Engine::User);
    let mut containers = std::collections::BTreeSet::new();
    for port in 1..50 {
        let flow = explain_from(&snapshot, "udp://:53", &format!("192.0.2.7:{port}")).flow.unwrap();
        assert_eq!(flow.goes_to, FlowTarget::Container);
        let same = explain_from(&snapshot, "udp://:53", &format!("[::ffff:192.0.2.7]:{port}"));
        assert_eq!(same.flow.unwrap().container, flow.container);
        containers.extend(flow.container);
    }
    assert_eq!(containers.into_iter().collect::<Vec<_>>(), ["ns1", "ns2"]);
    for (url, expected) in [("udp://:514", FlowTarget::Spread), ("udp://:69", FlowTarget::Nowhere)]
    {
        let flow = explain_from(&snapshot, url, "[2001:db8::7]:9").flow.unwrap();
        assert_eq!((flow.goes_to, flow.container), (expected, None), "{url}");
    }
}

#[test]
fn flow_is_not_explained_where_the_kernel_chooses() {
    let explanation = explain_from(&snapshot(Engine::Nft), "udp://:53", "192.0.2.7:1");
    assert_eq!(explanation.flow, None);
    assert!(explanation.engine.is_some_and(|engine| engine.client_address));
}

#[test]
fn client_of_a_connection_or_without_port_of_a_flow_is_refused() {
    for (url, port, expected) in [
        ("http://web.test/", 0, None),
        ("udp://:53", 4444, None),
        ("tcp://:5432", 1, Some("not used with tcp://")),
        ("udp://:53", 0, Some("the client of a flow has a port")),
    ] {
        let (method, url) = ("GET".parse().unwrap(), url.parse().unwrap());
        let client = Some(([192, 0, 2, 7], port).into());
        let error = ExplainRequest::with_client(method, url, client).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(expected.unwrap_or_default()), "{text}");
        assert_eq!(text.is_empty(), expected.is_none());
    }
}
