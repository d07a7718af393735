//! Recovers options from an entry of the map of routes and from the maps of sets.
//!
//! Pure.

use super::{ANY_ORIGIN, FIRST_WORD, Feature, USERS_SET, Word, headers, parse_redirect};
use crate::{
    haproxy::{
        config::{MapName, NO_WORD},
        observed::ObservedState,
    },
    model::{
        http::{
            clients::{Allow, Deny},
            closed::Closed,
            cors::Cors,
            forward_auth::{AuthUrl, ForwardAuth, ForwardAuthHeaders},
            header::{
                DropRequestHeaders, DropResponseHeaders, RequestHeaders, ResponseHeaders,
                SecureHeaders,
            },
            limit::{AtOnce, MaxBody, Rate, RateLimit},
            redirect::RedirectStatus,
            rewrite::AddPrefix,
            sticky::StickyCookie,
            users::Users,
        },
        label_option::{OptionValues, TypedOption},
        option_value::{Log, TunnelTimeout},
        prefix::PathPrefix,
        route::Policy,
    },
};
use std::collections::BTreeSet;

/// Recovers the options from the words of an entry, and from the maps. `words` are those from [`FIRST_WORD`] on.
#[must_use]
pub fn recover_options(observed: &ObservedState, words: &[&str], policy: Policy) -> Policy {
    let mut reader = Reader { observed, words, policy };
    reader.read_redirect();
    reader.read_clients();
    reader.read_origins();
    if let Some(digest) = reader.word(Word::Users).and_then(|set| set.strip_prefix(USERS_SET))
        && let Some(users) = Users::from_digest(digest)
    {
        reader.set(users);
    }
    reader.read_forward_auth();
    reader.read_limits();
    reader.read_headers();
    if let Some(prefix) = reader.parse::<PathPrefix>(Word::AddPrefix) {
        reader.set(AddPrefix(prefix));
    }
    if let Some(tunnel) = reader.word(Word::TunnelTimeout)
        && let Ok(tunnel) = format!("{tunnel}ms").parse::<TunnelTimeout>()
    {
        reader.set(tunnel);
    }
    if reader.word(Word::Sticky).is_some() {
        reader.set(StickyCookie::Cookie);
    }
    if reader.uses(Feature::NoLog) {
        reader.set(Log(false));
    }
    reader.policy
}

struct Reader<'a> {
    observed: &'a ObservedState,
    words: &'a [&'a str],
    policy: OptionValues,
}

impl Reader<'_> {
    fn word(&self, word: Word) -> Option<&str> {
        let text = self.words.get(word as usize - FIRST_WORD).copied();
        text.filter(|text| *text != NO_WORD)
    }

    fn parse<T: std::str::FromStr>(&self, word: Word) -> Option<T> {
        self.word(word)?.parse().ok()
    }

    fn uses(&self, feature: Feature) -> bool {
        self.parse::<u64>(Word::Use).is_some_and(|bits| bits & feature.bit() != 0)
    }

    fn set(&mut self, value: impl TypedOption) {
        self.policy.set(value.into_value());
    }

    fn read_redirect(&mut self) {
        let Some(status) = self.parse::<RedirectStatus>(Word::RedirectStatus) else {
            if let Some(closed) = self.parse::<Closed>(Word::Redirect) {
                self.set(closed);
            }
            return;
        };
        if let Some(redirect) = self.word(Word::Redirect).and_then(parse_redirect) {
            self.set(redirect);
            self.set(status);
        }
    }

    fn read_clients(&mut self) {
        let Some(set) = self.word(Word::Clients) else { return };
        let members = self.observed.maps.get(&MapName::ClientMembers);
        let Some(text) = members.and_then(|map| map.get(set)) else { return };
        let (allow, deny) = text.split_once(" not ").unwrap_or((text, ""));
        let (allow, deny) = (allow.parse::<Allow>(), deny.parse::<Deny>());
        // `*`, and no denied client, are the defaults.
        if let Ok(allow) = allow {
            self.set(allow);
        }
        if let Ok(deny) = deny {
            self.set(deny);
        }
    }

    fn read_origins(&mut self) {
        let Some(set) = self.word(Word::Origins) else { return };
        let suffix = format!("@{set}");
        let entries = self.observed.map_entries(MapName::Origins);
        let origins: BTreeSet<_> =
            entries.filter_map(|(key, _)| key.strip_suffix(&suffix).map(str::to_owned)).collect();
        self.set(if origins.contains(ANY_ORIGIN) { Cors::Any } else { Cors::Origins(origins) });
    }

    fn read_forward_auth(&mut self) {
        let Some(set) = self.word(Word::ForwardAuth) else { return };
        let questions = self.observed.maps.get(&MapName::ForwardAuth);
        let Some(question) = questions.and_then(|map| map.get(set)) else { return };
        let [server, _, path, names] = question.split(' ').collect::<Vec<_>>()[..] else { return };
        let Some(url) = AuthUrl::from_server_key(server, path) else { return };
        self.set(ForwardAuth(Some(url)));
        if names != NO_WORD
            && let Ok(names) = names.parse::<ForwardAuthHeaders>()
        {
            self.set(names);
        }
    }

    fn read_limits(&mut self) {
        let period = Feature::RATES.iter().find(|(feature, _)| self.uses(*feature));
        if let (Some((_, period)), Some(requests)) = (period, self.parse(Word::Rate)) {
            self.set(RateLimit(Some(Rate { requests, period: *period })));
        }
        if let Some(at_once) = self.parse::<AtOnce>(Word::AtOnce) {
            self.set(at_once);
        }
        if let Some(max_body) = self.parse::<MaxBody>(Word::MaxBody) {
            self.set(max_body);
        }
    }

    fn read_headers(&mut self) {
        let Some(set) = self.word(Word::Headers) else { return };
        let start = format!("{set}/");
        let Some(map) = self.observed.maps.get(&MapName::Headers) else { return };
        let (mut request, mut response) = (String::new(), String::new());
        let (mut drop_request, mut drop_response) = (Vec::new(), Vec::new());
        let entries = map.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start));
        for (key, value) in entries {
            let Some((kind, name)) = key[start.len()..].split_once('/') else { continue };
            let line = || format!("{name}: {value}\n");
            match kind {
                headers::REQUEST => request += &line(),
                headers::RESPONSE => response += &line(),
                headers::DROP_REQUEST => drop_request.push(name),
                headers::DROP_RESPONSE => drop_response.push(name),
                _ => {}
            }
        }
        let headers = (request.parse::<RequestHeaders>(), response.parse::<ResponseHeaders>());
        if let Ok(headers) = headers.0 {
            self.set(headers);
        }
        if let Ok(ResponseHeaders(mut headers)) = headers.1 {
            // They are not told apart from the same fields of the route's own.
            if headers.remove_all(&SecureHeaders::headers()) {
                self.set(SecureHeaders(true));
            }
            self.set(ResponseHeaders(headers));
        }
        if let Ok(names) = drop_request.join(",").parse::<DropRequestHeaders>() {
            self.set(names);
        }
        if let Ok(names) = drop_response.join(",").parse::<DropResponseHeaders>() {
            self.set(names);
        }
    }
}
