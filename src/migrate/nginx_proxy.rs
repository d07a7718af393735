//! Variables of nginx-proxy and acme-companion.
//!
//! Pure. Variables of nginx-proxy's own container are the defaults of all others.

use super::{
    ImagePorts, ServiceInput, Translation,
    draft::{
        PathMatch, RouteDraft, ServiceDraft, Setting, check_host, origin, parse_exact, parse_prefix,
    },
    text,
};
use crate::sources::compose::yaml::{self, Node};
use std::collections::{BTreeMap, BTreeSet};

const LABEL_PREFIX: &str = "com.github.nginx-proxy.nginx-proxy.";

/// Variables that nginx-proxy's own container sets for all.
const DEFAULTS: [&str; 3] = ["HTTPS_METHOD", "HSTS", "SSL_POLICY"];

/// Variables of nginx-proxy's own container with its ports, plain and HTTPS.
const PROXY_PORTS: [&str; 2] = ["HTTP_PORT", "HTTPS_PORT"];

/// A public port, with its origin.
type PublicPort = Option<(String, String)>;

/// A path of a host: where requests go.
#[derive(Debug, Clone, Default)]
struct Target {
    /// A location of nginx.
    path: String,
    port: String,
    dest: String,
    protocol: String,
    /// Origins of the match, of `dest` and of `protocol`.
    origin: String,
    dest_origin: String,
    protocol_origin: String,
    /// Public ports, with their origins.
    external: [PublicPort; 2],
}

/// Variables with public ports, plain and HTTPS; in lower case they are options of a host.
const EXTERNAL: [&str; 2] = ["EXTERNAL_HTTP_PORT", "EXTERNAL_HTTPS_PORT"];

pub(super) fn translate(services: &[ServiceInput]) -> Translation {
    let is_proxy = |service: &&ServiceInput| {
        !has_host(service)
            && (service.image.contains("nginx-proxy") || service.image.contains("nginxproxy"))
    };
    let mut defaults = BTreeMap::new();
    let mut ports = [None, None];
    for service in services.iter().filter(is_proxy) {
        ports = [0, 1].map(|at| proxy_port(service, at).or_else(|| ports[at].clone()));
        for name in DEFAULTS {
            let value = service.environment.get(name);
            defaults.extend(value.map(|value| (name, value.as_str())));
        }
    }
    let mut translation = Translation::default();
    for service in services.iter().filter(|service| has_host(service)) {
        let draft = ServiceDraft::new(service);
        let translator = NginxTranslator { service, defaults: &defaults, ports: &ports, draft };
        translator.translate().finish(&mut translation);
    }
    translation
}

/// Returns a public port of nginx-proxy itself, if a variable has it.
fn proxy_port(proxy: &ServiceInput, at: usize) -> PublicPort {
    let variable = |name: &str| {
        let value = proxy.environment.get(name)?.trim();
        (!value.is_empty()).then(|| (value.to_owned(), origin(name, value)))
    };
    let published = |(port, origin): (String, String)| {
        let public = port.parse().ok().and_then(|port: u16| proxy.published.get(&port));
        (public.map_or(port, ToString::to_string), origin)
    };
    variable(EXTERNAL[at]).or_else(|| variable(PROXY_PORTS[at]).map(published))
}

fn has_host(service: &ServiceInput) -> bool {
    let names = ["VIRTUAL_HOST", "VIRTUAL_HOST_MULTIPORTS"];
    names
        .iter()
        .any(|name| service.environment.get(*name).is_some_and(|value| !value.trim().is_empty()))
}

struct NginxTranslator<'a> {
    service: &'a ServiceInput,
    defaults: &'a BTreeMap<&'static str, &'a str>,
    /// Those of nginx-proxy, if it sets them.
    ports: &'a [PublicPort; 2],
    draft: ServiceDraft,
}

impl<'a> NginxTranslator<'a> {
    fn translate(mut self) -> ServiceDraft {
        match self.variable("VIRTUAL_HOST_MULTIPORTS") {
            Some(definition) => self.add_multiports(definition),
            None => self.add_single(),
        }
        self.note_others();
        self.draft
    }

