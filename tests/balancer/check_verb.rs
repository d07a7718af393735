//! `docker-balancer check`: problems in the labels of containers, of a compose file, and of an image.

use crate::common::{
    self,
    balancer::{Balancer, BalancerPlan},
    certificates::TestCa,
};
use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Output, Stdio},
};

/// Checks a compose file without Docker, which is not needed for a file.
fn check_file(file: &str, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.args(words).args(["check", "--docker-url", "unix:///nowhere/docker.sock"]);
    status_and_text(&command.args(["--compose", file]).output().unwrap())
}

fn check_docker(plan: &BalancerPlan, words: &[&str]) -> (i32, String) {
    status_and_text(&plan.command().arg("check").args(words).output().unwrap())
}

fn status_and_text(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap().trim_end().to_owned())
}

#[test]
fn compose_example_has_no_problems() {
    let expected = "2 services with labels for docker-balancer: no problems".to_owned();
    assert_eq!(check_file("examples/compose.yaml", &[]), (0, expected));
}

/// Without this hint such services would be missing from the output.
#[test]
fn service_excluded_by_constraint_is_named() {
    let (status, text) = check_file("examples/compose.yaml", &["--constraint", "tier=front"]);
    assert_eq!(status, 0, "hints do not count");
    for name in ["app", "api"] {
        let line = format!(
            "service {name}: not served, because it does not match --constraint tier=front"
        );
        assert!(text.contains(&line), "{text}");
    }
}

/// `tests/check/<case>.yaml`, each with its problems.
#[test]
fn file_problem_is_named_with_its_line() {
    let mut files: Vec<_> =
        fs::read_dir("tests/check").unwrap().map(|result| result.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|text| text == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let (status, text) = check_file(file.to_str().unwrap(), &["--include-env"]);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/check"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let name = file.file_stem().unwrap().to_str().unwrap();
        settings.bind(|| insta::assert_snapshot!(name, format!("{text}\nexit status {status}")));
    }
}

/// Without --include-env environment variables are not read.
#[test]
fn labels_under_environment_are_hinted_without_include_env() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yaml");
    let text = "name: x\nservices:\n  web:\n    environment:\n      - glue_http_80_host=a.test\n";
    fs::write(&file, text).unwrap();
    let (status, text) = check_file(file.to_str().unwrap(), &[]);
    assert_eq!(status, 0, "{text}");
    let line = "compose.yaml:5: hint: service web: label glue_http_80_host=\"a.test\": this is an \
                environment variable, which is read only with --include-env; make it a label, or \
                set that option";
    assert!(text.contains(line), "{text}");
    let (status, text) = check_file(file.to_str().unwrap(), &["--include-env"]);
    assert_eq!(
        (status, text.as_str()),
        (0, "1 service with labels for docker-balancer: no problems")
    );
}

/// `tests/check/https.snap` has the hints without these options.
#[test]
fn hints_about_https_depend_on_settings() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    fs::write(folder.path().join("staff.pem"), TestCa::new().pem()).unwrap();
    fs::write(folder.path().join("roots.pem"), TestCa::new().pem()).unwrap();
    let roots = folder.path().join("roots.pem").display().to_string();
    let own_ca = "no public CA signs nas.lan; docker-balancer's own CA does";
    let dns = "a CA issues a certificate for *.example.com only by a DNS challenge";
    let no_ca = "no public CA signs nas.lan; set cert to self";
    let ordered = "no public CA signs camera.local; set cert to self";
    let staff = "client_cert is staff, but the directory of --client-ca has no CA";
    let internal = "verify is internal, but the directory of --backend-ca has no CA";
    let all = [own_ca, no_ca, dns, ordered, staff, internal];
    for (words, expected) in [
        (&[][..], &[no_ca, dns, ordered, staff, internal][..]),
        (&["--acme", "letsencrypt"], &[own_ca, dns, ordered, staff, internal]),
        (&["--acme", "google", "--acme-dns", "/bin/x"], &[own_ca, ordered, staff, internal]),
        (&["--acme", "https://ca.lan/dir", "--acme-ca-file", &roots], &[dns, staff, internal]),
        (&["--certificates", directory], &[ordered, staff, internal]),
        (&["--client-ca", directory], &[no_ca, dns, ordered, internal]),
        (&["--backend-ca", directory], &[no_ca, dns, ordered, staff, internal]),
    ] {
        let (status, text) = check_file("tests/check/https.yaml", words);
        assert_eq!(status, 0, "hints do not count: {text}");
        let found = all.iter().filter(|hint| text.contains(**hint)).collect::<BTreeSet<_>>();
        assert_eq!(found, expected.iter().collect(), "{words:?}: {text}");
    }
}

