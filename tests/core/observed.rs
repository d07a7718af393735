//! What HAProxy says that it has, as it was said by real ones: `tests/observed/<version>/`.

use docker_glue::haproxy::{
    command::{CheckHealth, RuntimeCommand},
    config::{AdminState, BackendShape, CheckMode, ConnectRetry, MapName, Probe, Server},
    health::{CheckFailure, CheckResult, InvalidMessage, parse_errors, parse_stat},
    observed::{parse_backends, parse_fingerprint, parse_map, parse_servers},
    server_setting::{ServerSetting, ServerSettings},
    server_transport::ServerTransport,
};
use std::{fs, path::Path};

const VERSIONS: [&str; 4] = ["2.6", "3.0", "3.2", "3.4"];

/// What is read out of an answer is the same whoever gave it.
fn check_answer(answer: &str, read: impl Fn(&str) -> Vec<String>, expected: &[&str]) {
    for version in VERSIONS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed").join(version);
        let text = fs::read_to_string(path.join(answer)).unwrap();
        assert_eq!(read(&text), expected, "{answer} of {version}");
    }
}

fn map_entries(text: &str) -> Vec<String> {
    parse_map(text).into_iter().map(|(key, value)| format!("{key} -> {value}")).collect()
}

fn format_servers(text: &str) -> Vec<String> {
    let line = |(backend, name, server): (&String, &String, _)| {
        let docker_glue::haproxy::observed::ObservedServer { address, settings, admin, up } =
            server;
        let weight = settings.get(ServerSetting::Weight);
        format!("{backend} {name} {address} {weight} {admin:?} up={up}")
    };
    let servers = parse_servers(text);
    let servers = servers
        .iter()
        .flat_map(|(at, servers)| servers.iter().map(move |(name, server)| (at, name, server)));
    servers.map(|(at, name, server)| line((at, name, server.clone()))).collect()
}

/// Drained by somebody else; at an address of the new family; paused when it started; added, and not
/// ready yet.
#[test]
fn server_states_are_parsed() {
    check_answer(
        "servers.txt",
        format_servers,
        &[
            "a.test:80 web1-00c0ffee0000:80 172.17.0.2:80 25 Drain up=true",
            "a.test:80 web2-00c0ffee0001:80 [fd00::3]:80 100 Ready up=true",
            "a.test:80 web3-00c0ffee0002:80 172.17.0.4:80 100 Maintenance up=false",
            "api.test:80_a_b_c__d-7fc098cd api1-00c0ffee0003:3000:alone 172.17.0.5:3000 100 Ready up=true",
            "spare-tcp-001 x 172.17.0.9:8080 7 Maintenance up=false",
        ],
    );
    check_answer("no-backend.txt", format_servers, &[]);
}

/// Of two entries with one key the first counts, for HAProxy and for us.
#[test]
fn map_entries_are_parsed() {
    check_answer(
        "routes.txt",
        map_entries,
        &[
            "a.test:80/ -> a.test:80 0 60000 safe a.test:80",
            r"a;b\c -> d e; f",
            "api.test:80/a;b'c/$d/ -> api.test:80_a_b_c__d-7fc098cd 2 60000 safe api.test:80_a_b_c__d-7fc098cd",
        ],
    );
    check_answer("checks.txt", map_entries, &["api.test:80_a_b_c__d-7fc098cd -> /healthz?full=1"]);
    check_answer("nothing.txt", map_entries, &[]);
}

#[test]
fn backends_and_skeleton_are_parsed() {
    let names = |text: &str| parse_backends(text).into_iter().collect();
    check_answer(
        "backends.txt",
        names,
        &[
            "a.test:80",
            "api.test:80_a_b_c__d-7fc098cd",
            "no-route",
            "spare-http-001",
            "spare-tcp-001",
        ],
    );
    let skeleton = |text: &str| {
        parse_fingerprint(text).map(|text| text[..16].to_owned()).into_iter().collect()
    };
    check_answer("info.txt", skeleton, &["docker-balancer "]);
}

