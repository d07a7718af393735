//! Middlewares of Traefik as options of routes.
//!
//! Pure. A middleware that restricts access and has no counterpart becomes a policy without content: the route is
//! closed until the administrator writes the policy.

use super::{
    super::{
        draft::{PathMatch, ServiceDraft, Setting, add_setting, names_container},
        text,
    },
    headers,
    objects::{Field, Objects, find},
    redirect,
};
use std::{collections::BTreeSet, time::Duration};

/// Limit of chains in chains.
const MAX_DEPTH: usize = 8;

/// The middlewares that a service can use, and what they become.
pub(super) struct MiddlewareTranslator<'a> {
    pub(super) own: &'a Objects,
    /// Those of all services.
    pub(super) all: &'a Objects,
    pub(super) target: Target,
    pub(super) draft: &'a mut ServiceDraft,
}

/// What the options are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Route,
    /// May name any authentication server.
    Policy,
}

/// Options that the middlewares of a route become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Middlewares {
    pub(super) settings: Vec<Setting>,
    /// The redirect to HTTPS, with the status, if it is not the default.
    pub(super) to_https: Option<Setting>,
    /// Hosts of the route from which `redirect_from` leads away.
    pub(super) redirected: BTreeSet<String>,
}

/// The requests that the middlewares apply to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) hosts: &'a BTreeSet<String>,
    pub(super) path: &'a PathMatch,
}

