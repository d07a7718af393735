//! The certificates of HTTPS hosts, as operators see them. They contain no secret.
//!
//! Pure.

use super::StateSnapshot;
use crate::{
    haproxy::tls,
    model::{
        certificate::{Certificate, CertificateIndex, CertificateOrigin, CertificateValidity},
        option_value::HostMatch,
        route::{Listener, Route, RouteKey, Routes},
        tls::CertificateOption,
    },
    sources::acme::{
        AcmeHost, AcmeStatus, HostStatus, SharedStatus, decide::HostState, shared::Leader,
    },
    support::escape::SingleLine,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use strum::{EnumIter, IntoStaticStr, VariantNames};

/// A certificate whose remaining time is less than this part of its lifetime expires soon. Certificates from a CA are
/// renewed at a third of it, or at half of a short one.
const SOON_DIVISOR: i64 = 6;

/// Whether an HTTPS host has a certificate, in the status of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub state: ServingState,
    /// The Unix second at which the first of them expires.
    pub not_after: Option<i64>,
}

impl CertificateStatus {
    /// Returns `None` for a plain route.
    pub fn of_route(snapshot: &StateSnapshot, key: &RouteKey, route: &Route) -> Option<Self> {
        if !key.is_https() {
            return None;
        }
        let certificates = find_certificates(&snapshot.rules.certificates, key, route);
        Some(Self {
            state: ServingState::of(&certificates, unix_seconds(snapshot)),
            not_after: certificates.iter().map(|certificate| certificate.not_after).min(),
        })
    }
}

/// All moments are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateList {
    /// When the list was made.
    pub at: i64,
    /// The HTTPS hosts, sorted.
    pub hosts: Vec<HostCertificates>,
    /// Certificates that serve no host, sorted by digest.
    pub unused: Vec<CertificateInfo>,
    /// Absent without `--acme`.
    pub acme: Option<AcmeInfo>,
}

/// The certificates of one host on one HTTPS listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCertificates {
    /// `app.example.com`, `*.example.com`, or `*` for any.
    pub host: String,
    /// The public port.
    pub port: u16,
    /// The value of the label `cert`.
    pub choice: String,
    pub state: ServingState,
    /// At most one for each type of key.
    pub certificates: Vec<CertificateInfo>,
    /// Absent if none is ordered for the host.
    pub order: Option<OrderInfo>,
}

/// Whether a host has a certificate.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumIter,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ServingState {
    Valid,
    /// Less than a sixth of its lifetime remains.
    ExpiresSoon,
    NotYetValid,
    Expired,
    /// There is none, so TLS is refused.
    Missing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// The beginning of the SHA-256 digest of the PEM text, in hexadecimal.
    pub digest: String,
    pub names: Vec<String>,
    /// The issuer's common name, or else its organisation.
    pub issuer: String,
    /// `ECDSA` or `RSA`.
    pub key_type: String,
    /// `file`, `acme` or `own_ca`.
    pub origin: String,
    /// The file's path, or the URL of the CA.
    pub source: Option<String>,
    pub not_before: i64,
    pub not_after: i64,
}

/// An order, or the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderInfo {
    /// `missing`, `ordering`, `issued`, `renewing`, `failed`, `paused`, `archived` or `refused`.
    pub state: String,
    /// When the next order begins, if that is known.
    pub next_order: Option<i64>,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last order failed, or why none is made.
    pub error: Option<String>,
    /// Whether the next order goes to the CA's staging environment.
    pub staging: bool,
}

/// The account at the CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeInfo {
    /// The URL of the CA's directory.
    pub directory: String,
    /// The URL of the account, once it is used.
    pub account: Option<String>,
    pub terms_of_service: Option<String>,
    /// The CA's domains, one of which is part of a record of dns-persist-01.
    pub caa_identities: Vec<String>,
    /// Nothing is ordered until then, for this reason.
    pub paused_until: Option<i64>,
    pub pause: Option<String>,
    /// How far the CA's clock is ahead of the local one, in seconds.
    pub clock_skew: Option<i64>,
    /// Absent if no other balancer uses the store.
    #[serde(default)]
    pub shared: Option<SharedOrders>,
}

/// Who orders the certificates of the balancers that share a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedOrders {
    /// Whether this balancer does.
    pub is_leader: bool,
    /// Absent while no balancer does.
    pub leader: Option<OrderingBalancer>,
}

/// The balancer that orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderingBalancer {
    /// The name of its machine.
    pub host: String,
    /// The number of its process, on its machine or in its container.
    pub pid: u32,
    /// 32 hexadecimal digits, others for each start.
    pub id: String,
}

impl SharedOrders {
    /// Returns `None` if no other balancer uses the store.
    pub fn of_orders(orders: Option<&AcmeStatus>) -> Option<Self> {
        let SharedStatus { is_leader, leader } = orders?.shared.as_ref()?;
        let leader = leader.as_ref().map(|Leader { host, pid, id }| OrderingBalancer {
            host: host.clone(),
            pid: *pid,
            id: id.clone(),
        });
        Some(Self { is_leader: *is_leader, leader })
    }
}

