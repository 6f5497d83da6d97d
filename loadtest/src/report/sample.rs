//! A run as tests of the reports see it.

use hdrhistogram::Histogram;

use crate::media::{Codec, Decoded, Judgement};
use crate::results::{
    Bitrates, DecoderCheck, Distribution, ErrorCount, FORMAT, Feedback, Freezes, Health, LayerTime, Layers, Loss,
    Outcome, OutcomeKind, Participants, Results, Row, ServerUse, Summary, Traffic, Verdict,
};
use crate::scenario::Scenario;

/// Values of a plausible shape: most near `typical`, a tail to about ten times that. Repeatable.
fn distribution(typical: u64, values: u64, unit: f64) -> Distribution {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits are allowed");
    let mut state = 1_u64;
    for _ in 0..values {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let u = ((state >> 11) as f64 / (1_u64 << 53) as f64).max(1e-9);
        let value = typical as f64 * (0.6 + 0.4 * (-u.ln()).powf(1.3));
        histogram.record(value as u64).expect("an unbounded histogram");
    }
    Distribution::of(&histogram, unit)
}

/// Nearly what is published, as it is where nothing is lost.
fn frame_rates() -> Distribution {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits are allowed");
    (0..90).for_each(|i| histogram.record(29_500 + i * 6).expect("an unbounded histogram"));
    Distribution::of(&histogram, 0.001)
}

fn row(second: u64) -> Row {
    let ramp = (second.min(5) as f64) / 5.0;
    let wave = 1.0 + 0.06 * (second as f64 * 0.9).sin();
    let packets = (9_400.0 * ramp * ramp * wave) as u64;
    let spike = second == 19;
    Row {
        at_s: second as f64 + 1.0,
        span_s: 1.0,
        participants: (second * 2 + 2).min(10),
        joined: if second < 5 { 2 } else { 0 },
        failed: u64::from(second == 0),
        rtp_sent: (1_150.0 * ramp * wave) as u64,
        rtp_received: packets,
        bytes_sent: (1_150.0 * ramp * wave * 980.0) as u64,
        bytes_received: packets * 940,
        missing: if spike { 40 } else { second % 3 },
        frames: (2_700.0 * ramp * ramp) as u64,
        streams: (90.0 * ramp * ramp) as u64,
        freezes: if spike { 4 } else { 0 },
        frozen_s: if spike { 1.3 } else { 0.0 },
        plis: if second < 5 { 12 } else { u64::from(spike) * 5 },
        nacks: if spike { 22 } else { second % 2 },
        switches: if second < 6 { 9 } else { 0 },
        latency_p50_ms: 1.1 + 0.2 * wave,
        latency_p99_ms: if spike { 41.0 } else { 4.2 * wave },
        tester_cores: 0.31 * ramp + 0.05,
        tester_lag_ms: 0.6,
        server_cores: Some(0.42 * ramp * ramp * wave + 0.02),
        server_memory: Some(24_000_000 + (14_000_000.0 * ramp) as u64),
    }
}

