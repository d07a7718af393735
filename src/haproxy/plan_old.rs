//! What a worker is told that was replaced by a reload and still ends what it has begun.
//!
//! Pure. HAProxy lets nobody change the servers of such a worker, only its maps, and end requests. Its
//! names are those of its own time: what a server stands for is found by container and port.

use super::{
    config::{Admin, Config, MapName},
    name,
    observed::{Observed, Waiting},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// Its servers that lead to where their container takes requests, by backend and name.
#[derive(Debug, PartialEq, Eq)]
pub struct Valid<'a>(BTreeSet<(&'a str, &'a str)>);

impl<'a> Valid<'a> {
    pub fn of(old: &'a Observed, config: &Config) -> Self {
        let places = places(config);
        let all = old.servers.iter().flat_map(|(backend, servers)| {
            servers.iter().map(move |(name, seen)| (backend.as_str(), name.as_str(), seen))
        });
        let leads = all.filter(|(_, name, seen)| {
            let place = name::place(name).and_then(|place| places.get(&place));
            seen.admin == Admin::Ready && place == Some(&seen.address)
        });
        Self(leads.map(|(backend, name, _)| (backend, name)).collect())
    }

    /// What its map of routes should say, given what it said when it was replaced: routes all of whose
    /// containers have gone lead to nobody.
    pub fn routes(&self, old: &Observed) -> BTreeMap<String, String> {
        let backends: BTreeSet<_> = self.0.iter().map(|(backend, _)| *backend).collect();
        let lost = |backend: &str| {
            old.servers.contains_key(backend)
                && name::is_ours(backend)
                && !backends.contains(backend)
        };
        let entry = |(key, value): (&str, &str)| {
            let (backend, rest) = value.split_once(' ').unwrap_or((value, ""));
            let backend = if lost(backend) { name::NOBODY } else { backend };
            (key.to_owned(), format!("{backend} {rest}"))
        };
        old.map(MapName::Routes).map(entry).collect()
    }

    /// The requests that wait for an address which their container has no more: whoever has it next
    /// would answer them.
    pub fn stranded<'w>(&self, waiting: &'w [Waiting]) -> impl Iterator<Item = &'w Waiting> {
        waiting
            .iter()
            .filter(|it| name::is_ours(&it.backend) && it.server != name::HOLD)
            .filter(|it| !self.0.contains(&(&it.backend, &it.server)))
    }
}

/// Where each container's port is that takes requests.
fn places(config: &Config) -> BTreeMap<(&str, &str), SocketAddr> {
    let servers = config.backends.values().flat_map(|backend| &backend.servers);
    let ready = servers.filter(|server| server.admin == Admin::Ready);
    ready.filter_map(|server| Some((name::place(&server.name)?, server.address))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::{
        config::{Backend, Connect, Probe, Server, Shape, Watch},
        observed::ServerSeen,
    };

    const BEFORE: &str = "10.0.0.2:80";
    const NOW: &str = "10.0.0.3:80";

    /// A configuration with this server in a backend of its own time, at [`NOW`].
    fn config(server: Option<(&str, Admin)>) -> Config {
        let server = server.map(|(name, admin)| Server {
            name: name.to_owned(),
            id: 1,
            address: NOW.parse().unwrap(),
            weight: 100,
            watch: Watch::Among,
            admin,
        });
        let backend = Backend {
            route: "a.test:80/".parse().unwrap(),
            shape: Shape { probe: Probe::Tcp, connect: Connect::Retried },
            servers: server.into_iter().collect(),
            lines: String::new(),
        };
        Config { backends: [("a.test:80".to_owned(), backend.into())].into(), ..Config::default() }
    }

    /// An old worker with one server, which serves `a.test`.
    fn old(backend: &str, address: &str, admin: Admin) -> Observed {
        let address = address.parse().unwrap();
        let seen = ServerSeen { address, weight: 100, admin, up: true };
        let servers = BTreeMap::from([("web-01:80:alone".to_owned(), seen)]);
        let entry = ("a.test:80/".to_owned(), format!("{backend} 0 60000 safe a.test:80"));
        Observed {
            servers: [(backend.to_owned(), servers)].into(),
            maps: [(MapName::Routes, [entry].into())].into(),
            ..Observed::default()
        }
    }

    #[test]
    fn an_old_worker_asks_no_container_where_it_no_longer_is() {
        let (ready, out) = (Admin::Ready, Admin::Maintenance);
        for (wanted, backend, address, admin, leads) in [
            (Some(("web-01:80", ready)), "spare-tcp-001", NOW, ready, true),
            (Some(("renamed-01:80", ready)), "spare-tcp-001", NOW, ready, true),
            (Some(("web-01:80", ready)), "spare-tcp-001", BEFORE, ready, false),
            (Some(("web-01:80", ready)), "spare-tcp-001", NOW, out, false),
            (Some(("web-01:80", out)), "spare-tcp-001", NOW, ready, false),
            (Some(("web-01:8080", ready)), "spare-tcp-001", NOW, ready, false),
            (Some(("heir-02:80", ready)), "spare-tcp-001", NOW, ready, false),
            (None, "spare-tcp-001", NOW, ready, false),
            // Nothing is known of an administrator's own.
            (None, "theirs", NOW, ready, true),
        ] {
            let old = old(backend, address, admin);
            let config = config(wanted);
            let valid = Valid::of(&old, &config);
            let expected = if leads { backend } else { name::NOBODY };
            let routes = valid.routes(&old);
            let case = format!("{wanted:?} {backend} {address} {admin:?}");
            assert_eq!(
                routes["a.test:80/"],
                format!("{expected} 0 60000 safe a.test:80"),
                "{case}"
            );
            let (id, server) = ("0x1".to_owned(), "web-01:80:alone".to_owned());
            let waiting = [Waiting { id, backend: backend.to_owned(), server }];
            assert_eq!(valid.stranded(&waiting).count(), usize::from(!leads), "{case}");
        }
    }
}
