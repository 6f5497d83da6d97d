//! Everything that a run has measured, as plain data: what the reports read, and what `--json` writes.
//!
//! Times of a run are seconds since its start (`--start-at`, or when the first participant joined). Figures are taken
//! over the whole run unless they say otherwise.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::media::{Decoded, Judgement};
use crate::scenario::Scenario;

/// The format's number: goes up when a field changes its meaning or goes away.
pub const FORMAT: u32 = 1;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the tester.
    pub version: String,
    /// What was asked for, defaults filled in. No token is in it.
    pub scenario: Scenario,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, in milliseconds since the epoch.
    pub started_unix_ms: u64,
    /// How long it ran.
    pub ran_s: f64,
    /// What it all came to.
    pub summary: Summary,
    /// What happened over time: rows of equal length, oldest first; one second each, or more in runs of hours.
    pub rows: Vec<Row>,
    /// What went wrong, by kind.
    pub errors: Vec<ErrorCount>,
    /// Whether the tester itself kept up.
    pub health: Health,
    /// What the server used, where it runs on this machine.
    pub server: Option<ServerUse>,
    /// What `--require` asked for.
    pub verdicts: Vec<Verdict>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In one word.
    pub kind: OutcomeKind,
    /// In one sentence, for people: what happened, and what to do about it.
    pub message: String,
}

/// How a run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// It ran to its end and everybody got media.
    Completed,
    /// It was stopped (Ctrl-C); the figures are those of the time until then.
    Interrupted,
    /// Some participants could not join or got no media; the rest ran to the end.
    Partial,
    /// Nobody could join, or the server went away; the figures are those of the time until then.
    Failed,
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Who took part.
    pub participants: Participants,
    /// From asking to join until ICE and DTLS are through, in milliseconds; one value a join.
    pub join_ms: Distribution,
    /// From asking to join until the first decodable video frame, in milliseconds; one value for each participant that
    /// expects video.
    pub first_frame_ms: Distribution,
    /// From a packet's sending by the publisher to its arrival at the receiver, in milliseconds; video, one value a
    /// packet, emulated links included.
    pub video_latency_ms: Distribution,
    /// The same of audio.
    pub audio_latency_ms: Distribution,
    /// Latency values of packets that another tester sent: only as true as both machines' clocks.
    pub latency_across_testers: u64,
    /// Packets that should have come, on video.
    pub video_loss: Loss,
    /// On audio.
    pub audio_loss: Loss,
    /// Pictures that stood still.
    pub freezes: Freezes,
    /// Frames per second: one value for each received video stream, its mean over the time it was shown.
    pub frame_rate: Distribution,
    /// Which layer came, against which was wanted.
    pub layers: Layers,
    /// Bits per second of RTP payload.
    pub bitrate: Bitrates,
    /// Requests for repair and for keyframes.
    pub feedback: Feedback,
    /// Whether what came could be decoded.
    pub media: Judgement,
    /// What a real decoder made of a sample of the streams; none with synthetic media.
    #[serde(default)]
    pub decoder: Option<DecoderCheck>,
    /// All that went over the wire.
    pub traffic: Traffic,
}

/// Who took part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participants {
    /// Of the scenario, at one time.
    pub planned: u64,
    /// Joins begun; with churn more than planned.
    pub attempted: u64,
    /// Joins that came through.
    pub joined: u64,
    /// Joins that failed.
    pub failed: u64,
    /// Who joined, expected media and never got any.
    pub without_media: u64,
    /// Who was thrown out or lost the connection.
    pub lost: u64,
    /// The most that were in at one time.
    pub most: u64,
}

/// Many values of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many values; the rest is 0 where there are none.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The largest.
    pub max: f64,
    /// The values counted, smallest first: at most some 300, each at most 3 % wide; none is empty.
    pub buckets: Vec<Bucket>,
}

/// One bar of a [`Distribution`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Values of at most this and above the bucket before.
    pub up_to: f64,
    /// How many.
    pub count: u64,
}

