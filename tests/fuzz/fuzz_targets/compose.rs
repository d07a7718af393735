//! Any compose file.

#![no_main]

use docker_glue::sources::compose::{self, Deployment};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock};

/// The file is in a folder without other files that it could refer to.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder =
        std::env::temp_dir().join(format!("docker-glue-fuzz-compose-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of its own");
    folder.join("compose.yaml")
});

fuzz_target!(|text: &[u8]| {
    std::fs::write(&*FILE, text).expect("it can be written");
    let variables = BTreeMap::from([("TAG".to_owned(), "1".to_owned())]);
    let _ = compose::read_project(&FILE, &variables, Deployment::Swarm);
});
