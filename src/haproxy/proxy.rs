//! HAProxy as the balancer sees it: given files, it serves them, or says why not and goes on serving
//! what it served.
//!
//! Each step leaves a state that a crash may keep: a generation nobody names yet, a staged file that
//! the next start sweeps away, a configuration that is complete but not loaded (the stamp tells).

use super::{
    bind_line,
    check::{BinaryId, Verdict, check},
    check_scope::AcceptedConfig,
    config::Config,
    error::{ApplyError, OpenError},
    files::{ConfigFiles, Store},
    health::ServerKey,
    health_query,
    inflight::InflightRequests,
    lock::Lock,
    master::{Master, ProcessList},
    observed::ObservedState,
    old_workers::OldWorkers,
    port_check::{self, BindPrivilege},
    process::{ProcessConfig, ProcessEvent, RunningMaster, StartError},
    runtime::{RuntimeClient, RuntimeError},
    settings::{ProxyMode, ProxySettings, ReloadVia},
    socket::{WorkerSocket, with_timeout},
    stats::StatsClient,
    stderr_log::StderrReader,
    version::{Build, Version, build, has_exporter},
};
use crate::support::atomic_file::{self, FileAccess, Staged, WriteError};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::Command,
    task::JoinHandle,
    time::{Instant, sleep},
};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long sockets that were lost and restored have to stay before they are restored again.
const RESTORE_AGAIN: Duration = Duration::from_secs(10);
/// How long the sockets of a master that was killed may linger.
const SOCKET_LINGER: Duration = Duration::from_secs(1);

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyReport {
    pub kind: ApplyKind,
    /// Where somebody else's configuration was kept, the one time that it was.
    pub backup: Option<PathBuf>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyKind {
    Unchanged,
    Started,
    Reloaded,
}

#[derive(Debug)]
pub struct Proxy {
    settings: ProxySettings,
    process_config: ProcessConfig,
    store: Store,
    build: Build,
    /// The file of that.
    binary: Option<BinaryId>,
    /// The stats socket's file is gone, which was told.
    is_socket_lost: bool,
    /// When the master was asked to create its socket again.
    restored: Option<Instant>,
    running: Option<RunningMaster>,
    /// What HAProxy is known to have loaded.
    loaded: Option<String>,
    /// Somebody else's configuration that was kept, until an apply is done that can name it: the
    /// one that kept it may fail after that.
    backup: Option<PathBuf>,
    reachability: Reachability,
    _lock: Lock,
}

/// Whether a service's HAProxy answered when it was asked last: its manager starts it again, and the log says that it is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
    /// Before it has our configuration it may have no socket of ours.
    Unknown,
    Reachable,
    Unreachable,
}

impl Proxy {
    /// Takes the state directory, and the HAProxy that an earlier balancer left running.
    pub async fn open(settings: ProxySettings) -> Result<Self, OpenError> {
        let binary = BinaryId::from_path(&settings.bin).ok();
        let build = build(&settings.bin).await?;
        let access = settings.file_access();
        atomic_file::create_directory(&settings.state_dir, access)?;
        atomic_file::create_directory(&settings.runtime_dir, access)?;
        let lock = Lock::acquire(&settings.state_dir)?;
        let store = Store::open(&settings.config, &settings.state_dir, access)?;
        if lock.is_read_only() {
            let state = settings.state_dir.display();
            tracing::warn!(
                "{state} is not writable; serving the stored state without saving changes"
            );
        }
        let process_config = settings.process_config(store.target());
        let loaded = fs::read_to_string(settings.stamp_path()).ok();
        let mut proxy = Self {
            settings,
            process_config,
            store,
            build,
            binary,
            is_socket_lost: false,
            restored: None,
            running: None,
            loaded,
            backup: None,
            reachability: Reachability::Unknown,
            _lock: lock,
        };
        proxy.adopt_running().await?;
        Ok(proxy)
    }

    /// A file of what is stored as the last good state, a map say.
    pub fn read_stored_file(&self, file: &str) -> Option<String> {
        self.store.read_file(file)
    }

