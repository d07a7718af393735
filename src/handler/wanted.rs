//! Which events a handler wants: `events=` of its file.
//!
//! Pure.

use super::ini::{Mistake, Section, near};
use std::collections::BTreeSet;

/// What a container's events can be called, for finding what was misspelt; Docker may add to them.
const KNOWN: &[&str] = &[
    "all",
    "none",
    "attach",
    "commit",
    "connect",
    "copy",
    "create",
    "destroy",
    "detach",
    "die",
    "disconnect",
    "exec_create",
    "exec_detach",
    "exec_die",
    "exec_start",
    "export",
    "health_status",
    "kill",
    "oom",
    "pause",
    "prune",
    "rename",
    "resize",
    "restart",
    "start",
    "stop",
    "top",
    "unpause",
    "update",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every event but `none`, which is no event of Docker's.
    all: bool,
    /// At the start, and after handlers that say `triggers-none`.
    pub none: bool,
    actions: BTreeSet<String>,
}

impl Wanted {
    /// # Errors
    /// A word that is no event, and near one that is. Others are taken: Docker may know them one day.
    pub fn read(section: &Section, key: &str, default: &str) -> Result<Self, Mistake> {
        let said = section.get(key).filter(|text| !text.is_empty());
        let words = if said.is_some() { section.list(key) } else { default.split(',').collect() };
        for word in &words {
            let action = word.split(':').next().unwrap_or_default();
            if !KNOWN.contains(&action)
                && let Some(near) = near(action, KNOWN)
            {
                let text = format!("there is no event {word:?}; did you mean {near}?");
                return Err(section.mistake(key, text));
            }
        }
        Ok(Self::of(&words))
    }

    pub fn of(words: &[&str]) -> Self {
        let mut wanted = Self::default();
        for word in words {
            match *word {
                "all" => wanted.all = true,
                "none" => wanted.none = true,
                action => drop(wanted.actions.insert(spaced(action))),
            }
        }
        wanted
    }

    /// `health_status: healthy` is wanted by its whole name, and by `health_status`.
    pub fn has(&self, action: &str) -> bool {
        let word = action.split(':').next().unwrap_or_default();
        self.all || self.actions.contains(word) || self.actions.contains(&spaced(action))
    }
}

/// `health_status:healthy` is `health_status: healthy`.
fn spaced(action: &str) -> String {
    match action.split_once(':') {
        Some((word, detail)) => format!("{}: {}", word.trim(), detail.trim()),
        None => action.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::ini::Ini;

    #[test]
    fn events_are_wanted_by_word_or_whole() {
        for (wanted, action, expected) in [
            ("start,die", "start", true),
            ("start,die", "stop", false),
            ("all", "exec_create: sh -c x", true),
            ("none", "start", false),
            ("health_status", "health_status: healthy", true),
            ("health_status: healthy", "health_status: healthy", true),
            ("health_status:healthy", "health_status: healthy", true),
            ("health_status: healthy", "health_status: unhealthy", false),
            ("exec_create", "exec_create: a: b", true),
        ] {
            let words: Vec<_> = wanted.split(',').collect();
            assert_eq!(Wanted::of(&words).has(action), expected, "{wanted} {action}");
        }
    }

    #[test]
    fn a_misspelt_event_is_a_mistake_and_a_new_one_is_not() {
        let read = |events: &str| {
            let ini = Ini::read("a.ini", &format!("[handler]\nevents={events}\n")).unwrap();
            Wanted::read(&ini.handler, "events", "start").map_err(|mistake| mistake.to_string())
        };
        assert_eq!(read(""), Ok(Wanted::of(&["start"])));
        assert_eq!(read("start, none"), Ok(Wanted::of(&["start", "none"])));
        assert_eq!(read("quux"), Ok(Wanted::of(&["quux"])));
        let told = "a.ini:2: there is no event \"strat\"; did you mean start?";
        assert_eq!(read("strat"), Err(told.to_owned()));
    }
}
