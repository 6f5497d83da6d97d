//! Tells a link that falls from one that swings.

use std::time::{Duration, Instant};

/// Below this share of the highest estimate of a moment ago, in percent, the link has fallen. One that swings by 15 % up and
/// down stays above 74.
const STEEP_PERCENT: u64 = 60;
/// A moment: the highest estimate is that of the last one to two of these.
const MOMENT: Duration = Duration::from_secs(5);
/// A link that falls more often than that swings.
const RARELY: Duration = Duration::from_secs(60);

/// The highest estimates of late.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fall {
    since: Option<Instant>,
    before: u64,
    now: u64,
    began: Option<Instant>,
}

impl Fall {
    /// To be called with every estimate, in bits per second. Returns when the fall began that the link is in.
    pub(super) fn update(&mut self, now: Instant, estimate: u64) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= MOMENT {
            (self.since, self.before, self.now) = (Some(now), self.now, estimate);
        }
        self.now = self.now.max(estimate);
        let steep = u128::from(estimate) * 100 < u128::from(self.now.max(self.before)) * u128::from(STEEP_PERCENT);
        let age = |at: Instant| now.saturating_duration_since(at);
        if steep && self.began.is_none_or(|at| age(at) >= RARELY) {
            self.began = Some(now);
        }
        self.began.filter(|at| steep && age(*at) < 2 * MOMENT)
    }

    /// When the last fall began.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_to_a_half_is_a_fall_for_some_seconds_and_a_swing_is_none() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut fall = Fall::default();
        assert_eq!(fall.update(at(0), 1_000_000), None);
        assert_eq!(fall.update(at(1), 740_000), None);
        assert_eq!(fall.update(at(2), 500_000), Some(at(2)));
        assert_eq!(fall.update(at(6), 500_000), Some(at(2)));
        assert_eq!(fall.update(at(12), 500_000), None, "it is where it fell to");
        assert_eq!((fall.update(at(20), 1_000_000), fall.update(at(21), 500_000)), (None, None), "again: it swings");
        assert_eq!((fall.update(at(70), 1_000_000), fall.update(at(71), 500_000)), (None, Some(at(71))));
    }
}
