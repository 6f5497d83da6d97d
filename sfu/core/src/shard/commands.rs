//! Commands of signaling: entering, negotiating, choosing, leaving.

use std::sync::Arc;

use rand::Rng;
use str0m::media::{Mid, Rid};

use super::{CONNECT_TIMEOUT, Shard, TICK};
use crate::api::{
    Answer, CloseReason, Command, Event, MediaKind, Notice, Offer, OfferError, OfferedTrack, ParticipantId,
    PublishedTrack, Reply, Role, Source, TrackId, View,
};
use crate::egress::Egress;
use crate::participant::Accepted;
use crate::relay::TrackState;
use crate::room::{Room, Slot};
use crate::sdp::{self, MediaLine};
use crate::sdp_form;
use crate::timers::Timer;
use crate::track::Track;

/// Who muted a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Publisher,
    Administrator,
}

impl Shard {
    pub(super) fn on_command(&mut self, request: u64, command: Command) {
        self.current = self.subject(&command);
        let reply = match command {
            Command::Join(join) => Some(Reply::Join(self.join(*join))),
            Command::JoinFrom(join, home) => self.ask_to_join(request, join, home),
            Command::Offer(id, offer) => {
                self.ask_to_publish(request, id, offer).map(|offer| Reply::Offer(self.offer(id, &offer)))
            }
            Command::View(id, view) => self.with_key(id, |shard, key| shard.view(key, view)),
            Command::Mute(id, track, muted) => {
                let done = self.ids.get(&id).copied().is_some_and(|key| self.mute(key, track, muted, By::Publisher));
                Some(Reply::Done(done))
            }
            Command::Metadata(id, metadata) => self.with_key(id, |shard, key| shard.set_metadata(key, metadata)),
            Command::Leave(id, reason) => {
                let key = self.ids.get(&id).copied();
                if let Some(key) = key {
                    self.close_peer(key, reason);
                }
                Some(Reply::Done(key.is_some()))
            }
            Command::Remove(room, id) => {
                let key = self.key_in(&room, id);
                key.into_iter().for_each(|key| self.close_peer(key, CloseReason::Removed));
                Some(Reply::Done(key.is_some()))
            }
            Command::MuteFor(room, id, track, muted) => {
                let done = self.key_in(&room, id).is_some_and(|key| self.mute_for(key, track, muted));
                Some(Reply::Done(done))
            }
            Command::CloseRoom(name, reason) => Some(Reply::Done(self.close_room(&name, reason))),
            Command::Rooms(name) => Some(Reply::Rooms(self.describe_rooms_with_paths(name.as_deref()))),
            Command::Resume(id) => Some(Reply::Rooms(self.resume(id))),
            Command::Subscriptions(room, id) => {
                let key = self.key_in(&room, id).filter(|key| self.peers[*key].mirror.is_none());
                Some(Reply::Subscriptions(key.map(|key| self.describe_subscriptions(key))))
            }
            Command::Watched(id) => Some(Reply::Watched(self.describe_watched(id))),
            Command::Choose(id, media, choice) => Some(Reply::Choose(self.choose_layer(id, media.as_deref(), choice))),
            Command::Stats => Some(Reply::Stats(Box::new(self.current_stats()))),
            Command::Shutdown => {
                let here = self.peers.iter().filter(|(_, peer)| peer.mirror.is_none());
                let keys: Vec<usize> = here.map(|(key, _)| key).collect();
                keys.iter().for_each(|key| self.close_peer(*key, CloseReason::ServerShutdown));
                Some(Reply::Done(!keys.is_empty()))
            }
        };
        if let Some(reply) = reply {
            self.events.push_back(Event::Reply { request, reply });
        }
    }

    /// Whom a command is about.
    fn subject(&self, command: &Command) -> Option<usize> {
        let id = match command {
            Command::Offer(id, _) | Command::View(id, _) | Command::Mute(id, ..) | Command::Metadata(id, _) => id,
            _ => return None,
        };
        self.ids.get(id).copied()
    }

    /// The key of a participant, if it is in the room named.
    pub(super) fn key_in(&self, room: &str, id: ParticipantId) -> Option<usize> {
        let (room, key) = (self.names.get(room)?, self.ids.get(&id)?);
        (self.peers[*key].conn.room == *room).then_some(*key)
    }

    fn with_key(&mut self, id: ParticipantId, act: impl FnOnce(&mut Self, usize)) -> Option<Reply> {
        if let Some(key) = self.ids.get(&id).copied() {
            act(self, key);
        }
        None
    }

