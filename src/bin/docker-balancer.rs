//! Labels on containers become HAProxy's configuration.

use docker_glue::{
    daemon, log,
    settings::{Machine, Refusal, Settings},
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let settings = match Settings::read(&args, &Machine::here()) {
        Ok(settings) => settings,
        Err(refusal) => return refusal.tell(),
    };
    match log::start(&settings.log) {
        Ok(()) => daemon::run(settings),
        Err(error) => Refusal::Wrong(error).tell(),
    }
}
