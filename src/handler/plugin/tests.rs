use super::*;
use crate::{
    handler::ini::Ini,
    settings::{GlueTask, Machine},
};
use std::fs;

#[test]
fn commands_and_classes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("demo.py"), "").unwrap();
    let root = folder.path().display().to_string();
    let args = ["docker-glue", "-1", "--plugin-paths", &root].map(Into::into);
    let env = [("PATH".to_owned(), "/bin".to_owned())].into();
    let (_, settings) = GlueTask::read(&args, Machine { env, ..Machine::default() }).unwrap();
    let read = |text: &str| {
        let ini = Ini::read("a.ini", text).unwrap();
        let told = |mistake: Mistake| mistake.to_string().replace(&root, "ROOT");
        Plugin::read(&ini.handler, &ini.params, &settings).map_err(told)
    };
    let found = read("[handler]\nclass=plugin\n[params]\ncommand=sh -c 'a b'\ntimeout=5\n");
    let told = |key: &str, value: &str| (format!("GLUE_PARAM_{key}"), value.into());
    assert_eq!(
        found.unwrap(),
        Plugin {
            program: "/bin/sh".into(),
            arguments: ["-c", "a b"].map(Into::into).into(),
            folder: "/bin".into(),
            environment: vec![told("COMMAND", "sh -c 'a b'"), told("TIMEOUT", "5")],
            timeout: Duration::from_secs(5),
        }
    );
    for (text, expected) in [
        ("[handler]\nclass=plugin\n", "a.ini: [params] says no command, and it is needed"),
        ("[handler]\nclass=plugin\n[params]\ncommand=sh 'x\n", "a.ini:4: a quote is not closed"),
        (
            "[handler]\nclass=plugin\n[params]\ncommand=no-such-thing\n",
            "a.ini:4: there is no no-such-thing in ROOT or in PATH",
        ),
        (
            "[handler]\nclass=plugin\n[params]\ncommand=/no/such/thing\n",
            "a.ini:4: there is no /no/such/thing",
        ),
        (
            "[handler]\nclass=plugin\n[params]\ncommand=demo.py\n",
            "a.ini:4: ROOT/demo.py is not executable (chmod +x ROOT/demo.py)",
        ),
        ("[handler]\nclass=python:dem.Demo\n", "a.ini:2: there is no dem.py in ROOT"),
        (
            "[handler]\nclass=python:demo\n",
            "a.ini:2: \"python:demo\" is no class of a module, such as python:demo.DemoHandler",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
}
