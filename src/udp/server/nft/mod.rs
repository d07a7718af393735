//! The nft engine: keeps the rules of the kernel, Docker's firewall and connection tracking as the listeners require.
//!
//! The rules stay when the program stops, so that a restart loses nothing. Only their marks and the table's name tell
//! what belongs to this program.

mod firewall;
mod machine;
mod netlink;
mod program;

use super::{plane::bind_error, socket};
use crate::udp::{
    answer::{FlowReport, PlaneReport, UdpAnswer, UdpCounters, UdpListenerReport},
    command::{PROTOCOL, UdpCommand},
    config::UdpListener,
    engine::Engine,
    nft::{
        TABLE,
        conntrack::ConntrackEntry,
        element::port_elements,
        firewall::contains,
        listing::{expected_listing, parse_listing},
        mark::Mark,
        ruleset::{Change, Ruleset},
        unsupported::check_support,
    },
};
use ipnet::IpNet;
use machine::{Machine, check_reachable};
use netlink::Netlink;
use program::run;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

/// How often rules and firewall are compared with what they should be.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct NftPlane {
    listeners: BTreeMap<SocketAddr, NftListener>,
    ruleset: Ruleset,
    /// Whether the kernel has the table of this process.
    is_loaded: bool,
    /// The number of the kernel's last change of rules that is known to be right.
    generation: Option<u32>,
    /// The chains and rules as `nft` prints them.
    rules: String,
    /// Containers that were reachable when they were last looked at. A program for each change would take too long.
    verified: BTreeSet<IpAddr>,
    /// What was found of Docker's firewall for the current commands.
    firewall: Option<Result<Vec<IpNet>, String>>,
    /// Unix time in seconds.
    started: u64,
    revision: u64,
    is_failing: bool,
}

#[derive(Debug)]
struct NftListener {
    listener: Arc<UdpListener>,
    /// Keep the port from other programs. The rules take all its datagrams.
    ports: Arc<Vec<OwnedFd>>,
}

impl NftPlane {
    pub(super) fn new() -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            listeners: BTreeMap::new(),
            ruleset: Ruleset::default(),
            is_loaded: false,
            generation: None,
            rules: String::new(),
            verified: BTreeSet::new(),
            firewall: None,
            started: started.map_or(0, |time| time.as_secs()),
            revision: 0,
            is_failing: false,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn listeners(&self) -> Vec<Arc<UdpListener>> {
        self.listeners.values().map(|entry| Arc::clone(&entry.listener)).collect()
    }

    /// Carries out commands, all changes by one transaction of the kernel. Returns the lines of each answer.
    pub(super) async fn execute(&mut self, commands: Vec<UdpCommand>) -> Vec<Vec<UdpAnswer>> {
        let mut answers = Vec::new();
        let mut batch = Vec::new();
        let mut binds = BTreeSet::new();
        for command in commands {
            let bind = match &command {
                UdpCommand::Set(listener) => Some(listener.bind),
                UdpCommand::Delete(bind) => Some(*bind),
                UdpCommand::Show | UdpCommand::Totals | UdpCommand::Flows(_) => None,
            };
            // An answer shows the listeners as they are after its command.
            if bind.is_none_or(|bind| !binds.insert(bind)) {
                answers.extend(self.execute_batch(std::mem::take(&mut batch)).await);
                binds = bind.into_iter().collect();
            }
            batch.push(command);
        }
        answers.extend(self.execute_batch(batch).await);
        answers
    }

    /// Carries out commands for different listeners, of which the first may be a question.
    async fn execute_batch(&mut self, commands: Vec<UdpCommand>) -> Vec<Vec<UdpAnswer>> {
        let mut before = BTreeMap::new();
        self.firewall = None;
        let mut refusals = Vec::new();
        for command in &commands {
            refusals.push(self.accept(command, &mut before).await.err());
        }
        let failure = self.commit(before).await.err();
        let mut answers = Vec::new();
        for (command, refusal) in commands.into_iter().zip(refusals) {
            let is_change = matches!(command, UdpCommand::Set(_) | UdpCommand::Delete(_));
            answers.push(match refusal.or_else(|| failure.clone().filter(|_| is_change)) {
                Some(reason) => vec![UdpAnswer::Error(reason)],
                None => self.report_command(command).await,
            });
        }
        answers
    }

