use super::*;
use crate::model::{container::Transport, source_name::SourceName, world::World};
use planned_container::Placeholders;
use proptest::strategy::Strategy as _;
use std::fs;

fn parse_pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn variables_are_interpolated_like_compose() {
    let environment = parse_pairs("A=1 EMPTY= B_2=two");
    for (text, expected) in [
        ("plain", "plain"),
        ("$A${B_2}x", "1twox"),
        ("$A.test", "1.test"),
        ("$$A $$", "$A $"),
        ("[$NONE]", "[]"),
        ("${A:-x} ${A-x} ${EMPTY:-x} ${EMPTY-x} ${NONE:-x} ${NONE-x}", "1 1 x  x x"),
        ("${A:+x} ${A+x} ${EMPTY:+x} ${EMPTY+x} ${NONE:+x} ${NONE+x}", "x x  x  "),
        ("${NONE:-${A}/${NONE-y}}", "1/y"),
        ("${NONE:-{}}", "{}"),
        ("${A:?must}", "1"),
        ("${NONE:?tell $A}", "! the variable NONE must be set: tell 1"),
        ("${EMPTY:?}", "! the variable EMPTY must be set"),
        ("${EMPTY?x}", ""),
    ] {
        let filled = interpolate::fill_variables(text, &environment).map(|text| text.text);
        assert_eq!(filled.unwrap_or_else(|error| format!("! {error}")), expected, "{text}");
    }
    for text in ["$", "a$ b", "$1", "${A", "${}", "${A!x}", "${-x}"] {
        let error = interpolate::fill_variables(text, &environment).unwrap_err().to_string();
        assert!(error.contains("does not start a variable"), "{text}: {error}");
    }
}

#[test]
fn env_file_is_parsed_with_quotes_and_references() {
    let text = "# all of it\n\nA=1\nexport B = two words # not this\nC='$A # this'\nD=\"$A\\n\"\nE=${A}${OUT}\nF\n";
    let parsed = variables::parse_variables(text, &parse_pairs("OUT=side A=shell"));
    assert_eq!(parsed.errors, []);
    let parsed: Vec<_> =
        parsed.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        parsed,
        ["A=1", "B=two words", "C=$A # this", "D=shell\n", "E=shellside", "F="],
        "the shell's wins"
    );
}

/// A project in its own folder, with these files next to it.
fn load_project(files: &[(&str, &str)], environment: &str) -> Result<Project> {
    load_deployed(files, environment, Deployment::Compose)
}

fn load_deployed(
    files: &[(&str, &str)],
    environment: &str,
    deployment: Deployment,
) -> Result<Project> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (name, text) = files[0];
    let (folder, environment) = (folder.path().to_owned(), parse_pairs(environment));
    let context = ReadContext { folder, environment, deployment, variables: VariableMode::Fill };
    let shop = |project: Project| Project { name: project.name, ..project };
    Project::parse_project(name, text, &context).map(shop)
}

#[test]
fn labels_under_deploy_are_laid_over_the_containers_in_a_swarm() {
    let text = "services:\n  a:\n    labels: {x: 1, y: 1}\n    deploy: {labels: [y=2, glue_z=3]}\n";
    for (deployment, expected, has_notes) in
        [(Deployment::Compose, "x=1 y=1", true), (Deployment::Swarm, "glue_z=3 x=1 y=2", false)]
    {
        let project = load_deployed(&[("c.yaml", text)], "", deployment).unwrap();
        let labels = project.services[0].labels.iter();
        let labels: Vec<_> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels.join(" "), expected);
        assert_eq!(!project.notes.is_empty(), has_notes, "{:?}", project.notes);
    }
}

