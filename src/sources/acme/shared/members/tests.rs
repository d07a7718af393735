use super::*;
use crate::sources::acme::shared::record::Identity;
use std::time::Duration;

const CA: &str = "https://ca.example.com/dir";

fn entry(ca: &str, beat: u64, hosts: &[&str], serves: &[&str]) -> Vec<u8> {
    // The same identity each time, so that only the beat differs.
    let owner = Identity {
        id: "0123456789abcdef0123456789abcdef".to_owned().try_into().unwrap(),
        host: "web2".to_owned(),
        pid: 1,
        ca: ca.to_owned(),
    };
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let serves = serves.iter().map(|path| ChallengeName::of_path(path)).collect();
    MemberRecord { owner, hosts: Arc::new(hosts), serves }.to_text(beat).into_bytes()
}

fn members() -> (Members, Instant) {
    (Members::new(SharedTimes::default(), CA), Instant::now())
}

fn hosts(members: &mut Members, now: Instant) -> Vec<String> {
    members.hosts(now).iter().map(ToString::to_string).collect()
}

#[test]
fn hosts_of_all_members_are_requested() {
    let (mut members, now) = members();
    let found = vec![
        ("a".to_owned(), entry(CA, 1, &["a.example.com", "b.example.com"], &[])),
        ("b".to_owned(), entry(CA, 1, &["b.example.com", "c.example.com"], &[])),
    ];
    assert_eq!(members.observe(found.clone(), now), []);
    assert_eq!(hosts(&mut members, now), ["a.example.com", "b.example.com", "c.example.com"]);
    let before = members.hosts(now);
    members.observe(found, now + Duration::from_secs(1));
    assert!(Arc::ptr_eq(&before, &members.hosts(now)), "an unchanged set is built again");
    let beat = vec![("a".to_owned(), entry(CA, 2, &["a.example.com", "b.example.com"], &[]))];
    members.observe(beat, now + Duration::from_secs(2));
    assert!(Arc::ptr_eq(&before, &members.hosts(now)), "a sign of life changes the set");
}

#[test]
fn hosts_of_a_silent_or_removed_member_stay_for_ten_minutes() {
    for is_removed in [false, true] {
        let (mut members, start) = members();
        let found = vec![("a".to_owned(), entry(CA, 1, &["a.example.com"], &[]))];
        members.observe(found.clone(), start);
        for (seconds, expected) in [(0, 1), (20, 1), (599, 1), (600, 0), (6000, 0)] {
            let now = start + Duration::from_secs(seconds);
            let found = if is_removed { Vec::new() } else { found.clone() };
            members.observe(found, now);
            assert_eq!(hosts(&mut members, now).len(), expected, "{seconds} s");
        }
    }
}

#[test]
fn member_without_sign_of_life_is_not_waited_for() {
    let (mut members, start) = members();
    let path = "/.well-known/acme-challenge/t";
    for (seconds, beat, expected) in
        [(0, 1, 1), (14, 1, 1), (15, 1, 0), (16, 2, 1), (30, 2, 1), (31, 2, 0)]
    {
        let now = start + Duration::from_secs(seconds);
        members.observe(vec![("a".to_owned(), entry(CA, beat, &[], &[path]))], now);
        let served = members.served(now);
        assert_eq!(served.len(), expected, "{seconds} s");
        assert!(served.values().all(|names| names.contains(&ChallengeName::of_path(path))));
    }
    members.observe(Vec::new(), start);
    assert!(members.served(start).is_empty(), "a member that ended is waited for");
}

#[test]
fn entry_of_a_member_that_is_silent_for_a_day_is_removed() {
    let (mut members, start) = members();
    let found = vec![("a".to_owned(), entry(CA, 1, &[], &[])), ("b".to_owned(), b"{".to_vec())];
    for (hours, expected) in [(0, &[][..]), (23, &[]), (24, &["a", "b"])] {
        let now = start + Duration::from_hours(hours);
        members.observe(found.clone(), now);
        assert_eq!(members.forgotten(now), expected, "{hours} h");
    }
}

#[test]
fn damaged_entry_is_reported_once_and_keeps_its_last_hosts() {
    let (mut members, now) = members();
    members.observe(vec![("a".to_owned(), entry(CA, 1, &["a.example.com"], &[]))], now);
    let damaged = vec![("a".to_owned(), b"{".to_vec())];
    let problems = members.observe(damaged.clone(), now);
    assert!(matches!(&problems[..], [EntryProblem::Damaged { name, .. }] if name == "a"));
    assert_eq!(members.observe(damaged, now), []);
    assert_eq!(hosts(&mut members, now), ["a.example.com"]);
}

#[test]
fn member_with_another_ca_gets_no_certificates() {
    let (mut members, now) = members();
    let found = vec![("a".to_owned(), entry("https://other/", 1, &["a.example.com"], &[]))];
    let problems = members.observe(found, now);
    let expected =
        EntryProblem::OtherCa { host: "web2".to_owned(), ca: "https://other/".to_owned() };
    assert_eq!(problems, [expected]);
    assert_eq!(hosts(&mut members, now), Vec::<String>::new());
}

#[test]
fn number_of_members_is_bounded() {
    let (mut members, now) = members();
    let found = (0..MAX_MEMBERS + 3).map(|n| (format!("{n:03}"), entry(CA, 1, &[], &[])));
    let problems = members.observe(found.collect(), now);
    assert_eq!(problems.len(), 3);
    assert_eq!(members.served(now).len(), MAX_MEMBERS);
}
