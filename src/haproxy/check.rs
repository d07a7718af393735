//! Checks a configuration with HAProxy and parses HAProxy's messages.
//!
//! The message formats are those of 2.6, 3.0 and 3.2; the tests quote real output.

use super::{bind_line::parse_address, render::FD_HARD_LIMIT, socket::with_timeout};
use std::{
    env, fmt, fs, io, os::unix::fs::MetadataExt as _, path::Path, process::Output, process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// A check takes 30 to 300 ms; after this time HAProxy is considered stuck.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accepted { warnings: Vec<String> },
    Refused(ConfigRejection),
}

/// Why HAProxy rejects a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigRejection {
    /// Line numbers of the configuration that HAProxy names, in HAProxy's order; often none.
    pub lines: Vec<usize>,
    /// Ports that could not be bound. The configuration text is valid: such errors occur only when HAProxy starts.
    pub unbound_ports: Vec<u16>,
    /// UDP ports that could not be bound.
    pub unbound_udp_ports: Vec<u16>,
    /// The first reason, on one line and without the file's path.
    pub text: String,
}

/// Identity of a program file. Changes when the file is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryId {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl BinaryId {
    /// Identifies a program, given as for [`Command::new`]: a name without a folder is looked up in PATH.
    pub fn from_path(program: &Path) -> io::Result<Self> {
        let path = env::var_os("PATH").filter(|_| program.components().count() == 1);
        let candidates = path.iter().flat_map(env::split_paths).map(|folder| folder.join(program));
        let found = candidates.into_iter().find(|location| location.is_file());
        let file = fs::metadata(found.as_deref().unwrap_or(program))?;
        let changed = (file.ctime(), file.ctime_nsec());
        Ok(Self { device: file.dev(), inode: file.ino(), size: file.len(), changed })
    }
}

impl fmt::Display for ConfigRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lines.first() {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Runs `haproxy -c`. The check binds no port, so it also succeeds for a port that is in use.
pub async fn check(bin: &Path, config: &Path, options: &[String]) -> io::Result<Verdict> {
    let mut command = Command::new(bin);
    command.arg("-c").arg("-f").arg(config).args(options);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout: _, stderr } =
        with_timeout(CHECK_TIMEOUT, command.output()).await?;
    let output = String::from_utf8_lossy(&stderr);
    if status.success() {
        return Ok(Verdict::Accepted { warnings: parse_warnings(&output, config) });
    }
    Ok(Verdict::Refused(parse_rejection(&output, config)))
}

/// Parses HAProxy's output (stderr, or the answer to `reload`).
pub fn parse_rejection(output: &str, config: &Path) -> ConfigRejection {
    let alerts: Vec<_> = output.lines().filter_map(|line| strip_level(line, "[ALERT]")).collect();
    let (udp, tcp): (Vec<&str>, Vec<&str>) =
        alerts.iter().partition(|alert| alert.contains(": protocol quic"));
    ConfigRejection {
        lines: alerts
            .iter()
            .filter_map(|alert| find_position(alert, config)?.1.parse().ok())
            .collect(),
        unbound_ports: tcp.into_iter().filter_map(parse_unbound_port).collect(),
        unbound_udp_ports: udp.into_iter().filter_map(parse_unbound_port).collect(),
        text: append_hint(match alerts.first() {
            Some(alert) => strip_position(alert, config),
            None => last_line(output),
        }),
    }
}

/// Appends the setting to add if HAProxy before 3.0 cannot allocate its tables, which have one entry per possible file
/// descriptor.
fn append_hint(text: String) -> String {
    let tables = ["fdtab", "polled_mask", "fdinfo"];
    if !tables.iter().any(|table| text.contains(&format!(" entries for {table}"))) {
        return text;
    }
    format!(
        "{text}; add \"fd-hard-limit {FD_HARD_LIMIT}\" to the global section of the --base-file"
    )
}

fn parse_warnings(output: &str, config: &Path) -> Vec<String> {
    let lines = output.lines().filter_map(|line| strip_level(line, "[WARNING]"));
    let location = |warning: &str| match find_position(warning, config) {
        Some((_, line)) => format!("line {line}: {}", strip_position(warning, config)),
        None => strip_position(warning, config),
    };
    lines.map(location).collect()
}

/// `[ALERT]    (13016) : config : parsing …` → `parsing …`
fn strip_level<'a>(line: &'a str, level: &str) -> Option<&'a str> {
    let (_pid, reason) = line.strip_prefix(level)?.split_once(" : ")?;
    Some(reason.strip_prefix("config : ").unwrap_or(reason).trim())
}

