//! What the rules of frontends do for a route besides leading it to a backend, as data: words of its entry in the map
//! of routes, and sets in further maps, named by a hash of their content.
//!
//! Pure. A route without features has no such words, and one rule ends the frontend's rules for its requests. A changed
//! policy is a new set and then one changed entry, so there is no moment with a half of it.

mod clients;
mod headers;
mod recover;
#[cfg(test)]
mod tests;

pub use clients::transitional_members;
pub use headers::HeaderNames;
pub use recover::recover_options;

use super::{
    config::{MapName, MapTarget, NO_WORD},
    name,
};
use crate::model::{
    http::{
        clients::{Allow, Deny},
        closed::Closed,
        cors::Cors,
        forward_auth::{AuthUrl, ForwardAuth, ForwardAuthHeaders},
        limit::{AtOnce, MaxBody, Period, Rate, RateLimit},
        redirect::{Redirect, RedirectStatus},
        rewrite::AddPrefix,
        sticky::StickyCookie,
        users::Users,
    },
    option_value::{Log, PathRule, TunnelTimeout},
    route::Policy,
};
use clients::ClientSet;
use headers::HeaderChanges;
use ring::digest::{SHA256, digest};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Position of the first word, counted from 1, of the features in an entry of the map of routes.
pub const FIRST_WORD: usize = 9;

/// Number of those words.
const WORDS: usize = 15;

/// What a route uses, as bits of the first of the words. The lowest bits are the number of a [`Block`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Feature {
    Clients = 1 << 3,
    Cors = 1 << 4,
    Users = 1 << 5,
    ForwardAuth = 1 << 6,
    RateOfSecond = 1 << 7,
    RateOfMinute = 1 << 8,
    RateOfHour = 1 << 9,
    AtOnce = 1 << 10,
    MaxBody = 1 << 11,
    Strip = 1 << 12,
    AddPrefix = 1 << 13,
    RequestHeaders = 1 << 14,
    TunnelTimeout = 1 << 15,
    NoLog = 1 << 16,
    ResponseHeaders = 1 << 17,
    Sticky = 1 << 18,
}

impl Feature {
    /// Those of which a route has one, each with its period.
    pub const RATES: [(Self, Period); 3] = [
        (Self::RateOfSecond, Period::Second),
        (Self::RateOfMinute, Period::Minute),
        (Self::RateOfHour, Period::Hour),
    ];

    /// Name of the table of the clients' requests under way.
    pub const AT_ONCE_TABLE: &str = "docker-glue-table-at-once";

    /// Returns the name of the table of the clients' requests in a period.
    pub fn rate_table(period: Period) -> String {
        format!("{}{}s", name::TABLE_PREFIX, period.seconds())
    }

    /// Returns the bit in the first word. Higher bits are of names of headers: see [`HeaderNames::bit`].
    pub fn bit(self) -> u64 {
        self as u64
    }

    /// Returns the bits of all rates.
    pub fn rates() -> u64 {
        Self::RATES.iter().map(|(feature, _)| feature.bit()).sum()
    }

    /// Returns the bits of what changes responses, besides CORS.
    pub fn of_responses() -> u64 {
        Self::ResponseHeaders.bit() + Self::of_cookies()
    }

    /// Returns the bits of what sets cookies.
    pub fn of_cookies() -> u64 {
        Self::ForwardAuth.bit() + Self::Sticky.bit()
    }

    /// Returns the bits of all limits of single clients.
    pub fn of_clients() -> u64 {
        Self::rates() + Self::AtOnce.bit()
    }
}

/// Blocks of rules, in the order in which they act. The rules end after the last one that a route uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Block {
    /// Only rules for responses.
    Response = 0,
    Clients = 1,
    Authentication = 2,
    Path = 3,
    Limits = 4,
    Request = 5,
}

impl Block {
    /// The bits of the first word that are the number of the last block that the route needs.
    pub const MASK: u64 = 7;

    pub fn number(self) -> u64 {
        self as u64
    }
}

