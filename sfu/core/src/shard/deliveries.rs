//! Packets on their way to those who get them: collected, then given to one receiver after another.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::ingress::{Queued, even_out};
use crate::room::Room;

/// The most packets that wait. Beyond them pictures are given up: one turn of a worker takes in half of that.
const MOST: usize = 2048;
/// A picture that has waited here for so long is of no use any more.
const LATE: Duration = Duration::from_millis(400);

/// Packets that came and have not been given to anybody.
#[derive(Default)]
pub(super) struct Batch {
    packets: Vec<Queued>,
    /// So many of them are sound.
    sound: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// There is no room for more pictures.
    pub(super) fn is_full(&self) -> bool {
        self.packets.len() >= MOST
    }

    pub(super) fn has_sound(&self) -> bool {
        self.sound > 0
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.sound += usize::from(queued.packet.is_sound());
        self.packets.push(queued);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.packets.iter()
    }

    /// Gives up the pictures that are too old at this time. Returns how many packets these are, and of which tracks.
    pub(super) fn give_up_late(&mut self, now: Instant) -> (u64, BTreeSet<(usize, usize)>) {
        let (mut count, mut tracks) = (0, BTreeSet::new());
        for queued in &mut self.packets {
            let waited = now.saturating_duration_since(queued.packet.now);
            if waited >= LATE && !queued.packet.is_sound() && queued.packet.give_up() {
                count += 1;
                tracks.insert((queued.room, queued.track));
            }
        }
        (count, tracks)
    }
}

/// So many packets of one track, one after another in the list, for one slot.
#[derive(Debug)]
struct Delivery {
    room: usize,
    receiver: usize,
    slot: usize,
    packets: Range<usize>,
    /// It is sound, or goes with some.
    sound: bool,
}

/// Packets that are being given to those who get them, one receiver after another.
#[derive(Default)]
pub(super) struct Deliveries {
    packets: Vec<Queued>,
    all: Vec<Delivery>,
    /// So many of them are made.
    made: usize,
}

impl Deliveries {
    /// All are made.
    pub(super) fn is_done(&self) -> bool {
        self.made == self.all.len()
    }

    /// Begins with a batch, which is empty afterwards: first with those receivers who get sound of it.
    pub(super) fn begin(&mut self, batch: &mut Batch, rooms: &Slab<Room>) {
        self.release();
        std::mem::swap(&mut self.packets, &mut batch.packets);
        let sound = std::mem::take(&mut batch.sound);
        self.plan(rooms);
        if (1..self.packets.len()).contains(&sound) {
            self.sound_first();
        }
    }

    /// Begins with the sound of a batch, whose pictures stay in it.
    pub(super) fn begin_sound(&mut self, batch: &mut Batch, rooms: &Slab<Room>) {
        self.release();
        batch.sound = 0;
        self.packets.extend(batch.packets.extract_if(.., |queued| queued.packet.is_sound()));
        self.plan(rooms);
    }

    fn plan(&mut self, rooms: &Slab<Room>) {
        let Self { packets, all, .. } = self;
        // Stable: those of one track stay in order.
        packets.sort_by_key(|queued| (queued.room, queued.track));
        let mut end = 0;
        for of_track in packets.chunk_by_mut(|a, b| (a.room, a.track) == (b.room, b.track)) {
            even_out(of_track);
            let range = end..end + of_track.len();
            end = range.end;
            let Queued { room, track, ref packet } = of_track[0];
            let sound = packet.is_sound();
            // The publisher may have gone since.
            let track = rooms.get(room).and_then(|room| room.tracks.get(track));
            for subscriber in track.into_iter().flat_map(|track| &track.subscribers) {
                let (receiver, slot) = (subscriber.key, subscriber.slot);
                all.push(Delivery { room, receiver, slot, packets: range.clone(), sound });
            }
        }
        self.sort();
    }

    /// Brings together what one receiver gets; what was listed first of that stays first. The receivers of a room follow one
    /// another, since they share its packets.
    fn sort(&mut self) {
        self.all.sort_by_key(|delivery| (delivery.room, delivery.receiver));
    }

