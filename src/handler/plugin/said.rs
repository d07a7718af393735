//! The words between a plugin and us.
//!
//! Pure.

use crate::handler::mailbox::Letter;
use serde_json::{Map, Value, json};

/// A line of a plugin's standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Ready,
    Done,
    Failed(String),
    /// For the log.
    Other,
}

impl Said {
    pub(super) fn read(line: &str) -> Self {
        let Ok(said) = serde_json::from_str::<Map<String, Value>>(line) else { return Self::Other };
        match (said.get("error"), said.get("ok"), said.get("ready")) {
            (Some(Value::String(error)), ..) => Self::Failed(error.clone()),
            (Some(error), ..) if !error.is_null() => Self::Failed(error.to_string()),
            (_, Some(Value::Bool(true)), _) => Self::Done,
            (_, Some(Value::Bool(false)), _) => Self::Failed("it says no more than that".into()),
            (.., Some(Value::Bool(true))) => Self::Ready,
            _ => Self::Other,
        }
    }
}

/// The line that tells a plugin of an event.
pub(super) fn event(letter: &Letter) -> String {
    let Some(happened) = letter.happened() else {
        let none = json!({
            "event": "none", "container_id": "", "container_name": "", "time": null, "attributes": {},
            "description": null,
        });
        return format!("{none}\n");
    };
    #[allow(clippy::cast_precision_loss, reason = "a microsecond is exact enough")]
    let time = (happened.time_nano / 1000) as f64 / 1e6;
    let mut head = json!({
        "event": happened.action,
        "container_id": happened.id.as_str(),
        "container_name": happened.name,
        "time": time,
        "attributes": happened.attributes,
    });
    if let Letter::Replayed(_) = letter {
        head["replayed"] = true.into();
    }
    let head = head.to_string();
    // It is JSON already, and a line.
    let description = happened.description.as_ref().map_or("null", |it| &it.json);
    format!("{},\"description\":{description}}}\n", head.strip_suffix('}').unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        container::ContainerId,
        docker::{Description, Happened},
    };
    use std::sync::Arc;

    #[test]
    fn an_answer_is_one_and_everything_else_is_for_the_log() {
        let failed = |text: &str| Said::Failed(text.to_owned());
        for (line, expected) in [
            (r#"{"ok": true}"#, Said::Done),
            (r#"{"ok": true, "more": 1}"#, Said::Done),
            (r#"{"ok": true, "error": null}"#, Said::Done),
            (r#"{"error": "no such port"}"#, failed("no such port")),
            (r#"{"ok": true, "error": ""}"#, failed("")),
            (r#"{"error": {"code": 3}}"#, failed(r#"{"code":3}"#)),
            (r#"{"ok": false}"#, failed("it says no more than that")),
            (r#"{"ready": true}"#, Said::Ready),
            (r#"{"ready": false}"#, Said::Other),
            (r#"{"ok": 1}"#, Said::Other),
            ("[true]", Said::Other),
            ("true", Said::Other),
            ("started", Said::Other),
            (r#"{"ok": tr"#, Said::Other),
            ("", Said::Other),
        ] {
            assert_eq!(Said::read(line), expected, "{line}");
        }
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        let id = ContainerId::new("c0ffee");
        let description = Description {
            id: id.clone(),
            name: "web".to_owned(),
            json: r#"{"Id":"c0ffee","Config":{"Labels":{"a":"}\n"}}}"#.into(),
        };
        let mut happened = Happened {
            id,
            name: "web".to_owned(),
            action: "exec_start: echo \"x\"\n".to_owned(),
            time_nano: 1_700_000_000_250_000_000,
            attributes: [("a".to_owned(), "{}}".to_owned())].into(),
            description: Some(Arc::new(description)),
        };
        let head = r#""attributes":{"a":"{}}"},"container_id":"c0ffee","container_name":"web","event":"exec_start: echo \"x\"\n","time":1700000000.25"#;
        let told = |happened: &Happened| event(&Letter::Happened(Arc::new(happened.clone())));
        let line = told(&happened);
        let body = r#"{"Id":"c0ffee","Config":{"Labels":{"a":"}\n"}}}"#;
        assert_eq!(line, format!("{{{head},\"description\":{body}}}\n"));
        let replayed = event(&Letter::Replayed(Arc::new(happened.clone())));
        let head = head.replace(r#","time""#, r#","replayed":true,"time""#);
        assert_eq!(replayed, format!("{{{head},\"description\":{body}}}\n"));
        let head = head.replace(r#","replayed":true"#, "");
        happened.description = None;
        assert_eq!(told(&happened), format!("{{{head},\"description\":null}}\n"));
        let none = r#"{"attributes":{},"container_id":"","container_name":"","description":null,"event":"none","time":null}"#;
        assert_eq!(event(&Letter::None), format!("{none}\n"));
    }
}