impl MiddlewareTranslator<'_> {
    /// Adds the options of a reference, such as `auth@file`.
    pub(super) fn add_reference(
        &mut self,
        name: &str,
        origin: &str,
        scope: Scope<'_>,
        into: &mut Middlewares,
    ) {
        self.add_nested(name, origin, scope, into, 0);
    }

    fn add_nested(
        &mut self,
        reference: &str,
        origin: &str,
        scope: Scope<'_>,
        into: &mut Middlewares,
        depth: usize,
    ) {
        let mut parts = text::split_outside(reference.trim(), |c| c == '@').into_iter();
        let (name, provider) = (parts.next().unwrap_or_default(), parts.next());
        // The default of a variable may have the provider: `${AUTH:-auth@file}`.
        let filled = text::fill_defaults(name);
        let (filled, inner_provider) =
            filled.split_once('@').map_or((&*filled, None), |(name, inner)| (name, Some(inner)));
        let provider = provider.or(inner_provider);
        let is_docker = provider.is_none_or(|text| matches!(text, "docker" | "swarm"));
        let fields = self.own.get(name).or_else(|| self.all.get(name)).filter(|_| is_docker);
        let Some(fields) = fields.cloned().filter(|_| depth < MAX_DEPTH) else {
            let policy = text::to_name(filled);
            let text = if is_docker {
                "its definition is not in the input: give its file with a further --compose, or write the policy"
            } else {
                "it is defined outside of the labels: the administrator writes the policy. Until then the route is closed"
            };
            self.use_policy(&policy, &format!("{origin} ({reference})"), &[], into);
            self.draft.note_loss(origin, format!("{reference}: {text}"));
            return;
        };
        if let Some(chain) = find(&fields, "chain.middlewares") {
            for member in text::list_members(&chain.value) {
                self.add_nested(member, &chain.origin(), scope, into, depth + 1);
            }
            return;
        }
        self.add_fields(name, &fields, scope, into);
    }

    /// Adds a reference to a policy, and the policy.
    fn use_policy(
        &mut self,
        policy: &str,
        origin: &str,
        options: &[Setting],
        into: &mut Middlewares,
    ) {
        add_setting(&mut into.settings, Setting::new("use", policy, origin));
        self.draft.add_policy(policy, origin, options);
    }

    /// Closes the route for a protection that has no counterpart.
    fn close(&mut self, name: &str, origin: &str, text: &str, into: &mut Middlewares) {
        self.use_policy(&text::to_name(name), origin, &[], into);
        let text = format!(
            "{text}: write the policy, or remove the label that uses it. Until then the route is closed"
        );
        self.draft.note_loss(origin, text);
    }

    /// Adds the options of one middleware.
    #[allow(clippy::match_same_arms, reason = "an arm for each option, in their order")]
    pub(super) fn add_fields(
        &mut self,
        name: &str,
        fields: &[Field],
        scope: Scope<'_>,
        into: &mut Middlewares,
    ) {
        let set = |into: &mut Middlewares, option: &str, value: &str, field: &Field| {
            add_setting(&mut into.settings, Setting::new(option, value, &field.origin()));
        };
        redirect::add_redirect(self.draft, fields, scope, into);
        self.add_rate(fields, into);
        headers::add_headers(self.draft, fields, into);
        let mut noted = BTreeSet::new();
        for field in fields {
            let value = field.value.as_str();
            let (kind, option) = field.name.split_once('.').unwrap_or((&field.name, ""));
            match (kind, option) {
                ("redirectscheme" | "redirectregex" | "headers" | "ratelimit", _) => {}
                ("addprefix", "prefix") => set(into, "add_prefix", value, field),
                ("stripprefix", "prefixes") => self.add_strip(field, scope, into),
                ("stripprefix", _) => {}
                ("basicauth", "users") if has_other(into, "users", value) => {
                    self.close(
                        name,
                        &field.key,
                        "a second list of users restricts the first",
                        into,
                    );
                }
                ("basicauth", "users") => {
                    // The comment does not repeat hashes of passwords.
                    let setting = Setting::new("users", value, &field.key);
                    add_setting(&mut into.settings, setting);
                }
                ("basicauth", "usersfile") => {
                    let options = [Setting::new("users_file", value, &field.origin())];
                    self.use_policy(&text::to_name(name), &field.origin(), &options, into);
                    let text =
                        "the file is read by docker-balancer: put it where docker-balancer runs";
                    self.draft.note_advice(&field.origin(), text);
                }
                ("basicauth", "realm" | "removeheader" | "headerfield") => {
                    let text =
                        "the container gets the user's name in Remote-User, and no Authorization";
                    self.draft.note_advice(&field.origin(), text);
                }
                ("ipallowlist" | "ipwhitelist", "sourcerange") => {
                    if into.settings.iter().any(|setting| setting.option == "allow") {
                        self.close(
                            name,
                            &field.origin(),
                            "a second list of addresses restricts the first",
                            into,
                        );
                    } else {
                        set(into, "allow", value, field);
                    }
                }
                ("ipallowlist" | "ipwhitelist", "rejectstatuscode") => {
                    self.draft.note_advice(&field.origin(), "the status is 403");
                }
                ("ipallowlist" | "ipwhitelist", _) => {
                    let text = "behind another proxy, the client's address is that in X-Forwarded-For if --trusted-proxies has the proxy";
                    self.draft.note_advice(&field.origin(), text);
                }
                ("forwardauth", _) => self.add_forward_auth(name, option, field, fields, into),
                ("inflightreq", "amount") => set(into, "at_once", value, field),
                ("inflightreq", _) => {
                    self.draft
                        .note_loss(&field.origin(), "requests are counted per client and route");
                }
                ("buffering", "maxrequestbodybytes") => match to_size(value) {
                    Some(size) => set(into, "max_body", &size, field),
                    None => self
                        .draft
                        .note_loss(&field.origin(), "max_body takes a number with k, m or g"),
                },
                ("retry", _) => {
                    let text = "requests that did not reach a container are repeated without a label; see retry";
                    self.draft.note_advice(&field.origin(), text);
                }
                ("contenttype", _) => {
                    self.draft.note_advice(&field.origin(), "HAProxy does not change Content-Type");
                }
                // One note for all options of a middleware.
                _ if !noted.insert(kind.to_owned()) => {}
                _ => match protection(kind) {
                    Some(text) => self.close(name, &middleware_key(field), text, into),
                    None => self.draft.note_loss(&middleware_key(field), remedy(kind)),
                },
            }
        }
    }

    fn add_strip(&mut self, field: &Field, scope: Scope<'_>, into: &mut Middlewares) {
        let trim = |text: &str| text.trim().trim_end_matches('/').to_owned();
        let stripped: BTreeSet<_> = text::list_members(&field.value)
            .into_iter()
            .map(trim)
            .filter(|text| !text.is_empty())
            .collect();
        let Some(value) = scope.path.strip_value(&stripped) else {
            let text = if *scope.path == PathMatch::Whole {
                "only a leading part of the route's prefix can be stripped, and this route has no prefix"
            } else {
                "it strips another path than the route's prefix"
            };
            return self.draft.note_loss(&field.origin(), text);
        };
        add_setting(&mut into.settings, Setting::new("strip_prefix", value, &field.origin()));
    }

    fn add_forward_auth(
        &mut self,
        name: &str,
        option: &str,
        field: &Field,
        fields: &[Field],
        into: &mut Middlewares,
    ) {
        let origin = field.origin();
        let is_possible = |url: &str| self.target == Target::Policy || names_container(url);
        let address = find(fields, "forwardauth.address");
        match option {
            "address" if !is_possible(&field.value) => self.use_server(name, field, fields, into),
            "address" if has_other(into, "forward_auth", &field.value) => {
                self.close(name, &origin, "a route has one authentication server", into);
            }
            "address" => {
                let setting = Setting::new("forward_auth", &field.value, &origin);
                add_setting(&mut into.settings, setting);
            }
            "authresponseheaders" if address.is_some_and(|url| !is_possible(&url.value)) => {}
            "authresponseheaders" => {
                let setting = Setting::new("forward_auth_headers", &field.value, &origin);
                add_setting(&mut into.settings, setting);
            }
            "trustforwardheader" => {
                let text = "see --trusted-proxies, if another proxy is in front";
                self.draft.note_advice(&origin, text);
            }
            _ => self.draft.note_loss(&origin, "forward_auth has no such option"),
        }
    }

    /// Adds a policy for a server that labels may not name.
    fn use_server(
        &mut self,
        name: &str,
        address: &Field,
        fields: &[Field],
        into: &mut Middlewares,
    ) {
        let policy = text::to_name(name);
        let option =
            |option: &str, field: &Field| Setting::new(option, &field.value, &field.origin());
        let headers = find(fields, "forwardauth.authresponseheaders");
        let headers = headers.map(|field| option("forward_auth_headers", field));
        let options: Vec<_> =
            [option("forward_auth", address)].into_iter().chain(headers).collect();
        self.use_policy(&policy, &address.origin(), &options, into);
        self.draft.note_loss(&address.origin(), ServiceDraft::policy_of_server(&policy));
    }

    /// Adds `rate` from the average and the period.
    fn add_rate(&mut self, fields: &[Field], into: &mut Middlewares) {
        let Some(average) = find(fields, "ratelimit.average") else {
            return;
        };
        let period = find(fields, "ratelimit.period");
        let period = period.map_or(Some(1), |field| to_seconds(&field.value));
        let rate = average.value.parse::<u64>().ok().zip(period).and_then(|(n, s)| to_rate(n, s));
        match rate {
            Some(rate) => {
                add_setting(&mut into.settings, Setting::new("rate", rate, &average.origin()));
            }
            None => self
                .draft
                .note_loss(&average.origin(), "rate takes requests per second, minute or hour"),
        }
        for field in fields.iter().filter(|field| field.name.starts_with("ratelimit.")) {
            match field.name.as_str() {
                "ratelimit.average" | "ratelimit.period" => {}
                "ratelimit.burst" => {
                    self.draft.note_advice(
                        &field.origin(),
                        "rate counts all requests of the time, so it includes bursts",
                    );
                }
                _ => self.draft.note_loss(&field.origin(), "rate counts per client and route"),
            }
        }
    }
}

