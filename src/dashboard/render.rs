//! The page as HTML: askama's templates filled in. All text is escaped there.
//!
//! Pure. Only this file and haproxy/render.rs name askama.

use super::{
    explain::Answer,
    fragment::{Fragment, Painting},
    page::{Group, Head, Page, Pass, Problems, Welcome},
};
use askama::Template;

/// The files that the page asks for, as they are.
pub const STYLE: &str = include_str!("../../templates/dashboard/style.css");
pub const SCRIPT: &str = include_str!("../../templates/dashboard/script.js");
pub const ICON: &str = include_str!("../../templates/dashboard/icon.svg");

#[derive(Template)]
#[template(path = "dashboard/head.html")]
struct HeadHtml<'a> {
    head: &'a Head,
}

#[derive(Template)]
#[template(path = "dashboard/problems.html")]
struct ProblemsHtml<'a> {
    problems: &'a Problems,
}

#[derive(Template)]
#[template(path = "dashboard/welcome.html")]
struct WelcomeHtml {
    welcome: Option<Welcome>,
}

#[derive(Template)]
#[template(path = "dashboard/recent.html")]
struct RecentHtml<'a> {
    recent: &'a [Pass],
}

#[derive(Template)]
#[template(path = "dashboard/group.html")]
struct GroupHtml<'a> {
    group: &'a Group,
}

#[derive(Template)]
#[template(path = "dashboard/page.html")]
struct Whole<'a> {
    head: &'a Fragment,
    problems: &'a Fragment,
    welcome: &'a Fragment,
    recent: &'a Fragment,
    groups: &'a [Fragment],
    asked: &'a str,
    answer: Option<&'a Answer>,
    wanted: &'a str,
}

/// All that changes of the page.
pub fn paint(page: &Page) -> Painting {
    let Page { head, problems, welcome, recent, groups } = page;
    let fixed = vec![
        Fragment::new("head", &html(&HeadHtml { head })),
        Fragment::new("problems", &html(&ProblemsHtml { problems })),
        Fragment::new("welcome", &html(&WelcomeHtml { welcome: *welcome })),
        Fragment::new("recent", &html(&RecentHtml { recent })),
    ];
    let group = |group: &Group| Fragment::new(&group.id, &html(&GroupHtml { group }));
    Painting { fixed, groups: groups.iter().map(group).collect() }
}

/// The whole of it. What was asked stands in the explain box, what was wanted in the filter.
pub fn whole(painting: &Painting, asked: &str, answer: Option<&Answer>, wanted: &str) -> String {
    let [head, problems, welcome, recent] = &painting.fixed[..] else { return String::new() };
    let groups = &painting.groups;
    html(&Whole { head, problems, welcome, recent, groups, asked, answer, wanted })
}

fn html(template: &impl Template) -> String {
    template.render().expect("writing to a string cannot fail")
}
