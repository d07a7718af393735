//! HTTPS listeners: which certificate HAProxy presents for which host, as lines of a list per listener.
//!
//! Pure. Configuration Manual, `crt-list`; Management Guide, section 9.3, `show ssl`. HAProxy starts with the lists as
//! files; while it runs, certificates and lines are added and deleted over the runtime API. A certificate's name
//! contains its digest, so a name never gets another content.

use super::command::RuntimeCommand;
use crate::model::{
    ca_index::{CaIndex, CaPurpose},
    certificate::{
        CertificateChoice, CertificateDigest, CertificateIndex, CertificateName, ChosenCertificate,
    },
    client_certificate::ClientCertificate,
    option_value::{Host, HostMatch},
    route::{Listener, Route, RouteKey},
    tls::{CertificateOption, TlsPolicy, TlsPolicyChoice},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    num::NonZeroU16,
    path::{Path, PathBuf},
};
use strum::IntoStaticStr;

/// Inputs of the lists besides the routes.
#[derive(Debug, Clone, Copy)]
pub struct TlsContext<'a> {
    pub certificates: &'a CertificateIndex,
    pub cas: &'a CaIndex,
    pub directory: &'a CertificateDirectory,
    /// Policy of hosts whose labels do not set one. The `bind` lines have it.
    pub policy: TlsPolicy,
    /// Whether listeners also serve HTTP/3.
    pub http3: bool,
    /// Whether clients without the name of a certificate get one.
    pub has_default: bool,
}

/// Name of the list of each HTTPS listener → its lines.
pub type TlsLists = BTreeMap<String, BTreeSet<TlsLine>>;

/// Line of a list: HAProxy presents the certificate to clients that ask for the name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsLine {
    /// The name that the line is for. Lines that docker-balancer did not write may have several.
    pub name: String,
    /// HAProxy's name of the certificate, which is the path of its file.
    pub certificate: String,
    /// Keywords with their values, in any order, that differ from those of the listener.
    pub options: BTreeSet<String>,
}

/// Name in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListName {
    pub list: String,
    pub name: String,
}

/// HTTPS part of HAProxy's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedTls {
    pub lists: TlsLists,
    /// HAProxy's names of the certificates that lines have.
    pub certificates: BTreeSet<String>,
    /// Certificates without a line. Their content is not known: loading them may have been interrupted.
    pub unused: BTreeSet<String>,
    /// HAProxy's names of the CAs.
    pub cas: BTreeSet<String>,
    /// CAs without certificates: loading them was interrupted.
    pub empty_cas: BTreeSet<String>,
    /// The certificate whose content the default one has. `None` if that is not known: HAProxy does not return it.
    pub default_certificate: Option<String>,
}

/// What clients get that ask for no name, or for one that no certificate has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DefaultCertificate {
    /// No connection.
    #[default]
    Off,
    /// What the file has: the host of the setting has no certificate.
    AsStored,
    /// The content of the certificate with this name.
    Of(String),
}

impl DefaultCertificate {
    /// Chooses the certificate of the host.
    pub fn new(
        host: Option<&Host>,
        certificates: &CertificateIndex,
        directory: &CertificateDirectory,
    ) -> Self {
        let Some(host) = host else { return Self::Off };
        let digest = find_default(host, certificates);
        digest.map_or(Self::AsStored, |digest| Self::Of(directory.certificate_path(digest)))
    }

    /// Whether such clients get a certificate.
    pub fn is_on(&self) -> bool {
        *self != Self::Off
    }

    /// Returns the name of the certificate whose content they get.
    pub fn certificate(&self) -> Option<&String> {
        match self {
            Self::Of(certificate) => Some(certificate),
            Self::Off | Self::AsStored => None,
        }
    }
}

/// Directory of the certificates that HAProxy loads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateDirectory(PathBuf);

impl CertificateDirectory {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns a certificate's path, which is its name in HAProxy.
    pub fn certificate_path(&self, digest: CertificateDigest) -> String {
        self.0.join(format!("{digest}.pem")).display().to_string()
    }

    /// Returns the path of the default certificate, which is its name in HAProxy. Its content changes.
    pub fn default_path(&self) -> String {
        self.0.join(DEFAULT_FILE).display().to_string()
    }