/// Whether another middleware has set the option to another value.
fn has_other(into: &Middlewares, option: &str, value: &str) -> bool {
    into.settings.iter().any(|setting| setting.option == option && setting.value != value)
}

/// Returns the label up to the kind of the middleware, or the name of the plugin.
fn middleware_key(field: &Field) -> String {
    let parts = text::split_outside(&field.raw_name, |c| c == '.');
    let is_plugin = parts.first().is_some_and(|kind| kind.eq_ignore_ascii_case("plugin"));
    let kind = parts.into_iter().take(if is_plugin { 2 } else { 1 }).collect::<Vec<_>>().join(".");
    match field.key.strip_suffix(field.raw_name.as_str()) {
        Some(start) => format!("{start}{kind}"),
        None => field.key.clone(),
    }
}

/// Returns what is lost with a middleware that may restrict access.
fn protection(kind: &str) -> Option<&'static str> {
    match kind {
        "digestauth" => {
            Some("there is no digest authentication, but users for basic authentication")
        }
        "passtlsclientcert" => {
            Some("the container gets the client's certificate with client_cert, which needs a CA")
        }
        "plugin" => {
            Some("there are no plugins; if this one protects the route, something else has to")
        }
        _ => None,
    }
}

/// Returns what to do without a middleware that has no counterpart.
fn remedy(kind: &str) -> &'static str {
    match kind {
        "compress" => "docker-balancer does not compress; let the container do it",
        "errors" => "a page of another service for errors has no counterpart",
        "circuitbreaker" => "HAProxy's checks and retries take out containers that fail",
        "buffering" => {
            "HAProxy streams requests and responses; only the size of requests has a limit"
        }
        "replacepath" | "replacepathregex" | "stripprefixregex" => {
            "paths are changed by strip_prefix and add_prefix only; let the container do it"
        }
        _ => "this middleware has no counterpart",
    }
}

