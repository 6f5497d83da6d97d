//! A shard's part in rooms that are on several shards: what it tells the others, and what it does with what they say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::commands::By;
use super::rooms::Demand;
use super::{Shard, Waiting};
use crate::api::{
    CloseReason, Event, Join, JoinError, MediaKind, Notice, Offer, OfferError, ParticipantId, Reply, TrackId,
};
use crate::ingress::Reading;
use crate::relay::{self, Floor, LinkId, Message, Outbox, Packet, RelayMessage, Snapshot};
use crate::room::{Attached, Room};
use crate::track::{Subscriber, Track};

/// A command that waits for the answer of a room's home.
#[derive(Debug)]
pub(super) enum Pending {
    Join(Box<Join>, LinkId),
    Offer(ParticipantId, Box<Offer>, LinkId),
}

impl Pending {
    fn home(&self) -> LinkId {
        match self {
            Self::Join(_, home) | Self::Offer(_, _, home) => *home,
        }
    }
}

/// What a shard keeps for its links.
#[derive(Debug, Default)]
pub(super) struct Relays {
    pub outbox: Outbox,
    /// By the number of the command.
    pub pending: BTreeMap<u64, Pending>,
    /// Who waits for an answer of the code that runs.
    pub owed: Option<(LinkId, u64)>,
    /// All tracks, by room and key.
    pub tracks: HashMap<TrackId, (usize, usize)>,
    /// Shards that are gone.
    pub lost: BTreeSet<LinkId>,
    /// Participants of which something has changed that the other shards do not know.
    changed: BTreeSet<usize>,
}

impl Relays {
    pub(super) fn send(&mut self, to: LinkId, message: Message) {
        if !self.lost.contains(&to) {
            self.outbox.send(to, message);
        }
    }

    /// Something of a participant has changed that others see.
    pub(super) fn mark(&mut self, key: usize) {
        self.changed.insert(key);
    }

    /// A track has ended. If its packets came from another shard, that need not send them any more.
    pub(super) fn forget(&mut self, track: &Track) {
        self.tracks.remove(&track.id);
        if let Some(upstream) = track.upstream.as_ref().filter(|upstream| !upstream.demand.is_empty()) {
            self.send(upstream.link, Message::Demand { track: track.id, demand: relay::Demand::default() });
        }
    }
}

impl Shard {
    pub(super) fn on_relay(&mut self, from: LinkId, message: RelayMessage) {
        if self.relays.lost.contains(&from) {
            return;
        }
        match message.0 {
            Message::Media { packets, shed } => {
                shed.into_iter().for_each(|track| self.on_shed(from, track));
                packets.into_iter().for_each(|packet| self.on_packet(from, &packet));
            }
            Message::Demand { track, demand } => self.on_demand(from, track, demand),
            Message::Keyframe { track, layer } => {
                if let Some(&(room, track)) = self.relays.tracks.get(&track) {
                    self.request_keyframe(Waiting { room, track, layer });
                }
            }
            Message::Join { request, join } => self.on_join(from, request, *join),
            Message::MayPublish { request, room, id, limit } => self.on_may_publish(from, request, &room, id, limit),
            Message::Admitted { request, room, snapshot } => {
                let room = self.on_attached(from, room, snapshot);
                self.on_join_answer(request, Ok(room));
            }
            Message::Refused { request, error } => self.on_join_answer(request, Err(error)),
            Message::Publish { request, allowed } => self.on_publish_answer(request, allowed),
            Message::Close { id, reason } => {
                if let Some(key) = self.ids.get(&id).copied().filter(|key| self.peers[*key].mirror.is_none()) {
                    self.close_peer(key, reason);
                }
            }
            Message::Mute { id, track, muted } => {
                if let Some(key) = self.ids.get(&id).copied().filter(|key| self.peers[*key].mirror.is_none()) {
                    self.mute(key, track, muted, By::Administrator);
                }
            }
            message => self.on_room_news(from, message),
        }
    }

