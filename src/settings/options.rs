//! What can be asked of the program, in the words of `--help`.
//!
//! As written; what it means is decided in [`crate::settings`]. To add an option, add a field here and use
//! it in `Settings::new`: the environment, the settings file, the help and the example follow the field.

pub mod glue;
pub(crate) mod subcommand;
pub mod udp;

pub use subcommand::{
    BalancerCommand, CertificateCommand, DaemonCommand, Format, LabelFormat, LocalCommand,
    MigrationSource, PlanFormat,
};

use crate::{
    label::{AllowedHost, AllowedPorts, Constraint},
    model::{
        option_value::Host,
        tls::{TlsMode, TlsPolicy},
    },
    settings::{
        FleetOption, SourceOption,
        acme::AcmeDns,
        value::{self, PortSet},
    },
    sources::acme::settings::DirectoryUrl,
    support::log::LogFormat,
    udp::engine::Engine,
};
use clap::{
    Arg, ArgAction, Command, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

/// Configures HAProxy from the labels of your containers
///
/// Start containers with labels such as glue_http_80_host=app.example.com, and HAProxy forwards the requests
/// for that host to port 80 of those containers while they run.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "docker-balancer", version, max_term_width = 100)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(
    override_usage = "docker-balancer --watch [OPTIONS]\n       docker-balancer --once [OPTIONS]\n       \
                      docker-balancer COMMAND [OPTIONS]"
)]
#[command(subcommand_help_heading = COMMANDS, disable_help_subcommand = true)]
#[command(after_help = SHORT_FOOTER, after_long_help = LONG_FOOTER)]
#[allow(clippy::struct_excessive_bools)] // As many as the command line has switches.
pub struct Options {
    /// Apply the labels once and exit; HAProxy keeps running
    #[arg(short = '1', long, help_heading = ACTION)]
    pub once: bool,

    /// Apply the labels, then follow Docker until stopped
    ///
    /// Ctrl-C or SIGTERM stops docker-balancer and, gracefully, HAProxy; a second signal stops both at once.
    /// With both options, --once wins.
    #[arg(short, long, help_heading = ACTION)]
    pub watch: bool,

    /// Read options from this TOML file
    ///
    /// A file that is given must exist.
    ///
    /// [default: /etc/docker-glue/settings.toml, if it exists]
    #[arg(long, value_name = "FILE", help_heading = ACTION, value_parser = value::parse_path, global = true)]
    pub settings: Option<PathBuf>,

    /// Connect to Docker at unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST
    ///
    /// With tcp, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH apply as in the docker command.
    ///
    /// [default: DOCKER_HOST, else unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", help_heading = DOCKER, value_parser = value::parse_text, global = true)]
    pub docker_url: Option<String>,

    /// Serve the containers of several Docker engines, each with a name of its own
    ///
    /// Give it once for each engine: tcp://10.0.0.2:2376?name=node2&cert_path=DIR, in place of --docker-url.
    /// A Swarm is swarm+tcp://MANAGER:2376,MANAGER:2376?name=swarm (also swarm+unix and swarm+ssh).
    /// Names are of a-z, 0-9 and _. Further parameters: address (container or published), host (the address
    /// of published ports), network, allow_hosts, allow_ports, allow_addresses, constraint, forget (how long the
    /// containers of a source that does not answer are kept). etcd://HOST,HOST/PREFIX, or etcds:// for TLS, is the
    /// containers that docker-glue publishes on other machines, with user, password_file, ca_file, cert_file and
    /// key_file. In the settings file, each source is a table [[source]].
    ///
    /// [default: the engine of --docker-url, without a name]
    #[arg(long, value_name = "URL", help_heading = DOCKER, value_parser = SourceOption::parse, global = true)]
    #[arg(hide_short_help = true)]
    pub source: Vec<SourceOption>,

    /// Read containers' environment variables as labels, too; labels win
    #[arg(long, value_name = "BOOL", help_heading = DOCKER, default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = value::parse_bool, hide_short_help = true)]
    pub include_env: bool,

    /// Also check containers after these Docker events (comma-separated)
    ///
    /// The events that docker-balancer needs are always watched; this option only adds events.
    ///
    /// [default: none]
    #[arg(long, value_name = "EVENTS", help_heading = DOCKER, value_parser = value::parse_text)]
    #[arg(hide_short_help = true)]
    pub watch_set: Vec<String>,