    /// Returns the line that makes it the default of a list in which it is the first one. The line is for no name.
    pub fn default_line(&self) -> String {
        format!("{} {NO_NAME}", self.default_path())
    }

    /// Returns the path of a CA's file, which is its name in HAProxy.
    pub fn ca_path(&self, digest: CertificateDigest) -> String {
        self.0.join(format!("{digest}{CA_EXTENSION}")).display().to_string()
    }

    /// Returns the digest in the name of a CA of this directory.
    pub fn ca_digest(&self, ca: &str) -> Option<CertificateDigest> {
        let file = Path::new(ca).strip_prefix(&self.0).ok()?.to_str()?;
        file.strip_suffix(CA_EXTENSION)?.parse().ok()
    }

    /// Returns the digest in the name of a certificate of this directory.
    pub fn digest_of(&self, certificate: &str) -> Option<CertificateDigest> {
        let file = Path::new(certificate).strip_prefix(&self.0).ok()?.to_str()?;
        file.strip_suffix(".pem")?.parse().ok()
    }
}

/// Name of the file with the default certificate.
pub const DEFAULT_FILE: &str = "default.pem";
/// Names of a line that is for none.
const NO_NAME: &str = "!*";

/// End of the names of files with CAs.
const CA_EXTENSION: &str = ".ca.pem";

/// Iterates over the lines of `lists` that `others` does not have.
fn missing_lines<'a>(
    lists: &'a TlsLists,
    others: &'a TlsLists,
) -> impl Iterator<Item = (&'a String, &'a TlsLine)> {
    let lines = lists.iter().flat_map(|(list, lines)| lines.iter().map(move |line| (list, line)));
    let has =
        |list: &String, line: &TlsLine| others.get(list).is_some_and(|lines| lines.contains(line));
    lines.filter(move |(list, line)| !has(list, line))
}

/// Whether it is the name of a certificate that docker-balancer loads, in any directory.
fn is_generated_name(certificate: &str) -> bool {
    let parent = Path::new(certificate).parent().map(CertificateDirectory::new);
    parent.is_some_and(|directory| directory.digest_of(certificate).is_some())
}

/// Whether it is the name of a CA that docker-balancer loads, in any directory.
fn is_generated_ca(ca: &str) -> bool {
    let parent = Path::new(ca).parent().map(CertificateDirectory::new);
    parent.is_some_and(|directory| directory.ca_digest(ca).is_some())
}

/// Returns the name of a listener's list, which is also the name of its file.
pub fn list_name(port: NonZeroU16) -> String {
    format!("tls-{port}.list")
}

/// Name of the list of certificates for challenges of an ACME CA.
pub const CHALLENGE_LIST: &str = "tls-acme.list";

/// Whether docker-balancer writes a list with this name.
pub fn is_list_name(name: &str) -> bool {
    name == CHALLENGE_LIST || list_port(name).is_some()
}

/// Returns the line by which HAProxy presents the certificate for a challenge.
pub fn challenge_line(
    host: &Host,
    digest: CertificateDigest,
    directory: &CertificateDirectory,
) -> TlsLine {
    let certificate = directory.certificate_path(digest);
    TlsLine { name: host.to_string(), certificate, options: BTreeSet::new() }
}

/// Returns the public port of a list with a name by [`list_name`].
pub fn list_port(name: &str) -> Option<NonZeroU16> {
    name.strip_prefix("tls-")?.strip_suffix(".list")?.parse().ok()
}

/// Returns the lines of an HTTPS route's host. Empty if there is no certificate for it, or no CA of its clients. A route of any host gets a line
/// for each name of a certificate.
///
/// Hosts that share a wildcard certificate and have no options of their own share its line: HAProxy needs 20 kB for
/// each line.
pub fn host_lines(key: &RouteKey, route: &Route, context: TlsContext<'_>) -> Vec<TlsLine> {
    let CertificateOption(choice) = route.terms.get();
    let Some(options) = line_options(route, context) else { return Vec::new() };
    let find = |host: &HostMatch| context.certificates.find(host, &choice);
    let line = |host: &HostMatch, ChosenCertificate { certificate, name }| TlsLine {
        name: if options.is_empty() { name.to_string() } else { host.to_string() },
        certificate: context.directory.certificate_path(certificate.digest),
        options: options.clone(),
    };
    let of_host = |host: &HostMatch| {
        let chosen = find(host).into_iter();
        chosen.map(|chosen| line(host, chosen)).collect::<Vec<_>>()
    };
    match key.host() {
        HostMatch::Any => {
            let names = context.certificates.iter().flat_map(|certificate| &certificate.names);
            let hosts: BTreeSet<_> = names.map(CertificateName::to_host_match).collect();
            hosts.iter().flat_map(of_host).collect()
        }
        host => of_host(host),
    }
}

