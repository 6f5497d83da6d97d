//! What viewers are told of their source, and choose of it.

use str0m::media::Mid;

use super::Shard;
use crate::allocator::Reason;
use crate::api::{MediaKind, ParticipantId};
use crate::track::Track;
use crate::watching::{ChoiceError, LayerChoice, Watched, WatchedLayer, WatchedLine};

impl Shard {
    /// What a participant watches; none if it is gone.
    pub(super) fn describe_watched(&self, id: ParticipantId) -> Option<Watched> {
        let peer = &self.peers[*self.ids.get(&id)?];
        let room = &self.rooms[peer.conn.room];
        let lines = peer.member.slots.iter().filter(|slot| slot.active).map(|slot| {
            let track = slot.track.and_then(|track| room.tracks.get(track));
            WatchedLine {
                mid: slot.mid.to_string(),
                kind: slot.kind,
                active: track.is_some(),
                waiting: slot.egress.reason.filter(Reason::is_wait),
                layers: track.filter(|t| t.kind == MediaKind::Video).map_or_else(Vec::new, |t| self.layers_of(t)),
            }
        });
        let viewers = self.viewers_here(room) + room.viewers_elsewhere;
        Some(Watched { viewers, lines: lines.collect() })
    }

    fn layers_of(&self, track: &Track) -> Vec<WatchedLayer> {
        let layers = track.cuttings(self.now).into_iter().map(|(cutting, state)| WatchedLayer {
            encoding: track.layer_name(cutting.encoding),
            index: cutting.encoding,
            spatial: state.spatial,
            temporal: state.temporal,
            bitrate: state.bitrate,
            height: state.height,
            active: track.layers[cutting.encoding].is_live(self.now),
        });
        layers.collect()
    }

    /// Bounds what a slot gets: the one of this line, or the first video one.
    pub(super) fn choose_layer(
        &mut self,
        id: ParticipantId,
        media: Option<&str>,
        choice: LayerChoice,
    ) -> Result<(), ChoiceError> {
        let key = self.ids.get(&id).copied().ok_or(ChoiceError::Gone)?;
        let peer = &mut self.peers[key];
        let found = match media {
            Some(media) => find_line(peer.member.slots.iter().map(|slot| slot.mid), media),
            None => peer.member.slots.iter().position(|slot| slot.kind == MediaKind::Video),
        };
        let slots = &mut peer.member.slots;
        let slot = found.and_then(|index| slots.get_mut(index)).filter(|slot| slot.kind == MediaKind::Video);
        let slot = slot.ok_or_else(|| ChoiceError::UnknownMedia(media.unwrap_or_default().to_owned()))?;
        if let Some(encoding) = &choice.encoding {
            let track = slot.track.and_then(|track| self.rooms[peer.conn.room].tracks.get(track));
            let track = track.ok_or(ChoiceError::NothingShown)?;
            if !(0..track.layers.len()).any(|index| track.layer_name(index) == *encoding) {
                return Err(ChoiceError::UnknownEncoding(encoding.clone()));
            }
        }
        if slot.choice != choice {
            slot.choice = choice;
            slot.choices = slot.choices.wrapping_add(1);
            self.retarget(key);
        }
        Ok(())
    }
}

/// The line of this `a=mid`; where none has it, the line of this place in the offer, as drafts of WHEP name them.
fn find_line(mut mids: impl Iterator<Item = Mid> + Clone, media: &str) -> Option<usize> {
    let by_mid = mids.clone().position(|mid| *mid == *media);
    by_mid.or_else(|| media.parse().ok().filter(|index| mids.nth(*index).is_some()))
}