/// One line per service: `service ×scale on networks: labels`.
fn services_text(files: &[(&str, &str)], environment: &str) -> String {
    let project = match load_project(files, environment) {
        Ok(project) => project,
        Err(error) => return format!("{error:#}"),
    };
    let line = |service: &Service| {
        let labels = service
            .labels
            .iter()
            .map(|(key, value)| format!(" {key}={value}@{}", service.positions[key].line));
        let mode = match &service.network {
            ServiceNetwork::Networks(names) => names.iter().cloned().collect::<Vec<_>>().join("+"),
            other => format!("{other:?}"),
        };
        format!("{} x{} on {mode}:{}", service.name, service.scale, labels.collect::<String>())
    };
    project.services.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn services_are_parsed_with_label_lines() {
    let check = |text: &str, environment: &str, expected: &str| {
        assert_eq!(services_text(&[("c.yaml", text)], environment), expected, "{text}");
    };
    check(
        "name: shop\nservices:\n  web:\n    labels:\n      a: b\n      n: 1\n      y: yes\n      o: 010\n",
        "",
        "web x1 on shop_default: a=b@5 n=1@6 o=010@8 y=yes@7",
    );
    check(
        "name: shop\nservices:\n  web:\n    labels:\n      - a=b=c\n      - \"d\"\n",
        "",
        "web x1 on shop_default: a=b=c@5 d=@6",
    );
    check(
        "name: shop\nservices:\n  web:\n    labels: {a: \"${HOST:-x}.test\"}\n",
        "HOST=h",
        "web x1 on shop_default: a=h.test@4",
    );
    check(
        "name: shop\nservices:\n  web:\n    networks: [front, back]\nnetworks:\n  front:\n  back: {name: the-back, external: true}\n",
        "",
        "web x1 on shop_front+the-back:",
    );
    check(
        "name: shop\nservices:\n  web:\n    networks:\n      front:\n      out: {aliases: [w]}\nnetworks:\n  front:\n    name: $N\n  out:\n    external: true\n",
        "N=n",
        "web x1 on n+out:",
    );
    check(
        "name: shop\nservices:\n  a: {network_mode: host}\n  b: {network_mode: none}\n  c: {network_mode: \"service:a\"}\n  d: {network_mode: \"container:x\"}\n",
        "",
        "a x1 on Host:\nb x1 on None:\nc x1 on Service(\"a\"):\nd x1 on Container(\"x\"):",
    );
    check(
        "name: shop\nservices:\n  a: {scale: 3}\n  b: {deploy: {replicas: 0}}\n  c: {deploy: {mode: global, replicas: 9}}\n",
        "",
        "a x3 on shop_default:\nb x0 on shop_default:\nc x1 on shop_default:",
    );
    check(
        "name: shop\nservices:\n  a: {profiles: [debug]}\n  b: {profiles: [x, y]}\n  c:\n",
        "COMPOSE_PROFILES=y,z",
        "b x1 on shop_default:\nc x1 on shop_default:",
    );
    check(
        "name: shop\nx-base: &base\n  labels: {a: b}\n  scale: 2\nservices:\n  web:\n    <<: *base\n    scale: 1\n",
        "",
        "web x1 on shop_default: a=b@3",
    );
    check(
        "name: shop\nservices:\n  web:\n    extends: {service: base}\n    labels: [c=d]\n  base:\n    profiles: [never]\n    labels: {a: b, c: x}\n    networks: [n]\nnetworks: {n: }\n",
        "",
        "web x1 on shop_n: a=b@8 c=d@5",
    );
}

/// The output of `docker compose config --format json`.
#[test]
fn output_of_compose_config_is_parsed() {
    let text = r#"{"name": "shop", "networks": {"default": {"name": "shop_default", "ipam": {}}}, "services": {"web": {"deploy": {"replicas": 2}, "image": "nginx", "labels": {"a": "$$b"}, "networks": {"default": null}, "environment": {"X": null}, "ports": [{"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"}]}}}"#;
    assert_eq!(services_text(&[("c.json", text)], ""), "web x2 on shop_default: a=$b@1");
}

#[test]
fn extended_and_env_files_are_read() {
    let text = "services:\n  web:\n    extends: {file: base.yaml, service: web}\n    labels: {host: $HOST}\n    label_file: l.env\n";
    let base = "services:\n  web:\n    scale: 2\n    labels: [from=base]\n";
    let files = [
        ("c.yaml", text),
        ("base.yaml", base),
        (".env", "HOST=dot.test\nCOMPOSE_PROJECT_NAME=env\n"),
        ("l.env", "x=1\nhost=never\n"),
    ];
    assert_eq!(
        services_text(&files, ""),
        "web x2 on env_default: from=base@4 host=dot.test@4 x=1@5"
    );
    assert_eq!(
        services_text(&files, "HOST=shell"),
        "web x2 on env_default: from=base@4 host=shell@4 x=1@5"
    );
}

/// The notes about the file, one a line.
fn note_lines(files: &[(&str, &str)], environment: &str) -> Vec<String> {
    let project = load_project(files, environment).unwrap_or_else(|error| panic!("{error:#}"));
    let line = |note: &ComposeNote| format!("{} {:?}: {note}", note.position.line, note.severity());
    project.notes.iter().map(line).collect()
}

#[test]
#[allow(clippy::format_collect, reason = "it is short")]
fn invalid_compose_file_is_refused_with_line() {
    let check = |text: &str, expected: &str| {
        let actual = services_text(&[("c.yaml", text)], "");
        assert!(actual.contains(expected), "{actual}");
    };
    check("a: b\n", "c.yaml: no services found; check that it is a compose file");
    check("- a\n", "c.yaml: no services found; check that it is a compose file");
    check("", "c.yaml: the file is empty");
    check("# nothing\n---\n", "c.yaml: the file is empty");
    check("services:\n  a: [\n", "c.yaml:3:");
    check("services:\n  a:\n\tb: c\n", "YAML must be indented by spaces, but there is a tab");
    check("services: [a]\n", "c.yaml:1: services must be a mapping");
    check("services:\n  ? [a]\n  : b\n", "c.yaml:2: a key must be a text");
    check("a: &x [*x]\n", "c.yaml:1: an alias refers to itself");
    let deep = format!("a: {}{}\n", "[".repeat(90), "]".repeat(90));
    check(&deep, "no services found");
    let deep = "a:\n".to_owned() + &(1..200).map(|at| " ".repeat(at) + "a:\n").collect::<String>();
    check(&deep, "nested more than 100 levels deep");
}

/// A mistake that labels do not depend on is a hint; one that they depend on is a problem with a
/// suggested fix.
#[test]
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn unsupported_content_is_noted_with_line() {
    let check = |text: &str, expected: &[&str]| {
        let notes = note_lines(&[("c.yaml", &format!("services:\n  a:\n{text}"))], "EMPTY=");
        assert_eq!(notes.len(), expected.len(), "{text}: {notes:#?}");
        for (line, expected) in notes.iter().zip(expected) {
            assert!(line.starts_with(expected), "{text}: {line}");
        }
    };
    check("    image: x\n", &[]);
    check(
        "    labels:\n      glue_x: ${Y:?say it}\n",
        &["4 Problem: service a: label glue_x: the variable Y must be set: say it"],
    );
    check(
        "    image: ${Y:?say it}\n",
        &["3 Hint: the variable Y must be set: say it (labels are not affected)"],
    );
    check("    labels: {x: $}\n", &["3 Hint: \"$\" has a $ that does not start a variable"]);
    check("    labels: {glue_x: $}\n", &["3 Problem: service a: label glue_x: \"$\" has a $"]);
    check("    command: echo $(date)\n", &["3 Hint: \"echo $(date)\" has a $"]);
    check("    networks: [b]\n", &["3 Hint: service a: network b is not defined in the file"]);
    check("    extends: {service: b}\n", &["3 Hint: service a: there is no service b to extend"]);
    check(
        "    extends: {file: b.yaml, service: b}\n",
        &["3 Hint: service a: no such file: b.yaml; not checked: inherited settings"],
    );
    check(
        "    extends: a\n",
        &["3 Hint: service a: files or services refer to each other in a circle"],
    );
    check("    extends: {}\n", &["3 Hint: service a: extends does not name a service"]);
    check(
        "    ports: [web]\n",
        &["3 Hint: service a: \"web\" is not a port in the syntax of compose"],
    );
    check("    ports: [{published: 80}]\n", &["3 Hint: service a: \"\" is not a port"]);
    check("    expose: [80:80]\n", &["3 Hint: service a: \"80:80\" is not a port"]);
    check("    scale: many\n", &["3 Hint: service a: \"many\" is not a number of containers"]);
    check(
        "    scale: 4000000000\n",
        &["3 Hint: service a: the service has more than 10000 containers"],
    );
    check(
        "    label_file: none.env\n",
        &["3 Problem: service a: label_file: no such file: none.env; not checked: its content"],
    );
    check("    env_file: [none.env, {path: other.env, required: false}]\n", &[]);
    check("    env_file: /dev/zero\n", &["3 Hint: service a: /dev/zero is not a regular file"]);
    check("    label_file: .\n", &["3 Problem: service a: label_file: . is not a regular file"]);
    check(
        "    image: a\n    image: b\n",
        &["4 Hint: image is set twice, which docker compose refuses"],
    );
    check(
        "    labels:\n      glue_x: 1\n      glue_x: 2\n",
        &["5 Problem: label glue_x is set twice"],
    );
    check(
        "    labels:\n      - glue_x: a.test\n",
        &[
            "4 Problem: service a: - glue_x: a.test is a mapping in a list, not a label; write - glue_x=a.test",
        ],
    );
    check(
        "    labels:\n      - other: a.test\n",
        &["4 Hint: service a: - other: a.test is a mapping in a list"],
    );
    check("    labels:\n      - [glue_x]\n", &["4 Hint: service a: a list in the list of labels"]);
    check("    labels: glue_x=a\n", &["3 Problem: service a: labels is a text"]);
    check(
        "    labels:\n      glue_x: [a.test, b.test]\n",
        &[
            "4 Problem: service a: label glue_x is a list, but a label's value must be a text; write glue_x: a.test,b.test",
        ],
    );
    check(
        "    labels:\n      glue_http_80: {host: a.test}\n",
        &["4 Problem: service a: label glue_http_80 is a mapping, but a label's value must be a \
           text; write glue_http_80_host: VALUE"],
    );
    check(
        "    deploy: {labels: [glue_x=1]}\n",
        &["3 Problem: service a: label glue_x: labels under deploy are for the Swarm service"],
    );
    check(
        "    annotations: {glue_x: 1}\n",
        &["3 Problem: service a: label glue_x: containers do not get labels from annotations"],
    );
    check(
        "    glue_x: 1\n",
        &[
            "3 Problem: service a: label glue_x: containers do not get labels from the service itself",
        ],
    );
    check(
        "networks: {n: {labels: {glue_x: 1}}}\n",
        &["3 Problem: label glue_x: containers do not get labels from networks"],
    );
    check("  b: text\n", &["3 Hint: service b: not a mapping"]);
    check("include: [none.yaml]\n", &["3 Hint: no such file: none.yaml"]);
    check(
        "include: [\"https://a.test/c.yaml\"]\n",
        &["3 Hint: https://a.test/c.yaml is remote and is not downloaded; let docker compose \
             resolve it: docker compose config"],
    );
}

#[test]
fn empty_variable_in_label_is_noted() {
    let check = |label: &str, expected: &[&str]| {
        let text = format!("services:\n  a:\n    labels:\n      - \"{label}\"\n");
        let notes = note_lines(&[("c.yaml", &text)], "EMPTY= A=a");
        assert_eq!(notes.len(), expected.len(), "{label}: {notes:#?}");
        for (line, expected) in notes.iter().zip(expected) {
            assert!(line.contains(expected), "{label}: {line}");
        }
    };
    let unset = "the variable NONE is not set, so an empty text is substituted; set the variable in the shell or in .env";
    check(
        "glue_http_80_host=a.${NONE}",
        &[&format!("4 Hint: service a: label glue_http_80_host=\"a.\": {unset}")],
    );
    check("glue_http_80_host=a$NONE.test", &[unset]);
    check("glue_http_80_host=a.${NONE:-}", &[unset]);
    check("glue_http_80_host=a.$EMPTY", &["the variable EMPTY is empty"]);
    check("glue_http_80_host=${NONE}.${EMPTY}", &["the variable EMPTY is empty", unset]);
    check("glue_http_80_host=${NONE:-$EMPTY}.test", &["the variable EMPTY is empty"]);
    check("glue_http_80_prefix=/$NONE", &[unset]);
    check(
        "glue_http_${NONE}_host=a.test",
        &["label glue_http__host=\"a.test\": the variable NONE"],
    );
    // Intended, or not a docker-glue label.
    check("glue_http_80_host=a${NONE:-}.test", &[]);
    check("glue_http_80_host=a$EMPTY.test", &[]);
    check("glue_http_80_host=a.${NONE:-test}", &[]);
    check("glue_http_80_host=$A.test", &[]);
    check("other=$NONE", &[]);
}

#[test]
fn unusual_but_valid_files_are_parsed() {
    let check = |text: &str, expected: &str| {
        assert_eq!(services_text(&[("c.yaml", text)], ""), expected, "{text}");
        assert_eq!(
            services_text(&[("c.yaml", &text.replace('\n', "\r\n"))], ""),
            expected,
            "{text}"
        );
    };
    let web = "name: shop\nservices:\n  web: {labels: {a: b}}\n";
    check(&format!("\u{feff}{web}"), "web x1 on shop_default: a=b@3");
    check(
        &format!("version: '3.8'\nx-y: [1]\nunknown: {{}}\n{web}"),
        "web x1 on shop_default: a=b@6",
    );
    check(&format!("---\n{web}...\n"), "web x1 on shop_default: a=b@4");
    check("name: shop\nservices: {}\n", "");
    check("services:\n", "");
    check("version: '3'\nnetworks: {n: }\n", "");
    check("name: shop\nservices:\n  web:\n", "web x1 on shop_default:");
    // Later documents are merged into the first one.
    check(
        "name: shop\nservices:\n  web: {labels: {a: b, c: d}}\n---\nservices:\n  web: {labels: [c=e]}\n  db: {scale: 2}\n",
        "web x1 on shop_default: a=b@3 c=e@6\ndb x2 on shop_default:",
    );
    check(
        "name: shop\nservices:\n  web: {labels: {a: b, c: d}}\n---\nservices:\n  web: {labels: !override {c: e}}\n",
        "web x1 on shop_default: c=e@6",
    );
    check(
        "name: shop\nservices:\n  web: {labels: {a: b}, scale: 2}\n---\nservices:\n  web: {labels: !reset null}\n",
        "web x2 on shop_default:",
    );
    // As docker-compose accepted them before 2016.
    check(
        "web:\n  image: x\n  labels: [a=b]\ndb: {build: .}\n"
            .replace("web:", "name: shop\nweb:")
            .as_str(),
        "web x1 on shop_default: a=b@4\ndb x1 on shop_default:",
    );
    check(
        "name: shop\nservices:\n  web:\n    labels: {a: b, n: null, t: true, f: 1.50}\n",
        "web x1 on shop_default: a=b@4 f=1.50@4 n=@4 t=true@4",
    );
    check(
        "name: shop\nservices:\n  web:\n    build: {context: ., labels: {a: image, b: c}}\n    labels: {a: own}\n",
        "web x1 on shop_default: a=own@5 b=c@4",
    );
    check(
        "name: shop\nservices:\n  web:\n    image:\tx\n    labels: [a=b]\n",
        "web x1 on shop_default: a=b@5",
    );
    // The closing bracket is indented less than the opening line.
    check(
        "name: shop\nservices:\n  web:\n    labels: [\n      a=b,\n  ]\n  db:\n    scale: 2\n",
        "web x1 on shop_default: a=b@5\ndb x2 on shop_default:",
    );
    check(
        "name: shop\nx-a: &a {a: b}\nx-c: &c {c: d}\nservices:\n  web:\n    labels:\n      <<: *a\n      <<: *c\n      e: f\n",
        "web x1 on shop_default: a=b@2 c=d@3 e=f@9",
    );
    check(
        "name: shop\nservices:\n  web:\n    networks: [out]\nnetworks:\n  out: {external: {name: outer}}\n",
        "web x1 on outer:",
    );
}

#[test]
fn included_files_are_merged() {
    let main = "name: shop\ninclude:\n  - sub.yaml\n  - path: [deep/one.yaml, deep/two.yaml]\n    env_file: vars.env\nservices:\n  web: {labels: {host: $HOST}}\n";
    let files = [
        ("c.yaml", main),
        (".env", "HOST=main.test\n"),
        (
            "sub.yaml",
            "services:\n  sub:\n    labels: {host: $HOST}\n    networks: [n]\nnetworks: {n: }\n",
        ),
        ("vars.env", "DEEP=vars\nHOST=never\n"),
        (
            "deep/one.yaml",
            "services:\n  deep:\n    extends: {file: base.yaml, service: base}\n    labels: {deep: $DEEP, host: $HOST}\n    label_file: l.env\n",
        ),
        ("deep/two.yaml", "services:\n  deep: {scale: 2}\n"),
        ("deep/base.yaml", "services:\n  base: {labels: {from: base}}\n"),
        ("deep/l.env", "file=l\n"),
    ];
    let expected = "deep x2 on shop_default: deep=vars@4 file=l@5 from=base@2 host=main.test@4\n\
                    sub x1 on shop_n: host=main.test@3\n\
                    web x1 on shop_default: host=main.test@7";
    let mut lines: Vec<_> = services_text(&files, "").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines.join("\n"), expected);
    assert_eq!(note_lines(&files, ""), [""; 0]);
    let circle = [("c.yaml", "include: [c.yaml]\nservices: {a: }\n")];
    let notes = note_lines(&circle, "");
    assert!(notes[0].contains("refer to each other in a circle"), "{notes:?}");
    let broken = [("c.yaml", "include: [b.yaml]\nservices: {a: }\n"), ("b.yaml", "services: [\n")];
    let notes = crate::sources::compose::tests::note_lines(&broken, "");
    assert!(notes[0].starts_with("1 Problem: could not read an included file: "), "{notes:?}");
}

