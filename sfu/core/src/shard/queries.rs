//! What the outside may ask: rooms, subscriptions, counters.

use super::Shard;
use crate::api::{MediaKind, ParticipantInfo, Role, RoomInfo, SubscriptionInfo};
use crate::room::Room;
use crate::stats::Stats;
use crate::track::Cutting;

impl Shard {
    /// The last estimate of the bandwidth towards a participant, in bits per second; none while nothing is known.
    #[must_use]
    pub fn estimate(&self, id: crate::api::ParticipantId) -> Option<u64> {
        self.peers[*self.ids.get(&id)?].conn.estimate
    }

    /// The members of a room that others see.
    pub(super) fn describe_members(&self, room: usize, except: Option<usize>) -> Vec<ParticipantInfo> {
        let room = &self.rooms[room];
        let shown = room.members.iter().filter(|key| Some(**key) != except);
        shown
            .filter(|key| self.peers[**key].is_shown())
            .map(|key| {
                let peer = &self.peers[*key];
                peer.member.info(peer.conn.id, peer.conn.role, room)
            })
            .collect()
    }

    pub(super) fn describe_rooms(&self, name: Option<&str>) -> Vec<RoomInfo> {
        // Of all rooms, those that have their home elsewhere are told there.
        let wanted = self.rooms.iter().filter(|(_, room)| name.map_or(room.home.is_none(), |n| *room.name == *n));
        wanted
            .map(|(key, room)| RoomInfo {
                name: room.name.clone(),
                participants: self.describe_members(key, None),
                viewers: self.viewers_here(room) + room.viewers_elsewhere,
            })
            .collect()
    }

    /// As an administrator sees them.
    pub(super) fn describe_rooms_with_paths(&self, name: Option<&str>) -> Vec<RoomInfo> {
        let mut rooms = self.describe_rooms(name);
        for participant in rooms.iter_mut().flat_map(|room| &mut room.participants) {
            participant.path =
                self.ids.get(&participant.id).and_then(|key| self.peers[*key].conn.way.map(|(path, _)| path));
        }
        rooms
    }

    pub(super) fn viewers_here(&self, room: &Room) -> usize {
        room.members.iter().filter(|key| self.peers[**key].conn.role == Role::Viewer).count()
    }

    pub(super) fn describe_subscriptions(&self, key: usize) -> Vec<SubscriptionInfo> {
        let peer = &self.peers[key];
        let room = &self.rooms[peer.conn.room];
        let shown = peer.member.slots.iter().filter_map(|slot| Some((slot, room.tracks.get(slot.track?)?)));
        let infos = shown.map(|(slot, track)| {
            let name = |cutting: Option<Cutting>| cutting.map(|c| track.cutting_name(c));
            let egress = &slot.egress;
            let current = egress.selector.current().map(|encoding| match egress.filter.current() {
                Some(cut) => Cutting { encoding, cut, whole: egress.target.is_some_and(|t| t.cut == cut && t.whole) },
                None => Cutting { encoding, cut: Default::default(), whole: true },
            });
            SubscriptionInfo {
                mid: slot.mid.to_string(),
                kind: slot.kind,
                participant: self.peers[track.publisher].conn.id,
                track: track.id,
                target: name(egress.target),
                current: name(current),
                bitrate: slot.egress.bitrate,
                reason: slot.egress.reason.unwrap_or(match slot.kind {
                    MediaKind::Audio => crate::allocator::Reason::Audio,
                    MediaKind::Video => crate::allocator::Reason::OnlyLayer,
                }),
            }
        });
        infos.collect()
    }

    pub(super) fn current_stats(&self) -> Stats {
        let tracks = || self.rooms.iter().flat_map(|(_, room)| room.tracks.iter().map(|(_, t)| t));
        Stats {
            rooms: self.rooms.iter().filter(|(_, room)| room.home.is_none()).count() as u64,
            participants: self.peers.iter().filter(|(_, peer)| peer.mirror.is_none()).count() as u64,
            tracks: tracks().filter(|track| track.upstream.is_none()).count() as u64,
            shed: self.shed_slots(),
            subscriptions: tracks().map(|t| t.subscribers.len() as u64).sum(),
            ..self.stats.clone()
        }
    }
}
