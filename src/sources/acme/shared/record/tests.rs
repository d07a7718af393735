use super::*;

fn identity(ca: &str) -> Identity {
    Identity::new(ca)
}

#[test]
fn written_record_is_read_again() {
    let owner = identity("https://ca.example.com/dir");
    let name = ChallengeName::of_path("/.well-known/acme-challenge/a");
    let lease = LeaseRecord {
        owner: owner.clone(),
        beat: 7,
        released: true,
        certificates: 1,
        ledger: 2,
        challenges: [name.clone()].into(),
    };
    assert_eq!(LeaseRecord::parse(lease.to_text().as_bytes()), Ok(lease));
    let hosts = ["a.example.com", "*.b.example.com"].map(|host| host.parse().unwrap());
    let member = MemberRecord { owner, hosts: Arc::new(hosts.into()), serves: [name].into() };
    assert_eq!(MemberRecord::parse(member.to_text(3).as_bytes()), Ok(member));
    let host: AcmeHost = "a.example.com".parse().unwrap();
    assert_eq!(parse_request(request_text(&host).as_bytes()), Ok(host));
}

#[test]
fn damaged_record_is_refused() {
    for text in [&b""[..], b"{", b"[]", b"{}", b"\0\xff", b"{\"id\":\"x\"}", b"null"] {
        assert!(LeaseRecord::parse(text).is_err(), "{text:?}");
        assert!(MemberRecord::parse(text).is_err(), "{text:?}");
        assert!(SharedChallenge::parse(text).is_err(), "{text:?}");
        assert!(parse_request(text).is_err(), "{text:?}");
    }
}

#[test]
fn wrong_host_of_a_member_is_left_out() {
    let owner = serde_json::to_value(identity("ca")).unwrap();
    let mut member = owner;
    member["beat"] = 1.into();
    member["hosts"] = serde_json::json!(["a.example.com", "a b", "", "x\ny", "*.c.example.com"]);
    member["serves"] = serde_json::json!([]);
    let read = MemberRecord::parse(member.to_string().as_bytes()).unwrap();
    let hosts: Vec<_> = read.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["a.example.com", "*.c.example.com"]);
    member["hosts"] = vec!["a.example.com"; MAX_HOSTS + 1].into();
    assert!(MemberRecord::parse(member.to_string().as_bytes()).is_err());
    member["hosts"] = serde_json::json!([]);
    member["serves"] = serde_json::json!(["../../x"]);
    assert!(MemberRecord::parse(member.to_string().as_bytes()).is_err());
}

#[test]
fn name_of_a_machine_is_printable_and_bounded() {
    let mut lease = serde_json::to_value(identity("ca")).unwrap();
    lease["beat"] = 1.into();
    lease["host"] = ("\u{1b}[31m\n".to_owned() + &"x".repeat(900)).into();
    let read = LeaseRecord::parse(lease.to_string().as_bytes()).unwrap();
    assert!(read.owner.host.starts_with("\\u{1b}[31m\\nx"), "{}", read.owner.host);
    assert_eq!(read.owner.host.chars().count(), MAX_NAME_CHARS);
}

#[test]
fn answer_that_would_change_a_map_is_refused() {
    let check = |path: &str, key_authorization: &str| {
        let text = serde_json::json!({
            "kind": "token", "path": path, "key_authorization": key_authorization
        });
        SharedChallenge::parse(text.to_string().as_bytes()).is_ok()
    };
    let path = "/.well-known/acme-challenge/tok-en_1";
    assert!(check(path, "tok-en_1.thumb"));
    for (path, answer) in [
        ("/", "a"),
        ("/.well-known/acme-challenge/", "a"),
        ("/.well-known/acme-challenge/a b", "a"),
        ("/.well-known/acme-challenge/a\nb", "a"),
        ("/.well-known/acme-challenge/../x", "a"),
        (path, ""),
        (path, "a b"),
        (path, "a\nset ssl cert"),
        (path, &"a".repeat(513)),
    ] {
        assert!(!check(path, answer), "{path:?} {answer:?}");
    }
}

#[test]
fn certificate_for_a_challenge_is_read_again_and_stays_secret() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    let origin = CertificateOrigin::Acme { ca: "challenge".into() };
    let certificate = CertificateWithKey::parse(&pem, origin, "a.example.com".to_owned()).unwrap();
    let host: Host = "a.example.com".parse().unwrap();
    let challenge = SharedChallenge::Certificate { host, certificate: Box::new(certificate) };
    let text = challenge.to_text();
    assert_eq!(SharedChallenge::parse(text.as_bytes()).unwrap(), challenge);
    let line = key.serialize_pem().lines().nth(2).unwrap().to_owned();
    assert!(text.contains(&line));
    assert!(!format!("{challenge:?}").contains(&line));
    let cut = text.replace("PRIVATE KEY", "PRIVATE");
    let error = SharedChallenge::parse(cut.as_bytes()).unwrap_err();
    assert!(!error.to_string().contains(&line));
}
