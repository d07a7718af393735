//! The command line as a newcomer meets it: help, exit codes, and the example of a settings file.

#![allow(clippy::unwrap_used)]

use clap::{Arg, ArgAction, Command};
use docker_glue::{
    cli::{self, Program, glue},
    settings::{GlueSettings, GlueTask, Machine, Settings, Task, variable},
};
use std::{
    fmt::Write,
    path::Path,
    process::{Output, Stdio},
};

/// A value other than the default for each option; where there is no default, the example file shows it.
const VALUES: &[(&str, &str)] = &[
    ("once", "true"),
    ("watch", "true"),
    ("docker_url", "unix:///var/run/docker.sock"),
    ("include_env", "true"),
    ("watch_set", "die,start"),
    ("network", "web"),
    ("address", "published"),
    ("bind_address", "127.0.0.1"),
    ("map_port", "80=8080"),
    ("trusted_proxies", "10.0.0.0/8"),
    ("access_log", "/dev/log"),
    ("haproxy", "service"),
    ("haproxy_bin", "/usr/local/sbin/haproxy"),
    ("config_file", "/etc/haproxy/haproxy.cfg"),
    ("base_file", "/etc/docker-glue/base.cfg"),
    ("state_dir", "/srv/docker-glue"),
    ("runtime_dir", "/run/balancer"),
    ("leave_running", "true"),
    ("master_socket", "/run/haproxy-master.sock"),
    ("reload_unit", "haproxy.service"),
    ("stats_socket", "/run/haproxy-of-ours/haproxy.sock"),
    ("haproxy_user", "www-data"),
    ("rc", "/etc/haproxy/arguments"),
    ("template_dir", "/etc/docker-glue/templates"),
    ("template_file", "haproxy.cfg.j2"),
    ("stop_timeout", "1m"),
    ("hold", "5m"),
    ("wait_for_start", "20s"),
    ("spare_backends", "7"),
    ("hard_stop_after", "1h"),
    ("allow_hosts", "*.example.com"),
    ("own_hosts_by", "com.docker.compose.project"),
    ("host_network", "off"),
    ("image_labels", "off"),
    ("allow_ports", "80,443,8000-8100"),
    ("constraint", "com.example.balancer=blue"),
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

fn value(key: &str) -> &'static str {
    let row = VALUES.iter().find(|(known, _)| *known == key);
    row.unwrap_or_else(|| panic!("give {key} a value in the table of this test")).1
}

/// All that can also be said in the environment and in the file.
fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let elsewhere = ["help", "version", "settings"];
    command.get_arguments().filter(move |arg| !elsewhere.contains(&arg.get_id().as_str()))
}

fn read(args: &[String], env: &[(String, String)]) -> Settings {
    let base = ["docker-balancer", "--reload-unit=h.service"].map(Into::into);
    let watch = (!args.iter().any(|arg| arg == "--once")).then(|| "--watch".into());
    let args: Vec<_> = base.into_iter().chain(watch).chain(args.iter().map(Into::into)).collect();
    let none = (variable("settings"), "/dev/null".into());
    let env = [none].into_iter().chain(env.iter().cloned()).collect();
    let machine = Machine { uid: 0, env, ipv6: true };
    Settings::read(&args, &machine).unwrap()
}

#[test]
fn every_option_is_a_flag_and_a_variable_and_a_key_and_means_something() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    for arg in options(&cli::command()) {
        let key = arg.get_id().as_str();
        if ["watch", "reload_unit", "once"].contains(&key) {
            continue; // `read` gives them; tests/settings.rs has them in all three layers.
        }
        let value = value(key);
        let flag = format!("--{}", arg.get_long().unwrap());
        let flag = if switches(arg) { flag } else { format!("{flag}={value}") };
        let by_flag = read(&[flag], &[]);
        assert_ne!(by_flag, read(&[], &[]), "{key}");
        assert_eq!(by_flag, read(&[], &[(variable(key), value.into())]), "{key}");
        std::fs::write(&file, format!("{key} = {value:?}")).unwrap();
        assert_eq!(by_flag, read(&[format!("--settings={}", file.display())], &[]), "{key}");
    }
}

fn read_glue(args: &[String], env: &[(String, String)]) -> GlueSettings {
    let args = ["docker-glue".to_owned(), "--watch".to_owned()].into_iter().chain(args.to_vec());
    let args: Vec<_> = args.map(Into::into).collect();
    let none = (variable("settings"), "/dev/null".into());
    let env = [none].into_iter().chain(env.iter().cloned()).collect();
    let (_, mut settings) = GlueTask::read(&args, Machine { uid: 0, env, ipv6: true }).unwrap();
    // What was read of the machine is not what is compared.
    settings.machine = Machine::default();
    settings
}

