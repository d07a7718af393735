//! Certificates of a test CA.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary takes what it needs of these"
)]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// A CA that signs certificates for hosts.
pub struct TestCa(CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Returns the CA's own certificate as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Returns a certificate for these hosts with its key, as PEM.
    pub fn issue(&self, hosts: &[&str]) -> String {
        self.sign(hosts, |_| ())
    }

    /// Returns a certificate that expired long ago, with its key, as PEM.
    pub fn issue_expired(&self, hosts: &[&str]) -> String {
        self.sign(hosts, |params| params.not_after = date_time_ymd(2021, 3, 4))
    }

    fn sign(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> String {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(hosts.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, hosts[0].clone());
        change(&mut params);
        params.signed_by(&key, &self.0).unwrap().pem() + &key.serialize_pem()
    }
}

/// Returns a self-signed certificate with its key, as PEM.
pub fn self_signed(host: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

/// Returns what whoami answered: `NAME saw PATH`.
pub fn whoami_outcome(body: &str) -> String {
    let value = |key: &str| body.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("?");
    format!("{} saw {}", value("name: "), value("path: "))
}
