//! What is noted of every packet of a publisher: a few integers, nothing allocated.

use std::time::{Duration, Instant};

/// A picture whose timestamp lies less than this before the one sent last is out of order, not of another time: the
/// longest reordering that H264 allows (16 frames) at 20 fps stays below.
const REORDERING_MS: i64 = 1000;
/// How far timestamps may run ahead of the clock between two pictures, beside what encoders reorder.
const AHEAD_MS: i64 = 1000;
/// A longer gap in the sequence numbers than this is no loss: they have begun anew (RFC 3550, appendix A.1).
const MAX_DROPOUT: u64 = 3000;

/// One packet, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub now: Instant,
    /// The SSRC: names one numbering.
    pub source: u32,
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub time: u32,
    /// Of the timestamp, in Hz.
    pub clock_rate: u32,
    /// A keyframe begins.
    pub keyframe: bool,
    /// H264: profile_idc and constraint flags of the sequence parameter set in this packet.
    pub profile: Option<u32>,
}

/// What was counted since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Pictures, or packets of sound: changes of the timestamp.
    pub pictures: u32,
    /// Of them, those before the picture sent last.
    pub reordered: u32,
    /// Timestamps that went back further, or ran ahead of the clock.
    pub jumps: u32,
    /// The largest of them, in milliseconds.
    pub largest_jump_ms: u32,
    /// Packets by their sequence numbers.
    pub expected: u32,
    /// Of them, those that were not there when the next one came.
    pub missed: u32,
    /// The longest time between two keyframes.
    pub longest_gap: Duration,
}

impl Counted {
    /// Adds what was counted of another encoding.
    pub(crate) fn add(&mut self, other: &Self) {
        self.pictures = self.pictures.saturating_add(other.pictures);
        self.reordered = self.reordered.saturating_add(other.reordered);
        self.jumps = self.jumps.saturating_add(other.jumps);
        self.largest_jump_ms = self.largest_jump_ms.max(other.largest_jump_ms);
        self.expected = self.expected.saturating_add(other.expected);
        self.missed = self.missed.saturating_add(other.missed);
        self.longest_gap = self.longest_gap.max(other.longest_gap);
    }
}

/// The pulse of one encoding.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    source: Option<u32>,
    newest: u64,
    time: u32,
    at: Option<Instant>,
    counted: Counted,
    /// When the last keyframe began; before the first: when the first packet came.
    pub keyframe_at: Option<Instant>,
    /// When the last packet came.
    pub packet_at: Option<Instant>,
    /// The H264 profile sent last.
    pub profile: Option<u32>,
}

impl Pulse {
    /// Takes note of a packet.
    pub(crate) fn beat(&mut self, beat: &Beat) {
        self.packet_at = Some(beat.now);
        self.profile = beat.profile.or(self.profile);
        let step = beat.seq.wrapping_sub(self.newest);
        if self.source != Some(beat.source) || step > MAX_DROPOUT && beat.seq > self.newest {
            // Another numbering, and with another SSRC another clock too: nothing to compare with.
            self.source = Some(beat.source);
            self.enter(beat);
        } else if beat.seq > self.newest {
            let step = u32::try_from(step).unwrap_or(u32::MAX);
            self.counted.expected = self.counted.expected.saturating_add(step);
            self.counted.missed = self.counted.missed.saturating_add(step - 1);
            if beat.time != self.time {
                self.compare(beat);
            }
        } else {
            // Late or resent: it was counted as missing when its successor came.
            return;
        }
        (self.newest, self.time, self.at) = (beat.seq, beat.time, Some(beat.now));
        if beat.keyframe {
            let gap = self.keyframe_at.map_or(Duration::ZERO, |at| beat.now.saturating_duration_since(at));
            self.counted.longest_gap = self.counted.longest_gap.max(gap);
            self.keyframe_at = Some(beat.now);
        }
    }

    /// Takes what was counted since the last time.
    pub(crate) fn take(&mut self) -> Counted {
        std::mem::take(&mut self.counted)
    }

    fn enter(&mut self, beat: &Beat) {
        self.counted.pictures = self.counted.pictures.saturating_add(1);
        self.counted.expected = self.counted.expected.saturating_add(1);
        self.keyframe_at = self.keyframe_at.or(Some(beat.now));
    }

