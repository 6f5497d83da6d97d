//! Who gets what of a batch, receiver by receiver.

use std::ops::Range;

/// So many packets of one track, one after another in the batch, for one slot.
#[derive(Debug)]
struct Delivery {
    receiver: usize,
    slot: usize,
    packets: Range<usize>,
}

/// The deliveries of a batch that is being forwarded, in the order of their receivers; empty when all are made.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    all: Vec<Delivery>,
    /// So many of them are made.
    made: usize,
}

impl Deliveries {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn push(&mut self, receiver: usize, slot: usize, packets: Range<usize>) {
        self.all.push(Delivery { receiver, slot, packets });
    }

    /// Brings together what one receiver gets; what was pushed first of that stays first.
    pub(super) fn sort(&mut self) {
        self.all.sort_by_key(|delivery| delivery.receiver);
    }

    /// Takes the deliveries to the next receiver; none when all are made, and then the list is empty again. They count as
    /// made at once: whoever breaks over his does not get them again.
    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        let first = self.made;
        let Some(Delivery { receiver, .. }) = self.all.get(first) else {
            self.all.clear();
            self.made = 0;
            return None;
        };
        let count = self.all[first..].iter().take_while(|delivery| delivery.receiver == *receiver).count();
        self.made += count;
        Some(first..self.made)
    }

    /// Whom these are for, as [`Self::next`] gave them.
    pub(super) fn receiver(&self, mine: Range<usize>) -> usize {
        self.all[mine.start].receiver
    }

    /// The slots that get something, and which packets of the batch.
    pub(super) fn of(&self, mine: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.all[mine].iter().map(|delivery| (delivery.slot, delivery.packets.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_receiver_gets_all_of_its_own_in_one_go_and_in_order() {
        let mut deliveries = Deliveries::default();
        for (receiver, slot, packets) in [(7, 0, 0..3), (2, 0, 0..3), (7, 1, 3..4), (2, 4, 3..4), (5, 0, 3..4)] {
            deliveries.push(receiver, slot, packets);
        }
        deliveries.sort();
        let mut made = Vec::new();
        while let Some(mine) = deliveries.next() {
            made.push((deliveries.receiver(mine.clone()), deliveries.of(mine).collect::<Vec<_>>()));
        }
        let expected = [(2, vec![(0, 0..3), (4, 3..4)]), (5, vec![(0, 3..4)]), (7, vec![(0, 0..3), (1, 3..4)])];
        assert_eq!(made, expected);
        assert!(deliveries.is_empty(), "the next batch is planned anew");
    }
}
