//! What HAProxy says that it has, as it was said by real ones: `tests/observed/<version>/`.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use docker_glue::haproxy::{
    command::{Command, Health},
    config::{Admin, Connect, MapName, Probe, Server, Shape, Watch},
    health::{Check, Failure, Message, captured, stat},
    observed::{backends, map, servers, skeleton},
};
use std::{fs, path::Path};

const VERSIONS: [&str; 4] = ["2.6", "3.0", "3.2", "3.4"];

/// What is read out of an answer is the same whoever gave it.
fn check(answer: &str, read: impl Fn(&str) -> Vec<String>, expected: &[&str]) {
    for version in VERSIONS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed").join(version);
        let text = fs::read_to_string(path.join(answer)).unwrap();
        assert_eq!(read(&text), expected, "{answer} of {version}");
    }
}

fn entries(text: &str) -> Vec<String> {
    map(text).into_iter().map(|(key, value)| format!("{key} -> {value}")).collect()
}

fn seen(text: &str) -> Vec<String> {
    let line = |(backend, name, it): (&String, &String, _)| {
        let docker_glue::haproxy::observed::ServerSeen { address, weight, admin, up } = it;
        format!("{backend} {name} {address} {weight} {admin:?} up={up}")
    };
    let servers = servers(text);
    let servers =
        servers.iter().flat_map(|(at, it)| it.iter().map(move |(name, it)| (at, name, it)));
    servers.map(|(at, name, it)| line((at, name, it.clone()))).collect()
}

/// Drained by somebody else; at an address of the new family; paused when it started; added, and not
/// ready yet.
#[test]
fn servers_are_read() {
    check(
        "servers.txt",
        seen,
        &[
            "a.test:80 web1-00c0ffee0000:80 172.17.0.2:80 25 Drain up=true",
            "a.test:80 web2-00c0ffee0001:80 [fd00::3]:80 100 Ready up=true",
            "a.test:80 web3-00c0ffee0002:80 172.17.0.4:80 100 Maintenance up=false",
            "api.test:80_a_b_c__d-7fc098cd api1-00c0ffee0003:3000:alone 172.17.0.5:3000 100 Ready up=true",
            "spare-tcp-001 x 172.17.0.9:8080 7 Maintenance up=false",
        ],
    );
    check("no-backend.txt", seen, &[]);
}

/// Of two entries with one key the first counts, for HAProxy and for us.
#[test]
fn maps_are_read() {
    check(
        "routes.txt",
        entries,
        &[
            "a.test:80/ -> a.test:80 0 60000 safe a.test:80",
            r"a;b\c -> d e; f",
            "api.test:80/a;b'c/$d/ -> api.test:80_a_b_c__d-7fc098cd 2 60000 safe api.test:80_a_b_c__d-7fc098cd",
        ],
    );
    check("checks.txt", entries, &["api.test:80_a_b_c__d-7fc098cd -> /healthz?full=1"]);
    check("nothing.txt", entries, &[]);
}

