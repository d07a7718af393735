//! Tables of the choice of certificates.

use super::*;
use crate::model::host::HostMatch;
use proptest::prelude::*;

/// Time of the tables, in hours of Unix time.
const NOW: i64 = 100;

/// Parses `NAME ORIGIN KEY-TYPE FROM..TO HOST...`, with hours as times.
fn certificate(line: &str) -> Arc<Certificate> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, origin, key_type, times, hosts @ ..] = words.as_slice() else {
        panic!("{line:?} is incomplete")
    };
    let (from, to) = times.split_once("..").unwrap();
    let hours = |text: &str| text.parse::<i64>().unwrap() * 3600;
    Arc::new(Certificate {
        digest: CertificateDigest::of_pem(name),
        names: hosts.iter().map(|host| CertificateName::parse(host).unwrap()).collect(),
        not_before: hours(from),
        not_after: hours(to),
        key_type: if *key_type == "rsa" { KeyType::Rsa } else { KeyType::Ecdsa },
        issuer: "test".to_owned(),
        origin: match *origin {
            "file" => CertificateOrigin::File { path: name.into() },
            "acme" => CertificateOrigin::Acme { ca: "test".into() },
            _ => CertificateOrigin::OwnCa,
        },
        name: (*name).to_owned(),
        pem_bytes: 0,
    })
}

fn build(lines: &str) -> CertificateIndex {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    CertificateIndex::build(lines.map(certificate).collect(), NOW * 3600)
}

/// Parses a host; `*` is any.
fn host_match(text: &str) -> HostMatch {
    text.parse().unwrap()
}

/// `questions` are `HOST [CHOICE] -> CERTIFICATE (NAME), ...`.
fn check_choice(certificates: &str, questions: &[&str]) {
    let index = build(certificates);
    for question in questions {
        let (choice_text, _) = question.split_once(" ->").unwrap();
        let (host, choice) = choice_text.split_once(' ').unwrap_or((choice_text, "auto"));
        let found = index.find(&host_match(host), &choice.parse().unwrap());
        let found = found.iter().map(|c| format!(" {} ({})", c.certificate.name, c.name));
        let found = found.collect::<Vec<_>>().join(",");
        assert_eq!(format!("{choice_text} ->{found}"), **question, "among\n{certificates}");
    }
}

#[test]
fn exact_name_is_preferred_to_wildcard_of_one_label() {
    check_choice(
        "exact acme ecdsa 50..150 a.test
         wild file ecdsa 50..900 *.test *.b.test
         apex file ecdsa 50..150 b.test",
        &[
            "a.test -> exact (a.test)",
            "c.test -> wild (*.test)",
            "x.b.test -> wild (*.b.test)",
            "y.x.b.test ->",
            "b.test -> apex (b.test)",
            "test ->",
            "b.test files -> apex (b.test)",
            "a.test files -> wild (*.test)",
        ],
    );
}

#[test]
fn wildcard_host_needs_same_wildcard_and_any_host_finds_none() {
    check_choice(
        "exact file ecdsa 50..150 a.test x.a.test
         wild file ecdsa 50..150 *.a.test *.test",
        &["*.a.test -> wild (*.a.test)", "*.b.test ->", "*.x.a.test ->", "* ->"],
    );
}

#[test]
fn valid_certificate_is_preferred_to_exact_name() {
    check_choice(
        "expired file ecdsa 10..50 a.test
         future file rsa 150..250 a.test
         wild own rsa 50..150 *.test",
        &[
            "a.test -> wild (*.test)",
            "a.test files -> future (a.test)",
            "a.test expired -> expired (a.test)",
        ],
    );
}

#[test]
fn expired_certificate_serves_if_there_is_no_other() {
    check_choice(
        "old file ecdsa 10..50 a.test
         older file ecdsa 10..40 a.test
         oldest file rsa 10..30 a.test
         wild file ecdsa 10..60 *.test",
        &["a.test -> old (a.test), oldest (a.test)", "b.test -> wild (*.test)"],
    );
}

