//! Writes a file from a template and the state of Docker, and sends notifications when the file changes.
//!
//! ```text
//! containers ─▶ ContainerViews ─▶ TemplateContext ─▶ CompiledTemplate ─text─▶ TargetFile ─▶ Debounce ─▶ NotifyTargets
//!                                     (filter)          (functions)
//! ```
//!
//! This is the only folder that uses minijinja.

mod certificate;
mod command;
mod compiled_template;
mod container;
mod context;
mod debounce;
mod environment;
mod filter;
mod function;
mod guard;
mod jinja;
mod limit;
mod mount;
mod notify;
mod operator;
mod pending_notifications;
mod python;
mod runner;
mod swarm;
mod target;
mod value;

#[cfg(test)]
mod tests;

use super::ini::{self, IniError, Section};
use crate::{
    settings::{GlueSettings, GlueSourceSettings},
    sources::{
        ContainerMap,
        certificate::CertificateLists,
        docker::{self, SwarmState, signal_number},
    },
};
pub use compiled_template::RenderError;
use compiled_template::{BlankLines, CompiledTemplate};
use container::ContainerViews;
use context::TemplateContext;
pub use environment::TemplateEnv;
use filter::TemplateFilter;
use minijinja::Value;
use notify::NotifyTargets;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm::Swarm;
use target::{FileOwner, TargetFile};

/// `[params]` of a template handler.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    source: TemplateSource,
    blanks: BlankLines,
    filter: TemplateFilter,
    target: TargetFile,
    /// A command that must accept the new file before it replaces the old one.
    check: Option<Vec<String>>,
    notify_targets: NotifyTargets,
    interval: (Duration, Duration),
    /// Renders again this long after an event; zero disables it.
    repeat: Duration,
    environment: TemplateEnv,
}

/// Where the text of a template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    File(PathBuf),
    Inline(String),
}

const PARAMS: &[&str] = &[
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
    "remote",
];

impl Template {
    pub fn from_params(params: &Section, settings: &GlueSettings) -> Result<Self, IniError> {
        params.reject_unknown(PARAMS)?;
        let source = TemplateSource::parse(params.require_value("template")?, params.base_folder());
        let source = source.map_err(|text| params.error_at("template", text))?;
        let environment = TemplateEnv::from_source(&source, settings);
        let blanks = BlankLines::from_keep(params.parse_bool("keep-blank-lines", true)?);
        let wrong = |fault: RenderError| params.error_at("template", fault.to_string());
        source.compile(blanks, &environment).map_err(wrong)?;
        Ok(Self {
            source,
            blanks,
            filter: TemplateFilter::from_params(params)?,
            target: parse_target(params)?,
            check: command::parse_command(params, "check", settings)?,
            notify_targets: parse_targets(params, settings)?,
            interval: parse_interval(params)?,
            repeat: params.parse_duration("repeat", Duration::ZERO)?,
            environment,
        })
    }
}

impl Template {
    /// Returns the default events: those that change the list of containers that the template sees.
    pub fn default_events(&self) -> &'static str {
        if self.filter.includes_stopped() {
            "create,start,stop,die,health_status,rename,pause,unpause,destroy,certificate"
        } else {
            "start,stop,die,health_status,certificate"
        }
    }

    /// Returns the file that is written, with links followed.
    pub fn target_path(&self) -> PathBuf {
        self.target.canonical_path()
    }

    fn create_renderer(&self) -> TemplateRenderer {
        let Self { source, blanks, filter, environment: outside, .. } = self.clone();
        let (views, certificates) = <(ContainerViews, Arc<CertificateLists>)>::default();
        TemplateRenderer {
            source,
            blanks,
            filter,
            environment: outside,
            views,
            certificates,
            first_undefined: None,
        }
    }
}

