//! Table of the label options, and the types of their values that follow from it.
//!
//! Pure. Parsing, suggestions, conflicts, status, explain, history, the dashboard and the label reference iterate over
//! this table. A new option needs an entry here, a value type in [`super::option_value`], and its part in `haproxy/`.

mod values;

use super::{
    backend_tls::{Scheme, ServerName, Verification},
    client_certificate::ClientCertificate,
    flow::{FlowIdle, Replies, Sticky},
    http::{
        clients::{Allow, Deny},
        closed::Closed,
        cors::Cors,
        forward_auth::{ForwardAuth, ForwardAuthHeaders},
        header::{
            self, DropRequestHeaders, DropResponseHeaders, RequestHeaders, ResponseHeaders,
            SecureHeaders,
        },
        limit::{AtOnce, MaxBody, RateLimit},
        redirect::{Redirect, RedirectStatus},
        rewrite::AddPrefix,
        sticky::StickyCookie,
        users::Users,
    },
    option_value::{
        Backup, CheckInterval, CheckMethod, HealthPolicy, Log, Maxconn, OptionType, Retry, Timeout,
        TunnelTimeout, Weight,
    },
    problem::Reason,
    route::Strip,
    stream::{Balance, Cut, Idle, ProxyHeader},
    tls::{CertificateOption, Hsts, TlsBind, TlsMode, TlsPolicyChoice},
};
use serde_json::Value;
use std::{fmt, str::FromStr};

pub use values::{OptionValues, ProtocolPolicy, json};

/// Row of the option table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    pub option: LabelOption,
    /// Protocols whose ports have the option. Two options may have one name if they have no protocol in common.
    pub protocols: &'static [LabelProtocol],
    /// Last part of the label: `weight` of `glue_http_80_weight`. For options of a container: all after `glue_`.
    pub name: &'static str,
    pub scope: OptionScope,
    pub place: OptionPlace,
    pub effect: OptionEffect,
    pub invalid: InvalidValue,
    /// Name of the member in JSON objects. Empty for options without a value of their own, such as the host.
    pub json: &'static str,
    pub presence: JsonPresence,
    pub texts: OptionTexts,
    /// Texts for a protocol where they differ. Its synonyms are in addition to those of `texts`.
    pub other_texts: &'static [(LabelProtocol, OptionTexts)],
}

/// Description of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionTexts {
    /// Permitted values in Markdown, as are `default` and `meaning`.
    pub values: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
    /// Other names of the option, in lower case without `_` and `-`, separated by blanks.
    pub synonyms: &'static str,
}

/// Protocol in the name of a label: `tcp` of `glue_tcp_5432_bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelProtocol {
    /// HTTP and HTTPS.
    Http,
    Tcp,
    Udp,
}

/// Object that a label of the option configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionScope {
    /// The whole container: `glue_network`.
    Container,
    /// A port. Its named routes inherit the value, unless they have their own.
    Port,
    /// One route: the port's unnamed one, or a named one.
    Route,
    /// Nothing: no label has it, and it follows from other labels.
    Derived,
}

/// Object that the value becomes part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionPlace {
    /// The identity of routes, or the choice of the address. The option has no value of its own.
    Match,
    /// The route. Containers that share it must agree.
    Policy,
    /// The host on an HTTPS listener: all routes of the host have the value.
    Terms,
    /// The container's server in a route. Containers that share the route may differ.
    Server,
    /// The decision whether the container serves.
    Readiness,
}

/// How a change of the value reaches HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionEffect {
    /// By runtime commands.
    Data,
    /// By another backend or listener, which may need a reload.
    Shape,
}

/// What happens if the value is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidValue {
    /// The label is ignored.
    Ignored,
    /// The port is not served: without the option it would be served with less protection.
    ExcludesPort,
    /// The route answers 503: without the option it would be served with less protection, and without the route another
    /// one, of a shorter prefix, might serve its requests.
    ClosesRoute,
}

/// Whether JSON objects contain the member if the value is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonPresence {
    Always,
    IfSet,
}

