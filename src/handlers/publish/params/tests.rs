use super::{OnStop, Password, Publish, PublishedParts};
use crate::handlers::ini::Ini;
use std::time::Duration;

fn parse_publish(params: &str) -> Result<Publish, String> {
    let text = format!("[handler]\nclass=publish\n[params]\n{params}");
    let ini = Ini::parse("p.ini", &text).unwrap();
    Publish::parse_params(&ini.params).map_err(|error| error.to_string())
}

#[test]
fn missing_params_have_defaults() {
    let plain = parse_publish("endpoints=127.0.0.1").unwrap();
    assert_eq!(plain.access.endpoints, ["http://127.0.0.1:2379"]);
    assert_eq!((plain.prefix.as_str(), plain.node), ("/docker-glue/", None));
    assert_eq!((plain.ttl, plain.on_stop), (Duration::from_secs(30), OnStop::Delete));
    let omit: Vec<_> = plain.view.omit.iter().map(|path| path.join(".")).collect();
    assert_eq!(omit, ["Config.Env", "HostConfig.LogConfig.Config"]);
    assert_eq!((plain.view.parts, plain.addresses), (PublishedParts::Inspect, None));
}

#[test]
fn keys_of_a_registry_are_kept_at_a_stop() {
    for (params, parts, on_stop) in [
        ("what=inspect", PublishedParts::Inspect, OnStop::Delete),
        ("what=inspect\non_stop=keep", PublishedParts::Inspect, OnStop::Keep),
        ("what=served", PublishedParts::Served, OnStop::Keep),
        ("what=both", PublishedParts::Both, OnStop::Keep),
        ("what=served\non_stop=delete", PublishedParts::Served, OnStop::Delete),
    ] {
        let publish = parse_publish(&format!("endpoints=a\n{params}")).unwrap();
        assert_eq!((publish.view.parts, publish.on_stop), (parts, on_stop), "{params}");
    }
    let publish = parse_publish("endpoints=a\naddresses=10.0.0.2, fd00::2\nlabels=env").unwrap();
    assert_eq!(publish.addresses.map(|addresses| addresses.len()), Some(2));
    assert_eq!(publish.view.labels, ["env".to_owned()].into());
}

#[test]
fn endpoints_are_parsed_from_every_notation() {
    let hosts = r#"clientParams={"host": (("10.0.0.2", 4001), ("10.0.0.3", 4001))}"#;
    for (params, expected) in [
        ("endpoints=a, b:1,https://c/", &["http://a:2379", "http://b:1", "https://c:2379"][..]),
        ("endpoints=[::1],http://[::1]:1", &["http://[::1]:2379", "http://[::1]:1"]),
        ("endpoints=a\nca_file=/ca.pem", &["https://a:2379"]),
        (hosts, &["http://10.0.0.2:4001", "http://10.0.0.3:4001"]),
        ("clientParams={'host': 'a', 'port': 1}", &["http://a:1"]),
        ("clientParams={'host': 'a', 'protocol': 'https'}", &["https://a:2379"]),
        ("clientParams={'hosts': ['a:1', 'b']}", &["http://a:1", "http://b:2379"]),
        ("clientParams={'hosts': 'a:1, b:2', 'read_timeout': 60}", &["http://a:1", "http://b:2"]),
        ("clientParams={'host': ('a', 1)}", &["http://a:1"]),
    ] {
        assert_eq!(parse_publish(params).unwrap().access.endpoints, expected, "{params}");
    }
}