/// Of checks that are refused, answered by 404, by no HTTP and well; a server that was asked for pages, and one
/// that answered with HTTP/2.
#[test]
fn check_results_and_counts_are_parsed() {
    let rows = |text: &str| {
        let round = parse_stat(text).unwrap();
        let server = |((backend, server), health): (
            &(String, String),
            &docker_glue::haproxy::health::ServerHealth,
        )| {
            // Some releases try a second time.
            let errors =
                (health.responses, health.response_errors.min(1), health.connection_errors);
            format!("{backend}/{server} {:?} {errors:?}", health.check)
        };
        let frontend =
            |(name, counts): (&String, &docker_glue::haproxy::health::FrontendErrorCounts)| {
                format!("{name} {} {}", counts.requests, counts.server_errors)
            };
        let frontends: Vec<_> = round.frontends.iter().map(frontend).collect();
        let mut servers = round.servers.clone();
        // 3.0 waits for more of an answer that is no HTTP, 3.2 has a failure of another name for it.
        let at = ("nohttp".to_owned(), "web-03:80:alone".to_owned());
        let check = servers.remove(&at).unwrap().check;
        let is_same = |failure: &CheckFailure| {
            matches!(
                failure,
                CheckFailure::NotHttp | CheckFailure::Timeout | CheckFailure::Other(_)
            )
        };
        assert!(matches!(&check, CheckResult::Failed(failure) if is_same(failure)), "{check:?}");
        let servers = servers.iter().map(server);
        servers.chain(frontends).collect::<Vec<_>>()
    };
    check_answer(
        "stat.txt",
        rows,
        &[
            "added/web-07:80 Failed(Refused) (0, 0, 0)",
            "good/web-06:80:alone Passed (1, 0, 0)",
            "h2c/web-01:80:alone Passed (0, 1, 0)",
            "n404/web-02:80:alone Failed(Status(404)) (0, 0, 0)",
            "http-80 2 1",
        ],
    );
}

#[test]
fn captured_invalid_messages_are_parsed() {
    let lines = |text: &str| {
        let line = |message: &docker_glue::haproxy::health::CapturedMessage| match &message.message
        {
            InvalidMessage::Request { frontend, client, malformed } => {
                format!("{frontend} {} {malformed:?}", client.unwrap())
            }
            InvalidMessage::Response { server: (backend, server), malformed } => {
                format!("{backend}/{server} {malformed:?}")
            }
        };
        let all = parse_errors(text);
        assert!(
            all.iter().all(|message| message.age < std::time::Duration::from_mins(1)),
            "{all:?}"
        );
        let mut all: Vec<_> = all.iter().map(line).collect();
        all.sort();
        all
    };
    check_answer(
        "errors.txt",
        lines,
        &[
            "h2c/web-01:80:alone Http2",
            "http-80 127.0.0.1 Target",
            "nohttp/web-03:80:alone Other(\"SSH-2.0-OpenSSH_\")",
        ],
    );
    check_answer("no-errors.txt", lines, &[]);
}

/// Whatever comes instead of an answer is as good as nothing, and nobody dies of it.
#[test]
fn garbage_is_parsed_as_nothing() {
    for text in ["", "\n", "Permission denied\n", "1\n# be_id\n4 a b c d\n", "0x \n0xff\n \u{0}\n"]
    {
        assert!(parse_servers(text).is_empty() && parse_map(text).is_empty(), "{text:?}");
        assert_eq!(parse_fingerprint(text), None, "{text:?}");
        assert_eq!((parse_stat(text), parse_errors(text)), (None, Vec::new()), "{text:?}");
    }
}

fn server() -> Server {
    Server {
        name: "web:80".into(),
        id: 7,
        address: "172.17.0.2:80".parse().unwrap(),
        settings: ServerSettings::parse_line(&["weight", "25"]).unwrap(),
        transport: ServerTransport::default(),
        check_mode: CheckMode::Off,
        admin: AdminState::Ready,
    }
}

