//! The names of labels: which there are, and what one that is not among them was meant to be.
//!
//! Pure. Names are case-sensitive, as Docker's are.

use super::{
    synonym::{self, Meant},
    value,
};
use crate::problem::Reason;
use std::num::NonZeroU16;

/// What a name says that starts with `glue_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// `glue_http_<port>_<option>` and perhaps `.<route>`.
    Http { port: NonZeroU16, option: Choice, route: Option<&'a str> },
    /// `glue_http_ports`
    Ports,
    /// `glue_network`
    Network,
}

/// What can be chosen for a port or for one of its named routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Host,
    Prefix,
    StripPrefix,
    Weight,
    Bind,
    Check,
    Health,
    Timeout,
    Retry,
}

/// Those that are about no port.
const OTHERS: [&str; 2] = ["glue_http_ports", "glue_network"];

/// Names of any length are judged; suggestions are worked out for those a person may have typed.
const LONGEST_TYPED: usize = 96;

impl Choice {
    pub const ALL: [(&'static str, Self); 9] = [
        ("host", Self::Host),
        ("prefix", Self::Prefix),
        ("strip_prefix", Self::StripPrefix),
        ("weight", Self::Weight),
        ("bind", Self::Bind),
        ("check", Self::Check),
        ("health", Self::Health),
        ("timeout", Self::Timeout),
        ("retry", Self::Retry),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, choice)| *choice)
    }
}

/// `None`: the label is someone else's.
pub fn parse(key: &str) -> Option<Result<Key<'_>, Reason>> {
    let name = key.strip_prefix("glue_")?;
    Some(match name {
        "network" => Ok(Key::Network),
        "http_ports" => Ok(Key::Ports),
        _ if name.contains(['$', '{', '}']) => Err(Reason::VariableInName),
        _ if name.starts_with("tcp_") || name.starts_with("udp_") => Err(Reason::NotYet),
        _ => match name.strip_prefix("http_").and_then(|rest| http(rest).transpose()) {
            Some(known_or_wrong) => known_or_wrong,
            None => Err(unknown(key)),
        },
    })
}

/// `<port>_<option>[.<route>]`; `Ok(None)` where the option is none of ours.
fn http(rest: &str) -> Result<Option<Key<'_>>, Reason> {
    let (stem, route) = parts(rest);
    let portless = Choice::named(stem).is_some();
    let Some((port, option)) = stem.split_once('_') else { return Ok(None) };
    let Some(option) = Choice::named(option).filter(|_| !portless) else { return Ok(None) };
    match route {
        Some(route) if !is_route_name(route) => Err(Reason::NotARouteName(route.to_owned())),
        _ => Ok(Some(Key::Http { port: value::port(port)?, option, route })),
    }
}

/// What is known of a name that is none of ours.
fn unknown(key: &str) -> Reason {
    if LONGEST_TYPED < key.len() {
        return Reason::UnknownLabel { nearest: None };
    }
    // `- "KEY: VALUE"` of a compose file's list.
    if let Some((name, value)) = key.split_once(':').map(|(a, b)| (a.trim(), b.trim()))
        && matches!(parse(name), Some(Ok(_)))
    {
        return Reason::UnknownLabel { nearest: Some(format!("{name}={value}")) };
    }
    // A near name goes before another word for the same.
    let near = nearest(key).or_else(|| (key == "glue_ports").then(|| "glue_http_ports".to_owned()));
    match Some(()).filter(|()| near.is_none()).and_then(|()| other_word(key)) {
        Some((_, _, Meant::Nothing(way_out))) => Reason::NotOffered { way_out },
        Some((port, route, Meant::Option(choice))) => {
            let name = Choice::ALL.iter().find(|(_, known)| *known == choice).map_or("", |it| it.0);
            let nearest = with(format!("glue_http_{port}_{name}"), route);
            Reason::UnknownLabel { nearest: Some(nearest) }
        }
        None => Reason::UnknownLabel { nearest: near },
    }
}

