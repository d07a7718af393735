//! What can be asked of the program, in the words of `--help`.
//!
//! As written; what it means is decided in [`crate::settings`]. To add an option, add a field here and use
//! it in `Settings::new`: the environment, the settings file, the help and the example follow the field.

pub mod glue;
pub(crate) mod subcommand;

pub use subcommand::{BalancerCommand, DaemonCommand, Format, LocalCommand, PlanFormat};

use crate::{
    label::{AllowedHost, Constraint},
    model::option_value::Host,
    settings::value::{self, PortSet},
    support::log::LogFormat,
};
use clap::{Arg, ArgAction, Command, CommandFactory, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

/// Keeps HAProxy in step with the labels of your containers
///
/// Start containers with labels such as glue_http_80_host=app.example.com, and HAProxy sends the requests for
/// that host to port 80 of those containers, for as long as they run.
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
    /// Apply the labels once and exit; HAProxy goes on serving
    #[arg(short = '1', long, help_heading = ACTION)]
    pub once: bool,

    /// Apply the labels, then follow Docker until stopped
    ///
    /// Ctrl-C or SIGTERM stops it, and softly HAProxy with it; a second one stops it at once. Given both,
    /// --once wins.
    #[arg(short, long, help_heading = ACTION)]
    pub watch: bool,

    /// Read options from this TOML file
    ///
    /// A file that is named must exist.
    ///
    /// [default: /etc/docker-glue/settings.toml, where there is one]
    #[arg(long, value_name = "FILE", help_heading = ACTION, value_parser = value::parse_path, global = true)]
    pub settings: Option<PathBuf>,

    /// Where Docker listens: unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST
    ///
    /// With tcp, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH are obeyed as by the docker command.
    ///
    /// [default: DOCKER_HOST, else unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", help_heading = DOCKER, value_parser = value::parse_text, global = true)]
    pub docker_url: Option<String>,

    /// Read containers' environment variables as labels too; labels win
    #[arg(long, value_name = "BOOL", help_heading = DOCKER, default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = value::parse_bool, hide_short_help = true)]
    pub include_env: bool,

    /// Look again after these events of Docker as well (a comma-separated list)
    ///
    /// Those that matter are always watched; this can add to them, and take none away.
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

    /// Which address of a container HAProxy uses
    ///
    /// Docker is on this machine if it is reached by a unix socket or at an address of this machine, or knows the
    /// container that docker-balancer runs in.
    ///
    /// [default: container; published for a Docker on another machine]
    #[arg(long, value_name = "KIND", help_heading = ROUTES, value_enum, hide_short_help = true)]
    pub address: Option<AddressMode>,

    /// Listen on this address (repeatable)
    ///
    /// [::] means every address, IPv4 ones too, unless 0.0.0.0 is given beside it.
    ///
    /// [default: [::], or 0.0.0.0 on a machine without IPv6]
    #[arg(long, value_name = "IP", help_heading = LISTENERS, value_parser = value::parse_ip)]
    pub bind_address: Vec<IpAddr>,

    /// Listen on another port than the labels say, as in 80=8080 (repeatable)
    ///
    /// Labels go on saying 80; this is how to run without root.
    ///
    /// [default: none moved]
    #[arg(long, value_name = "PUBLIC=PORT", help_heading = LISTENERS, value_parser = value::parse_port_mapping)]
    pub map_port: Vec<(NonZeroU16, NonZeroU16)>,

    /// Believe X-Forwarded-* of clients in this network (repeatable)
    ///
    /// For a proxy in front of this one: the headers it sends are extended. Those of all other clients are
    /// dropped, as are X-Real-IP, Forwarded, X-Original-URL and the like, in whatever spelling, and HAProxy's own
    /// take their place.
    ///
    /// [default: nobody is believed]
    #[arg(long, value_name = "CIDR", help_heading = LISTENERS, value_parser = value::parse_network)]
    #[arg(hide_short_help = true)]
    pub trusted_proxies: Vec<IpNet>,

    /// Where HAProxy logs requests: off, stdout, or ADDRESS
    ///
    /// ADDRESS is a socket such as /dev/log, or a syslog server as in 192.0.2.1:514.
    ///
    /// [default: stdout; off with --once; /dev/log with --haproxy service]
    #[arg(long, value_name = "WHERE", help_heading = LISTENERS, value_parser = value::parse_access_log)]
    pub access_log: Option<AccessLog>,

    /// Whose HAProxy it is
    #[arg(long, value_name = "WHO", help_heading = HAPROXY, value_enum, default_value = "managed")]
    pub haproxy: HaproxyModeArg,

    /// The haproxy program: a path, or a name to be found in PATH or an sbin directory
    #[arg(long, value_name = "PROGRAM", help_heading = HAPROXY, value_parser = value::parse_program)]
    #[arg(default_value = "haproxy", hide_short_help = true)]
    pub haproxy_bin: PathBuf,

    /// Write HAProxy's configuration to this file
    ///
    /// [default: STATE/haproxy.cfg, where STATE is --state-dir; with --haproxy service
    /// /etc/haproxy/haproxy.cfg]
    #[arg(long, value_name = "FILE", help_heading = HAPROXY, value_parser = value::parse_path)]
    pub config_file: Option<PathBuf>,

    /// Your own global and defaults sections, and any others, in place of the built-in ones
    ///
    /// What is needed of global (its sockets) is added, and said.
    ///
    /// [default: the built-in ones]
    #[arg(long, value_name = "FILE", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub base_file: Option<PathBuf>,

    /// Keep what must outlive a restart here
    ///
    /// With --haproxy service HAProxy's stats socket is here too, so that it can start first.
    ///
    /// [default: /var/lib/docker-glue; as a user $XDG_STATE_HOME/docker-glue or
    /// ~/.local/state/docker-glue]
    #[arg(long, value_name = "DIR", help_heading = HAPROXY, value_parser = value::parse_path)]
    pub state_dir: Option<PathBuf>,

    /// Keep HAProxy's sockets and the control socket here
    ///
    /// [default: /run/docker-glue; as a user $XDG_RUNTIME_DIR/docker-glue or /tmp/docker-glue-UID]
    #[arg(long, value_name = "DIR", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true, global = true)]
    pub runtime_dir: Option<PathBuf>,

    /// Leave HAProxy running when this program stops
    ///
    /// The next start takes it over without a lost request. Only for --haproxy managed.
    #[arg(long, value_name = "BOOL", help_heading = HAPROXY, default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = value::parse_bool)]
    pub leave_running: bool,

    /// With --haproxy service: reload over this master socket (-S of HAProxy)
    ///
    /// [default: none]
    #[arg(long, value_name = "SOCKET", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub master_socket: Option<PathBuf>,

    /// With --haproxy service: reload this unit, as in haproxy.service
    ///
    /// Used when there is no --master-socket.
    ///
    /// [default: none]
    #[arg(long, value_name = "UNIT", help_heading = HAPROXY, value_parser = value::parse_unit)]
    #[arg(hide_short_help = true)]
    pub reload_unit: Option<String>,

    /// With --haproxy service: HAProxy's own socket is to be here
    ///
    /// For an HAProxy that may not write to the state directory. It makes the socket for its own group.
    ///
    /// [default: STATE/haproxy.sock]
    #[arg(long, value_name = "SOCKET", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub stats_socket: Option<PathBuf>,

    /// With --haproxy service: the user that its workers become, or - where its master is not root
    ///
    /// [default: haproxy, where there is such a user]
    #[arg(long, value_name = "USER", help_heading = HAPROXY, value_parser = value::parse_user)]
    #[arg(hide_short_help = true)]
    pub haproxy_user: Option<HaproxyUser>,

    /// Take HAProxy's further arguments from OPTIONS and EXTRAOPTS of this file
    ///
    /// The file is read, never run. The arguments are used when a configuration is checked, but for those that
    /// do not concern a check, such as -S.
    ///
    /// [default: with --haproxy service /etc/sysconfig/haproxy or /etc/default/haproxy, where there is one]
    #[arg(long, value_name = "FILE", help_heading = HAPROXY, value_parser = value::parse_path)]
    #[arg(hide_short_help = true)]
    pub rc: Option<PathBuf>,

    /// Accepted for the sake of old command lines; templates are compiled in, see --base-file
    ///
    /// [default: none]
    #[arg(long, value_name = "DIRS", help_heading = HAPROXY, hide_short_help = true)]
    pub template_dir: Option<String>,

    /// Accepted for the sake of old command lines; templates are compiled in, see --base-file
    ///
    /// [default: none]
    #[arg(long, value_name = "NAME", help_heading = HAPROXY, hide_short_help = true)]
    pub template_file: Option<String>,

    /// Keep this many empty backends of each kind for routes that come while HAProxy runs
    ///
    /// Each takes about 10 kB of HAProxy's memory. Without one left, a new route takes a reload. HAProxy 3.4
    /// and later adds backends as they are needed, and keeps none.
    #[arg(long, value_name = "NUMBER", help_heading = HAPROXY, default_value = "100", hide_short_help = true)]
    pub spare_backends: u16,

    /// Give HAProxy this long to finish its requests when it is stopped
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "30s", hide_short_help = true)]
    pub stop_timeout: Duration,

    /// Keep a route for this long after its last container is gone
    ///
    /// Its requests wait for the next container, then get 503. After that: 404.
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "60s", hide_short_help = true)]
    pub hold: Duration,

    /// Let requests wait this long for a container that is ready
    ///
    /// A container that does not listen yet, or the next one after the last of a route is gone. After that: 503.
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "10s", hide_short_help = true)]
    pub wait_for_start: Duration,

    /// After a reload, let old connections live this long
    #[arg(long, value_name = "TIME", help_heading = TIMES, value_parser = value::parse_duration)]
    #[arg(default_value = "30m", hide_short_help = true)]
    pub hard_stop_after: Duration,

    /// Let labels claim only these hosts, as in app.example.com or *.example.com (repeatable)
    ///
    /// 'bank.example.com if LABEL=VALUE' is for containers with that label alone, whatever wider pattern there is
    /// beside it; * is every host.
    ///
    /// [default: every host]
    #[arg(long, value_name = "PATTERN", help_heading = FENCES, value_parser = value::parse_host_fence)]
    pub allow_hosts: Vec<AllowedHost>,

    /// Give a host, with all its paths, to the containers that have it first by the value of this label
    ///
    /// As in com.docker.compose.project. Others that claim the host wait, and are told. A container without the label is
    /// on its own. Who has a host is kept in the state directory; it is free when none of them claimed it for the time
    /// of --hold.
    ///
    /// [default: hosts are shared]
    #[arg(long, value_name = "LABEL", help_heading = FENCES, value_parser = value::parse_text)]
    #[arg(hide_short_help = true)]
    pub own_hosts_by: Option<String>,

    /// Serve containers on the host's network
    ///
    /// A port in a label of theirs is a port of the host, whoever listens there. Ports of docker-balancer, SSH and
    /// Docker are never served.
    #[arg(long, value_name = "SWITCH", help_heading = FENCES, value_enum, default_value = "on")]
    #[arg(hide_short_help = true)]
    pub host_network: OnOff,

    /// Count labels that a container has of its image
    ///
    /// With off, a label does not count that the image has with the same value; with --include-env, nor does such a
    /// variable. docker-balancer then needs GET /images/ID/json of Docker. A container whose image Docker does not
    /// describe is not served.
    #[arg(long, value_name = "SWITCH", help_heading = FENCES, value_enum, default_value = "on")]
    #[arg(hide_short_help = true)]
    pub image_labels: OnOff,

    /// Let labels claim only these public ports, as in 80,443,8000-8100 (repeatable)
    ///
    /// [default: every port but SSH's (22) and Docker's (2375-2377, 4789, 7946)]
    #[arg(long, value_name = "LIST", help_heading = FENCES, value_parser = value::parse_ports)]
    pub allow_ports: Vec<PortSet>,

    /// Serve only containers with this label (repeatable: with all of them)
    ///
    /// Several balancers can share a machine by it.
    ///
    /// [default: every container]
    #[arg(long, value_name = "LABEL[=VALUE]", help_heading = FENCES, value_parser = value::parse_constraint)]
    pub constraint: Vec<Constraint>,

    /// Show the routes, live, on a page at this address: a port of loopback, or ADDRESS:PORT in full
    ///
    /// It only shows, and asks for no password: 9000 and :9000 are 127.0.0.1:9000, and whoever reaches another
    /// address sees your containers' names, addresses and labels.
    ///
    /// [default: none]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT, value_parser = value::parse_listen_address)]
    pub dashboard: Option<SocketAddr>,

    /// Let the dashboard be asked for by this name, as in glue.example.com (repeatable)
    ///
    /// Else it answers only to localhost, loopback addresses and its own address, so that no page of the web
    /// reads it by a name of its own (DNS rebinding).
    ///
    /// [default: none]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT, value_parser = value::parse_host)]
    #[arg(hide_short_help = true)]
    pub dashboard_host: Vec<Host>,

    /// Tell Prometheus how it goes, at http://ADDRESS/metrics
    ///
    /// ADDRESS is a port, for this machine alone, or an address and a port, as in 9105 or 0.0.0.0:9105.
    /// Nothing is encrypted, and nobody is asked who he is.
    ///
    /// [default: nobody is told]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT, value_parser = value::parse_listen_address)]
    #[arg(hide_short_help = true)]
    pub metrics: Option<SocketAddr>,

    /// Have HAProxy tell Prometheus what it counts, at http://ADDRESS/metrics
    ///
    /// ADDRESS is as that of --metrics, and another one. Takes an HAProxy that was built with its exporter.
    ///
    /// [default: nobody is told]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT, value_parser = value::parse_listen_address)]
    #[arg(hide_short_help = true)]
    pub haproxy_metrics: Option<SocketAddr>,

    /// Let both be asked for metrics by this name, as in web1.example.com (repeatable)
    ///
    /// Else they answer to localhost, to addresses and to names without a dot, so that no page of the web reads them
    /// by a name of its own (DNS rebinding).
    ///
    /// [default: none]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT, value_parser = value::parse_host)]
    #[arg(hide_short_help = true)]
    pub metrics_host: Vec<Host>,

    /// How the log is written, to stderr
    ///
    /// Where that is the journal of systemd, text comes with its fields.
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Say more: -v debug, -vv everything [default: a line for each change]
    ///
    /// RUST_LOG, where it is set, says it in its own way.
    #[arg(short, long, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Say only what went wrong [default: a line for each change]
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
    /// Ours: started, supervised and reloaded by this program
    Managed,
    /// Somebody else's, a system service say: only reloaded
    Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AddressMode {
    /// Its own, on a network that HAProxy can reach
    Container,
    /// Its published port, for a Docker on another machine
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
            help.help("Help in short with -h, in full with --help")
                .help_heading(OUTPUT)
                .global(true),
        )
        .arg(version.help("The version").help_heading(OUTPUT))
}

