//! Parses the names of labels, and suggests corrections for unknown ones.
//!
//! Pure. Names are case-sensitive, as in Docker.

use super::synonym::{self, Synonym};
use crate::{
    model::{
        label_option::{LabelOption, LabelProtocol},
        option_value::{self, PortRange},
        problem::Reason,
    },
    support::suggest::count_slips,
};

/// Parsed name of a label that starts with `glue_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKey<'a> {
    /// `glue_<protocol>_<port>_<option>`, optionally with `.<route>`. Only ports of TCP and UDP may be a range.
    /// The free part of the option's name, if it has one, is `tail`: a header's name.
    Port {
        protocol: LabelProtocol,
        ports: PortRange,
        option: LabelOption,
        tail: Option<&'a str>,
        route: Option<&'a str>,
    },
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
        _ => match split_protocol(name)
            .and_then(|(protocol, after_prefix)| parse_port_key(protocol, after_prefix).transpose())
        {
            Some(parsed) => parsed,
            None => Err(diagnose_unknown(key)),
        },
    })
}

/// Splits `tcp_5432_bind` after the protocol.
fn split_protocol(name: &str) -> Option<(LabelProtocol, &str)> {
    let (protocol, after_prefix) = name.split_once('_')?;
    Some((protocol.parse().ok()?, after_prefix))
}

/// Parses `<port>_<option>[.<route>]`. Returns `Ok(None)` if there is no such option.
fn parse_port_key(
    protocol: LabelProtocol,
    after_prefix: &str,
) -> Result<Option<LabelKey<'_>>, Reason> {
    let (stem, route) = split_route(after_prefix);
    let portless = LabelOption::from_port_name(protocol, stem).is_some();
    let Some((port, name)) = stem.split_once('_').filter(|_| !portless) else { return Ok(None) };
    let found = LabelOption::from_port_name(protocol, name).map(|option| (option, None));
    let open = || LabelOption::from_open_name(protocol, name);
    let Some((option, tail)) = found.or_else(|| open().map(|(option, tail)| (option, Some(tail))))
    else {
        return match find_other_protocol(protocol, name) {
            Some(option) if parse_ports(protocol, port).is_ok() => {
                Err(Reason::OtherProtocol { option, protocol })
            }
            _ => Ok(None),
        };
    };
    match route {
        Some(route) if !is_route_name(route) => Err(Reason::NotARouteName(route.to_owned())),
        _ => {
            let ports = parse_ports(protocol, port)?;
            Ok(Some(LabelKey::Port { protocol, ports, option, tail, route }))
        }
    }
}

/// Returns the option of another protocol that has this name, if the protocol has nothing that users call so.
fn find_other_protocol(protocol: LabelProtocol, name: &str) -> Option<LabelOption> {
    let mut others = LabelProtocol::ALL.into_iter().filter(|other| *other != protocol);
    let option = others.find_map(|other| LabelOption::from_port_name(other, name))?;
    synonym::find_synonym(protocol, name).is_none().then_some(option)
}

