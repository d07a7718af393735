//! Severity, meaning and remedy of each kind of problem.
//!
//! Pure. The problem reference in the book is generated from this; a kind without an entry does not compile.

use super::{ProblemKind, Severity};
use strum::VariantArray;

/// Row of the reference: what a kind of problem means, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    pub meaning: &'static str,
    pub remedy: &'static str,
}

const fn row(meaning: &'static str, remedy: &'static str) -> Description {
    Description { meaning, remedy }
}

impl ProblemKind {
    /// Every kind, in the order of the reasons.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the word that metrics, the journal and JSON use for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// Returns whether problems of this kind are hints: worth knowing, with nothing lost.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::NotExposed
            | Self::Misspelled
            | Self::BadRequest
            | Self::HostEndsWithDot
            | Self::PathLikePattern
            | Self::PrefixLikePattern
            | Self::PublishedPort
            | Self::PublishesListener
            | Self::EnvironmentVariable
            | Self::ForeignLabel
            | Self::SharedRoute
            | Self::SharedHost
            | Self::SeveralServers
            | Self::UnusedWithPass
            | Self::MapPortUnused
            | Self::UnusualConstraint
            | Self::WildcardNeedsDns
            | Self::PrivateName
            | Self::CaNotConfigured
            | Self::HstsWithPlain => Severity::Hint,
            _ => Severity::Problem,
        }
    }

    /// Returns the meaning and the remedy, in Markdown.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "a table with one row for each kind")]
    pub fn description(self) -> Description {
        match self {
            Self::UnknownLabel => row(
                "No label of docker-balancer has this name. The label is ignored.",
                "Correct the name; the message names the nearest label.",
            ),
            Self::Misspelled => row(
                "The name looks like a label of docker-balancer in another spelling \
                 (`glue-http-80-host`). The label is ignored.",
                "Write it as the message says.",
            ),
            Self::OtherProtocol => row(
                "The option belongs to labels of another protocol (`glue_tcp_5432_prefix`). The label is ignored.",
                "Use an option that the message names for the protocol, or remove the label.",
            ),
            Self::Empty => row("The value is empty.", "Set a value, or remove the label."),
            Self::EmptyMember => row(
                "A list has an empty member (`a.test,,b.test`).",
                "Remove the extra comma, or add the missing value.",
            ),
            Self::ControlCharacter => row(
                "The value contains a control character, such as a line break or a tab.",
                "Remove the character.",
            ),
            Self::TooLong => row("The value is longer than 4096 bytes.", "Shorten the value."),
            Self::NotAPort => {
                row("The value is not a port number.", "Write a whole number from 1 to 65535.")
            }
            Self::NotARange => row(
                "The last port of a range is lower than the first.",
                "Write the lower port first: `25000-25010`.",
            ),
            Self::TooManyPorts => row(
                "The ranges of the container's labels have more than 256 ports in total. The range is ignored.",
                "Use shorter ranges.",
            ),
            Self::UnequalRanges => row(
                "The name of a bind label has a range of ports, and its value is not one range of the same length. The ports are not served.",
                "Write a range of the same length, or remove the label: then the public ports are those of the name.",
            ),
            Self::NotAWeight => {
                row("The value is not a weight.", "Write a whole number from 0 to 256.")
            }
            Self::WeightTooHigh => row(
                "The weight is above 256. The weight 256 is used.",
                "Write a weight from 0 to 256.",
            ),
            Self::HostWithScheme => {
                row("The host is a URL.", "Write the host name without `http://`.")
            }
            Self::HostWithPath => row(
                "The host has a path.",
                "Write the host name alone, and the path in the prefix label.",
            ),
            Self::HostWithPort => row(
                "The host has a port.",
                "Write the host name alone, and the public port in the bind label.",
            ),
            Self::LoneWildcard => row(
                "A `*.` with nothing behind it is no host.",
                "Write `*.example.com`, or `*` alone for every host.",
            ),
            Self::MisplacedWildcard => row(
                "A wildcard is not the first label of the host (`a.*.test`, `*a.test`).",
                "Write `*.example.com`: one `*`, in front, for exactly one label.",
            ),
            Self::NotAHost => row(
                "The value is not a host name.",
                "Use letters, digits, `-` and `_`, with dots between labels.",
            ),
            Self::PrefixTooDeep => {
                row("The prefix has more than 8 segments.", "Use a shorter prefix.")
            }
            Self::NotAPrefix => row(
                "The prefix is not a path of a URL: it has an empty segment, `.`, `..`, a query, or an unescaped character.",
                "Write the path as in a URL, with other characters as `%XX`.",
            ),
            Self::PrefixParameter => row(
                "The prefix has a semicolon. Requests are routed without path parameters.",
                "Remove the semicolon and what follows it.",
            ),
            Self::NotASwitch => row(
                "The value is not a switch.",
                "Write `1` or `0` (also `true`, `false`, `yes`, `no`, `on`, `off`).",
            ),
            Self::NotATimeout => row(
                "The value is not a duration.",
                "Write `1ms` to `24h` with a unit, such as `30s` or `5m`.",
            ),
            Self::NotACheck => row(
                "The value is not a check.",
                "Write `tcp`, `off`, or a path such as `/healthz`.",
            ),
            Self::NotABalance => row(
                "The value of the balance label is not known.",
                "Write `least`, `round` or `source`.",
            ),
            Self::NotAnIdle => row(
                "The value is neither `off` nor a duration from 1 s to 24 days.",
                "Write a number with a unit, such as `30m` or `8h`.",
            ),
            Self::NotAProxyHeader => {
                row("The value of the proxy label is not known.", "Write `off`, `v1` or `v2`.")
            }
            Self::ProxyHeaderOfText => row(
                "The value of the proxy label of a UDP port is `v1`, whose header is a line of text.",
                "Write `v2`.",
            ),
            Self::NotACut => {
                row("The value of the cut label is not known.", "Write `gone` or `down`.")
            }
            Self::NotASticky => row(
                "The value of the sticky label is not known.",
                "Write `flow`, `source` or `none`.",
            ),
            Self::NotAFlowIdle => row(
                "The value is not a duration from 1 s to 24 days.",
                "Write a number with a unit, such as `30s` or `5m`.",
            ),
            Self::NotReplies => row(
                "The value of the replies label is not a number.",
                "Write a whole number from 0 to 65535, or remove the label: then there is no limit.",
            ),
            Self::InvalidHealth => row(
                "The value of the health label is not known.",
                "Write `obey`, `require` or `ignore`.",
            ),
            Self::NotARetry => {
                row("The value of the retry label is not known.", "Write `safe`, `all` or `off`.")
            }
            Self::NotAMaxconn => row(
                "The value of the maxconn label is not a limit.",
                "Write a whole number from 1 to 65535, or remove the label: then there is no limit.",
            ),
            Self::InvalidValue => row(
                "The option does not have the value, or a member of the list. The label is ignored, unless it \
                 protects the route: then the route answers 503.",
                "Write one of the values that the message names.",
            ),
            Self::TooManyLabels => row(
                "A route has more labels of one kind than it may have. The message names the one that is ignored.",
                "Remove labels, or use several routes.",
            ),
            Self::TooManyHeaderNames => row(
                "The labels of a container have more names of headers than they may have. The message names the label that \
                 is ignored. HAProxy has rules for each name, which all routes with headers use.",
                "Use fewer names, or put the headers into a policy of the settings file, which has no such limit.",
            ),
            Self::UnknownPolicy => row(
                "A `use` label names a policy that the settings file does not have. The route answers 503.",
                "Correct the name, or ask the administrator to add `[policy.NAME]` to the settings file.",
            ),
            Self::RouteClosed => row(
                "A protection that the labels ask for is not understood, so the route answers 503 to everyone.",
                "Correct the label; another message says what is wrong with it.",
            ),
            Self::PolicyNeedsRequests => row(
                "The settings require policies for the host (`[[require]]`), and a label asks for its connections as they \
                 are. The route is not served.",
                "Use labels of HTTP, or ask the administrator to except the host.",
            ),
            Self::UsersNotVerified => row(
                "HAProxy cannot ask docker-balancer whether a password is right, or cannot ask an authentication server, \
                 so routes with `users` or `forward_auth` answer 503 to everyone.",
                "Install an HAProxy that was built with Lua, or remove `chroot` from the base file.",
            ),
            Self::AuthServerUnknown => row(
                "HAProxy does not know where the authentication server of `forward_auth` is, so the routes with it answer 503 \
                 to everyone. The message says why.",
                "Start the container that the URL names, correct the name, or name the server in a \
                 [policy](../guide/policies.md).",
            ),
            Self::RedirectWithoutHost => row(
                "`redirect_from` has no host to which requests could be redirected. The label is ignored.",
                "Set the host label; its first host must not be a wildcard.",
            ),
            Self::PoliciesUnreadable => row(
                "The settings file has changed, and its policies could not be read. Those that were read before are used.",
                "Correct what the message names.",
            ),
            Self::ErrorPageUnused => row(
                "A file of `--error-pages` cannot be read, is larger than 15,000 bytes, empty or no UTF-8, or is named by a status with which HAProxy never answers.",
                "Correct the file that the message names. Until then clients get the built-in answer.",
            ),
            Self::NotATlsMode => row(
                "The value is none of `off`, `on`, `both` and `only`.",
                "Correct the value. Until then the port is not served.",
            ),
            Self::NotACertificate => row(
                "The value is not the name of a certificate.",
                "Write the name of the certificate's file or folder, without the ending. Until then any valid certificate is used.",
            ),
            Self::NotATlsPolicy => row(
                "The value is none of `modern`, `intermediate` and `old`.",
                "Correct the value. Until then the policy of the settings is used.",
            ),
            Self::NotHsts => row(
                "The value is neither `off` nor a time from 1 minute to 10 years with the words `subdomains` and `preload`.",
                "Correct the value, as in `1y subdomains`. Until then the header is not sent.",
            ),
            Self::NotAScheme => row(
                "The value is none of `http`, `h2c`, `https` and `h2`.",
                "Correct the value. Until then HAProxy connects with HTTP/1.1 and without TLS.",
            ),
            Self::NotAVerification => row(
                "The value is neither `off` nor `system` nor the name of a CA.",
                "Write the name of the CA's file, without the ending. Until then the port is not served.",
            ),
            Self::NotAClientCertificate => row(
                "The value is neither `off` nor the name of a CA, optionally followed by `optional`.",
                "Write the name of the CA's file, without the ending. Until then the port is not served.",
            ),
            Self::OptionNeedsTls => row(
                "An option that protects the port needs TLS, which is off. The port is not served.",
                "Set the option that the message names.",
            ),
            Self::NotPassedThrough => row(
                "TLS of the port is to be passed through to the container, but other labels do not fit. The port is not served.",
                "Set or remove the label that the message names.",
            ),
            Self::UnusedWithPass => row(
                "TLS of the port is passed through, so HAProxy sees no requests to which the options could apply.",
                "Remove the labels, or set `tls` to another value.",
            ),
            Self::UnknownCa => row(
                "A label names a CA that does not exist. The route is not served.",
                "Add the CA's certificates, as PEM, to the directory that the message names.",
            ),
            Self::PortExcluded => row(
                "An option that protects the port has an invalid value. The port is not served.",
                "Correct the value, or remove the label.",
            ),
            Self::NoCertificate => row(
                "An HTTPS host has no certificate. Its clients get that of `--default-certificate`, which is not valid for the host; without the option TLS connections to it are refused. Plain requests that would be redirected get 503.",
                "Add a certificate for the host to a directory of `--certificates`, or correct the `cert` label.",
            ),
            Self::CertificateUnusable => row(
                "A file in a directory of `--certificates`, `--backend-ca` or `--client-ca` has a fault, or HAProxy refuses a certificate, or the host of `--default-certificate` has none. The message names the file or the host, and the cause.",
                "Correct the file, or add a certificate. Files are read again when they change.",
            ),
            Self::OrderFailed => row(
                "The CA of `--acme` did not issue a certificate for the host, or would not. The message has the CA's text or the reason. The order is tried again later, with growing pauses.",
                "Remove the cause: the name must lead to this machine, and the CA must reach port 80.",
            ),
            Self::OrdersPaused => row(
                "No certificates are ordered: the CA cannot be reached or asks to wait, the clock is wrong, or the state directory is not writable. Existing certificates serve.",
                "Remove the cause that the message names. Orders continue by themselves.",
            ),
            Self::TermsConflict => row(
                "An older container has other options for the same HTTPS host. All routes of a host have the same certificate and TLS options.",
                "Set the same value, or remove one of the two labels.",
            ),
            Self::NotARouteName => row(
                "The name after the dot is not a route name.",
                "Use 1 to 63 letters, digits, `-` and `_`.",
            ),
            Self::PortWithoutMatch => row(
                "The port has labels, but no host, prefix or path. It gets no requests.",
                "Set a host label, or list the port in `glue_http_ports` to serve every host.",
            ),
            Self::RouteWithoutMatch => row(
                "A named route has no host, prefix or path of its own.",
                "Set `glue_http_<port>_host.<name>` or `glue_http_<port>_prefix.<name>`.",
            ),
            Self::TooManyRoutes => row(
                "The container asks for more than 1,024 routes.",
                "Use fewer hosts, prefixes or public ports, or a wildcard.",
            ),
            Self::TooManyListeners => row(
                "The container asks for more than 32 public ports. The surplus is ignored.",
                "Use fewer ports in the bind labels.",
            ),
            Self::NoListenerLeft => row(
                "All containers together ask for more than 256 public ports. Older containers keep theirs.",
                "Use fewer public ports; route by host instead.",
            ),
            Self::PortsNotLoaded => row(
                "HAProxy accepted the configuration, but could not load it with these public \
                 ports. They are ignored and retried.",
                "Raise the limit that the message names, such as the number of open files, or use fewer public ports.",
            ),
            Self::DuplicateRoute => row(
                "Two labels of one port ask for the same route with different options.",
                "Remove one of them, or make the options equal.",
            ),
            Self::NoValidValues => row(
                "No value of the label is valid, so this route of the port is ignored.",
                "Correct the values; each has a problem of its own.",
            ),
            Self::ImageUnknown => row(
                "With `--image-labels off`, Docker did not describe the container's image, so all \
                 of the container's labels are ignored. docker-balancer retries every 30 s.",
                "Create the container again from an image that exists, or let the socket proxy pass `GET /images/ID/json`.",
            ),
            Self::HostNotAllowed => row(
                "`--allow-hosts` does not include the host.",
                "Use an allowed host, or add this one to `--allow-hosts`.",
            ),
            Self::HostReserved => row(
                "`--allow-hosts` reserves the host for containers with another label.",
                "Use another host, or set that label on the container.",
            ),
            Self::PortNotAllowed => row(
                "`--allow-ports` does not include the public port.",
                "Use an allowed port in the bind label, or add this one to `--allow-ports`.",
            ),
            Self::PortNotNamed => row(
                "`--allow-hosts` limits the hosts, and a route of TCP or UDP would get all clients of a public port.",
                "Name the port with its protocol in `--allow-ports` (`tcp:5432`, `udp:53`), or give a route of TCP a host that is allowed.",
            ),
            Self::HostPortReserved => row(
                "The container is on the host's network, and the port belongs to docker-balancer, SSH or Docker.",
                "Use another port, or put the container on a network of its own.",
            ),
            Self::HostNetworkNotAllowed => row(
                "The container is on the host's network, and `--host-network` is off.",
                "Put the container on a network of its own, or set `--host-network on`.",
            ),
            Self::TooManyServers => row(
                "More than 8 ports of the container ask for one route. The 8 lowest serve it.",
                "Give the ports different hosts or prefixes.",
            ),
            Self::MoreProblems => row(
                "The container has more problems than are listed.",
                "Correct those that are listed; the next ones then appear.",
            ),
            Self::SeveralServers => row(
                "Several ports of the container serve one route. Each gets a share of the requests.",
                "If that is not intended, give each port a host or prefix of its own.",
            ),
            Self::NotExposed => row(
                "The image does not expose the port. The container may listen there nevertheless.",
                "Check the port number.",
            ),
            Self::NotOnNetwork => row(
                "The container is not on the network of `glue_network` or `--network`.",
                "Connect it to that network, or name another one.",
            ),
            Self::NoAddress => row(
                "The container has no address that HAProxy can reach.",
                "Follow the message: connect a network, or publish the port and use `--address published`.",
            ),
            Self::Conflict => row(
                "An older container serves the route with another `strip_prefix`, `check`, `timeout` or `retry`. This one waits.",
                "Make the options equal, or use another host or prefix.",
            ),
            Self::RouteReserved => row(
                "The route is reserved for the service that last served it, with other options. \
                 This container waits for the time of `--hold`.",
                "Make the options equal, use another host or prefix, or wait.",
            ),
            Self::HostOwned => row(
                "With `--own-hosts-by`, another owner has the host. This container waits.",
                "Use another host, or remove the owner's labels for it.",
            ),
            Self::PortTaken => row(
                "Another program has the public port. docker-balancer retries every few seconds.",
                "Stop that program, or move the port with `--map-port`.",
            ),
            Self::SourceSilent => row(
                "A source of `--source` does not answer. Its containers are served as they were known last, for the time of `forget`.",
                "Start that Docker engine, or mend the connection; or remove the source.",
            ),
            Self::ClockSkew => row(
                "The clock of a source of `--source` differs from this machine's by more than two seconds.",
                "Synchronize the clocks, for example with chrony or systemd-timesyncd.",
            ),
            Self::NodeLost => row(
                "A machine of a registry shows no sign of life. HAProxy's checks decide whether its containers are served; \
                 without checks they are not. After the time of `forget` they go.",
                "Start docker-glue on the machine, or mend its connection to etcd.",
            ),
            Self::NodesLost => row(
                "More than a third of the machines of a registry show no sign of life. None of them is forgotten.",
                "Look at etcd, and at the network between etcd and the machines.",
            ),
            Self::FleetDiffers => row(
                "Balancers of the fleet have served different routes for more than five seconds.",
                "Look at `docker-balancer status --fleet`: one may be rolled back, have other options, or not reach a source.",
            ),
            Self::FleetSilent => row(
                "The etcd of `--fleet` does not answer. What is served does not change.",
                "Start etcd, or mend the connection to it.",
            ),
            Self::FleetNameTaken => row(
                "Another balancer of the fleet has the name of this one.",
                "Give each balancer a `name` of its own in `--fleet`.",
            ),
            Self::RecordIgnored => row(
                "A record of a registry is not used: it is invalid, or its container is one of another machine, too.",
                "Look at what writes the key; machines that are copies need new containers.",
            ),
            Self::AddressRefused => row(
                "The address of a container of another machine must not be used.",
                "Correct `addresses` of the publisher there, or `allow_addresses` of the source.",
            ),
            Self::NotAManager => row(
                "A source of `--source` is to be a Swarm, but what answers is no manager of one.",
                "Name managers of the Swarm in the URL of the source.",
            ),
            Self::RouteRefused => row(
                "HAProxy refused the configuration because of this route. The route is ignored.",
                "Read HAProxy's message; report it if the labels are valid.",
            ),
            Self::NoExporter => row(
                "This HAProxy has no Prometheus exporter.",
                "Install an HAProxy that has one, or remove `--haproxy-metrics`.",
            ),
            Self::NoQuic => row(
                "This HAProxy has no HTTP/3.",
                "Install HAProxy 3.2 or later that was built with QUIC, or remove `--http3`.",
            ),
            Self::UdpPortTaken => row(
                "Another program has the UDP port of HTTP/3. docker-balancer retries every few seconds.",
                "Stop that program, or remove `--http3`.",
            ),
            Self::ConnectionRefused => row(
                "HAProxy's check is refused: nothing listens at the address and port.",
                "Use the port that the program listens on, and have it listen on 0.0.0.0, not on 127.0.0.1.",
            ),
            Self::NoConnection => row(
                "HAProxy's check gets no connection: it times out, or there is no route.",
                "Check the container, its network (`glue_network`) and firewalls.",
            ),
            Self::CheckUnanswered => row(
                "The check path is not answered within the interval of HAProxy's checks: 2 s, or longer with more than \
                 2000 servers, unless `check_interval` sets it.",
                "Use a faster path, a longer `check_interval`, or `check=tcp`.",
            ),
            Self::CheckStatus => row(
                "The check path is answered with a status other than 2xx or 3xx.",
                "Use a path that answers 2xx or 3xx, or `check=tcp`.",
            ),
            Self::CheckNotHttp => row(
                "The check path is not answered with HTTP/1.1.",
                "Use the port that speaks plain HTTP/1.1.",
            ),
            Self::TlsHandshakeFailed => row(
                "HAProxy's TLS handshake with the container fails: its certificate is not valid for `verify` and `server_name`, or the port does not use TLS.",
                "Correct `verify`, `server_name` or `scheme`, or the container's certificate.",
            ),
            Self::CheckFails => row(
                "HAProxy's check fails for another reason.",
                "Read HAProxy's message in the text.",
            ),
            Self::ConnectFailed => row(
                "A request got no connection and was answered with 503. The check is off.",
                "Use the port that the program listens on, and have it listen on 0.0.0.0; turn the check on.",
            ),
            Self::NoResponse => row(
                "A request was answered with 502 or 504: the container closed the connection, or exceeded the timeout.",
                "Read the container's log; raise `glue_http_<port>_timeout` if it needs more time.",
            ),
            Self::BadResponse => row(
                "A request was answered with 502: the container's response is not HTTP/1.1.",
                "Use the port that speaks plain HTTP/1.1.",
            ),
            Self::BadRequest => row(
                "A client's request was answered with 400: it is not HTTP/1.1.",
                "Correct the client, or `--trusted-proxies` for a proxy in front.",
            ),
            Self::UnsupportedOption => row(
                "The label is an option of other programs that docker-balancer does not have.",
                "Follow the message.",
            ),
            Self::VariableInName => row(
                "The label's name contains a variable that was not substituted.",
                "In a compose file, use the list form: `- glue_http_${PORT}_host=app.example.com`.",
            ),
            Self::QuotedValue => row(
                "The quotes are part of the value.",
                "Remove them; in a list of a compose file quote the whole entry.",
            ),
            Self::BracketedList => {
                row("The list is in brackets.", "Separate the members by commas, without brackets.")
            }
            Self::ListWithoutCommas => row(
                "The members of a list are not separated by commas.",
                "Separate them by commas.",
            ),
            Self::VariableInValue => row(
                "The value contains a variable that was not substituted.",
                "Write the value, or set the variable where Compose or the shell reads it.",
            ),
            Self::HostPattern => row(
                "The host is a pattern or a rule of another program.",
                "Write host names, or `*.example.com`.",
            ),
            Self::HostWithEmptyLabel => row(
                "The host lacks a name before a dot (`.example.com`), often because a variable was empty.",
                "Write the whole name, or `*.example.com`.",
            ),
            Self::HostEndsWithDot => row(
                "The host ends with its first dot (`app.`), often because a variable was empty.",
                "Write the whole name; if it is intended, remove the dot.",
            ),
            Self::PrefixPattern => row(
                "The prefix is a pattern (`/api/*`). A prefix is literal text.",
                "Write the prefix alone; it includes everything below it.",
            ),
            Self::PathPattern => row(
                "The exact path is a pattern (`/api/*`). An exact path is literal text.",
                "Use `prefix` for everything below a path.",
            ),
            Self::PathLikePattern => row(
                "The exact path looks like a pattern (`/users/:id`), but is a valid path, and is used literally.",
                "Use `prefix` for everything below a path.",
            ),
            Self::PrefixLikePattern => row(
                "The prefix looks like a pattern (`/users/:id`), but is a valid path, and is used literally.",
                "Write the prefix alone; it includes everything below it.",
            ),
            Self::PublishedPort => row(
                "The label has the port that the host publishes, not the container's.",
                "Use the container's port in the label, and the bind label for the public one.",
            ),
            Self::PublishesListener => row(
                "The container publishes the port on which HAProxy must listen for it.",
                "Remove the port from the container's published ports, or set another one in the bind label.",
            ),
            Self::EnvironmentVariable => row(
                "The label is an environment variable, and environment variables are not read.",
                "Make it a label, or set `--include-env`.",
            ),
            Self::ForeignLabel => row(
                "The label is for another program (Traefik, caddy-docker-proxy, nginx-proxy, …).",
                "Write the label that the message names.",
            ),
            Self::SharedRoute => row(
                "Containers of two services serve one route. Each gets a share of the requests.",
                "If that is not intended, give one of them another host or prefix.",
            ),
            Self::SharedHost => row(
                "Two Compose projects have routes of one host.",
                "If that is not intended, give one of them another host, or use `--own-hosts-by`.",
            ),
            Self::MapPortUnused => row(
                "`--map-port` moves a public port that no label asks for.",
                "Check the order: `PUBLIC=PORT`, the label's port first.",
            ),
            Self::ConflictingConstraints => row(
                "Two `--constraint` options exclude each other, so no container is served.",
                "Remove one of them.",
            ),
            Self::UnusualConstraint => row(
                "A `--constraint` is written as for another program, and matches no label.",
                "Write `LABEL` or `LABEL=VALUE`.",
            ),
            Self::WildcardNeedsDns => row(
                "An HTTPS host is a wildcard, for which a CA issues a certificate only by a DNS challenge. Only `check` reports this.",
                "Set `--acme-dns` or `--acme-challenge dns-persist`, or give a certificate file.",
            ),
            Self::PrivateName => row(
                "No public CA signs the name of an HTTPS host. The message says whether docker-balancer's own CA does. Only `check` reports this.",
                "Give the certificate of the own CA to clients (`docker-balancer certificate ca`), set the `cert` label to `self`, or give a certificate file.",
            ),
            Self::CaNotConfigured => row(
                "A label of a compose file names a CA that the directory of `--client-ca` or `--backend-ca` does not have. Only `check` reports this.",
                "Correct the name, or add the CA where the containers will run.",
            ),
            Self::HstsWithPlain => row(
                "A host has `hsts`, and plain pages because of `tls=both`. Browsers that received the header do not use the plain pages. Only `check` reports this.",
                "Set `tls` to `on`, or remove `hsts`.",
            ),
        }
    }
}