/// Declares the table. An entry is `Variant`, or `Variant(Type)` for an option with a value, and the row.
macro_rules! label_options {
    ($($option:ident $(($type:ty))? {
        $name:literal, [$($protocol:ident)+], $scope:ident, $place:ident, $effect:ident, $invalid:ident,
        json: $json:literal $presence:ident,
        values: $values:literal, default: $default:literal, meaning: $meaning:literal,
        synonyms: $synonyms:literal
        $(, $other:ident: {
            values: $other_values:literal, default: $other_default:literal, meaning: $other_meaning:literal,
            synonyms: $other_synonyms:literal $(,)?
        })* $(,)?
    })+) => {
        /// An option of labels.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum LabelOption { $($option),+ }

        /// Value of an option.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum OptionValue { $($($option($type),)?)+ }

        /// All options, in the order of [`LabelOption`].
        pub const OPTIONS: [OptionSpec; [$($name),+].len()] = [$(OptionSpec {
            option: LabelOption::$option,
            protocols: &[$(LabelProtocol::$protocol),+],
            name: $name,
            scope: OptionScope::$scope,
            place: OptionPlace::$place,
            effect: OptionEffect::$effect,
            invalid: InvalidValue::$invalid,
            json: $json,
            presence: JsonPresence::$presence,
            texts: OptionTexts {
                values: $values, default: $default, meaning: $meaning, synonyms: $synonyms,
            },
            other_texts: &[$((LabelProtocol::$other, OptionTexts {
                values: $other_values, default: $other_default, meaning: $other_meaning,
                synonyms: $other_synonyms,
            })),*],
        }),+];

        $($(impl TypedOption for $type {
            const OPTION: LabelOption = LabelOption::$option;

            fn from_value(value: &OptionValue) -> Option<&Self> {
                match value {
                    OptionValue::$option(value) => Some(value),
                    _ => None,
                }
            }

            fn into_value(self) -> OptionValue {
                OptionValue::$option(self)
            }
        })?)+

        impl LabelOption {
            /// Parses a label's value. `None` for options without a value type.
            pub fn parse_value(self, text: &str) -> Option<ParsedValue> {
                match self {
                    $($(Self::$option => Some(<$type>::parse_reporting(text)
                        .map(|(value, reason)| (OptionValue::$option(value), reason))),)?)+
                    _ => None,
                }
            }

            /// Returns the default. `None` for options without a value type.
            pub fn default_value(self) -> Option<OptionValue> {
                match self {
                    $($(Self::$option => Some(OptionValue::$option(<$type>::default())),)?)+
                    _ => None,
                }
            }

            /// Parses the member of a JSON object.
            pub fn parse_json(self, value: &Value) -> Option<OptionValue> {
                match self {
                    $($(Self::$option => <$type>::from_json(value).map(OptionValue::$option),)?)+
                    _ => None,
                }
            }
        }

        impl OptionValue {
            /// Returns the option that this is a value of.
            pub fn option(&self) -> LabelOption {
                match self {
                    $($(Self::$option(_) => <$type>::OPTION,)?)+
                }
            }

            /// Returns the value as the member of a JSON object.
            pub fn to_json(&self) -> Value {
                match self {
                    $($(Self::$option(value) => <$type>::to_json(value),)?)+
                }
            }

            fn is_default(&self) -> bool {
                match self {
                    $($(Self::$option(value) => *value == <$type>::default(),)?)+
                }
            }
        }

        /// Writes the value as in a label.
        impl fmt::Display for OptionValue {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($(Self::$option(value) => <$type as fmt::Display>::fmt(value, f),)?)+
                }
            }
        }
    };
}

/// A value, and a hint about it if it is not used as written.
pub type ParsedValue = Result<(OptionValue, Option<Reason>), Reason>;

/// Type of an option's value.
pub trait TypedOption: OptionType {
    /// Option that has values of this type.
    const OPTION: LabelOption;

    /// Returns the value, if it is of this type.
    fn from_value(value: &OptionValue) -> Option<&Self>;

    /// Wraps the value.
    fn into_value(self) -> OptionValue;
}

