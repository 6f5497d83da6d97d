//! What one publisher sends on one line.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::format::Codec as RtcCodec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::descriptor::Descriptor;
use super::tally::Counters;
use crate::media::{Codec, Payload, Source};

/// Loudness of somebody who speaks, and of a quiet room, in dBov.
const SPEAKING: i8 = -25;
const QUIET: i8 = -75;
/// A frame that is later than this many intervals is told, and the clock goes on from now.
const LATE: f64 = 0.5;

/// When a microphone speaks.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// Its number in the room.
    pub seat: u32,
    /// Microphones of the room.
    pub seats: u32,
    /// How many speak at a time.
    pub speakers: u32,
    /// How long a turn takes, in microseconds; zero: for ever.
    pub turn_us: u64,
}

impl Turns {
    fn speaks(&self, now_us: u64) -> bool {
        let turn = now_us.checked_div(self.turn_us).unwrap_or(0);
        let first = (turn * u64::from(self.speakers) % u64::from(self.seats.max(1))) as u32;
        (self.seat + self.seats - first) % self.seats.max(1) < self.speakers
    }
}

/// What a sending line is made of.
pub struct SenderSetup {
    /// Its `a=mid`.
    pub mid: Mid,
    /// Its codec.
    pub codec: Codec,
    /// Layers, smallest first: RID (none without simulcast) and kilobits per second.
    pub layers: Vec<(Option<Rid>, u32)>,
    /// Its media.
    pub source: Box<dyn Source>,
    /// For audio.
    pub turns: Option<Turns>,
    /// The sequence number and timestamp to begin with: below 32,768, and any.
    pub begin: (u16, u32),
}

struct Layer {
    rid: Option<Rid>,
    kbps: u32,
    next: u64,
    /// Somebody wants it.
    wanted: bool,
    /// The link carries it.
    fits: bool,
}

/// One sending line.
pub(super) struct Sender {
    pub(super) mid: Mid,
    codec: Codec,
    layers: Vec<Layer>,
    source: Box<dyn Source>,
    turns: Option<Turns>,
    timestamp: u32,
    step: u32,
    pt: Option<Pt>,
    interval: Duration,
    next_due: Option<Instant>,
    payloads: Vec<Payload>,
    sent: u64,
}

