//! The fleet of a balancer, as `--fleet` names it.

use super::{
    RegistryAccess,
    source::{EtcdFiles, PASSWORD_IN_URL, REGISTRY_PARAMETERS, SourceKind, parse_url},
    value,
};
use crate::fleet::{BalancerName, FleetSettings};

/// A fleet, written as `etcd://HOST,HOST/PREFIX?name=NAME&PARAMETER=VALUE…`. Values are percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetOption {
    name: BalancerName,
    access: RegistryAccess,
}

impl FleetOption {
    /// Parses a fleet.
    ///
    /// # Errors
    /// Says which parameter is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = value::parse_text(text)?;
        let (url, query) = text.split_once('?').unwrap_or((&text, ""));
        let (url, SourceKind::Registry) = parse_url(url)? else {
            return Err(
                "a fleet is in etcd: write etcd://HOST,HOST or etcds://HOST,HOST".to_owned()
            );
        };
        let (mut name, mut etcd) = (None, EtcdFiles::default());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let result = match key.as_ref() {
                "name" => value
                    .parse()
                    .map(|value| name = Some(value))
                    .map_err(|error| format!("{error}")),
                "password" => Err(PASSWORD_IN_URL.to_owned()),
                key if REGISTRY_PARAMETERS.contains(&key) => etcd.set(key, &value),
                _ => Err(format!(
                    "there is no such parameter; there are name, {}",
                    REGISTRY_PARAMETERS.join(", ")
                )),
            };
            result.map_err(|text| format!("{key}: {text}"))?;
        }
        let name =
            name.ok_or("a balancer needs a name: write etcd://10.0.0.2?name=lb1, for example")?;
        Ok(Self { name, access: etcd.build_access(&url)? })
    }

    pub(super) fn into_settings(self) -> FleetSettings {
        let RegistryAccess { etcd, prefix } = self.access;
        FleetSettings { name: self.name, access: etcd, prefix }
    }
}

#[cfg(test)]
mod tests {
    use super::FleetOption;

    #[test]
    fn fleet_is_a_url_of_etcd_with_a_name() {
        for (text, name, endpoints, prefix) in [
            ("etcd://10.0.0.2?name=lb1", "lb1", "http://10.0.0.2:2379", "/docker-glue/"),
            ("etcds://a,b:9/x/y?name=lb-2_a", "lb-2_a", "https://a:2379 https://b:9", "/x/y/"),
            (
                "etcds://a?name=n&user=u&password_file=/p&ca_file=/c&cert_file=/d&key_file=/k",
                "n",
                "https://a:2379",
                "/docker-glue/",
            ),
        ] {
            let fleet = FleetOption::parse(text).unwrap().into_settings();
            let found = (fleet.name.as_str(), fleet.access.endpoints.join(" "), &*fleet.prefix);
            assert_eq!(found, (name, endpoints.to_owned(), prefix), "{text}");
        }
    }

    #[test]
    fn wrong_fleet_is_explained() {
        for (text, expected) in [
            ("etcd://a", "a balancer needs a name"),
            ("etcd://a?name=", "is not a name of 1 to 32"),
            ("etcd://a?name=LB1", "name: \"LB1\" is not a name of 1 to 32"),
            ("tcp://a?name=lb1", "a fleet is in etcd"),
            ("consul://a?name=lb1", "sources of consul:// are not supported"),
            ("a?name=lb1", "is not unix:///PATH"),
            (
                "etcd://a?name=lb1&forget=1h",
                "forget: there is no such parameter; there are name, user",
            ),
            ("etcd://a?name=lb1&user=u&password=secret", "write password_file"),
            ("etcd://me:secret@a?name=lb1", "must not contain a password"),
            ("etcd://secret@a?name=lb1", "must not contain a user and password"),
            ("etcd://a?name=lb1&user=u", "user and password_file must be set together"),
            ("etcd://a?name=lb1&ca_file=/c", "certificates need etcds://"),
        ] {
            let error = FleetOption::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
