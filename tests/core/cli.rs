//! The command line: help, exit codes, and the example settings file.

use clap::{Arg, ArgAction, Command};
use docker_glue::settings::{
    GlueSettings, GlueTask, HostEnv, PolicyFile, Settings, Task, env_variable,
    options::{self, Program, glue, udp::udp_command},
};
use std::{
    fmt::Write,
    path::Path,
    process::{Output, Stdio},
};

/// For each option a value other than its default. The example file shows these values for options without a default.
const VALUES: &[(&str, &str)] = &[
    ("once", "true"),
    ("watch", "true"),
    ("docker_url", "unix:///var/run/docker.sock"),
    ("source", "tcp://10.0.0.2:2376?name=node2&address=published"),
    ("include_env", "true"),
    ("watch_set", "die,start"),
    ("network", "web"),
    ("address", "published"),
    ("bind_address", "127.0.0.1"),
    ("map_port", "80=8080"),
    ("trusted_proxies", "10.0.0.0/8"),
    ("tcp_ports", "25000-25099"),
    ("proxy_protocol_from", "10.0.0.0/8"),
    ("tls", "on"),
    ("certificates", "/etc/docker-glue/certificates"),
    ("acme", "letsencrypt-staging"),
    ("acme_email", "admin@example.com"),
    ("acme_challenge", "dns"),
    ("acme_dns", "/usr/local/bin/publish-record"),
    ("acme_eab", "key-1:/etc/docker-glue/eab.key"),
    ("acme_profile", "shortlived"),
    ("acme_key", "rsa"),
    ("wildcard", "example.com"),
    ("http3", "true"),
    ("acme_store", "/srv/docker-glue-acme"),
    ("acme_ca_file", "/etc/docker-glue/ca.pem"),
    ("default_certificate", "www.example.com"),
    ("tls_policy", "modern"),
    ("backend_ca", "/etc/docker-glue/backend-ca"),
    ("client_ca", "/etc/docker-glue/client-ca"),
    ("access_log", "/dev/log"),
    ("haproxy", "service"),
    ("haproxy_bin", "/usr/local/sbin/haproxy"),
    ("config_file", "/etc/haproxy/haproxy.cfg"),
    ("base_file", "/etc/docker-glue/base.cfg"),
    ("error_pages", "/etc/docker-glue/pages"),
    ("state_dir", "/srv/docker-glue"),
    ("runtime_dir", "/run/balancer"),
    ("certificate_list", "/run/docker-glue-certificates/certificates.json"),
    ("leave_running", "true"),
    ("passthrough", "true"),
    ("udp_socket", "/run/udp.sock"),
    ("udp_engine", "nft"),
    ("master_socket", "/run/haproxy-master.sock"),
    ("reload_unit", "haproxy.service"),
    ("stats_socket", "/run/haproxy-of-ours/haproxy.sock"),
    ("haproxy_user", "www-data"),
    ("haproxy_options_file", "/etc/haproxy/arguments"),
    ("template_dir", "/etc/docker-glue/templates"),
    ("template_file", "haproxy.cfg.j2"),
    ("stop_timeout", "1m"),
    ("hold", "5m"),
    ("wait_for_start", "20s"),
    ("connect_timeout", "2s"),
    ("spare_backends", "7"),
    ("hard_stop_after", "1h"),
    ("allow_hosts", "*.example.com"),
    ("own_hosts_by", "com.docker.compose.project"),
    ("host_network", "off"),
    ("image_labels", "off"),
    ("allow_ports", "80,tcp:5432,udp:53"),
    ("constraint", "com.example.balancer=blue"),
    ("fleet", "etcd://10.0.0.2?name=lb1"),
    ("dashboard", "9000"),
    ("dashboard_host", "glue.example.com"),
    ("metrics", "9105"),
    ("haproxy_metrics", "9106"),
    ("metrics_host", "web1.example.com"),
    ("log_format", "json"),
    ("verbose", "1"),
    ("quiet", "true"),
    ("handler_paths", "/etc/docker-glue/docker-glue.d"),
    ("script_paths", "/usr/libexec/docker-glue"),
    ("plugin_paths", "/usr/lib/docker-glue/plugins"),
];

