//! Client of an engine: every request has a timeout, every error names the engine and the request.

use super::{
    connect::{EngineSettings, Timeouts, connect_client},
    convert,
    event::{self, Event},
    inspect::InspectDetails,
    lenient::{self, LenientList},
    query::{self, ParsedObject},
};
use crate::{
    model::{
        container::{Container, ContainerId, NetworkMode},
        source_name::SourceName,
        world::Network,
    },
    sources::{description::Description, filter::ContainerFilter, source::EventSelection},
};
use anyhow::{Context, Result, anyhow};
use bollard::{
    Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerSummary, EventMessage, SystemInfo},
    query_parameters::KillContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A connected engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) docker: Docker,
    url: String,
    pub(crate) timeouts: Timeouts,
    page_size: usize,
    /// The name of this source.
    pub(crate) source: SourceName,
}

const PAGE_SIZE: usize = 500;
/// Limit of the pages, a million containers. Beyond it all containers are requested as one list.
const MAX_PAGES: usize = 2000;
/// How long a restart may take beyond the container's stop timeout.
const RESTART_MARGIN: Duration = Duration::from_mins(1);
const MAX_RESTART: Duration = Duration::from_hours(1);

impl Engine {
    /// Returns the name of the source that the engine is.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Connects to an engine. No request has been sent yet.
    pub async fn connect(settings: &EngineSettings) -> Result<Self> {
        let docker = connect_client(settings).await?;
        Ok(Self {
            docker,
            url: settings.url().to_owned(),
            timeouts: settings.timeouts,
            page_size: PAGE_SIZE,
            source: settings.source.clone(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns those of these containers that still exist.
    pub(crate) async fn list_containers(
        &self,
        ids: &BTreeSet<ContainerId>,
    ) -> Result<LenientList<Container>> {
        let ids = ids.iter().map(ContainerId::as_str).collect();
        let list = self.query_containers(&[], &BTreeMap::from([("id", ids)])).await?;
        Ok(list.filter_map(|container| convert::parse_container(container, &self.source)))
    }

    /// Returns all containers. Each is passed to `keep` as soon as its page is read, because a whole answer takes many
    /// times the memory of what is kept of it. An engine, or a proxy in front of it, that does not support paging
    /// returns everything at once, or the same page again.
    pub(crate) async fn list_all_containers<T>(
        &self,
        mut keep: impl FnMut(ContainerSummary) -> T,
    ) -> Result<LenientList<T>> {
        let (mut kept, mut seen_ids) = (LenientList::default(), BTreeSet::new());
        let mut last = None;
        for _ in 0..MAX_PAGES {
            let page = match self.list_page(last.as_deref()).await {
                Ok(page) => page,
                // The last container of the page was removed before the next page was requested.
                Err(_) if last.is_some() => break,
                Err(error) => return Err(error),
            };
            let (received, before) = (page.entries.len() + page.dropped, seen_ids.len());
            last = page.entries.last().and_then(|container| container.id.clone());
            for container in page.entries {
                if container.id.as_ref().is_some_and(|id| seen_ids.insert(id.clone())) {
                    kept.entries.push(keep(container));
                }
            }
            kept.warnings.extend(page.warnings);
            if received != self.page_size {
                return Ok(kept);
            }
            if last.is_none() || seen_ids.len() == before {
                break;
            }
        }
        drop((kept, seen_ids));
        self.list_at_once(keep).await
    }

    /// Returns all containers, requested as one list.
    pub(crate) async fn list_at_once<T>(
        &self,
        keep: impl FnMut(ContainerSummary) -> T,
    ) -> Result<LenientList<T>> {
        let LenientList { entries, warnings, dropped } =
            self.query_containers(&[], &BTreeMap::new()).await?;
        Ok(LenientList { entries: entries.into_iter().map(keep).collect(), warnings, dropped })
    }

    /// The engine lists the youngest container first; its filter `before` selects what follows in the list.
    async fn list_page(&self, last: Option<&str>) -> Result<LenientList<ContainerSummary>> {
        let limit = self.page_size.to_string();
        let filters = last.map(|last| ("before", vec![last])).into_iter().collect();
        self.query_containers(&[("limit", &limit)], &filters).await
    }

    /// Returns the containers that have an id, because others could not be referred to.
    async fn query_containers(
        &self,
        parameters: &[(&str, &str)],
        filters: &BTreeMap<&str, Vec<&str>>,
    ) -> Result<LenientList<ContainerSummary>> {
        let parameters = [&[("all", "true")], parameters].concat();
        let path = query::query_path("/containers/json", &parameters, filters);
        let list = self.query_list("the list of containers", &path).await?;
        Ok(list
            .filter_map(|container: ContainerSummary| container.id.is_some().then_some(container)))
    }

    pub(crate) async fn list_networks(&self) -> Result<BTreeMap<String, Network>> {
        let networks = self.query_list("the list of networks", "/networks").await?;
        Ok(convert::parse_networks(networks.entries))
    }

    /// Returns `None` if the container no longer exists.
    pub(crate) async fn inspect_details(
        &self,
        id: &ContainerId,
        filter: &ContainerFilter,
    ) -> Result<Option<InspectDetails>> {
        Ok(self
            .inspect_container(id.as_str())
            .await?
            .map(|response| convert::parse_details(response, filter, &self.source)))
    }

    /// Returns the full id of a running container, and whose network it uses; `None` if no container of that id is
    /// running.
    pub(crate) async fn find_running(
        &self,
        id: &str,
    ) -> Result<Option<(ContainerId, NetworkMode)>> {
        let runs = |response: &ContainerInspectResponse| {
            response.state.as_ref().and_then(|state| state.running) == Some(true)
        };
        Ok(self.inspect_container(id).await?.filter(runs).and_then(|response| {
            let mode = convert::inspected_network_mode(&response, &self.source);
            Some((ContainerId::in_source(self.source.clone(), response.id?), mode))
        }))
    }

    /// Subscribes to these events until the connection ends, starting at `since` (nanoseconds since 1970 by the
    /// engine's clock). `None`: from now on.
    pub(crate) fn subscribe_events(
        &self,
        selection: &EventSelection,
        since: Option<i64>,
    ) -> impl Stream<Item = Result<Event>> + use<> {
        let mut filters = BTreeMap::from([("type", vec!["container", "network"])]);
        if let EventSelection::ForSnapshots { extra } = selection {
            filters.insert("event", event::subscribed_actions(extra));
        }
        let since = since.map(convert::format_seconds);
        let since: Vec<_> = since.iter().map(|since| ("since", since.as_str())).collect();
        let source = self.source.clone();
        let convert = move |message| convert::parse_event(message, &source);
        self.stream_messages(&query::query_path("/events", &since, &filters), convert)
    }

    /// Returns the time by the engine's clock, in nanoseconds since 1970; `None` if the engine does not report it.
    pub(crate) async fn query_time(&self) -> Result<Option<i64>> {
        let time = self.query_info().await?.system_time;
        Ok(time.and_then(|text| convert::parse_time(&text)))
    }

    /// Ignores a message that cannot be parsed.
    pub(super) fn stream_messages<T, F: FnMut(EventMessage) -> Option<T>>(
        &self,
        path: &str,
        mut convert: F,
    ) -> impl Stream<Item = Result<T>> + use<T, F> {
        let url = self.url.clone();
        self.stream_lines(path).filter_map(move |line| {
            let received = match line {
                Ok(line) => lenient::parse_entry(&line).0.and_then(&mut convert).map(Ok),
                Err(error) => {
                    Some(Err(error.context(format!("Docker at {url} closed the event stream"))))
                }
            };
            std::future::ready(received)
        })
    }

    /// Returns `None` if the container no longer exists.
    pub(crate) async fn describe_container(&self, id: &ContainerId) -> Result<Option<Description>> {
        let response = self.inspect_raw(id.as_str()).await?;
        // Fields that were not parsed here may matter to readers of the whole JSON.
        let whole = |object: &ParsedObject<_>| {
            object.is_partial.then(|| serde_json::from_str(&object.text).ok()).flatten()
        };
        let describe = |object: ParsedObject<_>| {
            convert::build_description(&object.value, whole(&object), &self.source)
        };
        response.map(describe).transpose()
    }

    /// `docker kill -s SIGNAL`.
    pub async fn send_signal(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let kill = self.docker.kill_container(id.as_str(), Some(options));
        self.query_with_timeout(&format!("{signal} to container {id}"), self.timeouts.inspect, kill)
            .await
    }

    /// `docker restart`. Times out a minute after the container's own stop timeout, or after an hour.
    pub async fn restart_container(&self, id: &ContainerId) -> Result<()> {
        let container = self.inspect_container(id.as_str()).await?;
        let stop_timeout = container.and_then(|container| container.config?.stop_timeout);
        let timeout = restart_timeout(stop_timeout);
        // The client has a time limit of its own, which suits a list.
        let docker = self.docker.clone().with_timeout(timeout);
        let restart = docker.restart_container(id.as_str(), None);
        self.query_with_timeout(&format!("a restart of container {id}"), timeout, restart).await
    }

    /// Returns the engine's id and its host's name.
    pub async fn query_node(&self) -> Result<(String, String)> {
        let info = self.query_info().await?;
        Ok((info.id.unwrap_or_default(), info.name.unwrap_or_default()))
    }

    async fn query_info(&self) -> Result<SystemInfo> {
        let info = self.query_object("itself", "/info", self.timeouts.inspect).await?;
        Ok(info.map(|object| object.value).unwrap_or_default())
    }

    async fn inspect_container(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        Ok(self.inspect_raw(id).await?.map(|object| object.value))
    }

    async fn inspect_raw(
        &self,
        id: &str,
    ) -> Result<Option<ParsedObject<ContainerInspectResponse>>> {
        let what = format!("container {}", id.get(..12).unwrap_or(id));
        self.query_object(&what, &format!("/containers/{id}/json"), self.timeouts.inspect).await
    }

    pub(crate) async fn query_with_timeout<T>(
        &self,
        what: &str,
        timeout: Duration,
        query: impl Future<Output = Result<T, Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(timeout, query).await {
            Ok(answer) => {
                answer.with_context(|| format!("request to Docker at {} for {what}", self.url))
            }
            Err(_) => Err(anyhow!(
                "no answer from Docker at {} to the request for {what} within {timeout:?}",
                self.url
            )),
        }
    }
}

/// How long a restart may take, for a container with this stop timeout in seconds. Docker's default is 10 s, and a
/// negative one waits without limit (`docker create --stop-timeout`).
fn restart_timeout(stop_timeout: Option<i64>) -> Duration {
    let wait = u64::try_from(stop_timeout.unwrap_or(10)).map_or(Duration::MAX, Duration::from_secs);
    wait.saturating_add(RESTART_MARGIN).min(MAX_RESTART)
}

#[cfg(test)]
mod tests;
