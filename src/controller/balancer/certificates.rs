//! The certificates of HTTPS hosts: which HAProxy may present, and which it refused.

use super::Balancer;
use crate::{
    controller::certificate_publisher::CertificatePublisher,
    haproxy::{config::MapName, runtime::RuntimeError, tls},
    model::{
        ca_index::CaIndex,
        certificate::{CertificateDigest, CertificateIndex},
        option_value::Host,
        problem::{Problem, ProblemSubject, Reason},
        route::Routes,
    },
    report::{
        certificate_history::{CertificateDelta, ServedCertificates},
        history::RouteDelta,
    },
    sources::{
        acme::{
            AcmeStatus, acme_host::NameRules, decide::HostState, requests::CertificateRequests,
        },
        certificate::{CaSnapshot, CertificateSnapshot, CertificateStore, CertificateWithKey},
        own_ca,
    },
};
use anyhow::{Context as _, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tracing::{debug, warn};

/// Option that certificate problems are reported for.
const OPTION: &str = "--certificates";
const ACME_OPTION: &str = "--acme";
const DEFAULT_OPTION: &str = "--default-certificate";

/// The shortest time between two removals of unused files.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);
/// A younger file may belong to a certificate that is about to be used.
const MIN_AGE: Duration = Duration::from_mins(10);

/// The current certificates, without those that HAProxy refused.
#[derive(Debug, Default)]
pub(crate) struct CertificateState {
    snapshot: CertificateSnapshot,
    cas: CaSnapshot,
    /// With HAProxy's reason. A file with another content has another digest.
    refused: BTreeMap<CertificateDigest, String>,
    orders: Arc<AcmeStatus>,
    /// `None` if the balancer does not remove files, because it runs once.
    store: Option<CertificateStore>,
    /// Where the default certificate is written.
    default_store: Option<CertificateStore>,
    /// Domains whose direct subdomains share one certificate of the CA.
    wildcards: BTreeSet<Host>,
    /// The certificates of hosts, as they were last recorded in the history, and the index that they are from.
    served: ServedCertificates,
    served_index: Option<Arc<CertificateIndex>>,
    /// `None` if no list is written for other programs.
    publisher: Option<CertificatePublisher>,
    /// When unused files were removed last.
    pruned_at: Option<Instant>,
}

impl Balancer {
    /// Replaces the certificates and CAs. The next pass loads them into HAProxy.
    pub fn set_certificates(&mut self, (snapshot, cas): (CertificateSnapshot, CaSnapshot)) {
        let state = &mut self.certificates;
        let is_present = |digest: &CertificateDigest| {
            snapshot.index.get(digest).is_some() || cas.index.contains(digest)
        };
        state.refused.retain(|digest, _| is_present(digest));
        state.cas = cas;
        state.snapshot = snapshot;
        self.use_certificates();
    }

    /// Sets the state of orders, for problems.
    pub fn set_orders(&mut self, orders: Arc<AcmeStatus>) {
        self.certificates.orders = orders;
    }

    /// Sets the store, from which unused certificates are removed.
    pub fn set_certificate_store(&mut self, store: CertificateStore) {
        self.certificates.store = Some(store);
    }

    /// Sets the store to which the default certificate is written.
    pub(in crate::controller) fn set_default_store(&mut self, store: CertificateStore) {
        self.certificates.default_store = Some(store);
    }

    /// Writes the file of the default certificate, if there is one. HAProxy reads it when it starts. Without a
    /// certificate of the host, the file keeps its content, or gets a self-signed certificate.
    pub(super) fn write_default_certificate(&self) -> Result<()> {
        let (Some(host), Some(store)) =
            (&self.render_context.default_host, &self.certificates.default_store)
        else {
            return Ok(());
        };
        let digest = tls::find_default(host, &self.rules.certificates);
        let pem = digest.and_then(|digest| store.read(&digest)).or_else(|| store.read_default());
        match pem {
            Some(pem) => store.save_default(&pem)?,
            None => store.save_default(&own_ca::self_sign(host, SystemTime::now())?)?,
        }
        Ok(())
    }

    /// Sets where the certificates are listed for other programs.
    pub(in crate::controller) fn set_certificate_publisher(
        &mut self,
        publisher: CertificatePublisher,
    ) {
        self.certificates.publisher = Some(publisher);
    }

    /// Writes the list of certificates, if that is pending.
    pub(crate) async fn finish_certificate_list(&mut self) {
        if let Some(publisher) = self.certificates.publisher.take() {
            publisher.finish().await;
        }
    }

    /// Sets the domains whose direct subdomains share one certificate of the CA.
    pub fn set_wildcards(&mut self, domains: BTreeSet<Host>) {
        self.certificates.wildcards = domains;
    }

    /// Removes the files of certificates that neither HAProxy nor its files have any more. The files on disk must be
    /// up to date.
    pub(crate) fn prune_certificates(&mut self) {
        let Some(store) = self.certificates.store.clone() else { return };
        let now = Instant::now();
        if self.certificates.pruned_at.is_some_and(|pruned| now < pruned + PRUNE_INTERVAL) {
            return;
        }
        self.certificates.pruned_at = Some(now);
        let files = self.live.config.tls.values().flatten().map(|line| &line.certificate);
        let observed = self.live.observed.iter().flat_map(|observed| &observed.tls.certificates);
        let directory = &self.render_context.certificates;
        let in_use = files.chain(observed).filter_map(|name| directory.digest_of(name));
        let present = self.certificates.snapshot.index.iter().map(|certificate| certificate.digest);
        let keep: BTreeSet<_> = in_use.chain(present).collect();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.remove_unused(&keep, MIN_AGE) {
                debug!("cannot remove unused certificates: {error}");
            }
        });
    }

    /// Sets or removes the answer to an ACME challenge. The next pass gives it to HAProxy.
    pub fn set_token(&mut self, path: &str, answer: Option<String>) {
        match answer {
            Some(answer) => drop(self.rules.acme_tokens.insert(path.to_owned(), answer)),
            None => drop(self.rules.acme_tokens.remove(path)),
        }
        self.live.pending_deletions = None;
    }

    /// Whether HAProxy has the answer to the challenge.
    pub fn serves_token(&self, path: &str) -> bool {
        let answer = self.rules.acme_tokens.get(path);
        let observed = self.live.observed.as_ref();
        let tokens = observed.and_then(|observed| observed.maps.get(&MapName::Acme));
        answer.is_some() && tokens.and_then(|tokens| tokens.get(path)) == answer
    }

    /// Stores the certificate that answers a challenge for a host. The next pass gives it to HAProxy.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn add_challenge_certificate(
        &mut self,
        host: &Host,
        CertificateWithKey { certificate, pem }: &CertificateWithKey,
    ) -> Result<()> {
        let store = self.certificates.store.as_ref().context("there is no store")?;
        store.save(&certificate.digest, pem)?;
        self.rules.acme_certificates.insert(host.clone(), certificate.digest);
        self.live.pending_deletions = None;
        Ok(())
    }

    /// Removes it. The next pass removes it from HAProxy.
    pub fn remove_challenge_certificate(&mut self, host: &Host) {
        self.rules.acme_certificates.remove(host);
        self.live.pending_deletions = None;
    }

    /// Whether HAProxy presents the certificate.
    pub fn presents_challenge_certificate(&self, host: &Host) -> bool {
        let Some(digest) = self.rules.acme_certificates.get(host) else { return false };
        let line = tls::challenge_line(host, *digest, &self.render_context.certificates);
        let observed = self.live.observed.as_ref();
        let lines = observed.and_then(|observed| observed.tls.lists.get(tls::CHALLENGE_LIST));
        lines.is_some_and(|lines| lines.contains(&line))
    }

    /// Returns the served hosts that need a certificate. `rules` is `None` if none are ordered.
    pub fn certificate_requests(&self, rules: Option<NameRules>) -> CertificateRequests {
        let CertificateState { wildcards, .. } = &self.certificates;
        let index = &self.rules.certificates;
        CertificateRequests::new(&self.served_routes, index, rules, wildcards)
    }

    fn use_certificates(&mut self) {
        self.rules.certificates = self.certificates.usable_index();
        self.rules.cas = self.certificates.usable_cas();
        self.certificates.publish(&self.rules.certificates);
        // The configuration has to be built as a whole.
        self.live.pending_deletions = None;
    }

    /// Excludes a certificate or CA that HAProxy did not load. Hosts use the next best certificate; routes with the CA
    /// are not served. Returns `false` if the error is about something else.
    pub(crate) fn quarantine_certificate(&mut self, error: &RuntimeError) -> bool {
        let (RuntimeError::CertificateRefused { certificate, .. }
        | RuntimeError::CertificateUnreadable { certificate, .. }) = error
        else {
            return false;
        };
        let directory = &self.render_context.certificates;
        let digest = directory.digest_of(certificate).or_else(|| directory.ca_digest(certificate));
        let is_used = |digest: &CertificateDigest| {
            self.rules.certificates.get(digest).is_some() || self.rules.cas.contains(digest)
        };
        let Some(digest) = digest.filter(is_used) else { return false };
        warn!("{error}; it is not used");
        self.certificates.refused.insert(digest, error.to_string());
        self.use_certificates();
        true
    }

    /// Returns the problems of certificates and of their files.
    pub(crate) fn certificate_problems(&self) -> impl Iterator<Item = Problem> {
        let CertificateState { snapshot, cas, refused, orders, .. } = &self.certificates;
        let of_files = snapshot.problems.iter().map(ToString::to_string);
        let unusable = of_files.chain(refused.values().cloned());
        let of_cas = cas.problems.iter();
        let of_cas = of_cas.map(|(purpose, problem)| (purpose.option(), problem.to_string()));
        let unusable = unusable.map(|text| (OPTION, text)).chain(of_cas);
        let unusable =
            unusable.map(|(option, text)| (option, Reason::CertificateUnusable { text }));
        let failed = orders.hosts.iter().filter_map(|(host, status)| {
            let failure = status.last_failure.as_ref().map(|failure| failure.text.clone());
            let text = status.refusal.clone().or(failure)?;
            let on_hold = matches!(status.state, HostState::Issued | HostState::Archived);
            let reason = Reason::OrderFailed { host: host.to_string(), text };
            (!on_hold).then_some((ACME_OPTION, reason))
        });
        let pause = orders
            .pause
            .as_ref()
            .map(|pause| (ACME_OPTION, Reason::OrdersPaused { text: pause.text.clone() }));
        let missing = self.missing_default().map(|reason| (DEFAULT_OPTION, reason));
        unusable.chain(failed).chain(pause).chain(missing).map(|(option, reason)| Problem {
            subject: ProblemSubject::Option(option),
            label: None,
            reason,
        })
    }
}