impl Sender {
    pub(super) fn new(setup: SenderSetup) -> Self {
        let next = u64::from(setup.begin.0);
        let layer = |(rid, kbps)| Layer { rid, kbps, next, wanted: true, fits: true };
        let clock = if setup.codec == Codec::Opus { 48_000.0 } else { 90_000.0 };
        let step = setup.source.timestamp_step();
        Self {
            mid: setup.mid,
            codec: setup.codec,
            layers: setup.layers.into_iter().map(layer).collect(),
            timestamp: setup.begin.1,
            step,
            source: setup.source,
            turns: setup.turns,
            pt: None,
            interval: Duration::from_secs_f64(f64::from(step) / clock),
            next_due: None,
            payloads: Vec::new(),
            sent: 0,
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// The connection stands: the first frame is due after `offset` (0 to 1) of an interval, so that publishers do not
    /// all send at once.
    pub(super) fn begin(&mut self, rtc: &Rtc, now: Instant, offset: f64) {
        self.pt = negotiated(rtc, self.mid, self.codec);
        self.next_due = self.pt.is_some().then(|| now + self.interval.mul_f64(offset));
    }

    /// Writes the frames that are due; follow with a clock step of the stack.
    pub(super) fn send_due(&mut self, rtc: &mut Rtc, now: Instant, now_us: u64, counters: &mut Counters) -> bool {
        let (Some(due), Some(pt)) = (self.next_due, self.pt) else { return false };
        if due > now {
            return false;
        }
        for index in 0..self.layers.len() {
            if self.layers[index].wanted && self.layers[index].fits {
                self.send_layer(rtc, index, (pt, now, now_us), counters);
            }
        }
        self.timestamp = self.timestamp.wrapping_add(self.step);
        let late = now.duration_since(due) > self.interval.mul_f64(LATE);
        counters.late_frames += u64::from(late);
        // After a stall go on from now: a burst of late frames would look like congestion. The timestamps keep pace.
        let skipped =
            if late { (now.duration_since(due).as_secs_f64() / self.interval.as_secs_f64()) as u32 } else { 0 };
        self.timestamp = self.timestamp.wrapping_add(self.step.wrapping_mul(skipped));
        self.next_due = Some(due + self.interval * (skipped + 1));
        true
    }

    fn send_layer(
        &mut self,
        rtc: &mut Rtc,
        index: usize,
        (pt, now, now_us): (Pt, Instant, u64),
        counters: &mut Counters,
    ) {
        self.payloads.clear();
        self.source.frame(index, now_us, &mut self.payloads);
        let layer = &mut self.layers[index];
        let mut api = rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.mid, layer.rid) else { return };
        let audio = self.turns.map(|turns| turns.speaks(now_us));
        for payload in self.payloads.drain(..) {
            let mut values = ExtensionValues::default();
            if let Some(speaks) = audio {
                values.audio_level = Some(if speaks { SPEAKING } else { QUIET });
                values.voice_activity = Some(speaks);
            }
            if let Some(descriptor) = payload.descriptor {
                values.user_values.set(Descriptor(descriptor));
            }
            counters.rtp_sent += 1;
            counters.media_sent += payload.bytes.len() as u64;
            self.sent += payload.bytes.len() as u64;
            let write = RtpWrite::new(pt, layer.next.into(), self.timestamp, now, payload.bytes)
                .marker(payload.marker)
                .ext_vals(values)
                .nackable(audio.is_none());
            stream.write_rtp(write);
            layer.next += 1;
        }
    }

    /// Somebody needs a keyframe.
    pub(super) fn request_keyframe(&mut self, rid: Option<Rid>) {
        for index in 0..self.layers.len() {
            if rid.is_none() || self.layers[index].rid == rid {
                self.source.request_keyframe(index);
            }
        }
    }

    /// Somebody wants these layers, and nobody the others.
    pub(super) fn want(&mut self, rids: &[Rid]) {
        for index in 0..self.layers.len() {
            let Some(rid) = self.layers[index].rid else { continue };
            let wanted = rids.contains(&rid);
            if wanted && !self.layers[index].wanted {
                self.source.request_keyframe(index);
            }
            self.layers[index].wanted = wanted;
        }
    }

    /// Sends as many layers as fit into this many bits per second, the smallest in any case; upper ones come back when
    /// there is a tenth to spare. Returns what is left for others.
    pub(super) fn fit(&mut self, estimate: f64) -> f64 {
        let mut left = estimate;
        for index in 0..self.layers.len() {
            let need = f64::from(self.layers[index].kbps) * 1000.0;
            let layer = &mut self.layers[index];
            let fits = index == 0 || left >= if layer.fits { need } else { need * 1.1 };
            let back = fits && !layer.fits;
            layer.fits = fits;
            if back {
                self.source.request_keyframe(index);
            }
            if fits && self.layers[index].wanted {
                left -= need;
            }
        }
        left.max(0.0)
    }

    pub(super) fn is_video(&self) -> bool {
        self.turns.is_none()
    }

    /// Closes the books: sends no more; the bytes of payload that it has sent.
    pub(super) fn finish(&mut self) -> u64 {
        self.next_due = None;
        std::mem::take(&mut self.sent)
    }
}

/// The payload type that both sides have for a codec.
fn negotiated(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let wanted = match codec {
        Codec::Opus => RtcCodec::Opus,
        Codec::Vp8 => RtcCodec::Vp8,
        Codec::Vp9 => RtcCodec::Vp9,
        Codec::H264 => RtcCodec::H264,
        Codec::Av1 => RtcCodec::Av1,
    };
    let pts = rtc.media(mid)?.remote_pts();
    let mut params = rtc.codec_config().iter();
    params.find(|p| p.spec().codec == wanted && pts.contains(&p.pt())).map(|p| p.pt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speakers_take_turns_and_as_many_speak_as_asked_for() {
        for (seats, speakers) in [(10, 1), (10, 3), (3, 3), (1, 1)] {
            let mut spoke = vec![false; seats as usize];
            for turn in 0..u64::from(seats) {
                let speaking = (0..seats)
                    .filter(|seat| Turns { seat: *seat, seats, speakers, turn_us: 1000 }.speaks(turn * 1000 + 5))
                    .collect::<Vec<_>>();
                assert_eq!(speaking.len() as u32, speakers, "turn {turn} of {seats}");
                speaking.iter().for_each(|seat| spoke[*seat as usize] = true);
            }
            assert!(spoke.iter().all(|spoke| *spoke));
        }
        let forever = Turns { seat: 0, seats: 4, speakers: 1, turn_us: 0 };
        assert!(forever.speaks(u64::MAX));
    }
}
