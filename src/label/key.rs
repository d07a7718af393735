//! Parses the names of labels, and suggests corrections for unknown ones.
//!
//! Pure. Names are case-sensitive, as in Docker.

use super::synonym::{self, Synonym};
use crate::{
    model::{
        label_option::{InvalidValue, LabelOption},
        option_value,
        problem::Reason,
    },
    support::suggest::count_slips,
};
use std::num::NonZeroU16;

/// Parsed name of a label that starts with `glue_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKey<'a> {
    /// `glue_http_<port>_<option>`, optionally with `.<route>`.
    Http { port: NonZeroU16, option: LabelOption, route: Option<&'a str> },
    /// `glue_http_ports`, `glue_network`
    Container(LabelOption),
}

/// `<port>` is the container's port, so the name would suggest that the container speaks HTTPS.
const HTTPS_NAME: &str = "no label starts with glue_https_; HTTPS is an option of the port, as in \
                          glue_http_80_tls=on";
/// Longest name that gets a suggestion: a person may have typed it. Names of any length are parsed.
const MAX_TYPED_LENGTH: usize = 96;
/// Maximum number of typing errors for a suggestion if the name does not start with `glue_`: the label may be another
/// program's.
const MAX_FOREIGN_SLIPS: usize = 2;

/// Parses the name of a label. Returns `None` if it does not start with `glue_`: the label is another program's.
pub fn parse_key(key: &str) -> Option<Result<LabelKey<'_>, Reason>> {
    let name = key.strip_prefix("glue_")?;
    if let Some(option) = LabelOption::from_container_name(name) {
        return Some(Ok(LabelKey::Container(option)));
    }
    Some(match name {
        _ if name.contains(['$', '{', '}']) => Err(Reason::VariableInName),
        _ if name.starts_with("https_") => Err(Reason::UnsupportedOption { hint: HTTPS_NAME }),
        _ if name.starts_with("tcp_") || name.starts_with("udp_") => {
            Err(Reason::UnsupportedProtocol)
        }
        _ => match name
            .strip_prefix("http_")
            .and_then(|after_prefix| parse_http_key(after_prefix).transpose())
        {
            Some(parsed) => parsed,
            None => Err(diagnose_unknown(key)),
        },
    })
}

/// Parses `<port>_<option>[.<route>]`. Returns `Ok(None)` if there is no such option.
fn parse_http_key(after_prefix: &str) -> Result<Option<LabelKey<'_>>, Reason> {
    let (stem, route) = split_route(after_prefix);
    let portless = LabelOption::from_port_name(stem).is_some();
    let Some((port, option)) = stem.split_once('_') else { return Ok(None) };
    let Some(option) = LabelOption::from_port_name(option).filter(|_| !portless) else {
        return Ok(None);
    };
    match route {
        Some(route) if !is_route_name(route) => Err(Reason::NotARouteName(route.to_owned())),
        _ => Ok(Some(LabelKey::Http { port: option_value::parse_port(port)?, option, route })),
    }
}

/// Returns what is wrong with an unknown name.
fn diagnose_unknown(key: &str) -> Reason {
    if MAX_TYPED_LENGTH < key.len() {
        return Reason::UnknownLabel { nearest: None };
    }
    // `- "KEY: VALUE"` in a list of a compose file.
    if let Some((name, value)) = key.split_once(':').map(|(a, b)| (a.trim(), b.trim()))
        && matches!(parse_key(name), Some(Ok(_)))
    {
        return Reason::UnknownLabel { nearest: Some(format!("{name}={value}")) };
    }
    // A similar name takes precedence over a synonym, except over one of an option that protects the port.
    let synonym = match_synonym(key);
    let suggestion =
        nearest_label(key).or_else(|| (key == "glue_ports").then(|| "glue_http_ports".to_owned()));
    match synonym.filter(|(.., synonym)| suggestion.is_none() || is_protective(*synonym)) {
        Some((_, _, Synonym::Unsupported(hint))) => Reason::UnsupportedOption { hint },
        Some((port, route, Synonym::Option(option))) => {
            let name = option.name();
            let nearest = with_route(format!("glue_http_{port}_{name}"), route);
            Reason::UnknownLabel { nearest: Some(nearest) }
        }
        None => Reason::UnknownLabel { nearest: suggestion },
    }
}

fn is_protective(synonym: Synonym) -> bool {
    let Synonym::Option(option) = synonym else { return false };
    option.spec().invalid == InvalidValue::ExcludesPort
}

