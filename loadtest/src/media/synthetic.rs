//! Synthetic media: frames of the right sizes, VP8 headers that servers read, and a [`Mark`] in every packet.

use std::collections::VecDeque;
use std::sync::Arc;

use super::mark;
use super::{Arrived, Checker, Frame, Judgement, Mark, Payload, Seen, Source};
use crate::scenario::Video;

/// RTP payload of a whole packet, descriptor included.
const PACKET: usize = 1160;
/// VP8 descriptor with a 15-bit picture id (RFC 7741, section 4.2).
const DESCRIPTOR: usize = 4;
/// VP8 frame tag, start code and size (RFC 6386, section 9.1); other packets keep the place free.
const HEADER: usize = 10;
/// An encoder answers requests for a keyframe at most so often, in microseconds: libwebrtc's do so.
const KEY_EVERY: u64 = 300_000;
/// How much larger a keyframe is than the mean frame; the frames after it pay it back.
const KEY_SIZE: f64 = 5.0;
/// The most frames that a checker holds in wait of missing packets: two seconds at 30 frames a second.
const WAITING: usize = 64;
/// So many whole frames that nobody can show are a case for a keyframe; fewer may yet be repaired, which takes a round
/// trip or two.
const STALLED: usize = 8;

/// A camera in VP8.
pub struct VideoSource {
    tester: u32,
    source: u32,
    fps: u32,
    keyframe_every: u64,
    layers: Vec<Encoder>,
}

struct Encoder {
    height: u16,
    width: u16,
    frame_bytes: f64,
    frame: u32,
    /// Bytes that keyframes took beyond their share.
    debt: f64,
    wants_key: bool,
    last_key: Option<u64>,
}

impl VideoSource {
    /// The camera number `source` of the tester `tester`.
    #[must_use]
    pub fn new(video: &Video, tester: u32, source: u32) -> Self {
        let fps = video.fps.clamp(1, 120);
        let encoder = |layer: &crate::scenario::Layer| Encoder {
            height: layer.height,
            width: layer.width,
            frame_bytes: f64::from(layer.kbps) * 125.0 / f64::from(fps),
            frame: 0,
            debt: 0.0,
            wants_key: true,
            last_key: None,
        };
        let keyframe_every = u64::try_from(video.keyframe_every.as_micros()).unwrap_or(u64::MAX);
        Self { tester, source, fps, keyframe_every, layers: video.layers.iter().map(encoder).collect() }
    }
}

impl Source for VideoSource {
    fn frame(&mut self, layer: usize, now_us: u64, out: &mut Vec<Payload>) {
        let Some(encoder) = self.layers.get_mut(layer) else { return };
        let (key, bytes) = encoder.next(now_us, self.keyframe_every);
        let count = bytes.div_ceil(PACKET).clamp(1, usize::from(u16::MAX));
        for index in 0..count {
            let share = bytes / count + usize::from(index < bytes % count);
            let mark = Mark {
                sent_us: now_us,
                tester: self.tester,
                source: self.source,
                frame: encoder.frame,
                layer: layer as u8,
                key,
                index: index as u16,
                count: count as u16,
            };
            let bytes = vp8_packet(&mark, (encoder.width, encoder.height), share);
            out.push(Payload { bytes, marker: index + 1 == count, descriptor: None });
        }
        encoder.frame = encoder.frame.wrapping_add(1);
    }

    fn request_keyframe(&mut self, layer: usize) {
        if let Some(encoder) = self.layers.get_mut(layer) {
            encoder.wants_key = true;
        }
    }

    fn timestamp_step(&self) -> u32 {
        90_000 / self.fps
    }
}

impl Encoder {
    /// Whether the next frame is a keyframe, and its bytes.
    fn next(&mut self, now_us: u64, keyframe_every: u64) -> (bool, usize) {
        let since = self.last_key.map(|at| now_us.saturating_sub(at));
        let unasked = keyframe_every > 0 && since.is_some_and(|since| since >= keyframe_every);
        let key = (self.wants_key && since.is_none_or(|since| since >= KEY_EVERY)) || unasked;
        let size =
            if key { self.frame_bytes * KEY_SIZE } else { self.frame_bytes - self.debt.min(self.frame_bytes / 3.0) };
        self.debt += size - self.frame_bytes;
        if key {
            self.wants_key = false;
            self.last_key = Some(now_us);
        }
        (key, size as usize)
    }
}

