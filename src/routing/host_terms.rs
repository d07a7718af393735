//! Terms of HTTPS hosts: options that all routes of a host on a listener share, such as the certificate.
//!
//! Pure. TLS options take effect before HAProxy knows the path, so containers that share a host cannot have different
//! ones. The oldest container that has any decides; the claims of containers with other ones wait. Neither can HAProxy
//! decrypt the connections for a host and pass them to a container as they are.

use super::route_table::{Claim, Claimant};
use crate::model::{
    label_option::{LabelOption, OptionValues},
    option_value::{HostMatch, PathRule},
    problem::{Problem, ProblemSubject, Reason},
    route::{Listener, Match, Route, RouteKey},
};
use std::collections::BTreeMap;

/// A host on an HTTPS listener.
pub type TlsHost = (Listener, HostMatch);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTerms {
    pub values: OptionValues,
    /// Whether the connections for the host are forwarded as they are.
    is_passed: bool,
    /// Those who decided: one, or those for whom the host's routes are held.
    claimants: Vec<Claimant>,
    /// Whether the terms stay. They do not until the creation times of all containers are known.
    is_confirmed: bool,
}

/// Terms of routes that are held for their claimants.
#[derive(Debug, Clone, Copy)]
pub struct RetainedTerms<'a> {
    values: &'a OptionValues,
    is_passed: bool,
    claimants: &'a [Claimant],
}

impl<'a> RetainedTerms<'a> {
    pub fn new(key: &RouteKey, route: &'a Route, claimants: &'a [Claimant]) -> Self {
        Self { values: &route.terms, is_passed: key.is_passed(), claimants }
    }
}

/// Iterates over the entries of a host's routes on a listener.
pub fn entries_of_host<'a, V>(
    entries: &'a BTreeMap<RouteKey, V>,
    listener: Listener,
    host: &HostMatch,
) -> impl Iterator<Item = (&'a RouteKey, &'a V)> + use<'a, V> {
    let key = |rule| RouteKey { listener, rule };
    let first = key(Match::Http { host: host.clone(), path: PathRule::default() });
    let of_connections = entries.get_key_value(&key(Match::Tcp { server_name: host.clone() }));
    let of_datagrams = entries.get_key_value(&key(Match::Udp)).filter(|_| *host == HostMatch::Any);
    let host = host.clone();
    let of_requests = entries.range(first..).take_while(move |(key, _)| {
        key.listener == listener && !key.is_passed() && *key.host() == host
    });
    of_requests.chain(of_connections).chain(of_datagrams)
}

/// Returns the host of a route on an HTTPS listener. `None` for plain routes.
pub fn tls_host(key: &RouteKey) -> Option<TlsHost> {
    key.listener.is_https().then(|| (key.listener, key.host().clone()))
}

impl HostTerms {
    /// Returns the terms of a host with these claims. `None` if no claim has any: the defaults. If a claim asks for its
    /// connections as they are, every claim has terms: whether the connections are decrypted.
    ///
    /// Those who decided before, or for whom the host's routes are held, decide again, so that no other container
    /// changes the terms during a deployment.
    pub fn elect(
        claims: &[&Claim],
        before: Option<&Self>,
        retained: Option<RetainedTerms<'_>>,
    ) -> Option<Self> {
        let former = before.filter(|terms| terms.is_confirmed).cloned().or_else(|| {
            let RetainedTerms { values, is_passed, claimants } = retained?;
            let (values, claimants) = (values.clone(), claimants.to_vec());
            Some(Self { values, is_passed, claimants, is_confirmed: true })
        });
        let claimants = former.as_ref().map_or(&[][..], |former| &former.claimants);
        let differ = claims.iter().any(|claim| claim.key.is_passed())
            || former.as_ref().is_some_and(|former| former.is_passed);
        let has_terms = |claim: &Claim| differ || !claim.terms.is_empty();
        let own = |claim: &&&Claim| claimants.iter().any(|claimant| claimant.owns_claim(claim));
        let oldest_own = claims.iter().filter(own).min_by_key(|claim| &claim.seniority);
        if oldest_own.is_none() && retained.is_some() {
            return former.filter(|terms| differ || !terms.values.is_empty());
        }
        let stating = claims.iter().filter(|claim| has_terms(claim));
        let first = oldest_own
            .filter(|claim| has_terms(claim))
            .or_else(|| stating.min_by_key(|claim| &claim.seniority))?;
        Some(Self {
            values: first.terms.clone(),
            is_passed: first.key.is_passed(),
            claimants: vec![first.claimant()],
            is_confirmed: claims.iter().all(|claim| claim.is_dated()),
        })
    }

    /// Returns an option that the claim sets to another value.
    fn conflict(&self, claim: &Claim) -> Option<LabelOption> {
        if claim.key.is_passed() != self.is_passed {
            return Some(LabelOption::Tls);
        }
        let mut stated = claim.terms.iter().map(|value| (value.option(), Some(value)));
        stated.find(|(option, value)| self.values.find(*option) != *value).map(|(option, _)| option)
    }

    /// Moves the claims that agree to the front. Returns their number, and the problems of the others.
    pub fn split_claims(&self, claims: &mut [Claim]) -> (usize, Vec<Problem>) {
        claims.sort_by_key(|claim| self.conflict(claim).is_some());
        let agreeing = claims.partition_point(|claim| self.conflict(claim).is_none());
        let problems = claims[agreeing..].iter().filter_map(|claim| {
            Some(Problem {
                subject: ProblemSubject::Container(claim.container.clone()),
                label: None,
                reason: Reason::TermsConflict {
                    host: claim.key.host().to_string(),
                    with: self.claimants.first()?.to_string(),
                    over: self.conflict(claim)?,
                },
            })
        });
        (agreeing, problems.collect())
    }
}
