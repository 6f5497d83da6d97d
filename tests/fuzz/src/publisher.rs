//! What publishers send: streams of every codec and scalability mode, packet by packet.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use weir_core::api::Codec;
use weir_core::forward::{SenderReport, Vp8Descriptor, Vp8Fields, Vp9Descriptor, Vp9Fields};
use weir_core::fuzzing::Packet;

use super::bytes::Bytes;

/// A packet with what the generator knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) packet: Packet,
    /// A receiver that knows nothing can begin here; none where nobody can tell.
    pub(crate) starts_keyframe: Option<bool>,
    /// Its bytes are noise.
    pub(crate) noise: bool,
    /// The frame it is a part of, counted per stream.
    pub(crate) frame: u64,
}

impl Known {
    /// The frame of the same stream with this number in its dependency descriptor, if it is of the same stretch.
    pub(crate) fn frame_at(&self, number: u16) -> Option<u64> {
        let own = self.packet.descriptor.as_deref()?;
        let back = u16::from_be_bytes([own[1], own[2]]).wrapping_sub(number);
        self.frame.checked_sub(u64::from(back))
    }
}

/// How a stream's packets are made.
#[derive(Debug, Clone, Copy)]
enum Script {
    /// VP8 with these fields of the descriptor: picture id (long), TL0PICIDX and TID, KEYIDX.
    Vp8 { long: bool, layers: bool, key_idx: bool },
    /// H264 without any scalability.
    H264,
    /// A recording of Chromium, with its dependency descriptors or without.
    Recorded { index: usize, descriptors: bool },
    /// Plain Opus, or in RED.
    Opus { red: bool },
}

/// A packet of a recording.
struct Recorded {
    timestamp: u32,
    marker: bool,
    descriptor: Vec<u8>,
    payload: Vec<u8>,
}

/// Chromium's own packets, the payloads cut after their first bytes.
static RECORDED: LazyLock<Vec<(Codec, Vec<Recorded>)>> = LazyLock::new(|| {
    let all = [
        (Codec::Av1, include_str!("../../../sfu/core/src/forward/testdata/chromium-av1-l1t3.txt")),
        (Codec::Av1, include_str!("../../../sfu/core/src/forward/testdata/chromium-av1-l2t2.txt")),
        (Codec::Av1, include_str!("../../../sfu/core/src/forward/testdata/chromium-av1-l3t3.txt")),
        (Codec::Av1, include_str!("../../../sfu/core/src/forward/testdata/chromium-av1-l3t3-key.txt")),
        (Codec::Vp9, include_str!("../../../sfu/core/src/forward/testdata/chromium-vp9-l1t3.txt")),
        (Codec::Vp9, include_str!("../../../sfu/core/src/forward/testdata/chromium-vp9-l3t3.txt")),
        (Codec::Vp9, include_str!("../../../sfu/core/src/forward/testdata/chromium-vp9-l3t3-key.txt")),
        (Codec::Vp8, include_str!("../../../sfu/core/src/forward/testdata/chromium-vp8-l1t3.txt")),
    ];
    all.into_iter().map(|(codec, text)| (codec, text.lines().filter_map(parse).collect())).collect()
});

fn parse(line: &str) -> Option<Recorded> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, timestamp, marker, descriptor, _, payload] = *fields.as_slice() else { return None };
    let timestamp = timestamp.parse().ok()?;
    Some(Recorded { timestamp, marker: marker == "1", descriptor: hex(descriptor), payload: hex(payload) })
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

/// One encoding of a track: one SSRC at a time.
pub(crate) struct Stream {
    layer: usize,
    script: Script,
    /// Of VP8: 15 bits.
    long_ids: bool,
    ssrc: u32,
    sequence: u64,
    timestamp: u32,
    report: Option<SenderReport>,
    /// Where the recording is.
    at: usize,
    frame: u64,
    frame_number: u16,
    /// Added to the recorded template ids.
    template_offset: u8,
    picture_id: u16,
    tl0: u8,
    key_idx: u8,
    begun: bool,
}

