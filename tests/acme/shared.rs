//! Several balancers with one store, and a CA that may fail.

use crate::{
    common::{self, balancer::free_port},
    fake::{Fake, Fault},
    follower::{Follower, Serve, Tokens, host},
};
use docker_glue::sources::acme::{
    AcmeSettings, AcmeStatus, SharedSettings, SharedTimes, decide::HostState, error::FailureKind,
    settings::Challenge,
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};
use tempfile::TempDir;

const HOST: &str = "a.example.com";
const OTHER: &str = "b.example.org";

/// A CA, and the directories of balancers. Each reaches the store by a link of its own, which can be cut.
struct Group {
    fake: Fake,
    root: TempDir,
}

impl Group {
    async fn new() -> Self {
        let (fake, root) = (Fake::start().await, tempfile::tempdir().unwrap());
        fs::create_dir(root.path().join("shared")).unwrap();
        Self { fake, root }
    }

    fn store(&self) -> PathBuf {
        self.root.path().join("shared")
    }

    fn link(&self, name: &str) -> PathBuf {
        self.root.path().join(format!("{name}-link"))
    }

    fn connect(&self, name: &str) {
        symlink(self.store(), self.link(name)).unwrap();
    }

    fn cut(&self, name: &str) {
        fs::remove_file(self.link(name)).unwrap();
    }

    /// Returns the settings of a balancer that does not share its store.
    fn single(&self, name: &str) -> AcmeSettings {
        let folder = self.root.path().join(name).join("acme");
        AcmeSettings { folder, ..self.fake.settings(&self.root) }
    }

    fn settings(&self, name: &str) -> AcmeSettings {
        let mut shared = SharedSettings::new(self.link(name));
        shared.times = SharedTimes {
            poll: Duration::from_millis(50),
            beat: Duration::from_millis(250),
            stop: Duration::from_millis(1500),
            stale: Duration::from_secs(3),
            answer: Duration::from_millis(1500),
            scan: Duration::from_secs(1),
            ..SharedTimes::default()
        };
        AcmeSettings { shared: Some(shared), ..self.single(name) }
    }

    async fn start(&self, name: &str) -> Follower {
        self.start_with(name, self.settings(name), Serve::All).await
    }

    async fn start_with(&self, name: &str, settings: AcmeSettings, serve: Serve) -> Follower {
        if !self.link(name).is_symlink() {
            self.connect(name);
        }
        Follower::start(settings, free_port(), serve).await
    }

    /// Starts balancers, the first of which orders.
    async fn start_all<const N: usize>(&self, names: [&str; N]) -> Vec<Follower> {
        let mut all = Vec::new();
        for name in names {
            let follower = self.start(name).await;
            let what = format!("{name} knows who orders");
            follower.until_status(&what, |status| leader(status).is_some()).await;
            all.push(follower);
        }
        assert!(is_leader(&all[0].status()));
        all
    }

    /// Ends a balancer as a power failure does: it leaves its lease.
    fn kill(&self, name: &str, follower: Follower) {
        self.cut(name);
        drop(follower);
    }
}

fn is_leader(status: &AcmeStatus) -> bool {
    status.shared.as_ref().is_some_and(|shared| shared.is_leader)
}

/// The identifier of the balancer that orders.
fn leader(status: &AcmeStatus) -> Option<String> {
    Some(status.shared.as_ref()?.leader.as_ref()?.id.clone())
}

/// Receives certificates until there is one of each host.
async fn receive(follower: &mut Follower, hosts: &[&str]) -> BTreeMap<String, String> {
    let mut received = BTreeMap::new();
    while !hosts.iter().all(|host| received.contains_key(*host)) {
        let (name, pem) = follower.next_issued().await;
        received.insert(name, pem);
    }
    received
}

fn ordered_hosts(fake: &Fake) -> Vec<String> {
    let orders = fake.orders().into_iter();
    let hosts = orders.map(|order| order["identifiers"][0]["value"].as_str().unwrap().to_owned());
    let mut hosts: Vec<_> = hosts.collect();
    hosts.sort();
    hosts
}

async fn until_requested(fake: &Fake, path: &str) {
    common::wait_until("the request arrives", async || (fake.requests(path) != 0).then_some(()))
        .await;
}

