//! Everything that is said to a user about what could not be honoured, on one page.
//!
//! Pure. A problem is data: it is told when it appears and when it goes, and never stops a pass.

use crate::{
    nonsense::{Request, Response},
    origin::Origin,
    route::Listener,
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};
use strum::{IntoStaticStr, VariantNames};

/// A thing that was asked for and could not be had, with the reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub about: About,
    /// The label as it was written; absent where no single label is to blame.
    pub label: Option<Label>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Container(Origin),
    Listener(Listener),
    /// An option of the program, as it is written on its command line.
    Option(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub key: String,
    pub value: String,
}

/// Why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
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
    /// More servers in one route than a container gets.
    TooManyServers {
        route: String,
        ports: usize,
        most: usize,
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
        with: Origin,
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
        what: Option<Response>,
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
        what: Response,
    },
    /// A hint, as whoever reaches a public port may say what they like.
    BadRequest {
        what: Request,
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
        with: Origin,
    },
    /// A hint: containers of two projects have routes of one host.
    SharedHost {
        route: String,
        host: String,
        with: Origin,
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
    /// All there are of [`Self::kind`].
    pub const KINDS: &'static [&'static str] = Self::VARIANTS;

    /// One word for programs: a closed set, the same in every version.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    pub fn severity(&self) -> Severity {
        match self {
            Self::NotExposed { .. }
            | Self::Misspelt { .. }
            | Self::BadRequest { .. }
            | Self::HostCutShort(_)
            | Self::PatternInPrefix { .. }
            | Self::PublishedPort { .. }
            | Self::PublishesListener { .. }
            | Self::InEnvironment
            | Self::Foreign { .. }
            | Self::Shared { .. }
            | Self::SharedHost { .. }
            | Self::SeveralServers { .. }
            | Self::MapPortUnused { .. }
            | Self::OddConstraint { .. } => Severity::Hint,
            _ => Severity::Problem,
        }
    }

    /// Whether it is about what HAProxy met with, not about what was asked for.
    pub fn is_of_traffic(&self) -> bool {
        self.fails_check()
            || matches!(
                self,
                Self::Unconnected { .. }
                    | Self::NoResponse { .. }
                    | Self::BadResponse { .. }
                    | Self::BadRequest { .. }
            )
    }

    /// Whether it is why a check fails.
    pub fn fails_check(&self) -> bool {
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
        match &self.about {
            About::Container(origin) => write!(f, "container {origin}: ")?,
            About::Listener(listener) => write!(f, "listener {listener}: ")?,
            About::Option(option) => write!(f, "option {option}: ")?,
        }
        if let Some(label) = &self.label {
            write!(f, "label {label}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

impl Label {
    /// Cut where it would fill a screen; not escaped, for those who do that themselves.
    pub fn key_text(&self) -> String {
        Cut(&self.key).to_string()
    }

    pub fn value_text(&self) -> String {
        Cut(&self.value).to_string()
    }
}

/// Quoted and escaped, and cut where it would fill a screen.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", Cut(&self.key).to_string().escape_debug(), Quoted(&self.value))
    }
}

struct Cut<'a>(&'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(80) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

/// What there is (quoted where a user wrote it), then the way out.
#[allow(clippy::too_many_lines)] // One page, one arm per thing that is said.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLabel { nearest: Some(nearest) } => {
                write!(f, "there is no such label; did you mean {nearest}?")
            }
            Self::Misspelt { nearest } => {
                write!(f, "it is not one of ours and not read; did you mean {nearest}?")
            }
            Self::UnknownLabel { nearest: None } => {
                f.write_str("there is no such label; the README lists all there are")
            }
            Self::NotYet => {
                f.write_str("TCP and UDP are not served yet, only glue_http_ labels are")
            }
            Self::Empty => f.write_str("the value is empty; give it one, or leave the label away"),
            Self::EmptyMember => f.write_str(
                "a member of the list is empty; there is a comma too many or a value missing",
            ),
            Self::ControlCharacter => {
                f.write_str("the value has a control character (a line break, a tab); take it out")
            }
            Self::TooLong => f.write_str("the value is longer than 4096 bytes; shorten it"),
            Self::NotAPort(text) => {
                write!(f, "{} is no port; a port is a whole number from 1 to 65535", Quoted(text))
            }
            Self::NotAWeight => f.write_str("a weight is a whole number from 0 to 256"),
            Self::WeightTooHigh => f.write_str("a weight is at most 256; 256 is used"),
            Self::HostWithScheme(text) => {
                write!(f, "{} is a URL; write the host's name alone", Quoted(text))
            }
            Self::HostWithPath(text) => write!(
                f,
                "{} has a path; write the host's name alone, and the path in the prefix label",
                Quoted(text)
            ),
            Self::HostWithPort(text) => write!(
                f,
                "{} has a port; write the host's name alone, and the port in the bind label",
                Quoted(text)
            ),
            Self::LoneWildcard => f.write_str(
                "a wildcard stands before a name, as in *.example.com; for any host leave the \
                 host label away and name a prefix, or name the port in glue_http_ports",
            ),
            Self::MisplacedWildcard(text) => write!(
                f,
                "{} has a wildcard in it; one stands in front, for one label, as in *.example.com",
                Quoted(text)
            ),
            Self::NotAHost(text) => write!(
                f,
                "{} is no host name; one has letters, digits, - and _, and dots between them",
                Quoted(text)
            ),
            Self::PrefixTooDeep(text) => {
                write!(f, "{} has more than 8 segments; name fewer", Quoted(text))
            }
            Self::PrefixParameter(text) => write!(
                f,
                "{} has a semicolon, and requests are routed without what follows one in a segment; leave it away",
                Quoted(text)
            ),
            Self::NotAPrefix(text) => write!(
                f,
                "{} is no path as it stands in a URL: no empty segments, no . or .., no query, \
                 other characters as %XX",
                Quoted(text)
            ),
            Self::NotASwitch => f.write_str("a switch is one of 1 0 true false yes no on off"),
            Self::NotATimeout => f.write_str(
                "a timeout is a duration from 1ms to 24h with its unit, such as 30s or 5m",
            ),
            Self::NotACheck => f.write_str("a check is tcp, off, or a path such as /healthz"),
            Self::NotAnObedience => f.write_str("health is obey, require or ignore"),
            Self::NotARetry => f.write_str("retry is safe, all or off"),
            Self::NotARouteName(text) => write!(
                f,
                "{} is no route name; one has 1 to 63 letters, digits, - and _",
                Quoted(text)
            ),
            Self::NothingToServe { port } => write!(
                f,
                "port {port} has no host and no prefix; give it glue_http_{port}_host, \
                 or name it in glue_http_ports to serve every host"
            ),
            Self::NothingNamed { port, route } => write!(
                f,
                "route {route} of port {port} has no host and no prefix of its own; \
                 give it glue_http_{port}_host.{route}"
            ),
            Self::TooManyRoutes { port, wanted, most } => write!(
                f,
                "port {port} asks for {wanted} routes (hosts times prefixes times public ports), \
                 and a container gets {most} in all; ask for fewer"
            ),
            Self::AskedTwice { port, route } => write!(
                f,
                "port {port} asks for {route} twice, with options that differ; the labels without \
                 a route name count, else those of the first name"
            ),
            Self::NoneLeft { port } => {
                write!(f, "nothing is left of it, so this route of port {port} is out")
            }
            Self::HostFenced(host) => write!(
                f,
                "{} is not a host that containers may take; --allow-hosts says which they may",
                Quoted(host)
            ),
            Self::HostReserved { host, only } => write!(
                f,
                "{} is reserved by --allow-hosts for containers with {}",
                Quoted(host),
                Plain(only)
            ),
            Self::PortOfHost { port } => write!(
                f,
                "port {port} is not served: the container is on the host's network, and there it is a port of \
                 docker-balancer, of SSH or of Docker"
            ),
            Self::HostNetworkFenced => f.write_str(
                "the container is on the host's network, and --host-network off serves none of these",
            ),
            Self::TooManyServers { route, ports, most } => write!(
                f,
                "{ports} ports of the container ask for {route}, and a container gets {most} servers in a route; \
                 the lowest ports serve it"
            ),
            Self::SeveralServers { route, ports, more } => {
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
            Self::PortFenced(port) => write!(
                f,
                "{port} is not a public port that containers may take; --allow-ports says which \
                 they may, and the bind label names another"
            ),
            Self::NotExposed { port } => write!(
                f,
                "the container does not expose port {port} (a hint: it may well listen there)"
            ),
            Self::NotOnNetwork { network, on } if on.is_empty() => {
                write!(f, "the container is on no network, so not on {}", Quoted(network))
            }
            Self::NotOnNetwork { network, on } => write!(
                f,
                "the container is not on network {}, only on {}; connect it, or name another",
                Quoted(network),
                on.join(", ")
            ),
            Self::NoAddress { way_out } => write!(f, "HAProxy cannot reach it; {way_out}"),
            Self::Conflict { route, with, over } => write!(
                f,
                "{route} is served by container {with} with another {over}; \
                 this container waits until that one is gone or they agree"
            ),
            Self::Kept { route, party, over } => write!(
                f,
                "{route} was served by {} until just now, with another {over}, and is kept for it for as long as \
                 --hold says; this container waits until then",
                Plain(party)
            ),
            Self::HostOwned { route, holder } => write!(
                f,
                "{route} is on a host of {}, which had it first (--own-hosts-by); this container waits until no \
                 container there has a claim on the host",
                Plain(holder)
            ),
            Self::PortTaken { why } => write!(
                f,
                "its port is {why}; it is tried again every few seconds, the other listeners are served"
            ),
            Self::Refused { route, text } => {
                write!(f, "HAProxy refused {route}, so it is left out: {text}")
            }
            Self::NoExporter => f.write_str(
                "this HAProxy has no exporter for Prometheus (haproxy -vv says -PROMEX); install one \
                 that has, or leave the option away",
            ),
            Self::ConnectionRefused { address, port, exposed } => {
                write!(f, "connection refused at {address}; {}", NothingListens { address, port: *port, exposed })
            }
            Self::NoConnection { address } => write!(
                f,
                "connections to {address} time out or find no route; is the machine gone, the network \
                 another one (glue_network names it), or a firewall in between?"
            ),
            Self::CheckUnanswered { address, path } => write!(
                f,
                "GET {path} is not answered in time at {address}; HAProxy's check waits for 2 s at most, so \
                 check a path that answers sooner, or the connection alone (tcp)"
            ),
            Self::CheckStatus { address, port, path, code } => write!(
                f,
                "GET {path} is answered by {code} at {address}; HAProxy's check wants 2xx or 3xx, so name a \
                 path that gives one in glue_http_{port}_check, or check the connection alone (tcp)"
            ),
            Self::CheckNotHttp { address, path, what: Some(what) } => {
                write!(f, "GET {path} at {address} is not answered by HTTP/1.1: {}", Spoke(what))
            }
            Self::CheckNotHttp { address, path, what: None } => write!(
                f,
                "GET {path} at {address} is not answered by HTTP/1.1; the connection ends without an \
                 answer, or another protocol is spoken there"
            ),
            Self::CheckFails { address, text } => {
                write!(f, "HAProxy's check fails at {address}: {text}")
            }
            Self::Unconnected { address, port, exposed } => write!(
                f,
                "a request got no connection to {address} and was answered by 503, and its check is off; {}",
                NothingListens { address, port: *port, exposed }
            ),
            Self::NoResponse { address } => write!(
                f,
                "a request to {address} was answered by 502 or 504, as the container ended the connection \
                 or let time pass (glue_http_…_timeout says how much it has); its own log may say why"
            ),
            Self::BadResponse { address, what } => write!(
                f,
                "a request to {address} was answered by 502, as its response is no HTTP/1.1: {}",
                Spoke(what)
            ),
            Self::BadRequest { what, client } => {
                f.write_str("a request was answered by 400, as it is no HTTP/1.1: ")?;
                f.write_str(match what {
                    Request::Tls => "it was TLS, and this port takes http:// only",
                    Request::ProxyProtocol => {
                        "it began with the PROXY protocol; switch that off in what stands in front, and \
                         name that in --trusted-proxies"
                    }
                    Request::Target => {
                        "its path has a character (a space, #, or one beyond ASCII) that the client has to \
                         write as %XX"
                    }
                    Request::Header => "one of its header fields is malformed",
                    Request::Body => "its body is not as its header says",
                    Request::Other => "another protocol is spoken, or nonsense",
                })?;
                match client {
                    Some(client) => write!(f, " (the first one from {client})"),
                    None => Ok(()),
                }
            }
            Self::NotOffered { way_out } => write!(f, "there is no such label: {way_out}"),
            Self::VariableInName => f.write_str(
                "there is a variable in the label's name that nobody has filled in; Docker Compose does so \
                 in values and in lists alone: - glue_http_${PORT}_host=app.example.com",
            ),
            Self::InQuotes(text) => write!(
                f,
                "the quotes are part of {}; take them away, and in a list of a compose file put them \
                 around all of it, as in - \"NAME=VALUE\"",
                Quoted(text)
            ),
            Self::InBrackets { text, instead } => write!(
                f,
                "{} is a list in brackets; write it with commas alone: {}",
                Quoted(text),
                Plain(instead)
            ),
            Self::NotCommas { text, instead } => write!(
                f,
                "{} has several members with no comma between them; write {}",
                Quoted(text),
                Plain(instead)
            ),
            Self::NotFilledIn(text) => write!(
                f,
                "{} has a variable in it that nobody has filled in; write its value, or have Docker Compose \
                 or the shell fill it in ($$ and single quotes keep them from it)",
                Quoted(text)
            ),
            Self::HostPattern { text, instead: Some(instead) } => write!(
                f,
                "{} is a rule of another program; write the names alone: {}",
                Quoted(text),
                Plain(instead)
            ),
            Self::HostPattern { text, instead: None } => write!(
                f,
                "{} is a pattern, and a host is none; write its name, or *.example.com for any one label \
                 in front",
                Quoted(text)
            ),
            Self::HostWithGap(text) => write!(
                f,
                "{} lacks a name before a dot; was a variable empty? For all names below one write \
                 *.example.com",
                Quoted(text)
            ),
            Self::HostCutShort(text) => write!(
                f,
                "{} ends with its first dot, so the host is {} alone; was a variable empty? If it is meant \
                 so, leave the dot away",
                Quoted(text),
                Plain(text.trim_end_matches('.'))
            ),
            Self::PatternForPrefix { text, instead } | Self::PatternInPrefix { text, instead } => {
                write!(
                    f,
                    "{} looks like a pattern, and a prefix is none: all in it stands for itself, and it \
                     holds for all that is below it; ",
                    Quoted(text)
                )?;
                match instead.as_str() {
                    "/" => f.write_str("for the whole host leave the prefix label away"),
                    instead => write!(f, "write {}", Plain(instead)),
                }
            }
            Self::PublishedPort { port, container_port } => write!(
                f,
                "{port} is where the host publishes the container's port {container_port}; a label takes \
                 the container's: glue_http_{container_port}_… (and glue_http_{container_port}_bind for \
                 another public port)"
            ),
            Self::PublishesListener { port, route } => write!(
                f,
                "it publishes the host's port {port} itself, and HAProxy is to listen there for {}; one of the \
                 two fails. Take it from the ports (HAProxy reaches the container without it), or name another \
                 public port in the bind label",
                Plain(route)
            ),
            Self::InEnvironment => f.write_str(
                "it is a variable of the environment, which is read with --include-env alone; make it a label, \
                 or give docker-balancer that option",
            ),
            Self::Foreign { program, instead } => write!(
                f,
                "it is for {program}, and not read here; the like of it is {}",
                Plain(instead)
            ),
            Self::Shared { route, with } => write!(
                f,
                "{route} is asked for by container {with} of another service too, and each gets a share of \
                 its requests; if that is not meant, give one of them another host or prefix"
            ),
            Self::SharedHost { route, host, with } => write!(
                f,
                "{route} is on {host}, which container {with} of another project has routes of too; if that is not \
                 meant, give one of them another host"
            ),
            Self::MapPortUnused { public, ours } => write!(
                f,
                "no label asks for public port {public}, but some do for {ours}: it is PUBLIC=PORT, the \
                 label's port first; was {ours}={public} meant?"
            ),
            Self::ConstraintsDiffer { label, values: [one, other] } => write!(
                f,
                "no container has {0}={1} and {0}={2} at once, so none is served; leave one of them away",
                Plain(label),
                Plain(one),
                Plain(other)
            ),
            Self::OddConstraint { constraint, instead } => write!(
                f,
                "{} is taken for one label as it stands, which no container may have; was {} meant?",
                Quoted(constraint),
                Plain(instead)
            ),
        }
    }
}

