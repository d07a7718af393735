//! Any ini file of a handler.

#![no_main]

use docker_glue::handlers::ini::{Ini, self};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|text: &str| {
    match Ini::read("any.ini", text) {
        Ok(ini) => {
            for section in [&ini.handler, &ini.params] {
                for (key, value) in section.all() {
                    section.list(key);
                    let _ = (section.switch(key, true), section.time(key, Duration::ZERO));
                    ini::time(value);
                }
                let _ = section.only(&["class", "script"]);
            }
        }
        Err(mistake) => assert!(!mistake.to_string().is_empty()),
    }
});
