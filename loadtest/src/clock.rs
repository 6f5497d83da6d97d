//! The tester's clock: microseconds since the epoch that never go back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One for the whole process. The system's clock is read once, at its making; after that the monotonic clock counts on.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Instant,
    base_us: u64,
}

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base: Instant::now(), base_us: micros(since) }
    }

    /// An instant on this clock. Good for 500,000 years.
    #[must_use]
    pub fn us(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.base) {
            Some(after) => self.base_us + micros(after),
            None => self.base_us.saturating_sub(micros(self.base - at)),
        }
    }

    /// The instant of a time on this clock.
    #[must_use]
    pub fn instant(&self, us: u64) -> Instant {
        self.base + Duration::from_micros(us.saturating_sub(self.base_us))
    }

    /// Now.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.us(Instant::now())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A time by the system's clock, in microseconds since the epoch.
#[must_use]
pub fn system_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
