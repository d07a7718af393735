use super::*;
use domain::tsig::{Algorithm, ServerTransaction};

const NOW: u64 = 1_700_000_000;
const VALUE: &str = "the-value";

fn name(text: &str) -> DnsName {
    parse_name(text).unwrap()
}

fn key(secret: &[u8]) -> Arc<Key> {
    let name = "balancer".parse().unwrap();
    Arc::new(Key::new(Algorithm::Sha256, secret, name, None, None).unwrap())
}

/// Returns the reply to a query for an owner's records, which are lines of `SECTION OWNER TYPE DATA`.
fn reply(query: &[u8], lines: &[&str]) -> Vec<u8> {
    let query = Message::from_slice(query).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(query, Rcode::NOERROR).unwrap();
    for line in lines.iter().filter_map(|line| line.strip_prefix("answer ")) {
        push(&mut answer, line);
    }
    let mut authority = answer.authority();
    for line in lines.iter().filter_map(|line| line.strip_prefix("authority ")) {
        push(&mut authority, line);
    }
    authority.finish()
}

fn push(
    section: &mut impl domain::base::message_builder::RecordSectionBuilder<Vec<u8>>,
    line: &str,
) {
    use domain::{base::Serial, rdata};
    let words: Vec<_> = line.split(' ').collect();
    let (owner, ttl) = (name(words[0]), Ttl::from_secs(60));
    let target = || name(words[2]);
    let pushed = match words[1] {
        "A" => section.push((owner, ttl, rdata::A::new(words[2].parse().unwrap()))),
        "AAAA" => section.push((owner, ttl, rdata::Aaaa::new(words[2].parse().unwrap()))),
        "NS" => section.push((owner, ttl, rdata::Ns::new(target()))),
        "CNAME" => section.push((owner, ttl, rdata::Cname::new(target()))),
        "SOA" => {
            let serial = Serial::from(1);
            section.push((
                owner,
                ttl,
                rdata::Soa::new(target(), target(), serial, ttl, ttl, ttl, ttl),
            ))
        }
        _ => {
            let text: Txt<Vec<u8>> = Txt::build_from_slice(words[2].as_bytes()).unwrap();
            section.push((owner, ttl, text))
        }
    };
    pushed.unwrap();
}

fn parsed(queried: &str, lines: &[&str]) -> Reply {
    let query = build_query(7, &name(queried), Rtype::ANY, Recursion::Desired).unwrap();
    let message = reply(&query, lines);
    assert!(is_reply_to(&message, &query));
    parse_reply(&message).unwrap()
}

#[test]
fn zone_is_the_owner_of_the_soa_above_the_name() {
    for (queried, lines, expected) in [
        ("example.com", &["answer Example.COM SOA ns1"][..], Some("example.com")),
        ("a.b.example.com", &["authority example.com SOA ns1"], Some("example.com")),
        ("a.example.com", &["authority com SOA ns1"], Some("com")),
        ("a.example.com", &["authority example.net SOA ns1"], None),
        ("a.example.com", &["authority example.com NS ns1"], None),
        ("a.example.com", &[], None),
    ] {
        let zone = parsed(queried, lines).zone_of(&name(queried));
        assert_eq!(zone, expected.map(name), "{queried} {lines:?}");
    }
}

#[test]
fn records_of_a_reply_are_found() {
    let lines = [
        "answer a.example.com CNAME b.example.com",
        "answer b.example.com NS ns1.example.com",
        "answer b.example.com A 192.0.2.1",
        "answer b.example.com AAAA 2001:db8::1",
        "answer b.example.com TXT the-value",
    ];
    let found = parsed("a.example.com", &lines);
    assert_eq!(found.alias_of(&name("A.example.com")), Some(name("b.example.com")));
    assert_eq!(found.alias_of(&name("b.example.com")), None);
    assert_eq!(found.name_servers(), [name("ns1.example.com")]);
    let addresses: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(found.addresses(), addresses);
    assert!(found.has_text(VALUE) && !found.has_text("the"));
}

