//! One container's labels, read: sorted by port and route, then each route put together.
//!
//! Pure. What is wrong costs as little as the contract says, and is told.

use super::{
    Ask, Fences, HostNetwork, Reading,
    key::{self, Choice, Key},
    value::{self, HostMatch, Obedience, PathPrefix, Weight},
};
use crate::{
    container::{Container, NetworkMode},
    problem::{About, Label, Problem, Reason},
    route::{Listener, Match, Policy, Protocol, RouteKey},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    ops::Bound::{Included, Unbounded},
    str::FromStr,
};

/// What one container can ask for: hosts, prefixes and public ports multiply.
pub const MOST_ROUTES: usize = 1024;

/// Servers that one container gets in one route, so that none takes a route over by its number of ports.
pub const MOST_SERVERS: usize = 8;

/// How many public ports one container gets: each takes file descriptors of HAProxy, and a reload more time.
const MOST_LISTENERS: usize = 32;

/// The longest value, in bytes.
const LONGEST: usize = 4096;

/// Problems of one container that are told one by one.
pub const MOST_PROBLEMS: usize = 50;

/// So many are gathered to choose from.
const MOST_GATHERED: usize = 1000;

/// Of one list no more are told: a list of nonsense shall not fill a log.
const MOST_TOLD: usize = 16;

/// Around a value they are of the value, to Docker; typographic ones come with copied text.
pub(super) const QUOTES: [char; 8] =
    ['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}', '\u{201e}'];

/// A label, or a variable of the environment that stands for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// What is written for one route, by choice.
#[derive(Debug, Default)]
pub(super) struct Choices<'a>([Option<Written<'a>>; Choice::ALL.len()]);

#[derive(Debug)]
pub(super) struct Port<'a> {
    pub(super) number: NonZeroU16,
    pub(super) base: Choices<'a>,
    pub(super) named: BTreeMap<&'a str, Choices<'a>>,
    /// `glue_http_ports`, where it names this port.
    pub(super) listed: Option<Written<'a>>,
}

/// What a named route takes from its port.
#[derive(Debug, Default)]
struct Options {
    /// `None`: the container's port.
    bind: Option<Vec<NonZeroU16>>,
    policy: Policy,
    weight: Weight,
    obedience: Obedience,
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    container: &'a Container,
    fences: &'a Fences,
    asks: Vec<Ask>,
    /// The public ports that these ask for.
    listeners: BTreeSet<NonZeroU16>,
    problems: Vec<Problem>,
    /// Those that were not gathered.
    more: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(container: &'a Container, fences: &'a Fences) -> Self {
        let (asks, listeners, problems, more) = Default::default();
        Self { container, fences, asks, listeners, problems, more }
    }

    pub(super) fn read(mut self) -> Reading {
        if let Some(why) = &self.container.label_fault {
            self.tell(None, Reason::ImageUnknown { why: why.to_string() });
            return Reading { problems: self.problems, ..Reading::default() };
        }
        let of_host = self.container.network_mode == NetworkMode::Host;
        if of_host && self.fences.host_network == HostNetwork::Off {
            self.tell(None, Reason::HostNetworkFenced);
            return Reading { problems: self.problems, ..Reading::default() };
        }
        let (ports, network) = self.sort();
        for port in &ports {
            self.port(port);
        }
        let known = network.map(|network| self.text(network));
        if known == Some(None) {
            self.asks.clear();
        }
        self.settle();
        let network = known.flatten().map(str::to_owned);
        // Kept for as long as the container is.
        self.asks.shrink_to_fit();
        Reading { asks: self.asks, network, problems: self.problems }
    }