#[test]
fn clocks_may_differ_by_one_hour() {
    check_choice(
        "a file ecdsa 101..200 a.test
         b file ecdsa 102..200 b.test
         c file ecdsa 10..99 c.test
         d file ecdsa 10..98 d.test
         any own ecdsa 50..150 *.test",
        &[
            "a.test -> a (a.test)",
            "b.test -> any (*.test)",
            "c.test -> c (c.test)",
            "d.test -> any (*.test)",
        ],
    );
}

#[test]
fn files_are_preferred_to_acme_and_own_ca() {
    check_choice(
        "self own ecdsa 50..900 a.test
         ca acme ecdsa 50..800 a.test
         late file ecdsa 50..300 a.test
         early file ecdsa 50..200 a.test
         rsa acme rsa 50..900 a.test",
        &[
            "a.test -> late (a.test)",
            "a.test acme -> ca (a.test), rsa (a.test)",
            "a.test self -> self (a.test)",
            "a.test early -> early (a.test)",
            "a.test missing ->",
        ],
    );
}

#[test]
fn key_types_pair_up_only_in_the_best_class() {
    check_choice(
        "a-ec file ecdsa 50..150 a.test
         a-rsa file rsa 50..150 a.test
         b-ec file ecdsa 50..150 b.test
         b-rsa file rsa 10..50 b.test
         c-rsa file rsa 50..150 c.test
         wild file ecdsa 50..150 *.test",
        &[
            "a.test -> a-ec (a.test), a-rsa (a.test)",
            "b.test -> b-ec (b.test)",
            "c.test -> c-rsa (c.test)",
        ],
    );
}

#[test]
fn equal_certificates_are_chosen_by_digest() {
    let (one, two) = ("one file ecdsa 50..150 a.test", "two file ecdsa 50..150 a.test");
    let first = [one, two].into_iter().min_by_key(|line| certificate(line).digest).unwrap();
    let expected = format!("a.test -> {} (a.test)", first.split_once(' ').unwrap().0);
    check_choice(&format!("{one}\n{two}"), &[&expected]);
    check_choice(&format!("{two}\n{one}"), &[&expected]);
}

#[test]
fn next_change_is_first_start_or_end() {
    for (lines, expected) in [
        ("", None),
        ("old file ecdsa 10..50 a.test", None),
        ("a file ecdsa 10..150 a.test", Some(151 * 3600 + 1)),
        ("a file ecdsa 10..150 a.test\nb file ecdsa 120..400 a.test", Some(119 * 3600)),
        ("a file ecdsa 10..99 a.test", Some(100 * 3600 + 1)),
    ] {
        let index = build(lines);
        assert_eq!(index.next_change(), expected, "{lines}");
        let Some(change) = expected else { continue };
        let certificates: Vec<_> = index.iter().cloned().collect();
        let at = |now| CertificateIndex::build(certificates.clone(), now);
        assert!(at(change - 1).is_equivalent(&index), "{lines}");
        assert!(!at(change).is_equivalent(&index), "{lines}");
    }
}

#[test]
fn choice_is_parsed_and_printed() {
    let long = "x".repeat(64);
    for (text, expected) in [
        ("auto", Some(CertificateChoice::Auto)),
        ("acme", Some(CertificateChoice::Acme)),
        ("files", Some(CertificateChoice::Files)),
        ("self", Some(CertificateChoice::Own)),
        ("Auto", Some(CertificateChoice::Named("Auto".parse().unwrap()))),
        ("example.com_ecc-1", Some(CertificateChoice::Named("example.com_ecc-1".parse().unwrap()))),
        (&long, Some(CertificateChoice::Named(long.parse().unwrap()))),
        (&"x".repeat(65), None),
        ("", None),
        ("a b", None),
        ("../key", None),
        ("é", None),
    ] {
        let parsed = text.parse::<CertificateChoice>().ok();
        assert_eq!(parsed, expected, "{text:?}");
        assert!(parsed.is_none_or(|choice| choice.to_string() == text), "{text:?}");
    }
    assert_eq!(CertificateChoice::default(), CertificateChoice::Auto);
}