/// Parses `glue_http_<port>_<word>` and similar names. Returns the port, the route and the meaning of the word.
fn match_synonym(key: &str) -> Option<(String, Option<&str>, Synonym)> {
    let (stem, route) = split_route(key);
    let stem = stem.strip_prefix("glue_")?;
    let protocol = |text: &&str| !matches!(*text, "http" | "https" | "tcp");
    let words: Vec<_> = stem.split(['_', '-']).filter(protocol).collect();
    let (ports, words): (Vec<&str>, Vec<&str>) =
        words.into_iter().partition(|text| option_value::parse_port(text).is_ok());
    let port = ports.first().map_or_else(|| "<port>".to_owned(), |port| (*port).to_owned());
    // Other programs nest words, as in `_tls.certresolver`; the last word may also be the name of a route.
    let whole = match words.concat() {
        // The only word was the protocol.
        empty if empty.is_empty() && stem.contains("https") => "https".to_owned(),
        words => words,
    };
    let nested = route.map(|route| format!("{whole}{route}"));
    let nested =
        nested.and_then(|text| synonym::find_synonym(&text)).map(|synonym| (None, synonym));
    let plain = || synonym::find_synonym(&whole).map(|synonym| (route, synonym));
    let (route, synonym) = nested.or_else(plain)?;
    Some((port, route, synonym))
}

fn split_route(text: &str) -> (&str, Option<&str>) {
    text.split_once('.').map_or((text, None), |(stem, route)| (stem, Some(route)))
}

fn is_route_name(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(legal)
}

/// Returns the most similar known name: at most three typing errors, and fewer than half as many as the compared part
/// has characters.
fn nearest_label(key: &str) -> Option<String> {
    let (stem, route) = split_route(key);
    if MAX_TYPED_LENGTH < stem.len() {
        return None;
    }
    let port = stem.split('_').find(|part| option_value::parse_port(part).is_ok());
    let start = format!("glue_http_{}_", port.unwrap_or("<port>"));
    if let Some(option) = stem.strip_prefix("glue_http_").and_then(LabelOption::from_port_name) {
        return Some(with_route(format!("{start}{}", option.name()), route));
    }
    let certain = if stem.starts_with(&start) { start.len() } else { "glue_".len() };
    let options =
        LabelOption::of_ports().map(|option| (format!("{start}{}", option.name()), route));
    options
        .chain(LabelOption::of_containers().map(|option| (option.spec().label(), None)))
        .filter_map(|(name, route)| {
            let (start, typed) = stem.split_at_checked(certain)?;
            Some((count_slips(typed, name.strip_prefix(start)?)?, name, route))
        })
        .min_by_key(|(slips, ..)| *slips)
        .map(|(_, name, route)| with_route(name, route))
}

/// Returns the known name that is most similar to a name that does not start with `glue_`: one with other separators
/// or capitals, or with one or two typing errors. This is only a guess, because the label may be another program's.
pub fn suggest_label(key: &str) -> Option<String> {
    if key.starts_with("glue_") || MAX_TYPED_LENGTH < key.len() {
        return None;
    }
    let (stem, route) = split_route(key);
    suggest_by_distance(stem, route)
        .or_else(|| suggest_by_distance(&key.replace('.', "_"), None))
        .or_else(|| suggest_by_synonym(key))
}

/// Suggests a name for one with other separators and a synonym of an option: `glue.http.80.domain`.
fn suggest_by_synonym(key: &str) -> Option<String> {
    let typed = key.to_ascii_lowercase().replace(['-', '/', ' ', '.'], "_");
    match typed.starts_with("glue_").then(|| diagnose_unknown(&typed))? {
        Reason::UnknownLabel { nearest } => nearest,
        _ => None,
    }
}

fn suggest_by_distance(stem: &str, route: Option<&str>) -> Option<String> {
    let typed = stem.to_ascii_lowercase().replace(['-', '/', ' '], "_");
    let port = typed.split('_').find(|part| option_value::parse_port(part).is_ok());
    let options = port.into_iter().flat_map(|port| {
        LabelOption::of_ports()
            .map(move |option| (format!("glue_http_{port}_{}", option.name()), route))
    });
    options
        .chain(LabelOption::of_containers().map(|option| (option.spec().label(), None)))
        .filter_map(|(name, route)| Some((count_slips(&typed, &name)?, name, route)))
        .filter(|(slips, ..)| *slips <= MAX_FOREIGN_SLIPS)
        .min_by_key(|(slips, ..)| *slips)
        .map(|(_, name, route)| with_route(name, route))
}

fn with_route(name: String, route: Option<&str>) -> String {
    match route {
        Some(route) if is_route_name(route) => format!("{name}.{route}"),
        _ => name,
    }
}
