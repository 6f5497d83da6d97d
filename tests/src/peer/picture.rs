//! Tells which pictures a decoder could show: whole ones that start with a key frame or follow the one shown before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use str0m::rtp::RtpPacket;

use crate::media::{Vp8Packet, parse_vp8};
use crate::peer::Received;

/// Pictures under way at most; the oldest are given up.
const UNDER_WAY: usize = 64;

#[derive(Default)]
struct Partial {
    /// Extended sequence numbers seen.
    seen: Vec<u64>,
    first: Option<(u64, Vp8Packet)>,
    last: Option<u64>,
}

impl Partial {
    fn whole(&self) -> Option<Vp8Packet> {
        let (first, packet) = self.first?;
        let count = usize::try_from(self.last?.checked_sub(first)? + 1).ok()?;
        (self.seen.len() == count).then_some(packet)
    }
}

/// The pictures of one line.
#[derive(Default)]
pub(super) struct Pictures {
    under_way: BTreeMap<u64, Partial>,
    /// Whole, but the one before is missing: number -> picture.
    waiting: BTreeMap<u64, Vp8Packet>,
    shown: Option<(u64, Option<u16>)>,
    shown_at: Option<Instant>,
    asked_at: Option<Instant>,
}

impl Pictures {
    pub(super) fn on_packet(&mut self, now: Instant, packet: &RtpPacket, received: &mut Received) {
        let Some(parsed) = parse_vp8(&packet.payload) else { return };
        self.shown_at.get_or_insert(now);
        let time = packet.time.numer();
        let partial = self.under_way.entry(time).or_default();
        let seq = *packet.seq_no;
        if partial.seen.contains(&seq) {
            return;
        }
        partial.seen.push(seq);
        if parsed.start {
            partial.first = Some((seq, parsed));
        }
        if packet.header.marker {
            partial.last = Some(seq);
        }
        if let Some(first) = partial.whole() {
            self.under_way.remove(&time);
            if let Some((number, _)) = first.mark {
                self.waiting.insert(number, first);
                self.show(now, received);
            }
        }
        while self.under_way.len() > UNDER_WAY {
            self.under_way.pop_first();
        }
    }

    fn show(&mut self, now: Instant, received: &mut Received) {
        while let Some((number, picture)) = self.next() {
            self.waiting = self.waiting.split_off(&(number + 1));
            if let (Some((_, Some(before))), Some(id)) = (self.shown, picture.picture_id) {
                received.picture_id_jumps += u64::from(id.wrapping_sub(before) & 0x7fff != 1);
            }
            self.shown = Some((number, picture.picture_id));
            self.shown_at = Some(now);
            received.pictures += 1;
            received.first_picture.get_or_insert(now);
            received.last_picture = Some(now);
            received.last_mark = picture.mark;
        }
        while self.waiting.len() > UNDER_WAY {
            self.waiting.pop_first();
        }
    }

    fn next(&self) -> Option<(u64, Vp8Packet)> {
        let follows = |number: u64| self.shown.is_some_and(|(shown, _)| number == shown + 1);
        let fits = |(number, picture): &(&u64, &Vp8Packet)| picture.key || follows(**number);
        self.waiting.iter().find(fits).map(|(number, picture)| (*number, *picture))
    }

    /// Nothing was shown for `patience` although packets came, and nobody was asked in that time.
    pub(super) fn stalled(&mut self, now: Instant, patience: Duration) -> bool {
        let since = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) >= patience);
        let stalled = since(self.shown_at) && (self.asked_at.is_none() || since(self.asked_at));
        if stalled {
            self.asked_at = Some(now);
        }
        stalled
    }
}
