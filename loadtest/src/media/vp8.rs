//! VP8 payloads, RFC 7741.

use super::mark;
use super::packetise::{Descriptor, MAX_PAYLOAD, Malformed, Reader, even_pieces};

const EXTENDED: u8 = 0x80;
const START: u8 = 0x10;
const PARTITION: u8 = 0x0f;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0: u8 = 0x40;
const HAS_TID: u8 = 0x20;
const HAS_KEYIDX: u8 = 0x10;
/// Flags, extension flags, picture id of 15 bits, TL0PICIDX, temporal layer.
const HEADER: usize = 6;

/// The payloads of a frame. Each has a picture id of 15 bits, a TL0PICIDX and temporal layer 0.
pub(super) fn packetise(frame: &[u8], picture_id: u16, tl0: u8) -> Vec<Vec<u8>> {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let payload = |(i, piece): (usize, &[u8])| {
        let start = if i == 0 { START } else { 0 };
        let header = [EXTENDED | start, HAS_PICTURE_ID | HAS_TL0 | HAS_TID, high, low, tl0, 0];
        [&header[..], piece].concat()
    };
    even_pieces(frame, MAX_PAYLOAD - HEADER).enumerate().map(payload).collect()
}

/// The frame with a mark behind it: the last partition goes to the end of the frame, and its decoder stops before
/// (RFC 6386 section 9.5).
pub(super) fn embed(frame: &[u8], mark: &[u8; mark::LEN]) -> Vec<u8> {
    [frame, mark].concat()
}

/// The descriptor (RFC 7741 section 4.2) and how many bytes it takes.
pub(super) fn describe(payload: &[u8]) -> Result<(Descriptor, usize), Malformed> {
    let mut reader = Reader(payload);
    let mut head = Descriptor::default();
    let flags = reader.byte()?;
    if flags & EXTENDED != 0 {
        let extension = reader.byte()?;
        if extension & HAS_PICTURE_ID != 0 {
            let first = reader.byte()?;
            head.long_picture_id = first & 0x80 != 0;
            let mut id = u16::from(first & 0x7f);
            if head.long_picture_id {
                id = id << 8 | u16::from(reader.byte()?);
            }
            head.picture_id = Some(id);
        }
        if extension & HAS_TL0 != 0 {
            if extension & HAS_TID == 0 {
                return Err(Malformed::Value);
            }
            head.tl0 = Some(reader.byte()?);
        }
        if extension & (HAS_TID | HAS_KEYIDX) != 0 {
            let byte = reader.byte()?;
            if extension & HAS_TID != 0 {
                head.temporal = byte >> 6;
                head.sync = byte & 0x20 != 0;
            }
        }
    }
    head.starts_frame = flags & START != 0 && flags & PARTITION == 0;
    // The first bit of the VP8 payload header is 0 in a keyframe (RFC 7741 section 4.3).
    head.keyframe = head.starts_frame && reader.0.first().ok_or(Malformed::Short)? & 1 == 0;
    Ok((head, payload.len() - reader.0.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_descriptor_of_the_rfc() {
        let payloads = packetise(&[0x10, 2, 3], 0x1234, 9);
        assert_eq!(payloads, [[0x90, 0xe0, 0x92, 0x34, 9, 0, 0x10, 2, 3]]);
    }

    #[test]
    fn reads_the_short_forms() {
        let (head, length) = describe(&[0x10, 0x01, 0xff]).unwrap();
        assert_eq!((head.starts_frame, head.keyframe, head.picture_id, length), (true, false, None, 1));
        let (head, length) = describe(&[0x80, 0x90, 0x11, 0x0f, 0]).unwrap();
        assert_eq!((head.starts_frame, head.picture_id, head.long_picture_id, length), (false, Some(0x11), false, 4));
        let (head, _) = describe(&[0x90, 0x60, 5, 0xa0, 1]).unwrap();
        assert_eq!((head.tl0, head.temporal, head.sync), (Some(5), 2, true));
    }

    #[test]
    fn refuses_an_index_without_a_layer_and_a_cut_descriptor() {
        assert_eq!(describe(&[0x90, 0x40, 5, 0]), Err(Malformed::Value));
        assert_eq!(describe(&[0x90, 0x80, 0x80]), Err(Malformed::Short));
        assert_eq!(describe(&[]), Err(Malformed::Short));
    }
}
