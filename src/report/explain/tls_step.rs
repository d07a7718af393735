//! How the connection of a request is encrypted: the certificate, and the terms of the host.
//!
//! Pure.

use super::{LabelSource, request::ExplainRequest, selected_route::SelectedRoute};
use crate::{
    model::{
        client_certificate::ClientCertificate,
        label_option::{LabelOption, OptionValues},
        tls::{Hsts, TlsPolicyChoice},
    },
    report::{
        StateSnapshot,
        certificates::{CertificateInfo, presented_certificates},
    },
};
use serde::{Deserialize, Serialize};

/// The TLS connection of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsStep {
    /// Those that HAProxy presents, one for each type of key. Empty if TLS is refused.
    pub certificates: Vec<CertificateInfo>,
    /// `modern`, `intermediate` or `old`. Absent if it is that of the settings, like all that follows if no route
    /// matches.
    pub policy: Option<String>,
    /// The CA of the clients' certificates, with `optional` if they need none. Absent if they are not asked for one.
    pub client_certificate: Option<String>,
    /// The value of the Strict-Transport-Security header.
    pub hsts: Option<String>,
    /// The labels of cert, tls_policy, client_cert and hsts that are set.
    pub labels: Vec<LabelSource>,
}

const OPTIONS: [LabelOption; 4] =
    [LabelOption::Cert, LabelOption::TlsPolicy, LabelOption::ClientCert, LabelOption::Hsts];

impl TlsStep {
    /// Returns `None` for plain HTTP.
    pub(crate) fn from_request(
        request: &ExplainRequest,
        snapshot: &StateSnapshot,
        selected: Option<&SelectedRoute<'_>>,
    ) -> Option<Self> {
        let listener = request.url.listener();
        if !listener.is_https() {
            return None;
        }
        let presented = presented_certificates(snapshot, listener, request.url.host());
        let terms = selected.map(|selected| &selected.route.terms);
        let client = terms.map(OptionValues::get::<ClientCertificate>);
        let client = client.filter(|client| client.ca().is_some());
        let policy = terms.and_then(|terms| terms.get::<TlsPolicyChoice>().0);
        let labels = OPTIONS.iter().flat_map(|option| {
            selected.map(|selected| selected.terms_sources(*option)).unwrap_or_default()
        });
        Some(Self {
            certificates: presented.into_iter().map(CertificateInfo::new).collect(),
            policy: policy.map(|policy| policy.to_string()),
            client_certificate: client.map(|client| client.to_string()),
            hsts: selected.and_then(|selected| selected.route.policy.get::<Hsts>().header()),
            labels: labels.collect(),
        })
    }
}