#[test]
fn digest_is_first_half_of_sha256() {
    // echo -n abc | sha256sum
    let digest = CertificateDigest::of_pem("abc");
    assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    for text in
        ["", "ba7816bf", "BA7816BF8F01CFEA414140DE5DAE2223", "+a7816bf8f01cfea414140de5dae2223"]
    {
        assert_eq!(text.parse::<CertificateDigest>(), Err(CertificateDigestError), "{text}");
    }
}

#[test]
fn certificate_name_is_parsed() {
    for (text, expected) in [
        ("Example.COM", Some("example.com")),
        ("*.Example.com", Some("*.example.com")),
        ("bücher.test", Some("xn--bcher-kva.test")),
        ("example.com.", Some("example.com")),
        ("w*.example.com", None),
        ("*", None),
        ("My Root CA", None),
        ("", None),
    ] {
        let parsed = CertificateName::parse(text).map(|name| name.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text:?}");
    }
}

fn any_host() -> impl Strategy<Value = String> {
    "(a|b|c)(\\.(a|b)){0,2}"
}

prop_compose! {
    fn any_certificate()(
        name in "[a-h]",
        origin in "file|acme|own",
        key_type in "ecdsa|rsa",
        from in 90..110_i64,
        length in 0..20_i64,
        hosts in prop::collection::vec(("(\\*\\.)?", any_host()), 1..4),
    ) -> String {
        let hosts: Vec<_> = hosts.iter().map(|(start, host)| format!("{start}{host}")).collect();
        format!("{name}{from}{length} {origin} {key_type} {from}..{} {}", from + length, hosts.join(" "))
    }
}

fn any_choice() -> impl Strategy<Value = CertificateChoice> {
    "auto|acme|files|self|a1005".prop_map(|text| text.parse().unwrap())
}

proptest! {
    #[test]
    fn chosen_certificate_covers_host(
        lines in prop::collection::vec(any_certificate(), 0..12),
        start in "(\\*\\.)?",
        host in any_host(),
        choice in any_choice(),
    ) {
        let index = build(&lines.join("\n"));
        let host = host_match(&format!("{start}{host}"));
        let found = index.find(&host, &choice);
        for chosen in &found {
            prop_assert!(chosen.certificate.names.contains(&chosen.name));
            prop_assert!(chosen.name.covers(&host), "{} does not cover {host}", chosen.name);
        }
        // One that could serve is not passed over, and a valid one is not passed over for an invalid one.
        let valid = |c: &Certificate| c.validity(NOW * 3600) == CertificateValidity::Valid;
        let covers = |c: &&Arc<Certificate>| c.names.iter().any(|name| name.covers(&host));
        let covering: Vec<_> = index.iter().filter(covers).collect();
        if choice == CertificateChoice::Auto {
            prop_assert_eq!(found.is_empty(), covering.is_empty());
            prop_assert_eq!(
                found.iter().any(|c| valid(&c.certificate)),
                covering.iter().any(|c| valid(c))
            );
        }
        let types: Vec<_> = found.iter().map(|chosen| chosen.certificate.key_type).collect();
        prop_assert!(types.is_sorted_by(|one, other| one < other), "{types:?}");
    }

    #[test]
    fn order_of_certificates_does_not_matter(
        lines in prop::collection::btree_set(any_certificate(), 0..12),
        rotation in 0_usize..12,
    ) {
        let names: std::collections::BTreeSet<_> = lines.iter().map(|line| line.split(' ').next()).collect();
        prop_assume!(names.len() == lines.len());
        let lines: Vec<_> = lines.iter().map(|line| certificate(line)).collect();
        let mut rotated = lines.clone();
        rotated.rotate_left(rotation % lines.len().max(1));
        prop_assert_eq!(
            CertificateIndex::build(lines, NOW * 3600),
            CertificateIndex::build(rotated, NOW * 3600)
        );
    }
}