fn parse_ports(protocol: LabelProtocol, text: &str) -> Result<PortRange, Reason> {
    match protocol {
        LabelProtocol::Http => option_value::parse_port(text).map(PortRange::from),
        LabelProtocol::Tcp | LabelProtocol::Udp => text.parse(),
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
    // A synonym of an option takes precedence over a similar name, and a similar name over what does not exist.
    let synonym = match_synonym(key);
    let suggestion =
        nearest_label(key).or_else(|| (key == "glue_ports").then(|| "glue_http_ports".to_owned()));
    let is_option = |synonym: &Synonym| matches!(synonym, Synonym::Option(_));
    match synonym.filter(|(.., synonym)| suggestion.is_none() || is_option(synonym)) {
        Some((_, _, Synonym::Unsupported(hint))) => Reason::UnsupportedOption { hint },
        Some((start, route, Synonym::Option(option))) => {
            let nearest = with_route(format!("{start}{}", option.name()), route);
            Reason::UnknownLabel { nearest: Some(nearest) }
        }
        None => Reason::UnknownLabel { nearest: suggestion },
    }
}

/// Parses `glue_http_<port>_<word>` and similar names. Returns the label without the option, the route and the meaning
/// of the word.
fn match_synonym(key: &str) -> Option<(String, Option<&str>, Synonym)> {
    let (stem, route) = split_route(key);
    let stem = stem.strip_prefix("glue_")?;
    let protocol = split_protocol(stem).map_or(LabelProtocol::Http, |(protocol, _)| protocol);
    let is_option = |text: &&str| !matches!(*text, "http" | "https" | "tcp" | "udp");
    let (ports, words): (Vec<&str>, Vec<&str>) = split_words(stem, protocol)
        .into_iter()
        .filter(is_option)
        .partition(|text| parse_ports(protocol, text).is_ok());
    let start = label_start(protocol, ports.first().copied());
    // Other programs nest words, as in `_tls.certresolver`; the last word may also be the name of a route.
    let whole = match words.concat() {
        // The only word was the protocol.
        empty if empty.is_empty() && stem.contains("https") => "https".to_owned(),
        words => words,
    };
    let nested = route.map(|route| format!("{whole}{route}"));
    let nested =
        nested.and_then(|text| synonym::find_synonym(protocol, &text)).map(|found| (None, found));
    let plain = || synonym::find_synonym(protocol, &whole).map(|found| (route, found));
    let (route, synonym) = nested.or_else(plain)?;
    Some((start, route, synonym))
}

/// Splits a name at `_` and `-`, but not a range of ports.
fn split_words(stem: &str, protocol: LabelProtocol) -> Vec<&str> {
    let words = stem.split('_').flat_map(|word| {
        let is_ports = parse_ports(protocol, word).is_ok();
        let parts: Vec<_> = if is_ports { vec![word] } else { word.split('-').collect() };
        parts
    });
    words.collect()
}

/// Returns `glue_<protocol>_<port>_`, with a placeholder for an unknown port.
fn label_start(protocol: LabelProtocol, port: Option<&str>) -> String {
    format!("glue_{protocol}_{}_", port.unwrap_or("<port>"))
}

fn split_route(text: &str) -> (&str, Option<&str>) {
    text.split_once('.').map_or((text, None), |(stem, route)| (stem, Some(route)))
}

fn is_route_name(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(legal)
}

/// Returns the most similar known name: at most three typing errors, and fewer than half as many as the compared part
/// has characters. If the name has a protocol, only names of this protocol are similar.
fn nearest_label(key: &str) -> Option<String> {
    let (stem, route) = split_route(key);
    if MAX_TYPED_LENGTH < stem.len() {
        return None;
    }
    let typed = stem.strip_prefix("glue_").and_then(split_protocol);
    if let Some((protocol, name)) = typed
        && let Some(option) = LabelOption::from_port_name(protocol, name)
    {
        return Some(with_route(format!("{}{option}", label_start(protocol, None)), route));
    }
    let protocols = LabelProtocol::ALL.into_iter().filter(|protocol| match typed {
        Some((typed, _)) => typed == *protocol,
        None => true,
    });
    let options = protocols.flat_map(|protocol| {
        let port = stem.split('_').find(|part| parse_ports(protocol, part).is_ok());
        let start = label_start(protocol, port);
        let certain = if stem.starts_with(&start) { start.len() } else { "glue_".len() };
        LabelOption::of_protocol(protocol)
            .map(move |option| (format!("{start}{option}"), certain, route))
    });
    let containers = LabelOption::of_containers();
    let containers =
        containers.map(|option| (format!("glue_{}", option.name()), "glue_".len(), None));
    options
        .chain(containers)
        .filter_map(|(name, certain, route)| {
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
    suggest_by_synonym(key)
        .or_else(|| suggest_by_distance(stem, route))
        .or_else(|| suggest_by_distance(&key.replace('.', "_"), None))
        .or_else(|| suggest_by_nearest(key))
}

/// Suggests a name for one with other separators and a synonym of an option: `glue.http.80.domain`.
fn suggest_by_synonym(key: &str) -> Option<String> {
    let (start, route, synonym) = match_synonym(&with_our_separators(key)?)
        .map(|(start, route, synonym)| (start, route.map(str::to_owned), synonym))?;
    let Synonym::Option(option) = synonym else { return None };
    Some(with_route(format!("{start}{}", option.name()), route.as_deref()))
}

/// Suggests a name for one with other separators that is similar to an option.
fn suggest_by_nearest(key: &str) -> Option<String> {
    match diagnose_unknown(&with_our_separators(key)?) {
        Reason::UnknownLabel { nearest } => nearest,
        _ => None,
    }
}

/// Returns the name as we write names, if it then begins as ours do.
fn with_our_separators(key: &str) -> Option<String> {
    let typed = key.to_ascii_lowercase().replace(['-', '/', ' ', '.'], "_");
    typed.starts_with("glue_").then_some(typed)
}

fn suggest_by_distance(stem: &str, route: Option<&str>) -> Option<String> {
    let typed = stem.to_ascii_lowercase().replace(['-', '/', ' '], "_");
    let port = typed.split('_').find(|part| option_value::parse_port(part).is_ok());
    let options = port.into_iter().flat_map(|port| {
        LabelProtocol::ALL.into_iter().flat_map(move |protocol| {
            let start = label_start(protocol, Some(port));
            LabelOption::of_protocol(protocol)
                .map(move |option| (format!("{start}{option}"), route))
        })
    });
    let containers = LabelOption::of_containers();
    options
        .chain(containers.map(|option| (format!("glue_{}", option.name()), None)))
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
