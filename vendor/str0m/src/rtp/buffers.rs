//! Buffers of datagrams, used again.
//!
//! A datagram leaves in a buffer of its own, which its sender may give back with
//! [`recycle`] once it is sent. Without that each would be allocated and zeroed anew.

use std::cell::RefCell;

use crate::io::{DATAGRAM_MAX_PACKET_SIZE, DatagramSend};

/// So many are kept, for each thread. Senders give them back as they send, one by one.
const MOST: usize = 64;
/// Larger ones are not kept.
const LARGEST: usize = 2 * DATAGRAM_MAX_PACKET_SIZE;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of any length and content.
pub(crate) fn take() -> Vec<u8> {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(DATAGRAM_MAX_PACKET_SIZE))
}

pub(crate) fn give_back(buffer: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST && (1..=LARGEST).contains(&buffer.capacity()) {
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
        (0..2 * MOST).for_each(|_| recycle(vec![7; 1200].into()));
        (0..MOST).for_each(|_| assert_eq!(take(), [7; 1200]));
        assert!(take().is_empty());
        recycle(vec![7; LARGEST + 1].into());
        assert!(take().is_empty());
    }
}