label_options! {
    Host {
        "host", [Http Tcp], Route, Match, Data, Ignored, json: "" Always,
        values: "hosts, comma-separated: `app.example.com`, `*.example.com`; or `*`",
        default: "any host",
        meaning: "`*.` stands for exactly one label, `*` for any host. Case, a trailing dot and the request's port do not matter; international names are understood",
        synonyms: "hostname hostnames hosts domain domains domainname fqdn serveralias vhost \
                   virtualhost name url uri rule subdomain alias site",
        Tcp: {
            values: "names, comma-separated: `db.example.com`, `*.example.com`",
            default: "all connections",
            meaning: "connections whose client asks for the name in its TLS handshake (SNI). The container gets them as they are. Connections without a name that a route has reach the container without the label",
            synonyms: "sni servername servernames hostsni tlssni",
        },
    }
    Prefix {
        "prefix", [Http], Route, Match, Data, Ignored, json: "" Always,
        values: "path prefixes, comma-separated",
        default: "whole host",
        meaning: "whole segments: `api` is `/api` and `/api/x`, not `/apiary`. At most 8 segments, no `;`",
        synonyms: "pathprefix prefixes location locations context contextpath base basepath \
                   baseurl root route routes servicepath virtualpath subpath folder",
    }
    Path {
        "path", [Http], Route, Match, Data, Ignored, json: "" Always,
        values: "exact paths, comma-separated: `/health,/metrics`",
        default: "none",
        meaning: "these paths and no others; together with `prefix`, also those below it. `/a` and `/a/` are two paths. An exact path takes precedence over prefixes. At most 8 segments, no `;`",
        synonyms: "paths exact exactpath exactpaths pathexact",
    }
    StripPrefix(Strip) {
        "strip_prefix", [Http], Port, Policy, Data, Ignored, json: "strip" Always,
        values: "`1 0 true false yes no on off`, or a leading part of the prefix: `/team`",
        default: "`0`",
        meaning: "the container sees the path without the prefix or the exact path, or without this part of it, and what was stripped in `X-Forwarded-Prefix`; `/api` alone becomes `/`",
        synonyms: "strip stripprefix strippath stripprefixes trim trimprefix removeprefix rewrite \
                   rewritetarget pathrewrite handlepath replacepath virtualdest",
    }
    Weight(Weight) {
        "weight", [Http Tcp Udp], Port, Server, Data, Ignored, json: "weight" Always,
        values: "0 to 256",
        default: "`100`",
        meaning: "share of the route's requests; 0 takes no new ones. More than 256 counts as 256",
        synonyms: "weights share ratio",
        Tcp: {
            values: "0 to 256",
            default: "`100`",
            meaning: "share of the route's connections; 0 takes no new ones. More than 256 counts as 256",
            synonyms: "",
        },
        Udp: {
            values: "0 to 256",
            default: "`100`",
            meaning: "share of the route's flows; 0 takes no new ones. More than 256 counts as 256",
            synonyms: "",
        },
    }
    Bind {
        "bind", [Http Tcp Udp], Port, Match, Shape, Ignored, json: "" Always,
        values: "public ports, comma-separated",
        default: "`<port>`",
        meaning: "where clients reach it: `glue_http_3000_bind=80`; a container gets 32 of them, all containers together 256",
        synonyms: "publicport listen listenport frontendport externalport published publishedport \
                   hostport entrypoint entrypoints frontend binds localport srcport",
        Tcp: {
            values: "public ports and ranges, comma-separated: `5432`, `25000-25010`",
            default: "`<port>`",
            meaning: "where clients reach it. If `<port>` is a range, a range of the same length: the first port for the first",
            synonyms: "",
        },
        Udp: {
            values: "public ports and ranges, comma-separated: `53`, `27015-27020`",
            default: "`<port>`",
            meaning: "where clients reach it. If `<port>` is a range, a range of the same length: the first port for the first",
            synonyms: "",
        },
    }
    Check(CheckMethod) {
        "check", [Http Tcp], Port, Policy, Shape, Ignored, json: "check" Always,
        values: "`tcp`, `off`, a path such as `/healthz`, or another port of the container, also with a path: `8008`, `8008/ready`",
        default: "`tcp`",
        meaning: "HAProxy's own health check: a connection, or a request by HTTP",
        synonyms: "healthcheck healthcheckpath healthpath checkpath httpchk probe ping checks healthuri \
                   healthurl healthcheckurl rise fall checkport healthport healthcheckport",
    }
    CheckInterval(CheckInterval) {
        "check_interval", [Http Tcp], Port, Server, Data, Ignored, json: "check_interval_ms" IfSet,
        values: "a duration from `500ms` to `1h`: `10s`",
        default: "[2s, or more with more than 2,000 servers](../guide/health.md)",
        meaning: "how often HAProxy checks the container while it is up, and how long a check may take",
        synonyms: "interval inter checkinter checkevery healthinterval healthcheckinterval healthcheckperiod \
                   lbhealthcheckinterval loadbalancerhealthcheckinterval probeinterval",
    }
    Health(HealthPolicy) {
        "health", [Http Tcp Udp], Port, Readiness, Data, Ignored, json: "health" IfSet,
        values: "`obey`, `require`, `ignore`",
        default: "`obey`",
        meaning: "Docker's HEALTHCHECK. `obey`: starting and unhealthy containers serve only while the route has no healthy one. `require`: never, but the last ready container of a route continues. `ignore`: it has no effect",
        synonyms: "",
    }
    Backup(Backup) {
        "backup", [Http Tcp Udp], Port, Server, Data, Ignored, json: "backup" IfSet,
        values: "`1 0 true false yes no on off`",
        default: "`0`",
        meaning: "the container serves only while its route has no other container that runs and is, as its `health` says, fit to serve. [A failed check of HAProxy does not bring it in](../guide/health.md)",
        synonyms: "isbackup backupserver standby failover fallback",
    }
    Timeout(Timeout) {
        "timeout", [Http], Port, Policy, Data, Ignored, json: "timeout_ms" Always,
        values: "a duration: `30s`, `5m`",
        default: "`60s`",
        meaning: "how long the container may take to answer",
        synonyms: "timeouts readtimeout proxyreadtimeout responsetimeout servertimeout backendtimeout \
                   timeoutserver requesttimeout timeoutread",
    }
    Retry(Retry) {
        "retry", [Http], Port, Policy, Shape, Ignored, json: "retry" Always,
        values: "`safe`, `all`, `off`",
        default: "`safe`",
        meaning: "`safe`: requests that never reached a container, and GET, HEAD and OPTIONS when it died over them, go to another one. `all`: every method. `off`: nothing is sent twice. A request over which each container dies is sent up to 7 times (41 where HAProxy has no Lua); `off` is for programs that a request may end",
        synonyms: "retries attempts retryon redispatch",
    }
    Maxconn(Maxconn) {
        "maxconn", [Http], Port, Server, Data, Ignored, json: "maxconn" IfSet,
        values: "1 to 65535",
        default: "no limit",
        meaning: "how many requests of a route the container gets at once. Further requests wait in HAProxy until a container of the route is free, and get 503 after 10 s",
        synonyms: "maxconns maxconnections maxconcurrency concurrency maxrequests inflight",
    }
    Tls(TlsMode) {
        "tls", [Http], Port, Policy, Shape, ExcludesPort, json: "tls" IfSet,
        values: "`off`, `on`, `both`, `only`, `pass`; also `1 0 true false yes no`",
        default: "[`--tls`](options.md), `off`",
        meaning: "`on`: HTTPS, and plain requests are redirected to it. `both`: HTTPS and plain HTTP. `only`: HTTPS, nothing on the plain port. `pass`: TLS connections for the host reach the container as they are. Unless `off`, `bind` defaults to 80",
        synonyms: "https ssl secure usetls enabletls forcehttps redirecthttps redirecttohttps sslredirect \
                   httpsredirect httpsmethod tlsenabled entrypointstls certresolver tlscertresolver \
                   letsencrypt letsencrypthost acme acmehost",
    }
    TlsBind(TlsBind) {
        "tls_bind", [Http], Port, Policy, Shape, Ignored, json: "tls_ports" IfSet,
        values: "public ports, comma-separated",
        default: "`443`",
        meaning: "ports of HTTPS. Plain requests are redirected to 443, or to the lowest of them",
        synonyms: "tlsport httpsport sslport securebind bindtls bindssl",
    }
    Cert(CertificateOption) {
        "cert", [Http], Port, Terms, Data, Ignored, json: "certificate" IfSet,
        values: "`auto`, `acme`, `files`, `self`, or a certificate's name",
        default: "`auto`",
        meaning: "certificate of the host: any that is valid for it; one that is ordered by [`--acme`](options.md); one from [`--certificates`](options.md); one of docker-balancer's own CA; or the one with this name (of its file or folder, without the ending)",
        synonyms: "certificate certname certificatename tlscert sslcert sslcertificate certs crt pem \
                   tlscertificate",
    }
    TlsPolicy(TlsPolicyChoice) {
        "tls_policy", [Http], Port, Terms, Data, Ignored, json: "tls_policy" IfSet,
        values: "`modern`, `intermediate`, `old`",
        default: "[`--tls-policy`](options.md), `intermediate`",
        meaning: "TLS versions and ciphers, by Mozilla's names: TLS 1.3; 1.2 and 1.3; 1.0 and later",
        synonyms: "sslpolicy tlsoptions ciphers tlsversion minversion tlsminversion sslprotocols tlsprotocols",
    }
    ClientCert(ClientCertificate) {
        "client_cert", [Http], Port, Terms, Data, ExcludesPort, json: "client_certificate" IfSet,
        values: "`off`, a CA's name, or a CA's name and `optional`: `staff`, `staff optional`",
        default: "`off`",
        meaning: "with `tls` `on` or `only`: clients have to present a certificate of the CA in the file `NAME.pem` or `NAME.crt` of [`--client-ca`](options.md). The container gets it in `Client-Cert` (RFC 9440)",
        synonyms: "clientca clientauth clientcertificate tlsclientauth sslverifyclient sslclientcertificate",
    }
    Hsts(Hsts) {
        "hsts", [Http], Port, Policy, Data, Ignored, json: "hsts" IfSet,
        values: "`off`, or a time, optionally with `subdomains` and `preload`: `180d`, `1y subdomains`",
        default: "`off`",
        meaning: "Strict-Transport-Security of HTTPS responses: browsers use HTTPS only, for this long",
        synonyms: "stricttransportsecurity stsseconds hstsmaxage",
    }
    Scheme(Scheme) {
        "scheme", [Http], Port, Policy, Data, Ignored, json: "scheme" IfSet,
        values: "`http`, `h2c`, `https`, `h2`",
        default: "`http`",
        meaning: "protocol of the container's port: HTTP/1.1, HTTP/2 without TLS (gRPC), HTTP/1.1 over TLS, HTTP/2 over TLS",
        synonyms: "protocol proto backendprotocol backendscheme serverproto serverscheme virtualproto \
                   upstreamprotocol h2 h2c http2 grpc",
    }
    Verify(Verification) {
        "verify", [Http], Port, Policy, Data, ExcludesPort, json: "verify" IfSet,
        values: "`off`, `system`, or a CA's name",
        default: "`off`",
        meaning: "with `scheme` `https` or `h2`: whether the container's certificate is verified, by the system's CAs or by the CA in the file `NAME.pem` or `NAME.crt` of [`--backend-ca`](options.md)",
        synonyms: "sslverify tlsverify proxysslverify insecureskipverify verifycertificate backendca rootcas cafile",
    }
    ServerName(ServerName) {
        "server_name", [Http], Port, Policy, Data, Ignored, json: "server_name" IfSet,
        values: "a host",
        default: "the request's host",
        meaning: "with `scheme` `https` or `h2`: the name that HAProxy sends to the container (SNI), and verifies its certificate by",
        synonyms: "sni sslservername tlsservername proxysslname verifyhost",
    }
    Use {
        "use", [Http], Port, Match, Data, ClosesRoute, json: "" Always,
        values: "names of policies, comma-separated: `lan`, `staff,slow`",
        default: "",
        meaning: "the route gets the options of [`[policy.NAME]`](../guide/policies.md) of the settings file. Later names win over earlier ones, and labels over all",
        synonyms: "policy policies middleware middlewares preset presets profile import snippet",
    }
    Closed(Closed) {
        "closed", [Http], Derived, Policy, Data, Ignored, json: "closed" IfSet,
        values: "", default: "", meaning: "", synonyms: "",
    }
    Allow(Allow) {
        "allow", [Http], Port, Policy, Data, ClosesRoute, json: "allow" IfSet,
        values: "networks, addresses and `private`, comma-separated: `10.0.0.0/8,2001:db8::1`",
        default: "every client",
        meaning: "only these clients get in; all others get 403. `private` is the networks of RFC 1918 and 4193, link-local ones and the machine itself",
        synonyms: "allowip allowips allowlist ipallowlist ipwhitelist whitelist whitelistsourcerange allowfrom sourcerange \
                   networkaccess internal allowednetworks allownetworks accesslist access acl",
    }
    Deny(Deny) {
        "deny", [Http], Port, Policy, Data, ClosesRoute, json: "deny" IfSet,
        values: "networks, addresses and `private`, comma-separated",
        default: "no client",
        meaning: "these clients get 403, also if `allow` has them",
        synonyms: "denyip denyips denylist ipdenylist ipblacklist blacklist blocklist block denyfrom",
    }
    AddPrefix(AddPrefix) {
        "add_prefix", [Http], Port, Policy, Data, Ignored, json: "add_prefix" IfSet,
        values: "a path: `/app`",
        default: "",
        meaning: "put in front of the path that the container gets, after `strip_prefix`",
        synonyms: "addprefix addpath prependpath prependprefix",
    }
    Redirect(Redirect) {
        "redirect", [Http], Port, Policy, Data, Ignored, json: "redirect" IfSet,
        values: "`https`, an origin: `https://new.example.com`, or a URL with a path",
        default: "",
        meaning: "requests are redirected and reach no container. With `https` and with an origin the path and the query stay",
        synonyms: "redirectto redir return redirecturl redirectregex redirectscheme",
    }
    RedirectStatus(RedirectStatus) {
        "redirect_status", [Http], Port, Policy, Data, Ignored, json: "redirect_status" IfSet,
        values: "`301 302 303 307 308`",
        default: "`307`",
        meaning: "status of `redirect` and `redirect_from`. Browsers keep 301 and 308 for ever",
        synonyms: "redirectcode redirectpermanent permanent",
    }
    RedirectFrom {
        "redirect_from", [Http], Route, Match, Data, Ignored, json: "" Always,
        values: "hosts, comma-separated: `example.com`",
        default: "",
        meaning: "requests for these hosts are redirected to the first one of `host`, with their path and query",
        synonyms: "redirectfromdomain redirecthosts canonicalhost serveralias fromhost",
    }
    RequestHeader(RequestHeaders) {
        "request_header_<Name>", [Http], Port, Policy, Data, Ignored, json: "request_headers" IfSet,
        values: "text: `glue_http_80_request_header_X-Tenant=acme`",
        default: "",
        meaning: "the container gets the header with this value. A name that no route had before takes one reload of HAProxy",
        synonyms: "requestheader requestheaders customrequestheaders setrequestheader headerup proxysetheader",
    }
    ResponseHeader(ResponseHeaders) {
        "response_header_<Name>", [Http], Port, Policy, Data, Ignored, json: "response_headers" IfSet,
        values: "text: `glue_http_80_response_header_X-Robots-Tag=noindex`",
        default: "",
        meaning: "clients get the header with this value, also in the answers of HAProxy. A name that no route had before takes one reload of HAProxy",
        synonyms: "responseheader responseheaders customresponseheaders header headers headerdown addheader setheader",
    }
    DropRequestHeaders(DropRequestHeaders) {
        "drop_request_headers", [Http], Port, Policy, Data, Ignored, json: "drop_request_headers" IfSet,
        values: "names of headers, comma-separated",
        default: "",
        meaning: "the container does not get these headers",
        synonyms: "droprequestheader removerequestheaders hiderequestheaders",
    }
    DropResponseHeaders(DropResponseHeaders) {
        "drop_response_headers", [Http], Port, Policy, Data, Ignored, json: "drop_response_headers" IfSet,
        values: "names of headers, comma-separated: `Server,X-Powered-By`",
        default: "",
        meaning: "clients do not get these headers",
        synonyms: "dropresponseheader removeresponseheaders hideheaders proxyhideheader dropheaders removeheaders",
    }
    SecureHeaders(SecureHeaders) {
        "secure_headers", [Http], Port, Policy, Data, Ignored, json: "secure_headers" IfSet,
        values: "`1 0 true false yes no on off`",
        default: "`0`",
        meaning: "responses get `X-Content-Type-Options: nosniff`, `X-Frame-Options: SAMEORIGIN` and `Referrer-Policy: strict-origin-when-cross-origin`, unless the route sets them otherwise",
        synonyms: "securityheaders secureheader framedeny contenttypenosniff browserxssfilter",
    }
    Users(Users) {
        "users", [Http], Port, Policy, Data, ClosesRoute, json: "users" IfSet,
        values: "entries of `htpasswd`, comma-separated: `alice:$2y$10$…`; or `off`",
        default: "`off`",
        meaning: "[users and their passwords](../guide/users.md): others get 401. Hashes are those of bcrypt (`$2y$`, `$2b$`, `$2a$`), SHA-crypt (`$5$`, `$6$`), `$apr1$` and `{SHA}`. The container gets the name in `Remote-User`. At most 64",
        synonyms: "user basicauth basicauths basicauthusers basicauthuser auth authusers authuser httpauth htpasswd htaccess password passwords login logins credentials",
    }
    ForwardAuth(ForwardAuth) {
        "forward_auth", [Http], Port, Policy, Data, ClosesRoute, json: "forward_auth" IfSet,
        values: "a URL: `http://authelia:9091/api/authz/forward-auth`; or `off`",
        default: "`off`",
        meaning: "[an authentication server](../guide/single-sign-on.md) judges each request: with 2xx the request passes, any other answer goes to the client. The host is a container's name; policies may also name an address or a host outside. If the server does not answer, clients get 503",
        synonyms: "forwardauth forwardauthaddress authrequest authurl authserver externalauth extauth oauth oauth2 oidc sso singlesignon authelia authentik tinyauth",
    }
    ForwardAuthHeaders(ForwardAuthHeaders) {
        "forward_auth_headers", [Http], Port, Policy, Data, Ignored, json: "forward_auth_headers" IfSet,
        values: "names of headers, comma-separated: `Remote-User,Remote-Groups`",
        default: "",
        meaning: "headers of the authentication server's answer that the container gets. Those of the client are removed",
        synonyms: "authresponseheaders forwardauthresponseheaders forwardauthheader authheaders copyheaders",
    }
    Cors(Cors) {
        "cors", [Http], Port, Policy, Data, Ignored, json: "cors" IfSet,
        values: "origins, comma-separated: `https://app.example.com`; or `*`",
        default: "`off`",
        meaning: "pages of these origins may use the route, with credentials; `*`: pages of every origin, without. HAProxy answers preflight requests",
        synonyms: "corsorigin corsorigins alloworigin alloworigins accesscontrolalloworigin accesscontrolalloworiginlist crossorigin",
    }
    Rate(RateLimit) {
        "rate", [Http], Port, Policy, Data, Ignored, json: "rate_limit" IfSet,
        values: "`10/s`, `100/m`, `1000/h`",
        default: "no limit",
        meaning: "how many requests one client may send to the route in a second, minute or hour; further ones get 429. A client is an IPv4 address or a /64 network of IPv6",
        synonyms: "ratelimit limitreq requestrate average ratelimitaverage throttle limit",
    }
    AtOnce(AtOnce) {
        "at_once", [Http], Port, Policy, Data, Ignored, json: "at_once" IfSet,
        values: "1 to 65535",
        default: "no limit",
        meaning: "how many requests of one client may be under way at once, WebSockets included; further ones get 429",
        synonyms: "inflightreq limitconn perclient maxperclient clientconcurrency",
    }
    MaxBody(MaxBody) {
        "max_body", [Http], Port, Policy, Data, Ignored, json: "max_body" IfSet,
        values: "a size: `512k`, `10m`, `1g`",
        default: "no limit",
        meaning: "requests with a larger body get 413, and those that do not say its length 411",
        synonyms: "maxbodysize maxrequestbody maxrequestbodybytes bodysize clientmaxbodysize maxsize bodylimit requestbody buffering uploadlimit",
    }
    StickyCookie(StickyCookie) {
        "sticky", [Http], Port, Policy, Shape, Ignored, json: "sticky_cookie" IfSet,
        values: "`cookie`, `off`",
        default: "`off`",
        meaning: "[clients stay at the container](../guide/sticky.md) that answered their first request, as long as it serves. HAProxy sets a cookie, which containers do not see",
        synonyms: "stickiness stickysession stickysessions stickycookie session sessions cookie cookies affinity \
                   sessionaffinity iphash persist persistence",
    }
    TunnelTimeout(TunnelTimeout) {
        "tunnel_timeout", [Http], Port, Policy, Data, Ignored, json: "tunnel_timeout" IfSet,
        values: "a duration from `1s` to `24days`: `8h`",
        default: "`1h`",
        meaning: "WebSockets and other upgraded connections end after this time without data",
        synonyms: "timeouttunnel websockettimeout wstimeout idletimeout",
    }
    Log(Log) {
        "log", [Http], Port, Policy, Data, Ignored, json: "log" IfSet,
        values: "`1 0 true false yes no on off`",
        default: "`on`",
        meaning: "whether requests are in the access log, if there is one",
        synonyms: "accesslog logging disableaccesslogs",
    }
    Balance(Balance) {
        "balance", [Tcp], Port, Policy, Shape, Ignored, json: "balance" Always,
        values: "`least`, `round`, `source`",
        default: "`least`",
        meaning: "which container gets a connection: the one with the fewest, each in turn, or the same one for each client's address",
        synonyms: "balancing algorithm algo loadbalancer lb strategy roundrobin leastconn leastconnections sticky stickiness \
                   stickysession stickysessions affinity sessionaffinity iphash persistence",
    }
    Idle(Idle) {
        "idle", [Tcp], Port, Policy, Shape, Ignored, json: "idle_ms" IfSet,
        values: "`off`, or a duration from `1s` to `24days`: `8h`",
        default: "`off`",
        meaning: "connections end after this time without data. With `off` only those end whose client or container is gone",
        synonyms: "timeout timeouts idletimeout tunneltimeout timeouttunnel clienttimeout servertimeout timeoutclient \
                   timeoutserver readtimeout proxytimeout",
    }
    Proxy(ProxyHeader) {
        "proxy", [Tcp Udp], Port, Policy, Data, Ignored, json: "proxy" IfSet,
        values: "`off`, `v1`, `v2`",
        default: "`off`",
        meaning: "HAProxy sends the client's address to the container in a header of the PROXY protocol. The container must expect it",
        synonyms: "proxyprotocol proxyprotocolversion sendproxy sendproxyv2 proxyheader proxyv2 proxyv1",
        Udp: {
            values: "`off`, `v2`",
            default: "`off`",
            meaning: "each datagram to the container begins with the client's address, in a header of the PROXY protocol. The container must expect it",
            synonyms: "",
        },
    }
    Cut(Cut) {
        "cut", [Tcp], Port, Policy, Data, Ignored, json: "cut" IfSet,
        values: "`gone`, `down`",
        default: "`gone`",
        meaning: "when open connections to a container end: when it is gone, or also when HAProxy's check of it fails",
        synonyms: "onmarkeddown shutdownsessions terminationdelay",
    }
    Sticky(Sticky) {
        "sticky", [Udp], Port, Policy, Data, Ignored, json: "sticky" Always,
        values: "`flow`, `source`, `none`",
        default: "`flow`",
        meaning: "which datagrams reach the same container: those of one client address and port, of one client address, or each by itself",
        synonyms: "stickiness stickysession stickysessions session sessions affinity sessionaffinity iphash persistence \
                   balance algorithm algo loadbalancer lb strategy roundrobin leastconn",
    }
    FlowIdle(FlowIdle) {
        "idle", [Udp], Port, Policy, Data, Ignored, json: "flow_idle_ms" Always,
        values: "a duration from `1s` to `24days`: `30s`",
        default: "`2m`",
        meaning: "a flow is forgotten after this time without datagrams. Its next datagram may reach another container",
        synonyms: "timeout timeouts idletimeout sessiontimeout flowtimeout udptimeout proxytimeout streamtimeout",
    }
    Replies(Replies) {
        "replies", [Udp], Port, Policy, Data, Ignored, json: "replies" IfSet,
        values: "0 to 65535",
        default: "no limit",
        meaning: "a flow is forgotten after this number of datagrams from the container: 1 for DNS, 0 for syslog",
        synonyms: "responses proxyresponses answers reply",
    }
    Ports {
        "http_ports", [Http], Container, Match, Data, Ignored, json: "" Always,
        values: "ports, comma-separated",
        default: "",
        meaning: "ports that are served without any other label; they answer for every host",
        synonyms: "",
    }
    TcpPorts {
        "tcp_ports", [Tcp], Container, Match, Data, Ignored, json: "" Always,
        values: "ports and ranges, comma-separated",
        default: "",
        meaning: "ports that are served without any other label; they get all connections",
        synonyms: "",
    }
    UdpPorts {
        "udp_ports", [Udp], Container, Match, Data, Ignored, json: "" Always,
        values: "ports and ranges, comma-separated",
        default: "",
        meaning: "ports that are served without any other label",
        synonyms: "",
    }
    Network {
        "network", [Http Tcp Udp], Container, Match, Data, Ignored, json: "" Always,
        values: "a network's name",
        default: "[the first that HAProxy can reach](../guide/labels.md#address-of-a-container)",
        meaning: "the network on which HAProxy reaches the container",
        synonyms: "",
    }
}