    /// Reach containers on this Docker network
    ///
    /// A container's own glue_network label wins.
    ///
    /// [default: the first network that HAProxy can reach]
    #[arg(long, value_name = "NAME", help_heading = ROUTES, value_parser = value::parse_text)]
    pub network: Option<String>,

    /// Select the address at which HAProxy reaches containers
    ///
    /// Docker counts as local if it is reached over a unix socket or at an address of this machine, or if it
    /// runs the container of docker-balancer.
    ///
    /// [default: container; published if Docker runs on another machine]
    #[arg(long, value_name = "KIND", help_heading = ROUTES, value_enum, hide_short_help = true)]
    pub address: Option<AddressMode>,

    /// Listen on this address (repeatable)
    ///
    /// [::] means every address, including IPv4, unless 0.0.0.0 is given as well.
    ///
    /// [default: [::], or 0.0.0.0 on a machine without IPv6]
    #[arg(long, value_name = "IP", help_heading = LISTENERS, value_parser = value::parse_ip)]
    pub bind_address: Vec<IpAddr>,

    /// Bind another port than the public one, as in 80=8080 (repeatable)
    ///
    /// Labels keep using port 80. This allows running without root.
    ///
    /// [default: none]
    #[arg(long, value_name = "PUBLIC=PORT", help_heading = LISTENERS, value_parser = value::parse_port_mapping)]
    pub map_port: Vec<(NonZeroU16, NonZeroU16)>,

    /// Keep these TCP ports bound, as in 25000-25099 (repeatable)
    ///
    /// HAProxy is reloaded for a new public port, except for these. A port that no route uses refuses
    /// connections. At most 1000 ports; each needs two file descriptors of HAProxy.
    ///
    /// [default: none]
    #[arg(long, value_name = "LIST", help_heading = LISTENERS, value_parser = value::parse_ports)]
    #[arg(hide_short_help = true)]
    pub tcp_ports: Vec<PortSet>,

    /// Have docker-glue-udp forward UDP, by commands on this socket
    ///
    /// [default: with --haproxy managed docker-balancer starts docker-glue-udp when a route needs it, with the socket
    /// udp.sock in --runtime-dir, and stops it with HAProxy; with --haproxy service
    /// /run/docker-glue-udp/control.sock, or docker-glue-udp/control.sock in XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH", help_heading = LISTENERS, hide_short_help = true)]
    pub udp_socket: Option<PathBuf>,

    /// Have a docker-glue-udp that docker-balancer starts forward datagrams itself (user) or by the kernel (nft)
    ///
    /// nft needs CAP_NET_ADMIN, and containers see the addresses of clients; see docker-glue-udp --help.
    #[arg(long, value_name = "ENGINE", help_heading = LISTENERS, default_value = "user", hide_short_help = true)]
    #[arg(value_parser = PossibleValuesParser::new(Engine::NAMES).try_map(|name| name.parse::<Engine>()))]
    pub udp_engine: Engine,

    /// Expect the PROXY protocol at TCP ports from this network (repeatable)
    ///
    /// Use it for a proxy in front of this one that sends the client's address in a header of the PROXY
    /// protocol. Connections from the network without this header are closed.
    ///
    /// [default: none]
    #[arg(long, value_name = "CIDR", help_heading = LISTENERS, value_parser = value::parse_network)]
    #[arg(hide_short_help = true)]
    pub proxy_protocol_from: Vec<IpNet>,

    /// Trust X-Forwarded-* headers from clients in this network (repeatable)
    ///
    /// Use it for a proxy in front of this one: its headers are extended. The headers of all other clients
    /// are removed, as are X-Real-IP, Forwarded, X-Original-URL and similar headers in any spelling. HAProxy
    /// sets its own.
    ///
    /// [default: none]
    #[arg(long, value_name = "CIDR", help_heading = LISTENERS, value_parser = value::parse_network)]
    #[arg(hide_short_help = true)]
    pub trusted_proxies: Vec<IpNet>,

    /// Serve ports over HTTPS whose tls label is not set: off, on, both or only
    ///
    /// With on, plain requests are redirected to HTTPS, and the public ports default to 80 and 443. Each host
    /// needs a certificate, see --certificates.
    #[arg(long, value_name = "MODE", help_heading = TLS, value_parser = value::parse_tls_mode, default_value = "off")]
    pub tls: TlsMode,

