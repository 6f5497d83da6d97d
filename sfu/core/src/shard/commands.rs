//! Commands of signaling: entering, negotiating, choosing, leaving.

use std::sync::Arc;

use rand::Rng;
use str0m::media::{Mid, Rid};

use super::{CONNECT_TIMEOUT, Peer, Shard, TICK};
use crate::allocator::Allocator;
use crate::api::{
    Answer, CloseReason, Command, Event, Join, JoinError, Joined, MediaKind, Notice, Offer, OfferError, OfferedTrack,
    ParticipantId, PublishedTrack, Reply, Role, Source, TrackId, View,
};
use crate::egress::Egress;
use crate::lipsync::PublisherClock;
use crate::participant::{Accepted, Participant};
use crate::room::{Member, Room, Slot};
use crate::sdp::{self, MediaLine};
use crate::sdp_form;
use crate::timers::Timer;
use crate::track::{Layer, Track};

/// Who muted a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Publisher,
    Administrator,
}

impl Shard {
    pub(super) fn on_command(&mut self, request: u64, command: Command) {
        self.current = self.subject(&command);
        let reply = match command {
            Command::Join(join) => Some(Reply::Join(self.join(*join))),
            Command::Offer(id, offer) => Some(Reply::Offer(self.offer(id, &offer))),
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
                let done = self.key_in(&room, id).is_some_and(|key| self.mute(key, track, muted, By::Administrator));
                Some(Reply::Done(done))
            }
            Command::CloseRoom(name, reason) => Some(Reply::Done(self.close_room(&name, reason))),
            Command::Rooms(name) => Some(Reply::Rooms(self.describe_rooms_with_paths(name.as_deref()))),
            Command::Resume(id) => Some(Reply::Rooms(self.resume(id))),
            Command::Subscriptions(room, id) => {
                let key = self.key_in(&room, id);
                Some(Reply::Subscriptions(key.map(|key| self.describe_subscriptions(key))))
            }
            Command::Watched(id) => Some(Reply::Watched(self.describe_watched(id))),
            Command::Choose(id, media, choice) => Some(Reply::Choose(self.choose_layer(id, media.as_deref(), choice))),
            Command::Stats => Some(Reply::Stats(Box::new(self.current_stats()))),
            Command::Shutdown => {
                let keys: Vec<usize> = self.peers.iter().map(|(key, _)| key).collect();
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
    fn key_in(&self, room: &str, id: ParticipantId) -> Option<usize> {
        let (room, key) = (self.names.get(room)?, self.ids.get(&id)?);
        (self.peers[*key].conn.room == *room).then_some(*key)
    }

    fn with_key(&mut self, id: ParticipantId, act: impl FnOnce(&mut Self, usize)) -> Option<Reply> {
        if let Some(key) = self.ids.get(&id).copied() {
            act(self, key);
        }
        None
    }

    fn join(&mut self, join: Join) -> Result<Joined, JoinError> {
        let existing = self.names.get(&join.room).copied();
        if existing.is_none() && !join.create {
            return Err(JoinError::UnknownRoom);
        }
        if let Some(room) = existing {
            self.check_source(room, &join)?;
            if join.role == Role::Member {
                self.replace_identity(room, join.role, &join.identity, None);
            }
        }
        // Replacing the last member may have ended the room.
        let existing = self.names.get(&join.room).copied();
        let present = existing.map_or(0, |room| self.count_others(room, &join));
        if join.role != Role::Viewer && present >= join.max_participants {
            return Err(JoinError::RoomFull { limit: join.max_participants });
        }
        if join.role == Role::Publisher {
            let publishing = existing
                .map_or(0, |room| self.count_publishers(room, |key| self.is_same(key, join.role, &join.identity)));
            if publishing >= join.max_publishers {
                return Err(JoinError::PublishersFull { limit: join.max_publishers });
            }
        }
        let watched = join.watch.participant.and_then(|id| self.ids.get(&id));
        let watched_identity = watched.map(|key| self.peers[*key].member.identity.clone()).unwrap_or_default();
        let room = existing.unwrap_or_else(|| self.open_room(Arc::clone(&join.room)));
        let joined = Joined { participants: self.describe_members(room, None) };
        let key = self.peers.insert(Peer {
            conn: Participant::new(join.participant, room, join.role),
            member: Member {
                name: join.name,
                identity: join.identity,
                metadata: join.metadata,
                watch: join.watch,
                watched_identity,
                max_publishers: join.max_publishers,
                can_publish: join.can_publish,
                can_subscribe: join.can_subscribe,
                auto: true,
                slots: Vec::new(),
                doctor: Default::default(),
                published: Vec::new(),
            },
            clock: PublisherClock::default(),
            allocator: Allocator::default(),
            connected_at: None,
            used: 0,
            near_limit: false,
            last_packet: None,
        });
        self.ids.insert(join.participant, key);
        self.rooms[room].members.push(key);
        if join.role != Role::Member {
            // WHIP and WHEP have no other sign of life than their connection.
            self.timers.set(Timer::Connect(key), self.now + CONNECT_TIMEOUT);
        }
        self.announce(key, Notice::ParticipantJoined);
        Ok(joined)
    }

    /// A viewer may only watch what is there.
    fn check_source(&self, room: usize, join: &Join) -> Result<(), JoinError> {
        if join.role != Role::Viewer {
            return Ok(());
        }
        let room = &self.rooms[room];
        let in_room = |id: ParticipantId| self.ids.get(&id).is_some_and(|key| room.members.contains(key));
        let named = join.watch.participant.is_none_or(in_room)
            && join.watch.track.is_none_or(|track| room.track_by_id(track).is_some());
        if !named {
            return Err(JoinError::UnknownSource);
        }
        let waits = join.create || !room.tracks.is_empty();
        if waits { Ok(()) } else { Err(JoinError::NothingPublished) }
    }

    /// Ends the stay of another participant of this role and identity, if there is one.
    fn replace_identity(&mut self, room: usize, role: Role, identity: &str, new: Option<usize>) {
        if identity.is_empty() {
            return;
        }
        let same = |key: &&usize| self.is_same(**key, role, identity) && Some(**key) != new;
        if let Some(old) = self.rooms[room].members.iter().find(same).copied() {
            self.close_peer(old, CloseReason::Replaced);
        }
    }

    fn is_same(&self, key: usize, role: Role, identity: &str) -> bool {
        let peer = &self.peers[key];
        peer.conn.role == role && !identity.is_empty() && peer.member.identity == identity
    }

    /// Members and publishers of a room, without the one that this join will replace.
    fn count_others(&self, room: usize, join: &Join) -> usize {
        let members = self.rooms[room].members.iter().filter(|key| self.peers[**key].conn.role != Role::Viewer);
        members.filter(|key| !self.is_same(**key, join.role, &join.identity)).count()
    }

    /// How many publish in a room, or are about to, over WHIP; those that `except` names are left out.
    fn count_publishers(&self, room: usize, except: impl Fn(usize) -> bool) -> usize {
        let publishes = |key: usize| {
            let peer = &self.peers[key];
            peer.conn.role == Role::Publisher || !peer.member.published.is_empty()
        };
        self.rooms[room].members.iter().filter(|key| publishes(**key) && !except(**key)).count()
    }

    fn open_room(&mut self, name: Arc<str>) -> usize {
        let key = self.rooms.insert(Room::new(Arc::clone(&name)));
        self.names.insert(name, key);
        if !self.timers.is_set(Timer::Tick) {
            self.last_second = self.now;
            self.timers.set(Timer::Tick, self.now + TICK);
        }
        key
    }

    fn offer(&mut self, id: ParticipantId, offer: &Offer) -> Result<Answer, OfferError> {
        let key = self.ids.get(&id).copied().ok_or(OfferError::Gone)?;
        let now = self.now;
        let peer = &mut self.peers[key];
        let read = sdp::read_offer(&offer.sdp, peer.conn.role)?;
        sdp_form::check(&offer.sdp)?;
        if !peer.member.can_publish && read.lines.iter().any(|l| l.direction.sends()) {
            return Err(OfferError::Forbidden("the token does not allow publishing".into()));
        }
        if !peer.member.can_subscribe && read.lines.iter().any(|l| l.direction.receives()) {
            return Err(OfferError::Forbidden("the token does not allow receiving".into()));
        }
        if peer.conn.role == Role::Member && read.lines.iter().any(|l| l.direction.sends()) {
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
        let track = Track {
            id,
            publisher: key,
            mid,
            kind: line.kind,
            source: offered.map_or(usual, |t| t.source),
            label: offered.map(|t| t.label.clone()).unwrap_or_default(),
            muted: offered.is_some_and(|t| t.muted),
            silenced: false,
            format: None,
            layers: rids.into_iter().map(Layer::new).collect(),
            loudness: Default::default(),
            activity: Default::default(),
            held_floor: None,
            subscribers: Vec::new(),
            number: self.tracks_published,
            changed: false,
            announce: false,
            live_layers: 0,
            keyframe_interval: None,
            told_active: None,
        };
        let (room, publisher) = (self.peers[key].conn.room, self.peers[key].conn.id);
        let info = track.info();
        let track = self.rooms[room].tracks.insert(track);
        self.peers[key].member.published.push((mid, track));
        self.broadcast(room, Some(key), Notice::TrackPublished(publisher, info));
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
    fn mute(&mut self, key: usize, id: TrackId, muted: bool, by: By) -> bool {
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
            self.rooms[room].choose_loudest(self.now, self.config.loudest);
            self.reassign(room);
        }
        if was_silenced && !muted {
            self.begin_anew(room, track_key);
        }
        true
    }

    /// Receivers lack what the pictures to come refer to: they wait for a keyframe.
    fn begin_anew(&mut self, room: usize, track: usize) {
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
        for key in self.rooms[room].members.clone() {
            self.close_peer(key, reason);
        }
        true
    }
}
