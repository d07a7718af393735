//! One label of HTTP with any value: what is displayed and written as JSON is read as the same value, and a protection
//! is understood, or its route is closed. With `FUZZ_OPTION=NAME` all inputs are values of this option.

#![no_main]

#[path = "../../common/story.rs"]
mod story;

use docker_glue::{
    label::{self, LabelLimits},
    model::{
        container::Container,
        http::{
            clients::{Allow, Deny},
            closed::Closed,
            forward_auth::ForwardAuth,
            users::Users,
        },
        label_option::{
            InvalidValue, LabelOption, LabelProtocol, OptionPlace, OptionValue, OptionValues,
            ProtocolPolicy,
        },
        policy_book::PolicyBook,
    },
    support::escape,
};
use libfuzzer_sys::fuzz_target;
use std::{
    env,
    sync::{Arc, LazyLock},
};

static OPTION: LazyLock<Option<String>> = LazyLock::new(|| env::var("FUZZ_OPTION").ok());

static BARE: LazyLock<Container> = LazyLock::new(|| {
    let world = story::parse_world("web 172.17.0.2 glue_http_80_host=a.test");
    Container::clone(world.containers.values().next().expect("the story has one"))
});

/// Two policies, each with a protection.
static LIMITS: LazyLock<LabelLimits> = LazyLock::new(|| {
    let mut book = PolicyBook::default();
    for (name, option, text) in [("lan", "allow", "10.0.0.0/8"), ("ban", "deny", "192.0.2.1")] {
        let value = parse_value(option, text).expect("it is valid");
        book.policies.insert(name.parse().expect("it is a name"), vec![value]);
    }
    LabelLimits { policies: Arc::new(book), ..story::default_rules().base.label_limits }
});

fn parse_value(name: &str, text: &str) -> Option<OptionValue> {
    if let Some((option, tail)) = LabelOption::from_open_name(LabelProtocol::Http, name) {
        return option.parse_open_value(tail, text).ok();
    }
    let option = LabelOption::from_port_name(LabelProtocol::Http, name)?;
    Some(option.parse_value(text)?.ok()?.0)
}

fn assert_same_when_read_again(value: &OptionValue) {
    // Users are displayed as a digest, which no label may have.
    if value.option() != LabelOption::Users {
        let text = value.to_string();
        let again = value.option().parse_value(&text).and_then(Result::ok).map(|(again, _)| again);
        assert_eq!(again.as_ref(), Some(value), "{text:?}");
    }
    let again = value.option().parse_json(&value.to_json());
    assert_eq!(again.as_ref(), Some(value), "{}", value.to_json());

    let mut values = OptionValues::default();
    values.set(value.clone());
    let values = values.select(OptionPlace::Policy);
    let policy = ProtocolPolicy { protocol: LabelProtocol::Http, values };
    let json = serde_json::to_string(&policy).expect("it has no keys that are not texts");
    let again: ProtocolPolicy = serde_json::from_str(&json).expect("it was just written");
    assert_eq!(again, policy, "{json}");
}

/// Checks the routes of a container with this label.
fn assert_protected(name: &str, text: &str) {
    let mut container = BARE.clone();
    Arc::make_mut(&mut container.labels).insert(format!("glue_http_80_{name}"), text.to_owned());
    let parsed = label::parse_labels(&container, &LIMITS);
    for problem in &parsed.problems {
        let text = problem.to_string();
        assert!(!text.contains(escape::is_unprintable), "{text:?}");
    }
    let Some(option) = LabelOption::from_port_name(LabelProtocol::Http, name) else { return };
    if option.spec().invalid != InvalidValue::ClosesRoute {
        return;
    }
    for request in &parsed.requests {
        let (Allow(allow), Deny(deny)) = (request.policy.get(), request.policy.get());
        let is_closed = request.policy.get::<Closed>() != Closed::default();
        let is_off = text.trim().eq_ignore_ascii_case("off");
        let is_protected = match option {
            LabelOption::Allow => !allow.is_empty(),
            LabelOption::Deny => !deny.is_empty(),
            LabelOption::Users | LabelOption::ForwardAuth if is_off => true,
            LabelOption::Users => !request.policy.get::<Users>().is_none(),
            LabelOption::ForwardAuth => request.policy.get::<ForwardAuth>().0.is_some(),
            _ => !allow.is_empty() || !deny.is_empty(),
        };
        assert!(is_closed || is_protected, "{option}={text:?}: {:?}", request.policy);
    }
}

fuzz_target!(|text: &str| {
    let Some((name, text)) = text.split_once('=') else { return };
    let name = OPTION.as_deref().unwrap_or(name);
    if let Some(value) = parse_value(name, text) {
        assert_same_when_read_again(&value);
    }
    assert_protected(name, text);
});
