//! What a handler with `at_start=yes` was not told, as docker-glue did not run.
//!
//! Pure. What it was told of before, its records, is compared with the containers that there are: whoever
//! has ended is told first, as others may have their addresses by now; then everybody who runs, in the order
//! in which they started.

use super::wanted::Wanted;
use crate::{
    container::ContainerId,
    docker::{Description, Happened, Roster, ended, with_networks_of},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// What a handler was told of a container last, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    pub phase: Phase,
    /// As `docker inspect` had it, with the last addresses that it had.
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is known, and its start was not told, or its end was.
    Idle,
    Started,
}

pub type Records = BTreeMap<ContainerId, Record>;

/// The event that tells such a handler of an end; `None`: it does not want to know.
fn end(wanted: &Wanted) -> Option<&'static str> {
    ["die", "stop"].into_iter().find(|action| wanted.has(action))
}

/// Whether this is an event after which less is to be remembered: that is done when it was told.
pub fn is_end(action: &str) -> bool {
    matches!(action, "die" | "stop" | "destroy")
}

impl Record {
    /// After an event; `None`: nothing more is to be told of the container.
    pub fn after(before: Option<&Self>, happened: &Happened, wanted: &Wanted) -> Option<Self> {
        let phase = match happened.action.as_str() {
            "destroy" => return None,
            "start" => Phase::Started,
            action if end(wanted) == Some(action) || action == "die" => Phase::Idle,
            _ => before.map_or(Phase::Idle, |record| record.phase),
        };
        let is_over = phase == Phase::Idle || end(wanted).is_none();
        if is_over && !wanted.has("destroy") {
            return None;
        }
        let description = happened.description.as_ref().map(|it| it.json.to_string());
        let known = || before.and_then(|record| record.description.clone());
        Some(Self { name: happened.name.clone(), phase, description: description.or_else(known) })
    }

    fn description(&self, id: &ContainerId) -> Option<Arc<Description>> {
        let json = self.description.clone()?;
        let (id, name) = (id.clone(), self.name.clone());
        Some(Arc::new(Description { id, name, json: json.into() }))
    }
}

/// What is to be told, in order. `now`: nanoseconds since 1970, for what is known to no better.
pub fn missed(records: &Records, roster: &Roster, wanted: &Wanted, now: i64) -> Vec<Happened> {
    let said: BTreeMap<_, _> = roster.iter().map(|(id, it)| (id, Said::read(it))).collect();
    let mut missed = Vec::new();
    for (id, record) in records {
        let here = said.get(id);
        let before = record.description(id);
        let description = match (roster.get(id), &before) {
            (Some(here), Some(before)) => Some(with_networks_of(here, before)),
            (None, Some(before)) => Some(ended(before)),
            (here, None) => here.cloned(),
        };
        let mut tell = |action: &str| {
            let name = record.name.clone();
            let time = here.and_then(|said| said.time("FinishedAt"));
            let attributes = description.as_deref().map(attributes).unwrap_or_default();
            missed.push(Happened {
                id: id.clone(),
                name,
                action: action.to_owned(),
                time_nano: time.unwrap_or(now),
                attributes,
                description: description.clone(),
            });
        };
        let life = before.as_deref().map(Said::read);
        let goes_on = here.is_some_and(|said| said.is_same_life(life.as_ref()));
        if record.phase == Phase::Started
            && !goes_on
            && let Some(end) = end(wanted)
        {
            tell(end);
        }
        if here.is_none() && wanted.has("destroy") {
            tell("destroy");
        }
    }
    let runs = |(id, it): (&ContainerId, &Arc<Description>)| {
        let said = said.get(id).filter(|said| said.runs)?;
        Some(Happened {
            id: id.clone(),
            name: it.name.clone(),
            action: "start".to_owned(),
            time_nano: said.time("StartedAt").unwrap_or(now),
            attributes: attributes(it),
            description: Some(Arc::clone(it)),
        })
    };
    let mut starts: Vec<_> = roster.iter().filter_map(runs).collect();
    starts.sort_by_key(|start| start.time_nano);
    missed.extend(starts);
    missed
}

/// What of a description is looked at here.
struct Said {
    runs: bool,
    state: Value,
}

impl Said {
    fn read(description: &Description) -> Self {
        let mut json: Value = serde_json::from_str(&description.json).unwrap_or_default();
        let state = json.get_mut("State").map(Value::take).unwrap_or_default();
        let is = |key: &str| state.get(key) == Some(&Value::Bool(true));
        Self { runs: is("Running") && !is("Restarting"), state }
    }

    /// One that runs since then.
    fn is_same_life(&self, before: Option<&Self>) -> bool {
        let started = |it: &Self| it.state.get("StartedAt").cloned();
        self.runs && before.is_none_or(|before| started(before) == started(self))
    }

    /// Nanoseconds since 1970; `None` also for the year 1, which is the engine's never.
    fn time(&self, key: &str) -> Option<i64> {
        let time = humantime::parse_rfc3339(self.state.get(key)?.as_str()?).ok()?;
        let since: Duration = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_nanos()).ok()
    }
}

