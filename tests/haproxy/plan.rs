//! Runtime commands for a change of the world: `tests/plan/<case>/`.
//!
//! Each case is two stories (`before.txt`, `after.txt`) and the commands between them. The commands are also sent to a
//! real HAProxy, which must reach the planned state.

use crate::common::{
    certificates,
    haproxy::{self, HAProxy},
    story,
};
use docker_glue::haproxy::{
    config::Config, observed::ObservedState, plan::plan_commands, tls::TlsLine,
};
use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

/// A change from one story to the next.
struct Case {
    folder: PathBuf,
    /// Whether HAProxy can add backends at run time and needs no spare ones.
    adds: bool,
    before: Config,
    after: Config,
}

impl Case {
    fn read_all() -> Vec<Self> {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
        let mut folders: Vec<_> =
            fs::read_dir(cases).unwrap().map(|result| result.unwrap().path()).collect();
        folders.sort();
        assert!(!folders.is_empty());
        let both = folders.into_iter().flat_map(|path| [(path.clone(), false), (path, true)]);
        both.map(|(folder, adds)| Self::read_case(folder, adds)).collect()
    }

    fn read_case(folder: PathBuf, adds: bool) -> Self {
        let routes = |file| story::parse_routes(&fs::read_to_string(folder.join(file)).unwrap());
        let before = story::config_at_start(&routes("before.txt"), 1, adds);
        let observed = ObservedState::from_config(&before);
        let (after, homeless) = story::config_within(&routes("after.txt"), &observed);
        assert_eq!(homeless, 0, "{}: a reload is needed", folder.display());
        assert_eq!(
            before.fingerprint,
            after.fingerprint,
            "{}: a reload is needed",
            folder.display()
        );
        Self { folder, adds, before, after }
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }
}

