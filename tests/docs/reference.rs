//! References that the code writes. To renew them: `BLESS=1 cargo test --test docs reference::`, and read the difference.

use crate::common::pages::Page;
use clap::{Arg, ArgAction, Command};
use docker_glue::{
    controller::metrics::Metrics,
    haproxy::{
        reload_budget::ReloadBudget,
        reload_reason::{ReloadKind, ReloadReason},
        version::OLDEST,
    },
    model::problem::{Description, ProblemKind, Reason, Severity},
    report::{
        certificates::CertificateCounts,
        counts::StateCounts,
        fleet::FleetCounts,
        label_reference,
        source_status::{NodeCounts, SourceReport},
    },
    settings::options::{self, Program, glue, udp::udp_command},
    sources::acme::{AcmeStatus, SharedStatus},
    udp::{
        answer::{PlaneReport, UdpReport},
        engine::Engine,
    },
};
use regex_lite::Regex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

const BEGIN: &str =
    "<!-- generated from the code; to renew it: BLESS=1 cargo test --test docs reference:: -->\n";
const END: &str = "<!-- end of generated -->\n";

/// A page has this between its marks.
fn check(path: &str, generated: &str) {
    let mut page = Page::read(path);
    let (before, remaining) = page.text.split_once(BEGIN).expect("the beginning is marked");
    let (_, after) = remaining.split_once(END).expect("the end is marked");
    let new = format!("{before}{BEGIN}\n{}\n\n{END}{after}", generated.trim_end());
    let is_new = page.text == new;
    if std::env::var_os("BLESS").is_some() {
        page.text = new;
        page.write();
        return;
    }
    assert!(is_new, "{path} is out of date; BLESS=1 renews it, and it should have\n{generated}");
}

fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let head = line(columns.iter().map(ToString::to_string).collect());
    let rule = format!("|{}\n", "---|".repeat(columns.len()));
    head + &rule + &rows.into_iter().map(line).collect::<String>()
}

#[test]
fn options_are_those_of_the_command_lines() {
    let programs = [options::balancer_command(), glue::GlueOptions::command_line(), udp_command()]
        .map(|program| {
            let rows = table(&OPTION_COLUMNS, program.get_arguments().map(option_row));
            let commands = list_commands(&program).into_iter();
            let commands =
                commands.map(|(name, command)| command_section(&program, &name, command));
            let commands = commands.collect::<String>();
            format!("## {0}\n\n{rows}\n## Commands of {0}\n\n{commands}", program.get_name())
        });
    check("docs/src/reference/options.md", &programs.join("\n"));
}

const OPTION_COLUMNS: [&str; 3] = ["option", "default", "meaning"];

/// Returns the subcommands with their names, such as `certificate renew`. Those that have subcommands are left out.
fn list_commands(program: &Command) -> Vec<(String, &Command)> {
    let commands = program.get_subcommands().flat_map(|command| {
        let name = command.get_name();
        let below = list_commands(command).into_iter();
        let below = below.map(|(lower, command)| (format!("{name} {lower}"), command));
        let own = (!command.has_subcommands()).then(|| (name.to_owned(), command));
        own.into_iter().chain(below).collect::<Vec<_>>()
    });
    commands.collect()
}

/// Heading, first line of help, and the options that the program itself does not have.
fn command_section(program: &Command, name: &str, command: &Command) -> String {
    let positional = command.get_positionals().map(|arg| format!(" {}", arg.get_id()));
    let usage = positional.collect::<String>().to_uppercase();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let is_own = |option: &&Arg| {
        let long = option.get_long();
        program.get_arguments().all(|other| other.get_long() != long)
    };
    let rows: Vec<_> = command.get_opts().filter(is_own).map(option_row).collect();
    let options = if rows.is_empty() { String::new() } else { table(&OPTION_COLUMNS, rows) + "\n" };
    format!("### {name}\n\n`{name}{usage}`: {about}.\n\n{options}")
}

#[test]
fn settings_are_the_example_file() {
    let example = std::fs::read_to_string("examples/settings.toml").unwrap();
    check("docs/src/reference/settings.md", &format!("```toml\n{example}```"));
}

#[test]
fn problems_have_severity_meaning_and_remedy() {
    let rows = ProblemKind::ALL.iter().map(|kind| {
        let severity = match kind.severity() {
            Severity::Hint => "hint",
            Severity::Problem => "problem",
        };
        let Description { meaning, remedy } = kind.description();
        let kind = format!("`{}`", kind.word());
        [&kind, severity, meaning, remedy].map(ToOwned::to_owned).to_vec()
    });
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), Reason::KINDS.len());
    check(
        "docs/src/reference/problems.md",
        &table(&["kind", "severity", "meaning", "remedy"], rows),
    );
}

