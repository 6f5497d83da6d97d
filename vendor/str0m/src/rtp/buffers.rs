//! Buffers of datagrams, used again.
//!
//! A datagram leaves in a buffer of its own, which its sender may give back with
//! [`recycle`] once it is sent. Without that each would be allocated and zeroed anew.

use std::cell::RefCell;

use crate::io::DatagramSend;

/// So many are kept, for each thread. Senders give them back as they send, one by one.
const MOST: usize = 64;
/// Room for a payload of 1200 bytes behind the longest header, and for the tag.
const SIZE: usize = 2304;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of any length and content.
pub(crate) fn take() -> Vec<u8> {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(SIZE))
}

pub(crate) fn give_back(buffer: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| {
        // Others come of RTCP and STUN, or of payloads that are larger than a datagram should be.
        if spare.len() < MOST && buffer.capacity() == SIZE {
            spare.push(buffer);
        }
    });
}

/// Gives the buffer of a datagram back that has been sent. The next one of the same thread
/// is written into it.
pub fn recycle(datagram: DatagramSend) {
    give_back(datagram.into());
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_and_no_more_than_the_most_is_kept() {
        let buffers: Vec<_> = (0..2 * MOST).map(|_| take()).collect();
        for mut buffer in buffers {
            buffer.extend_from_slice(&[7; 1200]);
            recycle(buffer.into());
        }
        recycle(vec![7; 1200].into());
        (0..MOST).for_each(|_| assert_eq!(take(), [7; 1200]));
        assert!(take().is_empty());
    }
}