    /// A new timestamp after the one before.
    fn compare(&mut self, beat: &Beat) {
        self.counted.pictures = self.counted.pictures.saturating_add(1);
        let ticks = i64::from(beat.time.wrapping_sub(self.time).cast_signed());
        let moved = ticks * 1000 / i64::from(beat.clock_rate.max(1));
        let elapsed = self.at.map_or(Duration::ZERO, |at| beat.now.saturating_duration_since(at));
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        if moved < 0 && moved > -REORDERING_MS {
            self.counted.reordered = self.counted.reordered.saturating_add(1);
        } else if moved < 0 || moved.saturating_sub(elapsed) > AHEAD_MS {
            // What stands still, as after a break of the network, is no jump: what was held back comes all at once.
            self.counted.jumps = self.counted.jumps.saturating_add(1);
            let size = if moved < 0 { -moved } else { moved - elapsed };
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            self.counted.largest_jump_ms = self.counted.largest_jump_ms.max(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Encoder {
        pulse: Pulse,
        start: Instant,
        seq: u64,
    }

    impl Encoder {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
            let start = Instant::now();
            Self { pulse: Pulse::default(), start, seq: 65_000 }
        }

        /// One packet that arrives at `at_ms` with the timestamp of `of_ms`.
        fn send(&mut self, at_ms: u64, of_ms: u64, keyframe: bool) {
            self.seq += 1;
            let time = 0xffff_0000_u32.wrapping_add((of_ms * 90) as u32);
            let now = self.start + Duration::from_millis(at_ms);
            let beat = Beat { now, source: 7, seq: self.seq, time, clock_rate: 90_000, keyframe, profile: None };
            self.pulse.beat(&beat);
        }
    }

    #[test]
    fn a_plain_stream_has_nothing_to_tell() {
        let mut encoder = Encoder::new();
        // Two packets a picture, over the wrap of the timestamp, with 40 ms of jitter.
        for n in 0..90 {
            encoder.send(n * 33 + n % 7 * 6, n * 33, n % 30 == 0);
            encoder.send(n * 33 + n % 7 * 6 + 1, n * 33, false);
        }
        let counted = encoder.pulse.take();
        let longest_gap = counted.longest_gap;
        assert!((900..1100).contains(&longest_gap.as_millis()), "{longest_gap:?}");
        assert_eq!(counted, Counted { pictures: 90, expected: 179 + 1, longest_gap, ..Counted::default() });
        assert_eq!(encoder.pulse.take(), Counted::default());
    }

    #[test]
    fn pictures_before_their_predecessors_are_b_frames() {
        let mut encoder = Encoder::new();
        // I P B B, P B B, …: as x264 sends them with bframes=2.
        for group in 0..10 {
            for (index, shown) in [3, 1, 2].into_iter().enumerate() {
                encoder.send((group * 3 + index as u64) * 33, (group * 3 + shown) * 33, false);
            }
        }
        let counted = encoder.pulse.take();
        assert_eq!((counted.pictures, counted.reordered, counted.jumps), (30, 10, 0));
    }

    #[test]
    fn timestamps_that_leave_the_clock_are_jumps_and_pauses_are_none() {
        let mut encoder = Encoder::new();
        encoder.send(0, 0, true);
        encoder.send(3000, 3000, false); // nothing was sent for three seconds
        encoder.send(6000, 3033, false); // what was held back for three seconds
        encoder.send(6001, 3066, false);
        assert_eq!(encoder.pulse.take().jumps, 0);
        encoder.send(6034, 8100, false);
        encoder.send(6067, 3100, false);
        let counted = encoder.pulse.take();
        assert_eq!((counted.jumps, counted.reordered, counted.largest_jump_ms), (2, 0, 5001));
    }

    #[test]
    fn what_is_missing_when_the_next_comes_is_lost_even_if_it_is_resent() {
        let mut encoder = Encoder::new();
        encoder.send(0, 0, true);
        encoder.seq += 3;
        encoder.send(33, 33, false);
        let newest = encoder.seq;
        encoder.seq = newest - 3;
        encoder.send(60, 20, false);
        encoder.seq = newest;
        encoder.send(66, 66, false);
        let counted = encoder.pulse.take();
        assert_eq!((counted.expected, counted.missed, counted.reordered), (6, 3, 0));
    }

    #[test]
    fn another_numbering_is_no_loss_and_no_jump() {
        let mut encoder = Encoder::new();
        encoder.send(0, 0, true);
        encoder.seq += 40_000;
        encoder.send(33, 500_000, false);
        let counted = encoder.pulse.take();
        assert_eq!((counted.expected, counted.missed, counted.jumps), (2, 0, 0));
    }
}
