//! What one worker has counted.

use hdrhistogram::Histogram;

use crate::media::{Judgement, Sample};
use crate::results::LayerTime;

/// The most simulcast layers of one track.
pub const LAYERS: usize = 3;

/// Sums since the start; the collector makes rows of their differences.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[expect(missing_docs, reason = "each is named and documented in `crate::results`")]
pub struct Counters {
    pub rtp_sent: u64,
    pub rtp_received: u64,
    pub media_sent: u64,
    pub media_received: u64,
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub video_expected: u64,
    pub video_missing: u64,
    pub video_repaired: u64,
    pub audio_expected: u64,
    pub audio_missing: u64,
    pub audio_repaired: u64,
    pub frames: u64,
    pub freezes: u64,
    pub frozen_us: u64,
    pub longest_freeze_us: u64,
    pub watched_us: u64,
    pub plis_sent: u64,
    pub plis_received: u64,
    pub nacks_sent: u64,
    pub nacks_received: u64,
    pub switches: u64,
    pub as_wanted_us: u64,
    pub wanted_us: u64,
    pub late_frames: u64,
    pub link_dropped: u64,
    pub send_drops: u64,
    pub foreign_latencies: u64,
    pub streams: u64,
    pub streams_frozen: u64,
    /// Video streams that a slot shows now.
    pub on_screen: u64,
}

/// Everything that one worker has measured.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Sums.
    pub counters: Counters,
    /// Microseconds.
    pub video_latency: Histogram<u64>,
    /// Microseconds.
    pub audio_latency: Histogram<u64>,
    /// Frames per 1,000 seconds, one value a stream.
    pub frame_rate: Histogram<u64>,
    /// Bits per second, one value a participant.
    pub received_bps: Histogram<u64>,
    /// Likewise.
    pub wanted_bps: Histogram<u64>,
    /// Likewise.
    pub sent_bps: Histogram<u64>,
    /// One value a second and publisher.
    pub estimate_bps: Histogram<u64>,
    /// Microseconds that the thread was late: for a timer, or for the oldest datagram on a socket.
    pub lag: Histogram<u64>,
    /// By layer, counted from the smallest; the last is that of tracks without simulcast.
    pub layer_time: [LayerTime; LAYERS + 1],
    /// What the checkers found.
    pub media: Judgement,
    /// Of how many streams the checker keeps frames for a real decoder.
    pub sampled: usize,
    /// Those frames.
    pub samples: Vec<Sample>,
}

impl Default for Tally {
    fn default() -> Self {
        let rate = || histogram(10_000_000_000);
        Self {
            counters: Counters::default(),
            video_latency: latency_histogram(),
            audio_latency: latency_histogram(),
            frame_rate: histogram(1_000_000),
            received_bps: rate(),
            wanted_bps: rate(),
            sent_bps: rate(),
            estimate_bps: rate(),
            lag: latency_histogram(),
            layer_time: Default::default(),
            media: Judgement::default(),
            sampled: 0,
            samples: Vec::new(),
        }
    }
}

/// Microseconds up to ten minutes, in three digits.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    histogram(600_000_000)
}

fn histogram(most: u64) -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants, and every test makes one")]
    Histogram::new_with_bounds(1, most, 3).expect("valid bounds")
}

impl Tally {
    /// Adds what another worker has measured.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        let pairs = [
            (&mut self.video_latency, &other.video_latency),
            (&mut self.audio_latency, &other.audio_latency),
            (&mut self.frame_rate, &other.frame_rate),
            (&mut self.received_bps, &other.received_bps),
            (&mut self.wanted_bps, &other.wanted_bps),
            (&mut self.sent_bps, &other.sent_bps),
            (&mut self.estimate_bps, &other.estimate_bps),
            (&mut self.lag, &other.lag),
        ];
        for (own, others) in pairs {
            // Both have the same bounds, and values are clamped to them.
            _ = own.add(others);
        }
        for (own, others) in self.layer_time.iter_mut().zip(&other.layer_time) {
            own.wanted_s += others.wanted_s;
            own.received_s += others.received_s;
        }
        self.judge(other.media);
        self.sampled += other.sampled;
        self.samples.extend(other.samples.iter().cloned());
    }

    /// Adds what one checker found.
    pub fn judge(&mut self, found: Judgement) {
        self.media.decodable += found.decodable;
        self.media.undecodable += found.undecodable;
        self.media.incomplete += found.incomplete;
        self.media.faults += found.faults;
    }
}

impl Counters {
    /// Adds sums of another worker. The longest freeze is the longer one.
    pub fn add(&mut self, other: &Self) {
        let longest = self.longest_freeze_us.max(other.longest_freeze_us);
        self.apply(other, u64::saturating_add);
        self.longest_freeze_us = longest;
    }

    /// What came since `before`. What is no sum stays as it is.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut change = *self;
        change.apply(before, u64::saturating_sub);
        change.longest_freeze_us = self.longest_freeze_us;
        change.on_screen = self.on_screen;
        change
    }

    fn apply(&mut self, other: &Self, op: fn(u64, u64) -> u64) {
        macro_rules! all {
            ($($field:ident)*) => { $(self.$field = op(self.$field, other.$field);)* };
        }
        all!(rtp_sent rtp_received media_sent media_received datagrams_sent datagrams_received bytes_sent bytes_received
            video_expected video_missing video_repaired audio_expected audio_missing audio_repaired frames freezes
            frozen_us longest_freeze_us watched_us plis_sent plis_received nacks_sent nacks_received switches
            as_wanted_us wanted_us late_frames link_dropped send_drops foreign_latencies streams streams_frozen
            on_screen);
    }
}
