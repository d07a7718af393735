//! The messages between a plugin and docker-glue.
//!
//! Pure.

use crate::handlers::mailbox::HandlerMessage;
use serde_json::{Map, Value, json};

/// A line of a plugin's standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PluginOutput {
    Ready,
    Done,
    Failed(String),
    /// Any other line, which is logged.
    Other,
}

impl PluginOutput {
    pub(crate) fn parse(line: &str) -> Self {
        let Ok(object) = serde_json::from_str::<Map<String, Value>>(line) else {
            return Self::Other;
        };
        match (object.get("error"), object.get("ok"), object.get("ready")) {
            (Some(Value::String(error)), ..) => Self::Failed(error.clone()),
            (Some(error), ..) if !error.is_null() => Self::Failed(error.to_string()),
            (_, Some(Value::Bool(true)), _) => Self::Done,
            (_, Some(Value::Bool(false)), _) => Self::Failed("the plugin gave no reason".into()),
            (.., Some(Value::Bool(true))) => Self::Ready,
            _ => Self::Other,
        }
    }
}

/// Returns the line that is sent to a plugin for an event.
pub(crate) fn event_line(message: &HandlerMessage) -> String {
    if let Some(change) = message.certificate_change() {
        let mut line = none_event();
        line["event"] = change.action.event_name().into();
        line["certificate"] = json!(change.certificate);
        return format!("{line}\n");
    }
    let Some(container_event) = message.event() else {
        return format!("{}\n", none_event());
    };
    #[allow(clippy::cast_precision_loss, reason = "a microsecond is exact enough")]
    let time = (container_event.time_nano / 1000) as f64 / 1e6;
    let mut head = json!({
        "event": container_event.action,
        "container_id": container_event.id.as_str(),
        "container_name": container_event.name,
        "time": time,
        "attributes": container_event.attributes,
    });
    let source = container_event.id.source();
    if !source.is_none() {
        head["source"] = source.as_str().into();
    }
    if let HandlerMessage::ReplayedEvent(_) = message {
        head["replayed"] = true.into();
    }
    let head = head.to_string();
    // The description is JSON on one line already.
    let description =
        container_event.description.as_ref().map_or("null", |description| &description.json);
    format!("{},\"description\":{description}}}\n", head.strip_suffix('}').unwrap_or_default())
}

/// Returns an event that is not about a container.
fn none_event() -> Value {
    json!({
        "event": "none", "container_id": "", "container_name": "", "time": null, "attributes": {},
        "description": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        handlers::certificate_change::{CertificateAction, CertificateChange},
        model::container::ContainerId,
        sources::{ContainerEvent, Description, certificate::PublicCertificate},
    };
    use std::sync::Arc;

    #[test]
    fn reply_line_is_parsed_other_lines_are_for_the_log() {
        let failed = |text: &str| PluginOutput::Failed(text.to_owned());
        for (line, expected) in [
            (r#"{"ok": true}"#, PluginOutput::Done),
            (r#"{"ok": true, "more": 1}"#, PluginOutput::Done),
            (r#"{"ok": true, "error": null}"#, PluginOutput::Done),
            (r#"{"error": "no such port"}"#, failed("no such port")),
            (r#"{"ok": true, "error": ""}"#, failed("")),
            (r#"{"error": {"code": 3}}"#, failed(r#"{"code":3}"#)),
            (r#"{"ok": false}"#, failed("the plugin gave no reason")),
            (r#"{"ready": true}"#, PluginOutput::Ready),
            (r#"{"ready": false}"#, PluginOutput::Other),
            (r#"{"ok": 1}"#, PluginOutput::Other),
            ("[true]", PluginOutput::Other),
            ("true", PluginOutput::Other),
            ("started", PluginOutput::Other),
            (r#"{"ok": tr"#, PluginOutput::Other),
            ("", PluginOutput::Other),
        ] {
            assert_eq!(PluginOutput::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn event_is_one_line_of_json() {
        let id = ContainerId::new("c0ffee");
        let description = Description {
            id: id.clone(),
            name: "web".to_owned(),
            json: r#"{"Id":"c0ffee","Config":{"Labels":{"a":"}\n"}}}"#.into(),
        };
        let mut container_event = ContainerEvent {
            id,
            name: "web".to_owned(),
            action: "exec_start: echo \"x\"\n".to_owned(),
            time_nano: 1_700_000_000_250_000_000,
            attributes: [("a".to_owned(), "{}}".to_owned())].into(),
            description: Some(Arc::new(description)),
        };
        let head = r#""attributes":{"a":"{}}"},"container_id":"c0ffee","container_name":"web","event":"exec_start: echo \"x\"\n","time":1700000000.25"#;
        let line_of = |container_event: &ContainerEvent| {
            event_line(&HandlerMessage::Event(Arc::new(container_event.clone())))
        };
        let line = line_of(&container_event);
        let body = r#"{"Id":"c0ffee","Config":{"Labels":{"a":"}\n"}}}"#;
        assert_eq!(line, format!("{{{head},\"description\":{body}}}\n"));
        let replayed =
            event_line(&HandlerMessage::ReplayedEvent(Arc::new(container_event.clone())));
        let head = head.replace(r#","time""#, r#","replayed":true,"time""#);
        assert_eq!(replayed, format!("{{{head},\"description\":{body}}}\n"));
        let head = head.replace(r#","replayed":true"#, "");
        container_event.description = None;
        assert_eq!(line_of(&container_event), format!("{{{head},\"description\":null}}\n"));
        let at_source = ContainerId::in_source("node2".parse().unwrap(), "c0ffee");
        let named = ContainerEvent { id: at_source, ..container_event.clone() };
        let head_with_source = head.replace(r#","time""#, r#","source":"node2","time""#);
        assert_eq!(line_of(&named), format!("{{{head_with_source},\"description\":null}}\n"));
        let certificate = CertificateChange {
            action: CertificateAction::Renewed,
            list: "list.json".into(),
            certificate: PublicCertificate {
                id: "file//a.pem".to_owned(),
                names: vec!["a.test".to_owned()],
                digest: "1a".to_owned(),
                key_type: "RSA".to_owned(),
                issuer: "CA".to_owned(),
                origin: "file".to_owned(),
                ca: None,
                certificate_file: Some("/a.pem".to_owned()),
                key_file: None,
                not_before: 1,
                not_after: 2,
            },
        };
        let certificate = HandlerMessage::CertificateEvent(Arc::new(certificate));
        let facts = r#"{"ca":null,"certificate_file":"/a.pem","digest":"1a","id":"file//a.pem","issuer":"CA","key_file":null,"key_type":"RSA","names":["a.test"],"not_after":2,"not_before":1,"origin":"file"}"#;
        let head = r#"{"attributes":{},"certificate":"#;
        let tail = r#","container_id":"","container_name":"","description":null,"event":"certificate: renewed","time":null}"#;
        assert_eq!(event_line(&certificate), format!("{head}{facts}{tail}\n"));
        let none = r#"{"attributes":{},"container_id":"","container_name":"","description":null,"event":"none","time":null}"#;
        assert_eq!(event_line(&HandlerMessage::NoneEvent), format!("{none}\n"));
    }
}
