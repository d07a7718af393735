//! Any ini file of a handler.

#![no_main]

use docker_glue::handlers::ini::{self, Ini};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|text: &str| {
    match Ini::parse("any.ini", text) {
        Ok(ini) => {
            for section in [&ini.handler, &ini.params] {
                for (key, value) in section.iter() {
                    section.split_list(key);
                    let _ = (
                        section.parse_bool(key, true),
                        section.parse_duration(key, Duration::ZERO),
                    );
                    ini::parse_duration(value);
                }
                let _ = section.reject_unknown(&["class", "script"]);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
