//! How long what was sent is kept for being sent again.
//!
//! Of each receiver's cache an entry takes half a kilobyte beside the payload, which all receivers share. It grows with the
//! rate by itself: only what is younger than this age is in it. So the age is what is chosen, by the round trip.

use std::time::{Duration, Instant};

/// A lost packet is asked for with the next one, and again after each round trip. After three of them, and what a queue
/// adds, a picture begins anew sooner than it is mended.
const ROUND_TRIPS: u32 = 4;
const QUEUE: Duration = Duration::from_millis(250);
/// The shortest and the longest age.
const LEAST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(2);
/// While no round trip is known; libwebrtc keeps as much.
const UNKNOWN: Duration = Duration::from_secs(1);
/// A change empties the cache: no smaller one is chosen before less was enough for that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The age chosen for one receiver.
#[derive(Debug, Clone)]
pub(crate) struct ResendAge {
    age: Duration,
    /// Since when less would have done.
    smaller_since: Option<Instant>,
}

impl Default for ResendAge {
    fn default() -> Self {
        Self { age: UNKNOWN, smaller_since: None }
    }
}

impl ResendAge {
    /// The age in force.
    pub(crate) fn get(&self) -> Duration {
        self.age
    }

    /// Takes the round trip of the path. `calm`: nothing is lost at this moment. True if the age has changed.
    pub(crate) fn on_round_trip(&mut self, now: Instant, round_trip: Duration, calm: bool) -> bool {
        let wanted = (round_trip * ROUND_TRIPS + QUEUE).clamp(LEAST, MOST);
        // By steps, so that a round trip that swings a little changes nothing.
        let wanted = if wanted <= LEAST {
            LEAST
        } else if wanted <= UNKNOWN {
            UNKNOWN
        } else {
            MOST
        };
        if wanted >= self.age {
            self.smaller_since = None;
            return std::mem::replace(&mut self.age, wanted) != wanted;
        }
        let since = *self.smaller_since.get_or_insert(now);
        let smaller = calm && now.saturating_duration_since(since) >= PATIENCE;
        if smaller {
            (self.age, self.smaller_since) = (wanted, None);
        }
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_follows_the_round_trip_up_at_once_and_down_when_that_lasts_and_nothing_is_lost() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = Duration::from_secs;
        let (near, far) = (Duration::from_millis(40), Duration::from_millis(300));
        let mut age = ResendAge::default();
        assert_eq!(age.get(), UNKNOWN);
        assert!(!age.on_round_trip(start, near, true));
        assert!(!age.on_round_trip(start + at(9), near, true));
        assert!(!age.on_round_trip(start + at(10), near, false), "something is lost, and asked for");
        assert!(age.on_round_trip(start + at(11), near, true));
        assert_eq!(age.get(), LEAST);
        assert!(age.on_round_trip(start + at(12), far, false), "a longer one cannot wait");
        assert_eq!(age.get(), MOST);
        assert!(!age.on_round_trip(start + at(13), near, true));
        assert!(!age.on_round_trip(start + at(14), far, true));
        assert!(!age.on_round_trip(start + at(24), near, true), "it was not short all the time");
    }
}
