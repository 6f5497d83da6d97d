//! Puts packets back into order, for a while: what a jitter buffer does before it gives up on a hole.

use std::collections::BTreeMap;

/// The most packets kept behind a hole; with more, the hole counts as lost. A keyframe of a large picture is some 150.
const MOST: usize = 512;

/// How long a hole may stay: time for a few rounds of NACK and resend on a slow path. In microseconds.
pub(super) const WAIT_US: u64 = 500_000;

/// What comes out, in order of sequence numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// The next packet.
    Packet(T),
    /// Packets are missing for good.
    Hole,
}

/// Packets of one stream. `T` is what is kept of one.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// The sequence number to come out next.
    next: Option<u64>,
    waiting: BTreeMap<u64, (u64, T)>,
}

impl<T> Order<T> {
    pub(super) fn new() -> Self {
        Self { next: None, waiting: BTreeMap::new() }
    }

    /// Takes a packet; gives it back at once where it is the next one and nothing waits. False: too late, dropped.
    pub(super) fn push(&mut self, now_us: u64, sequence: u64, packet: T) -> Result<Option<T>, Late> {
        let next = *self.next.get_or_insert(sequence);
        if sequence < next {
            return Err(Late);
        }
        if sequence == next && self.waiting.is_empty() {
            self.next = Some(next + 1);
            return Ok(Some(packet));
        }
        self.waiting.entry(sequence).or_insert((now_us, packet));
        Ok(None)
    }

    /// The next packet that is due, or a hole that is given up.
    #[must_use]
    pub(super) fn pop(&mut self, now_us: u64) -> Option<Step<T>> {
        let entry = self.waiting.first_entry()?;
        let next = self.next?;
        if *entry.key() <= next {
            self.next = Some(next + 1);
            return Some(Step::Packet(entry.remove().1));
        }
        let oldest = entry.get().0;
        if self.waiting.len() <= MOST && now_us < oldest + WAIT_US {
            return None;
        }
        self.next = self.waiting.first_key_value().map(|(&sequence, _)| sequence);
        Some(Step::Hole)
    }

    /// Gives up on everything before `sequence`, of which nothing is worth waiting for; true where there was a hole.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.waiting = self.waiting.split_off(&sequence);
        self.next = Some(sequence);
    }

    /// The packets that wait, from `sequence` down to the first one that is missing.
    pub(super) fn back_from(&self, sequence: u64) -> impl Iterator<Item = (u64, &T)> {
        let mut expected = sequence;
        self.waiting.range(..=sequence).rev().map_while(move |(&at, (_, packet))| {
            let follows = at == expected;
            expected = expected.wrapping_sub(1);
            follows.then_some((at, packet))
        })
    }

    /// Whether packets wait for one that is missing.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// A packet that came after its place was given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Late;

#[cfg(test)]
mod tests {
    use super::*;

    fn out(order: &mut Order<u64>, now_us: u64, sequence: u64) -> Vec<Step<u64>> {
        let at_once = order.push(now_us, sequence, sequence).unwrap_or(None).map(Step::Packet);
        let mut steps: Vec<_> = at_once.into_iter().collect();
        while let Some(step) = order.pop(now_us) {
            steps.push(step);
        }
        steps
    }

    #[test]
    fn a_packet_that_comes_late_takes_its_place() {
        let mut order = Order::new();
        assert_eq!(out(&mut order, 0, 10), [Step::Packet(10)]);
        assert_eq!(out(&mut order, 0, 12), []);
        assert_eq!(out(&mut order, 0, 11), [Step::Packet(11), Step::Packet(12)]);
        assert_eq!(out(&mut order, 0, 11), []);
        assert_eq!(out(&mut order, 0, 13), [Step::Packet(13)]);
    }

    #[test]
    fn a_hole_is_given_up_in_time() {
        let mut order = Order::new();
        let _ = out(&mut order, 0, 10);
        assert_eq!(out(&mut order, 1_000, 12), []);
        assert_eq!(out(&mut order, WAIT_US, 13), []);
        assert_eq!(
            out(&mut order, WAIT_US + 1_000, 14),
            [Step::Hole, Step::Packet(12), Step::Packet(13), Step::Packet(14)]
        );
        assert_eq!(order.push(0, 11, 11), Err(Late));
    }

    #[test]
    fn a_flood_behind_a_hole_is_bounded() {
        let mut order = Order::new();
        let _ = out(&mut order, 0, 0);
        let out: Vec<_> = (2..2_000).flat_map(|sequence| out(&mut order, 0, sequence)).collect();
        assert_eq!(out.len(), 1 + 1_998);
        assert_eq!(out[0], Step::Hole);
    }
}
