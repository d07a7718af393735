//! What of a file HAProxy has not checked yet.
//!
//! Pure. A backend's section means the same whatever other backends there are: their names differ, as they are
//! keys of one map, and nothing but the administrator's file refers to them. So HAProxy accepts a file if it has
//! accepted all the sections that it consists of, together with all that is no backend.

use super::{
    check::Binary,
    config::{Config, Maps},
    render::{self, Base, Frame},
};
use std::{
    collections::BTreeSet,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// Until all of a file is checked again, since the reasons for which HAProxy may refuse one are its own.
const WHOLE_AGAIN: Duration = Duration::from_hours(1);

/// The sections that came or changed since HAProxy has accepted a file.
#[derive(Debug, Clone, Default)]
pub struct Unchecked {
    /// `None`: no file is known to be accepted.
    accepted: Option<Accepted>,
    /// Names of backends.
    changed: BTreeSet<String>,
}

/// A file that HAProxy has accepted as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Hash of all that is no backend.
    frame: u64,
    /// By whom; it may be replaced by another version.
    by: Binary,
    at: Instant,
}

/// What HAProxy is asked about before a file takes its place.
#[derive(Debug, PartialEq, Eq)]
pub enum Scope {
    Whole,
    /// All that is no backend, and these.
    Part(Box<Config>),
    /// There is nothing in it that HAProxy has not accepted.
    Nothing,
}

impl Accepted {
    pub fn new(config: &Config, frame: &Frame, by: Binary, at: Instant) -> Self {
        Self { frame: render::frame_hash(config, frame), by, at }
    }
}

impl Unchecked {
    /// The sections of these backends are others.
    pub fn add(&mut self, backends: impl IntoIterator<Item = String>) {
        self.changed.extend(backends);
    }

    /// For a file that is about to be written. Changes from now on are those of the next one.
    #[must_use]
    pub fn begin(&mut self) -> Self {
        let later = Self { accepted: self.accepted.clone(), changed: BTreeSet::new() };
        mem::replace(self, later)
    }

    /// All of the file was accepted.
    pub fn accept(&mut self, accepted: Option<Accepted>) {
        self.accepted = accepted;
    }

    /// It is not known what is accepted.
    pub fn doubt(&mut self) {
        self.accepted = None;
    }

    /// What HAProxy has to be asked before a file of this configuration takes its place.
    pub fn scope(
        &self,
        config: &Config,
        frame: &Frame,
        by: Option<&Binary>,
        now: Instant,
    ) -> Scope {
        let is_known = self.accepted.as_ref().is_some_and(|accepted| {
            now < accepted.at + WHOLE_AGAIN
                && by == Some(&accepted.by)
                && accepted.frame == render::frame_hash(config, frame)
        });
        if !is_known {
            return Scope::Whole;
        }
        let changed = self.changed.iter().map(String::as_str);
        let part = match &frame.base {
            Base::BuiltIn { .. } => part(config, changed),
            Base::File { text, .. } => part(config, changed.chain(words(text))),
        };
        let nothing = part.backends.is_empty() && part.spares.is_empty();
        match &frame.base {
            Base::BuiltIn { .. } if nothing => Scope::Nothing,
            // It may name other files, and backends that have gone.
            _ => Scope::Part(Box::new(part)),
        }
    }
}

/// Backends whose sections differ, and those that were not there.
pub fn changed(before: &Config, after: &Config) -> Vec<String> {
    let is_same = |name: &String, it| before.backends.get(name).is_some_and(|had| same(had, it));
    let backends = after.backends.iter().filter(|(name, it)| !is_same(name, it));
    let spares = after.spares.iter().filter(|(name, it)| before.spares.get(*name) != Some(*it));
    backends.map(|(name, _)| name).chain(spares.map(|(name, _)| name)).cloned().collect()
}

fn same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// The configuration with no other backends than these.
fn part<'a>(config: &Config, names: impl Iterator<Item = &'a str>) -> Config {
    let Config { skeleton, frontends, .. } = config;
    let (skeleton, frontends) = (skeleton.clone(), frontends.clone());
    let mut part = Config { skeleton, frontends, ..Config::default() };
    for name in names {
        if let Some(shape) = config.spares.get(name) {
            part.spares.insert(name.to_owned(), *shape);
        }
        let Some(backend) = config.backends.get(name) else { continue };
        part.backends.insert(name.to_owned(), Arc::clone(backend));
        let Maps { routes, checks, check_hosts } = &config.maps;
        let key = backend.route.to_string();
        part.maps.routes.extend(routes.get(&key).map(|it| (key, it.clone())));
        part.maps.checks.extend(checks.get(name).map(|it| (name.to_owned(), it.clone())));
        part.maps.check_hosts.extend(check_hosts.get(name).map(|it| (name.to_owned(), it.clone())));
    }
    part
}

/// All words of an administrator's file that may be a backend's name: it may refer to one of ours.
fn words(base: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    base.split(move |c| !is_of_name(c)).filter(|word| !word.is_empty())
}
