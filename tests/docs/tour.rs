//! The ```console blocks of the book are one session. The commands are run in the order of the pages with a running
//! daemon and HAProxy, and their output must equal the book's.
//!
//! Parts that differ from run to run (ids, addresses, times, rates, counts, directories) are replaced by the same
//! placeholders on both sides. A line `…` matches any lines. After `$ cat FILE` the book shows the file's initial
//! content. `BLESS=1` writes the output into the book. Where a `…` does not match any more, it writes the whole output,
//! which then has to be shortened.

use crate::common::{
    self, DEADLINE,
    browser::{Browser, DESKTOP_SIZE},
    engine::Engine,
    output_log::OutputLog,
    pages::{self, Page},
};
use regex_lite::Regex;
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    ops::Range,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BALANCER: &str = env!("CARGO_BIN_EXE_docker-balancer");
const IMAGES: &str = "docs/src/images";
const SETTINGS: &str = "/etc/docker-glue/settings.toml";
const STATE: &str = "/var/lib/docker-glue";
const RUNTIME: &str = "/run/docker-glue";
/// The book's ports. The test uses free ports with the same number of digits.
const PORTS: [&str; 5] = ["8080", "9000", "9105", "9106", "5432"];

/// A command and its output in the book.
#[derive(Debug)]
struct Step {
    command: String,
    printed: Vec<String>,
    /// The position of `printed`: the number of the page, and the lines.
    page: usize,
    lines: Range<usize>,
}

/// Starts an engine of the test, so that containers can have the names of the book.
fn engine() -> Option<Engine> {
    let mut engine = Engine::new()?;
    engine.start();
    let mut image = Command::new("sh");
    let image = image.args(["tests/whoami-image.sh", "demo"]).current_dir(ROOT).status();
    assert!(image.unwrap().success(), "tests/whoami-image.sh failed");
    engine.load("docker-glue-whoami:demo");
    Some(engine)
}

#[test]
fn tour_output_matches_the_readme() {
    let Some(engine) = engine() else { return };
    let mut pages = pages::book();
    let steps = read_steps(&pages);
    assert!(15 < steps.len(), "{steps:#?}");
    let dir = Place::new(&engine, &steps);
    let mut last = 0;
    let mut wrong = Vec::new();
    let mut renewed = Vec::new();
    for step in &steps {
        let printed = dir.follow(step, &mut last);
        if !output_fits(&step.printed, &printed) {
            wrong.push(format!("$ {}\n{}", step.command, printed.join("\n")));
            renewed.push((step, printed));
        }
    }
    dir.lists_its_metrics();
    if std::env::var_os("BLESS").is_some() {
        for (step, printed) in renewed.into_iter().rev() {
            renew(&mut pages[step.page], step.lines.clone(), printed);
        }
        return;
    }
    assert!(wrong.is_empty(), "BLESS=1 renews the book; printed was\n\n{}", wrong.join("\n\n"));
}

/// Writes the pictures of README.md, which show the containers at the start of the tour.
#[test]
#[ignore = "make screenshots renews the pictures of README"]
fn pictures_are_renewed() {
    let engine = engine().expect("no Docker engine can be started");
    let browser = Browser::start().expect("no browser is installed");
    let steps = read_steps(&pages::book());
    let dir = Place::new(&engine, &steps);
    let mut last = 0;
    for step in steps.iter().filter(|step| step.command.starts_with("docker run ")).take(4) {
        dir.follow(step, &mut last);
    }
    let ask = "for i in $(seq 30); do for path in '' '' api/users; do \
               curl -s -o /dev/null -H 'Host: shop.example.com' http://127.0.0.1:8080/$path; done; done";
    browser.set_size(DESKTOP_SIZE, 640);
    browser.goto(&dir.here("http://127.0.0.1:9000/"));
    browser.wait_until("document.body.className === 'live'");
    dir.run(ask);
    browser.wait_until("document.querySelector('.lights li:last-child b').textContent !== '0'");
    let (status, _) = dir.run("docker-balancer status");
    fs::create_dir_all(pages::absolute(IMAGES)).unwrap();
    let picture = browser.screenshot("readme");
    fs::copy(picture, pages::absolute(IMAGES).join("dashboard.png")).unwrap();
    let status = svg(&[&["$ docker-balancer status".to_owned()], &status[..]].concat());
    fs::write(pages::absolute(IMAGES).join("status.svg"), status).unwrap();
}