    /// Prepare HTTPS ports for tls=pass, so that the first such route needs no reload
    ///
    /// Each HTTPS connection then goes through one more frontend, which reads the server name before it is
    /// decrypted. Without the option this is so only while a route with tls=pass exists.
    #[arg(long, value_name = "BOOL", help_heading = TLS, default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = value::parse_bool, hide_short_help = true)]
    pub passthrough: bool,

    /// Use the certificates in this directory and two levels below (repeatable)
    ///
    /// PEM files with a certificate, its chain and its key, in one file or in several, in the layouts of
    /// certbot, acme.sh, nginx-proxy and others. Changes are followed. HAProxy presents the certificate
    /// whose names match the host.
    ///
    /// [default: none]
    #[arg(long, value_name = "DIR", help_heading = TLS, value_parser = value::parse_path)]
    pub certificates: Vec<PathBuf>,

    /// Order certificates from this CA: letsencrypt, letsencrypt-staging, zerossl, google, or a URL
    ///
    /// For HTTPS hosts without a certificate from --certificates. You agree to the terms of the CA. The CA
    /// requests http://HOST/ on port 80, unless --acme-challenge is another one.
    ///
    /// [default: no certificates are ordered]
    #[arg(long, value_name = "CA", help_heading = TLS, value_parser = value::parse_acme_directory)]
    pub acme: Option<DirectoryUrl>,

    /// Give the CA this address to contact you
    ///
    /// [default: none]
    #[arg(long, value_name = "ADDRESS", help_heading = TLS, value_parser = value::parse_text)]
    #[arg(hide_short_help = true)]
    pub acme_email: Option<String>,

    /// Prove control of a host by this challenge
    ///
    /// http serves a token on port 80, tls-alpn presents a certificate for the challenge on port 443. dns publishes a record for each order with --acme-dns; dns-persist
    /// uses a record that you publish once. Wildcard hosts need one of the latter two.
    #[arg(long, value_name = "KIND", help_heading = TLS, value_enum, default_value = "http")]
    #[arg(hide_short_help = true)]
    pub acme_challenge: AcmeChallenge,

    /// Publish DNS records by PROGRAM or by rfc2136:FILE, which implies --acme-challenge dns
    ///
    /// The program is run as PROGRAM present NAME VALUE and PROGRAM cleanup NAME VALUE, as lego's exec
    /// provider does. With rfc2136:FILE, docker-balancer updates the zone itself (RFC 2136, with TSIG). FILE
    /// has the lines server = "HOST:PORT", key = "NAME", algorithm = "hmac-sha256", secret = "BASE64", and
    /// if the name server does not find the zone, zone = "NAME". Other users must not have access to it.
    /// Before the CA looks, docker-balancer waits until all name servers of the zone have the record.
    ///
    /// [default: none]
    #[arg(long, value_name = "PROGRAM", help_heading = TLS, value_parser = value::parse_acme_dns)]
    #[arg(hide_short_help = true)]
    pub acme_dns: Option<AcmeDns>,

    /// Bind the account to one at the CA with the key in this file, as in KID:FILE
    ///
    /// [default: none]
    #[arg(long, value_name = "KID:FILE", help_heading = TLS, value_parser = value::parse_eab)]
    #[arg(hide_short_help = true)]
    pub acme_eab: Option<(String, PathBuf)>,

    /// Order certificates of this profile of the CA, as in shortlived
    ///
    /// [default: the CA's default]
    #[arg(long, value_name = "NAME", help_heading = TLS, value_parser = value::parse_text)]
    #[arg(hide_short_help = true)]
    pub acme_profile: Option<String>,

    /// Generate keys of this type for new and renewed certificates
    ///
    /// Old clients may support only rsa, of which a TLS handshake takes more CPU time. With both, each host has
    /// two certificates, and HAProxy presents the one that the client supports; ecdsa if it supports both. RSA
    /// keys are generated by the program openssl.
    #[arg(long, value_name = "TYPE", help_heading = TLS, value_enum, default_value = "ecdsa")]
    #[arg(hide_short_help = true)]
    pub acme_key: AcmeKey,

