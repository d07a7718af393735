//! What the read-only commands read from Docker, HAProxy and the disk. They change nothing and take no lock.

use crate::{
    api::control::{client::get, socket_path},
    controller::source_set::list_sources,
    haproxy::{
        files::Store,
        observed::ObservedState,
        route_recovery,
        runtime::{RuntimeClient, RuntimeError},
        stored_state,
        tls::CertificateDirectory,
    },
    model::{
        certificate::{CertificateDigest, CertificateIndex, CertificateOrigin},
        route::OwnedName,
        world::World,
    },
    report::{
        history_file,
        preview::{CurrentState, DiskState, StateSource},
        status::Status,
    },
    routing::{decide::Rules, rollback::Rollback},
    settings::{Settings, SourceKind},
    sources::{
        ContainerFilter, acme,
        certificate::{self, CertificateStore, CertificateWithKey},
        docker::Engine,
        own_ca,
    },
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

/// After this time a docker-balancer that does not answer is treated as not running.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(10);
const PERMISSION_HINT: &str = "run this command as root or as the user of docker-balancer";

/// Docker does not answer.
#[derive(Debug, thiserror::Error)]
#[error("Docker does not answer")]
pub(crate) struct DockerQueryError;

/// Connects to the engine whose images are read: the first of several sources that is an engine. A manager of a Swarm
/// has the images of its own node only.
pub(crate) async fn connect_engine(settings: &Settings) -> Result<Engine> {
    let mut sources = settings.named_sources.iter();
    let first = match sources.find(|source| source.kind == SourceKind::Engine) {
        Some(source) => &source.engine,
        None if settings.named_sources.is_empty() => &settings.docker,
        None => bail!("images are read from an engine, and no --source is one"),
    };
    Engine::connect(first).await.context(DockerQueryError)
}

/// Returns the current world and the rules. `widen` may extend the filter.
pub(crate) async fn load_world(
    settings: &Settings,
    widen: impl Fn(ContainerFilter) -> ContainerFilter,
) -> Result<(World, Rules)> {
    let (world, rules) = list_sources(settings, widen).await.context(DockerQueryError)?;
    Ok((world, with_certificates(rules, settings)))
}

/// Adds the certificates and CAs that docker-balancer would use. Files that cannot be read are left out, as
/// docker-balancer does.
fn with_certificates(rules: Rules, settings: &Settings) -> Rules {
    let mut certificates = certificate::read_directories(&settings.certificates).certificates;
    if let Some(options) = &settings.acme {
        let store = acme::store::Store::new(&settings.state_dir.join("acme"), &options.directory);
        let ca: Arc<str> = options.directory.as_str().into();
        certificates.extend(store.read_certificates().iter().filter_map(|(host, stored)| {
            let origin = CertificateOrigin::Acme { ca: Arc::clone(&ca) };
            CertificateWithKey::parse(&stored.pem, origin, host.folder()).ok()
        }));
    }
    certificates.extend(own_ca::read_certificates(&settings.state_dir));
    let certificates = certificates.into_iter().map(|read| read.certificate).collect();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    Rules {
        certificates: Arc::new(CertificateIndex::build(certificates, now)),
        cas: certificate::read_cas(settings.ca_directories()).index,
        ..rules
    }
}

/// Returns `None` if no docker-balancer answers.
pub(crate) async fn daemon_status(settings: &Settings) -> Option<Status> {
    let socket = socket_path(&settings.runtime_dir);
    timeout(DAEMON_TIMEOUT, get(&socket, "/status")).await.ok()?.ok()
}

/// Returns the state of the running HAProxy, or else of its files.
///
/// # Errors
/// If the files belong to another user: an unreadable file does not mean that there is none.
pub(crate) async fn load_current_state(settings: &Settings) -> Result<CurrentState> {
    let store = Store::open_read_only(&settings.config_file, &settings.state_dir);
    check_readable(store.target())?;
    let (disk, owners) = (read_disk_state(settings, &store), owners(settings)?);
    if let Some(observed) = observe_haproxy(settings).await? {
        return Ok(CurrentState { source: StateSource::HAProxy, observed, disk, owners });
    }
    let Some(config) = store.read_own_config() else {
        return Ok(CurrentState {
            source: StateSource::Nothing,
            observed: ObservedState::default(),
            disk,
            owners,
        });
    };
    let mut observed = stored_state::from_files(&config, |map| store.read_file(&map.to_string()));
    observed.tls.default_certificate = stored_default(settings);
    Ok(CurrentState { source: StateSource::Files, observed, disk, owners })
}

/// Returns the owner of each host. An invalid file is ignored, as docker-balancer does when it starts.
///
/// # Errors
/// If the file may not be read.
fn owners(settings: &Settings) -> Result<BTreeMap<OwnedName, Arc<str>>> {
    let text = stored(settings, "hosts.json")?;
    Ok(text.and_then(|text| history_file::parse_owners(&text).ok()).unwrap_or_default())
}

/// Returns the content of a file of the state directory, if it exists.
fn stored(settings: &Settings, name: &str) -> Result<Option<String>> {
    let path = settings.state_dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            bail!("cannot read {}: {e}; {PERMISSION_HINT}", path.display())
        }
        Err(_) => Ok(None),
    }
}

