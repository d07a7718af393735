//! Asks HAProxy whether it would take a configuration, and understands what it says.
//!
//! The formats are those of 2.6, 3.0 and 3.2; their real words are the tests' tables.

use super::{bind::address, render::FD_HARD_LIMIT, socket::within};
use std::{
    env, fmt, fs, io, os::unix::fs::MetadataExt as _, path::Path, process::Output, process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// A check takes 30 to 300 ms; what takes this long is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accepted { warnings: Vec<String> },
    Refused(Refusal),
}

/// Why HAProxy does not take a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Lines of the configuration that HAProxy names, in its order; often none.
    pub lines: Vec<usize>,
    /// Ports that could not be bound: no fault of the text, it only shows when it is started.
    pub binds: Vec<u16>,
    /// The first reason, on one line and without the file's path.
    pub text: String,
}

/// A program's file, as long as nobody replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Binary {
    /// Of a program as [`Command::new`] takes it: a name alone is looked up in PATH.
    pub fn of(program: &Path) -> io::Result<Self> {
        let path = env::var_os("PATH").filter(|_| program.components().count() == 1);
        let places = path.iter().flat_map(env::split_paths).map(|folder| folder.join(program));
        let found = places.into_iter().find(|place| place.is_file());
        let file = fs::metadata(found.as_deref().unwrap_or(program))?;
        let changed = (file.ctime(), file.ctime_nsec());
        Ok(Self { device: file.dev(), inode: file.ino(), size: file.len(), changed })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lines.first() {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// `haproxy -c`. It binds nothing, so a port that is taken passes.
pub async fn check(bin: &Path, config: &Path, options: &[String]) -> io::Result<Verdict> {
    let mut command = Command::new(bin);
    command.arg("-c").arg("-f").arg(config).args(options);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout: _, stderr } = within(PATIENCE, command.output()).await?;
    let said = String::from_utf8_lossy(&stderr);
    if status.success() {
        return Ok(Verdict::Accepted { warnings: warnings(&said, config) });
    }
    Ok(Verdict::Refused(refusal(&said, config)))
}

/// From what HAProxy wrote (to stderr, or as the answer to `reload`).
pub fn refusal(said: &str, config: &Path) -> Refusal {
    let alerts: Vec<_> = said.lines().filter_map(|line| reason(line, "[ALERT]")).collect();
    Refusal {
        lines: alerts.iter().filter_map(|alert| place(alert, config)?.1.parse().ok()).collect(),
        binds: alerts.iter().filter_map(|alert| unbound(alert)).collect(),
        text: with_way_out(match alerts.first() {
            Some(alert) => without_place(alert, config),
            None => last_words(said),
        }),
    }
}

/// HAProxy before 3.0 has a table of all files that it may open.
fn with_way_out(text: String) -> String {
    let tables = ["fdtab", "polled_mask", "fdinfo"];
    if !tables.iter().any(|table| text.contains(&format!(" entries for {table}"))) {
        return text;
    }
    format!(
        "{text}; write \"fd-hard-limit {FD_HARD_LIMIT}\" into the section global of the --base-file"
    )
}

fn warnings(said: &str, config: &Path) -> Vec<String> {
    let lines = said.lines().filter_map(|line| reason(line, "[WARNING]"));
    let place = |warning: &str| match place(warning, config) {
        Some((_, line)) => format!("line {line}: {}", without_place(warning, config)),
        None => without_place(warning, config),
    };
    lines.map(place).collect()
}

/// `[ALERT]    (13016) : config : parsing …` → `parsing …`
fn reason<'a>(line: &'a str, level: &str) -> Option<&'a str> {
    let (_pid, reason) = line.strip_prefix(level)?.split_once(" : ")?;
    Some(reason.strip_prefix("config : ").unwrap_or(reason).trim())
}

/// The text before and the line number in `[PATH:LINE]`, where the path is ours.
fn place<'a>(reason: &'a str, config: &Path) -> Option<(&'a str, &'a str)> {
    let (before, after) = reason.split_once(&format!("[{}:", config.display()))?;
    Some((before, after.split_once(']')?.0))
}

fn without_place(reason: &str, config: &Path) -> String {
    let path = config.display().to_string();
    let Some((before, line)) = place(reason, config) else {
        return reason.replace(&path, "the configuration");
    };
    let rest = &reason[before.len() + path.len() + line.len() + "[:]".len()..];
    let rest = rest.trim_start_matches([' ', ':']);
    let before = before.trim_end_matches("parsing ").trim_end_matches("Parsing ");
    // "Binding [FILE:14] for frontend f: …" reads on after the place; "parsing" begins anew.
    let joined = if before.is_empty() { rest.to_owned() } else { format!("{before}{rest}") };
    joined.replace(&format!("{path}:"), "line ").replace(&path, "the configuration")
}

/// `… cannot bind socket (Address already in use) for [127.0.0.1:29980]` → 29980
fn unbound(alert: &str) -> Option<u16> {
    let (_, place) = alert.split_once("cannot bind socket")?;
    let place = place.rsplit_once("for [")?.1.trim_end_matches(['.', ']']);
    Some(address(place)?.port())
}