impl LabelOption {
    /// Returns the option's row.
    pub fn spec(self) -> &'static OptionSpec {
        &OPTIONS[self as usize]
    }

    /// Returns the last part of the option's labels.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Finds the option of a protocol's ports or routes by name.
    pub fn from_port_name(protocol: LabelProtocol, name: &str) -> Option<Self> {
        Self::of_protocol(protocol).find(|option| option.name() == name)
    }

    /// Finds an option of which a part of the name is free: `X-A` of `request_header_X-A`. Returns it and the part.
    pub fn from_open_name(protocol: LabelProtocol, name: &str) -> Option<(Self, &str)> {
        let open = |option: Self| Some((option, name.strip_prefix(option.open_name()?)?));
        Self::of_protocol(protocol).find_map(open).filter(|(_, tail)| !tail.is_empty())
    }

    /// Returns the fixed part of a name that ends with a free one.
    pub fn open_name(self) -> Option<&'static str> {
        self.name().split_once('<').map(|(fixed, _)| fixed)
    }

    /// Parses the value of a label whose name ends with a free part.
    ///
    /// # Errors
    /// If the part, or the value, is none of the option.
    pub fn parse_open_value(self, tail: &str, text: &str) -> Result<OptionValue, Reason> {
        let headers = header::parse_named(self, tail, text)?;
        Ok(match self {
            Self::RequestHeader => RequestHeaders(headers).into_value(),
            _ => ResponseHeaders(headers).into_value(),
        })
    }

    /// Parses the value of an option of a protocol's ports by the option's name, which may end with a free part. `None`
    /// if there is no such option, or it has no value type.
    pub fn parse_named(
        protocol: LabelProtocol,
        name: &str,
        text: &str,
    ) -> Option<Result<OptionValue, Reason>> {
        if let Some((option, tail)) = Self::from_open_name(protocol, name) {
            return Some(option.parse_open_value(tail, text));
        }
        let parsed = Self::from_port_name(protocol, name)?.parse_value(text)?;
        Some(parsed.map(|(value, _)| value))
    }

    /// Finds the option of a container by name.
    pub fn from_container_name(name: &str) -> Option<Self> {
        Self::of_containers().find(|option| option.name() == name)
    }

    /// Iterates over the options of ports and routes.
    pub fn of_ports() -> impl Iterator<Item = Self> {
        let is_of_port =
            |spec: &&OptionSpec| matches!(spec.scope, OptionScope::Port | OptionScope::Route);
        OPTIONS.iter().filter(is_of_port).map(|spec| spec.option)
    }

    /// Iterates over the options of a protocol's ports and routes.
    pub fn of_protocol(protocol: LabelProtocol) -> impl Iterator<Item = Self> {
        Self::of_ports().filter(move |option| option.spec().protocols.contains(&protocol))
    }

    /// Returns the protocol of the ports that the option of a container lists: `tcp` for `glue_tcp_ports`.
    pub fn listed_protocol(self) -> Option<LabelProtocol> {
        match self {
            Self::Ports => Some(LabelProtocol::Http),
            Self::TcpPorts => Some(LabelProtocol::Tcp),
            Self::UdpPorts => Some(LabelProtocol::Udp),
            _ => None,
        }
    }

    /// Iterates over the options of containers.
    pub fn of_containers() -> impl Iterator<Item = Self> {
        let specs = OPTIONS.iter().filter(|spec| spec.scope == OptionScope::Container);
        specs.map(|spec| spec.option)
    }

    /// Iterates over the options whose values become part of `place`.
    pub fn of_place(place: OptionPlace) -> impl Iterator<Item = Self> {
        OPTIONS.iter().filter(move |spec| spec.place == place).map(|spec| spec.option)
    }

    /// Finds the protocol's option with this name, or that other programs call `word`. `word` is in lower case without
    /// `_` and `-`.
    pub fn from_synonym(protocol: LabelProtocol, word: &str) -> Option<Self> {
        let has_word = |spec: &&OptionSpec| {
            let is_name = || {
                let is_of_port = matches!(spec.scope, OptionScope::Port | OptionScope::Route);
                is_of_port && spec.name.replace('_', "") == word
            };
            spec.protocols.contains(&protocol)
                && (is_name() || spec.synonyms(protocol).any(|synonym| synonym == word))
        };
        OPTIONS.iter().find(has_word).map(|spec| spec.option)
    }
}

