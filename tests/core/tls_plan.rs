//! What holds for any change of certificates, lines and CAs, at each command and after an interruption.

use crate::common::{
    story,
    tls_change::{CertificateFiles, LISTS, SECRETS},
};
use docker_glue::{
    haproxy::{
        command::RuntimeCommand,
        config::Config,
        incremental_plan::{self, IncrementalPlan},
        layout::Layout,
        observed::ObservedState,
        plan::plan_commands,
        render::{Http3Mode, RenderContext},
        tls::{
            DefaultCertificate, ObservedTls, TlsContext, TlsLine, TlsLists, host_lines, list_name,
        },
    },
    model::{
        certificate::CertificateIndex,
        option_value::HostMatch,
        route::{Listener, Protocol, Routes},
    },
    routing::decide::{DecideState, Rules, decide},
};
use proptest::{prelude::*, sample::subsequence};
use std::{collections::BTreeSet, mem, num::NonZeroU16, sync::Arc, time::Instant};

const HOSTS: [&str; 4] = ["a.test", "b.shop.test", "c.shop.test", "d.shop.test"];

/// HAProxy, with what it has beyond [`ObservedTls`]: the content of certificates and CAs.
#[derive(Debug, Clone)]
struct Model {
    observed: ObservedState,
    /// Certificates and CAs with their content.
    complete: BTreeSet<String>,
    /// The certificate whose content the default one has; `None` if it is self-signed.
    default: Option<String>,
}

/// Lists and hosts.
type KeptHosts = BTreeSet<(String, String)>;

impl Model {
    /// Certificates and CAs of lines are complete. The others were interrupted.
    fn new(observed: ObservedState) -> Self {
        let complete = &observed.tls.certificates | &observed.tls.cas;
        let default = observed.tls.default_certificate.clone();
        Self { observed, complete, default }
    }

    /// Executes a command. Returns the reason if HAProxy would refuse it, or would serve an incomplete certificate.
    fn execute(&mut self, command: &RuntimeCommand) -> Result<(), String> {
        let tls = &self.observed.tls;
        let lines = || tls.lists.values().flatten();
        let exists = |name: &String| tls.certificates.contains(name) || tls.unused.contains(name);
        let ca_exists = |name: &String| tls.cas.contains(name) || tls.empty_cas.contains(name);
        let ca_of = |line: &TlsLine| {
            line.options
                .iter()
                .find_map(|option| option.strip_prefix("ca-file "))
                .map(str::to_owned)
        };
        let is_valid = match command {
            RuntimeCommand::LoadCertificate { certificate } => !exists(certificate),
            RuntimeCommand::DelCertificate { certificate } => {
                exists(certificate) && !lines().any(|line| line.certificate == *certificate)
            }
            RuntimeCommand::SetDefaultCertificate { certificate } => {
                tls.default_certificate.as_ref() != Some(certificate)
            }
            RuntimeCommand::LoadCa { ca } => !ca_exists(ca),
            RuntimeCommand::DelCa { ca } => {
                ca_exists(ca) && !lines().any(|line| ca_of(line).as_ref() == Some(ca))
            }
            RuntimeCommand::AddTlsLine { list, line } => {
                self.complete.contains(&line.certificate)
                    && ca_of(line).is_none_or(|ca| self.complete.contains(&ca))
                    && !tls.lists.get(list).is_some_and(|lines| lines.contains(line))
            }
            RuntimeCommand::DelTlsLine { list, line } => {
                tls.lists.get(list).is_some_and(|lines| lines.contains(line))
            }
            _ => true,
        };
        if !is_valid {
            return Err(format!("HAProxy refuses {command}: {tls:#?}"));
        }
        match command {
            RuntimeCommand::LoadCertificate { certificate: name }
            | RuntimeCommand::LoadCa { ca: name } => drop(self.complete.insert(name.clone())),
            RuntimeCommand::DelCertificate { certificate: name }
            | RuntimeCommand::DelCa { ca: name } => drop(self.complete.remove(name)),
            RuntimeCommand::SetDefaultCertificate { certificate } => {
                self.default = Some(certificate.clone());
            }
            _ => {}
        }
        self.observed.apply_command(command);
        Ok(())
    }

    /// The program is killed after the first command that this one sends. HAProxy does not tell the next one what its
    /// default certificate is.
    fn interrupt(&mut self, command: &RuntimeCommand) {
        let tls = &mut self.observed.tls;
        tls.default_certificate = None;
        match command {
            RuntimeCommand::LoadCertificate { certificate } => {
                tls.unused.insert(certificate.clone());
            }
            RuntimeCommand::LoadCa { ca } => drop(tls.empty_cas.insert(ca.clone())),
            _ => {}
        }
    }

