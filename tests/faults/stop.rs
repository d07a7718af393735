//! docker-balancer is stopped while it is busy.

use crate::{
    common::{self, balancer::Balancer, wait_for},
    haproxy::write_wrapper,
};
use nix::sys::signal::Signal;
use std::{fs, os::unix::net::UnixDatagram, path::Path};

const HOST: &str = "glue_http_80_host";

/// A service manager that records docker-balancer's messages in order.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    fn received(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let next = || {
            let length = self.0.recv(&mut message).ok()?;
            Some(String::from_utf8_lossy(&message[..length]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }
}

#[test]
fn stop_during_a_change_does_not_wait_for_it() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (slow, checking) = (folder.path().join("slow"), folder.path().join("checking"));
    let wait = format!(
        "[ \"$1\" = -c ] && while [ -e {} ]; do touch {}; sleep 0.01; done",
        slow.display(),
        checking.display()
    );
    let wrapper = write_wrapper(folder.path(), &wait);
    let socket = folder.path().join("notify");
    let manager = Manager::listen(&socket);
    let plan = Balancer::plan(&docker).ports(&[80, 81]).env("NOTIFY_SOCKET", &socket);
    let plan = plan.option(&["--haproxy-bin", wrapper.to_str().unwrap()]);
    // Otherwise the first HAProxy may have the container's port already, without a reload.
    let mut balancer = plan.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);

    fs::write(&slow, "").unwrap();
    let late = balancer.run("late").label(HOST, "b.test").label("glue_http_80_bind", "81").start();
    wait_for("a check", || checking.exists().then_some(()));
    // The check continues while the file exists.
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    assert!(slow.exists());
    balancer
        .log()
        .lines()
        .find(|line| line.contains("stopping before a change of HAProxy is complete"))
        .unwrap();
    let texts = manager.received();
    let at = |word: &str| texts.iter().rposition(|message| message.contains(word));
    assert!(at("READY=1").unwrap() < at("STOPPING=1").unwrap(), "{texts:#?}");

    fs::remove_file(slow).unwrap();
    balancer.start_again();
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test:81", "late saw /")]);
    drop(late);
}
