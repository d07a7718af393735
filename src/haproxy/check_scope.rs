//! Which parts of a file HAProxy has not checked yet.
//!
//! Pure. A backend section is valid or invalid regardless of the other backends: backend names are keys of one map and
//! thus unique, and only the administrator's base file refers to them. So HAProxy accepts a file if it has accepted
//! every backend section in it, each together with everything that is not a backend.

use super::{
    check::BinaryId,
    config::{Config, Maps},
    render::{self, BaseConfig, RenderContext},
};
use std::{
    collections::BTreeSet,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// Interval after which the whole file is checked again, because HAProxy may reject a file for reasons that this module
/// does not know.
const FULL_CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// The backend sections that were added or changed since HAProxy last accepted a file.
#[derive(Debug, Clone, Default)]
pub struct UncheckedSections {
    /// `None`: no file is known to be accepted.
    accepted: Option<AcceptedConfig>,
    /// Names of backends.
    changed: BTreeSet<String>,
}

/// A file that HAProxy has accepted as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedConfig {
    /// Hash of everything that is not a backend.
    base_hash: u64,
    /// The HAProxy binary that accepted it; an upgrade may replace the binary.
    checker: BinaryId,
    accepted_at: Instant,
}

/// The part of a file that HAProxy has to check before the file is replaced.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckScope {
    Full,
    /// Everything that is not a backend, and these backends.
    Partial(Box<Config>),
    /// HAProxy has accepted every section of the file.
    Skip,
}

impl AcceptedConfig {
    pub fn new(
        config: &Config,
        context: &RenderContext,
        checker: BinaryId,
        accepted_at: Instant,
    ) -> Self {
        Self { base_hash: render::base_hash(config, context), checker, accepted_at }
    }
}

impl UncheckedSections {
    /// Records that the sections of these backends changed.
    pub fn mark_changed(&mut self, backends: impl IntoIterator<Item = String>) {
        self.changed.extend(backends);
    }

    /// Returns the state for a file that is about to be written. Later changes count for the next file.
    #[must_use]
    pub fn take_snapshot(&mut self) -> Self {
        let later = Self { accepted: self.accepted.clone(), changed: BTreeSet::new() };
        mem::replace(self, later)
    }

    /// Records that HAProxy accepted the whole file.
    pub fn set_accepted(&mut self, accepted: Option<AcceptedConfig>) {
        self.accepted = accepted;
    }

    /// Records that no file is known to be accepted.
    pub fn invalidate(&mut self) {
        self.accepted = None;
    }

    /// Returns the part that HAProxy has to check before a file of this configuration is replaced.
    pub fn select_scope(
        &self,
        config: &Config,
        context: &RenderContext,
        checker: Option<&BinaryId>,
        now: Instant,
    ) -> CheckScope {
        let is_accepted = self.accepted.as_ref().is_some_and(|accepted| {
            now < accepted.accepted_at + FULL_CHECK_INTERVAL
                && checker == Some(&accepted.checker)
                && accepted.base_hash == render::base_hash(config, context)
        });
        if !is_accepted {
            return CheckScope::Full;
        }
        let changed = self.changed.iter().map(String::as_str);
        let part = match &context.base {
            BaseConfig::BuiltIn { .. } => select_backends(config, changed),
            BaseConfig::File { text, .. } => {
                select_backends(config, changed.chain(backend_words(text)))
            }
        };
        let is_empty = part.backends.is_empty() && part.spares.is_empty();
        match &context.base {
            BaseConfig::BuiltIn { .. } if is_empty => CheckScope::Skip,
            // The administrator's base file may refer to other files, and to backends that were removed.
            _ => CheckScope::Partial(Box::new(part)),
        }
    }
}

/// Returns the backends whose sections differ, and those that are new.
pub fn changed_backends(before: &Config, after: &Config) -> Vec<String> {
    let is_same =
        |name: &String, backend| before.backends.get(name).is_some_and(|old| is_same(old, backend));
    let backends = after.backends.iter().filter(|(name, backend)| !is_same(name, backend));
    let spares =
        after.spares.iter().filter(|(name, shape)| before.spares.get(*name) != Some(*shape));
    backends.map(|(name, _)| name).chain(spares.map(|(name, _)| name)).cloned().collect()
}

fn is_same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// Returns the configuration reduced to these backends.
fn select_backends<'a>(config: &Config, names: impl Iterator<Item = &'a str>) -> Config {
    let Config { fingerprint: skeleton, frontends, .. } = config;
    let (skeleton, frontends) = (skeleton.clone(), frontends.clone());
    let tls = config.tls.keys().map(|list| (list.clone(), BTreeSet::new())).collect();
    let mut part = Config { fingerprint: skeleton, frontends, tls, ..Config::default() };
    part.maps.tcp_ports.clone_from(&config.maps.tcp_ports);
    for name in names {
        if let Some(shape) = config.spares.get(name) {
            part.spares.insert(name.to_owned(), *shape);
        }
        let Some(backend) = config.backends.get(name) else { continue };
        part.backends.insert(name.to_owned(), Arc::clone(backend));
        let Maps { routes, tcp, checks, check_hosts, .. } = &config.maps;
        let key = backend.route.map_key();
        part.maps.tcp.extend(tcp.get(&key).map(|target| (key.clone(), target.clone())));
        part.maps.routes.extend(routes.get(&key).map(|target| (key, target.clone())));
        part.maps.checks.extend(checks.get(name).map(|text| (name.to_owned(), text.clone())));
        part.maps
            .check_hosts
            .extend(check_hosts.get(name).map(|text| (name.to_owned(), text.clone())));
    }
    part
}

/// Returns all words of an administrator's base file that may be a backend's name: the file may refer to a generated
/// backend.
fn backend_words(base: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    base.split(move |c| !is_of_name(c)).filter(|word| !word.is_empty())
}