fn vp8_packet(mark: &Mark, (width, height): (u16, u16), size: usize) -> Arc<[u8]> {
    let start = mark.index == 0;
    let mut bytes = vec![0x5a; size.max(DESCRIPTOR + HEADER + mark::LEN)];
    let [high, low] = ((mark.frame & 0x7fff) as u16).to_be_bytes();
    bytes[..DESCRIPTOR].copy_from_slice(&[0x80 | if start { 0x10 } else { 0 }, 0x80, 0x80 | high, low]);
    let body = &mut bytes[DESCRIPTOR..];
    if start {
        body[..3].copy_from_slice(&[u8::from(!mark.key) | 0x10, 0x02, 0x00]);
        if mark.key {
            body[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
            body[6..8].copy_from_slice(&width.to_le_bytes());
            body[8..10].copy_from_slice(&height.to_le_bytes());
        }
    }
    body[HEADER..HEADER + mark::LEN].copy_from_slice(&mark.write());
    bytes.into()
}

/// The picture id of a VP8 payload, and where its body begins.
fn vp8_body(payload: &[u8]) -> Option<(Option<u16>, &[u8])> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut picture = None;
    if first & 0x80 != 0 {
        let extensions = *payload.get(at)?;
        at += 1;
        if extensions & 0x80 != 0 {
            let high = *payload.get(at)?;
            at += 1;
            if high & 0x80 != 0 {
                picture = Some(u16::from_be_bytes([high & 0x7f, *payload.get(at)?]));
                at += 1;
            }
        }
        at += usize::from(extensions & 0x40 != 0) + usize::from(extensions & 0x30 != 0);
    }
    Some((picture, payload.get(at..)?))
}

/// Judges a stream of [`VideoSource`]s.
#[derive(Default)]
pub struct VideoChecker {
    /// Frames not yet shown, by the order in which their first packet came.
    waiting: VecDeque<Waiting>,
    /// The last frame shown.
    shown: Option<Shown>,
    broken: bool,
    judgement: Judgement,
}

struct Waiting {
    mark: Mark,
    picture: Option<u16>,
    timestamp: u32,
    lowest: u64,
    came: u16,
    /// When its last packet came.
    whole_at: Option<u64>,
}

struct Shown {
    mark: Mark,
    picture: Option<u16>,
    timestamp: u32,
}

impl Waiting {
    fn same(&self, mark: &Mark) -> bool {
        let of = |m: &Mark| (m.tester, m.source, m.layer, m.frame, m.sent_us);
        of(&self.mark) == of(mark)
    }

    /// It builds on nothing, or on what was shown last.
    fn fits(&self, shown: Option<&Shown>) -> bool {
        self.mark.key || shown.is_some_and(|shown| follows(&shown.mark, &self.mark))
    }
}

fn follows(before: &Mark, mark: &Mark) -> bool {
    let stream = |m: &Mark| (m.tester, m.source, m.layer);
    stream(before) == stream(mark) && mark.frame == before.frame.wrapping_add(1)
}

impl VideoChecker {
    fn collect(&mut self, mark: Mark, picture: Option<u16>, packet: &Arrived<'_>) {
        let entry = match self.waiting.iter_mut().rev().find(|waiting| waiting.same(&mark)) {
            Some(entry) => entry,
            None => {
                if self.waiting.len() >= WAITING
                    && let Some(oldest) = self.waiting.pop_front()
                {
                    self.give_up(&oldest);
                }
                self.waiting.push_back(Waiting {
                    mark,
                    picture,
                    timestamp: packet.timestamp,
                    lowest: packet.sequence,
                    came: 0,
                    whole_at: None,
                });
                let last = self.waiting.len() - 1;
                &mut self.waiting[last]
            }
        };
        entry.lowest = entry.lowest.min(packet.sequence);
        entry.came = entry.came.saturating_add(1);
        // One timestamp and one picture id for all packets of a frame.
        self.judgement.faults += u64::from(entry.timestamp != packet.timestamp || entry.picture != picture);
        if entry.came >= entry.mark.count {
            entry.whole_at.get_or_insert(packet.now_us);
        }
    }

    fn give_up(&mut self, frame: &Waiting) {
        self.broken = true;
        match frame.whole_at {
            Some(_) => self.judgement.undecodable += 1,
            None => self.judgement.incomplete += 1,
        }
    }