#[test]
fn every_option_of_docker_glue_is_a_flag_and_a_variable_and_a_key_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    for arg in options(&glue::Options::command_line()) {
        let key = arg.get_id().as_str();
        if ["watch", "once"].contains(&key) {
            continue;
        }
        let value = value(key);
        let flag = format!("--{}", arg.get_long().unwrap());
        // Folders that nobody else names.
        let value = if key.ends_with("_paths") { "/srv/glue" } else { value };
        let flag = if switches(arg) { flag } else { format!("{flag}={value}") };
        let by_flag = read_glue(&[flag], &[]);
        assert_ne!(by_flag, read_glue(&[], &[]), "{key}");
        assert_eq!(by_flag, read_glue(&[], &[(variable(key), value.into())]), "{key}");
        // The other program's keys are none of its business.
        std::fs::write(&file, format!("{key} = {value:?}\nhold = '5m'\n")).unwrap();
        assert_eq!(by_flag, read_glue(&[format!("--settings={}", file.display())], &[]), "{key}");
    }
}

fn switches(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count)
}

#[test]
fn every_option_has_a_heading_and_a_text_and_says_its_default() {
    let both = [cli::command(), glue::Options::command_line()];
    for arg in both.iter().flat_map(options) {
        let told = text(arg);
        assert!(arg.get_help_heading().is_some(), "{}", arg.get_id());
        assert!(!arg.get_help().unwrap().to_string().ends_with('.'), "{}", arg.get_id());
        let says = told.contains("[default: ") || !arg.get_default_values().is_empty();
        assert!(says || ["once", "watch"].contains(&arg.get_id().as_str()), "{}", arg.get_id());
    }
}

fn text(arg: &Arg) -> String {
    arg.get_long_help().or(arg.get_help()).unwrap().to_string()
}

#[test]
fn the_help_reads_well() {
    let help = cli::command().term_width(100).render_long_help().to_string();
    insta::assert_snapshot!("help", trimmed(&help));
    let help = cli::command().term_width(100).render_help().to_string();
    insta::assert_snapshot!("short-help", trimmed(&help));
    let help = glue::Options::command_line().term_width(100).render_long_help().to_string();
    insta::assert_snapshot!("glue-help", trimmed(&help));
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// To renew it: `BLESS=1 cargo test --test cli`, and read the difference.
#[test]
fn the_example_file_has_every_option_and_is_read_when_uncommented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/settings.toml");
    let example = example();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &example).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), example, "BLESS=1 renews it");

    let uncommented: String = example
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(
        uncommented.lines().count(),
        options(&cli::command()).count() + own(&glue()).count()
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, uncommented).unwrap();
    read(&[format!("--settings={}", file.display())], &[]);
    read_glue(&[format!("--settings={}", file.display())], &[]);
}

fn glue() -> Command {
    glue::Options::command_line()
}

/// What docker-balancer has not.
fn own(glue: &Command) -> impl Iterator<Item = &Arg> {
    let balancer = cli::command();
    let has = move |arg: &Arg| balancer.get_arguments().any(|it| it.get_id() == arg.get_id());
    options(glue).filter(move |arg| !has(arg))
}

fn example() -> String {
    let mut example = String::from(
        "# Settings of docker-balancer and docker-glue, to be put at /etc/docker-glue/settings.toml.\n\
         # Each option stands at its default; where that depends on the machine, at an example.\n\
         # The environment (DOCKER_GLUE_HOLD=60s) and the command line (--hold 60s) win over this file.\n",
    );
    let (command, glue) = (cli::command(), glue());
    let mut heading = None;
    for arg in options(&command).chain(own(&glue)) {
        if heading != arg.get_help_heading() {
            heading = arg.get_help_heading();
            write!(example, "\n\n## {}\n", heading.unwrap()).unwrap();
        }
        writeln!(example, "\n{}#{} = {}", comment(arg), arg.get_id(), written(arg)).unwrap();
    }
    example
}

fn comment(arg: &Arg) -> String {
    let kinds = arg.get_possible_values();
    let kinds = kinds
        .iter()
        .filter_map(|kind| kind.get_help().map(|help| format!("{}: {help}", kind.get_name())));
    let paragraphs = text(arg).lines().map(str::to_owned).chain(kinds).collect::<Vec<_>>();
    let lines = paragraphs.iter().filter(|line| !line.is_empty()).flat_map(|line| wrapped(line));
    lines.flat_map(|line| ["# ".into(), line, "\n".into()]).collect()
}

