//! HAProxy as the balancer uses it. Given files, HAProxy serves them, or the error says why not and HAProxy continues
//! to serve what it served before.
//!
//! A crash after any step leaves a valid state: a generation that no configuration refers to yet, a staged file that
//! the next start removes, or a complete configuration that is not loaded (the stamp file shows this).

use super::{
    bind_line,
    check::{BinaryId, Verdict, check},
    check_scope::AcceptedConfig,
    config::Config,
    error::{ApplyError, OpenError},
    files::{ConfigFiles, GenerationFiles, Store},
    health::ServerKey,
    health_query,
    inflight::InflightRequests,
    lock::Lock,
    master::{Master, ProcessList},
    observed::ObservedState,
    old_workers::OldWorkers,
    port_check::{self, BindPrivilege},
    process::{ProcessConfig, ProcessEvent, RunningMaster, StartError},
    render,
    runtime::{RuntimeClient, RuntimeError},
    settings::{ProxyMode, ProxySettings, ReloadVia},
    socket::{WorkerSocket, with_timeout},
    stats::StatsClient,
    stderr_log::StderrReader,
    stored_state, tls,
    version::{Build, Version, build, has_exporter},
};
use crate::support::{
    atomic_file::{self, FileAccess, Staged, WriteError},
    port_owner::{self, Transport},
};
use std::{
    collections::BTreeSet,
    fs, io,
    net::SocketAddr,
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
/// How long restored sockets must have existed before lost sockets are restored again.
const RESTORE_AGAIN: Duration = Duration::from_secs(10);
/// How long the sockets of a killed master may linger.
const SOCKET_LINGER: Duration = Duration::from_secs(1);

/// Result of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyReport {
    pub kind: ApplyKind,
    /// Path of the backup of somebody else's configuration, in the one apply that made the backup.
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
    /// The program file that `build` describes.
    binary: Option<BinaryId>,
    /// The stats socket's file is missing, which has been logged.
    is_socket_lost: bool,
    /// When the master last got the signal to create its socket again.
    restored: Option<Instant>,
    running: Option<RunningMaster>,
    /// The configuration that HAProxy is known to have loaded.
    loaded: Option<String>,
    /// Path of the backup of somebody else's configuration, kept until an apply succeeds that can report it: the apply
    /// that made the backup may fail afterwards.
    backup: Option<PathBuf>,
    reachability: Reachability,
    _lock: Lock,
}

/// Whether a service's HAProxy answered the last time. Its service manager restarts it; the log reports that it does
/// not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
    /// No answer yet: until HAProxy has our configuration it may not have our socket.
    Unknown,
    Reachable,
    Unreachable,
}

impl Proxy {
    /// Opens the state directory, and adopts the HAProxy that an earlier balancer left running.
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

    /// Returns the state of a worker that would be started with the stored last good files.
    pub fn read_stored_state(&self) -> ObservedState {
        let config = self.store.read_own_config().unwrap_or_default();
        stored_state::from_files(&config, |map| self.store.read_file(&map.to_string()))
    }

    pub fn version(&self) -> Version {
        self.build.version
    }

    pub fn build(&self) -> Build {
        self.build
    }

    /// Returns the path of the socket on which HAProxy asks about users.
    pub fn user_socket(&self) -> PathBuf {
        self.settings.user_socket()
    }

    /// Returns the installed HAProxy's build if it differs from the former one.
    pub async fn replaced_build(&mut self) -> Option<Build> {
        let binary = BinaryId::from_path(&self.settings.bin).ok();
        if binary == self.binary {
            return None;
        }
        let build = build(&self.settings.bin).await.ok()?;
        self.binary = binary;
        (std::mem::replace(&mut self.build, build) != build).then_some(build)
    }

    /// Whether this HAProxy can export its metrics to Prometheus.
    pub async fn has_exporter(&self) -> bool {
        has_exporter(&self.settings.bin).await
    }

