//! `explain`: asks the docker-balancer that runs; where none answers, Docker.

mod human;
mod table;

pub use human::human;

use super::{Told, alone};
use crate::{
    cli::Format,
    control::{
        client::{self, NoDaemon},
        socket,
    },
    haproxy::config::MapName,
    settings::Settings,
    view::explain::{Asked, Explanation, Outcome, explain as pure, request::Request},
};
use anyhow::{Context, Result};

/// It is understood, and not served.
const NOT_SERVED: u8 = 1;

pub(super) async fn explain(
    request: &Request,
    format: Format,
    settings: &Settings,
) -> Result<Told> {
    let asked = client::get(&socket(&settings.runtime_dir), &path(request)).await;
    let explanation: Explanation = match asked {
        Ok(explanation) => explanation,
        Err(error) => {
            let neither = || format!("neither could be asked: {error:#}");
            let mut by_docker = by_docker(request, settings).await.with_context(neither)?;
            if !error.is::<NoDaemon>() {
                by_docker.daemon_said = Some(format!("{error:#}"));
            }
            by_docker
        }
    };
    let status = if explanation.outcome == Outcome::Served { 0 } else { NOT_SERVED };
    let text = match format {
        Format::Human => human(&explanation),
        Format::Json => serde_json::to_string_pretty(&explanation)?,
    };
    Ok(Told { text, status })
}

fn path(request: &Request) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let url = request.url.to_string();
    query.append_pair("url", &url).append_pair("method", request.method.as_str());
    format!("/explain?{}", query.finish())
}

/// What a docker-balancer would do that began now; a HAProxy of ours is looked at if there is one.
async fn by_docker(request: &Request, settings: &Settings) -> Result<Explanation> {
    let alone = alone::look(settings).await?;
    let mut explanation = pure(request, &alone.picture, alone.counters.as_ref());
    explanation.asked = Asked::Docker;
    explanation.notes.extend(alone.notes);
    if let (Some(observed), Some(route)) = (&alone.observed, &explanation.route)
        && !observed.map(MapName::Routes).any(|(key, _)| *key == route.route)
    {
        explanation.notes.push("the HAProxy that runs does not have this route yet".to_owned());
    }
    Ok(explanation)
}
