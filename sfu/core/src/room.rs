//! Rooms: membership, slots, and who sees whom. Plain data; nothing here touches a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use str0m::media::Mid;

use crate::api::{MediaKind, ParticipantId, ParticipantInfo, Role, Source, TrackId, Watch};
use crate::doctor::{Doctor, Finding};
use crate::dominant;
use crate::egress::Egress;
use crate::participant::SendFormat;
use crate::relay::{Floor, LinkId};
use crate::speaker;
use crate::track::Track;
use crate::watching::LayerChoice;

/// Without packets for this long, a track is quiet: DTX, or loss.
const QUIET: Duration = Duration::from_millis(100);
/// Likewise of a track on another shard, which tells its levels with every tick.
const ELSEWHERE: Duration = Duration::from_millis(400);

/// A room. Participants are named by their keys in the shard, tracks by their keys here.
#[derive(Debug)]
pub(crate) struct Room {
    pub name: Arc<str>,
    /// The shard that decides about it; none: this one.
    pub home: Option<LinkId>,
    /// If this is its home: the other shards that it is on.
    pub shards: Vec<Attached>,
    /// Viewers on other shards. At its home the sum of what they say; elsewhere as the home says.
    pub viewers_elsewhere: usize,
    /// In the order of joining. With those that live on other shards, but for their viewers.
    pub members: Vec<usize>,
    pub tracks: Slab<Track>,
    /// The video tracks, the most worth showing first; see [`Room::order_video`].
    pub video: Vec<usize>,
    /// The audio tracks that are forwarded now: the loudest.
    pub loudest: Vec<usize>,
    /// The audio track that holds the floor.
    pub dominant: Option<usize>,
    /// The participants that were told to be speaking.
    pub speaking: Vec<ParticipantId>,
    /// Who is heard, as the home has told the other shards.
    pub told_floor: Floor,
    /// If its home is elsewhere: mirrors that were ended here, of which that has yet to say so.
    pub leaving: Vec<ParticipantId>,
}

/// A shard that a room is on beside its home.
#[derive(Debug)]
pub(crate) struct Attached {
    pub link: LinkId,
    /// Viewers there.
    pub viewers: usize,
    /// Viewers elsewhere, as it was told.
    pub told: usize,
}

