//! What people see of a status, as pages they would like to read: `tests/show/`.
//!
//! Made-up values, colours off; a page says in its name how wide the terminal is.

use docker_glue::{
    model::{
        certificate::CertificateDigest,
        label_option::{LabelProtocol, OptionValues, ProtocolPolicy},
        option_value::Weight,
        route::Policy,
    },
    report::{
        certificate_history::{
            CertificateChangeStatus, CertificateDelta, ServedCertificate, ServedCertificates,
        },
        exclusion::Exclusion,
        history::GenerationStatus,
        source_status::{NodeCounts, SourceReport},
        status::{
            ChangeStatus, DockerStatus, HaproxyStatus, HowStatus, LastApply, ListenerStatus, Load,
            ProblemStatus, RollbackStatus, RouteStatus, ServerState, ServerStatus, Status,
        },
        text_report,
    },
    routing::route_diff::ChangeKind,
};
use unicode_width::UnicodeWidthStr;

/// 2026-11-21 12:00:00 UTC.
const NOW: u64 = 1_795_262_400_000;
const HOUR: u64 = 3_600_000;

fn check_widths(name: &str, page: &dyn Fn(Option<usize>) -> String) {
    for width in [None, Some(100), Some(60), Some(36)] {
        let page = anstream::adapter::strip_str(&page(width)).to_string();
        if let Some(width) = width {
            let wide = page.lines().filter(|line| width < line.width());
            // A word longer than the line, as a URL or an address is, is not cut in pieces.
            let cut: Vec<_> = wide.filter(|line| line.trim().contains(' ')).collect();
            assert!(cut.is_empty(), "{name}: wider than {width}: {cut:#?}");
        }
        assert!(page.lines().all(|text| text == text.trim_end()), "blanks at the end:\n{page}");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../show");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let width = width.map_or("any".to_owned(), |n| n.to_string());
        settings.bind(|| insta::assert_snapshot!(format!("{name}-{width}"), page));
    }
}

fn load_of(sessions: u64, requests: u64, rate: u64, errors: u64, server_errors: u64) -> Load {
    Load { sessions, requests, rate, errors, server_errors }
}

fn weight(text: &str) -> OptionValues {
    OptionValues::default().with(text.parse::<Weight>().unwrap())
}

fn server_status(name: &str, number: u8, state: ServerState, load: Load) -> ServerStatus {
    ServerStatus {
        container: name.to_owned(),
        id: format!("c0ffee0000{number:02x}"),
        node: None,
        port: 8080,
        address: format!("172.17.0.{number}:8080"),
        options: weight(if state == ServerState::ZeroWeight { "0" } else { "100" }),
        state,
        why: (state == ServerState::Excluded).then_some(Exclusion::Drained),
        haproxy: None,
        load: Some(load),
    }
}

fn route_status(host: &str, prefix: &str, servers: Vec<ServerStatus>, load: Load) -> RouteStatus {
    RouteStatus {
        route: format!("{host}:80{prefix}/"),
        protocol: "http".to_owned(),
        port: 80,
        host: host.to_owned(),
        prefix: prefix.to_owned(),
        exact: false,
        policy: ProtocolPolicy { protocol: LabelProtocol::Http, values: Policy::default() },
        terms: OptionValues::default(),
        certificate: None,
        datagrams: None,
        on_hold: servers.is_empty(),
        backend: format!("{host}:80{prefix}"),
        servers,
        load: Some(load),
    }
}

fn problem_status(hint: bool, container: &str, label: &str, reason: &str) -> ProblemStatus {
    let (key, value) = label.split_once('=').unwrap();
    let label = format!("label {key}={value:?}: ");
    ProblemStatus {
        kind: "not_a_weight".to_owned(),
        hint,
        container: Some(container.to_owned()),
        id: Some("c0ffee000007".to_owned()),
        listener: None,
        option: None,
        label: Some(key.to_owned()),
        value: Some(value.to_owned()),
        reason: reason.to_owned(),
        text: format!("container {container} (c0ffee000007): {label}{reason}"),
    }
}