    /// By port, and `glue_network`.
    pub(super) fn sort(&mut self) -> (Vec<Port<'a>>, Option<Written<'a>>) {
        // Nearly all have one.
        let mut ports: Vec<Port<'a>> = Vec::with_capacity(1);
        let (mut listed, mut network) = (None, None);
        for written in entries(self.container) {
            match key::parse(written.key) {
                None => {}
                Some(Err(reason)) => self.tell(Some(written), reason),
                Some(Ok(Key::Network)) => network = Some(written),
                Some(Ok(Key::Ports)) => listed = Some(written),
                Some(Ok(Key::Http { port, option, route })) => {
                    // The names are sorted, so those of one port are neighbours.
                    if ports.last().is_none_or(|last| last.number != port) {
                        ports.push(Port::new(port));
                    }
                    let last = ports.last_mut().expect("one was put there");
                    last.choices(route).0[option as usize] = Some(written);
                }
            }
        }
        ports.sort_by_key(|port| port.number);
        for number in listed.map(|listed| self.list(listed, value::port)).unwrap_or_default() {
            let at = ports.binary_search_by_key(&number, |port| port.number).unwrap_or_else(|at| {
                ports.insert(at, Port::new(number));
                at
            });
            ports[at].listed = listed;
        }
        (ports, network)
    }