    /// Executes commands. At each moment, each of these hosts has a complete certificate.
    fn execute_all(
        &mut self,
        commands: &[RuntimeCommand],
        kept: &KeptHosts,
        default: &DefaultCertificate,
    ) -> Result<(), String> {
        for command in commands {
            self.execute(command)?;
            let missing =
                kept.iter().find(|(list, host)| !self.has_certificate(list, host, default));
            if let Some((list, host)) = missing {
                return Err(format!("{host} has no certificate in {list} after {command}"));
            }
        }
        Ok(())
    }

    /// Whether the host has a certificate of its own, or gets the default one with its desired content.
    fn has_certificate(&self, list: &str, host: &str, default: &DefaultCertificate) -> bool {
        let lines = serving_lines(&self.observed.tls.lists, list, host);
        let gets_default = match default {
            DefaultCertificate::Off => false,
            DefaultCertificate::AsStored => lines.is_empty(),
            DefaultCertificate::Of(name) => lines.is_empty() && self.default.as_ref() == Some(name),
        };
        gets_default || lines.iter().any(|line| self.complete.contains(&line.certificate))
    }

    /// Returns the hosts that have a certificate now, and have one in `desired`.
    fn kept_hosts(&self, desired: &Config, hosts: &[&str]) -> KeptHosts {
        let default = &desired.default_certificate;
        let all = LISTS.iter().flat_map(|list| hosts.iter().map(move |host| (*list, *host)));
        let has_both = |(list, host): &(&str, &str)| {
            self.has_certificate(list, host, default)
                && (default.is_on() || !serving_lines(&desired.tls, list, host).is_empty())
        };
        all.filter(has_both).map(|(list, host)| (list.to_owned(), host.to_owned())).collect()
    }
}

/// Returns the lines of which HAProxy chooses one for a host: those of its exact name, else those of the wildcard.
fn serving_lines<'a>(lists: &'a TlsLists, list: &str, host: &str) -> Vec<&'a TlsLine> {
    let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    let lines_of = |name: &str| -> Vec<_> {
        let lines = lists.get(list).into_iter().flatten();
        lines.filter(|line| line.name == name).collect()
    };
    let exact = lines_of(host);
    if exact.is_empty() { lines_of(&wildcard.unwrap_or_default()) } else { exact }
}

/// Any state, with certificates and CAs whose loading was interrupted, and any default certificate, which the program
/// knows or not.
fn model_strategy() -> impl Strategy<Value = Model> {
    let all = || subsequence((0..SECRETS).collect::<Vec<_>>(), 0..SECRETS);
    let default = (prop::option::of(0..SECRETS), any::<bool>());
    let files = CertificateFiles::default();
    (files.desired_strategy(), all(), all(), default).prop_map(
        move |((lists, cas), unused, empty, (default, is_known))| {
            let certificates = unused.into_iter().map(|number| files.certificate(number)).collect();
            let empty = empty.into_iter().map(|number| files.ca(number));
            let empty_cas = empty.filter(|ca| !cas.contains(ca)).collect();
            let default = default.map(|number| files.certificate(number));
            let default_certificate = default.clone().filter(|_| is_known);
            let tls = ObservedTls {
                cas,
                empty_cas,
                default_certificate,
                ..ObservedTls::new(lists, certificates)
            };
            Model { default, ..Model::new(ObservedState { tls, ..ObservedState::default() }) }
        },
    )
}

fn default_strategy() -> impl Strategy<Value = DefaultCertificate> {
    let of = |number| DefaultCertificate::Of(CertificateFiles::default().certificate(number));
    prop_oneof![
        1 => Just(DefaultCertificate::Off),
        1 => Just(DefaultCertificate::AsStored),
        4 => (0..SECRETS).prop_map(of),
    ]
}

