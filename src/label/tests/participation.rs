//! Public ports, and which containers are served.

use super::{
    Constraint, LabelLimits, check, check_limited, from_labels, has_our_labels, labelled,
    parse_labels, participates,
};

#[test]
fn bind_sets_public_ports() {
    check("glue_http_3000_host=a.test", &["a.test:3000/ -> 3000"], &[]);
    check(
        "glue_http_3000_host=a.test glue_http_3000_bind=80,+8080,80",
        &["a.test:80/ -> 3000", "a.test:8080/ -> 3000"],
        &[],
    );
}

#[test]
fn invalid_public_port_in_list_is_skipped() {
    for bad in ["0", "65536", "080", "-1", "8 0", "http", "80.0"] {
        let labels = [
            ("glue_http_80_host", "a.test".to_owned()),
            ("glue_http_80_bind", format!("{bad}, 81")),
        ];
        check_limited(
            &LabelLimits::default(),
            &from_labels(labels.map(|(key, value)| (key.to_owned(), value))),
            &["a.test:81/ -> 80"],
            &[&format!(
                "label glue_http_80_bind=\"{bad}, 81\": \"{bad}\" is not a port; a port is a whole \
                 number from 1 to 65535"
            )],
        );
    }
    check(
        "glue_http_80_host=a.test glue_http_80_host.x=x.test glue_http_80_bind=http",
        &[],
        &[
            "label glue_http_80_bind=\"http\": \"http\" is not a port; a port is a whole number \
             from 1 to 65535",
            "label glue_http_80_bind=\"http\": no value of the label is valid, so this route of \
             port 80 is ignored",
        ],
    );
}

#[test]
fn port_without_host_and_prefix_needs_ports_label() {
    check("glue_http_ports=80,+81", &["*:80/ -> 80", "*:81/ -> 81"], &[]);
    check("glue_http_ports=80 glue_http_80_weight=5", &["*:80/ -> 80 weight 5"], &[]);
    check("glue_http_ports=80 glue_http_80_host=a.test", &["a.test:80/ -> 80"], &[]);
    check("glue_http_ports=80 glue_http_80_prefix=a", &["*:80/a/ -> 80"], &[]);
    check(
        "glue_http_ports=80,x",
        &["*:80/ -> 80"],
        &["label glue_http_ports=\"80,x\": \"x\" is not a port; a port is a whole number from 1 \
             to 65535"],
    );
    check(
        "glue_http_80_weight=5",
        &[],
        &["port 80 has no host, prefix or path; set glue_http_80_host, or list the port in \
           glue_http_ports to serve every host"],
    );
}

#[test]
fn named_route_inherits_options_of_port() {
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
fn named_route_with_invalid_option_keeps_inherited_value() {
    check(
        "glue_http_80_weight=5 glue_http_80_host.x=x.test glue_http_80_weight.x=heavy",
        &["x.test:80/ -> 80 weight 5"],
        &["label glue_http_80_weight.x=\"heavy\": a weight is a whole number from 0 to 256"],
    );
    check(
        "glue_http_80_bind=81 glue_http_80_host.x=x.test glue_http_80_bind.x=no",
        &[],
        &[
            "label glue_http_80_bind.x=\"no\": \"no\" is not a port; a port is a whole number from \
             1 to 65535",
            "label glue_http_80_bind.x=\"no\": no value of the label is valid, so this route of \
             port 80 is ignored",
        ],
    );
}

#[test]
fn port_with_named_routes_only_is_valid() {
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
        &["route x of port 80 has no host, prefix or path of its own; set glue_http_80_host.x"],
    );
    check(
        "glue_http_ports=80 glue_http_80_weight.x=5",
        &["*:80/ -> 80"],
        &["route x of port 80 has no host, prefix or path of its own; set glue_http_80_host.x"],
    );
}

#[test]
fn duplicate_route_of_port_is_merged() {
    check("glue_http_80_host=a.test glue_http_80_host.x=a.test", &["a.test:80/ -> 80"], &[]);
    check(
        "glue_http_80_host=a.test glue_http_80_host.x=a.test glue_http_80_weight.x=5",
        &["a.test:80/ -> 80"],
        &["port 80 requests a.test:80/ twice, with different options; the labels without a route \
           name are used, or else those of the first name"],
    );
    check(
        "glue_http_80_host=a.test glue_http_81_host=a.test glue_http_81_bind=80",
        &["a.test:80/ -> 80", "a.test:80/ -> 81"],
        &["2 ports of the container serve a.test:80/, and each gets a share of its requests; if \
           this is not intended, give each port its own host or prefix"],
    );
}

#[test]
fn label_overrides_environment() {
    let mut container = labelled("glue_http_80_host=label.test glue_http_80_weight=");
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
    check_limited(
        &LabelLimits::default(),
        &container,
        &["label.test:80/ -> 80 timeout 5000ms", "e.test:3000/ -> 3000"],
        &[
            "label glue_http_80_hots=\"x\": unknown label; did you mean glue_http_80_host?",
            "label glue_http_80_weight=\"\": the value is empty; set a value, or remove the label",
        ],
    );
}

#[test]
fn network_label_is_parsed_and_invalid_one_excludes_container() {
    let network = |labels: &str| parse_labels(&labelled(labels), &LabelLimits::default()).network;
    assert_eq!(network("glue_network=+front+"), Some("front".into()));
    assert_eq!(network("glue_http_80_host=a.test"), None);
    check(
        "glue_network= glue_http_80_host=a.test glue_http_80_weight=x",
        &[],
        &[
            "label glue_http_80_weight=\"x\": a weight is a whole number from 0 to 256",
            "label glue_network=\"\": the value is empty; set a value, or remove the label",
        ],
    );
}

#[test]
fn container_with_our_label_participates() {
    let participates_with =
        |labels: &str, limits: &LabelLimits| participates(&labelled(labels), limits);
    let open = LabelLimits::default();
    assert!(
        has_our_labels(["a", "glue_network"]) && !has_our_labels(["a", "GLUE_network", "xglue_"])
    );
    assert!(participates_with("glue_http_80_host=a.test", &open));
    assert!(participates_with("glue_hpt=", &open), "it speaks to us, so its near miss is told");
    assert!(!participates_with("", &open) && !participates_with("traefik.enable=true", &open));
    assert!(participates_with("glue_network=a com.docker.compose.oneoff=False", &open));
    assert!(!participates_with("glue_network=a com.docker.compose.oneoff=True", &open));
    assert!(!participates_with("glue_network=a com.docker.compose.oneoff=true", &open));
    let mut environment_only = labelled("");
    environment_only.environment.insert("glue_network".into(), "front".into());
    assert!(participates(&environment_only, &open));
}

#[test]
fn container_participates_only_if_all_constraints_match() {
    let constraint = |label: &str, value: Option<&str>| Constraint {
        label: label.into(),
        value: value.map(Into::into),
    };
    let constraints = vec![constraint("stage", Some("live")), constraint("owner", None)];
    let limits = LabelLimits { constraints, ..LabelLimits::default() };
    let participates_with = |labels: &str| participates(&labelled(labels), &limits);
    assert!(participates_with("glue_network=a stage=live owner="));
    assert!(!participates_with("glue_network=a stage=test owner=me"));
    assert!(!participates_with("glue_network=a stage=live"));
    assert!(!participates_with("stage=live owner=me"));
}
