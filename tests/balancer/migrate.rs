//! `docker-balancer migrate --running`.

use crate::common::{self, balancer::Balancer};

#[test]
fn labels_of_running_containers_are_translated() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let labels = "traefik.http.routers.app.rule=Host(`migrate.test`) \
                  traefik.http.routers.app.middlewares=auth \
                  traefik.http.middlewares.auth.basicauth.users=a:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/ \
                  traefik.http.services.app.loadbalancer.server.port=3000";
    let _fleet = common::start_all(vec![plan.run("migrated").labels(labels)]);
    let output =
        plan.command().args(["migrate", "--from", "traefik", "--running"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("- glue_http_3000_host=migrate.test "), "{text}");
    // A dollar of a label is doubled in a compose file.
    assert!(
        text.contains("- glue_http_3000_users=a:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/ "),
        "{text}"
    );
}