#[test]
fn labels_are_those_of_the_option_table() {
    check("docs/src/reference/labels.md", &label_reference::format_markdown());
}

#[test]
fn reload_reasons_have_a_meaning() {
    let words: Vec<_> = ReloadKind::ALL.iter().map(|kind| kind.word()).collect();
    assert_eq!(words, ReloadReason::KINDS);
    let rows = ReloadKind::ALL.iter();
    let rows = rows.map(|kind| vec![format!("`{}`", kind.word()), kind.meaning().to_owned()]);
    check(
        "docs/src/reference/reload-reasons.md",
        &table(&["reason", "HAProxy is reloaded because"], rows),
    );
}

#[test]
fn metrics_are_those_of_the_registry() {
    let render = |engine| {
        let refusals =
            [401, 403, 429].map(|status| (("app.example.com:80".to_owned(), status), 1)).into();
        let metrics = Metrics::new(OLDEST);
        metrics.render_text(&census(engine), 0, Some(refusals)).expect("a valid metric")
    };
    let text = render(Engine::User);
    let all_labels = text.clone() + &render(Engine::Nft);
    let kinds: BTreeMap<_, _> = lines(&text, "# TYPE ").collect();
    let rows = lines(&text, "# HELP ").map(|(name, help)| {
        let labels = labels_of(&all_labels, name);
        vec![format!("`{name}`"), kinds[name].to_owned(), labels, help.to_owned()]
    });
    check("docs/src/reference/metrics.md", &table(&["metric", "type", "labels", "meaning"], rows));
}

fn lines<'a>(text: &'a str, start: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines().filter_map(move |line| line.strip_prefix(start)?.split_once(' '))
}

/// `state`: `down`, `held`, `served`; of a metric whose values are a closed set.
fn labels_of(text: &str, name: &str) -> String {
    let pair = Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap();
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    for found in samples.flat_map(|sample| pair.captures_iter(sample)) {
        values.entry(found[1].to_owned()).or_default().insert(format!("`{}`", &found[2]));
    }
    let row = |(label, values): (String, BTreeSet<String>)| match label.as_str() {
        "kind" if name == "docker_glue_problems" => {
            "`kind`: as in [Problems](problems.md)".to_owned()
        }
        "route" => "`route`: the name of its backend, or `other`".to_owned(),
        label if label.ends_with("version") => format!("`{label}`"),
        label => format!("`{label}`: {}", Vec::from_iter(values).join(", ")),
    };
    values.into_iter().map(row).collect::<Vec<_>>().join("; ")
}

fn census(engine: Engine) -> StateCounts {
    let now = Instant::now();
    StateCounts {
        routes: BTreeMap::new(),
        servers: BTreeMap::new(),
        problems: BTreeMap::new(),
        containers: 0,
        certificates: CertificateCounts {
            expiries: vec![("app.example.com".to_owned(), 0)],
            ..CertificateCounts::default()
        },
        orders: Some(Arc::new(AcmeStatus {
            shared: Some(SharedStatus { is_leader: true, leader: None }),
            ..AcmeStatus::default()
        })),
        udp: Some(Arc::new(UdpReport {
            plane: PlaneReport { engine, ..PlaneReport::default() },
            ..UdpReport::default()
        })),
        rollback_active: false,
        docker_connected: true,
        sources: vec![SourceReport {
            name: "node2".parse().unwrap(),
            url: "tcp://10.0.0.2:2376".to_owned(),
            connected: true,
            silent_ms: None,
            containers: 1,
            clock_skew: Some(3),
            nodes: Some(NodeCounts { up: 2, lost: 1 }),
        }],
        fleet: Some(FleetCounts { balancers: 3, differs: false }),
        stream_age: Duration::ZERO,
        haproxy_answers: true,
        budget: ReloadBudget::full(now),
        now,
    }
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let rows = [options::balancer_command(), glue::GlueOptions::command_line(), udp_command()]
        .into_iter()
        .flat_map(|program| {
            let name = program.get_name().to_owned();
            let own =
                program.get_after_long_help().or(program.get_after_help()).map(ToString::to_string);
            let own = vec![vec![format!("`{name}`"), exit_status(&own.unwrap_or_default())]];
            let commands = list_commands(&program).into_iter().map(|(words, command)| {
                let help = command.get_long_about().or(command.get_about()).unwrap().to_string();
                vec![format!("`{name} {words}`"), exit_status(&help)]
            });
            own.into_iter().chain(commands).collect::<Vec<_>>()
        });
    check("docs/src/reference/exit-codes.md", &table(&["command", "exit codes"], rows));
}

/// What the help says after "Exit status:", up to the end of the paragraph.
fn exit_status(help: &str) -> String {
    let stated = help.split_once("Exit status: ").map(|(_, stated)| stated).unwrap_or_default();
    let paragraph = stated.split("\n\n").next().unwrap().replace('\n', " ");
    paragraph.split(". ").next().unwrap().trim_end_matches('.').to_owned()
}

