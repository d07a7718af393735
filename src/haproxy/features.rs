//! What the rules of frontends do for a route besides leading it to a backend, as data: words of its entry in the map
//! of routes, and sets in further maps, named by a hash of their content.
//!
//! Pure. A route without features has no such words, and one rule ends the frontend's rules for its requests. A changed
//! policy is a new set and then one changed entry, so there is no moment with a half of it.

use super::{
    config::{MapName, MapTarget, NO_WORD},
    name,
    observed::ObservedState,
};
use crate::model::{
    http::{
        clients::{Allow, Deny, Networks},
        closed::Closed,
        cors::Cors,
        header::{
            DropRequestHeaders, DropResponseHeaders, HeaderName, Headers, RequestHeaders,
            ResponseHeaders, SecureHeaders,
        },
        limit::{AtOnce, MaxBody, Period, Rate, RateLimit},
        redirect::{Redirect, RedirectStatus},
        rewrite::AddPrefix,
        users::Users,
    },
    label_option::{OptionValues, TypedOption},
    option_value::{Log, TunnelTimeout},
    route::Policy,
};
use ipnet::IpNet;
use ring::digest::{SHA256, digest};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

/// Position of the first word, counted from 1, of the features in an entry of the map of routes.
pub const FIRST_WORD: usize = 9;

/// Number of those words.
const WORDS: usize = 15;

/// What a route uses, as bits of the first of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    Clients = 1,
    Cors = 1 << 1,
    Users = 1 << 2,
    RateOfSecond = 1 << 4,
    RateOfMinute = 1 << 5,
    RateOfHour = 1 << 6,
    AtOnce = 1 << 7,
    MaxBody = 1 << 8,
    Strip = 1 << 9,
    AddPrefix = 1 << 10,
    RequestHeaders = 1 << 11,
    TunnelTimeout = 1 << 12,
    NoLog = 1 << 13,
    ResponseHeaders = 1 << 14,
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

    /// Returns the bit in the first word.
    pub fn bit(self) -> u32 {
        self as u32
    }

    /// Returns the bits of all rates.
    pub fn rates() -> u32 {
        Self::RATES.iter().map(|(feature, _)| feature.bit()).sum()
    }
}

/// Blocks of rules, in the order in which they act. The rules end after the last one that a route uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Block {
    /// Only rules for responses.
    Response = 0,
    Clients = 1,
    Authentication = 2,
    Limits = 3,
    Path = 4,
    Request = 5,
}

impl Block {
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// Positions of the words, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    Use = FIRST_WORD,
    LastBlock,
    /// Where requests are redirected to; of a closed route the option because of which it is closed.
    Redirect,
    RedirectStatus,
    Clients,
    Headers,
    AddPrefix,
    Rate,
    AtOnce,
    /// In bytes.
    MaxBody,
    Origins,
    /// In milliseconds.
    TunnelTimeout,
    Users,
    Authentication,
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
    /// Whether the spelling of a path must not lead around the route.
    pub is_protected: bool,
}

/// Clients by their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClientSet {
    name: String,
    allow: Networks,
    deny: Networks,
}

/// Header fields that are set, and those that are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct HeaderChanges {
    request: Headers,
    response: Headers,
    drop_request: BTreeSet<HeaderName>,
    drop_response: BTreeSet<HeaderName>,
}

/// Names of header fields for which frontends have rules. HAProxy takes no names from maps, so a further name takes a
/// reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames {
    pub request: BTreeSet<String>,
    pub response: BTreeSet<String>,
    pub drop_request: BTreeSet<String>,
    pub drop_response: BTreeSet<String>,
}

/// Names that many people use. They need no reload.
const PREPARED_RESPONSE: [&str; 7] = [
    "cache-control",
    "content-security-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
    "x-robots-tag",
];
const PREPARED_DROPS: [&str; 2] = ["server", "x-powered-by"];

impl Default for HeaderNames {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            request: names(&["x-forwarded-proto"]),
            response: names(&PREPARED_RESPONSE),
            drop_request: BTreeSet::new(),
            drop_response: names(&PREPARED_DROPS),
        }
    }
}