/// A hostile file that is meant to take forever.
#[test]
#[allow(clippy::format_collect, reason = "it is short")]
fn unbounded_files_are_refused() {
    let labels = |value: &str| format!("services:\n  a:\n    labels: {{glue_x: '{value}'}}\n");
    let nested = labels(&("${A:-".repeat(100_000) + &"}".repeat(100_000)));
    let notes_of = |text: &str| note_lines(&[("c.yaml", text)], "A=");
    assert!(
        notes_of(&nested)[0].contains("nested more than 32 deep"),
        "{:.200?}",
        notes_of(&nested)
    );
    let open = labels(&"${".repeat(100_000));
    assert!(notes_of(&open)[0].contains("does not start a variable"));
    let doubled: String = (0..40).map(|at| format!("V{}=$V{at}$V{at}\n", at + 1)).collect();
    let env = format!("V0=xxxxxxxxxxxxxxxx\n{doubled}");
    let files = [("c.yaml", "services: {a: {image: $V40}}\n"), (".env", env.as_str())];
    assert!(
        note_lines(&files, "").iter().any(|text| text.contains("longer than")),
        "{:?}",
        note_lines(&files, "")
    );
    let bombs: String =
        (1..30).map(|at| format!("x{at}: &a{at} [*a{0}, *a{0}, *a{0}]\n", at - 1)).collect();
    let bomb = format!("x0: &a0 [x]\n{bombs}services: {{}}\n");
    assert!(services_text(&[("c.yaml", &bomb)], "").contains("aliases expand to more than"));
    let base = format!(
        "  base: {{labels: {{{}}}}}\n",
        (0..5_000).map(|n| format!("l{n}: x")).collect::<Vec<_>>().join(", ")
    );
    let many: String = (0..1_000).map(|i32| format!("  s{i32}: {{extends: base}}\n")).collect();
    let grown = format!("services:\n{base}{many}");
    assert!(
        services_text(&[("c.yaml", &grown)], "").contains("the services of the file are too large")
    );
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = format!("services:\n  a:\n    env_file: {0}\n    label_file: {0}\n", pipe.display());
    assert!(notes_of(&text).iter().all(|text| text.contains("is not a regular file")));
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    let text = format!("services:\n  a:\n    env_file: {0}\n", huge.display());
    assert!(notes_of(&text)[0].contains("is too long for such a file"));
}

