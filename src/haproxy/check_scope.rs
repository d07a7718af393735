//! What of a file HAProxy has not checked yet.
//!
//! Pure. A backend's section means the same whatever other backends there are: their names differ, as they are
//! keys of one map, and nothing but the administrator's file refers to them. So HAProxy accepts a file if it has
//! accepted all the sections that it consists of, together with all that is no backend.

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

/// Until all of a file is checked again, since the reasons for which HAProxy may refuse one are its own.
const FULL_CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// The sections that came or changed since HAProxy has accepted a file.
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
    /// Hash of all that is no backend.
    base_hash: u64,
    /// By whom; it may be replaced by another version.
    checker: BinaryId,
    accepted_at: Instant,
}

/// What HAProxy is asked about before a file takes its place.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckScope {
    Full,
    /// All that is no backend, and these.
    Partial(Box<Config>),
    /// There is nothing in it that HAProxy has not accepted.
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
    /// The sections of these backends are others.
    pub fn mark_changed(&mut self, backends: impl IntoIterator<Item = String>) {
        self.changed.extend(backends);
    }

    /// For a file that is about to be written. Changes from now on are those of the next one.
    #[must_use]
    pub fn take_snapshot(&mut self) -> Self {
        let later = Self { accepted: self.accepted.clone(), changed: BTreeSet::new() };
        mem::replace(self, later)
    }

    /// All of the file was accepted.
    pub fn set_accepted(&mut self, accepted: Option<AcceptedConfig>) {
        self.accepted = accepted;
    }

    /// It is not known what is accepted.
    pub fn invalidate(&mut self) {
        self.accepted = None;
    }

    /// What HAProxy has to be asked before a file of this configuration takes its place.
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
            // It may name other files, and backends that have gone.
            _ => CheckScope::Partial(Box::new(part)),
        }
    }
}

/// Backends whose sections differ, and those that were not there.
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

/// The configuration with no other backends than these.
fn select_backends<'a>(config: &Config, names: impl Iterator<Item = &'a str>) -> Config {
    let Config { fingerprint: skeleton, frontends, .. } = config;
    let (skeleton, frontends) = (skeleton.clone(), frontends.clone());
    let mut part = Config { fingerprint: skeleton, frontends, ..Config::default() };
    for name in names {
        if let Some(shape) = config.spares.get(name) {
            part.spares.insert(name.to_owned(), *shape);
        }
        let Some(backend) = config.backends.get(name) else { continue };
        part.backends.insert(name.to_owned(), Arc::clone(backend));
        let Maps { routes, checks, check_hosts } = &config.maps;
        let key = backend.route.to_string();
        part.maps.routes.extend(routes.get(&key).map(|target| (key, target.clone())));
        part.maps.checks.extend(checks.get(name).map(|text| (name.to_owned(), text.clone())));
        part.maps
            .check_hosts
            .extend(check_hosts.get(name).map(|text| (name.to_owned(), text.clone())));
    }
    part
}

/// All words of an administrator's file that may be a backend's name: it may refer to one of ours.
fn backend_words(base: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    base.split(move |c| !is_of_name(c)).filter(|word| !word.is_empty())
}
