//! For programs: one object.
//!
//! Pure.

use super::{PreviewOutput, PreviewResult, human};
use crate::{
    model::{
        label_option::{self, OptionValues},
        route::{Endpoint, Readiness, RouteKey},
    },
    report::{
        preview::{PreviewMethod, StateSource},
        status::ProblemStatus,
    },
    routing::route_diff::RouteChange,
};
use serde::Serialize;

/// All of it.
#[derive(Debug, Serialize)]
struct PreviewObject {
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
    #[serde(flatten, serialize_with = "label_option::json::server::serialize")]
    options: OptionValues,
    /// Whether it would get new requests.
    ready: bool,
}

#[derive(Debug, Serialize)]
struct FileObject {
    path: String,
    /// Unified.
    diff: String,
}

pub(crate) fn render_json(output: &PreviewOutput) -> String {
    let preview = &output.preview;
    let (how, why) = match &preview.method {
        PreviewMethod::Nothing => ("nothing", None),
        PreviewMethod::Runtime => ("runtime", None),
        PreviewMethod::Reload(why) => ("reload", Some(why.to_string())),
        PreviewMethod::Start => ("start", None),
    };
    let object = PreviewObject {
        result: match output.result() {
            PreviewResult::Nothing => "nothing",
            PreviewResult::Changes => "changes",
            PreviewResult::Refused => "refused",
        },
        before: match preview.source {
            StateSource::HAProxy => "haproxy",
            StateSource::Files => "files",
            StateSource::Nothing => "nothing",
        },
        how,
        why,
        routes: preview.changes.iter().map(|change| route_object(output, change)).collect(),
        commands: output.masked_commands().collect(),
        files: output.masked_patches().map(|(path, diff)| FileObject { path, diff }).collect(),
        problems: preview.problems.iter().map(|p| masked_problem(output, p.into())).collect(),
        kept_out: preview.excluded.iter().map(ToString::to_string).collect(),
        refused: output.rejection.clone(),
        notes: output.notes.clone(),
    };
    serde_json::to_string_pretty(&object).expect("texts, numbers and lists are JSON")
}

fn route_object(output: &PreviewOutput, change: &RouteChange) -> RouteObject {
    let key = change.route();
    RouteObject {
        change: change.kind().as_str(),
        route: key.to_string(),
        text: human::change_text(output, change),
        held: output.preview.held_routes.contains(key),
        servers: server_objects(output, key),
    }
}

fn server_objects(output: &PreviewOutput, key: &RouteKey) -> Vec<ServerObject> {
    let route = output.preview.after.0.get(key);
    let endpoints = route.map_or(&[][..], |route| &route.endpoints);
    let server = |view: &Endpoint| ServerObject {
        container: view.container.name().to_owned(),
        id: Some(view.container.id().to_owned())
            .filter(|id| !output.placeholders.is_placeholder_id(id)),
        port: view.port,
        address: Some(view.address)
            .filter(|at| !output.placeholders.is_placeholder_address(at.ip()))
            .map(|at| at.to_string()),
        options: view.options.clone(),
        ready: view.readiness == Readiness::Ready,
    };
    endpoints.iter().map(server).collect()
}

fn masked_problem(output: &PreviewOutput, problem: ProblemStatus) -> ProblemStatus {
    ProblemStatus {
        id: problem.id.filter(|id| !output.placeholders.is_placeholder_id(id)),
        reason: output.placeholders.mask_sentence(&problem.reason),
        text: output.placeholders.mask_sentence(&problem.text),
        ..problem
    }
}
