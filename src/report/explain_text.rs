//! An explanation as text for people: the outcome of the request, then each step with its reason.

use crate::{
    report::{
        certificates::CertificateInfo,
        explain::{
            AnsweredBy, EngineStep, ExcludedContainer, Explanation, FlowStep, FlowTarget,
            ForwardedRequest, HeaderStep, LabelSource, ListenerStep, NotSelected, OptionStep,
            RequestOutcome, RetryScope, RouteStep, ServerState, ServerStep, TlsStep,
        },
        style::{DIM, ERROR, HEADING, OK, PLAIN, WARN, apply_style},
        table::{Cell, render_list},
        udp_table::describe_addresses,
    },
    support::{
        escape::SingleLine,
        format::{format_date, format_duration},
    },
};
use std::time::Duration;

/// How many other routes and how many skipped containers are shown. The JSON has all.
const MAX_ROWS: usize = 20;

/// Returns text with colours, which the caller's output removes where they are not wanted.
pub fn format_explanation(explanation: &Explanation) -> String {
    let mut text = format_heading(explanation);
    text.push('\n');
    text.push_str(&render_list(&chain_rows(explanation)));
    push_section(&mut text, unselected_title(explanation), &unselected_rows(explanation));
    push_section(&mut text, "skipped containers", &excluded_rows(explanation));
    push_section(&mut text, "note", &note_rows(explanation));
    text
}

fn format_heading(explanation: &Explanation) -> String {
    let why = &explanation.why;
    let with_reason = |style, word: &str| format!("{}: {why}", apply_style(style, word));
    let outcome = match explanation.outcome {
        RequestOutcome::Served | RequestOutcome::PassedThrough => apply_style(OK, why),
        RequestOutcome::Answered => format!("{}: {why}", apply_style(OK, "204 by HAProxy")),
        RequestOutcome::Closed => with_reason(WARN, "connection closed"),
        RequestOutcome::Dropped => with_reason(WARN, "datagrams dropped"),
        RequestOutcome::Redirected => {
            let status = explanation.status.unwrap_or(308);
            format!(
                "{}: {why}",
                apply_style(OK, format_args!("{status} {}", redirect_phrase(status)))
            )
        }
        RequestOutcome::TlsRefused => with_reason(ERROR, "TLS refused"),
        RequestOutcome::Unavailable => with_reason(WARN, "503 Service Unavailable"),
        RequestOutcome::NotFound => with_reason(ERROR, "404 Not Found"),
        RequestOutcome::Refused => {
            with_reason(ERROR, &format!("{} by HAProxy", explanation.status.unwrap_or(400)))
        }
        RequestOutcome::NotListening => {
            with_reason(ERROR, &format!("nothing listens on port {}", explanation.listener.port))
        }
    };
    let by_docker = "so this is computed from the containers in Docker";
    let source_note = match (explanation.answered_by, &explanation.daemon_error) {
        (AnsweredBy::Daemon, _) => String::new(),
        (AnsweredBy::Docker, None) => format!("no docker-balancer answers, {by_docker}\n"),
        (AnsweredBy::Docker, Some(answer)) => {
            format!("docker-balancer answered {answer:?}, {by_docker}\n")
        }
    };
    let Explanation { method, url, .. } = explanation;
    let request = if is_stream(explanation) {
        apply_style(HEADING, url)
    } else {
        apply_style(HEADING, format_args!("{method} {url}"))
    };
    format!("{request}\n{outcome}\n{}", apply_style(DIM, source_note))
}

/// Returns the reason phrase of a redirect (RFC 9110, section 15.4).
fn redirect_phrase(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        _ => "Permanent Redirect",
    }
}

/// Whether connections or datagrams are explained, and not a request.
fn is_stream(explanation: &Explanation) -> bool {
    matches!(explanation.listener.protocol.as_str(), "tcp" | "udp")
}

fn chain_rows(explanation: &Explanation) -> Vec<Vec<Cell>> {
    let mut rows =
        vec![labelled_row("listener", listener_cell(explanation), &explanation.listener.labels)];
    rows.extend(explanation.tls.iter().flat_map(tls_rows));
    if let Some(host) = &explanation.host {
        let matched = match host.matched.as_str() {
            "*" if is_stream(explanation) => format!("{}, matched by any name", host.requested),
            "*" => format!("{}, matched by any host", host.requested),
            matched if matched == host.requested => matched.to_owned(),
            matched => format!("{}, matched by {matched}", host.requested),
        };
        let title = if is_stream(explanation) { "name" } else { "host" };
        rows.push(labelled_row(title, Cell::new(PLAIN, matched), &host.labels));
    }
    if let Some(route) = explanation.route.as_ref().filter(|_| !is_stream(explanation)) {
        let title = if route.passes_tls { "TLS" } else { "path" };
        rows.push(labelled_row(title, Cell::new(PLAIN, path_text(route)), &route.labels));
    }
    let shares = share_lines(&explanation.servers);
    for (at, (server, share)) in explanation.servers.iter().zip(shares).enumerate() {
        let title = if at == 0 { "servers" } else { "" };
        rows.push(labelled_row(
            title,
            Cell::new(state_style(server), share),
            server.label.as_slice(),
        ));
    }
    rows.extend(explanation.flow.iter().map(|flow| labelled_row("client", flow_cell(flow), &[])));
    rows.extend(explanation.engine.iter().map(|EngineStep { engine, .. }| {
        let text = format!("{engine}: {}", describe_addresses(*engine));
        labelled_row("engine", Cell::new(PLAIN, text), &[])
    }));
    rows.extend(explanation.options.iter().map(|OptionStep { option, value, label }| {
        labelled_row(option, Cell::new(PLAIN, value), label.as_slice())
    }));
    rows.extend(explanation.headers.iter().enumerate().map(|(at, step)| {
        let HeaderStep { name, value, text, label, .. } = step;
        let title = if at == 0 { "headers" } else { "" };
        let cell = Cell::new(PLAIN, format!("{name}: {value}  {text}"));
        labelled_row(title, cell, label.as_slice())
    }));
    rows.extend(
        explanation.becomes.iter().flat_map(|becomes| forwarded_rows(&explanation.method, becomes)),
    );
    rows
}

