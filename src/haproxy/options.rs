//! The options that a distribution's unit gives to HAProxy, from the file it reads them from.
//!
//! Pure. The file is parsed and never sourced.

/// Options that would start, silence or name something: a check has no use for them. From 3.2 on
/// `-S` without `-W` is refused.
const FLAGS: [&str; 6] = ["-W", "-Ws", "-D", "-q", "-c", "-V"];
const WITH_VALUE: [&str; 3] = ["-S", "-p", "-x"];

/// `OPTIONS` and `EXTRAOPTS` of `/etc/default/haproxy` or `/etc/sysconfig/haproxy`, as far as they
/// concern a check; the last assignment of a name counts.
pub fn check_options(rc: &str) -> Vec<String> {
    let value = |name| rc.lines().rev().find_map(|line| assignment(line, name));
    let words = ["OPTIONS", "EXTRAOPTS"].into_iter().filter_map(value).flat_map(words);
    for_check(words)
}

fn assignment<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    line.strip_prefix(name)?.strip_prefix('=')
}

/// Whatever stands in quotes is split too, as systemd does with `$OPTIONS`.
fn words(value: &str) -> Vec<String> {
    let bare = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split(" #").next().unwrap_or_default(),
    };
    bare.split_whitespace().map(str::to_owned).collect()
}

fn for_check(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        match word.as_str() {
            flag if FLAGS.contains(&flag) => {}
            option if WITH_VALUE.contains(&option) => drop(words.next()),
            _ => kept.push(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_never_run() {
        for (rc, expected) in [
            ("", ""),
            ("# EXTRAOPTS=\"-n 1\"\n#CONFIG=x\n", ""),
            (
                "EXTRAOPTS=\"-S /run/haproxy-master.sock -f /etc/haproxy/conf.d\"",
                "-f /etc/haproxy/conf.d",
            ),
            ("OPTIONS='-n 100'\nexport EXTRAOPTS=-dM", "-n 100 -dM"),
            ("EXTRAOPTS=-n 1 # comment", "-n 1"),
            ("OPTIONS=\"-q -Ws -p /run/x -m 512\"", "-m 512"),
            ("OPTIONS=-n 1\nOPTIONS=\"-n 2\"", "-n 2"),
            ("OPTIONS=\"$(reboot)\"", "$(reboot)"),
        ] {
            assert_eq!(check_options(rc).join(" "), expected, "{rc:?}");
        }
    }
}
