//! Checks that a configuration contains only lines that the templates generate, whatever the labels contain.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "this is a test")]

use super::story;
use docker_glue::{
    haproxy::{
        features::{FIRST_WORD, HeaderNames},
        files::ConfigFiles,
        render::render_files,
    },
    model::world::World,
    routing::decide::{DecideState, decide},
};
use std::{collections::BTreeSet, sync::LazyLock, time::Instant};

/// Stories that use every part of the templates, without TCP and with it.
const EVERYTHING: [&str; 2] = [
    "
    a 172.17.0.2 glue_http_80_host=a.test,*.a.test glue_http_80_check=/x glue_http_80_retry=off glue_http_80_drop_request_headers=x-drop
    b 172.17.0.3 glue_http_ports=80
    c 172.17.0.4 glue_http_80_host=c.test",
    "
    a 172.17.0.2 glue_http_80_host=a.test
    b 172.17.0.3 glue_tcp_80_host=b.test glue_tcp_80_check=/x
    c 172.17.0.4 glue_tcp_ports=81
    d 172.17.0.5 glue_tcp_82_balance=round glue_tcp_83_balance=source",
];

static TEMPLATE: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let configs = EVERYTHING.map(|story| files_of(&story::parse_world(story)).config);
    configs.iter().flat_map(|config| config.lines().map(mask_numbers)).collect()
});

pub fn files_of(world: &World) -> ConfigFiles {
    files_after(DecideState::default(), world)
}

/// Returns the files of a world after earlier decisions.
pub fn files_after(memory: DecideState, world: &World) -> ConfigFiles {
    let decided = decide(world, memory, Instant::now(), &story::default_rules());
    render_files(&story::build_config(&decided.routes), &story::default_frame())
}

/// # Panics
/// At the first line that the templates do not generate.
pub fn assert_own_lines(files: &ConfigFiles) {
    for line in files.config.lines() {
        assert!(is_own_line(line), "not a line of ours: {line:?}");
    }
    let last_word = FIRST_WORD + 14;
    for (name, words) in [
        ("routes.map", 5..=last_word),
        ("checks.map", 2..=2),
        ("check-hosts.map", 2..=2),
        ("strict-hosts.map", 2..=2),
        ("client-networks.map", 2..=2),
        ("client-members.map", 2..=4),
        ("origins.map", 2..=2),
        ("headers.map", 2..=usize::MAX),
    ] {
        for line in files.generation.files[name].lines() {
            let plain = line.chars().all(|c| matches!(c, ' '..='~')) && !line.starts_with('#');
            let count = line.split(' ').count();
            // The key comes first.
            let count = if name == "routes.map" { count - 1 } else { count };
            assert!(plain && words.contains(&count), "{name}: {line:?}");
        }
    }
}

fn is_own_line(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        _ if TEMPLATE.contains(&mask_numbers(line)) => true,
        // A label may name a header. All else in the line is that of a header that the template names.
        ["http-request" | "http-after-response", "set-header" | "del-header", ..] => {
            let known = ["x-forwarded-proto", "cache-control", "server", "x-drop"];
            let key = line.split("concat(/").nth(1).and_then(|key| key.split([')', '/']).nth(1));
            let Some(name) = key else { return false };
            let is_header = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            let with = |known: &str| {
                let [pattern, of_known] = [name, known].map(HeaderNames::pattern);
                mask_numbers(&line.replace(&pattern, &of_known).replace(name, known))
            };
            is_header && known.iter().any(|known| TEMPLATE.contains(&with(known)))
        }
        ["#", ..] => line.chars().all(|c| matches!(c, ' '..='~')),
        ["backend", name] => is_name(name),
        ["timeout", "tunnel", time] => time.chars().all(|c| c.is_ascii_alphanumeric()),
        ["server", name, address, ..] => {
            let (words, comment) = line.split_once("  # ").unwrap();
            let existing = |word: &str| mask_numbers(line).contains(&mask_numbers(word));
            is_name(name)
                && address.parse::<std::net::SocketAddr>().is_ok()
                && words.split_whitespace().skip(3).all(existing)
                && comment.chars().all(|c| is_name_char(c) || " ()".contains(c))
        }
        _ => false,
    }
}

fn is_name(text: &str) -> bool {
    text.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:-".contains(c)
}

/// Masks numbers and content hashes, which differ between configurations.
fn mask_numbers(line: &str) -> String {
    let hashed = ["default-path", "server-state-base", "description"];
    let line = match hashed.iter().find(|word| line.trim_start().starts_with(**word)) {
        Some(word) => word,
        None => line,
    };
    let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let mut text: Vec<_> = line.chars().map(digit).collect();
    text.dedup_by(|a, b| *a == '0' && *b == '0');
    text.into_iter().collect()
}
