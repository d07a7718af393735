//! The values of options: by flag, environment and settings file, and how they are parsed.

use docker_glue::{
    label::HostNetwork,
    model::label_option::LabelProtocol,
    settings::{HostEnv, OnOff, Settings, SettingsError},
};
use std::{ffi::OsString, io::Write};

const DUMMY: &str = "settings.toml";

/// Reads settings from a command line, from `NAME=value` words of the environment, and from a file.
fn read_settings(args: &str, env: &[&str], file: &str) -> Result<Settings, String> {
    let mut settings = tempfile::NamedTempFile::new().unwrap();
    settings.write_all(file.as_bytes()).unwrap();
    let mut args: Vec<OsString> =
        ["docker-balancer"].into_iter().chain(args.split_whitespace()).map(Into::into).collect();
    if !file.is_empty() {
        args.push("--settings".into());
        args.push(settings.path().into());
    }
    let env = ["DOCKER_GLUE_SETTINGS=/dev/null"]
        .iter()
        .chain(env)
        .map(|pair| pair.split_once('=').unwrap());
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let machine = HostEnv { uid: 0, env, ipv6: true };
    Settings::from_args(&args, &machine).map_err(|refusal| {
        let text = match refusal {
            SettingsError::Usage(error) => error.to_string(),
            SettingsError::Invalid(error) => format!("{error:#}"),
        };
        text.replace(&settings.path().display().to_string(), DUMMY)
    })
}

/// Checks the debug output of `field` for each row: flags, environment, file, expected.
fn check_field<T: std::fmt::Debug>(
    field: impl Fn(Settings) -> T,
    table: &[(&str, &[&str], &str, &str)],
) {
    for (args, env, file, expected) in table {
        let text = match read_settings(args, env, file) {
            Ok(settings) => format!("{:?}", field(settings)),
            Err(reason) => format!("no: {reason}"),
        };
        assert_eq!(text, *expected, "{args} | {env:?} | {file}");
    }
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let env: &[&str] = &["DOCKER_GLUE_HOLD=2s"];
    check_field(
        |settings| settings.hold,
        &[
            ("-w", &[], "", "60s"),
            ("-w", &[], "hold = '3s'", "3s"),
            ("-w", env, "hold = '3s'", "2s"),
            ("-w --hold 1s", env, "hold = '3s'", "1s"),
            ("-w --hold 60s", env, "hold = '3s'", "60s"),
            ("-w", &["DOCKER_GLUE_HOLD="], "hold = '3s'", "3s"),
        ],
    );
}

#[test]
fn list_of_stronger_layer_replaces_list() {
    let env: &[&str] = &["DOCKER_GLUE_MAP_PORT=80=8002, 443=8442"];
    let file = "map_port = ['80=8003', '443=8443']";
    check_field(
        |settings| settings.port_map,
        &[
            ("-w", &[], "", "{}"),
            ("-w", &[], file, "{80: 8003, 443: 8443}"),
            ("-w", &[], "map_port = '80=8003,443=8443'", "{80: 8003, 443: 8443}"),
            ("-w", env, file, "{80: 8002, 443: 8442}"),
            ("-w --map-port 80=8001", env, file, "{80: 8001}"),
            ("-w --map-port 80=8001 --map-port 443=8441", env, file, "{80: 8001, 443: 8441}"),
        ],
    );
}

#[test]
fn switch_is_turned_off_by_stronger_layer() {
    let on: &[&str] = &["DOCKER_GLUE_INCLUDE_ENV=yes"];
    check_field(
        |settings| settings.include_env,
        &[
            ("-w", &[], "", "false"),
            ("-w --include-env", &[], "", "true"),
            ("-w", on, "include_env = false", "true"),
            ("-w --include-env=off", on, "include_env = true", "false"),
            ("-w", &["DOCKER_GLUE_INCLUDE_ENV=0"], "include_env = true", "false"),
        ],
    );
}

