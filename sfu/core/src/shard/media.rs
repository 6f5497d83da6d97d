//! A packet's way from its publisher to those who receive it, and keyframe requests the other way.

use std::time::{Duration, Instant};

use str0m::media::{Mid, Rid};
use str0m::rtp::RtpPacket;

use super::ahead::{self, Turn};
use super::{Shard, Waiting};
use crate::api::{Codec, MediaKind, Milestone};
use crate::forward::SenderReport;
use crate::ingress::{Arrival, Incoming, Kept, Queued, Reading};
use crate::relay::{Message, Packet};
use crate::timers::Timer;

/// How often waiting keyframe requests are looked at: a fifth of the shortest time between two.
const KEYFRAME_POLL: Duration = Duration::from_millis(100);

/// When what is written to a receiver is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// If nothing holds it back.
    AtOnce,
    /// With the receiver's next drain.
    Later,
}

impl Shard {
    /// A media packet of a publisher.
    pub(super) fn on_rtp(&mut self, key: usize, mid: Mid, rid: Option<Rid>, packet: &RtpPacket) {
        self.stats.rtp_in += 1;
        let now = self.now;
        let peer = &mut self.peers[key];
        peer.last_packet = Some(now);
        let Some(format) = peer.conn.receive_format(packet.header.payload_type) else {
            self.stats.dropped_codec += 1;
            return;
        };
        let room_key = peer.conn.room;
        let Some(track_key) = peer.member.track_on(mid) else { return };
        let track = &mut self.rooms[room_key].tracks[track_key];
        let Some(layer) = track.layer_index(rid) else { return };
        let is_back = track.layers[layer].was_away(now);
        let new_format = track.format.replace(format.format) != Some(format.format);
        let report = sender_report(packet);
        if report != track.layers[layer].report {
            report.into_iter().for_each(|r| peer.clock.on_report(now, r));
        }
        let arrival = Arrival {
            now,
            arrived: self.arrived,
            layer,
            source: *packet.header.ssrc,
            seq: *packet.seq_no,
            time: packet.header.timestamp,
            marker: packet.header.marker,
            format,
            payload: &packet.payload,
            ext: &packet.header.ext_vals,
            csrc: packet.header.csrc.get(..packet.header.csrc_count).unwrap_or_default(),
            report,
        };
        let reading = Reading::new(track, &arrival);
        if reading.seen.stale {
            self.stats.dropped_stale += 1;
            return;
        }
        let captured = peer.clock.captured(now, report, arrival.time, arrival.codec().clock_rate());
        let first = !std::mem::replace(&mut peer.conn.had_packet, true);
        let mut incoming = reading.incoming(&arrival, peer.conn.id, captured);
        let late = self.overload.late && track.kind == MediaKind::Video;
        if late || track.silenced {
            incoming.descriptor = None;
        }
        self.give_to_shards((room_key, track_key), &arrival, captured, late);
        self.stats.dropped_late += u64::from(late);
        self.pass((room_key, track_key), &incoming, late);
        if is_back {
            self.on_layer_back(room_key, track_key, layer);
        }
        if first {
            self.tell_milestone(key, Milestone::FirstPacket);
        }
        if new_format || reading.seen.resized {
            // Looked at with the next tick: a publisher that changes with every packet must cost no more.
            let track = &mut self.rooms[room_key].tracks[track_key];
            track.changed = true;
            track.announce |= new_format;
        }
    }

    /// Gives a packet to the other shards that want its layer.
    fn give_to_shards(&mut self, (room, track): (usize, usize), arrival: &Arrival<'_>, captured: Instant, late: bool) {
        let track = &self.rooms[room].tracks[track];
        for downstream in track.downstream.iter().filter(|downstream| downstream.demand.has(arrival.layer)) {
            let relayed = Packet { silenced: track.silenced, late, ..Packet::new(track.id, arrival, captured) };
            self.relays.outbox.push(downstream.link, relayed);
            self.stats.relay_out += 1;
        }
    }

    /// Notes a packet for all its receivers here: see [`Self::forward_next`]. One without a descriptor is left out like what
    /// is broken: without a gap that somebody would ask to have filled. If it is late, they go on with the next keyframe.
    pub(super) fn pass(&mut self, (room, track): (usize, usize), packet: &Incoming<'_>, late: bool) {
        if late {
            self.pass_over(room, track);
        }
        if self.batch.is_full() {
            if packet.format.codec != Codec::Opus {
                self.stats.dropped_late += u64::from(!late);
                self.pass_over(room, track);
                return;
            }
            self.write_batch();
        }
        self.batch.push(Queued { room, track, packet: Kept::new(packet) });
    }

    /// A picture of this track will be missing: its receivers go on with the next keyframe.
    fn pass_over(&mut self, room: usize, track: usize) {
        let track = self.rooms.get(room).and_then(|room| room.tracks.get(track));
        for subscriber in track.into_iter().flat_map(|track| &track.subscribers) {
            self.peers[subscriber.key].member.slots[subscriber.slot].egress.on_late();
        }
    }