    /// Returns a variable that is not empty.
    fn variable(&self, name: &str) -> Option<&'a str> {
        let value = self.service.environment.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Returns a variable with its origin, or that of nginx-proxy's container.
    fn variable_or_default(&self, name: &str) -> Option<(&'a str, String)> {
        let value = self.variable(name).or_else(|| self.defaults.get(name).copied())?;
        Some((value, origin(name, value)))
    }

    fn add_single(&mut self) {
        let hosts = self.variable("VIRTUAL_HOST").unwrap_or_default();
        let origin_of =
            |name: &str| self.variable(name).map(|value| origin(name, value)).unwrap_or_default();
        let text_of = |name: &str| self.variable(name).unwrap_or_default().to_owned();
        let mut match_origin = origin("VIRTUAL_HOST", hosts);
        if let Some(path) = self.variable("VIRTUAL_PATH") {
            match_origin = format!("{match_origin}; {}", origin("VIRTUAL_PATH", path));
        }
        let target = Target {
            path: text_of("VIRTUAL_PATH"),
            port: text_of("VIRTUAL_PORT"),
            dest: text_of("VIRTUAL_DEST"),
            protocol: text_of("VIRTUAL_PROTO"),
            origin: match_origin,
            dest_origin: origin_of("VIRTUAL_DEST"),
            protocol_origin: origin_of("VIRTUAL_PROTO"),
            external: EXTERNAL.map(|name| Some((self.variable(name)?.to_owned(), origin_of(name)))),
        };
        self.add_route(hosts, target);
    }

    /// Adds the hosts of a definition in YAML: host → path → `port`, `dest`, `proto`.
    fn add_multiports(&mut self, definition: &str) {
        let name = "VIRTUAL_HOST_MULTIPORTS";
        let parsed = yaml::parse_yaml(name, definition).ok();
        let Some(root) = parsed.and_then(|parsed| parsed.documents.into_iter().next()) else {
            return self.draft.note_loss(&origin(name, definition), "it cannot be read as YAML");
        };
        for host in root.entries() {
            let host_name = host.key.trim();
            let external = EXTERNAL.map(|option| {
                let port = host.value.text_at(&option.to_ascii_lowercase())?;
                Some((
                    port.to_owned(),
                    format!("{name}: {host_name}: {}", option.to_ascii_lowercase()),
                ))
            });
            let is_path = |key: &str| !key.starts_with("external_");
            let paths: Vec<_> =
                host.value.entries().iter().filter(|entry| is_path(&entry.key)).collect();
            if paths.is_empty() {
                let origin = format!("{name}: {host_name}");
                let target = Target { origin, external: external.clone(), ..Target::default() };
                self.add_route(host_name, target);
            }
            for path in paths {
                let origin = format!("{name}: {host_name}: {}", path.key);
                let field =
                    |key: &str| Node::text_at(&path.value, key).unwrap_or_default().to_owned();
                let target = Target {
                    path: path.key.clone(),
                    port: field("port"),
                    dest: field("dest"),
                    protocol: field("proto"),
                    dest_origin: format!("{origin}: dest"),
                    protocol_origin: format!("{origin}: proto"),
                    origin,
                    external: external.clone(),
                };
                self.add_route(host_name, target);
            }
        }
    }

    fn add_route(&mut self, hosts: &str, target: Target) {
        let hosts = self.read_hosts(hosts, &target.origin);
        if hosts.is_empty() {
            return;
        }
        let path = match Self::read_path(&target) {
            Ok(path) => path,
            Err(loss) => return self.draft.note_loss(&target.origin, loss),
        };
        let port = self.read_port(&target);
        let mut route = RouteDraft::http(&route_name(&path), &port, target.origin.clone());
        route.hosts = hosts;
        self.set_destination(&mut route, &path, &target);
        route.path = path;
        if !self.set_protocol(&mut route, &target) {
            return;
        }
        self.set_tls(&mut route);
        self.set_ports(&mut route, target.external);
        self.set_access(&mut route);
        self.draft.routes.push(route);
    }