/// Returns the value of a line such as `+ app.example.com:80/ → web`.
pub(crate) fn change_status(line: &str) -> ChangeStatus {
    let (sign, text) = line.split_once(' ').unwrap();
    let change = match sign {
        "+" => ChangeKind::Add,
        "-" => ChangeKind::Remove,
        _ => ChangeKind::Change,
    };
    let route = text.split(' ').next().unwrap().trim_end_matches(':').to_owned();
    ChangeStatus { change, route, text: text.to_owned() }
}

/// The lines as values.
fn changed(lines: &[impl AsRef<str>]) -> Vec<ChangeStatus> {
    lines.iter().map(|line| change_status(line.as_ref())).collect()
}

fn sample_problems() -> Vec<ProblemStatus> {
    let taken = "its port is taken by nginx (pid 7); retrying every few seconds, other listeners \
                 are not affected";
    vec![
        problem_status(
            false,
            "shop-7",
            "glue_http_80_weight=heavy",
            "a weight is a whole number from 0 to 256",
        ),
        problem_status(
            false,
            "shop-7",
            "glue_http_80_hots=shop.example.com",
            "unknown label; did you mean glue_http_80_host?",
        ),
        problem_status(
            true,
            "docs-1",
            "glue_http_3000_host=docs.example.com",
            "the image does not expose port 3000",
        ),
        ProblemStatus {
            kind: "port_taken".to_owned(),
            hint: false,
            container: None,
            id: None,
            listener: Some("http :8080".to_owned()),
            option: None,
            label: None,
            value: None,
            reason: taken.to_owned(),
            text: format!("listener http :8080: {taken}"),
        },
    ]
}

fn sample_status() -> Status {
    let up = ServerState::Up;
    Status {
        version: "0.1.0".to_owned(),
        at_ms: NOW,
        since_ms: NOW - 76 * HOUR,
        docker: DockerStatus { connected: true, age_ms: 4000, containers: Some(12) },
        sources: Vec::new(),
        haproxy: HaproxyStatus {
            version: "3.0.11".to_owned(),
            pid: Some(812),
            managed: true,
            answers: true,
            old_workers: 0,
        },
        udp: None,
        last: Some(LastApply {
            at_ms: NOW - 12_345,
            cause: "start shop-2".to_owned(),
            how: HowStatus::Runtime,
            why: None,
            commands: 5,
            took_us: 1234,
            changes: vec!["~ shop.example.com:80/: + shop-2".to_owned()],
            changed: changed(&["~ shop.example.com:80/: + shop-2"]),
        }),
        trouble: None,
        rollback: None,
        orders: None,
        listeners: vec![ListenerStatus {
            protocol: "http".to_owned(),
            port: 80,
            bound: 80,
            taken: None,
            routes: 3,
            load: Some(load_of(17, 123_456, 140, 0, 3)),
        }],
        routes: vec![
            route_status(
                "docs.example.com",
                "",
                vec![server_status("docs-1", 4, up, load_of(0, 42, 0, 0, 0))],
                load_of(0, 42, 0, 0, 0),
            ),
            route_status(
                "shop.example.com",
                "",
                vec![
                    server_status("shop-1", 2, up, load_of(9, 99_000, 71, 0, 1)),
                    server_status("shop-2", 3, up, load_of(8, 24_000, 69, 0, 2)),
                ],
                load_of(17, 123_000, 140, 0, 3),
            ),
            route_status(
                "shop.example.com",
                "/api/v1",
                vec![server_status("api-1", 5, up, load_of(0, 414, 0, 0, 0))],
                load_of(0, 414, 0, 0, 0),
            ),
        ],
        problems: Vec::new(),
    }
}

