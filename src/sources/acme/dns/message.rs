//! Messages of the DNS (RFC 1035): queries, replies, and updates of a zone (RFC 2136) with a signature (RFC 8945).
//!
//! Pure.

use super::super::error::{AcmeError, FailureKind};
use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedName, Record, RecordSection, Rtype, ToName, Ttl,
        iana::{Class, Opcode, Rcode},
        message_builder::PushError,
        wire::ParseError,
    },
    rdata::{AllRecordData, Txt, tsig::Time48},
    tsig::{ClientTransaction, Key, ValidationError},
};
use std::{net::IpAddr, sync::Arc};

/// How long resolvers may keep a record of a challenge, in seconds.
const RECORD_TTL: u32 = 60;

/// A domain name, which is compared without regard to case.
pub(super) type DnsName = Name<Vec<u8>>;

/// Who answers a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recursion {
    /// A resolver, which asks other servers.
    Desired,
    /// An authoritative server, from its own zones.
    Off,
}

/// The part of a record's data that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordData {
    Soa,
    Ns(DnsName),
    Cname(DnsName),
    Address(IpAddr),
    Text(Vec<u8>),
}

/// One record of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplyRecord {
    pub owner: DnsName,
    pub data: RecordData,
}

/// A server's answer to a query, without the records that are not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub rcode: Rcode,
    /// The server answers for a zone of its own.
    pub authoritative: bool,
    pub answer: Vec<ReplyRecord>,
    pub authority: Vec<ReplyRecord>,
}

/// A change of one TXT record. Other records of the name stay as they are (RFC 2136, 2.5.1 and 2.5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub kind: ChangeKind,
    pub zone: &'a DnsName,
    pub name: &'a DnsName,
    pub value: &'a str,
}

/// Why the reply to an update is not a code with a valid signature.
#[derive(Debug, Clone, Copy)]
pub(super) enum UpdateReplyError {
    /// The reply has no signature: the server does not know the key, for example.
    Refused(Rcode),
    Invalid(ValidationError),
}

impl From<ValidationError> for UpdateReplyError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Add,
    Remove,
}

/// # Errors
/// If the text is not a domain name of at most 255 bytes.
pub(super) fn parse_name(text: &str) -> Result<DnsName, AcmeError> {
    text.parse().map_err(|error| dns_error(format!("not a domain name: {text}: {error}")))
}

/// Returns the name and the names above it, without the root.
pub(super) fn ancestors(name: &DnsName) -> impl Iterator<Item = DnsName> {
    name.iter_suffixes().filter(|suffix| !suffix.is_root()).map(|suffix| suffix.to_vec())
}

/// Returns a name with another first label; `None` if it is too long.
pub(super) fn replace_first_label(name: &DnsName, label: &str) -> Option<DnsName> {
    let parent = name.parent()?;
    format!("{label}.{parent}.").parse().ok()
}

/// Returns a query.
pub(super) fn build_query(
    id: u16,
    name: &DnsName,
    rtype: Rtype,
    recursion: Recursion,
) -> Result<Vec<u8>, AcmeError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(recursion == Recursion::Desired);
    let mut question = builder.question();
    question.push((name, rtype)).map_err(too_long)?;
    Ok(question.finish())
}

/// Returns a signed update, and the transaction that verifies its reply. `now` is in Unix seconds.
pub(super) fn build_update(
    id: u16,
    change: &Change<'_>,
    key: Arc<Key>,
    now: u64,
) -> Result<(Vec<u8>, ClientTransaction<Arc<Key>>), AcmeError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::UPDATE);
    // The four sections are the zone, the prerequisites, the update, and additional data.
    let mut zone = builder.question();
    zone.push((change.zone, Rtype::SOA)).map_err(too_long)?;
    let text = Txt::<Vec<u8>>::build_from_slice(change.value.as_bytes()).map_err(dns_error)?;
    let (class, ttl) = match change.kind {
        ChangeKind::Add => (Class::IN, Ttl::from_secs(RECORD_TTL)),
        ChangeKind::Remove => (Class::NONE, Ttl::ZERO),
    };
    let mut update = zone.authority();
    update.push(Record::new(change.name, class, ttl, text)).map_err(too_long)?;
    let mut additional = update.additional();
    let transaction = ClientTransaction::request(key, &mut additional, Time48::from_u64(now));
    Ok((additional.finish(), transaction.map_err(too_long)?))
}

