//! Verifies passwords of users without slowing down what else the machine does.
//!
//! A hash may take more than a second of a processor. So few are computed at once, each client has one at a time and a
//! budget of wrong passwords, and the threads have the lowest priority.

use super::{
    budget::{Try, TryBudget},
    question::Question,
};
use crate::{
    controller::user_sets::UserSets,
    model::http::users::{Users, Verdict},
};
use ring::digest::{Context, SHA256};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, available_parallelism},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};
use tracing::{debug, warn};

/// Longest time until an answer, with the time for which the question waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Highest number of hashes that are computed at once. It is also at most half the number of processors.
const MAX_AT_ONCE: usize = 8;

/// Highest number of questions of a client that wait or are computed.
const MAX_WAITING: usize = 16;

/// How long a right credential is known here: it needs no new computation after a reload of HAProxy.
const KNOWN_FOR: Duration = Duration::from_mins(10);

/// Highest number of credentials, and of clients, that are remembered.
const MAX_REMEMBERED: usize = 100_000;

/// Priority of the threads, as of `nice`: the lowest.
const NICENESS: i32 = 19;

/// Answer to a question of HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Answer {
    Right,
    Wrong,
    /// The client tried too many wrong passwords, or asks too often at once.
    Limit,
    /// There is no answer in time, or docker-balancer does not know the users.
    Busy,
}

/// SHA-256 of a set's name and a credential.
type CredentialDigest = [u8; 32];

#[derive(Debug, Clone)]
pub(super) struct Verifier {
    sets: UserSets,
    memory: Arc<Mutex<Memory>>,
    threads: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Memory {
    clients: HashMap<IpAddr, Client>,
    /// Right credentials, and until when they are known.
    known: HashMap<CredentialDigest, Instant>,
}

#[derive(Debug)]
struct Client {
    budget: TryBudget,
    /// Who holds it computes the client's only hash.
    turn: Arc<AsyncMutex<()>>,
}

impl Verifier {
    pub(super) fn new(sets: UserSets) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        let at_once = (processors / 2).clamp(1, MAX_AT_ONCE);
        Self { sets, memory: Arc::default(), threads: Arc::new(Semaphore::new(at_once)) }
    }

    /// Answers a question, in [`ANSWER_TIMEOUT`] at the latest.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        let Some(users) = self.sets.find(&question.set) else { return Answer::Busy };
        let digest = digest(&question);
        if self.lock_memory().knows(&digest, Instant::now()) {
            return Answer::Right;
        }
        timeout(ANSWER_TIMEOUT, self.verify(users, question, digest)).await.unwrap_or(Answer::Busy)
    }

    async fn verify(&self, users: Users, question: Question, digest: CredentialDigest) -> Answer {
        let client = question.client;
        let turn = self.lock_memory().turn_of(client, Instant::now());
        if MAX_WAITING < Arc::strong_count(&turn) {
            return Answer::Limit;
        }
        let turn = turn.lock_owned().await;
        // The question before may have been the same.
        if self.lock_memory().knows(&digest, Instant::now()) {
            return Answer::Right;
        }
        let granted = self.lock_memory().take_try(client, Instant::now());
        match granted {
            Try::Granted => {}
            Try::FirstRefusal => {
                warn!(%client, "a client sent too many wrong passwords; refusing more for a while");
                return Answer::Limit;
            }
            Try::Refused => return Answer::Limit,
        }
        let Ok(permit) = Arc::clone(&self.threads).acquire_owned().await else {
            return Answer::Busy;
        };
        let work = Work { users, question, digest, _turn: turn, _permit: permit };
        self.spawn(work).await.unwrap_or(Answer::Busy)
    }

    /// Computes the hash on a thread of its own: those of the runtime also do other work, with normal priority. The
    /// thread keeps the client's turn and its permit until it ends, also if the answer comes too late.
    fn spawn(&self, work: Work) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        let memory = Arc::clone(&self.memory);
        let compute = move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                debug!("cannot lower the priority of a thread: {error}");
            }
            let verdict = work.compute();
            let mut memory = lock(&memory);
            let answer = match verdict {
                Verdict::Right => {
                    memory.record_right(work.question.client, work.digest, Instant::now());
                    Answer::Right
                }
                Verdict::Wrong => Answer::Wrong,
            };
            drop(memory);
            // HAProxy may not wait any more.
            let _ = sender.send(answer);
        };
        // Without a thread the sender is dropped, and the answer is that there is none.
        if let Err(error) = thread::Builder::new().name("password".to_owned()).spawn(compute) {
            warn!("cannot start a thread that verifies a password: {error}");
        }
        answer
    }

    fn lock_memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread does and keeps.
struct Work {
    users: Users,
    question: Question,
    digest: CredentialDigest,
    _turn: OwnedMutexGuard<()>,
    _permit: OwnedSemaphorePermit,
}