    /// Order one certificate for this domain and its direct subdomains (repeatable)
    ///
    /// Hosts such as example.com, a.example.com and b.example.com then share the certificate for
    /// *.example.com and example.com. This needs --acme-dns or --acme-challenge dns-persist.
    ///
    /// [default: each host has a certificate of its own]
    #[arg(long, value_name = "DOMAIN", help_heading = TLS, value_parser = value::parse_host)]
    #[arg(hide_short_help = true)]
    pub wildcard: Vec<Host>,

    /// Share the store of ACME certificates with other balancers, in DIR
    ///
    /// One of the balancers orders certificates for the hosts of all, and all answer the challenges of the CA.
    /// Each keeps a copy of the certificates in its state directory. All have to run as the same user, with
    /// the same CA and challenge. DIR may be a mount of NFS with the option actimeo=1.
    ///
    /// [default: the store in the state directory, for this balancer alone]
    #[arg(long, value_name = "DIR", help_heading = TLS, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub acme_store: Option<PathBuf>,

    /// Trust the CA's server by the root certificates in this file
    ///
    /// For a private CA, which may also sign names that are not public.
    ///
    /// [default: the roots of the system]
    #[arg(long, value_name = "FILE", help_heading = TLS, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub acme_ca_file: Option<PathBuf>,

    /// Verify containers' certificates by the CAs in this directory
    ///
    /// The verify label of a port with TLS names one of them: internal is the file internal.pem or
    /// internal.crt, with one or more certificates. Changes are followed.
    ///
    /// [default: none]
    #[arg(long, value_name = "DIR", help_heading = TLS, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub backend_ca: Option<PathBuf>,

    /// Verify clients' certificates by the CAs in this directory
    ///
    /// The client_cert label of an HTTPS port names one of them: staff is the file staff.pem or staff.crt,
    /// with one or more certificates. Changes are followed. With this option, no TLS session is resumed, because
    /// HAProxy does not verify the client again then.
    ///
    /// [default: none]
    #[arg(long, value_name = "DIR", help_heading = TLS, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub client_ca: Option<PathBuf>,

    /// List the certificates in this file, which all users may read
    ///
    /// It has names, validity and paths, but no key. docker-glue sends its changes to handlers as events
    /// certificate.
    ///
    /// [default: certificates.json in the directory of --runtime-dir]
    #[arg(long, value_name = "FILE", help_heading = TLS, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub certificate_list: Option<PathBuf>,

    /// Present HOST's certificate to clients that no certificate matches
    ///
    /// These are clients that send no server name (SNI), or one that no certificate has. Until there is a
    /// certificate of HOST, they get a self-signed one. Requests are routed by their host, as always.
    ///
    /// [default: none; such connections are refused]
    #[arg(long, value_name = "HOST", help_heading = TLS, value_parser = value::parse_host)]
    #[arg(hide_short_help = true)]
    pub default_certificate: Option<Host>,

    /// Allow TLS versions by Mozilla's names: modern, intermediate or old
    ///
    /// modern is TLS 1.3, intermediate 1.2 and 1.3, old 1.0 and later. The tls_policy label of a host wins.
    #[arg(long, value_name = "POLICY", help_heading = TLS, value_parser = value::parse_tls_policy)]
    #[arg(default_value = "intermediate", hide_short_help = true)]
    pub tls_policy: TlsPolicy,

    /// Serve HTTP/3 on HTTPS ports, over UDP
    ///
    /// HAProxy 3.2 or later, built with QUIC, is needed. Responses tell clients about HTTP/3, so UDP has to reach
    /// the same port as TCP. Requests over HTTP/3 that are in progress during a reload fail. Hosts with a
    /// client_cert label stay without HTTP/3.
    #[arg(long, value_name = "BOOL", help_heading = TLS, default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = value::parse_bool, hide_short_help = true)]
    pub http3: bool,

    /// Log requests to ADDRESS or stdout, or turn the log off
    ///
    /// WHERE is off, stdout, a socket such as /dev/log, or a syslog server as in 192.0.2.1:514.
    ///
    /// [default: stdout; off with --once; /dev/log with --haproxy service]
    #[arg(long, value_name = "WHERE", help_heading = LISTENERS, value_parser = value::parse_access_log)]
    pub access_log: Option<AccessLog>,

    /// Run an own HAProxy (managed), or configure the system's (service)
    #[arg(long, value_name = "MODE", help_heading = HAPROXY, value_enum, default_value = "managed")]
    pub haproxy: HaproxyModeArg,

