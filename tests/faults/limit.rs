//! A machine whose resource limits HAProxy exceeds.

use crate::{
    asker::Asker,
    common::{
        self,
        balancer::{Balancer, free_port},
    },
    haproxy::write_wrapper,
};
use std::{fs, path::Path, process::Command};

const HOST: &str = "glue_http_80_host";
const BIND: &str = "glue_http_80_bind";

/// Root can raise its own limits unless it gives up that capability.
const LIMITED: &str = "[ \"$(id -u)\" != 0 ] || [ -n \"$LIMITED\" ] || LIMITED=1 exec setpriv \
                       --bounding-set -sys_resource sh \"$0\" \"$@\"";

/// Returns how many open files HAProxy needs with one listener; `None` if HAProxy does not say.
fn files_for_one(folder: &Path) -> Option<u32> {
    let config = folder.join("one.cfg");
    let text = "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n\
                frontend f\n bind 127.0.0.1:";
    fs::write(&config, format!("global\n fd-hard-limit 1000\n{text}{}\n", free_port())).unwrap();
    let script = folder.join("one.sh");
    let text = "ulimit -n 32\nexec timeout 5 \"${HAPROXY_BIN:-haproxy}\" -db -f \"$1\"\n";
    fs::write(&script, format!("{LIMITED}\n{text}")).unwrap();
    let output = Command::new("sh").arg(script).arg(config).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, remaining) = text.split_once("raise FD limit to ")?;
    remaining.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn public_ports_beyond_haproxys_file_limit_affect_only_their_container() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(files) = files_for_one(folder.path()) else {
        crate::common::record_skip("HAProxy does not say how many files it needs");
        return;
    };
    let wrapper = write_wrapper(folder.path(), &format!("{LIMITED}\nulimit -n {}", files + 48));
    let many: Vec<u16> = (8101..=8132).collect();
    let ports: Vec<u16> = [80, 81].into_iter().chain(many.iter().copied()).collect();
    let balancer = Balancer::plan(&docker).ports(&ports);
    let balancer = balancer.option(&["--haproxy-bin", wrapper.to_str().unwrap()]);
    let balancer = balancer.option(&["--wait-for-start", "1s"]).start();
    let web = balancer.run("web").label(HOST, "web.test").start();
    let other = balancer.run("other").label(HOST, "other.test").start();
    balancer.wait_until_all_serve(&[("web.test", "web saw /"), ("other.test", "other saw /")]);
    let asker = Asker::begin(&balancer, "web.test");

    let list = many.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let greedy = balancer.run("greedy").label(HOST, "greedy.test").label(BIND, list).start();
    let named = ["WARN", "greedy.name", "public port 8101, 8102, 8103 (and 29 more) is ignored"];
    let named = named.map(|text| text.replace("greedy.name", &greedy.name));
    balancer.wait_for_log(&named.each_ref().map(String::as_str));
    // All other changes still work, including those that need a reload.
    drop(other);
    let _late = balancer.run("late").label(HOST, "late.test").label(BIND, "80,81").start();
    balancer.wait_until_all_serve(&[
        ("late.test", "late saw /"),
        ("late.test:81", "late saw /"),
        ("other.test", "503"),
    ]);
    asker.more(10);
    assert_eq!(asker.end(), ["web saw /"]);
    assert!(!balancer.log().contains("ERROR"), "{}", balancer.log());
    drop(greedy);
    balancer.wait_for_log(&["resolved: ", "could not load a configuration with it"]);
    drop(web);
}