    /// Takes a command over into the listeners. `before` gets the listeners that it replaces.
    async fn accept(
        &mut self,
        command: &UdpCommand,
        before: &mut BTreeMap<SocketAddr, Option<NftListener>>,
    ) -> Result<(), String> {
        let (bind, after) = match command {
            UdpCommand::Set(listener) => {
                let served = self.listeners.get(&listener.bind);
                if served.is_some_and(|entry| *entry.listener == **listener) {
                    return Ok(());
                }
                (listener.bind, Some(self.prepare(listener).await?))
            }
            UdpCommand::Delete(bind) => (*bind, None),
            UdpCommand::Show | UdpCommand::Totals | UdpCommand::Flows(_) => return Ok(()),
        };
        let replaced = self.listeners.remove(&bind);
        if replaced.is_some() || after.is_some() {
            before.entry(bind).or_insert(replaced);
        }
        self.listeners.extend(after.map(|listener| (bind, listener)));
        Ok(())
    }

    /// Checks whether a listener can be served, and takes its port.
    async fn prepare(&mut self, listener: &UdpListener) -> Result<NftListener, String> {
        let bind = listener.bind;
        check_support(listener).map_err(|why| format!("cannot serve {bind}: {why}"))?;
        let ports = match self.listeners.get(&bind) {
            Some(entry) => Arc::clone(&entry.ports),
            None => Arc::new(self.take_ports(bind)?),
        };
        self.check_endpoints(listener)
            .await
            .map_err(|why| format!("cannot serve {bind}: {why}"))?;
        Ok(NftListener { listener: Arc::new(listener.clone()), ports })
    }

    /// Takes the port from other programs. A wildcard is checked at each address but those of the loopback interface: the
    /// rules do not apply to them, and the machine's own resolver may have one. Then one socket of each family is enough
    /// to keep other programs from the wildcard.
    fn take_ports(&self, bind: SocketAddr) -> Result<Vec<OwnedFd>, String> {
        let addresses = if bind.ip().is_unspecified() {
            let machine = Machine::read()
                .map_err(|error| format!("cannot read the addresses of this machine: {error}"))?;
            machine.bindable(bind)
        } else {
            vec![bind]
        };
        let is_own = self.listeners.keys().any(|other| other.port() == bind.port());
        if !is_own {
            addresses
                .iter()
                .try_for_each(|at| socket::check_available(*at))
                .map_err(|error| bind_error(bind, error))?;
        }
        let first = |is_four: bool| addresses.iter().find(|at| at.is_ipv4() == is_four).copied();
        let reserved = [first(true), first(false)].into_iter().flatten().map(socket::reserve_port);
        reserved.collect::<Result<_, _>>().map_err(|error| bind_error(bind, error))
    }

    async fn check_endpoints(&mut self, listener: &UdpListener) -> Result<(), String> {
        let served = self.listeners.get(&listener.bind);
        let served = served.map_or(&[][..], |entry| &entry.listener.endpoints);
        let is_new = |address| !served.iter().any(|endpoint| endpoint.address == address);
        let new: Vec<_> =
            listener.endpoints.iter().filter(|endpoint| is_new(endpoint.address)).collect();
        for endpoint in new {
            let ip = endpoint.address.ip();
            if self.verified.contains(&ip) {
                continue;
            }
            check_reachable(endpoint.address)
                .map_err(|why| format!("{why} (container {})", endpoint.name))?;
            if contains(&self.open_firewall().await?, ip) {
                return Err(format!(
                    "container {} with {} is on an internal network, which Docker's firewall closes: run `docker network \
                     connect` with another network, or use --engine user",
                    endpoint.name, endpoint.address
                ));
            }
            self.verified.insert(ip);
        }
        Ok(())
    }