    /// Use this haproxy program: a path, or a name in PATH or sbin
    #[arg(long, value_name = "PROGRAM", help_heading = HAPROXY, value_parser = value::parse_program)]
    #[arg(default_value = "haproxy", hide_short_help = true)]
    pub haproxy_bin: PathBuf,

    /// Write HAProxy's configuration to this file
    ///
    /// [default: STATE/haproxy.cfg, where STATE is --state-dir; with --haproxy service
    /// /etc/haproxy/haproxy.cfg]
    #[arg(long, value_name = "FILE", help_heading = HAPROXY, value_parser = value::parse_path)]
    pub config_file: Option<PathBuf>,

    /// Use the global, defaults and further sections of this file
    ///
    /// They replace the built-in ones. docker-balancer adds the sockets that it needs to global, and logs
    /// that.
    ///
    /// [default: the built-in sections]
    #[arg(long, value_name = "FILE", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub base_file: Option<PathBuf>,

    /// Answer with the pages of this directory where HAProxy itself answers
    ///
    /// A file is named by its status: 503.html, 404.html, 403.html. It is HTML of at most 15,000 bytes. A
    /// change of a file takes a reload. A file that cannot be used is a problem, and the built-in answer
    /// stays.
    ///
    /// [default: built-in pages for 404 and 503, texts for others]
    #[arg(long, value_name = "DIR", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub error_pages: Option<PathBuf>,

    /// Keep state that must survive a restart in this directory
    ///
    /// With --haproxy service, HAProxy's stats socket is here, too, so that HAProxy can start first.
    ///
    /// [default: /var/lib/docker-glue; for a user $XDG_STATE_HOME/docker-glue or ~/.local/state/docker-glue]
    #[arg(long, value_name = "DIR", help_heading = HAPROXY, value_parser = value::parse_path)]
    pub state_dir: Option<PathBuf>,

    /// Keep HAProxy's sockets and the control socket in this directory
    ///
    /// [default: /run/docker-glue; for a user $XDG_RUNTIME_DIR/docker-glue or /tmp/docker-glue-UID]
    #[arg(long, value_name = "DIR", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true, global = true)]
    pub runtime_dir: Option<PathBuf>,

    /// Leave HAProxy running when this program stops
    ///
    /// The next start adopts it without losing a request. Only with --haproxy managed.
    #[arg(long, value_name = "BOOL", help_heading = HAPROXY, default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = value::parse_bool)]
    pub leave_running: bool,

    /// With --haproxy service: reload over this master socket (HAProxy's -S)
    ///
    /// [default: none]
    #[arg(long, value_name = "SOCKET", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub master_socket: Option<PathBuf>,

    /// With --haproxy service: reload this unit, as in haproxy.service
    ///
    /// Used if --master-socket is not set.
    ///
    /// [default: none]
    #[arg(long, value_name = "UNIT", help_heading = HAPROXY, value_parser = value::parse_unit)]
    #[arg(hide_short_help = true)]
    pub reload_unit: Option<String>,

    /// With --haproxy service: create HAProxy's stats socket here
    ///
    /// For an HAProxy that cannot write to the state directory. HAProxy creates the socket for its own group.
    ///
    /// [default: STATE/haproxy.sock]
    #[arg(long, value_name = "SOCKET", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub stats_socket: Option<PathBuf>,

    /// With --haproxy service: the user of HAProxy's workers, or - for none
    ///
    /// Use - if HAProxy's master does not run as root, so that it cannot change its user.
    ///
    /// [default: haproxy, if that user exists]
    #[arg(long, value_name = "USER", help_heading = HAPROXY, value_parser = value::parse_user)]
    #[arg(hide_short_help = true)]
    pub haproxy_user: Option<HaproxyUser>,

    /// Read HAProxy's arguments from OPTIONS and EXTRAOPTS in this file
    ///
    /// The file is parsed, never executed. The arguments are used to check a configuration, except those that
    /// do not apply to a check, such as -S.
    ///
    /// [default: with --haproxy service /etc/sysconfig/haproxy or /etc/default/haproxy, if it exists]
    #[arg(long, alias = "rc", value_name = "FILE", help_heading = HAPROXY)]
    #[arg(value_parser = value::parse_path, hide_short_help = true)]
    pub haproxy_options_file: Option<PathBuf>,

