//! The dashboard with a real engine and a real HAProxy, over its socket and in a real browser.

#![allow(clippy::print_stdout, reason = "this is a test, and it measures")]

use crate::common::{
    self, Docker,
    balancer::{Balancer, BalancerPlan, Request, free_port},
    browser::{Browser, DESKTOP_SIZE, PHONE_SIZE},
    find_docker, start_all, wait_for,
};
use nix::sys::signal::Signal;
use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

/// The port of the dashboard.
struct Place(u16);

impl Place {
    fn url(&self, path: &str) -> String {
        format!("http://localhost:{}/{path}", self.0)
    }

    fn at(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.0).into()
    }

    fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.at(), method, &format!("localhost:{}", self.0), path)
    }
}

fn dashboard_plan(docker: &Docker) -> (BalancerPlan, Place) {
    let port = free_port();
    let plan = Balancer::plan(docker).option(&["--access-log", "off"]);
    (plan.option(&["--dashboard", &format!(":{port}")]), Place(port))
}

/// Returns Docker and the browser, or `None` if one is missing.
fn docker_and_browser() -> Option<(Docker, Browser)> {
    Some((find_docker()?, Browser::start()?))
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Records in `seen` when each text first appeared in the map, in milliseconds since 1970.
const WATCH: &str = "
    const map = document.getElementById('map');
    window.seen = {};
    window.made = 0;
    new MutationObserver((records) => {
        for (const record of records) window.made += record.addedNodes.length;
        for (const name of map.querySelectorAll('.name')) {
            window.seen[name.firstChild.data.trim()] ??= Date.now();
        }
    }).observe(map, { childList: true });";

#[test]
fn started_container_appears_on_the_page() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let first = plan.run("first").labels("glue_http_80_host=first.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("first.test/x", "first saw /x");
    browser.goto(&dir.url(""));
    browser.wait_until("document.getElementById('first.test:80') !== null");
    browser.wait_until("document.body.className === 'live'");
    browser.run_script(WATCH);
    browser.run_script("document.getElementById('first.test:80').querySelector('summary').focus()");

    let mut took = Vec::new();
    for number in 0..5 {
        let run = balancer.run(&format!("new-{number}"));
        let new = run.labels("glue_http_80_host=new.test,first.test").create();
        new.docker(&["start"]);
        browser.wait_until(&format!("{:?} in window.seen", new.name));
        let seen =
            browser.run_script(&format!("return window.seen[{:?}]", new.name)).as_i64().unwrap();
        took.push(seen - started_at(&new));
    }
    println!("a container is on the page {took:?} ms after Docker says that it started");
    browser.wait_until(
        "![...document.querySelectorAll('.name')].some((it) => it.textContent.includes('-new-'))",
    );

    // A group that is replaced keeps the focus, and stays open or closed as its reader left it.
    let group = "document.getElementById('first.test:80')";
    browser.wait_until(&format!("{group}.contains(document.activeElement)"));
    browser.type_keys(ENTER);
    browser.wait_until(&format!("!{group}.open"));
    let second = balancer.run("second").labels("glue_http_80_host=first.test").start();
    browser.wait_until(&format!("{group}.textContent.includes({:?})", second.name));
    browser.wait_until(&format!("!{group}.open && {group}.contains(document.activeElement)"));
    browser.wait_until(&format!(
        "document.getElementById('recent').textContent.includes('start {}')",
        second.name
    ));

    second.docker(&["pause"]);
    let row = format!(
        "[...{group}.querySelectorAll('li')].find((it) => it.textContent.includes({:?}))",
        second.name
    );
    browser.wait_until(&format!("{row}.className === 'excluded'"));
    for _ in 0..20 {
        assert_eq!(balancer.get("first.test/x").status, 200);
    }
    browser.wait_until(&format!("{group}.querySelector('summary .rate b').textContent !== '0'"));
    drop(second);
    browser.wait_until(&format!("!{group}.textContent.includes('second')"));
    assert_only_own_requests(&browser, &dir);
    drop(first);
}

/// Returns the container's start time in milliseconds since 1970.
fn started_at(container: &common::Container) -> i64 {
    let text = container.docker(&["inspect", "--format", "{{.State.StartedAt}}"]);
    let time = humantime::parse_rfc3339(&text).unwrap();
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Checks that the page sent no request to another host, and that the console is empty: no errors, and no violations of
/// the content security policy.
fn assert_only_own_requests(browser: &Browser, dir: &Place) {
    let console = browser.drain_log("browser");
    assert!(console.is_empty(), "{console:?}");
    let sent = |line: &serde_json::Value| {
        let line: serde_json::Value = serde_json::from_str(line["message"].as_str()?).ok()?;
        let sent = &line["message"];
        let url = sent["params"]["request"]["url"].as_str()?;
        (sent["method"] == "Network.requestWillBeSent").then(|| url.to_owned())
    };
    let urls: Vec<_> = browser.drain_log("performance").iter().filter_map(sent).collect();
    assert!(urls.iter().any(|url| *url == dir.url("events")), "{urls:?}");
    let foreign: Vec<_> = urls.iter().filter(|url| !url.starts_with(&dir.url(""))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn dashboard_escapes_label_text_in_the_browser() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let image = "<img src=x onerror=alert(1)>";
    let script = "\"'></code><script>alert(2)</script>";
    let hostile = |plan: &BalancerPlan, name: &str| {
        let run =
            plan.run(name).label("glue_http_80_host", image).label("glue_http_80_weight", script);
        let run = run.label(
            "glue_http_80_<svg/onload=alert(3)>",
            "data-n>7</b><a href=javascript:alert(4)>x",
        );
        run.label("glue_network", script).label("glue_http_ports", "80")
    };
    let before = hostile(&plan, "before").start();
    let balancer = plan.start().wait_until_started();
    let string: String = form_urlencoded::byte_serialize(script.as_bytes()).collect();
    browser.goto(&dir.url(&format!("?explain={string}&filter={string}")));
    let problems = "document.getElementById('problems')";
    browser.wait_until(&format!("{problems}.textContent.includes({:?})", before.name));
    let after = hostile(&balancer, "after").start();
    browser.wait_until(&format!("{problems}.textContent.includes({:?})", after.name));
    for text in [
        image,
        "</code><script>alert(2)</script>",
        "<svg/onload=alert(3)>",
        "<a href=javascript:alert(4)>",
    ] {
        assert_eq!(
            browser.run_script(&format!("return {problems}.textContent.includes({text:?})")),
            true,
            "{text}"
        );
    }
    let made = browser.run_script("return document.querySelectorAll('img, iframe, a:not(.skip), svg[onload], script:not([src])').length");
    assert_eq!(made, 0);
    assert_eq!(browser.run_script("return document.getElementById('url').value"), script);
    assert_eq!(browser.dialog(), None);
    let source = dir.request("GET", &format!("/?explain={string}")).send().unwrap().body;
    assert!(source.contains("&#60;img src=x onerror=alert(1)&#62;"), "{source}");
    assert!(!source.contains("<img") && !source.contains("<script>"), "{source}");
    browser.set_size(DESKTOP_SIZE, 900);
    browser.screenshot("hostile-labels");
    assert_only_own_requests(&browser, &dir);
}

#[test]
fn every_control_is_reachable_by_keyboard() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let web = plan.run("web").labels("glue_http_80_host=a.test,b.test,c.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("c.test/x", "web saw /x");
    browser.set_size(DESKTOP_SIZE, 900);
    browser.goto(&dir.url(""));

    let mut reached = Vec::new();
    loop {
        browser.type_keys(TAB);
        let here = browser.run_script(
            "const element = document.activeElement;
             const style = getComputedStyle(element);
             if (element === document.body) return '';
             const width = parseFloat(style.outlineWidth);
             // What a group draws beyond its edge is cut off.
             const inside = !element.closest('.group') || parseFloat(style.outlineOffset) <= -width;
             const visible = element.matches(':focus-visible') && style.outlineStyle !== 'none' && 2 <= width && inside;
             return (visible ? '' : 'unseen ') + (element.id || element.className || element.closest('details')?.id || element.localName);",
        );
        match here.as_str().unwrap() {
            "" => break,
            here => reached.push(here.to_owned()),
        }
        assert!(reached.len() < 20, "{reached:?}");
        if reached.len() == 5 {
            browser.screenshot("focus");
        }
    }
    let expected = ["skip", "url", "button", "filter", "a.test:80", "b.test:80", "c.test:80"];
    assert_eq!(reached, expected);

    let focus =
        |script: &str| browser.run_script(&format!("document.querySelector({script:?}).focus()"));
    focus("#map summary");
    browser.type_keys(ENTER);
    browser.wait_until("!document.getElementById('a.test:80').open");
    browser.type_keys(" ");
    browser.wait_until("document.getElementById('a.test:80').open");
    focus("#filter");
    browser.type_keys("B.te");
    let shown = "[...document.querySelectorAll('.group:not([hidden])')].map((it) => it.id).join()";
    browser.wait_until(&format!("{shown} === 'b.test:80'"));
    assert_eq!(browser.run_script("return document.getElementById('found').textContent"), "1 of 3");
    focus(".skip");
    browser.type_keys(ENTER);
    browser.wait_until("document.activeElement.id === 'routes'");
    focus("#url");
    browser.type_keys(&format!("http://c.test/x{ENTER}"));
    browser.wait_until("location.search === '?explain=http%3A%2F%2Fc.test%2Fx'");
    browser.wait_until(&format!(
        "document.querySelector('.answer').textContent.includes({:?})",
        web.name
    ));
    assert_only_own_requests(&browser, &dir);
}

#[test]
fn dashboard_fits_desktop_phone_and_dark_mode() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let plan = plan.ports(&[80, 8080]);
    let empty = plan.start().wait_until_started();
    browser.set_size(DESKTOP_SIZE, 700);
    browser.goto(&dir.url(""));
    browser
        .wait_until("document.getElementById('welcome').textContent.includes('glue_http_80_host')");
    browser.screenshot("empty");
    let run = |name: &str, labels: &str| empty.run(name).labels(labels);
    let shop = "glue_http_80_host=shop.example.com glue_http_80_check=/ glue_http_80_weight";
    let all = start_all(vec![
        run("shop-1", &format!("{shop}=100")),
        run("shop-2", &format!("{shop}=100")),
        run("shop-3", &format!("{shop}=50")),
        run(
            "api",
            "glue_http_80_host=shop.example.com glue_http_80_prefix=api glue_http_80_strip_prefix=yes glue_http_80_timeout=5m",
        ),
        run("blog", "glue_http_80_host=blog.example.com,*.blog.example.com"),
        run("dead", "glue_http_81_host=dead.example.com glue_http_81_bind=80"),
        run("tools", "glue_http_80_prefix=tools glue_http_80_bind=80,8080 glue_http_80_weight=0"),
        run(
            "typo",
            "glue_http_80_host=typo.example.com glue_http_80_stripprefix=1 glue_http_80_weight=heavy",
        ),
    ]);
    empty.wait_until_serves("typo.example.com/x", "typo saw /x");
    all[1].docker(&["pause"]);
    browser.goto(&dir.url("?explain=http://shop.example.com/api/x"));
    let state = |host: &str, class: &str| {
        browser.wait_until(&format!(
            "document.getElementById('{host}:80')?.classList.contains('{class}')"
        ));
    };
    state("shop.example.com", "partly");
    state("dead.example.com", "down");
    for _ in 0..30 {
        empty.get("shop.example.com/x");
        empty.get("shop.example.com/api/x");
    }
    browser.wait_until("document.querySelector('.lights li:last-child b').textContent !== '0'");
    let mut backs = Vec::new();
    for (width, height) in [(DESKTOP_SIZE, 1000), (PHONE_SIZE, 1800)] {
        for scheme in ["light", "dark"] {
            browser.set_size(width, height);
            browser.set_colour_scheme(scheme);
            browser.screenshot(&format!("map-{width}-{scheme}"));
            let sideways =
                browser.run_script("return document.documentElement.scrollWidth - innerWidth");
            assert!(sideways.as_i64().unwrap() <= 0, "{width}: {sideways}");
            backs
                .push(browser.run_script("return getComputedStyle(document.body).backgroundColor"));
        }
    }
    assert_eq!(backs[0], backs[2]);
    assert_eq!(backs[1], backs[3]);
    assert_ne!(backs[0], backs[1]);
    assert_only_own_requests(&browser, &dir);
}

#[test]
fn page_of_a_thousand_routes_is_usable() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let hosts = |from: usize| {
        let hosts: Vec<_> = (from..from + 250).map(|number| format!("h{number}.test")).collect();
        format!("glue_http_80_host={}", hosts.join(","))
    };
    let runs = (0..4).map(|n| plan.run(&format!("web-{n}")).labels(&hosts(n * 250)));
    let webs = start_all(runs.collect());
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("h999.test/x", "web-3 saw /x");
    browser.set_size(DESKTOP_SIZE, 1000);
    browser.goto(&dir.url(""));
    browser.wait_until("document.querySelectorAll('.group').length === 1000");
    println!("a page of 1,000 routes: {} ms to load", browser.run_script("return Math.round(performance.timing.loadEventEnd - performance.timing.navigationStart)"));
    browser.screenshot("thousand");
    browser.run_script(WATCH);
    let new = balancer.run("new").labels("glue_http_80_host=h500.test").start();
    browser.wait_until(&format!("{:?} in window.seen", new.name));
    let seen = browser.run_script(&format!("return window.seen[{:?}]", new.name)).as_i64().unwrap();
    println!("among 1,000 routes: on the page {} ms after its start", seen - started_at(&new));
    assert_eq!(
        browser.run_script("return window.made"),
        1,
        "only the group that changed is made anew"
    );
    // Changes above the visible part do not move it.
    let place_of =
        "Math.round(document.getElementById('h700.test:80').getBoundingClientRect().top)";
    browser
        .run_script("document.getElementById('h700.test:80').scrollIntoView({ block: 'center' })");
    browser.wait_until(&format!("{place_of} > 300 && {place_of} < 700"));
    let before = browser.run_script(&format!("return {place_of}"));
    let above = balancer.run("above").labels("glue_http_80_host=a.test,h1.test").start();
    browser.wait_until(&format!("{:?} in window.seen", above.name));
    browser.wait_until(&format!("Math.abs({place_of} - {before}) <= 2"));
    browser.run_script("document.getElementById('filter').focus()");
    browser.type_keys("h99");
    browser.wait_until("document.querySelectorAll('.group:not([hidden])').length === 11");
    drop(webs);
    browser.wait_until("document.querySelectorAll('.group.down').length === 998");
    drop(above);
    assert_only_own_requests(&browser, &dir);
}

#[test]
fn page_shows_lost_connection_and_recovers() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let first = plan.run("first").labels("glue_http_80_host=first.test").start();
    let mut balancer = plan.start().wait_until_started();
    browser.set_size(DESKTOP_SIZE, 700);
    browser.goto(&dir.url(""));
    browser.wait_until("document.body.className === 'live'");
    balancer.stop_with(Signal::SIGTERM);
    browser.wait_until("document.getElementById('live').textContent.startsWith('Not live')");
    browser.screenshot("not-live");
    let second = balancer.run("second").labels("glue_http_80_host=second.test").start();
    drop(first);
    balancer.start_again();
    browser.wait_until("document.body.className === 'live'");
    let groups = "[...document.querySelectorAll('.group')].map((it) => it.id).join()";
    browser.wait_until(&format!(
        "{groups} === 'second.test:80' || {groups} === 'first.test:80,second.test:80'"
    ));
    drop(second);
}