impl HeaderNames {
    /// Returns the names of the running worker, from the keys of its map of headers.
    pub fn of_worker<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut names = Self::default();
        for key in keys.filter_map(|key| key.strip_prefix(NAMES)) {
            let Some((kind, name)) = key.split_once('/') else { continue };
            let of_kind = names.by_kind_mut().into_iter().find(|(other, _)| *other == kind);
            if let Some((_, of_kind)) = of_kind {
                of_kind.insert(name.to_owned());
            }
        }
        names
    }

    /// Returns the keys of the names in the map of headers, from which [`Self::of_worker`] reads them.
    fn keys(&self) -> Vec<String> {
        let (prepared, mut keys) = (Self::default(), Vec::new());
        for ((kind, names), (_, prepared)) in self.by_kind().into_iter().zip(prepared.by_kind()) {
            let further = names.difference(prepared);
            keys.extend(further.map(|name| format!("{NAMES}{kind}/{name}")));
        }
        keys
    }

    fn by_kind(&self) -> [(&'static str, &BTreeSet<String>); 4] {
        [
            (REQUEST, &self.request),
            (RESPONSE, &self.response),
            (DROP_REQUEST, &self.drop_request),
            (DROP_RESPONSE, &self.drop_response),
        ]
    }

    fn by_kind_mut(&mut self) -> [(&'static str, &mut BTreeSet<String>); 4] {
        [
            (REQUEST, &mut self.request),
            (RESPONSE, &mut self.response),
            (DROP_REQUEST, &mut self.drop_request),
            (DROP_RESPONSE, &mut self.drop_response),
        ]
    }

    /// Adds the names of another set.
    pub fn extend(&mut self, other: &Self) {
        self.request.extend(other.request.iter().cloned());
        self.response.extend(other.response.iter().cloned());
        self.drop_request.extend(other.drop_request.iter().cloned());
        self.drop_response.extend(other.drop_response.iter().cloned());
    }

    /// Whether it has all names of another set.
    pub fn has_all(&self, other: &Self) -> bool {
        self.request.is_superset(&other.request)
            && self.response.is_superset(&other.response)
            && self.drop_request.is_superset(&other.drop_request)
            && self.drop_response.is_superset(&other.drop_response)
    }

    /// Adds the names that a route uses.
    pub fn add(&mut self, features: &RouteFeatures) {
        let Some((_, changes)) = &features.headers else { return };
        let owned = |name: &HeaderName| name.as_str().to_owned();
        self.request.extend(changes.request.iter().map(|(name, _)| owned(name)));
        self.response.extend(changes.response.iter().map(|(name, _)| owned(name)));
        self.drop_request.extend(changes.drop_request.iter().map(owned));
        self.drop_response.extend(changes.drop_response.iter().map(owned));
    }
}

impl RouteFeatures {
    /// Returns the features of a route, if it has any. `strips` is whether a part of its paths is stripped.
    pub fn new(policy: &Policy, strips: bool) -> Option<Arc<Self>> {
        let mut features = Self::default();
        if let Closed(Some(option)) = policy.get() {
            features.is_protected = true;
            features.set(Word::Redirect, option.name());
            return Some(Arc::new(features));
        }
        let mut uses = Uses::default();
        uses.add_if(strips, Feature::Strip, Block::Path);
        features.add_clients(policy, &mut uses);
        features.add_origins(policy, &mut uses);
        features.add_users(policy, &mut uses);
        features.add_limits(policy, &mut uses);
        features.add_headers(policy, &mut uses);
        let AddPrefix(added) = policy.get();
        if !added.as_str().is_empty() {
            uses.add(Feature::AddPrefix, Block::Path);
            features.set(Word::AddPrefix, added.as_str());
        }
        let (tunnel, Log(log)): (TunnelTimeout, _) = (policy.get(), policy.get());
        if tunnel != TunnelTimeout::default() {
            uses.add(Feature::TunnelTimeout, Block::Request);
            features.set(Word::TunnelTimeout, &tunnel.duration().as_millis().to_string());
        }
        uses.add_if(!log, Feature::NoLog, Block::Request);
        if uses.bits != 0 {
            features.set(Word::Use, &uses.bits.to_string());
            features.set(Word::LastBlock, &(uses.last as u32).to_string());
        }
        let redirect = policy.get::<Redirect>();
        if redirect != Redirect::Off {
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

    fn add_limits(&mut self, policy: &Policy, uses: &mut Uses) {
        if let RateLimit(Some(Rate { requests, period })) = policy.get() {
            let feature = Feature::RATES.into_iter().find(|(_, other)| *other == period);
            let (feature, _) = feature.expect("each period has a feature");
            uses.add(feature, Block::Limits);
            self.set(Word::Rate, &requests.to_string());
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
        let (RequestHeaders(request), ResponseHeaders(mut response)) = (policy.get(), policy.get());
        if policy.get::<SecureHeaders>() == SecureHeaders(true) {
            response.add_missing(&SecureHeaders::headers());
        }
        let (DropRequestHeaders(drop_request), DropResponseHeaders(drop_response)) =
            (policy.get(), policy.get());
        let changes = HeaderChanges { request, response, drop_request, drop_response };
        if changes == HeaderChanges::default() {
            return;
        }
        let has_request = !changes.request.is_empty() || !changes.drop_request.is_empty();
        uses.add_if(has_request, Feature::RequestHeaders, Block::Request);
        let has_response = !changes.response.is_empty() || !changes.drop_response.is_empty();
        uses.add_if(has_response, Feature::ResponseHeaders, Block::Response);
        let mut text = String::new();
        for (key, value) in changes.entries() {
            writeln!(text, "{key} {value}").expect("writing to a string cannot fail");
        }
        let name = set_name('h', &text);
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
    bits: u32,
    last: Block,
}

impl Default for Uses {
    fn default() -> Self {
        Self { bits: 0, last: Block::Response }
    }
}

impl Uses {
    fn add(&mut self, feature: Feature, block: Block) {
        self.bits |= feature as u32;
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

impl ClientSet {
    fn new(allow: Networks, deny: Networks) -> Self {
        let name = set_name('n', &Self::text(&allow, &deny));
        Self { name, allow, deny }
    }

    fn text(allow: &Networks, deny: &Networks) -> String {
        let any = if allow.is_empty() { "*" } else { "" };
        let text = format!("{any}{allow}");
        if deny.is_empty() { text } else { format!("{text} not {deny}") }
    }

    /// Iterates over the classes whose clients are in the set, except those that a narrower class has. The classes
    /// contain all networks of the set.
    fn members<'a>(&'a self, classes: &'a BTreeSet<IpNet>) -> impl Iterator<Item = &'a IpNet> {
        let everywhere = self.allow.is_empty().then_some(classes).into_iter().flatten();
        let within = self.allow.iter().flat_map(|network| {
            classes.range(*network..).take_while(|class| network.contains(*class))
        });
        everywhere.chain(within).filter(|class| !self.deny.covers(class))
    }
}

impl HeaderChanges {
    /// Iterates over the keys in the map without the set's name, and the values.
    fn entries(&self) -> impl Iterator<Item = (String, &str)> {
        let request = self.request.iter().map(|(name, value)| (header_key(REQUEST, name), value));
        let response =
            self.response.iter().map(|(name, value)| (header_key(RESPONSE, name), value));
        let drop_request =
            self.drop_request.iter().map(|name| (header_key(DROP_REQUEST, name), PRESENT));
        let drop_response =
            self.drop_response.iter().map(|name| (header_key(DROP_RESPONSE, name), PRESENT));
        request.chain(response).chain(drop_request).chain(drop_response)
    }
}

/// Kinds of entries in the map of headers.
const REQUEST: &str = "request";
const RESPONSE: &str = "response";
const DROP_REQUEST: &str = "drop-request";
const DROP_RESPONSE: &str = "drop-response";

/// Start of the keys by which the running worker's names are known. No set has this name.
const NAMES: &str = "names/";

fn header_key(kind: &str, name: &HeaderName) -> String {
    format!("/{kind}/{}", name.as_str())
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
    /// `ORIGIN@SET`
    pub origins: BTreeMap<String, String>,
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
            if let Some((name, origins)) = &features.origins {
                let entry = |origin: &String| (format!("{origin}@{name}"), PRESENT.to_owned());
                maps.origins.extend(origins.iter().map(entry));
            }
            if let Some((name, changes)) = &features.headers {
                let entry =
                    |(key, value): (String, &str)| (format!("{name}{key}"), value.to_owned());
                maps.headers.extend(changes.entries().map(entry));
            }
        }
        maps.add_client_sets(&sets);
        maps
    }

    fn add_client_sets(&mut self, sets: &BTreeMap<&str, &ClientSet>) {
        if sets.is_empty() {
            return;
        }
        let networks = sets.values().flat_map(|set| set.allow.iter().chain(set.deny.iter()));
        let classes: BTreeSet<_> = networks.copied().chain(EVERYWHERE.map(everywhere)).collect();
        for (name, set) in sets {
            let entry = |class: &IpNet| (format!("{class}@{name}"), PRESENT.to_owned());
            self.client_members.extend(set.members(&classes).map(entry));
            let text = ClientSet::text(&set.allow, &set.deny);
            self.client_members.insert((*name).to_owned(), text);
        }
        let class = |class: &IpNet| (class.to_string(), class.to_string());
        self.client_networks.extend(classes.iter().map(class));
    }

    /// Returns the entries of a map; `None` if it has no sets.
    pub fn entries(&self, map: MapName) -> Option<&BTreeMap<String, String>> {
        match map {
            MapName::StrictHosts => Some(&self.strict_hosts),
            MapName::ClientMembers => Some(&self.client_members),
            MapName::ClientNetworks => Some(&self.client_networks),
            MapName::Origins => Some(&self.origins),
            MapName::Headers => Some(&self.headers),
            _ => None,
        }
    }
}

/// All addresses, so that every client has a class.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

fn everywhere(text: &str) -> IpNet {
    text.parse().expect("it is a network")
}

/// The classes and the sets of the maps of clients, as they are in HAProxy or are to be.
#[derive(Debug, Default)]
struct ClientTable<'a> {
    classes: BTreeSet<IpNet>,
    sets: BTreeSet<&'a str>,
    members: BTreeSet<&'a str>,
}

impl<'a> ClientTable<'a> {
    fn new(
        networks: impl Iterator<Item = &'a str>,
        members: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut table = Self {
            classes: networks.filter_map(|network| network.parse().ok()).collect(),
            ..Self::default()
        };
        for key in members {
            if key.contains('@') {
                table.members.insert(key)
            } else {
                table.sets.insert(key)
            };
        }
        table
    }

    /// Whether the set has the clients of a class that is not in this table: those of the narrowest one around it.
    fn has_clients_of(&self, class: &IpNet, set: &str) -> bool {
        let around = self.classes.iter().filter(|around| around.contains(class));
        let narrowest = around.max_by_key(|around| around.prefix_len());
        narrowest.is_some_and(|around| self.members.contains(format!("{around}@{set}").as_str()))
    }
}

/// Returns the entries of members that are needed only while HAProxy has classes and sets of both states: a class of one
/// state for the sets of the other one. Without them clients would be refused for a moment whose class is new.
pub fn transitional_members(
    observed: &ObservedState,
    desired: &FeatureMaps,
) -> BTreeMap<String, String> {
    let keys = |map| observed.map_entries(map).map(|(key, _)| key);
    let before = ClientTable::new(keys(MapName::ClientNetworks), keys(MapName::ClientMembers));
    let after = ClientTable::new(
        desired.client_networks.keys().map(String::as_str),
        desired.client_members.keys().map(String::as_str),
    );
    let mut entries = BTreeMap::new();
    for (table, other) in [(&before, &after), (&after, &before)] {
        for set in table.sets.difference(&other.sets) {
            for class in other.classes.difference(&table.classes) {
                if table.has_clients_of(class, set) {
                    entries.insert(format!("{class}@{set}"), PRESENT.to_owned());
                }
            }
        }
    }
    entries
}

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
    reader.read_limits();
    reader.read_headers();
    if let Some(AddPrefix(prefix)) = reader.parse(Word::AddPrefix) {
        reader.set(AddPrefix(prefix));
    }
    if let Some(tunnel) = reader.word(Word::TunnelTimeout)
        && let Ok(tunnel) = format!("{tunnel}ms").parse::<TunnelTimeout>()
    {
        reader.set(tunnel);
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
        self.parse::<u32>(Word::Use).is_some_and(|bits| bits & feature as u32 != 0)
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
                REQUEST => request += &line(),
                RESPONSE => response += &line(),
                DROP_REQUEST => drop_request.push(name),
                DROP_RESPONSE => drop_response.push(name),
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
