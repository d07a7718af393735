//! All problems that are reported to users, with their texts.
//!
//! Pure. A problem is data: it is logged when it appears and when it disappears, and never stops a pass.

mod kind;

pub use kind::Description;

use crate::{
    model::{
        container::Transport,
        container_ref::ContainerRef,
        http::{forward_auth::AuthServerFault, users::NoUserCheck},
        label_option::{LabelOption, LabelProtocol},
        malformed_http::{MalformedRequest, MalformedResponse},
        route::Listener,
        secret,
        source_name::SourceName,
    },
    support::escape::{EscapedText, QuotedText, SingleLine, Truncated},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, UNIX_EPOCH},
};
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray, VariantNames};

/// A request of a user that could not be fulfilled, with the reason and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub subject: ProblemSubject,
    /// The label as it was written; `None` if no single label is the cause.
    pub label: Option<LabelText>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemSubject {
    Container(ContainerRef),
    Listener(Listener),
    /// An option of the program, as on its command line.
    Option(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelText {
    pub key: String,
    pub value: String,
}

/// What HTTPS clients get that no certificate matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnmatchedClients {
    /// No connection.
    #[default]
    Refused,
    /// The certificate of `--default-certificate`.
    GetDefault,
}

/// Why an address must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressFence {
    /// Connections would not leave HAProxy's machine, or the address has another meaning on each machine.
    OfThisMachine,
    /// `allow_addresses` does not contain it.
    NotAllowed,
}

