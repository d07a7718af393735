//! Any line on docker-glue-udp's control socket, as a command and as an answer. A command that is accepted is the same
//! after it was printed.

#![no_main]

use docker_glue::udp::{answer::UdpAnswer, command::UdpCommand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    match line.parse::<UdpCommand>() {
        Ok(command) => {
            let printed = command.to_string();
            assert!(!printed.contains('\n'), "{printed:?}");
            assert_eq!(printed.parse(), Ok(command));
        }
        Err(error) => assert!(error.to_string().len() < 4000),
    }
    let _ = serde_json::from_str::<UdpAnswer>(line);
});
