//! Publishes clips.

use super::clips::{FRAME_RATE, OPUS_PACKET, Picture, Size, clip, opus_packets};
use super::packetise::Packetiser;
use super::player::Player;
use super::{Codec, Mark, Payload, Source};

/// A camera that shows a clip in one size for each layer.
///
/// The frames come at the rate at which they are asked for; the clips are made for [`FRAME_RATE`], and the rate of bits
/// is theirs. A clip begins again with its keyframe every 90 frames.
#[derive(Debug)]
pub struct ClipSource {
    layers: Vec<Encoding>,
    tester: u32,
    source: u32,
}

#[derive(Debug)]
struct Encoding {
    player: Player,
    packetiser: Packetiser,
    frame: u32,
}

impl ClipSource {
    /// A camera with one layer for each of `widths`, smallest first: of each the clip whose width is nearest. `tester`
    /// and `source` go into the marks; picture ids begin at `first_id`. None for Opus, of which there is no picture.
    #[must_use]
    pub fn new(codec: Codec, widths: &[u16], tester: u32, source: u32, first_id: u16) -> Option<Self> {
        let encoding = |width: &u16| {
            let clip = clip(codec, Size::nearest(*width))?;
            Some(Encoding { player: Player::new(clip), packetiser: Packetiser::new(clip, first_id), frame: 0 })
        };
        Some(Self { layers: widths.iter().map(encoding).collect::<Option<_>>()?, tester, source })
    }
}

impl Source for ClipSource {
    fn frame(&mut self, layer: usize, now_us: u64, out: &mut Vec<Payload>) {
        let Some(encoding) = self.layers.get_mut(layer) else { return };
        let picture = encoding.player.next_frame();
        let mark = Mark {
            sent_us: now_us,
            tester: self.tester,
            source: self.source,
            frame: encoding.frame,
            layer: layer as u8,
            key: picture.keyframe,
            index: 0,
            count: 1,
        };
        encoding.frame = encoding.frame.wrapping_add(1);
        let payloads = encoding.packetiser.packetise(&picture, Some(&mark));
        let last = payloads.len().saturating_sub(1);
        out.extend(payloads.into_iter().enumerate().map(|(i, bytes)| Payload {
            bytes: bytes.into(),
            marker: i == last,
            descriptor: None,
        }));
    }

    fn request_keyframe(&mut self, layer: usize) {
        if let Some(encoding) = self.layers.get_mut(layer) {
            encoding.player.request_keyframe();
        }
    }

    fn timestamp_step(&self) -> u32 {
        90_000 / FRAME_RATE
    }
}

/// A microphone that plays the Opus clip: one packet a call, each with a mark in its padding.
#[derive(Debug)]
pub struct OpusSource {
    frame: u32,
    tester: u32,
    source: u32,
}

impl OpusSource {
    /// `tester` and `source` go into the marks.
    #[must_use]
    pub fn new(tester: u32, source: u32) -> Self {
        Self { frame: 0, tester, source }
    }
}

impl Source for OpusSource {
    fn frame(&mut self, _layer: usize, now_us: u64, out: &mut Vec<Payload>) {
        let packets = opus_packets();
        let data = &packets[self.frame as usize % packets.len()];
        let (tester, source, frame) = (self.tester, self.source, self.frame);
        let mark = Mark { sent_us: now_us, tester, source, frame, layer: 0, key: true, index: 0, count: 1 };
        self.frame = frame.wrapping_add(1);
        let bytes = Packetiser::opus(&Picture { data, keyframe: true }, &mark);
        out.push(Payload { bytes: bytes.into(), marker: false, descriptor: None });
    }

    fn request_keyframe(&mut self, _layer: usize) {}

    fn timestamp_step(&self) -> u32 {
        48 * OPUS_PACKET.as_millis() as u32
    }
}
