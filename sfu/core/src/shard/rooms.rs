//! What follows from who is in a room: which track goes into which slot, which layer, and who is told.

use std::sync::Arc;

use super::{Peer, SECOND, Shard, TICK};
use crate::api::{Assignment, CloseReason, Event, MediaKind, Notice, ParticipantId, ParticipantInfo, Role, Speaker};
use crate::relay::{self, LinkId, Message};
use crate::room::{Room, Seat, fill};
use crate::timers::Timer;
use crate::track::{Subscriber, Track, rate};

/// What publishers are told of the layers wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Only what is wanted in addition.
    More,
    /// What is wanted now, and no more.
    Exact,
}

/// Audio packets of 20 ms in a tick.
const TICK_PACKETS: usize = (TICK.as_millis() / 20) as usize;

impl Shard {
    /// Tells one participant, if it lives here: others are told where they do.
    pub(super) fn tell(&mut self, key: usize, notice: Notice) {
        if self.peers[key].mirror.is_some() {
            return;
        }
        let to = self.peers[key].conn.id;
        self.events.push_back(Event::Notice { to, notice: Arc::new(notice) });
    }

    /// Tells all members of a room that live here; publishers and viewers have no ear for it.
    pub(super) fn broadcast(&mut self, room: usize, except: Option<usize>, notice: Notice) {
        let notice = Arc::new(notice);
        for key in self.rooms[room].members.iter().filter(|key| Some(**key) != except) {
            let Peer { conn, mirror, .. } = &self.peers[*key];
            if conn.role == Role::Member && mirror.is_none() {
                self.events.push_back(Event::Notice { to: conn.id, notice: Arc::clone(&notice) });
            }
        }
    }

    /// Tells the others about a participant that they see.
    pub(super) fn announce(&mut self, key: usize, notice: impl FnOnce(ParticipantInfo) -> Notice) {
        let peer = &self.peers[key];
        if !peer.is_shown() {
            return;
        }
        let room = peer.conn.room;
        let info = peer.member.info(peer.conn.id, peer.conn.role, &self.rooms[room]);
        self.broadcast(room, Some(key), notice(info));
        self.relays.mark(key);
    }

    /// Tells everyone what a track's publisher is now.
    pub(super) fn announce_update(&mut self, room: usize, track: usize) {
        let publisher = self.rooms[room].tracks[track].publisher;
        self.announce(publisher, Notice::ParticipantUpdated);
    }

    /// A participant can receive: what waits for it may flow.
    pub(super) fn on_connected(&mut self, key: usize) {
        self.retarget(key);
        self.await_keyframes(key);
    }

    /// Ends a track.
    pub(super) fn unpublish(&mut self, room: usize, track: usize) {
        let ended = self.rooms[room].tracks.remove(track);
        self.relays.forget(&ended);
        for subscriber in &ended.subscribers {
            let slot = &mut self.peers[subscriber.key].member.slots[subscriber.slot];
            slot.track = None;
            slot.egress.detach();
        }
        let ended_room = &mut self.rooms[room];
        ended_room.loudest.retain(|t| *t != track);
        ended_room.video.retain(|t| *t != track);
        ended_room.dominant = ended_room.dominant.filter(|t| *t != track);
        self.waiting.retain(|w| !(w.room == room && w.track == track));
        let owner = &mut self.peers[ended.publisher];
        owner.member.published.retain(|(_, t)| *t != track);
        let publisher = owner.conn.id;
        if owner.member.published.is_empty() {
            owner.member.granted = false;
        }
        self.relays.mark(ended.publisher);
        self.broadcast(room, Some(ended.publisher), Notice::TrackUnpublished(publisher, ended.id));
        // A slot that showed it is told to be empty, or gets another track, by `reassign`.
        let told = ended.subscribers.into_iter().map(|s| s.key);
        let emptied: std::collections::BTreeSet<usize> = told.collect();
        for key in emptied {
            self.tell_empty_slots(key);
        }
    }

    fn tell_empty_slots(&mut self, key: usize) {
        let slots = &self.peers[key].member.slots;
        let empty: Vec<Assignment> = slots
            .iter()
            .filter(|s| s.active && s.track.is_none())
            .map(|s| Assignment { mid: s.mid.to_string(), kind: s.kind, participant: None, track: None })
            .collect();
        self.tell(key, Notice::Slots(empty));
    }

    /// Chooses again what every slot of a room shows.
    pub(super) fn reassign(&mut self, room: usize) {
        if self.rooms[room].home.is_none() {
            self.rooms[room].choose_loudest(self.now, self.config.loudest);
            self.tell_floor(room);
        } else {
            self.take_floor(room);
        }
        self.rooms[room].order_video();
        for key in self.rooms[room].members.clone() {
            if !self.peers[key].member.slots.is_empty() {
                self.reassign_member(key);
            }
        }
        self.demand.insert(room);
    }