#[test]
fn control_api_is_that_of_the_document() {
    let text = std::fs::read_to_string("docs/control.yaml").unwrap();
    let document: Value = yaml_serde::from_str(&text).unwrap();
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        let document = &document;
        methods.map(move |(method, operation)| operation_section(document, method, path, operation))
    });
    let schemas = document["components"]["schemas"].as_object().unwrap().iter();
    let schemas = schemas.filter_map(|(name, schema)| schema_section(name, schema));
    let generated = format!(
        "## Requests\n\n{}## Objects\n\n{}",
        operations.collect::<String>(),
        schemas.collect::<String>()
    );
    check("docs/src/reference/control-api.md", &generated);
}

fn operation_section(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let sample = operation["x-codeSamples"][0]["source"].as_str().unwrap_or_default();
    let responses = operation["responses"].as_object().unwrap().iter();
    let rows = responses.map(|(status, response)| {
        let elsewhere = response["$ref"].as_str();
        let elsewhere = elsewhere.and_then(|text| document.pointer(text.trim_start_matches('#')));
        let response = elsewhere.unwrap_or(response);
        let meaning = response["description"].as_str().map(one_line).unwrap_or_default();
        let body = kind_of(&response["content"]["application/json"]["schema"]);
        vec![status.clone(), meaning, body]
    });
    format!(
        "### {} {path}\n\n{}. {}\n\n`{}`\n\n{}\n",
        method.to_uppercase(),
        operation["summary"].as_str().unwrap(),
        operation["description"].as_str().map(one_line).unwrap_or_default(),
        sample.trim().replace('\n', " "),
        table(&["status", "meaning", "body"], rows)
    )
}

/// Of an object: a table of its fields.
fn schema_section(name: &str, schema: &Value) -> Option<String> {
    let parts: Vec<&Value> = match schema["allOf"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![schema],
    };
    let fields = parts.iter().filter_map(|part| part["properties"].as_object()).flatten();
    let rows = fields.map(|(field, schema)| {
        let meaning = schema["description"].as_str().map(one_line).unwrap_or_default();
        vec![format!("`{field}`"), kind_of(schema), meaning]
    });
    let rows: Vec<_> = rows.collect();
    let base = parts.iter().filter_map(|part| part["$ref"].as_str()).map(reference_name);
    let base: Vec<_> = base.collect();
    let with = match &base[..] {
        [] => String::new(),
        base => format!("Has the fields of {} too.\n\n", base.join(", ")),
    };
    (!rows.is_empty())
        .then(|| format!("### {name}\n\n{with}{}\n", table(&["field", "type", "meaning"], rows)))
}

/// Type of a JSON value in a few words.
fn kind_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return reference_name(name);
    }
    let alternatives = ["oneOf", "anyOf"].iter().find_map(|key| schema[key].as_array());
    if let Some(all) = alternatives {
        return all.iter().map(kind_of).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    if schema["const"].is_string() {
        return format!("`{}`", schema["const"]);
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("array of {}", kind_of(&schema["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    }
}

fn reference_name(reference: &str) -> String {
    reference.rsplit('/').next().unwrap().to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn option_row(option: &Arg) -> Vec<String> {
    let long = option.get_long().unwrap();
    let short = option.get_short().map(|short| format!("`-{short}` ")).unwrap_or_default();
    let takes = matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
        && option.get_num_args().is_none_or(|number| number.min_values() > 0);
    let value = option.get_value_names().filter(|_| takes).map(|names| format!(" {}", names[0]));
    let option_name = format!("{short}`--{long}{}`", value.unwrap_or_default());
    let meaning = option.get_help().unwrap().to_string();
    let meaning = meaning.split(" [default").next().unwrap();
    let kinds = option.get_possible_values();
    let kinds: Vec<_> = kinds
        .iter()
        .filter_map(|kind| {
            Some(format!("`{}`: {}", kind.get_name(), lower(&kind.get_help()?.to_string())))
        })
        .filter(|_| takes)
        .collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(". {}", kinds.join("; ")) };
    vec![option_name, default(option), format!("{meaning}{kinds}")]
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// clap's, else what the text says in brackets.
fn default(option: &Arg) -> String {
    if let Some(default) = option.get_default_values().first() {
        return format!("`{}`", default.to_str().unwrap());
    }
    let text = option.get_long_help().or(option.get_help()).unwrap().to_string();
    let stated = text.split_once("[default: ");
    let stated = stated.map(|(_, remaining)| remaining.trim_end().trim_end_matches(']'));
    stated.map(|text| text.split("]\n").next().unwrap().replace('\n', " ")).unwrap_or_default()
}
