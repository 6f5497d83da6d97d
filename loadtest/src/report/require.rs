//! `--require`: limits that a run must keep, for CI.

use std::fmt::Write as _;
use std::str::FromStr;

use thiserror::Error;

use super::metrics::{self, Metric};
use crate::results::{Results, Verdict};

/// A limit: a metric's name, `<`, `<=`, `>`, `>=` or `==`, and a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    text: String,
    metric: Metric,
    order: Order,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

/// Longest first: `<=` begins with `<`.
const ORDERS: [(&str, Order); 5] =
    [("<=", Order::AtMost), (">=", Order::AtLeast), ("==", Order::Equal), ("<", Order::Less), (">", Order::More)];

/// Why a `--require` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequirementError {
    /// It has no comparison.
    #[error("`{0}` compares nothing: write NAME<NUMBER, with one of < <= > >= ==, such as 'p99_latency_ms<50'")]
    NoComparison(String),
    /// What stands behind the comparison is no number.
    #[error("`{number}` in `{text}` is not a number: write digits, without a unit, such as 'p99_latency_ms<50'")]
    NoNumber {
        /// The whole requirement.
        text: String,
        /// What was taken for the number.
        number: String,
    },
    /// There is no such metric.
    #[error("there is no figure named `{name}`{}\nknown names:\n{}", suggestion(.name), names())]
    UnknownName {
        /// What was taken for the name.
        name: String,
    },
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let at = text.find(['<', '>', '=']).ok_or_else(|| RequirementError::NoComparison(text.to_owned()))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (sign, order) = ORDERS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| RequirementError::NoComparison(text.to_owned()))?;
        let number = rest[sign.len()..].trim();
        let limit = number
            .parse()
            .ok()
            .filter(|limit: &f64| limit.is_finite())
            .ok_or_else(|| RequirementError::NoNumber { text: text.to_owned(), number: number.to_owned() })?;
        let metric = metrics::find(name).ok_or_else(|| RequirementError::UnknownName { name: name.to_owned() })?;
        Ok(Self { text: text.trim().to_owned(), metric, order, limit })
    }
}

impl Requirement {
    /// Whether a run kept it. Where nothing was measured it does not hold: a test that measures nothing must not pass.
    #[must_use]
    pub fn judge(&self, results: &Results) -> Verdict {
        let measured = self.metric.of(results);
        let holds = measured.is_some_and(|value| match self.order {
            Order::Less => value < self.limit,
            Order::AtMost => value <= self.limit,
            Order::More => value > self.limit,
            Order::AtLeast => value >= self.limit,
            Order::Equal => value == self.limit,
        });
        Verdict { requirement: self.text.clone(), measured, holds }
    }
}

fn names() -> String {
    let mut out = String::new();
    for metric in metrics::all() {
        let _ = writeln!(out, "  {:<30} {}", metric.name(), metric.about());
    }
    out
}

/// The known name that shares the most words with `name`.
fn suggestion(name: &str) -> String {
    let words = |name: &str| name.to_lowercase().split(['_', '-', ' ']).map(str::to_owned).collect::<Vec<_>>();
    let wanted = words(name);
    let shared = |metric: &Metric| words(&metric.name()).iter().filter(|word| wanted.contains(word)).count();
    let best = metrics::all().max_by_key(|metric| (shared(metric), std::cmp::Reverse(metric.name().len())));
    match best {
        Some(metric) if shared(&metric) > 0 => format!("; did you mean `{}`?", metric.name()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn judged(text: &str) -> Verdict {
        text.parse::<Requirement>().unwrap().judge(&sample::results())
    }

    #[test]
    fn every_comparison_compares() {
        // The sample's median join takes 180 ms.
        let value = judged("p50_join_ms>0").measured.unwrap();
        for (sign, below, same, above) in
            [("<", false, false, true), ("<=", false, true, true), (">", true, false, false), (">=", true, true, false)]
        {
            for (limit, holds) in [(value - 1.0, below), (value, same), (value + 1.0, above)] {
                assert_eq!(judged(&format!("p50_join_ms {sign} {limit}")).holds, holds, "{sign} {limit}");
            }
        }
        assert!(judged("join_failures == 1").holds && !judged("join_failures==0").holds);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let mut results = sample::results();
        results.server = None;
        let verdict = "server_cores<100".parse::<Requirement>().unwrap().judge(&results);
        assert_eq!((verdict.measured, verdict.holds), (None, false));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "latency_p99_ms<50".parse::<Requirement>().unwrap_err().to_string();
        assert!(error.contains("no figure named `latency_p99_ms`; did you mean `p99_latency_ms`?"), "{error}");
        for metric in metrics::all() {
            assert!(error.contains(&metric.name()));
        }
        let error = "speed<1".parse::<Requirement>().unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn nonsense_is_told_by_its_part() {
        let error = |text: &str| text.parse::<Requirement>().unwrap_err().to_string();
        assert!(error("p99_latency_ms").contains("compares nothing"));
        assert!(error("p99_latency_ms=50").contains("compares nothing"));
        assert!(error("p99_latency_ms<50ms").contains("`50ms` in `p99_latency_ms<50ms` is not a number"));
        assert!(error("p99_latency_ms<NaN").contains("not a number"));
    }
}