impl Stream {
    /// A stream of the kind that a byte chooses: `codec` says of which codec, none of any.
    pub(crate) fn new(bytes: &mut Bytes<'_>, layer: usize, ssrc: u32, audio: bool) -> Self {
        let start = bytes.u16();
        let script = if audio { Script::Opus { red: start & 1 == 1 } } else { any_script(bytes) };
        Self {
            layer,
            long_ids: !matches!(script, Script::Vp8 { long: false, .. }),
            script,
            ssrc,
            // Near the wraps as often as not.
            sequence: 0xff00 + u64::from(start),
            timestamp: u32::from(start).wrapping_mul(0x1_0001).wrapping_sub(100_000),
            report: None,
            at: 0,
            frame: 0,
            frame_number: start,
            template_offset: 0,
            picture_id: start & 0x7fff,
            tl0: start as u8,
            key_idx: start as u8 & 0x1f,
            begun: false,
        }
    }

    /// The publisher changes the codec or the mode, on the same SSRC.
    pub(crate) fn change_codec(&mut self, bytes: &mut Bytes<'_>) {
        // Six bits name a template. Come round, the new ones would be read with the structure of before, if the packet
        // that brings theirs is lost: the descriptor itself cannot tell them apart.
        if self.template_offset + 16 > 0x3f {
            return;
        }
        self.script = match (self.script, any_script(bytes)) {
            (opus @ Script::Opus { .. }, _) => opus,
            // No encoder changes the width of its picture ids.
            (_, Script::Vp8 { layers, key_idx, .. }) => Script::Vp8 { long: self.long_ids, layers, key_idx },
            (_, other) => other,
        };
        // As Chromium does, so that no packet is read with the structure of another mode.
        self.template_offset += 16;
        (self.at, self.begun) = (0, false);
    }

    /// The publisher goes on with another SSRC, new or one that it had before; gives what it had.
    pub(crate) fn restart(&mut self, ssrc: u32, sequence: u64, timestamp: u32) -> (u32, u64, u32) {
        let before = (self.ssrc, self.sequence, self.timestamp);
        (self.ssrc, self.sequence, self.timestamp) = (ssrc, sequence, timestamp);
        (self.at, self.begun, self.report) = (0, false, None);
        before
    }

    /// A sender report, by the publisher's own clock.
    pub(crate) fn reports(&mut self, wall: Duration, error: i32) {
        self.report = Some(SenderReport {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + wall,
            rtp: self.timestamp.wrapping_add_signed(error),
        });
    }

    /// Packets that nobody will ever see.
    pub(crate) fn lose(&mut self, count: u64) {
        self.sequence += count;
    }

    /// The packets of the next frame, of one layer with SVC. `choice` has the number of packets and the temporal layer.
    pub(crate) fn next(&mut self, keyframe: bool, choice: u8, ticks: u32) -> Vec<Known> {
        let keyframe = keyframe || !self.begun;
        self.begun = true;
        self.frame += 1;
        match self.script {
            Script::Recorded { index, descriptors } => self.recorded(index, descriptors, keyframe, ticks),
            Script::Vp8 { long, layers, key_idx } => self.vp8([long, layers, key_idx], keyframe, choice, ticks),
            Script::H264 => self.h264(keyframe, choice, ticks),
            Script::Opus { red } => self.opus(red, choice, ticks),
        }
    }

    /// A packet of noise, on the stream's timeline.
    pub(crate) fn noise(&mut self, bytes: &mut Bytes<'_>) -> Known {
        self.timestamp = self.timestamp.wrapping_add(3000);
        let head = bytes.byte();
        let payload = bytes.some(40).to_vec();
        let descriptor = (head & 1 == 1).then(|| bytes.some(60).to_vec());
        let mut known = self.packet(payload, head & 2 == 2, None, descriptor);
        // It is no frame of the stream's own count.
        known.frame = u64::MAX - known.packet.sequence;
        known.noise = true;
        known
    }