#[test]
fn dashboard_works_without_javascript() {
    let Some((docker, browser)) = docker_and_browser() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let web = plan.run("web").labels("glue_http_80_host=a.test,b.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("b.test/x", "web saw /x");
    browser.set_javascript(false);
    browser.set_size(DESKTOP_SIZE, 700);
    for (query, shown, part) in [
        ("", 2, "does not update itself"),
        ("?filter=B.test", 1, "b.test"),
        ("?explain=http://b.test/x", 2, &web.name[..]),
        ("?explain=http://c.test/x", 2, "404"),
    ] {
        browser.goto(&dir.url(query));
        let source = browser.source();
        assert!(source.contains(part), "{query}: {source}");
        let hidden = source.matches("class=\"group").count()
            - source.matches(" hidden=\"\">\n<summary").count();
        assert_eq!(hidden, shown, "{query}");
    }
    browser.screenshot("without-javascript");
}

#[test]
fn every_response_has_security_headers() {
    let Some(docker) = find_docker() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let balancer =
        plan.option(&["--dashboard-host", "glue.example.com"]).start().wait_until_started();
    balancer.wait_for_log(&["serving the dashboard at http://127.0.0.1:"]);
    for (method, path, status, kind, part) in [
        ("GET", "/", 200, "text/html; charset=utf-8", "<!doctype html>"),
        ("HEAD", "/", 200, "text/html; charset=utf-8", ""),
        ("GET", "/style.css", 200, "text/css; charset=utf-8", "prefers-color-scheme"),
        ("GET", "/script.js", 200, "text/javascript; charset=utf-8", "EventSource"),
        ("GET", "/icon.svg", 200, "image/svg+xml", "<svg"),
        ("HEAD", "/events", 200, "text/event-stream", ""),
        (
            "GET",
            "/../etc/passwd",
            404,
            "text/plain; charset=utf-8",
            "not found; the dashboard is at /",
        ),
        (
            "POST",
            "/",
            405,
            "text/plain; charset=utf-8",
            "the dashboard is read-only; allowed methods: GET, HEAD",
        ),
        (
            "DELETE",
            "/events",
            405,
            "text/plain; charset=utf-8",
            "the dashboard is read-only; allowed methods: GET, HEAD",
        ),
        (
            "OPTIONS",
            "/",
            405,
            "text/plain; charset=utf-8",
            "the dashboard is read-only; allowed methods: GET, HEAD",
        ),
    ] {
        let answer = dir.request(method, path).send().unwrap();
        let header = |name: &str| answer.headers.get(name).unwrap_or_default();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(header("Content-Type"), kind, "{method} {path}");
        assert!(answer.body.contains(part), "{method} {path}: {}", answer.body);
        assert!(method != "HEAD" || answer.body.is_empty(), "{path}: {}", answer.body);
        assert_eq!(
            header("Content-Security-Policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(header("X-Content-Type-Options"), "nosniff");
        assert_eq!(header("Referrer-Policy"), "no-referrer");
        assert_eq!(header("Cross-Origin-Resource-Policy"), "same-origin");
        assert_eq!(header("Cache-Control"), "no-store");
        assert_eq!(header("Access-Control-Allow-Origin"), "");
        let allow = if status == 405 { "GET, HEAD" } else { "" };
        assert_eq!(header("Allow"), allow, "{method} {path}");
    }
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
        ("glue.example.com", 200),
        ("evil.example", 421),
        ("192.0.2.1", 421),
        ("localhost.evil.example", 421),
        ("<script>", 421),
        ("", 421),
    ] {
        let answer = Request::new(dir.at(), "GET", host, "/").send().unwrap();
        assert_eq!(answer.status, status, "{host}");
        assert!(status == 200 || answer.body.contains("--dashboard-host"), "{host}");
    }
    let page = dir.request("GET", "/").send().unwrap().body;
    for inline in ["<style", " style=", "<script>", " onclick", " onload", "javascript:", "//"] {
        let page = page.replace("http://app.example.com/path", "");
        assert!(!page.contains(inline), "{inline}: {page}");
    }
}

#[test]
fn taken_dashboard_port_does_not_delay_traffic() {
    let Some(docker) = find_docker() else { return };
    let port = free_port();
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let plan = Balancer::plan(&docker).option(&["--dashboard", &format!("0.0.0.0:{port}")]);
    let web = plan.run("web").labels("glue_http_80_host=a.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&["--dashboard: cannot listen on 0.0.0.0:", "retrying"]);
    balancer.wait_until_serves("a.test/x", "web saw /x");
    drop(taken);
    balancer.wait_for_log(&["the dashboard has no password", "can read it"]);
    let page = Place(port).request("GET", "/").send().unwrap().body;
    assert!(page.contains(&web.name), "{page}");
}

#[test]
fn viewer_beyond_limit_gets_503() {
    let Some(docker) = find_docker() else { return };
    let (plan, dir) = dashboard_plan(&docker);
    let web = plan.run("web").labels("glue_http_80_host=a.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");
    let mut viewers: Vec<_> = (0..32).map(|_| open_events(&dir)).collect();
    for viewer in &mut viewers {
        assert!(viewer.next().contains("\"order\":[\"a.test:80\"]"));
    }
    let refused = dir.request("GET", "/events").send().unwrap();
    assert_eq!((refused.status, &refused.body[..]), (503, "too many viewers; try again later\n"));
    // The page itself is served to everybody. A closed connection lets the next viewer connect.
    assert_eq!(dir.request("GET", "/").send().unwrap().status, 200);
    viewers.pop();
    let mut next =
        wait_for("a seat", || Some(open_events(&dir)).filter(|viewer| viewer.status == 200));
    assert!(next.next().contains("a.test:80"));
    drop(web);
    for viewer in &mut viewers {
        while !viewer.next().contains("responding 503") {}
    }
}

/// A client of the event stream.
struct Viewer {
    status: u16,
    lines: BufReader<TcpStream>,
}

fn open_events(dir: &Place) -> Viewer {
    let stream = dir.request("GET", "/events").open().unwrap();
    let mut viewer = Viewer { status: 0, lines: BufReader::new(stream) };
    viewer.status = viewer.line()["HTTP/1.1 ".len()..][..3].parse().unwrap();
    viewer
}

impl Viewer {
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the stream ended");
        line
    }

    /// Returns the next event.
    fn next(&mut self) -> String {
        loop {
            let line = self.line();
            if line.starts_with("data: ") {
                return line;
            }
        }
    }
}