/// What may be done where a connection is refused.
struct NothingListens<'a> {
    address: &'a SocketAddr,
    port: u16,
    exposed: &'a [u16],
}

impl fmt::Display for NothingListens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, exposed } = self;
        let others: Vec<_> =
            exposed.iter().filter(|it| *it != port).map(ToString::to_string).collect();
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
struct Spoke<'a>(&'a Response);

impl fmt::Display for Spoke<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Response::Http2 => f.write_str(
                "the container speaks HTTP/2 only (gRPC, h2c); have it take HTTP/1.1 too, as HAProxy asks so",
            )?,
            Response::Tls => f.write_str(
                "the container speaks TLS; have it serve plain HTTP, or name the port where it does",
            )?,
            Response::StatusLine => f.write_str("its first line is malformed")?,
            Response::Header(name) => write!(f, "its header field {} is malformed", Quoted(name))?,
            Response::Body => f.write_str("its body is not as its header says")?,
            Response::Other(word) if word.is_empty() => f.write_str("another protocol is spoken")?,
            Response::Other(word) => {
                write!(f, "it begins with {}; is another port the right one?", Quoted(word))?;
            }
        }
        Ok(())
    }
}

/// Escaped, and cut where it would fill a screen, without quotes.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Cut(self.0).to_string().escape_debug())
    }
}

/// What a user wrote: escaped, and cut where it would fill a screen.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Cut(self.0).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct_words_and_include_every_variant() {
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