/// Returns `10m` for 10485760, rounded up to whole kilobytes.
fn to_size(bytes: &str) -> Option<String> {
    let bytes: u64 = bytes.trim().parse().ok().filter(|bytes| 0 < *bytes)?;
    let units = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];
    let even = units.iter().find(|(_, size)| bytes.is_multiple_of(*size));
    Some(match even {
        Some((unit, size)) => format!("{}{unit}", bytes / size),
        None => format!("{}k", bytes.div_ceil(1 << 10)),
    })
}

/// Returns the seconds of a duration such as `10s`, `1m`, or of a number. `None` if they are not whole.
fn to_seconds(text: &str) -> Option<u64> {
    to_duration(text).filter(|time| time.subsec_nanos() == 0).map(|time| time.as_secs())
}

/// Parses a duration; a number stands for seconds.
pub(super) fn to_duration(text: &str) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text.trim()).ok(),
    }
}

/// Returns the number of requests in a second, minute or hour.
fn to_rate(requests: u64, seconds: u64) -> Option<String> {
    if requests == 0 || seconds == 0 {
        return None;
    }
    let (unit, length) =
        [("s", 1), ("m", 60), ("h", 3600)].into_iter().find(|(_, length)| seconds <= *length)?;
    let scaled = requests.checked_mul(length)?;
    scaled.is_multiple_of(seconds).then(|| format!("{}/{unit}", scaled / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_has_the_largest_even_unit() {
        for (bytes, size) in [
            ("10485760", Some("10m")),
            ("1024", Some("1k")),
            ("1000", Some("1k")),
            ("2147483648", Some("2g")),
            ("0", None),
            ("x", None),
        ] {
            assert_eq!(to_size(bytes).as_deref(), size, "{bytes}");
        }
    }

    #[test]
    fn rate_has_a_unit_of_docker_balancer() {
        for (requests, seconds, rate) in [
            (100, 1, Some("100/s")),
            (6, 60, Some("6/m")),
            (5, 30, Some("10/m")),
            (1, 7, None),
            (1, 7200, None),
            (0, 1, None),
        ] {
            assert_eq!(to_rate(requests, seconds).as_deref(), rate);
        }
    }
}
