//! Scenarios of one word per step: what Docker sends, and which updates handlers receive.

use super::{
    ContainerUpdate, Description, Event, EventCause, EventSubject, InspectCache, InspectResult,
};
use crate::{model::container::ContainerId, sources::docker::event::EventAction};
use std::collections::BTreeMap;

/// Steps: `list web=up db=up` is a list; `clock -3600` sets the engine's clock; `start web` is an event; `web=up` is an
/// answer; `web!` means that the container does not exist; `web?` that there is no answer; `away` and `back` end and
/// start the connection.
fn play_scenario(scenario: &str) -> Vec<String> {
    let mut cache = InspectCache::default();
    let mut updates = Vec::new();
    let mut time = 0;
    cache.on_connect();
    for step in scenario.split(';').map(str::trim) {
        while cache.next_query().is_some() {}
        let words: Vec<_> = step.split(' ').collect();
        match words[..] {
            ["list", ref lines @ ..] => {
                let line = |text: &&str| {
                    let (name, line) = text.split_once('=').unwrap();
                    (ContainerId::new(name), line.to_owned())
                };
                cache.on_list(lines.iter().filter(|text| !text.is_empty()).map(line).collect());
            }
            ["clock", seconds] => time += seconds.parse::<i64>().unwrap() * 1_000_000_000,
            ["away"] => cache.on_disconnect(),
            ["back"] => drop(cache.on_connect()),
            ["again", action, name] => cache.on_event(engine_event(action, name, time)),
            [answer] => {
                let name = answer.trim_end_matches(['!', '?']);
                let (name, updates) = match (answer.split_once('='), answer.ends_with('!')) {
                    (Some((name, text)), _) => {
                        (name, InspectResult::Found(description(name, text)))
                    }
                    (None, true) => (name, InspectResult::Gone),
                    (None, false) => (name, InspectResult::Failed),
                };
                cache.on_response(&ContainerId::new(name), updates);
            }
            [action, name] => {
                time += 1;
                cache.on_event(engine_event(action, name, time));
            }
            _ => panic!("{step}"),
        }
        updates.extend(cache.take_clock_step().map(|step| format!("back {}", step.as_secs())));
        updates.extend(cache.take_updates().iter().map(update_text));
    }
    updates
}

fn description(name: &str, text: &str) -> Description {
    Description { id: ContainerId::new(name), name: name.to_owned(), json: text.into() }
}

fn engine_event(action: &str, name: &str, time_nano: i64) -> Event {
    let (id, attributes) = (ContainerId::new(name), BTreeMap::new());
    let what = EventAction::from_action(action, &attributes);
    let about = if action == "connect" {
        EventSubject::Attachment(id)
    } else {
        EventSubject::Container { id, what, attributes }
    };
    let (action, name) = (action.to_owned(), name.to_owned());
    Event { cause: EventCause { action, name, time_nano, received_at: None }, about }
}

fn update_text(update: &ContainerUpdate) -> String {
    match update {
        ContainerUpdate::Changed(containers) => {
            let all = containers
                .values()
                .map(|description| format!("{}={}", description.name, description.json));
            all.collect::<Vec<_>>().join(" ")
        }
        ContainerUpdate::Stopping(_) => "leaving".to_owned(),
        ContainerUpdate::Answering(answers) => format!("answers {answers}"),
        ContainerUpdate::Event(event, containers) => {
            let description =
                event.description.as_ref().map_or("-", |description| &description.json);
            format!("{} {} {description} of {}", event.action, event.name, containers.len())
        }
    }
}

