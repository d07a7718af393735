//! For programs: one object.
//!
//! Pure.

use super::{End, Foretold, human};
use crate::{
    change::Change,
    route::{Endpoint, Readiness, RouteKey},
    view::{
        outlook::{How, Source},
        status::ProblemStatus,
    },
};
use serde::Serialize;

/// All of it.
#[derive(Debug, Serialize)]
struct Object {
    /// `nothing`, `changes`, or `refused` by HAProxy.
    result: &'static str,
    /// Who says what was before: `haproxy`, its `files`, or `nothing`.
    before: &'static str,
    /// `nothing`, `runtime`, `reload` or `start`.
    how: &'static str,
    /// Of a reload.
    why: Option<String>,
    routes: Vec<RouteObject>,
    /// As they go over HAProxy's socket, in order.
    commands: Vec<String>,
    files: Vec<FileObject>,
    problems: Vec<ProblemStatus>,
    /// Containers that the docker-balancer that runs keeps out of traffic.
    kept_out: Vec<String>,
    /// In HAProxy's words.
    refused: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RouteObject {
    /// `add`, `change` or `remove`.
    change: &'static str,
    /// `app.example.com:80/api/`.
    route: String,
    /// In a line for people.
    text: String,
    /// It answers 503 for a while before it goes.
    held: bool,
    /// Those there would be.
    servers: Vec<ServerObject>,
}

#[derive(Debug, Serialize)]
struct ServerObject {
    container: String,
    /// Absent while it does not run.
    id: Option<String>,
    /// The container's.
    port: u16,
    /// Absent while it does not run.
    address: Option<String>,
    weight: u16,
    /// Whether it would get new requests.
    ready: bool,
}

#[derive(Debug, Serialize)]
struct FileObject {
    path: String,
    /// Unified.
    diff: String,
}

pub(super) fn text(told: &Foretold) -> String {
    let outlook = &told.outlook;
    let (how, why) = match &outlook.how {
        How::Nothing => ("nothing", None),
        How::Runtime => ("runtime", None),
        How::Reload(why) => ("reload", Some(why.to_string())),
        How::Start => ("start", None),
    };
    let object = Object {
        result: match told.result() {
            End::Nothing => "nothing",
            End::Changes => "changes",
            End::Refused => "refused",
        },
        before: match outlook.source {
            Source::HAProxy => "haproxy",
            Source::Files => "files",
            Source::Nothing => "nothing",
        },
        how,
        why,
        routes: outlook.changes.iter().map(|it| route(told, it)).collect(),
        commands: told.commands().collect(),
        files: told.patches().map(|(path, diff)| FileObject { path, diff }).collect(),
        problems: outlook.problems.iter().map(|it| problem(told, it.into())).collect(),
        kept_out: outlook.kept_out.iter().map(ToString::to_string).collect(),
        refused: told.refused.clone(),
        notes: told.notes.clone(),
    };
    serde_json::to_string_pretty(&object).expect("texts, numbers and lists are JSON")
}

fn route(told: &Foretold, change: &Change) -> RouteObject {
    let (kind, key) = match change {
        Change::Came { route, .. } => ("add", route),
        Change::Differs { route, .. } => ("change", route),
        Change::Went { route } => ("remove", route),
    };
    RouteObject {
        change: kind,
        route: key.to_string(),
        text: human::words(told, change),
        held: told.outlook.held.contains(key),
        servers: servers(told, key),
    }
}

fn servers(told: &Foretold, key: &RouteKey) -> Vec<ServerObject> {
    let route = told.outlook.after.0.get(key);
    let endpoints = route.map_or(&[][..], |it| &it.endpoints);
    let server = |it: &Endpoint| ServerObject {
        container: it.origin.name().to_owned(),
        id: Some(it.origin.id().to_owned()).filter(|id| !told.masks.hides(id)),
        port: it.port,
        address: Some(it.address)
            .filter(|at| !told.masks.hides_address(at.ip()))
            .map(|at| at.to_string()),
        weight: it.weight.get(),
        ready: it.readiness == Readiness::Ready,
    };
    endpoints.iter().map(server).collect()
}

fn problem(told: &Foretold, problem: ProblemStatus) -> ProblemStatus {
    ProblemStatus {
        id: problem.id.filter(|id| !told.masks.hides(id)),
        reason: told.masks.in_words(&problem.reason),
        text: told.masks.in_words(&problem.text),
        ..problem
    }
}
