//! What can be asked of docker-glue, in the words of its `--help`.

use super::{ACTION, DOCKER, OUTPUT, Program, Switches};
use crate::{settings::value, support::log::LogFormat};
use clap::{ArgAction, Command, Parser, Subcommand, builder::BoolishValueParser};
use std::path::PathBuf;

/// Runs handlers when something happens to your containers
///
/// Each file in docker-glue.d says what is to be done and when: run a script or a plugin, write a file from a
/// template and tell other containers about it, publish containers to etcd, or drive HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "docker-glue", version, max_term_width = 100)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(
    override_usage = "docker-glue --watch [OPTIONS]\n       docker-glue --once [OPTIONS]\n       \
                      docker-glue check|render [OPTIONS]"
)]
#[command(subcommand_help_heading = COMMANDS, disable_help_subcommand = true)]
#[command(after_help = FOOTER, after_long_help = FOOTER)]
pub struct GlueOptions {
    /// Run each handler once, for the containers that are there, and exit
    #[arg(short = '1', long, help_heading = ACTION)]
    pub once: bool,

    /// Run handlers for what happens, until stopped
    ///
    /// Ctrl-C or SIGTERM stops it, SIGHUP has it read its files anew. Given both, --once wins.
    #[arg(short, long, help_heading = ACTION)]
    pub watch: bool,

    /// Read options from this TOML file
    ///
    /// A file that is named must exist. docker-balancer reads the same one.
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

    /// Read handlers from the *.ini files of this folder (repeatable)
    ///
    /// That of the folder where docker-glue is started counts only if it is its user's or root's and nobody else
    /// may write to it; the same holds for scripts and plugins.
    ///
    /// [default: docker-glue.d in ../etc, ../../etc, /etc and here, seen from the program; and
    /// /etc/docker-glue/docker-glue.d]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub handler_paths: Vec<PathBuf>,

    /// Look for scripts that are named without a folder in this one (repeatable)
    ///
    /// After that, beside the handler's file.
    ///
    /// [default: ../libexec/docker-glue and ../../libexec/docker-glue, seen from the program;
    /// /usr/libexec/docker-glue and ./handler-scripts]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub script_paths: Vec<PathBuf>,

    /// Look for Python plugins in this folder (repeatable)
    ///
    /// [default: /usr/lib/docker-glue/plugins and ./plugins]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub plugin_paths: Vec<PathBuf>,

    /// Keep what handlers have been told here, over a restart
    ///
    /// In its folder handlers, for this user alone.
    ///
    /// [default: /var/lib/docker-glue; as a user $XDG_STATE_HOME/docker-glue or
    /// ~/.local/state/docker-glue]
    #[arg(long, value_name = "DIR", help_heading = HANDLERS, value_parser = value::parse_path, global = true)]
    pub state_dir: Option<PathBuf>,

    /// How the log is written, to stderr
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Say more: -v debug, -vv everything [default: a line for each handler that ran]
    ///
    /// RUST_LOG, where it is set, says it in its own way.
    #[arg(short, long, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Say only what went wrong [default: a line for each handler that ran]
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
}

// What needs no daemon. (A doc comment would become the program's own.)
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum GlueCommand {
    /// Read all handlers' files and name every mistake, without running anything
    ///
    /// Exit status: 0 all is well; 1 there are mistakes, or no files at all.
    Check,

    /// Print a template as it comes out for the containers that are there
    ///
    /// Exit status: 0 printed; 1 the template has a mistake; 4 Docker does not answer.
    Render {
        /// Its file, or the template itself after a #
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

const COMMANDS: &str = "Without following Docker";
const HANDLERS: &str = "Handlers (docker-glue alone)";

const FOOTER: &str = "\
A first handler:
  mkdir docker-glue.d
  printf '[handler]\\nclass=script\\nevents=start,die\\n[params]\\nscript=/usr/bin/logger\\n' \\
      > docker-glue.d/log.ini
  docker-glue --watch

Every option is also an environment variable (DOCKER_GLUE_ and its name) and a key of the settings file.

Exit status: 0 done, or stopped; 1 something failed; 2 the options are wrong; 4 Docker does not answer.";
