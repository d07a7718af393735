//! docker-glue's handlers: what runs on the events of containers.
//!
//! ```text
//! docker::follow ─ContainerUpdate──▶ dispatcher ─HandlerMessage─▶ a mailbox, a task and a time limit per handler
//! follow_lists ─CertificateLists────▶     │
//! docker-glue.d/*.ini ─▶ ini ─Handler──▶ ─┘
//! ```
//!
//! The dispatcher never waits for a handler, and no handler waits for another one.

pub mod certificate_change;
pub mod certificate_tracker;
pub mod dispatcher;
pub mod event_filter;
pub mod haproxy;
pub mod ini;
pub mod load;
pub mod mailbox;
pub mod missed_events;
pub mod ordered_queue;
pub mod plugin;
pub mod process_group;
pub mod publish;
pub mod replay;
pub mod roster;
pub mod script;
mod shared_container;
pub mod source;
pub mod source_store;
pub mod state;
pub mod stats;
pub mod template;

use crate::{
    model::container::ContainerId,
    settings::{GlueSettings, RunMode},
    sources::{
        ContainerMap,
        certificate::{CertificateLists, ListFile},
    },
    support::suggest::suggest,
};
use event_filter::EventFilter;
use ini::{Ini, IniError, Section};
use mailbox::{HandlerMessage, Mailbox};
use source::GlueSource;
use stats::HandlerStats;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, watch};

/// A handler as one file in docker-glue.d configures it.
#[derive(Debug, Clone, PartialEq)]
pub struct Handler {
    /// The name of the file without folder and suffix.
    pub name: String,
    pub file: PathBuf,
    pub events: EventFilter,
    pub triggers_none: bool,
    /// Whether the handler starts with the events that it missed: a start for each running container, and an end for
    /// each container whose start was delivered earlier and which has ended.
    pub at_start: bool,
    pub kind: HandlerKind,
}

/// The kinds of handlers.
#[derive(Debug, Clone, PartialEq)]
pub enum HandlerKind {
    Script(script::Script),
    Plugin(plugin::Plugin),
    Template(Box<template::Template>),
    Haproxy(haproxy::HaproxyHandler),
    Publish(Box<publish::Publish>),
}

/// What a handler's task works with.
#[derive(Debug)]
pub struct HandlerContext {
    pub handler: Handler,
    /// Whether the handler runs once or follows Docker.
    pub command: RunMode,
    pub mailbox: Mailbox,
    /// All existing containers, at least as new as the last message; empty until the first one.
    pub containers: watch::Receiver<Arc<ContainerMap>>,
    /// Containers that were sent their stop signal or have ended while `containers` still shows them running.
    pub leaving: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    /// The certificates of docker-balancer, at least as new as the last message.
    pub certificates: watch::Receiver<Arc<CertificateLists>>,
    /// The sources, which are followed once for all handlers.
    pub sources: Arc<[GlueSource]>,
    pub settings: Arc<GlueSettings>,
    pub stats: Arc<HandlerStats>,
    /// Requests a `none` event from the dispatcher after an event was handled; set if the handler has
    /// `triggers-none`.
    pub none_trigger: Option<mpsc::Sender<()>>,
}

impl HandlerContext {
    /// Takes the mailbox out, so that it can be read while the rest is borrowed.
    pub fn take_mailbox(&mut self) -> Mailbox {
        std::mem::replace(&mut self.mailbox, mpsc::channel(1).1)
    }

    /// Requests a `none` event after an event was handled, successfully or not.
    pub fn trigger_none_event(&self, message: &HandlerMessage) {
        if let (true, Some(after)) = (message.is_event(), &self.none_trigger) {
            // If a request is pending already, a second one is not needed.
            let _ = after.try_send(());
        }
    }
}

/// The short class names, and the names that Docker Glue has for the same classes.
const CLASSES: &[(&str, &str)] = &[
    ("script", "DockerGlue.handlers.exec.ScriptHandler"),
    ("plugin", ""),
    ("template", ""),
    ("haproxy", "DockerGlue.handlers.lb.HAProxyHandler"),
    ("publish", "DockerGlue.handlers.publishers.distconfig.Publisher"),
];

impl Handler {
    /// Returns `None` if the file has `enabled=0`.
    ///
    /// # Errors
    /// The first error in the file.
    pub fn parse(
        file: PathBuf,
        text: &str,
        settings: &GlueSettings,
    ) -> Result<Option<Self>, IniError> {
        let ini = Ini::parse(&file, text)?;
        let head = &ini.handler;
        head.reject_unknown(&["class", "events", "enabled", "triggers-none", "at-start"])?;
        if !head.parse_bool("enabled", true)? {
            return Ok(None);
        }
        let (kind, events) = HandlerKind::from_ini(&ini, settings)?;
        let filter = EventFilter::parse(head, "events", events)?;
        Ok(Some(Self {
            name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            at_start: parse_at_start(head, &kind, &filter)?,
            events: filter,
            triggers_none: head.parse_bool("triggers-none", false)?,
            kind,
            file,
        }))
    }

