//! Labels that an administrator requires of containers, in addition to those of docker-balancer.
//!
//! Pure.

use crate::model::{
    container::Container,
    problem::{Problem, ProblemSubject, Reason},
};
use std::{collections::BTreeMap, fmt};

/// `label` or `label=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    pub label: String,
    pub value: Option<String>,
}

impl Constraint {
    pub fn matches_container(&self, container: &Container) -> bool {
        match (container.labels.get(&self.label), &self.value) {
            (Some(actual), Some(required)) => actual == required,
            (actual, _) => actual.is_some(),
        }
    }

    /// Returns the most likely correction, if the constraint is written as for another program.
    fn suggest_correction(&self) -> Option<String> {
        let Self { label, value } = self;
        let value = value.as_deref();
        match (label.as_str(), value) {
            // docker ps --filter label=…
            ("label", Some(filter)) if !filter.is_empty() => Some(filter.to_owned()),
            (_, Some(value)) if value.starts_with('=') => {
                Some(format!("{label}={}", value.trim_start_matches('=').trim()))
            }
            (label, Some(value)) if label.ends_with(['!', '~', ' ']) || value.starts_with(' ') => {
                let label = label.trim_end_matches(['!', '~', ' ']);
                Some(format!("{label}={}", value.trim()))
            }
            // Label(`a`, `b`), as in Traefik.
            (label, _) if label.starts_with("Label") && label.contains('(') => {
                let inside = label.split(['(', ')']).nth(1)?;
                let words = inside.split(',').map(|text| text.trim_matches(['`', '"', '\'', ' ']));
                Some(words.collect::<Vec<_>>().join("="))
            }
            (label, Some(value)) if value.contains(',') => {
                let (first, others) = value.split_once(',')?;
                let several = others.split(',').all(|text| text.contains('='));
                several.then(|| {
                    format!(
                        "{label}={first} --constraint {}",
                        others.replace(',', " --constraint ")
                    )
                })
            }
            (label, None) if label.contains([':', ',']) => {
                let (name, value) = label.split_once([':', ','])?;
                Some(format!("{}={}", name.trim(), value.trim()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

/// Returns the problems of constraints: those that no container can satisfy, and unusual ones.
pub fn constraint_problems(constraints: &[Constraint]) -> impl Iterator<Item = Problem> {
    let mut value_by_label: BTreeMap<&str, &str> = BTreeMap::new();
    let mut reasons = Vec::new();
    for constraint in constraints {
        if let Some(instead) = constraint.suggest_correction() {
            reasons.push(Reason::UnusualConstraint { constraint: constraint.to_string(), instead });
        }
        let Some(value) = constraint.value.as_deref() else { continue };
        match value_by_label.insert(&constraint.label, value) {
            Some(other) if other != value => reasons.push(Reason::ConflictingConstraints {
                label: constraint.label.clone(),
                values: [other.to_owned(), value.to_owned()],
            }),
            _ => {}
        }
    }
    let subject = ProblemSubject::Option("--constraint");
    reasons.into_iter().map(move |reason| Problem { subject: subject.clone(), label: None, reason })
}
