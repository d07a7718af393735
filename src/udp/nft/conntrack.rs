//! Messages to and from the kernel's connection tracking, over netlink.
//!
//! Pure. The kernel itself deletes all entries with a mark, by one message. The few entries of flows that are older than
//! their listener have no mark: they are listed and deleted one by one.

use super::mark::{MARK_MASK, MARK_PREFIX, Mark};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// A message of netlink begins with its length, type, flags, number and sender.
const HEADER_BYTES: usize = 16;
/// Then follow the family of addresses, a version and a number of which netfilter uses nothing else here.
const FAMILY_BYTES: usize = 4;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const FLAG_DUMP: u16 = 0x300;

const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// The subsystem of netfilter is the upper byte of the type.
const CONNTRACK: u16 = 1 << 8;
const TABLES: u16 = 10 << 8;
const CONNTRACK_NEW: u16 = CONNTRACK;
const CONNTRACK_GET: u16 = CONNTRACK | 1;
const CONNTRACK_DELETE: u16 = CONNTRACK | 2;
const NEW_GENERATION: u16 = TABLES | 15;
const GET_GENERATION: u16 = TABLES | 16;

const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const TUPLE_ORIGINAL: u16 = 1;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
const MASK: u16 = 21;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_DESTINATION: [u16; 2] = [2, 4];
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;
const GENERATION: u16 = 1;
const UDP: u8 = 17;

/// An entry of a flow of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackEntry {
    family: u8,
    /// Where the client sent the first datagram.
    pub to: SocketAddr,
    pub mark: u32,
    /// What identifies the entry, as the kernel sent it.
    identity: Vec<(u16, Vec<u8>)>,
}

/// An answer of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelAnswer {
    Entry(ConntrackEntry),
    /// The number of the last change of nftables' rules.
    Generation(u32),
    /// The end of an answer, with the number of the error; 0 if there was none.
    End(i32),
    /// Something that is of no interest here.
    Other,
}

/// Returns the request to delete all entries with a mark.
pub fn delete_mark_request(mark: Mark) -> Vec<u8> {
    request(CONNTRACK_DELETE, FLAG_ACK, 0, &select_marks(mark.number(), u32::MAX))
}

/// Returns the request to delete all entries with any mark of docker-glue-udp.
pub fn delete_own_request() -> Vec<u8> {
    request(CONNTRACK_DELETE, FLAG_ACK, 0, &select_marks(MARK_PREFIX, MARK_MASK))
}

/// Returns the request for all entries that do not have a mark of docker-glue-udp. The kernel cannot select those with
/// other marks, so it selects those without a mark in these bits, which are nearly all.
pub fn list_unmarked_request() -> Vec<u8> {
    request(CONNTRACK_GET, FLAG_DUMP, 0, &select_marks(0, MARK_MASK))
}

/// Returns the attributes of entries whose marks have this value in the bits of the mask.
fn select_marks(value: u32, mask: u32) -> [(u16, Vec<u8>); 2] {
    [(MARK, value.to_be_bytes().to_vec()), (MASK, mask.to_be_bytes().to_vec())]
}

/// Returns the request for all entries with these marks, and for some with others: the kernel selects by the bits that
/// the marks have in common.
pub fn list_marks_request(marks: &BTreeSet<Mark>) -> Vec<u8> {
    let first = marks.first().map_or(0, |mark| mark.number());
    let mask = marks.iter().fold(u32::MAX, |mask, mark| mask & !(mark.number() ^ first));
    request(CONNTRACK_GET, FLAG_DUMP, 0, &select_marks(first & mask, mask))
}

/// Returns the request to delete an entry.
pub fn delete_entry_request(entry: &ConntrackEntry) -> Vec<u8> {
    request(CONNTRACK_DELETE, FLAG_ACK, entry.family, &entry.identity)
}

/// Returns the request for the number of the last change of nftables' rules.
pub fn generation_request() -> Vec<u8> {
    request(GET_GENERATION, 0, 0, &[])
}

/// Reads the messages in a datagram of the kernel. What is damaged is left out.
pub fn parse_answers(mut bytes: &[u8]) -> Vec<KernelAnswer> {
    let mut answers = Vec::new();
    while let Some(header) = bytes.get(..HEADER_BYTES) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
        answers.push(parse_answer(u16::from_ne_bytes([header[4], header[5]]), body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

fn parse_answer(kind: u16, body: &[u8]) -> KernelAnswer {
    match kind {
        // The number of the error is negative; a dump that ends well has 0.
        TYPE_ERROR | TYPE_DONE => KernelAnswer::End(
            body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code).wrapping_neg()),
        ),
        CONNTRACK_NEW => parse_entry(body).map_or(KernelAnswer::Other, KernelAnswer::Entry),
        NEW_GENERATION => {
            let number =
                body.get(FAMILY_BYTES..).and_then(|body| find(body, GENERATION)?.first_chunk());
            number.map_or(KernelAnswer::Other, |n| KernelAnswer::Generation(u32::from_be_bytes(*n)))
        }
        _ => KernelAnswer::Other,
    }
}

/// Reads an entry, or returns `None` if it is not one of UDP.
fn parse_entry(body: &[u8]) -> Option<ConntrackEntry> {
    let family = *body.first()?;
    let body = body.get(FAMILY_BYTES..)?;
    let tuple = find(body, TUPLE_ORIGINAL)?;
    let protocol = find(tuple, TUPLE_PROTOCOL)?;
    if find(protocol, PROTOCOL_NUMBER)? != [UDP] {
        return None;
    }
    let port = u16::from_be_bytes(*find(protocol, PROTOCOL_DESTINATION)?.first_chunk()?);
    let addresses = find(tuple, TUPLE_IP)?;
    let ip = IP_DESTINATION.iter().find_map(|kind| parse_ip(find(addresses, *kind)?))?;
    let mark = find(body, MARK).and_then(<[u8]>::first_chunk);
    let identity = [TUPLE_ORIGINAL, ID, ZONE].into_iter().filter_map(|kind| {
        let nested = if kind == TUPLE_ORIGINAL { NESTED } else { 0 };
        Some((kind | nested, find(body, kind)?.to_vec()))
    });
    Some(ConntrackEntry {
        family,
        to: SocketAddr::new(ip, port),
        mark: mark.map_or(0, |mark| u32::from_be_bytes(*mark)),
        identity: identity.collect(),
    })
}

fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Returns the value of the first attribute of a type.
fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let header: &[u8; 4] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn request(kind: u16, flags: u16, family: u8, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    for (kind, value) in attributes {
        // The kernel's own attributes, and eight bytes of a mark.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((FLAG_REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}