/// Why the problem exists, and what to do about it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantNames, EnumDiscriminants,
)]
#[strum(serialize_all = "snake_case")]
#[strum_discriminants(
    name(ProblemKind),
    doc = "Kind of a problem: its reason without the details.",
    derive(PartialOrd, Ord, IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case")
)]
pub enum Reason {
    /// docker-balancer has no label of this name.
    UnknownLabel {
        nearest: Option<String>,
    },
    /// A hint: the label is another program's, or a misspelled one of docker-balancer.
    Misspelled {
        nearest: String,
    },
    /// The option belongs to another protocol: `glue_tcp_5432_prefix`.
    OtherProtocol {
        option: LabelOption,
        /// That of the label.
        protocol: LabelProtocol,
    },
    Empty,
    /// An empty member of a list: `a.test,,b.test`.
    EmptyMember,
    ControlCharacter,
    TooLong,
    NotAPort(String),
    /// `9-8`
    NotARange(String),
    /// A range of more ports than a container may have.
    TooManyPorts {
        text: String,
        most: usize,
    },
    /// The ranges of the label's name and of its value have different lengths.
    UnequalRanges {
        ports: usize,
    },
    NotAWeight,
    WeightTooHigh,
    HostWithScheme(String),
    HostWithPath(String),
    HostWithPort(String),
    LoneWildcard,
    /// `a.*.test`, `*a.test`
    MisplacedWildcard(String),
    NotAHost(String),
    PrefixTooDeep(String),
    NotAPrefix(String),
    PrefixParameter(String),
    NotASwitch,
    NotATimeout,
    NotACheck,
    /// `8008/ready` for a port of HTTP.
    InvalidHealth,
    NotARetry,
    NotAMaxconn,
    /// A value, or a member of a list, that the option does not have.
    InvalidValue {
        option: LabelOption,
        text: String,
        /// Completes "… is not …".
        expected: &'static str,
    },
    /// More labels of one kind than a route may have.
    TooManyLabels {
        option: LabelOption,
        most: usize,
    },
    /// More names of headers than the labels of a container may have.
    TooManyHeaderNames {
        most: usize,
    },
    /// The settings have no policy of this name.
    UnknownPolicy {
        name: String,
        nearest: Option<String>,
    },
    /// A protection of the route is not understood, so that the route answers 503.
    RouteClosed {
        port: u16,
        /// Name of the route, if it has one.
        route: Option<String>,
        option: LabelOption,
    },
    /// The settings require policies for the host, which only routes of requests can have.
    PolicyNeedsRequests {
        host: String,
    },
    /// Routes with the option answer 503, because HAProxy cannot find out who a user is.
    UsersNotVerified {
        option: LabelOption,
        why: NoUserCheck,
    },
    /// HAProxy cannot ask the authentication server of routes.
    AuthServerUnknown {
        url: String,
        why: AuthServerFault,
    },
    /// `redirect_from` without a host to which requests are redirected.
    RedirectWithoutHost,
    /// The settings file has policies that could not be read. Those that were read before are used.
    PoliciesUnreadable {
        text: String,
    },
    /// A file of `--error-pages` is not used, or its directory cannot be read.
    ErrorPageUnused {
        text: String,
    },
    NotATlsMode,
    NotACertificate,
    NotATlsPolicy,
    NotHsts,
    NotAScheme,
    NotAVerification,
    NotAClientCertificate,
    NotABalance,
    NotAnIdle,
    NotAProxyHeader,
    /// `v1` for a port of UDP.
    ProxyHeaderOfText,
    NotACut,
    NotASticky,
    NotAFlowIdle,
    NotReplies,
    NotARouteName(String),
    /// The port has no label with a host, prefix or path, and `glue_http_ports` does not contain it.
    PortWithoutMatch {
        port: u16,
    },
    /// A named route has no host, prefix or path; it does not inherit them from the port's other labels.
    RouteWithoutMatch {
        port: u16,
        route: String,
    },
    /// More routes than a container may request.
    TooManyRoutes {
        port: u16,
        requested: usize,
        most: usize,
    },
    /// More public ports than a container may request.
    TooManyListeners {
        port: u16,
        requested: usize,
        left: usize,
        most: usize,
    },
    /// More public ports than all containers together may request.
    NoListenerLeft {
        ports: Vec<u16>,
        most: usize,
    },
    /// HAProxy could not load a configuration with these public ports, because the machine lacks a resource.
    PortsNotLoaded {
        ports: Vec<u16>,
        text: String,
    },
    /// One port of the container requests a route twice, with options that differ.
    DuplicateRoute {
        port: u16,
        route: String,
    },
    /// The value of an option that protects the port is invalid, so the port is not served.
    PortExcluded {
        port: u16,
        option: LabelOption,
    },
    /// An option that protects the port needs TLS, so the port is not served.
    OptionNeedsTls {
        port: u16,
        option: LabelOption,
    },
    /// TLS is passed through, which this option does not allow or which needs it, so the port is not served.
    NotPassedThrough {
        port: u16,
        option: LabelOption,
    },
    /// A hint: TLS is passed through, so these options have no effect.
    UnusedWithPass {
        port: u16,
        options: Vec<LabelOption>,
    },
    /// The CA does not exist, so the route is not served.
    UnknownCa {
        route: String,
        option: LabelOption,
        ca: String,
        directory: &'static str,
    },
    /// The host has no certificate yet.
    NoCertificate {
        host: String,
        choice: String,
        clients: UnmatchedClients,
    },
    /// A certificate of `--certificates`, or a file there, has a fault.
    CertificateUnusable {
        text: String,
    },
    /// The CA did not issue a certificate.
    OrderFailed {
        host: String,
        text: String,
    },
    /// No certificates are ordered at the moment.
    OrdersPaused {
        text: String,
    },
    /// The host on an HTTPS listener has other terms.
    TermsConflict {
        host: String,
        with: String,
        over: LabelOption,
    },
    /// No host, prefix or public port of the label is valid, so the port is ignored.
    NoValidValues {
        port: u16,
    },
    HostNotAllowed(String),
    /// The administrator reserved the host for containers with another label.
    HostReserved {
        host: String,
        only: String,
    },
    PortNotAllowed(u16),
    /// All clients of the port would reach the container, and `--allow-hosts` limits the hosts.
    PortNotNamed {
        protocol: LabelProtocol,
        port: u16,
    },
    /// The container is on the host's network, and labels must not use this port of the host.
    HostPortReserved {
        port: u16,
    },
    HostNetworkNotAllowed,
    /// With `--image-labels off`: the labels cannot be compared with those of the image.
    ImageUnknown {
        why: String,
    },
    /// More servers in one route than a container may have.
    TooManyServers {
        route: String,
        ports: usize,
        most: usize,
    },
    /// More problems than the maximum that is listed.
    MoreProblems {
        more: usize,
    },
    /// A hint: several ports of the container serve one route.
    SeveralServers {
        route: String,
        ports: usize,
        /// How many further routes this also applies to.
        more: usize,
    },
    /// A hint: the port is not in EXPOSE, which is only documentation.
    NotExposed {
        transport: Transport,
        port: u16,
    },
    NotOnNetwork {
        network: String,
        on: Vec<String>,
    },
    /// HAProxy cannot reach any address of the container.
    NoAddress {
        hint: String,
    },
    Conflict {
        route: String,
        with: ContainerRef,
        over: LabelOption,
    },
    /// The claimants of the route have left it, and it is reserved for them for a while.
    RouteReserved {
        route: String,
        party: String,
        over: LabelOption,
    },
    /// The host has another owner, see `--own-hosts-by`.
    HostOwned {
        route: String,
        holder: String,
    },
    PortTaken {
        why: String,
    },
    /// A source does not answer. Its containers stay as they were.
    SourceSilent {
        source: SourceName,
        /// Unix time, in seconds.
        since: u64,
        /// How many of its containers participate.
        containers: usize,
    },
    /// The clock of a source differs from this machine's.
    ClockSkew {
        source: SourceName,
        /// Positive if it is ahead.
        seconds: i64,
    },
    /// A machine of a registry shows no sign of life. Its containers stay as HAProxy's checks find them.
    NodeLost {
        source: SourceName,
        node: String,
        /// Unix time, in seconds.
        since: u64,
        /// How many of its containers participate.
        containers: usize,
    },
    /// Many machines of a registry show no sign of life, so that the registry or the network is to blame.
    NodesLost {
        source: SourceName,
        lost: usize,
        total: usize,
        /// Unix time of the last loss, in seconds.
        since: u64,
    },
    /// Balancers of the fleet have served different routes for some seconds.
    FleetDiffers {
        /// Those that serve something else than most.
        apart: Vec<String>,
        /// Those that serve the same.
        same: Vec<String>,
    },
    /// The etcd of the fleet does not answer.
    FleetSilent {
        /// Unix time, in seconds.
        since: u64,
    },
    /// Another balancer of the fleet has the name of this one.
    FleetNameTaken {
        name: String,
    },
    /// A record of a registry is not used.
    RecordIgnored {
        source: SourceName,
        key: String,
        why: String,
        /// How many more records are not used than there are such problems.
        more: usize,
    },
    /// The container's address must not be used.
    AddressRefused {
        address: IpAddr,
        fence: AddressFence,
    },
    /// No engine that a source of a Swarm names is a manager.
    NotAManager {
        source: SourceName,
    },
    RouteRefused {
        route: String,
        text: String,
    },
    /// HAProxy was built without its exporter.
    NoExporter,
    /// HAProxy was built without HTTP/3.
    NoQuic,
    /// Another program uses the UDP port of HTTP/3.
    UdpPortTaken {
        port: u16,
        why: String,
    },
    /// The connection of HAProxy's check is refused.
    ConnectionRefused {
        address: SocketAddr,
        port: u16,
        exposed: Vec<u16>,
    },
    /// The connection of HAProxy's check times out, or there is no route to the host.
    NoConnection {
        address: SocketAddr,
    },
    CheckUnanswered {
        address: SocketAddr,
        path: String,
    },
    CheckStatus {
        address: SocketAddr,
        port: u16,
        path: String,
        code: u16,
    },
    /// The response to the check is not HTTP. `what` is the response, if HAProxy kept it.
    CheckNotHttp {
        address: SocketAddr,
        path: String,
        what: Option<MalformedResponse>,
    },
    /// HAProxy's text.
    /// With TLS to the container.
    TlsHandshakeFailed {
        address: SocketAddr,
        verification: String,
    },
    CheckFails {
        address: SocketAddr,
        text: String,
    },
    /// HAProxy answered a client's request with 503, and the server has no check.
    ConnectFailed {
        address: SocketAddr,
        port: u16,
        exposed: Vec<u16>,
    },
    /// HAProxy answered a client's request with 502 or 504.
    NoResponse {
        address: SocketAddr,
    },
    BadResponse {
        address: SocketAddr,
        what: MalformedResponse,
    },
    /// A client sent an invalid request. A hint, because anyone who can reach a public port may send anything.
    BadRequest {
        what: MalformedRequest,
        client: Option<IpAddr>,
    },
    /// An option of other programs that docker-balancer does not have.
    UnsupportedOption {
        hint: &'static str,
    },
    /// `glue_http_${PORT}_host`
    VariableInName,
    /// `"a.test"`, including the quotes.
    QuotedValue(String),
    /// `[a.test, b.test]`
    BracketedList {
        text: String,
        instead: String,
    },
    /// `a.test b.test`, `a.test;b.test`
    ListWithoutCommas {
        text: String,
        instead: String,
    },
    /// `${DOMAIN}` in a value.
    VariableInValue(String),
    /// A regular expression, or a rule in Traefik's syntax.
    HostPattern {
        text: String,
        instead: Option<String>,
    },
    /// `.example.com`, `a..com`
    HostWithEmptyLabel(String),
    /// A hint: `app.`
    HostEndsWithDot(String),
    /// The value is not a path but a pattern of paths.
    PrefixPattern {
        text: String,
        instead: String,
    },
    /// The value is not an exact path but a pattern of paths.
    PathPattern {
        text: String,
        instead: String,
    },
    /// A hint: the value is a valid exact path, but looks like a pattern.
    PathLikePattern {
        text: String,
        instead: String,
    },
    /// A hint: the value is a valid path, but looks like a pattern.
    PrefixLikePattern {
        text: String,
        instead: String,
    },
    /// A hint: this is the port of the host at which another port of the container is published.
    PublishedPort {
        protocol: LabelProtocol,
        port: u16,
        container_port: u16,
    },
    /// A hint: the container itself publishes the port of the host on which HAProxy should listen.
    PublishesListener {
        port: u16,
        route: String,
    },
    /// A hint: a variable in the environment, but environments are not read.
    EnvironmentVariable,
    /// A hint, only in reports that look for it: labels for another program.
    ForeignLabel {
        program: &'static str,
        instead: String,
    },
    /// A hint: containers of two unrelated services share a route.
    SharedRoute {
        route: String,
        with: ContainerRef,
    },
    /// A hint: containers of two projects have routes of the same host.
    SharedHost {
        route: String,
        host: String,
        with: ContainerRef,
    },
    /// A hint: no label requests the public port, but a label requests the port that it is mapped to.
    MapPortUnused {
        public: u16,
        ours: u16,
    },
    /// Two constraints that no container can match together.
    ConflictingConstraints {
        label: String,
        values: [String; 2],
    },
    /// A hint: the constraint is in another program's syntax.
    UnusualConstraint {
        constraint: String,
        instead: String,
    },
    /// A hint: no certificate is ordered for the wildcard without a DNS challenge.
    WildcardNeedsDns {
        host: String,
    },
    /// A hint: no public CA signs the name.
    PrivateName {
        host: String,
        /// Whether docker-balancer's own CA signs it instead.
        by_own_ca: bool,
    },
    /// A hint: the label names a CA that the settings do not have.
    CaNotConfigured {
        option: LabelOption,
        ca: String,
        directory: &'static str,
    },
    /// A hint: browsers that received HSTS do not use the plain pages.
    HstsWithPlain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For information; nothing was ignored.
    Hint,
    Problem,
}