/// Returns a picture of a terminal with these lines.
fn svg(lines: &[String]) -> String {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) * 9 + 40;
    let height = lines.len() * 20 + 36;
    let escape = |line: &str| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = |(number, line): (usize, &String)| {
        let y = number * 20 + 34;
        format!("<text x=\"20\" y=\"{y}\" xml:space=\"preserve\">{}</text>\n", escape(line))
    };
    let text: String = lines.iter().enumerate().map(text).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" \
         font-size=\"15\" fill=\"#e8e8e8\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1d232b\"/>\n\
         {text}</svg>\n"
    )
}

#[test]
fn ellipsis_matches_any_lines() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, printed, fit) in [
        ("a\nb", "a\nb", true),
        ("a\nb", "a\nc", false),
        ("a", "a\nb", false),
        ("", "a", false),
        ("a\n…", "a", true),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd\nc", false),
        ("a\n…\nc\n…\ne", "a\nb\nc\nd\ne", true),
        ("a\n…\nx\n…\ne", "a\nb\nc\nd\ne", false),
        ("…\na\nb", "a\nb\nb", false),
        ("up 5s, pid 0123456789ab", "up 2m, pid ba9876543210", true),
        ("  api   up  100  0  0  0  0  0", "  api  up  100  12  0  0  0  0", true),
        ("404 Not Found", "503 Not Found", false),
        ("weight 100    100 %", "weight 100     50 %", false),
    ] {
        assert_eq!(output_fits(&lines(expected), &lines(printed)), fit, "{expected:?} {printed:?}");
    }
}

fn renew(page: &mut Page, lines: Range<usize>, printed: Vec<String>) {
    let mut text: Vec<_> = page.text.lines().map(str::to_owned).collect();
    text.splice(lines, printed);
    page.text = text.join("\n") + "\n";
    page.write();
}

/// Returns the commands of all pages, each with its output.
fn read_steps(pages: &[Page]) -> Vec<Step> {
    pages.iter().enumerate().flat_map(|(number, page)| steps_of(number, &page.text)).collect()
}

fn steps_of(page: usize, text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, lines) = (command.to_owned(), at + 1..at + 1);
            steps.push(Step { command, printed: Vec::new(), page, lines });
        } else {
            let step = steps.last_mut().expect("a block begins with a command");
            if step.command.ends_with('\\') {
                step.command = format!("{}\n{line}", step.command);
                step.lines = at + 1..at + 1;
            } else {
                step.printed.push(line.to_owned());
                step.lines.end = at + 1;
            }
        }
    }
    // Empty lines before the next command or at the block's end are not part of the output.
    for step in &mut steps {
        while step.printed.last().is_some_and(String::is_empty) {
            step.printed.pop();
            step.lines.end -= 1;
        }
    }
    steps
}

/// A machine with a running docker-balancer.
struct Place {
    folder: TempDir,
    url: String,
    ports: BTreeMap<&'static str, String>,
    balancer: Option<Child>,
    log: OutputLog,
}

