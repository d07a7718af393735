//! Handlers for anything that must follow the containers.

use docker_glue::{
    cli::{Program, glue::Options},
    daemon, log,
    settings::{GlueTask, Machine, Refusal},
};
use std::process::ExitCode;

const PROGRAM: &str = <Options as Program>::NAME;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let (task, settings) = match GlueTask::read(&args, Machine::here()) {
        Ok(read) => read,
        Err(refusal) => return refusal.tell(PROGRAM),
    };
    let code = match log::start(&settings.log, PROGRAM) {
        Ok(()) => daemon::glue(task, settings),
        Err(error) => Refusal::Wrong(error).tell(PROGRAM),
    };
    log::flush();
    code
}
