//! Labels on containers become HAProxy's configuration.

use docker_glue::{
    cli::{Options, Program},
    control::client,
    daemon, log,
    settings::{Machine, Refusal, Task},
};
use std::process::ExitCode;

const PROGRAM: &str = <Options as Program>::NAME;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let settings = match Task::read(&args, &Machine::here()) {
        Ok(Task::Serve(settings)) => *settings,
        Ok(Task::Run(errand)) => return client::run(&errand),
        Err(refusal) => return refusal.tell(PROGRAM),
    };
    match log::start(&settings.log) {
        Ok(()) => daemon::run(settings),
        Err(error) => Refusal::Wrong(error).tell(PROGRAM),
    }
}
