//! Label reference, generated from the option table: as text, as Markdown for the book, and as JSON.
//!
//! Pure.

use crate::model::label_option::{
    LabelProtocol, OPTIONS, OptionEffect, OptionPlace, OptionScope, OptionSpec,
};
use serde::Serialize;
use std::fmt::Write as _;

/// JSON object of a label.
#[derive(Debug, Serialize)]
struct LabelObject {
    /// The label with `<port>` as a placeholder.
    label: String,
    /// `container`, `port` or `route`.
    scope: &'static str,
    values: String,
    /// `null` if there is no default.
    default: Option<String>,
    meaning: String,
    /// Whether containers that share a route must agree on it.
    must_agree: bool,
    /// `data`: HAProxy is changed by runtime commands. `shape`: a change may need a reload.
    effect: &'static str,
}

/// Returns a paragraph for each label.
pub fn format_text() -> String {
    let mut text = String::new();
    for (protocol, spec) in rows() {
        let texts = spec.texts(protocol);
        let (values, default) = (to_plain(texts.values), to_plain(texts.default));
        writeln!(text, "{}", spec.label(protocol)).expect("writing to a string cannot fail");
        let lines = [("values", values), ("default", default), ("", to_plain(texts.meaning))];
        for (title, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
            let separator = if title.is_empty() { "" } else { ": " };
            writeln!(text, "    {title}{separator}{line}")
                .expect("writing to a string cannot fail");
        }
        if spec.place == OptionPlace::Policy {
            text += "    containers that share a route must agree on it\n";
        }
        text.push('\n');
    }
    text
}

/// Returns a Markdown table.
pub fn format_markdown() -> String {
    let row = |(protocol, spec): Row| {
        let texts = spec.texts(protocol);
        let label = format!("`{}`", spec.label(protocol));
        let cells = [&label, texts.values, texts.default, texts.meaning];
        let line = format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        line.replace("|  |", "| |")
    };
    let head = "| label | value | default | meaning |\n|---|---|---|---|\n".to_owned();
    head + &rows().map(row).collect::<String>()
}

/// Returns a JSON array of objects.
pub fn format_json() -> String {
    let labels: Vec<_> = rows().map(LabelObject::from).collect();
    serde_json::to_string_pretty(&labels).expect("text and booleans can always be serialized")
}

/// A label: an option of a protocol.
type Row = (LabelProtocol, &'static OptionSpec);

/// Iterates over the labels, those of HTTP first. A label of the whole container comes once.
fn rows() -> impl Iterator<Item = Row> {
    let ports = LabelProtocol::ALL.into_iter().flat_map(|protocol| {
        let has_label = move |spec: &&OptionSpec| spec.protocols == [protocol] || !is_shared(spec);
        let is_label = |spec: &&OptionSpec| spec.scope != OptionScope::Derived;
        let specs = OPTIONS.iter().filter(is_label);
        let specs = specs.filter(move |spec| spec.protocols.contains(&protocol));
        specs.filter(has_label).map(move |spec| (protocol, spec))
    });
    ports.chain(
        OPTIONS.iter().filter(|spec| is_shared(spec)).map(|spec| (LabelProtocol::Http, spec)),
    )
}

/// Whether the label has no protocol in its name.
fn is_shared(spec: &OptionSpec) -> bool {
    spec.scope == OptionScope::Container && spec.protocols.len() != 1
}

impl From<Row> for LabelObject {
    fn from((protocol, spec): Row) -> Self {
        let texts = spec.texts(protocol);
        Self {
            label: spec.label(protocol),
            scope: match spec.scope {
                OptionScope::Container => "container",
                OptionScope::Port => "port",
                OptionScope::Route | OptionScope::Derived => "route",
            },
            values: to_plain(texts.values),
            default: Some(to_plain(texts.default)).filter(|default| !default.is_empty()),
            meaning: to_plain(texts.meaning),
            must_agree: spec.place == OptionPlace::Policy,
            effect: match spec.effect {
                OptionEffect::Data => "data",
                OptionEffect::Shape => "shape",
            },
        }
    }
}

/// Removes Markdown's marks of code and links.
fn to_plain(markdown: &str) -> String {
    let text = markdown.replace('`', "");
    let link = text.strip_prefix('[').and_then(|link| link.split_once("]("));
    link.map_or_else(|| text.clone(), |(title, _)| title.to_owned())
}
