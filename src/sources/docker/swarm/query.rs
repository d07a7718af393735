//! Questions to a manager of a Swarm.

use super::{
    super::{
        connect::{EngineSettings, Timeouts},
        convert::parse_networks,
        engine::Engine,
        event::to_docker_action,
        query::query_path,
    },
    cache::{Ids, ServicesAnswer, UnlistedAnswer, WholeAnswer},
    object::Task,
    pace::Query,
};
use crate::model::world::Networks;
use anyhow::{Error, Result};
use bollard::{
    errors::Error as DockerError,
    models::{EventMessage, EventMessageTypeEnum, Network},
};
use futures_util::Stream;
use std::{collections::BTreeMap, time::Duration};
use tokio::try_join;

/// How long a manager may take for an answer. A manager that has lost the others answers after 20 s, with an error.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// A node that is no manager cannot say what runs in the Swarm.
#[derive(Debug, thiserror::Error)]
#[error("Docker at {url} is not a manager of a Swarm; name managers in --source")]
pub struct NotManagerError {
    url: String,
}

/// An answer of a manager.
#[derive(Debug)]
pub(super) enum Answer {
    Everything(WholeAnswer),
    Services(Ids, ServicesAnswer),
    Nodes(Vec<super::object::Node>),
}

/// An event of a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ManagerEvent {
    pub(super) subject: EventSubject,
    /// `update`, `create`, `remove`.
    pub(super) action: String,
    pub(super) name: String,
    /// Nanoseconds since 1970 by the manager's clock.
    pub(super) time_nano: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventSubject {
    Service(String),
    Node(String),
}

/// Returns how each manager of a source is reached: `swarm+tcp://m1:2376,m2:2376` names two.
pub fn manager_settings(settings: &EngineSettings) -> Vec<EngineSettings> {
    let url = settings.url();
    let (scheme, places) = url.split_once("://").unwrap_or(("unix", url));
    let scheme = scheme.strip_prefix("swarm+").unwrap_or(scheme);
    let places: Vec<_> = if scheme == "unix" { vec![places] } else { places.split(',').collect() };
    let timeouts = Timeouts {
        connect: TIME_LIMIT,
        list: TIME_LIMIT,
        inspect: TIME_LIMIT,
        ..settings.timeouts
    };
    let manager = |place: &str| EngineSettings {
        url: Some(format!("{scheme}://{place}")),
        timeouts,
        ..settings.clone()
    };
    places.into_iter().map(manager).collect()
}

impl Engine {
    /// Subscribes to the events of services and nodes, until the connection ends.
    pub(super) fn subscribe_swarm_events(
        &self,
    ) -> impl Stream<Item = Result<ManagerEvent>> + use<> {
        let filters = BTreeMap::from([("scope", vec!["swarm"]), ("type", vec!["service", "node"])]);
        self.stream_messages(&query_path("/events", &[], &filters), parse_event)
    }

    /// Asks a manager. `unlisted` are tasks to ask for by their ids.
    ///
    /// # Errors
    /// If the manager does not answer within 3 s, or is none ([`NotManagerError`]).
    pub(super) async fn ask_manager(&self, query: Query, unlisted: Ids) -> Result<Answer> {
        let answer = match query {
            Query::Everything => self.ask_everything(unlisted).await.map(Answer::Everything),
            Query::Services(ids) => {
                let answer = self.ask_services(&ids, unlisted).await;
                answer.map(|answer| Answer::Services(ids, answer))
            }
            Query::Nodes => self.list_entries("nodes", vec![]).await.map(Answer::Nodes),
        };
        answer.map_err(|error| {
            let is_other = is_not_manager_error(&error);
            if is_other { NotManagerError { url: self.url().to_owned() }.into() } else { error }
        })
    }

    async fn ask_everything(&self, unlisted: Ids) -> Result<WholeAnswer> {
        let (services, tasks, nodes, networks, unlisted) = try_join!(
            self.list_entries("services", vec![]),
            self.list_entries("tasks", vec![("desired-state", vec!["running"])]),
            self.list_entries("nodes", vec![]),
            self.list_overlay_networks(),
            self.list_unlisted(unlisted),
        )?;
        Ok(WholeAnswer { services, tasks, nodes, networks, unlisted })
    }