fn flow_cell(flow: &FlowStep) -> Cell {
    let FlowStep { from, goes_to, container, address, .. } = flow;
    match (goes_to, container, address) {
        (FlowTarget::Container, Some(container), Some(address)) => {
            Cell::new(PLAIN, format!("a new flow of {from} goes to {container}, {address}"))
        }
        (FlowTarget::Container | FlowTarget::Spread, ..) => Cell::new(
            PLAIN,
            format!("each datagram of {from} is distributed by itself, by the weights"),
        ),
        (FlowTarget::Nowhere, ..) => {
            Cell::new(ERROR, format!("a new flow of {from} goes to no container"))
        }
    }
}

/// The certificates, and the terms that are not the default.
fn tls_rows(tls: &TlsStep) -> Vec<Vec<Cell>> {
    let source = |option: &str| -> Vec<LabelSource> {
        tls.labels.iter().filter(|label| is_option(&label.key, option)).cloned().collect()
    };
    let mut rows = Vec::new();
    for (at, certificate) in tls.certificates.iter().enumerate() {
        let title = if at == 0 { "certificate" } else { "" };
        let text = Cell::new(PLAIN, certificate_text(certificate));
        rows.push(labelled_row(title, text, &source("cert")));
    }
    if tls.certificates.is_empty() {
        rows.push(labelled_row("certificate", Cell::new(ERROR, "none"), &source("cert")));
    }
    let terms = [
        ("TLS policy", &tls.policy, "tls_policy"),
        ("client cert", &tls.client_certificate, "client_cert"),
        ("HSTS", &tls.hsts, "hsts"),
    ];
    for (title, value, option) in terms {
        if let Some(value) = value {
            rows.push(labelled_row(title, Cell::new(PLAIN, value), &source(option)));
        }
    }
    rows
}

fn certificate_text(certificate: &CertificateInfo) -> String {
    let CertificateInfo { names, key_type, not_after, .. } = certificate;
    let names = abbreviate_names(names.iter());
    let origin = certificate.origin_text();
    format!("{names} ({key_type}), {origin}, expires {}", format_date(*not_after))
}

fn labelled_row(title: &str, what: Cell, labels: &[LabelSource]) -> Vec<Cell> {
    vec![Cell::new(DIM, title), what, Cell::new(DIM, describe_labels(labels))]
}

fn listener_cell(explanation: &Explanation) -> Cell {
    let ListenerStep { protocol, port, bound, .. } = &explanation.listener;
    match (&explanation.listener.taken, explanation.outcome) {
        (Some(why), _) => Cell::new(ERROR, format!("{protocol} :{port} is {why}")),
        (None, RequestOutcome::NotListening) => {
            Cell::new(ERROR, format!("{protocol} :{port} does not exist"))
        }
        _ if port == bound => Cell::new(PLAIN, format!("{protocol} :{port}")),
        _ => Cell::new(PLAIN, format!("{protocol} :{port}, bound to {bound}")),
    }
}

fn path_text(route: &RouteStep) -> String {
    match route.prefix.as_str() {
        _ if route.passes_tls => "not decrypted by HAProxy".to_owned(),
        path if route.exact => format!("{path}, exactly"),
        "" => "/, the whole host".to_owned(),
        prefix => format!("{prefix}/"),
    }
}

fn state_style(server: &ServerStep) -> anstyle::Style {
    if server.state == ServerState::Up { OK } else { ERROR }
}

/// One line for each server, in columns.
fn share_lines(servers: &[ServerStep]) -> Vec<String> {
    let widest = |text: fn(&ServerStep) -> String| {
        servers.iter().map(|step| text(step).chars().count()).max().unwrap_or(0)
    };
    let (to, then_to) = (widest(ServerStep::place), widest(|step| step.address.clone()));
    let line = |step: &ServerStep| {
        let ServerStep { address, weight, percent, .. } = step;
        let container = step.place();
        let answer = state_text(step);
        format!("{container:to$}  {address:then_to$}  {answer}  weight {weight:<3}  {percent:>5} %")
    };
    servers.iter().map(line).collect()
}