    /// What concerns a room as a whole. Of a room that is not here, or that the sender has nothing to say about, it is late.
    fn on_room_news(&mut self, from: LinkId, message: Message) {
        let name = match &message {
            Message::Heard { room, .. }
            | Message::Detach { room }
            | Message::Floor { room, .. }
            | Message::Speakers { room, .. }
            | Message::CloseRoom { room, .. }
            | Message::Member { room, .. }
            | Message::Left { room, .. }
            | Message::Rates { room, .. }
            | Message::Viewers { room, .. } => room,
            _ => return,
        };
        let Some(key) = self.names.get(name).copied() else { return };
        let room = &mut self.rooms[key];
        let is_home = room.home.is_none();
        let counts = if is_home { room.shards.iter().any(|shard| shard.link == from) } else { room.home == Some(from) };
        if !counts {
            return;
        }
        match message {
            Message::Heard { tracks, .. } if is_home => self.on_heard(key, from, tracks),
            Message::Detach { .. } if is_home => self.detach(key, from, CloseReason::Left),
            Message::Floor { floor, .. } if !is_home => self.on_floor(key, floor),
            Message::Speakers { speakers, .. } if !is_home => self.broadcast(key, None, Notice::Speakers(speakers)),
            Message::CloseRoom { reason, .. } if !is_home => self.empty_room(key, reason),
            Message::Member { member, .. } => self.on_member(key, from, *member),
            Message::Left { id, reason, .. } => {
                room.leaving.retain(|leaving| *leaving != id);
                let mirror = self.ids.get(&id).copied().filter(|found| self.is_mirror_of(*found, key, from));
                mirror.into_iter().for_each(|mirror| self.end_mirror(mirror, reason, Some(from)));
            }
            Message::Rates { tracks, .. } => self.on_rates(key, from, tracks),
            Message::Viewers { count, .. } => {
                if let Some(shard) = room.shards.iter_mut().find(|shard| shard.link == from) {
                    shard.viewers = count;
                }
                room.viewers_elsewhere =
                    if is_home { room.shards.iter().map(|shard| shard.viewers).sum() } else { count };
            }
            _ => {}
        }
    }

