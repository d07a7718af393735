//! Traefik's middleware `headers`.
//!
//! Pure.

use super::{
    super::{
        draft::{ServiceDraft, Setting, add_setting},
        text,
    },
    middleware::Middlewares,
    objects::{Field, find},
};

#[allow(clippy::match_same_arms, reason = "an arm for each option, in their order")]
pub(super) fn add_headers(draft: &mut ServiceDraft, fields: &[Field], into: &mut Middlewares) {
    for field in fields {
        let Some(name) = field.name.strip_prefix("headers.") else { continue };
        // The case of a header's name is kept.
        let raw = &field.raw_name["headers.".len()..];
        let mut set = |option: &str, value: &str| {
            add_setting(&mut into.settings, Setting::new(option, value, &field.origin()));
        };
        let is_on = text::is_on(&field.value);
        match name {
            "accesscontrolalloworiginlist" | "accesscontrolalloworigin" => {
                set("cors", &field.value);
            }
            "accesscontrolallowmethods"
            | "accesscontrolallowheaders"
            | "accesscontrolmaxage"
            | "accesscontrolexposeheaders"
            | "addvaryheader"
            | "accesscontrolallowcredentials" => {
                draft.note_advice(&field.origin(), "cors sets the other headers itself");
            }
            "framedeny" if is_on => set("response_header_X-Frame-Options", "DENY"),
            "customframeoptionsvalue" => set("response_header_X-Frame-Options", &field.value),
            "contenttypenosniff" if is_on => {
                set("response_header_X-Content-Type-Options", "nosniff");
            }
            "browserxssfilter" if is_on => set("response_header_X-XSS-Protection", "1; mode=block"),
            "custombrowserxssvalue" => set("response_header_X-XSS-Protection", &field.value),
            "contentsecuritypolicy" => set("response_header_Content-Security-Policy", &field.value),
            "referrerpolicy" => set("response_header_Referrer-Policy", &field.value),
            "permissionspolicy" => set("response_header_Permissions-Policy", &field.value),
            "featurepolicy" => set("response_header_Feature-Policy", &field.value),
            "stsseconds" => add_hsts(fields, field, into),
            "stsincludesubdomains" | "stspreload" | "forcestsheader" => {}
            "sslredirect" | "ssltemporaryredirect" | "sslforcehost" if is_on => {
                into.to_https = Some(Setting::new("redirect", "https", &field.origin()));
            }
            "framedeny"
            | "contenttypenosniff"
            | "browserxssfilter"
            | "sslredirect"
            | "isdevelopment"
            | "ssltemporaryredirect"
            | "sslforcehost" => {}
            "sslhost" | "hostsproxyheaders" | "allowedhosts" => {
                draft.note_advice(&field.origin(), "the hosts of the route decide");
            }
            _ if name.starts_with("sslproxyheaders.") => {
                draft.note_advice(
                    &field.origin(),
                    "see --trusted-proxies, if another proxy is in front",
                );
            }
            _ => match custom_headers(raw, &field.value) {
                Some((side, headers)) => {
                    for (header, value) in headers {
                        match value {
                            "" => set(&format!("drop_{side}_headers"), header),
                            value => set(&format!("{side}_header_{header}"), value),
                        }
                    }
                }
                None => {
                    draft.note_loss(&field.origin(), "this option of headers has no counterpart");
                }
            },
        }
    }
}

/// Returns the side and the headers of `customRequestHeaders.X-A`, or of Traefik 1: `X-A:b||X-B:c`.
fn custom_headers<'a>(
    name: &'a str,
    value: &'a str,
) -> Option<(&'static str, Vec<(&'a str, &'a str)>)> {
    let sides = [("customrequestheaders", "request"), ("customresponseheaders", "response")];
    let (kind, header) = match name.split_once('.') {
        Some((kind, header)) => (kind, Some(header)),
        None => (name, None),
    };
    let (_, side) = sides.into_iter().find(|(side, _)| kind.eq_ignore_ascii_case(side))?;
    if let Some(header) = header {
        return Some((side, vec![(header, value)]));
    }
    let pairs = value.split("||").map(|pair| pair.split_once(':'));
    let pairs = pairs.map(|pair| pair.map(|(name, value)| (name.trim(), value.trim())));
    Some((side, pairs.collect::<Option<Vec<_>>>()?))
}

fn add_hsts(fields: &[Field], seconds: &Field, into: &mut Middlewares) {
    if seconds.value == "0" {
        return;
    }
    let mut value = format!("{}s", seconds.value);
    for (name, word) in [("stsincludesubdomains", "subdomains"), ("stspreload", "preload")] {
        if find(fields, &format!("headers.{name}")).is_some_and(|field| text::is_on(&field.value)) {
            value = format!("{value} {word}");
        }
    }
    add_setting(&mut into.settings, Setting::new("hsts", value, &seconds.origin()));
}