fn sample_value(key: &str) -> &'static str {
    let row = VALUES.iter().find(|(text, _)| *text == key);
    row.unwrap_or_else(|| panic!("give {key} a value in the table of this test")).1
}

/// Returns the options that can also be set in the environment and in the settings file.
fn configurable_options(command: &Command) -> impl Iterator<Item = &Arg> {
    let elsewhere = ["help", "version", "settings"];
    command.get_arguments().filter(move |arg| !elsewhere.contains(&arg.get_id().as_str()))
}

fn read_settings(args: &[String], env: &[(String, String)]) -> Settings {
    let base = ["docker-balancer", "--reload-unit=h.service"].map(Into::into);
    let watch = (!args.iter().any(|arg| arg == "--once")).then(|| "--watch".into());
    let args: Vec<_> = base.into_iter().chain(watch).chain(args.iter().map(Into::into)).collect();
    let none = (env_variable("settings"), "/dev/null".into());
    let env = [none].into_iter().chain(env.iter().cloned()).collect();
    let machine = HostEnv { uid: 0, env, ipv6: true };
    let mut settings = Settings::from_args(&args, &machine).unwrap();
    // The file in which options stand is that of the policies, too.
    settings.policy_file = PolicyFile::new(None);
    settings
}

#[test]
fn every_option_works_as_flag_variable_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    for arg in configurable_options(&options::balancer_command()) {
        let key = arg.get_id().as_str();
        if ["watch", "reload_unit", "once"].contains(&key) {
            continue; // `read_settings` adds these; see tests/core/settings.rs for all three layers.
        }
        let value = sample_value(key);
        let flag = format!("--{}", arg.get_long().unwrap());
        let flag = if is_switch(arg) { flag } else { format!("{flag}={value}") };
        let by_flag = read_settings(&[flag], &[]);
        assert_ne!(by_flag, read_settings(&[], &[]), "{key}");
        assert_eq!(by_flag, read_settings(&[], &[(env_variable(key), value.into())]), "{key}");
        std::fs::write(&file, format!("{key} = {value:?}")).unwrap();
        assert_eq!(
            by_flag,
            read_settings(&[format!("--settings={}", file.display())], &[]),
            "{key}"
        );
    }
}

fn read_glue(args: &[String], env: &[(String, String)]) -> GlueSettings {
    let args = ["docker-glue".to_owned(), "--watch".to_owned()].into_iter().chain(args.to_vec());
    let args: Vec<_> = args.map(Into::into).collect();
    let none = (env_variable("settings"), "/dev/null".into());
    let env = [none].into_iter().chain(env.iter().cloned()).collect();
    let (_, mut settings) =
        GlueTask::from_args(&args, HostEnv { uid: 0, env, ipv6: true }).unwrap();
    // The machine's properties are not settings and are not compared.
    settings.machine = HostEnv::default();
    settings
}

#[test]
fn every_docker_glue_option_works_as_flag_variable_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    for arg in configurable_options(&glue::GlueOptions::command_line()) {
        let key = arg.get_id().as_str();
        if ["watch", "once"].contains(&key) {
            continue;
        }
        let value = sample_value(key);
        let flag = format!("--{}", arg.get_long().unwrap());
        // Folders that no other sample value uses.
        let value = if key.ends_with("_paths") { "/srv/glue" } else { value };
        let flag = if is_switch(arg) { flag } else { format!("{flag}={value}") };
        let by_flag = read_glue(&[flag], &[]);
        assert_ne!(by_flag, read_glue(&[], &[]), "{key}");
        assert_eq!(by_flag, read_glue(&[], &[(env_variable(key), value.into())]), "{key}");
        // docker-glue ignores docker-balancer's keys.
        std::fs::write(&file, format!("{key} = {value:?}\nhold = '5m'\n")).unwrap();
        assert_eq!(by_flag, read_glue(&[format!("--settings={}", file.display())], &[]), "{key}");
    }
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count)
}

