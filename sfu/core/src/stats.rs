//! Counters and gauges of one shard. Plain numbers: the outside reads a copy and gives them names.

use std::time::Duration;

/// The upper bounds of the buckets of [`Stats::batches`] and [`Stats::runs`]; the last bucket is for all above.
pub const SIZES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// The upper bounds of the buckets of [`Stats::timer_lag`], in microseconds; the last bucket is for all above.
pub const LAGS: [u64; 7] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];

/// The upper bounds of the buckets of [`Stats::forward`], in microseconds; the last bucket is for all above.
pub const DELAYS: [u64; 7] = [250, 500, 1_000, 2_000, 5_000, 20_000, 100_000];

/// How often values of which size came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many values fell into each bucket: at most its bound, above the one before.
    pub counts: [u64; 8],
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Counts a value into the buckets with these bounds.
    pub fn count(&mut self, bounds: &[u64; 7], value: u64) {
        self.count_all(bounds, value, 1);
    }

    /// Counts so many times the same value.
    pub fn count_all(&mut self, bounds: &[u64; 7], value: u64, times: u64) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        self.counts[bucket] += times;
        self.sum += value.saturating_mul(times);
    }
}

/// A copy of a shard's counters. Counters only grow; gauges are marked.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Gauge: rooms.
    pub rooms: u64,
    /// Gauge: participants, all roles.
    pub participants: u64,
    /// Gauge: published tracks.
    pub tracks: u64,
    /// Gauge: tracks mapped to slots.
    pub subscriptions: u64,
    /// Datagrams taken in.
    pub datagrams_in: u64,
    /// Bytes of datagrams taken in.
    pub bytes_in: u64,
    /// Datagrams given out.
    pub datagrams_out: u64,
    /// Bytes of datagrams given out.
    pub bytes_out: u64,
    /// RTP packets received from publishers, repairs included.
    pub rtp_in: u64,
    /// RTP packets written to receivers.
    pub rtp_forwarded: u64,
    /// RTP packets given to other shards, once for each.
    pub relay_out: u64,
    /// RTP packets taken from other shards.
    pub relay_in: u64,
    /// Pictures given up until their next keyframe, because packets had waited too long for a slow link.
    pub late_pictures: u64,
    /// Video packets of publishers dropped: they had waited for too long when the worker came to them, or behind too many.
    pub dropped_late: u64,
    /// Packets dropped that publishers resent when nobody waited for them any more.
    pub dropped_stale: u64,
    /// Slots whose picture is left out because the worker has no time for it.
    pub shed: u64,
    /// Keyframe requests of receivers, before merging.
    pub keyframe_requests_in: u64,
    /// Keyframe requests sent to publishers.
    pub keyframe_requests_out: u64,
    /// Datagrams dropped: not STUN, and from an address that no check has bound.
    pub dropped_unbound: u64,
    /// Datagrams dropped: STUN for an unknown user fragment or with a wrong integrity.
    pub dropped_stun: u64,
    /// Datagrams dropped: not of a kind known here (RFC 7983).
    pub dropped_unknown: u64,
    /// Packets dropped: no receiver of that codec.
    pub dropped_codec: u64,
    /// Participants closed, by reason.
    pub closed: std::collections::BTreeMap<&'static str, u64>,
    /// What was found wrong with publishers over WHIP, by code.
    pub findings: std::collections::BTreeMap<&'static str, u64>,
    /// Participants closed because their code panicked.
    pub panics: u64,
    /// Datagrams dropped: the kernel's send buffer was full. Filled in by the worker.
    pub dropped_send: u64,
    /// Calls into the kernel to send; datagrams per call say how long GSO runs are. Filled in by the worker.
    pub send_calls: u64,
    /// Datagrams dropped on their way from another worker's socket. Filled in by the worker.
    pub dropped_ring: u64,
    /// Gauge: connections of the media TCP port, of all workers together. Filled in by the first worker, like the two that
    /// follow.
    pub streams: u64,
    /// Connections turned away, because there were too many.
    pub refused_streams: u64,
    /// Packets given up that connections did not take in time: old video first.
    pub dropped_stream: u64,
    /// What the relay has come to. Filled in by the worker.
    pub turn: crate::turn::TurnStats,
    /// Media packets dropped on their way to another worker. Filled in by the worker.
    pub dropped_relay: u64,
    /// How long the worker has worked, not waited. Filled in by the worker, like all that follows.
    pub busy: Duration,
    /// Gauge: the share of the last second or so that it worked, 0 to 1.
    pub load: f64,
    /// Datagrams taken in per turn of the worker, turns without any left out; bounds [`SIZES`].
    pub batches: Histogram,
    /// Datagrams per call into the kernel to send; bounds [`SIZES`].
    pub runs: Histogram,
    /// Microseconds from a deadline to when it was looked at; bounds [`LAGS`].
    pub timer_lag: Histogram,
    /// Microseconds that media packets were in this server, each time one is forwarded: from their coming to this machine to
    /// when the kernel had them again; bounds [`DELAYS`].
    pub forward: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_is_not_below_it() {
        let mut sizes = Histogram::default();
        [1, 2, 3, 64, 65, 1000].into_iter().for_each(|size| sizes.count(&SIZES, size));
        assert_eq!(sizes, Histogram { counts: [1, 1, 1, 0, 0, 0, 1, 2], sum: 1135 });
        sizes.count_all(&SIZES, 8, 3);
        assert_eq!(sizes, Histogram { counts: [1, 1, 1, 3, 0, 0, 1, 2], sum: 1159 });
    }
}