    /// Those receivers come first who get sound, with all that they get.
    fn sound_first(&mut self) {
        for mine in self.all.chunk_by_mut(|a, b| a.receiver == b.receiver) {
            let any = mine.iter().any(|delivery| delivery.sound);
            mine.iter_mut().for_each(|delivery| delivery.sound = any);
        }
        self.all.sort_by_key(|delivery| !delivery.sound);
    }

    /// Takes the deliveries to the next receiver; none when all are made. They count as made at once: whoever breaks over his
    /// does not get them again.
    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        let first = self.made;
        let receiver = self.all.get(first)?.receiver;
        let count = self.all[first..].iter().take_while(|delivery| delivery.receiver == receiver).count();
        self.made += count;
        Some(first..self.made)
    }

    /// Those who come after the ones that were taken: each, and the slots that get something.
    pub(super) fn ahead(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = usize>)> {
        let receivers = self.all[self.made..].chunk_by(|a, b| a.receiver == b.receiver);
        receivers.map(|mine| (mine[0].receiver, mine.iter().map(|delivery| delivery.slot)))
    }

    /// Whom these are for, as [`Self::next`] gave them.
    pub(super) fn receiver(&self, mine: Range<usize>) -> usize {
        self.all[mine.start].receiver
    }

    /// The slots that get something, and what.
    pub(super) fn of(&self, mine: Range<usize>) -> impl Iterator<Item = (usize, &[Queued])> {
        self.all[mine].iter().map(|delivery| (delivery.slot, &self.packets[delivery.packets.clone()]))
    }

    /// Lets go of what all have got.
    pub(super) fn release(&mut self) {
        if self.is_done() {
            self.packets.clear();
            self.all.clear();
            self.made = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many deliveries as there are in the list: room, receiver, slot, and whether it is sound.
    fn deliveries(list: &[(usize, usize, usize, bool)]) -> Deliveries {
        let all =
            list.iter().map(|&(room, receiver, slot, sound)| Delivery { room, receiver, slot, packets: 0..0, sound });
        let mut deliveries = Deliveries { all: all.collect(), ..Deliveries::default() };
        deliveries.sort();
        deliveries.sound_first();
        deliveries
    }

    fn made(mut deliveries: Deliveries) -> Vec<(usize, Vec<usize>)> {
        let mut made = Vec::new();
        while let Some(mine) = deliveries.next() {
            let slots = deliveries.of(mine.clone()).map(|(slot, _)| slot).collect();
            made.push((deliveries.receiver(mine), slots));
        }
        assert!(deliveries.is_done());
        made
    }

    #[test]
    fn each_receiver_gets_all_of_its_own_in_one_go_and_in_order_and_rooms_follow_one_another() {
        let list = [
            (1, 7, 0, false),
            (1, 2, 0, false),
            (0, 8, 1, false),
            (1, 7, 1, false),
            (1, 2, 4, false),
            (1, 5, 0, false),
        ];
        let expected = [(8, vec![1]), (2, vec![0, 4]), (5, vec![0]), (7, vec![0, 1])];
        assert_eq!(made(deliveries(&list)), expected);
    }

    #[test]
    fn it_is_known_who_comes_next_and_on_which_slots() {
        let list = [(1, 2, 0, false), (1, 2, 4, false), (1, 5, 3, false), (1, 7, 1, false)];
        let mut deliveries = deliveries(&list);
        let ahead = |deliveries: &Deliveries| -> Vec<(usize, Vec<usize>)> {
            deliveries.ahead().map(|(receiver, slots)| (receiver, slots.collect())).collect()
        };
        let expected = [(2, vec![0, 4]), (5, vec![3]), (7, vec![1])];
        for behind in 0..=expected.len() {
            assert_eq!(ahead(&deliveries), expected[behind..]);
            assert_eq!(deliveries.next().is_some(), behind < expected.len());
        }
    }

    #[test]
    fn who_gets_sound_comes_first_with_all_that_it_gets() {
        let list = [(0, 1, 0, false), (0, 2, 0, false), (0, 2, 1, true), (3, 4, 0, true), (0, 5, 2, false)];
        assert_eq!(made(deliveries(&list)), [(2, vec![0, 1]), (4, vec![0]), (1, vec![0]), (5, vec![2])]);
    }
}
