//! `plan`: reads the current state, decides the desired state, and prints the difference.

use super::{CommandOutput, inputs};
use crate::{
    haproxy::{
        check::{ConfigRejection, Verdict, check},
        config::{Config, ExistingWorker},
        config_builder::ConfigBuilder,
        layout::Layout,
        reload_reason::ReloadReason,
        render::{self, Http3Mode, RenderContext},
        route_recovery,
        version::{Build, build, has_exporter},
    },
    label,
    model::{
        container::Image,
        problem::{ProblemSubject, Reason, Severity},
        route::Routes,
        world::{Vantage, World},
    },
    report::{
        preview::{CurrentState, PlanPreview, PreviewMethod, decide_preview},
        preview_output::{PreviewOutput, PreviewResult},
        status::Status,
    },
    routing::{
        decide::Rules,
        rollback::{RELEASE_COMMAND, Rollback},
    },
    settings::{AccessLog, HaproxyMode, RunMode, Settings, options::PlanFormat},
    sources::{
        ContainerFilter,
        acme::{AcmeSettings, requests::CertificateRequests},
        compose::{
            self, ComposeNote, Project,
            planned_container::{self, Placeholders, PlannedContainer},
        },
        docker::Engine,
    },
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
const EXIT_CHANGES: u8 = 3;
const EXIT_REJECTED: u8 = 1;

/// How long the files on disk may be older than the runtime state of HAProxy.
const WRITE_BEHIND_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How many times routes are left out because HAProxy refuses the configuration.
const MAX_ATTEMPTS: usize = 32;
/// While docker-balancer runs, HAProxy has the options of docker-balancer.
const OPTIONS_DIFFER_NOTE: &str = "the running docker-balancer has other options: give its options \
                                   here, too, or put them into the settings file, which both read";

pub(crate) async fn run_plan(
    compose: Option<&Path>,
    format: PlanFormat,
    settings: &Settings,
) -> Result<CommandOutput> {
    let after = match compose {
        None => PlanInput::from_world(settings).await?,
        Some(file) => PlanInput::from_compose(file, settings).await?,
    };
    let PlanInput { world, rules, masks, without_image: silent, mut notes } = after;
    let (mut outlook, refused, daemon_runs) = diff_when_settled(&world, &rules, settings).await?;
    notes.extend(order_notes(&outlook.after, &rules, settings)?);
    notes.extend(outlook.rollback.as_ref().map(|request| rollback_note(request, compose)));
    if daemon_runs && outlook.method == PreviewMethod::Reload(ReloadReason::Settings) {
        notes.push(OPTIONS_DIFFER_NOTE.to_owned());
    }
    outlook.problems.retain(|problem| {
        let about = matches!(&problem.subject, ProblemSubject::Container(origin) if silent.contains(origin.name()));
        !(about && matches!(problem.reason, Reason::NotExposed { .. }))
    });
    let socket = settings.proxy().stats_socket();
    let output = PreviewOutput {
        preview: outlook,
        placeholders: masks,
        socket,
        hold: settings.hold,
        rejection: refused,
        notes,
    };
    let status = match output.result() {
        PreviewResult::Nothing => 0,
        PreviewResult::Changes => EXIT_CHANGES,
        PreviewResult::Refused => EXIT_REJECTED,
    };
    let text = match format {
        PlanFormat::Human => output.to_text(),
        PlanFormat::Text => output.to_patch(),
        PlanFormat::Json => output.to_json(),
    };
    Ok(CommandOutput { text, status })
}

/// Says which certificates docker-balancer would order or issue.
fn order_notes(after: &Routes, rules: &Rules, settings: &Settings) -> Result<Vec<String>> {
    let acme = settings.acme()?;
    let rules_of_ca = acme.as_ref().map(AcmeSettings::name_rules);
    let requests =
        CertificateRequests::new(after, &rules.certificates, rules_of_ca, &settings.wildcards);
    let CertificateRequests { acme: ordered, own } = requests.without_issued(&rules.certificates);
    let ca = acme.map(|acme| acme.directory.as_str().to_owned()).unwrap_or_default();
    let ordered =
        ordered.iter().map(|host| match rules_of_ca.and_then(|rules| host.refusal(rules)) {
            Some(refusal) => format!("no certificate would be ordered for {host}: {refusal}"),
            None => format!("a certificate would be ordered for {host} from {ca}"),
        });
    let own = own.iter().map(|host| format!("the own CA would issue a certificate for {host}"));
    Ok(ordered.chain(own).collect())
}

fn rollback_note(rollback: &Rollback, compose: Option<&Path>) -> String {
    let who = match compose {
        Some(_) => "the planned containers are not served until",
        None => "newer containers are not served until",
    };
    format!("{rollback}; {who} {RELEASE_COMMAND}")
}

/// The desired world: the current one, or the one that a compose file makes.
struct PlanInput {
    world: World,
    rules: Rules,
    masks: Placeholders,
    /// Containers whose exposed ports are unknown.
    without_image: BTreeSet<String>,
    notes: Vec<String>,
}

impl PlanInput {
    async fn from_world(settings: &Settings) -> Result<Self> {
        let (world, rules) = inputs::load_world(settings, |interest| interest).await?;
        let (masks, without_image, notes) = Default::default();
        Ok(Self { world, rules, masks, without_image, notes })
    }

    async fn from_compose(file: &Path, settings: &Settings) -> Result<Self> {
        let mut project =
            compose::read_project(file, &std::env::vars().collect(), settings.deployment())?;
        if !settings.include_env {
            project.services.iter_mut().for_each(|service| service.environment.clear());
        }
        // Labels of Compose show which containers belong to the project.
        let (world, rules) = inputs::load_world(settings, |interest| ContainerFilter {
            has_our_labels: |labels| labels.keys().any(|key| is_relevant_label(key)),
            is_used_label: |label| is_relevant_label(label),
            ..interest
        })
        .await?;
        let engine = inputs::connect_engine(settings).await?;
        let source = engine.source().clone();
        let is_problem = |note: &&ComposeNote| note.severity() == Severity::Problem;
        let mut notes: Vec<_> = project
            .notes
            .iter()
            .filter(is_problem)
            .map(|note| format!("{}: {note}", note.position))
            .collect();
        let images = inspect_images(&engine, &project, settings, &mut notes).await;
        let mut planned = planned_container::plan_containers(&project, &images);
        for container in &mut planned {
            container.assign_to(&source);
        }
        keep_own_labels(&mut planned, &images, settings);
        let without_image =
            planned.iter().filter(|container| !images.contains_key(&container.service.name));
        let without_image =
            without_image.map(|container| container.container.name.clone()).collect();
        let runs = world;
        let (mut world, masks) =
            planned_container::merge_into_world(&runs, &project, planned, &source);
        // HAProxy's own container is kept in any case, because its networks decide how the others are reached.
        if let Vantage::Inside(own) = &rules.base.vantage
            && let Some(container) = runs.containers.get(own)
        {
            world.containers.entry(own.clone()).or_insert_with(|| container.clone());
        }
        Ok(Self { world, rules, masks, without_image, notes })
    }
}

/// Removes the labels that come from images, if these do not count.
fn keep_own_labels(
    planned: &mut [PlannedContainer<'_>],
    images: &BTreeMap<String, Image>,
    settings: &Settings,
) {
    let Some(keep_own) = settings.own_labels() else { return };
    for container in planned {
        let Some(image) = images.get(&container.service.name) else { continue };
        keep_own(Arc::make_mut(&mut container.container.labels), &image.labels);
        keep_own(&mut container.container.environment, &image.environment);
    }
}

fn is_relevant_label(label: &str) -> bool {
    label::is_relevant_label(label) || planned_container::is_compose_label(label)
}

/// Returns the images of the services, as far as the engine has them.
async fn inspect_images(
    engine: &Engine,
    project: &Project,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> BTreeMap<String, Image> {
    let mut images = BTreeMap::new();
    for service in &project.services {
        let built = format!("{}-{}", project.name, service.name);
        let name = service.image.as_ref().unwrap_or(&built);
        let unknown = match engine.inspect_image(name).await {
            Ok(Some(mut image)) => {
                if !settings.include_env {
                    image.environment.clear();
                }
                images.insert(service.name.clone(), image);
                continue;
            }
            Ok(None) => "Docker does not have the image".to_owned(),
            // Not every user who may list containers may also inspect images.
            Err(error) => format!("{error:#}"),
        };
        notes.push(format!(
            "could not read image {name} of service {}, so its labels and ports are unknown: \
             {unknown}",
            service.name
        ));
    }
    images
}

/// Makes the preview. docker-balancer writes files shortly after it sends commands to HAProxy, so this waits until
/// they are up to date if docker-balancer runs.
async fn diff_when_settled(
    world: &World,
    rules: &Rules,
    settings: &Settings,
) -> Result<(PlanPreview, Option<String>, bool)> {
    let end = Instant::now() + WRITE_BEHIND_TIMEOUT;
    let build = build(&settings.haproxy_bin).await?;
    loop {
        let daemon = inputs::daemon_status(settings).await;
        let before = inputs::load_current_state(settings).await?;
        let exporter = exporter_address(settings, daemon.as_ref()).await;
        let http3 = http3_mode(settings, build, daemon.as_ref());
        let complete = |context| RenderContext { http3, exporter, ..context };
        let frame = render_context(settings, build, rules, &before, complete)?;
        let resting = BTreeSet::new();
        let (frame, stock) = (&frame, usize::from(settings.spare_backends));
        let unavailable = BTreeSet::new();
        let maker = ConfigBuilder {
            rules,
            context: frame,
            unavailable: &unavailable,
            spare_count: stock,
            draining: &resting,
        };
        let (outlook, refused) =
            diff_accepted_routes(world, &before, daemon.as_ref(), maker, settings).await?;
        if outlook.is_only_disk_stale() && daemon.is_some() && Instant::now() < end {
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        }
        return Ok((outlook, refused, daemon.is_some()));
    }
}

/// Returns the address at which HAProxy serves metrics, unless the address is in use or HAProxy has no exporter.
async fn exporter_address(settings: &Settings, daemon: Option<&Status>) -> Option<SocketAddr> {
    let has_none = has_problem(daemon, "--haproxy-metrics");
    let address = settings.haproxy_metrics.filter(|_| !has_none)?;
    has_exporter(&settings.haproxy_bin).await.then_some(address)
}

/// Returns whether docker-balancer serves HTTP/3: not if HAProxy cannot, or if the UDP port is in use.
fn http3_mode(settings: &Settings, build: Build, daemon: Option<&Status>) -> Http3Mode {
    let is_on = settings.http3 && build.has_quic && !has_problem(daemon, "--http3");
    if is_on { Http3Mode::On } else { Http3Mode::Off }
}

/// Whether docker-balancer reports a problem with the option.
fn has_problem(daemon: Option<&Status>, option: &str) -> bool {
    let mut problems = daemon.into_iter().flat_map(|status| &status.problems);
    problems.any(|problem| problem.option.as_deref() == Some(option))
}

/// Returns the settings of a docker-balancer with `--watch`, or with `--once` if only that one produces the current
/// configuration.
fn render_context(
    settings: &Settings,
    build: Build,
    rules: &Rules,
    before: &CurrentState,
    complete: impl Fn(RenderContext) -> RenderContext,
) -> Result<RenderContext> {
    let follows = complete(settings.render_context(build)?);
    let managed = matches!(settings.haproxy, HaproxyMode::Managed { .. });
    if !managed || settings.access_log != AccessLog::Stdout {
        return Ok(follows);
    }
    let quiet = Settings { command: RunMode::Once, access_log: AccessLog::Off, ..settings.clone() };
    let once = complete(quiet.render_context(build)?);
    let routes = route_recovery::recover_routes(&before.observed);
    let rendered = |frame: &RenderContext| {
        let resting = BTreeSet::new();
        let unavailable = BTreeSet::new();
        let maker = ConfigBuilder {
            rules,
            context: frame,
            unavailable: &unavailable,
            spare_count: 0,
            draining: &resting,
        };
        let existing = ExistingWorker::new(&before.observed, &Config::default());
        let config = maker.build_config(&routes, Layout::default(), Some(&existing));
        config.fingerprint == before.observed.fingerprint
    };
    Ok(if !rendered(&follows) && rendered(&once) { once } else { follows })
}

/// Makes the preview without the routes that HAProxy refuses, as docker-balancer would leave them out.
async fn diff_accepted_routes(
    world: &World,
    before: &CurrentState,
    daemon: Option<&Status>,
    maker: ConfigBuilder<'_>,
    settings: &Settings,
) -> Result<(PlanPreview, Option<String>)> {
    let rollback = inputs::current_rollback(settings, daemon, &before.observed)?;
    let mut refused = BTreeMap::new();
    for _ in 0..MAX_ATTEMPTS {
        let moment = (maker.rules, Instant::now());
        let foreseen = decide_preview(world, before, daemon, &refused, rollback.clone(), moment);
        let routes = foreseen.decision.routes.clone();
        let auth_servers = foreseen.decision.auth_servers.clone();
        let rules = Rules { auth_servers, ..maker.rules.clone() };
        let maker = ConfigBuilder { rules: &rules, ..maker };
        let outlook = PlanPreview::new(before, foreseen, maker);
        if outlook.is_empty() || outlook.is_only_disk_stale() {
            return Ok((outlook, None));
        }
        let Some(refusal) = check_config(&outlook.config, maker.context, settings).await? else {
            return Ok((outlook, None));
        };
        let named = refusal
            .lines
            .iter()
            .filter_map(|line| render::find_backend_at(&outlook.files.config, *line));
        let keys = named.filter_map(|name| Some(outlook.config.backends.get(name)?.route.clone()));
        let rejected: BTreeMap<_, _> = keys
            .filter_map(|key| {
                let route = routes.0.get(&key)?.clone();
                Some((key, (route, refusal.text.clone())))
            })
            .collect();
        if rejected.is_empty() {
            return Ok((outlook, Some(refusal.text)));
        }
        refused.extend(rejected);
    }
    anyhow::bail!("HAProxy refused {MAX_ATTEMPTS} versions of the configuration")
}

/// Checks the configuration with HAProxy in a temporary directory.
async fn check_config(
    config: &Config,
    frame: &RenderContext,
    settings: &Settings,
) -> Result<Option<ConfigRejection>> {
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let frame = RenderContext { generations: folder.path().join("gen"), ..frame.clone() };
    let files = render::render_files(config, &frame);
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