impl Room {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            home: None,
            shards: Vec::new(),
            viewers_elsewhere: 0,
            members: Vec::new(),
            tracks: Slab::new(),
            video: Vec::new(),
            loudest: Vec::new(),
            dominant: None,
            speaking: Vec::new(),
            told_floor: Floor::default(),
            leaving: Vec::new(),
        }
    }

    /// It is on other shards too.
    pub(crate) fn is_shared(&self) -> bool {
        self.home.is_some() || !self.shards.is_empty()
    }

    /// The track of this id.
    pub(crate) fn track_by_id(&self, id: TrackId) -> Option<usize> {
        self.tracks.iter().find(|(_, t)| t.id == id).map(|(key, _)| key)
    }

    /// Chooses again whose audio is forwarded: one more than `n`, because nobody hears himself. True if it changed.
    pub(crate) fn choose_loudest(&mut self, now: Instant, n: usize) -> bool {
        let audio = self.tracks.iter().filter(|(_, t)| t.kind == MediaKind::Audio && !t.muted);
        let levels: Vec<(usize, f32)> = audio.map(|(key, t)| (key, t.loudness.level(now))).collect();
        let chosen = speaker::loudest(&levels, &self.loudest, n + 1);
        let changed = chosen.len() != self.loudest.len() || chosen.iter().any(|t| !self.loudest.contains(t));
        self.loudest = chosen;
        changed
    }

    /// Decides again who holds the floor. `silent_for` packets are counted as silence where none came.
    pub(crate) fn choose_dominant(&mut self, now: Instant, silent_for: usize) {
        let audio = |t: &Track| t.kind == MediaKind::Audio && !t.muted;
        for (_, track) in self.tracks.iter_mut().filter(|(_, t)| audio(t)) {
            if track.loudness.is_quiet(now, if track.upstream.is_some() { ELSEWHERE } else { QUIET }) {
                (0..silent_for).for_each(|_| track.activity.silence());
            }
        }
        let tracks: Vec<_> = self.tracks.iter().filter(|(_, t)| audio(t)).map(|(k, t)| (k, &t.activity)).collect();
        self.dominant = dominant::dominant(&tracks, self.dominant);
        self.hold_floor(now);
    }

    /// The one that holds the floor still does, as the home says.
    pub(crate) fn hold_floor(&mut self, now: Instant) {
        if let Some(track) = self.dominant.and_then(|t| self.tracks.get_mut(t)) {
            track.held_floor = Some(now);
        }
    }

    /// The participant that holds the floor.
    pub(crate) fn floor(&self) -> Option<usize> {
        self.dominant.and_then(|t| self.tracks.get(t)).map(|t| t.publisher)
    }

    /// Orders the video tracks anew: not muted, screens, who spoke last, who came first. Once for all members.
    pub(crate) fn order_video(&mut self) {
        let mut spoke: BTreeMap<usize, Option<Instant>> = BTreeMap::new();
        for (_, track) in self.tracks.iter().filter(|(_, t)| t.held_floor.is_some()) {
            let last = spoke.entry(track.publisher).or_default();
            *last = (*last).max(track.held_floor);
        }
        let rank = |t: &Track| {
            let spoke = spoke.get(&t.publisher).copied().flatten();
            (t.muted, t.source != Source::Screen, std::cmp::Reverse(spoke), t.order, t.id)
        };
        let video = self.tracks.iter().filter(|(_, t)| t.kind == MediaKind::Video);
        let mut order: Vec<_> = video.map(|(key, t)| (rank(t), key)).collect();
        order.sort_unstable();
        self.video = order.into_iter().map(|(_, key)| key).collect();
    }

    /// The tracks that a member who chooses nothing shall get, best first, at most `most`.
    pub(crate) fn for_member(&self, key: usize, kind: MediaKind, most: usize) -> Vec<usize> {
        let others = |track: &usize| self.tracks.get(*track).is_some_and(|t| t.publisher != key);
        let order = match kind {
            MediaKind::Audio => &self.loudest,
            MediaKind::Video => &self.video,
        };
        order.iter().copied().filter(others).take(most).collect()
    }

    /// The tracks that a viewer shall get: those of the source it named, else of the active one. `source` is the key
    /// of the participant it named, if any.
    pub(crate) fn for_viewer(&self, watch: Watch, source: Option<usize>, kind: MediaKind) -> Vec<usize> {
        let named = watch.track.and_then(|id| self.track_by_id(id));
        if let Some(track) = named.filter(|t| self.tracks[*t].kind == kind) {
            return vec![track];
        }
        if watch.track.is_some() && named.is_none() {
            return Vec::new();
        }
        let publisher = match (named, source) {
            (Some(track), _) => Some(self.tracks[track].publisher),
            (None, Some(key)) => Some(key),
            (None, None) if watch.participant.is_some() => return Vec::new(),
            (None, None) => self.active(),
        };
        let Some(publisher) = publisher else { return Vec::new() };
        let order = match kind {
            MediaKind::Video => self.video.clone(),
            MediaKind::Audio => self.tracks.iter().filter(|(_, t)| t.kind == kind).map(|(key, _)| key).collect(),
        };
        order.into_iter().filter(|t| self.tracks[*t].publisher == publisher).collect()
    }

    /// The publisher that a viewer who names none sees: of the first video; without video, of the loudest audio.
    fn active(&self) -> Option<usize> {
        let track = self.video.first().copied().or_else(|| self.loudest.first().copied())?;
        self.tracks.get(track).map(|t| t.publisher)
    }
}

/// What a participant is to its room.
#[derive(Debug)]
pub(crate) struct Member {
    pub name: String,
    pub identity: String,
    pub metadata: String,
    pub watch: Watch,
    /// The identity of the participant that it watches, who may come back under another id.
    pub watched_identity: String,
    /// The most that may publish in its room.
    pub max_publishers: usize,
    pub can_publish: bool,
    pub can_subscribe: bool,
    /// The server fills slots that name no track.
    pub auto: bool,
    pub slots: Vec<Slot>,
    /// Watches over what it publishes.
    pub doctor: Doctor,
    /// What was found by a doctor on another shard.
    pub findings: Vec<Finding>,
    /// Where the room's home is another shard: that has been asked whether it may publish, and has not said no.
    pub granted: bool,
    /// What it publishes: the sending line, and the track's key in the room.
    pub published: Vec<(Mid, usize)>,
}

impl Member {
    /// Somebody of this name, identity and metadata, who may do nothing.
    pub(crate) fn new(name: String, identity: String, metadata: String) -> Self {
        Self {
            name,
            identity,
            metadata,
            watch: Watch::default(),
            watched_identity: String::new(),
            max_publishers: 0,
            can_publish: false,
            can_subscribe: false,
            auto: true,
            slots: Vec::new(),
            doctor: Doctor::default(),
            findings: Vec::new(),
            granted: false,
            published: Vec::new(),
        }
    }

    /// What is wrong with what it publishes.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        if self.findings.is_empty() { self.doctor.findings() } else { self.findings.clone() }
    }

    /// The track that this participant sends on a line.
    pub(crate) fn track_on(&self, mid: Mid) -> Option<usize> {
        self.published.iter().find(|(m, _)| *m == mid).map(|(_, track)| *track)
    }

    /// What it publishes, oldest first. The room is its own.
    pub(crate) fn tracks<'a>(&'a self, room: &'a Room) -> impl Iterator<Item = &'a Track> {
        self.published.iter().map(|(_, track)| &room.tracks[*track])
    }

    /// The member as the others see it.
    pub(crate) fn info(&self, id: ParticipantId, role: Role, room: &Room) -> ParticipantInfo {
        ParticipantInfo {
            id,
            name: self.name.clone(),
            identity: self.identity.clone(),
            role,
            metadata: self.metadata.clone(),
            tracks: self.tracks(room).map(Track::info).collect(),
            path: None,
            findings: self.findings(),
        }
    }
}