#[test]
fn running_containers_get_hints_about_https() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.pem"), TestCa::new().issue(&["*.shop.test"])).unwrap();
    let plan = Balancer::plan(&docker);
    let run = |name: &str, host: &str, more: &str| {
        plan.run(name).labels(&format!("glue_http_80_host={host} glue_http_80_tls=on {more}"))
    };
    let _fleet = common::start_all(vec![
        run("covered", "*.shop.test", ""),
        run("wildcard", "*.example.com", ""),
        run("private", "nas.lan", ""),
        run("both", "b.shop.test", "glue_http_80_tls=both glue_http_80_hsts=1d"),
    ]);
    let directory = folder.path().to_str().unwrap();
    let options = ["--acme", "letsencrypt", "--certificates", directory];
    let mut command = plan.command();
    let output = command.args(options).arg("check").output().unwrap();
    let (_, text) = status_and_text(&output);
    let hints: Vec<_> = text.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert_eq!(hints.len(), 3, "{text}");
    for (name, part) in [
        ("wildcard", "label glue_http_80_host=\"*.example.com\": a CA issues"),
        ("private", "docker-balancer's own CA does"),
        ("both", "label glue_http_80_hsts=\"1d\": browsers that received"),
    ] {
        let is_hint = |line: &&&str| line.contains(name) && line.contains(part);
        assert!(hints.iter().any(|line| is_hint(&line)), "{part}: {text}");
    }
}

#[test]
fn options_without_effect_are_reported_for_a_file() {
    let file = "examples/compose.yaml";
    let (status, text) = check_file(file, &["--constraint", "a=1", "--constraint", "a=2"]);
    assert_eq!(status, 1, "{text}");
    let line = "problem: option --constraint: no container can have both a=1 and a=2, so no container is served";
    assert!(text.contains(line), "{text}");
    let (status, text) = check_file(file, &["--map-port", "8080=80"]);
    assert_eq!(status, 0, "{text}");
    let line = "hint: option --map-port: no label uses public port 8080, but labels use 80; the \
                order is PUBLIC=PORT, with the label's port first: did you mean 80=8080?";
    assert!(text.contains(line), "{text}");
}

