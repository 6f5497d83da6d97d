//! How busy a worker is.

use std::time::{Duration, Instant};

use weir_core::overload::Pressure;
use weir_core::stats::{Histogram, LAGS, SIZES};

/// Over what the share of time is taken: long enough for a keyframe to be no news, short enough to act on.
const WINDOW: Duration = Duration::from_secs(1);

/// How often the shard is told how hard the worker works: three pictures at 30 a second.
const LOOK: Duration = Duration::from_millis(100);
/// A turn that takes this long leaves what comes after it too old to be shown.
const LATE: Duration = Duration::from_millis(400);

/// What a worker's turns have come to.
#[derive(Debug)]
pub(crate) struct Load {
    /// All the time worked.
    pub(crate) busy: Duration,
    pub(crate) batches: Histogram,
    pub(crate) timer_lag: Histogram,
    window: Instant,
    /// All the time worked when the window began.
    before: Duration,
    ratio: f64,
    /// When the shard was told last, all the time worked until then, and whether it knows the worker to be late.
    told: Instant,
    told_busy: Duration,
    late: bool,
}

impl Load {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            busy: Duration::ZERO,
            batches: Histogram::default(),
            timer_lag: Histogram::default(),
            window: now,
            before: Duration::ZERO,
            ratio: 0.0,
            told: now,
            told_busy: Duration::ZERO,
            late: false,
        }
    }

    /// A deadline is looked at.
    pub(crate) fn on_deadline(&mut self, now: Instant, at: Instant) {
        let lag = now.saturating_duration_since(at).as_micros();
        self.timer_lag.count(&LAGS, u64::try_from(lag).unwrap_or(u64::MAX));
    }

    /// A turn has ended that began then and took in so many datagrams. What the shard shall know of it, if anything.
    pub(crate) fn on_turn(&mut self, began: Instant, ended: Instant, datagrams: usize) -> Option<Pressure> {
        let took = ended.saturating_duration_since(began);
        self.busy += took;
        if datagrams > 0 {
            self.batches.count(&SIZES, datagrams as u64);
        }
        self.close_window(ended);
        let late = took >= LATE;
        let length = ended.saturating_duration_since(self.told);
        if length < LOOK && late == self.late {
            return None;
        }
        self.late = late;
        let busy = (length >= LOOK).then(|| {
            self.told = ended;
            let worked = self.busy - std::mem::replace(&mut self.told_busy, self.busy);
            (worked.as_secs_f64() / length.as_secs_f64()).min(1.0)
        });
        Some(Pressure { busy, late })
    }

    /// The share of the last window that was worked, 0 to 1.
    pub(crate) fn ratio(&mut self, now: Instant) -> f64 {
        self.close_window(now);
        self.ratio
    }

    fn close_window(&mut self, now: Instant) {
        let length = now.saturating_duration_since(self.window);
        if length >= WINDOW {
            let worked = self.busy - std::mem::replace(&mut self.before, self.busy);
            self.ratio = (worked.as_secs_f64() / length.as_secs_f64()).min(1.0);
            self.window = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_last_second_and_falls_when_nothing_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut load = Load::new(start);
        (0..10).for_each(|n| _ = load.on_turn(at(n * 100), at(n * 100 + 30), 8));
        assert_eq!(load.ratio(at(999)), 0.0, "no window has ended");
        assert!((load.ratio(at(1000)) - 0.3).abs() < 0.001);
        assert!((load.ratio(at(1900)) - 0.3).abs() < 0.001);
        assert_eq!(load.ratio(at(3000)), 0.0, "nothing was done since");
        load.on_turn(at(3000), at(5000), 0);
        assert_eq!(load.ratio(at(5000)), 1.0);
        assert_eq!(load.busy, Duration::from_millis(2300));
        assert_eq!((load.batches.counts[3], load.batches.sum), (10, 80));
    }

    #[test]
    fn the_shard_hears_ten_times_a_second_and_when_the_worker_falls_behind() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut load = Load::new(start);
        assert_eq!(load.on_turn(at(0), at(50), 8), None);
        assert_eq!(load.on_turn(at(90), at(100), 8), Some(Pressure { busy: Some(0.6), late: false }));
        assert_eq!(load.on_turn(at(100), at(600), 8), Some(Pressure { busy: Some(1.0), late: true }));
        assert_eq!(load.on_turn(at(600), at(610), 8), Some(Pressure { busy: None, late: false }), "it has caught up");
        assert_eq!(load.on_turn(at(610), at(620), 8), None);
    }

    #[test]
    fn a_deadline_that_is_seen_late_is_counted_by_how_late() {
        let start = Instant::now();
        let mut load = Load::new(start);
        load.on_deadline(start, start + Duration::from_millis(5));
        load.on_deadline(start + Duration::from_millis(2), start);
        assert_eq!(load.timer_lag, Histogram { counts: [1, 0, 0, 1, 0, 0, 0, 0], sum: 2000 });
    }
}
