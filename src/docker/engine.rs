//! The engine that answers: every question has a timeout, every error names the engine and the
//! question.

use super::{
    connect::{Access, Patience, client},
    convert,
    details::Details,
    event::{self, Event},
    interest::Interest,
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
    models::ContainerInspectResponse,
    query_parameters::{
        EventsOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    },
};
use futures_util::{Stream, StreamExt};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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

    /// Those of these ids that still exist.
    pub(super) async fn containers(&self, ids: &BTreeSet<ContainerId>) -> Result<Vec<Container>> {
        let ids = ids.iter().map(ContainerId::as_str).collect();
        let options =
            ListContainersOptionsBuilder::default().filters(&HashMap::from([("id", ids)]));
        self.list(options).await
    }

    /// All containers, each handed on as soon as its page is read: a whole answer takes many times
    /// the memory of what is kept of it.
    pub(super) async fn all_containers<T>(
        &self,
        mut keep: impl FnMut(Container) -> T,
    ) -> Result<Vec<T>> {
        let mut kept = Vec::new();
        let mut last = None;
        loop {
            let page = match self.page(last.as_ref()).await {
                Ok(page) => page,
                Err(_) if last.is_some() => break,
                Err(error) => return Err(error),
            };
            let is_full = self.page_size <= page.len();
            last = page.last().map(|container| container.id.clone());
            kept.extend(page.into_iter().map(&mut keep));
            if !is_full {
                return Ok(kept);
            }
        }
        // The last one of a page was removed before the next was asked for.
        drop(kept);
        let all = self.list(ListContainersOptionsBuilder::default()).await?;
        Ok(all.into_iter().map(keep).collect())
    }

    /// The engine lists the youngest first; `before` is its word for what follows in the list.
    async fn page(&self, last: Option<&ContainerId>) -> Result<Vec<Container>> {
        let limit = i32::try_from(self.page_size).unwrap_or(i32::MAX);
        let mut options = ListContainersOptionsBuilder::default().limit(limit);
        if let Some(last) = last {
            options = options.filters(&HashMap::from([("before", vec![last.as_str()])]));
        }
        self.list(options).await
    }

    async fn list(&self, options: ListContainersOptionsBuilder) -> Result<Vec<Container>> {
        let list = self.docker.list_containers(Some(options.all(true).build()));
        let answer = self.answer("its containers", self.patience.list, list).await?;
        Ok(answer.into_iter().filter_map(convert::container).collect())
    }

    pub(super) async fn networks(&self) -> Result<BTreeMap<String, Network>> {
        let list = self.docker.list_networks(None);
        Ok(convert::networks(self.answer("its networks", self.patience.list, list).await?))
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
        let actions = event::CONTAINER.iter().chain(event::NETWORK).copied();
        let actions = actions.chain(extra.iter().map(String::as_str)).collect();
        let filters = HashMap::from([("type", vec!["container", "network"]), ("event", actions)]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let (url, extra) = (self.url.clone(), extra.to_vec());
        self.docker.events(Some(options)).filter_map(move |said| {
            let event = match said {
                Ok(said) => convert::event(said).filter(|it| it.is_asked_for(&extra)).map(Ok),
                Err(error) => {
                    Some(Err(anyhow!(error).context(format!("Docker at {url} ended its events"))))
                }
            };
            std::future::ready(event)
        })
    }

    /// Ids of all containers, stopped ones too, with what of them changes in a list.
    pub(super) async fn roll(&self) -> Result<BTreeMap<ContainerId, String>> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let list = self.docker.list_containers(Some(options));
        let answer = self.answer("its containers", self.patience.list, list).await?;
        Ok(answer.into_iter().filter_map(convert::line).collect())
    }

    /// `None` when there is no such container any more.
    pub(super) async fn describe(&self, id: &ContainerId) -> Result<Option<Description>> {
        let said = self.inspect(id.as_str()).await?;
        said.as_ref().map(convert::description).transpose()
    }

    /// Every event of containers, and of their places on networks, from `since` on: nanoseconds since
    /// 1970 by the engine's clock. `None`: from now on.
    pub(super) fn reports(&self, since: Option<i64>) -> impl Stream<Item = Result<Report>> + use<> {
        let filters = HashMap::from([("type", vec!["container", "network"])]);
        let mut options = EventsOptionsBuilder::default().filters(&filters);
        if let Some(since) = since {
            options = options.since(&convert::seconds(since));
        }
        let url = self.url.clone();
        self.docker.events(Some(options.build())).filter_map(move |said| {
            let report = match said {
                Ok(said) => convert::report(said).map(Ok),
                Err(error) => {
                    Some(Err(anyhow!(error).context(format!("Docker at {url} ended its events"))))
                }
            };
            std::future::ready(report)
        })
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
        let info = self.answer("itself", self.patience.inspect, self.docker.info()).await?;
        Ok((info.id.unwrap_or_default(), info.name.unwrap_or_default()))
    }

    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let inspection = async {
            match self.docker.inspect_container(id, None).await {
                Ok(said) => Ok(Some(said)),
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let short = id.get(..12).unwrap_or(id);
        self.answer(&format!("container {short}"), self.patience.inspect, inspection).await
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
