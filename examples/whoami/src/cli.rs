//! The server's settings, by flags or environment variables, of which the
//! latter are convenient in containers.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};

/// An HTTP server that says who it is and what it was asked.
#[derive(Debug, Parser)]
#[command(name = "whoami", args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask /healthz of the server on this machine; exit 0 if it is healthy.
    Healthcheck {
        /// The port to ask, by default the first one the server listens on.
        port: Option<u16>,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Ports to listen on; 0 takes any free one.
    #[arg(long = "port", env = "WHOAMI_PORT", value_delimiter = ',', default_value = "80")]
    pub(crate) ports: Vec<u16>,
    /// Ports at which connections and datagrams are echoed; 0 takes any free one.
    #[arg(long = "echo", env = "WHOAMI_ECHO", value_delimiter = ',')]
    pub(crate) echo_ports: Vec<u16>,
    /// The name to answer with, by default the host name.
    #[arg(long, env = "WHOAMI_NAME")]
    pub(crate) name: Option<String>,
    /// Wait this long before each answer.
    #[arg(long, env = "WHOAMI_DELAY", value_parser = humantime::parse_duration, default_value = "0s")]
    pub(crate) delay: Duration,
    /// Start listening only after this long.
    #[arg(long, env = "WHOAMI_LISTEN_AFTER", value_parser = humantime::parse_duration, default_value = "0s")]
    pub(crate) listen_after: Duration,
    /// Be unhealthy for this long after the start.
    #[arg(long, env = "WHOAMI_HEALTHY_AFTER", value_parser = humantime::parse_duration, default_value = "0s")]
    pub(crate) healthy_after: Duration,
    /// Ignore SIGTERM, as a server that has to be killed.
    #[arg(long, env = "WHOAMI_IGNORE_TERM", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) ignore_term: bool,
    /// Exit at once on SIGTERM instead of finishing what is in flight.
    #[arg(long, env = "WHOAMI_DROP_ON_TERM", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), conflicts_with = "ignore_term")]
    pub(crate) drop_on_term: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn ports_repeat_or_are_a_list() {
        for (line, ports) in [
            ("whoami", vec![80]),
            ("whoami --port 81", vec![81]),
            ("whoami --port 81 --port 82", vec![81, 82]),
            ("whoami --port 81,82", vec![81, 82]),
        ] {
            assert_eq!(parse(line).settings.ports, ports, "{line}");
        }
    }

    #[test]
    fn durations_have_units() {
        let settings = parse("whoami --delay 200ms --listen-after 3s").settings;
        assert_eq!(settings.delay, Duration::from_millis(200));
        assert_eq!(settings.listen_after, Duration::from_secs(3));
        assert!(Cli::try_parse_from(["whoami", "--delay", "200"]).is_err());
    }

    #[test]
    fn healthcheck_takes_a_port() {
        let Some(Command::Healthcheck { port }) = parse("whoami healthcheck 81").command else {
            panic!("no healthcheck");
        };
        assert_eq!(port, Some(81));
    }
}