#[tokio::test]
async fn each_host_is_ordered_once_and_all_balancers_get_its_certificate() {
    let group = Group::new().await;
    let mut all = group.start_all(["one", "two", "three"]).await;
    let hosts = [HOST, OTHER, "c.example.net"];
    all[0].want(&[HOST, OTHER]);
    all[1].want(&[OTHER]);
    all[2].want(&[HOST, "c.example.net"]);
    let expected = receive(&mut all[0], &hosts).await;
    for follower in &mut all[1..] {
        assert_eq!(receive(follower, &hosts).await, expected);
        // Also hosts of others are shown, as their certificates are there.
        let status = follower.until_state(HOST, HostState::Issued).await;
        assert!(status.not_after.is_some());
    }
    assert_eq!(ordered_hosts(&group.fake), hosts);
    let leaders: Vec<_> = all.iter().map(|follower| leader(&follower.status())).collect();
    assert!(leaders.iter().all(|id| *id == leaders[0]), "{leaders:?}");
    assert_eq!(all.iter().filter(|follower| is_leader(&follower.status())).count(), 1);

    // Restarts order nothing, and the next leader goes on.
    drop(all);
    let mut again = group.start("two").await;
    again.want(&hosts);
    assert_eq!(receive(&mut again, &hosts).await, expected);
    again.until_status("it orders", is_leader).await;
    again.until_state(OTHER, HostState::Issued).await;
    assert_eq!(group.fake.orders().len(), 3);
}

#[tokio::test]
async fn end_of_the_leader_hands_its_orders_over() {
    let group = Group::new().await;
    let mut all = group.start_all(["one", "two"]).await;
    all[1].want(&[HOST]);
    let mut second = all.pop().unwrap();
    drop(all);
    second.until_status("it orders", is_leader).await;
    second.next_issued().await;
    second.want(&[HOST, OTHER]);
    receive(&mut second, &[OTHER]).await;
    assert_eq!(ordered_hosts(&group.fake), [HOST, OTHER]);
}

#[tokio::test]
async fn order_of_a_dead_leader_is_continued_by_another_balancer() {
    for path in ["/finalize/1", "/certificate/1"] {
        let group = Group::new().await;
        group.fake.fail(path, Fault::Hang, usize::MAX);
        let mut all = group.start_all(["one", "two"]).await;
        all[0].want(&[HOST]);
        all[1].want(&[HOST]);
        until_requested(&group.fake, path).await;
        let mut second = all.pop().unwrap();
        group.kill("one", all.pop().unwrap());
        group.fake.repair(path);
        second.next_issued().await;
        assert!(is_leader(&second.status()));
        assert_eq!(second.until_state(HOST, HostState::Issued).await.failures, 0);
        assert_eq!(group.fake.orders().len(), 1, "{path}");
    }
}

/// A balancer in a thread of its own, which can be suspended.
struct Suspendable {
    follower: Follower,
    suspend: tokio::sync::mpsc::UnboundedSender<mpsc::Receiver<()>>,
}

impl Suspendable {
    fn start(settings: AcmeSettings) -> Self {
        let (suspend, mut suspensions) = tokio::sync::mpsc::unbounded_channel();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async move {
                let started = Follower::start(settings, free_port(), Serve::All).await;
                sender.send(started).unwrap();
                while let Some(resumed) = suspensions.recv().await {
                    // Blocks all tasks of this balancer.
                    let resumed: mpsc::Receiver<()> = resumed;
                    let _ = resumed.recv();
                }
            });
        });
        Self { follower: receiver.recv().unwrap(), suspend }
    }

    /// Suspends it until the sender is dropped.
    fn suspend(&self) -> mpsc::Sender<()> {
        let (resume, resumed) = mpsc::channel();
        self.suspend.send(resumed).unwrap();
        resume
    }
}

#[tokio::test]
async fn suspended_leader_that_goes_on_makes_no_order() {
    let group = Group::new().await;
    let path = "/finalize/1";
    group.fake.fail(path, Fault::Hang, usize::MAX);
    group.connect("one");
    let settings = group.settings("one");
    let mut first = thread::spawn(move || Suspendable::start(settings)).join().unwrap();
    first.follower.until_status("it orders", is_leader).await;
    first.follower.want(&[HOST]);
    let mut second = group.start("two").await;
    second.want(&[HOST]);
    until_requested(&group.fake, path).await;
    let resume = first.suspend();
    second.until_status("it orders", is_leader).await;
    group.fake.repair(path);
    let (_, pem) = second.next_issued().await;
    let requests = group.fake.requests(path);

    drop(resume);
    let follows = |status: &AcmeStatus| !is_leader(status) && leader(status).is_some();
    first.follower.until_status("it follows", follows).await;
    assert_eq!(first.follower.next_issued().await.1, pem);
    first.follower.want(&[HOST, OTHER]);
    receive(&mut second, &[OTHER]).await;
    assert_eq!(leader(&first.follower.status()), leader(&second.status()));
    assert_eq!((group.fake.requests(path), group.fake.orders().len()), (requests, 2));
    assert_eq!(second.status().counters.orders, 2);
}

