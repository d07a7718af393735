//! HAProxy as the balancer sees it: given files, it serves them, or says why not and goes on serving
//! what it served.
//!
//! Each step leaves a state that a crash may keep: a generation nobody names yet, a staged file that
//! the next start sweeps away, a configuration that is complete but not loaded (the stamp tells).

use super::{
    bind,
    check::{Binary, Verdict, check},
    config::Config,
    error::{ApplyError, OpenError},
    files::{Files, Store},
    health::ServerName,
    lock::Lock,
    master::{Master, Procs},
    observed::Observed,
    old_workers::OldWorkers,
    patrol,
    ports::{self, Means},
    process::{Launch, News, Running, StartError},
    runtime::{Runtime, RuntimeError},
    said::Said,
    sessions::Sessions,
    settings::{Mode, Reload, Settings},
    socket::{WorkerSocket, within},
    stat::Stat,
    swap::{self, Access, Staged, WriteError},
    unchecked::Accepted,
    version::{Build, Version, build, has_exporter},
};
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

const ANSWER: Duration = Duration::from_secs(10);
const SYSTEMCTL: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(10);
/// How long sockets that were lost and restored have to stay before they are restored again.
const RESTORE_AGAIN: Duration = Duration::from_secs(10);
/// How long the sockets of a master that was killed may linger.
const LINGER: Duration = Duration::from_secs(1);

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub how: How,
    /// Where somebody else's configuration was kept, the one time that it was.
    pub backup: Option<PathBuf>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Unchanged,
    Started,
    Reloaded,
}

#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    launch: Launch,
    store: Store,
    build: Build,
    /// The file of that.
    binary: Option<Binary>,
    /// The stats socket's file is gone, which was told.
    is_lost: bool,
    /// When the master was asked to create its socket again.
    restored: Option<Instant>,
    running: Option<Running>,
    /// What HAProxy is known to have loaded.
    loaded: Option<String>,
    /// Somebody else's configuration that was kept, until an apply is done that can name it: the
    /// one that kept it may fail after that.
    backup: Option<PathBuf>,
    answers: Answers,
    _lock: Lock,
}

/// Whether a service's HAProxy answered when it was asked last: its manager starts it again, and the log says that it is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// Before it has our configuration it may have no socket of ours.
    NotYet,
    Yes,
    No,
}

