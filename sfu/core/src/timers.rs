//! The deadline queue of a shard. Every wake-up has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What a deadline is for. The number is the participant's key in the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// When a participant's WebRTC stack wants to run: retransmissions, reports, feedback.
    Stack(usize),
    /// When a participant must have connected, or have come back after it went silent.
    Connect(usize),
    /// When rates, layers and speakers are looked at again, for all rooms.
    Tick,
    /// When the keyframe requests that wait are sent again.
    Keyframes,
}

impl Timer {
    fn name(self) -> &'static str {
        match self {
            Self::Stack(_) => "webrtc stack",
            Self::Connect(_) => "connect deadline",
            Self::Tick => "tick",
            Self::Keyframes => "keyframe requests",
        }
    }
}

/// At most one deadline per timer; setting it again moves it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Instant, Timer)>,
    set: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        match self.set.insert(timer, at) {
            Some(old) if old == at => return,
            Some(old) => _ = self.order.remove(&(old, timer)),
            None => {}
        }
        self.order.insert((at, timer));
    }

    /// Forgets a deadline.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(old) = self.set.remove(&timer) {
            self.order.remove(&(old, timer));
        }
    }

    /// True if the timer has a deadline.
    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.set.contains_key(&timer)
    }

    /// Takes the earliest deadline that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let &(at, timer) = self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// The earliest deadline and its name. Valid until the next change.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.order.first().map(|(at, timer)| (*at, timer.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_set_again_moves_and_fires_once() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(Timer::Tick, at(10));
        timers.set(Timer::Connect(1), at(20));
        timers.set(Timer::Tick, at(30));
        assert_eq!(timers.next(), Some((at(20), "connect deadline")));
        assert_eq!(timers.pop_due(at(19)), None);
        assert_eq!(timers.pop_due(at(40)), Some(Timer::Connect(1)));
        assert_eq!(timers.pop_due(at(40)), Some(Timer::Tick));
        assert_eq!(timers.pop_due(at(40)), None);
        timers.set(Timer::Tick, at(50));
        timers.clear(Timer::Tick);
        assert!(!timers.is_set(Timer::Tick));
        assert_eq!(timers.next(), None);
    }
}