#[tokio::test]
async fn damaged_files_of_others_change_nothing() {
    let group = Group::new().await;
    let mut all = group.start_all(["one", "two"]).await;
    all[0].want(&[HOST]);
    receive(&mut all[1], &[HOST]).await;
    for folder in ["members", "challenges", "requests"] {
        fs::create_dir_all(group.store().join(folder)).unwrap();
        for (name, text) in [("a", ""), ("b", "{\"hosts\":[\"x y\"]}"), ("c", "\0\u{ff}")] {
            fs::write(group.store().join(folder).join(format!("{name}.json")), text).unwrap();
        }
        fs::create_dir(group.store().join(folder).join("d.json")).unwrap();
    }
    // Nobody leads until it is stale.
    fs::write(group.store().join("leader/7.json"), "{\"id\":").unwrap();
    all[1].want(&[OTHER]);
    for follower in &mut all {
        receive(follower, &[OTHER]).await;
    }
    assert_eq!(ordered_hosts(&group.fake), [HOST, OTHER]);
    assert!(group.store().join("leader/8.json").exists());
}

#[tokio::test]
async fn store_that_is_away_pauses_orders_and_nothing_is_forgotten() {
    let group = Group::new().await;
    let mut follower = group.start("one").await;
    follower.want(&[HOST]);
    let (_, pem) = follower.next_issued().await;
    group.cut("one");
    follower.want(&[HOST, OTHER]);
    let is_paused = |status: &AcmeStatus| {
        status.pause.as_ref().is_some_and(|pause| pause.kind == FailureKind::Storage)
    };
    let status = follower.until_status("orders pause", is_paused).await;
    assert!(status.pause.as_ref().unwrap().text.contains("is it mounted?"), "{status:?}");
    drop(follower);

    // Also an empty directory in its place, and a restart, take nothing away.
    fs::create_dir(group.link("one")).unwrap();
    let settings = group.settings("one");
    let mut follower = Follower::start(settings, free_port(), Serve::All).await;
    follower.want(&[HOST, OTHER]);
    assert_eq!(follower.next_issued().await.1, pem);
    follower.until_status("orders pause", is_paused).await;
    assert_eq!(fs::read_dir(group.link("one")).unwrap().count(), 0);
    assert_eq!(group.fake.orders().len(), 1);

    fs::remove_dir(group.link("one")).unwrap();
    group.connect("one");
    receive(&mut follower, &[OTHER]).await;
    follower.until_status("orders go on", |status| status.pause.is_none()).await;
    assert_eq!(ordered_hosts(&group.fake), [HOST, OTHER]);
}

/// Lets the CA look at what all balancers serve for a challenge.
fn demand_proof(fake: &Fake, balancers: Vec<Tokens>) {
    fake.validate(move |token, host| {
        balancers.iter().all(|tokens| {
            let tokens = tokens.lock().unwrap();
            let path = format!("/.well-known/acme-challenge/{token}");
            tokens.contains_key(&path) || tokens.contains_key(host)
        })
    });
}

fn tokens(followers: &[Follower]) -> Vec<Tokens> {
    followers.iter().map(|follower| follower.tokens.clone()).collect()
}

#[tokio::test]
async fn all_balancers_serve_the_answer_before_the_ca_looks() {
    for challenge in [Challenge::Http, Challenge::TlsAlpn] {
        let group = Group::new().await;
        let mut all = Vec::new();
        for name in ["one", "two", "three"] {
            let settings = group.settings(name).with_challenge(challenge.clone());
            all.push(group.start_with(name, settings, Serve::All).await);
        }
        all[2].want(&[HOST]);
        for follower in &all {
            // The leader waits for those that it knows.
            follower.until_status("a leader", |status| leader(status).is_some()).await;
        }
        demand_proof(&group.fake, tokens(&all));
        all[1].want(&[HOST, OTHER]);
        for follower in &mut all {
            receive(follower, &[HOST, OTHER]).await;
            common::wait_until("the answers are withdrawn", async || {
                follower.tokens.lock().unwrap().is_empty().then_some(())
            })
            .await;
        }
        let files = fs::read_dir(group.store().join("challenges")).unwrap();
        assert_eq!(files.count(), 0, "{challenge:?}");
    }
}

