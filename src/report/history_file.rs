//! Format of the history and the rollback on disk: JSON, one generation per line.
//!
//! Pure. The first line contains the routes that were served before the oldest generation, with the certificates of
//! their hosts, and each further one the changes of a generation. Values are validated as labels are, so a modified file cannot introduce other values. An
//! incomplete line, and what follows it, is ignored and reported.

use super::{
    ApplyMethod,
    certificate_history::{CertificateDelta, ServedCertificate, ServedCertificates},
    history::{BeforeAfter, GenerationRecord, History, RouteDelta},
};
use crate::{
    model::{
        container_ref::ContainerRef,
        label_option::{self, OptionValues, ProtocolPolicy},
        route::{Endpoint, OwnedName, Readiness, Route, RouteKey, Routes},
    },
    routing::{rollback::Rollback, route_table::HostOwner},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

/// Result of parsing a history file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedHistory {
    /// The routes that were served before the oldest generation.
    pub base: Routes,
    pub history: History,
    /// The routes after the last generation.
    pub served: Routes,
    /// The certificates before the oldest generation, and after the last one.
    pub base_certificates: ServedCertificates,
    pub certificates: ServedCertificates,
    /// Number of the invalid line, and the reason.
    pub error: Option<(usize, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum HistoryLine {
    Base {
        generation: u64,
        routes: BTreeMap<String, RouteLine>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        certificates: CertificateLines,
    },
    Generation(GenerationLine),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationLine {
    number: u64,
    at_ms: u64,
    cause: String,
    how: HowLine,
    took_us: u64,
    /// `null` if the route was removed.
    routes: BTreeMap<String, Option<RouteLine>>,
    /// The certificates of a host after the change; none if it has none any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    certificates: CertificateLines,
}

type CertificateLines = BTreeMap<String, Vec<CertificateLine>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateLine {
    digest: String,
    origin: String,
    not_after: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HowLine {
    Runtime(usize),
    Started,
    Reloaded(String),
}

#[derive(Serialize, Deserialize)]
struct RouteLine {
    #[serde(flatten)]
    policy: ProtocolPolicy,
    #[serde(flatten, with = "label_option::json::terms")]
    terms: OptionValues,
    servers: Vec<ServerLine>,
}

#[derive(Serialize, Deserialize)]
struct ServerLine {
    container: String,
    id: String,
    port: u16,
    address: SocketAddr,
    #[serde(flatten, with = "label_option::json::server")]
    options: OptionValues,
    ready: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackLine {
    generation: u64,
    since_ms: u64,
    routes: BTreeMap<String, RouteLine>,
}

/// Renders the first line: the routes and certificates that were served before the oldest stored generation.
pub fn format_base(
    generation: u64,
    routes: &Routes,
    ServedCertificates(certificates): &ServedCertificates,
) -> String {
    let certificates = certificate_lines(certificates);
    to_json_line(&HistoryLine::Base { generation, routes: route_lines(routes), certificates })
}

pub fn format_generation(generation: &GenerationRecord) -> String {
    let GenerationRecord { number, at_ms, cause, how, duration: took, delta, certificates } =
        generation;
    let certificates = certificates.0.iter().map(|(host, (_, after))| (host, after));
    let route = |(key, (_, after)): (&RouteKey, &BeforeAfter)| {
        (key.to_string(), after.as_deref().map(|route| RouteLine::new(key, route)))
    };
    to_json_line(&HistoryLine::Generation(GenerationLine {
        number: *number,
        at_ms: *at_ms,
        cause: cause.clone(),
        how: match how.clone() {
            ApplyMethod::Runtime { commands } => HowLine::Runtime(commands),
            ApplyMethod::Started => HowLine::Started,
            ApplyMethod::Reloaded { why } => HowLine::Reloaded(why),
        },
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        routes: delta.0.iter().map(route).collect(),
        certificates: certificate_lines(certificates),
    }))
}

pub fn format_rollback(rollback: &Rollback) -> String {
    let Rollback { generation, since_ms, .. } = *rollback;
    to_json_line(&RollbackLine {
        generation,
        since_ms,
        routes: route_lines(rollback.target_routes()),
    })
}

/// Renders the owner of each host.
pub fn format_owners(owners: &BTreeMap<OwnedName, HostOwner>) -> String {
    let holder =
        |(host, owner): (&OwnedName, &HostOwner)| (host.to_string(), owner.holder.to_string());
    to_json_line(&owners.iter().map(holder).collect::<BTreeMap<_, _>>())
}

/// # Errors
/// Returns what is invalid.
pub fn parse_owners(text: &str) -> Result<BTreeMap<OwnedName, Arc<str>>, String> {
    let owners: BTreeMap<String, String> = parse_json(text)?;
    let owner = |(host, holder): (String, String)| {
        let name = host.parse().map_err(|()| format!("invalid host {host:?}"))?;
        Ok((name, holder.into()))
    };
    owners.into_iter().map(owner).collect()
}

/// # Errors
/// Returns what is invalid.
pub fn parse_rollback(text: &str) -> Result<Rollback, String> {
    let RollbackLine { generation, since_ms, routes } = parse_json(text)?;
    Ok(Rollback::new(generation, since_ms, Arc::new(parse_routes(routes)?)))
}

/// Parses the lines up to the first invalid one. Numbers continue after those of the lost lines.
pub fn parse_history(text: &str) -> LoadedHistory {
    let mut loaded = LoadedHistory::default();
    // The last line is only valid if its line end was written.
    let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut lines = complete.lines().enumerate();
    let error = lines.find_map(|(at, line)| Some((at + 1, loaded.apply_line(line).err()?)));
    let skipped_numbers = lines.filter_map(|(_, line)| match parse_json(line).ok()? {
        HistoryLine::Base { generation, .. } => Some(generation),
        HistoryLine::Generation(value) => Some(value.number),
    });
    if let Some(last) = skipped_numbers.max() {
        // The changes of these lines are unknown: the next generation contains the difference that all of them made.
        loaded.history.skip_to(last);
    }
    let is_truncated = complete.len() < text.len();
    let end = || (complete.lines().count() + 1, "the line is incomplete".to_owned());
    loaded.error = error.or_else(|| is_truncated.then(end));
    loaded
}

impl LoadedHistory {
    fn apply_line(&mut self, line: &str) -> Result<(), String> {
        match parse_json(line)? {
            HistoryLine::Base { generation, routes, certificates } => {
                self.base_certificates = ServedCertificates(parse_certificates(certificates)?);
                self.certificates = self.base_certificates.clone();
                self.base = parse_routes(routes)?;
                self.served = self.base.clone();
                self.history = History::starting_after(generation);
            }
            HistoryLine::Generation(line) => {
                let generation = line.into_generation(&self.served, &self.certificates)?;
                generation.delta.apply_to(&mut self.served);
                generation.certificates.apply_to(&mut self.certificates);
                for dropped in self.history.push_generation(Arc::new(generation)) {
                    dropped.delta.apply_to(&mut self.base);
                    dropped.certificates.apply_to(&mut self.base_certificates);
                }
            }
        }
        Ok(())
    }
}

impl GenerationLine {
    fn into_generation(
        self,
        served: &Routes,
        served_certificates: &ServedCertificates,
    ) -> Result<GenerationRecord, String> {
        let Self { number, at_ms, cause, how, took_us, routes, certificates } = self;
        let certificates = parse_certificates(certificates)?.into_iter().map(|(host, after)| {
            let before = served_certificates.0.get(&host).cloned().unwrap_or_default();
            (host, (before, after))
        });
        let mut delta = RouteDelta::default();
        for (key, after) in routes {
            let key = parse_route_key(&key)?;
            let before = served.0.get(&key).cloned();
            let after = after.map(Route::from).map(Arc::new);
            delta.0.insert(key, (before, after));
        }
        let how = match how {
            HowLine::Runtime(commands) => ApplyMethod::Runtime { commands },
            HowLine::Started => ApplyMethod::Started,
            HowLine::Reloaded(why) => ApplyMethod::Reloaded { why },
        };
        Ok(GenerationRecord {
            number,
            at_ms,
            cause,
            how,
            duration: Duration::from_micros(took_us),
            delta,
            certificates: CertificateDelta(certificates.collect()),
        })
    }
}

impl RouteLine {
    fn new(key: &RouteKey, route: &Route) -> Self {
        let protocol = key.listener.protocol.label_protocol();
        Self {
            policy: ProtocolPolicy { protocol, values: route.policy.clone() },
            terms: route.terms.clone(),
            servers: route.endpoints.iter().map(ServerLine::from).collect(),
        }
    }
}

impl From<&Endpoint> for ServerLine {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { container: origin, port, address, options, readiness } = endpoint;
        Self {
            container: origin.name().to_owned(),
            id: origin.id().to_owned(),
            port: *port,
            address: *address,
            options: options.clone(),
            ready: *readiness == Readiness::Ready,
        }
    }
}

impl From<RouteLine> for Route {
    fn from(line: RouteLine) -> Self {
        let RouteLine { policy: ProtocolPolicy { values: policy, .. }, terms, servers } = line;
        Self { policy, terms, endpoints: servers.into_iter().map(Endpoint::from).collect() }
    }
}

impl From<ServerLine> for Endpoint {
    fn from(line: ServerLine) -> Self {
        let ServerLine { container, id, port, address, options, ready } = line;
        Self {
            container: ContainerRef::new(&container, &id),
            port,
            address,
            options,
            readiness: if ready { Readiness::Ready } else { Readiness::Out },
        }
    }
}

fn to_json_line(value: &impl Serialize) -> String {
    // Maps with keys of text and numbers can always be serialized.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn route_lines(routes: &Routes) -> BTreeMap<String, RouteLine> {
    routes.0.iter().map(|(key, route)| (key.to_string(), RouteLine::new(key, route))).collect()
}

fn parse_routes(lines: BTreeMap<String, RouteLine>) -> Result<Routes, String> {
    let route =
        |(key, line): (String, RouteLine)| Ok((parse_route_key(&key)?, Arc::new(line.into())));
    lines.into_iter().map(route).collect::<Result<_, String>>().map(Routes)
}

fn certificate_lines<'a>(
    certificates: impl IntoIterator<Item = (&'a String, &'a Vec<ServedCertificate>)>,
) -> CertificateLines {
    let line = |certificate: &ServedCertificate| CertificateLine {
        digest: certificate.digest.to_string(),
        origin: certificate.origin.clone(),
        not_after: certificate.not_after,
    };
    let certificates = certificates.into_iter();
    certificates.map(|(host, all)| (host.clone(), all.iter().map(line).collect())).collect()
}

fn parse_certificates(
    lines: CertificateLines,
) -> Result<BTreeMap<String, Vec<ServedCertificate>>, String> {
    let certificate = |line: CertificateLine| {
        let CertificateLine { digest, origin, not_after } = line;
        let digest = digest.parse().map_err(|error| format!("{digest:?}: {error}"))?;
        Ok(ServedCertificate { digest, origin, not_after })
    };
    let host = |(host, lines): (String, Vec<CertificateLine>)| {
        let certificates = lines.into_iter().map(certificate).collect::<Result<_, String>>()?;
        Ok((host, certificates))
    };
    lines.into_iter().map(host).collect()
}

fn parse_route_key(text: &str) -> Result<RouteKey, String> {
    text.parse().map_err(|()| format!("invalid route {text:?}"))
}
