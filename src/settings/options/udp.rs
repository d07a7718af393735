//! The command line of docker-glue-udp, with the text of its `--help`.

use super::OUTPUT;
use crate::{
    settings::value,
    support::log::LogFormat,
    udp::{engine::Engine, server::MAX_THREADS},
};
use clap::{
    Arg, ArgAction, Command, CommandFactory, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use std::path::PathBuf;

/// Forwards UDP datagrams to containers
///
/// docker-balancer sets the listeners and their endpoints, and docker-glue-udp carries the traffic. Flows continue
/// while docker-balancer is restarted or updated.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "docker-glue-udp", version, max_term_width = 100)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(
    override_usage = "docker-glue-udp [OPTIONS]\n       docker-glue-udp show [--json] [OPTIONS]\n       \
                      docker-glue-udp [OPTIONS] remove-rules"
)]
#[command(subcommand_help_heading = "Commands", disable_help_subcommand = true)]
#[command(after_help = FOOTER, after_long_help = FOOTER)]
pub struct UdpOptions {
    /// Accept the commands of docker-balancer on this socket
    ///
    /// Its user and group can connect. The directory is created if it does not exist.
    ///
    /// [default: /run/docker-glue-udp/control.sock; for a user control.sock in $XDG_RUNTIME_DIR/docker-glue-udp or
    /// /tmp/docker-glue-udp-UID]
    #[arg(long, value_name = "PATH", help_heading = FILES, value_parser = value::parse_path, global = true)]
    pub socket: Option<PathBuf>,

    /// Keep the listeners in this directory, for the next start
    ///
    /// Choose one that a reboot empties: containers may get other addresses then.
    ///
    /// [default: the directory of the socket]
    #[arg(long, value_name = "DIR", help_heading = FILES, value_parser = value::parse_path)]
    pub state_dir: Option<PathBuf>,

    /// Forward datagrams in this program (user) or in the kernel (nft)
    ///
    /// user works with all containers and all options of labels, and needs no privileges. nft takes less time for each
    /// datagram, and containers see the addresses of clients. It sets rules by the program nft, and a rule in the chain
    /// DOCKER-USER by iptables and ip6tables. It needs CAP_NET_ADMIN. What it cannot do (proxy, replies, sticky=none,
    /// containers on internal networks) is reported, and not served by the other engine. The rules remain when this program
    /// stops; remove-rules removes them, as does a start with the engine user and CAP_NET_ADMIN.
    #[arg(long, value_name = "ENGINE", help_heading = ENGINE, default_value = "user")]
    #[arg(value_parser = PossibleValuesParser::new(Engine::NAMES).try_map(|name| name.parse::<Engine>()))]
    pub engine: Engine,

    /// Use this number of threads, 1 to 8; with --engine user
    ///
    /// [default: one for each processor, at most 8]
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_THREADS)))]
    pub threads: Option<u8>,

    /// Remember at most this number of flows; with --engine user
    ///
    /// Each flow has a file and a local port. The number is also limited to the files that this process may open, and to
    /// three quarters of the ports of net.ipv4.ip_local_port_range. If a new flow finds no room, the flow that has
    /// been silent for the longest time is forgotten, and flows without an answer before others.
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS, default_value = "65536")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub sessions: u32,

    /// Write the log to stderr in this format
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Log more: -v debug, -vv trace [default: starts, stops and failures]
    ///
    /// RUST_LOG, if set, takes precedence.
    #[arg(short, long, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Log only warnings and errors [default: starts, stops and failures]
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Option<UdpSubcommand>,
}

// (A doc comment here would become the program's own description.)
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UdpSubcommand {
    /// Print listeners, endpoints and counters of the running docker-glue-udp
    ///
    /// Exit status: 0 printed; 4 docker-glue-udp does not answer.
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Remove the rules of the engine nft, after docker-glue-udp was stopped
    ///
    /// Also ends their flows. Needs CAP_NET_ADMIN, nft, iptables and ip6tables. Without a docker-glue-udp that has set
    /// rules with the same --socket and --state-dir since the machine was started, it does nothing.
    ///
    /// Exit status: 0 removed, or there were none; 1 docker-glue-udp runs, or the rules could not be removed.
    RemoveRules,
}

const ENGINE: &str = "Engine";
const FILES: &str = "Files";
const LIMITS: &str = "Limits";

const FOOTER: &str = "\
Options are read from the command line only.

Exit status: 0 stopped; 1 it could not start, or had to stop; 2 invalid options; 4 the running
docker-glue-udp does not answer.";

/// All of it, for its help.
pub fn udp_command() -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    UdpOptions::command()
        .arg(
            help.help("Print a summary (-h) or the full help (--help)")
                .help_heading(OUTPUT)
                .global(true),
        )
        .arg(version.help("Print the version").help_heading(OUTPUT))
}