/// Returns HAProxy's name of the CA of the host's clients. `None` if they need a CA that does not exist; the inner
/// `None` if they need no certificate.
pub fn client_ca(route: &Route, context: TlsContext<'_>) -> Option<Option<String>> {
    let client = route.terms.get::<ClientCertificate>();
    let Some(name) = client.ca() else { return Some(None) };
    let digest = context.cas.find(CaPurpose::Client, name)?;
    Some(Some(context.directory.ca_path(digest)))
}

/// Returns the certificate of a host whose content the default one gets. RSA comes first, because more clients support
/// it, and most clients that send no name are old.
pub fn find_default(host: &Host, certificates: &CertificateIndex) -> Option<CertificateDigest> {
    let host = HostMatch::Exact(host.clone());
    let mut chosen = certificates.find(&host, &CertificateChoice::Auto);
    chosen.sort_by_key(|chosen| chosen.certificate.key_type);
    chosen.pop().map(|chosen| chosen.certificate.digest)
}

/// Connections that may have requests of a host with TLS options of its own. Browsers use a connection for all hosts of
/// its certificate, and other clients may send any host. The text is a word of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
pub enum ConnectionGuard {
    /// Those with the host as SNI.
    #[strum(serialize = "own")]
    SameName,
    /// Those of them with a verified certificate of the client.
    #[strum(serialize = "own-required")]
    ClientCertificate,
    /// As [`Self::SameName`]. If the client has presented a certificate, the container gets it.
    #[strum(serialize = "own-optional")]
    OptionalClientCertificate,
}

/// Returns the guard of a host with these lines. `None` if they have no options. A host without lines has connections
/// with the default certificate only, which do not have the options: no request is permitted, because no such
/// connection has a verified certificate.
pub fn connection_guard(
    route: &Route,
    lines: &[TlsLine],
    context: TlsContext<'_>,
) -> Option<ConnectionGuard> {
    let guard = guard_of_options(route, context);
    let has_other_options = lines.is_empty() && context.has_default;
    if has_other_options { guard.map(|_| ConnectionGuard::ClientCertificate) } else { guard }
}

fn guard_of_options(route: &Route, context: TlsContext<'_>) -> Option<ConnectionGuard> {
    match route.terms.get::<ClientCertificate>() {
        ClientCertificate::Required(_) => Some(ConnectionGuard::ClientCertificate),
        ClientCertificate::Optional(_) => Some(ConnectionGuard::OptionalClientCertificate),
        ClientCertificate::Off => {
            let has_options = !line_options(route, context)?.is_empty();
            has_options.then_some(ConnectionGuard::SameName)
        }
    }
}

/// Returns the lines whose certificates HAProxy presents to clients that ask for the host: those of its exact name, or
/// else those of the wildcard above it (Configuration Manual, `strict-sni` and `crt-list`). Clients do not ask for IP
/// addresses (RFC 6066, section 3).
pub fn find_lines<'a>(lines: &'a BTreeSet<TlsLine>, host: &str) -> Vec<&'a TlsLine> {
    if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
        return Vec::new();
    }
    let of_name = |name: &str| lines.iter().filter(|line| line.name == name).collect::<Vec<_>>();
    let exact = of_name(host);
    match host.split_once('.') {
        Some((_, above)) if exact.is_empty() => of_name(&format!("*.{above}")),
        _ => exact,
    }
}

impl TlsLine {
    /// Returns the digest in the certificate's name. `None` if docker-balancer did not load it.
    pub fn digest(&self) -> Option<CertificateDigest> {
        digest_in_name(&self.certificate)
    }