    async fn ask_services(&self, ids: &Ids, unlisted: Ids) -> Result<ServicesAnswer> {
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let (services, tasks, unlisted) = try_join!(
            self.list_entries("services", vec![("id", ids.clone())]),
            self.list_entries("tasks", vec![("service", ids), ("desired-state", vec!["running"])]),
            self.list_unlisted(unlisted),
        )?;
        Ok(ServicesAnswer { services, tasks, unlisted })
    }

    async fn list_unlisted(&self, requested: Ids) -> Result<UnlistedAnswer> {
        if requested.is_empty() {
            return Ok(UnlistedAnswer::default());
        }
        let ids = requested.iter().map(String::as_str).collect();
        let tasks: Vec<Task> = self.list_entries("tasks", vec![("id", ids)]).await?;
        Ok(UnlistedAnswer { requested, tasks })
    }

    async fn list_overlay_networks(&self) -> Result<Networks> {
        let listed: Vec<Network> =
            self.list_entries("networks", vec![("scope", vec!["swarm"])]).await?;
        let is_mesh = |network: &&Network| network.ingress == Some(true);
        let mesh = listed.iter().filter(is_mesh).filter_map(|network| network.name.clone());
        let mesh: Vec<_> = mesh.collect();
        let mut networks = parse_networks(listed);
        for name in mesh {
            if let Some(network) = networks.get_mut(&name) {
                "ingress".clone_into(&mut network.driver);
            }
        }
        Ok(networks)
    }

    async fn list_entries<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        filters: Vec<(&str, Vec<&str>)>,
    ) -> Result<Vec<T>> {
        let filters = filters.into_iter().collect();
        let path = query_path(&format!("/{what}"), &[], &filters);
        Ok(self.query_list(&format!("the list of {what}"), &path).await?.entries)
    }
}

/// Returns `None` for events of other objects.
fn parse_event(message: EventMessage) -> Option<ManagerEvent> {
    let (actor, action) = (message.actor?, message.action?);
    let subject = match message.typ? {
        EventMessageTypeEnum::SERVICE => EventSubject::Service(actor.id?),
        EventMessageTypeEnum::NODE => EventSubject::Node(actor.id?),
        _ => return None,
    };
    let name = actor.attributes.unwrap_or_default().remove("name").unwrap_or_default();
    let time_nano = message.time_nano.unwrap_or_default();
    Some(ManagerEvent { subject, action: to_docker_action(action), name, time_nano })
}

/// Whether the engine answers that it is no manager of a Swarm.
pub(super) fn is_not_manager_error(error: &Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(DockerError::DockerResponseServerError { status_code: 503 | 406, .. })
    )
}

#[cfg(test)]
mod tests {
    use super::{EngineSettings, EventSubject, manager_settings, parse_event};

    #[test]
    fn url_of_a_swarm_names_its_managers() {
        for (url, expected) in [
            ("swarm+tcp://m1:2376,m2:2376", &["tcp://m1:2376", "tcp://m2:2376"][..]),
            ("swarm+tcp://[fd00::1]:2375", &["tcp://[fd00::1]:2375"]),
            ("swarm+unix:///run/a,b.sock", &["unix:///run/a,b.sock"]),
            ("swarm+ssh://me@m1,me@m2:22", &["ssh://me@m1", "ssh://me@m2:22"]),
        ] {
            let settings =
                EngineSettings { url: Some(url.to_owned()), ..EngineSettings::default() };
            let managers = manager_settings(&settings);
            let urls: Vec<_> = managers.iter().map(EngineSettings::url).collect();
            assert_eq!(urls, expected, "{url}");
        }
    }

    #[test]
    fn events_of_services_and_nodes_are_read() {
        let parse = |text: &str| parse_event(serde_json::from_str(text).unwrap());
        let event = parse(
            r#"{"Type":"service","Action":"update","Actor":{"ID":"s1","Attributes":{"name":"web",
            "updatestate.new":"updating"}},"scope":"swarm","time":1,"timeNano":1000000002}"#,
        )
        .unwrap();
        assert_eq!(event.subject, EventSubject::Service("s1".to_owned()));
        let event = (event.action.as_str(), event.name.as_str(), event.time_nano);
        assert_eq!(event, ("update", "web", 1_000_000_002));
        let node = r#"{"Type":"node","Action":"update","Actor":{"ID":"n1"}}"#;
        assert_eq!(parse(node).unwrap().subject, EventSubject::Node("n1".to_owned()));
        assert_eq!(parse(r#"{"Type":"secret","Action":"create","Actor":{"ID":"x"}}"#), None);
    }
}
