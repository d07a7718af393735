use super::*;
use crate::{
    handlers::ini::Ini,
    settings::{GlueTask, HostEnv},
};
use std::fs;

#[test]
fn command_and_class_are_parsed_or_rejected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("demo.py"), "").unwrap();
    let root = folder.path().display().to_string();
    let args = ["docker-glue", "-1", "--plugin-paths", &root].map(Into::into);
    let env = [("PATH".to_owned(), "/bin".to_owned())].into();
    let (_, settings) = GlueTask::from_args(&args, HostEnv { env, ..HostEnv::default() }).unwrap();
    let read = |text: &str| {
        let ini = Ini::parse("a.ini", text).unwrap();
        let report = |error: IniError| error.to_string().replace(&root, "ROOT");
        Plugin::from_sections(&ini.handler, &ini.params, &settings).map_err(report)
    };
    let found = read("[handler]\nclass=plugin\n[params]\ncommand=sh -c 'a b'\ntimeout=5\n");
    let report = |key: &str, value: &str| (format!("GLUE_PARAM_{key}"), value.into());
    assert_eq!(
        found.unwrap(),
        Plugin {
            program: "/bin/sh".into(),
            arguments: ["-c", "a b"].map(Into::into).into(),
            folder: "/bin".into(),
            environment: vec![report("COMMAND", "sh -c 'a b'"), report("TIMEOUT", "5")],
            timeout: Duration::from_secs(5),
        }
    );
    for (text, expected) in [
        ("[handler]\nclass=plugin\n", "a.ini: the key command is missing in [params]"),
        ("[handler]\nclass=plugin\n[params]\ncommand=sh 'x\n", "a.ini:4: a quote is not closed"),
        (
            "[handler]\nclass=plugin\n[params]\ncommand=no-such-thing\n",
            "a.ini:4: no no-such-thing in ROOT or in PATH",
        ),
        (
            "[handler]\nclass=plugin\n[params]\ncommand=/no/such/thing\n",
            "a.ini:4: no such file: /no/such/thing",
        ),
        (
            "[handler]\nclass=plugin\n[params]\ncommand=demo.py\n",
            "a.ini:4: ROOT/demo.py is not executable (chmod +x ROOT/demo.py)",
        ),
        ("[handler]\nclass=python:dem.Demo\n", "a.ini:2: no dem.py in ROOT"),
        (
            "[handler]\nclass=python:demo\n",
            "a.ini:2: \"python:demo\" is not a class in a module, such as python:demo.DemoHandler",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
}