#[test]
fn commands_of_a_change_match_snapshots() {
    for case in Case::read_all() {
        let mut observed = ObservedState::from_config(&case.before);
        let mut text = String::new();
        for command in plan_commands(&observed, &case.after) {
            writeln!(text, "{command}").unwrap();
            observed.apply_command(&command);
        }
        let there = ObservedState::from_config(&case.after);
        assert!(observed.matches_state(&there), "{}: {observed:#?}", case.name());
        assert!(plan_commands(&observed, &case.after).is_empty(), "{}", case.name());
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&case.folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let name = if case.adds { "commands-3.4" } else { "commands" };
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

/// After each command HAProxy's real state equals the expected one.
#[tokio::test]
async fn real_haproxy_reaches_the_planned_state() {
    for case in Case::read_all() {
        let Some(bin) = haproxy::find_haproxy() else { return };
        if case.adds && !haproxy::adds_backends(&bin).await {
            continue;
        }
        let certificates = tempfile::tempdir().unwrap();
        let (before, after) = (
            with_real_certificates(&case.before, certificates.path()),
            with_real_certificates(&case.after, certificates.path()),
        );
        let haproxy = HAProxy::start(&before).await.unwrap();
        let mut observed = haproxy.observe().await;
        let started = ObservedState::from_config(&before);
        assert_eq!(observed.fingerprint, started.fingerprint);
        assert!(observed.backends.is_superset(&started.backends), "{}", case.name());
        assert!(observed.matches_state(&started), "{}: {observed:#?}", case.name());

        let commands = plan_commands(&observed, &after);
        let mut runtime = haproxy.runtime().await;
        runtime.execute_commands(&commands, &mut observed).await.unwrap();
        runtime.read_back(&commands, &mut observed).await.unwrap();
        let there = ObservedState::from_config(&after);
        assert!(observed.matches_state(&there), "{}: {observed:#?}", case.name());
        let all = haproxy.observe().await;
        assert!(all.matches_state(&there), "{}: {all:#?}", case.name());
        assert!(plan_commands(&all, &after).is_empty(), "{}", case.name());
    }
}

/// Returns the configuration with certificates of this directory, and creates them.
fn with_real_certificates(config: &Config, directory: &Path) -> Config {
    let mut config = config.clone();
    for lines in config.tls.values_mut() {
        *lines = lines
            .iter()
            .map(|line| {
                let file = directory.join(Path::new(&line.certificate).file_name().unwrap());
                if !file.exists() {
                    fs::write(&file, certificates::self_signed(&line.name)).unwrap();
                }
                TlsLine { certificate: file.display().to_string(), ..line.clone() }
            })
            .collect();
    }
    config
}

const TWO: &str = "
    web1 172.17.0.2 glue_http_80_host=a.test
    web2 172.17.0.3 glue_http_80_host=a.test
    api1 172.17.0.4 glue_http_80_host=api.test glue_http_80_check=/x";
const WEB1: &str = "a.test:80/web1-00c0ffee0000:80";

/// Each row has a change by another program over the runtime API, and the commands that revert it.
#[tokio::test]
async fn foreign_runtime_change_is_reverted() {
    let config = story::build_config(&story::parse_routes(TWO));
    let Some(haproxy) = HAProxy::start(&config).await else { return };
    let target = "a.test:80\\ 0\\ 60000\\ safe\\ a.test:80";
    for (theirs, ours) in [
        (format!("set server {WEB1} weight 3"), vec![format!("set server {WEB1} weight 100")]),
        (format!("set maxconn server {WEB1} 3"), vec![format!("set maxconn server {WEB1} 0")]),
        (format!("set server {WEB1} state maint"), vec![format!("set server {WEB1} state ready")]),
        (format!("set server {WEB1} state drain"), vec![format!("set server {WEB1} state ready")]),
        (
            format!("set server {WEB1} addr 172.17.0.99 port 81"),
            vec![format!("set server {WEB1} addr 172.17.0.2 port 80")],
        ),
        (
            "add server spare-tcp-001/theirs 172.17.0.9:80".to_owned(),
            vec!["del server spare-tcp-001/theirs".to_owned()],
        ),
        (
            "del map routes.map a.test:80/".to_owned(),
            vec![format!("add map routes.map a.test:80/ {target}")],
        ),
        (
            "set map routes.map a.test:80/ nowhere".to_owned(),
            vec![format!("set map routes.map a.test:80/ {target}")],
        ),
        (
            "add map routes.map theirs.test:80/ a.test:80".to_owned(),
            vec!["del map routes.map theirs.test:80/".to_owned()],
        ),
        // Of several entries with one key HAProxy uses the first, which is the balancer's own.
        ("add map routes.map a.test:80/ theirs".to_owned(), vec![]),
        (
            "set map checks.map api.test:80 /theirs".to_owned(),
            vec!["set map checks.map api.test:80 /x".to_owned()],
        ),
    ] {
        docker_glue::haproxy::socket::send_command(&haproxy.socket(), &theirs).await.unwrap();
        let mut observed = haproxy.observe().await;
        let commands = plan_commands(&observed, &config);
        let texts: Vec<_> = commands.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ours, "{theirs}");
        haproxy.runtime().await.execute_commands(&commands, &mut observed).await.unwrap();
        let there = ObservedState::from_config(&config);
        assert!(haproxy.observe().await.matches_state(&there), "{theirs}");
    }
}

/// Requests wait for the next attempt after a failed connect, in which time HAProxy would delete the server, and crash
/// later.
#[tokio::test]
async fn server_of_waiting_requests_is_deleted_after_them() {
    let story = "web1 127.0.0.1 glue_http_1_host=a.test";
    let before = story::build_config(&story::parse_routes(story));
    let Some(haproxy) = HAProxy::start(&before).await else { return };
    let at = (Ipv4Addr::LOCALHOST, haproxy.bound(NonZeroU16::new(1).unwrap()));
    let mut requests = Vec::new();
    for _ in 0..8 {
        let mut request = TcpStream::connect(at).await.unwrap();
        request.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        requests.push(request);
    }
    let mut observed = haproxy.observe().await;
    let mut servers = observed.servers["a.test:1"].keys();
    let server = servers.find(|name| name.starts_with("web1")).unwrap().clone();
    let routes = story::parse_routes(&story.replace("127.0.0.1", "127.0.0.1 exited"));
    let (after, _) = story::config_within(&routes, &observed);
    let has_server = |observed: &ObservedState| observed.servers["a.test:1"].contains_key(&server);
    let worker = observed.worker;
    let deletion = async {
        while has_server(&observed) {
            let commands = plan_commands(&observed, &after);
            haproxy.runtime().await.execute_commands(&commands, &mut observed).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_mins(1), deletion).await.expect("the server is never deleted");
    // All of the requests have left it, and the same process goes on.
    let observed = haproxy.observe().await;
    assert!(!has_server(&observed));
    assert_eq!(observed.worker, worker);
}

/// HAProxy deletes only servers in maintenance.
#[tokio::test]
async fn server_drained_by_others_is_deleted() {
    let before = story::build_config(&story::parse_routes(TWO));
    let Some(haproxy) = HAProxy::start(&before).await else { return };
    let drain = format!("set server {WEB1} state drain");
    docker_glue::haproxy::socket::send_command(&haproxy.socket(), &drain).await.unwrap();
    let mut observed = haproxy.observe().await;
    let routes = story::parse_routes(&TWO.replace("172.17.0.2", "172.17.0.2 exited"));
    let (after, _) = story::config_within(&routes, &observed);
    let commands = plan_commands(&observed, &after);
    haproxy.runtime().await.execute_commands(&commands, &mut observed).await.unwrap();
    assert!(haproxy.observe().await.matches_state(&ObservedState::from_config(&after)));
}