#[test]
fn docker_glue_example_is_parsed() {
    let text = "\
[handler]
class=DockerGlue.handlers.publishers.distconfig.Publisher
events=all,none
enabled=1

[params]
# see https://github.com/jplana/python-etcd/blob/master/src/etcd/client.py
class=distconfig.backends.etcd.EtcdBackend
clientParams={\"host\": ((\"10.0.0.2\", 4001), (\"10.0.0.3\", 4001))}
#class=distconfig.backends.consul.ConsulBackend
# clientParams={\"token\":\"\",\"host\":\"127.0.0.1\", \"port\":8500}
";
    let publish =
        Publish::parse_params(&Ini::parse("publisher.ini", text).unwrap().params).unwrap();
    assert_eq!(publish.access.endpoints, ["http://10.0.0.2:4001", "http://10.0.0.3:4001"]);
}

#[test]
fn password_is_never_shown() {
    let client = "clientParams={'host': 'a', 'username': 'u', 'password': 'hidden'}";
    for params in ["endpoints=a\nuser=u\npassword=hidden", client] {
        let publish = parse_publish(params).unwrap();
        let user = Some(("u".to_owned(), Password::Inline("hidden".to_owned())));
        assert_eq!(publish.access.user, user);
        assert!(!format!("{publish:?}").contains("hidden"), "{publish:?}");
        assert!(publish.access.sends_password_unencrypted());
    }
    for near in ["http://127.0.0.1:1", "localhost", "[::1]", "https://a"] {
        let params = format!("endpoints={near}\nuser=u\npassword=hidden");
        assert!(!parse_publish(&params).unwrap().access.sends_password_unencrypted(), "{near}");
    }
    for params in [
        "endpoints=http://u:hidden@a",
        "endpoints=a\npassword=hidden",
        "clientParams={'password': hidden}",
        "clientParams={'password': 'hidden}",
        "clientParams={'host': 'a', 'password': ['hidden']}",
    ] {
        let message = parse_publish(params).unwrap_err();
        assert!(!message.contains("hidden"), "{message}");
    }
}

#[test]
fn error_names_its_line() {
    let also = |params: &str| format!("{params}\nendpoints=a");
    for (params, message) in [
        (
            String::new(),
            "p.ini: the key endpoints is missing in [params], as in endpoints=http://127.0.0.1:2379",
        ),
        (
            "endpoints=ftp://a".into(),
            "p.ini:4: \"ftp://a\" is not an endpoint such as http://10.0.0.2:2379",
        ),
        (
            "endpoints=a:b".into(),
            "p.ini:4: \"a:b\" is not an endpoint such as http://10.0.0.2:2379",
        ),
        (
            also("class=distconfig.backends.consul.ConsulBackend"),
            "p.ini:4: unknown store \"distconfig.backends.consul.ConsulBackend\"; containers can only be published to etcd",
        ),
        (also("pasword=x"), "p.ini:4: unknown key pasword in [params]; did you mean password?"),
        (also("ttl=1s"), "p.ini:4: ttl must be from 2s to 24h"),
        (also("node=a/b"), "p.ini:4: node must be a name without / and spaces"),
        (also("prefix=a b"), "p.ini:4: prefix must be a path such as /docker-glue"),
        (also("what=all"), "p.ini:4: what must be served, inspect or both, not \"all\""),
        (
            also("addresses=0.0.0.0"),
            "p.ini:4: \"0.0.0.0\" is not an address of this machine such as 10.0.0.2",
        ),
        (also("on_stop=stay"), "p.ini:4: on_stop must be delete or keep, not \"stay\""),
        (
            also("omit=Config..Env"),
            "p.ini:4: omit must be none, or a comma-separated list of names such as Config.Env",
        ),
        (also("cert_file=/x"), "p.ini:4: key_file is missing"),
        (also("user=u"), "p.ini:4: user and password (or password_file) must be set together"),
        (also("password=x\npassword_file=/x\nuser=u"), "p.ini:5: password is set as well"),
        (
            "endpoints=http://a\nca_file=/ca".into(),
            "p.ini:4: certificates do not apply to an endpoint that starts with http://",
        ),
        (
            also("clientParams={'host': 'b'}"),
            "p.ini:5: endpoints is set both here and in clientParams",
        ),
        ("clientParams={'hots': 'b'}".into(), "p.ini:4: clientParams: unknown key \"hots\""),
        (
            "clientParams={'cert': 'b'}".into(),
            "p.ini:4: clientParams: cert must be a pair of the certificate's file and the key's file",
        ),
        ("clientParams=x".into(), "p.ini:4: clientParams: a value is expected at character 1"),
    ] {
        assert_eq!(parse_publish(&params).unwrap_err(), message, "{params}");
    }
}

#[test]
fn prefix_ends_with_one_slash() {
    for (parsed, prefix) in [("", "/docker-glue/"), ("a/b/", "/a/b/"), ("/a", "/a/"), ("/", "/")] {
        assert_eq!(parse_publish(&format!("endpoints=a\nprefix={parsed}")).unwrap().prefix, prefix);
    }
    assert_eq!(parse_publish("endpoints=a\nomit=none").unwrap().view.omit, [] as [Vec<String>; 0]);
}

#[test]
fn every_line_of_the_example_is_parsed() {
    let text = include_str!("../../../../examples/docker-glue.d/publish.ini.example");
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(parsed) if !parsed.starts_with(' ') => parsed.to_owned(),
        _ => line.to_owned(),
    };
    let text = text.lines().map(uncomment).collect::<Vec<_>>().join("\n");
    // The example shows two ways to set the endpoints, but only one may be used.
    let text = text.replace("endpoints=http://127.0.0.1:2379\n", "");
    let parsed = Publish::parse_params(&Ini::parse("publish.ini", &text).unwrap().params).unwrap();
    assert_eq!(parsed.access.endpoints, ["https://10.0.0.2:2379", "https://10.0.0.3:2379"]);
    assert!(parsed.access.ca.is_some() && parsed.access.identity.is_some());
    assert_eq!(parsed.node.as_deref(), Some("web-1"));
    let plain = parse_publish("endpoints=a").unwrap();
    let is_default = |publish: &Publish| {
        (publish.prefix.clone(), publish.ttl, publish.on_stop, publish.view.clone())
    };
    assert_eq!(is_default(&parsed), is_default(&plain), "the example shows what counts anyway");
}
