//! Passes that changed something.
//!
//! Pure.

use super::super::words::{ago, clock, count, several, took};
use crate::view::status::{HowStatus, LastApply};

/// Of the changes of a pass.
const MOST_LINES: usize = 6;

/// A pass that changed something.
#[derive(Debug, Clone)]
pub struct Pass {
    pub clock: String,
    pub ago: String,
    pub cause: String,
    /// `4 commands in 1.2 ms`
    pub how: String,
    pub why: Option<String>,
    pub lines: Vec<Line>,
    pub more: Option<String>,
}

/// A route that changed.
#[derive(Debug, Clone)]
pub struct Line {
    pub sign: Sign,
    pub text: String,
}

/// How it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Came,
    Went,
    Differs,
}

impl Pass {
    pub(super) fn of(it: &LastApply, now_ms: u64) -> Self {
        let took = took(it.took_us);
        let left_out = it.changes.len().saturating_sub(MOST_LINES);
        Self {
            clock: clock(it.at_ms),
            ago: ago(it.at_ms, now_ms),
            cause: it.cause.clone(),
            how: match it.how {
                HowStatus::Runtime => format!("{} in {took}", several(it.commands, "command")),
                HowStatus::Start => format!("HAProxy started in {took}"),
                HowStatus::Reload => format!("HAProxy reloaded in {took}"),
            },
            why: it.why.clone(),
            lines: it.changes.iter().take(MOST_LINES).map(|text| Line::of(text)).collect(),
            more: (left_out != 0).then(|| format!("and {} more", count(left_out as u64))),
        }
    }
}

impl Line {
    fn of(text: &str) -> Self {
        let (sign, rest) = text.split_once(' ').unwrap_or(("~", text));
        let sign = match sign {
            "+" => Sign::Came,
            "-" => Sign::Went,
            _ => Sign::Differs,
        };
        Self { sign, text: rest.to_owned() }
    }
}

impl Sign {
    pub fn text(self) -> &'static str {
        match self {
            Self::Came => "+",
            Self::Went => "−",
            Self::Differs => "~",
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Came => "came",
            Self::Went => "went",
            Self::Differs => "differs",
        }
    }
}