/// Positions of the words, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// Sum of the bits of features and names of headers, and the number of the last block.
    Use = FIRST_WORD,
    /// Where requests are redirected to; of a closed route the option because of which it is closed.
    Redirect,
    RedirectStatus,
    Clients,
    Headers,
    AddPrefix,
    Rate,
    /// When a client may ask again, in seconds.
    RetryAfter,
    AtOnce,
    /// In bytes.
    MaxBody,
    Origins,
    /// In milliseconds.
    TunnelTimeout,
    Users,
    ForwardAuth,
    /// Path of the cookie.
    Sticky,
}

impl Word {
    pub fn number(self) -> usize {
        self as usize
    }
}

/// The words of a route, and its sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteFeatures {
    words: [Option<String>; WORDS],
    clients: Option<ClientSet>,
    origins: Option<(String, BTreeSet<String>)>,
    headers: Option<(String, HeaderChanges)>,
    /// The set that says which authentication server is asked, and its entry.
    question: Option<(String, String)>,
    /// Whether the spelling of a path must not lead around the route.
    pub is_protected: bool,
}

impl RouteFeatures {
    /// Returns the features of a route, if it has any. `strips` is whether a part of its paths is stripped.
    pub fn new(policy: &Policy, strips: bool, path: Option<&PathRule>) -> Option<Arc<Self>> {
        let mut features = Self::default();
        if let Closed(Some(option)) = policy.get() {
            features.is_protected = true;
            features.set(Word::Redirect, option.name());
            return Some(Arc::new(features));
        }
        let mut uses = Uses::default();
        let redirect = policy.get::<Redirect>();
        // The path of a redirect is that of the request.
        let forwards = redirect == Redirect::Off;
        uses.add_if(strips && forwards, Feature::Strip, Block::Path);
        features.add_clients(policy, &mut uses);
        features.add_origins(policy, &mut uses);
        features.add_users(policy, &mut uses);
        features.add_forward_auth(policy, &mut uses);
        features.add_limits(policy, &mut uses);
        features.add_headers(policy, &mut uses);
        let AddPrefix(added) = policy.get();
        if !added.as_str().is_empty() {
            uses.add_if(forwards, Feature::AddPrefix, Block::Path);
            features.set(Word::AddPrefix, added.as_str());
        }
        let (tunnel, Log(log)): (TunnelTimeout, _) = (policy.get(), policy.get());
        if tunnel != TunnelTimeout::default() {
            uses.add(Feature::TunnelTimeout, Block::Request);
            features.set(Word::TunnelTimeout, &tunnel.duration().as_millis().to_string());
        }
        uses.add_if(!log, Feature::NoLog, Block::Request);
        if policy.get::<StickyCookie>() == StickyCookie::Cookie {
            uses.add(Feature::Sticky, Block::Response);
            features.set(Word::Sticky, &cookie_path(path));
        }
        if uses.bits != 0 {
            features.set(Word::Use, &(uses.bits + uses.last.number()).to_string());
        }
        if !forwards {
            features.set(Word::Redirect, &redirect_word(&redirect));
            features.set(Word::RedirectStatus, &policy.get::<RedirectStatus>().to_string());
        }
        features.words.iter().any(Option::is_some).then(|| Arc::new(features))
    }

    fn set(&mut self, word: Word, text: &str) {
        self.words[word as usize - FIRST_WORD] = Some(text.to_owned());
    }

    fn add_clients(&mut self, policy: &Policy, uses: &mut Uses) {
        let (Allow(allow), Deny(deny)) = (policy.get(), policy.get());
        if allow.is_empty() && deny.is_empty() {
            return;
        }
        let set = ClientSet::new(allow, deny);
        self.set(Word::Clients, &set.name);
        self.clients = Some(set);
        self.is_protected = true;
        uses.add(Feature::Clients, Block::Clients);
    }

    fn add_origins(&mut self, policy: &Policy, uses: &mut Uses) {
        let origins = match policy.get() {
            Cors::Off => return,
            Cors::Any => [ANY_ORIGIN.to_owned()].into(),
            Cors::Origins(origins) => origins,
        };
        let text = origins.iter().fold(String::new(), |text, origin| text + origin + " ");
        let name = set_name('o', &text);
        self.set(Word::Origins, &name);
        self.origins = Some((name, origins));
        uses.add(Feature::Cors, Block::Authentication);
    }

