//! A preview as text for people: routes, commands, files, problems.
//!
//! Pure.

use super::PreviewOutput;
use crate::{
    model::problem::Severity,
    report::{
        preview::PreviewMethod,
        style::{DIM, ERROR, HEADING, LOCATION, OK, apply_style},
        text_report::change_style,
    },
    routing::route_diff::{ChangeDetail, RouteChange},
    support::format::format_duration,
};
use anstyle::Style;

pub(crate) fn render_text(output: &PreviewOutput) -> String {
    let mut lines = Vec::new();
    lines.extend(output.source_note().map(|text| apply_style(DIM, text)));
    lines.extend(output.notes.iter().map(|text| apply_style(DIM, text)));
    lines.extend(output.preview.excluded.iter().map(|container_ref| {
        let why = "drained, stopping, or crashing repeatedly";
        apply_style(
            DIM,
            format!(
                "container {container_ref} gets no new requests ({why}), and this does not change"
            ),
        )
    }));
    if output.preview.is_empty() {
        let has = match &output.preview.rollback {
            Some(request) => format!("the routes of generation {}", request.generation),
            None => "all routes of the labels".to_owned(),
        };
        lines.push(format!("Nothing would change: HAProxy has {has}."));
    } else {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        push_section(&mut lines, "Routes", route_lines(output));
        // Added even without commands, because the heading tells how HAProxy gets the change.
        push_complete_section(
            &mut lines,
            &method_heading(output),
            output.masked_commands().map(|text| format!("  {text}")).collect(),
        );
        push_section(
            &mut lines,
            "Files",
            output.masked_patches().flat_map(|(_, diff)| style_diff(&diff)).collect(),
        );
    }
    if let Some(rejection) = &output.rejection {
        lines.push(apply_style(
            ERROR,
            format!("HAProxy would refuse the configuration: {rejection}"),
        ));
        lines.push(String::new());
    }
    let problems = problem_lines(output);
    if output.preview.is_empty() && !problems.is_empty() {
        lines.push(String::new());
    }
    push_section(&mut lines, "Problems", problems);
    lines.join("\n")
}

/// Adds a section; without content it has no heading.
fn push_section(lines: &mut Vec<String>, heading: &str, content: Vec<String>) {
    if !content.is_empty() {
        push_complete_section(lines, heading, content);
    }
}

/// Adds a section, with its heading even if there is no content.
fn push_complete_section(lines: &mut Vec<String>, heading: &str, content: Vec<String>) {
    lines.push(apply_style(HEADING, heading));
    lines.extend(content);
    lines.push(String::new());
}

fn method_heading(output: &PreviewOutput) -> String {
    match &output.preview.method {
        PreviewMethod::Nothing => "HAProxy is up to date; only its files change".to_owned(),
        PreviewMethod::Runtime => match output.preview.commands.len() {
            1 => "HAProxy is updated without a reload: 1 command".to_owned(),
            many => format!("HAProxy is updated without a reload: {many} commands"),
        },
        PreviewMethod::Reload(why) => format!("HAProxy is reloaded: {why}"),
        PreviewMethod::Start => "HAProxy is started, because it does not answer".to_owned(),
    }
}

fn route_lines(output: &PreviewOutput) -> Vec<String> {
    let changes = output.preview.changes.iter();
    changes
        .map(|change| {
            apply_style(
                change_style(change.kind()),
                format!("  {}{}", change_text(output, change), hold_note(output, change)),
            )
        })
        .collect()
}

/// Describes a change, and marks the added containers that do not run yet.
pub(crate) fn change_text(output: &PreviewOutput, change: &RouteChange) -> String {
    let mut change = change.clone();
    let mark_pending = |name: &mut String| {
        if output.placeholders.is_placeholder_name(name) {
            name.push_str(" (not running yet)");
        }
    };
    match &mut change {
        RouteChange::Added { servers, .. } => servers.iter_mut().for_each(mark_pending),
        RouteChange::Changed { details, .. } => {
            for detail in details {
                if let ChangeDetail::ServerAdded(name) = detail {
                    mark_pending(name);
                }
            }
        }
        RouteChange::Removed { .. } => {}
    }
    change.to_string()
}

fn hold_note(output: &PreviewOutput, change: &RouteChange) -> String {
    match change {
        RouteChange::Removed { route }
            if output.preview.route_holds.contains(route) && output.preview.rollback.is_some() =>
        {
            " (503 while the rollback is active)".to_owned()
        }
        RouteChange::Removed { route } if output.preview.route_holds.contains(route) => {
            let hold = format_duration(output.hold);
            format!(" (503 for {hold}, then 404)")
        }
        _ => String::new(),
    }
}

fn style_diff(diff: &str) -> Vec<String> {
    let style = |line: &str| match line.bytes().next() {
        _ if line.starts_with("+++ ") || line.starts_with("--- ") => HEADING,
        Some(b'+') => OK,
        Some(b'-') => ERROR,
        Some(b'@') => LOCATION,
        _ => Style::new(),
    };
    diff.lines().map(|line| format!("  {}", apply_style(style(line), line))).collect()
}

fn problem_lines(output: &PreviewOutput) -> Vec<String> {
    let all = output.preview.problems.iter();
    let problems = all.filter(|problem| problem.reason.severity() == Severity::Problem);
    problems
        .map(|problem| format!("  {}", output.placeholders.mask_sentence(&problem.to_string())))
        .collect()
}