/// One receive line of a participant.
#[derive(Debug)]
pub(crate) struct Slot {
    pub mid: Mid,
    pub kind: MediaKind,
    /// The line is active in the last offer.
    pub active: bool,
    /// What the client takes here.
    pub formats: Vec<SendFormat>,
    /// The track shown, by its key in the room.
    pub track: Option<usize>,
    /// The track the client asked for.
    pub pinned: Option<TrackId>,
    /// On-screen height in device pixels; none while the client has not said.
    pub height: Option<u16>,
    /// The client says that it is not on screen.
    pub hidden: bool,
    pub priority: u8,
    /// The best that the client wants of the track.
    pub choice: LayerChoice,
    /// Counts its choices.
    pub choices: u8,
    pub egress: Egress,
}

/// What decides about a slot in [`fill`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat<T> {
    /// What it shows now.
    pub now: Option<T>,
    /// What it must show.
    pub pinned: Option<T>,
    /// The server may choose.
    pub open: bool,
}

/// Fills slots with tracks, `desired` the best first. Pinned tracks go where they were pinned; what is shown and still
/// desired stays where it is; the rest takes the free slots in order. No track is shown twice.
pub(crate) fn fill<T: Copy + PartialEq>(seats: &[Seat<T>], desired: &[T]) -> Vec<Option<T>> {
    let mut shown: Vec<Option<T>> = Vec::with_capacity(seats.len());
    for seat in seats {
        let pinned = seat.pinned.filter(|p| !shown.contains(&Some(*p)));
        shown.push(pinned);
    }
    let free = seats.iter().zip(&shown).filter(|(seat, now)| seat.open && now.is_none()).count();
    let wanted: Vec<T> = desired.iter().copied().filter(|d| !shown.contains(&Some(*d))).take(free).collect();
    for (index, seat) in seats.iter().enumerate() {
        let stays = seat.now.filter(|now| wanted.contains(now) && !shown.contains(&Some(*now)));
        if seat.open && shown[index].is_none() {
            shown[index] = stays;
        }
    }
    let mut rest = wanted.iter().copied().filter(|w| !shown.contains(&Some(*w))).collect::<Vec<_>>().into_iter();
    for (seat, slot) in seats.iter().zip(shown.iter_mut()) {
        if seat.open && slot.is_none() {
            *slot = rest.next();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn open(now: Option<u8>) -> Seat<u8> {
        Seat { now, pinned: None, open: true }
    }

    #[test]
    fn what_is_shown_and_still_wanted_stays_in_its_slot() {
        let seats = [open(Some(1)), open(Some(2)), open(None)];
        assert_eq!(fill(&seats, &[3, 2]), [Some(3), Some(2), None]);
    }

    #[test]
    fn a_pinned_track_is_shown_where_it_was_pinned_and_only_there() {
        let seats = [open(Some(1)), Seat { now: Some(2), pinned: Some(1), open: false }, open(None)];
        assert_eq!(fill(&seats, &[1, 2]), [Some(2), Some(1), None]);
    }

    #[test]
    fn a_closed_slot_without_a_pin_stays_empty() {
        let closed = Seat { now: Some(1), pinned: None, open: false };
        assert_eq!(fill(&[closed], &[1, 2]), [None]);
    }

    proptest! {
        #[test]
        fn no_track_is_shown_twice_and_no_slot_stays_empty_without_need(
            now in prop::collection::vec(prop::option::of(0u8..12), 0..9),
            pins in prop::collection::vec(prop::option::weighted(0.2, 0u8..12), 9),
            desired in prop::collection::hash_set(0u8..12, 0..12),
        ) {
            let desired: Vec<u8> = desired.into_iter().collect();
            let seats: Vec<Seat<u8>> =
                now.iter().zip(&pins).map(|(now, pinned)| Seat { now: *now, pinned: *pinned, open: true }).collect();
            let shown = fill(&seats, &desired);
            let mut tracks: Vec<u8> = shown.iter().flatten().copied().collect();
            let count = tracks.len();
            tracks.sort_unstable();
            tracks.dedup();
            prop_assert_eq!(tracks.len(), count, "shown twice: {:?}", shown);
            let missing = desired.iter().any(|d| !tracks.contains(d));
            prop_assert!(!(missing && shown.contains(&None)), "empty slot and {:?} not shown: {:?}", desired, shown);
        }
    }
}
