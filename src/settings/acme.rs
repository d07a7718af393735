//! The options of certificate orders as checked values.

use super::{
    Settings,
    options::{AcmeChallenge, AcmeKey, Options},
};
use crate::{
    haproxy::render::ChallengeAnswer,
    sources::acme::{
        AcmeSettings, SharedSettings,
        dns::DnsUpdate,
        settings::{AcmeKeyType, AcmeKeys, Challenge, DirectoryUrl, DnsPublisher, EabKey},
        store::STATE_FOLDER,
    },
    support::secret::read_secret_file,
};
use anyhow::{Context as _, Result, anyhow, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// How certificates are ordered from an ACME CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeOptions {
    pub directory: DirectoryUrl,
    pub email: Option<String>,
    /// Key id and file of the key for external account binding.
    pub eab: Option<(String, PathBuf)>,
    pub profile: Option<String>,
    pub challenge: ChallengeOption,
    pub keys: AcmeKeys,
    /// Root certificates of a private CA.
    pub ca_file: Option<PathBuf>,
    /// The store that several balancers share.
    pub store: Option<PathBuf>,
}

/// The challenge, before files of it are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeOption {
    Http,
    TlsAlpn,
    Dns(AcmeDns),
    DnsPersist,
}

/// How DNS records are published: the value of `--acme-dns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcmeDns {
    Program(PathBuf),
    /// By DNS UPDATE, with the name server and the key in this file.
    Rfc2136(PathBuf),
}

impl Settings {
    /// Returns how HAProxy answers the challenges of the CA.
    pub(super) fn challenge_answer(&self) -> ChallengeAnswer {
        match self.acme.as_ref().map(|acme| &acme.challenge) {
            Some(ChallengeOption::Http) => ChallengeAnswer::Token,
            Some(ChallengeOption::TlsAlpn) => ChallengeAnswer::Certificate,
            Some(ChallengeOption::Dns(_) | ChallengeOption::DnsPersist) | None => {
                ChallengeAnswer::None
            }
        }
    }

    /// Returns the settings of certificate orders; `None` if nothing is ordered.
    ///
    /// # Errors
    /// If a file with a key cannot be read, or is not valid.
    pub fn acme(&self) -> Result<Option<AcmeSettings>> {
        let Some(options) = &self.acme else { return Ok(None) };
        let folder = self.state_dir.join(STATE_FOLDER);
        let challenge = read_challenge(&options.challenge)?;
        let mut acme =
            AcmeSettings::new(options.directory.clone(), folder).with_challenge(challenge);
        acme.keys = options.keys;
        acme.email.clone_from(&options.email);
        acme.profile.clone_from(&options.profile);
        acme.ca_file.clone_from(&options.ca_file);
        acme.shared = options.store.as_ref().map(|folder| self.shared_store(folder));
        acme.eab = options.eab.as_ref().map(read_eab_key).transpose()?;
        Ok(Some(acme))
    }

    /// A host that this balancer does not allow gets no certificate for other balancers either.
    fn shared_store(&self, folder: &Path) -> SharedSettings {
        let allowed_hosts = self.fences.allowed_hosts.iter().map(|allowed| allowed.host.clone());
        let shared = SharedSettings::new(folder.to_owned());
        SharedSettings { allowed_hosts: allowed_hosts.collect(), ..shared }
    }
}

pub(super) fn acme_options(options: &Options) -> Result<Option<AcmeOptions>> {
    let Some(directory) = options.acme.clone() else { return Ok(None) };
    let challenge = challenge_option(options)?;
    let is_dns = matches!(challenge, ChallengeOption::Dns(_) | ChallengeOption::DnsPersist);
    if !is_dns && !options.wildcard.is_empty() {
        bail!(
            "--wildcard needs a DNS challenge: set --acme-dns, or --acme-challenge dns-persist, or remove --wildcard"
        );
    }
    Ok(Some(AcmeOptions {
        directory,
        email: options.acme_email.clone(),
        eab: options.acme_eab.clone(),
        profile: options.acme_profile.clone(),
        challenge,
        keys: match options.acme_key {
            AcmeKey::Ecdsa => AcmeKeys::One(AcmeKeyType::Ecdsa),
            AcmeKey::Rsa => AcmeKeys::One(AcmeKeyType::Rsa),
            AcmeKey::Both => AcmeKeys::Both,
        },
        ca_file: options.acme_ca_file.clone(),
        store: options.acme_store.clone(),
    }))
}

/// # Errors
/// If the store that balancers share is in the state directory of this one, which has copies of its certificates.
pub(super) fn check_store(acme: Option<&AcmeOptions>, state_dir: &Path) -> Result<()> {
    let store = acme.and_then(|acme| acme.store.as_ref());
    if store.is_some_and(|store| store.starts_with(state_dir)) {
        bail!(
            "--acme-store must be outside of the state directory {}, which is of this balancer alone",
            state_dir.display()
        );
    }
    Ok(())
}

