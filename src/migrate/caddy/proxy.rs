//! `reverse_proxy` and `redir`.
//!
//! Pure.

use super::{
    super::{
        draft::{PathMatch, ServiceDraft, Setting, add_setting},
        text,
    },
    Place,
    directive::Directive,
    matcher::{Matcher, split_matcher},
    setting::{is_literal, set_header},
};

/// Upstream of a `reverse_proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Upstream {
    scheme: Option<&'static str>,
    port: String,
}

pub(super) fn add_proxy(place: &Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (matcher, upstreams) = split_matcher(&directive.words(), &place.matchers);
    let Some(place) = place.narrow(&matcher, directive, draft) else { return };
    let Some(upstream) = read_upstream(&place, &upstreams.join(" ")) else {
        let text =
            "it does not lead to this container; the container that it leads to needs labels";
        return draft.note_loss(&directive.origin(), text);
    };
    let mut settings = Vec::new();
    if let Some(scheme) = upstream.scheme {
        settings.push(Setting::new("scheme", scheme, &directive.origin()));
    }
    read_options(&directive.inside, &mut settings, draft);
    for mut route in place.routes(&upstream.port) {
        for setting in &settings {
            add_setting(&mut route.settings, setting.clone());
        }
        draft.routes.push(route);
    }
}

/// Reads `{{upstreams 80}}`, `{{upstreams https 443}}`, or the container's name with a port.
fn read_upstream(place: &Place<'_>, text: &str) -> Option<Upstream> {
    if let Some((before, template)) = text.split_once("{{") {
        let inside = template.split("}}").next()?.trim().strip_prefix("upstreams")?;
        let words = text::split_words(inside);
        let (scheme, port) = match words.as_slice() {
            [] => ("http", None),
            [word] if matches!(word.as_str(), "http" | "https" | "h2c") => (word.as_str(), None),
            [port] => ("http", Some(port.clone())),
            [scheme, port, ..] => (scheme.as_str(), Some(port.clone())),
        };
        let scheme = if before.trim() == "https://" { "https" } else { scheme };
        let default = if scheme == "https" { "443" } else { "80" };
        let port = port.unwrap_or_else(|| default.to_owned());
        let is_port = text::has_variable(&port) || port.parse::<std::num::NonZeroU16>().is_ok();
        return is_port.then_some(Upstream { scheme: scheme_label(scheme), port });
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("http", text),
    };
    let (host, port) =
        rest.split_once(':').unwrap_or((rest, if scheme == "https" { "443" } else { "80" }));
    let is_own = host == place.service.name || matches!(host, "localhost" | "127.0.0.1");
    let is_port = port.parse::<std::num::NonZeroU16>().is_ok();
    (is_own && is_port).then(|| Upstream { scheme: scheme_label(scheme), port: port.to_owned() })
}

fn scheme_label(scheme: &str) -> Option<&'static str> {
    match scheme {
        "https" => Some("https"),
        "h2c" => Some("h2c"),
        _ => None,
    }
}

/// Reads the options of a `reverse_proxy`.
fn read_options(options: &[Directive], settings: &mut Vec<Setting>, draft: &mut ServiceDraft) {
    for option in options {
        let origin = option.origin();
        let mut set =
            |name: &str, value: &str| add_setting(settings, Setting::new(name, value, &origin));
        match option.name.as_str() {
            "health_uri" | "health_path" => set("check", &option.value),
            "health_port" => set("check_port", &option.value),
            "health_interval" => set("check_interval", &option.value),
            "transport" => read_transport(&option.inside, settings, draft),
            "header_up" => set_header("request", option, settings, draft),
            "header_down" => set_header("response", option, settings, draft),
            "lb_policy" if option.value == "cookie" => set("sticky", "cookie"),
            "lb_policy" if matches!(option.value.as_str(), "round_robin" | "random") => {}
            "flush_interval" | "trusted_proxies" | "lb_try_duration" | "lb_try_interval"
            | "health_timeout" | "stream_timeout" | "stream_close_delay" => {
                draft.note_advice(
                    &origin,
                    "HAProxy streams and retries without a label; see --trusted-proxies",
                );
            }
            _ => draft.note_loss(&origin, "this option of reverse_proxy has no counterpart"),
        }
    }
}

fn read_transport(options: &[Directive], settings: &mut Vec<Setting>, draft: &mut ServiceDraft) {
    for option in options {
        let origin = option.origin();
        let mut set =
            |name: &str, value: &str| add_setting(settings, Setting::new(name, value, &origin));
        match option.name.as_str() {
            "tls" => set("scheme", "https"),
            "tls_insecure_skip_verify" => {
                set("scheme", "https");
                set("verify", "off");
            }
            "tls_server_name" => set("server_name", &option.value),
            "read_timeout" | "response_header_timeout" => set("timeout", &option.value),
            "versions" if option.value.contains("h2c") => set("scheme", "h2c"),
            _ => draft.note_loss(&origin, "this option of the transport has no counterpart"),
        }
    }
}

/// Adds `redir https://example.com{uri} permanent`.
pub(super) fn add_redirect(place: &Place<'_>, directive: &Directive, draft: &mut ServiceDraft) {
    let (matcher, words) = split_matcher(&directive.words(), &place.matchers);
    let origin = directive.origin();
    let place = match matcher {
        Matcher::Hosts(_) => None,
        matcher => place.narrow(&matcher, directive, draft),
    };
    let Some(place) = place else { return };
    let (target, status) = match words.as_slice() {
        [target] => (target, "302"),
        [target, status] => (target, status.as_str()),
        _ => return draft.note_loss(&origin, "the redirect cannot be read"),
    };
    let status = match status {
        "permanent" | "html" => "301",
        "temporary" => "302",
        status => status,
    };
    let kept = target.strip_suffix("{uri}").or_else(|| target.strip_suffix("{http.request.uri}"));
    let value = match kept {
        Some(target) if target.matches('/').count() == 2 => target,
        None if is_literal(target) && target.contains("://") => target.as_str(),
        _ => {
            return draft
                .note_loss(&origin, "redirect leads to a URL, or to a host with the same path");
        }
    };
    // A redirect needs no container; the label is at the port that the site has anyway.
    let port = place.service.exposed.first().map_or_else(|| "80".to_owned(), ToString::to_string);
    for mut route in place.routes(&port) {
        route.set("redirect", value, &origin);
        if status != "307" {
            route.set("redirect_status", status, &origin);
        }
        if route.path == PathMatch::Whole {
            "redirect".clone_into(&mut route.name);
        }
        draft.routes.push(route);
    }
}