#[test]
fn once_wins_over_watch_and_stronger_layer_wins_over_both() {
    check_field(
        |settings| settings.command,
        &[
            ("-1", &[], "", "Once"),
            ("-w", &[], "", "Watch"),
            ("-1w", &[], "", "Once"),
            ("--watch --once", &[], "", "Once"),
            ("", &["DOCKER_GLUE_WATCH=1"], "", "Watch"),
            ("", &["DOCKER_GLUE_WATCH=1", "DOCKER_GLUE_ONCE=1"], "", "Once"),
            ("", &[], "watch = true", "Watch"),
            ("", &["DOCKER_GLUE_ONCE=true"], "watch = true", "Once"),
            ("-w", &["DOCKER_GLUE_ONCE=true"], "once = true", "Watch"),
        ],
    );
    let usage = read_settings("", &[], "").unwrap_err();
    assert!(usage.contains("--watch (-w)") && usage.contains("Usage: docker-balancer"), "{usage}");
}

#[test]
fn log_filter_follows_verbosity_options() {
    check_field(
        |settings| settings.log.filter,
        &[
            ("-w", &[], "", "\"info\""),
            ("-wv", &[], "", "\"docker_glue=debug,info\""),
            ("-wvv", &[], "", "\"trace\""),
            ("-wq", &[], "", "\"warn\""),
            ("-w", &[], "verbose = 2", "\"trace\""),
            ("-wq", &["DOCKER_GLUE_VERBOSE=2"], "", "\"warn\""),
            ("-wv", &[], "quiet = true", "\"docker_glue=debug,info\""),
            ("-wv", &["RUST_LOG=bollard=debug"], "", "\"bollard=debug\""),
        ],
    );
}

#[test]
fn file_error_names_its_line() {
    let scalar = "the value must be a text, a number, true, false, or a list of these";
    let table = [
        ("\nholdd = '3s'", "2: unknown option \"holdd\"; did you mean hold?".into()),
        ("map-port = 1", "1: unknown option \"map-port\"; did you mean map_port?".into()),
        (
            "colour = 1",
            "1: unknown option \"colour\"; --help lists all options, write - as _".into(),
        ),
        (
            "settings = 'x'",
            "1: unknown option \"settings\"; --help lists all options, write - as _"
                .into(),
        ),
        (
            "# hold\nhold = 60",
            "2: hold: invalid value '60': a time must be a number with a unit, as in 500ms, 30s or \
             5m"
                .into(),
        ),
        ("hold = ['1s', '2s']", "1: hold: the option takes one value, not a list".into()),
        ("[hold]\na = 1", format!("1: hold: {scalar}")),
        ("map_port = [['80=81']]", format!("1: map_port: {scalar}")),
        (
            "include_env = 'maybe'",
            "1: include_env: invalid value 'maybe': the value must be one of true, false, yes, no, \
             on, off, 1 and 0"
                .into(),
        ),
        ("once = 'maybe'", "1: once: the value must be one of true, false, yes, no, on, off, 1 and \
                            0".into()),
        (
            "verbose = 'very'",
            "1: verbose: the value must be a whole number such as 2: invalid digit found in string".into(),
        ),
        (
            "haproxy = 'mine'",
            "1: haproxy: invalid value 'mine' [possible values: managed, service]".into(),
        ),
        ("\n\nhold = ", "3: string values must be quoted, expected literal string".into()),
        ("hold = '1s'\nhold = '2s'", "2: duplicate key".into()),
    ];
    for (file, expected) in table {
        assert_eq!(
            read_settings("-w", &[], file).unwrap_err(),
            format!("{DUMMY}:{expected}"),
            "{file}"
        );
    }
}

#[test]
fn environment_error_names_the_variable() {
    let text = read_settings("-w", &["DOCKER_GLUE_HOLD=60"], "").unwrap_err();
    let reason = "a time must be a number with a unit, as in 500ms, 30s or 5m";
    assert_eq!(text, format!("DOCKER_GLUE_HOLD: invalid value '60': {reason}"));
}

#[test]
fn missing_named_settings_file_is_an_error() {
    let text = read_settings("-w --settings /nowhere/settings.toml", &[], "").unwrap_err();
    assert!(text.starts_with("cannot read /nowhere/settings.toml: "), "{text}");
    let text = read_settings("-w", &["DOCKER_GLUE_SETTINGS=/nowhere/s.toml"], "").unwrap_err();
    assert!(text.starts_with("cannot read /nowhere/s.toml: "), "{text}");
}

