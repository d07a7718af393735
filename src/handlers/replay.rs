//! What a handler with `at_start=yes` was not told, as docker-glue did not run.
//!
//! Pure. What it was told of before, its records, is compared with the containers that there are: whoever
//! has ended is told first, as others may have their addresses by now; then everybody who runs, in the order
//! in which they started.

use super::event_filter::EventFilter;
use crate::{
    model::container::ContainerId,
    sources::{ContainerEvent, ContainerMap, Description, mark_exited, merge_networks},
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
pub struct DeliveryRecord {
    pub name: String,
    pub phase: DeliveryPhase,
    /// As `docker inspect` had it, with the last addresses that it had.
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryPhase {
    /// It is known, and its start was not told, or its end was.
    Idle,
    Started,
}

pub type DeliveryRecords = BTreeMap<ContainerId, DeliveryRecord>;

/// The event that tells such a handler of an end; `None`: it does not want to know.
fn end_action(filter: &EventFilter) -> Option<&'static str> {
    ["die", "stop"].into_iter().find(|action| filter.matches(action))
}

/// Whether this is an event after which less is to be remembered: that is done when it was told.
pub fn is_end_action(action: &str) -> bool {
    matches!(action, "die" | "stop" | "destroy")
}

impl DeliveryRecord {
    /// After an event; `None`: nothing more is to be told of the container.
    pub fn after_event(
        before: Option<&Self>,
        event: &ContainerEvent,
        filter: &EventFilter,
    ) -> Option<Self> {
        let phase = match event.action.as_str() {
            "destroy" => return None,
            "start" => DeliveryPhase::Started,
            action if end_action(filter) == Some(action) || action == "die" => DeliveryPhase::Idle,
            _ => before.map_or(DeliveryPhase::Idle, |record| record.phase),
        };
        let is_over = phase == DeliveryPhase::Idle || end_action(filter).is_none();
        if is_over && !filter.matches("destroy") {
            return None;
        }
        let description =
            event.description.as_ref().map(|description| description.json.to_string());
        let existing = || before.and_then(|record| record.description.clone());
        Some(Self { name: event.name.clone(), phase, description: description.or_else(existing) })
    }

    fn to_description(&self, id: &ContainerId) -> Option<Arc<Description>> {
        let json = self.description.clone()?;
        let (id, name) = (id.clone(), self.name.clone());
        Some(Arc::new(Description { id, name, json: json.into() }))
    }
}

/// What is to be told, in order. `now`: nanoseconds since 1970, for what is known to no better.
pub fn missed_events(
    records: &DeliveryRecords,
    roster: &ContainerMap,
    filter: &EventFilter,
    now: i64,
) -> Vec<ContainerEvent> {
    let inspected: BTreeMap<_, _> = roster
        .iter()
        .map(|(id, description)| (id, InspectedState::from_description(description)))
        .collect();
    let mut missed = Vec::new();
    for (id, record) in records {
        let current = inspected.get(id);
        let before = record.to_description(id);
        let description = match (roster.get(id), &before) {
            (Some(current), Some(before)) => Some(merge_networks(current, before)),
            (None, Some(before)) => Some(mark_exited(before)),
            (current, None) => current.cloned(),
        };
        let mut push_event = |action: &str| {
            let name = record.name.clone();
            let time = current.and_then(|inspected| inspected.timestamp_nanos("FinishedAt"));
            let attributes = description.as_deref().map(event_attributes).unwrap_or_default();
            missed.push(ContainerEvent {
                id: id.clone(),
                name,
                action: action.to_owned(),
                time_nano: time.unwrap_or(now),
                attributes,
                description: description.clone(),
            });
        };
        let previous = before.as_deref().map(InspectedState::from_description);
        let still_runs = current.is_some_and(|inspected| inspected.is_same_run(previous.as_ref()));
        if record.phase == DeliveryPhase::Started
            && !still_runs
            && let Some(end) = end_action(filter)
        {
            push_event(end);
        }
        if current.is_none() && filter.matches("destroy") {
            push_event("destroy");
        }
    }
    let runs = |(id, description): (&ContainerId, &Arc<Description>)| {
        let inspected = inspected.get(id).filter(|inspected| inspected.runs)?;
        Some(ContainerEvent {
            id: id.clone(),
            name: description.name.clone(),
            action: "start".to_owned(),
            time_nano: inspected.timestamp_nanos("StartedAt").unwrap_or(now),
            attributes: event_attributes(description),
            description: Some(Arc::clone(description)),
        })
    };
    let mut starts: Vec<_> = roster.iter().filter_map(runs).collect();
    starts.sort_by_key(|start| start.time_nano);
    missed.extend(starts);
    missed
}

/// What of a description is looked at here.
struct InspectedState {
    runs: bool,
    state: Value,
}

impl InspectedState {
    fn from_description(description: &Description) -> Self {
        let mut json: Value = serde_json::from_str(&description.json).unwrap_or_default();
        let state = json.get_mut("State").map(Value::take).unwrap_or_default();
        let is = |key: &str| state.get(key) == Some(&Value::Bool(true));
        Self { runs: is("Running") && !is("Restarting"), state }
    }

    /// One that runs since then.
    fn is_same_run(&self, before: Option<&Self>) -> bool {
        let started = |reader: &Self| reader.state.get("StartedAt").cloned();
        self.runs && before.is_none_or(|before| started(before) == started(self))
    }

    /// Nanoseconds since 1970; `None` also for the year 1, which is the engine's never.
    fn timestamp_nanos(&self, key: &str) -> Option<i64> {
        let time = humantime::parse_rfc3339(self.state.get(key)?.as_str()?).ok()?;
        let since: Duration = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_nanos()).ok()
    }
}

