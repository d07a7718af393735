//! `tests/attacks/list.txt` names only tests that exist, so that `make attack` runs all that it lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// Returns `SUITE::FILE::TEST` of each indented line, with its ground.
fn attacks() -> Vec<(String, String)> {
    let (mut ground, mut attacks) = (String::new(), Vec::new());
    for line in fs::read_to_string("tests/attacks/list.txt").unwrap().lines() {
        match line.strip_prefix("  ") {
            Some(test) => attacks.push((ground.clone(), test.trim().to_owned())),
            None if line.starts_with('#') || line.is_empty() => {}
            None => line.clone_into(&mut ground),
        }
    }
    attacks
}

/// Returns the functions of `SUITE::FILE`, of the crate (`lib`) or of packaging/docs (`packaging`).
fn functions(suite: &str) -> String {
    let at = match suite {
        "lib" => "src".to_owned(),
        "packaging" => "packaging/docs/src".to_owned(),
        _ => format!("tests/{}.rs", suite.replace("::", "/")),
    };
    let grep = Command::new("grep").args(["-rhoE", "fn [a-z0-9_]+\\(", &at]).output().unwrap();
    String::from_utf8(grep.stdout).unwrap()
}

#[test]
fn every_attack_is_a_test_that_exists() {
    let attacks = attacks();
    assert!(attacks.len() > 100, "{}", attacks.len());
    let mut suites = BTreeMap::new();
    let missing = attacks.iter().filter(|(_, test)| {
        let (suite, name) = test.rsplit_once("::").unwrap_or((test, ""));
        let is_fuzz =
            suite == "fuzz" && Path::new(&format!("tests/fuzz/fuzz_targets/{name}.rs")).exists();
        !is_fuzz
            && !suites
                .entry(suite)
                .or_insert_with(|| functions(suite))
                .contains(&format!("fn {name}(\n"))
    });
    assert_eq!(missing.collect::<Vec<_>>(), [] as [&(String, String); 0]);
}

/// The findings of the audit are numbered.
#[test]
fn each_finding_of_the_audit_has_a_test() {
    let grounds: BTreeSet<_> = attacks().into_iter().map(|(ground, _)| ground).collect();
    for number in 1..=31 {
        let start = format!("finding {number}:");
        assert!(grounds.iter().any(|ground| ground.starts_with(&start)), "{start}");
    }
}
