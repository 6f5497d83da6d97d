//! The deadline queue of a shard. Every wake-up has a name.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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

/// So many entries of the heap may be out of date before it is made anew, beside as many as are in force.
const LITTER: usize = 64;

/// The deadline of one timer.
#[derive(Debug, Clone, Copy, Default)]
struct Deadline {
    at: Option<Instant>,
    /// Its earliest entry in the heap.
    queued: Option<Instant>,
}

/// At most one deadline per timer; setting it again moves it.
///
/// A stack's deadline moves with every batch, and mostly to later. That only takes note of the new one: the heap's entry
/// is looked at again when its time has come. The first entry of the heap is in force always.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    stacks: Vec<Deadline>,
    connects: Vec<Deadline>,
    tick: Deadline,
    keyframes: Deadline,
    /// How many timers have a deadline.
    count: usize,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        let deadline = self.deadline_mut(timer);
        let old = deadline.at.replace(at);
        let earlier = deadline.queued.is_none_or(|queued| at < queued);
        if earlier {
            deadline.queued = Some(at);
        }
        self.count += usize::from(old.is_none());
        if earlier {
            self.heap.push(Reverse((at, timer)));
            self.tidy();
        } else if old != Some(at) {
            self.settle_first(timer);
        }
    }

    /// Forgets a deadline.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if self.deadline_mut(timer).at.take().is_some() {
            self.count -= 1;
            self.settle_first(timer);
        }
    }

    /// True if the timer has a deadline.
    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.deadline(timer).at.is_some()
    }

    /// Takes the earliest deadline that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let &Reverse((at, timer)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// The earliest deadline and its name. Valid until the next change.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.heap.peek().map(|Reverse((at, timer))| (*at, timer.name()))
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

    /// Sees to it that the first entry of the heap is in force again, if `changed` may have been it.
    fn settle_first(&mut self, changed: Timer) {
        if self.heap.peek().is_none_or(|Reverse((_, timer))| *timer != changed) {
            return;
        }
        while let Some(&Reverse((at, timer))) = self.heap.peek() {
            let deadline = self.deadline_mut(timer);
            if deadline.queued != Some(at) {
                // A later entry of a timer that has an earlier one.
                self.heap.pop();
                continue;
            }
            if deadline.at == Some(at) {
                return;
            }
            let moved = deadline.at;
            deadline.queued = moved;
            self.heap.pop();
            moved.into_iter().for_each(|at| self.heap.push(Reverse((at, timer))));
        }
    }

    /// Throws out what is out of date, where that is more than what is in force.
    fn tidy(&mut self) {
        if self.heap.len() <= 2 * self.count + LITTER {
            return;
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse((at, timer))| self.deadline(*timer).queued == Some(*at));
        entries.dedup();
        self.heap = entries.into();
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
                // Near and far, so that the heap fills with what is out of date.
                _ => {
                    let at = now + if rng.random() { rng.random_range(0..10) } else { rng.random_range(1000..2000) };
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
            assert!(timers.heap.len() <= 2 * 8 + LITTER + 1, "{} entries", timers.heap.len());
        }
    }
}