impl Reason {
    /// Truncates the users' texts to the length that is shown, and hides secrets in them. `label` is the name of the
    /// label that the reason is about.
    #[must_use]
    pub fn truncate_texts(mut self, label: Option<&str>) -> Self {
        let is_secret = label.is_some_and(secret::is_secret_label);
        let truncate =
            |text: &str| if is_secret { secret::HIDDEN.to_owned() } else { truncate(text) };
        match &mut self {
            // The value's type knows what of it is secret.
            Self::InvalidValue { option: LabelOption::Users, .. } => {}
            Self::NotAPort(text)
            | Self::NotARange(text)
            | Self::TooManyPorts { text, .. }
            | Self::HostWithScheme(text)
            | Self::HostWithPath(text)
            | Self::HostWithPort(text)
            | Self::MisplacedWildcard(text)
            | Self::NotAHost(text)
            | Self::PrefixTooDeep(text)
            | Self::NotAPrefix(text)
            | Self::PrefixParameter(text)
            | Self::NotARouteName(text)
            | Self::HostNotAllowed(text)
            | Self::QuotedValue(text)
            | Self::VariableInValue(text)
            | Self::HostWithEmptyLabel(text)
            | Self::HostEndsWithDot(text)
            | Self::InvalidValue { text, .. }
            | Self::UnknownPolicy { name: text, .. }
            | Self::HostPattern { text, instead: None } => *text = truncate(text),
            Self::BracketedList { text, instead }
            | Self::ListWithoutCommas { text, instead }
            | Self::HostPattern { text, instead: Some(instead) }
            | Self::PrefixPattern { text, instead }
            | Self::PathPattern { text, instead }
            | Self::PathLikePattern { text, instead }
            | Self::PrefixLikePattern { text, instead } => {
                (*text, *instead) = (truncate(text), truncate(instead));
            }
            Self::UnknownLabel { nearest: Some(nearest) } => {
                // `name=value`, if the colon of a map was written in a list.
                if let Some((name, value)) = nearest.split_once('=') {
                    *nearest = format!("{name}={}", secret::shown_value(name, value));
                }
            }
            _ => {}
        }
        self
    }

    /// Returns the name of the label that was probably meant, if there is no such label.
    pub fn suggested_label(&self) -> Option<&str> {
        let nearest = match self {
            Self::UnknownLabel { nearest } => nearest.as_deref()?,
            Self::Misspelled { nearest } => nearest,
            _ => return None,
        };
        Some(nearest.split_once('=').map_or(nearest, |(name, _)| name))
    }

    /// All values of [`Self::kind`].
    pub const KINDS: &'static [&'static str] = Self::VARIANTS;

    /// Returns the kind as one word for programs: a closed set, the same in every version.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    pub fn severity(&self) -> Severity {
        ProblemKind::from(self).severity()
    }

    /// Whether the problem was detected by HAProxy in traffic or checks, and is not about a request of labels.
    pub fn is_about_traffic(&self) -> bool {
        self.is_check_failure()
            || matches!(
                self,
                Self::ConnectFailed { .. }
                    | Self::NoResponse { .. }
                    | Self::BadResponse { .. }
                    | Self::BadRequest { .. }
            )
    }

    /// Whether the problem is the cause of a failing check.
    pub fn is_check_failure(&self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused { .. }
                | Self::NoConnection { .. }
                | Self::CheckUnanswered { .. }
                | Self::CheckStatus { .. }
                | Self::CheckNotHttp { .. }
                | Self::TlsHandshakeFailed { .. }
                | Self::CheckFails { .. }
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            ProblemSubject::Container(origin) => write!(f, "container {origin}: ")?,
            ProblemSubject::Listener(listener) => write!(f, "listener {listener}: ")?,
            ProblemSubject::Option(option) => write!(f, "option {option}: ")?,
        }
        if let Some(label) = &self.label {
            write!(f, "label {label}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

/// Truncates a foreign text for storage: a problem may exist for long, and there may be many. Hides secrets.
pub fn truncate(text: &str) -> String {
    Truncated(&secret::shown_text(text)).to_string()
}

impl LabelText {
    /// Returns the label as it is shown: truncated, and without secrets.
    pub fn new(key: &str, value: &str) -> Self {
        let value = secret::shown_value(key, value);
        Self { key: truncate(&secret::shown_key(key)), value: truncate(&value) }
    }

    /// Returns the label of a problem. Also hides the value if the reason is a misspelled name of a secret label.
    pub fn of_problem(key: &str, value: &str, reason: &Reason) -> Self {
        let label = Self::new(key, value);
        match reason.suggested_label() {
            Some(nearest) if secret::is_secret_label(nearest) && !value.is_empty() => {
                Self { value: secret::HIDDEN.to_owned(), ..label }
            }
            _ => label,
        }
    }

    /// Returns the key, truncated so that it does not fill a screen. Not escaped, for callers that escape it
    /// themselves.
    pub fn key_text(&self) -> String {
        Truncated(&self.key).to_string()
    }

    pub fn value_text(&self) -> String {
        Truncated(&self.value).to_string()
    }
}

/// Writes the label quoted and escaped, and truncated so that it does not fill a screen.
impl fmt::Display for LabelText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", EscapedText(&self.key), QuotedText(&self.value))
    }
}

