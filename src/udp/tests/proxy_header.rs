use crate::udp::proxy_header::{MAX_HEADER_BYTES, write_proxy_header};

#[track_caller]
fn check_header(client: &str, server: &str, expected: &str) {
    let mut space = [0; MAX_HEADER_BYTES];
    let length = write_proxy_header(&mut space, client.parse().unwrap(), server.parse().unwrap());
    let header = &space[MAX_HEADER_BYTES - length..];
    let (signature, rest) = header.split_at(12);
    assert_eq!(signature, b"\r\n\r\n\0\r\nQUIT\n");
    let hex: Vec<_> = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex.concat(), expected);
}

#[test]
fn header_has_both_addresses() {
    check_header("198.51.100.7:4444", "192.0.2.1:53", "2112000cc6336407c0000201115c0035");
    check_header("[::ffff:198.51.100.7]:4444", "192.0.2.1:53", "2112000cc6336407c0000201115c0035");
    check_header(
        "[2001:db8::7]:4444",
        "[2001:db8::1]:53",
        "2122002420010db800000000000000000000000720010db8000000000000000000000001115c0035",
    );
}
