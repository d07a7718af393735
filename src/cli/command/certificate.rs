//! `certificates`, and the subcommands of `certificate`.

use super::{CommandOutput, terminal::terminal_width};
use crate::{
    api::control::{
        RenewRequest, RenewResponse,
        client::{get, post},
    },
    report::{certificates::CertificateList, text_report},
    settings::Settings,
    sources::{
        acme::{AcmeHost, AcmeSettings},
        certificate::{CertificateWithKey, traefik},
        own_ca,
    },
    support::{
        atomic_file::{self, FileAccess},
        format::format_date,
    },
};
use anyhow::{Context, Result, bail};
use serde_json::value::RawValue;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Lists the HTTPS hosts. The exit status is 1 if one has no valid certificate.
pub(crate) async fn list_certificates(socket: &Path, json: bool) -> Result<CommandOutput> {
    let text: Box<RawValue> = get(socket, "/certificates").await?;
    let list: CertificateList = serde_json::from_str(text.get())?;
    let status = u8::from(!list.is_complete());
    let text = if json {
        text.get().to_owned()
    } else {
        text_report::render_certificates(&list, terminal_width())
    };
    Ok(CommandOutput { text, status })
}

pub(crate) async fn renew_certificate(socket: &Path, host: &str) -> Result<CommandOutput> {
    let request = RenewRequest { host: host.to_owned() };
    let RenewResponse { host } =
        post(socket, "/certificates/renew", &request, Duration::ZERO).await?;
    let text = format!(
        "a new certificate for {host} is ordered as soon as the CA's limits allow it; \
         `docker-balancer certificates` shows the result"
    );
    Ok(text.into())
}

pub(crate) async fn replace_account_key(socket: &Path) -> Result<CommandOutput> {
    let nothing = serde_json::json!({});
    let _: serde_json::Value =
        post(socket, "/certificates/account", &nothing, Duration::ZERO).await?;
    Ok("the account at the CA has a new key".to_owned().into())
}

/// Prints the record of dns-persist-01, as a line of a zone file.
pub(crate) async fn print_record(socket: &Path, domain: &str) -> Result<CommandOutput> {
    let host: AcmeHost = domain.parse().map_err(anyhow::Error::msg)?;
    let list: CertificateList = get(socket, "/certificates").await?;
    let Some(acme) = list.acme else {
        bail!("certificates are not ordered: the running docker-balancer has no --acme");
    };
    let (Some(account), Some(issuer)) = (acme.account, acme.caa_identities.first()) else {
        bail!("there is no account at {} yet; try again in a minute", acme.directory);
    };
    let (name, value) = AcmeSettings::persist_record(&host, issuer, &account);
    Ok(format!("{name} IN TXT \"{value}\"").into())
}

/// Prints the certificate of the own CA, in PEM form.
pub(crate) fn print_ca(settings: &Settings) -> Result<CommandOutput> {
    let path = own_ca::root_path(&settings.state_dir);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}, which is created when a host needs a certificate of the own CA",
            path.display()
        )
    })?;
    Ok(text.into())
}

/// Imports Traefik's certificates. The exit status is 1 if one could not be imported.
pub(crate) fn import_certificates(
    file: &Path,
    to: Option<&Path>,
    settings: &Settings,
) -> Result<CommandOutput> {
    let Some(directory) = to.or(settings.certificates.first().map(PathBuf::as_path)) else {
        bail!("no directory: set --to DIRECTORY, or --certificates");
    };
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = traefik::parse_acme_json(&text).with_context(|| file.display().to_string())?;
    let (mut lines, mut status) = (Vec::new(), 0);
    for (name, certificate) in found {
        let result = match certificate {
            Ok(certificate) => write_certificate(directory, &name, &certificate),
            Err(problem) => Err(anyhow::anyhow!("{problem}")),
        };
        status |= u8::from(result.is_err());
        lines.push(match result {
            Ok(text) => format!("{name}: {text}"),
            Err(error) => format!("{name}: not imported: {error:#}"),
        });
    }
    if lines.is_empty() {
        lines.push(format!("{} contains no certificates", file.display()));
    }
    Ok(CommandOutput { text: lines.join("\n"), status })
}

/// Returns what was done.
fn write_certificate(
    directory: &Path,
    name: &str,
    imported: &CertificateWithKey,
) -> Result<String> {
    let path = directory.join(format!("{name}.pem"));
    let not_after = imported.certificate.not_after;
    let existing = fs::read_to_string(&path).ok();
    let origin = imported.certificate.origin.clone();
    let existing =
        existing.and_then(|text| CertificateWithKey::parse(&text, origin, name.to_owned()).ok());
    if let Some(existing) = existing.filter(|other| not_after <= other.certificate.not_after) {
        let expires = format_date(existing.certificate.not_after);
        return Ok(format!("kept {}, which expires {expires}", path.display()));
    }
    let staged = atomic_file::stage_file(&path, imported.pem.reveal(), FileAccess::Private)?;
    staged.replace(&path)?;
    Ok(format!("wrote {}, which expires {}", path.display(), format_date(not_after)))
}
