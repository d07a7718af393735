//! A plan for people: routes, commands, files, problems.

use super::Plan;
use crate::{
    change::{Change, Detail},
    problem::Severity,
    verb::paint::{FAINT, GONE, HEAD, NEW, OTHER, PLACE, paint},
    view::outlook::How,
};
use anstyle::Style;

pub(super) fn text(plan: &Plan<'_>) -> String {
    let mut lines = Vec::new();
    lines.extend(plan.source().map(|it| paint(FAINT, it)));
    lines.extend(plan.notes.iter().map(|it| paint(FAINT, it)));
    lines.extend(plan.outlook.kept_out.iter().map(|it| {
        let why = "drained, told to stop, or crashed over and over";
        paint(FAINT, format!("container {it} gets no new requests ({why}), and that stays so"))
    }));
    if plan.outlook.is_empty() {
        lines.push("Nothing would change: HAProxy has what the labels say.".to_owned());
    } else {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        part(&mut lines, "Routes", routes(plan));
        part(&mut lines, &how(plan), plan.commands().map(|it| format!("  {it}")).collect());
        part(&mut lines, "Files", plan.patches().flat_map(|(_, diff)| painted(&diff)).collect());
    }
    if let Some(refused) = &plan.refused {
        lines.push(paint(GONE, format!("HAProxy would refuse it: {refused}")));
        lines.push(String::new());
    }
    let problems = problems(plan);
    if plan.outlook.is_empty() && !problems.is_empty() {
        lines.push(String::new());
    }
    part(&mut lines, "Problems", problems);
    lines.join("\n")
}

/// Nothing where there is nothing but a heading that says nothing by itself.
fn part(lines: &mut Vec<String>, heading: &str, content: Vec<String>) {
    let says = heading.starts_with("HAProxy");
    if content.is_empty() && !says {
        return;
    }
    lines.push(paint(HEAD, heading));
    lines.extend(content);
    lines.push(String::new());
}

fn how(plan: &Plan<'_>) -> String {
    match &plan.outlook.how {
        How::Nothing => "HAProxy has it already; its files do not say so yet".to_owned(),
        How::Runtime => match plan.outlook.commands.len() {
            1 => "HAProxy is told, and not reloaded: 1 command".to_owned(),
            many => format!("HAProxy is told, and not reloaded: {many} commands"),
        },
        How::Reload(why) => format!("HAProxy is reloaded: {why}"),
        How::Start => "HAProxy is started, as none answers".to_owned(),
    }
}

fn routes(plan: &Plan<'_>) -> Vec<String> {
    let changes = plan.outlook.changes.iter();
    changes
        .map(|it| paint(style(it), format!("  {}{}", words(plan, it), later(plan, it))))
        .collect()
}

fn style(change: &Change) -> Style {
    match change {
        Change::Came { .. } => NEW,
        Change::Went { .. } => GONE,
        Change::Differs { .. } => OTHER,
    }
}

/// In its own words, and who of those that come does not run yet.
pub(super) fn words(plan: &Plan<'_>, change: &Change) -> String {
    let mut change = change.clone();
    let say = |name: &mut String| {
        if plan.masks.names(name) {
            name.push_str(" (not running yet)");
        }
    };
    match &mut change {
        Change::Came { servers, .. } => servers.iter_mut().for_each(say),
        Change::Differs { details, .. } => {
            for detail in details {
                if let Detail::In(name) = detail {
                    say(name);
                }
            }
        }
        Change::Went { .. } => {}
    }
    change.to_string()
}

fn later(plan: &Plan<'_>, change: &Change) -> String {
    match change {
        Change::Went { route } if plan.outlook.held.contains(route) => {
            let hold = humantime::format_duration(plan.settings.hold);
            format!(" (answers 503 for {hold}, then 404)")
        }
        _ => String::new(),
    }
}

fn painted(diff: &str) -> Vec<String> {
    let style = |line: &str| match line.bytes().next() {
        _ if line.starts_with("+++ ") || line.starts_with("--- ") => HEAD,
        Some(b'+') => NEW,
        Some(b'-') => GONE,
        Some(b'@') => PLACE,
        _ => Style::new(),
    };
    diff.lines().map(|line| format!("  {}", paint(style(line), line))).collect()
}

fn problems(plan: &Plan<'_>) -> Vec<String> {
    let all = plan.outlook.problems.iter();
    let told = all.filter(|it| it.reason.severity() == Severity::Problem);
    told.map(|it| format!("  {}", plan.masks.in_words(&it.to_string()))).collect()
}