#[test]
fn every_option_has_heading_text_and_default() {
    let all = [options::balancer_command(), glue::GlueOptions::command_line(), udp_command()];
    for arg in all.iter().flat_map(configurable_options) {
        let string = help_text(arg);
        assert!(arg.get_help_heading().is_some(), "{}", arg.get_id());
        assert!(!arg.get_help().unwrap().to_string().ends_with('.'), "{}", arg.get_id());
        let says = string.contains("[default: ") || !arg.get_default_values().is_empty();
        assert!(says || ["once", "watch"].contains(&arg.get_id().as_str()), "{}", arg.get_id());
    }
}

fn help_text(arg: &Arg) -> String {
    arg.get_long_help().or(arg.get_help()).unwrap().to_string()
}

#[test]
fn help_matches_snapshots() {
    let help = options::balancer_command().term_width(100).render_long_help().to_string();
    insta::assert_snapshot!("help", trim_lines(&help));
    let help = options::balancer_command().term_width(100).render_help().to_string();
    insta::assert_snapshot!("short-help", trim_lines(&help));
    let help = glue::GlueOptions::command_line().term_width(100).render_long_help().to_string();
    insta::assert_snapshot!("glue-help", trim_lines(&help));
    let help = udp_command().term_width(100).render_long_help().to_string();
    insta::assert_snapshot!("udp-help", trim_lines(&help));
}

fn trim_lines(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// To update the file, run `BLESS=1 cargo test --test core cli::` and review the diff.
#[test]
fn example_settings_file_has_every_option_and_parses_uncommented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/settings.toml");
    let example = example_file();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &example).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), example, "BLESS=1 renews it");

    let uncommented: String = example
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|remaining| !remaining.starts_with([' ', '#']))
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(
        uncommented.lines().count(),
        configurable_options(&options::balancer_command()).count()
            + glue_only_options(&glue_command()).count()
    );
    // Sources replace it.
    let consistent = uncommented.replace("docker_url = ", "#docker_url = ");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, consistent).unwrap();
    read_settings(&[format!("--settings={}", file.display())], &[]);
    read_glue(&[format!("--settings={}", file.display())], &[]);
}

fn glue_command() -> Command {
    glue::GlueOptions::command_line()
}

/// Returns the options of docker-glue that docker-balancer does not have.
fn glue_only_options(glue: &Command) -> impl Iterator<Item = &Arg> {
    let balancer = options::balancer_command();
    let has = move |arg: &Arg| balancer.get_arguments().any(|a| a.get_id() == arg.get_id());
    configurable_options(glue).filter(move |arg| !has(arg))
}

fn example_file() -> String {
    let mut example = String::from(
        "# Settings of docker-balancer and docker-glue, to be put at /etc/docker-glue/settings.toml.\n\
         # Each option stands at its default; where that depends on the machine, at an example.\n\
         # The environment (DOCKER_GLUE_HOLD=60s) and the command line (--hold 60s) win over this file.\n",
    );
    let (command, glue) = (options::balancer_command(), glue_command());
    let mut heading = None;
    for arg in configurable_options(&command).chain(glue_only_options(&glue)) {
        if heading != arg.get_help_heading() {
            heading = arg.get_help_heading();
            write!(example, "\n\n## {}\n", heading.unwrap()).unwrap();
        }
        writeln!(example, "\n{}#{} = {}", comment_lines(arg), arg.get_id(), toml_line(arg))
            .unwrap();
    }
    example
}