#[test]
fn service_without_reload_method_is_an_error() {
    let text = read_settings("-w --haproxy service", &[], "").unwrap_err();
    assert!(
        text.contains("--master-socket SOCKET") && text.contains("--reload-unit UNIT"),
        "{text}"
    );
    let both = "-w --haproxy service --master-socket /run/m.sock --reload-unit h.service";
    check_field(
        |settings| settings.haproxy,
        &[
            ("-w", &[], "", "Managed { stop_timeout: 30s, at_exit: Stop }"),
            ("-w --leave-running", &[], "", "Managed { stop_timeout: 30s, at_exit: LeaveRunning }"),
            (
                both,
                &[],
                "",
                "Service { reload: MasterSocket(\"/run/m.sock\"), stats_socket: None, user: None }",
            ),
            (
                "-w --haproxy service --reload-unit h.service",
                &[],
                "",
                "Service { reload: Unit(\"h.service\"), stats_socket: None, user: None }",
            ),
            (
                "-w --haproxy service --reload-unit h.service --stats-socket /run/s --haproxy-user -",
                &[],
                "",
                "Service { reload: Unit(\"h.service\"), stats_socket: Some(\"/run/s\"), user: Some(Same) }",
            ),
            (
                "-w --haproxy service --reload-unit h.service --haproxy-user www",
                &[],
                "",
                "Service { reload: Unit(\"h.service\"), stats_socket: None, user: Some(Named(\"www\")) }",
            ),
        ],
    );
}

#[test]
fn defaults_depend_on_the_haproxy_mode() {
    let service = "--haproxy service --reload-unit h.service";
    check_field(
        |settings| (settings.config_file, settings.access_log),
        &[
            ("-w", &[], "", "(\"/var/lib/docker-glue/haproxy.cfg\", Stdout)"),
            ("-1", &[], "", "(\"/var/lib/docker-glue/haproxy.cfg\", Off)"),
            ("-w --state-dir /s", &[], "", "(\"/s/haproxy.cfg\", Stdout)"),
            (&format!("-w {service}"), &[], "", "(\"/etc/haproxy/haproxy.cfg\", To(\"/dev/log\"))"),
            ("-1 --config-file /c --access-log stdout", &[], "", "(\"/c\", Stdout)"),
        ],
    );
}

#[test]
fn unspecified_bind_address_covers_both_families() {
    check_field(
        |settings| settings.bind,
        &[
            ("-w", &[], "", "[Everywhere]"),
            ("-w --bind-address [::]", &[], "", "[Everywhere]"),
            ("-w --bind-address :: --bind-address 0.0.0.0", &[], "", "[At(0.0.0.0), At(::)]"),
            ("-w", &["DOCKER_GLUE_BIND_ADDRESS=127.0.0.1,::1"], "", "[At(127.0.0.1), At(::1)]"),
        ],
    );
    let env = [("DOCKER_GLUE_SETTINGS".into(), "/dev/null".into())].into();
    let machine = HostEnv { env, ..HostEnv::default() };
    let settings =
        Settings::from_args(&["".into(), "-w".into(), "--state-dir=/s".into()], &machine);
    assert_eq!(format!("{:?}", settings.unwrap().bind), "[At(0.0.0.0)]");
}

#[test]
fn two_ports_mapped_to_one_are_an_error() {
    let text = read_settings("-w --map-port 80=8080 --map-port 443=8080", &[], "").unwrap_err();
    assert_eq!(text, "--map-port: 80 and 443 cannot both be mapped to 8080");
    let text = read_settings("-w --map-port 80=8080 --map-port 80=8081", &[], "").unwrap_err();
    assert_eq!(text, "--map-port: 80 is mapped to two ports; give one");
}

