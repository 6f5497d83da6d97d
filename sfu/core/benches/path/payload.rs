//! The beginnings of media payloads, as encoders write them.

#![allow(unreachable_pub, reason = "shared by two benches")]

use str0m::format::Codec;

/// What a packet of a frame begins with: the payload descriptor, and of a keyframe's first packet what tells that.
pub fn payload(codec: Codec, frame: u64, packet: usize, packets: usize, keyframe: bool) -> Vec<u8> {
    let (first, last) = (packet == 0, packet + 1 == packets);
    match codec {
        Codec::Vp8 => vp8(frame, first, keyframe),
        Codec::Vp9 => vp9(frame, first, last, keyframe),
        Codec::H264 => h264(first, last, keyframe),
        Codec::Av1 => av1(first, keyframe),
        _ => vec![0x78; 1],
    }
}

/// RFC 7741: a 15-bit picture id, TL0PICIDX, and the temporal layers of L1T3 (0 2 1 2).
fn vp8(frame: u64, first: bool, keyframe: bool) -> Vec<u8> {
    let [high, low] = (0x8000 | (frame as u16 & 0x7fff)).to_be_bytes();
    let temporal = if keyframe { 0 } else { [0, 2, 1, 2][(frame % 4) as usize] };
    // Layer sync: the first two of each four depend on the base layer alone.
    let sync = u8::from(matches!(frame % 4, 1 | 2));
    let layer = temporal << 6 | sync << 5;
    let mut payload = vec![0x80 | u8::from(first) << 4, 0xe0, high, low, (frame / 4) as u8, layer];
    if first {
        payload.extend([u8::from(!keyframe), 0, 0]);
        if keyframe {
            payload.extend([0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        }
    }
    payload
}

/// RFC 9628: a 15-bit picture id, one spatial layer, flexible mode off.
fn vp9(frame: u64, first: bool, last: bool, keyframe: bool) -> Vec<u8> {
    let [high, low] = (0x8000 | (frame as u16 & 0x7fff)).to_be_bytes();
    let begins = u8::from(first) << 3;
    let ends = u8::from(last) << 2;
    let inter = u8::from(!keyframe) << 6;
    let structure = u8::from(keyframe && first) << 1;
    // I, P, L, B, E, V.
    let mut payload = vec![0x80 | inter | 0x20 | begins | ends | structure, high, low, 0x00, frame as u8];
    if structure != 0 {
        // One spatial layer with its size, no groups of pictures.
        payload.extend([0x10, 0x05, 0x00, 0x02, 0xd0]);
    }
    payload
}

/// RFC 6184, FU-A of an IDR or another slice.
fn h264(first: bool, last: bool, keyframe: bool) -> Vec<u8> {
    let kind = if keyframe { 5 } else { 1 };
    vec![0x7c, u8::from(first) << 7 | u8::from(last) << 6 | kind, 0x88]
}

/// AV1 RTP specification section 4.4: the aggregation header, N in the first packet of a coded video sequence.
fn av1(first: bool, keyframe: bool) -> Vec<u8> {
    if first && keyframe { vec![0x18, 0x0b, 0x0a, 0x00, 0x00] } else { vec![0x90, 0x00] }
}