#[test]
fn events_are_emitted_in_order_with_resulting_state() {
    for (scenario, expected) in [
        // No update is sent before all containers have been inspected.
        ("list web=up db=up; start db; web=up", &[][..]),
        ("list web=up; web=up", &["web=up"]),
        ("list ", &[""]),
        ("start web; list web=up; web=up; web=on", &["web=on", "start web on of 1"]),
        // An event waits for the answer about its container; other events do not wait for it.
        ("list ; create web", &[""]),
        ("list ; create web; web=new", &["", "create web new of 1"]),
        (
            "list ; create web; create db; db=new; web=new",
            &["", "create db new of 1", "create web new of 2"],
        ),
        // An answer to a request from before an event does not count for that event.
        ("list ; create web; start web; web=new", &[""]),
        (
            "list ; create web; start web; web=new; web=up",
            &["", "create web up of 1", "start web up of 1"],
        ),
        // A removed container is reported with its last description.
        (
            "list web=up; web=up; die web; destroy web; web!; web!",
            &["web=up", "die web up of 0", "destroy web up of 0"],
        ),
        ("list web=up; web=up; destroy web; web!", &["web=up", "destroy web up of 0"]),
        ("list ; create web; web!", &["", "create web - of 0"]),
        ("list web=up; web=up; die web; web?", &["web=up", "die web up of 1"]),
        // Idle events cause no inspection, and stay in order.
        ("list web=up; web=up; exec_start web", &["web=up", "exec_start web up of 1"]),
        ("list web=up; web=up; die web; exec_die web", &["web=up"]),
        (
            "list web=up; web=up; die web; exec_die web; web=down",
            &["web=up", "die web down of 1", "exec_die web down of 1"],
        ),
        // A network's event is not an event of the container, but changes it.
        ("list web=up; web=up; connect web; web=two", &["web=up", "web=two"]),
        ("list web=up; web=up; connect web; web=up", &["web=up"]),
        (
            "list web=up db=up; web=up; db=up; connect web; die db; web=two; db=down",
            &["db=up web=up", "die db down of 2", "db=down web=two"],
        ),
        // A list shows changes that no event reported.
        ("list web=up; web=up; list web=down; web=down", &["web=up", "web=down"]),
        ("list web=up; web=up; list ; web=up", &["web=up"]),
        ("list web=up; web=up; list ; web!", &["web=up", ""]),
        // After an outage the engine repeats the last event.
        (
            "list ; create web; web=new; away; back; again create web; list web=new",
            &["", "create web new of 1"],
        ),
        (
            "list ; create web; away; back; list web=up; web=old; web=up",
            &["", "create web up of 1"],
        ),
        // A different event of the same moment is not a repetition, nor is the same event on the same connection.
        (
            "list ; create web; web=new; away; back; again start web; list web=new; web=new; web=up",
            &["", "create web new of 1", "start web up of 1"],
        ),
        // The engine's clock is set back while its events are followed; an outage follows later.
        (
            "list ; clock 7200; create web; web=new; clock -3600; start web; web=up; away; back; \
             again start web; list web=up; web=up; die web; web=down",
            &["", "create web new of 1", "back 3599", "start web up of 1", "die web down of 1"],
        ),
        // The clock is set back, and the connection is lost before another event arrives.
        (
            "list ; clock 7200; create web; web=new; away; clock -3600; back; list web=new; \
             web=new; start web; web=up",
            &["", "create web new of 1", "back 3599", "start web up of 1"],
        ),
        // Within a second, events may arrive out of order.
        (
            "list ; clock 7200; create web; web=new; clock -1; start web; web=up",
            &["", "create web new of 1", "start web up of 1"],
        ),
    ] {
        assert_eq!(play_scenario(scenario), expected, "{scenario}");
    }
}

#[test]
fn cache_from_bookmark_resumes_after_last_event() {
    let mut cache = InspectCache::from_bookmark(Some(7));
    assert_eq!(cache.on_connect(), Some(7));
    for (time, expected) in [(7, true), (8, false), (6, false)] {
        assert_eq!(cache.is_duplicate(&engine_event("start", "web", time)), expected, "{time}");
    }
    assert_eq!(InspectCache::from_bookmark(None).on_connect(), None);
}

#[test]
fn last_256_events_are_remembered() {
    let mut cache = InspectCache::default();
    cache.on_connect();
    (0..300).for_each(|time| cache.on_event(engine_event("start", "web", time)));
    assert_eq!(cache.on_connect(), Some(299));
    for (time, expected) in [(43, false), (44, true), (299, true), (300, false)] {
        assert_eq!(cache.is_duplicate(&engine_event("start", "web", time)), expected, "{time}");
    }
}

/// `up` has an address, `down` has none.
fn container_json(state: &str, address: &str) -> String {
    format!(
        r#"{{"NetworkSettings":{{"Networks":{{"n":{{"IPAddress":"{address}"}}}}}},"State":"{state}"}}"#
    )
}

#[test]
fn end_event_has_last_addresses() {
    let (up, other, down) = (
        container_json("up", "10.0.0.2"),
        container_json("up", "10.0.0.3"),
        container_json("down", ""),
    );
    let ended = container_json("down", "10.0.0.2");
    let begun = format!("list web=1; web={up}; ");
    for (scenario, expected) in [
        // Removed at once, with or without an inspection that shows it without its address.
        ("die web; destroy web; web!; web!".to_owned(), vec![("die", &up), ("destroy", &up)]),
        (
            format!("die web; destroy web; web={down}; web!"),
            vec![("die", &ended), ("destroy", &ended)],
        ),
        (
            format!("die web; web={down}; destroy web; web!"),
            vec![("die", &ended), ("destroy", &ended)],
        ),
        // Ended, and removed later.
        (
            format!("die web; web={down}; stop web; web={down}; destroy web; web!"),
            vec![("die", &ended), ("stop", &ended), ("destroy", &ended)],
        ),
        // Restarted: the end has the previous address, whatever address the container has now.
        (
            format!("die web; start web; web={other}; web={other}"),
            vec![("die", &up), ("start", &other)],
        ),
        (
            format!("die web; start web; web={down}; web={other}"),
            vec![("die", &up), ("start", &other)],
        ),
        (
            format!("die web; web={down}; rename web; web={down}"),
            vec![("die", &ended), ("rename", &down)],
        ),
        // The end of the second run is not that of the first one.
        (
            format!(
                "die web; web={down}; start web; web={other}; die web; web={other}; destroy web; web!"
            ),
            vec![("die", &ended), ("start", &other), ("die", &other), ("destroy", &other)],
        ),
    ] {
        let updates = play_scenario(&format!("{begun}{scenario}"));
        let ends: Vec<_> = updates[1..]
            .iter()
            .map(|line| line.rsplit_once(" of ").unwrap().0.to_owned())
            .collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(action, json)| format!("{action} web {json}")).collect();
        assert_eq!(ends, expected, "{scenario}");
    }
}
