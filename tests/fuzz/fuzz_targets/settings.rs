//! Any settings file, of both programs.

#![no_main]

use docker_glue::settings::{GlueTask, HostEnv, Task};
use libfuzzer_sys::fuzz_target;
use std::{ffi::OsString, path::PathBuf, sync::LazyLock};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("docker-glue-fuzz-settings-{}", std::process::id()))
});

fuzz_target!(|text: &[u8]| {
    std::fs::write(&*FILE, text).expect("it can be written");
    let args = |program: &str| {
        ["-w", "--settings"].iter().fold(vec![OsString::from(program)], |mut args, word| {
            args.push(word.into());
            args
        })
    };
    let with_file = |program| [args(program), vec![FILE.clone().into()]].concat();
    let _ = Task::from_args(&with_file("docker-balancer"), &HostEnv::default());
    let _ = GlueTask::from_args(&with_file("docker-glue"), HostEnv::default());
});