    fn add_users(&mut self, policy: &Policy, uses: &mut Uses) {
        let list: Users = policy.get();
        if list.is_none() {
            return;
        }
        self.set(Word::Users, &users_set(&list));
        self.is_protected = true;
        uses.add(Feature::Users, Block::Authentication);
    }

    fn add_forward_auth(&mut self, policy: &Policy, uses: &mut Uses) {
        let ForwardAuth(Some(url)) = policy.get() else { return };
        let question = question_entry(&url, &policy.get());
        let name = set_name('f', &question);
        self.set(Word::ForwardAuth, &name);
        self.question = Some((name, question));
        self.is_protected = true;
        uses.add(Feature::ForwardAuth, Block::Authentication);
    }

    fn add_limits(&mut self, policy: &Policy, uses: &mut Uses) {
        if let RateLimit(Some(Rate { requests, period })) = policy.get() {
            let feature = Feature::RATES.into_iter().find(|(_, other)| *other == period);
            let (feature, _) = feature.expect("each period has a feature");
            uses.add(feature, Block::Limits);
            self.set(Word::Rate, &requests.to_string());
            self.set(Word::RetryAfter, &period.seconds().to_string());
        }
        if let AtOnce(Some(count)) = policy.get() {
            uses.add(Feature::AtOnce, Block::Limits);
            self.set(Word::AtOnce, &count.to_string());
        }
        if let MaxBody(Some(bytes)) = policy.get() {
            uses.add(Feature::MaxBody, Block::Limits);
            self.set(Word::MaxBody, &bytes.to_string());
        }
    }

    fn add_headers(&mut self, policy: &Policy, uses: &mut Uses) {
        let changes = HeaderChanges::new(policy);
        if changes.is_empty() {
            return;
        }
        uses.add_if(changes.has_request(), Feature::RequestHeaders, Block::Request);
        uses.add_if(changes.has_response(), Feature::ResponseHeaders, Block::Response);
        uses.bits |= changes.bits();
        let name = changes.set_name();
        self.set(Word::Headers, &name);
        self.headers = Some((name, changes));
    }

    /// Iterates over the words, up to the last that has a value.
    pub fn words(&self) -> impl Iterator<Item = Option<&str>> {
        let used = self.words.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.words[..used].iter().map(Option::as_deref)
    }

    /// Whether the route has entries in maps of sets.
    pub fn has_sets(&self) -> bool {
        self.is_protected
            || self.clients.is_some()
            || self.origins.is_some()
            || self.headers.is_some()
    }
}

/// The bits, and the last block, of the features that a route uses.
#[derive(Debug)]
struct Uses {
    bits: u64,
    last: Block,
}

impl Default for Uses {
    fn default() -> Self {
        Self { bits: 0, last: Block::Response }
    }
}

impl Uses {
    fn add(&mut self, feature: Feature, block: Block) {
        self.bits |= feature.bit();
        self.last = self.last.max(block);
    }

    fn add_if(&mut self, condition: bool, feature: Feature, block: Block) {
        if condition {
            self.add(feature, block);
        }
    }
}

/// Stands for every origin in the map of origins.
const ANY_ORIGIN: &str = "*";

/// Returns the name of a set: a letter for its kind, and a hash of its content that nobody can collide, because the
/// content comes from labels, which anyone may write.
fn set_name(kind: char, content: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    let hash = u64::from_be_bytes(hash.as_ref()[..8].try_into().expect("a digest has 32 bytes"));
    format!("{kind}{hash:016x}")
}

/// Returns the name of a set of users, by which docker-balancer is asked about them. It is no set of a map.
pub fn users_set(users: &Users) -> String {
    format!("{USERS_SET}{}", users.digest())
}

/// Returns the path for which a browser keeps the cookie of a route, so that routes of one host have their own: the
/// leading part of the route's path that every browser writes in the same way.
fn cookie_path(path: Option<&PathRule>) -> String {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    let path = path.map(|path| path.segments().to_string()).unwrap_or_default();
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let plain = segments.take_while(|segment| segment.bytes().all(is_plain));
    format!("/{}", plain.collect::<Vec<_>>().join("/"))
}