    /// Whether it is the line of the default certificate.
    fn is_default(&self) -> bool {
        self.name == NO_NAME && Path::new(&self.certificate).ends_with(DEFAULT_FILE)
    }
}

/// Returns the digest in a certificate's name, in any directory.
pub fn digest_in_name(certificate: &str) -> Option<CertificateDigest> {
    Path::new(certificate).file_stem()?.to_str()?.parse().ok()
}

/// Whether the requests of this route are answered as they should be only with a certificate.
pub fn needs_certificate(listener: Listener, route: &Route) -> bool {
    listener.is_https() || route.redirects(listener)
}

/// Protocols of connections over TCP. On the line of a host, it excludes HTTP/3.
pub const TCP_ALPN: &str = "h2,http/1.1";

/// Returns the options of the host's lines. `None` if they need a CA that does not exist.
fn line_options(route: &Route, context: TlsContext<'_>) -> Option<BTreeSet<String>> {
    let TlsPolicyChoice(policy) = route.terms.get();
    let policy = policy.filter(|policy| *policy != context.policy);
    let words = policy.map(policy_words).unwrap_or_default();
    let of_policy = words.into_iter().map(|(keyword, value)| format!("{keyword} {value}"));
    let ca = client_ca(route, context)?.map(|ca| format!("ca-file {ca}"));
    // HAProxy resumes TLS sessions over QUIC whatever the configuration is, and then does not verify the client again.
    let verify = match route.terms.get::<ClientCertificate>() {
        ClientCertificate::Off => None,
        ClientCertificate::Required(_) => Some("verify required".to_owned()),
        ClientCertificate::Optional(_) => Some("verify optional".to_owned()),
    };
    let without_http3 = (context.http3 && ca.is_some()).then(|| format!("alpn {TCP_ALPN}"));
    Some(of_policy.chain(ca).chain(verify).chain(without_http3).collect())
}

/// Returns the keywords of a policy, for a `bind` line and for a line of a list.
///
/// Mozilla's recommendations 5.7 (wiki.mozilla.org/Security/Server_Side_TLS), without the ciphers that need
/// Diffie-Hellman parameters. TLS 1.3 has its own ciphers, all of which are good.
pub fn policy_words(policy: TlsPolicy) -> Vec<(&'static str, &'static str)> {
    match policy {
        TlsPolicy::Modern => vec![("ssl-min-ver", "TLSv1.3")],
        TlsPolicy::Intermediate => {
            vec![("ssl-min-ver", "TLSv1.2"), ("ciphers", INTERMEDIATE_CIPHERS)]
        }
        TlsPolicy::Old => vec![("ssl-min-ver", "TLSv1.0"), ("ciphers", OLD_CIPHERS)],
    }
}

const INTERMEDIATE_CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                                    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                                    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
/// OpenSSL's lowest security level is needed for TLS before 1.2.
const OLD_CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                           ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                           ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
                           ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:\
                           ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:\
                           ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:AES128-GCM-SHA256:\
                           AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:\
                           @SECLEVEL=0";

/// Writes the line as in the file of the list.
impl fmt::Display for TlsLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.certificate)?;
        if !self.options.is_empty() {
            let options: Vec<_> = self.options.iter().map(String::as_str).collect();
            write!(f, "[{}] ", options.join(" "))?;
        }
        f.write_str(&self.name)
    }
}

impl ObservedTls {
    /// `certificates` are all that HAProxy has. Those that docker-balancer did not load are ignored.
    pub fn new(lists: TlsLists, certificates: BTreeSet<String>) -> Self {
        let used: BTreeSet<_> =
            lists.values().flatten().map(|line| line.certificate.clone()).collect();
        let unused = certificates.into_iter().filter(|name| !used.contains(name));
        let unused = unused.filter(|name| is_generated_name(name)).collect();
        Self { lists, certificates: used, unused, ..Self::default() }
    }

