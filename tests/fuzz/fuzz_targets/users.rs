//! Any list of users, as a label and as a file, is read or refused, and neither texts nor JSON contain it.

#![no_main]

use docker_glue::model::{
    http::{password::PasswordHash, users::Users},
    option_value::OptionType,
    secret,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for users in [text.parse::<Users>().ok(), Users::parse_file(text).ok()].into_iter().flatten() {
        // Only a label can open a route, with a word.
        let opens = text.trim().eq_ignore_ascii_case("off");
        assert_eq!((users.is_none(), users.is_known()), (opens, !opens));
        assert_eq!(Users::from_json(&users.to_json()).as_ref(), Some(&users));
        let shown = format!("{users} {users:?} {}", users.to_json());
        let hashes = text.split([',', '\n']).filter_map(|entry| entry.trim().split_once(':'));
        for (_, hash) in hashes.filter(|(_, hash)| PasswordHash::parse(hash).is_some()) {
            assert!(!shown.contains(hash), "{shown}");
        }
    }
    // Hashes by MD5 and SHA-1 are quick to verify.
    if let Some(hash) = PasswordHash::parse(text).filter(|_| !text.starts_with(['$'])) {
        let _ = hash.verify(text.as_bytes());
    }
    if let Some((key, value)) = text.split_once('=') {
        let shown = secret::shown_value(key, value);
        assert!(!secret::has_hash(&shown), "{shown}");
        let _ = secret::shown_key(key);
    }
});