fn challenge_option(options: &Options) -> Result<ChallengeOption> {
    Ok(match (options.acme_challenge, &options.acme_dns) {
        (AcmeChallenge::Http, None) => ChallengeOption::Http,
        (AcmeChallenge::TlsAlpn, None) => ChallengeOption::TlsAlpn,
        (AcmeChallenge::TlsAlpn, Some(_)) => {
            bail!("--acme-challenge tls-alpn does not use --acme-dns; remove one of the two")
        }
        (AcmeChallenge::DnsPersist, None) => ChallengeOption::DnsPersist,
        (AcmeChallenge::Http | AcmeChallenge::Dns, Some(dns)) => ChallengeOption::Dns(dns.clone()),
        (AcmeChallenge::Dns, None) => {
            bail!("--acme-challenge dns needs --acme-dns PROGRAM or --acme-dns rfc2136:FILE")
        }
        (AcmeChallenge::DnsPersist, Some(_)) => {
            bail!("--acme-challenge dns-persist does not use --acme-dns; remove one of the two")
        }
    })
}

fn read_challenge(option: &ChallengeOption) -> Result<Challenge> {
    Ok(match option {
        ChallengeOption::Http => Challenge::Http,
        ChallengeOption::TlsAlpn => Challenge::TlsAlpn,
        ChallengeOption::DnsPersist => Challenge::DnsPersist,
        ChallengeOption::Dns(AcmeDns::Program(path)) => {
            Challenge::Dns(DnsPublisher::Program(path.clone()))
        }
        ChallengeOption::Dns(AcmeDns::Rfc2136(path)) => {
            let text = read_secret_file(path).context("--acme-dns")?;
            let update = DnsUpdate::parse(&text);
            let update = update.with_context(|| format!("--acme-dns: {}", path.display()))?;
            Challenge::Dns(DnsPublisher::Update(Box::new(update)))
        }
    })
}

fn read_eab_key((kid, file): &(String, PathBuf)) -> Result<EabKey> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("--acme-eab: cannot read {}", file.display()))?;
    let text = Zeroizing::new(text);
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    // The error would contain a part of the key.
    let key = key.map_err(|_| anyhow!("--acme-eab: {} is not base64url", file.display()))?;
    Ok(EabKey { kid: kid.clone(), key: Zeroizing::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::HostEnv;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    /// Returns how a file of `--acme-dns rfc2136:FILE` is read.
    fn read_file(text: &str, mode: u32) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("update.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let result = read_challenge(&ChallengeOption::Dns(AcmeDns::Rfc2136(path)));
        let text = match result {
            Ok(challenge) => format!("{challenge:?}"),
            Err(error) => format!("{error:#}"),
        };
        text.replace(folder.path().to_str().unwrap(), "DIR")
    }

    /// Returns the challenge and the key type that options set, or the error.
    fn read_options(words: &str) -> String {
        let args = format!("docker-balancer --watch --state-dir /s {words}");
        let args: Vec<_> = args.split_whitespace().map(Into::into).collect();
        match Settings::from_args(&args, &HostEnv::default()) {
            Ok(settings) => {
                let acme = settings.acme.unwrap();
                format!("{:?} {}", acme.challenge, acme.keys)
            }
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn options_set_challenge_and_key() {
        for (words, expected) in [
            ("--acme letsencrypt", "Http ecdsa"),
            ("--acme letsencrypt --acme-key rsa", "Http rsa"),
            ("--acme letsencrypt --acme-key both", "Http both"),
            ("--acme letsencrypt --acme-dns exec:/p", "Dns(Program(\"/p\")) ecdsa"),
            (
                "--acme letsencrypt --acme-dns rfc2136:/f --wildcard example.com",
                "Dns(Rfc2136(\"/f\")) ecdsa",
            ),
            (
                "--acme letsencrypt --acme-challenge dns-persist --wildcard example.com",
                "DnsPersist ecdsa",
            ),
            ("--acme letsencrypt --acme-store /srv/acme", "Http ecdsa"),
            ("--acme letsencrypt --acme-store /s/acme", "--acme-store must be outside of"),
            ("--acme letsencrypt --wildcard example.com", "--wildcard needs a DNS challenge"),
            ("--acme letsencrypt --acme-challenge dns", "--acme-challenge dns needs --acme-dns"),
            (
                "--acme letsencrypt --acme-challenge dns-persist --acme-dns /p",
                "--acme-challenge dns-persist does not use --acme-dns",
            ),
        ] {
            let found = read_options(words);
            assert!(found.contains(expected), "{words}: {found}");
        }
    }

    #[test]
    fn file_of_updates_is_read_if_it_is_private() {
        let valid = "server = \"ns1\"\nkey = \"balancer\"\nsecret = \"c2VjcmV0\"\n";
        for (text, mode, expected) in [
            (valid, 0o600, "Dns(Update(DnsUpdate { server: \"ns1:53\""),
            (valid, 0o640, "Dns(Update(DnsUpdate { server: \"ns1:53\""),
            (
                valid,
                0o644,
                "--acme-dns: all users have access to DIR/update.toml, which contains a secret; \
                 run chmod o= DIR/update.toml",
            ),
            (
                "",
                0o600,
                "--acme-dns: DIR/update.toml: secret is missing; add a line secret = \"…\"",
            ),
        ] {
            let found = read_file(text, mode);
            assert!(found.starts_with(expected), "{found}");
            assert!(!found.contains("c2Vj"), "{found}");
        }
    }
}
