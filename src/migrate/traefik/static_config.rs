//! Entry points of Traefik, as far as the command or environment of its own service names them.
//!
//! Pure. Without them the usual names decide: `web` and `http` are port 80, `websecure` and `https` are port 443.

use super::super::{ServiceInput, draft, text};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EntryPoint {
    /// The public port.
    pub(super) port: Option<u16>,
    is_udp: bool,
    pub(super) tls: bool,
    pub(super) resolver: Option<String>,
    /// Whether all requests are redirected to HTTPS.
    pub(super) redirects: bool,
    /// Middlewares of all routers, with the origin.
    pub(super) middlewares: Vec<(String, String)>,
}

/// What is known of Traefik's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StaticConfig {
    /// By name in lower case.
    entry_points: BTreeMap<String, EntryPoint>,
    /// Names of those with `asDefault`.
    defaults: BTreeSet<String>,
    /// Names of those of Traefik itself.
    own: BTreeSet<String>,
}

/// How an entry point is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryPointKind<'a> {
    Configured(&'a EntryPoint),
    /// Plain HTTP on port 80, by its name.
    Plain,
    /// HTTPS on port 443, by its name.
    Secure,
    Unknown,
}

/// How names of entry points for plain HTTP begin.
const PLAIN_NAMES: [&str; 5] = ["web", "http", "insecure", "unsecure", "plain"];

/// Options that name an entry point of Traefik itself.
const OWN: [&str; 2] = ["ping.entrypoint", "metrics.prometheus.entrypoint"];

/// The entry point of the dashboard without a router.
const DASHBOARD: &str = "traefik";

impl StaticConfig {
    pub(super) fn read(services: &[ServiceInput]) -> Self {
        let mut config = Self::default();
        for service in services {
            let arguments = service.command.iter().map(|argument| {
                let (name, value) = argument
                    .trim_start_matches('-')
                    .split_once('=')
                    .unwrap_or((argument.trim_start_matches('-'), "true"));
                (name.to_owned(), value, argument.clone())
            });
            let variables = service.environment.iter().filter_map(|(key, value)| {
                let name = key.strip_prefix_ignoring_case("traefik_")?;
                Some((name.replace('_', "."), value.as_str(), draft::origin(key, value)))
            });
            for (name, value, origin) in arguments.chain(variables) {
                let value = value.trim();
                if let Some(name) = name.strip_prefix_ignoring_case("entrypoints.") {
                    config.add_option(&name, value, &origin, service);
                } else if OWN.iter().any(|option| name.eq_ignore_ascii_case(option)) {
                    config.own.insert(value.to_ascii_lowercase());
                }
            }
        }
        config
    }

    fn add_option(&mut self, name: &str, value: &str, origin: &str, service: &ServiceInput) {
        let lower = name.to_ascii_lowercase();
        let Some((entry_point, option)) = lower.split_once('.') else { return };
        let entry = self.entry_points.entry(entry_point.to_owned()).or_default();
        match option {
            "address" => {
                entry.is_udp = value.to_ascii_lowercase().ends_with("/udp");
                let port = value.rsplit(':').next().unwrap_or_default();
                let port = port.split('/').next().unwrap_or_default().parse().ok();
                entry.port = port.map(|port| *service.published.get(&port).unwrap_or(&port));
            }
            "asdefault" if text::is_on(value) => {
                self.defaults.insert(entry_point.to_owned());
            }
            "http.tls" => entry.tls = text::is_on(value),
            "http.tls.certresolver" => {
                entry.tls = true;
                entry.resolver = Some(origin.to_owned());
            }
            "http.redirections.entrypoint.to" | "http.redirections.entrypoint.scheme" => {
                // The default scheme is https.
                entry.redirects = value != "http";
            }
            "http.middlewares" => {
                let names = text::list_members(value).into_iter();
                entry.middlewares =
                    names.map(|name| (name.to_owned(), origin.to_owned())).collect();
            }
            _ if option.starts_with("http.tls.") => entry.tls = true,
            _ => {}
        }
    }

    pub(super) fn entry_point(&self, name: &str) -> EntryPointKind<'_> {
        let name = name.trim().to_ascii_lowercase();
        if let Some(entry) = self.entry_points.get(&name).filter(|entry| entry.port.is_some()) {
            return EntryPointKind::Configured(entry);
        }
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let is_insecure = name.contains("insecure") || name.contains("unsecure");
        if name.contains("https") && !name.contains("httpsredirect")
            || name.contains("secure") && !is_insecure
        {
            EntryPointKind::Secure
        } else if PLAIN_NAMES.iter().any(|plain| name.starts_with(plain)) {
            EntryPointKind::Plain
        } else {
            EntryPointKind::Unknown
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &EntryPoint> {
        self.entry_points.values().filter(|entry| entry.port.is_some())
    }

    /// Returns the entry points of routers that name none, as Traefik chooses them. Those for its own pages are left
    /// out, unless they have a usual port.
    pub(super) fn defaults(&self) -> Vec<&EntryPoint> {
        let is_own = |name: &String, entry: &EntryPoint| {
            let is_public = matches!(entry.port, Some(80 | 443));
            name == DASHBOARD || self.own.contains(name) && !is_public
        };
        let is_used = |(name, entry): &(&String, &EntryPoint)| {
            let is_chosen = if self.defaults.is_empty() {
                !is_own(name, entry)
            } else {
                self.defaults.contains(*name)
            };
            entry.port.is_some() && !entry.is_udp && is_chosen
        };
        self.entry_points.iter().filter(is_used).map(|(_, entry)| entry).collect()
    }
}

/// Name of an option, whose case does not matter.
trait OptionName {
    fn strip_prefix_ignoring_case(&self, prefix: &str) -> Option<String>;
}

impl OptionName for str {
    fn strip_prefix_ignoring_case(&self, prefix: &str) -> Option<String> {
        let start = self.get(..prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then(|| self[prefix.len()..].to_owned())
    }
}
