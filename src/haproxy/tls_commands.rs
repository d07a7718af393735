//! Commands about certificates that take several of HAProxy's, or a query before.
//!
//! Management Guide, section 9.3. HAProxy has one transaction of certificates for the whole process. With a transaction
//! open, HAProxy 2.6.12 changes that one's certificate whatever the command says, so it is closed first.

use super::{
    command::Escaped,
    runtime::{RuntimeClient, RuntimeError},
    tls::{self, DEFAULT_FILE, TlsLine},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};
use zeroize::Zeroizing;

/// Largest payload of HAProxy before 3.4, less the command: `tune.bufsize` is 16 kB. The key is sent apart if
/// certificate and key are longer together.
const MAX_PAYLOAD: usize = 15_000;

/// What is known of HAProxy during one plan.
#[derive(Debug, Default)]
pub(super) struct TlsCommands {
    has_no_transaction: bool,
    has_no_ca_transaction: bool,
    /// Numbers of the lines in each list.
    numbers: BTreeMap<String, BTreeMap<TlsLine, u32>>,
}

impl TlsCommands {
    /// Loads a certificate with its key. Returns the answer to the last command, or to the one that HAProxy refused.
    pub(super) async fn load_certificate(
        &mut self,
        client: &mut RuntimeClient,
        certificate: &str,
    ) -> Result<String, RuntimeError> {
        let pem = read_certificate(certificate).await?;
        self.close_transaction(client).await?;
        let name = Escaped(certificate).to_string();
        let new = format!("new ssl cert {name}");
        let mut created = client.send_command(&new).await?;
        if created.contains("already exists") {
            // Loading it was interrupted, so its content is not known.
            client.send_command(&format!("del ssl cert {name}")).await?;
            created = client.send_command(&new).await?;
        }
        if !created.contains("New empty certificate store") {
            return Ok(created);
        }
        self.replace_content(client, certificate, &pem).await
    }

    /// Replaces the content of the default certificate by that of this one. A certificate with the first line of a list
    /// cannot be deleted, so it keeps its name.
    pub(super) async fn replace_default(
        &mut self,
        client: &mut RuntimeClient,
        certificate: &str,
    ) -> Result<String, RuntimeError> {
        let pem = read_certificate(certificate).await?;
        self.close_transaction(client).await?;
        let default = Path::new(certificate).with_file_name(DEFAULT_FILE).display().to_string();
        self.replace_content(client, &default, &pem).await
    }

    /// Replaces the content of a certificate that HAProxy has. No transaction is open.
    async fn replace_content(
        &mut self,
        client: &mut RuntimeClient,
        certificate: &str,
        pem: &str,
    ) -> Result<String, RuntimeError> {
        self.has_no_transaction = false;
        let name = Escaped(certificate).to_string();
        for (suffix, part) in split_key(pem) {
            let set = format!("set ssl cert {name}{suffix}");
            let answer = client.send_payload(&set, part).await?;
            let is_ours = ["created", "updated"].iter().any(|word| {
                answer.contains(&format!("Transaction {word} for certificate {certificate}!"))
            });
            if !is_ours {
                return Ok(answer);
            }
        }
        let answer = client.send_command(&format!("commit ssl cert {name}")).await?;
        self.has_no_transaction = answer.contains("Success!");
        Ok(answer)
    }

    /// A certificate with an open transaction can neither be deleted nor loaded.
    pub(super) async fn close_transaction(
        &mut self,
        client: &mut RuntimeClient,
    ) -> Result<(), RuntimeError> {
        if !self.has_no_transaction {
            let (_, open) = tls::parse_certificates(&client.send_command("show ssl cert").await?);
            if let Some(open) = open {
                client.send_command(&format!("abort ssl cert {}", Escaped(&open))).await?;
            }
            self.has_no_transaction = true;
        }
        Ok(())
    }

    /// Loads a CA. Returns the answer to the last command, or to the one that HAProxy refused.
    ///
    /// HAProxy 2.6 crashes when a CA is loaded repeatedly under one name (haproxy#3165). The name contains the digest
    /// of the content, so that does not happen.
    pub(super) async fn load_ca(
        &mut self,
        client: &mut RuntimeClient,
        ca: &str,
    ) -> Result<String, RuntimeError> {
        let pem = read_certificate(ca).await?;
        self.close_ca_transaction(client).await?;
        self.has_no_ca_transaction = false;
        let name = Escaped(ca).to_string();
        let created = client.send_command(&format!("new ssl ca-file {name}")).await?;
        if !created.contains("New CA file created") {
            return Ok(created);
        }
        let answer = client.send_payload(&format!("set ssl ca-file {name}"), pem.trim()).await?;
        if !answer.contains(&format!("ransaction created for CA {ca}!")) {
            return Ok(answer);
        }
        let answer = client.send_command(&format!("commit ssl ca-file {name}")).await?;
        self.has_no_ca_transaction = answer.contains("Success!");
        Ok(answer)
    }

    /// A CA with an open transaction can neither be deleted nor loaded.
    pub(super) async fn close_ca_transaction(
        &mut self,
        client: &mut RuntimeClient,
    ) -> Result<(), RuntimeError> {
        if !self.has_no_ca_transaction {
            let open = tls::parse_cas(&client.send_command("show ssl ca-file").await?).transaction;
            if let Some(open) = open {
                client.send_command(&format!("abort ssl ca-file {}", Escaped(&open))).await?;
            }
            self.has_no_ca_transaction = true;
        }
        Ok(())
    }

    /// Deletes a line by its number, because a certificate may have several lines.
    pub(super) async fn delete_line(
        &mut self,
        client: &mut RuntimeClient,
        list: &str,
        line: &TlsLine,
    ) -> Result<String, RuntimeError> {
        let numbers = match self.numbers.entry(list.to_owned()) {
            Entry::Occupied(numbers) => numbers.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(client.read_lines(list).await?),
        };
        let Some(number) = numbers.get(line) else {
            return Ok(format!("{line} is not in {list}"));
        };
        let certificate = Escaped(&line.certificate).to_string();
        client.send_command(&format!("del ssl crt-list {list} {certificate}:{number}")).await
    }
}

async fn read_certificate(certificate: &str) -> Result<Zeroizing<String>, RuntimeError> {
    match tokio::fs::read_to_string(certificate).await {
        Ok(pem) => Ok(Zeroizing::new(pem)),
        Err(source) => {
            let certificate = certificate.to_owned();
            Err(RuntimeError::CertificateUnreadable { certificate, source })
        }
    }
}

/// Returns the parts of a certificate's file, each with the suffix of its name in HAProxy.
fn split_key(pem: &str) -> Vec<(&'static str, &str)> {
    let pem = pem.trim();
    match pem.rfind("-----BEGIN ") {
        Some(key) if MAX_PAYLOAD < pem.len() => {
            vec![("", pem[..key].trim()), (".key", &pem[key..])]
        }
        _ => vec![("", pem)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_certificate_is_split_before_its_key() {
        let short = "-----BEGIN CERTIFICATE-----\nA\n-----BEGIN PRIVATE KEY-----\nB\n";
        assert_eq!(split_key(short), [("", short.trim())]);
        let chain = format!("-----BEGIN CERTIFICATE-----\n{}", "A".repeat(MAX_PAYLOAD));
        let key = "-----BEGIN PRIVATE KEY-----\nB";
        assert_eq!(split_key(&format!("{chain}\n{key}\n")), [("", chain.as_str()), (".key", key)]);
    }
}