fn summary() -> Summary {
    Summary {
        participants: Participants {
            planned: 10,
            attempted: 11,
            joined: 10,
            failed: 1,
            without_media: 0,
            lost: 0,
            most: 10,
        },
        join_ms: distribution(160, 10, 1.0),
        first_frame_ms: distribution(380, 10, 1.0),
        video_latency_ms: distribution(1_300, 40_000, 0.001),
        audio_latency_ms: distribution(1_000, 9_000, 0.001),
        latency_across_testers: 0,
        video_loss: Loss { expected: 262_000, missing: 68, repaired: 61 },
        audio_loss: Loss { expected: 13_100, missing: 3, repaired: 0 },
        freezes: Freezes {
            count: 4,
            total_s: 1.3,
            longest_s: 0.42,
            watched_s: 2_480.0,
            streams_frozen: 4,
            streams: 90,
        },
        frame_rate: frame_rates(),
        layers: Layers {
            by_layer: [
                ("h".to_owned(), LayerTime { wanted_s: 0.0, received_s: 31.0 }),
                ("q".to_owned(), LayerTime { wanted_s: 2_480.0, received_s: 2_449.0 }),
            ]
            .into(),
            as_wanted: 0.9875,
            switches: 54,
            reasons: std::collections::BTreeMap::new(),
        },
        bitrate: Bitrates {
            received_bps: distribution(1_440, 10, 1_000.0),
            wanted_bps: distribution(1_450, 10, 1_000.0),
            sent_bps: distribution(2_200, 10, 1_000.0),
            publisher_estimate_bps: distribution(3_400, 300, 1_000.0),
        },
        feedback: Feedback { nacks_sent: 39, nacks_received: 4, plis_sent: 65, plis_received: 21 },
        media: Judgement { decodable: 74_350, undecodable: 41, incomplete: 8, faults: 0 },
        traffic: Traffic {
            datagrams_sent: 41_000,
            bytes_sent: 39_000_000,
            datagrams_received: 281_000,
            bytes_received: 262_000_000,
            rtp_sent: 33_000,
            rtp_received: 275_000,
            link_dropped: 0,
        },
        decoder: Some(DecoderCheck {
            streams: 4,
            decoded: Decoded { frames: 1_200, pictures: 1_200, identical: 1_200, complaints: 0, examples: Vec::new() },
            missing: None,
        }),
    }
}

/// A run in which one thing went wrong.
pub(super) fn results() -> Results {
    let mut scenario = Scenario { name: "meeting-10".to_owned(), members: 10, ..Scenario::default() };
    scenario.video.codec = Codec::Vp8;
    Results {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        scenario,
        outcome: Outcome {
            kind: OutcomeKind::Partial,
            message: "1 of 11 joins failed: look at the errors for why.".to_owned(),
        },
        started_unix_ms: 1_790_000_000_000,
        ran_s: 30.0,
        summary: summary(),
        rows: (0..30).map(row).collect(),
        errors: vec![ErrorCount {
            kind: "unauthorized".to_owned(),
            count: 1,
            first_s: 0.4,
            last_s: 0.4,
            example: "the server refused the token: <b>expired</b> & gone".to_owned(),
        }],
        health: Health {
            workers: 2,
            processors: 2,
            mean_cores: 0.33,
            most_cores: 0.41,
            busiest_worker: 0.24,
            machine_busy: 0.5,
            lag_ms: distribution(200, 3_000, 0.001),
            cpu_s: 9.9,
            ..Health::default()
        },
        server: Some(ServerUse {
            pid: 4_711,
            name: "weir".to_owned(),
            found_by: "the port it listens on".to_owned(),
            cpu_s: 11.7,
            mean_cores: 0.39,
            most_cores: 0.47,
            cpu_s_per_million_packets: Some(42.5),
            memory_before: 24_000_000,
            memory_most: 38_000_000,
            memory_per_participant: Some(1_400_000),
            receive_drops: 0,
        }),
        verdicts: vec![
            Verdict { requirement: "p99_latency_ms<50".to_owned(), measured: Some(4.8), holds: true },
            Verdict { requirement: "join_failures==0".to_owned(), measured: Some(1.0), holds: false },
        ],
    }
}

/// A run in which nothing did.
pub(super) fn good() -> Results {
    let mut results = results();
    results.outcome = Outcome { kind: OutcomeKind::Completed, message: "All done.".to_owned() };
    results.summary.participants =
        Participants { planned: 10, attempted: 10, joined: 10, most: 10, ..Participants::default() };
    results.errors.clear();
    results.verdicts.retain(|verdict| verdict.holds);
    results
}

/// A run that ended before anything was measured.
pub(super) fn empty() -> Results {
    let mut results = results();
    results.summary = Summary::default();
    results.rows.clear();
    results.ran_s = 0.0;
    results.server = None;
    results.health = Health::default();
    results.verdicts.clear();
    results.outcome.kind = OutcomeKind::Failed;
    results
}
