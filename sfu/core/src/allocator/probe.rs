//! When to ask the bandwidth estimator for more than is sent.

use std::time::{Duration, Instant};

/// How long the estimate may take to reach a probe's goal.
const PROBE: Duration = Duration::from_secs(5);
/// How long to rest after the first probe that failed.
const REST: Duration = Duration::from_secs(3);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(120);
/// How long a probe may take, and how long to rest after it, while no video is sent at all: the picture that is missing is
/// worth more than what a probe costs.
const DARK_PROBE: Duration = Duration::from_secs(2);
const DARK_REST: Duration = Duration::from_secs(1);

/// What the allocator has just found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Bits per second.
    pub estimate: u64,
    /// The estimate with which the next step would fit; none if nothing is short.
    pub goal: Option<u64>,
    /// A slot has just lost quality.
    pub downgraded: bool,
    /// All video is paused for want of bandwidth.
    pub dark: bool,
}

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
    /// The rate to ask the estimator for; none for no more than what is sent.
    pub(super) fn update(&mut self, now: Instant, found: Found) -> Option<u64> {
        let Found { estimate, goal, downgraded, dark } = found;
        if let Some(running) = self.running {
            let longest = if dark { DARK_PROBE } else { PROBE };
            let late = now.saturating_duration_since(running.since) >= longest;
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
        let longest = if dark { DARK_REST } else { LONGEST_REST };
        if self.rest.is_some_and(|rest| now.saturating_duration_since(rest.since) < rest.whole.min(longest)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        Instant::now()
    }

    fn found(estimate: u64, goal: Option<u64>, downgraded: bool) -> Found {
        Found { estimate, goal, downgraded, dark: false }
    }

    #[test]
    fn without_any_picture_probes_come_every_three_seconds_however_often_they_failed() {
        let (mut probe, start) = (Probe::default(), start());
        let dark = Found { dark: true, ..found(50_000, Some(170_000), false) };
        let runs = |second: &u64| probe.update(start + Duration::from_secs(*second), dark).is_some();
        assert_eq!((0..12).filter(runs).collect::<Vec<_>>(), [0, 1, 3, 4, 6, 7, 9, 10]);
    }

    /// The seconds at which a probe runs, of the first `seconds`, on a link that never carries more.
    fn running(seconds: u64) -> Vec<u64> {
        let (mut probe, start) = (Probe::default(), start());
        let at = |second| start + Duration::from_secs(second);
        (0..seconds)
            .filter(|second| probe.update(at(*second), found(500_000, Some(700_000), false)).is_some())
            .collect()
    }

    #[test]
    fn probes_that_fail_come_less_and_less_often() {
        let running = running(4000);
        let begins: Vec<u64> =
            running.iter().copied().filter(|second| *second == 0 || !running.contains(&(second - 1))).collect();
        let rests: Vec<u64> = begins.windows(2).map(|pair| pair[1] - pair[0] - 5).collect();
        assert_eq!(rests[..5], [3, 5, 7, 11, 16], "3 s, each 1.5 times the one before, in whole seconds");
        assert_eq!(rests.iter().max(), Some(&120));
        assert_eq!(rests.last(), Some(&120));
    }

    #[test]
    fn a_probe_that_succeeds_is_followed_by_the_next() {
        let (mut probe, now) = (Probe::default(), start());
        assert_eq!(probe.update(now, found(500_000, Some(700_000), false)), Some(700_000));
        assert_eq!(probe.update(now, found(600_000, Some(700_000), false)), Some(700_000));
        assert_eq!(probe.update(now, found(700_000, Some(900_000), false)), Some(900_000));
        assert_eq!(probe.update(now, found(900_000, None, false)), None);
    }

    #[test]
    fn a_probe_that_does_harm_ends_at_once() {
        let (mut probe, now) = (Probe::default(), start());
        assert!(probe.update(now, found(500_000, Some(700_000), false)).is_some());
        assert_eq!(probe.update(now, found(449_000, Some(700_000), false)), None, "the estimate fell");
        let mut probe = Probe::default();
        assert!(probe.update(now, found(500_000, Some(700_000), false)).is_some());
        assert_eq!(probe.update(now, found(500_000, Some(700_000), true)), None, "a slot went down");
    }

    #[test]
    fn a_link_that_gets_better_by_itself_ends_the_rest() {
        let (mut probe, now) = (Probe::default(), start());
        probe.update(now, found(500_000, Some(700_000), false));
        let later = now + PROBE;
        assert_eq!(probe.update(later, found(500_000, Some(700_000), false)), None);
        assert_eq!(probe.update(later, found(700_000, Some(900_000), false)), Some(900_000));
    }
}