fn last_words(said: &str) -> String {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("HAProxy gave no reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_same_by_its_name_and_by_its_path() {
        let all = env::split_paths(&env::var_os("PATH").unwrap()).collect::<Vec<_>>();
        let path = all.iter().map(|folder| folder.join("sh")).find(|it| it.is_file()).unwrap();
        let by_name = Binary::of(Path::new("sh")).unwrap();
        assert_eq!(by_name, Binary::of(&path).unwrap());
        assert_ne!(by_name, Binary::of(Path::new("/proc/self/exe")).unwrap());
        assert!(Binary::of(Path::new("no-such-program")).is_err());
    }

    /// `lines | ports | text`
    fn check(said: &str, expected: &str) {
        let Refusal { lines, binds, text } = refusal(said, Path::new("/s/.x.cfg"));
        assert_eq!(format!("{lines:?} | {binds:?} | {text}"), expected);
    }

    #[test]
    fn a_refusal_names_lines_ports_and_the_first_reason() {
        check(
            "[NOTICE]   (13016) : haproxy version is 2.6.12-1+deb12u4\n\
             [NOTICE]   (13016) : path to executable is /usr/sbin/haproxy\n\
             [ALERT]    (13016) : config : parsing [/s/.x.cfg:2] : unknown keyword 'frobnicate' in 'global' section\n\
             [ALERT]    (13016) : config : parsing [/s/.x.cfg:11] : error detected in frontend 'f' while parsing 'http-request set-header' rule : failed to parse sample expression <nope]> : unknown fetch method 'nope'.\n\
             [ALERT]    (13016) : config : Error(s) found in configuration file : /s/.x.cfg\n",
            "[2, 11] | [] | unknown keyword 'frobnicate' in 'global' section",
        );
        check(
            "[ALERT]    (4588) : config : Parsing [/s/.x.cfg:10]: backend 'b' has the same name as backend 'b' declared at /s/.x.cfg:8.\n",
            "[10] | [] | backend 'b' has the same name as backend 'b' declared at line 8.",
        );
        check(
            "[ALERT]    (13018) : config : Proxy 'f': unable to find required use_backend: 'nope'.\n\
             [ALERT]    (13018) : config : Fatal errors found in configuration.\n",
            "[] | [] | Proxy 'f': unable to find required use_backend: 'nope'.",
        );
        check(
            "[ALERT]    (13030) : Proxy 'f': unable to find required use_backend: 'nope'.\n",
            "[] | [] | Proxy 'f': unable to find required use_backend: 'nope'.",
        );
        check("Killed\n", "[] | [] | Killed");
        check("", "[] | [] | HAProxy gave no reason");
    }

    #[test]
    fn too_many_files_are_followed_by_what_to_write() {
        check(
            "[NOTICE]   (7) : haproxy version is 2.6.12-1+deb12u4\n\
             [ALERT]    (7) : Not enough memory to allocate 1073741816 entries for fdtab!\n\
             [ALERT]    (7) : No polling mechanism available.\n",
            "[] | [] | Not enough memory to allocate 1073741816 entries for fdtab!; \
             write \"fd-hard-limit 1048576\" into the section global of the --base-file",
        );
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        check(
            "[ALERT]    (13544) : Binding [/s/.x.cfg:14] for frontend f: cannot bind socket (Address already in use) for [127.0.0.1:29980]\n\
             [ALERT]    (13544) : [/usr/sbin/haproxy.main()] Some protocols failed to start their listeners! Exiting.\n",
            "[14] | [29980] | Binding for frontend f: cannot bind socket (Address already in use) for [127.0.0.1:29980]",
        );
        check(
            "Success=0\n--\n\
             [ALERT]    (14316) : Binding [/s/.x.cfg:14] for frontend f: protocol tcpv4: cannot bind socket (Address already in use) for [127.0.0.1:29980].\n",
            "[14] | [29980] | Binding for frontend f: protocol tcpv4: cannot bind socket (Address already in use) for [127.0.0.1:29980].",
        );
        check(
            "[ALERT]    (1) : Binding [/s/.x.cfg:9] for frontend f: cannot bind socket (Permission denied) for [:::80]\n",
            "[9] | [80] | Binding for frontend f: cannot bind socket (Permission denied) for [:::80]",
        );
    }

    #[test]
    fn warnings_keep_their_line() {
        let said = "[WARNING]  (13020) : config : parsing [/s/.x.cfg:8] : a 'http-request' rule placed after a 'use_backend' rule will still be processed before.\n\
                    [WARNING]  (13032) : missing timeouts for frontend 'f'.\n   | While not properly invalid\nWarnings were found.\n";
        assert_eq!(
            warnings(said, Path::new("/s/.x.cfg")),
            [
                "line 8: a 'http-request' rule placed after a 'use_backend' rule will still be processed before.",
                "missing timeouts for frontend 'f'.",
            ]
        );
    }
}