    /// Chooses again what the slots of one participant show, and tells it what changed.
    pub(super) fn reassign_member(&mut self, key: usize) {
        let audio = self.choose(key, MediaKind::Audio);
        let video = self.choose(key, MediaKind::Video);
        let room = self.peers[key].conn.room;
        let mut changes = Vec::new();
        for (slot, track) in audio.into_iter().chain(video) {
            if self.peers[key].member.slots[slot].track != track {
                self.assign(key, slot, track);
                changes.push(self.assignment(key, slot, room));
            }
        }
        if !changes.is_empty() {
            self.tell(key, Notice::Slots(changes));
            self.retarget(key);
        }
    }

    /// Which track each slot of one kind shall show: pairs of slot and track.
    fn choose(&self, key: usize, kind: MediaKind) -> Vec<(usize, Option<usize>)> {
        let peer = &self.peers[key];
        let room = &self.rooms[peer.conn.room];
        let slots: Vec<usize> = (0..peer.member.slots.len()).filter(|i| peer.member.slots[*i].kind == kind).collect();
        // Pinned tracks may be among the desired ones, so that many more are looked at.
        let most = if kind == MediaKind::Audio { self.config.loudest } else { slots.len() * 2 };
        let desired = match peer.conn.role {
            Role::Publisher => return Vec::new(),
            Role::Member => room.for_member(key, kind, most),
            Role::Viewer => {
                let named = peer.member.watch.participant.and_then(|id| self.ids.get(&id).copied());
                let source = named.or_else(|| self.of_identity(room, &peer.member.watched_identity));
                room.for_viewer(peer.member.watch, source, kind)
            }
        };
        let seats: Vec<Seat<usize>> = slots
            .iter()
            .map(|index| {
                let slot = &peer.member.slots[*index];
                let pinned = slot.pinned.and_then(|id| room.track_by_id(id));
                // A slot can only show what is of its kind, and nobody sees himself.
                let pinned = pinned.filter(|t| room.tracks[*t].kind == kind && room.tracks[*t].publisher != key);
                Seat { now: slot.track, pinned: pinned.filter(|_| slot.active), open: slot.active && peer.member.auto }
            })
            .collect();
        slots.into_iter().zip(fill(&seats, &desired)).collect()
    }

    /// The one of this identity who publishes in a room.
    fn of_identity(&self, room: &Room, identity: &str) -> Option<usize> {
        let same = |key: &usize| {
            let member = &self.peers[*key].member;
            member.identity == identity && !member.published.is_empty()
        };
        (!identity.is_empty()).then(|| room.members.iter().copied().find(same)).flatten()
    }

    fn assign(&mut self, key: usize, slot: usize, track: Option<usize>) {
        let room = self.peers[key].conn.room;
        let subscriber = Subscriber { key, slot };
        let target = &mut self.peers[key].member.slots[slot];
        if let Some(old) = std::mem::replace(&mut target.track, track)
            && let Some(old) = self.rooms[room].tracks.get_mut(old)
        {
            old.subscribers.retain(|s| *s != subscriber);
        }
        target.egress.detach();
        if let Some(new) = track {
            self.rooms[room].tracks[new].subscribers.push(subscriber);
        }
    }

    fn assignment(&self, key: usize, slot: usize, room: usize) -> Assignment {
        let slot = &self.peers[key].member.slots[slot];
        let track = slot.track.map(|t| &self.rooms[room].tracks[t]);
        Assignment {
            mid: slot.mid.to_string(),
            kind: slot.kind,
            participant: track.map(|t| self.peers[t.publisher].conn.id),
            track: track.map(|t| t.id),
        }
    }

    /// All slots of a participant as they are, for one who comes back.
    pub(super) fn tell_all_slots(&mut self, key: usize) {
        let room = self.peers[key].conn.room;
        let active = (0..self.peers[key].member.slots.len()).filter(|i| self.peers[key].member.slots[*i].active);
        let all: Vec<Assignment> = active.map(|slot| self.assignment(key, slot, room)).collect();
        self.tell(key, Notice::Slots(all));
    }

