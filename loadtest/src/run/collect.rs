//! Gathers what workers and participants tell into rows and sums.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::rows::Rows;
use super::watch::{Machine, Process};
use crate::engine::Sample;
use crate::engine::tally::{Counters, LAYERS, Tally, latency_histogram};
use crate::results::{
    Bitrates, Distribution, ErrorCount, Feedback, Freezes, Layers, Loss, Participants, Progress, Row, Summary, Traffic,
};
use crate::scenario::Scenario;
use crate::session::{Failure, Report};

/// The most kinds of errors kept apart: servers may say anything.
const MAX_KINDS: usize = 50;

/// What is known so far.
pub(super) struct Collector {
    start_us: u64,
    pub(super) participants: Participants,
    present: u64,
    join_us: Histogram<u64>,
    first_frame_us: Histogram<u64>,
    errors: BTreeMap<String, ErrorCount>,
    reasons: BTreeMap<String, u64>,
    latest: Vec<Counters>,
    before: Counters,
    latency: Histogram<u64>,
    lag_us: u64,
    worker_cpu: Vec<(u64, u64)>,
    /// The busiest worker's share of a core in its worst second.
    pub(super) busiest: f64,
    joined_before: u64,
    failed_before: u64,
    row_at: f64,
    pub(super) rows: Rows,
    tallies: Vec<Tally>,
    pub(super) own: Option<Process>,
    pub(super) server: Option<Process>,
    pub(super) machine: Machine,
    /// When somebody last got in, or was lost, in seconds.
    pub(super) last_joined: f64,
    pub(super) last_lost: f64,
}

impl Collector {
    pub(super) fn new(start_us: u64, planned: u64, workers: usize, server: Option<Process>) -> Self {
        let mut machine = Machine::default();
        machine.look();
        Self {
            start_us,
            participants: Participants { planned, ..Participants::default() },
            present: 0,
            join_us: latency_histogram(),
            first_frame_us: latency_histogram(),
            errors: BTreeMap::new(),
            reasons: BTreeMap::new(),
            latest: vec![Counters::default(); workers],
            before: Counters::default(),
            latency: latency_histogram(),
            lag_us: 0,
            worker_cpu: vec![(0, 0); workers],
            busiest: 0.0,
            joined_before: 0,
            failed_before: 0,
            row_at: 0.0,
            rows: Rows::default(),
            tallies: Vec::new(),
            own: Process::watch(std::process::id()),
            server,
            machine,
            last_joined: 0.0,
            last_lost: 0.0,
        }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self, now_us: u64) -> f64 {
        now_us.saturating_sub(self.start_us) as f64 / 1e6
    }

    /// Participants who are in.
    pub(super) fn present(&self) -> u64 {
        self.present
    }

    pub(super) fn report(&mut self, now_us: u64, report: Report) {
        let at_s = self.seconds(now_us);
        let people = &mut self.participants;
        match report {
            Report::Attempted => people.attempted += 1,
            Report::Joined { took_us } => {
                people.joined += 1;
                self.present += 1;
                people.most = people.most.max(self.present);
                self.join_us.saturating_record(took_us.max(1));
                self.last_joined = at_s;
            }
            Report::FirstMedia { video: true, took_us } => self.first_frame_us.saturating_record(took_us.max(1)),
            Report::FirstMedia { video: false, .. } => {}
            Report::Failed(failure) => {
                people.failed += 1;
                self.error(at_s, failure);
            }
            Report::Lost(failure) => {
                people.lost += 1;
                self.present = self.present.saturating_sub(1);
                self.last_lost = at_s;
                self.error(at_s, failure);
            }
            Report::Left { starved } => {
                people.without_media += u64::from(starved);
                self.present = self.present.saturating_sub(1);
            }
            Report::Reason(code) => {
                if self.reasons.len() < MAX_KINDS || self.reasons.contains_key(&code) {
                    *self.reasons.entry(code).or_default() += 1;
                }
            }
            Report::Trouble(failure) => self.error(at_s, failure),
        }
    }

    fn error(&mut self, at_s: f64, failure: Failure) {
        let full = self.errors.len() >= MAX_KINDS && !self.errors.contains_key(&failure.kind);
        let kind = if full { "other".to_owned() } else { failure.kind };
        let new = || ErrorCount { kind: kind.clone(), count: 0, first_s: at_s, last_s: at_s, example: failure.message };
        let entry = self.errors.entry(kind.clone()).or_insert_with(new);
        entry.count += 1;
        entry.last_s = at_s;
    }

    /// What went wrong so far, the most frequent first.
    pub(super) fn errors(&self) -> Vec<ErrorCount> {
        let mut all: Vec<ErrorCount> = self.errors.values().cloned().collect();
        all.sort_by_key(|error| std::cmp::Reverse(error.count));
        all
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.latest[sample.worker] = sample.counters;
        // Both have the same bounds.
        _ = self.latency.add(&sample.latency);
        self.lag_us = self.lag_us.max(sample.lag_us);
        if let Some(cpu) = sample.cpu_us {
            let (at_before, before) = std::mem::replace(&mut self.worker_cpu[sample.worker], (sample.at_us, cpu));
            let span = sample.at_us.saturating_sub(at_before);
            if at_before > 0 && span >= 500_000 {
                self.busiest = self.busiest.max(cpu.saturating_sub(before) as f64 / span as f64);
            }
        }
        self.tallies.extend(sample.tally.map(|tally| *tally));
    }

    /// How many workers have closed their books.
    pub(super) fn finished_workers(&self) -> usize {
        self.tallies.len()
    }