/// An option of the program says the same after a command as before it, where the command has none of that name.
/// The help of commands lists its own.
pub(crate) fn share_options(program: Command) -> Command {
    let is_shared = |arg: &Arg| !["once", "watch"].contains(&arg.get_id().as_str());
    let shared: Vec<_> = program.get_arguments().filter(|arg| is_shared(arg)).cloned().collect();
    let add_hidden = |command: Command| {
        let clashes = |arg: &&Arg| {
            command.get_arguments().any(|own| {
                let same_short = own.get_short().is_some() && own.get_short() == arg.get_short();
                own.get_id() == arg.get_id() || own.get_long() == arg.get_long() || same_short
            })
        };
        let listed = |arg: &&Arg| arg.is_global_set();
        let more: Vec<_> = shared
            .iter()
            .filter(|arg| !listed(arg) && !clashes(arg))
            .map(|arg| arg.clone().hide(true))
            .collect();
        command.args(more)
    };
    program
        .mut_args(|arg| if is_shared(&arg) { arg.global(true) } else { arg })
        .mut_subcommands(add_hidden)
}

const COMMANDS: &str = "Commands";
const ACTION: &str = "What to do";
const DOCKER: &str = "Docker";
const ROUTES: &str = "Routes";
const LISTENERS: &str = "Listeners";
const HAPROXY: &str = "HAProxy";
const TIMES: &str = "Times";
const FENCES: &str = "Fences: what labels may claim";
const OUTPUT: &str = "Output";

const SHORT_FOOTER: &str = "\
Try it, without root:
  docker run -d --label glue_http_80_host=app.localhost nginx
  docker-balancer --watch --map-port 80=8080
  curl http://app.localhost:8080/

--help explains these options, and lists the rest.";

const LONG_FOOTER: &str = "\
Try it, without root:
  docker run -d --label glue_http_80_host=app.localhost nginx
  docker-balancer --watch --map-port 80=8080
  curl http://app.localhost:8080/

Reload the HAProxy that the system runs, and take only hosts below example.com:
  docker-balancer --watch --haproxy service --reload-unit haproxy.service \\
      --allow-hosts '*.example.com'

Every option is also an environment variable and a key of the settings file: --map-port is
DOCKER_GLUE_MAP_PORT=80=8080,443=8443 in the environment, and in the file
map_port = [\"80=8080\", \"443=8443\"]. A flag wins over the environment, that over the file, and that
over the default; a list replaces a list.

Exit status: 0 applied, or stopped; 1 not so; 2 the options are wrong. That of a command is in its
own --help; 4 is always: Docker, or the docker-balancer that runs, could not be asked.";