    /// The pid of the master, if HAProxy is managed and runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(RunningMaster::pid)
    }

    /// Makes HAProxy serve these files. When this returns, the new worker serves, and the old one finishes the requests
    /// that it has begun. Does nothing if HAProxy has loaded equal files.
    ///
    /// On an error HAProxy serves what it served before, and the files on disk match that.
    pub async fn apply_files(&mut self, files: &ConfigFiles) -> Result<ApplyReport, ApplyError> {
        self.load_files(files, LoadPolicy::IfDifferent).await
    }

    /// Does the same, but reloads even if HAProxy has loaded equal files: its state differs from them.
    pub async fn reload_files(&mut self, files: &ConfigFiles) -> Result<ApplyReport, ApplyError> {
        self.load_files(files, LoadPolicy::Always).await
    }

    /// For the log: what clients get after a failed apply.
    pub fn service_state(&self) -> &'static str {
        match &self.running {
            Some(running) if running.has_exited() => "HAProxy has exited",
            None if self.settings.is_managed() => "HAProxy is not running",
            _ => "the previous configuration is still served",
        }
    }

    /// Returns the number of old workers, which still have connections.
    pub async fn count_old_workers(&self) -> usize {
        let Some(master) = self.master() else { return 0 };
        master.list_processes().await.map_or(0, |procs| procs.old_workers.len())
    }

    /// Starts to send the state of `config` to the old workers, as long as there are any.
    pub fn follow_old_workers(
        &self,
        config: &Arc<Config>,
        hard_stop_after: Duration,
    ) -> Option<OldWorkers> {
        Some(OldWorkers::follow(self.master()?, Arc::clone(config), hard_stop_after))
    }

    /// Returns the state of the worker that serves; `None` if there is none that can be queried.
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

    /// Restores the sockets of a managed HAProxy that runs but whose sockets are both missing: it cannot be reached. A
    /// signal makes it create the master socket again; if that does not help, another HAProxy replaces it. Returns
    /// `true` if HAProxy can be queried again.
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

    /// Replaces HAProxy as the last resort: the new one listens next to the old one, which then finishes its requests.
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

    /// Logs when a service's HAProxy stops or starts answering. A managed one is monitored, and its exit is logged
    /// elsewhere.
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
                let hint = self.answer_hint();
                tracing::error!("{error}; {hint}");
            }
            (Some(error), ..) => tracing::debug!("{error}"),
            (None, Reachability::Unreachable, _) if is_service => {
                tracing::info!("HAProxy answers again");
            }
            (None, ..) => {}
        }
    }

    /// Returns advice for the log about a service's HAProxy that does not answer.
    fn answer_hint(&self) -> &'static str {
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

    /// Returns how to reach the runtime API.
    pub fn worker_socket(&self) -> WorkerSocket {
        WorkerSocket { stats: self.process_config.stats_socket.clone(), master: self.master() }
    }

    /// Ends the sessions of these servers, in old workers too.
    pub fn end_sessions(
        &self,
        servers: Vec<ServerKey>,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        health_query::end_sessions(self.worker_socket(), servers)
    }

    /// Whether HAProxy reports check results as events.
    pub fn reports_checks(&self) -> bool {
        self.running.as_ref().is_some_and(RunningMaster::reports_checks)
    }

    /// A client for the counters of the worker that serves.
    pub fn stats_client(&self) -> StatsClient {
        StatsClient { socket: self.worker_socket() }
    }

    pub fn is_managed(&self) -> bool {
        self.settings.is_managed()
    }

    /// Counts the requests of a container, given by its short id, where `observed` is HAProxy's state.
    pub fn inflight_requests(&self, observed: &ObservedState, id: &str) -> InflightRequests {
        InflightRequests {
            socket: self.worker_socket(),
            backends: observed.backends_of_container(id),
            id: id.to_owned(),
        }
    }

    /// Writes the state that HAProxy got over the runtime API to disk, so that a reload by anyone ends in the same
    /// state. Runs in a task of its own, so that no event waits for it; making many files takes time, too.
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
                // If HAProxy rejects this part, the check of the whole file gives the reason and the position.
                FileCheck::Partial(part) => check_part(&store, &bin, &check_options, part).await?,
            };
            if let Some(staged) = staged.as_ref().filter(|_| !is_accepted) {
                // HAProxy got the certificates over the runtime API, so it accepts them.
                check_without_certificates(&store, &bin, &check_options, staged, &files.config)
                    .await?;
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

    /// Returns the binary that checks files; `None` if the check also reads other files, which may change at any time.
    pub fn checker_id(&self) -> Option<BinaryId> {
        let ProxySettings { bin, check_options, .. } = &self.settings;
        let names_files = check_options.iter().any(|text| text.starts_with("-f") || text == "--");
        if names_files { None } else { BinaryId::from_path(bin).ok() }
    }

    /// Records that the files that [`Self::write_behind`] wrote are HAProxy's state.
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
        let warnings = match &staged {
            Some(staged) if self.has_loaded_certificates(&files.generation) => {
                let ProxySettings { bin, check_options, .. } = &self.settings;
                let config = &files.config;
                check_without_certificates(&self.store, bin, check_options, staged, config).await?
            }
            staged => self.check_staged(staged.as_ref()).await?,
        };
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

    /// Checks whether HAProxy would accept these files. The served configuration stays.
    ///
    /// # Errors
    /// `Refused`, or the reason why the check could not run.
    pub async fn check_files(&self, files: &ConfigFiles) -> Result<(), ApplyError> {
        self.store.write_generation(&files.generation)?;
        let staged = self.store.stage_config(&files.config)?;
        self.check_staged(Some(&staged)).await.map(drop)
    }

    /// Starts HAProxy with the files on disk, if it is managed, has stored files and does not run. So the last good
    /// state is served before Docker has been queried, and again after HAProxy has exited.
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

    /// Waits for the next event of a managed HAProxy; forever if none runs. For use in `select!`.
    pub async fn next_event(&mut self) -> ProcessEvent {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let event = running.next_event().await;
        if matches!(event, ProcessEvent::Exited(..)) {
            self.running = None;
        }
        event
    }

    /// Stops HAProxy gracefully, or leaves it running for the next start to adopt.
    pub async fn shutdown(mut self, end: Shutdown) {
        if end == Shutdown::Leave || !self.settings.is_managed() {
            return;
        }
        if self.running.is_none()
            && let Err(error) = self.adopt_running().await
        {
            // This also finds an HAProxy whose start was interrupted. It is no error if there is none.
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

    /// Forgets an HAProxy that has exited, and adopts one whose start was interrupted. There must never be two: the
    /// second would share the first one's ports without any error (SO_REUSEPORT).
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

    /// Whether HAProxy runs and has loaded all certificates of the lists.
    fn has_loaded_certificates(&self, generation: &GenerationFiles) -> bool {
        if self.serving_config().is_none() {
            return false;
        }
        let lists = generation.files.iter().filter(|(name, _)| tls::list_port(name).is_some());
        let certificates = |text: &str| -> BTreeSet<String> {
            text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
        };
        let loaded: BTreeSet<_> =
            self.store.read_lists().iter().flat_map(|text| certificates(text)).collect();
        lists.flat_map(|(_, text)| certificates(text)).all(|name| loaded.contains(&name))
    }

    fn commit_staged(&mut self, staged: Option<Staged>) -> Result<(), ApplyError> {
        let Some(staged) = staged else { return Ok(()) };
        self.backup = self.store.back_up()?.or(self.backup.take());
        Ok(self.store.commit(staged)?)
    }

    async fn check_ports(&self, config: &str) -> Result<(), ApplyError> {
        let serving = self.serving_config().unwrap_or_default();
        let bound = bind_line::parse_bind_ports(serving);
        let is_new = |at: &SocketAddr| !bound.contains(&at.port());
        let tcp: Vec<_> =
            bind_line::parse_bind_addresses(config).into_iter().filter(is_new).collect();
        let bound = bind_line::parse_udp_addresses(serving);
        let udp = bind_line::parse_udp_addresses(config).difference(&bound).copied().collect();
        let privilege =
            if self.settings.is_managed() { BindPrivilege::Own } else { BindPrivilege::Service };
        let max_wait = if self.running.is_some() { Duration::ZERO } else { SOCKET_LINGER };
        let own_pids = self.list_pids().await;
        for (transport, new) in [(Transport::Tcp, tcp), (Transport::Udp, udp)] {
            port_check::check_ports(transport, &new, &own_pids, privilege, max_wait).await?;
        }
        Ok(())
    }

    /// Returns who uses a TCP port that HAProxy could not bind again: completes "its port is …".
    pub async fn describe_port_owner(&self, port: u16) -> String {
        let own_pids = self.list_pids().await;
        let owner = port_owner::find_owner(Transport::Tcp, port, &own_pids);
        owner.map_or_else(|| "not available".to_owned(), |owner| port_check::describe(&owner))
    }

    /// Returns the configuration whose ports HAProxy has already bound.
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
                Some(Master::new(socket).with_loading_time(self.process_config.loading_time()))
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
                let master = Master::new(socket);
                let master = master.with_loading_time(self.process_config.loading_time());
                master.reload(config, None).await?;
            }
            (ProxyMode::Managed { .. }, Some(running)) => {
                // While it restarts itself, a master refuses connections as if it had exited.
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
            // The only consequence is that the next start reloads once more than necessary.
            tracing::warn!("{e}");
        }
    }

    /// Keeps the generations of the loaded configuration and of `other`, the one that is or was on disk: they may be
    /// needed again.
    fn prune_generations(&self, other: Option<&str>) {
        let kept: Vec<_> = self.loaded.as_deref().into_iter().chain(other).collect();
        self.store.prune_generations(&kept);
    }

    /// Puts the last configuration that is known to be good back on disk, because anyone's reload would load what is
    /// there.
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

/// Files to write after HAProxy got the same state over the runtime API.
#[derive(Debug)]
pub struct Draft {
    pub files: ConfigFiles,
    pub check: FileCheck,
    /// The value to record if HAProxy checks and accepts the whole file.
    pub accepted: Option<AcceptedConfig>,
}

/// The check that HAProxy has to pass before the files are replaced.
#[derive(Debug)]
pub enum FileCheck {
    Full,
    /// Check these files in place of the whole. They are never loaded.
    Partial(ConfigFiles),
    Skip,
}

/// Files that were written.
#[derive(Debug)]
pub struct WrittenFiles {
    config: String,
    /// `None` if not the whole file was checked.
    pub accepted: Option<AcceptedConfig>,
}

/// Returns whether HAProxy accepts a part of a file.
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

/// Runs HAProxy's check of a staged configuration with empty lists of certificates.
async fn check_without_certificates(
    store: &Store,
    bin: &Path,
    options: &[String],
    staged: &Staged,
    config: &str,
) -> Result<Vec<String>, ApplyError> {
    let Some(text) = render::without_certificates(config) else {
        return check_config(bin, staged.path(), options).await;
    };
    let store = store.clone();
    let staged = run_blocking(move || store.stage_config(&text)).await?;
    check_config(bin, staged.path(), options).await
}

/// Whether to load files that HAProxy has loaded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadPolicy {
    IfDifferent,
    Always,
}