/// Returns the entry of the map of questions to authentication servers: the key of the server, the `Host` header, the
/// path, and the names of the headers that the container gets.
fn question_entry(url: &AuthUrl, headers: &ForwardAuthHeaders) -> String {
    let names = headers.to_string();
    let names = if names.is_empty() { NO_WORD } else { &names };
    format!("{} {} {} {names}", url.server_key(), url.authority(), url.path())
}

/// Start of the names of sets of users.
const USERS_SET: char = 'u';

/// Returns the word of a redirect. `*` at the end stands for the path and the query.
fn redirect_word(redirect: &Redirect) -> String {
    match redirect {
        Redirect::Off => String::new(),
        Redirect::Https => "https".to_owned(),
        Redirect::Host(origin) => format!("{origin}*"),
        Redirect::Url(url) => url.clone(),
    }
}

fn parse_redirect(word: &str) -> Option<Redirect> {
    match word.strip_suffix('*') {
        Some(origin) if origin.matches('/').count() == 2 => origin.parse().ok(),
        _ => word.parse().ok(),
    }
}

/// Value of entries of which only the key is used.
const PRESENT: &str = "1";

/// The maps of the sets that routes use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeatureMaps {
    /// `host:port` of each host with a protected route.
    pub strict_hosts: BTreeMap<String, String>,
    /// `NETWORK@SET` of each class whose clients are in the set. `SET` alone has its definition, for readers.
    pub client_members: BTreeMap<String, String>,
    /// Class of addresses → itself, so that HAProxy finds the narrowest class of a client.
    pub client_networks: BTreeMap<String, String>,
    /// `ORIGIN@SET` → `ORIGIN`
    pub origins: BTreeMap<String, String>,
    /// Set → the question to an authentication server.
    pub forward_auth: BTreeMap<String, String>,
    /// `SET/request/NAME`, `SET/response/NAME` → value; `SET/drop-request/NAME`, `SET/drop-response/NAME`.
    pub headers: BTreeMap<String, String>,
}

impl FeatureMaps {
    /// Builds the maps from the entries of all routes.
    pub fn of_routes<'a>(
        routes: impl IntoIterator<Item = (&'a String, &'a MapTarget)>,
        names: &HeaderNames,
    ) -> Self {
        let mut maps = Self::new(routes.into_iter().filter_map(|(key, target)| {
            let features = target.features.as_deref()?;
            let host = key.split_once('/').map_or(key.as_str(), |(host, _)| host);
            Some((host.to_owned(), features))
        }));
        maps.headers.extend(names.keys().into_iter().map(|key| (key, PRESENT.to_owned())));
        maps
    }

    /// Builds the maps from the features of routes, each with `host:port` of the route.
    fn new<'a>(features: impl Iterator<Item = (String, &'a RouteFeatures)>) -> Self {
        let mut maps = Self::default();
        let mut sets = BTreeMap::new();
        for (host, features) in features {
            if features.is_protected {
                maps.strict_hosts.insert(host, PRESENT.to_owned());
            }
            if let Some(set) = &features.clients {
                sets.insert(set.name.as_str(), set);
            }
            if let Some((name, question)) = &features.question {
                maps.forward_auth.insert(name.clone(), question.clone());
            }
            if let Some((name, origins)) = &features.origins {
                let entry = |origin: &String| (format!("{origin}@{name}"), origin.clone());
                maps.origins.extend(origins.iter().map(entry));
            }
            if let Some((name, changes)) = &features.headers {
                let entry =
                    |(key, value): (String, &str)| (format!("{name}{key}"), value.to_owned());
                maps.headers.extend(changes.entries().map(entry));
            }
        }
        (maps.client_networks, maps.client_members) = clients::build_maps(&sets);
        maps
    }

    /// Returns the entries of a map; `None` if it has no sets.
    pub fn entries(&self, map: MapName) -> Option<&BTreeMap<String, String>> {
        match map {
            MapName::StrictHosts => Some(&self.strict_hosts),
            MapName::ClientMembers => Some(&self.client_members),
            MapName::ClientNetworks => Some(&self.client_networks),
            MapName::Origins => Some(&self.origins),
            MapName::ForwardAuth => Some(&self.forward_auth),
            MapName::Headers => Some(&self.headers),
            _ => None,
        }
    }
}