/// Each command, its line, what 2.6 and later ones say when it is obeyed, and what when it is not.
#[test]
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn command_reply_decides_success() {
    let (backend, name) = (|| "a:80".to_owned(), || "web:80".to_owned());
    let (map, key, value) = (MapName::Routes, || "a/b;c/".to_owned(), || "a b\\".to_owned());
    let address = "[fd00::9]:81".parse().unwrap();
    let shape = BackendShape::http(Probe::Tcp, ConnectRetry::On);
    let table: [(RuntimeCommand, &str, &[&str], &[&str]); 14] = [
        (
            RuntimeCommand::AddServer { backend: backend(), server: server() },
            "add server a:80/web:80 172.17.0.2:80 id 7 weight 25",
            &["New server registered.", "New server registered.\n"],
            &["", "Already exists a server with the same name in backend.", "No such backend."],
        ),
        (
            RuntimeCommand::EnableHealth { backend: backend(), name: name() },
            "enable health a:80/web:80",
            &["", "\n"],
            &["No such server."],
        ),
        (
            RuntimeCommand::SetState { backend: backend(), name: name(), admin: AdminState::Ready },
            "set server a:80/web:80 state ready",
            &[""],
            &["No such backend.", "Unknown command: 'set'"],
        ),
        (
            RuntimeCommand::SetHealth {
                backend: backend(),
                name: name(),
                health: CheckHealth::Down,
            },
            "set server a:80/web:80 health down",
            &[""],
            &["cannot change health on a tracking server."],
        ),
        (
            RuntimeCommand::SetAddress { backend: backend(), name: name(), address },
            "set server a:80/web:80 addr fd00::9 port 81",
            &[
                "IP changed from '172.17.0.2' to 'fd00::9', port changed from '80' to '81' by 'stats socket command'",
                "IP changed from '172.17.0.2' to 'fd00::9', no need to change the port by 'stats socket command'",
                "IP changed from '172.17.0.2' to 'fd00::9' by 'stats socket command'",
                "no need to change the addr, port changed from '81' to '82' by 'stats socket command'",
                "port changed from '81' to '82' by 'stats socket command'",
            ],
            &["", "Invalid addr format 'x'.", "No such server."],
        ),
        (
            RuntimeCommand::SetSetting {
                backend: backend(),
                name: name(),
                setting: ServerSetting::Weight,
                value: 25,
            },
            "set server a:80/web:80 weight 25",
            &[""],
            &["Absolute weight can only be between 0 and 256 inclusive."],
        ),
        (
            RuntimeCommand::DelServer { backend: backend(), name: name() },
            "del server a:80/web:80",
            &["Server deleted."],
            &["", "Only servers in maintenance mode can be deleted.", "No such server."],
        ),
        (
            RuntimeCommand::AddMap { map, key: key(), value: value() },
            r"add map routes.map a/b\;c/ a\ b\\",
            &[""],
            &["Unknown map identifier. Please use #<id> or <file>."],
        ),
        (
            RuntimeCommand::SetMap { map, key: key(), value: value() },
            r"set map routes.map a/b\;c/ a\ b\\",
            &[""],
            &["entry not found."],
        ),
        (
            RuntimeCommand::DelMap { map: MapName::CheckHosts, key: backend() },
            "del map check-hosts.map a:80",
            &[""],
            &["Key not found."],
        ),
        // From 3.4 on.
        (
            RuntimeCommand::AddBackend { backend: backend(), shape },
            "add backend a:80 from docker-glue-tcp",
            &["New backend registered."],
            &[
                "Cannot find default proxy 'docker-glue-tcp'.",
                "Error during backend creation : name is already used by other proxy 'backend a:80'.",
            ],
        ),
        (
            RuntimeCommand::Publish { backend: backend() },
            "publish backend a:80",
            &["Backend published."],
            &["No such backend."],
        ),
        (
            RuntimeCommand::Unpublish { backend: backend() },
            "unpublish backend a:80",
            &["Backend unpublished."],
            &["No such backend."],
        ),
        (
            RuntimeCommand::DelBackend { backend: backend() },
            "del backend a:80",
            &["Backend deleted."],
            &["No such backend.", "Only a backend without server can be deleted."],
        ),
    ];
    for (command, line, obeyed, refused) in table {
        assert_eq!(command.to_string(), line);
        for answer in obeyed {
            assert!(command.expected_reply().matches(answer), "{command}: {answer:?}");
        }
        for answer in refused {
            assert!(!command.expected_reply().matches(answer), "{command}: {answer:?}");
        }
    }
}
