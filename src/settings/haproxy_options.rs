//! Reads arguments of HAProxy from a file such as /etc/sysconfig/haproxy. The file is not run as a script.

use anyhow::{Context, Result};
use std::path::Path;

/// Where the distributions keep this file.
const DEFAULT_FILES: [&str; 2] = ["/etc/sysconfig/haproxy", "/etc/default/haproxy"];

/// Options that a configuration check must not have: they start, silence or name something, or print something else.
/// HAProxy 3.0 and later refuse `-S` without `-W`, and with `-v` HAProxy accepts any configuration.
const NOT_FOR_A_CHECK: [&str; 10] = ["-W", "-Ws", "-D", "-q", "-c", "-V", "-v", "-vv", "-h", "-dL"];
/// The same for options with one value, and for options with all words up to the next option.
const WITH_VALUE: [&str; 4] = ["-S", "-p", "-x", "-cc"];
const WITH_VALUES: [&str; 2] = ["-sf", "-st"];

/// In the order in which the systemd units pass them to HAProxy.
const VARIABLES: [&str; 2] = ["OPTIONS", "EXTRAOPTS"];

pub(super) fn find_default_file() -> Option<&'static Path> {
    DEFAULT_FILES.into_iter().map(Path::new).find(|path| path.exists())
}

pub(super) fn read_arguments(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--haproxy-options-file: cannot read {}", path.display()))?;
    parse_arguments(&text).with_context(|| format!("--haproxy-options-file: {}", path.display()))
}

/// Returns the words of OPTIONS and EXTRAOPTS that apply to a check. If a variable has several lines, the last one
/// counts.
pub(super) fn parse_arguments(text: &str) -> Result<Vec<String>> {
    let text = text.replace("\\\n", "");
    let mut words = Vec::new();
    for variable in VARIABLES {
        if let Some(value) =
            text.lines().filter_map(|line| assigned_value(line, variable)).next_back()
        {
            words.extend(
                split_words(value).with_context(|| format!("{variable}: a quote is not closed"))?,
            );
        }
    }
    Ok(keep_check_arguments(words))
}

fn keep_check_arguments(words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            option if NOT_FOR_A_CHECK.contains(&option) || option.starts_with("-dK") => {}
            option if WITH_VALUE.contains(&option) => drop(words.next()),
            option if WITH_VALUES.contains(&option) => {
                while words.next_if(|word| !word.starts_with('-')).is_some() {}
            }
            _ => kept.push(word),
        }
    }
    kept
}

/// Returns the text after `variable=`.
fn assigned_value<'a>(line: &'a str, variable: &str) -> Option<&'a str> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    line.strip_prefix(variable)?.strip_prefix('=')
}

/// Splits a value twice: once by the quotes of the file, and once more because the units expand it without quotes.
fn split_words(value: &str) -> Option<Vec<String>> {
    shlex::split(&shlex::split(value)?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_arguments(text: &str, expected: &[&str]) {
        assert_eq!(parse_arguments(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn words_are_split_like_a_shell_without_expansion() {
        check_arguments("", &[]);
        check_arguments("OPTIONS=\"\"", &[]);
        check_arguments(
            "OPTIONS=\"-f /etc/haproxy/conf.d -n 100\"",
            &["-f", "/etc/haproxy/conf.d", "-n", "100"],
        );
        check_arguments("EXTRAOPTS='-de -m 16'", &["-de", "-m", "16"]);
        check_arguments("  export OPTIONS=-de  ", &["-de"]);
        check_arguments("OPTIONS='-f \"/a b/c\"'", &["-f", "/a b/c"]);
        check_arguments("OPTIONS=\"-de \\\n -m 16\"", &["-de", "-m", "16"]);
        check_arguments("OPTIONS=-de # a remark", &["-de"]);
        check_arguments(
            "OPTIONS=\"$(touch /tmp/x) `id` $HOME\"",
            &["$(touch", "/tmp/x)", "`id`", "$HOME"],
        );
    }

    #[test]
    fn arguments_irrelevant_to_a_check_are_dropped() {
        for (options, expected) in [
            ("-S /run/haproxy-master.sock", &[][..]),
            ("-S /run/m.sock,level,admin -f /etc/conf.d", &["-f", "/etc/conf.d"]),
            ("-q -Ws -p /run/haproxy.pid -m 512", &["-m", "512"]),
            ("-D -x /run/haproxy.sock -sf 12 13 -n 100", &["-n", "100"]),
            ("-V -dKcfg -vv -cc 1 -de", &["-de"]),
            ("-n 100 -S", &["-n", "100"]),
        ] {
            check_arguments(&format!("EXTRAOPTS=\"{options}\""), expected);
        }
    }

    #[test]
    fn options_precede_extraopts_and_last_line_wins() {
        check_arguments("EXTRAOPTS=-b\nOPTIONS=-a", &["-a", "-b"]);
        check_arguments("OPTIONS=-a\nOPTIONS=-b", &["-b"]);
    }

    #[test]
    fn other_lines_are_ignored() {
        check_arguments(
            "#EXTRAOPTS=-de\nCONFIG=/etc/x.cfg\nMYOPTIONS=-a\nOPTIONS_2=-b\nOPTIONS -c",
            &[],
        );
    }

    #[test]
    fn unclosed_quote_is_an_error() {
        let error = parse_arguments("OPTIONS=\"-de").unwrap_err();
        assert_eq!(format!("{error:#}"), "OPTIONS: a quote is not closed");
    }
}