/// What HAProxy should have.
fn config_strategy() -> impl Strategy<Value = Config> {
    let all = (CertificateFiles::default().desired_strategy(), default_strategy());
    all.prop_map(|((tls, cas), default_certificate)| Config {
        tls,
        cas,
        default_certificate,
        ..Config::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The program is killed once on the way, and what is desired changes meanwhile.
    #[test]
    fn certificates_of_any_state_reach_any_other_without_gap(
        mut model in model_strategy(),
        first in config_strategy(),
        last in config_strategy(),
        cut in 0..30_usize,
    ) {
        for (config, cut) in [(first, cut), (last, usize::MAX)] {
            let default = &config.default_certificate;
            let kept = model.kept_hosts(&config, &HOSTS);
            let commands = plan_commands(&model.observed, &config);
            let cut = cut.min(commands.len());
            model.execute_all(&commands[..cut], &kept, default).map_err(TestCaseError::fail)?;
            if let Some(command) = commands.get(cut) {
                model.interrupt(command);
                continue;
            }
            if let Some(name) = default.certificate() {
                prop_assert_eq!(model.default.as_ref(), Some(name));
            }
            let arrived = ObservedTls {
                cas: config.cas.clone(),
                default_certificate: model.observed.tls.default_certificate.clone(),
                ..ObservedTls::new(config.tls.clone(), BTreeSet::new())
            };
            prop_assert_eq!(&model.observed.tls, &arrived);
            prop_assert!(plan_commands(&model.observed, &config).is_empty());
        }
    }
}

/// Containers that share a few HTTPS hosts, some of which share a certificate.
fn https_story_strategy() -> impl Strategy<Value = String> {
    let line = |number: usize| {
        let host = prop_oneof![
            2 => Just("host=secure.test"),
            2 => Just("host=x.test"),
            3 => Just("host=red.shop.test"),
            3 => Just("host=blue.shop.test"),
            3 => Just("host=*.shop.test"),
            1 => Just("host=none.test"),
            1 => Just(""),
        ];
        let tls = prop_oneof![4 => Just("tls=on"), 1 => Just("tls=both"), 1 => Just("tls=only"), 1 => Just("tls=off"), 2 => Just("tls=pass")];
        let port = prop_oneof![3 => Just(""), 1 => Just("tls_bind=8443")];
        let terms = prop_oneof![
            5 => Just(""),
            1 => Just("tls_policy=modern"),
            2 => Just("client_cert=internal"),
            1 => Just("client_cert=internal␠optional"),
        ];
        let prefix = prop_oneof![3 => Just(""), 1 => Just("prefix=/x")];
        let state = prop_oneof![5 => Just(""), 2 => Just("exited")];
        (state, (host, tls, port, terms, prefix)).prop_map(
            move |(state, (host, tls, port, terms, prefix))| {
                let options =
                    [host, tls, port, terms, prefix].into_iter().filter(|text| !text.is_empty());
                let options: String = options.flat_map(|text| [" glue_http_80_", text]).collect();
                format!("c{number} 172.17.0.{} {state}{options}", 2 + number)
            },
        )
    };
    (0..5).map(line).collect::<Vec<_>>().prop_map(|lines| lines.join("\n"))
}

/// Rules for HTTPS with a part of the certificates, by the bits of `part`.
fn rules_with(part: usize) -> Rules {
    let listener = |protocol, port| Listener { protocol, port: NonZeroU16::new(port).unwrap() };
    let rules = story::default_rules();
    let certificates = rules.certificates.iter().enumerate();
    let chosen = certificates.filter(|(number, _)| part & (1 << number) != 0);
    let chosen = chosen.map(|(_, certificate)| Arc::clone(certificate)).collect();
    let https = [443, 8443].map(|port| listener(Protocol::Https, port));
    Rules {
        certificates: Arc::new(CertificateIndex::build(chosen, 1)),
        permanent_listeners: https.into_iter().chain([listener(Protocol::Http, 80)]).collect(),
        ..rules
    }
}

/// The state of the program and of HAProxy from one turn to the next.
#[derive(Debug)]
struct Run {
    model: Model,
    context: RenderContext,
    rules: Rules,
    routes: Routes,
    config: Config,
}

impl Run {
    fn start(story: &str, part: usize, default_host: Option<&str>) -> Self {
        let default_host = default_host.map(|host| host.parse().unwrap());
        let context = RenderContext { passthrough: true, default_host, ..story::frame_for(true) };
        let rules = rules_with(part);
        let routes = decide_routes(story, &rules);
        let layout = Layout::for_new_worker(&routes, 0);
        let config = build(&rules, &context, &routes, layout);
        let model = Model::new(ObservedState::from_config(&config));
        Self { model, context, rules, routes, config }
    }

    /// Plans what the program plans for these routes: only the difference if that is possible.
    fn plan(&mut self, rules: Rules, routes: Routes) -> Vec<RuntimeCommand> {
        let has_same_certificates = rules.certificates == self.rules.certificates;
        self.rules = rules;
        let before = mem::replace(&mut self.routes, routes);
        let nothing = (BTreeSet::new(), BTreeSet::new());
        let builder = story::builder(&self.rules, &self.context, &nothing.0, &nothing.1);
        let observed = &self.model.observed;
        let pending = incremental_plan::find_pending_deletions(observed, &self.config);
        let step = pending.filter(|_| has_same_certificates).and_then(|pending| {
            let (was, is) = ((&before, &self.config), (observed, &pending));
            IncrementalPlan::new(was, is, &self.routes, builder)
        });
        if let Some(mut step) = step {
            let commands = mem::take(&mut step.commands);
            step.apply_to(&mut self.config);
            return commands;
        }
        self.config = self.whole_config();
        plan_commands(observed, &self.config)
    }

    fn whole_config(&self) -> Config {
        let observed = &self.model.observed;
        let (layout, unplaced) =
            Layout::for_running_worker(&self.routes, observed, &BTreeSet::new());
        assert_eq!(unplaced, []);
        build(&self.rules, &self.context, &self.routes, layout)
    }

    /// Returns the hosts whose lines have other options than their labels say.
    fn hosts_with_other_terms(&self) -> Vec<String> {
        let tls = TlsContext {
            certificates: &self.rules.certificates,
            cas: &self.rules.cas,
            directory: &self.context.certificates,
            policy: self.context.tls_policy,
            http3: self.context.http3 == Http3Mode::On,
            has_default: self.context.default_host.is_some(),
        };
        let routes = self.routes.0.iter().filter(|(key, _)| key.is_https());
        let wrong = routes.filter(|(key, route)| {
            let host = match key.host() {
                HostMatch::Exact(host) => host.to_string(),
                HostMatch::Wildcard(parent) => format!("other.{parent}"),
                HostMatch::Any => return false,
            };
            let expected = host_lines(key, route, tls);
            let list = list_name(key.listener.port);
            let actual = serving_lines(&self.model.observed.tls.lists, &list, &host);
            let options = |line: &TlsLine| line.options.clone();
            let expected: BTreeSet<_> = expected.iter().map(options).collect();
            !expected.is_empty()
                && actual.into_iter().map(options).collect::<BTreeSet<_>>() != expected
        });
        wrong.map(|(key, _)| format!("{:?} {key}", key.listener.protocol)).collect()
    }
}

fn build(rules: &Rules, context: &RenderContext, routes: &Routes, layout: Layout) -> Config {
    let nothing = (BTreeSet::new(), BTreeSet::new());
    story::builder(rules, context, &nothing.0, &nothing.1).build_config(routes, layout, None)
}

fn decide_routes(story: &str, rules: &Rules) -> Routes {
    decide(&story::parse_world(story), DecideState::default(), Instant::now(), rules).routes
}

const STORY_HOSTS: [&str; 5] =
    ["secure.test", "x.test", "red.shop.test", "blue.shop.test", "other.shop.test"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// With the plans that the program makes: of the difference, or of the whole state.
    #[test]
    fn https_hosts_of_any_story_keep_a_certificate_and_their_terms(
        turns in prop::collection::vec((https_story_strategy(), 0..8_usize, any::<bool>()), 2..6),
        default_host in prop_oneof![Just(None), Just(Some("secure.test")), Just(Some("blue.shop.test"))],
    ) {
        let mut run = Run::start(&turns[0].0, turns[0].1, default_host);
        let mut part = turns[0].1;
        for (story, other, changes_certificates) in &turns[1..] {
            part = if *changes_certificates { *other } else { part };
            let rules = rules_with(part);
            let routes = decide_routes(story, &rules);
            let commands = run.plan(rules, routes);
            let whole = run.whole_config();
            let default = &whole.default_certificate;
            let kept = run.model.kept_hosts(&whole, &STORY_HOSTS);
            run.model.execute_all(&commands, &kept, default).map_err(TestCaseError::fail)?;
            prop_assert_eq!(run.hosts_with_other_terms(), Vec::<String>::new());
            // The plan of the whole state deletes what hosts may have shared.
            let remaining = plan_commands(&run.model.observed, &whole);
            let is_deletion = |command: &RuntimeCommand| matches!(
                command,
                RuntimeCommand::DelTlsLine { .. } | RuntimeCommand::DelCertificate { .. } | RuntimeCommand::DelCa { .. }
            );
            prop_assert!(remaining.iter().all(is_deletion), "{:#?}", remaining);
            run.model.clone().execute_all(&remaining, &kept, default).map_err(TestCaseError::fail)?;
        }
        let whole = run.whole_config();
        let kept = run.model.kept_hosts(&whole, &STORY_HOSTS);
        let commands = plan_commands(&run.model.observed, &whole);
        let default = &whole.default_certificate;
        run.model.execute_all(&commands, &kept, default).map_err(TestCaseError::fail)?;
        if let Some(name) = default.certificate() {
            prop_assert_eq!(run.model.default.as_ref(), Some(name));
        }
        let mut there = ObservedState::from_config(&whole);
        if default.certificate().is_none() {
            // HAProxy keeps the last one.
            there.tls.default_certificate = run.model.observed.tls.default_certificate.clone();
        }
        prop_assert!(run.model.observed.matches_state(&there));
        prop_assert!(plan_commands(&run.model.observed, &whole).is_empty());
    }
}
