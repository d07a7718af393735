//! A translation as text: a compose file with the labels, and policies for the settings file as comments.
//!
//! Pure. Labels are written as a list, because compose does not fill in variables in the keys of a mapping.

use super::{
    Label, LabelPlace, Note, NoteKind, Outcome, Policy, Program, ServiceTranslation, Translation,
    text,
};
use crate::support::escape::{SingleLine, is_unprintable};
use std::fmt::Write as _;

/// Comments begin at most in this column.
const MAX_COLUMN: usize = 72;

/// Options of policies whose values are lists.
const LIST_OPTIONS: [&str; 7] = [
    "allow",
    "deny",
    "users",
    "forward_auth_headers",
    "cors",
    "drop_request_headers",
    "drop_response_headers",
];

/// Writes a translation. `inputs` names the inputs, in the order of [`super::ServiceInput::input`].
pub fn format_translation(
    program: Program,
    inputs: &[String],
    translation: &Translation,
) -> String {
    let mut text = String::new();
    let with_services = inputs.iter().enumerate().filter_map(|(at, input)| {
        let services: Vec<_> =
            translation.services.iter().filter(|service| service.input == at).collect();
        (!services.is_empty()).then_some((input, services))
    });
    for (number, (input, services)) in with_services.enumerate() {
        if 0 < number {
            text += "---\n";
        }
        write_input(&mut text, program, input, &services);
    }
    if text.is_empty() {
        let inputs = inputs.join(", ");
        return format!(
            "# No service of {} has anything for {program}.\nservices: {{}}\n",
            SingleLine(inputs)
        );
    }
    write_policies(&mut text, translation);
    write_hints(&mut text, program, translation);
    text
}

fn write_input(text: &mut String, program: Program, input: &str, services: &[&ServiceTranslation]) {
    let count = |outcome| services.iter().filter(|service| service.outcome() == outcome).count();
    let _ = writeln!(
        text,
        "# {}, from {program}: {} translated whole, {} in part, {} not.",
        SingleLine(input),
        count(Outcome::Whole),
        count(Outcome::Partial),
        count(Outcome::Nothing)
    );
    text.push_str("# Add the labels to the services, or give this text to docker compose as a further file.\n");
    let (with_labels, others): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| !service.labels.is_empty());
    text.push_str(if with_labels.is_empty() { "services: {}\n" } else { "services:\n" });
    for service in with_labels {
        write_service(text, service);
    }
    for service in others {
        let _ = writeln!(text, "# {}: no labels", SingleLine(&service.name));
        write_notes(text, "#   ", &service.notes);
    }
}

fn write_service(text: &mut String, service: &ServiceTranslation) {
    let _ = writeln!(text, "  {}:", yaml_key(&service.name));
    let indent = match service.place {
        LabelPlace::Service => "    ",
        LabelPlace::Deploy => {
            text.push_str("    deploy:\n");
            "      "
        }
    };
    let _ = writeln!(text, "{indent}labels:");
    let lines = service.labels.iter().map(|label| {
        (format!("{indent}  - {}", yaml_text(&format!("{}={}", label.key, label.value))), label)
    });
    let lines: Vec<_> = lines.collect();
    let widths = lines.iter().map(|(line, _)| line.chars().count());
    let column = widths.filter(|width| *width <= MAX_COLUMN).max().unwrap_or(0);
    for (line, Label { origin, .. }) in &lines {
        let _ = writeln!(text, "{line:<column$}  # {}", SingleLine(origin));
    }
    write_notes(text, &format!("{indent}  # "), &service.notes);
}

fn write_notes(text: &mut String, start: &str, notes: &[Note]) {
    for Note { kind, origin, text: note } in notes {
        let kind = match kind {
            NoteKind::Loss => "CHECK",
            NoteKind::Advice => "note",
        };
        let _ = writeln!(text, "{start}{kind}: {}: {}", SingleLine(origin), SingleLine(note));
    }
}

fn write_policies(text: &mut String, translation: &Translation) {
    if translation.policies.is_empty() {
        return;
    }
    text.push_str("\n# For the settings file:\n");
    for (name, Policy { origin, options }) in &translation.policies {
        let _ = writeln!(text, "#\n# [policy.{name}]  # {}", SingleLine(origin));
        for line in policy_lines(options) {
            let _ = writeln!(text, "# {line}");
        }
        if options.is_empty() {
            text.push_str("# # not among the labels: write what it does\n");
        }
    }
}

/// Returns the lines of a policy in TOML.
fn policy_lines(options: &[Label]) -> Vec<String> {
    let line = |option: &Label| {
        let value = text::literal(&option.value);
        let unfilled = if value.is_none() { "  # fill in the variable" } else { "" };
        let value = value.unwrap_or_else(|| option.value.clone());
        let value = match option.key.as_str() {
            key if LIST_OPTIONS.contains(&key) => {
                let members: Vec<_> =
                    text::list_members(&value).into_iter().map(toml_text).collect();
                format!("[{}]", members.join(", "))
            }
            _ if value == "on" => "true".to_owned(),
            _ => toml_text(&value),
        };
        format!("{} = {value}{unfilled}", toml_key(&option.key))
    };
    options.iter().map(line).collect()
}

fn write_hints(text: &mut String, program: Program, translation: &Translation) {
    let labels = || translation.services.iter().flat_map(|service| &service.labels);
    let has = |option: &str| {
        labels().any(|label| label.key.split('.').next().is_some_and(|key| key.ends_with(option)))
    };
    if has("_cert") || has("_tls") {
        text.push_str("\n# Certificates: --acme letsencrypt orders them, --certificates reads them from files.\n");
    }
    if program == Program::Traefik && labels().any(|label| label.value == "acme") {
        text.push_str("# docker-balancer certificate import takes over those of Traefik; without cert=acme they are used until they expire.\n");
    }
}

/// Writes a member of a list: plain if YAML reads it as the same text, else in double quotes.
fn yaml_text(text: &str) -> String {
    let is_plain = text.starts_with("glue_")
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !text.chars().any(is_unprintable);
    if is_plain { text.to_owned() } else { quote(text) }
}

fn yaml_key(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { quote(text) }
}

fn toml_key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.chars().all(is_bare) { text.to_owned() } else { quote(text) }
}

fn toml_text(text: impl AsRef<str>) -> String {
    quote(text.as_ref())
}

/// Quotes a text as YAML and TOML read it.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_unprintable(c) && u32::from(c) <= 0xffff => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c if is_unprintable(c) => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
