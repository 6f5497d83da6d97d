//! Synthetic media: a VP8 simulcast encoder and an audio source whose packets carry what a receiver needs to judge them.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::Time;

/// Frames per second of every layer.
pub const FPS: u64 = 30;
/// The time between two audio packets.
pub const AUDIO_STEP: Duration = Duration::from_millis(20);
/// RTP payload of a whole packet, descriptor included.
const PACKET: usize = 1200;
/// An encoder answers at most this many requests for a keyframe: one in this time, as libwebrtc's do.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
/// VP8 descriptor with 15-bit picture id, TL0PICIDX and TID (RFC 7741 section 4.2).
const DESCRIPTOR: usize = 6;
/// VP8 frame tag and, in a keyframe, start code and size (RFC 6386 section 9.1).
const HEADER: usize = 10;
const MARK: usize = 27;

/// One simulcast layer of a camera.
#[derive(Debug, Clone, Copy)]
pub struct LayerSpec {
    /// Its RID.
    pub rid: &'static str,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Bits per second of RTP payload.
    pub bitrate: u64,
}

/// The layers of a 720p camera, as a browser sends them.
pub const CAMERA: [LayerSpec; 3] = [
    LayerSpec { rid: "q", width: 320, height: 180, bitrate: 150_000 },
    LayerSpec { rid: "h", width: 640, height: 360, bitrate: 500_000 },
    LayerSpec { rid: "f", width: 1280, height: 720, bitrate: 1_700_000 },
];

/// What every video packet says of itself, behind the VP8 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The number of the publishing client.
    pub source: u16,
    /// Height of the picture.
    pub height: u16,
    /// Number of the frame within its layer.
    pub frame: u32,
    /// The frame that it refers to; its own number in a keyframe.
    pub reference: u32,
    /// Number of this packet within the frame.
    pub index: u16,
    /// How many packets the frame has.
    pub count: u16,
    /// When the frame was captured.
    pub captured: Time,
    /// The picture id, as received.
    pub picture: u16,
}

/// One layer's encoder: three temporal layers (L1T3) at a constant rate.
#[derive(Debug)]
pub struct Encoder {
    /// What it makes.
    pub spec: LayerSpec,
    /// It is switched on. What follows a pause is a keyframe.
    pub active: bool,
    source: u16,
    /// The RTP sequence number of the next packet.
    pub seq: u64,
    frame: u32,
    picture: u16,
    tl0: u8,
    phase: u8,
    base: u32,
    middle: u32,
    wants_key: bool,
    last_key: Option<Time>,
    /// Bytes that a keyframe took beyond its share; paid back by the frames after it.
    debt: f64,
}

impl Encoder {
    /// An encoder that has made nothing yet.
    pub fn new(spec: LayerSpec, source: u16, rng: &mut SmallRng) -> Self {
        Self {
            spec,
            active: true,
            source,
            seq: rng.random_range(0..30_000),
            frame: 0,
            picture: rng.random_range(0..1 << 15),
            tl0: rng.random(),
            phase: 0,
            base: 0,
            middle: 0,
            wants_key: true,
            last_key: None,
            debt: 0.0,
        }
    }

    /// The next frame shall be a keyframe.
    pub fn request_key(&mut self) {
        self.wants_key = true;
    }

    /// Switches the layer on or off.
    pub fn set_active(&mut self, active: bool) {
        self.wants_key |= active && !self.active;
        self.active = active;
    }

    /// The payloads of the next frame.
    pub fn encode(&mut self, now: Time, rng: &mut SmallRng) -> Vec<Vec<u8>> {
        let due = self.last_key.is_none_or(|at| now - at >= KEYFRAME_INTERVAL);
        let key = self.wants_key && due;
        if key {
            (self.wants_key, self.last_key, self.phase) = (false, Some(now), 0);
        }
        let tid = [0, 2, 1, 2][usize::from(self.phase)];
        let bytes = self.size(key, tid, rng);
        let (reference, sync) = match tid {
            0 if key => (self.frame, false),
            0 => (self.base, false),
            1 => (self.base, true),
            _ if self.phase == 3 => (self.middle, false),
            _ => (self.base, true),
        };
        match tid {
            0 => (self.base, self.tl0) = (self.frame, self.tl0.wrapping_add(1)),
            1 => self.middle = self.frame,
            _ => {}
        }
        let count = bytes.div_ceil(PACKET - DESCRIPTOR).max(1);
        let mark = Mark {
            source: self.source,
            height: self.spec.height,
            frame: self.frame,
            reference,
            index: 0,
            count: count as u16,
            captured: now,
            picture: self.picture,
        };
        // Packets of one frame are about equally long, as libwebrtc makes them.
        let body = (bytes / count).max(HEADER + MARK);
        let payloads = (0..count).map(|index| {
            let mark = Mark { index: index as u16, ..mark };
            self.payload(mark, key, tid, sync, body)
        });
        let payloads = payloads.collect();
        self.frame += 1;
        self.picture = (self.picture + 1) & 0x7fff;
        self.phase = (self.phase + 1) % 4;
        payloads
    }

