//! The assignment of routes to backends while HAProxy runs.

use crate::common::story;
use docker_glue::haproxy::{
    config::MapName, layout::Layout, observed::ObservedState, plan::plan_commands,
};
use std::collections::BTreeSet;

const WEB: &str = "web 172.17.0.2 glue_http_80_host=a.test";

/// HAProxy is started with the first story and receives the plans of the following ones. Checks the layout of the last
/// story: `route -> backend` in the order of the routes, `homeless` for a route without a backend, and the spares left.
/// Those of sticky routes are only in the list if the last story has one.
fn check_layout(stories: &[&str], expected: &[&str], spares: &[&str]) {
    let (first, texts) = stories.split_first().unwrap();
    let (last, between) = texts.split_last().unwrap();
    let mut observed =
        ObservedState::from_config(&story::build_config(&story::parse_routes(first)));
    for story in between {
        let (config, _) = story::config_within(&story::parse_routes(story), &observed);
        for command in plan_commands(&observed, &config) {
            observed.apply_command(&command);
        }
    }
    let routes = story::parse_routes(last);
    let (Layout { assignments: places, spares: left }, homeless) =
        Layout::for_running_worker(&routes, &observed, &BTreeSet::new());
    let position = |key| places.get(key).map_or("homeless", String::as_str);
    let found: Vec<_> = routes.0.keys().map(|key| format!("{key} -> {}", position(key))).collect();
    assert_eq!(found, expected, "{last}");
    assert_eq!(homeless.len(), found.iter().filter(|text| text.ends_with("homeless")).count());
    let is_shown = |name: &String| last.contains("sticky") || !name.contains("sticky");
    let left: Vec<_> = left.into_keys().filter(is_shown).collect();
    assert_eq!(left, spares, "{last}");
}

fn with_web(more: &str) -> String {
    format!("{WEB}\n{more}")
}

#[test]
fn new_route_takes_a_spare_of_its_shape() {
    let api = with_web("api 172.17.0.3 glue_http_80_host=api.test");
    let checked = format!("{api} glue_http_80_check=/x");
    let once = format!("{api} glue_http_80_retry=off");
    let (a, both) = ("a.test:80/ -> a.test:80", ["spare-http-001", "spare-tcp-001"]);
    check_layout(&[WEB, WEB], &[a], &both);
    check_layout(&[WEB, &api], &[a, "api.test:80/ -> spare-tcp-001"], &both[..1]);
    check_layout(&[WEB, &checked], &[a, "api.test:80/ -> spare-http-001"], &both[1..]);
    check_layout(&[WEB, &once], &[a, "api.test:80/ -> homeless"], &both);
    let sticky = format!("{api} glue_http_80_sticky=cookie");
    let left = ["spare-http-001", "spare-sticky-http-001", "spare-tcp-001"];
    check_layout(&[WEB, &sticky], &[a, "api.test:80/ -> spare-sticky-tcp-001"], &left);
    check_layout(&[WEB, &api, &sticky], &[a, "api.test:80/ -> spare-sticky-tcp-001"], &left);
}

#[test]
fn route_keeps_its_backend_while_its_shape_is_unchanged() {
    let api = with_web("api 172.17.0.3 glue_http_80_host=api.test");
    let slow = format!("{api} glue_http_80_timeout=5m");
    let checked = format!("{api} glue_http_80_check=/x");
    let (a, both) = ("a.test:80/ -> a.test:80", ["spare-http-001", "spare-tcp-001"]);
    check_layout(&[WEB, &api, &slow], &[a, "api.test:80/ -> spare-tcp-001"], &both[..1]);
    check_layout(&[WEB, &api, &checked], &[a, "api.test:80/ -> spare-http-001"], &both[1..]);
    check_layout(&[&api, &checked], &[a, "api.test:80/ -> spare-http-001"], &both[1..]);
}

/// Otherwise requests for the removed route would reach the containers of the new one.
#[test]
fn backend_freed_in_this_pass_is_not_reused_yet() {
    let api = with_web("api 172.17.0.3 glue_http_80_host=api.test");
    let other = with_web("other 172.17.0.4 glue_http_80_host=other.test");
    let a = "a.test:80/ -> a.test:80";
    let both = ["spare-http-001", "spare-tcp-001"];
    check_layout(&[WEB, &api, &other], &[a, "other.test:80/ -> homeless"], &both);
    check_layout(&[WEB, &api, WEB, &other], &[a, "other.test:80/ -> spare-tcp-001"], &both[..1]);
}

/// An earlier version may have left HAProxy in this state.
#[test]
fn two_routes_in_one_backend_are_separated() {
    let both = "web 172.17.0.2 glue_http_80_host=a.test,b.test";
    let routes = story::parse_routes(both);
    for adds in [false, true] {
        let mut observed = ObservedState::from_config(&story::config_at_start(&routes, 1, adds));
        let map = observed.maps.get_mut(&MapName::Routes).unwrap();
        map.insert("b.test:80/".to_owned(), map["a.test:80/"].clone());
        let (layout, _) = Layout::for_running_worker(&routes, &observed, &BTreeSet::new());
        let places: Vec<_> = layout.assignments.into_values().collect();
        assert_eq!(places, ["a.test:80", if adds { "b.test:80:2" } else { "spare-tcp-001" }]);
    }
}

/// The pair was found by a search, for names that ended in 32 bits of a hash.
#[test]
fn routes_with_colliding_names_get_two_backends() {
    const PAIR: [&str; 2] = [
        "my_shop_api_v1_orders_of_the_old_web_app_2",
        "my_shop~api=v1_orders&of!the&old~web!app*2",
    ];
    let [one, other] =
        PAIR.map(|prefix| format!("glue_http_80_host=a.test glue_http_80_prefix={prefix}"));
    let routes = story::parse_routes(&format!("one 172.17.0.2 {one}\nother 172.17.0.3 {other}"));
    assert_eq!(routes.0.len(), 2);
    let config = story::build_config(&routes);
    assert_eq!(config.backends.len(), 2);
    let targets = config.maps.routes.values();
    let names: BTreeSet<_> =
        targets.map(|target| (target.backend.clone(), target.route.clone())).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
