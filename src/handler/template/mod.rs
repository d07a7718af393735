//! Writes a file from a template and what Docker knows, and tells others when it is another one.
//!
//! ```text
//! roster ─▶ Gallery ─▶ Root ─▶ Page ─▶ text ─▶ Target ─▶ Batch ─▶ notify, restart, signal
//!            (filter)    (functions)
//! ```
//!
//! The only folder that says minijinja.

mod batch;
mod command;
mod container;
mod filter;
mod function;
mod guard;
mod jinja;
mod limit;
mod mounted;
mod operator;
mod others;
mod outside;
mod owed;
mod page;
mod python;
mod root;
mod run;
mod swarm;
mod target;
mod value;

#[cfg(test)]
mod tests;

use super::ini::{self, Mistake, Section};
use crate::{
    docker::{self, Roster, SwarmSaid, signal_number},
    settings::GlueSettings,
};
use container::Gallery;
use filter::Filter;
use minijinja::Value;
use others::Others;
pub use outside::Outside;
pub use page::Fault;
use page::{Blanks, Page};
use root::Root;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm::Swarm;
use target::{Owner, Target};

/// `[params]` of a template's handler.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    source: Source,
    blanks: Blanks,
    filter: Filter,
    target: Target,
    /// Must accept the new file before it takes the old one's place.
    check: Option<Vec<String>>,
    others: Others,
    interval: (Duration, Duration),
    /// Another look so long after an event; none where it is zero.
    repeat: Duration,
    outside: Outside,
}

/// Where a template's text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Inline(String),
}

const KNOWN: &[&str] = &[
    "template",
    "target",
    "mode",
    "owner",
    "check",
    "notify",
    "restart",
    "signal",
    "interval",
    "repeat",
    "keep-blank-lines",
    "only-exposed",
    "only-published",
    "include-stopped",
    "filter",
];

impl Template {
    pub fn read(params: &Section, settings: &GlueSettings) -> Result<Self, Mistake> {
        params.only(KNOWN)?;
        let source = Source::read(params.require("template")?, params.folder());
        let source = source.map_err(|text| params.mistake("template", text))?;
        let outside = Outside::of(&source, settings);
        let blanks = Blanks::of(params.switch("keep-blank-lines", true)?);
        let wrong = |fault: Fault| params.mistake("template", fault.to_string());
        source.page(blanks, &outside).map_err(wrong)?;
        Ok(Self {
            source,
            blanks,
            filter: Filter::read(params)?,
            target: target(params)?,
            check: command::read(params, "check", settings)?,
            others: Others {
                notify: command::read(params, "notify", settings)?,
                restart: params.list("restart").into_iter().map(str::to_owned).collect(),
                signal: signals(params)?,
            },
            interval: interval(params)?,
            repeat: params.time("repeat", Duration::ZERO)?,
            outside,
        })
    }
}

impl Template {
    /// Those that make another list of what the template sees.
    pub fn events(&self) -> &'static str {
        if self.filter.takes_all() {
            "create,start,stop,die,health_status,rename,pause,unpause,destroy"
        } else {
            "start,stop,die,health_status"
        }
    }

    /// The file that is written, links followed.
    pub fn target_path(&self) -> PathBuf {
        self.target.real()
    }

    fn printer(&self) -> Printer {
        let Self { source, blanks, filter, outside, .. } = self.clone();
        let gallery = Gallery::default();
        Printer { source, blanks, filter, outside, gallery, undefined: None }
    }
}

impl Source {
    /// A file, seen from the folder, or what follows a `#`.
    ///
    /// # Errors
    /// It is a URL.
    pub fn read(said: &str, folder: &Path) -> Result<Self, String> {
        if let Some(text) = said.strip_prefix('#') {
            return Ok(Self::Inline(text.trim().to_owned()));
        }
        if said.starts_with("http://") || said.starts_with("https://") {
            return Err(format!(
                "a template is a file, or a text after a #; fetch {said} into a file beforehand"
            ));
        }
        Ok(Self::File(folder.join(said)))
    }

    /// What it includes is beside it.
    fn folder(&self) -> PathBuf {
        match self {
            Self::File(file) => file.parent().map(Path::to_path_buf).unwrap_or_default(),
            Self::Inline(_) => PathBuf::new(),
        }
    }

    fn page(&self, blanks: Blanks, outside: &Outside) -> Result<Page, Fault> {
        match self {
            Self::Inline(text) => Page::new("template", text, blanks, outside),
            Self::File(file) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let unreadable = |error| Fault {
                    name: file.display().to_string(),
                    line: None,
                    text: format!("cannot be read: {error}"),
                };
                let text = fs::read_to_string(file).map_err(unreadable)?;
                Page::new(&name, &text, blanks, outside)
            }
        }
    }
}

