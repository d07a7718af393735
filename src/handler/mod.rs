//! What is done when something happens to containers.
//!
//! ```text
//! docker::follow ─news─▶ agent ─letters─▶ a mailbox, a task and a time limit for each handler
//! docker-glue.d/*.ini ─▶ ini ─▶ Handler ─┘
//! ```
//!
//! The agent never waits for a handler, and no handler for another one.

pub mod agent;
pub mod child;
pub mod haproxy;
pub mod in_order;
pub mod ini;
pub mod load;
pub mod mailbox;
pub mod missed;
pub mod plugin;
pub mod publish;
pub mod replay;
pub mod script;
pub mod state;
pub mod tally;
pub mod template;
pub mod wanted;

use crate::{
    container::ContainerId,
    docker::{Access, Roster},
    settings::{Command, GlueSettings},
};
use ini::{Ini, Mistake, Section};
use mailbox::{Letter, Mailbox};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};
use tally::Tally;
use tokio::sync::{mpsc, watch};
use wanted::Wanted;

/// What one file of docker-glue.d asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Handler {
    /// The file without folder and suffix.
    pub name: String,
    pub file: PathBuf,
    pub wanted: Wanted,
    pub triggers_none: bool,
    /// It begins with what it missed: starts of what runs, and ends of what it was told of before.
    pub at_start: bool,
    pub kind: Kind,
}

/// All that a handler can do.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Script(script::Script),
    Plugin(plugin::Plugin),
    Template(Box<template::Template>),
    Haproxy(haproxy::Haproxy),
    Publish(Box<publish::Publish>),
}

/// What a handler's task works with.
#[derive(Debug)]
pub struct Work {
    pub handler: Handler,
    /// Whether it is run once, or follows Docker.
    pub command: Command,
    pub mailbox: Mailbox,
    /// All containers that there are, at least as new as the last letter; empty until the first one.
    pub roster: watch::Receiver<Arc<Roster>>,
    /// Those that got their stop signal or have ended, while the roster says that they run.
    pub leaving: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    pub access: Access,
    pub settings: Arc<GlueSettings>,
    pub tally: Arc<Tally>,
    /// To the agent, after an event was dealt with, where the handler says `triggers-none`.
    pub after: Option<mpsc::Sender<()>>,
}

impl Work {
    /// To be read beside the rest.
    pub fn take_mailbox(&mut self) -> Mailbox {
        std::mem::replace(&mut self.mailbox, mpsc::channel(1).1)
    }

    /// An event was dealt with, well or not.
    pub fn finished(&self, letter: &Letter) {
        if let (Some(_), Some(after)) = (letter.happened(), &self.after) {
            // One that waits already is enough.
            let _ = after.try_send(());
        }
    }
}

/// Short names, and those that Docker Glue has for the same.
const CLASSES: &[(&str, &str)] = &[
    ("script", "DockerGlue.handlers.exec.ScriptHandler"),
    ("plugin", ""),
    ("template", ""),
    ("haproxy", "DockerGlue.handlers.lb.HAProxyHandler"),
    ("publish", "DockerGlue.handlers.publishers.distconfig.Publisher"),
];

impl Handler {
    /// `None` where the file says that it is not enabled.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn read(
        file: PathBuf,
        text: &str,
        settings: &GlueSettings,
    ) -> Result<Option<Self>, Mistake> {
        let ini = Ini::read(&file, text)?;
        let head = &ini.handler;
        head.only(&["class", "events", "enabled", "triggers-none", "at-start"])?;
        if !head.switch("enabled", true)? {
            return Ok(None);
        }
        let (kind, events) = Kind::read(&ini, settings)?;
        let wanted = Wanted::read(head, "events", events)?;
        Ok(Some(Self {
            name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            at_start: at_start(head, &kind, &wanted)?,
            wanted,
            triggers_none: head.switch("triggers-none", false)?,
            kind,
            file,
        }))
    }

    /// What no other handler may have, and the param that says it.
    fn claim(&self) -> Option<(&'static str, String)> {
        match &self.kind {
            Kind::Script(_) | Kind::Plugin(_) => None,
            Kind::Template(it) => Some(("target", it.target_path().display().to_string())),
            Kind::Haproxy(it) => Some(("state-dir", it.state_dir().display().to_string())),
            Kind::Publish(it) => Some(("endpoints", it.place())),
        }
    }

    /// Runs until its mailbox ends.
    pub async fn run(work: Work) {
        match work.handler.kind.clone() {
            Kind::Script(script) => script.run(work).await,
            Kind::Plugin(plugin) => plugin.run(work).await,
            Kind::Template(template) => template.run(work).await,
            Kind::Haproxy(haproxy) => Box::pin(haproxy.run(work)).await,
            Kind::Publish(publish) => publish.run(work).await,
        }
    }

    /// Whether it wants to know who leaves before the engine was asked.
    pub fn is_publisher(&self) -> bool {
        matches!(self.kind, Kind::Publish(_))
    }

    /// Whether it has to do with all containers rather than with an event: it begins with what there is.
    pub fn begins_by_itself(&self) -> bool {
        self.kind.begins_by_itself()
    }
}

/// Whether it begins with what it missed.
fn at_start(head: &Section, kind: &Kind, wanted: &Wanted) -> Result<bool, Mistake> {
    let at_start = head.switch("at-start", false)?;
    if at_start && kind.begins_by_itself() {
        let text =
            "at_start is for scripts and plugins; this class begins with what there is anyway";
        return Err(head.mistake("at-start", text));
    }
    if at_start && !wanted.has("start") {
        let text = "at_start=yes tells of containers by start, which events= does not name";
        return Err(head.mistake("at-start", text));
    }
    Ok(at_start)
}

impl Kind {
    fn begins_by_itself(&self) -> bool {
        matches!(self, Self::Template(_) | Self::Haproxy(_) | Self::Publish(_))
    }

    /// And the events that it wants where the file names none.
    fn read(ini: &Ini, settings: &GlueSettings) -> Result<(Self, &'static str), Mistake> {
        let class = ini.handler.require("class")?;
        let params = &ini.params;
        let kind = |name: &str| {
            CLASSES
                .iter()
                .any(|(short, long)| *short == name && (*short == class || *long == class))
        };
        Ok(match class {
            _ if kind("script") => {
                ini.handler.require("events")?;
                (Self::Script(script::Script::read(params, settings)?), "")
            }
            _ if kind("template") => {
                let template = template::Template::read(params, settings)?;
                let events = template.events();
                (Self::Template(Box::new(template)), events)
            }
            _ if kind("haproxy") => {
                (Self::Haproxy(haproxy::Haproxy::read(params, settings)?), "none")
            }
            _ if kind("publish") => {
                (Self::Publish(Box::new(publish::Publish::read(params, settings)?)), "all,none")
            }
            _ if kind("plugin") || class.contains(['.', ':']) => {
                ini.handler.require("events")?;
                (Self::Plugin(plugin::Plugin::read(&ini.handler, params, settings)?), "")
            }
            _ => return Err(unknown(&ini.handler, class)),
        })
    }
}

fn unknown(section: &Section, class: &str) -> Mistake {
    let known: Vec<_> = CLASSES.iter().map(|(short, _)| *short).collect();
    let text = match ini::near(&class.to_lowercase(), &known) {
        Some(near) => format!("there is no class {class:?}; did you mean {near}?"),
        None => format!(
            "there is no class {class:?}; it is one of {}, or a plugin's such as python:demo.DemoHandler",
            known.join(", ")
        ),
    };
    section.mistake("class", text)
}
