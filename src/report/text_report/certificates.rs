//! Text of the certificates of HTTPS hosts.
//!
//! Pure.

use super::{join_lines, wrap_text};
use crate::{
    report::{
        certificates::{
            CertificateInfo, CertificateList, HostCertificates, OrderInfo, ServingState,
        },
        style::{DIM, ERROR, OK, PLAIN, WARN},
        table::{Cell, Column, TableRow, render_table},
    },
    support::format::{format_plural, format_span},
};
use anstyle::Style;
use std::time::Duration;

const COLUMNS: [Column; 5] = [
    Column::left_aligned("HOST", 0),
    Column::left_aligned("CERTIFICATE", 2),
    Column::left_aligned("EXPIRES", 0),
    Column::left_aligned("RENEWS", 1),
    Column::left_aligned("STATE", 0),
];

/// Renders the HTTPS hosts with their certificates, and the state of the CA.
pub fn render_certificates(list: &CertificateList, width: Option<usize>) -> String {
    let mut text = if list.hosts.is_empty() {
        "no host is served over HTTPS: no container has a label for it\n".to_owned()
    } else {
        let rows: Vec<_> = list.hosts.iter().flat_map(|host| host_rows(host, list.at)).collect();
        render_table(&COLUMNS, &rows, width)
    };
    text += &wrap_text(&summary_text(list), 0, width);
    if let Some(note) = ca_text(list) {
        text += &wrap_text(&note, 0, width);
    }
    text
}

/// One row for each certificate, and one for the error of an order.
fn host_rows(host: &HostCertificates, now: i64) -> Vec<TableRow> {
    let name = match host.port {
        443 => host.host.clone(),
        port => format!("{}:{port}", host.host),
    };
    let (style, state) = state_cell(host);
    let renews = renewal_text(host, now);
    let row = |name: &str, certificate: &str, expires: String, renews: &str, state: Cell| {
        TableRow::Cells(vec![
            Cell::new(PLAIN, name),
            Cell::new(PLAIN, certificate),
            Cell::new(PLAIN, expires),
            Cell::new(DIM, renews),
            state,
        ])
    };
    let mut rows = Vec::new();
    if host.certificates.is_empty() {
        rows.push(row(&name, "-", "-".to_owned(), &renews, Cell::new(style, state)));
    }
    for (at, certificate) in host.certificates.iter().enumerate() {
        let (name, renews, state) =
            if at == 0 { (name.as_str(), renews.as_str(), state) } else { ("", "", "") };
        let expires = relative_text(certificate.not_after, now);
        let text = certificate_text(certificate);
        rows.push(row(name, &text, expires, renews, Cell::new(style, state)));
    }
    if let Some(error) = host.order.as_ref().and_then(|order| order.error.as_deref()) {
        rows.push(TableRow::Line(Cell::new(WARN, format!("  {}", join_lines(error)))));
    }
    rows
}

fn certificate_text(certificate: &CertificateInfo) -> String {
    format!("{}, {}", certificate.origin_text(), certificate.key_type)
}

fn state_cell(host: &HostCertificates) -> (Style, &'static str) {
    let order = host.order.as_ref().map(|order| order.state.as_str());
    match (host.state, order) {
        (ServingState::Valid, _) => (OK, "valid"),
        (ServingState::ExpiresSoon, _) => (WARN, "expires soon"),
        (ServingState::NotYetValid, _) => (ERROR, "not valid yet"),
        (ServingState::Expired, _) => (ERROR, "expired"),
        (ServingState::Missing, Some("ordering")) => (WARN, "being ordered"),
        (ServingState::Missing, Some("failed")) => (ERROR, "order failed"),
        (ServingState::Missing, Some("paused")) => (ERROR, "orders paused"),
        (ServingState::Missing, Some("refused")) => (ERROR, "cannot be ordered"),
        (ServingState::Missing, Some(_)) => (WARN, "to be ordered"),
        (ServingState::Missing, None) => (ERROR, "no certificate"),
    }
}

fn renewal_text(host: &HostCertificates, now: i64) -> String {
    let is_file = host.certificates.first().is_some_and(|info| info.origin == "file");
    match &host.order {
        Some(OrderInfo { state, .. }) if state == "ordering" || state == "renewing" => {
            "now".to_owned()
        }
        Some(OrderInfo { next_order: Some(at), .. }) => relative_text(*at, now),
        _ if is_file => "by you".to_owned(),
        _ => "-".to_owned(),
    }
}

/// `in 61d`, `now`, or `3h ago`.
fn relative_text(at: i64, now: i64) -> String {
    let span = |seconds: i64| format_span(Duration::from_secs(seconds.unsigned_abs()));
    match at.saturating_sub(now) {
        0 => "now".to_owned(),
        future if 0 < future => format!("in {}", span(future)),
        past => format!("{} ago", span(past)),
    }
}

fn summary_text(list: &CertificateList) -> String {
    let unused = match list.unused.len() {
        0 => String::new(),
        number => format!(", {} not used", format_plural(number, "certificate")),
    };
    format!("{}{unused}", format_plural(list.hosts.len(), "host"))
}

fn ca_text(list: &CertificateList) -> Option<String> {
    let acme = list.acme.as_ref()?;
    let pause = match (acme.paused_until, &acme.pause) {
        (Some(until), Some(why)) => {
            format!(
                "; no orders for {}: {}",
                relative_text(until, list.at).replace("in ", ""),
                join_lines(why)
            )
        }
        _ => String::new(),
    };
    let account = acme.account.as_deref().unwrap_or("none yet");
    let shared = acme.shared.as_ref().map_or_else(String::new, |shared| format!("; {shared}"));
    Some(format!("CA {}, account {account}{shared}{pause}", acme.directory))
}
