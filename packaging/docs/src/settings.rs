//! The settings file of the packages: examples/settings.toml, with what a machine should begin with.

use anyhow::{Result, ensure};

/// A port that a container asks for is a port that the machine listens on, before a database of its own is up, say.
const PORTS: (&str, &str) = (
    "#allow_ports = [\"80\", \"tcp:5432\", \"udp:53\"]\n",
    "# In packages, labels may claim only the ports of HTTP. Add further ports, or comment this \
     line out for the default.\nallow_ports = [\"80\", \"443\"]\n",
);

pub(crate) fn packaged(example: &str) -> Result<String> {
    let (before, after) = PORTS;
    ensure!(
        example.matches(before).count() == 1,
        "examples/settings.toml has not the line {before}"
    );
    Ok(example.replace(before, after))
}

#[cfg(test)]
mod tests {
    use super::packaged;

    #[test]
    fn packaged_settings_differ_from_the_example_in_the_ports_alone() {
        let example = include_str!("../../../examples/settings.toml");
        let packaged = packaged(example).unwrap();
        let said = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert!(said(example).is_empty());
        assert_eq!(said(&packaged), ["allow_ports = [\"80\", \"443\"]"]);
        assert_eq!(packaged.lines().count(), example.lines().count() + 1);
    }
}
