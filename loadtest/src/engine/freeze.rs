//! Freezes, as browsers count them.

/// Over how many frames the mean gap is taken.
const MEAN_OVER: usize = 30;

/// Watches the frames of one stream (W3C webrtc-stats, `freezeCount`): a freeze is a gap of at least max(3 d, d + 150 ms),
/// d the mean gap of the last 30 frames.
#[derive(Debug, Clone, Default)]
pub struct FreezeMeter {
    last: Option<u64>,
    gaps: [u64; MEAN_OVER],
    filled: usize,
    next: usize,
    sum: u64,
}

impl FreezeMeter {
    /// A frame is shown, in microseconds. Gives the length of the freeze that it ends.
    pub fn frame(&mut self, at: u64) -> Option<u64> {
        let gap = at.saturating_sub(self.last.replace(at)?);
        let freeze = self.is_freeze(gap).then_some(gap);
        self.sum = self.sum - self.gaps[self.next] + gap;
        self.gaps[self.next] = gap;
        self.next = (self.next + 1) % MEAN_OVER;
        self.filled = (self.filled + 1).min(MEAN_OVER);
        freeze
    }

    /// The stream ends now, or shows something else from now on. Gives the length of a freeze still going on.
    pub fn end(&mut self, now: u64) -> Option<u64> {
        let gap = now.saturating_sub(self.last?);
        let freeze = self.is_freeze(gap).then_some(gap);
        *self = Self::default();
        freeze
    }

    fn is_freeze(&self, gap: u64) -> bool {
        if self.filled == 0 {
            return false;
        }
        let mean = self.sum / self.filled as u64;
        gap >= (mean * 3).max(mean + 150_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thirty_fps(meter: &mut FreezeMeter, from: u64, frames: u64) -> u64 {
        (0..frames).for_each(|n| assert_eq!(meter.frame(from + n * 33_333), None, "frame {n}"));
        from + (frames - 1) * 33_333
    }

    #[test]
    fn a_gap_is_a_freeze_from_183_ms_on_at_30_frames_a_second() {
        for (gap, frozen) in [(183_000, None), (184_000, Some(184_000)), (1_000_000, Some(1_000_000))] {
            let mut meter = FreezeMeter::default();
            let last = thirty_fps(&mut meter, 0, 60);
            assert_eq!(meter.frame(last + gap), frozen, "{gap}");
        }
    }

    #[test]
    fn three_mean_gaps_count_at_low_frame_rates() {
        let mut meter = FreezeMeter::default();
        (0..10).for_each(|n| assert_eq!(meter.frame(n * 200_000), None));
        assert_eq!(meter.clone().frame(1_800_000 + 599_000), None);
        assert_eq!(meter.frame(1_800_000 + 600_000), Some(600_000));
    }

    #[test]
    fn the_mean_is_that_of_the_last_30_frames_and_the_end_counts() {
        let mut meter = FreezeMeter::default();
        (0..100).for_each(|n| _ = meter.frame(n * 500_000));
        let last = thirty_fps(&mut meter, 50_000_000, 32);
        assert_eq!(meter.clone().end(last + 183_000), None);
        assert_eq!(meter.end(last + 2_000_000), Some(2_000_000));
        assert_eq!(meter.end(last + 9_000_000), None);
    }
}
