//! Labels on containers become HAProxy's configuration.

use docker_glue::{
    cli::{Options, Program},
    daemon, log,
    settings::{Machine, Refusal, Task},
    verb,
};
use std::process::ExitCode;

const PROGRAM: &str = <Options as Program>::NAME;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let settings = match Task::read(&args, &Machine::here()) {
        Ok(Task::Serve(settings)) => *settings,
        Ok(Task::Ask(errand)) => return verb::ask(&errand),
        Ok(Task::Look(look, settings)) => return verb::look(&look, &settings),
        Err(refusal) => return refusal.tell(PROGRAM),
    };
    let code = match log::start(&settings.log, PROGRAM) {
        Ok(()) => daemon::run(settings),
        Err(error) => Refusal::Wrong(error).tell(PROGRAM),
    };
    log::flush();
    code
}
