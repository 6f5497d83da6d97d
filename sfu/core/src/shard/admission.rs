//! Who may enter a room and publish in it. Its home decides; other shards ask.

use std::sync::Arc;

use super::relays::Pending;
use super::{CONNECT_TIMEOUT, Mirror, Peer, Shard};
use crate::api::{Event, Join, JoinError, Joined, Notice, Offer, OfferError, ParticipantId, Reply, Role};
use crate::participant::Participant;
use crate::relay::{LinkId, Message};
use crate::room::Member;
use crate::timers::Timer;

impl Shard {
    /// Somebody enters a room whose home is here.
    pub(super) fn join(&mut self, join: Join) -> Result<Joined, JoinError> {
        let room = self.admit(&join)?;
        Ok(self.enter(room, join))
    }

    /// Decides whether somebody may enter, and makes the room and the place for it. Returns the room.
    fn admit(&mut self, join: &Join) -> Result<usize, JoinError> {
        let existing = self.names.get(&join.room).copied();
        if existing.is_none() && !join.create {
            return Err(JoinError::UnknownRoom);
        }
        if let Some(room) = existing {
            self.check_source(room, join)?;
            if join.role == Role::Member {
                self.replace_identity(room, join.role, &join.identity, None);
            }
        }
        // Replacing the last member may have ended the room.
        let existing = self.names.get(&join.room).copied();
        let present = existing.map_or(0, |room| self.count_others(room, join));
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
        Ok(existing.unwrap_or_else(|| self.open_room(Arc::clone(&join.room))))
    }

    /// Somebody who was let in enters.
    pub(super) fn enter(&mut self, room: usize, join: Join) -> Joined {
        let watched = join.watch.participant.and_then(|id| self.ids.get(&id));
        let watched_identity = watched.map(|key| self.peers[*key].member.identity.clone()).unwrap_or_default();
        let joined = Joined { participants: self.describe_members(room, None) };
        let member = Member {
            watch: join.watch,
            watched_identity,
            max_publishers: join.max_publishers,
            can_publish: join.can_publish,
            can_subscribe: join.can_subscribe,
            ..Member::new(join.name, join.identity, join.metadata)
        };
        let key = self.peers.insert(Peer::new(Participant::new(join.participant, room, join.role), member));
        self.ids.insert(join.participant, key);
        self.rooms[room].members.push(key);
        if join.role != Role::Member {
            // WHIP and WHEP have no other sign of life than their connection.
            self.timers.set(Timer::Connect(key), self.now + CONNECT_TIMEOUT);
        }
        if join.role == Role::Viewer {
            self.tell_viewers(room);
        }
        self.announce(key, Notice::ParticipantJoined);
        joined
    }

    /// Asks a room's home whether somebody may enter here.
    pub(super) fn ask_to_join(&mut self, request: u64, join: Box<Join>, home: LinkId) -> Option<Reply> {
        if self.relays.lost.contains(&home) {
            return Some(Reply::Join(Err(JoinError::Unavailable)));
        }
        self.relays.send(home, Message::Join { request, join: join.clone() });
        self.relays.pending.insert(request, Pending::Join(join, home));
        None
    }

    /// Another shard asks for somebody who wants to enter there.
    pub(super) fn on_join(&mut self, from: LinkId, request: u64, join: Join) {
        // If this code panics, the other shard learns that there is no answer.
        self.relays.owed = Some((from, request));
        let answer = match self.admit(&join) {
            Ok(room) => {
                let name = Arc::clone(&join.room);
                let snapshot = self.attach(room, from);
                if join.role != Role::Viewer {
                    let member = Member {
                        max_publishers: join.max_publishers,
                        ..Member::new(join.name, join.identity, join.metadata)
                    };
                    let mirror = Mirror { link: from, shown: join.role == Role::Member };
                    let conn = Participant::new(join.participant, room, join.role);
                    let key = self.peers.insert(Peer { mirror: Some(mirror), ..Peer::new(conn, member) });
                    self.ids.insert(join.participant, key);
                    self.rooms[room].members.push(key);
                }
                Message::Admitted { request, room: name, snapshot }
            }
            Err(error) => Message::Refused { request, error },
        };
        self.relays.owed = None;
        self.relays.send(from, answer);
        if let Some(key) = self.ids.get(&join.participant).copied() {
            self.announce(key, Notice::ParticipantJoined);
            self.pass_on(key);
        }
    }

