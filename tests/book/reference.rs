//! References that the code writes. To renew them: `BLESS=1 cargo test --test book`, and read the difference.

use crate::pages::Page;
use clap::{Arg, ArgAction};
use docker_glue::cli;

const BEGIN: &str =
    "<!-- generated from the code; to renew it: BLESS=1 cargo test --test book -->\n";
const END: &str = "<!-- end of generated -->\n";

/// A page has this between its marks.
fn check(path: &str, generated: &str) {
    let mut page = Page::read(path);
    let (before, rest) = page.text.split_once(BEGIN).expect("the beginning is marked");
    let (_, after) = rest.split_once(END).expect("the end is marked");
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
fn options_are_those_of_the_command_line() {
    let rows = cli::command();
    let rows = rows.get_arguments().map(option_row);
    check("docs/src/reference/options.md", &table(&["option", "default", "meaning"], rows));
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
    let stated = stated.map(|(_, rest)| rest.trim_end().trim_end_matches(']'));
    stated.map(|it| it.split("]\n").next().unwrap().replace('\n', " ")).unwrap_or_default()
}