#[test]
fn every_port_syntax_is_parsed() {
    let check = |ports: &str, expected: &str| {
        let text =
            format!("services:\n  a:\n    ports: [{ports}]\n    expose: [\"9000\", 9001/udp]\n");
        let service = &load_project(&[("c.yaml", &text)], "").unwrap().services[0];
        let published = service.published.iter().map(|port| {
            let suffix = if port.transport == Transport::Udp { "/udp" } else { "" };
            format!("{}:{}>{}{suffix} ", port.host_ip, port.host_port, port.container_port)
        });
        let tcp = service.exposed.tcp.iter().map(ToString::to_string);
        let udp = service.exposed.udp.iter().map(|port| format!("{port}/udp"));
        let exposed: Vec<_> = tcp.chain(udp).collect();
        let actual = format!("{}| {}", published.collect::<String>(), exposed.join(" "));
        assert_eq!(actual, expected, "{ports}");
    };
    check("\"80\"", "| 80 9000 9001/udp");
    check("8080:80", "0.0.0.0:8080>80 | 80 9000 9001/udp");
    check("\"127.0.0.1:8080:80/tcp\"", "127.0.0.1:8080>80 | 80 9000 9001/udp");
    check("\"[::1]:8080:80\"", "::1:8080>80 | 80 9000 9001/udp");
    check("\"127.0.0.1::80\"", "| 80 9000 9001/udp");
    check("\"53:53/udp\"", "0.0.0.0:53>53/udp | 9000 53/udp 9001/udp");
    check("\"81-82:91-92\"", "0.0.0.0:81>91 0.0.0.0:82>92 | 91 92 9000 9001/udp");
    check(
        "{target: 80, published: \"8080\", host_ip: 127.0.0.1}",
        "127.0.0.1:8080>80 | 80 9000 9001/udp",
    );
    check("{target: 80}", "| 80 9000 9001/udp");
    check("{target: 80, published: 80, protocol: udp}", "0.0.0.0:80>80/udp | 9000 80/udp 9001/udp");
    check("80:80/TCP", "0.0.0.0:80>80 | 80 9000 9001/udp");
    // An empty part counts as absent, as in compose.
    check("\"${LAN_IP}:8080:80\"", "0.0.0.0:8080>80 | 80 9000 9001/udp");
    check("\"${LAN_IP}:53:53/udp\"", "0.0.0.0:53>53/udp | 9000 53/udp 9001/udp");
    check("\"${LAN_IP}:${PORT}:80\"", "| 80 9000 9001/udp");
    check("\"${PORT}:80\"", "| 80 9000 9001/udp");
    check("\"0:80\"", "| 80 9000 9001/udp");
    check("{target: 80, published: \"${PORT}\", host_ip: \"${LAN_IP}\"}", "| 80 9000 9001/udp");
    check("\"8000-8010:80\"", "| 80 9000 9001/udp");
    check("web", "| 9000 9001/udp");
}

