//! A client that sends requests all the time and records every outcome.

use crate::common::{balancer::Balancer, wait_for};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

/// A delay between requests, so that they do not use up the machine.
const BREATH: Duration = Duration::from_millis(5);

/// The client, which stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Asker {
    outcomes: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    pub(crate) fn begin(balancer: &Balancer, url: &str) -> Self {
        Self::begin_with(balancer, "GET", url)
    }

    pub(crate) fn begin_with(balancer: &Balancer, method: &str, url: &str) -> Self {
        let request = balancer.request(method, url);
        let outcomes: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let (stop, stopped) = mpsc::channel();
        let seen = Arc::clone(&outcomes);
        let ask = move || {
            while stopped.recv_timeout(BREATH) == Err(mpsc::RecvTimeoutError::Timeout) {
                let outcome =
                    request.send().map_or_else(|e| e.to_string(), |reply| reply.to_string());
                *seen.lock().unwrap().entry(outcome).or_default() += 1;
            }
        };
        Self { outcomes, stop: Some(stop), thread: Some(std::thread::spawn(ask)) }
    }

    /// Waits for this number of further answers of any kind.
    pub(crate) fn more(&self, count: usize) {
        let sum = || self.outcomes.lock().unwrap().values().sum::<usize>();
        let enough = sum() + count;
        wait_for(&format!("{count} more answers"), || (enough <= sum()).then_some(()));
    }

    /// Stops the client and returns all its different outcomes.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.join();
        self.outcomes.lock().unwrap().keys().cloned().collect()
    }

    fn join(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread may have panicked; the outcomes show it.
            let _ = thread.join();
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.join();
    }
}
