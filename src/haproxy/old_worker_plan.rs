//! Plans the updates of an old worker, which a reload has replaced and which still finishes its requests.
//!
//! Pure. In such a worker HAProxy only allows maps to be changed and requests to be ended, but no server to be changed.
//! Its names may be those of an earlier version, so its servers are matched by container and port.

use super::{
    config::{AdminState, Config, MapName},
    name,
    observed::{ObservedState, QueuedRequest},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// The server that `show sess` prints for a request that waits for any server of its backend.
const ANY_SERVER: &str = "<none>";

/// Servers of the old worker whose address still is that of their container.
#[derive(Debug, PartialEq, Eq)]
pub struct ReachableServers<'a> {
    /// By backend and name.
    servers: BTreeSet<(&'a str, &'a str)>,
    /// Backends in which a ready server has an outdated address.
    partly_stale: BTreeSet<&'a str>,
}

impl<'a> ReachableServers<'a> {
    pub fn from_observed(old: &'a ObservedState, config: &Config) -> Self {
        let addresses = ready_addresses(config);
        let all = old.servers.iter().flat_map(|(backend, servers)| {
            servers.iter().map(move |(name, server)| (backend.as_str(), name.as_str(), server))
        });
        let ready = all.filter(|(_, name, server)| {
            server.admin == AdminState::Ready && *name != name::HOLD_SERVER
        });
        let (reachable, stale): (Vec<_>, Vec<_>) = ready.partition(|(_, name, server)| {
            let target = name::parse_container_port(name).and_then(|target| addresses.get(&target));
            target == Some(&server.address)
        });
        Self {
            servers: reachable.into_iter().map(|(backend, name, _)| (backend, name)).collect(),
            partly_stale: stale.into_iter().map(|(backend, ..)| backend).collect(),
        }
    }

    /// Returns the desired map of routes, based on the map at the time when the worker was replaced: routes without a
    /// reachable container lead to the backend without a server, under its name in that worker.
    pub fn updated_routes(&self, old: &ObservedState) -> BTreeMap<String, String> {
        let backends: BTreeSet<_> = self.servers.iter().map(|(backend, _)| *backend).collect();
        let no_server = name::no_server_in(&old.backends);
        let lost = |backend: &str| {
            old.servers.contains_key(backend)
                && name::is_managed(backend)
                && !backends.contains(backend)
        };
        let entry = |(key, value): (&str, &str)| {
            let (backend, suffix) = value.split_once(' ').unwrap_or((value, ""));
            let backend = if lost(backend) { no_server } else { backend };
            (key.to_owned(), format!("{backend} {suffix}"))
        };
        old.map_entries(MapName::Routes).map(entry).collect()
    }

    /// Returns the requests that wait for an address that their container no longer has: the next container with that
    /// address would answer them.
    pub fn stale_requests<'w>(
        &self,
        queued: &'w [QueuedRequest],
    ) -> impl Iterator<Item = &'w QueuedRequest> {
        queued
            .iter()
            .filter(|request| {
                name::is_managed(&request.backend) && request.server != name::HOLD_SERVER
            })
            .filter(|request| !self.is_reachable(request))
    }

    /// A request that waits for any server may be sent to each of them.
    fn is_reachable(&self, QueuedRequest { backend, server, .. }: &QueuedRequest) -> bool {
        match server.as_str() {
            ANY_SERVER => {
                self.servers.iter().any(|(of, _)| of == backend)
                    && !self.partly_stale.contains(backend.as_str())
            }
            server => self.servers.contains(&(backend, server)),
        }
    }
}

/// Returns the servers of connections in the old worker whose container port is gone, each with its backend.
pub fn orphaned_servers<'a>(old: &'a ObservedState, config: &Config) -> Vec<(&'a str, &'a str)> {
    let servers = config.backends.values().flat_map(|backend| &backend.servers);
    let ports: BTreeSet<_> =
        servers.filter_map(|server| name::parse_container_port(&server.name)).collect();
    let backends = old.servers.iter().filter(|(backend, _)| name::is_of_connections(backend));
    let all = backends.flat_map(|(backend, servers)| {
        servers.keys().map(move |server| (backend.as_str(), server.as_str()))
    });
    let is_gone = |(_, server): &(&str, &str)| {
        name::parse_container_port(server).is_some_and(|port| !ports.contains(&port))
    };
    all.filter(is_gone).collect()
}