impl Proxy {
    /// Takes the state directory, and the HAProxy that an earlier balancer left running.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let binary = Binary::of(&settings.bin).ok();
        let build = build(&settings.bin).await?;
        let access = settings.access();
        swap::directory(&settings.state_dir, access)?;
        swap::directory(&settings.runtime_dir, access)?;
        let lock = Lock::take(&settings.state_dir)?;
        let store = Store::open(&settings.config, &settings.state_dir, access)?;
        if lock.is_read_only() {
            let state = settings.state_dir.display();
            tracing::warn!(
                "{state} cannot be written; what is stored there is served, and nothing is stored"
            );
        }
        let launch = settings.launch(store.target());
        let loaded = fs::read_to_string(settings.stamp()).ok();
        let mut proxy = Self {
            settings,
            launch,
            store,
            build,
            binary,
            is_lost: false,
            restored: None,
            running: None,
            loaded,
            backup: None,
            answers: Answers::NotYet,
            _lock: lock,
        };
        proxy.adopt().await?;
        Ok(proxy)
    }

    /// A file of what is stored as the last good state, a map say.
    pub fn stored(&self, file: &str) -> Option<String> {
        self.store.stored(file)
    }

    pub fn version(&self) -> Version {
        self.build.version
    }

    pub fn build(&self) -> Build {
        self.build
    }

    /// Which HAProxy is installed, if that is another one than before.
    pub async fn replaced_build(&mut self) -> Option<Build> {
        let binary = Binary::of(&self.settings.bin).ok();
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
        self.running.as_ref().map(Running::pid)
    }

    /// Makes HAProxy serve these files; when this returns, its new worker does, and the old one ends
    /// what it has begun. Equal files cost nothing.
    ///
    /// On an error it serves what it served, and that is what is on disk.
    pub async fn apply(&mut self, files: &Files) -> Result<Applied, ApplyError> {
        self.load_files(files, Insist::IfDifferent).await
    }

    /// The same, also where HAProxy has loaded these files already: what it has is not what they say.
    pub async fn reload(&mut self, files: &Files) -> Result<Applied, ApplyError> {
        self.load_files(files, Insist::Always).await
    }

    /// For the log: what clients see when something could not be applied.
    pub fn meanwhile(&self) -> &'static str {
        match &self.running {
            Some(running) if running.has_died() => "HAProxy has died",
            None if self.settings.is_managed() => "HAProxy does not run",
            _ => "what ran before serves on",
        }
    }

    /// Workers of before that still have connections.
    pub async fn old_workers(&self) -> usize {
        let Some(master) = self.master() else { return 0 };
        master.procs().await.map_or(0, |procs| procs.old_workers.len())
    }

    /// To tell them what HAProxy has from now on, as long as there are any.
    pub fn accompany_old_workers(&self, config: &Arc<Config>) -> Option<OldWorkers> {
        Some(OldWorkers::accompany(self.master()?, Arc::clone(config)))
    }

    /// All that the worker has which serves now; `None` where there is none of ours to be asked.
    pub async fn observe(&mut self) -> Option<Observed> {
        let mut asked = self.try_observe().await;
        if asked.is_err() && self.restore_sockets().await {
            asked = self.try_observe().await;
        }
        self.tell_answers(asked.as_ref().err());
        asked.ok()
    }

    async fn try_observe(&mut self) -> Result<Observed, RuntimeError> {
        let mut runtime = self.runtime().await?;
        self.tell_detour(runtime.is_detour());
        runtime.observe().await
    }

    /// An HAProxy of ours that runs and whose sockets are both gone can be told nothing. A signal has it create the
    /// master's again; if that does not help, another HAProxy takes its place. `true`: it can be asked again.
    async fn restore_sockets(&mut self) -> bool {
        let is_early = self.restored.is_some_and(|at| at.elapsed() < RESTORE_AGAIN);
        let Some(running) = self.running.as_ref().filter(|it| !it.has_died()) else { return false };
        if is_early || !self.launch.is_master_socket_gone() {
            return false;
        }
        let (pid, runtime) = (running.pid(), self.settings.runtime_dir.display());
        tracing::warn!(
            "HAProxy (pid {pid}) runs and its sockets in {runtime} are gone; it is signalled to create its \
             master's again"
        );
        if let Err(error) = swap::directory(&self.settings.runtime_dir, self.settings.access()) {
            tracing::error!("{error}");
            return false;
        }
        self.restored = Some(Instant::now());
        if running.restore_socket(&self.launch).await {
            tracing::info!("HAProxy (pid {pid}) has its master's socket again");
            return true;
        }
        self.replace().await
    }

    /// The last resort: the new one listens beside the old one, which then ends what it has begun.
    async fn replace(&mut self) -> bool {
        let Mode::Managed { stop_timeout, .. } = self.settings.mode else { return false };
        let Some(old) = self.running.take() else { return false };
        let pid = old.pid();
        match self.launch.take_over(pid).await {
            Ok(new) => {
                tracing::error!(
                    "HAProxy (pid {pid}) does not create its sockets again; HAProxy (pid {}) takes its place",
                    new.pid()
                );
                self.running = Some(new);
                old.retire(stop_timeout);
                true
            }
            Err(error) => {
                tracing::error!(
                    "HAProxy (pid {pid}) does not create its sockets again and cannot be replaced: {error}; \
                     it serves on what it has"
                );
                self.running = Some(old);
                false
            }
        }
    }

    fn tell_detour(&mut self, is_lost: bool) {
        if is_lost && !self.is_lost {
            let socket = self.launch.stats_socket.display();
            tracing::warn!(
                "HAProxy's stats socket {socket} is gone; HAProxy is asked over its master's socket \
                 until it is started anew"
            );
        }
        self.is_lost = is_lost;
    }

    /// One that is ours is watched, and its end told where it is seen.
    fn tell_answers(&mut self, error: Option<&RuntimeError>) {
        let now = match error {
            None => Answers::Yes,
            Some(_) if self.answers == Answers::NotYet => Answers::NotYet,
            Some(_) => Answers::No,
        };
        let before = std::mem::replace(&mut self.answers, now);
        let is_service = !self.settings.is_managed();
        match (error, before, now) {
            (Some(error), Answers::Yes, Answers::No) if is_service => {
                let way_out = self.way_to_answers();
                tracing::error!("{error}; {way_out}");
            }
            (Some(error), ..) => tracing::debug!("{error}"),
            (None, Answers::No, _) if is_service => tracing::info!("HAProxy answers again"),
            (None, ..) => {}
        }
    }

    /// What becomes of a service's HAProxy that does not answer.
    fn way_to_answers(&self) -> &'static str {
        match fs::symlink_metadata(&self.launch.stats_socket) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                "if it has ended its service manager starts it, and its log says why; if it runs, restart its service, \
                 as HAProxy creates this socket only when it starts"
            }
            _ => "its service manager starts it, and its log says why it ended",
        }
    }

    /// The runtime API of the worker that serves now.
    pub async fn runtime(&self) -> Result<Runtime, RuntimeError> {
        Runtime::open(self.socket()).await
    }

    /// Where the runtime API is.
    pub fn socket(&self) -> WorkerSocket {
        WorkerSocket { stats: self.launch.stats_socket.clone(), master: self.master() }
    }

    /// Ends what these servers have under way, in old workers too.
    pub fn end_sessions(
        &self,
        servers: Vec<ServerName>,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        patrol::end_sessions(self.socket(), servers)
    }

    /// Whether it says by itself what its checks find.
    pub fn is_heard(&self) -> bool {
        self.running.as_ref().is_some_and(Running::is_heard)
    }

    /// To ask what the worker that serves now has counted.
    pub fn stat(&self) -> Stat {
        Stat { socket: self.socket() }
    }

    pub fn is_managed(&self) -> bool {
        self.settings.is_managed()
    }

    /// To count a container's requests, by its short id, while `observed` is what HAProxy has.
    pub fn sessions(&self, observed: &Observed, id: &str) -> Sessions {
        Sessions { socket: self.socket(), backends: observed.backends_of(id), id: id.to_owned() }
    }

    /// Writes down what HAProxy was told over the runtime API, so that anyone's reload ends in the
    /// same state. Stands between no event and its effect: many files take a while to be made, too.
    pub fn follow(
        &self,
        draft: impl FnOnce() -> Draft + Send + 'static,
    ) -> JoinHandle<Result<Written, ApplyError>> {
        let (store, stamp) = (self.store.clone(), self.settings.stamp());
        let Settings { bin, check_options, .. } = self.settings.clone();
        tokio::spawn(async move {
            let (store, staged, draft) = aside(move || {
                let draft = draft();
                store.write(&draft.files.generation)?;
                let equal = store.holds(&draft.files.config);
                let staged = if equal { None } else { Some(store.stage(&draft.files.config)?) };
                Ok((store, staged, draft))
            })
            .await?;
            let Draft { files, check, accepted } = draft;
            let check = if staged.is_some() { check } else { Check::Nothing };
            let is_accepted = match check {
                Check::Nothing => true,
                Check::Whole => false,
                // If it is refused, the whole says why, and where.
                Check::Part(part) => try_part(&store, &bin, &check_options, part).await?,
            };
            if let Some(staged) = staged.as_ref().filter(|_| !is_accepted) {
                judge(&bin, staged.path(), &check_options).await?;
            }
            aside(move || {
                if let Some(staged) = staged {
                    store.commit(staged)?;
                }
                swap::stage(&stamp, &files.config, Access::Private)?.replace(&stamp)?;
                store.prune(&[&files.config]);
                let accepted = accepted.filter(|_| !is_accepted);
                Ok(Written { config: files.config, accepted })
            })
            .await
        })
    }

    /// Who checks files. `None` where it reads others of its own, which may change at any time.
    pub fn checker(&self) -> Option<Binary> {
        let Settings { bin, check_options, .. } = &self.settings;
        let names_files = check_options.iter().any(|it| it.starts_with("-f") || it == "--");
        if names_files { None } else { Binary::of(bin).ok() }
    }

    /// What [`Self::follow`] wrote is what HAProxy has.
    pub fn followed(&mut self, written: Written) {
        self.loaded = Some(written.config);
    }

    async fn load_files(&mut self, files: &Files, insist: Insist) -> Result<Applied, ApplyError> {
        let applied = self.try_apply(files, insist).await;
        if applied.is_err() {
            let current = self.store.current();
            self.prune(current.as_deref());
        }
        applied
    }

    async fn try_apply(&mut self, files: &Files, insist: Insist) -> Result<Applied, ApplyError> {
        self.look().await?;
        self.store.write(&files.generation)?;
        let before = self.store.current();
        let equal = before.as_deref() == Some(&files.config);
        if equal && insist == Insist::IfDifferent && self.has_loaded(&files.config) {
            let backup = self.backup.take();
            return Ok(Applied { how: How::Unchanged, backup, warnings: vec![] });
        }
        let staged = if equal { None } else { Some(self.store.stage(&files.config)?) };
        let warnings = self.checked(staged.as_ref()).await?;
        self.find_ports(&files.config).await?;
        self.swap(staged)?;
        match self.load().await {
            Ok(how) => {
                self.has_now_loaded(&files.config, before.as_deref());
                let backup = self.backup.take();
                Ok(Applied { how, backup, warnings })
            }
            Err(e) => {
                self.put_back(before.as_deref(), &files.config);
                Err(e)
            }
        }
    }

    /// Whether HAProxy would accept these files; what it serves stays.
    ///
    /// # Errors
    /// `Refused`, or what stood in the way of asking.
    pub async fn try_out(&self, files: &Files) -> Result<(), ApplyError> {
        self.store.write(&files.generation)?;
        let staged = self.store.stage(&files.config)?;
        self.checked(Some(&staged)).await.map(drop)
    }

    /// Starts HAProxy with what is on disk, if it is ours, stored and not running: the last good
    /// state serves before Docker has said anything, and again after a death.
    pub async fn start(&mut self) -> Result<bool, ApplyError> {
        self.look().await?;
        let Some(config) = self.store.ours() else { return Ok(false) };
        if self.running.is_some() || !self.settings.is_managed() {
            return Ok(false);
        }
        self.find_ports(&config).await?;
        self.load().await?;
        self.has_now_loaded(&config, None);
        Ok(true)
    }

    /// Waits for what an HAProxy of ours does by itself; for ever where there is none. For a `select!`.
    pub async fn news(&mut self) -> News {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let news = running.news().await;
        if matches!(news, News::Died(..)) {
            self.running = None;
        }
        news
    }

    /// Stops it softly, or leaves it for the next start to adopt.
    pub async fn shutdown(mut self, end: Shutdown) {
        if end == Shutdown::Leave || !self.settings.is_managed() {
            return;
        }
        if self.running.is_none()
            && let Err(error) = self.adopt().await
        {
            // One whose start was cut short is found; there need be none.
            tracing::warn!("{error}");
        }
        let Mode::Managed { stop_timeout, .. } = &self.settings.mode else { return };
        if let Some(running) = self.running.take() {
            running.stop(&self.launch.master(), *stop_timeout).await;
        }
    }

    async fn adopt(&mut self) -> Result<(), StartError> {
        let Mode::Managed { stop_timeout, .. } = &self.settings.mode else { return Ok(()) };
        match self.launch.adopt().await? {
            Some(running) if running.reads(&self.launch.config) => {
                tracing::info!("adopted the running HAProxy (pid {})", running.pid());
                self.running = Some(running);
            }
            Some(running) => {
                let (pid, config) = (running.pid(), self.launch.config.display());
                tracing::info!("stopping HAProxy (pid {pid}), which does not read {config}");
                running.stop(&self.launch.master(), *stop_timeout).await;
            }
            None => {}
        }
        Ok(())
    }

    /// The dead one is forgotten; one whose start was cut off half-way is found again. There are
    /// never two: the second would share the first one's ports and say nothing (SO_REUSEPORT).
    async fn look(&mut self) -> Result<(), StartError> {
        if let Some(mut dead) = self.running.take_if(|it| it.has_died()) {
            dead.died().await;
        }
        if self.running.is_none() { self.adopt().await } else { Ok(()) }
    }

    fn has_loaded(&self, config: &str) -> bool {
        let runs = self.running.is_some() || !self.settings.is_managed();
        runs && self.loaded.as_deref() == Some(config)
    }

    async fn checked(&self, staged: Option<&Staged>) -> Result<Vec<String>, ApplyError> {
        let Settings { bin, check_options, .. } = &self.settings;
        let path = staged.map_or(self.store.target(), Staged::path);
        judge(bin, path, check_options).await
    }

    fn swap(&mut self, staged: Option<Staged>) -> Result<(), ApplyError> {
        let Some(staged) = staged else { return Ok(()) };
        self.backup = self.store.back_up()?.or(self.backup.take());
        Ok(self.store.commit(staged)?)
    }

    async fn find_ports(&self, config: &str) -> Result<(), ApplyError> {
        let had = self.serving().map(bind::ports).unwrap_or_default();
        let new = bind::binds(config).into_iter().filter(|at| !had.contains(&at.port()));
        let means = if self.settings.is_managed() { Means::Ours } else { Means::Theirs };
        let patience = if self.running.is_some() { Duration::ZERO } else { LINGER };
        ports::find(&new.collect::<Vec<_>>(), &self.pids().await, means, patience).await
    }

    /// The configuration whose ports are HAProxy's already.
    fn serving(&self) -> Option<&str> {
        let runs = self.running.is_some() || !self.settings.is_managed();
        self.loaded.as_deref().filter(|_| runs)
    }

    async fn pids(&self) -> BTreeSet<u32> {
        let Some(master) = self.master() else { return BTreeSet::new() };
        let procs = master.procs().await;
        procs.map(|procs| procs.pids().collect()).unwrap_or_default()
    }

    fn master(&self) -> Option<Master> {
        match &self.settings.mode {
            Mode::Managed { .. } => self.running.as_ref().map(|_| self.launch.master()),
            Mode::Service { reload: Reload::Master(socket), .. } => Some(Master::new(socket)),
            Mode::Service { reload: Reload::Unit(_), .. } => None,
        }
    }

    async fn load(&mut self) -> Result<How, ApplyError> {
        let config = self.store.target();
        match (&self.settings.mode, &mut self.running) {
            (Mode::Service { reload: Reload::Unit(unit), .. }, _) => {
                let before = self.launch.worker().await.ok().flatten();
                reload_unit(unit).await?;
                replaced(&self.launch, before, unit).await?;
            }
            (Mode::Service { reload: Reload::Master(socket), .. }, _) => {
                Master::new(socket).reload(config, None).await?;
            }
            (Mode::Managed { .. }, Some(running)) => {
                // A master that starts itself anew refuses connections like one that died over it.
                let mut said = running.said.take();
                let reload = reload(&self.launch, config, said.as_mut());
                let outcome = tokio::select! {
                    outcome = reload => outcome,
                    reason = running.died() => Err(ApplyError::Unreachable(reason.to_string())),
                };
                running.said = said;
                outcome?;
            }
            (Mode::Managed { .. }, none) => {
                *none = Some(self.launch.start().await?);
                return Ok(How::Started);
            }
        }
        Ok(How::Reloaded)
    }

    fn has_now_loaded(&mut self, config: &str, before: Option<&str>) {
        self.loaded = Some(config.to_owned());
        self.prune(before);
        let stamp = self.settings.stamp();
        let write = swap::stage(&stamp, config, Access::Private);
        if let Err(e) = write.and_then(|staged| staged.replace(&stamp)) {
            // Then the next start reloads once more than it had to.
            tracing::warn!("{e}");
        }
    }

    /// What is loaded and what was or is on disk may be wanted again.
    fn prune(&self, other: Option<&str>) {
        let wanted: Vec<_> = self.loaded.as_deref().into_iter().chain(other).collect();
        self.store.prune(&wanted);
    }

    /// What is on disk is what anyone's reload would load: the last that is known to be good.
    fn put_back(&self, before: Option<&str>, now: &str) {
        let Some(good) = self.loaded.as_deref().or(before).filter(|good| *good != now) else {
            return;
        };
        let staged = self.store.stage(good);
        if let Err(e) = staged.and_then(|staged| self.store.commit(staged)) {
            tracing::error!("{e}; a configuration that HAProxy does not take stays there");
        }
    }
}