    pub fn version(&self) -> Version {
        self.build.version
    }

    pub fn build(&self) -> Build {
        self.build
    }

    /// Which HAProxy is installed, if that is another one than before.
    pub async fn replaced_build(&mut self) -> Option<Build> {
        let binary = BinaryId::from_path(&self.settings.bin).ok();
        if binary == self.binary {
            return None;
        }
        let build = build(&self.settings.bin).await.ok()?;
        self.binary = binary;
        (std::mem::replace(&mut self.build, build) != build).then_some(build)
    }

    /// Whether this HAProxy can tell its numbers to Prometheus.
    pub async fn has_exporter(&self) -> bool {
        has_exporter(&self.settings.bin).await
    }

    /// The master's process, where HAProxy is ours and runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(RunningMaster::pid)
    }

    /// Makes HAProxy serve these files; when this returns, its new worker does, and the old one ends
    /// what it has begun. Equal files cost nothing.
    ///
    /// On an error it serves what it served, and that is what is on disk.
    pub async fn apply_files(&mut self, files: &ConfigFiles) -> Result<ApplyReport, ApplyError> {
        self.load_files(files, LoadPolicy::IfDifferent).await
    }

    /// The same, also where HAProxy has loaded these files already: what it has is not what they say.
    pub async fn reload_files(&mut self, files: &ConfigFiles) -> Result<ApplyReport, ApplyError> {
        self.load_files(files, LoadPolicy::Always).await
    }

    /// For the log: what clients see when something could not be applied.
    pub fn service_state(&self) -> &'static str {
        match &self.running {
            Some(running) if running.has_exited() => "HAProxy has exited",
            None if self.settings.is_managed() => "HAProxy is not running",
            _ => "the previous configuration is still served",
        }
    }

    /// Workers of before that still have connections.
    pub async fn count_old_workers(&self) -> usize {
        let Some(master) = self.master() else { return 0 };
        master.list_processes().await.map_or(0, |procs| procs.old_workers.len())
    }

    /// To tell them what HAProxy has from now on, as long as there are any.
    pub fn follow_old_workers(&self, config: &Arc<Config>) -> Option<OldWorkers> {
        Some(OldWorkers::follow(self.master()?, Arc::clone(config)))
    }

    /// All that the worker has which serves now; `None` where there is none of ours to be asked.
    pub async fn read_state(&mut self) -> Option<ObservedState> {
        let mut state = self.try_observe().await;
        if state.is_err() && self.restore_sockets().await {
            state = self.try_observe().await;
        }
        self.log_reachability(state.as_ref().err());
        state.ok()
    }

    async fn try_observe(&mut self) -> Result<ObservedState, RuntimeError> {
        let mut runtime = self.connect_runtime().await?;
        self.log_socket_loss(runtime.is_via_master());
        runtime.read_state().await
    }

    /// An HAProxy of ours that runs and whose sockets are both gone can be told nothing. A signal has it create the
    /// master's again; if that does not help, another HAProxy takes its place. `true`: it can be asked again.
    async fn restore_sockets(&mut self) -> bool {
        let is_early = self.restored.is_some_and(|at| at.elapsed() < RESTORE_AGAIN);
        let Some(running) = self.running.as_ref().filter(|master| !master.has_exited()) else {
            return false;
        };
        if is_early || !self.process_config.is_master_socket_gone() {
            return false;
        }
        let (pid, runtime) = (running.pid(), self.settings.runtime_dir.display());
        tracing::warn!(
            "HAProxy (pid {pid}) runs, but its sockets in {runtime} are missing; sending a signal \
             to create the master socket again"
        );
        if let Err(error) =
            atomic_file::create_directory(&self.settings.runtime_dir, self.settings.file_access())
        {
            tracing::error!("{error}");
            return false;
        }
        self.restored = Some(Instant::now());
        if running.restore_socket(&self.process_config).await {
            tracing::info!("HAProxy (pid {pid}) created its master socket again");
            return true;
        }
        self.replace().await
    }

    /// The last resort: the new one listens beside the old one, which then ends what it has begun.
    async fn replace(&mut self) -> bool {
        let ProxyMode::Managed { stop_timeout, .. } = self.settings.mode else { return false };
        let Some(old) = self.running.take() else { return false };
        let pid = old.pid();
        match self.process_config.take_over(pid).await {
            Ok(new) => {
                tracing::error!(
                    "HAProxy (pid {pid}) did not create its sockets again; replaced by HAProxy \
                     (pid {})",
                    new.pid()
                );
                self.running = Some(new);
                old.retire(stop_timeout);
                true
            }
            Err(error) => {
                tracing::error!(
                    "HAProxy (pid {pid}) did not create its sockets again and could not be \
                     replaced: {error}; it keeps its configuration"
                );
                self.running = Some(old);
                false
            }
        }
    }

    fn log_socket_loss(&mut self, is_socket_lost: bool) {
        if is_socket_lost && !self.is_socket_lost {
            let socket = self.process_config.stats_socket.display();
            tracing::warn!(
                "HAProxy's stats socket {socket} is missing; using the master socket until HAProxy \
                 restarts"
            );
        }
        self.is_socket_lost = is_socket_lost;
    }

    /// One that is ours is watched, and its end told where it is seen.
    fn log_reachability(&mut self, error: Option<&RuntimeError>) {
        let now = match error {
            None => Reachability::Reachable,
            Some(_) if self.reachability == Reachability::Unknown => Reachability::Unknown,
            Some(_) => Reachability::Unreachable,
        };
        let before = std::mem::replace(&mut self.reachability, now);
        let is_service = !self.settings.is_managed();
        match (error, before, now) {
            (Some(error), Reachability::Reachable, Reachability::Unreachable) if is_service => {
                let way_out = self.way_to_answers();
                tracing::error!("{error}; {way_out}");
            }
            (Some(error), ..) => tracing::debug!("{error}"),
            (None, Reachability::Unreachable, _) if is_service => {
                tracing::info!("HAProxy answers again");
            }
            (None, ..) => {}
        }
    }

    /// What becomes of a service's HAProxy that does not answer.
    fn way_to_answers(&self) -> &'static str {
        match fs::symlink_metadata(&self.process_config.stats_socket) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                "if HAProxy has exited, its service manager restarts it, and its log has the \
                 reason; if it runs, restart its service, because HAProxy creates this socket only \
                 at the start"
            }
            _ => "its service manager restarts it, and its log has the reason",
        }
    }

    /// The runtime API of the worker that serves now.
    pub async fn connect_runtime(&self) -> Result<RuntimeClient, RuntimeError> {
        RuntimeClient::connect(self.worker_socket()).await
    }

    /// Where the runtime API is.
    pub fn worker_socket(&self) -> WorkerSocket {
        WorkerSocket { stats: self.process_config.stats_socket.clone(), master: self.master() }
    }

    /// Ends what these servers have under way, in old workers too.
    pub fn end_sessions(
        &self,
        servers: Vec<ServerKey>,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        health_query::end_sessions(self.worker_socket(), servers)
    }

    /// Whether it says by itself what its checks find.
    pub fn reports_checks(&self) -> bool {
        self.running.as_ref().is_some_and(RunningMaster::reports_checks)
    }

    /// To ask what the worker that serves now has counted.
    pub fn stats_client(&self) -> StatsClient {
        StatsClient { socket: self.worker_socket() }
    }

    pub fn is_managed(&self) -> bool {
        self.settings.is_managed()
    }

    /// To count a container's requests, by its short id, while `observed` is what HAProxy has.
    pub fn inflight_requests(&self, observed: &ObservedState, id: &str) -> InflightRequests {
        InflightRequests {
            socket: self.worker_socket(),
            backends: observed.backends_of_container(id),
            id: id.to_owned(),
        }
    }

    /// Writes down what HAProxy was told over the runtime API, so that anyone's reload ends in the
    /// same state. Stands between no event and its effect: many files take a while to be made, too.
    pub fn write_behind(
        &self,
        draft: impl FnOnce() -> Draft + Send + 'static,
    ) -> JoinHandle<Result<WrittenFiles, ApplyError>> {
        let (store, stamp) = (self.store.clone(), self.settings.stamp_path());
        let ProxySettings { bin, check_options, .. } = self.settings.clone();
        tokio::spawn(async move {
            let (store, staged, draft) = run_blocking(move || {
                let draft = draft();
                store.write_generation(&draft.files.generation)?;
                let equal = store.holds(&draft.files.config);
                let staged =
                    if equal { None } else { Some(store.stage_config(&draft.files.config)?) };
                Ok((store, staged, draft))
            })
            .await?;
            let Draft { files, check, accepted } = draft;
            let check = if staged.is_some() { check } else { FileCheck::Skip };
            let is_accepted = match check {
                FileCheck::Skip => true,
                FileCheck::Full => false,
                // If it is refused, the whole says why, and where.
                FileCheck::Partial(part) => check_part(&store, &bin, &check_options, part).await?,
            };
            if let Some(staged) = staged.as_ref().filter(|_| !is_accepted) {
                check_config(&bin, staged.path(), &check_options).await?;
            }
            run_blocking(move || {
                if let Some(staged) = staged {
                    store.commit(staged)?;
                }
                atomic_file::stage_file(&stamp, &files.config, FileAccess::Private)?
                    .replace(&stamp)?;
                store.prune_generations(&[&files.config]);
                let accepted = accepted.filter(|_| !is_accepted);
                Ok(WrittenFiles { config: files.config, accepted })
            })
            .await
        })
    }

    /// Who checks files. `None` where it reads others of its own, which may change at any time.
    pub fn checker_id(&self) -> Option<BinaryId> {
        let ProxySettings { bin, check_options, .. } = &self.settings;
        let names_files = check_options.iter().any(|text| text.starts_with("-f") || text == "--");
        if names_files { None } else { BinaryId::from_path(bin).ok() }
    }

    /// What [`Self::follow`] wrote is what HAProxy has.
    pub fn record_written(&mut self, written: WrittenFiles) {
        self.loaded = Some(written.config);
    }

    async fn load_files(
        &mut self,
        files: &ConfigFiles,
        policy: LoadPolicy,
    ) -> Result<ApplyReport, ApplyError> {
        let applied = self.try_apply(files, policy).await;
        if applied.is_err() {
            let current = self.store.read_config();
            self.prune_generations(current.as_deref());
        }
        applied
    }

    async fn try_apply(
        &mut self,
        files: &ConfigFiles,
        policy: LoadPolicy,
    ) -> Result<ApplyReport, ApplyError> {
        self.refresh_process().await?;
        self.store.write_generation(&files.generation)?;
        let before = self.store.read_config();
        let equal = before.as_deref() == Some(&files.config);
        if equal && policy == LoadPolicy::IfDifferent && self.has_loaded(&files.config) {
            let backup = self.backup.take();
            return Ok(ApplyReport { kind: ApplyKind::Unchanged, backup, warnings: vec![] });
        }
        let staged = if equal { None } else { Some(self.store.stage_config(&files.config)?) };
        let warnings = self.check_staged(staged.as_ref()).await?;
        self.check_ports(&files.config).await?;
        self.commit_staged(staged)?;
        match self.start_or_reload().await {
            Ok(kind) => {
                self.record_loaded(&files.config, before.as_deref());
                let backup = self.backup.take();
                Ok(ApplyReport { kind, backup, warnings })
            }
            Err(e) => {
                self.restore_config(before.as_deref(), &files.config);
                Err(e)
            }
        }
    }

    /// Whether HAProxy would accept these files; what it serves stays.
    ///
    /// # Errors
    /// `Refused`, or what stood in the way of asking.
    pub async fn check_files(&self, files: &ConfigFiles) -> Result<(), ApplyError> {
        self.store.write_generation(&files.generation)?;
        let staged = self.store.stage_config(&files.config)?;
        self.check_staged(Some(&staged)).await.map(drop)
    }

    /// Starts HAProxy with what is on disk, if it is ours, stored and not running: the last good
    /// state serves before Docker has said anything, and again after a death.
    pub async fn start(&mut self) -> Result<bool, ApplyError> {
        self.refresh_process().await?;
        let Some(config) = self.store.read_own_config() else { return Ok(false) };
        if self.running.is_some() || !self.settings.is_managed() {
            return Ok(false);
        }
        self.check_ports(&config).await?;
        self.start_or_reload().await?;
        self.record_loaded(&config, None);
        Ok(true)
    }

    /// Waits for what an HAProxy of ours does by itself; for ever where there is none. For a `select!`.
    pub async fn next_event(&mut self) -> ProcessEvent {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let event = running.next_event().await;
        if matches!(event, ProcessEvent::Exited(..)) {
            self.running = None;
        }
        event
    }

    /// Stops it softly, or leaves it for the next start to adopt.
    pub async fn shutdown(mut self, end: Shutdown) {
        if end == Shutdown::Leave || !self.settings.is_managed() {
            return;
        }
        if self.running.is_none()
            && let Err(error) = self.adopt_running().await
        {
            // One whose start was cut short is found; there need be none.
            tracing::warn!("{error}");
        }
        let ProxyMode::Managed { stop_timeout, .. } = &self.settings.mode else { return };
        if let Some(running) = self.running.take() {
            running.stop(&self.process_config.master(), *stop_timeout).await;
        }
    }

    async fn adopt_running(&mut self) -> Result<(), StartError> {
        let ProxyMode::Managed { stop_timeout, .. } = &self.settings.mode else { return Ok(()) };
        match self.process_config.adopt().await? {
            Some(running) if running.uses_config(&self.process_config.config) => {
                tracing::info!("adopted the running HAProxy (pid {})", running.pid());
                self.running = Some(running);
            }
            Some(running) => {
                let (pid, config) = (running.pid(), self.process_config.config.display());
                tracing::info!("stopping HAProxy (pid {pid}), because it does not use {config}");
                running.stop(&self.process_config.master(), *stop_timeout).await;
            }
            None => {}
        }
        Ok(())
    }

    /// The dead one is forgotten; one whose start was cut off half-way is found again. There are
    /// never two: the second would share the first one's ports and say nothing (SO_REUSEPORT).
    async fn refresh_process(&mut self) -> Result<(), StartError> {
        if let Some(mut dead) = self.running.take_if(|master| master.has_exited()) {
            dead.wait_for_exit().await;
        }
        if self.running.is_none() { self.adopt_running().await } else { Ok(()) }
    }

    fn has_loaded(&self, config: &str) -> bool {
        let runs = self.running.is_some() || !self.settings.is_managed();
        runs && self.loaded.as_deref() == Some(config)
    }

    async fn check_staged(&self, staged: Option<&Staged>) -> Result<Vec<String>, ApplyError> {
        let ProxySettings { bin, check_options, .. } = &self.settings;
        let path = staged.map_or(self.store.target(), Staged::path);
        check_config(bin, path, check_options).await
    }

    fn commit_staged(&mut self, staged: Option<Staged>) -> Result<(), ApplyError> {
        let Some(staged) = staged else { return Ok(()) };
        self.backup = self.store.back_up()?.or(self.backup.take());
        Ok(self.store.commit(staged)?)
    }

    async fn check_ports(&self, config: &str) -> Result<(), ApplyError> {
        let bound_ports =
            self.serving_config().map(bind_line::parse_bind_ports).unwrap_or_default();
        let new = bind_line::parse_bind_addresses(config)
            .into_iter()
            .filter(|at| !bound_ports.contains(&at.port()));
        let privilege =
            if self.settings.is_managed() { BindPrivilege::Own } else { BindPrivilege::Service };
        let max_wait = if self.running.is_some() { Duration::ZERO } else { SOCKET_LINGER };
        port_check::check_ports(
            &new.collect::<Vec<_>>(),
            &self.list_pids().await,
            privilege,
            max_wait,
        )
        .await
    }

    /// The configuration whose ports are HAProxy's already.
    fn serving_config(&self) -> Option<&str> {
        let runs = self.running.is_some() || !self.settings.is_managed();
        self.loaded.as_deref().filter(|_| runs)
    }

    async fn list_pids(&self) -> BTreeSet<u32> {
        let Some(master) = self.master() else { return BTreeSet::new() };
        let procs = master.list_processes().await;
        procs.map(|procs| procs.pids().collect()).unwrap_or_default()
    }

    fn master(&self) -> Option<Master> {
        match &self.settings.mode {
            ProxyMode::Managed { .. } => {
                self.running.as_ref().map(|_| self.process_config.master())
            }
            ProxyMode::Service { reload: ReloadVia::MasterSocket(socket), .. } => {
                Some(Master::new(socket))
            }
            ProxyMode::Service { reload: ReloadVia::Unit(_), .. } => None,
        }
    }

    async fn start_or_reload(&mut self) -> Result<ApplyKind, ApplyError> {
        let config = self.store.target();
        match (&self.settings.mode, &mut self.running) {
            (ProxyMode::Service { reload: ReloadVia::Unit(unit), .. }, _) => {
                let before = self.process_config.query_worker_pid().await.ok().flatten();
                reload_unit(unit).await?;
                wait_for_worker_change(&self.process_config, before, unit).await?;
            }
            (ProxyMode::Service { reload: ReloadVia::MasterSocket(socket), .. }, _) => {
                Master::new(socket).reload(config, None).await?;
            }
            (ProxyMode::Managed { .. }, Some(running)) => {
                // A master that starts itself anew refuses connections like one that died over it.
                let mut stderr = running.stderr.take();
                let reload = reload_and_confirm(&self.process_config, config, stderr.as_mut());
                let outcome = tokio::select! {
                    outcome = reload => outcome,
                    reason = running.wait_for_exit() => Err(ApplyError::Unreachable(reason.to_string())),
                };
                running.stderr = stderr;
                outcome?;
            }
            (ProxyMode::Managed { .. }, slot) => {
                *slot = Some(self.process_config.start().await?);
                return Ok(ApplyKind::Started);
            }
        }
        Ok(ApplyKind::Reloaded)
    }

    fn record_loaded(&mut self, config: &str, before: Option<&str>) {
        self.loaded = Some(config.to_owned());
        self.prune_generations(before);
        let stamp = self.settings.stamp_path();
        let write = atomic_file::stage_file(&stamp, config, FileAccess::Private);
        if let Err(e) = write.and_then(|staged| staged.replace(&stamp)) {
            // Then the next start reloads once more than it had to.
            tracing::warn!("{e}");
        }
    }

    /// What is loaded and what was or is on disk may be wanted again.
    fn prune_generations(&self, other: Option<&str>) {
        let kept: Vec<_> = self.loaded.as_deref().into_iter().chain(other).collect();
        self.store.prune_generations(&kept);
    }

    /// What is on disk is what anyone's reload would load: the last that is known to be good.
    fn restore_config(&self, before: Option<&str>, now: &str) {
        let Some(good) = self.loaded.as_deref().or(before).filter(|good| *good != now) else {
            return;
        };
        let staged = self.store.stage_config(good);
        if let Err(e) = staged.and_then(|staged| self.store.commit(staged)) {
            tracing::error!("{e}; a configuration that HAProxy does not accept remains there");
        }
    }
}

