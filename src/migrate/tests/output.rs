//! Texts of translations.

use super::{super::Program, read_services, translate};
use crate::{migrate::output::format_translation, sources::compose::yaml};

fn text(program: Program, input: &str) -> String {
    let translation = translate(program, &read_services(input));
    let text = format_translation(program, &["compose.yaml".to_owned()], &translation);
    let parsed = yaml::parse_yaml("output", &text).unwrap();
    assert_eq!(parsed.documents.len(), 1, "{text}");
    text
}

#[test]
fn policies_are_toml() {
    let input = "traefik.http.middlewares.a.ipallowlist.sourcerange=10.0.0.0/8, ::1\n\
                 traefik.http.middlewares.b.basicauth.users=x:$$apr1$$\"\\\n\
                 traefik.http.middlewares.c.headers.customresponseheaders.X.Y=z";
    let text = text(Program::Traefik, input);
    let policies = text.split("# For the settings file:\n").nth(1).unwrap();
    let lines = policies.lines().filter_map(|line| line.strip_prefix('#'));
    let table: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    let policy = |name: &str| table["policy"][name].to_string();
    assert_eq!(policy("a"), "{ allow = [\"10.0.0.0/8\", \"::1\"] }");
    assert_eq!(table["policy"]["b"]["users"][0].as_str(), Some("x:$apr1$\"\\"));
    assert_eq!(table["policy"]["c"]["response_header_X.Y"].as_str(), Some("z"));
}

#[test]
fn controls_and_quotes_stay_in_their_line() {
    let input = "[a\u{1b}b]\ntraefik.http.routers.a.rule=Host(`a.test`)\n\
                 traefik.http.routers.a.middlewares=m\n\
                 traefik.http.middlewares.m.headers.customresponseheaders.X=a: \"b\" #\u{7}\\${Y}\n\
                 traefik.http.services.a.loadbalancer.server.port=80";
    let text = text(Program::Traefik, input);
    assert!(text.contains("\"a\\u001bb\":"), "{text}");
    assert!(
        text.contains("- \"glue_http_80_response_header_X=a: \\\"b\\\" #\\u0007\\\\${Y}\""),
        "{text}"
    );
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
}

#[test]
fn nothing_is_a_comment() {
    let text = text(Program::Caddy, "other=1");
    assert_eq!(
        text,
        "# No service of compose.yaml has anything for caddy-docker-proxy.\nservices: {}\n"
    );
}