/// `glue_http_<port>_<word>`, and what is near to that: the port, the route and what the word means.
fn other_word(key: &str) -> Option<(String, Option<&str>, Meant)> {
    let (stem, route) = parts(key);
    let stem = stem.strip_prefix("glue_")?;
    let protocol = |it: &&str| !matches!(*it, "http" | "https" | "tcp");
    let words: Vec<_> = stem.split(['_', '-']).filter(protocol).collect();
    let (ports, words): (Vec<&str>, Vec<&str>) =
        words.into_iter().partition(|it| value::port(it).is_ok());
    let port = ports.first().map_or_else(|| "<port>".to_owned(), |port| (*port).to_owned());
    // As others nest them: `_tls.certresolver`; one of them may be the name of a route.
    let whole = words.concat();
    let nested = route.map(|route| format!("{whole}{route}"));
    let nested = nested.and_then(|it| synonym::option(&it)).map(|meant| (None, meant));
    let plain = || synonym::option(&whole).map(|meant| (route, meant));
    let (route, meant) = nested.or_else(plain)?;
    Some((port, route, meant))
}

fn parts(text: &str) -> (&str, Option<&str>) {
    text.split_once('.').map_or((text, None), |(stem, route)| (stem, Some(route)))
}

fn is_route_name(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(legal)
}

/// The known name that most likely was meant, if one is near: at most three slips,
/// and fewer than half of what is in question.
fn nearest(key: &str) -> Option<String> {
    let (stem, route) = parts(key);
    if LONGEST_TYPED < stem.len() {
        return None;
    }
    let port = stem.split('_').find(|part| value::port(part).is_ok());
    let start = format!("glue_http_{}_", port.unwrap_or("<port>"));
    if let Some((option, _)) =
        Choice::ALL.iter().find(|(name, _)| stem.strip_prefix("glue_http_") == Some(name))
    {
        return Some(with(format!("{start}{option}"), route));
    }
    let certain = if stem.starts_with(&start) { start.len() } else { "glue_".len() };
    let options = Choice::ALL.iter().map(|(option, _)| (format!("{start}{option}"), route));
    options
        .chain(OTHERS.map(|name| (name.to_owned(), None)))
        .map(|(name, route)| (strsim::osa_distance(stem, &name), name, route))
        .filter(|(slips, ..)| *slips <= 3 && 2 * slips < stem.len() - certain)
        .min_by_key(|(slips, ..)| *slips)
        .map(|(_, name, route)| with(name, route))
}

/// The name of ours that somebody else's most likely was meant to be: with other separators or capitals,
/// or one or two slips away. None is certain: it may be another program's.
pub fn misspelt(key: &str) -> Option<String> {
    if key.starts_with("glue_") || LONGEST_TYPED < key.len() {
        return None;
    }
    let (stem, route) = parts(key);
    misspelt_stem(stem, route)
        .or_else(|| misspelt_stem(&key.replace('.', "_"), None))
        .or_else(|| misspelt_word(key))
}

/// With other separators, and another word for the option: `glue.http.80.domain`.
fn misspelt_word(key: &str) -> Option<String> {
    let typed = key.to_ascii_lowercase().replace(['-', '/', ' ', '.'], "_");
    match typed.starts_with("glue_").then(|| unknown(&typed))? {
        Reason::UnknownLabel { nearest } => nearest,
        _ => None,
    }
}

fn misspelt_stem(stem: &str, route: Option<&str>) -> Option<String> {
    let typed = stem.to_ascii_lowercase().replace(['-', '/', ' '], "_");
    let port = typed.split('_').find(|part| value::port(part).is_ok());
    let options = port.into_iter().flat_map(|port| {
        Choice::ALL.iter().map(move |(option, _)| (format!("glue_http_{port}_{option}"), route))
    });
    options
        .chain(OTHERS.map(|name| (name.to_owned(), None)))
        .map(|(name, route)| (strsim::osa_distance(&typed, &name), name, route))
        .filter(|(slips, ..)| *slips <= 2)
        .min_by_key(|(slips, ..)| *slips)
        .map(|(_, name, route)| with(name, route))
}

fn with(name: String, route: Option<&str>) -> String {
    match route {
        Some(route) if is_route_name(route) => format!("{name}.{route}"),
        _ => name,
    }
}