/// Returns the text before `[PATH:LINE]` and the line number, where PATH is `config`.
fn find_position<'a>(reason: &'a str, config: &Path) -> Option<(&'a str, &'a str)> {
    let (before, after) = reason.split_once(&format!("[{}:", config.display()))?;
    Some((before, after.split_once(']')?.0))
}

fn strip_position(reason: &str, config: &Path) -> String {
    let path = config.display().to_string();
    let Some((before, line)) = find_position(reason, config) else {
        return reason.replace(&path, "the configuration");
    };
    let remainder = &reason[before.len() + path.len() + line.len() + "[:]".len()..];
    let remainder = remainder.trim_start_matches([' ', ':']);
    let before = before.trim_end_matches("parsing ").trim_end_matches("Parsing ");
    // In "Binding [FILE:14] for frontend f: …" the sentence continues after the position; after "parsing" a new one
    // begins.
    let joined =
        if before.is_empty() { remainder.to_owned() } else { format!("{before}{remainder}") };
    joined.replace(&format!("{path}:"), "line ").replace(&path, "the configuration")
}

/// `… cannot bind socket (Address already in use) for [127.0.0.1:29980]` → 29980
fn parse_unbound_port(alert: &str) -> Option<u16> {
    let (_, location) = alert.split_once("cannot bind socket")?;
    let location = location.rsplit_once("for [")?.1.trim_end_matches(['.', ']']);
    Some(parse_address(location)?.port())
}

fn last_line(output: &str) -> String {
    let last = output.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("HAProxy gave no reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_id_by_name_equals_binary_id_by_path() {
        let all = env::split_paths(&env::var_os("PATH").unwrap()).collect::<Vec<_>>();
        let path = all.iter().map(|folder| folder.join("sh")).find(|path| path.is_file()).unwrap();
        let by_name = BinaryId::from_path(Path::new("sh")).unwrap();
        assert_eq!(by_name, BinaryId::from_path(&path).unwrap());
        assert_ne!(by_name, BinaryId::from_path(Path::new("/proc/self/exe")).unwrap());
        assert!(BinaryId::from_path(Path::new("no-such-program")).is_err());
    }

    /// `lines | ports | text`, or with UDP ports `lines | ports | udp UDP-PORTS | text`
    fn check(output: &str, expected: &str) {
        let ConfigRejection { lines, unbound_ports: binds, unbound_udp_ports: udp, text } =
            parse_rejection(output, Path::new("/s/.x.cfg"));
        let udp = if udp.is_empty() { String::new() } else { format!("udp {udp:?} | ") };
        assert_eq!(format!("{lines:?} | {binds:?} | {udp}{text}"), expected);
    }

    #[test]
    fn rejection_has_lines_ports_and_first_reason() {
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
    fn failed_fd_table_allocation_suggests_fd_hard_limit() {
        check(
            "[NOTICE]   (7) : haproxy version is 2.6.12-1+deb12u4\n\
             [ALERT]    (7) : Not enough memory to allocate 1073741816 entries for fdtab!\n\
             [ALERT]    (7) : No polling mechanism available.\n",
            "[] | [] | Not enough memory to allocate 1073741816 entries for fdtab!; \
             add \"fd-hard-limit 1048576\" to the global section of the --base-file",
        );
    }

    #[test]
    fn failed_bind_names_port() {
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
            "[ALERT]    (7507) : Binding [/s/.x.cfg:13] for frontend f: protocol quic4: cannot bind socket (Address already in use) for [0.0.0.0:7555].\n\
             [ALERT]    (7507) : [haproxy.main()] Some protocols failed to start their listeners! Exiting.\n",
            "[13] | [] | udp [7555] | Binding for frontend f: protocol quic4: cannot bind socket (Address already in use) for [0.0.0.0:7555].",
        );
        check(
            "[ALERT]    (1) : Binding [/s/.x.cfg:9] for frontend f: cannot bind socket (Permission denied) for [:::80]\n",
            "[9] | [80] | Binding for frontend f: cannot bind socket (Permission denied) for [:::80]",
        );
    }

    #[test]
    fn warning_keeps_line_number() {
        let output = "[WARNING]  (13020) : config : parsing [/s/.x.cfg:8] : a 'http-request' rule placed after a 'use_backend' rule will still be processed before.\n\
                    [WARNING]  (13032) : missing timeouts for frontend 'f'.\n   | While not properly invalid\nWarnings were found.\n";
        assert_eq!(
            parse_warnings(output, Path::new("/s/.x.cfg")),
            [
                "line 8: a 'http-request' rule placed after a 'use_backend' rule will still be processed before.",
                "missing timeouts for frontend 'f'.",
            ]
        );
    }
}
