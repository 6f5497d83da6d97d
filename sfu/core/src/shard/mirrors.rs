//! Mirrors: participants that live on another shard, as that shard tells of them.

use std::sync::Arc;

use super::{Mirror, Peer, Shard};
use crate::api::{CloseReason, Notice, ParticipantId, Role, TrackId};
use crate::participant::Participant;
use crate::relay::{LinkId, MemberState, Snapshot, TrackRates, TrackState};
use crate::room::Member;
use crate::track::{Track, Upstream};

impl Shard {
    /// A participant as other shards are told of it.
    pub(super) fn member_state(&self, key: usize) -> MemberState {
        let Peer { conn, member, mirror, .. } = &self.peers[key];
        let room = &self.rooms[conn.room];
        MemberState {
            id: conn.id,
            link: mirror.map_or(LinkId(self.config.number), |mirror| mirror.link),
            role: conn.role,
            name: member.name.clone(),
            identity: member.identity.clone(),
            metadata: member.metadata.clone(),
            granted: member.granted,
            findings: member.findings(),
            tracks: member.tracks(room).map(|track| track.state(self.now)).collect(),
        }
    }

    /// The home has let somebody in here. Returns the room, which is made if it was not here yet.
    pub(super) fn on_attached(&mut self, home: LinkId, name: Arc<str>, snapshot: Option<Box<Snapshot>>) -> usize {
        let room = self.names.get(&name).copied().unwrap_or_else(|| self.open_room(name));
        self.rooms[room].home = Some(home);
        let Some(snapshot) = snapshot else { return room };
        self.rooms[room].viewers_elsewhere = snapshot.viewers;
        self.rooms[room].leaving.clear();
        // What is known of an earlier time may be out of date.
        let stays = |id: ParticipantId| snapshot.members.iter().any(|member| member.id == id);
        for key in self.rooms[room].members.clone() {
            let peer = &self.peers[key];
            if peer.mirror.is_some() && !stays(peer.conn.id) {
                let (gone, _) = self.take_out(key);
                self.broadcast(room, None, Notice::ParticipantLeft(gone.conn.id, CloseReason::Left));
            }
        }
        snapshot.members.into_iter().for_each(|member| self.on_member(room, home, member));
        self.on_floor(room, snapshot.floor);
        room
    }

    /// What is known of a participant that lives on another shard: all of it, whatever of that is new.
    pub(super) fn on_member(&mut self, room: usize, from: LinkId, state: MemberState) {
        let is_home = self.rooms[room].home.is_none();
        let known = self.ids.get(&state.id).copied();
        let key = match known {
            Some(key) if self.is_mirror_of(key, room, from) => key,
            // Who lives here knows better; and only the home lets somebody in.
            Some(_) => return,
            None if is_home || self.rooms[room].leaving.contains(&state.id) => return,
            None => self.add_mirror(room, &state),
        };
        self.current = Some(key);
        let shown = self.peers[key].mirror.replace(Mirror { link: state.link, shown: true }).is_some_and(|m| m.shown);
        let MemberState { name, identity, metadata, granted, findings, tracks, role, .. } = state;
        let member = &mut self.peers[key].member;
        let news = member.metadata != metadata || member.findings != findings || member.name != name;
        (member.name, member.identity, member.metadata) = (name, identity.clone(), metadata);
        member.findings = findings;
        if !shown {
            if is_home && role == Role::Publisher {
                self.replace_identity(room, role, &identity, Some(key));
            }
            self.announce(key, Notice::ParticipantJoined);
        }
        let codecs = self.set_tracks(key, room, tracks);
        self.peers[key].member.granted = granted;
        if shown && (news || codecs) {
            self.announce(key, Notice::ParticipantUpdated);
        }
        if is_home {
            self.pass_on(key);
        }
    }

    fn add_mirror(&mut self, room: usize, state: &MemberState) -> usize {
        let member = Member::new(state.name.clone(), state.identity.clone(), state.metadata.clone());
        let conn = Participant::new(state.id, room, state.role);
        let mirror = Some(Mirror { link: state.link, shown: false });
        let key = self.peers.insert(Peer { mirror, ..Peer::new(conn, member) });
        self.ids.insert(state.id, key);
        self.rooms[room].members.push(key);
        key
    }

