//! docker-glue: runs handlers on the events of containers.

use docker_glue::{
    cli::run,
    settings::{
        GlueTask, HostEnv, SettingsError,
        options::{Program, glue::GlueOptions},
    },
    support::log,
};
use std::process::ExitCode;

const PROGRAM: &str = <GlueOptions as Program>::NAME;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let (task, settings) = match GlueTask::from_args(&args, HostEnv::detect_host()) {
        Ok(read) => read,
        Err(refusal) => return refusal.print_error(PROGRAM),
    };
    let code = match log::start_logging(&settings.log, PROGRAM) {
        Ok(()) => run::run_glue(task, settings),
        Err(error) => SettingsError::Invalid(error).print_error(PROGRAM),
    };
    log::flush();
    code
}
