//! What other programs and people call things: one table for the log, `problems`, `check` and handlers.
//!
//! Pure. Nothing of it is obeyed; it leads to the label that is meant, or says what there is instead.

use super::key::Choice;
use crate::container::Container;

/// What somebody most likely means by the name of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    Option(Choice),
    /// There is none; the way out.
    Nothing(&'static str),
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
const TABLE: [(&str, Meant); 21] = [
    (
        "hostname hostnames hosts domain domains domainname fqdn servername serveralias vhost \
         virtualhost name url uri rule subdomain alias site",
        Meant::Option(Choice::Host),
    ),
    (
        "path paths pathprefix prefixes location locations context contextpath base basepath \
         baseurl root route routes servicepath virtualpath subpath folder",
        Meant::Option(Choice::Prefix),
    ),
    (
        "strip stripprefix strippath stripprefixes trim trimprefix removeprefix rewrite \
         rewritetarget pathrewrite handlepath replacepath virtualdest",
        Meant::Option(Choice::StripPrefix),
    ),
    ("weights share ratio", Meant::Option(Choice::Weight)),
    (
        "publicport listen listenport frontendport externalport published publishedport \
         hostport entrypoint entrypoints frontend binds localport srcport",
        Meant::Option(Choice::Bind),
    ),
    (
        "healthcheck healthcheckpath healthpath checkpath httpchk probe ping checks healthuri \
         healthurl healthcheckurl",
        Meant::Option(Choice::Check),
    ),
    (
        "timeouts readtimeout proxyreadtimeout responsetimeout servertimeout backendtimeout \
         timeoutserver requesttimeout timeoutread",
        Meant::Option(Choice::Timeout),
    ),
    ("retries attempts retryon redispatch", Meant::Option(Choice::Retry)),
    ("enable enabled disable disabled active expose exposed on off ignore", Meant::Nothing(SWITCH)),
    (
        "tls ssl https cert certs certificate certificates certname certresolver letsencrypt \
         letsencrypthost acme hsts sslredirect forcessl httpsredirect redirecthttps \
         redirecttohttps httpsonly forcehttps sni",
        Meant::Nothing(TLS),
    ),
    (
        "redirect redirects redirectto redirectregex redirectwww redirectfrom return moved",
        Meant::Nothing(REDIRECT),
    ),
    (
        "sticky stickiness stickysession stickysessions session sessions cookie cookies \
         affinity sessionaffinity iphash persist persistence",
        Meant::Nothing(STICKY),
    ),
    (
        "auth basicauth basicauthusers users user password htpasswd forwardauth authurl allow \
         deny allowip allowips allowfrom whitelist allowlist ipwhitelist ipallowlist \
         sourcerange acl clientca oauth oidc",
        Meant::Nothing(GUARD),
    ),
    (
        "header headers requestheaders responseheaders customheaders addheader setheader cors \
         compress compression gzip middleware middlewares addprefix passhostheader hostheader \
         errorpages errors cache",
        Meant::Nothing(HEADERS),
    ),
    ("priority order rank default defaulthost", Meant::Nothing(ORDER)),
    (
        "balance algorithm algo loadbalancer lb strategy backup roundrobin leastconn",
        Meant::Nothing(BALANCE),
    ),
    (
        "scheme protocol proto backendprotocol serverproto serverscheme h2 h2c http2 http3 \
         grpc websocket websockets mode serverstransport proxyprotocol",
        Meant::Nothing(PROTOCOL),
    ),
    (
        "port ports containerport targetport internalport serverport virtualport target",
        Meant::Nothing(PORT),
    ),
    ("network networks net dockernetwork", Meant::Nothing(NETWORK)),
    (
        "ratelimit limit limits maxconn maxconnections inflight maxbodysize bodysize \
         clientmaxbodysize buffering",
        Meant::Nothing(LIMIT),
    ),
    ("interval checkinterval inter rise fall", Meant::Option(Choice::Check)),
];

/// What an option of this name is called here.
pub(super) fn option(word: &str) -> Option<Meant> {
    let word: String =
        word.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    let has = |words: &str| words.split_whitespace().any(|it| it == word);
    TABLE.iter().find(|(words, _)| has(words)).map(|(_, meant)| *meant)
}

/// Programs that read labels or the environment of containers as we do, by what their names begin with.
const PEERS: [(&str, &str); 16] = [
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
pub(super) struct Foreign {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) program: &'static str,
    pub(super) instead: String,
}

/// The first of them that names a host; else the first.
pub(super) fn foreign(container: &Container) -> Option<Foreign> {
    let all = || container.labels.iter().chain(&container.environment);
    let switched_off = |(key, value): (&String, &String)| {
        let key = key.as_str();
        matches!(key, "traefik.enable" | "swag") && matches!(value.trim(), "false" | "disable")
    };
    if all().any(switched_off) {
        return None;
    }
    let theirs = all().filter_map(|(key, value)| Some((key, value, peer(key)?)));
    let host = theirs.clone().find_map(|(key, value, _)| Some((key, value, host_of(key, value)?)));
    let port = theirs.clone().find_map(|(key, value, _)| port_of(key, value));
    let only = || Some(container.exposed.iter()).filter(|it| it.len() == 1)?.next().copied();
    let port = port.or_else(only).map_or_else(|| "<port>".to_owned(), |port| port.to_string());
    let (key, value, program) = match &host {
        Some((key, value, _)) => (*key, *value, peer(key)?),
        None => theirs.clone().next()?,
    };
    let host = host.map_or_else(|| "<host>".to_owned(), |(.., host)| host);
    let instead = format!("glue_http_{port}_host={host}");
    Some(Foreign { key: key.clone(), value: value.clone(), program, instead })
}

/// Whose it is.
pub(super) fn peer(key: &str) -> Option<&'static str> {
    let whole = |name: &str| name.ends_with(['.', '_']) || key.len() == name.len();
    let is = |name: &str| {
        let numbered = key.strip_prefix("caddy_").is_some_and(|rest| {
            rest.split('.').next().unwrap_or_default().bytes().all(|c| c.is_ascii_digit())
        });
        key.starts_with(name) && whole(name) && (name != "caddy_" || numbered)
    };
    PEERS.iter().find(|(name, _)| is(name)).map(|(_, program)| *program)
}

