//! Certificates as templates see them.
//!
//! Pure.

use super::value::{Dict, ListKind, RawObject, ValueList};
use crate::sources::certificate::{CertificateLists, PublicCertificate};
use minijinja::Value;

/// Returns the certificates of all lists, sorted by id.
pub(super) fn list_certificates(lists: &CertificateLists) -> Value {
    let mut all: Vec<_> = lists.values().flat_map(|list| &**list).collect();
    all.sort_by_key(|certificate| &certificate.id);
    ValueList::from_items(ListKind::Anything, all.into_iter().map(to_value).collect())
}

fn to_value(certificate: &PublicCertificate) -> Value {
    let names = certificate.names.iter().map(Value::from).collect();
    Dict::from_fields(
        [
            ("id", Value::from(&certificate.id)),
            ("names", ValueList::from_items(ListKind::Anything, names)),
            ("digest", Value::from(&certificate.digest)),
            ("key_type", Value::from(&certificate.key_type)),
            ("issuer", Value::from(&certificate.issuer)),
            ("origin", Value::from(&certificate.origin)),
            ("ca", Value::from(certificate.ca.clone())),
            ("certificate_file", Value::from(certificate.certificate_file.clone())),
            ("key_file", Value::from(certificate.key_file.clone())),
            ("not_before", Value::from(certificate.not_before)),
            ("not_after", Value::from(certificate.not_after)),
        ],
        RawObject::Nothing,
    )
}

#[cfg(test)]
mod tests {
    use crate::{
        handlers::template::{TemplateEnv, TemplateRenderer, TemplateSource},
        sources::{
            ContainerMap,
            certificate::{CertificateLists, PublicCertificate},
        },
    };
    use std::sync::Arc;

    #[test]
    fn template_sees_certificates_of_all_lists_by_id() {
        let certificate = |host: &str| PublicCertificate {
            id: format!("acme/{host}"),
            names: vec![host.to_owned(), format!("www.{host}")],
            digest: format!("digest of {host}"),
            key_type: "ECDSA".to_owned(),
            issuer: "Test CA".to_owned(),
            origin: "acme".to_owned(),
            ca: Some("https://ca.test/".to_owned()),
            certificate_file: Some("/live/fullchain.pem".to_owned()),
            key_file: None,
            not_before: 0,
            not_after: 1_800_000_000,
        };
        let lists: CertificateLists = [("one", "b.test"), ("two", "a.test")]
            .map(|(list, host)| (list.into(), Arc::new(vec![certificate(host)])))
            .into();
        let render = |text: &str| {
            let source = TemplateSource::Inline(text.to_owned());
            let mut renderer = TemplateRenderer::new(source, TemplateEnv::default());
            renderer.set_certificates(Arc::new(lists.clone()));
            renderer.render(&ContainerMap::new(), None).unwrap().0
        };
        for (text, expected) in [
            ("{{ certificates|map(attribute='id')|join(' ') }}", "acme/a.test acme/b.test\n"),
            (
                "{% for it in certificates if 'www.b.test' in it.names %}{{ it.digest }}{% endfor %}",
                "digest of b.test\n",
            ),
            (
                "{% set it = certificates.first %}{{ it.not_after }} {{ it.certificate_file }} \
                 {{ it.key_file is none }} {{ it.ca }}",
                "1800000000 /live/fullchain.pem True https://ca.test/\n",
            ),
        ] {
            assert_eq!(render(text), expected, "{text}");
        }
    }
}
