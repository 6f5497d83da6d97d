//! VP9 payloads, RFC 9628, in non-flexible mode as browsers send a stream without layers.

use super::clips::Size;
use super::mark::{self, Mark};
use super::packetise::{Descriptor, MAX_PAYLOAD, Malformed, Reader, even_pieces};

const HAS_PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const END: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;
/// Flags, picture id of 15 bits, layers, TL0PICIDX.
const HEADER: usize = 5;
/// One spatial layer, its size given, no picture group.
const STRUCTURE: usize = 5;

/// The payloads of a frame; a keyframe's first one carries the scalability structure with the picture's size.
pub(super) fn packetise(frame: &[u8], keyframe: bool, size: Size, picture_id: u16, tl0: u8) -> Vec<Vec<u8>> {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let predicted = if keyframe { 0 } else { PREDICTED };
    let pieces = even_pieces(frame, MAX_PAYLOAD - HEADER - STRUCTURE);
    let last = pieces.len().saturating_sub(1);
    let payload = |(i, piece): (usize, &[u8])| {
        let mut payload = Vec::with_capacity(HEADER + STRUCTURE + piece.len());
        let structure = keyframe && i == 0;
        let flags = HAS_PICTURE_ID
            | predicted
            | HAS_LAYERS
            | if i == 0 { BEGIN } else { 0 }
            | if i == last { END } else { 0 }
            | if structure { HAS_STRUCTURE } else { 0 };
        // Layers: temporal 0, spatial 0, and a switching point (U): there is no higher layer to depend on.
        payload.extend([flags, high, low, 0x10, tl0]);
        if structure {
            let (width, height) = size.pixels();
            payload.push(0x10); // N_S = 0 (one layer), Y = 1 (size follows), G = 0
            payload.extend(width.to_be_bytes());
            payload.extend(height.to_be_bytes());
        }
        payload.extend_from_slice(piece);
        payload
    };
    pieces.enumerate().map(payload).collect()
}

/// A superframe index (VP9 bitstream specification, annex B) of one frame whose size takes four bytes: marker 0b110,
/// bytes of a size less one 0b11, frames less one 0.
const INDEX: usize = 6;
const INDEX_MARKER: u8 = 0b1101_1000;

/// The frame with a mark behind it, and an index that ends the frame before the mark.
pub(super) fn embed(frame: &[u8], mark: &[u8; mark::LEN]) -> Vec<u8> {
    let size = (frame.len() as u32).to_le_bytes();
    [frame, mark, &[INDEX_MARKER], &size, &[INDEX_MARKER]].concat()
}

/// The mark in the last payload of a frame.
pub(super) fn mark_in(payload: &[u8]) -> Option<Mark> {
    Mark::read(payload.get(payload.len().checked_sub(INDEX + mark::LEN)?..)?)
}

/// The descriptor (RFC 9628 section 4.2) and how many bytes it takes.
pub(super) fn describe(payload: &[u8]) -> Result<(Descriptor, usize), Malformed> {
    let mut reader = Reader(payload);
    let mut head = Descriptor::default();
    let flags = reader.byte()?;
    if flags & HAS_PICTURE_ID != 0 {
        let first = reader.byte()?;
        head.long_picture_id = first & 0x80 != 0;
        let mut id = u16::from(first & 0x7f);
        if head.long_picture_id {
            id = id << 8 | u16::from(reader.byte()?);
        }
        head.picture_id = Some(id);
    }
    let mut spatial = 0;
    if flags & HAS_LAYERS != 0 {
        let layers = reader.byte()?;
        head.temporal = layers >> 5;
        head.sync = layers & 0x10 != 0;
        spatial = layers >> 1 & 7;
        if flags & FLEXIBLE == 0 {
            head.tl0 = Some(reader.byte()?);
        }
    }
    if flags & FLEXIBLE != 0 && flags & PREDICTED != 0 {
        references(&mut reader)?;
    }
    if flags & HAS_STRUCTURE != 0 {
        structure(&mut reader)?;
    }
    head.starts_frame = flags & BEGIN != 0 && spatial == 0;
    head.keyframe = head.starts_frame && flags & PREDICTED == 0;
    Ok((head, payload.len() - reader.0.len()))
}

/// P_DIFF: at most three, each with a bit that says whether another follows.
fn references(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    for _ in 0..3 {
        if reader.byte()? & 1 == 0 {
            return Ok(());
        }
    }
    Err(Malformed::Value)
}

/// Passes over the scalability structure, RFC 9628 section 4.2.1.
fn structure(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let byte = reader.byte()?;
    if byte & 0x10 != 0 {
        reader.take(4 * (usize::from(byte >> 5) + 1))?;
    }
    if byte & 0x08 != 0 {
        for _ in 0..reader.byte()? {
            let picture = reader.byte()?;
            reader.take(usize::from(picture >> 2 & 3))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_descriptor_of_the_rfc() {
        let payloads = packetise(&[0x82, 2, 3], true, Size::Low, 0x1234, 9);
        assert_eq!(payloads, [[0xae, 0x92, 0x34, 0x10, 9, 0x10, 1, 64, 0, 180, 0x82, 2, 3]]);
        assert_eq!(packetise(&[0x86, 2], false, Size::Low, 1, 10), [[0xec, 0x80, 1, 0x10, 10, 0x86, 2]]);
    }

    #[test]
    fn a_mark_stands_between_the_frame_and_an_index_that_ends_the_frame_before_it() {
        let marked = embed(&[0x86, 2, 3], &[7; mark::LEN]);
        assert_eq!(marked[..3], [0x86, 2, 3]);
        assert_eq!(marked[3..3 + mark::LEN], [7; mark::LEN]);
        assert_eq!(marked[3 + mark::LEN..], [0xd8, 3, 0, 0, 0, 0xd8]);
    }

    #[test]
    fn reads_flexible_mode_and_a_picture_group() {
        // F and P: two references.
        let (head, length) = describe(&[0xd8, 0x05, 0x03, 0x02, 0xff]).unwrap();
        assert_eq!((head.picture_id, head.tl0, head.keyframe, length), (Some(5), None, false, 4));
        // V: one layer without size, a group of two pictures with one and two references.
        let (head, length) = describe(&[0x0a, 0x08, 2, 0x04, 1, 0x48, 1, 2, 0xff]).unwrap();
        assert_eq!((head.keyframe, length), (true, 8));
    }

    #[test]
    fn an_upper_spatial_layer_starts_no_frame() {
        let (head, _) = describe(&[0x28, 0x13, 1, 0xff]).unwrap();
        assert!(!head.starts_frame && !head.keyframe);
    }

    #[test]
    fn refuses_a_fourth_reference_and_a_cut_structure() {
        assert_eq!(describe(&[0xd8, 5, 3, 3, 3, 0]), Err(Malformed::Value));
        assert_eq!(describe(&[0x0a, 0x10, 1, 2]), Err(Malformed::Short));
    }
}
