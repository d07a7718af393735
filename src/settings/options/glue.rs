//! The command line of docker-glue, with the text of its `--help`.

use super::{ACTION, DOCKER, OUTPUT, Program, Switches};
use crate::{
    settings::{SourceOption, value},
    support::log::LogFormat,
};
use clap::{ArgAction, Command, Parser, Subcommand, builder::BoolishValueParser};
use std::path::PathBuf;

/// Runs handlers on events of your containers
///
/// Each file in docker-glue.d defines a handler and its events. A handler runs a script or a plugin, writes a
/// file from a template and notifies other containers, publishes containers to etcd, or configures HAProxy.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "docker-glue", version, max_term_width = 100)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(
    override_usage = "docker-glue --watch [OPTIONS]\n       docker-glue --once [OPTIONS]\n       \
                      docker-glue check|render [OPTIONS]"
)]
#[command(subcommand_help_heading = COMMANDS, disable_help_subcommand = true)]
#[command(after_help = FOOTER, after_long_help = FOOTER)]
pub struct GlueOptions {
    /// Run each handler once for the existing containers and exit
    #[arg(short = '1', long, help_heading = ACTION)]
    pub once: bool,

    /// Run handlers on events until stopped
    ///
    /// Ctrl-C or SIGTERM stops docker-glue; SIGHUP reloads the handler files. With both options, --once wins.
    #[arg(short, long, help_heading = ACTION)]
    pub watch: bool,

    /// Read options from this TOML file
    ///
    /// A file that is given must exist. docker-balancer reads the same file.
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

    /// Follow several sources of containers, each with a name of its own
    ///
    /// Give it once for each Docker engine: tcp://10.0.0.2:2376?name=node2&cert_path=DIR, in place of
    /// --docker-url; for a Swarm, swarm+tcp://MANAGER:2376,MANAGER:2376?name=swarm; for what docker-glue publishes
    /// in etcd, etcd://HOST,HOST/PREFIX?name=fleet. Names are of a-z, 0-9 and _. Further parameters: host (the
    /// address of published ports), forget (how long the containers of a source or machine that does not answer
    /// are kept), and those of docker-balancer. In the settings file, each source is a table [[source]], which
    /// docker-balancer reads, too.
    ///
    /// [default: the engine of --docker-url, without a name]
    #[arg(long, value_name = "URL", help_heading = DOCKER, value_parser = SourceOption::parse, global = true)]
    pub source: Vec<SourceOption>,

    /// Read handlers from the *.ini files in this directory (repeatable)
    ///
    /// The directory in the current directory is used only if it belongs to docker-glue's user or root and no
    /// other user can write to it. The same applies to scripts and plugins.
    ///
    /// [default: docker-glue.d in ../etc and ../../etc, relative to the program, in /etc, in /etc/docker-glue
    /// and in the current directory]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub handler_paths: Vec<PathBuf>,

    /// Search this directory for scripts without a path (repeatable)
    ///
    /// The directory of the handler's file is searched last.
    ///
    /// [default: ../libexec/docker-glue and ../../libexec/docker-glue, relative to the program;
    /// /usr/libexec/docker-glue and ./handler-scripts]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub script_paths: Vec<PathBuf>,

    /// Search this directory for Python plugins (repeatable)
    ///
    /// [default: /usr/lib/docker-glue/plugins and ./plugins]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub plugin_paths: Vec<PathBuf>,

    /// Keep the handlers' state in this directory
    ///
    /// It is kept across restarts, in the subdirectory handlers, readable only by this user.
    ///
    /// [default: /var/lib/docker-glue-handlers; for a user $XDG_STATE_HOME/docker-glue or
    /// ~/.local/state/docker-glue]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub state_dir: Option<PathBuf>,

    /// Read from this file which certificates docker-balancer has
    ///
    /// Its changes are the events certificate of handlers. docker-balancer writes the file, which contains no key.
    ///
    /// [default: /run/docker-glue/certificates.json; for a user certificates.json in $XDG_RUNTIME_DIR/docker-glue or
    /// /tmp/docker-glue-UID]
    #[arg(long, value_name = "FILE", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub certificate_list: Option<PathBuf>,

    /// Write the log to stderr in this format
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Log more: -v debug, -vv trace [default: one line for each handler run]
    ///
    /// RUST_LOG, if set, takes precedence.
    #[arg(short, long, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Log only warnings and errors [default: one line for each handler run]
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
}

// Subcommands that need no daemon. (A doc comment here would become the program's own description.)
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum GlueCommand {
    /// Check all handler files and report every error; run nothing
    ///
    /// Exit status: 0 all files are valid; 1 there are errors, or no files.
    Check,

    /// Render a template for the existing containers and print it
    ///
    /// Exit status: 0 printed; 1 the template has an error; 4 Docker does not answer.
    Render {
        /// The template's file, or its text after a #
        template: String,

        /// Keep blank lines: yes or no
        #[arg(
            long,
            value_name = "YES",
            num_args = 0..=1,
            require_equals = true,
            default_value = "yes",
            default_missing_value = "yes",
            hide_possible_values = true,
            value_parser = BoolishValueParser::new()
        )]
        keep_blank_lines: bool,
    },
}

impl Program for GlueOptions {
    const NAME: &str = "docker-glue";
    type Subcommand = GlueCommand;
    type OtherProgram = super::Options;

    fn command_line() -> Command {
        super::build_command::<Self>()
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

const COMMANDS: &str = "Commands";
const HANDLERS: &str = "Handlers (docker-glue only)";

const FOOTER: &str = "\
A first handler:
  mkdir docker-glue.d
  printf '[handler]\\nclass=script\\nevents=start,die\\n[params]\\nscript=/usr/bin/logger\\n' \\
      > docker-glue.d/log.ini
  docker-glue --watch

Every option is also an environment variable (DOCKER_GLUE_ and its name) and a key of the settings
file.

Exit status: 0 done, or stopped; 1 a handler failed; 2 invalid options; 4 Docker does not answer.";
