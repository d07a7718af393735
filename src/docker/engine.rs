//! The engine that answers: every question has a timeout, every error names the engine and the
//! question.

use super::{
    connect::{Access, Patience, client},
    convert,
    details::Details,
    event::{self, Event},
    interest::Interest,
    lenient::{self, List},
    raw::{self, Found},
    roster::{Description, Report},
};
use crate::{
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
    pub(super) docker: Docker,
    url: String,
    pub(super) patience: Patience,
    page_size: usize,
}

const PAGE_SIZE: usize = 500;
/// More than a million containers are not read page by page.
const MOST_PAGES: usize = 2000;

impl Engine {
    /// An engine that was reached, but has not been asked anything yet.
    pub async fn connect(access: &Access) -> Result<Self> {
        let docker = client(access).await?;
        Ok(Self {
            docker,
            url: access.url().to_owned(),
            patience: access.patience,
            page_size: PAGE_SIZE,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Those of these ids that still exist.
    pub(super) async fn containers(&self, ids: &BTreeSet<ContainerId>) -> Result<List<Container>> {
        let ids = ids.iter().map(ContainerId::as_str).collect();
        self.list(&[], &BTreeMap::from([("id", ids)])).await
    }

    /// All containers, each handed on as soon as its page is read: a whole answer takes many times
    /// the memory of what is kept of it. An engine, or a proxy before it, that knows no pages gives all at once, or the
    /// same page again.
    pub(super) async fn all_containers<T>(
        &self,
        mut keep: impl FnMut(Container) -> T,
    ) -> Result<List<T>> {
        let (mut kept, mut seen) = (List::default(), BTreeSet::new());
        let mut last = None;
        for _ in 0..MOST_PAGES {
            let page = match self.page(last.as_ref()).await {
                Ok(page) => page,
                // The last one of a page was removed before the next was asked for.
                Err(_) if last.is_some() => break,
                Err(error) => return Err(error),
            };
            let (told, before) = (page.entries.len() + page.lost, seen.len());
            last = page.entries.last().map(|container| container.id.clone());
            for container in page.entries {
                if seen.insert(container.id.clone()) {
                    kept.entries.push(keep(container));
                }
            }
            kept.odd.extend(page.odd);
            if told != self.page_size {
                return Ok(kept);
            }
            if last.is_none() || seen.len() == before {
                break;
            }
        }
        drop((kept, seen));
        let List { entries, odd, lost } = self.list(&[], &BTreeMap::new()).await?;
        Ok(List { entries: entries.into_iter().map(keep).collect(), odd, lost })
    }

    /// The engine lists the youngest first; `before` is its word for what follows in the list.
    async fn page(&self, last: Option<&ContainerId>) -> Result<List<Container>> {
        let limit = self.page_size.to_string();
        let filters = last.map(|last| ("before", vec![last.as_str()])).into_iter().collect();
        self.list(&[("limit", &limit)], &filters).await
    }

    async fn list(
        &self,
        parameters: &[(&str, &str)],
        filters: &BTreeMap<&str, Vec<&str>>,
    ) -> Result<List<Container>> {
        let parameters = [&[("all", "true")], parameters].concat();
        let path = raw::path("/containers/json", &parameters, filters);
        Ok(self.list_of("its containers", &path).await?.filter_map(convert::container))
    }

    pub(super) async fn networks(&self) -> Result<BTreeMap<String, Network>> {
        let networks = self.list_of("its networks", "/networks").await?;
        Ok(convert::networks(networks.entries))
    }

    /// `None` when there is no such container any more.
    pub(super) async fn details(
        &self,
        id: &ContainerId,
        interest: &Interest,
    ) -> Result<Option<Details>> {
        Ok(self.inspect(id.as_str()).await?.map(|said| convert::details(said, interest)))
    }

    /// The full id of a container that runs, and whose network it uses; `None` if none runs so.
    pub(super) async fn running(&self, id: &str) -> Result<Option<(ContainerId, NetworkMode)>> {
        let runs = |said: &ContainerInspectResponse| {
            said.state.as_ref().and_then(|state| state.running) == Some(true)
        };
        Ok(self.inspect(id).await?.filter(runs).and_then(|said| {
            let mode = convert::inspected_network_mode(&said);
            Some((ContainerId::new(said.id?), mode))
        }))
    }

    /// Events from now on, until the connection ends; none is asked for that means nothing here.
    pub(super) fn events(&self, extra: &[String]) -> impl Stream<Item = Result<Event>> + use<> {
        let actions = event::actions(extra);
        let filters = BTreeMap::from([("type", vec!["container", "network"]), ("event", actions)]);
        let extra = extra.to_vec();
        self.told(&raw::path("/events", &[], &filters), move |said| {
            convert::event(said).filter(|it| it.is_asked_for(&extra))
        })
    }

    /// One that is not understood is passed over.
    fn told<T, F: FnMut(EventMessage) -> Option<T>>(
        &self,
        path: &str,
        mut convert: F,
    ) -> impl Stream<Item = Result<T>> + use<T, F> {
        let url = self.url.clone();
        self.lines(path).filter_map(move |line| {
            let told = match line {
                Ok(line) => lenient::read(&line).0.and_then(&mut convert).map(Ok),
                Err(error) => Some(Err(error.context(format!("Docker at {url} ended its events")))),
            };
            std::future::ready(told)
        })
    }

    /// Ids of all containers, stopped ones too, with what of them changes in a list.
    pub(super) async fn roll(&self) -> Result<List<(ContainerId, String)>> {
        let path = raw::path("/containers/json", &[("all", "true")], &BTreeMap::new());
        Ok(self.list_of("its containers", &path).await?.filter_map(convert::line))
    }

    /// `None` when there is no such container any more.
    pub(super) async fn describe(&self, id: &ContainerId) -> Result<Option<Description>> {
        let said = self.found(id.as_str()).await?;
        // What is not understood here may mean something to those who read the whole.
        let whole =
            |it: &Found<_>| it.is_odd.then(|| serde_json::from_str(&it.text).ok()).flatten();
        said.map(|it| convert::description(&it.read, whole(&it))).transpose()
    }

    /// Every event of containers, and of their places on networks, from `since` on: nanoseconds since
    /// 1970 by the engine's clock. `None`: from now on.
    pub(super) fn reports(&self, since: Option<i64>) -> impl Stream<Item = Result<Report>> + use<> {
        let filters = BTreeMap::from([("type", vec!["container", "network"])]);
        let since = since.map(convert::seconds);
        let since: Vec<_> = since.iter().map(|since| ("since", since.as_str())).collect();
        self.told(&raw::path("/events", &since, &filters), convert::report)
    }

    /// `docker kill -s SIGNAL`.
    pub async fn signal(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let kill = self.docker.kill_container(id.as_str(), Some(options));
        self.answer(&format!("{signal} to container {id}"), self.patience.inspect, kill).await
    }

    /// `docker restart`; takes up to the container's own stop timeout, and a minute.
    pub async fn restart(&self, id: &ContainerId) -> Result<()> {
        let restart = self.docker.restart_container(id.as_str(), None);
        let patience = Duration::from_mins(1);
        self.answer(&format!("a restart of container {id}"), patience, restart).await
    }

    /// The engine's id and its host's name.
    pub async fn node(&self) -> Result<(String, String)> {
        let info = self.find::<SystemInfo>("itself", "/info", self.patience.inspect).await?;
        let info = info.map(|it| it.read).unwrap_or_default();
        Ok((info.id.unwrap_or_default(), info.name.unwrap_or_default()))
    }

    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        Ok(self.found(id).await?.map(|it| it.read))
    }

    async fn found(&self, id: &str) -> Result<Option<Found<ContainerInspectResponse>>> {
        let what = format!("container {}", id.get(..12).unwrap_or(id));
        self.find(&what, &format!("/containers/{id}/json"), self.patience.inspect).await
    }

    pub(super) async fn answer<T>(
        &self,
        what: &str,
        patience: Duration,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(patience, question).await {
            Ok(answer) => {
                answer.with_context(|| format!("asked Docker at {} for {what}", self.url))
            }
            Err(_) => Err(anyhow!(
                "Docker at {} did not tell {what} within {patience:?}; is it hung?",
                self.url
            )),
        }
    }
}

#[cfg(test)]
mod tests;