    /// Accepted for compatibility and ignored; use --base-file
    ///
    /// [default: none]
    #[arg(long, value_name = "DIRS", help_heading = HAPROXY, hide_short_help = true)]
    pub template_dir: Option<String>,

    /// Accepted for compatibility and ignored; use --base-file
    ///
    /// [default: none]
    #[arg(long, value_name = "NAME", help_heading = HAPROXY, hide_short_help = true)]
    pub template_file: Option<String>,

    /// Keep this many spare backends of each kind for new routes
    ///
    /// Each uses about 10 kB of HAProxy's memory. If none is left, a new route needs a reload. HAProxy 3.4
    /// and later adds backends at run time and has no spare ones.
    #[arg(long, value_name = "NUMBER", help_heading = HAPROXY, default_value = "100", hide_short_help = true)]
    pub spare_backends: u16,

    /// Give HAProxy this long to finish requests when it stops
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "30s", hide_short_help = true)]
    pub stop_timeout: Duration,

    /// Keep a route this long after its last container is gone
    ///
    /// During this time its requests wait for a container, then get 503. Afterwards they get 404.
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "60s", hide_short_help = true)]
    pub hold: Duration,

    /// Let requests wait this long for a ready container
    ///
    /// They wait for a container that does not listen yet, or for a new one after the last one is gone.
    /// Afterwards they get 503.
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "10s", hide_short_help = true)]
    pub wait_for_start: Duration,

    /// Give up a connect to a container after this long
    ///
    /// HAProxy then tries another container of the route. From 10ms to 60s. Increase it for containers far away:
    /// a lost packet is sent again after a second. With --base-file, timeout connect of that file applies.
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_connect_timeout)]
    #[arg(default_value = "250ms", hide_short_help = true)]
    pub connect_timeout: Duration,

    /// After a reload, keep old connections this long
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "30m", hide_short_help = true)]
    pub hard_stop_after: Duration,

    /// Restrict labels to these hosts, as in *.example.com (repeatable)
    ///
    /// 'bank.example.com if LABEL=VALUE' reserves a host for containers with that label, even if a wider
    /// pattern matches it, too. * is every host.
    ///
    /// [default: every host]
    #[arg(long, value_name = "PATTERN", help_heading = FENCES, value_parser = value::parse_host_fence)]
    pub allow_hosts: Vec<AllowedHost>,

    /// Let one owner, by the value of this label, have a host with all paths
    ///
    /// As in com.docker.compose.project. The first owner gets the host; containers of other owners that claim
    /// it wait, and a problem is logged. A container without the label is its own owner. Owners are stored in
    /// the state directory. A host is free after its owner has not claimed it for the time of --hold.
    ///
    /// [default: hosts are shared]
    #[arg(long, value_name = "LABEL", help_heading = FENCES, value_parser = value::parse_text)]
    #[arg(hide_short_help = true)]
    pub own_hosts_by: Option<String>,

    /// Serve containers on the host's network
    ///
    /// A port in their labels is a port of the host, whichever program listens there. Ports of
    /// docker-balancer, SSH and Docker are never served.
    #[arg(long, value_name = "SWITCH", help_heading = FENCES, value_enum, default_value = "on")]
    #[arg(hide_short_help = true)]
    pub host_network: OnOff,

    /// Use labels that a container inherits from its image
    ///
    /// With off, a label is ignored if the image has it with the same value, and with --include-env so is
    /// such a variable. docker-balancer then needs GET /images/ID/json of Docker. A container whose image
    /// Docker does not describe is not served.
    #[arg(long, value_name = "SWITCH", help_heading = FENCES, value_enum, default_value = "on")]
    #[arg(hide_short_help = true)]
    pub image_labels: OnOff,

    /// Restrict labels to these ports, as in 80,tcp:5432 (repeatable)
    ///
    /// A port without a protocol (http:, tcp: or udp:) is allowed for each, and 8000-8100 is a range. With
    /// --allow-hosts, a port of TCP or UDP whose container gets all clients has to be named with its protocol.
    ///
    /// [default: every port except SSH's (22) and Docker's (2375-2377, 4789, 7946), and of UDP except those of
    /// DHCP (67, 68), time (123) and Docker (4789, 7946)]
    #[arg(long, value_name = "LIST", help_heading = FENCES, value_parser = value::parse_allowed_ports)]
    pub allow_ports: Vec<AllowedPorts>,

    /// Serve only containers with this label (repeatable: all are required)
    ///
    /// With it, several balancers can share a machine.
    ///
    /// [default: every container]
    #[arg(long, value_name = "LABEL[=VALUE]", help_heading = FENCES, value_parser = value::parse_constraint)]
    pub constraint: Vec<Constraint>,

    /// Compare this balancer with others through etcd
    ///
    /// URL is etcd://HOST,HOST/PREFIX?name=lb1, or etcds:// for TLS. The name is this balancer's own in the
    /// fleet, of a-z, 0-9, _ and -. Further parameters: user, password_file, ca_file, cert_file and key_file.
    /// docker-balancer status --fleet shows what each balancer serves, and drain applies to all of them.
    ///
    /// [default: none]
    #[arg(long, value_name = "URL", help_heading = OUTPUT, value_parser = FleetOption::parse)]
    #[arg(hide_short_help = true)]
    pub fleet: Option<FleetOption>,

    /// Serve a live page with the routes at this address
    ///
    /// ADDRESS is a port of loopback (9000 and :9000 are 127.0.0.1:9000) or ADDRESS:PORT. The page is
    /// read-only and has no password: every client that can connect to another address sees your containers'
    /// names, addresses and labels.
    ///
    /// [default: none]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT, value_parser = value::parse_listen_address)]
    pub dashboard: Option<SocketAddr>,

    /// Allow this name for the dashboard, as in a.example.com (repeatable)
    ///
    /// Otherwise the dashboard accepts only localhost, loopback addresses and its own address. This prevents
    /// websites from reading it by DNS rebinding.
    ///
    /// [default: none]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT, value_parser = value::parse_host)]
    #[arg(hide_short_help = true)]
    pub dashboard_host: Vec<Host>,

    /// Serve Prometheus metrics at http://ADDRESS/metrics
    ///
    /// ADDRESS is a port of loopback, or an address and a port, as in 9105 or 0.0.0.0:9105. There is no TLS
    /// and no authentication.
    ///
    /// [default: disabled]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT, value_parser = value::parse_listen_address)]
    #[arg(hide_short_help = true)]
    pub metrics: Option<SocketAddr>,

    /// Let HAProxy serve its own metrics at http://ADDRESS/metrics
    ///
    /// ADDRESS has the same form as in --metrics and must be another one. HAProxy must be built with the
    /// Prometheus exporter.
    ///
    /// [default: disabled]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT, value_parser = value::parse_listen_address)]
    #[arg(hide_short_help = true)]
    pub haproxy_metrics: Option<SocketAddr>,

    /// Allow this name for both metrics, as in a.example.com (repeatable)
    ///
    /// Otherwise both accept only localhost, addresses and names without a dot. This prevents websites from
    /// reading the metrics by DNS rebinding.
    ///
    /// [default: none]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT, value_parser = value::parse_host)]
    #[arg(hide_short_help = true)]
    pub metrics_host: Vec<Host>,

    /// Write the log to stderr in this format
    ///
    /// If stderr is the systemd journal, text entries also have structured fields.
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Log more: -v debug, -vv trace [default: one line for each change]
    ///
    /// RUST_LOG, if set, takes precedence.
    #[arg(short, long, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Log only warnings and errors [default: one line for each change]
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
}