    /// Tells publishers which of their layers anybody wants, where that changed: more at once, less only at the regular
    /// look, so that a view that changes its mind costs no restart of an encoder.
    pub(super) fn tell_layers(&mut self, room: usize, demand: Demand) {
        let mut told = Vec::new();
        let Some(room) = self.rooms.get_mut(room) else { return };
        let told_here = |t: &Track| t.layers.len() > 1 && t.upstream.is_none();
        for (_, track) in room.tracks.iter_mut().filter(|(_, t)| told_here(t)) {
            let egresses = track
                .subscribers
                .iter()
                .filter_map(|s: &Subscriber| self.peers[s.key].member.slots.get(s.slot).map(|slot| &slot.egress));
            // What is still forwarded must flow until the switch; what would be wanted with more bandwidth must be there
            // to be measured, and so must all below it, to come down to.
            let best = egresses.flat_map(|e| [e.selector.target(), e.selector.current(), e.wanted]).flatten();
            let here = best.flat_map(|layer| track.up_to(layer)).fold(0, |all, layer| all | relay::bit(layer));
            let wanted = track.downstream.iter().fold(here, |all, downstream| all | downstream.demand.live);
            let before = |name: &String| track.told_active.as_ref().is_none_or(|on| on.contains(name));
            let active: Vec<String> = (0..track.layers.len())
                .map(|index| (index, track.layer_name(index)))
                .filter(|(index, name)| wanted & relay::bit(*index) != 0 || (demand == Demand::More && before(name)))
                .map(|(_, name)| name)
                .collect();
            let all_as_ever = track.told_active.is_none() && active.len() == track.layers.len();
            if track.told_active.as_ref() != Some(&active) && !all_as_ever {
                track.tell_active(self.now, active.clone());
                told.push((track.publisher, Notice::Layers { mid: track.mid.to_string(), active }));
            }
        }
        for (publisher, notice) in told {
            if self.peers[publisher].conn.role == Role::Member {
                self.tell(publisher, notice);
            }
        }
    }

    /// Which of its layers are wanted, for a publisher that comes back: it may have missed the last word.
    pub(super) fn tell_all_layers(&mut self, key: usize) {
        let room = &self.rooms[self.peers[key].conn.room];
        let tracks = self.peers[key].member.tracks(room);
        let told = tracks.filter_map(|track| {
            let active = track.told_active.clone()?;
            Some(Notice::Layers { mid: track.mid.to_string(), active })
        });
        let told: Vec<Notice> = told.collect();
        told.into_iter().for_each(|notice| self.tell(key, notice));
    }

    /// What follows from tracks whose codec, size or set of live layers has changed: their receivers' layers, and word to the members.
    fn tell_changed_tracks(&mut self, room: usize) {
        let now = self.now;
        let tracks = self.rooms[room].tracks.iter_mut();
        let changed: Vec<usize> = tracks
            .filter_map(|(key, track)| {
                let layers = track.layers.len() > 1 && track.upstream.is_none() && track.look_at_layers(now);
                (track.changed || layers).then_some(key)
            })
            .collect();
        self.tell_rates(room, &changed);
        for track in changed {
            let found = &mut self.rooms[room].tracks[track];
            found.changed = false;
            let announce = std::mem::take(&mut found.announce);
            for subscriber in found.subscribers.clone() {
                self.retarget(subscriber.key);
            }
            if announce {
                self.announce_update(room, track);
            }
        }
    }

    /// The regular look at every room: speakers often, rates and layers once a second.
    pub(super) fn tick(&mut self) {
        if self.rooms.is_empty() {
            return;
        }
        self.timers.set(Timer::Tick, self.now + TICK);
        let elapsed = self.now.saturating_duration_since(self.last_second);
        let second = elapsed >= SECOND;
        if second {
            self.last_second = self.now;
        }
        let rooms: Vec<usize> = self.rooms.iter().map(|(key, _)| key).collect();
        for room in rooms {
            self.tell_changed_tracks(room);
            if self.rooms[room].home.is_none() {
                self.decide_floor(room);
            } else {
                self.rooms[room].hold_floor(self.now);
            }
            self.tell_home(room);
            if second {
                self.measure(room, elapsed);
            }
        }
    }

    /// Decides anew who is heard and shown.
    fn decide_floor(&mut self, room: usize) {
        self.tell_speakers(room);
        let floor = self.rooms[room].floor();
        self.rooms[room].choose_dominant(self.now, TICK_PACKETS);
        let new_floor = self.rooms[room].floor() != floor;
        if self.rooms[room].choose_loudest(self.now, self.config.loudest) || new_floor {
            self.reassign(room);
        }
        self.tell_floor(room);
    }

    fn measure(&mut self, room: usize, elapsed: std::time::Duration) {
        for (_, track) in self.rooms[room].tracks.iter_mut().filter(|(_, track)| track.upstream.is_none()) {
            track.layers.iter_mut().for_each(|layer| layer.tick(elapsed));
        }
        for key in self.rooms[room].members.clone() {
            if self.peers[key].mirror.is_some() {
                continue;
            }
            for slot in &mut self.peers[key].member.slots {
                slot.egress.bitrate = rate(&mut slot.egress.bytes, elapsed);
            }
            self.retarget(key);
        }
        self.examine(room);
        self.tell_layers(room, Demand::Exact);
        self.tell_demand(room, Demand::Exact);
        self.tell_all_rates(room);
    }