    pub(super) fn open_room(&mut self, name: Arc<str>) -> usize {
        let key = self.rooms.insert(Room::new(Arc::clone(&name)));
        self.names.insert(name, key);
        if !self.timers.is_set(Timer::Tick) {
            self.last_second = self.now;
            self.timers.set(Timer::Tick, self.now + TICK);
        }
        key
    }

    pub(super) fn offer(&mut self, id: ParticipantId, offer: &Offer) -> Result<Answer, OfferError> {
        let key = self.ids.get(&id).copied().ok_or(OfferError::Gone)?;
        let now = self.now;
        let peer = &mut self.peers[key];
        let lines = sdp::lines_of(&offer.sdp, peer.conn.role)?;
        let read = sdp::read_offer(&lines, peer.conn.role)?;
        sdp_form::check(&lines)?;
        if !peer.member.can_publish && read.lines.iter().any(|l| l.direction.sends()) {
            return Err(OfferError::Forbidden("the token does not allow publishing".into()));
        }
        if !peer.member.can_subscribe && read.lines.iter().any(|l| l.direction.receives()) {
            return Err(OfferError::Forbidden("the token does not allow receiving".into()));
        }
        let decides = self.rooms[peer.conn.room].home.is_none();
        if decides && peer.conn.role == Role::Member && read.lines.iter().any(|l| l.direction.sends()) {
            let (room, limit) = (peer.conn.room, peer.member.max_publishers);
            if self.count_publishers(room, |other| other == key) >= limit {
                return Err(OfferError::Taken(format!("at most {limit} may in this room")));
            }
        }
        let peer = &mut self.peers[key];
        let old = peer.conn.ufrag().to_owned();
        let accepted = peer.conn.accept_offer(now, read, &self.peer_config, &mut self.rng)?;
        if accepted.ufrag != old {
            self.demux.remove_ufrag(&old);
            self.demux.add_ufrag(accepted.ufrag.clone(), key);
            self.timers.set(Timer::Connect(key), now + CONNECT_TIMEOUT);
        }
        if old.is_empty() && self.peers[key].conn.role == Role::Publisher {
            let (room, identity) = (self.peers[key].conn.room, self.peers[key].member.identity.clone());
            self.replace_identity(room, Role::Publisher, &identity, Some(key));
            self.announce(key, Notice::ParticipantJoined);
        }
        let before = self.peers[key].member.published.clone();
        let tracks = self.publish_lines(key, &accepted, &offer.tracks);
        self.make_slots(key, &accepted.lines);
        self.touch(key);
        let room = self.peers[key].conn.room;
        if self.peers[key].member.published == before {
            self.reassign_member(key);
            self.demand.insert(room);
        } else {
            self.reassign(room);
        }
        Ok(Answer { sdp: accepted.sdp, ice_ufrag: accepted.ufrag, tracks })
    }

    /// Publishes the tracks of sending lines, and ends those of lines that send no more.
    fn publish_lines(&mut self, key: usize, accepted: &Accepted, named: &[OfferedTrack]) -> Vec<PublishedTrack> {
        let room = self.peers[key].conn.room;
        let mut published = Vec::new();
        for line in &accepted.lines {
            let mid = Mid::from(line.mid.as_str());
            let known = self.peers[key].member.track_on(mid);
            match (line.direction.sends(), known) {
                (false, Some(track)) => self.unpublish(room, track),
                (false, None) => {}
                (true, Some(track)) => {
                    published.push(PublishedTrack { mid: line.mid.clone(), id: self.rooms[room].tracks[track].id });
                }
                (true, None) => {
                    let offered = named.iter().find(|t| t.mid == line.mid);
                    published.push(PublishedTrack { mid: line.mid.clone(), id: self.publish(key, mid, line, offered) });
                }
            }
        }
        published
    }

    fn publish(&mut self, key: usize, mid: Mid, line: &MediaLine, offered: Option<&OfferedTrack>) -> TrackId {
        let usual = match line.kind {
            MediaKind::Audio => Source::Microphone,
            MediaKind::Video => Source::Camera,
        };
        let rids: Vec<Option<Rid>> = if line.rids.is_empty() {
            vec![None]
        } else {
            line.rids.iter().map(|rid| Some(Rid::from(rid.as_str()))).collect()
        };
        let id = TrackId(self.rng.random());
        self.tracks_published += 1;
        let state = TrackState {
            source: offered.map_or(usual, |t| t.source),
            label: offered.map(|t| t.label.clone()).unwrap_or_default(),
            muted: offered.is_some_and(|t| t.muted),
            order: (Some(self.now), self.tracks_published),
            ..TrackState::new(id, mid, line.kind, rids)
        };
        let mut track = Track::new(key, self.tracks_published, state);
        let (room, publisher) = (self.peers[key].conn.room, self.peers[key].conn.id);
        track.levels = self.rooms[room].home.map(|_| Vec::new());
        let info = track.info();
        let track = self.rooms[room].tracks.insert(track);
        self.relays.tracks.insert(id, (room, track));
        self.peers[key].member.published.push((mid, track));
        self.broadcast(room, Some(key), Notice::TrackPublished(publisher, info));
        self.relays.mark(key);
        id
    }