fn comment_lines(arg: &Arg) -> String {
    let kinds = arg.get_possible_values();
    let kinds = kinds
        .iter()
        .filter_map(|kind| kind.get_help().map(|help| format!("{}: {help}", kind.get_name())));
    let paragraphs = help_text(arg).lines().map(str::to_owned).chain(kinds).collect::<Vec<_>>();
    let lines = paragraphs.iter().filter(|line| !line.is_empty()).flat_map(|line| wrap_text(line));
    lines.flat_map(|line| ["# ".into(), line, "\n".into()]).collect()
}

fn wrap_text(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if 96 < lines.last().unwrap().len() + word.len() {
            lines.push(String::new());
        }
        let line = lines.last_mut().unwrap();
        let space = if line.is_empty() { "" } else { " " };
        write!(line, "{space}{word}").unwrap();
    }
    lines
}

fn toml_line(arg: &Arg) -> String {
    let default = arg.get_default_values().first().map(|default| default.to_str().unwrap());
    let value = default.unwrap_or_else(|| sample_value(arg.get_id().as_str()));
    match arg.get_action() {
        ArgAction::SetTrue => "false".into(),
        ArgAction::Count => "0".into(),
        ArgAction::Append => format!("{:?}", value.split(',').collect::<Vec<_>>()),
        _ if ["true", "false"].contains(&value) => value.into(),
        _ => format!("{value:?}"),
    }
}

fn run_balancer(args: &str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command
        .args(args.split_whitespace())
        .env_clear()
        .env("DOCKER_GLUE_SETTINGS", "/dev/null")
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn runtime_dir_of_command_comes_from_strongest_layer() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, "runtime_dir = '/file'\nhaproxy = 'service'").unwrap();
    let settings = format!("--settings={}", file.display());
    let args = |words: &[&str]| -> Vec<_> {
        ["docker-balancer"].iter().chain(words).map(Into::into).collect()
    };
    for (words, env, expected) in [
        (vec!["drain", "web"], None, "/run/docker-glue"),
        (vec!["drain", "web", &settings], None, "/file"),
        (vec![&settings, "drain", "web"], Some("/env"), "/env"),
        (vec![&settings, "undrain", "web", "--runtime-dir=/flag"], Some("/env"), "/flag"),
        (vec!["--runtime-dir=/flag", "--map-port=80=8080", "drain", "web"], None, "/flag"),
    ] {
        let none = (env_variable("settings"), "/dev/null".into());
        let env = env.map(|directory: &str| (env_variable("runtime_dir"), directory.to_owned()));
        let env = [none].into_iter().chain(env).collect();
        let task = Task::from_args(&args(&words), &HostEnv { uid: 0, env, ipv6: true }).unwrap();
        let Task::Daemon(errand) = task else { panic!("{words:?}") };
        assert_eq!(errand.runtime_dir, Path::new(expected), "{words:?}");
    }
}

/// An option that a command shares with the daemon means the same before and after the command's name.
#[test]
fn option_is_accepted_before_and_after_a_command() {
    let task = |words: Vec<String>| {
        let args: Vec<_> =
            ["docker-balancer".to_owned()].into_iter().chain(words).map(Into::into).collect();
        let env = [(env_variable("settings"), "/dev/null".to_owned())].into();
        Task::from_args(&args, &HostEnv { uid: 0, env, ipv6: true })
            .unwrap_or_else(|_| panic!("{args:?}"))
    };
    let verbs = [
        "plan",
        "check",
        "ready",
        "explain http://a.test/",
        "status",
        "drain web",
        "history",
        "certificate ca",
        "certificate renew a.test",
    ];
    for arg in configurable_options(&options::balancer_command()) {
        let key = arg.get_id().as_str();
        if ["watch", "once"].contains(&key) {
            continue;
        }
        let flag = format!("--{}", arg.get_long().unwrap());
        let flag = if is_switch(arg) { flag } else { format!("{flag}={}", sample_value(key)) };
        let flag = [flag];
        for verb in verbs {
            let verb: Vec<_> = verb.split(' ').map(str::to_owned).collect();
            let service = ["--reload-unit=h.service".to_owned()];
            let before = [&flag[..], &service, &verb].concat();
            let after = [&verb[..], &flag, &service].concat();
            if key == "fleet" {
                // No command uses it, and `status` has its own --fleet.
                task(before);
                continue;
            }
            if key == "reload_unit" {
                assert_eq!(task(before[1..].to_vec()), task(after[..after.len() - 1].to_vec()));
                continue;
            }
            assert_eq!(task(before), task(after), "{flag:?} {verb:?}");
        }
    }
    let check = task(["check", "--constraint=a=b"].map(Into::into).to_vec());
    let Task::Local(_, settings) = check else { panic!("{check:?}") };
    assert_eq!(settings.fences.constraints[0].label, "a");
}