/// Files that are to follow what HAProxy was told.
#[derive(Debug)]
pub struct Draft {
    pub files: Files,
    pub check: Check,
    /// Is true when all of them were checked.
    pub accepted: Option<Accepted>,
}

/// What HAProxy has to accept before files take their place.
#[derive(Debug)]
pub enum Check {
    Whole,
    /// These in place of the whole, which are never loaded.
    Part(Files),
    Nothing,
}

/// Files that have followed.
#[derive(Debug)]
pub struct Written {
    config: String,
    /// `None` where not all of them were checked.
    pub accepted: Option<Accepted>,
}

/// Whether HAProxy accepts a part of a file.
async fn try_part(
    store: &Store,
    bin: &Path,
    options: &[String],
    part: Files,
) -> Result<bool, ApplyError> {
    let store = store.clone();
    let staged = aside(move || {
        store.write(&part.generation)?;
        store.stage(&part.config)
    });
    match judge(bin, staged.await?.path(), options).await {
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
enum Insist {
    IfDifferent,
    Always,
}

/// Asks HAProxy itself; what it warned of.
async fn judge(bin: &Path, config: &Path, options: &[String]) -> Result<Vec<String>, ApplyError> {
    let cannot = |e| ApplyError::Unreachable(format!("cannot run {} -c: {e}", bin.display()));
    match check(bin, config, options).await.map_err(cannot)? {
        Verdict::Accepted { warnings } => Ok(warnings),
        Verdict::Refused(refusal) => Err(ApplyError::Refused(refusal)),
    }
}

/// On a thread of its own: a slow disk holds up no event.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WriteError> + Send + 'static,
) -> Result<T, ApplyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(e) => Err(ApplyError::Unreachable(format!("writing files was cut short: {e}"))),
    }
}

