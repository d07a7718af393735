//! A preview as one JSON object, for programs.
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

/// The JSON object of a preview.
#[derive(Debug, Serialize)]
struct PreviewObject {
    /// `nothing`, `changes`, or `refused` by HAProxy.
    result: &'static str,
    /// Source of the state before: `haproxy`, its `files`, or `nothing`.
    before: &'static str,
    /// `nothing`, `runtime`, `reload` or `start`.
    how: &'static str,
    /// Reason of a reload.
    why: Option<String>,
    routes: Vec<RouteObject>,
    /// The commands as sent over HAProxy's socket, in order.
    commands: Vec<String>,
    files: Vec<FileObject>,
    problems: Vec<ProblemStatus>,
    /// Containers to which the running docker-balancer sends no new requests.
    kept_out: Vec<String>,
    /// HAProxy's message, if it rejects the configuration.
    refused: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RouteObject {
    /// `add`, `change` or `remove`.
    change: &'static str,
    /// `app.example.com:80/api/`.
    route: String,
    /// The change as a line for people.
    text: String,
    /// Whether the route answers 503 for a while before it is removed.
    #[serde(rename = "held")]
    on_hold: bool,
    /// The servers after the change.
    servers: Vec<ServerObject>,
}

#[derive(Debug, Serialize)]
struct ServerObject {
    container: String,
    /// `null` if the container does not run yet.
    id: Option<String>,
    /// The container's port.
    port: u16,
    /// `null` if the container does not run yet.
    address: Option<String>,
    #[serde(flatten, serialize_with = "label_option::json::server::serialize")]
    options: OptionValues,
    /// Whether the server would get new requests.
    ready: bool,
}

#[derive(Debug, Serialize)]
struct FileObject {
    path: String,
    /// A unified diff.
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
        on_hold: output.preview.route_holds.contains(key),
        servers: server_objects(output, key),
    }
}

fn server_objects(output: &PreviewOutput, key: &RouteKey) -> Vec<ServerObject> {
    let route = output.preview.after.0.get(key);
    let endpoints = route.map_or(&[][..], |route| &route.endpoints);
    let server = |view: &Endpoint| ServerObject {
        container: view.container.qualified_name().into_owned(),
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
