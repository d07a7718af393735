//! `plan`: asks what is, decides what is to be, and says the difference.

use super::{Told, asked};
use crate::{
    balancer::way::Maker,
    cli::PlanFormat,
    compose::{
        self, Note, Project,
        planned::{self, Masks, Planned},
    },
    container::Image,
    decide::Rules,
    docker::{Engine, Interest},
    haproxy::{
        check::{Refusal, Verdict, check},
        config::Config,
        inverse,
        layout::Layout,
        render::{self, Frame},
        version::{Build, build, has_exporter},
    },
    label,
    problem::{About, Reason, Severity},
    reload::Why,
    rollback::{RELEASE, Rollback},
    serve,
    settings::{AccessLog, Command, Haproxy, Settings},
    view::{
        foretold::{End, Foretold},
        outlook::{Before, How, Outlook, foresee},
        status::Status,
    },
    world::{Vantage, World},
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Exit statuses.
const CHANGES: u8 = 3;
const NOT_SO: u8 = 1;

/// How long files may be behind what HAProxy was told.
const BEHIND: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// Routes that HAProxy may refuse one after the other.
const MOST_TRIES: usize = 32;
/// Beside a docker-balancer that runs, HAProxy has what its options say.
const OTHER_OPTIONS: &str = "the docker-balancer that runs has other options than these: say its options here \
                             too, or in the settings file that both read";
/// How problems of HAProxy's exporter begin.
const EXPORTER: &str = "option --haproxy-metrics: ";

pub(super) async fn plan(
    compose: Option<&Path>,
    format: PlanFormat,
    settings: &Settings,
) -> Result<Told> {
    let after = match compose {
        None => After::of_world(settings).await?,
        Some(file) => After::of_compose(file, settings).await?,
    };
    let After { world, rules, masks, silent, mut notes } = after;
    let (mut outlook, refused, daemon_runs) = look(&world, &rules, settings).await?;
    notes.extend(outlook.rollback.as_ref().map(|it| held(it, compose)));
    if daemon_runs && outlook.how == How::Reload(Why::Frame) {
        notes.push(OTHER_OPTIONS.to_owned());
    }
    outlook.problems.retain(|it| {
        let about = matches!(&it.about, About::Container(origin) if silent.contains(origin.name()));
        !(about && matches!(it.reason, Reason::NotExposed { .. }))
    });
    let socket = serve::proxy_settings(settings).stats_socket();
    let foretold = Foretold { outlook, masks, socket, hold: settings.hold, refused, notes };
    let status = match foretold.result() {
        End::Nothing => 0,
        End::Changes => CHANGES,
        End::Refused => NOT_SO,
    };
    let text = match format {
        PlanFormat::Human => foretold.human(),
        PlanFormat::Text => foretold.patch(),
        PlanFormat::Json => foretold.json(),
    };
    Ok(Told { text, status })
}

fn held(rollback: &Rollback, compose: Option<&Path>) -> String {
    let who = match compose {
        Some(_) => "what is planned would wait for",
        None => "what came later waits for",
    };
    format!("{rollback}; {who} {RELEASE}")
}

/// What is to be: the world, as it is or as a compose file makes it.
struct After {
    world: World,
    rules: Rules,
    masks: Masks,
    /// Containers of which nobody knows what they expose.
    silent: BTreeSet<String>,
    notes: Vec<String>,
}

impl After {
    async fn of_world(settings: &Settings) -> Result<Self> {
        let (world, rules) = asked::world(settings, |interest| interest).await?;
        let (masks, silent, notes) = Default::default();
        Ok(Self { world, rules, masks, silent, notes })
    }

    async fn of_compose(file: &Path, settings: &Settings) -> Result<Self> {
        let mut project = compose::read(file, &std::env::vars().collect())?;
        if !settings.include_env {
            project.services.iter_mut().for_each(|it| it.environment.clear());
        }
        // Who is of the project shows in labels that are none of ours.
        let (world, rules) = asked::world(settings, |interest| Interest {
            speaks: |labels| labels.keys().any(|key| is_of_interest(key)),
            reads: |label| is_of_interest(label),
            ..interest
        })
        .await?;
        let engine = asked::engine(settings).await?;
        let worth = |it: &&Note| it.severity() == Severity::Problem;
        let mut notes: Vec<_> =
            project.notes.iter().filter(worth).map(|it| format!("{}: {it}", it.place)).collect();
        let images = images(&engine, &project, settings, &mut notes).await;
        let mut planned = planned::containers(&project, &images);
        keep_own_labels(&mut planned, &images, settings);
        let silent = planned.iter().filter(|it| !images.contains_key(&it.service.name));
        let silent = silent.map(|it| it.container.name.clone()).collect();
        let runs = world;
        let (mut world, masks) = planned::onto(&runs, &project, planned);
        // Where HAProxy is, whatever becomes of it: it is the way to the others.
        if let Vantage::Inside(own) = &rules.vantage
            && let Some(container) = runs.containers.get(own)
        {
            world.containers.entry(own.clone()).or_insert_with(|| container.clone());
        }
        Ok(Self { world, rules, masks, silent, notes })
    }
}

/// Where labels of images do not count.
fn keep_own_labels(
    planned: &mut [Planned<'_>],
    images: &BTreeMap<String, Image>,
    settings: &Settings,
) {
    let Some(keep_own) = serve::own_labels(settings) else { return };
    for it in planned {
        let Some(image) = images.get(&it.service.name) else { continue };
        keep_own(Arc::make_mut(&mut it.container.labels), &image.labels);
        keep_own(&mut it.container.environment, &image.environment);
    }
}

fn is_of_interest(label: &str) -> bool {
    label::is_read(label) || planned::is_composes(label)
}

/// What the images of services bring along, where the engine has them.
async fn images(
    engine: &Engine,
    project: &Project,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> BTreeMap<String, Image> {
    let mut images = BTreeMap::new();
    for service in &project.services {
        let built = format!("{}-{}", project.name, service.name);
        let name = service.image.as_ref().unwrap_or(&built);
        let unknown = match engine.image(name).await {
            Ok(Some(mut image)) => {
                if !settings.include_env {
                    image.environment.clear();
                }
                images.insert(service.name.clone(), image);
                continue;
            }
            Ok(None) => "Docker does not have it yet".to_owned(),
            // Not all that may list containers may do this.
            Err(error) => format!("{error:#}"),
        };
        notes.push(format!(
            "what image {name} of service {} brings along is not known: {unknown}",
            service.name
        ));
    }
    images
}

/// Files follow what HAProxy is told a moment later: that is waited for where a docker-balancer runs.
async fn look(
    world: &World,
    rules: &Rules,
    settings: &Settings,
) -> Result<(Outlook, Option<String>, bool)> {
    let end = Instant::now() + BEHIND;
    let build = build(&settings.haproxy_bin).await?;
    loop {
        let daemon = asked::daemon(settings).await;
        let before = asked::before(settings).await?;
        let exporter = exporter(settings, daemon.as_ref()).await;
        let frame = frame(settings, build, rules, &before, exporter)?;
        let resting = BTreeSet::new();
        let (frame, stock) = (&frame, serve::stock(settings));
        let maker = Maker { rules, frame, stock, resting: &resting };
        let (outlook, refused) = outlook(world, &before, daemon.as_ref(), maker, settings).await?;
        if outlook.is_only_behind() && daemon.is_some() && Instant::now() < end {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        return Ok((outlook, refused, daemon.is_some()));
    }
}

/// Where HAProxy tells its numbers, unless it cannot, or not now.
async fn exporter(settings: &Settings, daemon: Option<&Status>) -> Option<SocketAddr> {
    let problems = daemon.into_iter().flat_map(|it| &it.problems);
    let has_none = problems.map(|it| it.text.as_str()).any(|it| it.starts_with(EXPORTER));
    let address = settings.haproxy_metrics.filter(|_| !has_none)?;
    has_exporter(&settings.haproxy_bin).await.then_some(address)
}

/// As a docker-balancer that follows has it; where none did this, as one that applied once.
fn frame(
    settings: &Settings,
    build: Build,
    rules: &Rules,
    before: &Before,
    exporter: Option<SocketAddr>,
) -> Result<Frame> {
    let follows = Frame { exporter, ..serve::frame(settings, build)? };
    let managed = matches!(settings.haproxy, Haproxy::Managed { .. });
    if !managed || settings.access_log != AccessLog::Stdout {
        return Ok(follows);
    }
    let quiet = Settings { command: Command::Once, access_log: AccessLog::Off, ..settings.clone() };
    let once = Frame { exporter, ..serve::frame(&quiet, build)? };
    let routes = inverse::routes(&before.observed);
    let made_it = |frame: &Frame| {
        let resting = BTreeSet::new();
        let maker = Maker { rules, frame, stock: 0, resting: &resting };
        maker.config(&routes, Layout::default()).skeleton == before.observed.skeleton
    };
    Ok(if !made_it(&follows) && made_it(&once) { once } else { follows })
}

/// Less what HAProxy refuses, as a pass would leave it out.
async fn outlook(
    world: &World,
    before: &Before,
    daemon: Option<&Status>,
    maker: Maker<'_>,
    settings: &Settings,
) -> Result<(Outlook, Option<String>)> {
    let rollback = asked::rollback(settings, daemon, &before.observed)?;
    let mut refused = BTreeMap::new();
    for _ in 0..MOST_TRIES {
        let moment = (maker.rules, Instant::now());
        let foreseen = foresee(world, before, daemon, &refused, rollback.clone(), moment);
        let routes = foreseen.decided.routes.clone();
        let outlook = Outlook::new(before, foreseen, maker);
        if outlook.is_empty() || outlook.is_only_behind() {
            return Ok((outlook, None));
        }
        let Some(refusal) = try_out(&outlook.config, maker.frame, settings).await? else {
            return Ok((outlook, None));
        };
        let named = refusal
            .lines
            .iter()
            .filter_map(|line| render::backend_at(&outlook.files.config, *line));
        let keys = named.filter_map(|name| Some(outlook.config.backends.get(name)?.route.clone()));
        let blamed: BTreeMap<_, _> = keys
            .filter_map(|key| {
                let route = routes.0.get(&key)?.clone();
                Some((key, (route, refusal.text.clone())))
            })
            .collect();
        if blamed.is_empty() {
            return Ok((outlook, Some(refusal.text)));
        }
        refused.extend(blamed);
    }
    anyhow::bail!("HAProxy refuses {MOST_TRIES} versions of the configuration")
}

/// Asks HAProxy, in a directory of its own, whether it would take this.
async fn try_out(config: &Config, frame: &Frame, settings: &Settings) -> Result<Option<Refusal>> {
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let frame = Frame { generations: folder.path().join("gen"), ..frame.clone() };
    let files = render::render(config, &frame);
    let generation = frame.generations.join(&files.generation.name);
    fs::create_dir_all(&generation)?;
    for (name, text) in &files.generation.files {
        fs::write(generation.join(name), text)?;
    }
    let path = folder.path().join("haproxy.cfg");
    fs::write(&path, &files.config)?;
    let bin = &settings.haproxy_bin;
    let verdict = check(bin, &path, &settings.haproxy_arguments).await;
    match verdict.with_context(|| format!("cannot run {} -c", bin.display()))? {
        Verdict::Accepted { .. } => Ok(None),
        Verdict::Refused(refusal) => Ok(Some(refusal)),
    }
}
