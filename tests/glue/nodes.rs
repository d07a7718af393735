//! nginx on one machine in front of containers of three, as docker-gen did with a file from each machine, a shared
//! folder and a signal over the network. Here one docker-glue follows all engines.

use super::nginx::build_nginx_image;
use crate::common::{
    self, Container, Docker, balancer::Request, elsewhere::RemoteEngine, glue::Glue, unique_name,
    wait_for,
};
use std::{collections::BTreeSet, fs, net::SocketAddr};

/// Starts a container with the host app.test that answers with its name.
fn start_web(docker: &Docker, name: &str, published_at: Option<&RemoteEngine>) -> Container {
    let run =
        docker.run(name).env("VIRTUAL_HOST", "app.test,not a host").arguments(&["--name", name]);
    let run = match published_at {
        Some(engine) => run.option(&["--publish", &format!("{}::80", engine.address)]),
        None => run.option(&["--expose", "80"]),
    };
    run.start()
}

#[test]
fn one_nginx_serves_containers_of_three_engines_until_one_is_gone() {
    if !common::is_installed("nginx") {
        return;
    }
    let Some(here) = common::find_docker_as_root() else { return };
    let (Some(second), Some(third)) = (RemoteEngine::start(), RemoteEngine::start()) else {
        return;
    };
    let target = unique_name("nginx");
    let example = |name: &str| fs::read_to_string(format!("examples/{name}")).unwrap();
    let template = example("templates/nginx-nodes.tmpl");
    let handler = example("docker-glue.d/nginx-nodes.ini.example")
        .replace("../templates", "ROOT/templates")
        .replace("/etc/nginx/conf.d", "ROOT/conf.d")
        .replace("signal=nginx:HUP", &format!("signal={target}:HUP\nfilter=name=-node"))
        .replace("interval=0.5 2", "interval=0.1 1");
    let script = "#!/bin/sh\necho \"$GLUE_EVENT $GLUE_CONTAINER_NAME at <$GLUE_SOURCE>\"\n";
    let source = |url: &str, name: &str| format!("{url}?name={name}&forget=2s");
    let plan = Glue::plan(&here)
        .file("nginx-nodes.ini", &handler)
        .file("say.ini", "[handler]\nclass=script\nevents=start\n[params]\nscript=say.sh\n")
        .script("say.sh", script)
        .option(&["--source", &source(&here.url(), "here")])
        .option(&["--source", &source(&second.docker().url(), "second")])
        .option(&["--source", &source(&third.docker().url(), "third")]);
    plan.write_file("templates/nginx-nodes.tmpl", &template);
    let folder = plan.write_file("conf.d/.keep", "").parent().unwrap().display().to_string();
    let _web_here = start_web(&here, "here-node", None);
    let web_second = start_web(&second.docker(), "second-node", Some(&second));
    let glue = plan.start();
    glue.wait_for_log(&["watching Docker at 3 engines"]);
    glue.wait_until_written("conf.d/nodes.conf", &["on second"]);
    let nginx = here.run("nginx").image(build_nginx_image()).label("pygen.target", &target);
    let nginx = nginx.option(&["--volume", &format!("{folder}:/etc/nginx/conf.d:ro")]).start();
    let own = nginx.docker(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}"]);
    let addr = SocketAddr::new(own.parse().unwrap(), 80);
    let wait_until_served_by = |expected: &[&str]| {
        let expected: BTreeSet<_> = expected.iter().map(ToString::to_string).collect();
        wait_for(&format!("{expected:?} and no others answer"), || {
            let ask = || Request::new(addr, "GET", "app.test", "/").send().ok();
            let answers = (0..12).filter_map(|_| ask()).map(|answer| answer.name);
            (answers.collect::<BTreeSet<_>>() == expected).then_some(())
        });
    };
    wait_until_served_by(&["here-node", "second-node"]);

    let _web_third = start_web(&third.docker(), "third-node", Some(&third));
    glue.wait_for_log(&["start ", "third-node at <third>"]);
    glue.wait_for_log(&["sent HUP to"]);
    wait_until_served_by(&["here-node", "second-node", "third-node"]);

    // Its machine is gone, and so are its entries after the time of `forget`.
    second.cut_off();
    glue.wait_for_log(&["second has not answered for too long; forgetting 1 container"]);
    wait_until_served_by(&["here-node", "third-node"]);
    second.reconnect();
    drop(web_second);
}