    /// The code that decided about a join on another shard has panicked.
    pub(super) fn refuse_owed(&mut self) {
        if let Some((to, request)) = self.relays.owed.take() {
            self.relays.send(to, Message::Refused { request, error: JoinError::Unavailable });
        }
    }

    /// The home has answered: somebody may enter here, or may not.
    pub(super) fn on_join_answer(&mut self, request: u64, answer: Result<usize, JoinError>) {
        let Some(Pending::Join(join, _)) = self.relays.pending.remove(&request) else { return };
        let name = Arc::clone(&join.room);
        let reply = Reply::Join(answer.map(|room| self.enter(room, *join)));
        self.events.push_back(Event::Reply { request, reply });
        if let Some(room) = self.names.get(&name).copied() {
            self.end_if_deserted(room);
        }
    }

    /// Gives an offer back that may be looked at now. One that publishes in a room whose home is elsewhere waits until that
    /// one has said that its limit allows it.
    pub(super) fn ask_to_publish(&mut self, request: u64, id: ParticipantId, offer: Box<Offer>) -> Option<Box<Offer>> {
        let Some(key) = self.ids.get(&id).copied() else { return Some(offer) };
        let peer = &mut self.peers[key];
        let room = &self.rooms[peer.conn.room];
        // Another offer may be waiting for its answer: until then nothing is granted.
        let waits = self.relays.pending.values().any(|p| matches!(p, Pending::Offer(of, ..) if *of == id));
        let asks = peer.conn.role == Role::Member && (waits || !peer.member.granted);
        let Some(home) = room.home.filter(|_| asks) else { return Some(offer) };
        let publishes = |offer: &Offer| {
            let lines = crate::sdp::lines_of(&offer.sdp, Role::Member);
            let read = lines.and_then(|lines| crate::sdp::read_offer(&lines, Role::Member));
            read.is_ok_and(|read| read.lines.iter().any(|line| line.direction.sends()))
        };
        if !peer.member.can_publish || !publishes(&offer) {
            return Some(offer);
        }
        peer.member.granted = true;
        let (room, limit) = (Arc::clone(&room.name), peer.member.max_publishers);
        self.relays.send(home, Message::MayPublish { request, room, id, limit });
        self.relays.pending.insert(request, Pending::Offer(id, offer, home));
        None
    }

    /// A member on another shard wants to publish.
    pub(super) fn on_may_publish(&mut self, from: LinkId, request: u64, room: &str, id: ParticipantId, limit: usize) {
        let key = self.key_in(room, id).filter(|key| self.lives_on(*key, from));
        let allowed = key.is_some_and(|key| {
            let room = self.peers[key].conn.room;
            self.count_publishers(room, |other| other == key) < limit
        });
        if let Some(key) = key.filter(|_| allowed) {
            self.peers[key].member.granted = true;
        }
        self.relays.send(from, Message::Publish { request, allowed });
    }

    /// The home has answered: the member may publish, or may not.
    pub(super) fn on_publish_answer(&mut self, request: u64, allowed: bool) {
        let Some(Pending::Offer(id, offer, _)) = self.relays.pending.remove(&request) else { return };
        let key = self.ids.get(&id).copied();
        self.current = key;
        let answer = match key {
            None => Err(OfferError::Gone),
            Some(key) if !allowed => {
                let limit = self.peers[key].member.max_publishers;
                Err(OfferError::Taken(format!("at most {limit} may in this room")))
            }
            Some(_) => self.offer(id, &offer),
        };
        if let Some(key) = key {
            let member = &mut self.peers[key].member;
            member.granted = !member.published.is_empty();
            self.relays.mark(key);
        }
        self.events.push_back(Event::Reply { request, reply: Reply::Offer(answer) });
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
    pub(super) fn replace_identity(&mut self, room: usize, role: Role, identity: &str, new: Option<usize>) {
        if identity.is_empty() {
            return;
        }
        let same = |key: &&usize| self.is_same(**key, role, identity) && Some(**key) != new;
        if let Some(old) = self.rooms[room].members.iter().find(same).copied() {
            self.close_peer(old, crate::api::CloseReason::Replaced);
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
    pub(super) fn count_publishers(&self, room: usize, except: impl Fn(usize) -> bool) -> usize {
        let publishes = |key: usize| {
            let peer = &self.peers[key];
            peer.conn.role == Role::Publisher || peer.member.granted || !peer.member.published.is_empty()
        };
        self.rooms[room].members.iter().filter(|key| publishes(**key) && !except(**key)).count()
    }
}
