//! Directives that apply to all requests of their block.
//!
//! Pure. One that restricts access is applied to the whole block, even if it has a matcher for a part of it.

use super::{
    super::{
        draft::{PathMatch, ServiceDraft, Setting, add_setting},
        nginx_proxy::parse_hsts,
        text,
    },
    Place,
    directive::Directive,
    matcher::{Matcher, read_matchers, split_matcher},
};

/// Limit of imports in snippets.
const MAX_IMPORTS: usize = 8;

pub(super) fn apply(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    apply_nested(place, directive, draft, 0);
}

fn apply_nested(
    place: &mut Place<'_>,
    directive: &Directive,
    draft: &mut ServiceDraft,
    depth: usize,
) {
    let origin = directive.origin();
    match directive.name.as_str() {
        // Named matchers are read where they are used.
        name if name.starts_with('@') => {}
        "import" => import(place, directive, draft, depth),
        "encode" => {
            draft.note_loss(&origin, "docker-balancer does not compress; let the container do it");
        }
        "log" => draft.note_advice(&origin, "--access-log is for all routes"),
        "tls" => apply_tls(place, directive, draft),
        "basicauth" | "basic_auth" => apply_users(place, directive, draft),
        "forward_auth" => apply_forward_auth(place, directive, draft),
        "header" => apply_headers("response", place, directive, draft),
        "request_header" => apply_headers("request", place, directive, draft),
        "uri" => apply_uri(place, directive, draft),
        "rewrite" => apply_rewrite(place, directive, draft),
        "request_body" => match directive.find("max_size") {
            Some(size) => {
                let value = size.value.to_ascii_lowercase();
                let value = value.trim_end_matches('b').trim_end_matches('i').to_owned();
                place.set("max_body", &value, &size.origin());
            }
            None => draft.note_loss(&origin, "max_body takes a number with k, m or g"),
        },
        "respond" | "abort" | "error" => apply_refusal(place, directive, draft),
        "bind" => draft.note_loss(&origin, "--bind is for all ports"),
        _ => draft.note_loss(&origin, "this directive has no counterpart; let the container do it"),
    }
}

impl Place<'_> {
    fn set(&mut self, option: &str, value: &str, origin: &str) {
        add_setting(&mut self.settings, Setting::new(option, value, origin));
    }

    /// Closes the block for a protection that has no counterpart.
    fn close(&mut self, name: &str, directive: &Directive, text: &str, draft: &mut ServiceDraft) {
        let (policy, origin) = (text::to_name(name), directive.origin());
        self.set("use", &policy, &origin);
        draft.add_policy(&policy, &origin, &[]);
        let text = format!(
            "{text}: write the policy, or remove the label that uses it. Until then the route is closed"
        );
        draft.note_loss(&origin, text);
    }
}

/// Applies a snippet. One that is not among the labels becomes a policy.
fn import(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft, depth: usize) {
    let words = directive.words();
    let Some(name) = words.first() else { return };
    match place.snippets.get(name).filter(|_| depth < MAX_IMPORTS) {
        Some(directives) => {
            place.matchers.extend(read_matchers(directives));
            for inside in directives {
                apply_nested(place, inside, draft, depth + 1);
            }
        }
        None => place.close(name, directive, "the snippet is not among the labels", draft),
    }
}

fn apply_tls(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let words = directive.words();
    let origin = directive.origin();
    match words.as_slice() {
        [word] if word == "internal" => place.set("cert", "self", &origin),
        [word] if word == "force_automate" => place.set("cert", "acme", &origin),
        [] | [_] => {}
        [_, ..] => {
            place.set("cert", "files", &origin);
            draft.note_loss(
                &origin,
                "put the certificate and its key into a directory of --certificates",
            );
        }
    }
    for option in &directive.inside {
        match option.name.as_str() {
            "client_auth" => {
                let text = "put the CA into the directory of --client-ca as caddy.pem. Until then the route is closed";
                place.set("client_cert", "caddy", &option.origin());
                draft.note_loss(&option.origin(), text);
            }
            "dns" | "ca" | "issuer" | "resolvers" | "propagation_timeout" | "propagation_delay" => {
                draft.note_advice(&option.origin(), "see --acme, --acme-challenge and --acme-dns");
            }
            "protocols" | "ciphers" | "curves" => {
                draft.note_loss(&option.origin(), "TLS versions are set by tls_policy");
            }
            _ => draft.note_loss(&option.origin(), "this option of tls has no counterpart"),
        }
    }
}

fn apply_users(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (matcher, words) = split_matcher(&directive.words(), &place.matchers);
    if matcher != Matcher::All && !place.covers(&matcher) {
        let text = "it is for a part of the site; the labels ask for a password on the whole route";
        draft.note_loss(&directive.origin(), text);
    }
    // `basicauth user hash` in one label, or one label for each user.
    let pairs: Vec<_> = match words.as_slice() {
        [user, hash] => vec![(user.clone(), hash.clone(), directive.key.clone())],
        _ => directive
            .inside
            .iter()
            .map(|user| (user.name.clone(), user.value.clone(), user.key.clone()))
            .collect(),
    };
    let is_hash = |hash: &str| hash.starts_with('$');
    if pairs.is_empty() || !pairs.iter().all(|(_, hash, _)| is_hash(hash)) {
        return place.close("users", directive, "the users cannot be read", draft);
    }
    for (user, hash, key) in pairs {
        place.set("users", &format!("{user}:{hash}"), &key);
    }
}

