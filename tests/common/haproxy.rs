//! A real HAProxy with a generated configuration: `HAPROXY_BIN`, or else the installed one. Dropping it kills it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "this is a test")]

use super::{balancer::free_port, story};
use docker_glue::haproxy::{
    config::Config,
    name,
    observed::ObservedState,
    process::Stdout,
    provisioning::Provisioning,
    proxy::Proxy,
    render::{BaseConfig, Bind, RenderContext, render_files},
    requeue::Requeue,
    runtime::RuntimeClient,
    settings::{ProxyMode, ProxySettings},
    user_check::UserCheck,
    version::{self, Build},
};
use docker_glue::model::http::users::NoUserCheck;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    num::NonZeroU16,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct HAProxy {
    folder: TempDir,
    /// Whether HAProxy can add backends at run time.
    adds: bool,
    /// How long requests wait for a container.
    wait: Duration,
    requeue: Option<Requeue>,
    users: Result<UserCheck, NoUserCheck>,
    /// Tests run concurrently, so each has its own.
    key: u64,
    proxy: Option<Proxy>,
    bound: BTreeMap<NonZeroU16, NonZeroU16>,
}

impl HAProxy {
    /// Starts HAProxy with its ports replaced by free ones. Returns `None` and records the skip if there is none.
    pub async fn start(config: &Config) -> Option<Self> {
        Self::start_with(config, story::default_frame().wait, &[], true).await
    }

    /// Starts HAProxy as if it had no Lua.
    pub async fn start_without_lua(config: &Config) -> Option<Self> {
        Self::start_with(config, story::default_frame().wait, &[], false).await
    }

    /// Starts HAProxy so that requests wait for a container for this time.
    pub async fn start_with_wait(config: &Config, wait: Duration) -> Option<Self> {
        Self::start_with(config, wait, &[], true).await
    }

    /// Starts HAProxy so that it trusts `X-Forwarded-*` of clients in these networks.
    pub async fn start_trusting(config: &Config, trusted: &[&str]) -> Option<Self> {
        Self::start_with(config, story::default_frame().wait, trusted, true).await
    }

    async fn start_with(
        config: &Config,
        wait: Duration,
        trusted: &[&str],
        has_lua: bool,
    ) -> Option<Self> {
        let bin = find_haproxy()?;
        let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        let adds = Provisioning::is_dynamic_worker(&config.fingerprint);
        let bound = BTreeMap::new();
        let (requeue, users) = (None, Err(NoUserCheck::Lua));
        let key = name::hash(&folder.path().display().to_string());
        let mut haproxy = Self { folder, adds, wait, requeue, users, key, proxy: None, bound };
        let mut proxy = Proxy::open(haproxy.settings(bin)).await.unwrap();
        let build = Build { has_lua, ..proxy.build() };
        haproxy.requeue = Requeue::of(build, &haproxy.frame().base, key);
        haproxy.users = UserCheck::of(build, &haproxy.frame().base, &proxy.user_socket());
        let mut config = config.clone();
        for frontend in &mut config.frontends {
            frontend.bound = NonZeroU16::new(free_port()).unwrap();
            haproxy.bound.insert(frontend.port, frontend.bound);
        }
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let frame = RenderContext { trusted, ..haproxy.frame() };
        proxy.apply_files(&render_files(&config, &frame)).await.unwrap();
        haproxy.proxy = Some(proxy);
        Some(haproxy)
    }

    /// Returns the port that a public port is bound to.
    pub fn bound(&self, public: NonZeroU16) -> u16 {
        self.bound[&public].get()
    }

    pub async fn runtime(&self) -> RuntimeClient {
        RuntimeClient::connect(self.socket()).await.unwrap()
    }

    pub async fn observe(&self) -> ObservedState {
        self.runtime().await.read_state().await.unwrap()
    }

    /// Returns the socket on which HAProxy asks about users.
    pub fn user_socket(&self) -> PathBuf {
        self.proxy.as_ref().unwrap().user_socket()
    }

    /// Reloads HAProxy with this configuration, whose ports must be the same as before.
    pub async fn reload(&mut self, config: &Config) {
        let mut config = config.clone();
        for frontend in &mut config.frontends {
            frontend.bound = self.bound[&frontend.port];
        }
        let files = render_files(&config, &self.frame());
        self.proxy.as_mut().unwrap().reload_files(&files).await.unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/haproxy.sock")
    }

    fn settings(&self, bin: PathBuf) -> ProxySettings {
        let (state, run) = (self.folder.path().join("state"), self.folder.path().join("run"));
        ProxySettings {
            mode: ProxyMode::Managed { stop_timeout: Duration::from_secs(1), stdout: Stdout::Null },
            bin,
            config: state.join("haproxy.cfg"),
            state_dir: state,
            runtime_dir: run,
            check_options: vec![],
        }
    }

    fn frame(&self) -> RenderContext {
        RenderContext {
            base: BaseConfig::BuiltIn { drop_to: None },
            stats_socket: self.socket(),
            generations: self.folder.path().join("state/gen"),
            bind: vec![Bind::At(Ipv4Addr::LOCALHOST.into())],
            log: None,
            wait: self.wait,
            requeue: self.requeue,
            users: self.users.clone(),
            key: self.key,
            ..story::frame_for(self.adds)
        }
    }
}

/// Kills HAProxy with its workers: it leads its own process group.
impl Drop for HAProxy {
    fn drop(&mut self) {
        let pid = self.proxy.as_ref().and_then(Proxy::pid);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
        }
    }
}

/// Whether this HAProxy serves HTTP/3.
pub fn has_quic(bin: &Path) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(version::build(bin)).unwrap().has_quic
}

/// Returns the program. Returns `None` and records the skip if there is none, which fails if CI is set.
pub fn find_haproxy() -> Option<PathBuf> {
    let given = std::env::var("HAPROXY_BIN").ok();
    let usual = ["haproxy", "/usr/sbin/haproxy"].map(str::to_owned);
    let runs = |bin: &String| {
        let run = Command::new(bin).arg("-v").stdout(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let found = given.into_iter().chain(usual).find(runs);
    if found.is_none() {
        super::record_skip("no HAProxy is installed");
    }
    found.map(PathBuf::from)
}

/// Returns whether this HAProxy can add backends at run time.
pub async fn adds_backends(bin: &Path) -> bool {
    let version = docker_glue::haproxy::version::query_version(bin).await.unwrap();
    Provisioning::for_version(version, &BaseConfig::BuiltIn { drop_to: None })
        != Provisioning::Spares
}
