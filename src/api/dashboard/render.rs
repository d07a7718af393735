//! Renders the page as HTML with askama templates, which escape all text.
//!
//! Pure. Only this file and haproxy/render.rs use askama.

use super::{
    explain::ExplainText,
    fragment::{Fragment, Fragments},
    page::{EmptyState, Head, HostGroup, PageView, Pass, ProblemList},
};
use askama::Template;

/// Static files of the page.
pub const STYLE: &str = include_str!("../../../templates/dashboard/style.css");
pub const SCRIPT: &str = include_str!("../../../templates/dashboard/script.js");
pub const ICON: &str = include_str!("../../../templates/dashboard/icon.svg");

#[derive(Template)]
#[template(path = "dashboard/head.html")]
struct HeadHtml<'a> {
    head: &'a Head,
}

#[derive(Template)]
#[template(path = "dashboard/problems.html")]
struct ProblemsHtml<'a> {
    problems: &'a ProblemList,
}

#[derive(Template)]
#[template(path = "dashboard/welcome.html")]
struct WelcomeHtml {
    welcome: Option<EmptyState>,
}

#[derive(Template)]
#[template(path = "dashboard/recent.html")]
struct RecentHtml<'a> {
    recent: &'a [Pass],
}

#[derive(Template)]
#[template(path = "dashboard/group.html")]
struct GroupHtml<'a> {
    group: &'a HostGroup,
}

#[derive(Template)]
#[template(path = "dashboard/page.html")]
struct PageHtml<'a> {
    head: &'a Fragment,
    problems: &'a Fragment,
    welcome: &'a Fragment,
    recent: &'a Fragment,
    groups: &'a [Fragment],
    url: &'a str,
    answer: Option<&'a ExplainText>,
    filter: &'a str,
}

/// Renders all parts of the page that can change.
pub fn render_fragments(page: &PageView) -> Fragments {
    let PageView { head, problems, welcome, recent, groups } = page;
    let fixed = vec![
        Fragment::new("head", &render_template(&HeadHtml { head })),
        Fragment::new("problems", &render_template(&ProblemsHtml { problems })),
        Fragment::new("welcome", &render_template(&WelcomeHtml { welcome: *welcome })),
        Fragment::new("recent", &render_template(&RecentHtml { recent })),
    ];
    let group =
        |group: &HostGroup| Fragment::new(&group.id, &render_template(&GroupHtml { group }));
    Fragments { fixed, groups: groups.iter().map(group).collect() }
}

/// Renders the whole page. `request` is shown in the explain box, `filter` in the filter box.
pub fn render_page(
    fragments: &Fragments,
    request: &str,
    answer: Option<&ExplainText>,
    filter: &str,
) -> String {
    let [head, problems, welcome, recent] = &fragments.fixed[..] else { return String::new() };
    let groups = &fragments.groups;
    render_template(&PageHtml {
        head,
        problems,
        welcome,
        recent,
        groups,
        url: request,
        answer,
        filter,
    })
}

fn render_template(template: &impl Template) -> String {
    template.render().expect("writing to a string cannot fail")
}
