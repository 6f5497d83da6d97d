//! Merges the keyframe requests of many receivers into few to the publisher.

use std::time::{Duration, Instant};

/// At most one request per layer goes upstream in this time: two a second, whatever the number of receivers. An
/// encoder answers within a frame or two; asking faster only makes it send more keyframes than the link carries.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// The keyframe requests for one layer of one track.
#[derive(Debug, Default)]
pub(crate) struct KeyframeGate {
    sent: Option<Instant>,
    waiting: bool,
}

impl KeyframeGate {
    /// Somebody needs a keyframe. True: send a request now. False: one is under way, or goes when its time has come.
    #[must_use]
    pub(crate) fn request(&mut self, now: Instant) -> bool {
        self.waiting = true;
        self.poll(now)
    }

    /// True once if a request that waited may go now.
    #[must_use]
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        let due = self.waiting && self.sent.is_none_or(|at| now.saturating_duration_since(at) >= MIN_INTERVAL);
        if due {
            self.sent = Some(now);
        }
        due
    }

    /// A keyframe began: nobody waits any more.
    pub(crate) fn satisfied(&mut self) {
        self.waiting = false;
    }

    /// Nobody wants it any more, or it cannot come.
    pub(crate) fn give_up(&mut self) {
        self.waiting = false;
    }

    /// A request waits for its time or for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_receivers_make_two_requests_a_second() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let mut gate = KeyframeGate::default();
        let mut sent = 0;
        for ms in 0..1000 {
            for _ in 0..100 {
                sent += u32::from(gate.request(start + Duration::from_millis(ms)));
            }
        }
        assert_eq!(sent, 2);
    }

    #[test]
    fn it_asks_again_until_a_keyframe_comes() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let mut gate = KeyframeGate::default();
        assert!(gate.request(start));
        assert!(!gate.poll(start + Duration::from_millis(499)));
        assert!(gate.poll(start + Duration::from_millis(500)));
        gate.satisfied();
        assert!(!gate.poll(start + Duration::from_secs(9)));
        assert!(!gate.is_waiting());
    }
}
