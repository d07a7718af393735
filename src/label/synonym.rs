//! What other programs and people call things: one table for the log, `problems`, `check` and handlers.
//!
//! Pure. Nothing of it is obeyed; it leads to the label that is meant, or says what there is instead.

use super::key::LabelOption;
use crate::model::{container::Container, label_text};

/// What somebody most likely means by the name of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Synonym {
    Option(LabelOption),
    /// There is none; the way out.
    Unsupported(&'static str),
}

const SWITCH: &str = "a container takes part by having labels of ours; to leave one out take its labels away, \
                      or have --constraint ask for a label that it lacks";
const TLS: &str = "there is no TLS yet: requests are taken as plain HTTP; let a proxy that ends TLS stand in front \
                   (--trusted-proxies), or put bind lines into --base-file";
const REDIRECT: &str =
    "redirects are not made by labels; let the container answer them, or a section of --base-file";
const STICKY: &str =
    "requests of one client do not stick to one container; keep sessions outside of the containers";
const GUARD: &str = "who may come in is not decided by labels; let the container decide, or a section of --base-file. \
                     Until then everybody may";
const HEADERS: &str =
    "requests and answers are not changed by labels but by strip_prefix; let the container do it";
const ORDER: &str = "there is no order to give: the exact host wins, then the longest prefix; \
                     of containers on one route each has its weight";
const BALANCE: &str =
    "requests go round by weight, and nothing else can be chosen; the weight label says the share";
const PROTOCOL: &str =
    "containers are spoken to in HTTP/1.1 without TLS; nothing else can be chosen";
const PORT: &str = "the container's port stands in the name of the label, as in glue_http_8080_host, and the public \
                    port is the bind label's";
const NETWORK: &str = "the network is the whole container's: glue_network";
const LIMIT: &str =
    "requests are not limited by labels; let the container do it, or a section of --base-file";

/// Written without `_`, `-` and capitals, and parted by blanks.
const SYNONYMS: [(&str, Synonym); 21] = [
    (
        "hostname hostnames hosts domain domains domainname fqdn servername serveralias vhost \
         virtualhost name url uri rule subdomain alias site",
        Synonym::Option(LabelOption::Host),
    ),
    (
        "path paths pathprefix prefixes location locations context contextpath base basepath \
         baseurl root route routes servicepath virtualpath subpath folder",
        Synonym::Option(LabelOption::Prefix),
    ),
    (
        "strip stripprefix strippath stripprefixes trim trimprefix removeprefix rewrite \
         rewritetarget pathrewrite handlepath replacepath virtualdest",
        Synonym::Option(LabelOption::StripPrefix),
    ),
    ("weights share ratio", Synonym::Option(LabelOption::Weight)),
    (
        "publicport listen listenport frontendport externalport published publishedport \
         hostport entrypoint entrypoints frontend binds localport srcport",
        Synonym::Option(LabelOption::Bind),
    ),
    (
        "healthcheck healthcheckpath healthpath checkpath httpchk probe ping checks healthuri \
         healthurl healthcheckurl",
        Synonym::Option(LabelOption::Check),
    ),
    (
        "timeouts readtimeout proxyreadtimeout responsetimeout servertimeout backendtimeout \
         timeoutserver requesttimeout timeoutread",
        Synonym::Option(LabelOption::Timeout),
    ),
    ("retries attempts retryon redispatch", Synonym::Option(LabelOption::Retry)),
    (
        "enable enabled disable disabled active expose exposed on off ignore",
        Synonym::Unsupported(SWITCH),
    ),
    (
        "tls ssl https cert certs certificate certificates certname certresolver letsencrypt \
         letsencrypthost acme hsts sslredirect forcessl httpsredirect redirecthttps \
         redirecttohttps httpsonly forcehttps sni",
        Synonym::Unsupported(TLS),
    ),
    (
        "redirect redirects redirectto redirectregex redirectwww redirectfrom return moved",
        Synonym::Unsupported(REDIRECT),
    ),
    (
        "sticky stickiness stickysession stickysessions session sessions cookie cookies \
         affinity sessionaffinity iphash persist persistence",
        Synonym::Unsupported(STICKY),
    ),
    (
        "auth basicauth basicauthusers users user password htpasswd forwardauth authurl allow \
         deny allowip allowips allowfrom whitelist allowlist ipwhitelist ipallowlist \
         sourcerange acl clientca oauth oidc",
        Synonym::Unsupported(GUARD),
    ),
    (
        "header headers requestheaders responseheaders customheaders addheader setheader cors \
         compress compression gzip middleware middlewares addprefix passhostheader hostheader \
         errorpages errors cache",
        Synonym::Unsupported(HEADERS),
    ),
    ("priority order rank default defaulthost", Synonym::Unsupported(ORDER)),
    (
        "balance algorithm algo loadbalancer lb strategy backup roundrobin leastconn",
        Synonym::Unsupported(BALANCE),
    ),
    (
        "scheme protocol proto backendprotocol serverproto serverscheme h2 h2c http2 http3 \
         grpc websocket websockets mode serverstransport proxyprotocol",
        Synonym::Unsupported(PROTOCOL),
    ),
    (
        "port ports containerport targetport internalport serverport virtualport target",
        Synonym::Unsupported(PORT),
    ),
    ("network networks net dockernetwork", Synonym::Unsupported(NETWORK)),
    (
        "ratelimit limit limits maxconn maxconnections inflight maxbodysize bodysize \
         clientmaxbodysize buffering",
        Synonym::Unsupported(LIMIT),
    ),
    ("interval checkinterval inter rise fall", Synonym::Option(LabelOption::Check)),
];

/// What an option of this name is called here.
pub(super) fn find_synonym(word: &str) -> Option<Synonym> {
    let word: String =
        word.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    let has = |words: &str| words.split_whitespace().any(|text| text == word);
    SYNONYMS.iter().find(|(words, _)| has(words)).map(|(_, synonym)| *synonym)
}

/// Programs that read labels or the environment of containers as we do, by what their names begin with.
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

/// A container's words for another program, and what they would be here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignLabel {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) program: &'static str,
    pub(super) instead: String,
}

/// The first of them that names a host; else the first.
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
    let only = || Some(container.exposed.iter()).filter(|items| items.len() == 1)?.next().copied();
    let port = port.or_else(only).map_or_else(|| "<port>".to_owned(), |port| port.to_string());
    let (key, value, program) = match &host {
        Some((key, value, _)) => (*key, *value, foreign_program(key)?),
        None => foreign_labels.clone().next()?,
    };
    let host = host.map_or_else(|| "<host>".to_owned(), |(.., host)| host);
    let instead = format!("glue_http_{port}_host={host}");
    Some(ForeignLabel { key: key.clone(), value: value.clone(), program, instead })
}

/// Whose it is.
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

/// After the last dot.
fn last_segment(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

/// The host that it names, as far as that is plain.
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
