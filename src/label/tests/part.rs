//! Public ports, and who takes part.

use super::{Constraint, Fences, check, check_fenced, container, read, speaks, takes_part, with};

#[test]
fn the_world_finds_it_where_bind_says() {
    check("glue_http_3000_host=a.test", &["a.test:3000/ -> 3000"], &[]);
    check(
        "glue_http_3000_host=a.test glue_http_3000_bind=80,+8080,80",
        &["a.test:80/ -> 3000", "a.test:8080/ -> 3000"],
        &[],
    );
}

#[test]
fn a_bad_public_port_costs_that_port() {
    for bad in ["0", "65536", "080", "-1", "8 0", "http", "80.0"] {
        let labels = [
            ("glue_http_80_host", "a.test".to_owned()),
            ("glue_http_80_bind", format!("{bad}, 81")),
        ];
        check_fenced(
            &Fences::default(),
            &with(labels.map(|(key, value)| (key.to_owned(), value))),
            &["a.test:81/ -> 80"],
            &[&format!(
                "label glue_http_80_bind=\"{bad}, 81\": \"{bad}\" is no port; a port is a whole number from 1 to 65535"
            )],
        );
    }
    check(
        "glue_http_80_host=a.test glue_http_80_host.x=x.test glue_http_80_bind=http",
        &[],
        &[
            "label glue_http_80_bind=\"http\": \"http\" is no port; a port is a whole number from 1 to 65535",
            "label glue_http_80_bind=\"http\": nothing is left of it, so this route of port 80 is out",
        ],
    );
}

#[test]
fn a_port_without_host_and_prefix_takes_part_where_it_is_listed() {
    check("glue_http_ports=80,+81", &["*:80/ -> 80", "*:81/ -> 81"], &[]);
    check("glue_http_ports=80 glue_http_80_weight=5", &["*:80/ -> 80 weight 5"], &[]);
    check("glue_http_ports=80 glue_http_80_host=a.test", &["a.test:80/ -> 80"], &[]);
    check("glue_http_ports=80 glue_http_80_prefix=a", &["*:80/a/ -> 80"], &[]);
    check(
        "glue_http_ports=80,x",
        &["*:80/ -> 80"],
        &[
            "label glue_http_ports=\"80,x\": \"x\" is no port; a port is a whole number from 1 to 65535",
        ],
    );
    check(
        "glue_http_80_weight=5",
        &[],
        &[
            "port 80 has no host and no prefix; give it glue_http_80_host, or name it in glue_http_ports to serve every host",
        ],
    );
}

#[test]
fn a_named_route_takes_the_rest_from_its_port() {
    check(
        "glue_http_80_host=a.test glue_http_80_prefix=p glue_http_80_strip_prefix=1 glue_http_80_weight=5 \
         glue_http_80_bind=81 glue_http_80_check=/up glue_http_80_health=require glue_http_80_timeout=5s \
         glue_http_80_retry=all glue_http_80_host.x=x.test",
        &[
            "a.test:81/p/ -> 80 weight 5 strip check /up timeout 5000ms retry all require",
            "x.test:81/ -> 80 weight 5 strip check /up timeout 5000ms retry all require",
        ],
        &[],
    );
    check(
        "glue_http_80_host=a.test glue_http_80_weight=5 glue_http_80_prefix.x=ui glue_http_80_weight.x=6 \
         glue_http_80_bind.x=8080 glue_http_80_strip_prefix.x=on glue_http_80_check.x=off \
         glue_http_80_health.x=ignore glue_http_80_timeout.x=1s glue_http_80_retry.x=off",
        &[
            "a.test:80/ -> 80 weight 5",
            "*:8080/ui/ -> 80 weight 6 strip unchecked timeout 1000ms retry off ignore",
        ],
        &[],
    );
}

#[test]
fn a_named_routes_bad_option_leaves_what_it_takes_from_its_port() {
    check(
        "glue_http_80_weight=5 glue_http_80_host.x=x.test glue_http_80_weight.x=heavy",
        &["x.test:80/ -> 80 weight 5"],
        &["label glue_http_80_weight.x=\"heavy\": a weight is a whole number from 0 to 256"],
    );
    check(
        "glue_http_80_bind=81 glue_http_80_host.x=x.test glue_http_80_bind.x=no",
        &[],
        &[
            "label glue_http_80_bind.x=\"no\": \"no\" is no port; a port is a whole number from 1 to 65535",
            "label glue_http_80_bind.x=\"no\": nothing is left of it, so this route of port 80 is out",
        ],
    );
}