fn apply_forward_auth(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (matcher, words) = split_matcher(&directive.words(), &place.matchers);
    if matcher != Matcher::All && !place.covers(&matcher) {
        let text = "it is for a part of the requests; the labels ask for all of the route";
        draft.note_loss(&directive.origin(), text);
    }
    let Some(upstream) =
        words.first().filter(|text| !text.contains("{{") && !text.starts_with("https://"))
    else {
        return place.close(
            "forward-auth",
            directive,
            "forward_auth names a container or a host",
            draft,
        );
    };
    let uri = directive.find("uri").map(|uri| uri.value.as_str()).unwrap_or_default();
    let uri = if uri.starts_with('/') { uri.to_owned() } else { format!("/{uri}") };
    let upstream = upstream.trim_start_matches("http://");
    place.set("forward_auth", &format!("http://{upstream}{uri}"), &directive.origin());
    if let Some(headers) = directive.find("copy_headers") {
        place.set("forward_auth_headers", &headers.words().join(","), &headers.origin());
    }
    let others = directive.inside.iter();
    for option in others.filter(|option| !matches!(option.name.as_str(), "uri" | "copy_headers")) {
        draft.note_loss(&option.origin(), "forward_auth has no such option");
    }
}

fn apply_headers(
    side: &str,
    place: &mut Place<'_>,
    directive: &Directive,
    draft: &mut ServiceDraft,
) {
    if !directive.value.is_empty() {
        set_header(side, directive, &mut place.settings, draft);
    }
    for inside in &directive.inside {
        let mut words = vec![inside.name.clone()];
        if !inside.value.is_empty() {
            words.push(inside.value.trim_matches('"').to_owned());
        }
        set_header_words(side, &words, &inside.origin(), &mut place.settings, draft);
    }
}

/// Adds `X-Name "value"`, or `-X-Name`, which removes the header.
pub(super) fn set_header(
    side: &str,
    directive: &Directive,
    settings: &mut Vec<Setting>,
    draft: &mut ServiceDraft,
) {
    set_header_words(side, &directive.words(), &directive.origin(), settings, draft);
}

fn set_header_words(
    side: &str,
    words: &[String],
    origin: &str,
    settings: &mut Vec<Setting>,
    draft: &mut ServiceDraft,
) {
    let Some((name, values)) =
        words.split_first().filter(|(name, _)| !name.starts_with(['/', '@', '*']))
    else {
        return draft.note_loss(origin, "headers are those of the whole route");
    };
    let value = values.join(" ");
    if let Some(name) = name.strip_prefix('-') {
        return add_setting(settings, Setting::new(&format!("drop_{side}_headers"), name, origin));
    }
    let name = name.trim_start_matches(['+', '>', '?']).trim_end_matches(':');
    // HAProxy sends these already.
    let is_known = ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    if side == "request" && is_known.contains(&name.to_ascii_lowercase().as_str()) {
        return draft.note_advice(
            origin,
            "HAProxy passes the host on, and sends X-Forwarded-For, -Proto and -Host",
        );
    }
    if name.eq_ignore_ascii_case("strict-transport-security")
        && let Some(hsts) = parse_hsts(&value)
    {
        return add_setting(settings, Setting::new("hsts", hsts, origin));
    }
    if values.len() != 1 || !is_literal(&value) || value.is_empty() {
        return draft.note_loss(origin, "the value of a header is a literal text");
    }
    add_setting(settings, Setting::new(&format!("{side}_header_{name}"), value, origin));
}

/// Whether a text has no placeholder of Caddy, such as `{host}`.
pub(super) fn is_literal(text: &str) -> bool {
    let mut before = ' ';
    for c in text.chars() {
        if c == '{' && before != '$' {
            return false;
        }
        before = c;
    }
    true
}

fn apply_uri(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (_, words) = split_matcher(&directive.words(), &place.matchers);
    let stripped = match words.as_slice() {
        [verb, prefix] if verb == "strip_prefix" => prefix.trim_end_matches('/'),
        _ => return draft.note_loss(&directive.origin(), "only strip_prefix has a counterpart"),
    };
    let stripped =
        if stripped.starts_with('/') { stripped.to_owned() } else { format!("/{stripped}") };
    match place.path.strip_value(&[stripped].into()) {
        Some(value) => place.set("strip_prefix", &value, &directive.origin()),
        None => draft.note_loss(&directive.origin(), "only the prefix of a route can be stripped"),
    }
}

/// Translates `rewrite * /target{uri}`.
fn apply_rewrite(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (_, words) = split_matcher(&directive.words(), &place.matchers);
    let target = words.first().map(String::as_str).unwrap_or_default();
    let prefix = target.strip_suffix("{uri}").or_else(|| target.strip_suffix("{path}"));
    match prefix.filter(|prefix| prefix.starts_with('/') && is_literal(prefix)) {
        Some(prefix) => place.set("add_prefix", prefix.trim_end_matches('/'), &directive.origin()),
        None => draft.note_loss(
            &directive.origin(),
            "paths are changed by strip_prefix and add_prefix only",
        ),
    }
}

/// Translates refusals of clients: `respond @outside 403`.
fn apply_refusal(place: &mut Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (matcher, _) = split_matcher(&directive.words(), &place.matchers);
    match matcher {
        Matcher::Clients { networks, is_negated } => {
            let option = if is_negated { "allow" } else { "deny" };
            place.set(option, &networks.join(","), &directive.origin());
        }
        Matcher::All => {
            draft.note_loss(&directive.origin(), "HAProxy answers only for containers");
        }
        _ => place.close(
            "caddy-respond",
            directive,
            "it refuses requests by something else than the client's address",
            draft,
        ),
    }
}

impl Place<'_> {
    /// Whether the matcher has all requests of the place.
    fn covers(&self, matcher: &Matcher) -> bool {
        matches!(matcher, Matcher::Path(path) if *path == PathMatch::Whole || *path == self.path)
    }
}
