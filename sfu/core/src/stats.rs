//! Counters and gauges of one shard. Plain numbers: the outside reads a copy and gives them names.

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
    /// Pictures given up until their next keyframe, because packets had waited too long for a slow link.
    pub late_pictures: u64,
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
}
