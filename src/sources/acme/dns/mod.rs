//! TXT records that prove control of a name (RFC 8555, 8.4): published by a program or by DNS UPDATE, and verified at
//! the name servers before the CA looks.

mod lookup;
mod message;
mod program;
mod propagation;
mod transport;
mod update;
mod update_key;

pub use update_key::{DnsUpdate, DnsUpdateError};

use super::{
    error::AcmeError,
    settings::{DnsLookup, DnsPublisher},
};
use lookup::Resolver;
use message::{ChangeKind, parse_name};
use propagation::{Verdict, judge};
use std::time::Instant;
use tracing::{debug, warn};

/// A TXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextRecord {
    /// With a dot at the end.
    pub name: String,
    pub value: String,
}

/// Returns the name of the record for a host: that to which an alias (CNAME) of `_acme-challenge.HOST` leads, if there
/// is one.
pub(super) async fn find_record_name(lookup: &DnsLookup, host: &str) -> Result<String, AcmeError> {
    let name = parse_name(&format!("_acme-challenge.{host}."))?;
    let target = Resolver::new(lookup).follow_aliases(&name).await.unwrap_or_else(|error| {
        debug!("cannot look up aliases of {name}: {}", error.text);
        name.clone()
    });
    Ok(format!("{target}."))
}

pub(super) async fn publish(
    publisher: &DnsPublisher,
    record: &TextRecord,
) -> Result<(), AcmeError> {
    let TextRecord { name, value } = record;
    match publisher {
        DnsPublisher::Program(path) => program::run(path, ["present", name, value]).await,
        DnsPublisher::Update(update) => {
            update::change_record(update, ChangeKind::Add, name, value).await
        }
    }
}

/// Removes a record. A failure is logged, because the record has no effect any more.
pub(super) async fn clean_up(publisher: &DnsPublisher, record: &TextRecord) {
    let TextRecord { name, value } = record;
    let removed = match publisher {
        DnsPublisher::Program(path) => program::run(path, ["cleanup", name, value]).await,
        DnsPublisher::Update(update) => {
            update::change_record(update, ChangeKind::Remove, name, value).await
        }
    };
    if let Err(error) = removed {
        warn!("could not remove the record {name}: {}", error.text);
    }
}

/// Waits until all name servers of the zone answer with the record, or for the pause of the settings if they cannot be
/// reached. After the limit of the settings the CA may look: its name servers may be others than those seen from here.
pub(super) async fn wait_until_visible(lookup: &DnsLookup, record: &TextRecord) {
    let TextRecord { name, value } = record;
    let resolver = Resolver::new(lookup);
    let servers = match resolver.find_name_servers(name).await {
        Ok(servers) => servers,
        Err(error) => {
            debug!("cannot find the name servers of {name}: {}", error.text);
            return tokio::time::sleep(lookup.pause).await;
        }
    };
    let start = Instant::now();
    loop {
        let observations = lookup::observe(&servers, name, value).await;
        match judge(&observations, start.elapsed(), lookup.limit) {
            Verdict::Visible => return,
            Verdict::Wait(pause) => tokio::time::sleep(pause).await,
            Verdict::Unreachable => return tokio::time::sleep(lookup.pause).await,
            Verdict::Late(absent) => {
                let (limit, absent) = (lookup.limit.as_secs(), absent.join(", "));
                warn!("after {limit} s the record {name} is missing at {absent}; continuing");
                return;
            }
        }
    }
}
