//! The rules of a listener: replies, one-way traffic, the PROXY protocol, limits.

use crate::site::{CLIENT, CLIENT_SIX, MACHINE_SIX, Site, listener, wait_until};
use nix::sys::signal::Signal;

const TO: &str = "10.99.1.1:53";

#[test]
fn flow_ends_after_its_replies() {
    let Some(site) = Site::start() else { return };
    let a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 replies=1 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    for _ in 0..3 {
        assert_eq!(client.ask_name(TO), "a");
        wait_until("the flow ends", || site.report().sessions == 0);
    }
    assert_eq!(site.report().counters.sessions, 3);
    assert_eq!(a.received(), 3);
}

/// A resolver sends two queries from one port before the first answer.
#[test]
fn each_datagram_has_its_replies() {
    let Some(site) = Site::start() else { return };
    let slow = site.container("10.99.2.11:53", |request| {
        if request == b"first" { vec![] } else { vec![b"one".to_vec(), b"two".to_vec()] }
    });
    site.set(&listener("0.0.0.0:53 replies=1 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    client.send(TO, "first");
    client.send(TO, "second");
    let texts = [client.receive(), client.receive()].map(|answer| answer.unwrap().0);
    assert_eq!(texts, [b"one".to_vec(), b"two".to_vec()]);
    wait_until("the flow ends", || site.report().sessions == 0);
    assert_eq!(slow.received(), 2);
}

#[test]
fn one_way_clients_share_sessions_and_get_no_answers() {
    let Some(site) = Site::start_with(&["--threads", "1"]) else { return };
    let (a, b) = (site.echo("a", "10.99.2.11:514"), site.echo("b", "10.99.2.12:514"));
    site.set(&listener("0.0.0.0:514 sticky=none replies=0 | a@10.99.2.11:514 b@10.99.2.12:514"));
    let clients: Vec<_> =
        (4000..4020).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
    for client in &clients {
        for _ in 0..10 {
            client.send("10.99.1.1:514", "log");
        }
    }
    wait_until("all arrive", || a.received() + b.received() == 200);
    assert!((60..140).contains(&a.received()), "{}", a.received());
    clients[0].assert_no_answer();
    assert_eq!(site.report().sessions, 2);
}

#[test]
fn proxy_header_has_the_address_of_the_client() {
    let Some(site) = Site::start() else { return };
    let a = site.container("10.99.2.11:53", |_| vec![b"answer".to_vec()]);
    site.set(&listener("[::]:53 proxy=v2 | a@10.99.2.11:53"));
    let four = site.client(&format!("{CLIENT}:4000"));
    let six = site.client(&format!("[{CLIENT_SIX}]:4001"));
    assert_eq!(four.ask(TO, "payload"), "answer");
    assert_eq!(six.ask(&format!("[{MACHINE_SIX}]:53"), "payload"), "answer");
    let [(first, _), (second, _)] = a.datagrams().try_into().unwrap();
    let signature = b"\r\n\r\n\0\r\nQUIT\n".as_slice();
    let head = [0x21, 0x12, 0, 12, 10, 99, 1, 7, 10, 99, 1, 1, 0x0f, 0xa0, 0, 53];
    assert_eq!(first, [signature, &head, b"payload"].concat());
    assert_eq!(second[12..16], [0x21, 0x22, 0, 36]);
    assert_eq!(second[48..], *b"\x0f\xa1\0\x35payload");
}

#[test]
fn unanswered_session_makes_room_for_another() {
    let Some(site) = Site::start_with(&["--threads", "1", "--sessions", "10"]) else { return };
    let a = site.container("10.99.2.11:53", |request| match request {
        b"silent" => vec![],
        _ => vec![b"a:x".to_vec()],
    });
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let answered: Vec<_> =
        (4000..4005).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
    for client in &answered {
        assert_eq!(client.ask_name(TO), "a");
    }
    for port in 5000..5050 {
        site.client(&format!("{CLIENT}:{port}")).send(TO, "silent");
    }
    wait_until("all arrive", || a.received() == 55);
    let (plane, _) = site.read_all();
    assert_eq!((plane.sessions, plane.session_limit), (10, 10));
    assert_eq!(plane.counters.evicted, 45);
    // The answered flows still have their source ports.
    for client in &answered {
        assert_eq!(client.ask_name(TO), "a");
    }
    assert_eq!(site.report().counters.sessions, 55);
}

#[test]
fn datagrams_that_the_kernel_discards_are_counted() {
    let Some(site) = Site::start_with(&["--threads", "1"]) else { return };
    let _a = site.container("10.99.2.11:53", |_| vec![]);
    site.set(&listener("0.0.0.0:53 replies=0 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    site.signal_plane(Signal::SIGSTOP);
    // More than a buffer of 8 MB holds, and each of them counts more than its size.
    for _ in 0..10_000 {
        client.send(TO, [0; 1400]);
    }
    site.signal_plane(Signal::SIGCONT);
    // The kernel reports the number with the next datagram that it delivers.
    let is_counted = || {
        client.send(TO, "x");
        site.report().counters.dropped.kernel > 0
    };
    wait_until("the discarded datagrams are counted", is_counted);
    wait_until("all are counted", || {
        let counters = site.report().counters;
        10_000 <= counters.traffic.datagrams_in + counters.dropped.kernel
    });
}