/// Completes "a host has no certificate, so …".
impl fmt::Display for UnmatchedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "HTTPS connections to it are refused",
            Self::GetDefault => {
                "HTTPS clients get the default certificate, which is not valid for it"
            }
        })
    }
}

/// Some reasons contain names of networks and texts by HAProxy or the engine, so all are escaped.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SingleLine(ReasonText(self)).fmt(f)
    }
}

struct ReasonText<'a>(&'a Reason);

/// Writes what is wrong (quoted where a user wrote it), then the remedy.
#[allow(clippy::too_many_lines)] // One arm for each reason.
impl fmt::Display for ReasonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::UnknownLabel { nearest: Some(nearest) } => {
                write!(f, "unknown label; did you mean {nearest}?")
            }
            Reason::Misspelled { nearest } => {
                write!(
                    f,
                    "not a label of docker-balancer, so it is ignored; did you mean {nearest}?"
                )
            }
            Reason::UnknownLabel { nearest: None } => {
                f.write_str("unknown label; the label reference lists all labels")
            }
            Reason::OtherProtocol { option, protocol } => {
                let of_option = option.spec().protocols.iter();
                let of_option: Vec<_> = of_option.map(|other| format!("glue_{other}_")).collect();
                let own: Vec<_> =
                    LabelOption::of_protocol(*protocol).map(LabelOption::name).collect();
                write!(
                    f,
                    "{option} is an option of {} labels; glue_{protocol}_ labels have {}",
                    of_option.join(" and "),
                    own.join(", ")
                )
            }
            Reason::Empty => f.write_str("the value is empty; set a value, or remove the label"),
            Reason::EmptyMember => f.write_str(
                "the list has an empty member; remove the extra comma, or add the missing value",
            ),
            Reason::ControlCharacter => f.write_str(
                "the value contains a control character (such as a line break or a tab); remove it",
            ),
            Reason::TooLong => f.write_str("the value is longer than 4096 bytes; shorten it"),
            Reason::NotAPort(text) => {
                write!(
                    f,
                    "{} is not a port; a port is a whole number from 1 to 65535",
                    QuotedText(text)
                )
            }
            Reason::NotARange(text) => write!(
                f,
                "{} is not a range of ports; the last port is lower than the first",
                QuotedText(text)
            ),
            Reason::TooManyPorts { text, most } => write!(
                f,
                "{} is ignored: the ranges of a container may have {most} ports in total; use \
                 shorter ranges",
                QuotedText(text)
            ),
            Reason::UnequalRanges { ports } => write!(
                f,
                "the label's name has a range of {ports} ports, so its value must be one range of \
                 {ports} public ports; until then these ports are not served"
            ),
            Reason::NotAWeight => f.write_str("a weight is a whole number from 0 to 256"),
            Reason::WeightTooHigh => f.write_str("a weight is at most 256; 256 is used"),
            Reason::HostWithScheme(text) => {
                write!(f, "{} is a URL; write the host name alone", QuotedText(text))
            }
            Reason::HostWithPath(text) => write!(
                f,
                "{} has a path; write the host name alone, and the path in the prefix label",
                QuotedText(text)
            ),
            Reason::HostWithPort(text) => write!(
                f,
                "{} has a port; write the host name alone, and the port in the bind label",
                QuotedText(text)
            ),
            Reason::LoneWildcard => f.write_str(
                "a wildcard needs a name behind it, as in *.example.com; for every host write * alone",
            ),
            Reason::MisplacedWildcard(text) => write!(
                f,
                "{} has a misplaced wildcard; a wildcard is the whole first label, as in \
                 *.example.com",
                QuotedText(text)
            ),
            Reason::NotAHost(text) => write!(
                f,
                "{} is not a host name; a host name has letters, digits, - and _, with dots \
                 between labels",
                QuotedText(text)
            ),
            Reason::PrefixTooDeep(text) => {
                write!(f, "{} has more than 8 segments; use a shorter prefix", QuotedText(text))
            }
            Reason::PrefixParameter(text) => write!(
                f,
                "{} has a semicolon, but requests are routed without path parameters; remove the \
                 semicolon and what follows it",
                QuotedText(text)
            ),
            Reason::NotAPrefix(text) => write!(
                f,
                "{} is not a valid URL path: no empty segments, no . or .., no query, other \
                 characters as %XX",
                QuotedText(text)
            ),
            Reason::NotASwitch => {
                f.write_str("a switch is one of 1, 0, true, false, yes, no, on and off")
            }
            Reason::NotATimeout => f.write_str(
                "a timeout is a duration from 1ms to 24h with a unit, such as 30s or 5m",
            ),
            Reason::NotACheck => f.write_str("a check is tcp, off, a path such as /healthz, or another port of the container, also with a \
                 path: 8008 or 8008/ready"),
            Reason::InvalidHealth => f.write_str("health is obey, require or ignore"),
            Reason::NotARetry => f.write_str("retry is safe, all or off"),
            Reason::NotAMaxconn => f.write_str("maxconn is a whole number from 1 to 65535"),
            Reason::InvalidValue { option, text, expected } => {
                write!(f, "{option}: {} is not {expected}", QuotedText(text))
            }
            Reason::TooManyLabels { option, most } => {
                write!(f, "a route has at most {most} labels of {option}; this one is ignored")
            }
            Reason::TooManyHeaderNames { most } => write!(
                f,
                "the labels of a container have at most {most} names of headers; this label is ignored"
            ),
            Reason::UnknownPolicy { name, nearest: Some(nearest) } => write!(
                f,
                "there is no [policy.{}] in the settings; did you mean {nearest}?",
                EscapedText(name)
            ),
            Reason::UnknownPolicy { name, nearest: None } => write!(
                f,
                "there is no [policy.{}] in the settings; ask the administrator for it",
                EscapedText(name)
            ),
            Reason::RouteClosed { port, route: None, option } => write!(
                f,
                "the routes of port {port} answer 503, because {option} is not understood; \
                 without it they would be less protected"
            ),
            Reason::RouteClosed { port, route: Some(route), option } => write!(
                f,
                "route {route} of port {port} answers 503, because {option} is not understood; \
                 without it the route would be less protected"
            ),
            Reason::PolicyNeedsRequests { host } => write!(
                f,
                "{host} is not served, because the settings require policies for it, and HAProxy does not see the \
                 requests of connections that it passes on"
            ),
            Reason::UsersNotVerified { option, why } => {
                write!(f, "the routes with {option} answer 503, because {why}")
            }
            Reason::AuthServerUnknown { url, why } => {
                write!(f, "the routes with forward_auth={url} answer 503, because {why}")
            }
            Reason::RedirectWithoutHost => f.write_str(
                "redirect_from needs a host label whose first host is not a wildcard; requests are redirected to it",
            ),
            Reason::ErrorPageUnused { text } => {
                write!(f, "an error page is not used, and the built-in answer stays: {text}")
            }
            Reason::PoliciesUnreadable { text } => {
                write!(f, "the policies were not read again, and the earlier ones are used: {text}")
            }
            Reason::NotATlsMode => f.write_str("tls is off, on, both, only or pass"),
            Reason::NotACertificate => f.write_str(
                "cert is auto, files or a certificate's name, which has letters, digits, \".\", \
                 \"_\" and \"-\"",
            ),
            Reason::NotATlsPolicy => f.write_str("tls_policy is modern, intermediate or old"),
            Reason::NotHsts => f.write_str(
                "hsts is off or a time, optionally followed by subdomains and preload, as in \
                 '1y subdomains'",
            ),
            Reason::NotAScheme => f.write_str("scheme is http, h2c, https or h2"),
            Reason::NotAVerification => f.write_str(
                "verify is off, system or a CA's name, which has letters, digits, \".\", \"_\" and \
                 \"-\"",
            ),
            Reason::NotAClientCertificate => f.write_str(
                "client_cert is off or a CA's name, which has letters, digits, \".\", \"_\" and \
                 \"-\", optionally followed by optional",
            ),
            Reason::NotABalance => f.write_str("balance is least, round or source"),
            Reason::NotAnIdle => f.write_str(
                "idle is off or a duration from 1s to 24days with a unit, such as 30m or 8h",
            ),
            Reason::NotAProxyHeader => f.write_str("proxy is off, v1 or v2"),
            Reason::ProxyHeaderOfText => {
                f.write_str("proxy of UDP is off or v2, because the header of v1 is a line of text")
            }
            Reason::NotACut => f.write_str("cut is gone or down"),
            Reason::NotASticky => f.write_str("sticky is flow, source or none"),
            Reason::NotAFlowIdle => {
                f.write_str("idle is a duration from 1s to 24days with a unit, such as 30s or 5m")
            }
            Reason::NotReplies => f.write_str("replies is a whole number from 0 to 65535"),
            Reason::OptionNeedsTls { port, option } => write!(
                f,
                "port {port} is not served, because {option} has no effect without TLS; set {}",
                match option {
                    LabelOption::Verify => "scheme to https or h2",
                    _ => "tls to on or only",
                }
            ),
            Reason::NotPassedThrough { port, option } => write!(
                f,
                "port {port} is not served, because tls is pass, and {}",
                match option {
                    LabelOption::Host => "the container is selected by the host alone; set host",
                    LabelOption::Prefix => "HAProxy does not see paths; remove prefix",
                    LabelOption::Path => "HAProxy does not see paths; remove path",
                    LabelOption::ClientCert => {
                        "the container itself verifies its clients; remove client_cert"
                    }
                    _ => {
                        "HAProxy does not see requests, so it cannot protect them; remove what does \
                         (use, allow, deny)"
                    }
                }
            ),
            Reason::UnusedWithPass { port, options } => {
                let names: Vec<_> = options.iter().map(|option| option.name()).collect();
                let (names, verb) =
                    (names.join(", "), if names.len() == 1 { "has" } else { "have" });
                write!(f, "{names} of port {port} {verb} no effect, because tls is pass")
            }
            Reason::UnknownCa { route, option, ca, directory } => write!(
                f,
                "{route} is not served, because {option} is {ca}, and there is no CA with this \
                 name; add {ca}.pem to the directory of {directory}"
            ),
            Reason::PortExcluded { port, option } => write!(
                f,
                "port {port} is not served, because the value of {option} is invalid; without it \
                 the port would be less protected"
            ),
            Reason::NoCertificate { host, choice, clients } => write!(
                f,
                "{host} has no certificate (cert is {choice}), so {clients}, and plain requests \
                 get 503; add one to a directory of --certificates, or order it with --acme"
            ),
            Reason::CertificateUnusable { text } => f.write_str(text),
            Reason::OrderFailed { host, text } => {
                write!(f, "no certificate was issued for {host}: {text}")
            }
            Reason::OrdersPaused { text } => {
                write!(f, "no certificates are ordered at the moment: {text}")
            }
            Reason::TermsConflict { host, with, over } => write!(
                f,
                "{with} has set a different {over} for the HTTPS host {host}; this container waits \
                 until that one is removed or the options are equal"
            ),
            Reason::NotARouteName(text) => write!(
                f,
                "{} is not a route name; a route name has 1 to 63 letters, digits, - and _",
                QuotedText(text)
            ),
            Reason::PortWithoutMatch { port } => write!(
                f,
                "port {port} has no host, prefix or path; set glue_http_{port}_host, or list the \
                 port in glue_http_ports to serve every host"
            ),
            Reason::RouteWithoutMatch { port, route } => write!(
                f,
                "route {route} of port {port} has no host, prefix or path of its own; set \
                 glue_http_{port}_host.{route}"
            ),
            Reason::TooManyRoutes { port, requested, most } => write!(
                f,
                "port {port} requests {requested} routes (hosts times paths times public ports), \
                 but a container may have {most} in total; use fewer"
            ),
            Reason::TooManyListeners { port, requested, left, most } => write!(
                f,
                "port {port} requests {requested} public ports, but a container may have {most} in \
                 total: {left} of them {} ignored",
                if *left == 1 { "is" } else { "are" }
            ),
            Reason::NoListenerLeft { ports, most } => write!(
                f,
                "public port {} is ignored: all containers together may have {most} public ports, \
                 and older containers use them",
                PortList(ports)
            ),
            Reason::PortsNotLoaded { ports, text } => write!(
                f,
                "public port {} is ignored, because HAProxy could not load a configuration with \
                 it: {}; retrying with increasing delays",
                PortList(ports),
                EscapedText(text)
            ),
            Reason::DuplicateRoute { port, route } => write!(
                f,
                "port {port} requests {route} twice, with different options; the labels without a \
                 route name are used, or else those of the first name"
            ),
            Reason::NoValidValues { port } => {
                write!(f, "no value of the label is valid, so this route of port {port} is ignored")
            }
            Reason::HostNotAllowed(host) => write!(
                f,
                "{} is not an allowed host; --allow-hosts lists the hosts that labels may claim",
                QuotedText(host)
            ),
            Reason::HostReserved { host, only } => write!(
                f,
                "{} is reserved by --allow-hosts for containers with {}",
                QuotedText(host),
                EscapedText(only)
            ),
            Reason::HostPortReserved { port } => write!(
                f,
                "port {port} is not served: the container uses the host's network, where \
                 docker-balancer, SSH or Docker uses this port"
            ),
            Reason::HostNetworkNotAllowed => f.write_str(
                "the container uses the host's network, and --host-network off excludes such \
                 containers",
            ),
            Reason::ImageUnknown { why } => write!(
                f,
                "all labels are ignored: --image-labels off compares them with those of the image, \
                 and {}; retrying every 30 s",
                EscapedText(why)
            ),
            Reason::TooManyServers { route, ports, most } => write!(
                f,
                "{ports} ports of the container request {route}, but a container may have {most} \
                 servers in a route; the lowest ports serve it"
            ),
            Reason::MoreProblems { more } => {
                write!(f, "{more} more problems are not listed")
            }
            Reason::SeveralServers { route, ports, more } => {
                write!(
                    f,
                    "{ports} ports of the container serve {route}, and each gets a share of its \
                     requests; if this is not intended, give each port its own host or prefix"
                )?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " (and {more} more routes)"),
                }
            }
            Reason::PortNotAllowed(port) => write!(
                f,
                "{port} is not an allowed public port; --allow-ports lists the ports that labels \
                 may claim, and the bind label sets another one"
            ),
            Reason::NotExposed { transport: Transport::Udp, port } => write!(
                f,
                "the container does not expose UDP port {port} (a hint: it may listen there \
                 nevertheless)"
            ),
            Reason::NotExposed { transport: Transport::Tcp, port } => write!(
                f,
                "the container does not expose port {port} (a hint: it may listen there \
                 nevertheless)"
            ),
            Reason::PortNotNamed { protocol, port } => write!(
                f,
                "{protocol} port {port} is not served: --allow-hosts limits the hosts, and all \
                 clients of this port would reach the container; --allow-ports has to name it as \
                 {protocol}:{port}"
            ),
            Reason::NotOnNetwork { network, on } if on.is_empty() => {
                write!(
                    f,
                    "the container is not connected to any network, so not to {}",
                    QuotedText(network)
                )
            }
            Reason::NotOnNetwork { network, on } => write!(
                f,
                "the container is not connected to network {}, only to {}; connect it, or set \
                 another network",
                QuotedText(network),
                on.join(", ")
            ),
            Reason::NoAddress { hint } => {
                write!(f, "HAProxy cannot reach the container; {hint}")
            }
            Reason::Conflict { route, with, over } => write!(
                f,
                "{route} is served by the older container {with} with a different {over}; this \
                 container waits until that one is removed or the options are equal"
            ),
            Reason::RouteReserved { route, party, over } => write!(
                f,
                "{route} was last served by {} with a different {over}, and is reserved for it for \
                 the time of --hold; this container waits until then",
                EscapedText(party)
            ),
            Reason::HostOwned { route, holder } => write!(
                f,
                "{route} is on a host that belongs to {} (--own-hosts-by); this container waits \
                 until no container of that owner claims the host",
                EscapedText(holder)
            ),
            Reason::PortTaken { why } => write!(
                f,
                "its port is {why}; retrying every few seconds, other listeners are not affected"
            ),
            Reason::SourceSilent { source, since, containers } => write!(
                f,
                "{source} has not answered since {}; {}",
                humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*since)),
                match containers {
                    0 => "it has no containers with labels that are served".to_owned(),
                    1 => "its one container with labels is served as known then".to_owned(),
                    count => format!("its {count} containers with labels are served as known then"),
                }
            ),
            Reason::ClockSkew { source, seconds } => write!(
                f,
                "the clock of {source} is {} {} this machine's; which of two conflicting containers is older is \
                 decided by their machines' clocks",
                humantime::format_duration(Duration::from_secs(seconds.unsigned_abs())),
                if *seconds < 0 { "behind" } else { "ahead of" }
            ),
            Reason::NodeLost { source, node, since, containers } => write!(
                f,
                "{source} has had no sign of life of the machine {} since {}; HAProxy's checks decide \
                 whether its {} served",
                EscapedText(node),
                humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*since)),
                match containers {
                    1 => "one container with labels is".to_owned(),
                    count => format!("{count} containers with labels are"),
                }
            ),
            Reason::NodesLost { source, lost, total, since } => write!(
                f,
                "{source} has no sign of life of {lost} of {total} machines, the last of which was \
                 lost at {}: etcd lost them, or the network did; HAProxy's checks decide what is \
                 served, and none is forgotten",
                humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*since)),
            ),
            Reason::FleetDiffers { apart, same } => write!(
                f,
                "{} {} other routes than {}; docker-balancer status --fleet shows what each balancer serves",
                apart.join(" and "),
                if apart.len() == 1 { "serves" } else { "serve" },
                same.join(" and "),
            ),
            Reason::FleetSilent { since } => write!(
                f,
                "etcd has not answered since {}; what is served does not change, but it is not compared with \
                 that of other balancers, and drains are of this balancer only",
                humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*since)),
            ),
            Reason::FleetNameTaken { name } => write!(
                f,
                "another balancer of the fleet has the name {name}; give each a name of its own"
            ),
            Reason::RecordIgnored { source, key, why, more } => {
                write!(
                    f,
                    "{source} has a record that is ignored, {}: {}",
                    EscapedText(key),
                    EscapedText(why)
                )?;
                match more {
                    0 => Ok(()),
                    more => write!(f, "; so are {more} others that are not listed"),
                }
            }
            Reason::AddressRefused { address, fence: AddressFence::OfThisMachine } => write!(
                f,
                "the address {address}, which another machine names, is of this machine, or has \
                 another meaning on each; if the containers are of this machine, give its own engine \
                 as a source"
            ),
            Reason::AddressRefused { address, fence: AddressFence::NotAllowed } => {
                write!(f, "its address {address} is not in allow_addresses= of its source")
            }
            Reason::NotAManager { source } => write!(
                f,
                "{source} is not a manager of a Swarm, so the services of its Swarm are not known; \
                 name managers"
            ),
            Reason::RouteRefused { route, text } => {
                write!(f, "HAProxy refused {route}, so the route is ignored: {text}")
            }
            Reason::NoExporter => f.write_str(
                "this HAProxy has no Prometheus exporter (haproxy -vv prints -PROMEX); install an \
                 HAProxy that has one, or remove the option",
            ),
            Reason::NoQuic => f.write_str(
                "this HAProxy has no HTTP/3 (haproxy -vv prints -QUIC or +QUIC_OPENSSL_COMPAT); \
                 install HAProxy 3.2 or later that has it, or remove the option",
            ),
            Reason::UdpPortTaken { port, why } => write!(
                f,
                "UDP port {port} is {why}, so there is no HTTP/3; retrying every few seconds, HTTP/1.1 \
                 and HTTP/2 are not affected"
            ),
            Reason::ConnectionRefused { address, port, exposed } => {
                write!(
                    f,
                    "connection refused at {address}; {}",
                    RefusedHint { address, port: *port, exposed }
                )
            }
            Reason::NoConnection { address } => write!(
                f,
                "connections to {address} time out or have no route to it; check that the machine \
                 is up, that the network is the right one (glue_network), and that no firewall \
                 blocks them"
            ),
            Reason::CheckUnanswered { address, path } => write!(
                f,
                "GET {path} got no response from {address} in time; HAProxy's check waits as long as \
                 its interval (check_interval), so use a faster path, a longer interval, or check \
                 only the connection (tcp)"
            ),
            Reason::CheckStatus { address, port, path, code } => write!(
                f,
                "GET {path} got status {code} from {address}; HAProxy's check needs 2xx or 3xx, so \
                 set a path that returns one in glue_http_{port}_check, or check only the \
                 connection (tcp)"
            ),
            Reason::CheckNotHttp { address, path, what: Some(what) } => {
                write!(
                    f,
                    "GET {path} got a response from {address} that is not HTTP/1.1: {}",
                    ProtocolHint(what)
                )
            }
            Reason::CheckNotHttp { address, path, what: None } => write!(
                f,
                "GET {path} got no HTTP/1.1 response from {address}; the connection was closed \
                 without a response, or the port uses another protocol"
            ),
            Reason::TlsHandshakeFailed { address, verification } if verification == "off" => {
                write!(
                    f,
                    "the TLS handshake with {address} fails; if the port does not use TLS, set scheme \
                 to http or h2c"
                )
            }
            Reason::TlsHandshakeFailed { address, verification } => write!(
                f,
                "the TLS handshake with {address} fails; verify is {verification}, so the \
                 certificate has to be signed by this CA, valid now, and for the name of the \
                 request or of server_name"
            ),
            Reason::CheckFails { address, text } => {
                write!(f, "HAProxy's check of {address} fails: {text}")
            }
            Reason::ConnectFailed { address, port, exposed } => write!(
                f,
                "a request could not connect to {address} and got 503, and the check is off; {}",
                RefusedHint { address, port: *port, exposed }
            ),
            Reason::NoResponse { address } => write!(
                f,
                "a request to {address} got 502 or 504, because the container closed the \
                 connection or exceeded the timeout (glue_http_…_timeout); see the container's log"
            ),
            Reason::BadResponse { address, what } => write!(
                f,
                "a request to {address} got 502, because the container's response is not HTTP/1.1: \
                 {}",
                ProtocolHint(what)
            ),
            Reason::BadRequest { what, client } => {
                f.write_str("a request got 400, because it is not HTTP/1.1: ")?;
                f.write_str(match what {
                    MalformedRequest::Tls => "it uses TLS, but this port accepts only http://",
                    MalformedRequest::ProxyProtocol => {
                        "it starts with the PROXY protocol; turn that off in the proxy in front, \
                         and add the proxy to --trusted-proxies"
                    }
                    MalformedRequest::Target => {
                        "its path has a character (a space, # or a non-ASCII character) that the \
                         client must write as %XX"
                    }
                    MalformedRequest::Header => "one of its header fields is malformed",
                    MalformedRequest::Body => "its body does not match its headers",
                    MalformedRequest::Other => "it uses another protocol, or is malformed",
                })?;
                match client {
                    Some(client) => write!(f, " (the first one from {client})"),
                    None => Ok(()),
                }
            }
            Reason::UnsupportedOption { hint } => write!(f, "unknown label: {hint}"),
            Reason::VariableInName => f.write_str(
                "the label's name contains a variable that was not substituted; Docker Compose \
                 substitutes variables only in values and in lists: - \
                 glue_http_${PORT}_host=app.example.com",
            ),
            Reason::QuotedValue(text) => write!(
                f,
                "the quotes are part of the value {}; remove them, and in a list of a compose file \
                 quote the whole entry, as in - \"NAME=VALUE\"",
                QuotedText(text)
            ),
            Reason::BracketedList { text, instead } => write!(
                f,
                "{} is a list in brackets; write it with commas and without brackets: {}",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::ListWithoutCommas { text, instead } => write!(
                f,
                "{} has several members without commas between them; write {}",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::VariableInValue(text) => write!(
                f,
                "{} contains a variable that was not substituted; write its value, or let Docker \
                 Compose or the shell substitute it ($$ and single quotes prevent that)",
                QuotedText(text)
            ),
            Reason::HostPattern { text, instead: Some(instead) } => write!(
                f,
                "{} is a rule of another program; write only the host names: {}",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::HostPattern { text, instead: None } => write!(
                f,
                "{} is a pattern, but patterns are not supported; write a host name, or \
                 *.example.com for any first label",
                QuotedText(text)
            ),
            Reason::HostWithEmptyLabel(text) => write!(
                f,
                "{} has no name before a dot; was a variable empty? For all names below a domain \
                 write *.example.com",
                QuotedText(text)
            ),
            Reason::HostEndsWithDot(text) => write!(
                f,
                "{} ends with its first dot, so the host is only {}; was a variable empty? If this \
                 is intended, remove the dot",
                QuotedText(text),
                EscapedText(text.trim_end_matches('.'))
            ),
            Reason::PrefixPattern { text, instead }
            | Reason::PrefixLikePattern { text, instead } => {
                write!(
                    f,
                    "{} looks like a pattern, but a prefix is literal text and includes everything \
                     below it; ",
                    QuotedText(text)
                )?;
                match instead.as_str() {
                    "/" => f.write_str("for the whole host remove the prefix label"),
                    instead => write!(f, "write {}", EscapedText(instead)),
                }
            }
            Reason::PathPattern { text, instead } | Reason::PathLikePattern { text, instead } => write!(
                f,
                "{} looks like a pattern, but path is literal text; for all paths below {} use \
                 prefix in place of path",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::PublishedPort { protocol, port, container_port } => write!(
                f,
                "{port} is the host port on which the container's port {container_port} is \
                 published; use the container's port in the label: \
                 glue_{protocol}_{container_port}_… (and glue_{protocol}_{container_port}_bind for \
                 another public port)"
            ),
            Reason::PublishesListener { port, route } => write!(
                f,
                "the container publishes host port {port}, on which HAProxy must listen for {}; \
                 only one of them can. Remove the port from the published ports (HAProxy does not \
                 need it), or set another public port in the bind label",
                EscapedText(route)
            ),
            Reason::EnvironmentVariable => f.write_str(
                "this is an environment variable, which is read only with --include-env; make it a \
                 label, or set that option",
            ),
            Reason::ForeignLabel { program, instead } => write!(
                f,
                "this label is for {program} and is ignored; the equivalent is {}",
                EscapedText(instead)
            ),
            Reason::SharedRoute { route, with } => write!(
                f,
                "{route} is also served by container {with} of another service, and each gets a \
                 share of its requests; if this is not intended, give one of them another host or \
                 prefix"
            ),
            Reason::SharedHost { route, host, with } => write!(
                f,
                "{route} is on {host}, on which container {with} of another project also has \
                 routes; if this is not intended, give one of them another host"
            ),
            Reason::MapPortUnused { public, ours } => write!(
                f,
                "no label uses public port {public}, but labels use {ours}; the order is \
                 PUBLIC=PORT, with the label's port first: did you mean {ours}={public}?"
            ),
            Reason::ConflictingConstraints { label, values: [one, other] } => write!(
                f,
                "no container can have both {0}={1} and {0}={2}, so no container is served; remove \
                 one of the two",
                EscapedText(label),
                EscapedText(one),
                EscapedText(other)
            ),
            Reason::UnusualConstraint { constraint, instead } => write!(
                f,
                "{} is used as the name of one label, which no container has; did you mean {}?",
                QuotedText(constraint),
                EscapedText(instead)
            ),
            Reason::WildcardNeedsDns { host } => write!(
                f,
                "a CA issues a certificate for {host} only by a DNS challenge; set --acme-dns or \
                 --acme-challenge dns-persist, or give a certificate file"
            ),
            Reason::PrivateName { host, by_own_ca: true } => write!(
                f,
                "no public CA signs {host}; docker-balancer's own CA does, and clients have to \
                 trust it (docker-balancer certificate ca)"
            ),
            Reason::PrivateName { host, by_own_ca: false } => write!(
                f,
                "no public CA signs {host}; set cert to self for a certificate of \
                 docker-balancer's own CA, or give a certificate file"
            ),
            Reason::CaNotConfigured { option, ca, directory } => write!(
                f,
                "{option} is {ca}, but the directory of {directory} has no CA with this name; the \
                 route is served only where the directory has {ca}.pem"
            ),
            Reason::HstsWithPlain => f.write_str(
                "browsers that received the header of hsts no longer use the plain pages of \
                 tls=both; set tls to on, or remove hsts",
            ),
        }
    }
}

/// Remedies for a refused connection.
struct RefusedHint<'a> {
    address: &'a SocketAddr,
    port: u16,
    exposed: &'a [u16],
}