    /// A media packet whose publisher lives on another shard: from here on its way is that of one that came in here.
    fn on_packet(&mut self, from: LinkId, packet: &Packet) {
        let Some(&(room, key)) = self.relays.tracks.get(&packet.track) else { return };
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(key)) else { return };
        let expected = track.upstream.as_ref().is_some_and(|upstream| upstream.link == from);
        if !expected || track.id != packet.track || packet.layer >= track.layers.len() {
            return;
        }
        self.stats.relay_in += 1;
        self.current = Some(track.publisher);
        let format = packet.format.format;
        let new_format = track.format.replace(format) != Some(format);
        let (payload, ext) = packet.own();
        let arrival = packet.arrival(self.now, &payload, &ext);
        let reading = Reading::new(track, &arrival);
        track.changed |= new_format || reading.seen.resized;
        track.announce |= new_format;
        let publisher = self.peers[track.publisher].conn.id;
        let mut incoming = reading.incoming(&arrival, publisher, packet.captured);
        let late_here = self.overload.late && track.kind == MediaKind::Video;
        self.stats.dropped_late += u64::from(late_here);
        let late = late_here || packet.late;
        if late || packet.silenced {
            incoming.descriptor = None;
        }
        self.pass((room, key), &incoming, late);
    }

    /// Packets of a track were left out on their way here.
    fn on_shed(&mut self, from: LinkId, track: TrackId) {
        let Some(&(room, key)) = self.relays.tracks.get(&track) else { return };
        let track = self.rooms.get(room).and_then(|room| room.tracks.get(key));
        if track.and_then(|track| track.upstream.as_ref()).is_some_and(|upstream| upstream.link == from) {
            self.begin_anew(room, key);
        }
    }

    fn on_demand(&mut self, from: LinkId, track: TrackId, demand: relay::Demand) {
        let Some(&(room, key)) = self.relays.tracks.get(&track) else { return };
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(key)) else { return };
        if track.upstream.is_none() {
            relay::set_demand(&mut track.downstream, from, demand);
            self.demand.insert(room);
        }
    }

    /// Tells the shards of the publishers what is wanted of their tracks here, where that changed: more at once, less only
    /// at the regular look.
    pub(super) fn tell_demand(&mut self, room: usize, demand: Demand) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        for (_, track) in room.tracks.iter_mut() {
            let Some(upstream) = &track.upstream else { continue };
            let (link, told) = (upstream.link, upstream.demand);
            let mut wanted = relay::Demand::default();
            for Subscriber { key, slot } in &track.subscribers {
                let Some(slot) = self.peers[*key].member.slots.get(*slot) else { continue };
                let egress = &slot.egress;
                let given = [egress.selector.target(), egress.selector.current()].into_iter().flatten();
                if track.kind == MediaKind::Audio {
                    wanted = relay::Demand { packets: 1, live: 1 };
                }
                for layer in given.clone() {
                    wanted.packets |= relay::bit(layer);
                }
                for layer in given.chain(egress.wanted).flat_map(|layer| track.up_to(layer)) {
                    wanted.live |= relay::bit(layer);
                }
            }
            if demand == Demand::More {
                wanted = wanted.union(told);
            }
            if wanted != told {
                self.relays.send(link, Message::Demand { track: track.id, demand: wanted });
                track.upstream.iter_mut().for_each(|upstream| upstream.demand = wanted);
            }
        }
    }

    /// Says something to the other shards of a room: its home, or, from there, all of them but `except`.
    pub(super) fn tell_shards(&mut self, room: usize, except: Option<LinkId>, message: impl Fn(Arc<str>) -> Message) {
        let Room { home, shards, name, .. } = &self.rooms[room];
        let links = home.iter().copied().chain(shards.iter().map(|shard| shard.link));
        for link in links.filter(|link| Some(*link) != except) {
            self.relays.send(link, message(Arc::clone(name)));
        }
    }

    /// Tells the other shards of those participants of which something has changed.
    pub(super) fn tell_members(&mut self) {
        while let Some(key) = self.relays.changed.pop_first() {
            if self.peers.get(key).is_some_and(|peer| peer.mirror.is_none()) {
                self.pass_on(key);
            }
        }
    }

    /// Tells the other shards of a participant; all but the one where it lives.
    pub(super) fn pass_on(&mut self, key: usize) {
        let peer = &self.peers[key];
        let room = peer.conn.room;
        if !peer.is_shown() || !self.rooms[room].is_shared() {
            return;
        }
        let knows = peer.mirror.map(|mirror| mirror.link);
        let state = self.member_state(key);
        self.tell_shards(room, knows, |room| Message::Member { room, member: Box::new(state.clone()) });
    }

    /// Tells the shards of a room who is heard, if that has changed.
    pub(super) fn tell_floor(&mut self, room: usize) {
        if self.rooms[room].shards.is_empty() {
            return;
        }
        let floor = self.floor(room);
        if !self.rooms[room].told_floor.is_alike(&floor) {
            self.tell_shards(room, None, |room| Message::Floor { room, floor: floor.clone() });
            self.rooms[room].told_floor = floor;
        }
    }

    fn floor(&self, room: usize) -> Floor {
        let Room { tracks, loudest, dominant, .. } = &self.rooms[room];
        let id = |key: &usize| tracks.get(*key).map(|track| track.id);
        Floor { loudest: loudest.iter().filter_map(id).collect(), dominant: dominant.as_ref().and_then(id) }
    }

    pub(super) fn on_floor(&mut self, room: usize, floor: Floor) {
        self.rooms[room].told_floor = floor;
        self.reassign(room);
    }

    /// Has the tracks heard that the home has named, as far as they are known here: its word of a new one's place comes
    /// before that of the track.
    pub(super) fn take_floor(&mut self, room: usize) {
        let key = |id: &TrackId| self.relays.tracks.get(id).filter(|(r, _)| *r == room).map(|(_, track)| *track);
        let floor = &self.rooms[room].told_floor;
        let loudest: Vec<usize> = floor.loudest.iter().filter_map(key).collect();
        let dominant = floor.dominant.as_ref().and_then(key);
        let now = self.now;
        let found = &mut self.rooms[room];
        (found.loudest, found.dominant) = (loudest, dominant);
        found.hold_floor(now);
    }

    fn on_heard(&mut self, room: usize, from: LinkId, tracks: Vec<(TrackId, Vec<Option<i8>>)>) {
        let now = self.now;
        for (id, levels) in tracks {
            let Some(&(_, key)) = self.relays.tracks.get(&id).filter(|(r, _)| *r == room) else { continue };
            let track = self.rooms[room].tracks.get_mut(key);
            let track = track.filter(|track| track.upstream.as_ref().is_some_and(|upstream| upstream.link == from));
            track.into_iter().for_each(|track| track.hear(now, levels.iter().copied().take(relay::MAX_LEVELS)));
        }
    }

    /// With every tick: tells the home what was heard here, or the other shards how many viewers there are.
    pub(super) fn tell_home(&mut self, room: usize) {
        let found = &mut self.rooms[room];
        if let Some(home) = found.home {
            let levels = found.tracks.iter_mut().filter_map(|(_, track)| {
                let levels = track.levels.as_mut().filter(|levels| !levels.is_empty()).map(std::mem::take)?;
                Some((track.id, levels))
            });
            let tracks: Vec<_> = levels.collect();
            if !tracks.is_empty() {
                self.relays.send(home, Message::Heard { room: Arc::clone(&found.name), tracks });
            }
            return;
        }
        if found.shards.is_empty() {
            return;
        }
        let all = self.viewers_here(&self.rooms[room]) + self.rooms[room].viewers_elsewhere;
        let Room { shards, name, .. } = &mut self.rooms[room];
        for shard in shards.iter_mut().filter(|shard| shard.told != all - shard.viewers) {
            shard.told = all - shard.viewers;
            self.relays.send(shard.link, Message::Viewers { room: Arc::clone(name), count: shard.told });
        }
    }

    /// Tells the home how many viewers are here.
    pub(super) fn tell_viewers(&mut self, room: usize) {
        if let Some(home) = self.rooms[room].home {
            let (room, count) = (Arc::clone(&self.rooms[room].name), self.viewers_here(&self.rooms[room]));
            self.relays.send(home, Message::Viewers { room, count });
        }
    }

    /// Tells the other shards what can be had of those of these tracks whose packets come in here.
    pub(super) fn tell_rates(&mut self, room: usize, tracks: &[usize]) {
        if !self.rooms[room].is_shared() || tracks.is_empty() {
            return;
        }
        let own = tracks.iter().filter_map(|track| self.rooms[room].tracks.get(*track));
        let own = own.filter(|track| track.upstream.is_none());
        let rates: Vec<_> = own.map(|track| (track.id, track.rates(self.now))).collect();
        if !rates.is_empty() {
            self.tell_shards(room, None, |room| Message::Rates { room, tracks: rates.clone() });
        }
    }

    pub(super) fn tell_all_rates(&mut self, room: usize) {
        if self.rooms[room].is_shared() {
            let all: Vec<usize> = self.rooms[room].tracks.iter().map(|(key, _)| key).collect();
            self.tell_rates(room, &all);
        }
    }

    /// A room of this home is on another shard too. What that has to know, if it was not before.
    pub(super) fn attach(&mut self, room: usize, link: LinkId) -> Option<Box<Snapshot>> {
        if self.rooms[room].shards.iter().any(|shard| shard.link == link) {
            return None;
        }
        self.tell_floor(room);
        self.rooms[room].told_floor = self.floor(room);
        let viewers = self.viewers_here(&self.rooms[room]) + self.rooms[room].viewers_elsewhere;
        self.rooms[room].shards.push(Attached { link, viewers: 0, told: viewers });
        let shown = self.rooms[room].members.iter().filter(|key| self.peers[**key].is_shown());
        let members = shown.map(|key| self.member_state(*key)).collect();
        Some(Box::new(Snapshot { members, floor: self.floor(room), viewers }))
    }

    /// A shard has nobody of a room any more.
    fn detach(&mut self, room: usize, link: LinkId, reason: CloseReason) {
        let found = &mut self.rooms[room];
        found.shards.retain(|shard| shard.link != link);
        found.viewers_elsewhere = found.shards.iter().map(|shard| shard.viewers).sum();
        let members = found.members.clone();
        for key in members {
            if self.peers.contains(key) && self.lives_on(key, link) {
                self.end_mirror(key, reason, Some(link));
            }
        }
        if self.rooms.contains(room) {
            self.end_if_deserted(room);
        }
    }

    /// Everybody has to leave a room.
    pub(super) fn empty_room(&mut self, room: usize, reason: CloseReason) {
        self.tell_shards(room, self.rooms[room].home, |room| Message::CloseRoom { room, reason });
        self.rooms[room].shards.clear();
        for key in self.rooms[room].members.clone() {
            if self.peers.get(key).is_some_and(|peer| peer.mirror.is_none()) {
                self.close_peer(key, reason);
            }
        }
        if self.rooms.contains(room) {
            self.end_if_deserted(room);
        }
    }

    /// Ends a room that nobody here needs any more. True if it has ended.
    pub(super) fn end_if_deserted(&mut self, room: usize) -> bool {
        let found = &self.rooms[room];
        let waiting = |pending: &Pending| matches!(pending, Pending::Join(join, _) if join.room == found.name);
        let here = found.members.iter().any(|key| self.peers[*key].mirror.is_none());
        let needed = here || !found.shards.is_empty() || self.relays.pending.values().any(waiting);
        if needed {
            return false;
        }
        for key in found.members.clone() {
            self.take_out(key);
        }
        let ended = self.rooms.remove(room);
        self.names.remove(&ended.name);
        self.waiting.retain(|w| w.room != room);
        if let Some(home) = ended.home {
            self.relays.send(home, Message::Detach { room: ended.name });
        }
        if self.rooms.is_empty() {
            self.timers.clear(crate::timers::Timer::Tick);
        }
        true
    }

    /// Another shard is gone, and everything that lived there.
    pub(super) fn on_link_lost(&mut self, link: LinkId) {
        self.relays.lost.insert(link);
        let waiting: Vec<u64> =
            self.relays.pending.iter().filter(|(_, p)| p.home() == link).map(|(request, _)| *request).collect();
        for request in waiting {
            let reply = match self.relays.pending.remove(&request) {
                Some(Pending::Offer(..)) => Reply::Offer(Err(OfferError::Gone)),
                _ => Reply::Join(Err(JoinError::Unavailable)),
            };
            self.events.push_back(Event::Reply { request, reply });
        }
        let rooms: Vec<usize> = self.rooms.iter().map(|(key, _)| key).collect();
        for room in rooms {
            let found = &mut self.rooms[room];
            found.tracks.iter_mut().for_each(|(_, track)| track.downstream.retain(|d| d.link != link));
            if found.home == Some(link) {
                self.empty_room(room, CloseReason::Internal);
            } else if found.shards.iter().any(|shard| shard.link == link) {
                self.detach(room, link, CloseReason::Internal);
            }
        }
    }

    pub(super) fn lives_on(&self, key: usize, link: LinkId) -> bool {
        self.peers[key].mirror.is_some_and(|mirror| mirror.link == link)
    }

    /// True if what this link says of a participant counts: the home speaks of all that live elsewhere, another shard of its own.
    pub(super) fn is_mirror_of(&self, key: usize, room: usize, from: LinkId) -> bool {
        let peer = &self.peers[key];
        let is_home = self.rooms[room].home.is_none();
        peer.conn.room == room && peer.mirror.is_some_and(|mirror| !is_home || mirror.link == from)
    }
}
