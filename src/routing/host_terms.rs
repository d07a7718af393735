//! Terms of HTTPS hosts: options that all routes of a host on a listener share, such as the certificate.
//!
//! Pure. TLS options take effect before HAProxy knows the path, so containers that share a host cannot have different
//! ones. The oldest container that has any decides; the claims of containers with other ones wait.

use super::route_table::{Claim, Claimant};
use crate::model::{
    label_option::{LabelOption, OptionValues},
    option_value::HostMatch,
    problem::{Problem, ProblemSubject, Reason},
    route::{Listener, RouteKey},
};

/// A host on an HTTPS listener.
pub type TlsHost = (Listener, HostMatch);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTerms {
    pub values: OptionValues,
    /// Those who decided: one, or those for whom the host's routes are held.
    claimants: Vec<Claimant>,
    /// Whether the terms stay. They do not until the creation times of all containers are known.
    is_confirmed: bool,
}

/// Terms of routes that are held for their claimants.
#[derive(Debug, Clone, Copy)]
pub struct RetainedTerms<'a> {
    pub values: &'a OptionValues,
    pub claimants: &'a [Claimant],
}

/// Returns the HTTPS host of a route. `None` for plain routes.
pub fn tls_host(key: &RouteKey) -> Option<TlsHost> {
    key.listener.is_https().then(|| (key.listener, key.host().clone()))
}

impl HostTerms {
    /// Returns the terms of a host with these claims. `None` if no claim has any: the defaults.
    ///
    /// Those who decided before, or for whom the host's routes are held, decide again, so that no other container
    /// changes the terms during a deployment.
    pub fn elect(
        claims: &[&Claim],
        before: Option<&Self>,
        retained: Option<RetainedTerms<'_>>,
    ) -> Option<Self> {
        let former = before.filter(|terms| terms.is_confirmed).cloned().or_else(|| {
            let RetainedTerms { values, claimants } = retained?;
            let (values, claimants) = (values.clone(), claimants.to_vec());
            Some(Self { values, claimants, is_confirmed: true })
        });
        let claimants = former.as_ref().map_or(&[][..], |former| &former.claimants);
        let own = |claim: &&&Claim| claimants.iter().any(|claimant| claimant.owns_claim(claim));
        let oldest_own = claims.iter().filter(own).min_by_key(|claim| &claim.seniority);
        if oldest_own.is_none() && retained.is_some() {
            return former.filter(|terms| !terms.values.is_empty());
        }
        let stating = claims.iter().filter(|claim| !claim.terms.is_empty());
        let first = oldest_own
            .filter(|claim| !claim.terms.is_empty())
            .or_else(|| stating.min_by_key(|claim| &claim.seniority))?;
        Some(Self {
            values: first.terms.clone(),
            claimants: vec![first.claimant()],
            is_confirmed: claims.iter().all(|claim| claim.is_dated()),
        })
    }

    /// Returns an option that the claim sets to another value.
    fn conflict(&self, claim: &Claim) -> Option<LabelOption> {
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
