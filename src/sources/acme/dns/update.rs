//! Changes TXT records by DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945).

use super::{
    lookup::query,
    message::{
        Change, ChangeKind, DnsName, Recursion, UpdateReplyError, ancestors, build_update,
        dns_error, parse_name, read_update_reply,
    },
    transport::{exchange, random_id},
    update_key::DnsUpdate,
};
use crate::sources::acme::{client::unix_now, error::AcmeError};
use domain::{
    base::{Rtype, iana::Rcode},
    tsig::ValidationError,
};
use std::{net::SocketAddr, time::Duration};

/// The longest time to find the address of the name server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an update is sent to a server that is busy or does not reply, and the pause in between. An update that
/// was carried out has no further effect.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Adds or removes one TXT record.
pub(super) async fn change_record(
    update: &DnsUpdate,
    kind: ChangeKind,
    name: &str,
    value: &str,
) -> Result<(), AcmeError> {
    let (name, server) = (parse_name(name)?, resolve(&update.server).await?);
    let zone = match &update.zone {
        Some(zone) => zone.clone(),
        None => find_zone(server, &name, &update.server).await?,
    };
    let change = Change { kind, zone: &zone, name: &name, value };
    let mut tries = 1;
    loop {
        match send(update, server, &change).await {
            Err((error, Retry::Later)) if TRIES <= tries => return Err(error),
            Err((_, Retry::Later)) => tokio::time::sleep(PAUSE).await,
            Err((error, Retry::Never)) => return Err(error),
            Ok(()) => return Ok(()),
        }
        tries += 1;
    }
}

/// Whether another try may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Later,
    Never,
}

async fn send(
    update: &DnsUpdate,
    server: SocketAddr,
    change: &Change<'_>,
) -> Result<(), (AcmeError, Retry)> {
    let never = |error| (error, Retry::Never);
    let key = update.key().map_err(|error| never(dns_error(error)))?;
    let now = || u64::try_from(unix_now()).unwrap_or(0);
    let (request, transaction) = build_update(random_id(), change, key, now()).map_err(never)?;
    let reply = exchange(server, &request).await.map_err(|error| (error, Retry::Later))?;
    let place = format!("name server {}", update.server);
    match read_update_reply(reply, &transaction, now()) {
        Ok(Rcode::NOERROR) => Ok(()),
        Ok(Rcode::SERVFAIL) | Err(UpdateReplyError::Refused(Rcode::SERVFAIL)) => {
            let text = format!("{place} cannot update zone {} now", change.zone);
            Err((dns_error(text), Retry::Later))
        }
        Ok(rcode) | Err(UpdateReplyError::Refused(rcode)) => {
            Err(never(dns_error(format!("{place} {}", refusal(rcode, update, change)))))
        }
        Err(UpdateReplyError::Invalid(error)) => {
            Err(never(dns_error(format!("{place} {}", invalid(error, update)))))
        }
    }
}

/// Returns what the server refuses, and what to do. Servers differ: Knot DNS answers NOTAUTH for a key that it does not
/// know or that has no permission, BIND answers REFUSED.
fn refusal(rcode: Rcode, update: &DnsUpdate, change: &Change<'_>) -> String {
    let (zone, key, name) = (change.zone, update.key_name(), change.name);
    match rcode {
        Rcode::REFUSED | Rcode::NOTAUTH | Rcode::NOTZONE => format!(
            "does not permit key {key} to change {name} in zone {zone} ({rcode}); correct server, \
             key, algorithm and zone in the file of --acme-dns, and permit the key to update TXT \
             records"
        ),
        Rcode::NOTIMP => {
            "does not support updates; use another server or --acme-dns PROGRAM".to_owned()
        }
        rcode => format!("refuses to update zone {zone}: {rcode}"),
    }
}

/// Returns which signature is not valid, and what to do.
fn invalid(error: ValidationError, update: &DnsUpdate) -> String {
    let key = update.key_name();
    match error {
        ValidationError::ServerBadKey => format!(
            "does not know key {key}; correct key and algorithm in the file of --acme-dns, or add the key to the server"
        ),
        ValidationError::ServerBadSig => format!(
            "does not accept the signature of key {key}; correct secret and algorithm in the file of --acme-dns"
        ),
        ValidationError::ServerBadTime { .. } | ValidationError::BadTime => {
            "has another time; set the clocks of both machines".to_owned()
        }
        ValidationError::ServerUnsigned => {
            "sent a reply without a signature; use another server that supports TSIG".to_owned()
        }
        error => format!("sent a reply that is not valid: {error}"),
    }
}

/// Returns the zone of a name by the server that is to be updated.
async fn find_zone(server: SocketAddr, name: &DnsName, place: &str) -> Result<DnsName, AcmeError> {
    for ancestor in ancestors(name) {
        let reply = query(server, &ancestor, Rtype::SOA, Recursion::Off).await?;
        if let Some(zone) = reply.zone_of(&ancestor).filter(|_| reply.authoritative) {
            return Ok(zone);
        }
    }
    Err(dns_error(format!(
        "name server {place} has no zone for {name}; set server to the primary name server, or set zone, in the file of --acme-dns"
    )))
}

async fn resolve(server: &str) -> Result<SocketAddr, AcmeError> {
    let unknown = |text: String| dns_error(format!("no address of name server {server}: {text}"));
    let addresses = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(server)).await;
    let addresses = addresses.map_err(|_| unknown(format!("no answer in {RESOLVE_TIMEOUT:?}")))?;
    let mut addresses = addresses.map_err(|error| unknown(error.to_string()))?;
    addresses.next().ok_or_else(|| unknown("the name has none".to_owned()))
}
