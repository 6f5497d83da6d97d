//! Redundant audio (RED, RFC 2198), taken apart for receivers that have not negotiated it.

/// The primary block of a RED payload: its payload type and its data, as if it had been sent plain.
///
/// None: the payload is cut or broken, or its primary block is empty.
pub fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = payload;
    let mut redundant = 0_usize;
    // Each redundant block has a head of four bytes: F=1, 7 bits payload type, 14 bits timestamp offset, 10 bits length
    // (RFC 2198, section 3). The primary's is one byte, F=0, and its data comes last.
    while rest.first()? & 0x80 != 0 {
        let (head, after) = rest.split_first_chunk::<4>()?;
        redundant += usize::from(u16::from_be_bytes([head[2], head[3]]) & 0x03ff);
        rest = after;
    }
    let (&payload_type, blocks) = rest.split_first()?;
    let data = blocks.get(redundant..)?;
    (!data.is_empty()).then_some((payload_type, data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPUS: u8 = 111;

    #[test]
    fn the_primary_block_is_what_would_have_been_sent_plain() {
        assert_eq!(primary(&[OPUS, 1, 2, 3]), Some((OPUS, &[1, 2, 3][..])));
        // One redundant block of 2 bytes, 960 ticks older.
        let one = [0x80 | OPUS, 0x0f, 0x00, 0x02, OPUS, 9, 9, 1, 2, 3];
        assert_eq!(primary(&one), Some((OPUS, &[1, 2, 3][..])));
        // Two, the older one of 1 byte.
        let two = [0xef, 0x1e, 0x00, 0x01, 0xef, 0x0f, 0x00, 0x02, OPUS, 8, 9, 9, 1];
        assert_eq!(primary(&two), Some((OPUS, &[1][..])));
    }

    #[test]
    fn the_timestamp_offset_is_not_taken_for_length() {
        let block = [0x80 | OPUS, 0x0f, 0xfc, 0x02, OPUS, 9, 9, 1];
        assert_eq!(primary(&block), Some((OPUS, &[1][..])));
        let mut long = vec![0x80 | OPUS, 0x0f, 0x01, 0x02, OPUS];
        long.extend([9; 258]);
        long.push(7);
        assert_eq!(primary(&long), Some((OPUS, &[7][..])));
    }

    #[test]
    fn a_cut_payload_has_no_primary_block() {
        let whole = [0x80 | OPUS, 0x0f, 0x00, 0x02, OPUS, 9, 9, 1];
        for len in 0..whole.len() {
            assert_eq!(primary(&whole[..len]), None, "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_fault(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some((payload_type, data)) = primary(&payload) {
                prop_assert!(payload_type < 128);
                prop_assert!(payload.ends_with(data) && data.len() < payload.len());
            }
        }
    }
}
