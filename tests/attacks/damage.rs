//! State files that were damaged by another program or by a disk error. The next start still serves.

use crate::common::{self, balancer::Balancer};
use nix::sys::signal::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns all regular files below the folder.
fn list_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files.extend(list_files(&path)),
            kind if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    files.sort();
    files
}

fn damage(file: &Path, how: &str) {
    let old = fs::read(file).unwrap();
    let new = match how {
        "empty" => Vec::new(),
        "half" => old[..old.len() / 2].to_vec(),
        "zeros" => vec![0; old.len().max(1)],
        "noise" => (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(),
        "twice" => [old.clone(), old].concat(),
        _ => unreachable!("{how}"),
    };
    fs::write(file, new).unwrap();
}

#[test]
fn damaged_state_file_is_healed_by_the_next_start() {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).start();
    let _web = balancer.run("web").label("glue_http_80_host", "web.test").start();
    let _sick = balancer.run("sick").label("glue_http_80_host", "sick.test,-").start();
    balancer.wait_until_all_serve(&[("web.test/", "web saw /"), ("sick.test/", "sick saw /")]);
    balancer.wait_for_log(&["+ sick.test:80/"]);
    for how in ["empty", "half", "zeros", "noise", "twice"] {
        assert!(balancer.stop_with(Signal::SIGTERM).success());
        let files = list_files(&balancer.state());
        assert!(files.len() > 5, "{files:?}");
        for file in &files {
            damage(file, how);
        }
        balancer.start_again();
        balancer.wait_until_all_serve(&[("web.test/", "web saw /"), ("sick.test/", "sick saw /")]);
        let late = balancer.run("late").label("glue_http_80_host", "late.test").start();
        balancer.wait_until_serves("late.test/", "late saw /");
        drop(late);
        balancer.wait_until_serves("late.test/", "503");
    }
    assert!(!balancer.log().contains("panicked"), "{}", balancer.log());
}

#[test]
fn each_damaged_state_file_alone_is_healed() {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).start();
    let _web = balancer.run("web").label("glue_http_80_host", "web.test").start();
    balancer.wait_until_serves("web.test/", "web saw /");
    balancer.wait_for_log(&["+ web.test:80/"]);
    let mut tried = 0;
    loop {
        assert!(balancer.stop_with(Signal::SIGTERM).success());
        // The files that exist while docker-balancer does not run.
        let files = list_files(&balancer.state());
        let Some(file) = files.get(tried) else { break };
        damage(file, if tried % 2 == 0 { "half" } else { "noise" });
        balancer.start_again();
        balancer.wait_until_serves("web.test/", "web saw /");
        tried += 1;
        assert!(tried < 60, "{files:?}");
    }
    assert!(tried > 5);
    assert!(!balancer.log().contains("panicked"), "{}", balancer.log());
}