    /// Applies the effect of a command.
    pub fn apply_command(&mut self, command: &RuntimeCommand) {
        match command {
            RuntimeCommand::LoadCertificate { certificate } => {
                self.unused.insert(certificate.clone());
            }
            RuntimeCommand::DelCertificate { certificate } => {
                self.unused.remove(certificate);
            }
            RuntimeCommand::SetDefaultCertificate { certificate } => {
                self.default_certificate = Some(certificate.clone());
            }
            RuntimeCommand::LoadCa { ca } => {
                self.cas.insert(ca.clone());
            }
            RuntimeCommand::DelCa { ca } => {
                self.cas.remove(ca);
                self.empty_cas.remove(ca);
            }
            RuntimeCommand::AddTlsLine { list, line } => {
                self.unused.remove(&line.certificate);
                self.certificates.insert(line.certificate.clone());
                self.lists.entry(list.clone()).or_default().insert(line.clone());
            }
            RuntimeCommand::DelTlsLine { list, line } => {
                self.lists.entry(list.clone()).or_default().remove(line);
                let mut others = self.lists.values().flatten();
                if !others.any(|other| other.certificate == line.certificate) {
                    self.certificates.remove(&line.certificate);
                    self.unused.insert(line.certificate.clone());
                }
            }
            _ => {}
        }
    }

    /// Returns the commands that add what is missing: certificates first, then lines.
    pub fn plan_additions(&self, desired: &TlsLists) -> Vec<RuntimeCommand> {
        let mut loaded = self.certificates.clone();
        let mut plan = Vec::new();
        for (list, line) in missing_lines(desired, &self.lists) {
            let certificate = line.certificate.clone();
            if loaded.insert(certificate.clone()) {
                if self.unused.contains(&certificate) {
                    plan.push(RuntimeCommand::DelCertificate { certificate: certificate.clone() });
                }
                plan.push(RuntimeCommand::LoadCertificate { certificate });
            }
            plan.push(RuntimeCommand::AddTlsLine { list: list.clone(), line: line.clone() });
        }
        plan
    }

    /// Returns the command that replaces the content of the default certificate.
    pub fn plan_default(&self, desired: &DefaultCertificate) -> Option<RuntimeCommand> {
        let certificate = desired.certificate()?;
        let is_loaded = self.default_certificate.as_ref() == Some(certificate);
        (!is_loaded)
            .then(|| RuntimeCommand::SetDefaultCertificate { certificate: certificate.clone() })
    }

    /// Returns the commands that delete what is not desired: lines first, then certificates.
    pub fn plan_deletions(&self, desired: &TlsLists) -> Vec<RuntimeCommand> {
        let kept: BTreeSet<_> = desired.values().flatten().map(|line| &line.certificate).collect();
        let lines: Vec<_> = missing_lines(&self.lists, desired).collect();
        let of_lines = lines.iter().map(|(_, line)| &line.certificate);
        let unused: BTreeSet<_> =
            of_lines.chain(&self.unused).filter(|name| !kept.contains(name)).collect();
        let delete_line = |(list, line): &(&String, &TlsLine)| RuntimeCommand::DelTlsLine {
            list: (*list).clone(),
            line: (*line).clone(),
        };
        let delete_certificate = |certificate: &String| RuntimeCommand::DelCertificate {
            certificate: certificate.clone(),
        };
        let lines = lines.iter().map(delete_line);
        lines.chain(unused.into_iter().map(delete_certificate)).collect()
    }

    /// Returns the commands that load missing CAs.
    pub fn plan_ca_additions(&self, desired: &BTreeSet<String>) -> Vec<RuntimeCommand> {
        let mut plan = Vec::new();
        for ca in desired.difference(&self.cas) {
            if self.empty_cas.contains(ca) {
                plan.push(RuntimeCommand::DelCa { ca: ca.clone() });
            }
            plan.push(RuntimeCommand::LoadCa { ca: ca.clone() });
        }
        plan
    }

    /// Returns the commands that delete CAs that are not desired.
    pub fn plan_ca_deletions(&self, desired: &BTreeSet<String>) -> Vec<RuntimeCommand> {
        let unused = self.cas.union(&self.empty_cas).filter(|ca| !desired.contains(*ca));
        unused.map(|ca| RuntimeCommand::DelCa { ca: ca.clone() }).collect()
    }

    /// Whether the port has an HTTPS listener.
    pub fn is_https(&self, port: NonZeroU16) -> bool {
        self.lists.contains_key(&list_name(port))
    }