    fn make_slots(&mut self, key: usize, lines: &[MediaLine]) {
        let peer = &mut self.peers[key];
        for line in lines {
            let mid = Mid::from(line.mid.as_str());
            let known = peer.member.slots.iter().position(|s| s.mid == mid);
            if !line.direction.receives() {
                if let Some(index) = known {
                    peer.member.slots[index].active = false;
                }
                continue;
            }
            let formats = peer.conn.send_formats(mid);
            match known {
                Some(index) => {
                    let slot = &mut peer.member.slots[index];
                    (slot.active, slot.formats) = (true, formats);
                }
                None => peer.member.slots.push(Slot {
                    mid,
                    kind: line.kind,
                    active: true,
                    formats,
                    track: None,
                    pinned: None,
                    height: None,
                    hidden: false,
                    priority: 0,
                    choice: Default::default(),
                    choices: 0,
                    egress: Egress::new(line.kind, &mut self.rng),
                }),
            }
        }
    }

    fn view(&mut self, key: usize, view: View) {
        let member = &mut self.peers[key].member;
        member.auto = view.auto;
        for wanted in view.slots {
            let mid = Mid::from(wanted.mid.as_str());
            let Some(slot) = member.slots.iter_mut().find(|s| s.mid == mid) else {
                continue;
            };
            slot.pinned = wanted.track;
            slot.hidden = wanted.width == 0 && wanted.height == 0;
            slot.height = (wanted.height > 0).then_some(wanted.height);
            slot.priority = wanted.priority;
        }
        self.reassign_member(key);
        self.retarget(key);
    }

    /// Mutes a track of this participant, or has it heard again; false if it has no such track. What an administrator muted
    /// is not passed on, whatever its publisher says, until an administrator has it heard again.
    pub(super) fn mute(&mut self, key: usize, id: TrackId, muted: bool, by: By) -> bool {
        let room = self.peers[key].conn.room;
        let Some(track_key) = self.rooms[room].track_by_id(id) else {
            return false;
        };
        let publisher = self.peers[key].conn.id;
        let track = &mut self.rooms[room].tracks[track_key];
        if track.publisher != key {
            return false;
        }
        if by == By::Publisher && track.silenced {
            if !muted {
                self.tell(key, Notice::TrackMuted(publisher, id, true));
            }
            return true;
        }
        let was_silenced = std::mem::replace(&mut track.silenced, muted && by == By::Administrator);
        if track.muted != muted {
            track.muted = muted;
            self.broadcast(room, None, Notice::TrackMuted(publisher, id, muted));
            self.reassign(room);
        }
        self.relays.mark(key);
        if was_silenced && !muted {
            self.begin_anew(room, track_key);
        }
        true
    }

    /// Receivers lack what the pictures to come refer to: they wait for a keyframe.
    pub(super) fn begin_anew(&mut self, room: usize, track: usize) {
        let track = &self.rooms[room].tracks[track];
        if track.kind != MediaKind::Video {
            return;
        }
        let receivers: Vec<(usize, usize)> = track.subscribers.iter().map(|s| (s.key, s.slot)).collect();
        for (key, slot) in receivers {
            self.peers[key].member.slots[slot].egress.selector.abandon(self.now);
            self.await_keyframes(key);
        }
    }

    fn set_metadata(&mut self, key: usize, metadata: String) {
        self.peers[key].member.metadata = metadata;
        self.announce(key, Notice::ParticipantUpdated);
    }

    /// Tells a participant all its slots again; returns its room, empty if it is gone.
    fn resume(&mut self, id: ParticipantId) -> Vec<crate::api::RoomInfo> {
        let Some(key) = self.ids.get(&id).copied() else {
            return Vec::new();
        };
        self.tell_all_slots(key);
        self.tell_all_layers(key);
        let name = Arc::clone(&self.rooms[self.peers[key].conn.room].name);
        self.describe_rooms(Some(&name))
    }

    fn close_room(&mut self, name: &str, reason: CloseReason) -> bool {
        let Some(room) = self.names.get(name).copied() else {
            return false;
        };
        self.empty_room(room, reason);
        true
    }
}
