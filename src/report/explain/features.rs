//! What the features of a route do with a request before it reaches a container.
//!
//! Pure.

use super::{
    HeaderStep, OptionStep, RequestOutcome,
    request::{ExplainRequest, RequestHeader, Url, UserName},
    selected_route::SelectedRoute,
};
use crate::{
    haproxy::request_pattern,
    model::{
        http::{
            clients::{Allow, Deny},
            closed::Closed,
            cors::Cors,
            forward_auth::{AuthUrl, ForwardAuth},
            header::{DropRequestHeaders, HeaderName, RequestHeaders},
            limit::MaxBody,
            redirect::{Redirect, RedirectStatus},
            users::Users,
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
    if selected.redirects() && policy.get::<Redirect>() == Redirect::Off {
        // To HTTPS, where the other features act.
        return None;
    }
    if let Some(client) = request.from.map(|from| from.ip())
        && let Some(why) = refusal(client, selected)
    {
        return Some(FeatureAnswer::refused(403, why));
    }
    let answer = preflight_answer(request, &policy.get())
        .or_else(|| user_answer(request, &policy.get()))
        .or_else(|| auth_answer(snapshot, policy.get()))
        .or_else(|| body_answer(request, policy.get()));
    if answer.is_some() {
        return answer;
    }
    let location = redirect_location(request, selected, &policy.get())?;
    Some(FeatureAnswer {
        outcome: RequestOutcome::Redirected,
        status: policy.get::<RedirectStatus>().get(),
        why: format!("redirected to {location}"),
        location: Some(location),
    })
}

/// Returns the answer to a preflight request: browsers ask whether they may send another one.
fn preflight_answer(request: &ExplainRequest, cors: &Cors) -> Option<FeatureAnswer> {
    let is_preflight = *cors != Cors::Off
        && request.method.as_str() == "OPTIONS"
        && request.header("access-control-request-method").is_some();
    let origin = request.header("origin").filter(|_| is_preflight);
    if !is_preflight || (origin.is_none() && *cors != Cors::Any) {
        return None;
    }
    let origin = origin.unwrap_or("*");
    Some(match allowed_origin(cors, origin) {
        Some(_) => FeatureAnswer {
            outcome: RequestOutcome::Answered,
            status: 204,
            why: format!("pages of {origin} may send the request"),
            location: None,
        },
        None => FeatureAnswer::refused(403, format!("pages of {origin} may not send the request")),
    })
}

/// Returns the value of Access-Control-Allow-Origin for pages of the origin; `None` if they are not allowed.
fn allowed_origin(cors: &Cors, origin: &str) -> Option<String> {
    let origin = origin.to_ascii_lowercase();
    match cors {
        Cors::Off => None,
        Cors::Any => Some("*".to_owned()),
        Cors::Origins(origins) => origins.contains(&origin).then_some(origin),
    }
}

/// Returns the answer to a user that the route does not have.
fn user_answer(request: &ExplainRequest, users: &Users) -> Option<FeatureAnswer> {
    let user = request.user.as_ref()?.as_str();
    let is_unknown = users.is_known() && !users.names().any(|name| name == user);
    is_unknown
        .then(|| FeatureAnswer::refused(401, format!("{user:?} is not one of the route's users")))
}

/// Returns the answer to a body that is too large, or of an unknown length.
fn body_answer(request: &ExplainRequest, max_body: MaxBody) -> Option<FeatureAnswer> {
    let most = max_body.0?;
    if request.header("transfer-encoding").is_some() {
        let why = "max_body needs the length of the body, and the request does not say it";
        return Some(FeatureAnswer::refused(411, why.to_owned()));
    }
    let length: u64 = request.header("content-length")?.parse().ok()?;
    let why = || format!("a body of {length} bytes is larger than max_body, {most} bytes");
    (most < length).then(|| FeatureAnswer::refused(413, why()))
}

/// Returns notes about the users of a route: who gets in if no user is given, or what is not known about the given one.
pub(crate) fn user_note(request: &ExplainRequest, selected: &SelectedRoute<'_>) -> Option<String> {
    let users: Users = selected.route.policy.get();
    let user = request.user.as_ref().map(UserName::as_str);
    match user {
        None if users.is_none() => None,
        None => {
            Some("only users with a password get in; --user NAME says what one gets".to_owned())
        }
        Some(_) if users.is_none() => Some("the route asks for no user".to_owned()),
        Some(user) if users.is_known() => Some(format!(
            "{user:?} is one of the route's users; a request without the right password gets 401"
        )),
        Some(_) => Some("the names of the route's users are not known here".to_owned()),
    }
}

/// Returns what happens to each header of the request on its way to a container.
pub(crate) fn header_steps(
    request: &ExplainRequest,
    selected: &SelectedRoute<'_>,
) -> Vec<HeaderStep> {
    request.headers.iter().map(|header| header_step(header, selected)).collect()
}

fn header_step(header: &RequestHeader, selected: &SelectedRoute<'_>) -> HeaderStep {
    let policy = &selected.route.policy;
    let (RequestHeaders(set), DropRequestHeaders(dropped)) = (policy.get(), policy.get());
    let is_same = |name: &HeaderName| header.is(name.as_str());
    let step = |becomes: Option<&str>, text: &str, option: Option<LabelOption>| HeaderStep {
        name: header.name.clone(),
        value: header.value.clone(),
        becomes: becomes.map(str::to_owned),
        text: text.to_owned(),
        label: option.and_then(|option| selected.feature_source(option)),
    };
    if let Some((_, value)) = set.iter().find(|(name, _)| is_same(name)) {
        let text = format!("becomes {value}");
        return step(Some(value), &text, Some(LabelOption::RequestHeader));
    }
    if dropped.iter().any(is_same) {
        return step(None, "dropped", Some(LabelOption::DropRequestHeaders));
    }
    if is_proxy_header(&header.name) {
        return step(None, "dropped or replaced, unless the client is a trusted proxy", None);
    }
    let cors: Cors = policy.get();
    let text = match allowed_origin(&cors, &header.value) {
        _ if !header.is("origin") || cors == Cors::Off => "passed on".to_owned(),
        Some(origin) => format!("passed on; the answer has Access-Control-Allow-Origin: {origin}"),
        None => "passed on; pages of this origin cannot read the answer".to_owned(),
    };
    let option = (header.is("origin") && cors != Cors::Off).then_some(LabelOption::Cors);
    step(Some(&header.value), &text, option)
}

/// Whether clients describe themselves by the header, so that HAProxy does not pass it on.
fn is_proxy_header(name: &str) -> bool {
    let pattern = Regex::new(&request_pattern::proxy_header_pattern());
    pattern.expect("the pattern is valid").is_match(name)
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

/// Returns the answer of a route whose authentication server has no address.
fn auth_answer(snapshot: &StateSnapshot, ForwardAuth(url): ForwardAuth) -> Option<FeatureAnswer> {
    let is_known = |url: &AuthUrl| snapshot.rules.auth_servers.contains_key(&url.server_key());
    let url = url.filter(|url| !is_known(url))?;
    let why = format!("the address of its authentication server {url} is not known");
    Some(FeatureAnswer::refused(503, why))
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
    let parent = url.parent().map(|parent| format!("*.{parent}:{port}"));
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
