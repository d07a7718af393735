use super::*;
use crate::{
    handlers::ini::Ini,
    settings::{GlueTask, HostEnv},
};
use std::{fs, os::unix::fs::PermissionsExt};

fn write_script(path: &Path, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn script_is_found_by_name_or_path() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_script(&at("a/plain.sh"), 0o644);
    write_script(&at("b/plain.sh"), 0o755);
    write_script(&at("b/only.sh"), 0o600);
    write_script(&at("b/sub/deep.sh"), 0o755);
    let paths = [at("absent"), at("a"), at("b")];
    let root = folder.path().display().to_string();
    for (name, expected) in [
        ("plain.sh", Ok("/b/plain.sh")),
        ("sub/deep.sh", Ok("/b/sub/deep.sh")),
        ("ROOT/b/plain.sh", Ok("/b/plain.sh")),
        ("only.sh", Err("ROOT/b/only.sh is not executable (chmod +x ROOT/b/only.sh)")),
        ("ROOT/a/plain.sh", Err("ROOT/a/plain.sh is not executable (chmod +x ROOT/a/plain.sh)")),
        ("sub", Err("ROOT/b/sub is a directory")),
        ("ROOT/none.sh", Err("no such file: ROOT/none.sh")),
        ("none.sh", Err("no none.sh in ROOT/absent, ROOT/a, ROOT/b")),
    ] {
        let found = find_program(Path::new(&name.replace("ROOT", &root)), &paths);
        let expected = expected.map(|path| PathBuf::from(format!("{root}{path}")));
        assert_eq!(found, expected.map_err(|text| text.replace("ROOT", &root)), "{name}");
    }
}

#[test]
fn script_next_to_the_ini_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    write_script(&folder.path().join("own.sh"), 0o755);
    let args = ["docker-glue", "-1"].map(Into::into);
    let (_, settings) = GlueTask::from_args(&args, HostEnv::default()).unwrap();
    let text = "[handler]\n[params]\nscript=own.sh";
    let ini = Ini::parse(folder.path().join("a.ini"), text).unwrap();
    let script = Script::from_params(&ini.params, &settings).unwrap();
    assert_eq!(script.program, folder.path().join("own.sh"));
}

#[test]
fn own_params_become_environment_variables() {
    let args = ["docker-glue", "-1"].map(Into::into);
    let (_, settings) = GlueTask::from_args(&args, HostEnv::default()).unwrap();
    let read = |params: &str| {
        let ini = Ini::parse("a.ini", &format!("[handler]\n[params]\n{params}")).unwrap();
        Script::from_params(&ini.params, &settings).map_err(|error| error.to_string())
    };
    let script = |timeout, concurrency: usize, environment: &[(&str, &str)]| {
        let variable =
            |(key, value): &(&str, &str)| (format!("GLUE_PARAM_{key}"), (*value).to_owned());
        Ok(Script {
            program: "/bin/sh".into(),
            environment: environment.iter().map(variable).collect(),
            timeout: Duration::from_secs(timeout),
            concurrency: concurrency.try_into().unwrap(),
        })
    };
    let wrong = |text: &str| Err(format!("a.ini:{text}"));
    for (params, expected) in [
        (
            "script=/bin/sh\nmy-own.Option=x y\n",
            script(60, 1, &[("MY_OWN_OPTION", "x y"), ("SCRIPT", "/bin/sh")]),
        ),
        (
            "script=/bin/sh\ntimeout=2m\nconcurrency=4\n",
            script(120, 4, &[("CONCURRENCY", "4"), ("SCRIPT", "/bin/sh"), ("TIMEOUT", "2m")]),
        ),
        ("", Err("a.ini: the key script is missing in [params]".to_owned())),
        ("script=/none\n", wrong("3: no such file: /none")),
        (
            "script=/bin/sh\nconcurrency=0\n",
            wrong("4: concurrency must be a whole number of at least 1, not \"0\""),
        ),
        (
            "script=/bin/sh\ntimeout=0\n",
            wrong("4: timeout must be a time such as 30s or 5m, and more than 0"),
        ),
    ] {
        assert_eq!(read(params), expected, "{params}");
    }
}
