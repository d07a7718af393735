//! promtool, and what a Prometheus would read.

use super::{
    balancer::{Answer, Request},
    wait_for,
};
use std::{
    collections::BTreeMap,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// `None`, and said so, where it cannot be had.
pub fn promtool() -> Option<&'static str> {
    static PLACE: OnceLock<Option<String>> = OnceLock::new();
    let text = PLACE.get_or_init(|| {
        let found = Command::new("sh").arg("tests/promtool.sh").output().unwrap();
        let text = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        let error = String::from_utf8_lossy(&found.stderr);
        assert!(found.status.success() || std::env::var_os("CI").is_none(), "{error}");
        found.status.success().then_some(text)
    });
    if text.is_none() {
        super::record_skip("no promtool can be had");
    }
    text.as_deref()
}

/// `promtool check metrics`, whose every word is a complaint.
///
/// # Panics
/// When it complains.
pub fn check(promtool: &str, text: &str) {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let bytes = [&output.stdout[..], &output.stderr].concat();
    let cow = String::from_utf8_lossy(&bytes);
    assert!(output.status.success() && cow.trim().is_empty(), "{cow}\nof\n{text}");
}

/// Runs promtool on files of ours.
///
/// # Panics
/// When it fails.
pub fn run(promtool: &str, words: &[&str]) {
    let output = Command::new(promtool).args(words).output().unwrap();
    let bytes = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&bytes));
}

/// `GET /metrics` on this machine.
pub fn scrape(port: u16) -> std::io::Result<Answer> {
    ask(port, "GET", "/metrics")
}

pub fn ask(port: u16, method: &str, path: &str) -> std::io::Result<Answer> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Request::to(addr, method, "localhost", path).send()
}

/// The numbers of a scrape, by series as it is written.
#[derive(Debug, Default)]
pub struct Series(pub BTreeMap<String, f64>);

impl Series {
    pub fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(line).collect())
    }

    /// The names of their metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|series| series.split('{').next().unwrap())
    }

    /// # Panics
    /// When there is no such series.
    pub fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// Whether it counts so many.
    pub fn is(&self, series: &str, count: u32) -> bool {
        (self.get(series) - f64::from(count)).abs() < 0.5
    }
}

/// Scrapes until this is so, and returns the numbers.
pub fn until(what: &str, port: u16, is_so: impl Fn(&Series) -> bool) -> Series {
    wait_for(what, || {
        let answer = scrape(port).ok().filter(|answer| answer.status == 200)?;
        Some(Series::of(&answer.body)).filter(&is_so)
    })
}
