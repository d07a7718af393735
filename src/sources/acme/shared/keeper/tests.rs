use super::*;
use std::sync::Mutex;
use tokio::task::JoinSet;

const CA: &str = "https://ca.example.com/dir";

/// What a balancer's way to the store does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Up,
    Fails,
    Hangs,
}

/// A store in memory, as one balancer has it.
#[derive(Debug, Clone, Default)]
struct Memory {
    texts: Arc<Mutex<BTreeMap<String, String>>>,
    link: Arc<Mutex<Link>>,
}

impl Memory {
    /// Returns the same store for another balancer.
    fn other(&self) -> Self {
        Self { texts: Arc::clone(&self.texts), link: Arc::default() }
    }

    fn set_link(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let texts = self.texts.lock().unwrap();
        texts.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    fn put(&self, key: &str, text: &str) {
        self.texts.lock().unwrap().insert(key.to_owned(), text.to_owned());
    }

    async fn link(&self) -> Result<(), SharedStoreError> {
        let link = *self.link.lock().unwrap();
        match link {
            Link::Up => Ok(()),
            Link::Fails => Err(SharedStoreError("the shared store is away".to_owned())),
            Link::Hangs => {
                while *self.link.lock().unwrap() == Link::Hangs {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        }
    }
}

fn lease_key(term: u64) -> String {
    format!("lease/{term:020}")
}

fn key(kind: EntryKind, name: &str) -> String {
    format!("{kind:?}/{name}")
}

impl SharedStore for Memory {
    async fn read_lease(&self) -> Result<Option<(u64, Vec<u8>)>, SharedStoreError> {
        self.link().await?;
        let Some(newest) = self.keys("lease/").pop() else { return Ok(None) };
        let text = self.texts.lock().unwrap()[&newest].clone();
        Ok(Some((newest["lease/".len()..].parse().unwrap(), text.into_bytes())))
    }

    async fn create_lease(&self, term: u64, text: &str) -> Result<bool, SharedStoreError> {
        // Others run between the decision and the act.
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.link().await?;
        let mut texts = self.texts.lock().unwrap();
        let is_free = !texts.contains_key(&lease_key(term));
        if is_free {
            texts.insert(lease_key(term), text.to_owned());
        }
        Ok(is_free)
    }

    async fn write_lease(&self, term: u64, text: &str) -> Result<(), SharedStoreError> {
        self.link().await?;
        self.put(&lease_key(term), text);
        Ok(())
    }

    fn release(&self, lease: Option<(u64, String)>, member: &str) {
        if *self.link.lock().unwrap() == Link::Up {
            if let Some((term, text)) = lease {
                self.put(&lease_key(term), &text);
            }
            self.texts.lock().unwrap().remove(&key(EntryKind::Member, member));
        }
    }

    async fn list(&self, kind: EntryKind) -> Result<Vec<(String, Vec<u8>)>, SharedStoreError> {
        self.link().await?;
        let prefix = key(kind, "");
        let texts = self.texts.lock().unwrap();
        let found = texts.iter().filter_map(|(key, text)| {
            Some((key.strip_prefix(&prefix)?.to_owned(), text.clone().into_bytes()))
        });
        Ok(found.collect())
    }

    async fn read(&self, kind: EntryKind, name: &str) -> Result<Option<Vec<u8>>, SharedStoreError> {
        self.link().await?;
        let text = self.texts.lock().unwrap().get(&key(kind, name)).cloned();
        Ok(text.map(String::into_bytes))
    }

    async fn write(&self, kind: EntryKind, name: &str, text: &str) -> Result<(), SharedStoreError> {
        self.link().await?;
        self.put(&key(kind, name), text);
        Ok(())
    }

    async fn remove(&self, kind: EntryKind, name: &str) -> Result<(), SharedStoreError> {
        self.link().await?;
        self.texts.lock().unwrap().remove(&key(kind, name));
        Ok(())
    }
}

/// A keeper that runs until it is dropped.
struct Node {
    store: Memory,
    view: watch::Receiver<SharedView>,
    proofs: watch::Receiver<ProofView>,
    tenure: watch::Receiver<Option<Tenure>>,
    hosts: watch::Sender<Arc<BTreeSet<AcmeHost>>>,
    serves: watch::Sender<BTreeSet<ChallengeName>>,
    commands: mpsc::Sender<KeeperCommand>,
    requests: mpsc::Receiver<AcmeHost>,
    _task: JoinSet<()>,
}

impl Node {
    fn start(store: Memory) -> Self {
        Self::start_with(store, CA)
    }

    fn start_with(store: Memory, ca: &str) -> Self {
        let (hosts, hosts_receiver) = watch::channel(Arc::default());
        let (serves, serves_receiver) = watch::channel(BTreeSet::new());
        let (commands, command_receiver) = mpsc::channel(8);
        let (request_sender, requests) = mpsc::channel(8);
        let inputs = Inputs {
            hosts: hosts_receiver,
            serves: serves_receiver,
            commands: command_receiver,
            requests: request_sender,
        };
        let identity = Identity::new(ca);
        let keeper = Keeper::new(store.clone(), identity, SharedTimes::default(), inputs);
        let (view, proofs, tenure) = (keeper.view(), keeper.proofs(), keeper.lease());
        let mut task = JoinSet::new();
        task.spawn(keeper.run());
        Self { store, view, proofs, tenure, hosts, serves, commands, requests, _task: task }
    }

    fn orders(&self) -> bool {
        self.tenure.borrow().is_some_and(|tenure| std_now() < tenure.until)
    }

    fn want(&self, hosts: &[&str]) {
        self.hosts.send_replace(Arc::new(hosts.iter().map(|host| host.parse().unwrap()).collect()));
    }

    fn view(&self) -> SharedView {
        self.view.borrow().clone()
    }

    /// Ends it as a power failure does.
    fn kill(self) {
        self.store.set_link(Link::Fails);
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

fn leaders(nodes: &[Node]) -> Vec<usize> {
    (0..nodes.len()).filter(|at| nodes[*at].orders()).collect()
}

/// Starts balancers, and waits until one of them leads. It is the first one of the result.
async fn start(count: usize) -> Vec<Node> {
    let store = Memory::default();
    let mut nodes: Vec<_> = (0..count).map(|_| Node::start(store.other())).collect();
    seconds(3).await;
    let leader = leaders(&nodes);
    assert_eq!(leader.len(), 1);
    nodes.swap(0, leader[0]);
    nodes
}

fn challenge() -> (ChallengeName, SharedChallenge) {
    let path = "/.well-known/acme-challenge/token".to_owned();
    let name = ChallengeName::of_path(&path);
    (name, SharedChallenge::Token { path, key_authorization: "token.thumb".to_owned() })
}

#[tokio::test(start_paused = true)]
async fn there_is_never_more_than_one_leader() {
    let store = Memory::default();
    let mut nodes: Vec<_> = (0..8).map(|_| Node::start(store.other())).collect();
    seconds(3).await;
    for round in 0..6 {
        let leader = leaders(&nodes);
        assert_eq!(leader.len(), 1, "round {round}");
        let term = nodes[leader[0]].view().term;
        assert_eq!(term, Some(round + 1));
        for node in &nodes {
            assert_eq!(node.view().leader, nodes[leader[0]].view().leader);
        }
        nodes.remove(leader[0]).kill();
        let mut waited = 0;
        while leaders(&nodes).is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(leaders(&nodes).len() < 2, "two leaders");
            waited += 1;
        }
        assert!((100..=170).contains(&waited), "{waited}");
        seconds(3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn end_of_the_leader_lets_another_one_order_within_a_poll() {
    let mut nodes = start(3).await;
    let old = nodes.remove(0);
    let id = old.view().leader.unwrap().id;
    drop(old);
    seconds(2).await;
    assert_eq!(leaders(&nodes).len(), 1);
    assert!(!nodes[0].store.keys("Member/").iter().any(|key| key.contains(&id)));
}

#[tokio::test(start_paused = true)]
async fn leader_without_its_store_stops_and_follows_later() {
    for link in [Link::Fails, Link::Hangs] {
        let nodes = start(2).await;
        let guard = LeaseGuard::new(nodes[0].tenure.clone(), nodes[0].view().term.unwrap());
        assert!(guard.is_held());
        nodes[0].store.set_link(link);
        let cut = Instant::now();
        let begun = tokio::time::Instant::now();
        guard.clone().wait_until_lost().await;
        let lost = begun.elapsed().as_secs();
        assert!((4..=10).contains(&lost), "{link:?}: {lost} s, {cut:?}");
        assert!(!guard.is_held() && leaders(&nodes).is_empty());
        assert!(nodes[0].view().problem.is_some(), "{link:?}");
        seconds(12).await;
        assert_eq!(leaders(&nodes), [1], "{link:?}");
        nodes[0].store.set_link(Link::Up);
        seconds(30).await;
        assert_eq!(leaders(&nodes), [1], "{link:?}");
        assert_eq!((nodes[0].view().problem, nodes[0].view().term), (None, None));
        assert_eq!(nodes[0].view().leader, nodes[1].view().leader);
    }
}

#[tokio::test(start_paused = true)]
async fn lease_is_confirmed_only_while_it_is_the_newest() {
    let nodes = start(1).await;
    let confirm = async |term| {
        let (done, answer) = oneshot::channel();
        nodes[0].commands.send(KeeperCommand::Confirm { term, done }).await.unwrap();
        answer.await.unwrap()
    };
    assert!(confirm(1).await);
    assert!(!confirm(2).await);
    // Another balancer took over, and this one did not poll since.
    nodes[0].store.put(&lease_key(2), "{}");
    assert!(!confirm(1).await);
}

#[tokio::test(start_paused = true)]
async fn leader_gets_hosts_and_requests_of_all() {
    let mut nodes = start(3).await;
    nodes[0].want(&["own.example.com"]);
    nodes[1].want(&["a.example.com", "b.example.com"]);
    nodes[2].want(&["b.example.com", "c.example.com"]);
    let host: AcmeHost = "b.example.com".parse().unwrap();
    nodes[1].commands.send(KeeperCommand::Request(host.clone())).await.unwrap();
    seconds(2).await;
    let hosts: Vec<_> = nodes[0].view().hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["a.example.com", "b.example.com", "c.example.com"]);
    assert_eq!(nodes[0].requests.try_recv(), Ok(host));
    seconds(30).await;
    assert!(nodes[0].requests.try_recv().is_err(), "a request is made twice");
    assert!(nodes[1].view().hosts.is_empty(), "only the leader needs the hosts of others");
}

#[tokio::test(start_paused = true)]
async fn damaged_request_and_entry_are_skipped() {
    let mut nodes = start(2).await;
    nodes[1].want(&["a.example.com"]);
    let store = nodes[0].store.other();
    for text in ["", "{", "{\"renew\":\"a b\"}"] {
        store.put(&key(EntryKind::Request, "x"), text);
        store.put(&key(EntryKind::Member, "y"), text);
        seconds(2).await;
        assert!(store.keys("Request/").is_empty(), "{text}");
    }
    assert!(nodes[0].requests.try_recv().is_err());
    assert_eq!((nodes[0].view().hosts.len(), nodes[0].view().problem), (1, None));
}

#[tokio::test(start_paused = true)]
async fn change_of_certificates_is_noticed_within_a_poll() {
    let nodes = start(2).await;
    let before = nodes[1].view();
    nodes[0].commands.send(KeeperCommand::CountCertificates).await.unwrap();
    seconds(2).await;
    let after = nodes[1].view();
    assert_ne!(after.certificates, before.certificates);
    assert_eq!(after.ledger, before.ledger);
    // So is another leader, which may have changed some.
    let mut nodes = nodes;
    drop(nodes.remove(0));
    seconds(2).await;
    assert_ne!(nodes[0].view().certificates, after.certificates);
}

#[tokio::test(start_paused = true)]
async fn answer_to_a_challenge_reaches_all_and_is_withdrawn() {
    let nodes = start(3).await;
    let (name, challenge) = challenge();
    let (done, put) = oneshot::channel();
    let command =
        KeeperCommand::PutChallenge { name: name.clone(), challenge: challenge.clone(), done };
    nodes[0].commands.send(command).await.unwrap();
    put.await.unwrap();
    seconds(2).await;
    for node in &nodes[1..] {
        assert_eq!(node.proofs.borrow().challenges, [(name.clone(), challenge.clone())].into());
        node.serves.send_replace([name.clone()].into());
    }
    seconds(1).await;
    let served = nodes[0].proofs.borrow().served.clone();
    assert_eq!(served.len(), 2);
    assert!(served.values().all(|names| names.contains(&name)));
    nodes[0].commands.send(KeeperCommand::DropChallenge { name }).await.unwrap();
    seconds(2).await;
    for node in &nodes {
        assert!(node.proofs.borrow().challenges.is_empty());
    }
    assert!(nodes[0].store.keys("Challenge/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn leftovers_of_a_dead_leader_are_withdrawn() {
    let mut nodes = start(2).await;
    let (name, challenge) = challenge();
    let (done, _put) = oneshot::channel();
    let command = KeeperCommand::PutChallenge { name, challenge, done };
    nodes[0].commands.send(command).await.unwrap();
    seconds(2).await;
    assert_eq!(nodes[1].proofs.borrow().challenges.len(), 1);
    nodes.remove(0).kill();
    seconds(17).await;
    assert_eq!(leaders(&nodes), [0]);
    assert!(nodes[0].proofs.borrow().challenges.is_empty());
    assert!(nodes[0].store.keys("Challenge/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn damaged_challenge_is_skipped() {
    let nodes = start(2).await;
    let (name, challenge) = challenge();
    let (done, put) = oneshot::channel();
    let command = KeeperCommand::PutChallenge { name: name.clone(), challenge, done };
    nodes[0].commands.send(command).await.unwrap();
    // Before the others read it.
    put.await.unwrap();
    nodes[0].store.put(&key(EntryKind::Challenge, name.as_str()), "{\"kind\":\"token\"");
    seconds(5).await;
    assert!(nodes[1].proofs.borrow().challenges.is_empty());
    assert_eq!(nodes[1].view().problem, None);
}

#[tokio::test(start_paused = true)]
async fn leader_with_another_ca_is_reported() {
    let nodes = start(1).await;
    let other = Node::start_with(nodes[0].store.other(), "https://other.example.com/dir");
    other.want(&["a.example.com"]);
    seconds(2).await;
    assert_eq!(other.view().other_ca.as_deref(), Some(CA));
    assert!(nodes[0].view().hosts.is_empty());
    assert_eq!(nodes[0].view().other_ca, None);
}

#[tokio::test(start_paused = true)]
async fn store_that_is_unreadable_from_the_start_is_reported() {
    for link in [Link::Fails, Link::Hangs] {
        let store = Memory::default();
        store.set_link(link);
        let node = Node::start(store.clone());
        seconds(6).await;
        let view = node.view();
        assert!(view.is_polled && view.problem.is_some(), "{link:?}: {view:?}");
        store.set_link(Link::Up);
        seconds(2).await;
        assert!(node.orders() && node.view().problem.is_none(), "{link:?}");
    }
}