    fn show(&mut self, now_us: u64, frames: &mut Vec<Frame>) {
        loop {
            let shown = self.shown.as_ref();
            let next = self.waiting.iter().position(|w| w.whole_at.is_some() && w.fits(shown));
            let Some(frame) = next.and_then(|at| self.waiting.remove(at)) else { return };
            let older: Vec<usize> =
                (0..self.waiting.len()).rev().filter(|at| self.waiting[*at].lowest < frame.lowest).collect();
            for at in older {
                if let Some(skipped) = self.waiting.remove(at) {
                    self.give_up(&skipped);
                }
            }
            self.check_continuity(&frame);
            self.broken = false;
            self.judgement.decodable += 1;
            frames.push(Frame { at_us: now_us, key: frame.mark.key, mark: Some(frame.mark) });
            self.shown = Some(Shown { mark: frame.mark, picture: frame.picture, timestamp: frame.timestamp });
        }
    }

    fn check_continuity(&mut self, frame: &Waiting) {
        let Some(before) = &self.shown else { return };
        let backwards = frame.timestamp.wrapping_sub(before.timestamp) >= 1 << 31;
        let jumps = follows(&before.mark, &frame.mark)
            && frame.picture.zip(before.picture).is_some_and(|(now, then)| now.wrapping_sub(then) & 0x7fff != 1);
        self.judgement.faults += u64::from(backwards || jumps);
    }
}

impl Checker for VideoChecker {
    fn packet(&mut self, packet: &Arrived<'_>, frames: &mut Vec<Frame>) -> Seen {
        let read =
            vp8_body(packet.payload).and_then(|(picture, body)| Some((picture, Mark::read(body.get(HEADER..)?)?)));
        let Some((picture, mark)) = read else {
            self.judgement.faults += 1;
            return Seen::default();
        };
        // What belongs to a frame that is past, as a late repair does, helps nobody.
        let past = self.shown.as_ref().is_some_and(|shown| {
            let stream = |m: &Mark| (m.tester, m.source, m.layer);
            stream(&shown.mark) == stream(&mark) && shown.mark.frame.wrapping_sub(mark.frame) < 1 << 31
        });
        if !past {
            self.collect(mark, picture, packet);
            self.show(packet.now_us, frames);
            let waits = self.waiting.iter().filter(|waiting| waiting.whole_at.is_some()).count();
            self.broken |= waits >= STALLED;
        }
        Seen { mark: Some(mark) }
    }

    fn needs_keyframe(&self) -> bool {
        self.broken || (self.shown.is_none() && self.waiting.front().is_some_and(|first| !first.mark.key))
    }

    fn judgement(&self) -> Judgement {
        self.judgement
    }
}

/// A microphone: as many bytes as Opus would take, every 20 ms.
pub struct AudioSource {
    tester: u32,
    source: u32,
    bytes: usize,
    frame: u32,
}

impl AudioSource {
    /// The microphone number `source` of the tester `tester`.
    #[must_use]
    pub fn new(kbps: u32, tester: u32, source: u32) -> Self {
        Self { tester, source, bytes: (kbps as usize * 1000 / 8 / 50).clamp(1 + mark::LEN, PACKET), frame: 0 }
    }
}

impl Source for AudioSource {
    fn frame(&mut self, _layer: usize, now_us: u64, out: &mut Vec<Payload>) {
        let (tester, source, frame) = (self.tester, self.source, self.frame);
        let mark = Mark { sent_us: now_us, tester, source, frame, layer: 0, key: true, index: 0, count: 1 };
        // TOC of one 20 ms CELT frame, fullband, mono (RFC 6716, section 3.1).
        let mut bytes = vec![0; self.bytes];
        bytes[0] = 31 << 3;
        bytes[1..=mark::LEN].copy_from_slice(&mark.write());
        out.push(Payload { bytes: bytes.into(), marker: false, descriptor: None });
        self.frame = self.frame.wrapping_add(1);
    }

    fn request_keyframe(&mut self, _layer: usize) {}

    fn timestamp_step(&self) -> u32 {
        960
    }
}

/// Judges a stream of [`AudioSource`]s.
#[derive(Default)]
pub struct AudioChecker {
    judgement: Judgement,
}

impl Checker for AudioChecker {
    fn packet(&mut self, packet: &Arrived<'_>, frames: &mut Vec<Frame>) -> Seen {
        let mark = packet.payload.get(1..).and_then(Mark::read);
        self.judgement.decodable += 1;
        frames.push(Frame { at_us: packet.now_us, key: true, mark });
        Seen { mark }
    }

    fn needs_keyframe(&self) -> bool {
        false
    }

    fn judgement(&self) -> Judgement {
        self.judgement
    }
}

#[cfg(test)]
#[path = "synthetic_tests.rs"]
mod tests;