#[tokio::test]
async fn balancer_that_does_not_answer_fails_no_order() {
    let group = Group::new().await;
    let mut all = group.start_all(["one", "two"]).await;
    let settings = group.settings("silent");
    let silent = group.start_with("silent", settings, Serve::Hang).await;
    silent.until_status("a leader", |status| leader(status).is_some()).await;
    demand_proof(&group.fake, tokens(&all));
    all[0].want(&[HOST]);
    for follower in &mut all {
        receive(follower, &[HOST]).await;
    }
    assert_eq!(all[0].status().counters.failures, BTreeMap::default());
}

#[tokio::test]
async fn renewal_that_another_balancer_is_asked_for_is_made_by_the_leader() {
    let group = Group::new().await;
    let mut all = group.start_all(["one", "two"]).await;
    all[1].want(&[HOST]);
    let first = receive(&mut all[1], &[HOST]).await;
    all[1].until_state(HOST, HostState::Issued).await;
    all[1].renew(HOST).await;
    let mut renewed = all[1].next_issued().await.1;
    while renewed == first[HOST] {
        renewed = all[1].next_issued().await.1;
    }
    let counters = all.iter().map(|follower| follower.status().counters.orders);
    assert_eq!(counters.collect::<Vec<_>>(), [2, 0]);
    assert_eq!(fs::read_dir(group.store().join("requests")).unwrap().count(), 0);
}

#[tokio::test]
async fn failure_of_an_order_is_shown_by_all_balancers() {
    let group = Group::new().await;
    let all = group.start_all(["one", "two"]).await;
    let body = crate::fake::problem("caa", "no");
    group.fake.fail("/order", Fault::Answer("403 Forbidden", Vec::new(), body), usize::MAX);
    all[1].want(&[HOST]);
    for follower in &all {
        let status = follower.until_state(HOST, HostState::Failed).await;
        assert_eq!(status.last_failure.unwrap().kind, FailureKind::Caa);
        assert!(status.next_order.is_some());
    }
}

#[tokio::test]
async fn hosts_of_others_need_the_permission_of_the_leader() {
    let group = Group::new().await;
    let mut settings = group.settings("one");
    let allowed = vec!["*.example.com".parse().unwrap()];
    settings.shared.as_mut().unwrap().allowed_hosts = allowed;
    let first = group.start_with("one", settings, Serve::All).await;
    first.until_status("it orders", is_leader).await;
    let mut second = group.start("two").await;
    second.want(&[HOST, OTHER]);
    receive(&mut second, &[HOST]).await;
    first.until_state(HOST, HostState::Issued).await;
    assert!(!first.status().hosts.contains_key(&host(OTHER)));
    assert_eq!(ordered_hosts(&group.fake), [HOST]);
}

#[tokio::test]
async fn certificates_of_the_time_before_are_added_to_the_store() {
    let group = Group::new().await;
    let mut follower = Follower::start(group.single("one"), free_port(), Serve::All).await;
    follower.want(&[HOST]);
    let (_, pem) = follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    drop(follower);
    let mut all = group.start_all(["one", "two"]).await;
    for follower in &mut all {
        follower.want(&[HOST]);
        assert_eq!(receive(follower, &[HOST]).await[HOST], pem);
    }
    all[0].until_state(HOST, HostState::Issued).await;
    assert_eq!(group.fake.orders().len(), 1);
}

fn list_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries
        .filter(|path| !path.is_symlink())
        .flat_map(|path| if path.is_dir() { list_files(&path) } else { vec![path] });
    files.collect()
}

#[tokio::test]
async fn store_is_private_and_keys_are_with_certificates_only() {
    let group = Group::new().await;
    let mut all = group.start_all(["one", "two"]).await;
    all[1].want(&[HOST]);
    let pem = receive(&mut all[1], &[HOST]).await.remove(HOST).unwrap();
    // The first line of the key is the same for each key.
    let key = pem.split("-----BEGIN PRIVATE KEY-----").nth(1).unwrap().lines().nth(2).unwrap();
    let files = list_files(&group.store());
    assert!(files.iter().any(|file| file.ends_with("privkey.pem")), "{files:?}");
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        let has_key = fs::read_to_string(&file).unwrap().contains(key);
        assert!(!has_key || file.ends_with("privkey.pem"), "{}", file.display());
    }
    for follower in &all {
        assert!(!format!("{:?}", follower.status()).contains(key));
    }
}
