//! The `Proxy` with a real HAProxy: `HAPROXY_BIN`, or else the installed one.

use crate::common::{balancer::free_port, haproxy::find_haproxy};
use docker_glue::{
    haproxy::{
        check::{Verdict, check},
        error::{ApplyError, OpenError},
        files::{ConfigFiles, GenerationFiles, MARKER, Store},
        master::Master,
        process::{ExitReason, ProcessEvent, Stdout},
        proxy::{ApplyKind, Proxy, Shutdown},
        settings::{ProxyMode, ProxySettings, ReloadVia},
        socket::{CliSession, send_command},
    },
    support::atomic_file::FileAccess,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory for one test's HAProxy, which ends when it is dropped.
struct Place {
    dir: TempDir,
    state: PathBuf,
    target: PathBuf,
    port: u16,
    bin: PathBuf,
}

impl Place {
    fn new() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        let state = dir.path().join("state");
        let target = state.join("haproxy.cfg");
        Some(Self { state, target, dir, port: free_port(), bin: find_haproxy()? })
    }

    fn runtime(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn on_disk(&self) -> String {
        fs::read_to_string(&self.target).unwrap()
    }

    fn settings(&self) -> ProxySettings {
        let stop_timeout = Duration::from_secs(10);
        ProxySettings {
            mode: ProxyMode::Managed { stop_timeout, stdout: Stdout::Null },
            bin: self.bin.clone(),
            config: self.target.clone(),
            state_dir: self.state.clone(),
            runtime_dir: self.runtime(),
            check_options: vec![],
        }
    }

    async fn open(&self) -> Proxy {
        Proxy::open(self.settings()).await.unwrap()
    }

    /// Returns a configuration that answers every request with `word`, by way of a map.
    fn files(&self, word: &str, more: &str) -> ConfigFiles {
        let (run, state, port) = (self.runtime(), &self.state, self.port);
        let config = format!(
            "{MARKER}\nglobal\n  stats socket {}/haproxy.sock mode 600 level admin\n  hard-stop-after 5s\n{}  \
             default-path origin {}/gen/{word}\ndefaults\n  mode http\n  timeout client 5s\n  \
             timeout server 5s\n  timeout connect 1s\nfrontend f\n  bind 127.0.0.1:{port}\n{more}  \
             http-request set-var(txn.word) path,map_beg(routes.map)\n  http-request return \
             status 200 content-type text/plain lf-string \"%[var(txn.word)]\"\n",
            run.display(),
            haproxy_user(),
            state.display(),
        );
        let files = BTreeMap::from([("routes.map".to_owned(), format!("/ {word}\n"))]);
        ConfigFiles { config, generation: GenerationFiles { name: word.to_owned(), files } }
    }

    /// Waits until HAProxy answers with `word`: the old worker may still take a request after a reload.
    async fn serves(&self, word: &str) {
        let mut text = String::new();
        wait_until(|| {
            text = get_body(self.port);
            text == word
        })
        .await
        .unwrap_or_else(|()| panic!("expected {word:?}, HAProxy says {text:?}"));
    }

    async fn worker(&self) -> u32 {
        Master::new(&self.runtime().join("master.sock"))
            .list_processes()
            .await
            .unwrap()
            .live_worker()
            .unwrap()
    }

    /// Checks that HAProxy accepts the files on disk, including the maps.
    async fn is_consistent(&self) {
        let verdict = check(&self.bin, &self.target, &[]).await.unwrap();
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.runtime().join("haproxy.pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse()
            && is_ours(pid, &self.runtime())
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn is_ours(pid: i32, runtime: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(runtime.to_str().unwrap())
}

/// Returns the `user` line: HAProxy started by root drops its privileges, as in production. It reads maps before that.
fn haproxy_user() -> &'static str {
    let named = || fs::read_to_string("/etc/passwd").is_ok_and(|t| t.contains("\nhaproxy:"));
    if nix::unistd::geteuid().is_root() && named() { "  user haproxy\n" } else { "" }
}

fn skip_unless<T>(found: Option<T>, why: &str) -> Option<T> {
    if found.is_none() {
        crate::common::record_skip(why);
    }
    found
}

fn get_body(port: u16) -> String {
    let get = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = get().unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

async fn wait_for_death(proxy: &mut Proxy) -> ExitReason {
    loop {
        if let ProcessEvent::Exited(reason, _) = proxy.next_event().await {
            return reason;
        }
    }
}

async fn wait_until(mut done: impl FnMut() -> bool) -> Result<(), ()> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if end < Instant::now() {
            return Err(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn apply_starts_reloads_or_keeps_an_equal_configuration() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    assert_eq!(proxy.apply_files(&dir.files("one", "")).await.unwrap().kind, ApplyKind::Started);
    dir.serves("one").await;
    let first = dir.worker().await;
    assert_eq!(proxy.apply_files(&dir.files("one", "")).await.unwrap().kind, ApplyKind::Unchanged);
    assert_eq!(dir.worker().await, first);
    for word in ["two", "three", "four"] {
        assert_eq!(
            proxy.apply_files(&dir.files(word, "")).await.unwrap().kind,
            ApplyKind::Reloaded
        );
        dir.serves(word).await;
    }
    assert_ne!(dir.worker().await, first);
    let generations = fs::read_dir(dir.state.join("gen")).unwrap().count();
    assert_eq!(generations, 2, "the current and the one before");
    proxy.shutdown(Shutdown::Stop).await;
    assert_eq!(get_body(dir.port), "", "it has stopped");
}

#[tokio::test]
async fn rejected_configuration_changes_nothing() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("good", "")).await.unwrap();
    let disk = dir.on_disk();
    let bad = dir.files("bad", "  frobnicate 1\n");
    let line = 1 + bad.config.lines().position(|l| l.contains("frobnicate")).unwrap();
    match proxy.apply_files(&bad).await.unwrap_err() {
        ApplyError::Refused(refusal) => {
            assert_eq!(refusal.lines, [line]);
            assert_eq!(refusal.text, "unknown keyword 'frobnicate' in 'frontend' section");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(dir.on_disk(), disk);
    dir.serves("good").await;
    assert_eq!(proxy.apply_files(&dir.files("good", "")).await.unwrap().kind, ApplyKind::Unchanged);
}

#[tokio::test]
async fn taken_port_is_an_error_before_any_change() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("good", "")).await.unwrap();
    let (disk, worker) = (dir.on_disk(), dir.worker().await);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    let files = dir.files("more", &format!("  bind 127.0.0.1:{taken}\n"));
    match proxy.apply_files(&files).await.unwrap_err() {
        ApplyError::Bind(ports) => {
            let [(port, why)] = Vec::from_iter(ports).try_into().unwrap();
            assert_eq!(port, taken);
            assert!(why.contains(&format!("(pid {})", std::process::id())), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((dir.on_disk(), dir.worker().await), (disk, worker));
    drop(other);
    assert_eq!(proxy.apply_files(&files).await.unwrap().kind, ApplyKind::Reloaded);
    dir.serves("more").await;
}

/// No check can detect this error: only the reload fails, and HAProxy 2.6 does not report it.
#[tokio::test]
async fn failed_reload_is_detected_and_reverted() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("good", "")).await.unwrap();
    let disk = dir.on_disk();
    for round in ["bad1", "bad2"] {
        let bad = dir.files(round, "  bind /nowhere/at/all.sock\n");
        let line = 1 + bad.config.lines().position(|l| l.contains("nowhere")).unwrap();
        match proxy.apply_files(&bad).await.unwrap_err() {
            ApplyError::NotLoaded(refusal) => assert_eq!(refusal.lines, [line], "{refusal}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(dir.on_disk(), disk);
        dir.serves("good").await;
    }
    assert_eq!(proxy.apply_files(&dir.files("next", "")).await.unwrap().kind, ApplyKind::Reloaded);
    dir.serves("next").await;
}

#[tokio::test]
async fn failed_start_reports_its_cause() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    let error =
        proxy.apply_files(&dir.files("x", "  bind /nowhere/at/all.sock\n")).await.unwrap_err();
    assert!(error.to_string().contains("cannot bind"), "{error}");
    assert_eq!(proxy.apply_files(&dir.files("y", "")).await.unwrap().kind, ApplyKind::Started);
    dir.serves("y").await;
}

#[tokio::test]
async fn running_haproxy_is_adopted() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("one", "")).await.unwrap();
    let (pid, worker) = (proxy.pid(), dir.worker().await);
    proxy.shutdown(Shutdown::Leave).await;
    let mut proxy = dir.open().await;
    assert_eq!(proxy.pid(), pid);
    assert_eq!(proxy.apply_files(&dir.files("one", "")).await.unwrap().kind, ApplyKind::Unchanged);
    assert!(!proxy.start().await.unwrap());
    assert_eq!(dir.worker().await, worker);
    assert_eq!(proxy.apply_files(&dir.files("two", "")).await.unwrap().kind, ApplyKind::Reloaded);
    dir.serves("two").await;
    let refused = proxy.apply_files(&dir.files("x", "  bind /nowhere/at/all.sock\n")).await;
    assert!(matches!(refused, Err(ApplyError::NotLoaded(_))), "{refused:?}");
    dir.serves("two").await;
    proxy.shutdown(Shutdown::Stop).await;
    assert_eq!(get_body(dir.port), "");
}

/// A request in progress completes after the stop.
#[tokio::test]
async fn stop_waits_for_running_requests() {
    let Some(dir) = Place::new() else { return };
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = origin.local_addr().unwrap();
    let mut files = dir.files("one", "  default_backend b\n");
    let backend = format!("backend b\n  server s {at}\n");
    files.config = files.config.replace("  http-request return", "#") + &backend;
    let mut proxy = dir.open().await;
    proxy.apply_files(&files).await.unwrap();
    let pid = proxy.pid().unwrap();
    let port = dir.port;
    let client = std::thread::spawn(move || get_body(port));
    let (mut stream, _) = origin.accept().unwrap();
    let late = std::thread::spawn(move || {
        // After the stop the master process continues until its worker has finished.
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_ok() && Instant::now() < end {
            std::thread::yield_now();
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nlate").unwrap();
    });
    proxy.shutdown(Shutdown::Stop).await;
    late.join().unwrap();
    assert_eq!(client.join().unwrap(), "late");
    assert!(!is_ours(i32::try_from(pid).unwrap(), &dir.runtime()));
}

const OWNER: &str = "DOCKER_GLUE_TEST_OWNER";

/// Not a test of its own: the balancer process that the next test kills.
#[tokio::test]
async fn an_owner_that_waits_to_be_killed() {
    let Ok(line) = std::env::var(OWNER) else { return };
    let [dir, port] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let mut test_dir = Place::new().unwrap();
    test_dir.state = Path::new(dir).join("state");
    test_dir.target = test_dir.state.join("haproxy.cfg");
    test_dir.port = port.parse().unwrap();
    let runtime_dir = Path::new(dir).join("run");
    let mut files = test_dir.files("one", "");
    files.config =
        files.config.replace(test_dir.runtime().to_str().unwrap(), runtime_dir.to_str().unwrap());
    let settings = ProxySettings { runtime_dir, ..test_dir.settings() };
    let mut proxy = Proxy::open(settings).await.unwrap();
    proxy.apply_files(&files).await.unwrap();
    fs::write(Path::new(dir).join("ready"), "").unwrap();
    wait_for_death(&mut proxy).await;
}

#[tokio::test]
async fn haproxy_of_a_killed_balancer_runs_on_and_reloads() {
    let Some(dir) = Place::new() else { return };
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxy::an_owner_that_waits_to_be_killed"])
        .env(OWNER, format!("{} {}", dir.dir.path().display(), dir.port))
        .env("TMPDIR", dir.dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = wait_until(|| dir.dir.path().join("ready").exists()).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    ready.unwrap();
    dir.serves("one").await;
    let mut proxy = dir.open().await;
    assert!(proxy.pid().is_some(), "adopted");
    assert_eq!(proxy.apply_files(&dir.files("one", "")).await.unwrap().kind, ApplyKind::Unchanged);
    for word in ["two", "three"] {
        assert_eq!(
            proxy.apply_files(&dir.files(word, "")).await.unwrap().kind,
            ApplyKind::Reloaded
        );
        dir.serves(word).await;
    }
    let pid = i32::try_from(proxy.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for_death(&mut proxy).await;
    assert_eq!(proxy.pid(), None);
}

#[tokio::test]
async fn haproxy_death_is_detected_and_restart_serves_the_same() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("one", "")).await.unwrap();
    for _ in 0..3 {
        let pid = i32::try_from(proxy.pid().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let reason = tokio::time::timeout(PATIENCE, wait_for_death(&mut proxy)).await.unwrap();
        assert!(reason.to_string().contains("SIGKILL"), "{reason}");
        assert!(proxy.start().await.unwrap());
        dir.serves("one").await;
    }
    let pid = i32::try_from(proxy.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    // The dead master is a zombie: nobody has waited for it yet.
    let ended = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
    wait_until(ended).await.unwrap();
    assert_eq!(proxy.apply_files(&dir.files("one", "")).await.unwrap().kind, ApplyKind::Started);
    dir.serves("one").await;
}

#[tokio::test]
async fn stale_sockets_and_foreign_pid_file_do_not_prevent_start() {
    let Some(dir) = Place::new() else { return };
    fs::create_dir_all(dir.runtime()).unwrap();
    for socket in ["master.sock", "haproxy.sock"] {
        drop(std::os::unix::net::UnixListener::bind(dir.runtime().join(socket)).unwrap());
    }
    fs::write(dir.runtime().join("haproxy.pid"), std::process::id().to_string()).unwrap();
    fs::write(dir.runtime().join("loaded"), dir.files("one", "").config).unwrap();
    let mut proxy = dir.open().await;
    assert_eq!(proxy.apply_files(&dir.files("one", "")).await.unwrap().kind, ApplyKind::Started);
    dir.serves("one").await;
}

/// An apply that is interrupted after each of its steps.
#[tokio::test]
async fn crash_after_any_step_leaves_a_consistent_state() {
    let Some(dir) = Place::new() else { return };
    dir.open().await.apply_files(&dir.files("one", "")).await.unwrap();
    let two = dir.files("two", "");
    for step in 0..=3 {
        {
            let store = Store::open(&dir.target, &dir.state, FileAccess::Private).unwrap();
            if 1 <= step {
                store.write_generation(&two.generation).unwrap();
            }
            if 2 <= step {
                let staged = store.stage_config(&two.config).unwrap();
                // At step 2 the crash is before the swap: the staged file remains.
                if step == 2 { std::mem::forget(staged) } else { store.commit(staged).unwrap() }
            }
        }
        dir.is_consistent().await;
        dir.serves("one").await;
    }
    let mut proxy = dir.open().await;
    let left = fs::read_dir(&dir.state).unwrap().count();
    assert_eq!(left, 3, "haproxy.cfg, gen and lock, and nothing half-way");
    // The files on disk are up to date, but HAProxy runs the older configuration.
    assert_eq!(proxy.apply_files(&two).await.unwrap().kind, ApplyKind::Reloaded);
    dir.serves("two").await;
}

#[tokio::test]
async fn foreign_configuration_is_backed_up_and_reported_once() {
    let Some(dir) = Place::new() else { return };
    fs::create_dir_all(&dir.state).unwrap();
    fs::write(&dir.target, "# mine\n").unwrap();
    let mut proxy = dir.open().await;
    assert!(!proxy.start().await.unwrap(), "it is not ours to start");
    let backup = proxy.apply_files(&dir.files("one", "")).await.unwrap().backup.unwrap();
    assert_eq!(fs::read_to_string(backup).unwrap(), "# mine\n");
    assert_eq!(proxy.apply_files(&dir.files("two", "")).await.unwrap().backup, None);
}

#[tokio::test]
async fn foreign_configuration_is_reported_after_a_failed_apply() {
    let Some(dir) = Place::new() else { return };
    let theirs = format!(
        "defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 1s\n\
         frontend mine\n  bind 127.0.0.1:{}\n",
        free_port()
    );
    fs::create_dir_all(&dir.state).unwrap();
    fs::write(&dir.target, &theirs).unwrap();
    let master = dir.runtime().join("master.sock");
    let mode =
        ProxyMode::Service { reload: ReloadVia::MasterSocket(master.clone()), stats_socket: None };
    let mut proxy = Proxy::open(ProxySettings { mode, ..dir.settings() }).await.unwrap();
    let early = proxy.apply_files(&dir.files("one", "")).await;
    assert!(matches!(early, Err(ApplyError::Unreachable(_))), "{early:?}");
    let mut haproxy = Command::new(&dir.bin);
    haproxy.arg("-W").arg("-S").arg(&master).arg("-f").arg(&dir.target);
    haproxy.arg("-p").arg(dir.runtime().join("haproxy.pid"));
    let mut service = haproxy.stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| std::os::unix::net::UnixStream::connect(&master).is_ok()).await.unwrap();
    let applied = proxy.apply_files(&dir.files("one", "")).await;
    let _ = (service.kill(), service.wait());
    let backup = applied.unwrap().backup.unwrap();
    assert_eq!(fs::read_to_string(backup).unwrap(), theirs);
}

#[tokio::test]
async fn second_balancer_on_the_same_state_is_rejected() {
    let Some(dir) = Place::new() else { return };
    let _first = dir.open().await;
    let second = Proxy::open(dir.settings()).await.unwrap_err();
    assert!(matches!(second, OpenError::Lock(_)), "{second}");
}

#[tokio::test]
async fn missing_haproxy_error_has_a_remedy() {
    let Some(dir) = Place::new() else { return };
    let settings = ProxySettings { bin: "/nowhere/haproxy".into(), ..dir.settings() };
    let error = Proxy::open(settings).await.unwrap_err().to_string();
    assert!(error.starts_with("no HAProxy at /nowhere/haproxy; install it"), "{error}");
}

#[tokio::test]
async fn service_is_reloaded_over_its_master_socket() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("one", "")).await.unwrap();
    proxy.shutdown(Shutdown::Leave).await;
    let mode = ProxyMode::Service {
        reload: ReloadVia::MasterSocket(dir.runtime().join("master.sock")),
        stats_socket: None,
    };
    let runtime_dir = dir.dir.path().join("run2");
    let settings = ProxySettings { mode, runtime_dir, ..dir.settings() };
    let mut proxy = Proxy::open(settings).await.unwrap();
    assert_eq!(proxy.apply_files(&dir.files("two", "")).await.unwrap().kind, ApplyKind::Reloaded);
    dir.serves("two").await;
    assert_eq!(proxy.apply_files(&dir.files("two", "")).await.unwrap().kind, ApplyKind::Unchanged);
    let refused = proxy.apply_files(&dir.files("x", "  bind /nowhere/at/all.sock\n")).await;
    assert!(matches!(refused, Err(ApplyError::NotLoaded(_))), "{refused:?}");
    dir.serves("two").await;
    proxy.shutdown(Shutdown::Stop).await;
    dir.serves("two").await;
}

#[tokio::test]
async fn session_separates_replies() {
    let Some(dir) = Place::new() else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("one", "")).await.unwrap();
    let socket = dir.runtime().join("haproxy.sock");
    let mut session = CliSession::connect(&socket).await.unwrap();
    assert_eq!(session.send_command("set server a/b weight 1").await.unwrap(), "No such backend.");
    assert!(session.send_command("show info").await.unwrap().starts_with("Name: HAProxy"));
    assert_eq!(session.send_command("set map routes.map / changed").await.unwrap(), "");
    dir.serves("changed").await;
    assert!(send_command(&socket, "show map routes.map").await.unwrap().contains("/ changed"));
}

/// A file system of 64 kB, which is unmounted when it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs"];
        let mounted = run_as_root("mount", |c| c.args(options).arg(at));
        skip_unless(mounted.then(|| Self(at.to_owned())), "no file system can be mounted")
    }

    fn remount(&self, how: &str) {
        assert!(run_as_root("mount", |c| c.args(["-o", &format!("remount,{how}")]).arg(&self.0)));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run_as_root("umount", |c| c.arg("-l").arg(&self.0));
    }
}

