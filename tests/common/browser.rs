//! A browser: Debian's chromium without a window, driven by its chromedriver.
//!
//! ```ignore
//! let Some(browser) = Browser::start() else { return };
//! browser.goto("http://127.0.0.1:9000/");
//! assert_eq!(browser.run("return document.title"), "docker-balancer");
//! ```

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test"
)]

use super::{balancer::free_port, is_installed, wait_for};
use fantoccini::{
    Client, ClientBuilder,
    actions::{InputSource, KeyAction, KeyActions},
    error::CmdError,
    wd::WebDriverCompatibleCommand,
};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use url::{ParseError, Url};

/// What a browser has to know before it starts.
#[derive(Debug, Default)]
pub struct BrowserOptions {
    /// Further arguments of chromium.
    pub arguments: Vec<String>,
    /// CAs that it trusts, in PEM.
    pub cas: Vec<String>,
}

/// A browser. Dropping it ends its processes.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    runtime: Runtime,
    _driver: Driver,
}

/// The driver, which leads a process group that includes chromium's processes.
#[derive(Debug)]
struct Driver {
    process: Child,
    /// All files that chromium writes.
    _folder: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.process.id().try_into().unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

const DEBIANS: &str = "/usr/bin/chromium";
const FEDORAS: &str = "/usr/bin/chromium-browser";

/// The widths of a desktop and of a phone.
pub const DESKTOP_SIZE: u32 = 1280;
pub const PHONE_SIZE: u32 = 390;

impl Browser {
    /// Starts a browser. Returns `None` and records the skip if none is installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&BrowserOptions::default())
    }

    /// Same as `start`, with options.
    pub fn start_with(options: &BrowserOptions) -> Option<Self> {
        let program = if Path::new(FEDORAS).exists() { FEDORAS } else { DEBIANS };
        if !is_installed(program.trim_start_matches("/usr/bin/")) || !is_installed("chromedriver") {
            return None;
        }
        if !options.cas.is_empty() && !is_installed("certutil") {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("glue-browser").tempdir().unwrap();
        import_cas(folder.path(), &options.cas);
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).arg("--allowed-ips=127.0.0.1");
        for variable in ["TMPDIR", "HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, folder.path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let driver = Driver { process: command.spawn().unwrap(), _folder: folder };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let text = format!("http://127.0.0.1:{port}");
        let client = wait_for("chromedriver", || {
            runtime.block_on(connect_driver(&text, program, &options.arguments)).ok()
        });
        Some(Self { client, runtime, _driver: driver })
    }

    pub fn goto(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap();
    }

    /// Returns the value that the script returns.
    pub fn run_script(&self, script: &str) -> Value {
        self.runtime.block_on(self.client.execute(script, Vec::new())).unwrap()
    }

    /// Waits until the expression is true.
    pub fn wait_until(&self, expression: &str) {
        wait_for(expression, || {
            (self.run_script(&format!("return {expression}")) == true).then_some(())
        });
    }

    /// Types into the element that has the focus at each key, like a keyboard: the focus may move to another element in
    /// between. Keys are those of WebDriver.
    pub fn type_keys(&self, keys: &str) {
        let stroke = |actions: KeyActions, value| {
            actions.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        };
        let actions = keys.chars().fold(KeyActions::new("keyboard".to_owned()), stroke);
        self.runtime.block_on(self.client.perform_actions(actions)).unwrap();
    }

    /// Returns the text of the open dialog, if there is one.
    pub fn dialog(&self) -> Option<String> {
        self.runtime.block_on(self.client.get_alert_text()).ok()
    }

    pub fn source(&self) -> String {
        self.runtime.block_on(self.client.source()).unwrap()
    }

    /// Returns the log entries since the last call: `browser` is the console, `performance` is the network.
    pub fn drain_log(&self, kind: &str) -> Vec<Value> {
        let lines = self.run_command("se/log", json!({ "type": kind }));
        lines.as_array().unwrap().clone()
    }

    /// Sets the size in CSS pixels.
    pub fn set_size(&self, width: u32, height: u32) {
        let phone = width < 600;
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Sets the preferred colour scheme: `light` or `dark`.
    pub fn set_colour_scheme(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    pub fn set_javascript(&self, on: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !on }));
    }

    /// Writes a screenshot to target/screenshots, for manual review.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}.png"));
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        std::fs::write(&file, picture).unwrap();
        println!("screenshot: {}", file.display());
        file
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.run_command("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    fn run_command(&self, path: &'static str, body: Value) -> Value {
        let issued: Result<_, CmdError> =
            self.runtime.block_on(self.client.issue_cmd(Extension { path, body }));
        issued.unwrap()
    }
}

/// Creates the database of certificates that chromium reads in this home directory.
fn import_cas(home: &Path, cas: &[String]) {
    if cas.is_empty() {
        return;
    }
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let certutil = |arguments: &[&str]| {
        let mut command = Command::new("certutil");
        command.arg("-d").arg(format!("sql:{}", database.display())).args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    certutil(&["-N", "--empty-password"]);
    for (number, pem) in cas.iter().enumerate() {
        let file = home.join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let (name, file) = (format!("ca{number}"), file.display().to_string());
        certutil(&["-A", "-n", &name, "-t", "C,,", "-a", "-i", &file]);
    }
}

async fn connect_driver(
    text: &str,
    program: &str,
    more: &[String],
) -> Result<Client, fantoccini::error::NewSessionError> {
    let usual = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
    let arguments: Vec<_> = usual.into_iter().chain(more.iter().map(String::as_str)).collect();
    let chrome = json!({ "binary": program, "args": arguments });
    let capabilities = json!({
        "browserName": "chrome",
        "acceptInsecureCerts": false,
        "goog:chromeOptions": chrome,
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    });
    let Value::Object(capabilities) = capabilities else { unreachable!() };
    ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(text).await
}

/// A command that only chromedriver has.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
