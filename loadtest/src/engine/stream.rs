//! What one receiver gets on one stream.

use str0m::media::Mid;
use str0m::rtp::{RtpPacket, Ssrc};

use super::Measure;
use super::descriptor::Descriptor;
use super::freeze::FreezeMeter;
use super::loss::{Arrival, LossMeter};
use super::tally::{LAYERS, Tally};
use crate::media::{Arrived, Checker, Frame, Mark};

/// A picture without a frame for so long is not received any more, in microseconds.
const STALE: u64 = 1_000_000;
/// The shortest time from which a frame rate is taken, in microseconds.
const SHORT: u64 = 1_000_000;

/// One of a receiver's lines, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its line.
    pub mid: Mid,
    /// How many layers the track on it has; none: it is empty.
    pub shows: Option<usize>,
    /// The layer to be wanted of a track with all layers, counted from the smallest.
    pub wanted: usize,
}

/// One received stream.
pub(super) struct Stream {
    pub(super) ssrc: Ssrc,
    pub(super) mid: Mid,
    pub(super) video: bool,
    pub(super) asked_at: Option<u64>,
    checker: Box<dyn Checker>,
    loss: LossMeter,
    freeze: FreezeMeter,
    showing: Option<Showing>,
    frozen: bool,
    ever_shown: bool,
}

/// A picture on screen.
#[derive(Debug, Clone, Copy)]
struct Showing {
    since: u64,
    last: u64,
    frames: u64,
    mark: Option<Mark>,
}

impl Stream {
    pub(super) fn new(ssrc: Ssrc, mid: Mid, video: bool, checker: Box<dyn Checker>) -> Self {
        Self {
            ssrc,
            mid,
            video,
            asked_at: None,
            checker,
            loss: LossMeter::default(),
            freeze: FreezeMeter::default(),
            showing: None,
            frozen: false,
            ever_shown: false,
        }
    }

    /// Takes a packet; true if a frame was shown.
    pub(super) fn packet(&mut self, packet: &RtpPacket, at: u64, resent: bool, measure: &mut Measure) -> bool {
        if self.count(*packet.seq_no, resent, &mut measure.tally) == Arrival::Duplicate {
            return false;
        }
        if packet.payload.is_empty() {
            self.checker.padding(at, *packet.seq_no);
            return false;
        }
        let counters = &mut measure.tally.counters;
        counters.rtp_received += 1;
        counters.media_received += packet.payload.len() as u64;
        let descriptor = packet.header.ext_vals.user_values.get::<Descriptor>();
        let arrived = Arrived {
            now_us: at,
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: &packet.payload,
            descriptor: descriptor.map(|d| &*d.0),
        };
        measure.frames.clear();
        let seen = self.checker.packet(&arrived, &mut measure.frames);
        if let Some(mark) = seen.mark {
            measure.latency(self.video, at, &mark);
        }
        if !self.video {
            return true;
        }
        let frames = std::mem::take(&mut measure.frames);
        frames.iter().for_each(|frame| self.show(frame, &mut measure.tally));
        let shown = !frames.is_empty();
        measure.frames = frames;
        shown
    }

    fn count(&mut self, sequence: u64, resent: bool, tally: &mut Tally) -> Arrival {
        let before = (self.loss.expected, self.loss.missing, self.loss.repaired);
        let arrival = self.loss.packet(sequence, resent);
        let counters = &mut tally.counters;
        let (expected, missing, repaired) = if self.video {
            (&mut counters.video_expected, &mut counters.video_missing, &mut counters.video_repaired)
        } else {
            (&mut counters.audio_expected, &mut counters.audio_missing, &mut counters.audio_repaired)
        };
        *expected += self.loss.expected - before.0;
        *missing = (*missing + self.loss.missing).saturating_sub(before.1);
        *repaired += self.loss.repaired - before.2;
        arrival
    }

    fn show(&mut self, frame: &Frame, tally: &mut Tally) {
        let at = frame.at_us;
        let other = |a: Mark, b: Mark| (a.tester, a.source) != (b.tester, b.source);
        if let Some((before, now)) = self.showing.and_then(|s| s.mark).zip(frame.mark) {
            if other(before, now) {
                self.hide(tally);
            } else if before.layer != now.layer {
                tally.counters.switches += 1;
            }
        }
        if let Some(length) = self.freeze.frame(at) {
            self.note_freeze(length, tally);
        }
        tally.counters.frames += 1;
        tally.counters.streams += u64::from(!self.ever_shown);
        self.ever_shown = true;
        let showing = self.showing.get_or_insert(Showing { since: at, last: at, frames: 0, mark: frame.mark });
        showing.last = at;
        showing.frames += 1;
        showing.mark = frame.mark;
    }

    fn note_freeze(&mut self, length: u64, tally: &mut Tally) {
        let counters = &mut tally.counters;
        counters.freezes += 1;
        counters.frozen_us += length;
        counters.longest_freeze_us = counters.longest_freeze_us.max(length);
        counters.streams_frozen += u64::from(!self.frozen);
        self.frozen = true;
    }

    /// The slot shows something else from now on: what came last was its last frame.
    pub(super) fn hide(&mut self, tally: &mut Tally) {
        self.freeze = FreezeMeter::default();
        if let Some(showing) = self.showing.take() {
            note_rate(showing, showing.last, tally);
        }
    }

    /// The measurement ends now.
    pub(super) fn finish(&mut self, now: u64, tally: &mut Tally) {
        if let Some(length) = self.freeze.end(now) {
            self.note_freeze(length, tally);
        }
        if let Some(showing) = self.showing.take() {
            note_rate(showing, now, tally);
        }
        if self.video {
            tally.judge(self.checker.judgement());
            tally.samples.extend(self.checker.sample());
        }
    }

    /// The layer that came within the last second.
    pub(super) fn layer(&self, now: u64) -> Option<usize> {
        let showing = self.showing.filter(|s| now.saturating_sub(s.last) < STALE)?;
        Some(showing.mark.map_or(LAYERS - 1, |mark| usize::from(mark.layer).min(LAYERS - 1)))
    }

    pub(super) fn needs_keyframe(&self) -> bool {
        self.video && self.checker.needs_keyframe()
    }
}

fn note_rate(showing: Showing, end: u64, tally: &mut Tally) {
    let length = end.saturating_sub(showing.since);
    tally.counters.watched_us += length;
    if length >= SHORT {
        // The first frame begins the time, so it is not one of those in it.
        let rate = (showing.frames.saturating_sub(1)) as f64 * 1e9 / length as f64;
        tally.frame_rate.saturating_record((rate as u64).max(1));
    }
}