/// Returns the certificate whose content the default one has on disk: HAProxy does not return it.
fn stored_default(settings: &Settings) -> Option<String> {
    let access = settings.proxy().file_access();
    let pem = CertificateStore::new(&settings.state_dir, access).read_default()?;
    let directory = CertificateDirectory::new(settings.state_dir.join("certs"));
    Some(directory.certificate_path(CertificateDigest::of_pem(pem.reveal())))
}

/// Returns `None` if no HAProxy of ours answers.
pub(crate) async fn observe_haproxy(settings: &Settings) -> Result<Option<ObservedState>> {
    let socket = settings.proxy().stats_socket();
    match RuntimeClient::connect(socket.clone()).await {
        Ok(mut runtime) => {
            let mut observed = runtime.read_state().await.ok();
            if let Some(observed) = &mut observed {
                observed.tls.default_certificate = stored_default(settings);
            }
            Ok(observed)
        }
        Err(RuntimeError::Unreachable { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            bail!("cannot connect to HAProxy on {}: {source}; {PERMISSION_HINT}", socket.display())
        }
        Err(_) => Ok(None),
    }
}

/// Returns the active rollback of the running docker-balancer, or the stored one that a docker-balancer would apply
/// when it starts.
///
/// # Errors
/// If the file with the rollback may not be read.
pub(crate) fn current_rollback(
    settings: &Settings,
    daemon: Option<&Status>,
    observed: &ObservedState,
) -> Result<Option<Rollback>> {
    let Some(daemon) = daemon else { return stored_rollback(settings) };
    let Some(active) = daemon.rollback else { return Ok(None) };
    let is_active = |request: &Rollback| {
        (request.generation, request.since_ms) == (active.generation, active.since_ms)
    };
    // If the rollback could not be saved to disk, HAProxy still has its routes.
    let from_served = || {
        let then = Arc::new(route_recovery::recover_routes(observed));
        Rollback::new(active.generation, active.since_ms, then)
    };
    Ok(Some(stored_rollback(settings)?.filter(is_active).unwrap_or_else(from_served)))
}

/// Returns the rollback in the state directory. An invalid file is ignored, as docker-balancer does when it starts.
///
/// # Errors
/// If the file may not be read.
pub(crate) fn stored_rollback(settings: &Settings) -> Result<Option<Rollback>> {
    let text = stored(settings, "rollback.json")?;
    Ok(text.and_then(|text| history_file::parse_rollback(&text).ok()))
}

fn check_readable(file: &Path) -> Result<()> {
    match fs::File::open(file) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            bail!("cannot read {}: {e}; {PERMISSION_HINT}", file.display())
        }
        _ => Ok(()),
    }
}

fn read_disk_state(settings: &Settings, store: &Store) -> DiskState {
    let folder = store.current_generation();
    let files =
        folder.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let text = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, (entry.path(), fs::read_to_string(entry.path()).ok()?)))
    };
    DiskState {
        target: store.target().to_owned(),
        config: store.read_config(),
        files: files.filter_map(text).collect::<BTreeMap<_, _>>(),
        generations: settings.state_dir.join("gen"),
    }
}