    /// Makes Docker's firewall accept datagrams, once for all commands that arrived together. Returns the networks that
    /// Docker closes.
    async fn open_firewall(&mut self) -> Result<Vec<IpNet>, String> {
        if self.firewall.is_none() {
            self.firewall = Some(firewall::open_firewall().await);
        }
        self.firewall.clone().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Brings the kernel to the listeners. After a failure the listeners are those of before.
    async fn commit(
        &mut self,
        before: BTreeMap<SocketAddr, Option<NftListener>>,
    ) -> Result<(), String> {
        if before.is_empty() {
            return Ok(());
        }
        let ports = before.keys().map(SocketAddr::port).collect();
        match self.apply(&ports).await {
            Ok(()) => {
                self.revision += before.len() as u64;
                Ok(())
            }
            Err(reason) => {
                for (bind, listener) in before {
                    self.listeners.remove(&bind);
                    self.listeners.extend(listener.map(|listener| (bind, listener)));
                }
                Err(reason)
            }
        }
    }

    /// Changes the rules of these ports, or loads all rules if the kernel has none of this process.
    async fn apply(&mut self, ports: &BTreeSet<u16>) -> Result<(), String> {
        let machine = Machine::read()
            .map_err(|error| format!("cannot read the addresses of this machine: {error}"))?;
        let elements = ports.iter().map(|port| {
            let listeners = self.listeners.values().map(|entry| &*entry.listener);
            (*port, port_elements(listeners.filter(|listener| listener.bind.port() == *port)))
        });
        let change = self.ruleset.replace(elements.collect(), machine.subnets.clone());
        let script = if self.is_loaded {
            self.ruleset.change_script(&change)
        } else {
            self.ruleset.load_script()
        };
        if !script.is_empty()
            && let Err(error) = run("nft", &["-f".into(), "-".into()], &script).await
        {
            self.ruleset.undo(change);
            return Err(format!("cannot change the rules: {error}"));
        }
        let was_loaded = std::mem::replace(&mut self.is_loaded, true);
        self.remember_rules(!was_loaded || change.changes_rules(&self.ruleset)).await;
        self.end_flows(&change, was_loaded, machine.addresses).await;
        Ok(())
    }

    /// Ends the flows of endpoints that are gone, and those that are older than their listener: they would continue to
    /// go where the first datagram went.
    async fn end_flows(&self, change: &Change, was_loaded: bool, addresses: BTreeSet<IpAddr>) {
        let gone = change.gone_marks();
        let new = if was_loaded { change.new_binds() } else { self.ruleset.binds() };
        if gone.is_empty() && new.is_empty() {
            return;
        }
        let work = move || -> io::Result<usize> {
            let netlink = Netlink::open()?;
            for mark in gone {
                netlink.delete_flows(mark)?;
            }
            if new.is_empty() {
                return Ok(0);
            }
            netlink.delete_stale(|entry| is_stale(entry, &new, &addresses))
        };
        match spawn_blocking(work).await.map_err(io::Error::other).flatten() {
            Ok(0) => {}
            Ok(count) => info!("ended {count} flows that are older than their listener"),
            Err(error) => warn!(
                "could not delete entries of connection tracking: {error}; flows of containers that are gone continue \
                 until they are silent"
            ),
        }
    }

    /// Remembers the state of the kernel as right.
    async fn remember_rules(&mut self, is_changed: bool) {
        if is_changed {
            self.rules = list_rules().await.unwrap_or_default();
        }
        self.generation = read_generation();
    }

    /// Compares the firewall and the rules with what they should be, and repairs them.
    pub(super) async fn check(&mut self) {
        let result = self.repair().await;
        match result {
            Err(reason) if !self.is_failing => {
                self.is_failing = true;
                warn!("could not check the rules: {reason}; trying again every {CHECK_INTERVAL:?}");
            }
            Err(_) => {}
            Ok(()) => self.is_failing = false,
        }
    }

    async fn repair(&mut self) -> Result<(), String> {
        let has_endpoints =
            self.listeners.values().any(|entry| !entry.listener.endpoints.is_empty());
        if has_endpoints {
            (self.firewall, self.verified) = (None, BTreeSet::new());
            self.open_firewall().await?;
        }
        let generation = read_generation();
        if self.is_loaded && (generation.is_none() || generation != self.generation) {
            self.is_loaded = self.is_as_expected().await?;
            if !self.is_loaded {
                warn!("another program has changed the table inet {TABLE}; loading it again");
            }
        }
        // Networks come and go, too.
        self.apply(&BTreeSet::new()).await
    }

    async fn is_as_expected(&self) -> Result<bool, String> {
        let list = ["-j", "list", "table", "inet", TABLE].map(String::from);
        let Ok(listing) = run("nft", &list, "").await else { return Ok(false) };
        let listed = parse_listing(&listing).ok_or("nft printed something unknown")?;
        Ok(listed == expected_listing(self.ruleset.elements())
            && list_rules().await.as_deref() == Some(self.rules.as_str()))
    }

    async fn report_command(&self, command: UdpCommand) -> Vec<UdpAnswer> {
        match command {
            UdpCommand::Set(listener) => vec![self.report_listener(listener.bind)],
            UdpCommand::Delete(bind) => vec![UdpAnswer::Deleted(bind)],
            UdpCommand::Totals => vec![UdpAnswer::Plane(self.report())],
            UdpCommand::Flows(start) => vec![match self.count_flows(&start).await {
                Ok(report) => UdpAnswer::Flows(report),
                Err(error) => UdpAnswer::Error(format!("cannot read connection tracking: {error}")),
            }],
            UdpCommand::Show => {
                let listeners = self.listeners.keys().map(|bind| self.report_listener(*bind));
                std::iter::once(UdpAnswer::Plane(self.report())).chain(listeners).collect()
            }
        }
    }

    /// The kernel lists the entries of the endpoints' flows, so this is not part of each report.
    async fn count_flows(&self, start: &str) -> io::Result<FlowReport> {
        let (mut report, mut marks) = (FlowReport::default(), BTreeSet::new());
        for NftListener { listener, .. } in self.listeners.values() {
            for endpoint in listener.endpoints.iter().filter(|entry| entry.id.starts_with(start)) {
                report.accepting += usize::from(endpoint.accepts_flows());
                marks.extend(Mark::flows(listener, endpoint.address));
            }
        }
        if !marks.is_empty() {
            let count = move || Netlink::open()?.count_flows(&marks);
            report.open = spawn_blocking(count).await.map_err(io::Error::other).flatten()?;
        }
        Ok(report)
    }

    fn report(&self) -> PlaneReport {
        PlaneReport {
            protocol: PROTOCOL,
            engine: Engine::Nft,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            revision: self.revision,
            started: self.started,
            listeners: self.listeners.len(),
            ..PlaneReport::default()
        }
    }

    /// The listener exists.
    fn report_listener(&self, bind: SocketAddr) -> UdpAnswer {
        UdpAnswer::Listener(Box::new(UdpListenerReport {
            listener: UdpListener::clone(&self.listeners[&bind].listener),
            sessions: 0,
            counters: UdpCounters::default(),
            endpoints: BTreeMap::new(),
        }))
    }
}

/// Deletes the table, the rule in Docker's firewall, and the flows, which would continue without the rules.
///
/// # Errors
/// If that is not permitted.
pub(super) async fn remove_rules() -> Result<(), String> {
    let script = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    run("nft", &["-f".into(), "-".into()], &script).await.map_err(|error| error.to_string())?;
    if let Some(error) = firewall::close_firewall().await.first() {
        return Err(error.to_string());
    }
    Netlink::open()
        .and_then(|netlink| netlink.delete_own_flows())
        .map_err(|error| format!("cannot delete entries of connection tracking: {error}"))
}

fn is_stale(
    entry: &ConntrackEntry,
    binds: &BTreeSet<SocketAddr>,
    addresses: &BTreeSet<IpAddr>,
) -> bool {
    let all = match entry.to.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let is_at_all = binds.contains(&SocketAddr::new(all, entry.to.port()));
    // The others are flows through the machine.
    let is_local = addresses.contains(&entry.to.ip());
    !Mark::is_own(entry.mark) && is_local && (is_at_all || binds.contains(&entry.to))
}

async fn list_rules() -> Option<String> {
    let list = ["-t", "list", "table", "inet", TABLE].map(String::from);
    run("nft", &list, "").await.ok()
}

fn read_generation() -> Option<u32> {
    Netlink::open().and_then(|netlink| netlink.generation()).ok().flatten()
}