#[test]
fn project_name_is_derived_like_compose() {
    let name_of =
        |files: &[(&str, &str)], environment: &str| load_project(files, environment).unwrap().name;
    let nameless = [("c.yaml", "services: {}\n")];
    assert_eq!(name_of(&[("c.yaml", "name: shop\nservices: {}\n")], ""), "shop");
    assert_eq!(name_of(&[("c.yaml", "name: shop\nservices: {}\n")], "COMPOSE_PROJECT_NAME=x"), "x");
    assert!(name_of(&nameless, "").chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
}

#[test]
fn project_is_planned_at_one_source_and_stays_at_others() {
    let text = "name: shop\nservices:\n  web: {scale: 2, labels: {glue_http_80_host: a.test}}\n";
    let project = load_project(&[("c.yaml", text)], "").unwrap();
    let [here, there]: [SourceName; 2] = ["here", "there"].map(|name| name.parse().unwrap());
    let start_at = |world: &World, source: &SourceName| {
        let mut planned = planned_container::plan_containers(&project, &BTreeMap::new());
        for container in &mut planned {
            container.assign_to(source);
        }
        planned_container::merge_into_world(world, &project, planned, source).0
    };
    let world = start_at(&World::default(), &there);
    let world = start_at(&world, &here);
    let ids: Vec<_> = world.containers.keys().map(ToString::to_string).collect();
    assert_eq!(
        ids,
        ["planned00000.here", "planned00001.here", "planned00000.there", "planned00001.there"]
    );
    assert_eq!(world.networks.keys().collect::<Vec<_>>(), [&here, &there]);
}

#[test]
fn placeholder_ids_and_addresses_are_masked() {
    let text = "name: shop\nservices:\n  web: {scale: 2}\n";
    let project = load_project(&[("c.yaml", text)], "").unwrap();
    let planned = planned_container::plan_containers(&project, &BTreeMap::new());
    let (world, placeholders) = planned_container::merge_into_world(
        &crate::model::world::World::default(),
        &project,
        planned,
        &SourceName::NONE,
    );
    let second = world.containers.values().nth(1).unwrap();
    let address = second.networks["shop_default"].ipv4.unwrap();
    let line = format!("  server {}-{}:80 {address}:80 id 17 weight 1\n", second.name, second.id);
    assert_eq!(
        placeholders.mask_config(&line),
        "  server shop-web-2-<id>:80 <shop-web-2>:80 id <number> weight 1\n"
    );
    assert_eq!(placeholders.mask_sentence("web (planned00001)"), "web (not running yet)");
    let other = "  server db-0123456789ab:80 10.100.100.101:80 id 17 weight 1\n";
    assert_eq!(placeholders.mask_config(other), other);
    assert_eq!(Placeholders::default().mask_config(&line), line);
    assert!(
        placeholders.is_placeholder_name("shop-web-1")
            && !placeholders.is_placeholder_name("shop-web-3")
    );
}

/// A container that compose started for project `shop`: `service number id labels…`.
fn running_container(line: &str) -> crate::model::container::Container {
    use crate::model::container::{
        Container, ContainerId, ContainerState, Health, NetworkEndpoint, NetworkMode,
    };
    let words: Vec<_> = line.split(' ').collect();
    let compose_labels =
        [("project", "shop"), ("service", words[0]), ("container-number", words[1])];
    let compose_labels =
        compose_labels.map(|(key, value)| (format!("com.docker.compose.{key}"), value.to_owned()));
    let labels = words[3..].iter().filter_map(|word| word.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let endpoint =
        NetworkEndpoint { ipv4: "172.18.0.9".parse().ok(), ..NetworkEndpoint::default() };
    Container {
        id: ContainerId::new(words[2]),
        name: format!("shop-{}-{}", words[0], words[1]),
        image: String::new(),
        created: 1,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: std::sync::Arc::new(labels.chain(compose_labels).collect()),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: std::sync::Arc::new([("shop_default".to_owned(), endpoint)].into()),
        exposed: crate::model::container::ExposedPorts::default(),
        published: Vec::new(),
        stop_config: None,
        stopping: false,
        started: None,
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
    }
}

#[test]
fn unchanged_running_container_is_kept_and_others_are_planned() {
    let check = |file: &str, runs: &[&str], expected: &[&str]| {
        let text = format!("name: shop\nservices:\n{file}");
        let project = load_project(&[("c.yaml", &text)], "").unwrap();
        let containers = runs.iter().map(|line| running_container(line));
        let containers =
            containers.map(|container| (container.id.clone(), std::sync::Arc::new(container)));
        let world =
            crate::model::world::World { containers: containers.collect(), ..Default::default() };
        let planned = planned_container::plan_containers(&project, &BTreeMap::new());
        let (world, placeholders) =
            planned_container::merge_into_world(&world, &project, planned, &SourceName::NONE);
        let actual = world.containers.values().map(|container| {
            placeholders.mask_sentence(&format!("{} {}", container.name, container.id))
        });
        let mut actual: Vec<_> = actual.collect();
        actual.sort();
        assert_eq!(actual, expected, "{file} {runs:?}");
    };
    let web = "  web: {labels: {glue_x: a, other: b}}\n";
    check(web, &[], &["shop-web-1 not running yet"]);
    check(web, &["web 1 c1 glue_x=a"], &["shop-web-1 c1"]);
    check(web, &["web 1 c1 glue_x=b"], &["shop-web-1 not running yet"]);
    check(web, &["web 1 c1"], &["shop-web-1 not running yet"]);
    check(web, &["web 1 c1 glue_x=a", "web 2 c2 glue_x=a"], &["shop-web-1 c1"]);
    check(web, &["db 1 c1"], &["shop-db-1 c1", "shop-web-1 not running yet"]);
    let two = "  web: {scale: 2, labels: {glue_x: a}}\n";
    check(two, &["web 2 c2 glue_x=a"], &["shop-web-1 not running yet", "shop-web-2 c2"]);
    let elsewhere = "  web: {network_mode: host, labels: {glue_x: a}}\n";
    check(elsewhere, &["web 1 c1 glue_x=a"], &["shop-web-1 not running yet"]);
    let published = "  web: {ports: [\"81:80\"], labels: {glue_x: a}}\n";
    check(published, &["web 1 c1 glue_x=a"], &["shop-web-1 not running yet"]);
    let none = "  web: {scale: 0, labels: {glue_x: a}}\n";
    check(none, &["web 1 c1 glue_x=a"], &[]);
}

#[test]
fn network_sharer_refers_to_owner_container() {
    let text = "name: shop\nservices:\n  web: {labels: {glue_x: a}}\n  side: {network_mode: \"service:web\"}\n  guest: {network_mode: \"container:shop-db-1\"}\n";
    let project = load_project(&[("c.yaml", text)], "").unwrap();
    let runs = [running_container("web 1 c1 glue_x=a"), running_container("db 1 c2")];
    let containers = runs.map(|container| (container.id.clone(), std::sync::Arc::new(container)));
    let world = crate::model::world::World { containers: containers.into(), ..Default::default() };
    let planned = planned_container::plan_containers(&project, &BTreeMap::new());
    let (world, _) =
        planned_container::merge_into_world(&world, &project, planned, &SourceName::NONE);
    let owner = |name: &str| {
        let container = world.containers.values().find(|container| container.name == name).unwrap();
        world.network_owner(container).map(|container| container.id.as_str().to_owned())
    };
    assert_eq!(owner("shop-side-1").as_deref(), Some("c1"));
    assert_eq!(owner("shop-guest-1").as_deref(), Some("c2"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Any text is either parsed or refused with an error message.
    #[test]
    fn any_text_is_parsed_or_refused_without_panic(
        pieces in proptest::collection::vec(
            proptest::prelude::prop_oneof![
                proptest::sample::select(vec![
                    "services:\n", "  a:\n", "  b: ", "    labels:\n", "      x: ", "    - ", "<<: *b\n", "&b ", "{", "}", "[", "]",
                    "$", "${", "${A:-", "}", "$$", "'", "\"", "\n", ": ", "extends: a\n", "ports: [", "80:80", "-", "é",
                    "networks: ", "name: ", "scale: 9\n", "!reset ", "? ", "|\n", ">-\n", "#", "include: x\n", "\t",
                ]).prop_map(str::to_owned),
                proptest::prelude::any::<String>(),
            ],
            0..24,
        ),
    ) {
        let text = pieces.concat();
        let context = ReadContext {
            folder: PathBuf::from("/nonexistent"),
            environment: parse_pairs("A=1"),
            deployment: Deployment::Swarm,
            variables: VariableMode::Fill,
        };
        if let Ok(project) = Project::parse_project("c.yaml", &text, &context) {
            planned_container::plan_containers(&project, &BTreeMap::new());
        }
        let _ = variables::parse_variables(&text, &context.environment);
    }
}