/// Returns the address of each container port that accepts requests.
fn ready_addresses(config: &Config) -> BTreeMap<(&str, &str), SocketAddr> {
    let servers = config.backends.values().flat_map(|backend| &backend.servers);
    let ready = servers.filter(|server| server.admin == AdminState::Ready);
    ready
        .filter_map(|server| Some((name::parse_container_port(&server.name)?, server.address)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::{
        config::{Backend, BackendShape, CheckMode, ConnectRetry, Probe, Server},
        observed::ObservedServer,
        server_setting::ServerSettings,
        server_transport::ServerTransport,
    };

    const BEFORE: &str = "10.0.0.2:80";
    const NOW: &str = "10.0.0.3:80";

    /// A configuration with this server in a backend of its own time, at [`NOW`].
    fn config(server: Option<(&str, AdminState)>) -> Config {
        let server = server.map(|(name, admin)| Server {
            name: name.to_owned(),
            id: 1,
            address: NOW.parse().unwrap(),
            settings: ServerSettings::default(),
            transport: ServerTransport::default(),
            check_mode: CheckMode::Off,
            admin,
        });
        let backend = Backend {
            route: "a.test:80/".parse().unwrap(),
            shape: BackendShape::http(Probe::Tcp, ConnectRetry::On),
            servers: server.into_iter().collect(),
            lines: String::new(),
        };
        Config { backends: [("a.test:80".to_owned(), backend.into())].into(), ..Config::default() }
    }

    /// Names of the backend without a server and of a server: in this version, and in the previous one.
    const NAMES: [(&str, &str); 2] =
        [("no-server", "web-01:80:single"), ("nobody", "web-01:80:alone")];

    /// An old worker with one server, which serves `a.test`.
    fn old(
        (no_server, server_name): (&str, &str),
        backend: &str,
        address: &str,
        admin: AdminState,
    ) -> ObservedState {
        let address = address.parse().unwrap();
        let settings = ServerSettings::default();
        let server = ObservedServer { address, settings, admin, up: true };
        let servers = BTreeMap::from([(server_name.to_owned(), server)]);
        let entry = ("a.test:80/".to_owned(), format!("{backend} 0 60000 safe a.test:80"));
        ObservedState {
            backends: [backend.to_owned(), no_server.to_owned()].into(),
            servers: [(backend.to_owned(), servers)].into(),
            maps: [(MapName::Routes, [entry].into())].into(),
            ..ObservedState::default()
        }
    }

    #[test]
    fn old_worker_server_is_reachable_only_at_current_ready_address() {
        let (ready, out) = (AdminState::Ready, AdminState::Maintenance);
        for (desired, backend, address, admin, leads) in [
            (Some(("web-01:80", ready)), "spare-tcp-001", NOW, ready, true),
            (Some(("renamed-01:80", ready)), "spare-tcp-001", NOW, ready, true),
            (Some(("web-01:80", ready)), "spare-tcp-001", BEFORE, ready, false),
            (Some(("web-01:80", ready)), "spare-tcp-001", NOW, out, false),
            (Some(("web-01:80", out)), "spare-tcp-001", NOW, ready, false),
            (Some(("web-01:8080", ready)), "spare-tcp-001", NOW, ready, false),
            (Some(("heir-02:80", ready)), "spare-tcp-001", NOW, ready, false),
            (None, "spare-tcp-001", NOW, ready, false),
            // A server in the administrator's own backend is not known to docker-balancer.
            (None, "theirs", NOW, ready, true),
        ] {
            let config = config(desired);
            for (no_server, server) in NAMES {
                let old = old((no_server, server), backend, address, admin);
                let reachable = ReachableServers::from_observed(&old, &config);
                let expected = if leads { backend } else { no_server };
                let routes = reachable.updated_routes(&old);
                let case = format!("{desired:?} {backend} {server} {address} {admin:?}");
                assert_eq!(
                    routes["a.test:80/"],
                    format!("{expected} 0 60000 safe a.test:80"),
                    "{case}"
                );
                for server in [server, ANY_SERVER] {
                    let queued = [queued_request(backend, server)];
                    let stale = reachable.stale_requests(&queued).count();
                    assert_eq!(stale, usize::from(!leads), "{server} {case}");
                }
            }
        }
    }

    #[test]
    fn request_for_any_server_is_stale_if_one_server_is() {
        let config = config(Some(("web-01:80", AdminState::Ready)));
        for (admin, is_stale) in [(AdminState::Ready, true), (AdminState::Maintenance, false)] {
            let mut old = old(NAMES[0], "spare-tcp-001", NOW, AdminState::Ready);
            let gone = ObservedServer {
                address: BEFORE.parse().unwrap(),
                settings: ServerSettings::default(),
                admin,
                up: true,
            };
            let servers = old.servers.get_mut("spare-tcp-001").unwrap();
            servers.insert("gone-02:80".to_owned(), gone);
            let reachable = ReachableServers::from_observed(&old, &config);
            let queued = [queued_request("spare-tcp-001", ANY_SERVER)];
            let stale = reachable.stale_requests(&queued).count();
            assert_eq!(stale, usize::from(is_stale), "{admin:?}");
        }
    }

    fn queued_request(backend: &str, server: &str) -> QueuedRequest {
        let (backend, server) = (backend.to_owned(), server.to_owned());
        QueuedRequest { id: "0x1".to_owned(), backend, server }
    }
}