impl fmt::Display for RefusedHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, exposed } = self;
        let others: Vec<_> =
            exposed.iter().filter(|n| *n != port).map(ToString::to_string).collect();
        if !exposed.contains(port)
            && let Some(first) = others.first()
        {
            return write!(
                f,
                "the container exposes {}: did you mean glue_http_{first}_…?",
                others.join(", ")
            );
        }
        write!(f, "nothing listens on port {port} of the container")?;
        if !address.ip().is_loopback() {
            f.write_str(", or it listens only on 127.0.0.1 and must listen on 0.0.0.0")?;
        }
        match others.first() {
            Some(first) => {
                let all = others.join(", ");
                write!(f, "; the container also exposes {all}: did you mean glue_http_{first}_…?")
            }
            None => Ok(()),
        }
    }
}

/// The protocol that a container uses in place of HTTP/1.1, and the remedy.
struct ProtocolHint<'a>(&'a MalformedResponse);

impl fmt::Display for ProtocolHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MalformedResponse::Http2 => f.write_str(
                "the container supports only HTTP/2 (gRPC, h2c); make it accept HTTP/1.1, which \
                 HAProxy uses",
            )?,
            MalformedResponse::Tls => f.write_str(
                "the container uses TLS; make it serve plain HTTP, or use its plain HTTP port",
            )?,
            MalformedResponse::StatusLine => f.write_str("its first line is malformed")?,
            MalformedResponse::Header(name) => {
                write!(f, "its header field {} is malformed", QuotedText(name))?;
            }
            MalformedResponse::Body => f.write_str("its body does not match its headers")?,
            MalformedResponse::Other(word) if word.is_empty() => {
                f.write_str("it uses another protocol")?;
            }
            MalformedResponse::Other(word) => {
                write!(
                    f,
                    "the response starts with {}; check that the port is the right one",
                    QuotedText(word)
                )?;
            }
        }
        Ok(())
    }
}