impl TemplateSource {
    /// Parses a path relative to the folder, or an inline template after a `#`.
    ///
    /// # Errors
    /// If it is a URL.
    pub fn parse(written: &str, folder: &Path) -> Result<Self, String> {
        if let Some(text) = written.strip_prefix('#') {
            return Ok(Self::Inline(text.trim().to_owned()));
        }
        if written.starts_with("http://") || written.starts_with("https://") {
            return Err(format!(
                "a template is a file, or a text after a #; download {written} into a file first"
            ));
        }
        Ok(Self::File(folder.join(written)))
    }

    /// Returns the folder from which the template includes others.
    fn include_folder(&self) -> PathBuf {
        match self {
            Self::File(file) => file.parent().map(Path::to_path_buf).unwrap_or_default(),
            Self::Inline(_) => PathBuf::new(),
        }
    }

    fn compile(
        &self,
        blanks: BlankLines,
        environment: &TemplateEnv,
    ) -> Result<CompiledTemplate, RenderError> {
        match self {
            Self::Inline(text) => CompiledTemplate::new("template", text, blanks, environment),
            Self::File(file) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let unreadable = |error| RenderError {
                    name: file.display().to_string(),
                    line: None,
                    text: format!("cannot be read: {error}"),
                };
                let text = fs::read_to_string(file).map_err(unreadable)?;
                CompiledTemplate::new(&name, &text, blanks, environment)
            }
        }
    }
}

impl TemplateEnv {
    pub fn from_source(source: &TemplateSource, settings: &GlueSettings) -> Self {
        let sources = settings.sources.iter();
        let hosts = sources.map(|source| (source.name().clone(), source.host.clone())).collect();
        Self {
            hosts: Arc::new(hosts),
            folder: source.include_folder(),
            env: Arc::new(settings.machine.env.clone()),
            own_container_id: docker::find_own_container_id().map(Arc::from),
        }
    }
}

impl BlankLines {
    fn from_keep(keep: bool) -> Self {
        if keep { Self::Keep } else { Self::Drop }
    }
}

fn parse_target(params: &Section) -> Result<TargetFile, IniError> {
    let path = params.base_folder().join(params.require_value("target")?);
    let mode = params.get("mode").filter(|text| !text.is_empty()).map(|text| {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.ok_or_else(|| {
            params.error_at(
                "mode",
                format!("mode must be an octal number such as 0644, not {text:?}"),
            )
        })
    });
    let owner = params.get("owner").filter(|text| !text.is_empty());
    let owner = owner
        .map(|text| FileOwner::parse(text).map_err(|message| params.error_at("owner", message)));
    let target = TargetFile { path, mode: mode.transpose()?, owner: owner.transpose()? };
    target.check_regular_file().map_err(|text| params.error_at("target", text))?;
    Ok(target)
}

fn parse_targets(params: &Section, settings: &GlueSettings) -> Result<NotifyTargets, IniError> {
    let targets = NotifyTargets {
        notify: command::parse_command(params, "notify", settings)?,
        restart: params.split_list("restart").into_iter().map(str::to_owned).collect(),
        signal: parse_signals(params)?,
        remote: params.parse_bool("remote", false)?,
    };
    let source = |target: &str| settings.find_source(target.rsplit_once('@')?.1);
    let refuse =
        |key, target: &str| match source(target).and_then(GlueSourceSettings::notify_refusal) {
            Some(why) => Err(params.error_at(key, format!("{key}={target}: {why}"))),
            None => Ok(()),
        };
    for (target, _) in &targets.signal {
        refuse("signal", target)?;
    }
    // A service of a Swarm is restarted by its managers.
    let has_managers =
        |target: &&String| source(target).is_some_and(|one| !one.managers().is_empty());
    for target in targets.restart.iter().filter(|target| !has_managers(target)) {
        refuse("restart", target)?;
    }
    Ok(targets)
}

/// Parses `web`, `web:HUP` or `web HUP`.
fn parse_signals(params: &Section) -> Result<Vec<(String, String)>, IniError> {
    let signal = |word: &str| {
        let (target, signal) = word.rsplit_once([':', ' ']).unwrap_or((word, "HUP"));
        let (target, signal) = (target.trim(), signal.trim());
        if target.is_empty() || signal_number(signal).is_none() {
            let text = format!("a signal must be CONTAINER:SIGNAL such as web:HUP, not {word:?}");
            return Err(params.error_at("signal", text));
        }
        Ok((target.to_owned(), signal.to_ascii_uppercase()))
    };
    params.split_list("signal").into_iter().map(signal).collect()
}

