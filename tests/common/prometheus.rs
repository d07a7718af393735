//! promtool, and the metrics as Prometheus reads them.

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

/// Returns the path of promtool. Returns `None` and records the skip if it cannot be obtained.
pub fn find_promtool() -> Option<&'static str> {
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

/// Runs `promtool check metrics`. Any output is a complaint.
///
/// # Panics
/// If promtool complains.
pub fn check_metrics(promtool: &str, text: &str) {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let bytes = [&output.stdout[..], &output.stderr].concat();
    let cow = String::from_utf8_lossy(&bytes);
    assert!(output.status.success() && cow.trim().is_empty(), "{cow}\nof\n{text}");
}

/// Runs promtool on files of the project.
///
/// # Panics
/// If promtool fails.
pub fn run_promtool(promtool: &str, words: &[&str]) {
    let output = Command::new(promtool).args(words).output().unwrap();
    let bytes = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&bytes));
}

/// Sends `GET /metrics` to a port of this machine.
pub fn scrape(port: u16) -> std::io::Result<Answer> {
    send_request(port, "GET", "/metrics")
}

pub fn send_request(port: u16, method: &str, path: &str) -> std::io::Result<Answer> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Request::new(addr, method, "localhost", path).send()
}

/// The values of a scrape, by series in their written form.
#[derive(Debug, Default)]
pub struct Series(pub BTreeMap<String, f64>);

impl Series {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(line).collect())
    }

    /// Returns the names of the metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|series| series.split('{').next().unwrap())
    }

    /// # Panics
    /// If there is no such series.
    pub fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// Returns whether the series has this count.
    pub fn has_count(&self, series: &str, count: u32) -> bool {
        (self.get(series) - f64::from(count)).abs() < 0.5
    }
}

/// Scrapes until the condition is true, and returns the values.
pub fn wait_until(what: &str, port: u16, is_so: impl Fn(&Series) -> bool) -> Series {
    wait_for(what, || {
        let answer = scrape(port).ok().filter(|answer| answer.status == 200)?;
        Some(Series::parse(&answer.body)).filter(&is_so)
    })
}
