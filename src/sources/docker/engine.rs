//! The engine that answers: every question has a timeout, every error names the engine and the
//! question.

use super::{
    connect::{EngineSettings, Timeouts, connect_client},
    convert,
    event::{self, Event},
    filter::ContainerFilter,
    inspect::InspectDetails,
    inspect_cache::{Description, EngineEvent},
    lenient::{self, LenientList},
    query::{self, ParsedObject},
};
use crate::model::{
    container::{Container, ContainerId, NetworkMode},
    world::Network,
};
use anyhow::{Context, Result, anyhow};
use bollard::{
    Docker,
    errors::Error,
    models::{ContainerInspectResponse, EventMessage, SystemInfo},
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
}

const PAGE_SIZE: usize = 500;
/// More than a million containers are not read page by page.
const MAX_PAGES: usize = 2000;

impl Engine {
    /// An engine that was reached, but has not been asked anything yet.
    pub async fn connect(settings: &EngineSettings) -> Result<Self> {
        let docker = connect_client(settings).await?;
        Ok(Self {
            docker,
            url: settings.url().to_owned(),
            timeouts: settings.timeouts,
            page_size: PAGE_SIZE,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Those of these ids that still exist.
    pub(crate) async fn list_containers(
        &self,
        ids: &BTreeSet<ContainerId>,
    ) -> Result<LenientList<Container>> {
        let ids = ids.iter().map(ContainerId::as_str).collect();
        self.query_containers(&[], &BTreeMap::from([("id", ids)])).await
    }

    /// All containers, each handed on as soon as its page is read: a whole answer takes many times
    /// the memory of what is kept of it. An engine, or a proxy before it, that knows no pages gives all at once, or the
    /// same page again.
    pub(crate) async fn list_all_containers<T>(
        &self,
        mut keep: impl FnMut(Container) -> T,
    ) -> Result<LenientList<T>> {
        let (mut kept, mut seen_ids) = (LenientList::default(), BTreeSet::new());
        let mut last = None;
        for _ in 0..MAX_PAGES {
            let page = match self.list_page(last.as_ref()).await {
                Ok(page) => page,
                // The last one of a page was removed before the next was asked for.
                Err(_) if last.is_some() => break,
                Err(error) => return Err(error),
            };
            let (received, before) = (page.entries.len() + page.dropped, seen_ids.len());
            last = page.entries.last().map(|container| container.id.clone());
            for container in page.entries {
                if seen_ids.insert(container.id.clone()) {
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
        let LenientList { entries, warnings, dropped } =
            self.query_containers(&[], &BTreeMap::new()).await?;
        Ok(LenientList { entries: entries.into_iter().map(keep).collect(), warnings, dropped })
    }

    /// The engine lists the youngest first; `before` is its word for what follows in the list.
    async fn list_page(&self, last: Option<&ContainerId>) -> Result<LenientList<Container>> {
        let limit = self.page_size.to_string();
        let filters = last.map(|last| ("before", vec![last.as_str()])).into_iter().collect();
        self.query_containers(&[("limit", &limit)], &filters).await
    }

    async fn query_containers(
        &self,
        parameters: &[(&str, &str)],
        filters: &BTreeMap<&str, Vec<&str>>,
    ) -> Result<LenientList<Container>> {
        let parameters = [&[("all", "true")], parameters].concat();
        let path = query::query_path("/containers/json", &parameters, filters);
        Ok(self.query_list("its containers", &path).await?.filter_map(convert::parse_container))
    }

    pub(crate) async fn list_networks(&self) -> Result<BTreeMap<String, Network>> {
        let networks = self.query_list("its networks", "/networks").await?;
        Ok(convert::parse_networks(networks.entries))
    }

    /// `None` when there is no such container any more.
    pub(crate) async fn inspect_details(
        &self,
        id: &ContainerId,
        filter: &ContainerFilter,
    ) -> Result<Option<InspectDetails>> {
        Ok(self
            .inspect_container(id.as_str())
            .await?
            .map(|response| convert::parse_details(response, filter)))
    }

    /// The full id of a container that runs, and whose network it uses; `None` if none runs so.
    pub(crate) async fn find_running(
        &self,
        id: &str,
    ) -> Result<Option<(ContainerId, NetworkMode)>> {
        let runs = |response: &ContainerInspectResponse| {
            response.state.as_ref().and_then(|state| state.running) == Some(true)
        };
        Ok(self.inspect_container(id).await?.filter(runs).and_then(|response| {
            let mode = convert::inspected_network_mode(&response);
            Some((ContainerId::new(response.id?), mode))
        }))
    }

    /// Events from now on, until the connection ends; none is asked for that means nothing here.
    pub(crate) fn subscribe_events(
        &self,
        extra: &[String],
    ) -> impl Stream<Item = Result<Event>> + use<> {
        let actions = event::subscribed_actions(extra);
        let filters = BTreeMap::from([("type", vec!["container", "network"]), ("event", actions)]);
        let extra = extra.to_vec();
        self.stream_messages(&query::query_path("/events", &[], &filters), move |response| {
            convert::parse_event(response).filter(|event| event.is_relevant(&extra))
        })
    }

    /// One that is not understood is passed over.
    fn stream_messages<T, F: FnMut(EventMessage) -> Option<T>>(
        &self,
        path: &str,
        mut convert: F,
    ) -> impl Stream<Item = Result<T>> + use<T, F> {
        let url = self.url.clone();
        self.stream_lines(path).filter_map(move |line| {
            let received = match line {
                Ok(line) => lenient::parse_entry(&line).0.and_then(&mut convert).map(Ok),
                Err(error) => Some(Err(error.context(format!("Docker at {url} ended its events")))),
            };
            std::future::ready(received)
        })
    }

    /// Ids of all containers, stopped ones too, with what of them changes in a list.
    pub(crate) async fn list_fingerprints(&self) -> Result<LenientList<(ContainerId, String)>> {
        let path = query::query_path("/containers/json", &[("all", "true")], &BTreeMap::new());
        Ok(self.query_list("its containers", &path).await?.filter_map(convert::parse_fingerprint))
    }

    /// `None` when there is no such container any more.
    pub(crate) async fn describe_container(&self, id: &ContainerId) -> Result<Option<Description>> {
        let response = self.inspect_raw(id.as_str()).await?;
        // What is not understood here may mean something to those who read the whole.
        let whole = |object: &ParsedObject<_>| {
            object.is_partial.then(|| serde_json::from_str(&object.text).ok()).flatten()
        };
        response.map(|object| convert::build_description(&object.value, whole(&object))).transpose()
    }

    /// Every event of containers, and of their places on networks, from `since` on: nanoseconds since
    /// 1970 by the engine's clock. `None`: from now on.
    pub(crate) fn subscribe_all_events(
        &self,
        since: Option<i64>,
    ) -> impl Stream<Item = Result<EngineEvent>> + use<> {
        let filters = BTreeMap::from([("type", vec!["container", "network"])]);
        let since = since.map(convert::format_seconds);
        let since: Vec<_> = since.iter().map(|since| ("since", since.as_str())).collect();
        self.stream_messages(
            &query::query_path("/events", &since, &filters),
            convert::parse_engine_event,
        )
    }

    /// `docker kill -s SIGNAL`.
    pub async fn send_signal(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let kill = self.docker.kill_container(id.as_str(), Some(options));
        self.query_with_timeout(&format!("{signal} to container {id}"), self.timeouts.inspect, kill)
            .await
    }

    /// `docker restart`; takes up to the container's own stop timeout, and a minute.
    pub async fn restart_container(&self, id: &ContainerId) -> Result<()> {
        let restart = self.docker.restart_container(id.as_str(), None);
        let timeout = Duration::from_mins(1);
        self.query_with_timeout(&format!("a restart of container {id}"), timeout, restart).await
    }

    /// The engine's id and its host's name.
    pub async fn query_node(&self) -> Result<(String, String)> {
        let info =
            self.query_object::<SystemInfo>("itself", "/info", self.timeouts.inspect).await?;
        let info = info.map(|object| object.value).unwrap_or_default();
        Ok((info.id.unwrap_or_default(), info.name.unwrap_or_default()))
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
                answer.with_context(|| format!("asked Docker at {} for {what}", self.url))
            }
            Err(_) => Err(anyhow!(
                "Docker at {} did not tell {what} within {timeout:?}; is it hung?",
                self.url
            )),
        }
    }
}

#[cfg(test)]
mod tests;
