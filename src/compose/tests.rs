use super::*;
use planned::Masks;
use proptest::strategy::Strategy as _;

fn variables(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn variables_are_filled_in_as_compose_does() {
    let known = variables("A=1 EMPTY= B_2=two");
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
        ("${NONE:?tell $A}", "! the variable NONE has to be set: tell 1"),
        ("${EMPTY:?}", "! the variable EMPTY has to be set"),
        ("${EMPTY?x}", ""),
    ] {
        let filled = interpolate::fill(text, &known);
        assert_eq!(filled.unwrap_or_else(|mistake| format!("! {mistake}")), expected, "{text}");
    }
    for text in ["$", "a$ b", "$1", "${A", "${}", "${A!x}", "${-x}"] {
        let mistake = interpolate::fill(text, &known).unwrap_err().to_string();
        assert!(mistake.contains("begins no variable"), "{text}: {mistake}");
    }
}

#[test]
fn files_of_variables_are_read_as_shells_write_them() {
    let text = "# all of it\n\nA=1\nexport B = two words # not this\nC='$A # this'\nD=\"$A\\n\"\nE=${A}${OUT}\nF\n";
    let read = variables::read(text, &variables("OUT=side A=shell")).unwrap();
    let read: Vec<_> = read.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        read,
        ["A=1", "B=two words", "C=$A # this", "D=shell\n", "E=shellside", "F="],
        "the shell's wins"
    );
}

/// A project in a folder of its own, with these files beside it.
fn project(files: &[(&str, &str)], environment: &str) -> Result<Project> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let (name, text) = files[0];
    let outside = Outside { folder: folder.path().to_owned(), environment: variables(environment) };
    let shop = |it: Project| Project { name: it.name, ..it };
    Project::read(name, text, &outside).map(shop)
}

