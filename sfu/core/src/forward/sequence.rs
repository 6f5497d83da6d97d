//! Outgoing RTP sequence numbers of one subscription (RFC 3550, section 5.1).
//!
//! Numbers are extended: 64 bits that count on where the 16 bits on the wire wrap. The outgoing numbers are contiguous
//! over switches of the source and over packets left out on purpose. A packet lost on its way to this server keeps its
//! number free, so that the receiver sees the loss, and a resend that comes late fills it.

use super::epoch::{EPOCHS_KEPT, Epoch};

/// How many packets back a late packet still finds its number, and the longest run of lost packets that is passed on
/// number for number. At 500 packets a second two seconds: more than a receiver asks back for.
pub const HISTORY: u64 = 1024;

const WORDS: usize = HISTORY as usize / 64;

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// The outgoing extended sequence number.
    pub sequence: u64,
    /// The epoch whose timestamp and descriptor offsets hold for this packet.
    pub epoch: Epoch,
    /// A packet that follows it has been forwarded already: it is resent or out of order.
    pub late: bool,
}

/// Maps a source's extended sequence numbers to those of one subscription.
///
/// `source` names one input numbering, that is one SSRC of a publisher; a publisher's SSRC that starts anew is a new
/// source. Coming back to a source that was left is a new [`switch`](Self::switch) to the same name.
#[derive(Debug, Clone)]
pub struct SequenceMapper {
    /// The number that the next packet in order gets.
    next_out: u64,
    next_epoch: u32,
    /// The highest number that a packet was forwarded with.
    newest_out: Option<u64>,
    /// A ring; `newest` is the one in force.
    segments: [Option<Segment>; EPOCHS_KEPT],
    newest: usize,
}

impl SequenceMapper {
    /// A mapper whose first packet gets the number `start`, best random in `0..2^15` (RFC 3550, section 5.1; the upper
    /// half is left free because SRTP loses count if the first packets are lost just before the wrap).
    pub const fn new(start: u64) -> Self {
        Self { next_out: start, next_epoch: 0, newest_out: None, segments: [None; EPOCHS_KEPT], newest: 0 }
    }

    /// The number that the next packet in order will get.
    pub const fn next_sequence(&self) -> u64 {
        self.next_out
    }

    /// Begins a new epoch with the packet `first_in` of `source`: it will follow the highest number given out so far.
    ///
    /// Of `source`, what comes before `first_in` is not of this epoch. Late packets of the epochs before still find
    /// their numbers, as far as the history goes.
    pub fn switch(&mut self, source: u32, first_in: u64) -> Epoch {
        let epoch = Epoch(self.next_epoch);
        self.next_epoch = self.next_epoch.wrapping_add(1);
        self.begin(Segment::new(source, epoch, first_in, self.next_out));
        epoch
    }

    /// Leaves one number free, so that the receiver sees that something is missing here: for a switch that cuts a frame
    /// in two, before [`switch`](Self::switch).
    pub const fn leave_gap(&mut self) {
        self.next_out += 1;
        if let Some(segment) = &mut self.segments[self.newest] {
            // The number belongs to no packet of the segment.
            segment.closed = true;
        }
    }

    /// Where the packet `in_seq` of `source` goes.
    ///
    /// No two packets get the same number, and none is sent twice: its bytes might differ, and encrypting other bytes
    /// under one number breaks SRTP (RFC 7714 section 8.4). None: it is not to be sent, because it was forwarded already
    /// or [dropped](Self::drop), lies before the first packet of its epoch, comes from a source that
    /// is not in force, or is older than the history.
    pub fn forward(&mut self, source: u32, in_seq: u64) -> Option<Mapped> {
        let (sequence, epoch) = match self.advance(source, in_seq, Step::Forward) {
            Some(epoch) => (self.next_out - 1, epoch),
            None => {
                let segment = self.holding_mut(source, in_seq)?;
                (segment.take_late(in_seq)?, segment.epoch)
            }
        };
        // What was only dropped is followed by nothing that the receiver knows of.
        let late = self.newest_out.is_some_and(|newest| sequence <= newest);
        if !late {
            self.newest_out = Some(sequence);
        }
        Some(Mapped { sequence, epoch, late })
    }

    /// Leaves the packet out for good: in order, its number goes to the next packet. If a later packet has been sent
    /// already its number stays free, and the receiver takes it for lost.
    pub fn drop(&mut self, source: u32, in_seq: u64) {
        if self.advance(source, in_seq, Step::Drop).is_some() {
            return;
        }
        if let Some(segment) = self.holding_mut(source, in_seq) {
            segment.refused.set(in_seq, true);
        }
    }

    /// Where a packet goes that only pads: nowhere if it is in order (it is [dropped](Self::drop)), and like
    /// [`forward`](Self::forward) if a number has been kept free for it.
    pub fn forward_padding(&mut self, source: u32, in_seq: u64) -> Option<Mapped> {
        if self.is_next(source, in_seq) {
            self.drop(source, in_seq);
            return None;
        }
        self.forward(source, in_seq)
    }