/// Parses `MIN [MAX]`.
fn parse_interval(params: &Section) -> Result<(Duration, Duration), IniError> {
    let text = params.get("interval").filter(|text| !text.is_empty()).unwrap_or("0.5 2");
    let times: Option<Vec<_>> = text.split_whitespace().map(ini::parse_duration).collect();
    match times.as_deref() {
        Some([both]) => Ok((*both, *both)),
        Some([least, most]) if least <= most => Ok((*least, *most)),
        _ => {
            let message =
                format!("interval must be MIN or MIN MAX in seconds such as 0.5 2, not {text:?}");
            Err(params.error_at("interval", message))
        }
    }
}

/// A template with the converted containers, which are kept between renderings.
#[derive(Debug)]
pub struct TemplateRenderer {
    source: TemplateSource,
    blanks: BlankLines,
    filter: TemplateFilter,
    environment: TemplateEnv,
    views: ContainerViews,
    certificates: Arc<CertificateLists>,
    /// The undefined value that was found first, kept until a rendering has none.
    first_undefined: Option<String>,
}

impl TemplateRenderer {
    /// Makes a renderer that keeps blank lines.
    pub fn new(source: TemplateSource, environment: TemplateEnv) -> Self {
        let (filter, views, certificates) = Default::default();
        let (blanks, first_undefined) = (BlankLines::Keep, None);
        Self { source, blanks, filter, environment, views, certificates, first_undefined }
    }

    /// Sets the certificates that the next renderings see.
    pub fn set_certificates(&mut self, certificates: Arc<CertificateLists>) {
        self.certificates = certificates;
    }

    #[must_use]
    pub fn drop_blank_lines(mut self) -> Self {
        self.blanks = BlankLines::Drop;
        self
    }

    /// Checks the syntax of the template without rendering it.
    ///
    /// # Errors
    /// If the template is not valid.
    pub fn check_syntax(&self) -> Result<(), RenderError> {
        self.source.compile(self.blanks, &self.environment).map(drop)
    }

    /// Returns all containers.
    fn update_containers(&mut self, roster: &ContainerMap) -> Vec<Value> {
        self.views.update_views(roster, &self.environment.hosts);
        self.views.containers()
    }

    /// Renders the template, which is read again because it may have been edited. Also returns whether it used what
    /// only a Swarm manager knows.
    ///
    /// # Errors
    /// If the template has an error.
    pub fn render(
        &mut self,
        roster: &ContainerMap,
        swarm: Option<&SwarmState>,
    ) -> Result<(String, bool), RenderError> {
        self.views.update_views(roster, &self.environment.hosts);
        let swarm = swarm.map(|written| Arc::new(Swarm::new(written)));
        let page = self.source.compile(self.blanks, &self.environment)?;
        let views = (&self.views, &*self.certificates);
        let root = TemplateContext::new(views, &self.filter, swarm, &self.environment);
        let text = page.render_text(&root)?;
        self.first_undefined = match (page.has_undefined(), self.first_undefined.take()) {
            (false, _) => None,
            (true, Some(message)) => Some(message),
            (true, None) => page.find_undefined(&root).map(|fault| fault.to_string()),
        };
        Ok((text, root.needs_swarm()))
    }

    /// Returns the name of a container that mounts this file itself instead of its folder.
    fn find_mounting_container(&mut self, roster: &ContainerMap, path: &Path) -> Option<String> {
        let own = self.environment.own_container_id.clone();
        mount::find_mounting_container(&self.update_containers(roster), own.as_deref(), path)
    }

    /// Returns the first undefined value of the last rendering, where it left an empty text.
    pub fn first_undefined(&self) -> Option<&str> {
        self.first_undefined.as_deref()
    }
}