#[test]
fn label_limits_are_collected_from_options() {
    let settings = read_settings(
        "-w --allow-ports 80,443 --allow-ports 8000-8001 --allow-hosts *.Example.com --constraint a=b",
        &[],
        "",
    );
    let fences = settings.unwrap().fences;
    assert_eq!(
        format!("{:?}", fences.allowed_ports),
        "Some(AllowedPorts { any: {80, 443, 8000, 8001}, named: {} })"
    );
    assert_eq!(fences.allowed_hosts[0].to_string(), "*.example.com");
    assert_eq!(fences.constraints[0].value.as_deref(), Some("b"));

    let fences = read_settings("-w", &[], "").unwrap().fences;
    assert_eq!(format!("{:?}", fences.allowed_ports), "None");
    assert_eq!(format!("{:?}", fences.reserved_ports), "{22, 2375, 2376, 2377, 4789, 7946}");
    assert_eq!((fences.own_hosts_by, fences.host_network), (None, HostNetwork::On));
    assert_eq!(read_settings("-w", &[], "").unwrap().image_labels, OnOff::On);
    assert_eq!(read_settings("-w --image-labels off", &[], "").unwrap().image_labels, OnOff::Off);

    let line = "-w --own-hosts-by com.docker.compose.project --host-network off --dashboard 9000 --metrics 9105";
    let file = r#"allow_hosts = ["*", "bank.test if project=bank", "*.bank.test  if  project"]"#;
    let fences = read_settings(line, &[], file).unwrap().fences;
    let hosts: Vec<_> = fences.allowed_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["*", "bank.test if project=bank", "*.bank.test if project"]);
    assert_eq!(fences.own_hosts_by.as_deref(), Some("com.docker.compose.project"));
    assert_eq!(fences.host_network, HostNetwork::Off);
    assert_eq!(format!("{:?}", fences.own_ports), "{9000, 9105}");
    assert!(fences.own_ports.is_subset(&fences.reserved_ports));
}

#[test]
fn ports_and_networks_of_tcp_are_collected_from_options() {
    let file = r#"tcp_ports = ["25000-25001", "26000"]
        proxy_protocol_from = ["10.0.0.0/8"]
        allow_ports = ["80,tcp:5432", "udp:53"]"#;
    let settings = read_settings("-w", &[], file).unwrap();
    assert_eq!(format!("{:?}", settings.tcp_ports), "{25000, 25001, 26000}");
    assert_eq!(format!("{:?}", settings.proxy_protocol_from), "[10.0.0.0/8]");
    let allowed = "Some(AllowedPorts { any: {80}, named: {(Tcp, 5432), (Udp, 53)} })";
    assert_eq!(format!("{:?}", settings.fences.allowed_ports), allowed);
    assert_eq!(format!("{:?}", settings.fences.reserved_udp_ports), "{67, 68, 123, 4789, 7946}");
    let error = read_settings("-w --tcp-ports 1-1001", &[], "").unwrap_err();
    assert_eq!(error, "--tcp-ports: 1001 ports are too many; give at most 1000");
}

#[test]
fn array_elements_keep_their_commas() {
    check_field(
        |settings| {
            settings.fences.constraints.into_iter().filter_map(|c| c.value).collect::<Vec<_>>()
        },
        &[
            ("-w", &[], "constraint = ['a=1,2', 'b=3']", "[\"1,2\", \"3\"]"),
            ("-w", &["DOCKER_GLUE_CONSTRAINT=a=1,b=2"], "", "[\"1\", \"2\"]"),
            ("-w --constraint a=1,2", &[], "", "[\"1,2\"]"),
        ],
    );
}

#[test]
fn docker_url_is_resolved_like_the_docker_client() {
    let tls: &[&str] = &["DOCKER_HOST=tcp://d:2376", "DOCKER_TLS_VERIFY=1", "HOME=/h"];
    check_field(
        |settings| {
            let docker = settings.docker;
            (docker.url.unwrap_or_default(), docker.tls_verify, docker.cert_path)
        },
        &[
            ("-w", &[], "", "(\"\", false, None)"),
            ("-w", tls, "", "(\"tcp://d:2376\", true, Some(\"/h/.docker\"))"),
            ("-w --docker-url unix:///x", tls, "", "(\"unix:///x\", true, Some(\"/h/.docker\"))"),
            (
                "-w",
                &["DOCKER_CERT_PATH=/c", "DOCKER_TLS_VERIFY="],
                "",
                "(\"\", false, Some(\"/c\"))",
            ),
        ],
    );
}

