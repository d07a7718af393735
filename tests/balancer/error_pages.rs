//! Pages of the administrator where HAProxy itself answers, with a real engine and a real HAProxy.

use crate::common::{
    self,
    balancer::{Answer, Balancer},
    wait_for,
};
use docker_glue::haproxy::error_pages::MAX_PAGE_SIZE;
use std::{fs, path::Path};
use tempfile::TempDir;

/// A directory of pages.
struct Pages(TempDir);

impl Pages {
    fn new(pages: &[(&str, &str)]) -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        for (name, html) in pages {
            new.write(name, html);
        }
        new
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces a page as an editor does.
    fn write(&self, name: &str, html: &str) {
        let new = self.path().join(".new");
        fs::write(&new, html).unwrap();
        fs::rename(new, self.path().join(name)).unwrap();
    }

    fn start(
        &self,
        labels: &[(&str, &str)],
        containers: &mut Vec<common::Container>,
    ) -> Option<Balancer> {
        let docker = common::find_docker()?;
        let plan =
            Balancer::plan(&docker).option(&["--error-pages", self.path().to_str().unwrap()]);
        let run = plan.run("web").label("glue_http_80_host", "a.test");
        let run = labels
            .iter()
            .fold(run, |run, (key, value)| run.label(&format!("glue_http_80_{key}"), *value));
        containers.push(run.start());
        Some(plan.start().wait_until_started())
    }
}

/// Prints the status, the type and the body.
fn describe(answer: &Answer) -> String {
    let kind = answer.headers.get("Content-Type").unwrap_or_default();
    format!("{} {kind}: {}", answer.status, answer.body.trim())
}

#[test]
fn pages_replace_answers_of_haproxy() {
    let html = "text/html; charset=utf-8";
    let pages = [400, 401, 403, 404, 405, 413, 503]
        .map(|status| (format!("{status}.html"), format!("<p>page {status}")));
    let pages: Vec<_> = pages.iter().map(|(name, html)| (&name[..], &html[..])).collect();
    let pages = Pages::new(&pages);
    let mut containers = Vec::new();
    let labels = [
        ("host.closed", "closed.test"),
        ("allow.closed", "nowhere"),
        ("host.far", "far.test"),
        ("allow.far", "192.0.2.1"),
        ("host.users", "users.test"),
        ("users.users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ("host.small", "small.test"),
        ("max_body.small", "1"),
        ("rate.small", "1/h"),
        ("response_header_X-Test.users", "1"),
    ];
    let Some(balancer) = pages.start(&labels, &mut containers) else { return };
    let send = |method: &str, url: &str, header: (&str, &str)| {
        balancer.request(method, url).header(header.0, header.1).send().unwrap()
    };
    for (method, url, header, expected) in [
        ("GET", "nobody.test/", ("X", "1"), format!("404 {html}: <p>page 404")),
        ("GET", "closed.test/", ("X", "1"), format!("503 {html}: <p>page 503")),
        ("GET", "far.test/", ("X", "1"), format!("403 {html}: <p>page 403")),
        ("GET", "users.test/", ("X", "1"), format!("401 {html}: <p>page 401")),
        ("GET", "a.test/%zz", ("X", "1"), format!("400 {html}: <p>page 400")),
        ("TRACE", "a.test/", ("X", "1"), format!("405 {html}: <p>page 405")),
        // There is no page of this status.
        (
            "POST",
            "small.test/",
            ("Transfer-Encoding", "chunked"),
            "411 text/plain: the length of the body is needed".to_owned(),
        ),
    ] {
        assert_eq!(describe(&send(method, url, header)), expected, "{method} {url}");
    }
    // The headers of the built-in answers, and those of the route, stay.
    let answer = balancer.get("users.test/");
    let realm = answer.headers.get("WWW-Authenticate").unwrap_or_default();
    assert!(realm.starts_with("Basic realm=\"users.test\""), "{realm}");
    assert_eq!(answer.headers.get("X-Test").as_deref(), Some("1"));
    assert_eq!(answer.headers.get("Cache-Control").as_deref(), Some("no-store"));
    assert_eq!(balancer.get("closed.test/").headers.get("Retry-After").as_deref(), Some("2"));
    // What a container answers is not changed.
    balancer.assert_serves(&[("a.test/", "web saw /")]);
}

#[test]
fn changed_page_is_served_and_unusable_one_is_a_problem() {
    let largest = "x".repeat(MAX_PAGE_SIZE);
    let pages = Pages::new(&[("404.html", "<p>first"), ("503.html", &largest), ("403.html", " ")]);
    let mut containers = Vec::new();
    let labels = [
        ("host.closed", "closed.test"),
        ("allow.closed", "nowhere"),
        ("host.far", "far.test"),
        ("allow.far", "192.0.2.1"),
    ];
    let Some(balancer) = pages.start(&labels, &mut containers) else { return };
    assert_eq!(balancer.get("nobody.test/").body, "<p>first");
    assert_eq!(balancer.get("closed.test/").body.len(), MAX_PAGE_SIZE);
    balancer.wait_for_log(&["WARN", "403.html: it is empty"]);
    assert_eq!(balancer.get("far.test/").body, "your address is not allowed here\n");

    pages.write("404.html", "<p>second");
    let wait_for_body = |url: &str, body: &str| {
        wait_for(&format!("{body} of {url}"), || {
            (balancer.try_get(url).ok()?.body == body).then_some(())
        });
    };
    wait_for_body("nobody.test/", "<p>second");
    pages.write("403.html", "<p>far");
    wait_for_body("far.test/", "<p>far");
    balancer.wait_for_log(&["resolved: ", "403.html: it is empty"]);

    // Without its file the built-in page is served again.
    fs::remove_file(pages.path().join("404.html")).unwrap();
    wait_for("the built-in page", || {
        balancer.try_get("nobody.test/").ok()?.body.contains("There is no service").then_some(())
    });
    pages.write("404.html", &format!("{largest}x"));
    balancer.wait_for_log(&["WARN", "404.html: it has 15001 bytes"]);
    assert!(balancer.get("nobody.test/").body.contains("There is no service"));
    balancer.assert_serves(&[("a.test/", "web saw /")]);
}
