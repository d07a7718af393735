//! Which containers count as stopping, and until when.

use super::{ContainerUpdate, Description, Event, EventAction, EventSubject, StoppingContainers};
use crate::{
    model::container::ContainerId,
    sources::{ContainerEvent, EventCause},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

fn engine_event(action: &str) -> Event {
    let (action, signal) = action.split_once(' ').unwrap_or((action, ""));
    let attributes = [("signal".to_owned(), signal.to_owned())].into();
    let what = EventAction::from_action(action, &attributes);
    let about = EventSubject::Container { id: ContainerId::new("web"), what, attributes };
    let (action, name) = (action.to_owned(), "web".into());
    Event { cause: EventCause { action, name, time_nano: 0, received_at: None }, about }
}

/// Whether a container is stopping after an event, and after how many seconds it no longer counts
/// as stopping.
#[test]
fn container_is_stopping_after_stop_signal_or_die() {
    for (config, action, expected) in [
        ("{}", "kill 15", Some(12)),
        ("{}", "kill SIGTERM", Some(12)),
        ("{}", "kill 9", Some(12)),
        ("{}", "kill 1", None),
        ("{}", "kill", None),
        ("{}", "die", Some(60)),
        ("{}", "start", None),
        ("{}", "exec_start", None),
        (r#"{"StopSignal":"SIGQUIT","StopTimeout":60}"#, "kill 3", Some(62)),
        (r#"{"StopSignal":"SIGQUIT","StopTimeout":60}"#, "kill 10", None),
    ] {
        let (id, begun) = (ContainerId::new("web"), Instant::now());
        let json = format!(r#"{{"Config":{config}}}"#).into();
        let description = Description { id: id.clone(), name: "web".into(), json };
        let containers = [(id, Arc::new(description))].into();
        let mut stopping = StoppingContainers::default();
        assert_eq!(
            stopping.on_event(&engine_event(action), &containers, begun),
            expected.is_some(),
            "{action}"
        );
        assert!(!stopping.on_event(&engine_event(action), &containers, begun), "it is told once");
        let wake = stopping.wake_at().map(|wake| (wake - begun).as_secs());
        assert_eq!(wake, expected, "{config} {action}");
        let Some(seconds) = expected else { continue };
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(
            !stopping.expire_deadlines(after(seconds - 1))
                && stopping.expire_deadlines(after(seconds)),
            "{action}"
        );
        assert!(stopping.ids().is_empty());
    }
}

#[test]
fn container_is_stopping_until_final_event() {
    let id = ContainerId::new("web");
    let description = Description { id: id.clone(), name: "web".into(), json: "{}".into() };
    let containers = Arc::new([(id.clone(), Arc::new(description))].into());
    for (action, expects_stopping) in
        [("start", false), ("die", false), ("destroy", false), ("kill", true), ("stop", true)]
    {
        let mut stopping = StoppingContainers::default();
        stopping.on_event(&engine_event("kill 15"), &containers, Instant::now());
        let event = ContainerEvent {
            id: id.clone(),
            name: "web".into(),
            action: action.to_owned(),
            time_nano: 0,
            attributes: BTreeMap::new(),
            description: None,
        };
        let update = ContainerUpdate::Event(Arc::new(event), Arc::clone(&containers));
        assert_eq!(
            (stopping.on_update(&update), stopping.ids().contains(&id)),
            (!expects_stopping, expects_stopping),
            "{action}"
        );
        assert!(!stopping.on_update(&ContainerUpdate::Changed(Arc::clone(&containers))));
        assert_eq!(stopping.on_update(&ContainerUpdate::Changed(Arc::default())), expects_stopping);
    }
}