fn wrapped(text: &str) -> Vec<String> {
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

fn written(arg: &Arg) -> String {
    let default = arg.get_default_values().first().map(|default| default.to_str().unwrap());
    let value = default.unwrap_or_else(|| value(arg.get_id().as_str()));
    match arg.get_action() {
        ArgAction::SetTrue => "false".into(),
        ArgAction::Count => "0".into(),
        ArgAction::Append => format!("{:?}", value.split(',').collect::<Vec<_>>()),
        _ if ["true", "false"].contains(&value) => value.into(),
        _ => format!("{value:?}"),
    }
}

fn balancer(args: &str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command
        .args(args.split_whitespace())
        .env_clear()
        .env("DOCKER_GLUE_SETTINGS", "/dev/null")
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn the_socket_is_found_where_any_layer_says_it_is() {
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
        let none = (variable("settings"), "/dev/null".into());
        let env = env.map(|directory: &str| (variable("runtime_dir"), directory.to_owned()));
        let env = [none].into_iter().chain(env).collect();
        let task = Task::read(&args(&words), &Machine { uid: 0, env, ipv6: true }).unwrap();
        let Task::Ask(errand) = task else { panic!("{words:?}") };
        assert_eq!(errand.runtime_dir, Path::new(expected), "{words:?}");
    }
}

/// Whatever a command shares with the daemon means the same before it and after it.
#[test]
fn every_option_is_taken_before_and_after_a_command() {
    let task = |words: Vec<String>| {
        let args: Vec<_> =
            ["docker-balancer".to_owned()].into_iter().chain(words).map(Into::into).collect();
        let env = [(variable("settings"), "/dev/null".to_owned())].into();
        Task::read(&args, &Machine { uid: 0, env, ipv6: true })
            .unwrap_or_else(|_| panic!("{args:?}"))
    };
    let verbs = ["plan", "check", "explain http://a.test/", "status", "drain web", "history"];
    for arg in options(&cli::command()) {
        let key = arg.get_id().as_str();
        if ["watch", "once"].contains(&key) {
            continue;
        }
        let flag = format!("--{}", arg.get_long().unwrap());
        let flag = if switches(arg) { flag } else { format!("{flag}={}", value(key)) };
        let flag = [flag];
        for verb in verbs {
            let verb: Vec<_> = verb.split(' ').map(str::to_owned).collect();
            let service = ["--reload-unit=h.service".to_owned()];
            let before = [&flag[..], &service, &verb].concat();
            let after = [&verb[..], &flag, &service].concat();
            if key == "reload_unit" {
                assert_eq!(task(before[1..].to_vec()), task(after[..after.len() - 1].to_vec()));
                continue;
            }
            assert_eq!(task(before), task(after), "{flag:?} {verb:?}");
        }
    }
    let check = task(["check", "--constraint=a=b"].map(Into::into).to_vec());
    let Task::Look(_, settings) = check else { panic!("{check:?}") };
    assert_eq!(settings.fences.constraints[0].label, "a");
}

/// Exit code, and what the given stream must contain.
#[test]
fn exit_codes_say_what_happened() {
    let table = [
        ("--help", 0, "Try it, without root"),
        ("-h", 0, "--help explains"),
        ("--version", 0, env!("CARGO_PKG_VERSION")),
        ("", 2, "Usage: docker-balancer"),
        ("--hold 5m", 2, "--watch (-w)"),
        ("--wacth", 2, "'--watch'"),
        ("plan --once", 2, "--once stands before the command: docker-balancer --once … COMMAND"),
        ("check --include-evn", 2, "'--include-env'"),
        ("status --state-dir /x --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock"),
        ("--state-dir /x status --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock"),
        ("check --include-env --docker-url unix:///nowhere", 4, "Docker could not be asked"),
        ("check --help", 0, "--compose <FILE>"),
        ("-w --hold 60", 2, "30s or 5m"),
        ("-w extra", 2, "unrecognized subcommand 'extra'"),
        ("drain --help", 0, "4 no"),
        ("undrain -h", 0, "Usage: docker-balancer undrain"),
        ("drain", 2, "<CONTAINER>"),
        ("undrain", 2, "<CONTAINER>"),
        ("drain web --wait 30", 2, "30s or 5m"),
        ("-w drain web", 2, "leave --watch and --once away"),
        ("drain web --runtime-dir /nowhere", 4, "answers on /nowhere/control.sock: No such file"),
        ("--runtime-dir /nowhere undrain web", 4, "name the --runtime-dir"),
        ("drain web --settings /nowhere", 2, "docker-balancer: cannot read /nowhere: No such file"),
        ("-w --haproxy service", 2, "--reload-unit"),
        ("-w --settings /nowhere", 2, "docker-balancer: cannot read /nowhere: No such file"),
        (
            "-1 --state-dir /proc/nowhere",
            1,
            "docker-balancer: cannot make the directory /proc/nowhere: ",
        ),
    ];
    for (args, code, part) in table {
        let output = balancer(args);
        let (silent, told) = match code {
            0 => (output.stderr, output.stdout),
            _ => (output.stdout, output.stderr),
        };
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(part), "{args}: {told}");
        assert_eq!(output.status.code(), Some(code), "{args}: {told}");
        assert!(silent.is_empty(), "{args}");
    }
}

#[test]
fn an_option_that_does_nothing_is_told_once_in_the_log() {
    let told = |args: &str| {
        let output = balancer(&format!("-1 --state-dir /proc/no --template-file x {args}"));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = told("");
    assert_eq!(text.matches("--template-file does nothing").count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");

    let json = told("--log-format json");
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().contains("--base-file"), "{line}");
}