/// What is the same for both programs: how their options are read.
pub trait Program: Parser {
    const NAME: &str;
    type Subcommand: Subcommand;
    /// It reads the same settings file.
    type OtherProgram: CommandFactory;

    /// All of it, for its help.
    fn command_line() -> Command;

    fn switches(&self) -> Switches;

    fn set_switches(&mut self, switches: Switches);
}

/// Switches that answer one question go together, whichever layer says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    pub once: bool,
    pub watch: bool,
    pub verbose: u8,
    pub quiet: bool,
}

impl Program for Options {
    const NAME: &str = "docker-balancer";
    type Subcommand = BalancerCommand;
    type OtherProgram = glue::GlueOptions;

    fn command_line() -> Command {
        balancer_command()
    }

    fn switches(&self) -> Switches {
        let Self { once, watch, verbose, quiet, .. } = *self;
        Switches { once, watch, verbose, quiet }
    }

    fn set_switches(&mut self, switches: Switches) {
        Switches { once: self.once, watch: self.watch, verbose: self.verbose, quiet: self.quiet } =
            switches;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HaproxyModeArg {
    /// An own HAProxy, which docker-balancer starts, supervises and reloads
    Managed,
    /// A system service, which docker-balancer only reloads
    Service,
}

/// The types of the keys of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcmeKey {
    Ecdsa,
    Rsa,
    Both,
}

/// How control of a host is proven to the CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcmeChallenge {
    Http,
    TlsAlpn,
    Dns,
    DnsPersist,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AddressMode {
    /// The container's own address, on a network that HAProxy can reach
    Container,
    /// The container's published port, for a Docker on another machine
    Published,
}

/// What the workers of an HAProxy that is a service become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaproxyUser {
    /// Nobody else: its master is not root, and cannot change its user.
    Same,
    Named(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    Stdout,
    /// As HAProxy's `log` line takes it: a socket's path, or a server with or without a port.
    To(String),
}

/// The whole command line, `--help` and `--version` under the heading where they belong.
pub fn balancer_command() -> Command {
    build_command::<Options>()
}

fn build_command<P: Program>() -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    share_options(P::Subcommand::augment_subcommands(P::command()))
        .arg(
            help.help("Print a summary (-h) or the full help (--help)")
                .help_heading(OUTPUT)
                .global(true),
        )
        .arg(version.help("Print the version").help_heading(OUTPUT))
}