impl Outside {
    pub fn of(source: &Source, settings: &GlueSettings) -> Self {
        Self {
            folder: source.folder(),
            env: Arc::new(settings.machine.env.clone()),
            own: docker::own_container_id().map(Arc::from),
        }
    }
}

impl Blanks {
    fn of(keep: bool) -> Self {
        if keep { Self::Keep } else { Self::Drop }
    }
}

fn target(params: &Section) -> Result<Target, Mistake> {
    let path = params.folder().join(params.require("target")?);
    let mode = params.get("mode").filter(|it| !it.is_empty()).map(|text| {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.ok_or_else(|| {
            params.mistake("mode", format!("mode is an octal number such as 0644, not {text:?}"))
        })
    });
    let owner = params.get("owner").filter(|it| !it.is_empty());
    let owner = owner.map(|text| Owner::read(text).map_err(|told| params.mistake("owner", told)));
    let target = Target { path, mode: mode.transpose()?, owner: owner.transpose()? };
    target.check().map_err(|text| params.mistake("target", text))?;
    Ok(target)
}

/// `web`, `web:HUP`, `web HUP`
fn signals(params: &Section) -> Result<Vec<(String, String)>, Mistake> {
    let signal = |word: &str| {
        let (target, signal) = word.rsplit_once([':', ' ']).unwrap_or((word, "HUP"));
        let (target, signal) = (target.trim(), signal.trim());
        if target.is_empty() || signal_number(signal).is_none() {
            let text = format!("a signal is CONTAINER:SIGNAL such as web:HUP, not {word:?}");
            return Err(params.mistake("signal", text));
        }
        Ok((target.to_owned(), signal.to_ascii_uppercase()))
    };
    params.list("signal").into_iter().map(signal).collect()
}

/// `MIN [MAX]`
fn interval(params: &Section) -> Result<(Duration, Duration), Mistake> {
    let text = params.get("interval").filter(|it| !it.is_empty()).unwrap_or("0.5 2");
    let times: Option<Vec<_>> = text.split_whitespace().map(ini::time).collect();
    match times.as_deref() {
        Some([both]) => Ok((*both, *both)),
        Some([least, most]) if least <= most => Ok((*least, *most)),
        _ => {
            let told = format!("interval is MIN or MIN MAX in seconds such as 0.5 2, not {text:?}");
            Err(params.mistake("interval", told))
        }
    }
}

/// A template, and what is known of containers from one time to the next.
#[derive(Debug)]
pub struct Printer {
    source: Source,
    blanks: Blanks,
    filter: Filter,
    outside: Outside,
    gallery: Gallery,
    /// What was undefined when it was told last.
    undefined: Option<String>,
}

impl Printer {
    /// It keeps blank lines.
    pub fn new(source: Source, outside: Outside) -> Self {
        let (filter, gallery) = (Filter::default(), Gallery::default());
        Self { source, blanks: Blanks::Keep, filter, outside, gallery, undefined: None }
    }

    #[must_use]
    pub fn drop_blank_lines(mut self) -> Self {
        self.blanks = Blanks::Drop;
        self
    }

    /// Whether the template is one, without anything to print it for.
    ///
    /// # Errors
    /// It is none.
    pub fn check(&self) -> Result<(), Fault> {
        self.source.page(self.blanks, &self.outside).map(drop)
    }

    /// All that there are.
    fn containers(&mut self, roster: &Roster) -> Vec<Value> {
        self.gallery.follow(roster);
        self.gallery.containers()
    }

    /// The template is read anew, as it may have been edited. And whether it looked for what only a Swarm's manager knows.
    ///
    /// # Errors
    /// The template is wrong.
    pub fn print(
        &mut self,
        roster: &Roster,
        swarm: Option<&SwarmSaid>,
    ) -> Result<(String, bool), Fault> {
        self.gallery.follow(roster);
        let swarm = swarm.map(|said| Arc::new(Swarm::new(said)));
        let page = self.source.page(self.blanks, &self.outside)?;
        let root = Root::new(&self.gallery, &self.filter, swarm, &self.outside);
        let text = page.render(&root)?;
        self.undefined = match (page.has_undefined(), self.undefined.take()) {
            (false, _) => None,
            (true, Some(told)) => Some(told),
            (true, None) => page.undefined(&root).map(|fault| fault.to_string()),
        };
        Ok((text, root.asked()))
    }

    /// The name of a container that has this file mounted on its own.
    fn mounting(&mut self, roster: &Roster, place: &Path) -> Option<String> {
        let own = self.outside.own.clone();
        mounted::mounting(&self.containers(roster), own.as_deref(), place)
    }

    /// The first thing that is not there, and of which nothing is in the text that was printed last.
    pub fn undefined(&self) -> Option<&str> {
        self.undefined.as_deref()
    }
}
