//! Names that other programs and users have for options: one table for the log, `problems`, `check` and handlers.
//!
//! Pure. A synonym has no effect; it only leads to a suggestion, or to a note about what can be used instead.

use crate::model::{
    container::Container,
    label_option::{LabelOption, LabelProtocol},
    label_text,
};

/// The most likely meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Synonym {
    Option(LabelOption),
    /// There is no such option. Contains what can be used instead.
    Unsupported(&'static str),
}

const SWITCH: &str = "containers with labels of docker-balancer are served; to exclude one, remove \
                      its labels, or require another label with --constraint";
const RESPONSES: &str = "HAProxy neither compresses nor stores responses, and has one folder of error pages for all \
                         routes; let the container do it";
const HOST_HEADER: &str = "the container gets the request's Host header, also in X-Forwarded-Host";
const ORDER: &str = "priorities are not supported: the exact host wins, then the longest prefix; \
                     containers of one route share requests by weight";
const BALANCE: &str =
    "the only algorithm is round robin by weight; set the share with the weight label";
const PROTOCOL: &str = "the protocol of the container's port is set with the scheme label: http, \
                        h2c, https or h2; WebSocket needs no label";
const PORT: &str = "the container's port is part of the label's name, as in glue_http_8080_host, \
                    and the bind label sets the public port";
const NETWORK: &str = "the network is set for the whole container, with glue_network";
/// Names that correspond to no option, each list with what can be used instead. Names are written as the synonyms of
/// options.
const UNSUPPORTED: [(&str, &str); 8] = [
    ("enable enabled disable disabled active expose exposed on off ignore", SWITCH),
    ("compress compression gzip encode errorpages errors cache", RESPONSES),
    ("passhostheader hostheader", HOST_HEADER),
    ("priority order rank default defaulthost", ORDER),
    ("balance algorithm algo loadbalancer lb strategy roundrobin leastconn", BALANCE),
    ("http3 websocket websockets mode serverstransport proxyprotocol", PROTOCOL),
    ("port ports containerport targetport internalport serverport virtualport target", PORT),
    ("network networks net dockernetwork", NETWORK),
];

/// Finds the meaning of a name in labels of the protocol.
pub(super) fn find_synonym(protocol: LabelProtocol, word: &str) -> Option<Synonym> {
    let word: String =
        word.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    let has = |words: &str| words.split_whitespace().any(|text| text == word);
    let unsupported = || UNSUPPORTED.iter().find(|(words, _)| has(words));
    LabelOption::from_synonym(protocol, &word)
        .map(Synonym::Option)
        .or_else(|| unsupported().map(|(_, hint)| Synonym::Unsupported(hint)))
}

/// Other programs that read labels or the environment of containers, by the prefix of their labels and variables.
const FOREIGN_PREFIXES: [(&str, &str); 16] = [
    ("traefik.", "Traefik"),
    ("caddy.", "caddy-docker-proxy"),
    ("caddy_", "caddy-docker-proxy"),
    ("caddy", "caddy-docker-proxy"),
    ("VIRTUAL_HOST", "nginx-proxy"),
    ("VIRTUAL_PORT", "nginx-proxy"),
    ("VIRTUAL_PATH", "nginx-proxy"),
    ("LETSENCRYPT_HOST", "nginx-proxy's acme-companion"),
    ("com.github.nginx-proxy.", "nginx-proxy"),
    ("easyhaproxy.", "EasyHAProxy"),
    ("com.df.", "Docker Flow Proxy"),
    ("com.docker.lb.", "Interlock"),
    ("interlock.", "Interlock"),
    ("bunkerweb.", "BunkerWeb"),
    ("swag", "SWAG"),
    ("pangolin.", "Pangolin"),
];

/// A container's label or variable for another program, and the equivalent label of docker-balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignLabel {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) program: &'static str,
    pub(super) instead: String,
}

/// Returns the first one that contains a host, else the first one.
pub(super) fn find_foreign_label(container: &Container) -> Option<ForeignLabel> {
    let all = || container.labels.iter().chain(&container.environment);
    let switched_off = |(key, value): (&String, &String)| {
        let key = key.as_str();
        matches!(key, "traefik.enable" | "swag") && matches!(value.trim(), "false" | "disable")
    };
    if all().any(switched_off) {
        return None;
    }
    let foreign_labels = all().filter_map(|(key, value)| Some((key, value, foreign_program(key)?)));
    let host = foreign_labels
        .clone()
        .find_map(|(key, value, _)| Some((key, value, foreign_host(key, value)?)));
    let port = foreign_labels.clone().find_map(|(key, value, _)| foreign_port(key, value));
    let only =
        || Some(container.exposed.tcp.iter()).filter(|items| items.len() == 1)?.next().copied();
    let port = port.or_else(only).map_or_else(|| "<port>".to_owned(), |port| port.to_string());
    let (key, value, program) = match &host {
        Some((key, value, _)) => (*key, *value, foreign_program(key)?),
        None => foreign_labels.clone().next()?,
    };
    let host = host.map_or_else(|| "<host>".to_owned(), |(.., host)| host);
    let instead = format!("glue_http_{port}_host={host}");
    Some(ForeignLabel { key: key.clone(), value: value.clone(), program, instead })
}

/// Returns the program that reads labels or variables of this name.
pub(super) fn foreign_program(key: &str) -> Option<&'static str> {
    let is_whole = |name: &str| name.ends_with(['.', '_']) || key.len() == name.len();
    let matches = |name: &str| {
        let numbered = key.strip_prefix("caddy_").is_some_and(|after_prefix| {
            after_prefix.split('.').next().unwrap_or_default().bytes().all(|c| c.is_ascii_digit())
        });
        key.starts_with(name) && is_whole(name) && (name != "caddy_" || numbered)
    };
    FOREIGN_PREFIXES.iter().find(|(name, _)| matches(name)).map(|(_, program)| *program)
}

/// Returns the part after the last dot.
fn last_segment(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

/// Returns the hosts in the value, if they can be determined.
fn foreign_host(key: &str, value: &str) -> Option<String> {
    let rule = key.starts_with("traefik.") && last_segment(key) == "rule";
    let plain = matches!(key, "caddy" | "VIRTUAL_HOST" | "LETSENCRYPT_HOST")
        || key.starts_with("caddy_") && !key.contains('.')
        || key.starts_with("easyhaproxy.") && last_segment(key) == "host"
        || matches!(key, "com.df.serviceDomain" | "com.docker.lb.hosts");
    let hosts = if rule {
        label_text::hosts_of_rule(value)
    } else if plain {
        value.to_owned()
    } else {
        return None;
    };
    let hosts = hosts.split([',', ' ']).map(str::trim).filter(|text| !text.is_empty());
    let hosts: Vec<_> = hosts
        .map(|text| text.trim_start_matches("https://").trim_start_matches("http://"))
        .filter(|text| text.parse::<crate::model::option_value::HostMatch>().is_ok())
        .collect();
    (!hosts.is_empty()).then(|| hosts.join(","))
}

fn foreign_port(key: &str, value: &str) -> Option<u16> {
    let names_one = key == "VIRTUAL_PORT"
        || key.starts_with("traefik.") && last_segment(key) == "port"
        || key.starts_with("easyhaproxy.") && last_segment(key) == "localport"
        || matches!(key, "com.df.port" | "com.docker.lb.port");
    if names_one {
        return value.trim().parse().ok();
    }
    // {{upstreams 8080}}
    let inside = value.split("upstreams").nth(1).filter(|_| key.starts_with("caddy"))?;
    let digits: String = inside.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