    /// Whether `in_seq` is the packet that comes next in order, nothing between.
    pub fn is_next(&self, source: u32, in_seq: u64) -> bool {
        self.current().is_some_and(|s| !s.closed && s.source == source && s.next_in == in_seq)
    }

    /// The epoch in force.
    pub fn epoch(&self) -> Option<Epoch> {
        self.current().map(|s| s.epoch)
    }

    fn current(&self) -> Option<&Segment> {
        self.segments[self.newest].as_ref()
    }

    fn begin(&mut self, segment: Segment) {
        // A segment that gave out no number has nothing to remember.
        let empty = self.current().is_none_or(|s| s.next_in == s.first_in);
        if !empty {
            self.newest = (self.newest + 1) % EPOCHS_KEPT;
        }
        self.segments[self.newest] = Some(segment);
    }

    /// Takes a packet that is newer than all of the segment in force; none if it is not one.
    fn advance(&mut self, source: u32, in_seq: u64, step: Step) -> Option<Epoch> {
        let segment = self.segments[self.newest].as_mut()?;
        if segment.source != source || in_seq < segment.next_in || segment.closed {
            return None;
        }
        let epoch = segment.epoch;
        if in_seq - segment.next_in >= HISTORY {
            // Too long a silence to be a loss. The wire's 16 bits could not carry a gap of half their range.
            let untouched = segment.next_in == segment.first_in;
            self.next_out += u64::from(!untouched);
            self.begin(Segment::new(source, epoch, in_seq, self.next_out));
        }
        let segment = self.segments[self.newest].as_mut()?;
        self.next_out = segment.take(in_seq, step);
        Some(epoch)
    }

    /// The newest segment that `in_seq` falls into.
    fn holding_mut(&mut self, source: u32, in_seq: u64) -> Option<&mut Segment> {
        let at = self.newest_first().find(|&at| self.segments[at].as_ref().is_some_and(|s| s.holds(source, in_seq)))?;
        self.segments[at].as_mut()
    }

    fn newest_first(&self) -> impl Iterator<Item = usize> + use<> {
        let newest = self.newest;
        (0..EPOCHS_KEPT).map(move |back| (newest + EPOCHS_KEPT - back) % EPOCHS_KEPT)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forward,
    Drop,
}

/// A run of packets of one source that share an epoch.
#[derive(Debug, Clone, Copy)]
struct Segment {
    source: u32,
    epoch: Epoch,
    /// Its first packet.
    first_in: u64,
    /// One past its newest packet.
    next_in: u64,
    /// The number of `next_in`, should that be forwarded.
    next_out: u64,
    /// No packet newer than `next_in` belongs to it.
    closed: bool,
    /// Packets that were given no number.
    skipped: Window,
    /// Packets that are not sent any more, whether a number was kept for them or not.
    refused: Window,
}

impl Segment {
    const fn new(source: u32, epoch: Epoch, first_in: u64, next_out: u64) -> Self {
        Self {
            source,
            epoch,
            first_in,
            next_in: first_in,
            next_out,
            closed: false,
            skipped: Window::EMPTY,
            refused: Window::EMPTY,
        }
    }

    /// Counts on to `in_seq`, at most [`HISTORY`] packets; gives the number after it.
    fn take(&mut self, in_seq: u64, step: Step) -> u64 {
        for passed in self.next_in..=in_seq {
            self.skipped.set(passed, false);
            self.refused.set(passed, false);
        }
        // Those passed over are lost or late: each keeps its number free.
        self.next_out += in_seq - self.next_in;
        self.next_in = in_seq + 1;
        match step {
            Step::Forward => {
                self.next_out += 1;
                self.refused.set(in_seq, true);
            }
            Step::Drop => {
                self.skipped.set(in_seq, true);
                self.refused.set(in_seq, true);
            }
        }
        self.next_out
    }

    fn holds(&self, source: u32, in_seq: u64) -> bool {
        self.source == source && (self.first_in..self.next_in).contains(&in_seq)
    }

    /// The number of a packet that the segment holds, once.
    fn take_late(&mut self, in_seq: u64) -> Option<u64> {
        let back = self.next_in - in_seq;
        if back > HISTORY || self.refused.get(in_seq) {
            return None;
        }
        self.refused.set(in_seq, true);
        let skipped = self.skipped.count(in_seq + 1, self.next_in);
        Some(self.next_out - (back - skipped))
    }
}

/// One bit for each of the last [`HISTORY`] packets.
#[derive(Debug, Clone, Copy)]
struct Window([u64; WORDS]);

impl Window {
    const EMPTY: Self = Self([0; WORDS]);

    const fn place(at: u64) -> (usize, u64) {
        let bit = at % HISTORY;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    const fn get(&self, at: u64) -> bool {
        let (word, bit) = Self::place(at);
        self.0[word] & bit != 0
    }

    const fn set(&mut self, at: u64, value: bool) {
        let (word, bit) = Self::place(at);
        if value {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    /// How many are set of `from..to`, at most [`HISTORY`] of them.
    fn count(&self, from: u64, to: u64) -> u64 {
        (from..to).filter(|&at| self.get(at)).count() as u64
    }
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