    fn port(&mut self, port: &Port<'a>) {
        let number = port.number.get();
        let own = !matches!(
            self.container.network_mode,
            NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_)
        );
        if own && !self.container.exposed.contains(&number) {
            self.tell(None, self.not_exposed(number));
        }
        let base = self.options(port, &port.base, &Options::default());
        if port.is_route() {
            let nothing = Reason::NothingToServe { port: number };
            self.route(port, &port.base, port.listed, &base, nothing);
        }
        for (name, choices) in &port.named {
            let options = self.options(port, choices, &base);
            let nothing = Reason::NothingNamed { port: number, route: (*name).to_owned() };
            self.route(port, choices, None, &options, nothing);
        }
    }

    /// It may be the port that the host has for one of the container's.
    fn not_exposed(&self, port: u16) -> Reason {
        let mut published = self.container.published.iter();
        match published.find(|it| it.host_port == port && it.container_port != port) {
            Some(it) => Reason::PublishedPort { port, container_port: it.container_port },
            None => Reason::NotExposed { port },
        }
    }

    fn options(&mut self, port: &Port<'_>, choices: &Choices<'_>, from: &Options) -> Options {
        let fences = self.fences;
        let bind = choices.get(Choice::Bind).map(|written| {
            self.left(port, written, |text| match value::port(text)? {
                port if fences.allow_port(port) => Ok(port),
                port => Err(Reason::PortFenced(port.get())),
            })
        });
        Options {
            bind: bind.or_else(|| from.bind.clone()),
            policy: Policy {
                strip: self.value(choices, Choice::StripPrefix).unwrap_or(from.policy.strip),
                check: self
                    .value(choices, Choice::Check)
                    .unwrap_or_else(|| from.policy.check.clone()),
                timeout: self.value(choices, Choice::Timeout).unwrap_or(from.policy.timeout),
                retry: self.value(choices, Choice::Retry).unwrap_or(from.policy.retry),
            },
            weight: self.weight(choices).unwrap_or(from.weight),
            obedience: self.value(choices, Choice::Health).unwrap_or(from.obedience),
        }
    }

    /// Asks for each public port, host and prefix; `listed` stands in for both of the latter.
    fn route(
        &mut self,
        port: &Port<'_>,
        choices: &Choices<'_>,
        listed: Option<Written<'_>>,
        options: &Options,
        nothing: Reason,
    ) {
        let prefix = choices.get(Choice::Prefix);
        let prefixes = prefix.map(|written| self.prefixes(port, written));
        let Some(hosts) = (match choices.get(Choice::Host) {
            Some(written) => Some(self.hosts(port, written)),
            None => prefix.or(listed).map(|written| self.any_host(port, written)),
        }) else {
            return self.tell(None, nothing);
        };
        let prefixes = prefixes.unwrap_or_else(|| vec![PathPrefix::default()]);
        if hosts.is_empty() || prefixes.is_empty() {
            return;
        }
        let binds = match &options.bind {
            Some(binds) => binds.clone(),
            None => self.own_port(port.number),
        };
        let wanted = hosts.len() * prefixes.len() * binds.len();
        if MOST_ROUTES - self.asks.len() < wanted {
            let port = port.number.get();
            return self.tell(None, Reason::TooManyRoutes { port, wanted, most: MOST_ROUTES });
        }
        let binds = self.add_listeners(port, binds);
        self.asks.reserve(wanted);
        for &bind in &binds {
            for host in &hosts {
                self.asks.extend(prefixes.iter().map(|prefix| Ask {
                    key: RouteKey {
                        listener: Listener { protocol: Protocol::Http, port: bind },
                        rule: Match::Http { host: host.clone(), prefix: prefix.clone() },
                    },
                    policy: options.policy.clone(),
                    port: port.number.get(),
                    weight: options.weight,
                    obedience: options.obedience,
                }));
            }
        }
    }

    /// Of more public ports than a container gets the first ones remain.
    fn add_listeners(&mut self, port: &Port<'_>, mut binds: Vec<NonZeroU16>) -> Vec<NonZeroU16> {
        let wanted = binds.len();
        binds.retain(|bind| {
            let fits = self.listeners.len() < MOST_LISTENERS || self.listeners.contains(bind);
            if fits {
                self.listeners.insert(*bind);
            }
            fits
        });
        if binds.len() < wanted {
            let (port, left) = (port.number.get(), wanted - binds.len());
            self.tell(None, Reason::TooManyListeners { port, wanted, left, most: MOST_LISTENERS });
        }
        binds
    }

    fn hosts(&mut self, port: &Port<'_>, written: Written<'_>) -> Vec<HostMatch> {
        let fences = self.fences;
        let container = self.container;
        let hosts = self.left(port, written, |text| {
            let host = text.parse()?;
            match fences.allow_host(&host, container) {
                Ok(()) => Ok(host),
                Err(Reason::HostFenced(_)) => Err(Reason::HostFenced(text.to_owned())),
                Err(reason) => Err(reason),
            }
        });
        // `app.${DOMAIN}` without a DOMAIN.
        let cut = |text: &str| text.strip_suffix('.').is_some_and(|name| !name.contains('.'));
        self.suspect(written, |text| {
            let cut = cut(text) && text.parse::<HostMatch>().is_ok();
            cut.then(|| Reason::HostCutShort(text.to_owned()))
        });
        hosts
    }

    fn prefixes(&mut self, port: &Port<'_>, written: Written<'_>) -> Vec<PathPrefix> {
        let prefixes = self.left(port, written, PathPrefix::from_str);
        self.suspect(written, |text| {
            let prefix = PathPrefix::from_str(text).ok()?;
            let text = text.to_owned();
            if let Some((first, _)) = prefix.as_str().split_once(";/") {
                return Some(Reason::NotCommas { instead: text.replace(';', ","), text })
                    .filter(|_| !first.is_empty());
            }
            let instead = super::prefix::pattern(&text)?;
            Some(Reason::PatternInPrefix { text, instead })
        });
        prefixes
    }

    /// Tells what is odd about members that are understood all the same.
    fn suspect(&mut self, written: Written<'_>, odd: impl Fn(&str) -> Option<Reason>) {
        let Ok(text) = fit(written.value) else { return };
        let odd = text.split(',').map(str::trim).filter_map(odd).take(MOST_TOLD);
        odd.for_each(|reason| self.tell(Some(written), reason));
    }

    /// For a route that names no host; `written` is what it is there for.
    fn any_host(&mut self, port: &Port<'_>, written: Written<'_>) -> Vec<HostMatch> {
        let Err(reason) = self.fences.allow_host(&HostMatch::Any, self.container) else {
            return vec![HostMatch::Any];
        };
        self.tell(Some(written), reason);
        self.tell(Some(written), Reason::NoneLeft { port: port.number.get() });
        Vec::new()
    }

    /// The public port of those who do not say one.
    fn own_port(&mut self, port: NonZeroU16) -> Vec<NonZeroU16> {
        if self.fences.allow_port(port) {
            return vec![port];
        }
        self.tell(None, Reason::PortFenced(port.get()));
        Vec::new()
    }

    fn weight(&mut self, choices: &Choices<'_>) -> Option<Weight> {
        let written = choices.get(Choice::Weight)?;
        match Weight::told(self.text(written)?) {
            Ok((weight, told)) => {
                if let Some(reason) = told {
                    self.tell(Some(written), reason);
                }
                Some(weight)
            }
            Err(reason) => {
                self.tell(Some(written), reason);
                None
            }
        }
    }

    fn value<T: FromStr<Err = Reason>>(
        &mut self,
        choices: &Choices<'_>,
        choice: Choice,
    ) -> Option<T> {
        let written = choices.get(choice)?;
        let value = self.text(written)?.parse();
        value.map_err(|reason| self.tell(Some(written), reason)).ok()
    }

    /// A list that the route cannot do without.
    fn left<T: Ord>(
        &mut self,
        port: &Port<'_>,
        written: Written<'_>,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<T> {
        let members = self.list(written, parse);
        if members.is_empty() {
            self.tell(Some(written), Reason::NoneLeft { port: port.number.get() });
        }
        members
    }

    /// The members that were understood, sorted, each once.
    fn list<T: Ord>(
        &mut self,
        written: Written<'_>,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<T> {
        let Some(text) = self.text(written) else { return Vec::new() };
        if let Some(instead) = in_brackets(text) {
            let text = text.to_owned();
            self.tell(Some(written), Reason::InBrackets { text, instead });
            return Vec::new();
        }
        let (mut members, mut told) = (Vec::new(), 0);
        for member in text.split(',').map(str::trim) {
            match if member.is_empty() { Err(Reason::EmptyMember) } else { parse(member) } {
                Ok(member) => members.push(member),
                Err(_) if told == MOST_TOLD => {}
                Err(reason) => {
                    told += 1;
                    self.tell(Some(written), parted(member, &parse).unwrap_or(reason));
                }
            }
        }
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The trimmed value, if it is fit to be looked at.
    fn text<'w>(&mut self, written: Written<'w>) -> Option<&'w str> {
        fit(written.value).map_err(|reason| self.tell(Some(written), reason)).ok()
    }

    fn tell(&mut self, written: Option<Written<'_>>, reason: Reason) {
        if MOST_GATHERED <= self.problems.len() {
            self.more += 1;
            return;
        }
        self.problems.push(Problem {
            about: About::Container(self.container.origin()),
            label: written.map(|Written { key, value }| Label::new(key, value)),
            reason: reason.cut(),
        });
    }

    /// Leaves no more servers of a route than a container gets. `asks` are sorted.
    fn cap_servers(&mut self) {
        let asks = std::mem::take(&mut self.asks);
        let (mut left, mut several) = (Vec::with_capacity(asks.len()), Vec::new());
        for same in asks.chunk_by(|one, other| one.key == other.key) {
            let (route, ports, most) = (&same[0].key, same.len(), MOST_SERVERS);
            if most < ports {
                let route = route.to_string();
                self.tell(None, Reason::TooManyServers { route, ports, most });
            } else if 1 < ports {
                several.push((route, ports));
            }
            left.extend(same.iter().take(most).cloned());
        }
        if let Some((route, ports)) = several.first() {
            let (route, ports, more) = (route.to_string(), *ports, several.len() - 1);
            self.tell(None, Reason::SeveralServers { route, ports, more });
        }
        self.asks = left;
    }

    /// Those before hints, in order.
    fn cap_problems(&mut self) {
        let more = self.more + self.problems.len().saturating_sub(MOST_PROBLEMS);
        if more == 0 {
            return;
        }
        self.problems.sort_by_key(|problem| Reverse(problem.reason.severity()));
        self.problems.truncate(MOST_PROBLEMS);
        self.tell(None, Reason::More { more });
        self.problems.sort_unstable();
        self.problems.shrink_to_fit();
    }

    /// Puts all in order. What came first counts where one port asks twice.
    fn settle(&mut self) {
        let mut asks = std::mem::take(&mut self.asks);
        asks.sort_by(|one, other| (&one.key, one.port).cmp(&(&other.key, other.port)));
        asks.dedup_by(|later, first| {
            let again = (&later.key, later.port) == (&first.key, first.port);
            if again && later != first {
                let route = later.key.to_string();
                self.tell(None, Reason::AskedTwice { port: later.port, route });
            }
            again
        });
        self.asks = asks;
        self.cap_servers();
        self.problems.sort_unstable();
        self.problems.dedup();
        self.cap_problems();
    }
}

