//! Who leaves, and until when that is believed.

use super::{Description, Leaving, News, Report};
use crate::{container::ContainerId, docker::Happened};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

fn report(action: &str) -> Report {
    let (action, signal) = action.split_once(' ').unwrap_or((action, ""));
    Report {
        id: ContainerId::new("web"),
        name: "web".into(),
        action: action.to_owned(),
        time_nano: 0,
        attributes: [("signal".to_owned(), signal.to_owned())].into(),
        is_own: true,
    }
}

/// Whether it leaves after an event, and after how many seconds it counts as staying.
#[test]
fn a_container_leaves_at_its_stop_signal_and_at_its_end() {
    for (config, action, expected) in [
        ("{}", "kill 15", Some(12)),
        ("{}", "kill SIGTERM", Some(12)),
        ("{}", "kill 9", Some(12)),
        ("{}", "kill 1", None),
        ("{}", "kill", None),
        ("{}", "die", Some(5)),
        ("{}", "start", None),
        ("{}", "exec_start", None),
        (r#"{"StopSignal":"SIGQUIT","StopTimeout":60}"#, "kill 3", Some(62)),
        (r#"{"StopSignal":"SIGQUIT","StopTimeout":60}"#, "kill 10", None),
    ] {
        let (id, begun) = (ContainerId::new("web"), Instant::now());
        let json = format!(r#"{{"Config":{config}}}"#).into();
        let description = Description { id: id.clone(), name: "web".into(), json };
        let roster = [(id, Arc::new(description))].into();
        let mut leaving = Leaving::default();
        assert_eq!(leaving.heard(&report(action), &roster, begun), expected.is_some(), "{action}");
        assert!(!leaving.heard(&report(action), &roster, begun), "it is told once");
        let wake = leaving.wake_at().map(|wake| (wake - begun).as_secs());
        assert_eq!(wake, expected, "{config} {action}");
        let Some(seconds) = expected else { continue };
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(!leaving.late(after(seconds - 1)) && leaving.late(after(seconds)), "{action}");
        assert!(leaving.ids().is_empty());
    }
}

#[test]
fn a_container_leaves_until_the_engine_has_said_what_became_of_it() {
    let id = ContainerId::new("web");
    let description = Description { id: id.clone(), name: "web".into(), json: "{}".into() };
    let roster = Arc::new([(id.clone(), Arc::new(description))].into());
    for (action, stays) in
        [("start", false), ("die", false), ("destroy", false), ("kill", true), ("stop", true)]
    {
        let mut leaving = Leaving::default();
        leaving.heard(&report("kill 15"), &roster, Instant::now());
        let happened = Happened {
            id: id.clone(),
            name: "web".into(),
            action: action.to_owned(),
            time_nano: 0,
            attributes: BTreeMap::new(),
            description: None,
        };
        let news = News::Happened(Arc::new(happened), Arc::clone(&roster));
        assert_eq!((leaving.told(&news), leaving.ids().contains(&id)), (!stays, stays), "{action}");
        assert!(!leaving.told(&News::Changed(Arc::clone(&roster))));
        assert_eq!(leaving.told(&News::Changed(Arc::default())), stays);
    }
}
