//! A counter of a payload descriptor that goes on counting across switches.

use super::epoch::{Epoch, Epochs};
use super::sequence::Mapped;

/// Picture ids are 15 bits at most; shorter counters are the lower bits of such a number.
const FULL: u16 = 0x7fff;

/// Shifts a source's counter so that the first value of an epoch follows the last one sent before it.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// What is added in each epoch; none before the epoch's first value.
    offsets: Epochs<Option<u16>>,
    /// The newest value sent, 15 bits.
    newest: Option<u16>,
}

impl Counter {
    pub(super) const fn new() -> Self {
        Self { offsets: Epochs::new(), newest: None }
    }

    /// Opens an epoch; `first` is what its first packet carries, if it has the field at all.
    pub(super) fn switch(&mut self, epoch: Epoch, first: Option<u16>) {
        let offset = first.map(|value| self.anchor(value));
        self.offsets.open(epoch, offset);
    }

    /// The value to send for `value`, a number of `bits` bits. None: the epoch is forgotten.
    pub(super) fn rewrite(&mut self, packet: Mapped, value: u16, bits: u32) -> Option<u16> {
        let mask = (1 << bits) - 1;
        let offset = match self.offsets.get(packet.epoch)? {
            Some(offset) => offset,
            None => {
                let offset = self.anchor(value);
                self.offsets.open(packet.epoch, Some(offset));
                offset
            }
        };
        let out = value.wrapping_add(offset) & mask;
        if !packet.late {
            // The upper bits go on from what they were, so that a longer counter can follow a shorter one.
            let newest = self.newest.unwrap_or(out);
            self.newest = Some(newest.wrapping_add(out.wrapping_sub(newest) & mask) & FULL);
        }
        Some(out)
    }

    /// The offset that makes `value` the successor of the newest; none before the first.
    fn anchor(&self, value: u16) -> u16 {
        self.newest.map_or(0, |n| n.wrapping_add(1).wrapping_sub(value))
    }
}