/// `this balancer orders certificates`, or who does.
impl fmt::Display for SharedOrders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.leader {
            _ if self.is_leader => f.write_str("this balancer orders certificates"),
            Some(OrderingBalancer { host, pid, id }) => {
                let host = SingleLine(host);
                write!(f, "certificates are ordered by the balancer at {host} (pid {pid}, id {id})")
            }
            None => f.write_str("no balancer orders certificates at present"),
        }
    }
}

impl CertificateList {
    pub fn from_snapshot(snapshot: &StateSnapshot) -> Self {
        let now = unix_seconds(snapshot);
        let hosts = list_hosts(snapshot, now);
        let used: BTreeSet<_> = hosts
            .iter()
            .flat_map(|host| &host.certificates)
            .map(|certificate| certificate.digest.as_str())
            .collect();
        let all =
            snapshot.rules.certificates.iter().map(|certificate| CertificateInfo::new(certificate));
        let unused = all.filter(|info| !used.contains(info.digest.as_str())).collect();
        Self { at: now, unused, acme: snapshot.orders.as_deref().map(AcmeInfo::new), hosts }
    }

    /// Whether each host has a certificate that is valid now.
    pub fn is_complete(&self) -> bool {
        self.hosts.iter().all(|host| host.state.is_usable())
    }
}

/// Returns the moment of the snapshot in Unix seconds.
pub fn unix_seconds(snapshot: &StateSnapshot) -> i64 {
    i64::try_from(snapshot.at_ms / 1000).unwrap_or(i64::MAX)
}

/// How many HTTPS hosts have which certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateCounts {
    pub hosts: BTreeMap<ServingState, usize>,
    /// Host and the Unix second at which its first certificate expires: the earliest [`MAX_EXPIRIES`], sorted by it.
    pub expiries: Vec<(String, i64)>,
}

/// Limit of hosts with a metric of their own.
pub const MAX_EXPIRIES: usize = 1000;

impl CertificateCounts {
    /// Counts the HTTPS hosts of `routes` at `now`, in Unix seconds.
    pub fn new(routes: &Routes, index: &CertificateIndex, now: i64) -> Self {
        let mut counts = Self::default();
        for (key, route) in https_hosts(routes) {
            let certificates = find_certificates(index, key, route);
            *counts.hosts.entry(ServingState::of(&certificates, now)).or_default() += 1;
            if let Some(first) = certificates.iter().map(|certificate| certificate.not_after).min()
            {
                counts.expiries.push((key.host().to_string(), first));
            }
        }
        counts.expiries.sort_by(|(host, at), (other, then)| (at, host).cmp(&(then, other)));
        // A host may be on several ports; its first certificate counts.
        let mut hosts = BTreeSet::new();
        counts.expiries.retain(|(host, _)| hosts.insert(host.clone()));
        counts.expiries.truncate(MAX_EXPIRIES);
        counts
    }
}

/// Iterates over one route of each host on an HTTPS listener: all of them have the same terms.
fn https_hosts(routes: &Routes) -> impl Iterator<Item = (&RouteKey, &Route)> {
    let mut hosts = BTreeMap::new();
    for (key, route) in routes.0.iter().filter(|(key, _)| key.is_https()) {
        hosts.entry((key.host(), key.listener)).or_insert((key, &**route));
    }
    hosts.into_values()
}

/// Iterates over the HTTPS hosts, written with their public port, with the certificates for each.
pub(super) fn hosts_with_certificates<'a>(
    routes: &Routes,
    index: &'a CertificateIndex,
) -> impl Iterator<Item = (String, Vec<&'a Certificate>)> {
    https_hosts(routes).map(|(key, route)| {
        let host = format!("{}:{}", key.host(), key.listener.port);
        (host, find_certificates(index, key, route))
    })
}

fn list_hosts(snapshot: &StateSnapshot, now: i64) -> Vec<HostCertificates> {
    let index = &snapshot.rules.certificates;
    let host = |(key, route): (&RouteKey, &Route)| {
        let certificates = find_certificates(index, key, route);
        let CertificateOption(choice) = route.terms.get();
        HostCertificates {
            host: key.host().to_string(),
            port: key.listener.port.get(),
            choice: choice.to_string(),
            state: ServingState::of(&certificates, now),
            certificates: certificates.into_iter().map(CertificateInfo::new).collect(),
            order: find_order(snapshot.orders.as_deref(), key.host()),
        }
    };
    https_hosts(&snapshot.routes).map(host).collect()
}

/// Returns the certificates for the host of an HTTPS route.
fn find_certificates<'a>(
    index: &'a CertificateIndex,
    key: &RouteKey,
    route: &Route,
) -> Vec<&'a Certificate> {
    let CertificateOption(choice) = route.terms.get();
    let chosen = index.find(key.host(), &choice).into_iter();
    chosen
        .filter_map(|chosen| index.get(&chosen.certificate.digest))
        .map(|certificate| &**certificate)
        .collect()
}

