//! Everything that is said to a user about what could not be honoured, on one page.
//!
//! Pure. A problem is data: it is told when it appears and when it goes, and never stops a pass.

mod kind;

pub use kind::Description;

use crate::{
    model::{
        container_ref::ContainerRef,
        malformed_http::{MalformedRequest, MalformedResponse},
        route::Listener,
    },
    support::escape::{EscapedText, QuotedText, SingleLine, Truncated},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray, VariantNames};

/// A thing that was asked for and could not be had, with the reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub subject: ProblemSubject,
    /// The label as it was written; absent where no single label is to blame.
    pub label: Option<LabelText>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemSubject {
    Container(ContainerRef),
    Listener(Listener),
    /// An option of the program, as it is written on its command line.
    Option(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelText {
    pub key: String,
    pub value: String,
}

/// Why, and what to do about it.
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
    /// No label of ours has that name.
    UnknownLabel {
        nearest: Option<String>,
    },
    /// A hint: it is somebody else's, or meant to be this one of ours.
    Misspelt {
        nearest: String,
    },
    /// A `glue_tcp_…` or `glue_udp_…` label.
    NotYet,
    Empty,
    /// Of a list: `a.test,,b.test`.
    EmptyMember,
    ControlCharacter,
    TooLong,
    NotAPort(String),
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
    NotAnObedience,
    NotARetry,
    NotARouteName(String),
    /// The port names neither a host nor a prefix, and `glue_http_ports` does not name it.
    NothingToServe {
        port: u16,
    },
    /// A named route has neither; it does not take these from the port's other labels.
    NothingNamed {
        port: u16,
        route: String,
    },
    /// More routes than a container may ask for.
    TooManyRoutes {
        port: u16,
        wanted: usize,
        most: usize,
    },
    /// More public ports than a container may ask for.
    TooManyListeners {
        port: u16,
        wanted: usize,
        left: usize,
        most: usize,
    },
    /// More public ports than all containers together may ask for.
    NoListenerLeft {
        ports: Vec<u16>,
        most: usize,
    },
    /// HAProxy could not load a configuration with these public ports, for want of a resource of the machine.
    NotLoaded {
        ports: Vec<u16>,
        text: String,
    },
    /// One port of the container asks for a route twice, with options that differ.
    AskedTwice {
        port: u16,
        route: String,
    },
    /// No host, prefix or public port of the label was understood, so the port is out.
    NoneLeft {
        port: u16,
    },
    HostFenced(String),
    /// The administrator reserved it for containers of another label.
    HostReserved {
        host: String,
        only: String,
    },
    PortFenced(u16),
    /// On the host's network: a port of the host that is not for labels.
    PortOfHost {
        port: u16,
    },
    HostNetworkFenced,
    /// With `--image-labels off`: the labels cannot be compared with those of the image.
    ImageUnknown {
        why: String,
    },
    /// More servers in one route than a container gets.
    TooManyServers {
        route: String,
        ports: usize,
        most: usize,
    },
    /// More problems than are told one by one.
    More {
        more: usize,
    },
    /// A hint: several ports of the container serve one route.
    SeveralServers {
        route: String,
        ports: usize,
        /// Routes of which it is so as well.
        more: usize,
    },
    /// A hint: EXPOSE is documentation.
    NotExposed {
        port: u16,
    },
    NotOnNetwork {
        network: String,
        on: Vec<String>,
    },
    /// Nothing of the container can be reached from where HAProxy runs.
    NoAddress {
        way_out: String,
    },
    Conflict {
        route: String,
        with: ContainerRef,
        over: &'static str,
    },
    /// Those who had the route are gone, and it is kept for them for a while.
    Kept {
        route: String,
        party: String,
        over: &'static str,
    },
    /// By `--own-hosts-by`.
    HostOwned {
        route: String,
        holder: String,
    },
    PortTaken {
        why: String,
    },
    Refused {
        route: String,
        text: String,
    },
    /// Of HAProxy's: it was built without.
    NoExporter,
    /// HAProxy's check is refused.
    ConnectionRefused {
        address: SocketAddr,
        port: u16,
        exposed: Vec<u16>,
    },
    /// HAProxy's check gets no connection: they time out, or there is no route.
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
    /// `what`, where HAProxy kept it.
    CheckNotHttp {
        address: SocketAddr,
        path: String,
        what: Option<MalformedResponse>,
    },
    /// In HAProxy's words.
    CheckFails {
        address: SocketAddr,
        text: String,
    },
    /// A client's request was answered by 503, and no check told.
    Unconnected {
        address: SocketAddr,
        port: u16,
        exposed: Vec<u16>,
    },
    /// A client's request was answered by 502 or 504.
    NoResponse {
        address: SocketAddr,
    },
    BadResponse {
        address: SocketAddr,
        what: MalformedResponse,
    },
    /// A hint, as whoever reaches a public port may say what they like.
    BadRequest {
        what: MalformedRequest,
        client: Option<IpAddr>,
    },
    /// An option of other programs that there is not here.
    NotOffered {
        way_out: &'static str,
    },
    /// `glue_http_${PORT}_host`
    VariableInName,
    /// `"a.test"`, quotes and all.
    InQuotes(String),
    /// `[a.test, b.test]`
    InBrackets {
        text: String,
        instead: String,
    },
    /// `a.test b.test`, `a.test;b.test`
    NotCommas {
        text: String,
        instead: String,
    },
    /// `${DOMAIN}` in a value.
    NotFilledIn(String),
    /// A regular expression, or a rule as Traefik has them.
    HostPattern {
        text: String,
        instead: Option<String>,
    },
    /// `.example.com`, `a..com`
    HostWithGap(String),
    /// A hint: `app.`
    HostCutShort(String),
    /// It is no path, but a pattern of one.
    PatternForPrefix {
        text: String,
        instead: String,
    },
    /// A hint: it is a path, and was meant for a pattern.
    PatternInPrefix {
        text: String,
        instead: String,
    },
    /// A hint: the host has this port for another one of the container.
    PublishedPort {
        port: u16,
        container_port: u16,
    },
    /// A hint: the container itself takes the port of the host that HAProxy is to listen on.
    PublishesListener {
        port: u16,
        route: String,
    },
    /// A hint: a variable of the environment, where those are not read.
    InEnvironment,
    /// A hint, of those who look for them alone: labels for another program.
    Foreign {
        program: &'static str,
        instead: String,
    },
    /// A hint: containers of two services that have nothing to do with each other.
    Shared {
        route: String,
        with: ContainerRef,
    },
    /// A hint: containers of two projects have routes of one host.
    SharedHost {
        route: String,
        host: String,
        with: ContainerRef,
    },
    /// A hint: no label asks for the public port, but for the one that it is moved to.
    MapPortUnused {
        public: u16,
        ours: u16,
    },
    /// Two constraints that no container can meet both.
    ConstraintsDiffer {
        label: String,
        values: [String; 2],
    },
    /// A hint: it is written as another program would take it.
    OddConstraint {
        constraint: String,
        instead: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing, nothing was lost.
    Hint,
    Problem,
}

impl Reason {
    /// With no more of what a user wrote than is told.
    #[must_use]
    pub fn truncate_texts(mut self) -> Self {
        match &mut self {
            Self::NotAPort(text)
            | Self::HostWithScheme(text)
            | Self::HostWithPath(text)
            | Self::HostWithPort(text)
            | Self::MisplacedWildcard(text)
            | Self::NotAHost(text)
            | Self::PrefixTooDeep(text)
            | Self::NotAPrefix(text)
            | Self::PrefixParameter(text)
            | Self::NotARouteName(text)
            | Self::HostFenced(text)
            | Self::InQuotes(text)
            | Self::NotFilledIn(text)
            | Self::HostWithGap(text)
            | Self::HostCutShort(text)
            | Self::HostPattern { text, instead: None } => *text = truncate(text),
            Self::InBrackets { text, instead }
            | Self::NotCommas { text, instead }
            | Self::HostPattern { text, instead: Some(instead) }
            | Self::PatternForPrefix { text, instead }
            | Self::PatternInPrefix { text, instead } => {
                (*text, *instead) = (truncate(text), truncate(instead));
            }
            _ => {}
        }
        self
    }

    /// All there are of [`Self::kind`].
    pub const KINDS: &'static [&'static str] = Self::VARIANTS;

    /// One word for programs: a closed set, the same in every version.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    pub fn severity(&self) -> Severity {
        ProblemKind::from(self).severity()
    }

    /// Whether it is about what HAProxy met with, not about what was asked for.
    pub fn is_about_traffic(&self) -> bool {
        self.is_check_failure()
            || matches!(
                self,
                Self::Unconnected { .. }
                    | Self::NoResponse { .. }
                    | Self::BadResponse { .. }
                    | Self::BadRequest { .. }
            )
    }

    /// Whether it is why a check fails.
    pub fn is_check_failure(&self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused { .. }
                | Self::NoConnection { .. }
                | Self::CheckUnanswered { .. }
                | Self::CheckStatus { .. }
                | Self::CheckNotHttp { .. }
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

/// What is kept of a text that somebody else wrote: a problem outlives it, and there may be many.
pub fn truncate(text: &str) -> String {
    Truncated(text).to_string()
}

impl LabelText {
    pub fn new(key: &str, value: &str) -> Self {
        Self { key: truncate(key), value: truncate(value) }
    }

    /// Cut where it would fill a screen; not escaped, for those who do that themselves.
    pub fn key_text(&self) -> String {
        Truncated(&self.key).to_string()
    }

    pub fn value_text(&self) -> String {
        Truncated(&self.value).to_string()
    }
}

/// Quoted and escaped, and cut where it would fill a screen.
impl fmt::Display for LabelText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", EscapedText(&self.key), QuotedText(&self.value))
    }
}