/// Files that are to follow what HAProxy was told.
#[derive(Debug)]
pub struct Draft {
    pub files: ConfigFiles,
    pub check: FileCheck,
    /// Is true when all of them were checked.
    pub accepted: Option<AcceptedConfig>,
}

/// What HAProxy has to accept before files take their place.
#[derive(Debug)]
pub enum FileCheck {
    Full,
    /// These in place of the whole, which are never loaded.
    Partial(ConfigFiles),
    Skip,
}

/// Files that have followed.
#[derive(Debug)]
pub struct WrittenFiles {
    config: String,
    /// `None` where not all of them were checked.
    pub accepted: Option<AcceptedConfig>,
}

/// Whether HAProxy accepts a part of a file.
async fn check_part(
    store: &Store,
    bin: &Path,
    options: &[String],
    part: ConfigFiles,
) -> Result<bool, ApplyError> {
    let store = store.clone();
    let staged = run_blocking(move || {
        store.write_generation(&part.generation)?;
        store.stage_config(&part.config)
    });
    match check_config(bin, staged.await?.path(), options).await {
        Ok(_) => Ok(true),
        Err(ApplyError::Refused(refusal)) => {
            tracing::debug!("HAProxy refuses a part of the configuration: {refusal}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether to load files that are loaded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadPolicy {
    IfDifferent,
    Always,
}

/// Asks HAProxy itself; what it warned of.
async fn check_config(
    bin: &Path,
    config: &Path,
    options: &[String],
) -> Result<Vec<String>, ApplyError> {
    let cannot = |e| ApplyError::Unreachable(format!("cannot run {} -c: {e}", bin.display()));
    match check(bin, config, options).await.map_err(cannot)? {
        Verdict::Accepted { warnings } => Ok(warnings),
        Verdict::Refused(refusal) => Err(ApplyError::Refused(refusal)),
    }
}

/// On a thread of its own: a slow disk holds up no event.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WriteError> + Send + 'static,
) -> Result<T, ApplyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(e) => Err(ApplyError::Unreachable(format!("writing files was interrupted: {e}"))),
    }
}

