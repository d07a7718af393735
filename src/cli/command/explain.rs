//! `explain`: asks the running docker-balancer, or Docker if docker-balancer does not answer.

use super::{CommandOutput, offline};
use crate::{
    api::control::{
        client::{self, DaemonUnreachableError},
        socket_path,
    },
    haproxy::route_recovery::recover_keys,
    report::{
        explain::{
            AnsweredBy, Explanation, RequestOutcome, explain as pure, request::ExplainRequest,
        },
        explain_text::format_explanation,
    },
    settings::{Settings, options::Format},
};
use anyhow::{Context, Result};

/// The request is valid but is not served.
const EXIT_NOT_SERVED: u8 = 1;

pub(crate) async fn run_explain(
    request: &ExplainRequest,
    format: Format,
    settings: &Settings,
) -> Result<CommandOutput> {
    let response = client::get(&socket_path(&settings.runtime_dir), &request_path(request)).await;
    let explanation: Explanation = match response {
        Ok(explanation) => explanation,
        Err(error) => {
            let both_failed = || format!("neither docker-balancer nor Docker answers: {error:#}");
            let mut by_docker =
                explain_offline(request, settings).await.with_context(both_failed)?;
            if !error.is::<DaemonUnreachableError>() {
                by_docker.daemon_error = Some(format!("{error:#}"));
            }
            by_docker
        }
    };
    let is_served = matches!(
        explanation.outcome,
        RequestOutcome::Served | RequestOutcome::Answered | RequestOutcome::Redirected
    );
    let status = if is_served { 0 } else { EXIT_NOT_SERVED };
    let text = match format {
        Format::Human => format_explanation(&explanation),
        Format::Json => serde_json::to_string_pretty(&explanation)?,
    };
    Ok(CommandOutput { text, status })
}

fn request_path(request: &ExplainRequest) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let url = request.url.to_string();
    query.append_pair("url", &url).append_pair("method", request.method.as_str());
    if let Some(from) = request.from {
        query.append_pair("from", &from.to_string());
    }
    for header in &request.headers {
        query.append_pair("header", &header.to_string());
    }
    if let Some(user) = &request.user {
        query.append_pair("user", user.as_str());
    }
    format!("/explain?{}", query.finish())
}

/// Explains what a docker-balancer that starts now would do. Also reads a HAProxy of ours, if it runs.
async fn explain_offline(request: &ExplainRequest, settings: &Settings) -> Result<Explanation> {
    let offline = offline::load_offline(settings).await?;
    let mut explanation = pure(request, &offline.state, offline.counters.as_ref());
    explanation.answered_by = AnsweredBy::Docker;
    explanation.notes.extend(offline.notes);
    if let (Some(observed), Some(route)) = (&offline.observed, &explanation.route)
        && !recover_keys(observed).any(|key| key.to_string() == route.route)
    {
        explanation.notes.push("the running HAProxy does not have this route yet".to_owned());
    }
    Ok(explanation)
}