/// What becomes of HAProxy when the balancer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    Stop,
    Leave,
}

async fn reload(launch: &Launch, config: &Path, said: Option<&mut Said>) -> Result<(), ApplyError> {
    let procs = launch.master().reload(config, said).await?;
    answered(launch, procs).await
}

/// The new worker must answer where the old one did.
async fn answered(launch: &Launch, mut procs: Procs) -> Result<(), ApplyError> {
    let until = Instant::now() + ANSWER;
    while !launch.answers(&procs).await {
        if until < Instant::now() {
            let socket = launch.stats_socket.display();
            let text = format!("HAProxy's new worker does not answer on {socket}");
            return Err(ApplyError::Unreachable(text));
        }
        sleep(PAUSE).await;
        procs = launch.master().procs().await.unwrap_or(procs);
    }
    Ok(())
}

/// Another worker than before answers. One that we may not ask has to be believed.
async fn replaced(launch: &Launch, before: Option<u32>, unit: &str) -> Result<(), ApplyError> {
    let until = Instant::now() + ANSWER;
    loop {
        match launch.worker().await {
            Ok(now @ Some(_)) if now != before => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            _ if Instant::now() < until => sleep(PAUSE).await,
            _ => break,
        }
    }
    Err(ApplyError::Unreachable(format!(
        "systemctl reload {unit}: HAProxy has no new worker after {ANSWER:?}; journalctl --unit \
         {unit} says why"
    )))
}

/// `systemctl reload` checks the configuration and signals; how the reload went it does not know.
async fn reload_unit(unit: &str) -> Result<(), ApplyError> {
    let why = |text: String| ApplyError::Unreachable(format!("systemctl reload {unit}: {text}"));
    let mut command = Command::new("systemctl");
    command.args(["reload", unit]).stdin(Stdio::null()).kill_on_drop(true);
    // Our own readiness is ours to tell.
    command.env_remove("NOTIFY_SOCKET");
    let output = within(SYSTEMCTL, command.output()).await.map_err(|e| why(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).replace(".\n", "\n");
    Err(why(said.trim().replace('\n', "; ")))
}