    fn tell_speakers(&mut self, room: usize) {
        let now = self.now;
        let tracks = self.rooms[room].tracks.iter().map(|(_, t)| t);
        let audible = tracks.filter(|t| t.kind == MediaKind::Audio && !t.muted && t.loudness.is_speaking(now));
        let mut speakers: Vec<Speaker> = audible
            .map(|t| Speaker {
                participant: self.peers[t.publisher].conn.id,
                level: t.loudness.level(now).clamp(-127.0, 0.0) as i8,
            })
            .collect();
        speakers.sort_by_key(|s| (std::cmp::Reverse(s.level), s.participant));
        let mut who: Vec<ParticipantId> = speakers.iter().map(|s| s.participant).collect();
        who.sort_unstable();
        if self.rooms[room].speaking != who {
            self.rooms[room].speaking = who;
            self.tell_shards(room, None, |room| Message::Speakers { room, speakers: speakers.clone() });
            self.broadcast(room, None, Notice::Speakers(speakers));
        }
    }

    /// Ends a participant's stay: says goodbye on the wire, ends its tracks, tells it and the others.
    pub(super) fn close_peer(&mut self, key: usize, reason: CloseReason) {
        let Some(peer) = self.peers.get(key) else { return };
        if let Some(mirror) = peer.mirror {
            let (id, room) = (peer.conn.id, &mut self.rooms[peer.conn.room]);
            if room.home.is_some() {
                room.leaving.push(id);
            }
            self.relays.send(mirror.link, Message::Close { id, reason });
            self.end_mirror(key, reason, None);
            return;
        }
        *self.stats.closed.entry(reason_name(reason)).or_default() += 1;
        self.stats.panics += u64::from(self.peers[key].conn.broken);
        self.tell(key, Notice::Closed(reason));
        for slot in 0..self.peers[key].member.slots.len() {
            self.assign(key, slot, None);
        }
        self.timers.clear(Timer::Stack(key));
        self.timers.clear(Timer::Connect(key));
        let (mut gone, published) = self.take_out(key);
        self.demux.remove_ufrag(gone.conn.ufrag());
        for address in self.demux.remove(key) {
            self.events.push_back(Event::AddressReleased(address));
        }
        self.streams.remove(key);
        if !gone.conn.broken {
            gone.conn.close();
            gone.conn.drain(self.now, &mut Vec::new(), &mut self.transmits);
        }
        self.after_leaving((&gone, published), reason, None);
    }

    /// Takes a participant and its tracks out of its room. Returns it, and whether there were any.
    pub(super) fn take_out(&mut self, key: usize) -> (Peer, bool) {
        let room = self.peers[key].conn.room;
        self.rooms[room].members.retain(|k| *k != key);
        let tracks: Vec<usize> = self.peers[key].member.published.iter().map(|(_, track)| *track).collect();
        let published = !tracks.is_empty();
        tracks.into_iter().for_each(|track| self.unpublish(room, track));
        let gone = self.peers.remove(key);
        self.ids.remove(&gone.conn.id);
        (gone, published)
    }

    /// Tells whom it concerns, but for the shard that told this one, and ends the room if nobody is left.
    pub(super) fn after_leaving(
        &mut self,
        (gone, published): (&Peer, bool),
        reason: CloseReason,
        told_by: Option<LinkId>,
    ) {
        let (id, room) = (gone.conn.id, gone.conn.room);
        if gone.conn.role == Role::Viewer {
            self.tell_viewers(room);
        } else {
            let knows = told_by.or(gone.mirror.map(|mirror| mirror.link));
            self.tell_shards(room, knows, |room| Message::Left { room, id, reason });
        }
        if self.end_if_deserted(room) {
            return;
        }
        if gone.is_shown() {
            self.broadcast(room, None, Notice::ParticipantLeft(id, reason));
        }
        if published {
            self.reassign(room);
        } else {
            self.demand.insert(room);
        }
    }
}

/// The reason's name in metrics; the same as on the wire.
fn reason_name(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Left => "left",
        CloseReason::Removed => "removed",
        CloseReason::RoomClosed => "room-closed",
        CloseReason::ServerShutdown => "server-shutdown",
        CloseReason::Replaced => "replaced",
        CloseReason::Timeout => "timeout",
        CloseReason::PeerClosed => "peer-closed",
        CloseReason::DtlsFailed => "dtls-failed",
        CloseReason::SlowReader => "slow-reader",
        CloseReason::Internal => "internal",
    }
}