fn run_as_root(program: &str, args: impl Fn(&mut Command) -> &mut Command) -> bool {
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", program]);
        sudo
    };
    args(&mut command).status().is_ok_and(|status| status.success())
}

#[tokio::test]
async fn disk_full_or_read_only_keeps_existing_files() {
    let Some(mut dir) = Place::new() else { return };
    let etc = dir.dir.path().join("etc");
    dir.target = etc.join("haproxy.cfg");
    let Some(_small) = Tmpfs::mount(&dir.state) else { return };
    let Some(disk) = Tmpfs::mount(&etc) else { return };
    let mut proxy = dir.open().await;
    proxy.apply_files(&dir.files("one", "")).await.unwrap();
    let before = dir.on_disk();

    let full = dir.state.join("filler");
    let mut filler = fs::File::create(&full).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let error = proxy.apply_files(&dir.files("two", "")).await.unwrap_err();
    assert!(matches!(error, ApplyError::Io(_)), "{error}");
    assert!(error.to_string().contains("; free some disk space there"), "{error}");
    assert_eq!(dir.on_disk(), before);
    fs::remove_file(full).unwrap();
    drop(filler);

    disk.remount("ro");
    let error = proxy.apply_files(&dir.files("two", "")).await.unwrap_err().to_string();
    assert!(error.contains(dir.target.to_str().unwrap()), "{error}");
    assert!(error.contains("; make it writable"), "{error}");
    dir.serves("one").await;
    disk.remount("rw");

    assert_eq!(proxy.apply_files(&dir.files("two", "")).await.unwrap().kind, ApplyKind::Reloaded);
    dir.serves("two").await;
    dir.is_consistent().await;
    proxy.shutdown(Shutdown::Stop).await;
}