    /// Makes the tracks of a mirror those that it has. True if the members have to be told of a codec.
    fn set_tracks(&mut self, key: usize, room: usize, tracks: Vec<TrackState>) -> bool {
        let stays = |id: TrackId| tracks.iter().any(|track| track.id == id);
        let mine = self.peers[key].member.published.iter().map(|(_, track)| *track);
        let ended: Vec<usize> = mine.filter(|track| !stays(self.rooms[room].tracks[*track].id)).collect();
        let mut changed = !ended.is_empty();
        ended.into_iter().for_each(|track| self.unpublish(room, track));
        let mut codecs = false;
        for state in tracks {
            match self.relays.tracks.get(&state.id).copied() {
                Some((_, track)) => {
                    let (muted, codec) = self.update_track(key, room, track, state);
                    changed |= muted;
                    codecs |= codec;
                }
                None => {
                    self.add_track(key, room, state);
                    changed = true;
                }
            }
        }
        if changed {
            self.reassign(room);
        }
        codecs
    }

    fn add_track(&mut self, key: usize, room: usize, mut state: TrackState) {
        let Some(mirror) = self.peers[key].mirror else { return };
        self.tracks_published += 1;
        let (id, mid, rates) = (state.id, state.mid, std::mem::take(&mut state.rates));
        let mut track = Track::new(key, self.tracks_published, state);
        track.upstream = Some(Upstream { link: mirror.link, demand: Default::default(), cuttings: Vec::new() });
        track.set_rates(self.now, rates);
        let info = track.info();
        let track = self.rooms[room].tracks.insert(track);
        self.relays.tracks.insert(id, (room, track));
        self.peers[key].member.published.push((mid, track));
        let publisher = self.peers[key].conn.id;
        self.broadcast(room, Some(key), Notice::TrackPublished(publisher, info));
    }

    /// Returns whether the track was muted or is heard again, and whether its codec is another one.
    fn update_track(&mut self, key: usize, room: usize, track_key: usize, state: TrackState) -> (bool, bool) {
        let now = self.now;
        let track = &mut self.rooms[room].tracks[track_key];
        let (muted, codec) = (track.muted != state.muted, track.format != state.format && state.format.is_some());
        let heard_again = track.silenced && !state.silenced;
        (track.muted, track.silenced, track.label) = (state.muted, state.silenced, state.label);
        track.format = state.format.or(track.format);
        if track.set_rates(now, state.rates) || codec {
            track.changed = true;
        }
        let id = track.id;
        if muted {
            let publisher = self.peers[key].conn.id;
            self.broadcast(room, None, Notice::TrackMuted(publisher, id, state.muted));
        }
        if heard_again {
            self.begin_anew(room, track_key);
        }
        (muted, codec)
    }

    /// What can be had of tracks on other shards. The home passes it on.
    pub(super) fn on_rates(&mut self, room: usize, from: LinkId, tracks: Vec<(TrackId, TrackRates)>) {
        let now = self.now;
        if self.rooms[room].home.is_none() {
            let others = self.rooms[room].shards.iter().any(|shard| shard.link != from);
            if others {
                let passed = tracks.clone();
                self.tell_shards(room, Some(from), |room| crate::relay::Message::Rates {
                    room,
                    tracks: passed.clone(),
                });
            }
        }
        for (id, rates) in tracks {
            let Some(&(_, key)) = self.relays.tracks.get(&id).filter(|(r, _)| *r == room) else { continue };
            let publisher = self.rooms[room].tracks[key].publisher;
            if self.is_mirror_of(publisher, room, from) {
                let track = &mut self.rooms[room].tracks[key];
                track.changed |= track.set_rates(now, rates);
            }
        }
    }

    /// An administrator mutes a track of a participant, or has it heard again; false if it has no such track.
    pub(super) fn mute_for(&mut self, key: usize, id: TrackId, muted: bool) -> bool {
        let Peer { conn, mirror, .. } = &self.peers[key];
        let Some(mirror) = mirror else {
            return self.mute(key, id, muted, super::commands::By::Administrator);
        };
        let found = self.peers[key].member.tracks(&self.rooms[conn.room]).any(|track| track.id == id);
        if found {
            self.relays.send(mirror.link, crate::relay::Message::Mute { id: conn.id, track: id, muted });
        }
        found
    }

    /// A participant on another shard is gone.
    pub(super) fn end_mirror(&mut self, key: usize, reason: CloseReason, told_by: Option<LinkId>) {
        let (gone, published) = self.take_out(key);
        self.after_leaving((&gone, published), reason, told_by);
    }
}