/// Runs HAProxy's check and returns its warnings.
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

/// Runs on a thread of its own, so that a slow disk does not delay events.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WriteError> + Send + 'static,
) -> Result<T, ApplyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(e) => Err(ApplyError::Unreachable(format!("writing files was interrupted: {e}"))),
    }
}

/// What happens to HAProxy when the balancer exits.
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

/// Waits until the new worker answers on the stats socket.
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

/// Waits until another worker than `before` answers. If we may not access the socket, the reload is assumed to be done.
async fn wait_for_worker_change(
    process_config: &ProcessConfig,
    before: Option<u32>,
    unit: &str,
) -> Result<(), ApplyError> {
    let timeout = ANSWER_TIMEOUT + process_config.loading_time();
    let deadline = Instant::now() + timeout;
    loop {
        match process_config.query_worker_pid().await {
            Ok(now @ Some(_)) if now != before => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            _ if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            _ => break,
        }
    }
    Err(ApplyError::Unreachable(format!(
        "systemctl reload {unit}: HAProxy has no new worker after {timeout:?}; see \
         journalctl --unit {unit}"
    )))
}

/// Runs `systemctl reload`, which checks the configuration and sends a signal. It does not report the outcome of the
/// reload.
async fn reload_unit(unit: &str) -> Result<(), ApplyError> {
    let why = |text: String| ApplyError::Unreachable(format!("systemctl reload {unit}: {text}"));
    let mut command = Command::new("systemctl");
    command.args(["reload", unit]).stdin(Stdio::null()).kill_on_drop(true);
    // docker-balancer reports its own readiness to the service manager.
    command.env_remove("NOTIFY_SOCKET");
    let output =
        with_timeout(SYSTEMCTL_TIMEOUT, command.output()).await.map_err(|e| why(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).replace(".\n", "\n");
    Err(why(stderr.trim().replace('\n', "; ")))
}
