//! What the features of a route do with a request before it reaches a container.
//!
//! Pure.

use super::{
    OptionStep, RequestOutcome,
    request::{ExplainRequest, Url},
    selected_route::SelectedRoute,
};
use crate::{
    haproxy::request_pattern,
    model::{
        http::{
            clients::{Allow, Deny},
            closed::Closed,
            forward_auth::ForwardAuth,
            redirect::{Redirect, RedirectStatus},
        },
        label_option::{LabelOption, OptionEffect, OptionPlace, OptionValue},
        option_value::HostMatch,
        route::{Match, RouteKey},
    },
    report::StateSnapshot,
};
use regex_lite::Regex;
use std::net::IpAddr;

/// Options that the explanation shows in other places.
const SHOWN_ELSEWHERE: [LabelOption; 10] = [
    LabelOption::StripPrefix,
    LabelOption::Check,
    LabelOption::Timeout,
    LabelOption::Retry,
    LabelOption::Tls,
    LabelOption::TlsBind,
    LabelOption::Hsts,
    LabelOption::Scheme,
    LabelOption::Verify,
    LabelOption::ServerName,
];

/// An answer that HAProxy gives in place of a container.
#[derive(Debug)]
pub(crate) struct FeatureAnswer {
    pub(crate) outcome: RequestOutcome,
    pub(crate) status: u16,
    pub(crate) why: String,
    /// Where a redirect leads to.
    pub(crate) location: Option<String>,
}

impl FeatureAnswer {
    fn refused(status: u16, why: String) -> Self {
        Self { outcome: RequestOutcome::Refused, status, why, location: None }
    }
}

/// Returns the answer of the route's features, in the order in which they act. `None`: the request passes.
pub(crate) fn feature_answer(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
    selected: &SelectedRoute<'_>,
) -> Option<FeatureAnswer> {
    if !matches!(selected.key.rule, Match::Http { .. }) {
        return None;
    }
    if is_ambiguous(&request.url) && is_strict(snapshot, &request.url, selected.key) {
        let why = "a route of this host is protected, and the path is spelled in an ambiguous way";
        return Some(FeatureAnswer::refused(400, why.to_owned()));
    }
    let policy = &selected.route.policy;
    if let Closed(Some(option)) = policy.get() {
        let why =
            format!("{option} is not understood, and without it the route would be less protected");
        return Some(FeatureAnswer {
            outcome: RequestOutcome::Unavailable,
            status: 503,
            why,
            location: None,
        });
    }
    if let Some(client) = request.from.map(|from| from.ip())
        && let Some(why) = refusal(client, selected)
    {
        return Some(FeatureAnswer::refused(403, why));
    }
    if let ForwardAuth(Some(url)) = policy.get()
        && !snapshot.rules.auth_servers.contains_key(&url.server_key())
    {
        let why = format!("the address of its authentication server {url} is not known");
        return Some(FeatureAnswer::refused(503, why));
    }
    let location = redirect_location(request, selected, &policy.get())?;
    Some(FeatureAnswer {
        outcome: RequestOutcome::Redirected,
        status: policy.get::<RedirectStatus>().get(),
        why: format!("redirected to {location}"),
        location: Some(location),
    })
}

fn refusal(client: IpAddr, selected: &SelectedRoute<'_>) -> Option<String> {
    let (Allow(allow), Deny(deny)) = (selected.route.policy.get(), selected.route.policy.get());
    match () {
        () if deny.contains(client) => Some(format!("{client} is denied")),
        () if !allow.is_empty() && !allow.contains(client) => {
            Some(format!("{client} is not allowed"))
        }
        () => None,
    }
}

/// Returns the note about clients that do not get in, if no client is given.
pub(crate) fn client_note(
    request: &ExplainRequest,
    selected: &SelectedRoute<'_>,
) -> Option<String> {
    let (Allow(allow), Deny(deny)) = (selected.route.policy.get(), selected.route.policy.get());
    let is_limited = !allow.is_empty() || !deny.is_empty();
    (is_limited && request.from.is_none())
        .then(|| "not every client gets in; --from ADDRESS says what a client gets".to_owned())
}

/// Returns the note about the server that judges the request.
pub(crate) fn auth_note(selected: &SelectedRoute<'_>) -> Option<String> {
    let ForwardAuth(url) = selected.route.policy.get();
    Some(format!("{} decides whether the request passes", url?))
}

fn redirect_location(
    request: &ExplainRequest,
    selected: &SelectedRoute<'_>,
    redirect: &Redirect,
) -> Option<String> {
    let rest = || format!("{}{}", selected.forwarded_path(&request.url), request.url.query());
    match redirect {
        Redirect::Off => None,
        Redirect::Https => Some(format!("https://{}{}", request.url.host(), rest())),
        Redirect::Host(origin) => Some(format!("{origin}{}", rest())),
        Redirect::Url(url) => Some(url.clone()),
    }
}

/// Whether the path is spelled in a way that containers may interpret differently.
fn is_ambiguous(url: &Url) -> bool {
    let pattern = Regex::new(request_pattern::AMBIGUOUS_SPELLING);
    pattern.expect("the pattern is valid").is_match(url.path())
}

/// Whether the host, or the pattern of hosts that the route has, has a protected route.
fn is_strict(snapshot: &StateSnapshot, url: &Url, key: &RouteKey) -> bool {
    let port = key.listener.port;
    let parent = url.host().split_once('.').map(|(_, parent)| format!("*.{parent}:{port}"));
    let parent = parent.filter(|_| !matches!(key.host(), HostMatch::Exact(_)));
    let any = (*key.host() == HostMatch::Any).then(|| format!("*:{port}"));
    let hosts = [Some(format!("{}:{port}", url.host())), parent, any];
    let strict = &snapshot.config.maps.features.strict_hosts;
    hosts.into_iter().flatten().any(|host| strict.contains_key(&host))
}

/// Returns the options of the route that are set and that other steps do not show.
pub(crate) fn feature_steps(selected: &SelectedRoute<'_>) -> Vec<OptionStep> {
    let values = selected.route.policy.iter();
    let shown = values.filter(|value| {
        let spec = value.option().spec();
        spec.place == OptionPlace::Policy
            && (spec.effect == OptionEffect::Data || value.option() == LabelOption::StickyCookie)
            && !SHOWN_ELSEWHERE.contains(&value.option())
    });
    let step = |value: &OptionValue| OptionStep {
        option: value.option().name().trim_end_matches("_<Name>").to_owned(),
        value: value.to_string().replace('\n', "; "),
        label: match value {
            OptionValue::Closed(Closed(Some(invalid))) => selected.feature_source(*invalid),
            value => selected.feature_source(value.option()),
        },
    };
    shown.map(step).collect()
}