/// Names of networks and what HAProxy or the engine said are in some of them, so all are escaped.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SingleLine(ReasonText(self)).fmt(f)
    }
}

struct ReasonText<'a>(&'a Reason);

/// What there is (quoted where a user wrote it), then the way out.
#[allow(clippy::too_many_lines)] // One page, one arm per thing that is said.
impl fmt::Display for ReasonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::UnknownLabel { nearest: Some(nearest) } => {
                write!(f, "there is no such label; did you mean {nearest}?")
            }
            Reason::Misspelt { nearest } => {
                write!(f, "it is not one of ours and not read; did you mean {nearest}?")
            }
            Reason::UnknownLabel { nearest: None } => {
                f.write_str("there is no such label; the label reference lists all there are")
            }
            Reason::NotYet => {
                f.write_str("TCP and UDP are not served yet, only glue_http_ labels are")
            }
            Reason::Empty => f.write_str("the value is empty; give it one, or leave the label away"),
            Reason::EmptyMember => f.write_str(
                "a member of the list is empty; there is a comma too many or a value missing",
            ),
            Reason::ControlCharacter => {
                f.write_str("the value has a control character (a line break, a tab); take it out")
            }
            Reason::TooLong => f.write_str("the value is longer than 4096 bytes; shorten it"),
            Reason::NotAPort(text) => {
                write!(f, "{} is no port; a port is a whole number from 1 to 65535", QuotedText(text))
            }
            Reason::NotAWeight => f.write_str("a weight is a whole number from 0 to 256"),
            Reason::WeightTooHigh => f.write_str("a weight is at most 256; 256 is used"),
            Reason::HostWithScheme(text) => {
                write!(f, "{} is a URL; write the host's name alone", QuotedText(text))
            }
            Reason::HostWithPath(text) => write!(
                f,
                "{} has a path; write the host's name alone, and the path in the prefix label",
                QuotedText(text)
            ),
            Reason::HostWithPort(text) => write!(
                f,
                "{} has a port; write the host's name alone, and the port in the bind label",
                QuotedText(text)
            ),
            Reason::LoneWildcard => f.write_str(
                "a wildcard stands before a name, as in *.example.com; for any host leave the \
                 host label away and name a prefix, or name the port in glue_http_ports",
            ),
            Reason::MisplacedWildcard(text) => write!(
                f,
                "{} has a wildcard in it; one stands in front, for one label, as in *.example.com",
                QuotedText(text)
            ),
            Reason::NotAHost(text) => write!(
                f,
                "{} is no host name; one has letters, digits, - and _, and dots between them",
                QuotedText(text)
            ),
            Reason::PrefixTooDeep(text) => {
                write!(f, "{} has more than 8 segments; name fewer", QuotedText(text))
            }
            Reason::PrefixParameter(text) => write!(
                f,
                "{} has a semicolon, and requests are routed without what follows one in a segment; leave it away",
                QuotedText(text)
            ),
            Reason::NotAPrefix(text) => write!(
                f,
                "{} is no path as it stands in a URL: no empty segments, no . or .., no query, \
                 other characters as %XX",
                QuotedText(text)
            ),
            Reason::NotASwitch => f.write_str("a switch is one of 1 0 true false yes no on off"),
            Reason::NotATimeout => f.write_str(
                "a timeout is a duration from 1ms to 24h with its unit, such as 30s or 5m",
            ),
            Reason::NotACheck => f.write_str("a check is tcp, off, or a path such as /healthz"),
            Reason::NotAnObedience => f.write_str("health is obey, require or ignore"),
            Reason::NotARetry => f.write_str("retry is safe, all or off"),
            Reason::NotARouteName(text) => write!(
                f,
                "{} is no route name; one has 1 to 63 letters, digits, - and _",
                QuotedText(text)
            ),
            Reason::NothingToServe { port } => write!(
                f,
                "port {port} has no host and no prefix; give it glue_http_{port}_host, \
                 or name it in glue_http_ports to serve every host"
            ),
            Reason::NothingNamed { port, route } => write!(
                f,
                "route {route} of port {port} has no host and no prefix of its own; \
                 give it glue_http_{port}_host.{route}"
            ),
            Reason::TooManyRoutes { port, wanted, most } => write!(
                f,
                "port {port} asks for {wanted} routes (hosts times prefixes times public ports), \
                 and a container gets {most} in all; ask for fewer"
            ),
            Reason::TooManyListeners { port, wanted, left, most } => write!(
                f,
                "port {port} asks for {wanted} public ports, and a container gets {most} in all: {left} of \
                 them {} left out",
                if *left == 1 { "is" } else { "are" }
            ),
            Reason::NoListenerLeft { ports, most } => write!(
                f,
                "public port {} is left out: all containers together get {most}, and older ones have \
                 these",
                PortList(ports)
            ),
            Reason::NotLoaded { ports, text } => write!(
                f,
                "public port {} is left out, as HAProxy could not be loaded with it: {}; it is tried \
                 again after pauses that grow",
                PortList(ports),
                EscapedText(text)
            ),
            Reason::AskedTwice { port, route } => write!(
                f,
                "port {port} asks for {route} twice, with options that differ; the labels without \
                 a route name count, else those of the first name"
            ),
            Reason::NoneLeft { port } => {
                write!(f, "nothing is left of it, so this route of port {port} is out")
            }
            Reason::HostFenced(host) => write!(
                f,
                "{} is not a host that containers may take; --allow-hosts says which they may",
                QuotedText(host)
            ),
            Reason::HostReserved { host, only } => write!(
                f,
                "{} is reserved by --allow-hosts for containers with {}",
                QuotedText(host),
                EscapedText(only)
            ),
            Reason::PortOfHost { port } => write!(
                f,
                "port {port} is not served: the container is on the host's network, and there it is a port of \
                 docker-balancer, of SSH or of Docker"
            ),
            Reason::HostNetworkFenced => f.write_str(
                "the container is on the host's network, and --host-network off serves none of these",
            ),
            Reason::ImageUnknown { why } => write!(
                f,
                "no label counts: --image-labels off compares the labels with those of the image, and {}; retrying \
                 every 30 s",
                EscapedText(why)
            ),
            Reason::TooManyServers { route, ports, most } => write!(
                f,
                "{ports} ports of the container ask for {route}, and a container gets {most} servers in a route; \
                 the lowest ports serve it"
            ),
            Reason::More { more } => {
                write!(f, "and {more} more problems, which are not told one by one")
            }
            Reason::SeveralServers { route, ports, more } => {
                write!(
                    f,
                    "{ports} ports of the container serve {route}, and each gets a share of its requests; if that is \
                     not meant, give each port a host or a prefix of its own"
                )?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " ({more} more routes are so)"),
                }
            }
            Reason::PortFenced(port) => write!(
                f,
                "{port} is not a public port that containers may take; --allow-ports says which \
                 they may, and the bind label names another"
            ),
            Reason::NotExposed { port } => write!(
                f,
                "the container does not expose port {port} (a hint: it may well listen there)"
            ),
            Reason::NotOnNetwork { network, on } if on.is_empty() => {
                write!(f, "the container is on no network, so not on {}", QuotedText(network))
            }
            Reason::NotOnNetwork { network, on } => write!(
                f,
                "the container is not on network {}, only on {}; connect it, or name another",
                QuotedText(network),
                on.join(", ")
            ),
            Reason::NoAddress { way_out } => write!(f, "HAProxy cannot reach it; {way_out}"),
            Reason::Conflict { route, with, over } => write!(
                f,
                "{route} is served by container {with} with another {over}; \
                 this container waits until that one is gone or they agree"
            ),
            Reason::Kept { route, party, over } => write!(
                f,
                "{route} was served by {} until just now, with another {over}, and is kept for it for as long as \
                 --hold says; this container waits until then",
                EscapedText(party)
            ),
            Reason::HostOwned { route, holder } => write!(
                f,
                "{route} is on a host of {}, which had it first (--own-hosts-by); this container waits until no \
                 container there has a claim on the host",
                EscapedText(holder)
            ),
            Reason::PortTaken { why } => write!(
                f,
                "its port is {why}; it is tried again every few seconds, the other listeners are served"
            ),
            Reason::Refused { route, text } => {
                write!(f, "HAProxy refused {route}, so it is left out: {text}")
            }
            Reason::NoExporter => f.write_str(
                "this HAProxy has no exporter for Prometheus (haproxy -vv says -PROMEX); install one \
                 that has, or leave the option away",
            ),
            Reason::ConnectionRefused { address, port, exposed } => {
                write!(f, "connection refused at {address}; {}", RefusedHint { address, port: *port, exposed })
            }
            Reason::NoConnection { address } => write!(
                f,
                "connections to {address} time out or find no route; is the machine gone, the network \
                 another one (glue_network names it), or a firewall in between?"
            ),
            Reason::CheckUnanswered { address, path } => write!(
                f,
                "GET {path} is not answered in time at {address}; HAProxy's check waits for 2 s at most, so \
                 check a path that answers sooner, or the connection alone (tcp)"
            ),
            Reason::CheckStatus { address, port, path, code } => write!(
                f,
                "GET {path} is answered by {code} at {address}; HAProxy's check wants 2xx or 3xx, so name a \
                 path that gives one in glue_http_{port}_check, or check the connection alone (tcp)"
            ),
            Reason::CheckNotHttp { address, path, what: Some(what) } => {
                write!(f, "GET {path} at {address} is not answered by HTTP/1.1: {}", ProtocolHint(what))
            }
            Reason::CheckNotHttp { address, path, what: None } => write!(
                f,
                "GET {path} at {address} is not answered by HTTP/1.1; the connection ends without an \
                 answer, or another protocol is spoken there"
            ),
            Reason::CheckFails { address, text } => {
                write!(f, "HAProxy's check fails at {address}: {text}")
            }
            Reason::Unconnected { address, port, exposed } => write!(
                f,
                "a request got no connection to {address} and was answered by 503, and its check is off; {}",
                RefusedHint { address, port: *port, exposed }
            ),
            Reason::NoResponse { address } => write!(
                f,
                "a request to {address} was answered by 502 or 504, as the container ended the connection \
                 or let time pass (glue_http_…_timeout says how much it has); its own log may say why"
            ),
            Reason::BadResponse { address, what } => write!(
                f,
                "a request to {address} was answered by 502, as its response is no HTTP/1.1: {}",
                ProtocolHint(what)
            ),
            Reason::BadRequest { what, client } => {
                f.write_str("a request was answered by 400, as it is no HTTP/1.1: ")?;
                f.write_str(match what {
                    MalformedRequest::Tls => "it was TLS, and this port takes http:// only",
                    MalformedRequest::ProxyProtocol => {
                        "it began with the PROXY protocol; switch that off in what stands in front, and \
                         name that in --trusted-proxies"
                    }
                    MalformedRequest::Target => {
                        "its path has a character (a space, #, or one beyond ASCII) that the client has to \
                         write as %XX"
                    }
                    MalformedRequest::Header => "one of its header fields is malformed",
                    MalformedRequest::Body => "its body is not as its header says",
                    MalformedRequest::Other => "another protocol is spoken, or nonsense",
                })?;
                match client {
                    Some(client) => write!(f, " (the first one from {client})"),
                    None => Ok(()),
                }
            }
            Reason::NotOffered { way_out } => write!(f, "there is no such label: {way_out}"),
            Reason::VariableInName => f.write_str(
                "there is a variable in the label's name that nobody has filled in; Docker Compose does so \
                 in values and in lists alone: - glue_http_${PORT}_host=app.example.com",
            ),
            Reason::InQuotes(text) => write!(
                f,
                "the quotes are part of {}; take them away, and in a list of a compose file put them \
                 around all of it, as in - \"NAME=VALUE\"",
                QuotedText(text)
            ),
            Reason::InBrackets { text, instead } => write!(
                f,
                "{} is a list in brackets; write it with commas alone: {}",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::NotCommas { text, instead } => write!(
                f,
                "{} has several members with no comma between them; write {}",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::NotFilledIn(text) => write!(
                f,
                "{} has a variable in it that nobody has filled in; write its value, or have Docker Compose \
                 or the shell fill it in ($$ and single quotes keep them from it)",
                QuotedText(text)
            ),
            Reason::HostPattern { text, instead: Some(instead) } => write!(
                f,
                "{} is a rule of another program; write the names alone: {}",
                QuotedText(text),
                EscapedText(instead)
            ),
            Reason::HostPattern { text, instead: None } => write!(
                f,
                "{} is a pattern, and a host is none; write its name, or *.example.com for any one label \
                 in front",
                QuotedText(text)
            ),
            Reason::HostWithGap(text) => write!(
                f,
                "{} lacks a name before a dot; was a variable empty? For all names below one write \
                 *.example.com",
                QuotedText(text)
            ),
            Reason::HostCutShort(text) => write!(
                f,
                "{} ends with its first dot, so the host is {} alone; was a variable empty? If it is meant \
                 so, leave the dot away",
                QuotedText(text),
                EscapedText(text.trim_end_matches('.'))
            ),
            Reason::PatternForPrefix { text, instead } | Reason::PatternInPrefix { text, instead } => {
                write!(
                    f,
                    "{} looks like a pattern, and a prefix is none: all in it stands for itself, and it \
                     holds for all that is below it; ",
                    QuotedText(text)
                )?;
                match instead.as_str() {
                    "/" => f.write_str("for the whole host leave the prefix label away"),
                    instead => write!(f, "write {}", EscapedText(instead)),
                }
            }
            Reason::PublishedPort { port, container_port } => write!(
                f,
                "{port} is where the host publishes the container's port {container_port}; a label takes \
                 the container's: glue_http_{container_port}_… (and glue_http_{container_port}_bind for \
                 another public port)"
            ),
            Reason::PublishesListener { port, route } => write!(
                f,
                "it publishes the host's port {port} itself, and HAProxy is to listen there for {}; one of the \
                 two fails. Take it from the ports (HAProxy reaches the container without it), or name another \
                 public port in the bind label",
                EscapedText(route)
            ),
            Reason::InEnvironment => f.write_str(
                "it is a variable of the environment, which is read with --include-env alone; make it a label, \
                 or give docker-balancer that option",
            ),
            Reason::Foreign { program, instead } => write!(
                f,
                "it is for {program}, and not read here; the like of it is {}",
                EscapedText(instead)
            ),
            Reason::Shared { route, with } => write!(
                f,
                "{route} is asked for by container {with} of another service too, and each gets a share of \
                 its requests; if that is not meant, give one of them another host or prefix"
            ),
            Reason::SharedHost { route, host, with } => write!(
                f,
                "{route} is on {host}, which container {with} of another project has routes of too; if that is not \
                 meant, give one of them another host"
            ),
            Reason::MapPortUnused { public, ours } => write!(
                f,
                "no label asks for public port {public}, but some do for {ours}: it is PUBLIC=PORT, the \
                 label's port first; was {ours}={public} meant?"
            ),
            Reason::ConstraintsDiffer { label, values: [one, other] } => write!(
                f,
                "no container has {0}={1} and {0}={2} at once, so none is served; leave one of them away",
                EscapedText(label),
                EscapedText(one),
                EscapedText(other)
            ),
            Reason::OddConstraint { constraint, instead } => write!(
                f,
                "{} is taken for one label as it stands, which no container may have; was {} meant?",
                QuotedText(constraint),
                EscapedText(instead)
            ),
        }
    }
}

