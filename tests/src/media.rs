//! Synthetic media: VP8 frames that carry their own number, so that a receiver can tell a whole picture from a broken one.

/// RTP payload bytes after the VP8 descriptor where a frame's first packet carries its number (8 bytes) and layer (1).
///
/// A key frame's header takes the ten bytes before (RFC 6386, section 9.1).
const MARK_AT: usize = 10;

/// Length of the VP8 payload descriptor written here: flags, extensions, 15-bit picture id, TL0PICIDX, TID.
const DESCRIPTOR_LEN: usize = 6;

/// One frame, cut into RTP payloads.
///
/// `layer`, 0 to 3, is the simulcast layer: its key frames say that they are 180, 360, 720 or 1440 lines high. `packets`
/// is at least 1.
pub fn vp8_frame(number: u64, key: bool, layer: u8, packets: usize, packet_len: usize) -> Vec<Vec<u8>> {
    (0..packets)
        .map(|index| {
            let mut payload = vp8_descriptor(number, index == 0);
            let body_len = packet_len.saturating_sub(DESCRIPTOR_LEN).max(MARK_AT + 9);
            let mut body = vec![0x5a; body_len];
            if index == 0 {
                mark_first_packet(&mut body, number, key, layer);
            }
            payload.extend(body);
            payload
        })
        .collect()
}

fn vp8_descriptor(number: u64, start: bool) -> Vec<u8> {
    let picture_id = (number & 0x7fff) as u16;
    let start_of_partition = u8::from(start) << 4;
    let extended = 0x80;
    let picture_tl0_tid = 0x80 | 0x40 | 0x20;
    let [high, low] = picture_id.to_be_bytes();
    vec![extended | start_of_partition, picture_tl0_tid, 0x80 | high, low, number as u8, 0x20]
}

fn mark_first_packet(body: &mut [u8], number: u64, key: bool, layer: u8) {
    let inter_frame = u8::from(!key);
    // Frame tag: type, version 0, shown, size of the first partition (19 bits; any).
    body[..3].copy_from_slice(&[inter_frame | 0x10, 0x02, 0x00]);
    if key {
        body[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
        let height = 180_u16 << layer;
        body[6..8].copy_from_slice(&(height / 9 * 16).to_le_bytes());
        body[8..10].copy_from_slice(&height.to_le_bytes());
    }
    body[MARK_AT..MARK_AT + 8].copy_from_slice(&number.to_be_bytes());
    body[MARK_AT + 8] = layer;
}

/// What a VP8 payload says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Packet {
    /// First packet of a frame.
    pub start: bool,
    /// First packet of a key frame.
    pub key: bool,
    /// 15 bits.
    pub picture_id: Option<u16>,
    /// The mark of a frame's first packet: its number as sent, and its layer.
    pub mark: Option<(u64, u8)>,
}

/// Reads a payload descriptor (RFC 7741, section 4.2) and the mark of [`vp8_frame`]. `None` where it is cut short.
pub fn parse_vp8(payload: &[u8]) -> Option<Vp8Packet> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut picture_id = None;
    if first & 0x80 != 0 {
        let extensions = *payload.get(at)?;
        at += 1;
        if extensions & 0x80 != 0 {
            let high = *payload.get(at)?;
            at += 1;
            picture_id = Some(if high & 0x80 != 0 {
                let low = *payload.get(at)?;
                at += 1;
                u16::from_be_bytes([high & 0x7f, low])
            } else {
                u16::from(high)
            });
        }
        at += usize::from(extensions & 0x40 != 0) + usize::from(extensions & 0x30 != 0);
    }
    let body = payload.get(at..)?;
    let start = first & 0x10 != 0 && first & 0x07 == 0;
    let key = start && body.first()? & 0x01 == 0;
    let mark = start.then(|| read_mark(body)).flatten();
    Some(Vp8Packet { start, key, picture_id, mark })
}

fn read_mark(body: &[u8]) -> Option<(u64, u8)> {
    let number = body.get(MARK_AT..MARK_AT + 8)?.try_into().ok()?;
    Some((u64::from_be_bytes(number), *body.get(MARK_AT + 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        for key in [true, false] {
            let packets = vp8_frame(70_000, key, 2, 3, 1000);
            assert_eq!(packets.len(), 3);
            let first = parse_vp8(&packets[0]).unwrap();
            assert_eq!(first.mark, Some((70_000, 2)));
            assert_eq!((first.start, first.key), (true, key));
            assert_eq!(first.picture_id, Some((70_000 & 0x7fff) as u16));
            let second = parse_vp8(&packets[1]).unwrap();
            assert_eq!((second.start, second.key, second.mark), (false, false, None));
        }
    }

    #[test]
    fn a_cut_payload_is_none_and_no_panic() {
        let packet = &vp8_frame(1, true, 0, 1, 100)[0];
        for len in 0..DESCRIPTOR_LEN {
            assert_eq!(parse_vp8(&packet[..len]), None);
        }
    }
}