    /// Whether a line with none of these names has the certificate.
    pub fn is_used_by_others(&self, certificate: &str, names: &BTreeSet<ListName>) -> bool {
        let is_other = |list: &str, line: &TlsLine| {
            let name = || ListName { list: list.to_owned(), name: line.name.clone() };
            line.certificate == certificate && !names.contains(&name())
        };
        self.lists.iter().any(|(list, lines)| lines.iter().any(|line| is_other(list, line)))
    }

    /// Returns the lines with these names, in the lists that `names` contains.
    #[must_use]
    pub fn select_lines<'a>(&self, names: impl IntoIterator<Item = &'a ListName>) -> Self {
        let mut lists = TlsLists::new();
        for ListName { list, name } in names {
            let first = TlsLine { name: name.clone(), ..TlsLine::default() };
            let lines = self.lists.get(list).into_iter().flat_map(|lines| lines.range(&first..));
            let lines = lines.take_while(|line| line.name == *name).cloned();
            lists.entry(list.clone()).or_default().extend(lines);
        }
        let (certificates, cas) = (self.certificates.clone(), self.cas.clone());
        Self { lists, certificates, cas, ..Self::default() }
    }
}

/// Parses `show ssl crt-list`: the names of the lists that docker-balancer writes.
pub fn parse_lists(answer: &str) -> BTreeSet<String> {
    let lists = answer.lines().map(str::trim).filter(|name| is_list_name(name));
    lists.map(str::to_owned).collect()
}

/// Parses `show ssl crt-list -n LIST`: the lines with their numbers, without that of the default certificate, which
/// stays as it is.
pub fn parse_lines(answer: &str) -> BTreeMap<TlsLine, u32> {
    answer.lines().filter_map(parse_line).filter(|(line, _)| !line.is_default()).collect()
}

/// Parses `CERTIFICATE:NUMBER [OPTIONS] NAMES`.
fn parse_line(line: &str) -> Option<(TlsLine, u32)> {
    let (certificate, remainder) = line.split_once(' ').unwrap_or((line, ""));
    let (certificate, number) = certificate.rsplit_once(':')?;
    let (options, names) = match remainder.trim_start().strip_prefix('[') {
        Some(options) => options.split_once(']')?,
        None => ("", remainder),
    };
    let line = TlsLine {
        certificate: certificate.to_owned(),
        options: parse_options(options),
        name: names.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    Some((line, number.parse().ok()?))
}

/// Parses the options of a line. Those that are used here have one value each.
fn parse_options(text: &str) -> BTreeSet<String> {
    let words: Vec<_> = text.split_whitespace().collect();
    words.chunks(2).map(|option| option.join(" ")).collect()
}

/// Parses `show ssl cert`: the names of the certificates, and that of the one in an open transaction.
pub fn parse_certificates(answer: &str) -> (BTreeSet<String>, Option<String>) {
    let (mut certificates, mut transaction, mut is_transaction) = (BTreeSet::new(), None, false);
    for line in answer.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line {
            "# transaction" => is_transaction = true,
            "# filename" => is_transaction = false,
            name if is_transaction => transaction = Some(name.trim_start_matches('*').to_owned()),
            name => drop(certificates.insert(name.to_owned())),
        }
    }
    (certificates, transaction)
}

/// CAs that HAProxy has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CaList {
    /// Those that docker-balancer loaded.
    pub cas: BTreeSet<String>,
    /// Those of them without certificates.
    pub empty: BTreeSet<String>,
    /// The one in an open transaction.
    pub transaction: Option<String>,
}

