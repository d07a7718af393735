//! Options of a route of connections as one word of its map's value, and as words of its servers.
//!
//! Pure. HAProxy does not return the words of a server, so docker-balancer reads the options back from the map.

use crate::model::{
    label_option::TypedOption,
    option_value::CheckMethod,
    route::Policy,
    stream::{Balance, Cut, Idle, ProxyHeader},
};
use std::{fmt::Write as _, num::NonZeroU16};

/// Returns the options as one word. `None` if all of them are the default. The path of an HTTP check is in a map of its
/// own.
pub fn format_options(policy: &Policy) -> Option<String> {
    let mut words = Vec::new();
    let mut add = |name: &str, value: String| words.push(format!("{name}={value}"));
    if policy.get::<Balance>() != Balance::default() {
        add("balance", policy.get::<Balance>().to_string());
    }
    if let Some(idle) = policy.get::<Idle>().duration() {
        add("idle", format!("{}ms", idle.as_millis()));
    }
    if policy.get::<ProxyHeader>() != ProxyHeader::Off {
        add("proxy", policy.get::<ProxyHeader>().to_string());
    }
    if policy.get::<Cut>() != Cut::default() {
        add("cut", policy.get::<Cut>().to_string());
    }
    if let Some(port) = check_port(policy) {
        add("check_port", port.to_string());
    }
    (!words.is_empty()).then(|| words.join(","))
}

/// Adds the options in a text by [`format_options`] to the policy, whose check has no port of its own.
#[must_use]
pub fn parse_options(text: &str, mut policy: Policy) -> Policy {
    for (option, value) in text.split(',').filter_map(|part| part.split_once('=')) {
        policy = match option {
            "balance" => with_parsed::<Balance>(policy, value),
            "idle" => with_parsed::<Idle>(policy, value),
            "proxy" => with_parsed::<ProxyHeader>(policy, value),
            "cut" => with_parsed::<Cut>(policy, value),
            "check_port" => match value.parse() {
                Ok(port) => with_check_port(policy, port),
                Err(_) => policy,
            },
            _ => policy,
        };
    }
    policy
}

fn with_parsed<T: TypedOption>(policy: Policy, value: &str) -> Policy {
    match value.parse::<T>() {
        Ok(value) => policy.with(value),
        Err(_) => policy,
    }
}

/// Returns the policy with its check at another port.
#[must_use]
pub(super) fn with_check_port(policy: Policy, port: NonZeroU16) -> Policy {
    let check = match policy.get() {
        CheckMethod::Http(path) => CheckMethod::HttpOn(port, path),
        _ => CheckMethod::TcpOn(port),
    };
    policy.with(check)
}

fn check_port(policy: &Policy) -> Option<NonZeroU16> {
    policy.get::<CheckMethod>().port()
}

/// Returns the words of a server, each with the space before it (Configuration Manual, section 5.2).
pub fn server_words(policy: &Policy) -> String {
    let is_checked = policy.get::<CheckMethod>() != CheckMethod::Off;
    let mut words = match policy.get() {
        ProxyHeader::Off => String::new(),
        ProxyHeader::V1 => " send-proxy".to_owned(),
        ProxyHeader::V2 => " send-proxy-v2".to_owned(),
    };
    let check_port = check_port(policy);
    // Another port is that of a program which does not expect the header.
    if !words.is_empty() && is_checked && check_port.is_none() {
        words.push_str(" check-send-proxy");
    }
    if let Some(port) = check_port {
        write!(words, " port {port}").expect("writing to a string cannot fail");
    }
    if policy.get::<Cut>() == Cut::Down && is_checked {
        words.push_str(" on-marked-down shutdown-sessions");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&str, Option<&str>, &str); 9] = [
        ("", None, ""),
        ("balance=source", Some("balance=source"), ""),
        ("idle=30m", Some("idle=1800000ms"), ""),
        ("proxy=v1", Some("proxy=v1"), " send-proxy check-send-proxy"),
        ("proxy=v2 check=off", Some("proxy=v2"), " send-proxy-v2"),
        ("proxy=v2 check=8008", Some("proxy=v2,check_port=8008"), " send-proxy-v2 port 8008"),
        ("cut=down", Some("cut=down"), " on-marked-down shutdown-sessions"),
        ("check=8008/health", Some("check_port=8008"), " port 8008"),
        (
            "balance=round cut=down check=8008/x",
            Some("balance=round,cut=down,check_port=8008"),
            " port 8008 on-marked-down shutdown-sessions",
        ),
    ];

    fn policy(labels: &str) -> Policy {
        let set = |policy: Policy, label: &str| {
            let (name, value) = label.split_once('=').unwrap();
            match name {
                "check" => policy.with(value.parse::<CheckMethod>().unwrap()),
                _ => parse_options(label, policy),
            }
        };
        labels.split_whitespace().fold(Policy::default(), set)
    }

    #[test]
    fn options_yield_words_of_map_and_server() {
        for (labels, word, words) in CASES {
            let policy = policy(labels);
            assert_eq!(format_options(&policy).as_deref(), word, "{labels}");
            assert_eq!(server_words(&policy), words, "{labels}");
        }
    }

    #[test]
    fn options_are_recovered_from_word_of_map() {
        for (labels, word, _) in CASES {
            let policy = policy(labels);
            let check = match policy.get() {
                CheckMethod::HttpOn(_, path) => CheckMethod::Http(path),
                CheckMethod::TcpOn(_) => CheckMethod::Tcp,
                check => check,
            };
            let recovered = parse_options(word.unwrap_or_default(), Policy::default().with(check));
            assert_eq!(recovered, policy, "{labels}");
        }
    }
}