impl Place {
    fn new(engine: &Engine, steps: &[Step]) -> Self {
        let folder = tempfile::Builder::new().prefix("tour-").tempdir().unwrap();
        let ports = PORTS.into_iter().zip(free_ports()).collect();
        let mut dir =
            Self { folder, url: engine.url(), ports, balancer: None, log: OutputLog::default() };
        for step in steps {
            if let Some(file) = step.command.strip_prefix("cat ") {
                let text = dir.here(&(step.printed.join("\n") + "\n"));
                fs::write(dir.path("").join(dir.here(file)), text).unwrap();
            }
        }
        fs::create_dir(dir.path("bin")).unwrap();
        std::os::unix::fs::symlink(BALANCER, dir.path("bin/docker-balancer")).unwrap();
        let mut command = dir.command("exec docker-balancer -w");
        let mut balancer = command.stderr(Stdio::piped()).spawn().unwrap();
        dir.log.read_from(balancer.stderr.take().unwrap());
        dir.balancer = Some(balancer);
        common::wait_for("docker-balancer to serve", || {
            dir.log.text().contains("started HAProxy").then_some(())
        });
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the paths and ports of the book, each with the test's own.
    fn places(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut places = vec![
            (SETTINGS.to_owned(), path("settings.toml")),
            (STATE.to_owned(), path("state")),
            (RUNTIME.to_owned(), path("run")),
        ];
        let ports = self.ports.iter();
        places.extend(ports.map(|(there, here)| ((*there).to_owned(), here.clone())));
        places
    }

    fn here(&self, text: &str) -> String {
        let places = self.places().into_iter();
        places.fold(text.to_owned(), |text, (there, here)| text.replace(&there, &here))
    }

    /// Returns the text as a reader would see it on a machine with Docker's default network.
    fn there(&self, text: &str) -> String {
        let places = self.places().into_iter();
        let text = places.fold(text.to_owned(), |text, (there, here)| text.replace(&here, &there));
        let own_bridge = Regex::new(r"10\.214\.\d+\.").unwrap();
        own_bridge.replace_all(&text, "172.17.0.").into_owned()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        command
            .args(["-c", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}:/usr/sbin", self.path("bin").display()))
            .env("DOCKER_HOST", &self.url)
            .env("DOCKER_GLUE_SETTINGS", self.path("settings.toml"))
            .env("DOCKER_GLUE_STATE_DIR", self.path("state"))
            .env("DOCKER_GLUE_RUNTIME_DIR", self.path("run"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        if let Some(bin) = std::env::var_os("HAPROXY_BIN") {
            command.env("DOCKER_GLUE_HAPROXY_BIN", bin);
        }
        command
    }

    fn run(&self, line: &str) -> (Vec<String>, i32) {
        let line = format!("{{ {}\n}} 2>&1", self.here(line));
        let output = self.command(&line).output().unwrap();
        let text = self.there(&String::from_utf8_lossy(&output.stdout));
        let lines = text.lines().map(|line| line.trim_end().to_owned());
        (lines.collect(), output.status.code().unwrap())
    }

    /// Returns the output of a command. A command without side effects is repeated until its output equals the book's
    /// or the deadline is over, because earlier changes may not be applied yet.
    fn follow(&self, step: &Step, last: &mut i32) -> Vec<String> {
        let line = format!("(exit {last}); {}", step.command);
        // With BLESS the output is taken after 4 s, when earlier changes are applied.
        let timeout =
            if std::env::var_os("BLESS").is_some() { Duration::from_secs(4) } else { DEADLINE };
        let end = Instant::now() + timeout;
        loop {
            let (printed, status) = self.run(&line);
            let over = has_side_effects(&step.command) || end < Instant::now();
            if over || output_fits(&step.printed, &printed) {
                *last = status;
                if step.command.starts_with("docker run ") {
                    assert_eq!(status, 0, "{line}: {printed:?}");
                    self.has_come(&step.command);
                    // The output is the container's id, which the book omits.
                    return Vec::new();
                }
                return printed;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until docker-balancer has seen the container: two containers at once could become one change.
    fn has_come(&self, command: &str) {
        let name = command.split_once("--name ").unwrap().1.split(' ').next().unwrap();
        common::wait_for(&format!("{name} to be seen"), || {
            let (status, _) = self.run("docker-balancer status --json");
            status.concat().contains(&format!("{name:?}")).then_some(())
        });
    }

    /// Checks that the metrics reference lists each metric.
    fn lists_its_metrics(&self) {
        let (page, _) = self.run("curl -s http://127.0.0.1:9105/metrics");
        let listed = Page::read("docs/src/reference/metrics.md").text;
        let ours = page.iter().filter_map(|line| line.strip_prefix("# TYPE docker_glue_"));
        let names: Vec<_> = ours.map(|text| text.split(' ').next().unwrap()).collect();
        assert!(10 < names.len(), "{page:#?}");
        for name in names {
            let has = [format!("`docker_glue_{name}`"), format!("`docker_glue_{name}{{")];
            assert!(has.iter().any(|text| listed.contains(text)), "{name} is on no page");
        }
    }
}

/// Returns whether the output equals the book's lines.
fn output_fits(expected: &[String], printed: &[String]) -> bool {
    let expected: Vec<_> = expected.iter().map(|line| mask_variable_parts(line)).collect();
    let printed: Vec<_> = printed.iter().map(|line| mask_variable_parts(line)).collect();
    let parts: Vec<_> = expected.split(|line| line == "…").collect();
    let [first, middle @ .., last] = &parts[..] else { return expected == printed };
    let Some(mut texts) = printed.strip_prefix(*first) else { return false };
    for part in middle {
        let at = texts.windows(part.len().max(1)).position(|lines| lines.starts_with(part));
        let Some(at) = at else { return false };
        texts = &texts[at + part.len()..];
    }
    texts.ends_with(last)
}

/// Returns whether the command may be run only once.
fn has_side_effects(command: &str) -> bool {
    ["docker run", "docker-balancer rollback", "docker-balancer drain"]
        .iter()
        .any(|text| command.starts_with(text))
}

/// Replaces the parts of a line that differ from run to run.
fn mask_variable_parts(line: &str) -> String {
    let stand_ins = [
        // The width of columns depends on their content.
        (r"(\S) {2,}", "$1 "),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\b[0-9a-f]{64}\b", "ID"),
        (r"\b[0-9a-f]{16}\b", "GENERATION"),
        (r"\b[0-9a-f]{12}\b", "ID"),
        (r"\b172\.17\.0\.\d+", "ADDRESS"),
        (r"^Balancer \S+,", "Balancer VERSION,"),
        (r"^HAProxy [0-9.]+, pid \d+", "HAProxy VERSION, pid PID"),
        (r"\b\d+(\.\d+)?(us|µs|ms|s|m|h)\b", "DURATION"),
        (r"\b\d+ commands?\b", "COMMANDS"),
        // Weight, sessions, rate, …
        (r"( \d+){5,}", " COUNTS"),
        (r#"("(at_ms|took_us|commands)":)\d+"#, "$1 NUMBER"),
        (r"^([a-z_]+\{\S*\}) [0-9.]+$", "$1 NUMBER"),
    ];
    stand_ins.iter().fold(line.to_owned(), |line, (what, stand_in)| {
        Regex::new(what).unwrap().replace_all(&line, *stand_in).into_owned()
    })
}

/// Returns free ports with four digits.
fn free_ports() -> impl Iterator<Item = String> {
    let start = 7000 + u16::try_from(std::process::id() % 2000).unwrap();
    let free = |port: &u16| TcpListener::bind(("::", *port)).is_ok();
    (start..9999).filter(free).map(|port| port.to_string())
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut balancer) = self.balancer.take() {
            let _ = Command::new("kill").arg(balancer.id().to_string()).status();
            let end = Instant::now() + DEADLINE;
            while balancer.try_wait().is_ok_and(|status| status.is_none()) {
                if end < Instant::now() {
                    let _ = balancer.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if std::thread::panicking() {
            eprintln!("what the balancer said:\n{}", self.log.text());
        }
    }
}