#[test]
fn options_without_effect_are_noted() {
    let settings = read_settings(
        "-w --template-dir :x --master-socket /m --haproxy-options-file /nowhere",
        &[],
        "",
    )
    .unwrap();
    let notes: Vec<_> = settings.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "--template-dir is ignored: templates are compiled in; use --base-file FILE for your \
             own global and defaults sections",
            "--master-socket is ignored: it applies only to --haproxy service",
            "--haproxy-options-file: no such file: /nowhere",
        ]
    );
    let report = |args| {
        read_settings(args, &[], "").unwrap().notes.iter().map(ToString::to_string).collect()
    };
    let table: [(&str, &[&str]); 5] = [
        ("-w --dashboard 9000 --dashboard-host glue.test", &[]),
        (
            "-w --base-file /etc/base.cfg --connect-timeout 2s",
            &["--connect-timeout is ignored with --base-file: set timeout connect in that file"],
        ),
        ("-w --base-file /etc/base.cfg --connect-timeout 250ms", &[]),
        ("-1 --dashboard 9000", &["--dashboard is ignored: it applies only with --watch"]),
        (
            "-w --dashboard-host a.test",
            &["--dashboard-host is ignored: it applies only with --dashboard"],
        ),
    ];
    for (args, expected) in table {
        let texts: Vec<String> = report(args);
        assert_eq!(texts, expected, "{args}");
    }
}

#[test]
fn options_file_adds_haproxy_arguments_under_its_former_name_too() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "EXTRAOPTS='-S /run/m.sock -de -m 16'\nOPTIONS=\"-f /etc/haproxy/conf.d\"")
        .unwrap();
    let path = file.path().to_str().unwrap();
    for (flags, environment, settings_file) in [
        (format!("-w --haproxy-options-file {path}"), String::new(), String::new()),
        (format!("-w --rc {path}"), String::new(), String::new()),
        ("-w".to_owned(), format!("DOCKER_GLUE_HAPROXY_OPTIONS_FILE={path}"), String::new()),
        ("-w".to_owned(), format!("DOCKER_GLUE_RC={path}"), String::new()),
        ("-w".to_owned(), String::new(), format!("haproxy_options_file = {path:?}")),
        ("-w".to_owned(), String::new(), format!("rc = {path:?}")),
    ] {
        let variables: Vec<_> =
            Some(&*environment).filter(|text| !text.is_empty()).into_iter().collect();
        let settings = read_settings(&flags, &variables, &settings_file).unwrap();
        let case = format!("{flags} {environment} {settings_file}");
        let expected = ["-f", "/etc/haproxy/conf.d", "-de", "-m", "16"];
        assert_eq!(settings.haproxy_arguments, expected, "{case}");
        assert!(settings.notes.is_empty(), "{case}: {:?}", settings.notes);
    }
}

#[test]
fn too_long_runtime_dir_is_an_error() {
    let text =
        read_settings(&format!("-w --runtime-dir /{}", "r".repeat(80)), &[], "").unwrap_err();
    assert!(text.contains("at most 75 bytes"), "{text}");
}

#[test]
fn metrics_port_defaults_to_loopback() {
    let settings =
        read_settings("-w --metrics :9105 --haproxy-metrics 0.0.0.0:9106", &[], "").unwrap();
    assert_eq!(settings.metrics, Some("127.0.0.1:9105".parse().unwrap()));
    assert_eq!(settings.haproxy_metrics, Some("0.0.0.0:9106".parse().unwrap()));
    let taken =
        |port: u16| !settings.fences.is_port_allowed(LabelProtocol::Http, port.try_into().unwrap());
    assert!(taken(9105) && taken(9106) && taken(22) && !taken(9107), "labels cannot have them");

    let same = read_settings("-w --metrics 9105 --haproxy-metrics 9105", &[], "").unwrap_err();
    assert!(same.contains("need different ports"), "{same}");
    let once = read_settings("-1 --metrics 9105", &[], "").unwrap();
    let notes: Vec<_> = once.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["--metrics is ignored: it applies only with --watch"]);
}