/// Options that no command uses, so that none accepts them. (`status` has its own --fleet.) They are accepted before a
/// command, with the other options of the docker-balancer that runs.
pub(crate) const DAEMON_OPTIONS: [&str; 1] = ["fleet"];

/// An option of the program says the same after a command as before it, where the command has none of that name.
/// The help of commands lists its own.
pub(crate) fn share_options(program: Command) -> Command {
    let is_shared = |arg: &Arg| {
        let id = arg.get_id().as_str();
        !["once", "watch"].contains(&id) && !DAEMON_OPTIONS.contains(&id)
    };
    let shared: Vec<_> = program.get_arguments().filter(|arg| is_shared(arg)).cloned().collect();
    program
        .mut_args(|arg| if is_shared(&arg) { arg.global(true) } else { arg })
        .mut_subcommands(|command| add_hidden_options(command, &shared))
}

/// Adds the options that the command and its subcommands do not have, and that are not global, without listing them.
fn add_hidden_options(command: Command, shared: &[Arg]) -> Command {
    let clashes = |arg: &&Arg| {
        command.get_arguments().any(|own| {
            let same_short = own.get_short().is_some() && own.get_short() == arg.get_short();
            own.get_id() == arg.get_id() || own.get_long() == arg.get_long() || same_short
        })
    };
    let added = shared.iter().filter(|arg| !arg.is_global_set() && !clashes(arg));
    let added: Vec<_> = added.map(|arg| arg.clone().hide(true)).collect();
    command.args(added).mut_subcommands(|command| add_hidden_options(command, shared))
}

const COMMANDS: &str = "Commands";
const ACTION: &str = "Mode";
const DOCKER: &str = "Docker";
const ROUTES: &str = "Routes";
const LISTENERS: &str = "Listeners";
const TLS: &str = "HTTPS";
const HAPROXY: &str = "HAProxy";
const TIMES: &str = "Timeouts";
const FENCES: &str = "Restrictions on labels";
const OUTPUT: &str = "Output";

const SHORT_FOOTER: &str = "\
Try it, without root:
  docker run -d --label glue_http_80_host=app.localhost nginx
  docker-balancer --watch --map-port 80=8080
  curl http://app.localhost:8080/

--help explains these options and lists all others.";

const LONG_FOOTER: &str = "\
Try it, without root:
  docker run -d --label glue_http_80_host=app.localhost nginx
  docker-balancer --watch --map-port 80=8080
  curl http://app.localhost:8080/

Configure the HAProxy of the system, and allow only hosts below example.com:
  docker-balancer --watch --haproxy service --reload-unit haproxy.service \\
      --allow-hosts '*.example.com'

Every option is also an environment variable and a key of the settings file: --map-port is
DOCKER_GLUE_MAP_PORT=80=8080,443=8443 in the environment, and
map_port = [\"80=8080\", \"443=8443\"] in the file. The command line wins over the environment, the
environment over the file, and the file over the default. A list replaces a list.

Exit status: 0 applied, or stopped; 1 failed; 2 invalid options. The exit status of a command is in
its own --help; 4 always means: Docker, or the running docker-balancer, does not answer.";
