//! For people: routes, commands, files, problems.
//!
//! Pure.

use super::Foretold;
use crate::{
    change::{Change, Detail},
    problem::Severity,
    view::{
        outlook::How,
        paint::{BAD, DOUBT, FAINT, GOOD, HEAD, PLACE, paint},
    },
};
use anstyle::Style;

pub(super) fn text(told: &Foretold) -> String {
    let mut lines = Vec::new();
    lines.extend(told.source().map(|it| paint(FAINT, it)));
    lines.extend(told.notes.iter().map(|it| paint(FAINT, it)));
    lines.extend(told.outlook.kept_out.iter().map(|it| {
        let why = "drained, told to stop, or crashed over and over";
        paint(FAINT, format!("container {it} gets no new requests ({why}), and that stays so"))
    }));
    if told.outlook.is_empty() {
        let has = match &told.outlook.rollback {
            Some(it) => format!("what is left of generation {}", it.generation),
            None => "what the labels say".to_owned(),
        };
        lines.push(format!("Nothing would change: HAProxy has {has}."));
    } else {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        part(&mut lines, "Routes", routes(told));
        part(&mut lines, &how(told), told.commands().map(|it| format!("  {it}")).collect());
        part(&mut lines, "Files", told.patches().flat_map(|(_, diff)| painted(&diff)).collect());
    }
    if let Some(refused) = &told.refused {
        lines.push(paint(BAD, format!("HAProxy would refuse it: {refused}")));
        lines.push(String::new());
    }
    let problems = problems(told);
    if told.outlook.is_empty() && !problems.is_empty() {
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

fn how(told: &Foretold) -> String {
    match &told.outlook.how {
        How::Nothing => "HAProxy has it already; its files do not say so yet".to_owned(),
        How::Runtime => match told.outlook.commands.len() {
            1 => "HAProxy is told, and not reloaded: 1 command".to_owned(),
            many => format!("HAProxy is told, and not reloaded: {many} commands"),
        },
        How::Reload(why) => format!("HAProxy is reloaded: {why}"),
        How::Start => "HAProxy is started, as none answers".to_owned(),
    }
}

fn routes(told: &Foretold) -> Vec<String> {
    let changes = told.outlook.changes.iter();
    changes
        .map(|it| paint(style(it), format!("  {}{}", words(told, it), later(told, it))))
        .collect()
}

fn style(change: &Change) -> Style {
    match change {
        Change::Came { .. } => GOOD,
        Change::Went { .. } => BAD,
        Change::Differs { .. } => DOUBT,
    }
}

/// In its own words, and who of those that come does not run yet.
pub(super) fn words(told: &Foretold, change: &Change) -> String {
    let mut change = change.clone();
    let say = |name: &mut String| {
        if told.masks.names(name) {
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

fn later(told: &Foretold, change: &Change) -> String {
    match change {
        Change::Went { route }
            if told.outlook.held.contains(route) && told.outlook.rollback.is_some() =>
        {
            " (answers 503 while the rollback holds)".to_owned()
        }
        Change::Went { route } if told.outlook.held.contains(route) => {
            let hold = humantime::format_duration(told.hold);
            format!(" (answers 503 for {hold}, then 404)")
        }
        _ => String::new(),
    }
}

fn painted(diff: &str) -> Vec<String> {
    let style = |line: &str| match line.bytes().next() {
        _ if line.starts_with("+++ ") || line.starts_with("--- ") => HEAD,
        Some(b'+') => GOOD,
        Some(b'-') => BAD,
        Some(b'@') => PLACE,
        _ => Style::new(),
    };
    diff.lines().map(|line| format!("  {}", paint(style(line), line))).collect()
}

fn problems(told: &Foretold) -> Vec<String> {
    let all = told.outlook.problems.iter();
    let problems = all.filter(|it| it.reason.severity() == Severity::Problem);
    problems.map(|it| format!("  {}", told.masks.in_words(&it.to_string()))).collect()
}