    /// Bytes of the next frame. Of four frames the base layer's takes 40 %, the middle one's 20 %, the others' 20 % each.
    fn size(&mut self, key: bool, tid: u8, rng: &mut SmallRng) -> usize {
        let mean = self.spec.bitrate as f64 / 8.0 / FPS as f64;
        let noise = rng.random_range(0.85..1.15);
        if key {
            let size = mean * 5.0 * noise;
            self.debt += size - mean;
            return size as usize;
        }
        let share = if tid == 0 { 1.6 } else { 0.8 } * mean * noise;
        let paid = self.debt.min(share * 0.15);
        self.debt -= paid;
        (share - paid) as usize
    }

    fn payload(&self, mark: Mark, key: bool, tid: u8, sync: bool, body: usize) -> Vec<u8> {
        let mut data = vec![0x5a; DESCRIPTOR + body];
        let [high, low] = mark.picture.to_be_bytes();
        let unreferenced = if tid == 2 { 0x20 } else { 0 };
        let start = if mark.index == 0 { 0x10 } else { 0 };
        data[0] = 0x80 | unreferenced | start;
        data[1] = 0x80 | 0x40 | 0x20;
        (data[2], data[3]) = (0x80 | high, low);
        data[4] = self.tl0;
        data[5] = tid << 6 | u8::from(sync) << 5;
        let frame = &mut data[DESCRIPTOR..];
        frame[..3].copy_from_slice(&[0x10 | u8::from(!key), 0x02, 0x00]);
        if key && mark.index == 0 {
            frame[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
            frame[6..8].copy_from_slice(&self.spec.width.to_le_bytes());
            frame[8..10].copy_from_slice(&self.spec.height.to_le_bytes());
        }
        mark.write(&mut frame[HEADER..HEADER + MARK]);
        data
    }
}

impl Mark {
    fn write(&self, out: &mut [u8]) {
        out[..2].copy_from_slice(&self.source.to_be_bytes());
        out[2..4].copy_from_slice(&self.height.to_be_bytes());
        out[4..8].copy_from_slice(&self.frame.to_be_bytes());
        out[8..12].copy_from_slice(&self.reference.to_be_bytes());
        out[12..14].copy_from_slice(&self.index.to_be_bytes());
        out[14..16].copy_from_slice(&self.count.to_be_bytes());
        out[16..24].copy_from_slice(&(self.captured.as_micros() as u64).to_be_bytes());
        out[24..27].copy_from_slice(b"wvp");
    }

    /// Reads the mark of a video payload; none if it is no such payload (padding, or a probe).
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mark = payload.get(DESCRIPTOR + HEADER..DESCRIPTOR + HEADER + MARK)?;
        if mark.get(24..27)? != b"wvp" {
            return None;
        }
        let u16_at = |at: usize| u16::from_be_bytes([mark[at], mark[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let captured = u64::from(u32_at(16)) << 32 | u64::from(u32_at(20));
        Some(Self {
            source: u16_at(0),
            height: u16_at(2),
            frame: u32_at(4),
            reference: u32_at(8),
            index: u16_at(12),
            count: u16_at(14),
            captured: Time::from_micros(captured),
            picture: u16::from_be_bytes([payload[2] & 0x7f, payload[3]]),
        })
    }
}

/// One Opus packet: 80 bytes each 20 ms are 32 kbps.
#[must_use]
pub fn opus(source: u16, number: u64) -> Vec<u8> {
    let mut data = vec![0x5a; 80];
    data[0] = 0x78;
    data[1..3].copy_from_slice(&source.to_be_bytes());
    data[3..11].copy_from_slice(&number.to_be_bytes());
    data
}

/// How loud somebody is, in dBov: sentences of words while speaking, room noise otherwise.
pub fn level(speaks: bool, now: Time, rng: &mut SmallRng) -> i8 {
    let (in_sentence, in_word) = (now.as_millis() % 7_000 < 5_500, now.as_millis() % 900 < 750);
    if speaks && in_sentence && in_word { -rng.random_range(18..36) } else { -rng.random_range(70..90) }
}