/// After the last dot.
fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

/// The host that it names, as far as that is plain.
fn host_of(key: &str, value: &str) -> Option<String> {
    let rule = key.starts_with("traefik.") && last(key) == "rule";
    let plain = matches!(key, "caddy" | "VIRTUAL_HOST" | "LETSENCRYPT_HOST")
        || key.starts_with("caddy_") && !key.contains('.')
        || key.starts_with("easyhaproxy.") && last(key) == "host"
        || matches!(key, "com.df.serviceDomain" | "com.docker.lb.hosts");
    let hosts = if rule {
        of_rule(value)
    } else if plain {
        value.to_owned()
    } else {
        return None;
    };
    let hosts = hosts.split([',', ' ']).map(str::trim).filter(|it| !it.is_empty());
    let hosts: Vec<_> = hosts
        .map(|it| it.trim_start_matches("https://").trim_start_matches("http://"))
        .filter(|it| it.parse::<super::value::HostMatch>().is_ok())
        .collect();
    (!hosts.is_empty()).then(|| hosts.join(","))
}

/// What stands between quotes after `Host`.
pub(super) fn of_rule(rule: &str) -> String {
    let inside = rule.split("Host").skip(1).filter_map(|rest| {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('(').or_else(|| rest.strip_prefix(':'))?;
        rest.split([')', ';', '&', '|']).next()
    });
    let hosts =
        inside.flat_map(|it| it.split(',')).map(|it| it.trim_matches(['`', '"', '\'', ' ']));
    hosts.filter(|it| !it.is_empty()).collect::<Vec<_>>().join(",")
}

fn port_of(key: &str, value: &str) -> Option<u16> {
    let names_one = key == "VIRTUAL_PORT"
        || key.starts_with("traefik.") && last(key) == "port"
        || key.starts_with("easyhaproxy.") && last(key) == "localport"
        || matches!(key, "com.df.port" | "com.docker.lb.port");
    if names_one {
        return value.trim().parse().ok();
    }
    // {{upstreams 8080}}
    let inside = value.split("upstreams").nth(1).filter(|_| key.starts_with("caddy"))?;
    let digits: String = inside.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
