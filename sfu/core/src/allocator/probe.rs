//! When to ask the bandwidth estimator for more than is sent.

use std::time::{Duration, Instant};

/// How long the estimate may take to reach a probe's goal.
const PROBE: Duration = Duration::from_secs(5);
/// How long to rest after the first probe that failed.
const REST: Duration = Duration::from_secs(3);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
struct Running {
    goal: u64,
    since: Instant,
    /// The estimate at its start.
    estimate: u64,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    since: Instant,
    whole: Duration,
    /// The estimate that was not reached.
    goal: u64,
}

/// The state of probing towards one receiver.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    running: Option<Running>,
    rest: Option<Rest>,
    next_rest: Duration,
}

impl Default for Probe {
    fn default() -> Self {
        Self { running: None, rest: None, next_rest: REST }
    }
}

impl Probe {
    /// The rate to ask the estimator for; none for no more than what is sent. `goal` is the estimate with which the
    /// next step would fit, none if nothing is short; `downgraded` says that a slot has just lost quality.
    pub(super) fn update(&mut self, now: Instant, estimate: u64, goal: Option<u64>, downgraded: bool) -> Option<u64> {
        if let Some(running) = self.running {
            let late = now.saturating_duration_since(running.since) >= PROBE;
            let harmful = downgraded || estimate < running.estimate - running.estimate / 10;
            if estimate >= running.goal {
                *self = Self::default();
            } else if late || harmful {
                self.fail(now, running.goal);
            } else {
                // A change of view may have made the next step cheaper, or done away with it.
                let goal = goal.map(|goal| goal.min(running.goal));
                self.running = goal.map(|goal| Running { goal, ..running });
                return goal;
            }
        } else if downgraded {
            self.rest = Some(Rest { since: now, whole: self.next_rest, goal: u64::MAX });
        }
        if self.rest.is_some_and(|rest| estimate >= rest.goal) {
            // The link has become better by itself.
            *self = Self::default();
        }
        let goal = goal?;
        if self.rest.is_some_and(|rest| now.saturating_duration_since(rest.since) < rest.whole) {
            return None;
        }
        self.running = Some(Running { goal, since: now, estimate });
        Some(goal)
    }

    fn fail(&mut self, now: Instant, goal: u64) {
        self.running = None;
        self.rest = Some(Rest { since: now, whole: self.next_rest, goal });
        self.next_rest = (self.next_rest * 3 / 2).min(LONGEST_REST);
    }
}