    fn packet(
        &mut self,
        mut payload: Vec<u8>,
        marker: bool,
        starts_keyframe: Option<bool>,
        descriptor: Option<Vec<u8>>,
    ) -> Known {
        // No two packets are alike.
        payload.extend(self.ssrc.to_be_bytes());
        payload.extend(self.sequence.to_be_bytes());
        let packet = Packet {
            layer: self.layer,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker,
            codec: self.codec(),
            red: if let Script::Opus { red: true } = self.script { Some(111) } else { None },
            payload: Arc::from(payload),
            descriptor,
            report: self.report,
            audio_level: None,
            csrc: Vec::new(),
        };
        self.sequence += 1;
        Known { packet, starts_keyframe, noise: false, frame: self.frame }
    }

    fn codec(&self) -> Codec {
        match self.script {
            Script::Vp8 { .. } => Codec::Vp8,
            Script::H264 => Codec::H264,
            Script::Opus { .. } => Codec::Opus,
            Script::Recorded { index, .. } => RECORDED[index].0,
        }
    }

    fn vp8(&mut self, [long, layers, key_idx]: [bool; 3], keyframe: bool, choice: u8, ticks: u32) -> Vec<Known> {
        let tid = if keyframe || !layers { 0 } else { choice >> 4 & 3 }.min(2);
        self.timestamp = self.timestamp.wrapping_add(ticks.max(1));
        self.picture_id = self.picture_id.wrapping_add(1);
        self.tl0 = self.tl0.wrapping_add(u8::from(tid == 0));
        self.key_idx = self.key_idx.wrapping_add(u8::from(keyframe)) & 0x1f;
        let count = 1 + choice % 3;
        let mut packets = Vec::new();
        for number in 0..count {
            let start = if number == 0 { 0x10 } else { 0 };
            let flags = 0x80 | if layers { 0x60 } else { 0 } | if key_idx { 0x10 } else { 0 };
            let mut payload = vec![0x80 | start, flags];
            if long {
                payload.extend([0x80 | (self.picture_id >> 8) as u8, self.picture_id as u8]);
            } else {
                payload.push(self.picture_id as u8 & 0x7f);
            }
            if layers {
                payload.push(self.tl0);
            }
            if layers || key_idx {
                // Y: the frame refers to the lowest layer only.
                payload.push(tid << 6 | (choice & 8) << 2 | if key_idx { self.key_idx } else { 0 });
            }
            payload.extend([u8::from(!keyframe), 0, 0]);
            let starts = Some(keyframe && number == 0);
            packets.push(self.packet(payload, number + 1 == count, starts, None));
        }
        packets
    }

    fn h264(&mut self, keyframe: bool, choice: u8, ticks: u32) -> Vec<Known> {
        self.timestamp = self.timestamp.wrapping_add(ticks.max(1));
        // Fragments of an IDR or of another slice (RFC 6184 section 5.8).
        let kind = if keyframe { 5 } else { 1 };
        let count = 2 + choice % 3;
        (0..count)
            .map(|number| {
                let bits = if number == 0 { 0x80 } else { 0 } | if number + 1 == count { 0x40 } else { 0 };
                let starts = Some(keyframe && number == 0);
                // first_mb_in_slice = 0 is the bit 1.
                self.packet(vec![0x7c, bits | kind, 0x88], number + 1 == count, starts, None)
            })
            .collect()
    }

    fn opus(&mut self, red: bool, choice: u8, ticks: u32) -> Vec<Known> {
        self.timestamp = self.timestamp.wrapping_add(ticks.max(1));
        // In RED, sometimes around another payload type than the one negotiated.
        let inner = if choice & 0xf0 == 0xf0 { 13 } else { 111 };
        let payload = if red { vec![inner, 1, 2, 3] } else { vec![1, 2, 3] };
        vec![self.packet(payload, false, Some(true), None)]
    }

