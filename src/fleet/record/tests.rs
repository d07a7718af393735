use super::*;

fn record() -> BalancerRecord {
    BalancerRecord {
        served: "00000000000000ff".parse().unwrap(),
        generation: 7,
        rollback: true,
        problems: 2,
        since: 1_700_000_000,
        drains: BTreeMap::from([("0123456789ab.node2".parse().unwrap(), 3)]),
        ..BalancerRecord::new("0.1.0")
    }
}

const TEXT: &str = "{\"v\":1,\"version\":\"0.1.0\",\"served\":\"00000000000000ff\",\"generation\":7,\
                    \"rollback\":true,\"problems\":2,\"since\":1700000000,\
                    \"drains\":{\"0123456789ab.node2\":3}}";

#[test]
fn balancer_record_is_parsed_as_it_was_written() {
    assert_eq!(record().to_json(), TEXT);
    assert_eq!(BalancerRecord::parse(TEXT.as_bytes()), Ok(record()));
}

#[test]
fn drain_record_is_parsed_as_it_was_written() {
    let by: BalancerName = "lb1".parse().unwrap();
    let text = "{\"v\":1,\"by\":\"lb1\",\"since\":5,\"cut\":false}";
    assert_eq!(DrainRecord::new(by.clone(), 5, false).to_json(), text);
    for (text, cut) in
        [(text, false), ("{\"v\":1,\"by\":\"lb1\",\"since\":5,\"cut\":true,\"later\":1}", true)]
    {
        assert_eq!(
            DrainRecord::parse(text.as_bytes()),
            Ok(DrainRecord::new(by.clone(), 5, cut)),
            "{text}"
        );
    }
}

#[test]
fn hostile_records_are_refused() {
    let large = format!("{{\"v\":1,\"version\":\"{}\"}}", "x".repeat(MAX_RECORD_BYTES));
    for (text, expected) in [
        ("", "it is invalid"),
        ("[]", "it is invalid"),
        ("{\"v\":1}", "it is invalid: missing field"),
        ("{\"v\":2}", "it is of version 2"),
        (&TEXT.replace("00ff", "00f"), "it is invalid: a hash has 16 hexadecimal digits"),
        (&TEXT.replace("00ff", "00FF"), "it is invalid: a hash has 16 hexadecimal digits"),
        (&TEXT.replace("0123456789ab", "../../etc"), "it is invalid: it is invalid: this is no id"),
        (&TEXT.replace(":3", ":-3"), "it is invalid"),
        (&large, "it is larger than"),
    ] {
        let error = BalancerRecord::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:.80}: {error}");
    }
    for text in ["{\"v\":1,\"by\":\"LB\",\"since\":5}", "{\"v\":1,\"since\":5}", "{}"] {
        assert!(DrainRecord::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn long_version_is_cut() {
    let text = TEXT.replace("0.1.0", &"1".repeat(500));
    let record = BalancerRecord::parse(text.as_bytes()).unwrap();
    assert_eq!(record.version.len(), MAX_VERSION_LENGTH);
}

#[test]
fn names_and_ids_have_few_characters() {
    for (text, is_name) in [
        ("lb1", true),
        ("eu-west_1", true),
        ("", false),
        ("Lb1", false),
        ("lb.1", false),
        ("lb/1", false),
        (&"x".repeat(32), true),
        (&"x".repeat(33), false),
    ] {
        assert_eq!(text.parse::<BalancerName>().is_ok(), is_name, "{text}");
    }
    for (text, is_id) in [
        ("0123456789ab", true),
        ("0123456789ab.node2", true),
        ("0123456789ab.", false),
        ("0123456789ab.Node", false),
        ("0123456789AB", false),
        ("0123456789a", false),
        ("0123456789abc", false),
    ] {
        assert_eq!(text.parse::<DrainId>().is_ok(), is_id, "{text}");
    }
}

#[test]
fn container_and_its_drain_have_one_id() {
    let source: SourceName = "node2".parse().unwrap();
    for (id, expected) in [
        (ContainerId::new("0123456789abcdef"), "0123456789ab"),
        (ContainerId::in_source(source, "0123456789abcdef"), "0123456789ab.node2"),
    ] {
        let drain = DrainId::from(&id);
        assert_eq!(drain.as_str(), expected);
        assert_eq!(expected.parse(), Ok(drain));
    }
}