#[test]
fn message_that_is_not_the_reply_is_recognized() {
    let query = |id, text| build_query(id, &name(text), Rtype::TXT, Recursion::Off).unwrap();
    let asked = query(7, "a.example.com");
    for (other, expected) in [
        (asked.clone(), true),
        (query(8, "a.example.com"), false),
        (query(7, "b.example.com"), false),
    ] {
        assert_eq!(is_reply_to(&reply(&other, &[]), &asked), expected);
    }
    // The request itself, and no message at all.
    assert!(!is_reply_to(&asked, &asked));
    assert!(!is_reply_to(b"", &asked) && !is_reply_to(b"text", &asked));
    assert!(parse_reply(&asked[..13]).is_err() && parse_reply(b"").is_err());
}

#[test]
fn update_changes_one_record_and_is_signed() {
    let (zone, name) = (name("example.com"), name("_acme-challenge.example.com"));
    for (kind, class, ttl) in
        [(ChangeKind::Add, Class::IN, 60), (ChangeKind::Remove, Class::NONE, 0)]
    {
        let change = Change { kind, zone: &zone, name: &name, value: VALUE };
        let (request, transaction) = build_update(7, &change, key(b"secret"), NOW).unwrap();
        let mut message = Message::from_octets(request).unwrap();
        let server = key(b"secret");
        let verified = ServerTransaction::request(&server, &mut message, Time48::from_u64(NOW));
        let verified = verified.unwrap().unwrap();
        assert_eq!(message.header().opcode(), Opcode::UPDATE);
        let counts = message.header_counts();
        assert_eq!((counts.zocount(), counts.prcount(), counts.upcount()), (1, 0, 1));
        let record = message.update().unwrap().next().unwrap().unwrap();
        assert_eq!((record.class(), record.ttl()), (class, Ttl::from_secs(ttl)));
        assert_eq!(record.owner(), name);

        let answer = MessageBuilder::new_vec().start_answer(&message, Rcode::REFUSED).unwrap();
        let mut answer = answer.additional();
        verified.answer(&mut answer, Time48::from_u64(NOW)).unwrap();
        let answer = answer.finish();
        let read = |reply: Vec<u8>, now| read_update_reply(reply, &transaction, now);
        assert_eq!(read(answer.clone(), NOW).unwrap(), Rcode::REFUSED);
        assert!(matches!(
            read(answer.clone(), NOW + 900),
            Err(UpdateReplyError::Invalid(ValidationError::BadTime))
        ));
        let mut changed = answer;
        // A successful update, without another signature.
        changed[3] &= 0xf0;
        assert!(matches!(
            read(changed, NOW),
            Err(UpdateReplyError::Invalid(ValidationError::BadSig))
        ));
    }
}

#[test]
fn unsigned_reply_is_only_a_refusal() {
    let zone = name("example.com");
    let change = Change { kind: ChangeKind::Add, zone: &zone, name: &zone, value: VALUE };
    let (request, transaction) = build_update(7, &change, key(b"secret"), NOW).unwrap();
    let request = Message::from_octets(request).unwrap();
    for (rcode, is_refusal) in [(Rcode::NOTAUTH, true), (Rcode::NOERROR, false)] {
        let answer = MessageBuilder::new_vec().start_answer(&request, rcode).unwrap().finish();
        let error = read_update_reply(answer, &transaction, NOW).unwrap_err();
        assert_eq!(matches!(error, UpdateReplyError::Refused(code) if code == rcode), is_refusal);
    }
}

#[test]
fn names_above_and_next_to_a_name() {
    let above: Vec<_> = ancestors(&name("a.example.com.")).map(|name| name.to_string()).collect();
    assert_eq!(above, ["a.example.com", "example.com", "com"]);
    let next = replace_first_label(&name("_acme-challenge.example.com"), "probe").unwrap();
    assert_eq!(next, name("probe.example.com"));
    assert!(parse_name(&format!("_acme-challenge.{}example.com", "a.".repeat(120))).is_err());
    assert!(parse_name("a..b").is_err());
}