/// What may be done where a connection is refused.
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
                "the container exposes {}: is it glue_http_{first}_…?",
                others.join(", ")
            );
        }
        write!(f, "nothing listens on port {port} of the container")?;
        if !address.ip().is_loopback() {
            f.write_str(", or it listens on 127.0.0.1 only and has to on 0.0.0.0")?;
        }
        match others.first() {
            Some(first) => {
                let all = others.join(", ");
                write!(f, "; the container exposes {all} too: is it glue_http_{first}_…?")
            }
            None => Ok(()),
        }
    }
}

/// What a container speaks in place of HTTP/1.1, and the way out.
struct ProtocolHint<'a>(&'a MalformedResponse);

impl fmt::Display for ProtocolHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MalformedResponse::Http2 => f.write_str(
                "the container speaks HTTP/2 only (gRPC, h2c); have it take HTTP/1.1 too, as HAProxy asks so",
            )?,
            MalformedResponse::Tls => f.write_str(
                "the container speaks TLS; have it serve plain HTTP, or name the port where it does",
            )?,
            MalformedResponse::StatusLine => f.write_str("its first line is malformed")?,
            MalformedResponse::Header(name) => write!(f, "its header field {} is malformed", QuotedText(name))?,
            MalformedResponse::Body => f.write_str("its body is not as its header says")?,
            MalformedResponse::Other(word) if word.is_empty() => f.write_str("another protocol is spoken")?,
            MalformedResponse::Other(word) => {
                write!(f, "it begins with {}; is another port the right one?", QuotedText(word))?;
            }
        }
        Ok(())
    }
}

/// The first ones, and how many there are.
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
                Reason::NoAddress { way_out: name.clone() },
                Reason::PortTaken { why: name.clone() },
                Reason::Refused { route: "r".to_owned(), text: name },
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
            Reason::NotAHost(long.clone()).truncate_texts(),
            Reason::NotAHost(truncated.clone())
        );
        let label = LabelText::new("glue_x", &long);
        assert_eq!(label.to_string(), format!("glue_x={truncated:?}"));
    }

    #[test]
    fn kinds_are_distinct_snake_case_and_complete() {
        let misspelt = Reason::Misspelt { nearest: String::new() };
        assert_eq!(misspelt.kind(), "misspelt");
        assert!(Reason::KINDS.contains(&"misspelt"));
        let once: std::collections::BTreeSet<_> = Reason::KINDS.iter().collect();
        assert_eq!(once.len(), Reason::KINDS.len());
        let is_plain =
            |kind: &&str| kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(Reason::KINDS.iter().all(is_plain));
    }
}
