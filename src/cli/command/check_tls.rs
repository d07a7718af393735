//! Hints of `check` about HTTPS: names that get no certificate, CAs that do not exist, and HSTS next to plain pages.

use crate::{
    label::{self, RouteRequest, trace::trace_labels},
    model::{
        backend_tls::Verification,
        ca_index::{CaIndex, CaPurpose},
        certificate::{CertificateChoice, CertificateIndex, CertificateStem},
        client_certificate::ClientCertificate,
        container::Container,
        label_option::LabelOption,
        option_value::HostMatch,
        problem::{LabelText, Problem, ProblemSubject, Reason},
        tls::{CertificateOption, Hsts, TlsMode},
    },
    settings::{Settings, acme::ChallengeOption},
    sources::acme::AcmeHost,
};

/// What is known about the machine where the containers will run.
#[derive(Debug, Clone, Copy)]
pub(super) enum TlsInputs<'a> {
    /// The certificates of this machine. `decide` reports CAs that do not exist.
    Machine(&'a CertificateIndex),
    /// A file is checked: only the CAs of the settings are read.
    File(&'a CaIndex),
}

/// Returns the hints about the labels of a container.
pub(super) fn find_tls_hints(
    container: &Container,
    settings: &Settings,
    inputs: TlsInputs<'_>,
) -> Vec<Problem> {
    let requests = label::parse_labels(container, &settings.fences).requests;
    let hints = requests.iter().flat_map(|request| {
        let name = name_hint(request, settings, inputs);
        let plain = hsts_hint(request).map(|reason| (LabelOption::Hsts, reason));
        let cas = ca_hints(request, inputs);
        let hints = name.into_iter().chain(plain).chain(cas);
        hints.map(|(option, reason)| to_problem(container, settings, request, option, reason))
    });
    hints.collect()
}

fn to_problem(
    container: &Container,
    settings: &Settings,
    request: &RouteRequest,
    option: LabelOption,
    reason: Reason,
) -> Problem {
    let trace = trace_labels(container, &settings.fences, &request.key, request.port);
    let label = trace.and_then(|trace| trace.get(option).cloned());
    let label = label.map(|source| LabelText::new(&source.key, &source.value));
    Problem { subject: ProblemSubject::Container(container.to_ref()), label, reason }
}

/// Returns a hint about a host for which no certificate is ordered.
fn name_hint(
    request: &RouteRequest,
    settings: &Settings,
    inputs: TlsInputs<'_>,
) -> Option<(LabelOption, Reason)> {
    let host = AcmeHost::from_host_match(request.key.host())?;
    let CertificateOption(choice) = request.terms.get();
    let is_ordered = matches!(choice, CertificateChoice::Auto | CertificateChoice::Acme);
    let is_covered =
        choice == CertificateChoice::Auto && may_have_file(request.key.host(), settings, inputs);
    if !request.key.listener.is_https() || !is_ordered || is_covered {
        return None;
    }
    let acme = settings.acme.as_ref();
    let is_public_ca = acme.is_none_or(|acme| acme.ca_file.is_none());
    let has_dns = acme.is_some_and(|acme| acme.challenge != ChallengeOption::Http);
    let name = host.to_string();
    let reason = match () {
        () if is_public_ca && host.is_private() => {
            let by_own_ca = acme.is_some() && choice == CertificateChoice::Auto;
            Reason::PrivateName { host: name, by_own_ca }
        }
        () if host.wildcard && !has_dns => Reason::WildcardNeedsDns { host: name },
        () => return None,
    };
    Some((LabelOption::Host, reason))
}

/// Whether a file covers the host, or one might on the machine where the container will run.
fn may_have_file(host: &HostMatch, settings: &Settings, inputs: TlsInputs<'_>) -> bool {
    match inputs {
        TlsInputs::Machine(index) => !index.find(host, &CertificateChoice::Files).is_empty(),
        TlsInputs::File(_) => !settings.certificates.is_empty(),
    }
}

fn hsts_hint(request: &RouteRequest) -> Option<Reason> {
    let has_plain = request.policy.get::<TlsMode>() == TlsMode::Both;
    let has_hsts = request.policy.get::<Hsts>().header().is_some();
    (request.key.listener.is_https() && has_plain && has_hsts).then_some(Reason::HstsWithPlain)
}

/// Returns a hint for each CA that the settings do not have.
fn ca_hints(request: &RouteRequest, inputs: TlsInputs<'_>) -> Vec<(LabelOption, Reason)> {
    let TlsInputs::File(cas) = inputs else { return Vec::new() };
    let backend = request.policy.get::<Verification>().ca().cloned();
    let client = request.terms.get::<ClientCertificate>().ca().cloned();
    let hint = |(purpose, option, name): (CaPurpose, LabelOption, Option<CertificateStem>)| {
        let name = name.filter(|name| cas.find(purpose, name).is_none())?;
        let directory = purpose.option();
        Some((option, Reason::CaNotConfigured { option, ca: name.to_string(), directory }))
    };
    let both = [
        (CaPurpose::Backend, LabelOption::Verify, backend),
        (CaPurpose::Client, LabelOption::ClientCert, client),
    ];
    both.into_iter().filter_map(hint).collect()
}