#[test]
fn a_port_may_have_named_routes_alone() {
    check(
        "glue_http_80_host.a=a.test glue_http_80_host.b=b.test",
        &["a.test:80/ -> 80", "b.test:80/ -> 80"],
        &[],
    );
    check(
        "glue_http_80_host.a=a.test glue_http_ports=80",
        &["a.test:80/ -> 80", "*:80/ -> 80"],
        &[],
    );
    check(
        "glue_http_80_host=a.test glue_http_80_weight.x=5",
        &["a.test:80/ -> 80"],
        &["route x of port 80 has no host and no prefix of its own; give it glue_http_80_host.x"],
    );
    check(
        "glue_http_ports=80 glue_http_80_weight.x=5",
        &["*:80/ -> 80"],
        &["route x of port 80 has no host and no prefix of its own; give it glue_http_80_host.x"],
    );
}

#[test]
fn a_port_asks_once_for_a_route() {
    check("glue_http_80_host=a.test glue_http_80_host.x=a.test", &["a.test:80/ -> 80"], &[]);
    check(
        "glue_http_80_host=a.test glue_http_80_host.x=a.test glue_http_80_weight.x=5",
        &["a.test:80/ -> 80"],
        &[
            "port 80 asks for a.test:80/ twice, with options that differ; the labels without a route name count, else those of the first name",
        ],
    );
    check(
        "glue_http_80_host=a.test glue_http_81_host=a.test glue_http_81_bind=80",
        &["a.test:80/ -> 80", "a.test:80/ -> 81"],
        &[
            "2 ports of the container serve a.test:80/, and each gets a share of its requests; if that is not meant, give each port a host or a prefix of its own",
        ],
    );
}

#[test]
fn labels_win_over_the_environment() {
    let mut container = container("glue_http_80_host=label.test glue_http_80_weight=");
    container.environment = [
        ("PATH", "/bin"),
        ("glue_http_80_host", "environment.test"),
        ("glue_http_80_timeout", "5s"),
        ("glue_http_80_weight", "5"),
        ("glue_http_3000_host", "e.test"),
        ("glue_http_80_hots", "x"),
    ]
    .map(|(key, value)| (key.into(), value.into()))
    .into();
    check_fenced(
        &Fences::default(),
        &container,
        &["label.test:80/ -> 80 timeout 5000ms", "e.test:3000/ -> 3000"],
        &[
            "label glue_http_80_hots=\"x\": there is no such label; did you mean glue_http_80_host?",
            "label glue_http_80_weight=\"\": the value is empty; give it one, or leave the label away",
        ],
    );
}

#[test]
fn the_network_is_read_and_a_bad_one_takes_the_container_out() {
    let network = |labels: &str| read(&container(labels), &Fences::default()).network;
    assert_eq!(network("glue_network=+front+"), Some("front".into()));
    assert_eq!(network("glue_http_80_host=a.test"), None);
    check(
        "glue_network= glue_http_80_host=a.test glue_http_80_weight=x",
        &[],
        &[
            "label glue_http_80_weight=\"x\": a weight is a whole number from 0 to 256",
            "label glue_network=\"\": the value is empty; give it one, or leave the label away",
        ],
    );
}

#[test]
fn a_container_takes_part_by_a_label_of_ours() {
    let part = |labels: &str, fences: &Fences| takes_part(&container(labels), fences);
    let open = Fences::default();
    assert!(speaks(["a", "glue_network"]) && !speaks(["a", "GLUE_network", "xglue_"]));
    assert!(part("glue_http_80_host=a.test", &open));
    assert!(part("glue_hpt=", &open), "it speaks to us, so its near miss is told");
    assert!(!part("", &open) && !part("traefik.enable=true", &open));
    assert!(part("glue_network=a com.docker.compose.oneoff=False", &open));
    assert!(!part("glue_network=a com.docker.compose.oneoff=True", &open));
    assert!(!part("glue_network=a com.docker.compose.oneoff=true", &open));
    let mut spoken = container("");
    spoken.environment.insert("glue_network".into(), "front".into());
    assert!(takes_part(&spoken, &open));
}

#[test]
fn every_constraint_must_hold() {
    let constraint = |label: &str, value: Option<&str>| Constraint {
        label: label.into(),
        value: value.map(Into::into),
    };
    let constraints = vec![constraint("stage", Some("live")), constraint("owner", None)];
    let fences = Fences { constraints, ..Fences::default() };
    let part = |labels: &str| takes_part(&container(labels), &fences);
    assert!(part("glue_network=a stage=live owner="));
    assert!(!part("glue_network=a stage=test owner=me"));
    assert!(!part("glue_network=a stage=live"));
    assert!(!part("stage=live owner=me"));
}