#[test]
fn compose_file_is_read_from_stdin() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.args(["check", "--compose", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let text = "name: x\nservices:\n  web:\n    labels: {glue_http_80_hots: a.test}\n";
    std::io::Write::write_all(&mut process.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let (status, text) = status_and_text(&process.wait_with_output().unwrap());
    assert_eq!(status, 1);
    assert!(text.starts_with("(standard input):4: problem: service web: label "), "{text}");
}

#[test]
fn colours_are_printed_to_a_terminal_only() {
    let file = "tests/check/mistakes.yaml";
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.args(["check", "--compose", file]);
    assert!(!status_and_text(&command.output().unwrap()).1.contains('\u{1b}'));
    assert!(
        status_and_text(&command.env("CLICOLOR_FORCE", "1").output().unwrap())
            .1
            .contains("\u{1b}[31mproblem:")
    );
    assert!(
        !status_and_text(
            &command.env("NO_COLOR", "1").env_remove("CLICOLOR_FORCE").output().unwrap()
        )
        .1
        .contains('\u{1b}')
    );
}

#[test]
fn running_containers_are_checked() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let pair = (0, "no container has labels for docker-balancer".to_owned());
    assert_eq!(check_docker(&plan, &[]), pair);
    let web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let well = (0, "1 container with labels for docker-balancer: no problems".to_owned());
    assert_eq!(check_docker(&plan, &[]), well);

    // Hints are shown, but do not change the exit status.
    let other = plan.run("other").label("glue-http-80-host", "c.test").start();
    let hint = plan.run("hint").label("glue_http_8080_host", "b.test").start();
    let (status, text) = check_docker(&plan, &[]);
    assert_eq!(status, 0, "{text}");
    let id = &hint.id[..12];
    let line =
        format!("hint: container {} ({id}): the container does not expose port 8080", hint.name);
    assert!(text.contains(&line), "{text}");
    let line = format!(
        "hint: container {} ({}): label glue-http-80-host=\"c.test\": not a label of \
         docker-balancer, so it is ignored; did you mean glue_http_80_host?",
        other.name,
        &other.id[..12]
    );
    assert!(text.contains(&line), "{text}");
    assert!(
        text.ends_with("2 containers with labels for docker-balancer: no problems, 2 hints"),
        "{text}"
    );

    let wrong = plan
        .run("wrong")
        .labels("glue_http_80_host=a.test glue_http_80_timeout=5m glue_http_80_wieght=3")
        .start();
    let (status, text) = check_docker(&plan, &[]);
    assert_eq!(status, 1, "{text}");
    let id = &wrong.id[..12];
    for line in [
        format!(
            "problem: container {} ({id}): label glue_http_80_wieght=\"3\": unknown label; did you \
             mean glue_http_80_weight?",
            wrong.name
        ),
        format!(
            "problem: container {} ({id}): a.test:80/ is served by the older container {} ({}) with a different timeout",
            wrong.name,
            web.name,
            &web.id[..12]
        ),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(
        text.ends_with("3 containers with labels for docker-balancer: 2 problems, 2 hints"),
        "{text}"
    );
}

#[test]
fn image_labels_are_checked_without_a_container() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let name = common::unique_name("image");
    let image = Image { docker: &docker, name: &name };
    let well = "no image has labels for docker-balancer";
    assert_eq!(
        check_docker(&plan, &["--image", common::build_whoami_image()]),
        (0, well.to_owned())
    );
    image.build("LABEL glu_http_80_host=a.test");
    let hint = format!(
        "hint: image {name}: label glu_http_80_host=\"a.test\": not a label of docker-balancer, so \
         it is ignored; did you mean glue_http_80_host?\nno image has labels for docker-balancer"
    );
    assert_eq!(check_docker(&plan, &["--image", &name]), (0, hint));
    image.build(
        "LABEL glue_http_80_host=a.test glue_http_80_prefix=a//b\nENV glue_http_80_weight=much",
    );
    let problem = format!(
        "problem: image {name}: label glue_http_80_prefix=\"a//b\": \"a//b\" is not a valid URL \
         path: no empty segments, no . or .., no query, other characters as %XX"
    );
    let (status, text) = check_docker(&plan, &["--image", &name]);
    assert_eq!(status, 1);
    assert!(text.starts_with(&problem), "{text}");
    assert!(!text.contains("weight"), "{text}");
    let output =
        plan.command().args(["--include-env", "check", "--image", &name]).output().unwrap();
    assert!(
        status_and_text(&output).1.contains("label glue_http_80_weight=\"much\": a weight is"),
        "{:?}",
        status_and_text(&output)
    );

    let (status, text) = check_docker(&plan, &["--image", "none/such:1"]);
    assert_eq!(status, 1);
    assert_eq!(
        text,
        "docker-balancer: Docker has no image none/such:1; pull it with docker pull none/such:1, \
         or build it"
    );
}

/// An image, which is removed when it is dropped.
struct Image<'a> {
    docker: &'a common::Docker,
    name: &'a str,
}

impl Image<'_> {
    fn build(&self, lines: &str) {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("FROM {}\n{lines}\n", common::build_whoami_image());
        fs::write(folder.path().join("Dockerfile"), text).unwrap();
        self.docker.run_docker(&[
            "build",
            "--quiet",
            "--tag",
            self.name,
            folder.path().to_str().unwrap(),
        ]);
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let _ = self.docker.command(&["image", "rm", self.name]).output();
    }
}

#[test]
fn check_without_docker_exits_with_status_4() {
    for words in [&["check"][..], &["check", "--image", "nginx"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
        let output =
            command.args(words).args(["--docker-url", "unix:///nowhere/docker.sock"]).output();
        let (status, text) = status_and_text(&output.unwrap());
        assert_eq!(status, 4, "{text}");
        assert!(text.starts_with("docker-balancer: Docker does not answer: "), "{text}");
    }
}
