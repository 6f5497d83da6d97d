//! Follows a received stream frame by frame: is each one whole, and is there what it builds on?

use super::decode::Sample;
use super::mark::Mark;
use super::order::{Late, Order, Step};
use super::packetise::{Descriptor, depacketise, describe, mark_in};
use super::{Arrived, Checker, Codec, Frame, Judgement, Seen};

/// Judges a stream of encoded video (or Opus) that was packetised as the codec's RTP payload format says.
///
/// Packets are put in order; a hole is waited for as long as a jitter buffer would, or until a whole keyframe stands
/// behind it. A frame is decodable when it came whole and
/// - it is a keyframe (of H264: with parameter sets in it or before), or
/// - the frame before it was decodable and is the one that it builds on: by the numbers in their marks, else by
///   TL0PICIDX and picture id (VP8, VP9), else (foreign H264 and AV1) because no packet is missing between them.
#[derive(Debug)]
pub struct ClipChecker {
    codec: Codec,
    order: Order<Kept>,
    /// The frame of which packets are coming.
    open: Option<Open>,
    last: Option<Last>,
    /// Packets are missing since the frame before.
    hole: bool,
    /// The last frame, and all that it builds on, was there.
    intact: bool,
    parameter_sets: bool,
    judgement: Judgement,
    sample: Option<Sample>,
}

/// What is kept of a packet until its turn comes.
#[derive(Debug)]
enum Kept {
    Media(Media),
    /// Nothing but a sequence number.
    Padding,
    /// Cannot be read: as good as lost.
    Unreadable,
}

#[derive(Debug)]
struct Media {
    timestamp: u32,
    marker: bool,
    head: Descriptor,
    mark: Option<Mark>,
    /// Only in streams of which a sample is taken.
    payload: Option<Vec<u8>>,
}

/// A frame of which not all packets are there yet.
#[derive(Debug)]
struct Open {
    timestamp: u32,
    head: Descriptor,
    keyframe: bool,
    parameter_sets: bool,
    /// Its first packet is there.
    begun: bool,
    mark: Option<Mark>,
    payloads: Vec<Vec<u8>>,
}

/// The frame before.
#[derive(Debug, Clone, Copy)]
struct Last {
    timestamp: u32,
    picture_id: Option<u16>,
    tl0: Option<u8>,
    mark: Option<Mark>,
}

impl ClipChecker {
    /// A checker of one stream.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            order: Order::new(),
            open: None,
            last: None,
            hole: false,
            intact: false,
            parameter_sets: false,
            judgement: Judgement::default(),
            sample: None,
        }
    }

    /// A checker that also keeps the first decodable frames for a real decoder: ask for them with [`Checker::sample`].
    #[must_use]
    pub fn with_sample(codec: Codec) -> Self {
        Self { sample: Some(Sample::new(codec)), ..Self::new(codec) }
    }

    fn in_order(&mut self, now_us: u64, packet: Kept, frames: &mut Vec<Frame>) {
        match packet {
            Kept::Media(packet) => self.media(now_us, packet, frames),
            Kept::Padding => {}
            Kept::Unreadable => self.lost(),
        }
    }

    fn media(&mut self, now_us: u64, packet: Media, frames: &mut Vec<Frame>) {
        if self.open.as_ref().is_some_and(|open| open.timestamp != packet.timestamp) {
            // The frame before had no marker on its last packet. Where packets are missing, that was one of them.
            if !self.hole {
                self.judgement.faults += 1;
            }
            self.abandon();
        }
        let marker = packet.marker || self.codec == Codec::Opus;
        match &mut self.open {
            Some(open) => {
                if packet.head.picture_id != open.head.picture_id {
                    self.judgement.faults += 1;
                }
                open.keyframe |= packet.head.keyframe;
                open.parameter_sets |= packet.head.parameter_sets;
                open.mark = open.mark.or(packet.mark);
                open.payloads.extend(packet.payload);
            }
            None => self.begin(packet),
        }
        if marker && let Some(open) = self.open.take() {
            self.finish(now_us, open, frames);
        }
    }

    fn begin(&mut self, packet: Media) {
        let head = packet.head;
        // The first packet after the last one of a frame is the first of the next, whatever it looks like: H264 and AV1
        // do not always say. VP8 and VP9 do.
        let says = matches!(self.codec, Codec::Vp8 | Codec::Vp9);
        let follows = !self.hole && self.last.is_some();
        let begun = head.starts_frame || (follows && !says);
        if follows && !begun {
            self.judgement.faults += 1;
        }
        if let Some(last) = self.last.filter(|_| follows)
            && packet.timestamp.wrapping_sub(last.timestamp).wrapping_sub(1) >= 1 << 31
        {
            self.judgement.faults += 1; // the time stands still or goes back
        }
        self.open = Some(Open {
            timestamp: packet.timestamp,
            head,
            keyframe: head.keyframe,
            parameter_sets: head.parameter_sets,
            begun,
            mark: packet.mark,
            payloads: packet.payload.into_iter().collect(),
        });
    }

    fn finish(&mut self, now_us: u64, open: Open, frames: &mut Vec<Frame>) {
        if !open.begun {
            // The rest of a frame that was given up has been counted.
            let counted = self.last.is_some_and(|last| last.timestamp == open.timestamp);
            self.judgement.incomplete += u64::from(!counted);
            self.intact = false;
            self.remember(&open);
            return;
        }
        self.parameter_sets |= open.parameter_sets;
        let key = open.keyframe && (self.codec != Codec::H264 || self.parameter_sets);
        if key {
            self.intact = true;
        } else if let Some(last) = self.last {
            let ids = Ids::of(&open, &last);
            let by_marks = open.mark.zip(last.mark).map(|(mark, before)| {
                mark.source == before.source && mark.layer == before.layer && mark.frame == before.frame.wrapping_add(1)
            });
            // After a hole a jump tells what is missing; without one it is the server's fault.
            let jumps = ids.jump || by_marks == Some(false);
            self.judgement.faults += u64::from(jumps && !self.hole);
            self.intact &= by_marks.or(ids.builds_on).unwrap_or(!self.hole);
        }
        self.remember(&open);
        if !self.intact {
            self.judgement.undecodable += 1;
            return;
        }
        self.judgement.decodable += 1;
        frames.push(Frame { at_us: now_us, key, mark: open.mark });
        if let Some(sample) = self.sample.as_mut().filter(|sample| sample.has_room()) {
            match depacketise(self.codec, open.payloads.iter().map(Vec::as_slice)) {
                Ok(data) => sample.push(data),
                Err(_) => self.judgement.faults += 1,
            }
        }
    }

    fn remember(&mut self, open: &Open) {
        let (picture_id, tl0) = (open.head.picture_id, open.head.tl0);
        self.last = Some(Last { timestamp: open.timestamp, picture_id, tl0, mark: open.mark });
        self.hole = false;
    }

    /// Gives up on the frame of which packets are missing.
    fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            self.judgement.incomplete += 1;
            self.intact = false;
            let hole = self.hole;
            self.remember(&open);
            self.hole = hole;
        }
    }

    fn lost(&mut self) {
        self.abandon();
        self.hole = true;
    }

    /// A whole keyframe behind a hole: nothing before it is worth waiting for.
    fn jump_to_keyframe(&mut self, sequence: u64, timestamp: u32) {
        let mut start = None;
        for (at, packet) in self.order.back_from(sequence) {
            let Kept::Media(packet) = packet else { continue };
            if packet.timestamp != timestamp {
                break;
            }
            if packet.head.starts_frame && (packet.head.keyframe || packet.head.parameter_sets) {
                start = Some(at);
            }
        }
        if let Some(start) = start {
            self.order.skip_to(start);
            self.lost();
        }
    }
}