/// Returns the certificates that HAProxy presents on the listener to clients that ask for the host.
pub fn presented_certificates<'a>(
    snapshot: &'a StateSnapshot,
    listener: Listener,
    host: &str,
) -> Vec<&'a Certificate> {
    let lines = snapshot.config.tls.get(&tls::list_name(listener.port));
    let lines = lines.map(|lines| tls::find_lines(lines, host)).unwrap_or_default();
    let default = snapshot.config.default_certificate.certificate().filter(|_| lines.is_empty());
    let digests = lines.into_iter().filter_map(tls::TlsLine::digest);
    let default = default.and_then(|certificate| tls::digest_in_name(certificate));
    digests
        .chain(default)
        .filter_map(|digest| snapshot.rules.certificates.get(&digest))
        .map(|certificate| &**certificate)
        .collect()
}

fn find_order(orders: Option<&AcmeStatus>, host: &HostMatch) -> Option<OrderInfo> {
    let host = match host {
        HostMatch::Exact(host) => AcmeHost::exact(host.clone()),
        HostMatch::Wildcard(host) => AcmeHost::wildcard(host.clone()),
        HostMatch::Any => return None,
    };
    let (_, status) = orders?.find_host(&host)?;
    Some(OrderInfo::new(status))
}

impl ServingState {
    /// Whether TLS connections of clients that check the certificate succeed.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Valid | Self::ExpiresSoon)
    }

    /// Returns the state in a few words, if it needs attention.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Valid => None,
            Self::ExpiresSoon => Some("certificate expires soon"),
            Self::NotYetValid => Some("certificate is not valid yet"),
            Self::Expired => Some("certificate expired"),
            Self::Missing => Some("no certificate: TLS is refused"),
        }
    }

    fn of(certificates: &[&Certificate], now: i64) -> Self {
        let state = |certificate: &&Certificate| match certificate.validity(now) {
            CertificateValidity::Valid if expires_soon(certificate, now) => Self::ExpiresSoon,
            CertificateValidity::Valid => Self::Valid,
            CertificateValidity::NotYetValid => Self::NotYetValid,
            CertificateValidity::Expired => Self::Expired,
        };
        // Clients without the algorithm of one certificate depend on the other, so the worst one counts.
        certificates.iter().map(state).max().unwrap_or(Self::Missing)
    }
}

fn expires_soon(certificate: &Certificate, now: i64) -> bool {
    let lifetime = certificate.not_after.saturating_sub(certificate.not_before);
    certificate.not_after.saturating_sub(now) < lifetime / SOON_DIVISOR
}

impl CertificateInfo {
    pub fn new(certificate: &Certificate) -> Self {
        let (origin, source) = match &certificate.origin {
            CertificateOrigin::File { path } => ("file", Some(path.display().to_string())),
            CertificateOrigin::Acme { ca } => ("acme", Some(ca.to_string())),
            CertificateOrigin::OwnCa => ("own_ca", None),
        };
        Self {
            digest: certificate.digest.to_string(),
            names: certificate.names.iter().map(ToString::to_string).collect(),
            issuer: certificate.issuer.clone(),
            key_type: certificate.key_type.to_string(),
            origin: origin.to_owned(),
            source,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }

    /// Describes the origin in a few words: `letsencrypt`, `file shop.pem`, `own CA`.
    pub fn origin_text(&self) -> String {
        match (self.origin.as_str(), &self.source) {
            ("file", Some(path)) => format!("file {}", path.rsplit('/').next().unwrap_or(path)),
            ("acme", Some(url)) => ca_name(url),
            _ => "own CA".to_owned(),
        }
    }
}

/// Returns the host of a CA's URL, without the words that all of them have.
fn ca_name(url: &str) -> String {
    let host = url.split("://").last().unwrap_or(url).split('/').next().unwrap_or(url);
    match host {
        "acme-v02.api.letsencrypt.org" => "letsencrypt".to_owned(),
        "acme-staging-v02.api.letsencrypt.org" => "letsencrypt-staging".to_owned(),
        host => host.to_owned(),
    }
}

impl OrderInfo {
    fn new(status: &HostStatus) -> Self {
        let failure = status.last_failure.as_ref().map(|failure| failure.text.clone());
        let is_current = status.failures != 0 || status.state == HostState::Failed;
        Self {
            state: status.state.to_string(),
            next_order: status.next_order,
            failures: status.failures,
            error: status.refusal.clone().or(failure.filter(|_| is_current)),
            staging: status.staging,
        }
    }
}

impl AcmeInfo {
    fn new(status: &AcmeStatus) -> Self {
        Self {
            directory: status.directory.clone(),
            account: status.account.clone(),
            terms_of_service: status.terms_of_service.clone(),
            caa_identities: status.caa_identities.clone(),
            paused_until: status.pause.as_ref().map(|pause| pause.until),
            pause: status.pause.as_ref().map(|pause| pause.text.clone()),
            clock_skew: status.clock_skew,
            shared: SharedOrders::of_orders(Some(status)),
        }
    }
}