    fn read_hosts(&mut self, hosts: &str, origin: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for host in text::list_members(hosts) {
            if host.starts_with('~') {
                let text =
                    format!("{host} is a regular expression; hosts are literal, or *. and a host");
                self.draft.note_loss(origin, text);
            } else if host.ends_with(".*") {
                self.draft.note_loss(
                    origin,
                    format!("{host}: a wildcard stands for the first label only"),
                );
            } else if let Err(reason) = check_host(host) {
                self.draft.note_loss(origin, format!("{host}: {reason}"));
            } else {
                found.insert(host.to_owned());
            }
        }
        found
    }

    /// Parses a location: `/path`, or `= /path`.
    fn read_path(target: &Target) -> Result<PathMatch, String> {
        let path = target.path.trim();
        if let Some(exact) = path.strip_prefix('=') {
            return Ok(PathMatch::Exact([parse_exact(exact)?].into()));
        }
        let path = path.trim_start_matches("^~").trim();
        if path.starts_with('~') {
            return Err(format!(
                "{path} is a regular expression; a route has a prefix or exact paths"
            ));
        }
        Ok(PathMatch::prefix(parse_prefix(path)?))
    }

    /// Returns the port that nginx-proxy takes: the given one, the only one that is exposed, else 80.
    fn read_port(&mut self, target: &Target) -> String {
        if !target.port.is_empty() {
            return target.port.clone();
        }
        let exposed = &self.service.exposed;
        let port = exposed.first().filter(|_| exposed.len() == 1).copied().unwrap_or(80);
        // With a second one of the image, nginx-proxy takes 80.
        if exposed.len() < 2 && self.service.image_ports == ImagePorts::Unknown {
            let text = format!(
                "without VIRTUAL_PORT, nginx-proxy takes the port that the image exposes, which is not in the input: {port} is assumed. With --running it is known"
            );
            self.draft.note_loss(&target.origin, text);
        }
        port.to_string()
    }

    /// Translates `VIRTUAL_DEST`: what the path is replaced by.
    fn set_destination(&mut self, route: &mut RouteDraft, path: &PathMatch, target: &Target) {
        let dest = target.dest.trim_end_matches('/');
        if target.dest.is_empty() {
            return;
        }
        let (PathMatch::Prefixes(paths) | PathMatch::Exact(paths)) = path else {
            if !dest.is_empty() {
                route.set("add_prefix", dest, &target.dest_origin);
            }
            return;
        };
        if paths.contains(dest) {
            return;
        }
        if matches!(path, PathMatch::Exact(_)) && !dest.is_empty() && dest == target.dest {
            let text = "the container gets this path with a slash at its end";
            self.draft.note_loss(&target.dest_origin, text);
        }
        route.set("strip_prefix", "on", &target.dest_origin);
        if !dest.is_empty() {
            route.set("add_prefix", dest, &target.dest_origin);
        }
    }

    /// Returns whether HAProxy speaks the protocol.
    fn set_protocol(&mut self, route: &mut RouteDraft, target: &Target) -> bool {
        let scheme = match target.protocol.to_ascii_lowercase().as_str() {
            "" | "http" => return true,
            "https" => "https",
            "grpc" => "h2c",
            "grpcs" => "h2",
            other if text::has_variable(other) => target.protocol.as_str(),
            _ => {
                let text = "HAProxy does not speak this protocol, so the route is left out: put a web server in front of the program";
                self.draft.note_loss(&target.protocol_origin, text);
                return false;
            }
        };
        route.set("scheme", scheme, &target.protocol_origin);
        true
    }

