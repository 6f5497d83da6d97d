//! The deadline queue of a shard. Every wake-up has a name.

use std::collections::BTreeSet;
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

/// The deadline of one timer.
#[derive(Debug, Clone, Copy, Default)]
struct Deadline {
    at: Option<Instant>,
    /// Its entry in the queue: not later than `at`.
    queued: Option<Instant>,
}

/// At most one deadline per timer; setting it again moves it.
///
/// A stack's deadline moves with every batch, and mostly to later. That only takes note of the new one: the queue's entry
/// is looked at again when its time has come. The first entry of the queue is in force always, and each timer has one at
/// most: a queue that keeps what is out of date must be cleared of it, and deadlines that go to and fro between the same
/// two instants have once kept a worker busy with just that.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    stacks: Vec<Deadline>,
    connects: Vec<Deadline>,
    tick: Deadline,
    keyframes: Deadline,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        let deadline = self.deadline_mut(timer);
        let old = deadline.at.replace(at);
        if deadline.queued.is_some_and(|queued| queued <= at) {
            if old != Some(at) {
                self.settle_first(timer);
            }
            return;
        }
        if let Some(queued) = deadline.queued.replace(at) {
            self.queue.remove(&(queued, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Forgets a deadline.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if self.deadline_mut(timer).at.take().is_some() {
            self.settle_first(timer);
        }
    }

    /// True if the timer has a deadline.
    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.deadline(timer).at.is_some()
    }

    /// Takes the earliest deadline that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let &(at, timer) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// The earliest deadline and its name. Valid until the next change.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.queue.first().map(|(at, timer)| (*at, timer.name()))
    }

    fn deadline(&self, timer: Timer) -> Deadline {
        let of_peer = |deadlines: &Vec<Deadline>, key: usize| deadlines.get(key).copied().unwrap_or_default();
        match timer {
            Timer::Stack(key) => of_peer(&self.stacks, key),
            Timer::Connect(key) => of_peer(&self.connects, key),
            Timer::Tick => self.tick,
            Timer::Keyframes => self.keyframes,
        }
    }

    fn deadline_mut(&mut self, timer: Timer) -> &mut Deadline {
        let (deadlines, key) = match timer {
            Timer::Stack(key) => (&mut self.stacks, key),
            Timer::Connect(key) => (&mut self.connects, key),
            Timer::Tick => return &mut self.tick,
            Timer::Keyframes => return &mut self.keyframes,
        };
        if deadlines.len() <= key {
            deadlines.resize(key + 1, Deadline::default());
        }
        &mut deadlines[key]
    }

    /// Sees to it that the first entry of the queue is in force again, if `changed` may have been it.
    fn settle_first(&mut self, changed: Timer) {
        if self.queue.first().is_none_or(|(_, timer)| *timer != changed) {
            return;
        }
        while let Some(&(at, timer)) = self.queue.first() {
            let deadline = self.deadline_mut(timer);
            if deadline.at == Some(at) {
                return;
            }
            let moved = deadline.at;
            deadline.queued = moved;
            self.queue.pop_first();
            moved.into_iter().for_each(|at| _ = self.queue.insert((at, timer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

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

    #[test]
    fn deadlines_that_go_to_and_fro_leave_one_entry_each() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        for now in 0..100 {
            for timer in (0..100).map(Timer::Stack) {
                timers.set(timer, at(now + 1));
                timers.set(timer, at(1000));
            }
            assert_eq!(timers.pop_due(at(now + 1)), None);
            assert_eq!(timers.queue.len(), 100, "after {now} ms");
        }
    }

    #[test]
    fn whatever_is_set_moved_and_cleared_fires_in_order_and_nothing_else() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let (mut timers, mut expected) = (Timers::default(), BTreeMap::new());
        let mut now = 0;
        for _ in 0..20_000 {
            let timer = match rng.random_range(0..8) {
                0 => Timer::Tick,
                1 => Timer::Keyframes,
                n @ 2..5 => Timer::Connect(n),
                n => Timer::Stack(n),
            };
            match rng.random_range(0..10) {
                0 => {
                    timers.clear(timer);
                    expected.remove(&timer);
                }
                1..4 => now += rng.random_range(0..5),
                // Near and far, and far the same again and again, so that what is out of date would gather.
                _ => {
                    let at = if rng.random() { now + rng.random_range(0..10) } else { (now / 1000 + 2) * 1000 };
                    timers.set(timer, start + Duration::from_millis(at));
                    expected.insert(timer, at);
                }
            }
            let first = |expected: &BTreeMap<Timer, u64>| expected.iter().map(|(t, at)| (*at, *t)).min();
            while let Some((at, timer)) = first(&expected).filter(|(at, _)| *at <= now) {
                assert_eq!(timers.next().map(|(at, _)| at), Some(start + Duration::from_millis(at)));
                assert_eq!(timers.pop_due(start + Duration::from_millis(now)), Some(timer));
                expected.remove(&timer);
            }
            assert_eq!(timers.pop_due(start + Duration::from_millis(now)), None);
            let next = first(&expected).map(|(at, _)| start + Duration::from_millis(at));
            assert_eq!(timers.next().map(|(at, _)| at), next);
            assert!(timers.queue.len() <= 8, "{} entries", timers.queue.len());
        }
    }
}