/// As much trouble as there can be at once.
fn status_with_problems() -> Status {
    let mut status = sample_status();
    status.docker.connected = false;
    let source = |name: &str, url: &str, nodes| SourceReport {
        name: name.parse().unwrap(),
        url: url.to_owned(),
        connected: false,
        silent_ms: Some(65_000),
        containers: 3,
        clock_skew: Some(-3700),
        nodes,
    };
    let registry = source("fleet", "etcd://10.0.0.3", Some(NodeCounts { up: 2, lost: 1 }));
    status.sources = vec![
        source("node2", "tcp://10.0.0.2:2376", None),
        SourceReport { clock_skew: None, ..registry },
    ];
    status.haproxy.answers = false;
    status.haproxy.old_workers = 2;
    status.haproxy.managed = false;
    status.haproxy.pid = None;
    status.trouble =
        Some("HAProxy refuses the configuration:\nline 7: \u{1b}[31munknown".to_owned());
    status.rollback = Some(RollbackStatus { generation: 41, since_ms: NOW - 5 * 60_000 });
    status.listeners[0].bound = 8080;
    status.listeners.push(ListenerStatus {
        protocol: "http".to_owned(),
        port: 8443,
        bound: 8443,
        taken: Some("taken by nginx (pid 7)".to_owned()),
        routes: 0,
        load: Some(Load::default()),
    });
    let each = [
        ServerState::Down,
        ServerState::ZeroWeight,
        ServerState::Backup,
        ServerState::Excluded,
        ServerState::Up,
    ];
    status.routes[0].servers.clear();
    status.routes[0].on_hold = true;
    status.routes[1].servers = (2..)
        .zip(each)
        .map(|(at, state)| {
            let errors = if state == ServerState::Down { 17 } else { 0 };
            server_status(
                &format!("shop-{}", at - 1),
                at,
                state,
                load_of(0, 10, 0, errors, errors * 2),
            )
        })
        .collect();
    let server = &mut status.routes[2].servers[0];
    (server.state, server.why) = (ServerState::Excluded, Some(Exclusion::Paused));
    status.problems = sample_problems();
    let changes: Vec<_> =
        (1..=7).map(|at| format!("+ shop-{at}.example.com:8443/ → shop-7")).collect();
    status.last = Some(LastApply {
        at_ms: NOW - 2 * HOUR,
        cause: "start shop-7".to_owned(),
        how: HowStatus::Reload,
        why: Some("listener http :8443 is new".to_owned()),
        commands: 0,
        took_us: 83_400,
        changed: changed(&changes),
        changes,
    });
    status
}

fn status_with_many_routes() -> Status {
    let mut status = sample_status();
    status.listeners[0].routes = 1000;
    status.routes = (0..1000_u64)
        .map(|at| {
            let rate = at % 97;
            let state = if at == 500 { ServerState::Down } else { ServerState::Up };
            let servers: u8 = if at == 96 { 40 } else { 1 };
            let servers = (0..servers).map(|byte| {
                server_status(
                    &format!("app-{at}-{byte}"),
                    byte,
                    state,
                    load_of(1, rate, rate, 0, 0),
                )
            });
            route_status(
                &format!("app-{at:03}.example.com"),
                "",
                servers.collect(),
                load_of(1, 50 * rate, rate, 0, 0),
            )
        })
        .collect();
    status
}

fn sample_certificate_changes() -> Vec<CertificateChangeStatus> {
    let served = |text: &str| {
        let host = |line: &str| {
            let (host, origin) = line.split_once(' ').unwrap();
            let certificate = ServedCertificate {
                digest: CertificateDigest::of_pem(line),
                origin: origin.to_owned(),
                not_after: 1_800_000_000,
            };
            (host.to_owned(), vec![certificate])
        };
        ServedCertificates(text.split(", ").map(host).collect())
    };
    let before = served("old.example.com:443 own CA, shop.example.com:443 letsencrypt-staging");
    let after = served("new.example.com:443 file new.pem, shop.example.com:443 letsencrypt");
    CertificateDelta::new(&before, &after).describe_changes(9)
}