    fn set_tls(&mut self, route: &mut RouteDraft) {
        let method = self.variable_or_default("HTTPS_METHOD");
        // Without a certificate, nginx-proxy's default is no redirect.
        let is_default = self.variable("HTTPS_METHOD").is_none()
            && method.as_ref().is_none_or(|(method, _)| method.eq_ignore_ascii_case("redirect"));
        let acme = ["ACME_HOST", "LETSENCRYPT_HOST"];
        let acme = acme.iter().find_map(|name| Some((*name, self.variable(name)?)));
        let certificate = self.variable("CERT_NAME");
        if acme.is_none() && certificate.is_none() && is_default {
            let text =
                "nginx-proxy serves HTTPS if it has a certificate for the host: then set tls=on";
            self.draft.note_advice("no ACME_HOST", text);
            return self.note_tls_options();
        }
        let tls_origin = match (acme, certificate) {
            (Some((name, hosts)), _) => origin(name, hosts),
            (None, Some(name)) => origin("CERT_NAME", name),
            (None, None) => String::new(),
        };
        let mode = match method.as_ref().map(|(method, _)| method.to_ascii_lowercase()).as_deref() {
            None | Some("redirect") => "on",
            Some("noredirect") => "both",
            Some("nohttp") => "only",
            Some("nohttps") => return,
            Some(_) => {
                let (_, origin) = method.clone().unwrap_or_default();
                self.draft.note_loss(&origin, "set tls to on, both, only or off");
                "on"
            }
        };
        let origins = [
            Some(tls_origin.clone()).filter(|text| !text.is_empty()),
            method.map(|(_, origin)| origin),
        ];
        route.set("tls", mode, &origins.into_iter().flatten().collect::<Vec<_>>().join("; "));
        if let Some((name, hosts)) = acme {
            route.set("cert", "acme", &tls_origin);
            let ordered: BTreeSet<_> =
                text::list_members(hosts).into_iter().map(str::to_owned).collect();
            if !route.hosts.is_subset(&ordered) && !text::has_variable(hosts) {
                let text = "HTTPS is for some of the hosts only: give them a route of their own";
                self.draft.note_loss(&origin(name, hosts), text);
            }
        }
        if let Some(name) = certificate {
            route.set("cert", name, &origin("CERT_NAME", name));
        }
        self.set_hsts(route);
        self.set_policy(route);
    }

    /// Notes options of HTTPS for a route that has HTTPS only if there is a certificate.
    fn note_tls_options(&mut self) {
        let mut route = RouteDraft::http("", "80", String::new());
        self.set_hsts(&mut route);
        self.set_policy(&mut route);
        for Setting { option, value, origin } in route.settings {
            self.draft.note_loss(&origin, format!("with tls=on, set {option}={value}, too"));
        }
    }

    fn set_hsts(&mut self, route: &mut RouteDraft) {
        let Some((value, origin)) = self.variable_or_default("HSTS") else { return };
        match parse_hsts(value) {
            Some(hsts) => route.set("hsts", hsts, &origin),
            None if value.eq_ignore_ascii_case("off") => {}
            None => self.draft.note_loss(&origin, "hsts is a time, with subdomains and preload"),
        }
    }

    fn set_policy(&mut self, route: &mut RouteDraft) {
        let Some((value, origin)) = self.variable_or_default("SSL_POLICY") else { return };
        let policy = ["modern", "intermediate", "old"];
        match policy.iter().find(|name| value.eq_ignore_ascii_case(&format!("Mozilla-{name}"))) {
            Some(policy) => route.set("tls_policy", *policy, &origin),
            None => self.draft.note_loss(&origin, "tls_policy is modern, intermediate or old"),
        }
    }

    fn set_ports(&mut self, route: &mut RouteDraft, [plain, secure]: [PublicPort; 2]) {
        let [of_proxy, secure_of_proxy] = self.ports.clone();
        let secure = secure.or(secure_of_proxy);
        let (port, origin) = plain
            .or(of_proxy)
            .unwrap_or_else(|| ("80".to_owned(), "nginx-proxy's port".to_owned()));
        match port.parse() {
            Ok(port) => route.bind_plain(&[port], &origin),
            Err(_) => route.set("bind", port, &origin),
        }
        if let Some((port, origin)) = secure.filter(|(port, _)| port != "443") {
            match route.setting("tls") {
                Some(_) => route.set("tls_bind", port, &origin),
                None => self.draft.note_advice(&origin, "with tls, set tls_bind"),
            }
        }
    }