    /// The next packets of a recording that share a frame; at its end, or for a keyframe, it begins anew.
    fn recorded(&mut self, index: usize, descriptors: bool, keyframe: bool, ticks: u32) -> Vec<Known> {
        let (codec, all) = &RECORDED[index];
        if keyframe || self.at >= all.len() {
            self.at = 0;
        }
        let first = &all[self.at];
        let same = |r: &&Recorded| r.timestamp == first.timestamp && r.descriptor[1..3] == first.descriptor[1..3];
        let frame: Vec<&Recorded> = all[self.at..].iter().take_while(same).collect();
        let start = self.at == 0;
        let new_picture = start || all[self.at - 1].timestamp != first.timestamp;
        if new_picture {
            self.timestamp = self.timestamp.wrapping_add(ticks.max(1));
        }
        self.count_on(*codec, all, new_picture);
        self.at += frame.len();
        let mut packets = Vec::new();
        for (number, recorded) in frame.into_iter().enumerate() {
            let mut payload = recorded.payload.clone();
            self.renumber(*codec, &mut payload);
            let mut descriptor = recorded.descriptor.clone();
            descriptor[1..3].copy_from_slice(&self.frame_number.to_be_bytes());
            self.shift_templates(&mut descriptor);
            let starts = Some(start && number == 0);
            packets.push(self.packet(payload, recorded.marker, starts, descriptors.then_some(descriptor)));
        }
        packets
    }

    /// Template ids are the last six bits of the first byte, and those after the five flags that a structure begins with.
    fn shift_templates(&self, descriptor: &mut [u8]) {
        let shift = |id: u8| (id + self.template_offset) & 0x3f;
        descriptor[0] = descriptor[0] & 0xc0 | shift(descriptor[0] & 0x3f);
        if let [_, _, _, high, low, ..] = descriptor
            && *high & 0x80 != 0
        {
            let offset = shift((*high & 7) << 3 | *low >> 5);
            (*high, *low) = (*high & 0xf8 | offset >> 3, *low & 0x1f | offset << 5);
        }
    }

    fn count_on(&mut self, codec: Codec, all: &[Recorded], new_picture: bool) {
        let number = |r: &Recorded| u16::from_be_bytes([r.descriptor[1], r.descriptor[2]]);
        let step = self.at.checked_sub(1).map_or(1, |before| number(&all[self.at]).wrapping_sub(number(&all[before])));
        self.frame_number = self.frame_number.wrapping_add(step);
        self.picture_id = self.picture_id.wrapping_add(u16::from(new_picture)) & 0x7fff;
        // TL0PICIDX counts with the recording.
        let tl0 = |r: &Recorded| match codec {
            Codec::Vp9 => Vp9Descriptor::parse(&r.payload).and_then(|d| d.tl0_pic_idx),
            Codec::Vp8 => Vp8Descriptor::parse(&r.payload).and_then(|d| d.tl0_pic_idx),
            _ => None,
        };
        let at = |place: usize| tl0(&all[place]).map_or(0, |field| field.value);
        let step = self.at.checked_sub(1).map_or(1, |before| at(self.at).wrapping_sub(at(before)));
        self.tl0 = self.tl0.wrapping_add(step);
    }

    fn renumber(&self, codec: Codec, payload: &mut [u8]) {
        if codec == Codec::Vp9
            && let Some(descriptor) = Vp9Descriptor::parse(payload)
        {
            let told = Vp9Fields::of(&descriptor);
            let picture_id = told.picture_id.map(|_| self.picture_id);
            Vp9Fields { picture_id, tl0_pic_idx: told.tl0_pic_idx.map(|_| self.tl0) }.apply(&descriptor, payload);
        }
        if codec == Codec::Vp8
            && let Some(descriptor) = Vp8Descriptor::parse(payload)
        {
            let told = Vp8Fields::of(&descriptor);
            let picture_id = told.picture_id.map(|_| self.picture_id);
            Vp8Fields { picture_id, tl0_pic_idx: told.tl0_pic_idx.map(|_| self.tl0), ..told }
                .apply(&descriptor, payload);
        }
    }
}

fn any_script(bytes: &mut Bytes<'_>) -> Script {
    let choice = bytes.byte();
    let bit = |n: u8| choice >> n & 1 == 1;
    match choice % 8 {
        0 | 1 => Script::Vp8 { long: bit(3), layers: bit(4), key_idx: bit(5) },
        2 => Script::H264,
        _ => {
            let index = usize::from(choice >> 3 & 7);
            // AV1 tells of its layers in the dependency descriptor only.
            Script::Recorded { index, descriptors: RECORDED[index].0 != Codec::Vp9 || choice % 8 < 6 }
        }
    }
}
