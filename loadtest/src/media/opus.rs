//! Opus packets, RFC 6716; an RTP payload is one of them (RFC 7587).

use super::mark;

/// A packet of one frame with a mark in its padding, which decoders pass over (RFC 6716 section 3.2.5: code 3). A packet
/// of more frames, or an empty one, stays as it is.
pub(super) fn embed(packet: &[u8], mark: &[u8; mark::LEN]) -> Vec<u8> {
    match packet {
        [toc, frame @ ..] if toc & 3 == 0 => {
            let count = 0x41; // padding, one frame
            [&[toc | 3, count, mark::LEN as u8], frame, mark].concat()
        }
        _ => packet.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_becomes_padding_of_a_packet_of_one_frame() {
        let mark = [9; mark::LEN];
        let packet = embed(&[0x78, 1, 2], &mark);
        assert_eq!(packet[..5], [0x7b, 0x41, 36, 1, 2]);
        assert_eq!(packet[5..], mark);
        assert_eq!(embed(&[0x79, 1, 2], &mark), [0x79, 1, 2]);
    }
}