    fn set_access(&mut self, route: &mut RouteDraft) {
        if let Some(value) = self.variable("NETWORK_ACCESS")
            && value.eq_ignore_ascii_case("internal")
        {
            route.set("allow", "private", &origin("NETWORK_ACCESS", value));
        }
        let key = format!("{LABEL_PREFIX}ssl_verify_client");
        if let Some(value) = self.service.labels.get(&key) {
            let ca = match value.as_str() {
                "optional" => "nginx-proxy optional",
                _ => "nginx-proxy",
            };
            if route.setting("tls").is_none() {
                route.set("tls", "on", &origin(&key, value));
            }
            route.set("client_cert", ca, &origin(&key, value));
            let text = "put the CA into the directory of --client-ca as nginx-proxy.pem. Until then the route is closed";
            self.draft.note_loss(&origin(&key, value), text);
        }
    }

    /// Notes variables and labels without a counterpart.
    fn note_others(&mut self) {
        let ordering = "docker-balancer orders certificates with --acme and --acme-email";
        for (name, value) in &self.service.environment {
            let origin = origin(name, value);
            match name.as_str() {
                "LETSENCRYPT_EMAIL" | "ACME_EMAIL" => self.draft.note_advice(&origin, ordering),
                "LETSENCRYPT_TEST" | "ACME_TEST" if text::is_on(value) => {
                    self.draft.note_advice(&origin, "--acme letsencrypt-staging is for tests");
                }
                "VIRTUAL_ROOT" => self.draft.note_loss(&origin, "HAProxy serves no files"),
                "SERVER_TOKENS" => {
                    self.draft.note_advice(&origin, "it has no effect with HAProxy");
                }
                "DISABLE_ACCESS_LOGS" => {
                    self.draft.note_advice(&origin, "--access-log is for all routes");
                }
                _ => {}
            }
        }
        for (key, value) in &self.service.labels {
            let Some(option) = key.strip_prefix(LABEL_PREFIX) else { continue };
            let origin = origin(key, value);
            match option {
                "ssl_verify_client" | "nginx" | "docker-gen" => {}
                "keepalive" | "http2.enable" | "http3.enable" | "debug-endpoint"
                | "trust-default-cert" => {
                    self.draft.note_advice(&origin, "it needs no label of docker-balancer");
                }
                "loadbalance" => {
                    let text = "requests are shared by weight; clients stay at a container with sticky=cookie";
                    self.draft.note_loss(&origin, text);
                }
                "non-get-redirect" => {
                    self.draft.note_advice(&origin, "the redirect to HTTPS keeps the method");
                }
                _ => self.draft.note_loss(&origin, "this label has no counterpart"),
            }
        }
    }
}

fn route_name(path: &PathMatch) -> String {
    match path {
        PathMatch::Prefixes(paths) | PathMatch::Exact(paths) => {
            paths.first().map_or_else(|| "app".to_owned(), |path| text::to_name(path))
        }
        PathMatch::Whole => "app".to_owned(),
    }
}

/// Returns `31536000s subdomains preload` for `max-age=31536000; includeSubDomains; preload`.
pub(super) fn parse_hsts(header: &str) -> Option<String> {
    let mut hsts = None;
    let mut words = String::new();
    for part in header.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let lower = part.to_ascii_lowercase();
        match lower.as_str() {
            "includesubdomains" => words.push_str(" subdomains"),
            "preload" => words.push_str(" preload"),
            _ => {
                let seconds: u64 =
                    lower.strip_prefix("max-age=")?.trim_matches('"').parse().ok()?;
                hsts = Some(format!("{seconds}s")).filter(|_| 0 < seconds);
            }
        }
    }
    hsts.map(|hsts| hsts + &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_has_time_and_words() {
        for (header, hsts) in [
            ("max-age=31536000", Some("31536000s")),
            ("max-age=60; includeSubDomains; preload", Some("60s subdomains preload")),
            ("max-age=0", None),
            ("off", None),
            ("", None),
        ] {
            assert_eq!(parse_hsts(header).as_deref(), hsts, "{header}");
        }
    }
}
