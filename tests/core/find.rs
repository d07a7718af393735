//! Lookup of a container by a name or an id.

use crate::common::story;
use docker_glue::{
    controller::find::find_container,
    model::container::{Container, ContainerId},
};

/// Returns a world with the same containers in two sources.
fn two_sources() -> Vec<Container> {
    let world = story::parse_world(
        "web 172.17.0.2 glue_http_ports=80
         api 172.17.0.3 glue_http_ports=80",
    );
    let copy = |source: &str, container: &Container| {
        let id = ContainerId::in_source(source.parse().unwrap(), container.id.as_str());
        Container { id, ..container.clone() }
    };
    let containers: Vec<_> = world.containers.values().collect();
    let of = |source| containers.iter().map(move |container| copy(source, container));
    of("node1").chain(of("node2").take(1)).collect()
}

#[test]
fn container_of_several_sources_is_found_with_its_source() {
    let containers = two_sources();
    for (text, expected) in [
        ("web@node1", "web 00c0ffee0000.node1"),
        ("web@node2", "web 00c0ffee0000.node2"),
        ("00c0ffee0001", "api 00c0ffee0001.node1"),
        ("api", "api 00c0ffee0001.node1"),
        ("web", "\"web\" is a container of several sources: write web@node1 or web@node2"),
        (
            "api@node2",
            "no container \"api\" with labels for this docker-balancer; give a name, an id, or the \
             beginning of an id",
        ),
    ] {
        let found = find_container(containers.iter(), text);
        let actual = found.map_or_else(
            |failure| failure.to_string(),
            |container| format!("{} {}", container.name, container.id),
        );
        assert_eq!(actual, expected);
    }
}

#[test]
fn container_is_found_by_name_or_id_prefix() {
    // The ids begin with 00c0ffee000 followed by 0, 1 or 2.
    let world = story::parse_world(
        "web-1 172.17.0.2 glue_http_ports=80
         web-2 172.17.0.3 glue_http_ports=80
         00c0ffee 172.17.0.4 glue_http_ports=80",
    );
    let full = format!("00c0ffee0001{}", "0".repeat(52));
    for (text, expected) in [
        ("web-1", "web-1"),
        ("/web-1", "web-1"),
        ("00c0ffee", "00c0ffee"),
        ("00c0ffee0001", "web-2"),
        (full.as_str(), "web-2"),
        (
            "00c0",
            "\"00c0\" matches several ids: web-1 (00c0ffee0000) and web-2 (00c0ffee0001) and \
             00c0ffee (00c0ffee0002); give more characters",
        ),
        (
            "web-11",
            "no container \"web-11\" with labels for this docker-balancer; did you mean web-1?",
        ),
        (
            "db",
            "no container \"db\" with labels for this docker-balancer; give a name, an id, or the \
             beginning of an id",
        ),
        (
            "",
            "no container \"\" with labels for this docker-balancer; give a name, an id, or the \
             beginning of an id",
        ),
    ] {
        let found = find_container(world.containers.values().map(AsRef::as_ref), text);
        let text =
            found.map_or_else(|failure| failure.to_string(), |container| container.name.clone());
        assert_eq!(text, expected);
    }
}