/// Returns the code of an update's reply, whose signature is verified.
pub(super) fn read_update_reply(
    reply: Vec<u8>,
    transaction: &ClientTransaction<Arc<Key>>,
    now: u64,
) -> Result<Rcode, UpdateReplyError> {
    let message = Message::from_octets(reply);
    let mut message = message.map_err(|_| ValidationError::FormErr)?;
    let rcode = message.header().rcode();
    match transaction.answer(&mut message, Time48::from_u64(now)) {
        Err(ValidationError::ServerUnsigned) if rcode != Rcode::NOERROR => {
            Err(UpdateReplyError::Refused(rcode))
        }
        result => Ok(result.map(|()| rcode)?),
    }
}

/// Whether a message is the reply to a request: anything else may be from another sender.
pub(super) fn is_reply_to(message: &[u8], request: &[u8]) -> bool {
    let (Ok(reply), Ok(request)) = (Message::from_slice(message), Message::from_slice(request))
    else {
        return false;
    };
    let header = reply.header();
    let is_answer = match header.opcode() {
        // The reply to an update may have no sections (RFC 2136, 3.8).
        Opcode::UPDATE => header.qr() && header.id() == request.header().id(),
        _ => reply.is_answer(request),
    };
    is_answer && header.opcode() == request.header().opcode()
}

/// Whether the reply did not fit into a datagram.
pub(super) fn is_truncated(message: &[u8]) -> bool {
    Message::from_slice(message).is_ok_and(|message| message.header().tc())
}

/// Parses the reply to a query.
pub(super) fn parse_reply(message: &[u8]) -> Result<Reply, AcmeError> {
    let malformed = |_| dns_error("a name server sent a malformed reply");
    let message = Message::from_slice(message)
        .map_err(|_| dns_error("a name server sent a malformed reply"))?;
    let read = || -> Result<Reply, ParseError> {
        let (rcode, authoritative) = (message.header().rcode(), message.header().aa());
        let answer = read_records(message.answer()?)?;
        let authority = read_records(message.authority()?)?;
        Ok(Reply { rcode, authoritative, answer, authority })
    };
    read().map_err(malformed)
}

fn read_records(section: RecordSection<'_, [u8]>) -> Result<Vec<ReplyRecord>, ParseError> {
    let mut records = Vec::new();
    for record in section {
        let Some(record) = record?.into_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>()? else {
            continue;
        };
        let data = match record.data() {
            AllRecordData::Soa(_) => RecordData::Soa,
            AllRecordData::Ns(ns) => RecordData::Ns(ns.nsdname().to_vec()),
            AllRecordData::Cname(cname) => RecordData::Cname(cname.cname().to_vec()),
            AllRecordData::A(a) => RecordData::Address(IpAddr::V4(a.addr())),
            AllRecordData::Aaaa(aaaa) => RecordData::Address(IpAddr::V6(aaaa.addr())),
            AllRecordData::Txt(txt) => RecordData::Text(txt.text()),
            _ => continue,
        };
        records.push(ReplyRecord { owner: record.owner().to_vec(), data });
    }
    Ok(records)
}

impl Reply {
    /// Returns the zone of a name in the reply to a query for the name's SOA: the owner of the record, which is in the
    /// authority section if the name is not the zone itself.
    pub(super) fn zone_of(&self, name: &DnsName) -> Option<DnsName> {
        let all = self.answer.iter().chain(&self.authority);
        let soa = all.filter(|record| record.data == RecordData::Soa);
        soa.map(|record| record.owner.clone()).find(|owner| name.ends_with(owner))
    }

    /// Returns where an alias leads.
    pub(super) fn alias_of(&self, name: &DnsName) -> Option<DnsName> {
        self.answer.iter().find_map(|record| match &record.data {
            RecordData::Cname(target) if record.owner == *name => Some(target.clone()),
            _ => None,
        })
    }

    pub(super) fn name_servers(&self) -> Vec<DnsName> {
        let data = self.answer.iter().map(|record| &record.data);
        data.filter_map(
            |data| if let RecordData::Ns(name) = data { Some(name.clone()) } else { None },
        )
        .collect()
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let data = self.answer.iter().map(|record| &record.data);
        data.filter_map(|data| if let RecordData::Address(ip) = data { Some(*ip) } else { None })
            .collect()
    }

    pub(super) fn has_text(&self, value: &str) -> bool {
        let is_value = |record: &ReplyRecord| match &record.data {
            RecordData::Text(text) => text == value.as_bytes(),
            _ => false,
        };
        self.answer.iter().any(is_value)
    }
}

pub(super) fn dns_error<T: std::fmt::Display>(text: T) -> AcmeError {
    AcmeError::new(FailureKind::Challenge, text)
}

fn too_long(_: PushError) -> AcmeError {
    dns_error("the DNS message is too long")
}

#[cfg(test)]
mod tests;