impl Work {
    fn compute(&self) -> Verdict {
        let (name, password) = self.question.credential();
        self.users.verify(name, password)
    }
}

impl Memory {
    fn knows(&self, digest: &CredentialDigest, now: Instant) -> bool {
        self.known.get(digest).is_some_and(|until| now < *until)
    }

    fn turn_of(&mut self, client: IpAddr, now: Instant) -> Arc<AsyncMutex<()>> {
        if MAX_REMEMBERED <= self.clients.len() {
            let is_idle = |client: &Client| {
                client.budget.is_full(now) && Arc::strong_count(&client.turn) == 1
            };
            self.clients.retain(|_, client| !is_idle(client));
        }
        let new = || Client { budget: TryBudget::full(now), turn: Arc::default() };
        Arc::clone(&self.clients.entry(client).or_insert_with(new).turn)
    }

    fn take_try(&mut self, client: IpAddr, now: Instant) -> Try {
        self.clients.get_mut(&client).map_or(Try::Refused, |client| client.budget.take(now))
    }

    fn record_right(&mut self, client: IpAddr, digest: CredentialDigest, now: Instant) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.budget.give_back();
        }
        if MAX_REMEMBERED <= self.known.len() {
            self.known.retain(|_, until| now < *until);
        }
        if self.known.len() < MAX_REMEMBERED {
            self.known.insert(digest, now + KNOWN_FOR);
        }
    }
}

fn digest(question: &Question) -> CredentialDigest {
    let mut context = Context::new(&SHA256);
    let (name, password) = question.credential();
    for part in [question.set.as_bytes(), b" ", name, b":", password] {
        context.update(part);
    }
    let mut digest = CredentialDigest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        haproxy::features,
        model::route::{Policy, Route, Routes},
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    const SHA: &str = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    /// Takes some milliseconds.
    const BCRYPT: &str = "bob:$2y$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO";

    fn verifier() -> (Verifier, String) {
        let users: Users = format!("{SHA},{BCRYPT}").parse().unwrap();
        let set = features::users_set(&users);
        let route = Route { policy: Policy::default().with(users), ..Route::default() };
        let sets = UserSets::default();
        sets.add_routes(&Routes([("a.test:80/".parse().unwrap(), Arc::new(route))].into()));
        (Verifier::new(sets), set)
    }

    fn question(set: &str, client: &str, credential: &str) -> Question {
        Question::parse(&format!("{set} {client} {}", STANDARD.encode(credential))).unwrap()
    }

    #[tokio::test]
    async fn credential_is_right_for_its_set_only() {
        let (verifier, set) = verifier();
        for (set, credential, expected) in [
            (set.as_str(), "alice:secret", Answer::Right),
            (&set, "alice:secret", Answer::Right),
            (&set, "bob:secret", Answer::Right),
            (&set, "bob:Secret", Answer::Wrong),
            (&set, "carol:secret", Answer::Wrong),
            (&set, "alice:", Answer::Wrong),
            ("u0123", "alice:secret", Answer::Busy),
        ] {
            let question = question(set, "10.0.0.1", credential);
            assert_eq!(verifier.answer(question).await, expected, "{set} {credential}");
        }
    }

    #[tokio::test]
    async fn client_with_wrong_passwords_is_limited_and_others_are_not() {
        let (verifier, set) = verifier();
        let ask = async |client: &str, credential: &str| {
            verifier.answer(question(&set, client, credential)).await
        };
        assert_eq!(ask("10.0.0.1", "alice:secret").await, Answer::Right);
        for n in 0..super::super::budget::BURST {
            assert_eq!(ask("10.0.0.1", &format!("alice:{n}")).await, Answer::Wrong);
        }
        assert_eq!(ask("10.0.0.1", "alice:x").await, Answer::Limit);
        assert_eq!(ask("10.0.0.1", "bob:secret").await, Answer::Limit);
        assert_eq!(ask("10.0.0.1", "alice:secret").await, Answer::Right);
        assert_eq!(ask("10.0.0.2", "bob:secret").await, Answer::Right);
        assert_eq!(ask("10.0.0.1", "bob:secret").await, Answer::Right);
    }

    #[tokio::test]
    async fn equal_questions_at_once_are_computed_once() {
        let (verifier, set) = verifier();
        let ask = || verifier.answer(question(&set, "10.0.0.1", "bob:secret"));
        let answers = futures_util::future::join_all((0..10).map(|_| ask())).await;
        assert_eq!(answers, [Answer::Right; 10]);
        assert_eq!(verifier.lock_memory().known.len(), 1);
        let many = futures_util::future::join_all(
            (0..40).map(|n| verifier.answer(question(&set, "10.0.0.3", &format!("bob:{n}")))),
        );
        let limited = many.await.into_iter().filter(|answer| *answer == Answer::Limit).count();
        assert!(40 - 16 <= limited, "{limited}");
    }
}