/// What becomes of HAProxy when the balancer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    Stop,
    Leave,
}

async fn reload_and_confirm(
    process_config: &ProcessConfig,
    config: &Path,
    stderr: Option<&mut StderrReader>,
) -> Result<(), ApplyError> {
    let procs = process_config.master().reload(config, stderr).await?;
    wait_for_new_worker(process_config, procs).await
}

/// The new worker must answer where the old one did.
async fn wait_for_new_worker(
    process_config: &ProcessConfig,
    mut procs: ProcessList,
) -> Result<(), ApplyError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while !process_config.is_serving(&procs).await {
        if deadline < Instant::now() {
            let socket = process_config.stats_socket.display();
            let text = format!("HAProxy's new worker does not answer on {socket}");
            return Err(ApplyError::Unreachable(text));
        }
        sleep(POLL_INTERVAL).await;
        procs = process_config.master().list_processes().await.unwrap_or(procs);
    }
    Ok(())
}

/// Another worker than before answers. One that we may not ask has to be believed.
async fn wait_for_worker_change(
    process_config: &ProcessConfig,
    before: Option<u32>,
    unit: &str,
) -> Result<(), ApplyError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match process_config.query_worker_pid().await {
            Ok(now @ Some(_)) if now != before => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            _ if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            _ => break,
        }
    }
    Err(ApplyError::Unreachable(format!(
        "systemctl reload {unit}: HAProxy has no new worker after {ANSWER_TIMEOUT:?}; see \
         journalctl --unit {unit}"
    )))
}

/// `systemctl reload` checks the configuration and signals; how the reload went it does not know.
async fn reload_unit(unit: &str) -> Result<(), ApplyError> {
    let why = |text: String| ApplyError::Unreachable(format!("systemctl reload {unit}: {text}"));
    let mut command = Command::new("systemctl");
    command.args(["reload", unit]).stdin(Stdio::null()).kill_on_drop(true);
    // Our own readiness is ours to tell.
    command.env_remove("NOTIFY_SOCKET");
    let output =
        with_timeout(SYSTEMCTL_TIMEOUT, command.output()).await.map_err(|e| why(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).replace(".\n", "\n");
    Err(why(stderr.trim().replace('\n', "; ")))
}