    /// A layer comes again after a pause. Where its publisher's network was away, it goes on with what nobody can decode any
    /// more, and requests were lost on the way; and who watches it may have been given nothing, since nothing came.
    fn on_layer_back(&mut self, room: usize, track: usize, layer: usize) {
        let receivers: Vec<usize> = self.rooms[room].tracks[track].subscribers.iter().map(|s| s.key).collect();
        receivers.into_iter().for_each(|key| self.retarget(key));
        // Other shards likewise, once they know.
        self.tell_rates(room, &[track]);
        let found = &self.rooms[room].tracks[track];
        let elsewhere = found.downstream.iter().any(|downstream| downstream.demand.has(layer));
        let watched = found.subscribers.iter().any(|subscriber| {
            let slot = &self.peers[subscriber.key].member.slots[subscriber.slot];
            slot.egress.selector.current().or(slot.egress.selector.target()) == Some(layer)
        });
        if watched || elsewhere {
            self.request_keyframe(Waiting { room, track, layer });
        }
    }

    /// Packets have not been given to all who get them. The next of [`Self::poll_output`] are of them; whoever has sound to
    /// bring may do so first, by [`Self::handle`], and it will overtake the pictures.
    #[must_use]
    pub fn is_forwarding(&self) -> bool {
        !(self.batch.is_empty() && self.deliveries.is_done() && self.overtaking.is_done())
    }

    /// Sends one receiver all that there is for it, and runs and drains it if that is due: one after another, so that
    /// what is kept of each is in the processor's caches while it is worked with. Two passes over hundreds of them, one to
    /// write and one to send, would find it gone the second time. Call again while [`Self::is_forwarding`].
    pub(super) fn forward_next(&mut self) {
        if let Some(key) = self.write_next(Sending::AtOnce) {
            self.run(key);
        }
    }

    /// Queues what is being forwarded for those who get it, who are run and drained later: nobody takes datagrams now, and
    /// those of all receivers would be many.
    pub(super) fn write_batch(&mut self) {
        let about = self.current;
        while self.is_forwarding() {
            if let Some(key) = self.write_next(Sending::Later) {
                self.touch(key);
            }
        }
        // A full batch is forwarded amid the work for a publisher: a panic in what is left of that is not about a receiver.
        self.current = about;
    }

    /// Writes what there is for the next receiver. Returns whom there is more to do for.
    fn write_next(&mut self, sending: Sending) -> Option<usize> {
        self.plan_deliveries();
        let due = self.write_to_next(sending);
        self.overtaking.release();
        self.deliveries.release();
        due
    }

    fn write_to_next(&mut self, sending: Sending) -> Option<usize> {
        let now = self.now;
        let before = self.transmits.len();
        let Self { overtaking, deliveries, peers, transmits, stats, current, forwarding, .. } = self;
        let deliveries = if overtaking.is_done() { deliveries } else { overtaking };
        let mine = deliveries.next()?;
        let key = deliveries.receiver(mine.clone());
        for (turn, (key, slots)) in Turn::AHEAD.into_iter().zip(deliveries.ahead()) {
            ahead::expect_delivery(peers, turn, key, slots);
        }
        let peer = peers.get_mut(key).filter(|peer| peer.conn.connected)?;
        *current = Some(key);
        let (mut forwarded, mut pictures) = (0, false);
        forwarding.clear();
        for (slot, packets) in deliveries.of(mine) {
            let shown = packets.first().map(|queued| queued.track);
            // An earlier receiver's news may have changed what this one shows, or have ended the track.
            let Some(slot) = peer.member.slots.get_mut(slot).filter(|slot| slot.track == shown) else { continue };
            peer.conn.prefetch_resends(slot.mid);
            let (before, written) = (forwarded, transmits.len());
            let out = packets.iter().filter_map(|queued| {
                let packet = queued.packet.incoming();
                let out = slot.egress.forward(&slot.formats, &packet)?;
                forwarded += 1;
                pictures |= packet.format.codec != Codec::Opus;
                Some(out)
            });
            let at_once = (sending == Sending::AtOnce).then_some(&mut *transmits);
            let late = peer.conn.write(now, slot.mid, out, at_once);
            if let Some(first) = packets.first() {
                forwarding.push_back((transmits.len() - written, first.packet.arrived));
            }
            if late && forwarded > before {
                stats.late_pictures += 1;
                slot.egress.on_late();
                peer.conn.forget_resends(slot.mid);
            }
        }
        stats.rtp_forwarded += forwarded;
        let first_keyframe = pictures && !std::mem::replace(&mut peer.conn.had_keyframe, true);
        let is_due = peer.conn.touched || peer.conn.is_due(now);
        if first_keyframe {
            self.tell_milestone(key, Milestone::FirstKeyframe);
        }
        if self.note_way(key, before) {
            self.on_new_way(key);
        }
        (forwarded > 0 && is_due).then_some(key)
    }

