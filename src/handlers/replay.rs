//! The events that a handler with `at_start=yes` missed while docker-glue was not running.
//!
//! Pure. The records of delivered events are compared with the existing containers. Ends are delivered first, because
//! another container may have the same address by now; then a start for each running container, in the order in which
//! they started.

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

/// The last event about a container that was delivered to a handler, as it is stored on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    pub name: String,
    pub phase: DeliveryPhase,
    /// The output of `docker inspect`, with the last known addresses.
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryPhase {
    /// The container is known, but its start was not delivered, or its end was.
    Idle,
    Started,
}

pub type DeliveryRecords = BTreeMap<ContainerId, DeliveryRecord>;

/// Returns the event that reports an end to the handler; `None` if the handler does not subscribe to any.
fn end_action(filter: &EventFilter) -> Option<&'static str> {
    ["die", "stop"].into_iter().find(|action| filter.matches(action))
}

/// Whether the record is reduced or removed after this event. This is done after the event was delivered.
pub fn is_end_action(action: &str) -> bool {
    matches!(action, "die" | "stop" | "destroy")
}

impl DeliveryRecord {
    /// Returns the record after an event; `None` if no further event of the container needs to be remembered.
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

/// Returns the missed events in order. `now` is in nanoseconds since 1970, and is used where the time is unknown.
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

/// The part of a description that is used here.
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

    /// Whether the container is still in the same run as before.
    fn is_same_run(&self, before: Option<&Self>) -> bool {
        let started = |reader: &Self| reader.state.get("StartedAt").cloned();
        self.runs && before.is_none_or(|before| started(before) == started(self))
    }

    /// Returns nanoseconds since 1970; `None` also for the year 1, with which the engine says never.
    fn timestamp_nanos(&self, key: &str) -> Option<i64> {
        let time = humantime::parse_rfc3339(self.state.get(key)?.as_str()?).ok()?;
        let since: Duration = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_nanos()).ok()
    }
}

/// Returns the attributes as the engine puts them into an event.
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

    /// Makes a description from `web+1` (running since second 1) or `web-` (not running), with an address if one is
    /// given.
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

    /// `delivered` are the delivered events, such as `start:web+1`; `now` the running containers; `expected` the
    /// missed events.
    #[track_caller]
    fn check(events: &str, delivered: &str, now: &str, expected: &str) {
        let (filter, mut records) = (event_filter(events), DeliveryRecords::new());
        for (action, word) in delivered.split_whitespace().map(|text| text.split_once(':').unwrap())
        {
            let event = container_event(action, word);
            let before = records.remove(&event.id);
            let after = DeliveryRecord::after_event(before.as_ref(), &event, &filter);
            // As it is stored on disk.
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
        // Its first run has ended.
        check(all, "start:web+1", "web+3", "die web, start web");
        check(all, "start:web+1 die:web-", "", "destroy web");
        check(all, "start:web+1 die:web-", "web-", "");
        check(all, "start:web+1 die:web-", "web+1", "start web");
        check(all, "start:web+1 die:web- destroy:web-", "", "");
        // Only events that the handler subscribes to.
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
    fn missed_end_keeps_last_addresses_and_labels() {
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
        // A container that still exists gets the addresses that it had.
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