/// Writes the first ports, and how many there are.
struct PortList<'a>(&'a [u16]);

impl fmt::Display for PortList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let shown: Vec<_> = self.0.iter().take(SHOWN).map(ToString::to_string).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::escape::{MAX_TEXT_CHARS, is_unprintable};

    #[test]
    fn reason_with_control_characters_is_escaped_on_one_line() {
        for (name, expected) in [
            ("back", "back"),
            ("a\nWARN forged", "a\\nWARN forged"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\u{202e}live", "\\u{202e}live"),
            ("b\u{fc}cher", "b\u{fc}cher"),
        ] {
            let name = name.to_owned();
            let reasons = [
                Reason::NotOnNetwork { network: "x".to_owned(), on: vec![name.clone()] },
                Reason::NoAddress { hint: name.clone() },
                Reason::PortTaken { why: name.clone() },
                Reason::RouteRefused { route: "r".to_owned(), text: name },
            ];
            for reason in reasons {
                let text = reason.to_string();
                assert!(text.contains(expected) && !text.contains(is_unprintable), "{text:?}");
            }
        }
    }

    #[test]
    fn long_text_is_truncated_once() {
        let (long, short) = ("\u{e9}".repeat(4000), "e".repeat(MAX_TEXT_CHARS));
        let truncated = truncate(&long);
        assert_eq!(truncated, format!("{}\u{2026} (8000 bytes)", "\u{e9}".repeat(80)));
        assert_eq!((truncate(&truncated), truncate(&short)), (truncated.clone(), short));
        assert_eq!(
            Reason::NotAHost(long.clone()).truncate_texts(None),
            Reason::NotAHost(truncated.clone())
        );
        let label = LabelText::new("glue_x", &long);
        assert_eq!(label.to_string(), format!("glue_x={truncated:?}"));
    }

    #[test]
    fn kinds_are_distinct_snake_case_and_complete() {
        let misspelt = Reason::Misspelled { nearest: String::new() };
        assert_eq!(misspelt.kind(), "misspelled");
        assert!(Reason::KINDS.contains(&"misspelled"));
        let once: std::collections::BTreeSet<_> = Reason::KINDS.iter().collect();
        assert_eq!(once.len(), Reason::KINDS.len());
        let is_plain =
            |kind: &&str| kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(Reason::KINDS.iter().all(is_plain));
    }
}