/// Parses `show ssl ca-file`: `NAME - NUMBER certificate(s)`.
pub fn parse_cas(answer: &str) -> CaList {
    let (mut list, mut is_transaction) = (CaList::default(), false);
    for line in answer.lines().map(str::trim) {
        match (line, line.rsplit_once(" - ")) {
            ("# transaction", _) => is_transaction = true,
            ("# filename", _) => is_transaction = false,
            (_, Some((name, _))) if is_transaction => {
                list.transaction = Some(name.trim_start_matches('*').to_owned());
            }
            (_, Some((name, count))) if is_generated_ca(name) => {
                let is_empty = count.starts_with("0 ");
                let names = if is_empty { &mut list.empty } else { &mut list.cas };
                names.insert(name.to_owned());
            }
            _ => {}
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::{Certificate, CertificateOrigin, KeyType};
    use std::sync::Arc;

    const CA: &str = "/var/lib/docker-glue/certs/000102030405060708090a0b0c0d0e0f.ca.pem";

    #[test]
    fn cas_of_docker_balancer_are_found_in_answer() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (answer, cas, empty, transaction) in [
            (
                "# filename\n@system-ca - 145 certificate(s)\n/c/ca.pem - 1 certificate(s)\n",
                &[][..],
                &[][..],
                None,
            ),
            (&format!("# filename\n{CA} - 2 certificate(s)\n"), &[CA], &[], None),
            (&format!("# filename\n{CA} - 0 certificate(s)\n"), &[], &[CA], None),
            (
                &format!(
                    "# transaction\n*{CA} - 1 certificate(s)\n# filename\n{CA} - 0 certificate(s)\n"
                ),
                &[],
                &[CA],
                Some(CA.to_owned()),
            ),
            ("Unknown command\n", &[], &[], None),
        ] {
            let expected = CaList { cas: set(cas), empty: set(empty), transaction };
            assert_eq!(parse_cas(answer), expected, "{answer}");
        }
    }

    #[test]
    fn interrupted_ca_is_deleted_before_it_is_loaded() {
        let (desired, nothing) = (BTreeSet::from([CA.to_owned()]), BTreeSet::new());
        let plan = |observed: &ObservedTls, desired| {
            let mut commands = observed.plan_ca_additions(desired);
            commands.extend(observed.plan_ca_deletions(desired));
            commands.iter().map(RuntimeCommand::kind).collect::<Vec<_>>()
        };
        let none = ObservedTls::default();
        let empty = ObservedTls { empty_cas: desired.clone(), ..none.clone() };
        let loaded = ObservedTls { cas: desired.clone(), ..none.clone() };
        assert_eq!(plan(&none, &desired), ["load_ca"]);
        assert_eq!(plan(&empty, &desired), ["del_ca", "load_ca"]);
        assert_eq!(plan(&loaded, &desired), [""; 0]);
        assert_eq!(plan(&empty, &nothing), ["del_ca"]);
        assert_eq!(plan(&loaded, &nothing), ["del_ca"]);
    }

    const CERTIFICATE: &str = "/var/lib/docker-glue/certs/000102030405060708090a0b0c0d0e0f.pem";

    fn directory() -> CertificateDirectory {
        CertificateDirectory::new("/var/lib/docker-glue/certs")
    }

    #[test]
    fn line_of_haproxy_parses_to_its_parts() {
        for (line, expected) in [
            ("/c/a.pem:1 a.test", "1 /c/a.pem a.test"),
            (
                "/c/a.pem:12 [ssl-min-ver TLSv1.3 ] a.test",
                "12 /c/a.pem [ssl-min-ver TLSv1.3] a.test",
            ),
            (
                "/c/a.pem:3 [ciphers X ssl-min-ver TLSv1.0] *.a.test",
                "3 /c/a.pem [ciphers X ssl-min-ver TLSv1.0] *.a.test",
            ),
            ("/c/a.pem:4 a.test !b.a.test", "4 /c/a.pem a.test !b.a.test"),
            ("/c/a.pem:5", "5 /c/a.pem "),
            ("# tls-443.list", ""),
            ("", ""),
        ] {
            let parsed = parse_lines(line).into_iter().next();
            let text = parsed.map(|(line, number)| format!("{number} {line}")).unwrap_or_default();
            assert_eq!(text, expected, "{line:?}");
        }
    }

    #[test]
    fn line_is_written_as_haproxy_returns_it() {
        for (policy, expected) in [
            (None, format!("{CERTIFICATE} *.a.test")),
            (Some(TlsPolicy::Modern), format!("{CERTIFICATE} [ssl-min-ver TLSv1.3] *.a.test")),
        ] {
            let words = policy.map(policy_words).unwrap_or_default();
            let line = TlsLine {
                name: "*.a.test".to_owned(),
                certificate: CERTIFICATE.to_owned(),
                options: words.into_iter().map(|(word, value)| format!("{word} {value}")).collect(),
            };
            let text = line.to_string();
            assert_eq!(text, expected);
            let answer = text.replacen(".pem ", ".pem:1 ", 1);
            assert_eq!(parse_lines(&answer), [(line, 1)].into());
        }
    }

    #[test]
    fn names_of_certificates_and_lists_parse_only_if_generated() {
        for (name, expected) in [
            (CERTIFICATE, true),
            ("/var/lib/docker-glue/certs/00.pem", false),
            ("/etc/ssl/000102030405060708090a0b0c0d0e0f.pem", false),
        ] {
            assert_eq!(directory().digest_of(name).is_some(), expected, "{name}");
        }
        for (name, expected) in [("tls-443.list", Some(443)), ("tls-x.list", None), ("443", None)] {
            assert_eq!(list_port(name).map(NonZeroU16::get), expected, "{name}");
        }
    }

    #[test]
    fn line_of_default_certificate_is_not_read() {
        let default = directory().default_line();
        let numbered = default.replacen(' ', ":1 ", 1);
        let answer = format!("# tls-443.list\n{numbered}\n{CERTIFICATE}:2 a.test\n");
        let names: Vec<_> = parse_lines(&answer).into_keys().map(|line| line.name).collect();
        assert_eq!(names, ["a.test"]);
        let other = format!("{CERTIFICATE}:1 !*");
        assert_eq!(parse_lines(&other).len(), 1, "a line that docker-balancer did not write");
    }

    #[test]
    fn default_certificate_is_the_best_one_of_its_host() {
        let index = CertificateIndex::build(
            [
                ("a.test", KeyType::Ecdsa),
                ("both.test", KeyType::Ecdsa),
                ("both.test", KeyType::Rsa),
                ("*.wild.test", KeyType::Ecdsa),
            ]
            .map(|(name, key_type)| {
                let text = format!("{name} {}", key_type.as_ref());
                Arc::new(Certificate {
                    digest: CertificateDigest::of_pem(&text),
                    names: vec![CertificateName::parse(name).unwrap()],
                    not_before: 0,
                    not_after: i64::MAX / 2,
                    key_type,
                    issuer: "Test CA".to_owned(),
                    origin: CertificateOrigin::OwnCa,
                    name: name.to_owned(),
                    pem_bytes: 2000,
                })
            })
            .into(),
            1,
        );
        for (host, expected) in [
            ("a.test", Some("a.test ECDSA")),
            ("both.test", Some("both.test RSA")),
            ("x.wild.test", Some("*.wild.test ECDSA")),
            ("wild.test", None),
        ] {
            let found = find_default(&host.parse().unwrap(), &index);
            assert_eq!(found, expected.map(CertificateDigest::of_pem), "{host}");
        }
    }

    #[test]
    fn default_certificate_is_replaced_unless_it_is_loaded() {
        let of = |name: &str| DefaultCertificate::Of(name.to_owned());
        for (observed, desired, expected) in [
            (None, DefaultCertificate::Off, false),
            (None, DefaultCertificate::AsStored, false),
            (Some("/c/a.pem"), DefaultCertificate::AsStored, false),
            (None, of("/c/a.pem"), true),
            (Some("/c/a.pem"), of("/c/a.pem"), false),
            (Some("/c/a.pem"), of("/c/b.pem"), true),
        ] {
            let default_certificate = observed.map(str::to_owned);
            let mut state = ObservedTls { default_certificate, ..ObservedTls::default() };
            let command = state.plan_default(&desired);
            assert_eq!(command.is_some(), expected, "{observed:?} {desired:?}");
            if let Some(command) = command {
                state.apply_command(&command);
            }
            assert_eq!(state.plan_default(&desired), None, "{observed:?} {desired:?}");
        }
    }

    #[test]
    fn open_transaction_is_found_among_certificates() {
        let answer = "# transaction\n*/c/b.pem\n# filename\n/c/a.pem\n/c/b.pem\n";
        let (certificates, transaction) = parse_certificates(answer);
        assert_eq!(certificates, ["/c/a.pem".to_owned(), "/c/b.pem".to_owned()].into());
        assert_eq!(transaction.as_deref(), Some("/c/b.pem"));
        assert_eq!(parse_certificates("# filename\n"), (BTreeSet::new(), None));
    }
}
