//! The balancer is killed at each command by which one set of policies replaces another: no route is open in between,
//! and the next start completes the change.

#![allow(clippy::print_stdout, reason = "this is a test")]

use crate::{
    asker::Asker,
    common::{
        self,
        balancer::Balancer,
        between::{Fault, FaultProxy},
    },
};
use std::{fs, path::Path};

/// More than the commands of one change, so that the last kill comes after it.
const MOST_COMMANDS: usize = 200;

/// Returns the settings file of change `number`. The policy `turn` has another kind of protection each time.
fn policies(number: usize) -> String {
    let (allow, user) = (format!("10.{number}.0.0/16"), ["alice", "bob"][number % 2]);
    let users = format!("users = [\"{user}:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\"]");
    let forward_auth = format!("forward_auth = \"http://127.0.0.1:1/{number}\"");
    let turn = match number % 3 {
        0 => format!("allow = [\"10.{number}.1.0/24\"]"),
        1 => users.clone(),
        _ => forward_auth.clone(),
    };
    format!(
        "[policy.lan]\nallow = [\"{allow}\"]\nresponse_header_X-Step = \"{number}\"\n\
         [policy.staff]\n{users}\ndeny = [\"10.{number}.2.0/24\"]\n\
         [policy.sso]\n{forward_auth}\n\
         [policy.turn]\n{turn}\nresponse_header_X-Step = \"{number}\"\n"
    )
}

/// Replaces the file as an editor does.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Whether HAProxy has all policies of a change, and no set of the one before.
fn is_applied(balancer: &Balancer, between: &FaultProxy, number: usize) -> bool {
    let step = |host: &str| balancer.try_get(host).ok()?.headers.get("X-Step");
    let networks = between.ask_haproxy("show map client-networks.map").unwrap_or_default();
    let members = between.ask_haproxy("show map client-members.map").unwrap_or_default();
    let questions = between.ask_haproxy("show map forward-auth.map").unwrap_or_default();
    let is_new = |text: &str| {
        let before = number - 1;
        !text.contains(&format!(" 10.{before}.")) && !text.contains(&format!(":1/{before} "))
    };
    ["lan.test", "turn.test"].iter().all(|host| step(host) == Some(number.to_string()))
        && networks.contains(&format!(" 10.{number}.2.0/24"))
        && [networks, members, questions].iter().all(|text| is_new(text))
}

/// Whether HAProxy has a part of a change.
fn is_begun(between: &FaultProxy, number: usize) -> bool {
    let maps = ["client-members", "client-networks", "headers", "routes"];
    let mut maps = maps.iter().map(|map| between.ask_haproxy(&format!("show map {map}.map")));
    let is_new = |text: String| {
        text.contains(&format!(" 10.{number}."))
            || text.lines().any(|line| line.ends_with(&format!(" {number}")))
    };
    maps.any(|text| text.is_ok_and(is_new))
}

#[test]
fn kill_at_any_command_between_policies_opens_no_route() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.toml");
    write(&settings, &policies(1));
    let plan = Balancer::plan(&docker).option(&["--settings", settings.to_str().unwrap()]);
    let mut web = plan.run("web").label("glue_http_80_host", "free.test");
    for policy in ["lan", "staff", "sso", "turn"] {
        web = web.label(&format!("glue_http_80_host.{policy}"), format!("{policy}.test"));
        web = web.label(&format!("glue_http_80_use.{policy}"), policy);
    }
    let _web = web.start();
    let mut balancer = plan.start();
    balancer.wait_until_serves("free.test", "web saw /");
    balancer.assert_serves(&[
        ("lan.test", "403"),
        ("staff.test", "401"),
        ("sso.test", "503"),
        ("turn.test", "401"),
    ]);
    let hosts = ["free.test", "lan.test", "staff.test", "sso.test", "turn.test"];
    let askers = hosts.map(|host| Asker::begin(&balancer, host));
    let (mut kills, mut partial) = (0, 0);
    for number in 2..MOST_COMMANDS {
        let between = FaultProxy::replace_socket(&balancer.runtime().join("haproxy.sock"));
        between.inject_after(kills, Fault::Kill(balancer.pid()));
        write(&settings, &policies(number));
        common::wait_for("the kill or the new policies", || {
            (between.has_fired() || is_applied(&balancer, &between, number)).then_some(())
        });
        if !between.cancel() {
            break;
        }
        kills += 1;
        balancer.wait_for_exit();
        let was_applied = is_applied(&balancer, &between, number);
        partial += usize::from(!was_applied && is_begun(&between, number));
        askers[0].more(2);
        balancer.start_again();
        common::wait_for("the policies at the next start", || {
            is_applied(&balancer, &between, number).then_some(())
        });
        if was_applied {
            break;
        }
    }
    println!("killed at {kills} commands, {partial} times with a part of the change done");
    assert!(5 <= partial, "{partial} of {kills} kills were in the change");
    for asker in &askers {
        asker.more(5);
    }
    let [free, lan, staff, sso, turn] = askers.map(Asker::end);
    assert_eq!(free, ["web saw /"], "{}", balancer.log());
    assert_eq!((lan, staff, sso), (vec!["403".to_owned()], vec!["401".into()], vec!["503".into()]));
    assert_eq!(turn, ["401", "403", "503"]);
}