impl Balancer {
    /// Returns the problem that the host of the default certificate has none.
    fn missing_default(&self) -> Option<Reason> {
        let host = self.render_context.default_host.as_ref()?;
        let is_missing = self.certificates.snapshot.is_complete
            && tls::find_default(host, &self.rules.certificates).is_none();
        let text = || {
            format!(
                "there is no certificate of {host}; until there is one, clients that no certificate \
                 matches get the last default certificate, or a self-signed one"
            )
        };
        is_missing.then(|| Reason::CertificateUnusable { text: text() })
    }
}

impl CertificateState {
    /// Returns the state of orders; `None` without `--acme`, and until they begin.
    pub(super) fn orders(&self) -> Option<Arc<AcmeStatus>> {
        (!self.orders.directory.is_empty()).then(|| Arc::clone(&self.orders))
    }

    /// Sets the certificates that the history of an earlier run recorded last.
    pub(super) fn set_served(&mut self, served: ServedCertificates) {
        self.served = served;
    }

    /// Takes over the certificates of the served hosts, and returns what differs from those that were recorded last.
    /// `delta` is the difference of the routes.
    pub(super) fn update_served(
        &mut self,
        routes: &Routes,
        index: &Arc<CertificateIndex>,
        delta: &RouteDelta,
    ) -> CertificateDelta {
        let is_same = self.served_index.as_ref().is_some_and(|last| Arc::ptr_eq(last, index));
        if is_same && !delta.0.keys().any(|key| key.listener.is_https()) {
            return CertificateDelta::default();
        }
        self.served_index = Some(Arc::clone(index));
        let served = ServedCertificates::of_routes(routes, index);
        let delta = CertificateDelta::new(&self.served, &served);
        self.served = served;
        delta
    }

    /// A list that is not complete would say that certificates are gone.
    fn publish(&self, index: &Arc<CertificateIndex>) {
        if let Some(publisher) = self.publisher.as_ref().filter(|_| self.snapshot.is_complete) {
            publisher.publish(index);
        }
    }

    fn usable_cas(&self) -> Arc<CaIndex> {
        let index = &self.cas.index;
        if self.refused.is_empty() {
            return Arc::clone(index);
        }
        Arc::new(index.without(|digest| self.refused.contains_key(digest)))
    }

    fn usable_index(&self) -> Arc<CertificateIndex> {
        let index = &self.snapshot.index;
        if self.refused.is_empty() {
            return Arc::clone(index);
        }
        let usable =
            index.iter().filter(|certificate| !self.refused.contains_key(&certificate.digest));
        Arc::new(CertificateIndex::build(usable.cloned().collect(), index.time()))
    }
}
