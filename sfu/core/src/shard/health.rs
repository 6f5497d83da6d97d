//! The doctor's rounds: what publishers over WHIP send is looked at once a second.

use std::time::Instant;

use super::{Shard, Waiting};
use crate::api::{Codec, MediaKind, Notice, Role};
use crate::doctor::Chart;
use crate::doctor::pulse::Counted;
use crate::track::Track;

impl Shard {
    /// Looks at what the publishers of a room send, and tells them, the members and the counters what is new.
    pub(super) fn examine(&mut self, room: usize) {
        for key in self.rooms[room].members.clone() {
            let peer = &mut self.peers[key];
            let (Role::Publisher, Some(connected)) = (peer.conn.role, peer.connected_at) else { continue };
            let published = &peer.member.published;
            let tracks = &mut self.rooms[room].tracks;
            let charts: Vec<Chart> =
                published.iter().filter_map(|(_, track)| Some(chart(self.now, tracks.get_mut(*track)?))).collect();
            let look = peer.member.doctor.look(self.now, connected, self.config.max_bitrate, &charts);
            for finding in &look.found {
                *self.stats.findings.entry(finding.symptom.code()).or_default() += 1;
            }
            for (_, track) in self.rooms[room].tracks.iter_mut().filter(|(_, track)| track.publisher == key) {
                track.keyframe_interval = look.interval.filter(|_| track.kind == MediaKind::Video);
            }
            let asked = look.ask.and_then(|id| self.rooms[room].track_by_id(id));
            if let Some(track) = asked {
                let layer = self.rooms[room].tracks.get(track).and_then(|found| first_live(found, self.now));
                self.send_keyframe_request(Waiting { room, track, layer: layer.unwrap_or(0) });
            }
            if !look.found.is_empty() || !look.mended.is_empty() {
                // The publisher too: its log says what was found.
                let info = self.peers[key].member.info(self.peers[key].conn.id, Role::Publisher, &self.rooms[room]);
                self.tell(key, Notice::ParticipantUpdated(info.clone()));
                self.broadcast(room, Some(key), Notice::ParticipantUpdated(info));
                self.relays.mark(key);
            }
        }
    }
}

/// What the doctor sees of a track. Takes what was counted.
fn chart(now: Instant, track: &mut Track) -> Chart {
    let first = first_live(track, now);
    let mut counted = Counted::default();
    for layer in &mut track.layers {
        counted.add(&layer.pulse.take());
    }
    let pulses = || track.layers.iter().map(|layer| &layer.pulse);
    let offered = track.format.filter(|format| format.codec == Codec::H264).map(|format| format.profile);
    Chart {
        track: track.id,
        kind: track.kind,
        muted: track.muted,
        bitrate: track.layers.iter().map(|layer| layer.bitrate).sum(),
        packet_at: pulses().filter_map(|pulse| pulse.packet_at).max(),
        keyframe_at: first.and_then(|layer| track.layers[layer].pulse.keyframe_at),
        profiles: pulses().find_map(|pulse| pulse.profile).zip(offered),
        counted,
    }
}

/// The first layer that sends.
fn first_live(track: &Track, now: Instant) -> Option<usize> {
    track.layers.iter().position(|layer| layer.is_live(now))
}
