//! HAProxy accepts every golden configuration. The program is `HAPROXY_BIN`, or else the installed one.

use crate::common::{certificates, haproxy::has_quic, story};
use docker_glue::{
    haproxy::{
        config::Config,
        error_pages::{self, ErrorPages},
        render::{BaseConfig, RenderContext, render_files},
        tls::list_port,
        version::Version,
    },
    routing::decide,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder of a golden's generations, as in [`story::frame`]. A generation's name follows it.
const GENERATIONS: &str = "/var/lib/docker-glue/gen/";

#[test]
fn haproxy_accepts_every_golden_configuration() {
    let Some(haproxy) = find_haproxy() else { return };
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> =
        fs::read_dir(goldens).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    // docker-balancer does not write this one for an HAProxy without QUIC.
    cases.retain(|case| !case.ends_with("http3") || has_quic(&haproxy));
    let names: &[_] = if adds_backends(&haproxy) {
        &["haproxy.cfg", "haproxy-3.4.cfg"]
    } else {
        &["haproxy.cfg"]
    };
    let all = cases.iter().flat_map(|case| names.iter().map(move |name| (case, name)));
    let refused: String =
        all.filter_map(|(case, name)| case_errors(&haproxy, case, name)).collect();
    assert!(refused.is_empty(), "{}:\n{refused}", haproxy.display());
}

/// `examples/base.cfg` replaces the built-in sections.
#[test]
fn haproxy_accepts_the_example_of_a_base_file() {
    let Some(haproxy) = find_haproxy() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/base.cfg");
    let text = fs::read_to_string(&path).unwrap();
    let base = BaseConfig::File { path, text };
    assert_eq!(frame_errors(&haproxy, RenderContext { base, ..story::default_frame() }), None);
}

/// A page of each status, as large as it may be.
#[test]
fn haproxy_accepts_the_largest_error_pages() {
    let Some(haproxy) = find_haproxy() else { return };
    let mut error_pages = ErrorPages::default();
    let added = (100..600)
        .filter(|status| error_pages.add(*status, vec![b'x'; error_pages::MAX_PAGE_SIZE]).is_ok());
    assert_eq!(added.count(), 14);
    assert_eq!(
        frame_errors(&haproxy, RenderContext { error_pages, ..story::default_frame() }),
        None
    );
}

/// Returns HAProxy's errors and warnings about a configuration with one route.
fn frame_errors(haproxy: &Path, frame: RenderContext) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let frame = RenderContext { generations: folder.path().to_owned(), ..frame };
    let world = story::parse_world("web 172.17.0.2 glue_http_80_host=a.test glue_http_80_tls=both");
    let decided = decide::decide(
        &world,
        decide::DecideState::default(),
        std::time::Instant::now(),
        &story::default_rules(),
    );
    let config = story::build_config(&decided.routes);
    let files = render_files(&config, &frame);
    let generation = folder.path().join(&files.generation.name);
    fs::create_dir(&generation).unwrap();
    for (name, text) in &files.generation.files {
        fs::write(generation.join(name), text).unwrap();
    }
    let config = folder.path().join("haproxy.cfg");
    write_lists(&files.config, &generation);
    fs::write(&config, with_booleans(haproxy, &files.config)).unwrap();
    config_errors(haproxy, &config)
}

/// Returns whether HAProxy can add backends at run time (3.4 and later).
fn adds_backends(haproxy: &Path) -> bool {
    Version { major: 3, minor: 4 } <= version(haproxy)
}

/// Adds the setting of how Lua sees booleans: HAProxy 3.1 and later warn if it is missing.
fn with_booleans(haproxy: &Path, config: &str) -> String {
    let line = "  tune.lua.bool-sample-conversion normal\n";
    if config.contains(line) || version(haproxy) < (Version { major: 3, minor: 1 }) {
        return config.to_owned();
    }
    config.replacen("  lua-load ", &format!("{line}  lua-load "), 1)
}

fn version(haproxy: &Path) -> Version {
    let output = Command::new(haproxy).arg("-v").output().unwrap();
    String::from_utf8_lossy(&output.stdout).parse().unwrap()
}

/// Returns HAProxy's errors and warnings about a case.
fn case_errors(haproxy: &Path, case: &Path, name: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let generation = folder.path().join("gen");
    fs::create_dir(&generation).unwrap();
    write_maps(case, &generation);
    write_common_files(&generation);
    let config = folder.path().join("haproxy.cfg");
    let golden = read_golden(&case.join(format!("{name}.snap")));
    write_lists(&golden, &generation);
    fs::write(&config, with_booleans(haproxy, &with_generation_dir(&golden, &generation))).unwrap();
    config_errors(haproxy, &config).map(|text| format!("{} {name}: {text}\n", case.display()))
}

fn config_errors(haproxy: &Path, config: &Path) -> Option<String> {
    let output = Command::new(haproxy).arg("-c").arg("-f").arg(config).output().unwrap();
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let fine = output.status.success() && !text.contains("WARNING");
    (!fine).then_some(text)
}

fn write_maps(case: &Path, generation: &Path) {
    for file in fs::read_dir(case).unwrap() {
        let path = file.unwrap().path();
        let name = Path::new(path.file_stem().unwrap());
        if has_extension(name, "map") || has_extension(name, "state") {
            fs::write(generation.join(name), read_golden(&path)).unwrap();
        }
    }
}

/// The certificates of the goldens do not exist.
fn write_lists(config: &str, generation: &Path) {
    let certificate = generation.join("certificate.pem");
    fs::write(&certificate, certificates::self_signed("a.test")).unwrap();
    for list in config.split_whitespace().filter(|word| list_port(word).is_some()) {
        fs::write(generation.join(list), format!("{} a.test\n", certificate.display())).unwrap();
    }
}

/// Writes the error pages and the Lua programs, which are the same in all cases.
fn write_common_files(generation: &Path) {
    let files = render_files(&Config::default(), &story::default_frame()).generation.files;
    let is_common = |name: &Path| has_extension(name, "http") || has_extension(name, "lua");
    for (name, text) in files.iter().filter(|(name, _)| is_common(Path::new(name))) {
        fs::write(generation.join(name), text).unwrap();
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|text| text == extension)
}

/// Returns the snapshot without insta's own lines.
fn read_golden(snapshot: &Path) -> String {
    let text = fs::read_to_string(snapshot).unwrap();
    text.splitn(3, "---\n").nth(2).unwrap().to_owned() + "\n"
}

fn with_generation_dir(config: &str, generation: &Path) -> String {
    let (_, after) = config.split_once(GENERATIONS).unwrap();
    let name: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    config.replace(&format!("{GENERATIONS}{name}"), &generation.display().to_string())
}

fn find_haproxy() -> Option<PathBuf> {
    let given = std::env::var("HAPROXY_BIN").ok();
    let usual = ["haproxy", "/usr/sbin/haproxy"].map(str::to_owned);
    let found = given.into_iter().chain(usual).find(|bin| {
        let run = Command::new(bin).arg("-v").stdout(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        crate::common::record_skip("no HAProxy is installed");
    }
    found.map(PathBuf::from)
}
