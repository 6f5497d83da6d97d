//! What the stack's pacer would hold back for.
//!
//! Str0m's pacer (0.25, `pacer/leaky.rs`, after libwebrtc's) counts what goes past it unpaced as debt, up to half a second
//! of its rate. Paced streams then wait until that is paid, and go out late and all at once: measured, 300 ms of silence and
//! a queue of 250 ms after it. So nothing is paced before the debt is gone.

use std::time::{Duration, Instant};

/// The pacer's rate to its estimate, and the most debt it keeps.
const RATE: f64 = 1.1;
const MOST: Duration = Duration::from_millis(500);
/// So much is no debt: one picture of a camera.
const LITTLE: Duration = Duration::from_millis(33);

/// The debt of a pacer that is not in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Debt {
    bytes: f64,
    last: Option<(Instant, u64)>,
    /// Of the pacer, in bytes a second.
    rate: f64,
}

impl Debt {
    /// Takes the stack's estimate in bits per second and the bytes sent so far, about ten times a second.
    pub(crate) fn on_measured(&mut self, now: Instant, estimate: u64, sent: u64) {
        let (at, before) = self.last.replace((now, sent)).unwrap_or((now, sent));
        self.rate = estimate as f64 * RATE / 8.0;
        let paid = self.rate * now.saturating_duration_since(at).as_secs_f64();
        let new = self.bytes + sent.saturating_sub(before) as f64 - paid;
        self.bytes = new.clamp(0.0, self.rate * MOST.as_secs_f64());
    }

    /// Whether pacing may begin without a pause.
    pub(crate) fn is_paid(&self) -> bool {
        self.bytes <= self.rate * LITTLE.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_above_the_rate_is_paid_by_what_is_sent_below_it() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let (mut debt, mut sent) = (Debt::default(), 0);
        let mut after = |range: std::ops::Range<u64>, bits_per_second: u64| {
            for tenth in range {
                sent += bits_per_second / 80;
                debt.on_measured(start + Duration::from_millis(tenth * 100), 1_000_000, sent);
            }
            debt.is_paid()
        };
        assert!(after(0..10, 1_000_000), "a tenth less than its rate");
        assert!(!after(10..100, 2_000_000));
        assert!(!after(100..108, 550_000), "0.4 of half a second is paid");
        assert!(after(108..120, 550_000));
    }
}