fn state_text(server: &ServerStep) -> String {
    let haproxy_state =
        server.haproxy.as_deref().filter(|text| *text != "UP" && *text != "no check");
    match (server.state, haproxy_state) {
        (ServerState::Up, None) => "up".to_owned(),
        (_, answer) => format!("HAProxy reports {}", answer.unwrap_or("DOWN")),
    }
}

fn forwarded_rows(method: &str, request: &ForwardedRequest) -> Vec<Vec<Cell>> {
    let timeout = format_duration(Duration::from_millis(request.timeout_ms));
    let again = match request.again {
        RetryScope::Never => "not retried",
        RetryScope::Unsent => "retried only if it did not reach a container",
        RetryScope::Unanswered => "retried, also if a container failed during the request",
    };
    let lines = [
        ("forwarded", format!("{method} {}", request.path), "strip_prefix"),
        ("timeout", timeout, "timeout"),
        ("retry", format!("{}: {again}", request.retry), "retry"),
        ("check", request.check.clone(), "check"),
    ];
    let verified = request.verify.as_ref().map(|verify| match verify.as_str() {
        "off" => ", any certificate".to_owned(),
        "system" => ", verified by the system's CAs".to_owned(),
        ca => format!(", verified by the CA {ca}"),
    });
    let scheme = format!("{}{}", request.scheme, verified.unwrap_or_default());
    let scheme = (request.scheme != "http").then_some(("protocol", scheme, "scheme"));
    let painted_row = |(title, text, option): (&str, String, &str)| {
        let label = request.labels.iter().find(|label| is_option(&label.key, option));
        labelled_row(title, Cell::new(PLAIN, text), &label.cloned().into_iter().collect::<Vec<_>>())
    };
    scheme.into_iter().chain(lines).map(painted_row).collect()
}

/// Matches both `glue_http_80_check` and `glue_http_80_check.admin`.
fn is_option(key: &str, option: &str) -> bool {
    key.split('.').next().unwrap_or_default().ends_with(&format!("_{option}"))
}

fn unselected_title(explanation: &Explanation) -> &'static str {
    if explanation.route.is_some() { "also matches" } else { "similar routes" }
}

fn unselected_rows(explanation: &Explanation) -> Vec<Vec<Cell>> {
    let row = |server: &NotSelected| {
        let names = abbreviate_names(server.containers.iter());
        vec![Cell::new(PLAIN, &server.route), Cell::new(PLAIN, &server.text), Cell::new(DIM, names)]
    };
    truncate_rows(explanation.lost.iter().map(row).collect())
}

fn excluded_rows(explanation: &Explanation) -> Vec<Vec<Cell>> {
    let row = |container: &ExcludedContainer| {
        let label = container.label.as_ref().map(label_text).unwrap_or_default();
        vec![
            Cell::new(WARN, &container.container),
            Cell::new(PLAIN, SingleLine(&container.text).to_string()),
            Cell::new(DIM, label),
        ]
    };
    truncate_rows(explanation.absent.iter().map(row).collect())
}

fn note_rows(explanation: &Explanation) -> Vec<Vec<Cell>> {
    let meant = explanation.did_you_mean.as_ref().map(|host| format!("did you mean {host}?"));
    let elsewhere = explanation.elsewhere.iter().map(|url| format!("{url} is served"));
    let all = meant
        .into_iter()
        .chain(elsewhere)
        .chain(explanation.notes.iter().map(|text| SingleLine(text).to_string()));
    all.map(|text| vec![Cell::new(PLAIN, text)]).collect()
}

fn push_section(text: &mut String, title: &str, rows: &[Vec<Cell>]) {
    if !rows.is_empty() {
        let title = apply_style(HEADING, title);
        text.extend(["\n", &title, "\n", &render_list(rows)]);
    }
}

fn truncate_rows(mut rows: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    let more = rows.len().saturating_sub(MAX_ROWS);
    if 0 < more {
        rows.truncate(MAX_ROWS);
        rows.push(vec![Cell::new(DIM, format!("and {more} more"))]);
    }
    rows
}

/// Describes the first label, the containers that have it, and those that have it with another value.
fn describe_labels(labels: &[LabelSource]) -> String {
    let Some(first) = labels.first() else { return String::new() };
    let same = |source: &&LabelSource| (&source.key, &source.value) == (&first.key, &first.value);
    let (same, others): (Vec<_>, Vec<_>) = labels.iter().partition(same);
    let names =
        |all: Vec<&LabelSource>| abbreviate_names(all.into_iter().map(|source| &source.container));
    let also = if others.is_empty() { "" } else { ", with another value of " };
    format!("{} of {}{also}{}", label_text(first), names(same), names(others))
}

/// Returns the label as it is written, on one line.
fn label_text(source: &LabelSource) -> String {
    let variable = if source.environment { " (environment)" } else { "" };
    format!("{}={}{variable}", SingleLine(&source.key), SingleLine(&source.value))
}

fn abbreviate_names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    match &names[..] {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, other] => format!("{one}, {other}"),
        [one, others @ ..] => format!("{one} and {} more", others.len()),
    }
}