/// As the engine puts them into an event.
fn event_attributes(description: &Description) -> BTreeMap<String, String> {
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

    fn event_filter(events: &str) -> EventFilter {
        EventFilter::from_words(&events.split(',').collect::<Vec<_>>())
    }

    fn container_event(action: &str, word: &str) -> ContainerEvent {
        let description = description(word);
        ContainerEvent {
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
    fn check(events: &str, delivered: &str, now: &str, expected: &str) {
        let (filter, mut records) = (event_filter(events), DeliveryRecords::new());
        for (action, word) in delivered.split_whitespace().map(|text| text.split_once(':').unwrap())
        {
            let event = container_event(action, word);
            let before = records.remove(&event.id);
            let after = DeliveryRecord::after_event(before.as_ref(), &event, &filter);
            // As it is on disk.
            let kept = after.map(|record| serde_json::to_string(&record).unwrap());
            let read = kept.map(|text| serde_json::from_str(&text).unwrap());
            records.extend(read.map(|record| (event.id.clone(), record)));
        }
        let roster: ContainerMap = now
            .split_whitespace()
            .map(description)
            .map(|description| (description.id.clone(), description))
            .collect();
        let missed = missed_events(&records, &roster, &filter, 99);
        let delivered: Vec<_> =
            missed.iter().map(|event| format!("{} {}", event.action, event.name)).collect();
        assert_eq!(delivered.join(", "), expected, "{events}: {delivered:?} {now}");
    }

    #[test]
    fn missed_events_are_ends_then_starts_by_time() {
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
    fn missed_end_keeps_last_known_addresses_and_labels() {
        let (filter, gone) = (event_filter("start,die"), container_event("start", "web+1"));
        let records =
            [(gone.id.clone(), DeliveryRecord::after_event(None, &gone, &filter).unwrap())].into();
        let [die] = missed_events(&records, &ContainerMap::new(), &filter, 99).try_into().unwrap();
        let json = &die.description.unwrap().json;
        assert!(json.contains("10.0.0.2") && json.contains(r#""Running":false"#), "{json}");
        assert_eq!(die.time_nano, 99);
        let attributes = [("a", "b"), ("image", "i"), ("name", "web")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(die.attributes, attributes.into());
        // One that is still there has the addresses that it had.
        let current = description("web-");
        let roster = [(current.id.clone(), current)].into();
        let [die] = missed_events(&records, &roster, &filter, 99).try_into().unwrap();
        let json = &die.description.unwrap().json;
        assert!(json.contains("10.0.0.2") && json.contains(r#""Running":false"#), "{json}");
        let [start] = missed_events(
            &DeliveryRecords::new(),
            &[description("db+7")].map(|description| (description.id.clone(), description)).into(),
            &filter,
            99,
        )
        .try_into()
        .unwrap();
        assert_eq!(start.time_nano, 7_000_000_000);
    }
}