#[test]
fn backends_and_the_skeleton_are_read() {
    let names = |text: &str| backends(text).into_iter().collect();
    check(
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
    let skeleton = |text: &str| skeleton(text).map(|it| it[..16].to_owned()).into_iter().collect();
    check("info.txt", skeleton, &["docker-balancer "]);
}

/// Of checks that are refused, answered by 404, by no HTTP and well; a server that was asked for pages, and one
/// that answered with HTTP/2.
#[test]
fn results_of_checks_and_counts_are_read() {
    let rows = |text: &str| {
        let round = stat(text).unwrap();
        let server = |((backend, server), it): (
            &(String, String),
            &docker_glue::haproxy::health::Health,
        )| {
            // Some releases try a second time.
            let errors = (it.responses, it.response_errors.min(1), it.connection_errors);
            format!("{backend}/{server} {:?} {errors:?}", it.check)
        };
        let frontend = |(name, it): (&String, &docker_glue::haproxy::health::Refusals)| {
            format!("{name} {} {}", it.requests, it.server_errors)
        };
        let frontends: Vec<_> = round.frontends.iter().map(frontend).collect();
        let mut servers = round.servers.clone();
        // 3.0 waits for more of an answer that is no HTTP, 3.2 has a failure of another name for it.
        let at = ("nohttp".to_owned(), "web-03:80:alone".to_owned());
        let check = servers.remove(&at).unwrap().check;
        let is_it =
            |it: &Failure| matches!(it, Failure::NotHttp | Failure::NoAnswer | Failure::Other(_));
        assert!(matches!(&check, Check::Failed(it) if is_it(it)), "{check:?}");
        let servers = servers.iter().map(server);
        servers.chain(frontends).collect::<Vec<_>>()
    };
    check(
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
fn messages_that_haproxy_could_not_read_are_read() {
    let lines = |text: &str| {
        let line = |it: &docker_glue::haproxy::health::Captured| match &it.what {
            Message::Request { frontend, client, nonsense } => {
                format!("{frontend} {} {nonsense:?}", client.unwrap())
            }
            Message::Response { server: (backend, server), nonsense } => {
                format!("{backend}/{server} {nonsense:?}")
            }
        };
        let all = captured(text);
        assert!(all.iter().all(|it| it.age < std::time::Duration::from_mins(1)), "{all:?}");
        let mut all: Vec<_> = all.iter().map(line).collect();
        all.sort();
        all
    };
    check(
        "errors.txt",
        lines,
        &[
            "h2c/web-01:80:alone Http2",
            "http-80 127.0.0.1 Target",
            "nohttp/web-03:80:alone Other(\"SSH-2.0-OpenSSH_\")",
        ],
    );
    check("no-errors.txt", lines, &[]);
}

/// Whatever comes instead of an answer is as good as nothing, and nobody dies of it.
#[test]
fn garbage_is_nothing() {
    for text in ["", "\n", "Permission denied\n", "1\n# be_id\n4 a b c d\n", "0x \n0xff\n \u{0}\n"]
    {
        assert!(servers(text).is_empty() && map(text).is_empty(), "{text:?}");
        assert_eq!(skeleton(text), None, "{text:?}");
        assert_eq!((stat(text), captured(text)), (None, Vec::new()), "{text:?}");
    }
}

fn server() -> Server {
    Server {
        name: "web:80".into(),
        id: 7,
        address: "172.17.0.2:80".parse().unwrap(),
        weight: 25,
        watch: Watch::Trusted,
        admin: Admin::Ready,
    }
}

/// Each command, its line, what 2.6 and later ones say when it is obeyed, and what when it is not.
#[test]
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn a_command_is_obeyed_where_the_answer_says_so() {
    let (backend, name) = (|| "a:80".to_owned(), || "web:80".to_owned());
    let (map, key, value) = (MapName::Routes, || "a/b;c/".to_owned(), || "a b\\".to_owned());
    let address = "[fd00::9]:81".parse().unwrap();
    let shape = Shape { probe: Probe::Tcp, connect: Connect::Retried };
    let table: [(Command, &str, &[&str], &[&str]); 14] = [
        (
            Command::AddServer { backend: backend(), server: server() },
            "add server a:80/web:80 172.17.0.2:80 id 7 weight 25",
            &["New server registered.", "New server registered.\n"],
            &["", "Already exists a server with the same name in backend.", "No such backend."],
        ),
        (
            Command::EnableHealth { backend: backend(), name: name() },
            "enable health a:80/web:80",
            &["", "\n"],
            &["No such server."],
        ),
        (
            Command::SetState { backend: backend(), name: name(), admin: Admin::Ready },
            "set server a:80/web:80 state ready",
            &[""],
            &["No such backend.", "Unknown command: 'set'"],
        ),
        (
            Command::SetHealth { backend: backend(), name: name(), health: Health::None },
            "set server a:80/web:80 health down",
            &[""],
            &["cannot change health on a tracking server."],
        ),
        (
            Command::SetAddress { backend: backend(), name: name(), address },
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
            Command::SetWeight { backend: backend(), name: name(), weight: 25 },
            "set server a:80/web:80 weight 25",
            &[""],
            &["Absolute weight can only be between 0 and 256 inclusive."],
        ),
        (
            Command::DelServer { backend: backend(), name: name() },
            "del server a:80/web:80",
            &["Server deleted."],
            &["", "Only servers in maintenance mode can be deleted.", "No such server."],
        ),
        (
            Command::AddMap { map, key: key(), value: value() },
            r"add map routes.map a/b\;c/ a\ b\\",
            &[""],
            &["Unknown map identifier. Please use #<id> or <file>."],
        ),
        (
            Command::SetMap { map, key: key(), value: value() },
            r"set map routes.map a/b\;c/ a\ b\\",
            &[""],
            &["entry not found."],
        ),
        (
            Command::DelMap { map: MapName::CheckHosts, key: backend() },
            "del map check-hosts.map a:80",
            &[""],
            &["Key not found."],
        ),
        // From 3.4 on.
        (
            Command::AddBackend { backend: backend(), shape },
            "add backend a:80 from docker-glue-tcp",
            &["New backend registered."],
            &[
                "Cannot find default proxy 'docker-glue-tcp'.",
                "Error during backend creation : name is already used by other proxy 'backend a:80'.",
            ],
        ),
        (
            Command::Publish { backend: backend() },
            "publish backend a:80",
            &["Backend published."],
            &["No such backend."],
        ),
        (
            Command::Unpublish { backend: backend() },
            "unpublish backend a:80",
            &["Backend unpublished."],
            &["No such backend."],
        ),
        (
            Command::DelBackend { backend: backend() },
            "del backend a:80",
            &["Backend deleted."],
            &["No such backend.", "Only a backend without server can be deleted."],
        ),
    ];
    for (command, line, obeyed, refused) in table {
        assert_eq!(command.to_string(), line);
        for answer in obeyed {
            assert!(command.obeyed().is(answer), "{command}: {answer:?}");
        }
        for answer in refused {
            assert!(!command.obeyed().is(answer), "{command}: {answer:?}");
        }
    }
}