#[test]
fn unknown_variable_is_noted_with_suggestion() {
    let report = |env: &[&str]| -> Vec<String> {
        let settings = read_settings("-w", env, "").unwrap();
        settings.notes.iter().map(ToString::to_string).collect()
    };
    for (variable, near) in [
        ("DOCKER_GLUE_MAPPORT=80=8080", "DOCKER_GLUE_MAP_PORT"),
        ("DOCKER_GLUE_MAP_PORTS=80=8080", "DOCKER_GLUE_MAP_PORT"),
        ("DOCKER_GLUE_CONSTRAINTS=a", "DOCKER_GLUE_CONSTRAINT"),
        ("DOCKER_GLUE_INCLUDE-ENV=1", "DOCKER_GLUE_INCLUDE_ENV"),
        ("DOCKER_GLUE_ALLOW_HOST=a.test", "DOCKER_GLUE_ALLOW_HOSTS"),
        ("DOCKER_BALANCER_HOLD=5s", "DOCKER_GLUE_HOLD"),
        ("DOCKERGLUE_HOLD=5s", "DOCKER_GLUE_HOLD"),
        ("docker_glue_hold=5s", "DOCKER_GLUE_HOLD"),
    ] {
        let name = variable.split('=').next().unwrap();
        assert_eq!(
            report(&[variable]),
            [format!("{name} is not an option and is ignored; did you mean {near}?")]
        );
    }
    let none = report(&["DOCKER_GLUE_COLOUR=blue"]);
    assert!(
        none.len() == 1
            && none[0].starts_with("DOCKER_GLUE_COLOUR is not an option and is ignored; --help"),
        "{none:?}"
    );
    // Variables of docker-glue and of other programs are not reported.
    let others =
        ["DOCKER_GLUE_HANDLER_PATHS=/x", "DOCKER_CONFIG=/x", "DOCKER_BALANCER_IMAGE=x", "GLUE_X=y"];
    assert_eq!(report(&others), [""; 0]);
}

#[test]
fn docker_context_is_noted_when_it_would_apply() {
    let report = |args: &str, env: &[&str]| -> Vec<String> {
        let settings = read_settings(args, env, "").unwrap();
        settings.notes.iter().map(ToString::to_string).collect()
    };
    let text = "DOCKER_CONTEXT selects the context far, but only the docker command supports \
                contexts, so the local Docker is used; to use the context, set --docker-url to the \
                output of: docker context inspect far --format '{{.Endpoints.docker.Host}}'";
    assert_eq!(report("-w", &["DOCKER_CONTEXT=far"]), [text]);
    for (args, env) in [
        ("-w", &["DOCKER_CONTEXT=default"][..]),
        ("-w", &["DOCKER_CONTEXT="]),
        ("-w", &["DOCKER_CONTEXT=far", "DOCKER_HOST=tcp://d"]),
        ("-w --docker-url unix:///x", &["DOCKER_CONTEXT=far"]),
    ] {
        assert_eq!(report(args, env), [""; 0], "{args} {env:?}");
    }
    let home = tempfile::tempdir().unwrap();
    let config = format!("DOCKER_CONFIG={}", home.path().display());
    assert_eq!(report("-w", &[&config]), [""; 0]);
    std::fs::write(home.path().join("config.json"), "{\"currentContext\": \"far\"}").unwrap();
    assert_eq!(report("-w", &[&config]), [text.replace("DOCKER_CONTEXT", "docker's config.json")]);
    assert_eq!(report("-w", &[&config, "DOCKER_CONTEXT=default"]), [""; 0]);
    std::fs::write(home.path().join("config.json"), "nonsense").unwrap();
    assert_eq!(report("-w", &[&config]), [""; 0]);
}

#[test]
fn mapping_to_a_low_port_is_noted() {
    let settings = read_settings("-w --map-port 8080=80 --map-port 443=8443", &[], "").unwrap();
    let notes: Vec<_> = settings.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["--map-port 8080=80: HAProxy listens on 80 for labels with port 8080; for labels with \
          port 80 write 80=8080, the label's port first"]
    );
}
