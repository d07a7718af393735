//! docker-glue's templates list the services of a real Swarm with one node, and restart a service.

use crate::common::{self, build_whoami_image, engine::Engine, glue::Glue, wait_for};

#[test]
fn template_lists_swarm_services_and_restarts_a_service() {
    let Some(mut engine) = Engine::new() else { return };
    if !engine.start_swarm() {
        return;
    }
    let docker = engine.docker();
    engine.load_image();
    // The service uses the host's network and none of the Swarm's own networks.
    docker.run_docker(
        &[
            &["service", "create", "--detach", "--no-resolve-image", "--network", "host"][..],
            &[
                "--name",
                "shop_web",
                "--label",
                "com.docker.stack.namespace=shop",
                build_whoami_image(),
            ],
            &["--port", &common::balancer::free_port().to_string()],
        ]
        .concat(),
    );
    let template = "template=# {% for service in services %}\n  \
        service {{ service.name }} {{ service.image }}\n  \
        {% for task in service.tasks.with_status('running') %}\n  \
        task {{ task.slot }} {{ containers.matching(task.container_id).first.name == task.name }}\n  \
        {% endfor %}\n  {% endfor %}\n  \
        {% for node in nodes %}\n  node {{ node.role }} {{ node.state }}\n  {% endfor %}\n";
    let glue = Glue::plan(&docker).file(
        "web.ini",
        &format!("[handler]\nclass=template\n[params]\ntarget=ROOT/out\nrestart=web\n{template}"),
    );
    let expected =
        format!("service shop_web {}\ntask 1 True\nnode manager ready\n", build_whoami_image());
    let force = "{{.Spec.TaskTemplate.ForceUpdate}}";
    wait_for("the task to run", || {
        assert!(glue.run(&["--once"]).status.success());
        (glue.read("out") == expected).then_some(())
    });
    assert_ne!(docker.run_docker(&["service", "inspect", "--format", force, "shop_web"]), "0");
}