impl<'a> Port<'a> {
    fn new(number: NonZeroU16) -> Self {
        Self { number, base: Choices::default(), named: BTreeMap::new(), listed: None }
    }

    fn choices(&mut self, route: Option<&'a str>) -> &mut Choices<'a> {
        match route {
            None => &mut self.base,
            Some(route) => self.named.entry(route).or_default(),
        }
    }

    /// Without hosts and prefixes of its own a port may be there for its named routes alone.
    pub(super) fn is_route(&self) -> bool {
        self.base.has_place() || self.listed.is_some() || self.named.is_empty()
    }
}

impl<'a> Choices<'a> {
    pub(super) fn get(&self, choice: Choice) -> Option<Written<'a>> {
        self.0[choice as usize]
    }

    fn has_place(&self) -> bool {
        self.get(Choice::Host).or(self.get(Choice::Prefix)).is_some()
    }
}

/// The trimmed value, if it is fit to be looked at.
pub(super) fn fit(value: &str) -> Result<&str, Reason> {
    match value.trim() {
        "" => Err(Reason::Empty),
        text if LONGEST < text.len() => Err(Reason::TooLong),
        text if text.contains(char::is_control) => Err(Reason::ControlCharacter),
        text if is_quoted(text) => Err(Reason::InQuotes(text.to_owned())),
        text => Ok(text),
    }
}

