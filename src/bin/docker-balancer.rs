//! docker-balancer: configures HAProxy from the labels of containers.

use docker_glue::{
    cli::{command, run},
    settings::{
        HostEnv, SettingsError, Task,
        options::{Options, Program},
    },
    support::log,
};
use std::process::ExitCode;

const PROGRAM: &str = <Options as Program>::NAME;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let settings = match Task::from_args(&args, &HostEnv::detect_host()) {
        Ok(Task::Serve(settings)) => *settings,
        Ok(Task::Daemon(errand)) => return command::run_remote(&errand),
        Ok(Task::Local(look, settings)) => return command::run_local(&look, &settings),
        Err(refusal) => return refusal.print_error(PROGRAM),
    };
    let code = match log::start_logging(&settings.log, PROGRAM) {
        Ok(()) => run::run_balancer(settings),
        Err(error) => SettingsError::Invalid(error).print_error(PROGRAM),
    };
    log::flush();
    code
}