    /// Returns what no other handler may use, and the param that contains it.
    fn exclusive_resource(&self) -> Option<(&'static str, String)> {
        match &self.kind {
            HandlerKind::Script(_) | HandlerKind::Plugin(_) => None,
            HandlerKind::Template(template) => {
                Some(("target", template.target_path().display().to_string()))
            }
            HandlerKind::Haproxy(info) => {
                Some(("state-dir", info.state_dir().display().to_string()))
            }
            HandlerKind::Publish(publish) => Some(("endpoints", publish.key_location())),
        }
    }

    /// Returns the list of certificates that the handler writes itself.
    pub fn certificate_list(&self) -> Option<ListFile> {
        let HandlerKind::Haproxy(haproxy) = &self.kind else { return None };
        Some(ListFile { path: haproxy.certificate_list().to_owned(), owner: None })
    }

    /// Runs the handler until its mailbox is closed.
    pub async fn run(work: HandlerContext) {
        match work.handler.kind.clone() {
            HandlerKind::Script(script) => script.run(work).await,
            HandlerKind::Plugin(plugin) => plugin.run(work).await,
            HandlerKind::Template(template) => template.run(work).await,
            HandlerKind::Haproxy(haproxy) => Box::pin(haproxy.run(work)).await,
            HandlerKind::Publish(publish) => publish.run(work).await,
        }
    }

    /// Whether the handler is notified about stopping containers before they are inspected again.
    pub fn is_publisher(&self) -> bool {
        matches!(self.kind, HandlerKind::Publish(_))
    }

    /// Whether the handler works on all containers instead of single events. It starts with the existing containers.
    pub fn handles_all_containers(&self) -> bool {
        self.kind.handles_all_containers()
    }
}

/// Parses `at-start`: whether the handler starts with the events that it missed.
fn parse_at_start(
    head: &Section,
    kind: &HandlerKind,
    filter: &EventFilter,
) -> Result<bool, IniError> {
    let at_start = head.parse_bool("at-start", false)?;
    if at_start && kind.handles_all_containers() {
        let text = "at_start is only for scripts and plugins; this class always starts with the \
                    existing containers";
        return Err(head.error_at("at-start", text));
    }
    if at_start && !filter.matches("start") {
        let text = "at_start=yes sends start events, but events= does not include start";
        return Err(head.error_at("at-start", text));
    }
    Ok(at_start)
}

impl HandlerKind {
    fn handles_all_containers(&self) -> bool {
        matches!(self, Self::Template(_) | Self::Haproxy(_) | Self::Publish(_))
    }

    /// Returns the kind, and the default events if the file does not set `events`.
    fn from_ini(ini: &Ini, settings: &GlueSettings) -> Result<(Self, &'static str), IniError> {
        let class = ini.handler.require_value("class")?;
        let params = &ini.params;
        let kind = |name: &str| {
            CLASSES
                .iter()
                .any(|(short, long)| *short == name && (*short == class || *long == class))
        };
        Ok(match class {
            _ if kind("script") => {
                ini.handler.require_value("events")?;
                (Self::Script(script::Script::from_params(params, settings)?), "")
            }
            _ if kind("template") => {
                let template = template::Template::from_params(params, settings)?;
                let events = template.default_events();
                (Self::Template(Box::new(template)), events)
            }
            _ if kind("haproxy") => {
                (Self::Haproxy(haproxy::HaproxyHandler::from_params(params, settings)?), "none")
            }
            _ if kind("publish") && settings.first_engine().is_none() => {
                let text = "class=publish publishes the containers of a Docker engine, and no \
                            source is one";
                return Err(ini.handler.error_at("class", text));
            }
            _ if kind("publish") => (
                Self::Publish(Box::new(publish::Publish::from_params(params, settings)?)),
                "all,none",
            ),
            _ if kind("plugin") || class.contains(['.', ':']) => {
                ini.handler.require_value("events")?;
                (Self::Plugin(plugin::Plugin::from_sections(&ini.handler, params, settings)?), "")
            }
            _ => return Err(unknown_class_error(&ini.handler, class)),
        })
    }
}

fn unknown_class_error(section: &Section, class: &str) -> IniError {
    let names: Vec<_> = CLASSES.iter().map(|(short, _)| *short).collect();
    let text = match suggest(&class.to_lowercase(), &names) {
        Some(near) => format!("unknown class {class:?}; did you mean {near}?"),
        None => format!(
            "unknown class {class:?}; the classes are {}, and plugins such as \
             python:demo.DemoHandler",
            names.join(", ")
        ),
    };
    section.error_at("class", text)
}