/// `"a.test"`, as a list of a compose file has it where the quotes begin after the `=`.
fn is_quoted(text: &str) -> bool {
    let mut chars = text.chars();
    let (first, last) = (chars.next(), chars.next_back());
    let both = first.zip(last);
    both.is_some_and(|(first, last)| QUOTES.contains(&first) && QUOTES.contains(&last))
}

/// `[a.test, "b.test"]`: a list as YAML and JSON have it, and what it is here.
fn in_brackets(text: &str) -> Option<String> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    if inside.contains("::") || inside.contains(['[', ']']) {
        return None;
    }
    let bare = |it: &str| it.trim().trim_matches(QUOTES).to_owned();
    Some(inside.split(',').map(bare).collect::<Vec<_>>().join(","))
}

/// Whether it is several members, with something else than commas between them.
fn parted<T>(member: &str, parse: impl Fn(&str) -> Result<T, Reason>) -> Option<Reason> {
    let pieces = member.split(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '&'));
    let pieces: Vec<_> = pieces.filter(|it| !it.is_empty() && *it != "or").collect();
    // `/other path` is one path, with a blank in it.
    let rooted = pieces.iter().filter(|it| it.starts_with('/')).count();
    let several = 1 < pieces.len()
        && (rooted == 0 || rooted == pieces.len())
        && pieces.iter().all(|it| parse(it).is_ok());
    several.then(|| Reason::NotCommas { text: member.to_owned(), instead: pieces.join(",") })
}

/// All that speaks to us, sorted by name; a label hides the variable of its name.
fn entries(container: &Container) -> Vec<Written<'_>> {
    let mut entries: Vec<_> = ours(&container.labels).collect();
    if !container.environment.is_empty() {
        let hidden = |written: &Written<'_>| container.labels.contains_key(written.key);
        entries.extend(ours(&container.environment).filter(|written| !hidden(written)));
        entries.sort_unstable_by_key(|written| written.key);
    }
    entries
}

fn ours(texts: &BTreeMap<String, String>) -> impl Iterator<Item = Written<'_>> {
    texts
        .range::<str, _>((Included("glue_"), Unbounded))
        .map(|(key, value)| Written { key, value })
        .take_while(|written| written.key.starts_with("glue_"))
}