    /// Lists who gets what, once all has been given out, or there is sound: that does not wait until all receivers have their
    /// pictures.
    fn plan_deliveries(&mut self) {
        if !self.overtaking.is_done() || self.batch.is_empty() {
            return;
        }
        if !self.deliveries.is_done() {
            if self.batch.has_sound() {
                self.overtaking.begin_sound(&mut self.batch, &self.rooms);
            }
            return;
        }
        let (late, tracks) = self.batch.give_up_late(self.now);
        self.stats.dropped_late += late;
        tracks.into_iter().for_each(|(room, track)| self.pass_over(room, track));
        self.deliveries.begin(&mut self.batch, &self.rooms);
    }

    /// A receiver cannot decode what a slot gives it.
    pub(super) fn on_keyframe_wanted(&mut self, key: usize, mid: Mid) {
        self.stats.keyframe_requests_in += 1;
        let peer = &self.peers[key];
        let Some(slot) = peer.member.slots.iter().find(|s| s.mid == mid) else {
            return;
        };
        let selector = &slot.egress.selector;
        let Some((track, layer)) = slot.track.zip(selector.current().or(selector.target())) else {
            return;
        };
        self.request_keyframe(Waiting { room: peer.conn.room, track, layer });
    }

    /// Asks a publisher for a keyframe of one layer: now, or as soon as the last request is old enough.
    pub(super) fn request_keyframe(&mut self, wanted: Waiting) {
        let Some(track) = self.rooms.get_mut(wanted.room).and_then(|r| r.tracks.get_mut(wanted.track)) else {
            return;
        };
        if track.kind != MediaKind::Video {
            return;
        }
        let Some(layer) = track.layers.get_mut(wanted.layer) else {
            return;
        };
        let begins = |Queued { room, track, packet }: &Queued| {
            (*room, *track, packet.layer) == (wanted.room, wanted.track, wanted.layer) && packet.keyframe_start
        };
        let is_coming = self.batch.iter().any(begins);
        if !layer.is_live(self.now) || is_coming {
            // It begins with a keyframe, or is asked again with the next look; or that one will do: it is yet to be forwarded.
            return;
        }
        if layer.keyframes.request(self.now) {
            self.send_keyframe_request(wanted);
        }
        if !self.waiting.contains(&wanted) {
            self.waiting.push(wanted);
        }
        if !self.timers.is_set(Timer::Keyframes) {
            self.timers.set(Timer::Keyframes, self.now + KEYFRAME_POLL);
        }
    }

    pub(super) fn send_keyframe_request(&mut self, Waiting { room, track, layer }: Waiting) {
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(track)) else { return };
        if let Some(upstream) = &track.upstream {
            self.relays.send(upstream.link, Message::Keyframe { track: track.id, layer });
            return;
        }
        let (publisher, mid, rid) = (track.publisher, track.mid, track.layers.get(layer).and_then(|layer| layer.rid));
        let conn = &mut self.peers[publisher].conn;
        if conn.connected {
            self.stats.keyframe_requests_out += 1;
            conn.request_keyframe(mid, rid);
            self.touch(publisher);
        }
    }

    /// Sends the requests again whose keyframe has not come.
    pub(super) fn repeat_keyframe_requests(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|w| {
            let Some(track) = self.rooms.get_mut(w.room).and_then(|r| r.tracks.get_mut(w.track)) else {
                return false;
            };
            let Some(layer) = track.layers.get_mut(w.layer) else {
                return false;
            };
            let send = layer.keyframes.poll(self.now);
            let elsewhere = track.downstream.iter().any(|downstream| downstream.demand.has(w.layer));
            let wanted = elsewhere
                || track.subscribers.iter().any(|s| {
                    let slot = self.peers.get(s.key).and_then(|peer| peer.member.slots.get(s.slot));
                    let egress = slot.map(|slot| &slot.egress);
                    egress.is_some_and(|e| e.awaited() == Some(w.layer) || e.selector.current() == Some(w.layer))
                });
            // A layer that sends nothing cannot answer; once it sends, it is asked again.
            let keep = layer.keyframes.is_waiting() && wanted && layer.is_live(self.now);
            if !keep {
                layer.keyframes.give_up();
                return false;
            }
            if send {
                self.send_keyframe_request(*w);
            }
            keep
        });
        self.waiting = waiting;
        if !self.waiting.is_empty() {
            self.timers.set(Timer::Keyframes, self.now + KEYFRAME_POLL);
        }
    }
}

fn sender_report(packet: &RtpPacket) -> Option<SenderReport> {
    let sender = packet.last_sender_info.as_ref()?;
    Some(SenderReport { wall: sender.ntp_time, rtp: sender.rtp_time.numer() as u32 })
}
