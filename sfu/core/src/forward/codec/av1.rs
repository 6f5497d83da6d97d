//! AV1 over RTP (the AOM's "RTP Payload Format For AV1", version 1.0), and the size in its sequence header.

use crate::forward::PacketInfo;
use crate::forward::bits::Bits;

const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// Most OBU elements of one packet that are looked at: a temporal unit's head is within the first few.
const MAX_ELEMENTS: usize = 16;

/// See [`inspect`](crate::forward::inspect::inspect).
///
/// A keyframe starts where the aggregation header says so (N, section 4.4), or where a sequence header stands and no
/// frame follows it in the packet that is not a keyframe.
pub fn inspect(payload: &[u8]) -> PacketInfo {
    let mut info = PacketInfo::default();
    let Some((&head, body)) = payload.split_first() else {
        return info;
    };
    let continues = head & 0x80 != 0;
    let new_sequence = head & 0x08 != 0 && !continues;
    let mut sequence_header = None;
    let mut first_frame_is_key = None;

    // The first element of a packet with Z is the rest of an OBU from the packet before.
    let elements = Elements::new(head, body).take(MAX_ELEMENTS);
    for element in elements.skip(usize::from(continues)) {
        let Some(obu) = Obu::parse(element) else {
            continue;
        };
        if info.tid.is_none() {
            (info.tid, info.sid) = (obu.tid, obu.sid);
        }
        match obu.kind {
            SEQUENCE_HEADER => {
                let found = SequenceHeader::parse(obu.payload);
                info.resolution = info.resolution.or(found.and_then(|h| h.resolution));
                sequence_header = Some(found);
                info.frame_start = true;
            }
            FRAME_HEADER | FRAME => {
                info.frame_start = true;
                let reduced = sequence_header.flatten().is_some_and(|h| h.reduced_still_picture);
                first_frame_is_key = first_frame_is_key.or(Some(reduced || is_key(obu.payload)));
            }
            _ => {}
        }
    }
    info.frame_start |= new_sequence;
    info.keyframe_start = new_sequence || sequence_header.is_some() && first_frame_is_key != Some(false);
    info
}

/// The frame header's first bits: show_existing_frame is 0 and frame_type is KEY_FRAME (AV1 specification, 5.9.2).
fn is_key(frame_header: &[u8]) -> bool {
    frame_header.first().is_some_and(|byte| byte & 0xe0 == 0)
}

/// The OBU elements of a payload (section 4.3). The last may be only the beginning of an OBU.
struct Elements<'a> {
    rest: &'a [u8],
    /// W: how many there are; 0: as many as fit, each with its length.
    count: u8,
    taken: u8,
}

impl<'a> Elements<'a> {
    const fn new(head: u8, rest: &'a [u8]) -> Self {
        Self { rest, count: head >> 4 & 0x03, taken: 0 }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() || self.count != 0 && self.taken == self.count {
            return None;
        }
        self.taken = self.taken.saturating_add(1);
        if self.count != 0 && self.taken == self.count {
            return Some(std::mem::take(&mut self.rest));
        }
        let (len, body) = leb128(self.rest)?;
        // A length past the end is a broken payload; what is there of the element still tells something.
        let (element, rest) = body.split_at(len.min(body.len()));
        self.rest = rest;
        Some(element)
    }
}

/// An unsigned number of at most 4 bytes (the specification allows 8; no packet needs them), and what follows.
fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, &byte) in data.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &data[at + 1..]));
        }
    }
    None
}

/// An OBU: its header read (AV1 specification, 5.3).
struct Obu<'a> {
    kind: u8,
    tid: Option<u8>,
    sid: Option<u8>,
    payload: &'a [u8],
}

impl<'a> Obu<'a> {
    fn parse(element: &'a [u8]) -> Option<Self> {
        let (&head, mut payload) = element.split_first()?;
        let (mut tid, mut sid) = (None, None);
        if head & 0x04 != 0 {
            let (&extension, rest) = payload.split_first()?;
            (tid, sid) = (Some(extension >> 5), Some(extension >> 3 & 0x03));
            payload = rest;
        }
        if head & 0x02 != 0 {
            (_, payload) = leb128(payload)?;
        }
        Some(Self { kind: head >> 3 & 0x0f, tid, sid, payload })
    }
}

#[derive(Clone, Copy)]
struct SequenceHeader {
    reduced_still_picture: bool,
    resolution: Option<(u16, u16)>,
}

impl SequenceHeader {
    /// AV1 specification, 5.5.1.
    fn parse(obu: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(obu);
        bits.skip(4)?; // seq_profile, still_picture
        let reduced_still_picture = bits.flag()?;
        let operating_points = if reduced_still_picture {
            bits.skip(5) // seq_level_idx
        } else {
            skip_operating_points(&mut bits)
        };
        Some(Self { reduced_still_picture, resolution: operating_points.and_then(|()| max_frame_size(&mut bits)) })
    }
}

fn max_frame_size(bits: &mut Bits<'_>) -> Option<(u16, u16)> {
    let width_bits = bits.number(4)? + 1;
    let height_bits = bits.number(4)? + 1;
    let mut side = |count| u16::try_from(bits.number(count)? + 1).ok();
    Some((side(width_bits)?, side(height_bits)?))
}

fn skip_operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut delay_length = None;
    if bits.flag()? {
        bits.skip(64)?; // num_units_in_display_tick, time_scale
        if bits.flag()? {
            bits.exp_golomb()?; // num_ticks_per_picture_minus_1
        }
        if bits.flag()? {
            delay_length = Some(bits.number(5)? + 1);
            bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, two lengths
        }
    }
    let initial_delay = bits.flag()?;
    let points = bits.number(5)? + 1;
    for _ in 0..points {
        bits.skip(12)?; // operating_point_idc
        if bits.number(5)? > 7 {
            bits.skip(1)?; // seq_tier
        }
        if let Some(length) = delay_length
            && bits.flag()?
        {
            bits.skip(2 * length + 1)?; // decoder_buffer_delay, encoder_buffer_delay, low_delay_mode_flag
        }
        if initial_delay && bits.flag()? {
            bits.skip(4)?; // initial_display_delay_minus_1
        }
    }
    Some(())
}