/// Each row has the arguments, the exit code, and a text that stdout (if the code is 0) or stderr must contain.
#[test]
fn exit_code_and_message_match_the_outcome() {
    let table = [
        ("--help", 0, "Try it, without root"),
        ("-h", 0, "--help explains"),
        ("--version", 0, env!("CARGO_PKG_VERSION")),
        ("", 2, "Usage: docker-balancer"),
        ("--hold 5m", 2, "--watch (-w)"),
        ("--wacth", 2, "'--watch'"),
        (
            "plan --once",
            2,
            "--once must be given before the command: docker-balancer --once … COMMAND",
        ),
        (
            "drain web --fleet etcd://a?name=b",
            2,
            "only the docker-balancer that runs uses --fleet; remove it here",
        ),
        ("plan --fleet=etcd://a?name=b", 2, "that runs uses --fleet; remove it here"),
        ("certificate ca --fleet etcd://a?name=b", 2, "that runs uses --fleet; remove it here"),
        ("status --fleet etcd://a?name=b", 2, "unexpected argument 'etcd://a?name=b'"),
        ("status --fleet --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock"),
        ("check --include-evn", 2, "'--include-env'"),
        ("status --state-dir /x --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock"),
        ("--state-dir /x status --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock"),
        ("check --include-env --docker-url unix:///nowhere", 4, "Docker does not answer"),
        ("check --help", 0, "--compose <FILE>"),
        ("ready --runtime-dir /nowhere", 1, "answer on /nowhere/haproxy.sock: No such file"),
        ("-w --hold 60", 2, "30s or 5m"),
        ("-w extra", 2, "unrecognized subcommand 'extra'"),
        ("drain --help", 0, "4 docker-balancer does not answer"),
        ("undrain -h", 0, "Usage: docker-balancer undrain"),
        ("drain", 2, "<CONTAINER>"),
        ("undrain", 2, "<CONTAINER>"),
        ("drain web --wait 30", 2, "30s or 5m"),
        ("-w drain web", 2, "remove --watch and --once"),
        ("drain web --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock: No such file"),
        ("--runtime-dir /nowhere undrain web", 4, "set the --runtime-dir"),
        ("drain web --settings /nowhere", 2, "docker-balancer: cannot read /nowhere: No such file"),
        ("-w --haproxy service", 2, "--reload-unit"),
        ("-w --settings /nowhere", 2, "docker-balancer: cannot read /nowhere: No such file"),
        (
            "-1 --state-dir /proc/nowhere",
            1,
            "docker-balancer: cannot create the directory /proc/nowhere: ",
        ),
    ];
    for (args, code, part) in table {
        let output = run_balancer(args);
        let (silent, bytes) = match code {
            0 => (output.stderr, output.stdout),
            _ => (output.stdout, output.stderr),
        };
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(part), "{args}: {text}");
        assert_eq!(output.status.code(), Some(code), "{args}: {text}");
        assert!(silent.is_empty(), "{args}");
    }
}

#[test]
fn option_without_effect_is_logged_once() {
    let report = |args: &str| {
        let output = run_balancer(&format!("-1 --state-dir /proc/no --template-file x {args}"));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = report("");
    assert_eq!(text.matches("--template-file is ignored").count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");

    let json = report("--log-format json");
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().contains("--base-file"), "{line}");
}