impl Distribution {
    /// Of a histogram; `unit` is what one of its steps stands for (0.001 turns microseconds into milliseconds).
    #[must_use]
    pub fn of(histogram: &Histogram<u64>, unit: f64) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |share: f64| histogram.value_at_quantile(share) as f64 * unit;
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut begin = 0.0;
        for step in histogram.iter_recorded() {
            let up_to = step.value_iterated_to() as f64 * unit;
            let count = step.count_since_last_iteration();
            match buckets.last_mut() {
                Some(last) if up_to <= begin * 1.03 => {
                    last.up_to = up_to;
                    last.count += count;
                }
                _ => {
                    begin = up_to;
                    buckets.push(Bucket { up_to, count });
                }
            }
        }
        Self {
            count: histogram.len(),
            min: histogram.min() as f64 * unit,
            mean: histogram.mean() * unit,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 * unit,
            buckets,
        }
    }
}

/// Packets that should have come, by sequence numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Packets that the sequence numbers promise.
    pub expected: u64,
    /// Those that did not come by themselves: the loss of the path.
    pub missing: u64,
    /// Of those: came late, asked for again (NACK, RTX).
    pub repaired: u64,
}

impl Loss {
    /// The path's loss in percent, before repair.
    #[must_use]
    pub fn path_percent(&self) -> f64 {
        percent(self.missing, self.expected)
    }

    /// What was never there, in percent: after repair.
    #[must_use]
    pub fn final_percent(&self) -> f64 {
        percent(self.missing.saturating_sub(self.repaired), self.expected)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Pictures that stood still, as browsers count them (W3C webrtc-stats, `freezeCount`): a gap between two frames of at
/// least max(3 d, d + 150 ms), d the mean gap of the last 30 frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Freezes {
    /// How many.
    pub count: u64,
    /// How long in all, in seconds.
    pub total_s: f64,
    /// The longest, in seconds.
    pub longest_s: f64,
    /// Over how much time of shown video, in seconds: all streams' time added up.
    pub watched_s: f64,
    /// Video streams that froze at least once.
    pub streams_frozen: u64,
    /// Video streams.
    pub streams: u64,
}

/// Layers received against layers wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    /// Stream-seconds by layer: `f`, `h`, `q`, or `only` for a track without simulcast.
    pub by_layer: BTreeMap<String, LayerTime>,
    /// Share, 0 to 1, of the time in which the layer received was the layer wanted.
    pub as_wanted: f64,
    /// Changes of the layer within one track.
    pub switches: u64,
    /// How often the server gave which reason for the layer of a slot (`weir.v1`).
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
}

/// Time on one layer, in stream-seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerTime {
    /// For so long it was wanted.
    pub wanted_s: f64,
    /// For so long it came.
    pub received_s: f64,
}

/// Bits per second of RTP payload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bitrates {
    /// What a receiver got, video and audio: one value for each participant that receives, its mean.
    pub received_bps: Distribution,
    /// What those layers that it wanted carry.
    pub wanted_bps: Distribution,
    /// What a publisher sent.
    pub sent_bps: Distribution,
    /// What publishers' bandwidth estimators took the way to the server to carry; one value a second and publisher.
    pub publisher_estimate_bps: Distribution,
}

/// Requests for repair and for keyframes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// NACK messages that receivers sent.
    pub nacks_sent: u64,
    /// NACK messages that publishers got.
    pub nacks_received: u64,
    /// Keyframe requests that receivers sent.
    pub plis_sent: u64,
    /// Keyframe requests that publishers got.
    pub plis_received: u64,
}

/// What a real decoder made of a sample of the streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderCheck {
    /// Streams in the sample.
    pub streams: u64,
    /// What came of them, added up.
    pub decoded: Decoded,
    /// Why no decoder was asked, in words; none where one was.
    pub missing: Option<String>,
}

/// All that went over the wire, of all clients: UDP payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// RTP packets that publishers sent.
    pub rtp_sent: u64,
    /// RTP packets that receivers got: what the server forwarded.
    pub rtp_received: u64,
    /// Datagrams that the emulated links dropped: on purpose.
    pub link_dropped: u64,
}