    /// Ends a row.
    pub(super) fn row(&mut self, now_us: u64) -> Row {
        let at_s = self.seconds(now_us);
        let span_s = at_s - std::mem::replace(&mut self.row_at, at_s);
        let mut total = Counters::default();
        self.latest.iter().for_each(|counters| total.add(counters));
        let change = total.since(&self.before);
        self.before = total;
        let people = self.participants;
        let failed = people.failed + people.lost;
        let own = self.own.as_mut().and_then(|own| own.look(span_s));
        let server = self.server.as_mut().and_then(|server| server.look(span_s));
        self.machine.look();
        let latency = std::mem::replace(&mut self.latency, latency_histogram());
        let at = |share| if latency.is_empty() { 0.0 } else { latency.value_at_quantile(share) as f64 / 1000.0 };
        let row = Row {
            at_s,
            span_s,
            participants: self.present,
            joined: people.joined - std::mem::replace(&mut self.joined_before, people.joined),
            failed: failed - std::mem::replace(&mut self.failed_before, failed),
            rtp_sent: change.rtp_sent,
            rtp_received: change.rtp_received,
            bytes_sent: change.media_sent,
            bytes_received: change.media_received,
            missing: change.video_missing + change.audio_missing,
            frames: change.frames,
            streams: total.on_screen,
            freezes: change.freezes,
            frozen_s: change.frozen_us as f64 / 1e6,
            plis: change.plis_sent,
            nacks: change.nacks_sent,
            switches: change.switches,
            latency_p50_ms: at(0.5),
            latency_p99_ms: at(0.99),
            tester_cores: own.map_or(0.0, |(cores, _)| cores),
            tester_lag_ms: std::mem::take(&mut self.lag_us) as f64 / 1000.0,
            server_cores: server.map(|(cores, _)| cores),
            server_memory: server.map(|(_, memory)| memory),
        };
        self.rows.push(row);
        row
    }

    pub(super) fn progress(
        &self,
        row: Row,
        scenario: &Scenario,
        phase: &'static str,
        problems: Vec<String>,
    ) -> Progress {
        Progress {
            at_s: row.at_s,
            of_s: scenario.duration.as_secs_f64(),
            phase,
            participants: self.participants,
            row,
            errors: self.errors(),
            problems,
        }
    }

    /// All workers' measurements together.
    pub(super) fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.tallies.iter().for_each(|tally| all.add(tally));
        all
    }

    pub(super) fn summary(&self, scenario: &Scenario, tally: &Tally) -> Summary {
        const MS: f64 = 0.001;
        let c = &tally.counters;
        let loss = |expected, missing, repaired| Loss { expected, missing, repaired };
        Summary {
            participants: self.participants,
            join_ms: Distribution::of(&self.join_us, MS),
            first_frame_ms: Distribution::of(&self.first_frame_us, MS),
            video_latency_ms: Distribution::of(&tally.video_latency, MS),
            audio_latency_ms: Distribution::of(&tally.audio_latency, MS),
            latency_across_testers: c.foreign_latencies,
            video_loss: loss(c.video_expected, c.video_missing, c.video_repaired),
            audio_loss: loss(c.audio_expected, c.audio_missing, c.audio_repaired),
            freezes: freezes(c),
            frame_rate: Distribution::of(&tally.frame_rate, MS),
            layers: layers(scenario, tally, self.reasons.clone()),
            bitrate: Bitrates {
                received_bps: Distribution::of(&tally.received_bps, 1.0),
                wanted_bps: Distribution::of(&tally.wanted_bps, 1.0),
                sent_bps: Distribution::of(&tally.sent_bps, 1.0),
                publisher_estimate_bps: Distribution::of(&tally.estimate_bps, 1.0),
            },
            feedback: Feedback {
                nacks_sent: c.nacks_sent,
                nacks_received: c.nacks_received,
                plis_sent: c.plis_sent,
                plis_received: c.plis_received,
            },
            media: tally.media,
            // Asked afterwards: it takes its time.
            decoder: None,
            traffic: Traffic {
                datagrams_sent: c.datagrams_sent,
                bytes_sent: c.bytes_sent,
                datagrams_received: c.datagrams_received,
                bytes_received: c.bytes_received,
                rtp_sent: c.rtp_sent,
                rtp_received: c.rtp_received,
                link_dropped: c.link_dropped,
            },
        }
    }
}

fn freezes(c: &Counters) -> Freezes {
    Freezes {
        count: c.freezes,
        total_s: c.frozen_us as f64 / 1e6,
        longest_s: c.longest_freeze_us as f64 / 1e6,
        watched_s: c.watched_us as f64 / 1e6,
        streams_frozen: c.streams_frozen,
        streams: c.streams,
    }
}

fn layers(scenario: &Scenario, tally: &Tally, reasons: BTreeMap<String, u64>) -> Layers {
    let name = |at: usize| match scenario.video.layers.get(at) {
        Some(layer) if at < LAYERS => layer.rid.clone(),
        _ => "only".to_owned(),
    };
    let used = tally.layer_time.iter().enumerate().filter(|(_, time)| time.wanted_s + time.received_s > 0.0);
    let c = &tally.counters;
    Layers {
        by_layer: used.map(|(at, time)| (name(if at == LAYERS { usize::MAX } else { at }), *time)).collect(),
        as_wanted: if c.wanted_us == 0 { 0.0 } else { c.as_wanted_us as f64 / c.wanted_us as f64 },
        switches: c.switches,
        reasons,
    }
}
