//! The events that a handler subscribes to: `events=` in its file.
//!
//! Pure.

use super::{
    certificate_change::CERTIFICATE_EVENT,
    ini::{IniError, Section},
};
use crate::support::suggest::suggest;
use std::collections::BTreeSet;

/// The known names of events, used to detect spelling errors. Docker may add others.
const EVENTS: &[&str] = &[
    "all",
    "none",
    CERTIFICATE_EVENT,
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
pub struct EventFilter {
    /// All events of Docker: neither `none` nor `certificate`.
    all: bool,
    /// `none`: sent at the start, and after handlers with `triggers-none`.
    pub none: bool,
    actions: BTreeSet<String>,
}

impl EventFilter {
    /// # Errors
    /// If a name is unknown but similar to a known event. Other unknown names are accepted, because Docker may add
    /// events.
    pub fn parse(section: &Section, key: &str, default: &str) -> Result<Self, IniError> {
        let value = section.get(key).filter(|text| !text.is_empty());
        let words =
            if value.is_some() { section.split_list(key) } else { default.split(',').collect() };
        for word in &words {
            let action = word.split(':').next().unwrap_or_default();
            if !EVENTS.contains(&action)
                && let Some(near) = suggest(action, EVENTS)
            {
                let text = format!("unknown event {word:?}; did you mean {near}?");
                return Err(section.error_at(key, text));
            }
        }
        Ok(Self::from_words(&words))
    }

    pub fn from_words(words: &[&str]) -> Self {
        let mut filter = Self::default();
        for word in words {
            match *word {
                "all" => filter.all = true,
                "none" => filter.none = true,
                action => drop(filter.actions.insert(normalize_action(action))),
            }
        }
        filter
    }

    /// Whether the filter includes an action. `health_status: healthy` matches by its full name and by
    /// `health_status`.
    pub fn matches(&self, action: &str) -> bool {
        let word = action.split(':').next().unwrap_or_default();
        let is_docker_event = word != CERTIFICATE_EVENT;
        (self.all && is_docker_event)
            || self.actions.contains(word)
            || self.actions.contains(&normalize_action(action))
    }

    /// Whether the filter includes an event of certificates.
    pub fn includes_certificates(&self) -> bool {
        let mut words = self.actions.iter().filter_map(|action| action.split(':').next());
        words.any(|word| word == CERTIFICATE_EVENT)
    }
}

/// Turns `health_status:healthy` into `health_status: healthy`.
fn normalize_action(action: &str) -> String {
    match action.split_once(':') {
        Some((word, detail)) => format!("{}: {}", word.trim(), detail.trim()),
        None => action.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::ini::Ini;

    #[test]
    fn filter_matches_action_by_word_or_full_name() {
        for (filter, action, expected) in [
            ("start,die", "start", true),
            ("start,die", "stop", false),
            ("all", "exec_create: sh -c x", true),
            ("none", "start", false),
            ("health_status", "health_status: healthy", true),
            ("health_status: healthy", "health_status: healthy", true),
            ("health_status:healthy", "health_status: healthy", true),
            ("health_status: healthy", "health_status: unhealthy", false),
            ("exec_create", "exec_create: a: b", true),
            ("certificate", "certificate: issued", true),
            ("certificate:renewed", "certificate: renewed", true),
            ("certificate: renewed", "certificate: gone", false),
            ("all", "certificate: issued", false),
        ] {
            let words: Vec<_> = filter.split(',').collect();
            assert_eq!(
                EventFilter::from_words(&words).matches(action),
                expected,
                "{filter} {action}"
            );
        }
    }

    #[test]
    fn misspelled_event_is_rejected_unknown_event_is_accepted() {
        let read = |events: &str| {
            let ini = Ini::parse("a.ini", &format!("[handler]\nevents={events}\n")).unwrap();
            EventFilter::parse(&ini.handler, "events", "start").map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(EventFilter::from_words(&["start"])));
        assert_eq!(read("start, none"), Ok(EventFilter::from_words(&["start", "none"])));
        assert_eq!(read("quux"), Ok(EventFilter::from_words(&["quux"])));
        let expected = "a.ini:2: unknown event \"strat\"; did you mean start?";
        assert_eq!(read("strat"), Err(expected.to_owned()));
    }
}