/// One span of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its end, in seconds since the start.
    pub at_s: f64,
    /// Its length in seconds.
    pub span_s: f64,
    /// Participants who are in.
    pub participants: u64,
    /// Joins that came through in this span.
    pub joined: u64,
    /// Joins that failed, and participants lost, in this span.
    pub failed: u64,
    /// RTP packets published.
    pub rtp_sent: u64,
    /// RTP packets received.
    pub rtp_received: u64,
    /// Bytes of RTP payload published.
    pub bytes_sent: u64,
    /// Bytes of RTP payload received.
    pub bytes_received: u64,
    /// Packets missing in this span, before repair.
    pub missing: u64,
    /// Frames shown.
    pub frames: u64,
    /// Video streams on screen at its end.
    pub streams: u64,
    /// Freezes that ended in this span.
    pub freezes: u64,
    /// Seconds of freezes that ended in this span.
    pub frozen_s: f64,
    /// Keyframe requests sent by receivers.
    pub plis: u64,
    /// NACK messages sent by receivers.
    pub nacks: u64,
    /// Layer switches.
    pub switches: u64,
    /// Video latency of this span in milliseconds; 0 where no packet came.
    pub latency_p50_ms: f64,
    /// Likewise.
    pub latency_p99_ms: f64,
    /// The tester's CPU, in cores.
    pub tester_cores: f64,
    /// The longest that a thread of the tester woke up too late, in milliseconds.
    pub tester_lag_ms: f64,
    /// The server's CPU, in cores; none where it is not known.
    pub server_cores: Option<f64>,
    /// The server's resident memory in bytes.
    pub server_memory: Option<u64>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// A short stable name: `connect-refused`, `unauthorized`, `ice-timeout`, …
    pub kind: String,
    /// How often.
    pub count: u64,
    /// The first time, in seconds since the start.
    pub first_s: f64,
    /// The last time.
    pub last_s: f64,
    /// The first one in words.
    pub example: String,
}

/// Whether the tester itself kept up: where it did not, the figures tell of the tester and not of the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The figures are spoiled: `reasons` says by what.
    pub spoiled: bool,
    /// In words, each with what to do.
    pub reasons: Vec<String>,
    /// Media threads.
    pub workers: u64,
    /// Processors of this machine that the tester may use.
    pub processors: u64,
    /// CPU time of the tester, in cores, over the run.
    pub mean_cores: f64,
    /// In its worst second.
    pub most_cores: f64,
    /// The busiest media thread's share of one core in its worst second, 0 to 1.
    pub busiest_worker: f64,
    /// How much of the machine all processes together used in the worst second, 0 to 1.
    pub machine_busy: f64,
    /// How late media threads were, in milliseconds: for a timer, or for the oldest datagram on a socket.
    pub lag_ms: Distribution,
    /// Datagrams that the kernel dropped because the tester did not read them in time.
    pub receive_drops: u64,
    /// Datagrams that the kernel did not take from the tester.
    pub send_drops: u64,
    /// Frames that publishers sent more than half a frame late.
    pub late_frames: u64,
    /// CPU seconds of the tester.
    pub cpu_s: f64,
}

/// What the server used, from `/proc`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// How it was found: `--pid`, or by the port it listens on.
    pub found_by: String,
    /// CPU seconds during the run.
    pub cpu_s: f64,
    /// CPU in cores, over the run.
    pub mean_cores: f64,
    /// In its worst second.
    pub most_cores: f64,
    /// CPU seconds for a million RTP packets forwarded; none where none were.
    pub cpu_s_per_million_packets: Option<f64>,
    /// Resident memory at the start, in bytes.
    pub memory_before: u64,
    /// The most.
    pub memory_most: u64,
    /// Growth from start to most over the most participants; none where nobody joined.
    pub memory_per_participant: Option<u64>,
    /// Datagrams that the kernel dropped on the server's media sockets.
    pub receive_drops: u64,
}

/// One `--require` and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As it was written: `p99_latency_ms<50`.
    pub requirement: String,
    /// What was measured; none where there was nothing to measure.
    pub measured: Option<f64>,
    /// It holds. Never true where nothing was measured.
    pub holds: bool,
}

/// What a live screen shows: how far the run is. Given once a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Seconds since the start.
    pub at_s: f64,
    /// How long the run shall take.
    pub of_s: f64,
    /// What goes on: `waiting`, `ramping up`, `running`, `leaving`.
    pub phase: &'static str,
    /// Participants so far.
    pub participants: Participants,
    /// The last row.
    pub row: Row,
    /// Errors so far.
    pub errors: Vec<ErrorCount>,
    /// What spoils the figures now.
    pub problems: Vec<String>,
}
