//! Which hosts need certificates that no file has.
//!
//! Pure.

use super::acme_host::{AcmeHost, NameRules};
use crate::model::{
    certificate::{CertificateChoice, CertificateIndex, CertificateValidity, ChosenCertificate},
    host::Host,
    option_value::HostMatch,
    route::{Readiness, Routes},
    tls::CertificateOption,
};
use std::collections::BTreeSet;

/// The hosts that need certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateRequests {
    /// Those for which certificates are ordered.
    pub acme: BTreeSet<AcmeHost>,
    /// Those that get one of the own CA.
    pub own: BTreeSet<AcmeHost>,
}

impl CertificateRequests {
    /// Returns the HTTPS hosts with a ready container that no valid file covers. `rules` is `None` if no certificates
    /// are ordered. Names that no public CA signs get a certificate of the own CA instead. Hosts of a domain in
    /// `wildcards` share a certificate of the CA.
    pub fn new(
        routes: &Routes,
        index: &CertificateIndex,
        rules: Option<NameRules>,
        wildcards: &BTreeSet<Host>,
    ) -> Self {
        let https = routes.0.iter().filter(|(key, _)| key.listener.is_https());
        let ready = https.filter(|(_, route)| {
            route.endpoints.iter().any(|endpoint| endpoint.readiness == Readiness::Ready)
        });
        let mut requests = Self::default();
        for (key, route) in ready {
            let host = match key.host() {
                HostMatch::Exact(host) => AcmeHost::exact(host.clone()),
                HostMatch::Wildcard(host) => AcmeHost::wildcard(host.clone()),
                HostMatch::Any => continue,
            };
            let CertificateOption(choice) = route.terms.get();
            let is_private = rules.is_some_and(|rules| rules.public_ca) && host.is_private();
            let is_ordered = match choice {
                CertificateChoice::Own => false,
                CertificateChoice::Auto
                    if has_valid(index, key.host(), &CertificateChoice::Files) =>
                {
                    continue;
                }
                CertificateChoice::Auto if is_private => false,
                CertificateChoice::Auto | CertificateChoice::Acme if rules.is_some() => true,
                _ => continue,
            };
            if !is_ordered {
                requests.own.insert(host);
            } else if host.wildcard {
                requests.acme.insert(host);
            } else {
                requests.acme.insert(AcmeHost::for_host(&host.host, wildcards));
            }
        }
        requests
    }

    /// Returns the requests for which there is no valid certificate yet.
    #[must_use]
    pub fn without_issued(self, index: &CertificateIndex) -> Self {
        let missing = |hosts: BTreeSet<AcmeHost>, choice: &CertificateChoice| {
            let is_missing = |host: &AcmeHost| !has_valid(index, &host.to_host_match(), choice);
            hosts.into_iter().filter(is_missing).collect()
        };
        Self {
            acme: missing(self.acme, &CertificateChoice::Acme),
            own: missing(self.own, &CertificateChoice::Own),
        }
    }
}

fn has_valid(index: &CertificateIndex, host: &HostMatch, choice: &CertificateChoice) -> bool {
    let validity = |found: &ChosenCertificate| found.certificate.validity(index.time());
    index.find(host, choice).iter().any(|found| validity(found) == CertificateValidity::Valid)
}
