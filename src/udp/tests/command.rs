use super::listener;
use crate::udp::command::UdpCommand;

#[track_caller]
fn check_read(line: &str, expected: &str) {
    let read = line.parse::<UdpCommand>();
    let text = read.map_or_else(|error| format!("error: {error}"), |command| command.to_string());
    assert_eq!(text, expected, "{line}");
}

#[test]
fn command_is_read_as_printed() {
    let mut listener = listener("[::]:53", &["a@10.0.0.1:53*3", "b@[fd00::1]:5353"]);
    listener.replies = Some(1);
    let set = UdpCommand::Set(Box::new(listener));
    let delete = UdpCommand::Delete("0.0.0.0:1".parse().unwrap());
    for command in [set, delete, UdpCommand::Show, UdpCommand::Flows("0123:".to_owned())] {
        assert_eq!(command.to_string().parse(), Ok(command));
    }
}

#[test]
fn command_with_defaults_has_all_fields() {
    check_read(
        r#"set {"bind":"[::]:53","endpoints":[{"id":"a","address":"10.0.0.1:53"}]}"#,
        "set {\"bind\":\"[::]:53\",\"endpoints\":[{\"id\":\"a\",\"name\":\"\",\"address\":\
         \"10.0.0.1:53\",\"weight\":100,\"flows\":\"accept\"}],\"sticky\":\"flow\",\
         \"idle_ms\":120000,\"proxy\":\"off\"}",
    );
}

#[test]
fn invalid_command_is_refused() {
    for (line, expected) in [
        ("", "unknown command \"\"; this is protocol 2 with set, del, show, totals and flows"),
        (
            "show all",
            "unknown command \"show all\"; this is protocol 2 with set, del, show, totals and flows",
        ),
        (
            "flows",
            "unknown command \"flows\"; this is protocol 2 with set, del, show, totals and flows",
        ),
        (
            "flows a\nb",
            "flows: \"a\\nb\" cannot start an identifier, which has at most 256 bytes without control characters",
        ),
        ("del 53", "del: \"53\" is not an address and port such as [::]:53"),
        ("set", "set: EOF while parsing a value at line 1 column 0"),
        ("set {}", "set: missing field `bind` at line 1 column 2"),
    ] {
        check_read(line, &format!("error: {expected}"));
    }
}

#[test]
fn unknown_field_is_refused() {
    let line = r#"set {"bind":"[::]:53","later":1}"#;
    let error = line.parse::<UdpCommand>().unwrap_err().to_string();
    assert!(error.starts_with("set: unknown field `later`"), "{error}");
}