/// What TL0PICIDX and picture id say of a frame and the one before.
struct Ids {
    /// It builds on that one (and on nothing between them); none where there are no ids.
    builds_on: Option<bool>,
    /// They do not count on as they must.
    jump: bool,
}

impl Ids {
    fn of(open: &Open, last: &Last) -> Self {
        let next_id = |id: u16| (id + 1) % open.head.picture_id_modulus();
        let by_id = open.head.picture_id.zip(last.picture_id).map(|(id, before)| id == next_id(before));
        let tl0 = open.head.tl0.zip(last.tl0);
        let upper = open.head.temporal > 0;
        let by_tl0 = tl0.map(|(tl0, before)| tl0 == if upper { before } else { before.wrapping_add(1) });
        let builds_on = by_tl0.map(|follows| follows && (!upper || open.head.sync || by_id == Some(true))).or(by_id);
        Self { builds_on, jump: by_id == Some(false) || by_tl0 == Some(false) }
    }
}

impl Checker for ClipChecker {
    fn packet(&mut self, packet: &Arrived<'_>, frames: &mut Vec<Frame>) -> Seen {
        let mark = mark_in(self.codec, packet.payload);
        let kept = match describe(self.codec, packet.payload) {
            Err(_) => {
                self.judgement.faults += 1;
                Kept::Unreadable
            }
            Ok(head) => Kept::Media(Media {
                timestamp: packet.timestamp,
                marker: packet.marker,
                head,
                mark,
                payload: self.sample.as_ref().filter(|sample| sample.has_room()).map(|_| packet.payload.to_vec()),
            }),
        };
        match self.order.push(packet.now_us, packet.sequence, kept) {
            Ok(Some(kept)) => self.in_order(packet.now_us, kept, frames),
            Ok(None) if packet.marker => self.jump_to_keyframe(packet.sequence, packet.timestamp),
            Ok(None) | Err(Late) => {}
        }
        while let Some(step) = self.order.pop(packet.now_us) {
            match step {
                Step::Packet(kept) => self.in_order(packet.now_us, kept, frames),
                Step::Hole => self.lost(),
            }
        }
        Seen { mark }
    }

    fn padding(&mut self, now_us: u64, sequence: u64) {
        // What waits behind it comes out with the next packet.
        let _ = self.order.push(now_us, sequence, Kept::Padding);
    }

    fn needs_keyframe(&self) -> bool {
        self.last.is_some() && !self.intact && !self.order.is_waiting()
    }

    fn judgement(&self) -> Judgement {
        self.judgement
    }

    fn sample(&mut self) -> Option<Sample> {
        self.sample.take()
    }
}

#[cfg(test)]
mod tests;