impl fmt::Display for LabelOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl OptionSpec {
    /// Returns the label with a placeholder for the port: `glue_http_<port>_weight`.
    pub fn label(&self, protocol: LabelProtocol) -> String {
        match self.scope {
            OptionScope::Container => format!("glue_{}", self.name),
            OptionScope::Port | OptionScope::Route | OptionScope::Derived => {
                format!("glue_{protocol}_<port>_{}", self.name)
            }
        }
    }

    /// Returns the texts for a protocol.
    pub fn texts(&self, protocol: LabelProtocol) -> &OptionTexts {
        self.texts_of(protocol).unwrap_or(&self.texts)
    }

    fn texts_of(&self, protocol: LabelProtocol) -> Option<&'static OptionTexts> {
        self.other_texts.iter().find(|(other, _)| *other == protocol).map(|(_, texts)| texts)
    }

    fn synonyms(&self, protocol: LabelProtocol) -> impl Iterator<Item = &'static str> {
        let more = self.texts_of(protocol).map_or("", |texts| texts.synonyms);
        self.texts.synonyms.split_whitespace().chain(more.split_whitespace())
    }
}

impl LabelProtocol {
    pub const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Udp];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for LabelProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses the word that the display writes.
impl FromStr for LabelProtocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or(())
    }
}
