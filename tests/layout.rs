//! Which backend serves a route while HAProxy runs.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::haproxy::{config::MapName, layout::Layout, observed::Observed, plan::plan};
use std::collections::BTreeSet;

const WEB: &str = "web 172.17.0.2 glue_http_80_host=a.test";

/// HAProxy is started with the first story, told the ones between, and then asked about the last:
/// `route -> backend` in the order of the routes, `homeless` for one without, and the spares left.
fn check(stories: &[&str], expected: &[&str], spares: &[&str]) {
    let (first, rest) = stories.split_first().unwrap();
    let (last, between) = rest.split_last().unwrap();
    let mut observed = Observed::started(&story::config(&story::routes(first)));
    for story in between {
        let (config, _) = story::config_within(&story::routes(story), &observed);
        for command in plan(&observed, &config) {
            observed.obey(&command);
        }
    }
    let routes = story::routes(last);
    let (Layout { places, spares: left }, homeless) =
        Layout::within(&routes, &observed, &BTreeSet::new());
    let place = |key| places.get(key).map_or("homeless", String::as_str);
    let found: Vec<_> = routes.0.keys().map(|key| format!("{key} -> {}", place(key))).collect();
    assert_eq!(found, expected, "{last}");
    assert_eq!(homeless.len(), found.iter().filter(|it| it.ends_with("homeless")).count());
    assert_eq!(left.into_keys().collect::<Vec<_>>(), spares, "{last}");
}

fn with(more: &str) -> String {
    format!("{WEB}\n{more}")
}

#[test]
fn a_new_route_takes_a_spare_of_its_shape() {
    let api = with("api 172.17.0.3 glue_http_80_host=api.test");
    let checked = format!("{api} glue_http_80_check=/x");
    let once = format!("{api} glue_http_80_retry=off");
    let (a, both) = ("a.test:80/ -> a.test:80", ["spare-http-001", "spare-tcp-001"]);
    check(&[WEB, WEB], &[a], &both);
    check(&[WEB, &api], &[a, "api.test:80/ -> spare-tcp-001"], &both[..1]);
    check(&[WEB, &checked], &[a, "api.test:80/ -> spare-http-001"], &both[1..]);
    check(&[WEB, &once], &[a, "api.test:80/ -> homeless"], &both);
}

#[test]
fn a_route_stays_where_it_is_while_its_shape_does() {
    let api = with("api 172.17.0.3 glue_http_80_host=api.test");
    let slow = format!("{api} glue_http_80_timeout=5m");
    let checked = format!("{api} glue_http_80_check=/x");
    let (a, both) = ("a.test:80/ -> a.test:80", ["spare-http-001", "spare-tcp-001"]);
    check(&[WEB, &api, &slow], &[a, "api.test:80/ -> spare-tcp-001"], &both[..1]);
    check(&[WEB, &api, &checked], &[a, "api.test:80/ -> spare-http-001"], &both[1..]);
    check(&[&api, &checked], &[a, "api.test:80/ -> spare-http-001"], &both[1..]);
}

/// Requests of the route that leaves would reach the containers of the one that comes.
#[test]
fn a_backend_that_a_route_leaves_just_now_is_not_had_yet() {
    let api = with("api 172.17.0.3 glue_http_80_host=api.test");
    let other = with("other 172.17.0.4 glue_http_80_host=other.test");
    let a = "a.test:80/ -> a.test:80";
    let both = ["spare-http-001", "spare-tcp-001"];
    check(&[WEB, &api, &other], &[a, "other.test:80/ -> homeless"], &both);
    check(&[WEB, &api, WEB, &other], &[a, "other.test:80/ -> spare-tcp-001"], &both[..1]);
}

/// As an earlier version may have left it.
#[test]
fn two_routes_in_one_backend_are_parted() {
    let both = "web 172.17.0.2 glue_http_80_host=a.test,b.test";
    let routes = story::routes(both);
    for adds in [false, true] {
        let mut observed = Observed::started(&story::started(&routes, 1, adds));
        let map = observed.maps.get_mut(&MapName::Routes).unwrap();
        map.insert("b.test:80/".to_owned(), map["a.test:80/"].clone());
        let (layout, _) = Layout::within(&routes, &observed, &BTreeSet::new());
        let places: Vec<_> = layout.places.into_values().collect();
        assert_eq!(places, ["a.test:80", if adds { "b.test:80:2" } else { "spare-tcp-001" }]);
    }
}

/// Found by a search, for names that ended in 32 bits of a hash.
#[test]
fn routes_whose_names_were_one_have_two() {
    const PAIR: [&str; 2] = [
        "my_shop_api_v1_orders_of_the_old_web_app_2",
        "my_shop~api=v1_orders&of!the&old~web!app*2",
    ];
    let [one, other] =
        PAIR.map(|prefix| format!("glue_http_80_host=a.test glue_http_80_prefix={prefix}"));
    let routes = story::routes(&format!("one 172.17.0.2 {one}\nother 172.17.0.3 {other}"));
    assert_eq!(routes.0.len(), 2);
    let config = story::config(&routes);
    assert_eq!(config.backends.len(), 2);
    let targets = config.maps.routes.values();
    let names: BTreeSet<_> = targets.map(|it| (it.backend.clone(), it.route.clone())).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