fn sample_generations() -> Vec<GenerationStatus> {
    let one =
        |generation: u64, cause: &str, how, why: Option<&str>, changes: &[&str]| GenerationStatus {
            generation,
            at_ms: NOW - (50 - generation) * 61_000,
            cause: cause.to_owned(),
            how,
            why: why.map(str::to_owned),
            commands: if how == HowStatus::Runtime { 5 } else { 0 },
            took_us: 1234 * generation,
            changes: changes.iter().map(ToString::to_string).collect(),
            changed: changed(changes),
            more: 0,
            certificates: Vec::new(),
            more_certificates: 0,
        };
    let start = GenerationStatus {
        more: 9_900,
        ..one(38, "list", HowStatus::Start, None, &["+ a.example.com:80/ → a-1"; 100])
    };
    vec![
        start,
        one(
            39,
            "start shop-1",
            HowStatus::Reload,
            Some("listener http :80 is new"),
            &["+ shop.example.com:80/ → shop-1", "- old.example.com:80/"],
        ),
        one(
            40,
            "start shop-2",
            HowStatus::Runtime,
            None,
            &["~ shop.example.com:80/: + shop-2, shop-1 weight 100 → 10"],
        ),
        GenerationStatus {
            certificates: sample_certificate_changes(),
            more_certificates: 7,
            ..one(
                41,
                "rollback 39",
                HowStatus::Runtime,
                None,
                &["~ shop.example.com:80/: - shop-2"],
            )
        },
    ]
}

#[test]
fn healthy_status_matches_snapshots() {
    check_widths("status", &|width| text_report::render_status(&sample_status(), width));
}

#[test]
fn status_with_all_problems_matches_snapshots() {
    check_widths("trouble", &|width| text_report::render_status(&status_with_problems(), width));
}

#[test]
fn status_of_a_thousand_routes_is_shortened() {
    check_widths("thousand", &|width| {
        text_report::render_status(&status_with_many_routes(), width)
    });
    assert!(text_report::render_status(&status_with_many_routes(), Some(80)).lines().count() < 50);
}

#[test]
fn status_before_the_first_docker_answer_matches_snapshots() {
    let status = Status {
        routes: Vec::new(),
        problems: Vec::new(),
        listeners: Vec::new(),
        last: None,
        docker: DockerStatus::default(),
        since_ms: NOW,
        ..sample_status()
    };
    check_widths("nothing", &|width| text_report::render_status(&status, width));
}

#[test]
fn route_table_matches_snapshots() {
    check_widths("routes", &|width| text_report::render_routes(&status_with_problems(), width));
    let all = text_report::render_routes(&status_with_many_routes(), Some(80));
    assert!(all.lines().count() > 2000, "whoever asks for all of them gets them");
    let received = |containers| Status {
        docker: DockerStatus { connected: true, age_ms: 0, containers },
        ..Status::default()
    };
    assert_eq!(
        text_report::render_routes(&received(Some(2)), None),
        "no routes: no container has labels for one\n"
    );
    assert_eq!(
        text_report::render_routes(&received(None), None),
        "no routes: Docker has not answered yet\n"
    );
}

#[test]
fn problem_list_matches_snapshots() {
    check_widths("problems", &|width| text_report::render_problems(&sample_problems(), width));
    assert_eq!(text_report::render_problems(&[], None), "no problems\n");
}

#[test]
fn history_table_matches_snapshots() {
    check_widths("history", &|width| text_report::render_history(&sample_generations(), 3, width));
    check_widths("history-all", &|width| {
        text_report::render_history(&sample_generations(), 20, width)
    });
    assert_eq!(text_report::render_history(&[], 20, None), "no changes yet\n");
}