/// As the engine puts them into an event.
fn attributes(description: &Description) -> BTreeMap<String, String> {
    let json: Value = serde_json::from_str(&description.json).unwrap_or_default();
    let text = |value: &Value| Some(value.as_str()?.to_owned());
    let labels = json.pointer("/Config/Labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), text(value)?)));
    let image = json.pointer("/Config/Image").and_then(text);
    let own = [("image".to_owned(), image.unwrap_or_default())];
    labels.chain(own).chain([("name".to_owned(), description.name.clone())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `web+1` runs since second 1, `web-` does not run; with an address where it is known.
    fn description(word: &str) -> Arc<Description> {
        let (name, since) = word.split_once(['+', '-']).unwrap();
        let (runs, address) =
            (word.contains('+'), if word.contains('+') { "10.0.0.2" } else { "" });
        let json = format!(
            r#"{{"Config":{{"Image":"i","Labels":{{"a":"b"}}}},"NetworkSettings":{{"Networks":{{"n":{{"IPAddress":"{address}"}}}}}},"State":{{"Running":{runs},"StartedAt":"1970-01-01T00:00:0{}Z"}}}}"#,
            if since.is_empty() { "0" } else { since }
        );
        let id = ContainerId::new(name);
        Arc::new(Description { id, name: name.to_owned(), json: json.into() })
    }

    fn wanted(events: &str) -> Wanted {
        Wanted::of(&events.split(',').collect::<Vec<_>>())
    }

    fn happened(action: &str, word: &str) -> Happened {
        let description = description(word);
        Happened {
            id: description.id.clone(),
            name: description.name.clone(),
            action: action.to_owned(),
            time_nano: 0,
            attributes: BTreeMap::new(),
            description: Some(description),
        }
    }

    /// Events that were told before, as `start:web+1`; what runs now; what is told then.
    #[track_caller]
    fn check(events: &str, told: &str, now: &str, expected: &str) {
        let (wanted, mut records) = (wanted(events), Records::new());
        for (action, word) in told.split_whitespace().map(|it| it.split_once(':').unwrap()) {
            let happened = happened(action, word);
            let before = records.remove(&happened.id);
            let after = Record::after(before.as_ref(), &happened, &wanted);
            // As it is on disk.
            let kept = after.map(|record| serde_json::to_string(&record).unwrap());
            let read = kept.map(|text| serde_json::from_str(&text).unwrap());
            records.extend(read.map(|record| (happened.id.clone(), record)));
        }
        let roster: Roster =
            now.split_whitespace().map(description).map(|it| (it.id.clone(), it)).collect();
        let missed = missed(&records, &roster, &wanted, 99);
        let told: Vec<_> = missed.iter().map(|it| format!("{} {}", it.action, it.name)).collect();
        assert_eq!(told.join(", "), expected, "{events}: {told:?} {now}");
    }

    #[test]
    fn missed_events_are_ends_then_starts_in_their_order() {
        let all = "start,die,destroy";
        check(all, "", "", "");
        check(all, "", "web+2 db+1 old-", "start db, start web");
        check(all, "start:web+1", "web+1", "start web");
        check(all, "start:web+1", "", "die web, destroy web");
        check(all, "start:web+1", "db+2", "die web, destroy web, start db");
        check(all, "start:web+1", "web-", "die web");
        // Its first life has ended.
        check(all, "start:web+1", "web+3", "die web, start web");
        check(all, "start:web+1 die:web-", "", "destroy web");
        check(all, "start:web+1 die:web-", "web-", "");
        check(all, "start:web+1 die:web-", "web+1", "start web");
        check(all, "start:web+1 die:web- destroy:web-", "", "");
        // Only what is wanted.
        check("start,die", "start:web+1", "", "die web");
        check("start,die", "start:web+1 die:web-", "", "");
        check("start,stop", "start:web+1", "", "stop web");
        check("start,stop,die", "start:web+1", "", "die web");
        check("start,destroy", "start:web+1", "", "destroy web");
        check("start,destroy", "start:web+1", "web-", "");
        check("start", "start:web+1", "db+1", "start db");
        check("all", "create:web- start:web+1", "", "die web, destroy web");
        check("all", "create:web-", "", "destroy web");
        check("all", "start:web+1 die:web- stop:web-", "web-", "");
    }

    #[test]
    fn missed_events_say_what_was_known() {
        let (wanted, gone) = (wanted("start,die"), happened("start", "web+1"));
        let records = [(gone.id.clone(), Record::after(None, &gone, &wanted).unwrap())].into();
        let [die] = missed(&records, &Roster::new(), &wanted, 99).try_into().unwrap();
        let json = &die.description.unwrap().json;
        assert!(json.contains("10.0.0.2") && json.contains(r#""Running":false"#), "{json}");
        assert_eq!(die.time_nano, 99);
        let attributes = [("a", "b"), ("image", "i"), ("name", "web")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(die.attributes, attributes.into());
        // One that is still there has the addresses that it had.
        let here = description("web-");
        let roster = [(here.id.clone(), here)].into();
        let [die] = missed(&records, &roster, &wanted, 99).try_into().unwrap();
        let json = &die.description.unwrap().json;
        assert!(json.contains("10.0.0.2") && json.contains(r#""Running":false"#), "{json}");
        let [start] = missed(
            &Records::new(),
            &[description("db+7")].map(|it| (it.id.clone(), it)).into(),
            &wanted,
            99,
        )
        .try_into()
        .unwrap();
        assert_eq!(start.time_nano, 7_000_000_000);
    }
}
