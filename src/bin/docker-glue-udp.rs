//! docker-glue-udp: forwards UDP datagrams to containers.

use docker_glue::{
    cli::udp,
    settings::{HostEnv, SettingsError, UdpTask},
    support::log,
};
use std::process::ExitCode;

const PROGRAM: &str = "docker-glue-udp";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let settings = match UdpTask::from_args(&args, &HostEnv::detect_host()) {
        Ok(UdpTask::Serve(settings)) => settings,
        Ok(UdpTask::Show { socket, json }) => return udp::run_show(&socket, json),
        Ok(UdpTask::RemoveRules { socket, state_dir }) => {
            return udp::run_remove_rules(&socket, &state_dir);
        }
        Err(refusal) => return refusal.print_error(PROGRAM),
    };
    let code = match log::start_logging(&settings.log, PROGRAM) {
        Ok(()) => udp::run_plane(settings.plane),
        Err(error) => SettingsError::Invalid(error).print_error(PROGRAM),
    };
    log::flush();
    code
}
