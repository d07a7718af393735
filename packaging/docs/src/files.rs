//! The section FILES of the man pages of the programs.

use std::fmt::Write as _;

/// Paths and their meaning. The packages use them; see `systemd/` and `packaging/tmpfiles.conf`.
const BALANCER: &[(&str, &str)] = &[
    ("/etc/docker-glue/settings.toml", "Options. Every key is also an option of the command line."),
    (
        "/var/lib/docker-glue",
        "State of docker-balancer.service: HAProxy's configuration in haproxy.cfg and gen, certificates with their keys \
         in certs, the account at the CA and its certificates in acme, the own CA in own-ca, \
         and the history. It belongs to the user and group docker-balancer. HAProxy reads it by the group; members of \
         the group can read keys.",
    ),
    (
        "/run/docker-glue/control.sock",
        "The control socket of docker-balancer.service. Only the user docker-balancer and root can connect.",
    ),
    (
        "/run/docker-glue-certificates/certificates.json",
        "The certificates of docker-balancer.service, without keys. All users may read the list, and docker-glue.service \
         sends its changes to handlers.",
    ),
    (
        "/run/docker-glue-haproxy",
        "Sockets of docker-glue-haproxy.service, for the group docker-balancer.",
    ),
];

const GLUE: &[(&str, &str)] = &[
    ("/etc/docker-glue/docker-glue.d/*.ini", "Handlers."),
    ("/etc/docker-glue/settings.toml", "Options. Every key is also an option of the command line."),
    (
        "/var/lib/docker-glue-handlers",
        "State of docker-glue.service and its handlers, of the user docker-glue. The service finds the same directory at \
         /var/lib/docker-glue, which outside of the service is the state of docker-balancer.",
    ),
    (
        "/run/docker-glue-certificates/certificates.json",
        "The certificates of docker-balancer.service, of which handlers get events.",
    ),
];

const UDP: &[(&str, &str)] = &[
    (
        "/run/docker-glue-udp/control.sock",
        "The control socket of docker-glue-udp.service. Root and members of the group docker-glue-udp can connect; \
         docker-balancer is one.",
    ),
    (
        "/run/docker-glue-udp/listeners.json",
        "What docker-glue-udp.service serves, for its next start. A reboot removes the file.",
    ),
    (
        "/run/docker-glue-udp/nft-rules",
        "Shows that the kernel has rules of the engine nft. remove-rules removes both.",
    ),
    ("/usr/lib/sysctl.d/60-docker-glue-udp.conf", "The limits of the buffers for datagrams."),
];

/// Returns the section of a program, or nothing for a page of a command.
pub(crate) fn section(page: &str) -> String {
    let files = match page {
        "docker-balancer" => BALANCER,
        "docker-glue" => GLUE,
        "docker-glue-udp" => UDP,
        _ => return String::new(),
    };
    let mut text = ".SH FILES\n".to_owned();
    for (path, meaning) in files {
        let [path, meaning] = [path, meaning].map(|text| text.replace('-', "\\-"));
        let _ = writeln!(text, ".TP\n\\fI{path}\\fR\n{meaning}");
    }
    text
}