/// `service ×scale on networks: labels`, one a line.
fn told(files: &[(&str, &str)], environment: &str) -> String {
    let project = match project(files, environment) {
        Ok(project) => project,
        Err(error) => return format!("{error:#}"),
    };
    let line = |it: &Service| {
        let labels =
            it.labels.iter().map(|(key, value)| format!(" {key}={value}@{}", it.lines[key].line));
        let mode = match &it.mode {
            Mode::Networks(names) => names.iter().cloned().collect::<Vec<_>>().join("+"),
            other => format!("{other:?}"),
        };
        format!("{} x{} on {mode}:{}", it.name, it.scale, labels.collect::<String>())
    };
    project.services.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn services_are_read_with_the_lines_of_their_labels() {
    let check = |text: &str, environment: &str, expected: &str| {
        assert_eq!(told(&[("c.yaml", text)], environment), expected, "{text}");
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

/// What `docker compose config --format json` prints.
#[test]
fn what_compose_has_put_together_is_read() {
    let text = r#"{"name": "shop", "networks": {"default": {"name": "shop_default", "ipam": {}}}, "services": {"web": {"deploy": {"replicas": 2}, "image": "nginx", "labels": {"a": "$$b"}, "networks": {"default": null}, "environment": {"X": null}, "ports": [{"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"}]}}}"#;
    assert_eq!(told(&[("c.json", text)], ""), "web x2 on shop_default: a=$b@1");
}

#[test]
fn files_beside_it_are_read() {
    let text = "services:\n  web:\n    extends: {file: base.yaml, service: web}\n    labels: {host: $HOST}\n    label_file: l.env\n";
    let base = "services:\n  web:\n    scale: 2\n    labels: [from=base]\n";
    let files = [
        ("c.yaml", text),
        ("base.yaml", base),
        (".env", "HOST=dot.test\nCOMPOSE_PROJECT_NAME=env\n"),
        ("l.env", "x=1\nhost=never\n"),
    ];
    assert_eq!(told(&files, ""), "web x2 on env_default: from=base@4 host=dot.test@4 x=1@5");
    assert_eq!(told(&files, "HOST=shell"), "web x2 on env_default: from=base@4 host=shell@4 x=1@5");
}

#[test]
fn what_is_no_compose_file_is_said_with_its_line() {
    let check = |text: &str, expected: &str| {
        let said = told(&[("c.yaml", text)], "");
        assert!(said.contains(expected), "{said}");
    };
    check("a: b\n", "c.yaml: it has no services; is it a compose file?");
    check("", "c.yaml: there is nothing in it");
    check("services:\n  a: [\n", "c.yaml:3:");
    check("services:\n  a:\n  a:\n", "c.yaml:3:");
    check(
        "services:\n  a:\n    labels:\n      x: ${Y:?say it}\n",
        "c.yaml:4: the variable Y has to be set: say it",
    );
    check("services:\n  a:\n    labels: {x: $}\n", "c.yaml:3: \"$\" has a $");
    check(
        "include: [b.yaml]\nservices: {}\n",
        "docker compose config | docker-balancer … --compose -",
    );
    check(
        "services:\n  a:\n    networks: [b]\n",
        "c.yaml:3: service a is on network b, which the file does not name",
    );
    check(
        "services:\n  a:\n    extends: {service: b}\n",
        "c.yaml:3: there is no service b to extend",
    );
    check("services:\n  a: {extends: b}\n  b: {extends: a}\n", "in a circle");
    check("services:\n  a:\n    ports: [web]\n", "c.yaml:3: it is no port as compose writes them");
    check("services:\n  a:\n    scale: many\n", "c.yaml:3: \"many\" is no number of containers");
    check(
        "services:\n  a:\n    scale: 4000000000\n",
        "c.yaml:3: 4000000000 containers are more than 10000",
    );
    check("services:\n  a:\n    labels: !reset null\n", "!reset is for several files");
    check("services:\n  a:\n    label_file: none.env\n", "c.yaml:3: there is no file none.env");
}

#[test]
fn ports_are_read_in_all_their_forms() {
    let check = |ports: &str, expected: &str| {
        let text =
            format!("services:\n  a:\n    ports: [{ports}]\n    expose: [\"9000\", 9001/udp]\n");
        let service = &project(&[("c.yaml", &text)], "").unwrap().services[0];
        let published = service
            .published
            .iter()
            .map(|it| format!("{}:{}>{} ", it.host_ip, it.host_port, it.container_port));
        let exposed: Vec<_> = service.exposed.iter().map(ToString::to_string).collect();
        let told = format!("{}| {}", published.collect::<String>(), exposed.join(" "));
        assert_eq!(told, expected, "{ports}");
    };
    check("\"80\"", "| 80 9000");
    check("8080:80", "0.0.0.0:8080>80 | 80 9000");
    check("\"127.0.0.1:8080:80/tcp\"", "127.0.0.1:8080>80 | 80 9000");
    check("\"[::1]:8080:80\"", "::1:8080>80 | 80 9000");
    check("\"127.0.0.1::80\"", "| 80 9000");
    check("\"53:53/udp\"", "| 9000");
    check("\"81-82:91-92\"", "0.0.0.0:81>91 0.0.0.0:82>92 | 91 92 9000");
    check("{target: 80, published: \"8080\", host_ip: 127.0.0.1}", "127.0.0.1:8080>80 | 80 9000");
    check("{target: 80}", "| 80 9000");
    check("{target: 80, published: 80, protocol: udp}", "| 9000");
}

#[test]
fn a_name_is_made_as_compose_makes_it() {
    let named =
        |files: &[(&str, &str)], environment: &str| project(files, environment).unwrap().name;
    let nameless = [("c.yaml", "services: {}\n")];
    assert_eq!(named(&[("c.yaml", "name: shop\nservices: {}\n")], ""), "shop");
    assert_eq!(named(&[("c.yaml", "name: shop\nservices: {}\n")], "COMPOSE_PROJECT_NAME=x"), "x");
    assert!(named(&nameless, "").chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
}

#[test]
fn what_nobody_knows_is_not_shown() {
    let text = "name: shop\nservices:\n  web: {scale: 2}\n";
    let project = project(&[("c.yaml", text)], "").unwrap();
    let planned = planned::containers(&project, &BTreeMap::new());
    let (world, masks) = planned::onto(&crate::world::World::default(), &project, planned);
    let second = world.containers.values().nth(1).unwrap();
    let address = second.networks["shop_default"].ipv4.unwrap();
    let line = format!("  server {}-{}:80 {address}:80 id 17 weight 1\n", second.name, second.id);
    assert_eq!(
        masks.in_text(&line),
        "  server shop-web-2-<id>:80 <shop-web-2>:80 id <number> weight 1\n"
    );
    assert_eq!(masks.in_words("web (planned00001)"), "web (not running yet)");
    let other = "  server db-0123456789ab:80 10.100.100.101:80 id 17 weight 1\n";
    assert_eq!(masks.in_text(other), other);
    assert_eq!(Masks::default().in_text(&line), line);
    assert!(masks.names("shop-web-1") && !masks.names("shop-web-3"));
}

/// A container that compose started of `shop`: `service number id labels…`.
fn running(line: &str) -> crate::container::Container {
    use crate::container::{Attachment, Container, ContainerId, Health, NetworkMode, State};
    let words: Vec<_> = line.split(' ').collect();
    let composes = [("project", "shop"), ("service", words[0]), ("container-number", words[1])];
    let composes =
        composes.map(|(key, value)| (format!("com.docker.compose.{key}"), value.to_owned()));
    let labels = words[3..].iter().filter_map(|word| word.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let place = Attachment { ipv4: "172.18.0.9".parse().ok(), ..Attachment::default() };
    Container {
        id: ContainerId::new(words[2]),
        name: format!("shop-{}-{}", words[0], words[1]),
        image: String::new(),
        created: 1,
        state: State::Running,
        health: Health::Unchecked,
        labels: std::sync::Arc::new(labels.chain(composes).collect()),
        environment: BTreeMap::new(),
        network_mode: NetworkMode::Own,
        networks: std::sync::Arc::new([("shop_default".to_owned(), place)].into()),
        exposed: std::collections::BTreeSet::new(),
        published: Vec::new(),
        stop: None,
        leaving: false,
    }
}

#[test]
fn what_runs_as_the_file_says_stays_and_the_rest_is_planned() {
    let check = |file: &str, runs: &[&str], expected: &[&str]| {
        let text = format!("name: shop\nservices:\n{file}");
        let project = project(&[("c.yaml", &text)], "").unwrap();
        let containers = runs.iter().map(|line| running(line));
        let containers = containers.map(|it| (it.id.clone(), std::sync::Arc::new(it)));
        let world = crate::world::World { containers: containers.collect(), ..Default::default() };
        let planned = planned::containers(&project, &BTreeMap::new());
        let (world, masks) = planned::onto(&world, &project, planned);
        let told =
            world.containers.values().map(|it| masks.in_words(&format!("{} {}", it.name, it.id)));
        let mut told: Vec<_> = told.collect();
        told.sort();
        assert_eq!(told, expected, "{file} {runs:?}");
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
fn who_shares_a_network_is_led_to_its_owner() {
    let text = "name: shop\nservices:\n  web: {labels: {glue_x: a}}\n  side: {network_mode: \"service:web\"}\n  guest: {network_mode: \"container:shop-db-1\"}\n";
    let project = project(&[("c.yaml", text)], "").unwrap();
    let runs = [running("web 1 c1 glue_x=a"), running("db 1 c2")];
    let containers = runs.map(|it| (it.id.clone(), std::sync::Arc::new(it)));
    let world = crate::world::World { containers: containers.into(), ..Default::default() };
    let planned = planned::containers(&project, &BTreeMap::new());
    let (world, _) = planned::onto(&world, &project, planned);
    let owner = |name: &str| {
        let it = world.containers.values().find(|it| it.name == name).unwrap();
        world.network_owner(it).map(|it| it.id.as_str().to_owned())
    };
    assert_eq!(owner("shop-side-1").as_deref(), Some("c1"));
    assert_eq!(owner("shop-guest-1").as_deref(), Some("c2"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever somebody calls a compose file is read, or refused in a sentence.
    #[test]
    fn no_file_is_too_strange(
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
        let outside = Outside { folder: PathBuf::from("/nonexistent"), environment: variables("A=1") };
        if let Ok(project) = Project::read("c.yaml", &text, &outside) {
            planned::containers(&project, &BTreeMap::new());
        }
        let _ = variables::read(&text, &outside.environment);
    }
}
