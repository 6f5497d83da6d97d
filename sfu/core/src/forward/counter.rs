//! A counter of a payload descriptor that goes on counting across switches.

use super::epoch::{Epoch, Epochs};
use super::sequence::Mapped;

/// Shifts a source's counter so that the first value of an epoch follows the last one sent before it, and so that
/// values left out on purpose leave no gap.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// What holds in each epoch; none before the epoch's first value.
    shifts: Epochs<Option<Shift>>,
    /// The newest value sent.
    newest: Option<u16>,
}

impl Counter {
    pub(super) const fn new() -> Self {
        Self { shifts: Epochs::new(), newest: None }
    }

    /// Opens an epoch; `first` is what its first packet carries, if it has the field at all.
    pub(super) fn switch(&mut self, epoch: Epoch, first: Option<u16>) {
        let shift = first.map(|value| self.anchor(value));
        if let (Some(last), Some(shift)) = (self.shifts.newest(), shift)
            && let Some(Some(before)) = self.shifts.get(last)
        {
            let end = Some(shift.newest.wrapping_add(shift.offset));
            self.shifts.put(last, Some(Shift { end, ..before }));
        }
        self.shifts.open(epoch, shift);
    }

    /// The value to send for `value`, a number of `bits` bits. None: the epoch is forgotten, the value was
    /// [left out](Self::leave_out), or it comes so late that its number was given away: by the next epoch, or by the one
    /// before, where the field began within the epoch.
    pub(super) fn rewrite(&mut self, packet: Mapped, value: u16, bits: u32) -> Option<u16> {
        let mask = mask(bits);
        let mut shift = match self.shifts.get(packet.epoch)? {
            Some(shift) => shift,
            // What the next epoch begins with follows what was sent before it.
            None if self.shifts.newest() != Some(packet.epoch) => return None,
            None => self.anchor(value),
        };
        if packet.late && shift.is_before_first(value, mask) {
            return None;
        }
        let out = shift.take(value, mask)? & mask;
        if shift.end.is_some_and(|end| out.wrapping_sub(end) & mask <= mask / 2) {
            return None;
        }
        self.shifts.put(packet.epoch, Some(shift));
        let newest = self.newest.unwrap_or(out);
        let step = out.wrapping_sub(newest) & mask;
        // What comes late may be the first of its picture that is sent: that number is given away, too.
        if !packet.late || step <= mask / 2 {
            // The upper bits go on from what they were, so that a longer counter can follow a shorter one.
            self.newest = Some(newest.wrapping_add(step));
        }
        Some(out)
    }

    /// Nothing with `value` is sent: what is newer moves up by one. Without effect on a value that is not newer than
    /// all of its epoch, for its number can no longer be given to another.
    pub(super) fn leave_out(&mut self, epoch: Epoch, value: u16, bits: u32) {
        if let Some(Some(mut shift)) = self.shifts.get(epoch) {
            shift.leave_out(value, mask(bits));
            self.shifts.put(epoch, Some(shift));
        }
    }

    /// The shift that makes `value` the successor of the newest; none before the first.
    fn anchor(&self, value: u16) -> Shift {
        let offset = self.newest.map_or(0, |n| n.wrapping_add(1).wrapping_sub(value));
        let reach = if self.newest.is_some() { 0 } else { u16::MAX };
        Shift { offset, newest: value, left_out: 0, reach, end: None }
    }
}

const fn mask(bits: u32) -> u16 {
    u16::MAX >> (u16::BITS - bits)
}

/// What is added to the values of one epoch.
#[derive(Debug, Clone, Copy)]
struct Shift {
    /// What is added to the newest value.
    offset: u16,
    /// The newest value that came.
    newest: u16,
    /// Which of the values up to the newest are left out: bit n is `newest - n`.
    left_out: u128,
    /// How far behind the newest its values may lie: back to the first, before which others were sent.
    reach: u16,
    /// What the next epoch began with.
    end: Option<u16>,
}

impl Shift {
    fn take(&mut self, value: u16, mask: u16) -> Option<u16> {
        if self.advance(value, mask).is_some() {
            return Some(value.wrapping_add(self.offset));
        }
        let behind = u32::from(self.newest.wrapping_sub(value) & mask);
        if self.left_out.checked_shr(behind).unwrap_or(0) & 1 == 1 {
            return None;
        }
        let newer = u128::MAX.checked_shl(behind).map_or(u128::MAX, |older| !older);
        let removed = (self.left_out & newer).count_ones() as u16;
        Some(value.wrapping_add(self.offset).wrapping_add(removed))
    }

    fn leave_out(&mut self, value: u16, mask: u16) {
        if self.advance(value, mask).is_some() {
            self.left_out |= 1;
            self.offset = self.offset.wrapping_sub(1);
        }
    }

    const fn is_before_first(&self, value: u16, mask: u16) -> bool {
        let behind = self.newest.wrapping_sub(value) & mask;
        behind <= mask / 2 && behind > self.reach
    }

    /// Counts on to `value`, if it is newer than all before.
    fn advance(&mut self, value: u16, mask: u16) -> Option<()> {
        let ahead = value.wrapping_sub(self.newest) & mask;
        if ahead == 0 || ahead > mask / 2 {
            return None;
        }
        self.newest = value;
        self.reach = self.reach.saturating_add(ahead);
        self.left_out = self.left_out.checked_shl(ahead.into()).unwrap_or(0);
        Some(())
    }
}
