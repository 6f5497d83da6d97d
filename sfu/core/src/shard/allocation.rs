//! Which layer each slot gets: the allocator's questions and answers.

use std::time::{Duration, Instant};

use super::{Peer, Shard, Waiting};
use crate::allocator::{Allocation, Class, LayerState, Reason, SlotRequest, Target};
use crate::api::{Codec, MediaKind, Notice, Source};
use crate::egress::Egress;
use crate::overload::Pressure;
use crate::room::{Room, Slot};
use crate::track::{Cutting, Track};
use crate::watching::LayerChoice;

/// What a layer is taken to cost that has not been measured: what browsers send of 720p.
const UNKNOWN_LAYER: u64 = 2_000_000;

/// How long the first probes are waited for, and what the link is taken to carry meanwhile, in bits per second: the
/// stack's own first guess of 300 kbps would begin every meeting with paused tiles.
const SETTLING: Duration = Duration::from_secs(3);
const FIRST_GUESS: u64 = 1_000_000;
/// Video is paced while the estimate is less than this, in percent of what all that is wanted takes, and either too low for that
/// or of a link that has shown itself narrow: a burst would stand in the link's queue. Past that a keyframe passes in a few
/// milliseconds, and pacing would only cost time on both sides.
const PACED_BELOW_PERCENT: u64 = 150;
/// What is looked for while nothing is wanted, so that a picture that comes back on screen finds a fresh estimate.
const IDLE_DESIRED: u64 = 1_500_000;

/// How long a keyframe is waited for before that is told as the reason for a picture that stands still. Asked for, it
/// comes within a few frames and a round trip.
const PATIENCE: Duration = Duration::from_secs(1);

impl Shard {
    /// The worker has too much to do, or time again.
    pub(super) fn on_pressure(&mut self, pressure: Pressure) {
        let before = self.shed_slots();
        let mut changed = self.overload.on_pressure(pressure);
        while changed {
            let keys: Vec<usize> = self.peers.iter().map(|(key, _)| key).collect();
            keys.into_iter().for_each(|key| self.retarget(key));
            // Each look at a full worker must take something off it: where only speakers are shown, the first half of
            // the shares names nobody.
            changed = pressure.is_full() && self.shed_slots() <= before && self.overload.more();
        }
    }

    /// How many slots' pictures are left out because the worker has no time for them.
    pub(super) fn shed_slots(&self) -> u64 {
        if self.overload.is_idle() {
            return 0;
        }
        let slots = self.peers.iter().flat_map(|(_, peer)| &peer.member.slots);
        slots.filter(|slot| slot.egress.reason == Some(Reason::ServerOverloaded)).count() as u64
    }

    /// Chooses again which layer each slot of a participant gets, and tells it what changed.
    pub(super) fn retarget(&mut self, key: usize) {
        let now = self.now;
        let peer = &mut self.peers[key];
        let room = &self.rooms[peer.conn.room];
        let shown: Vec<(usize, usize)> =
            peer.member.slots.iter().enumerate().filter_map(|(i, s)| Some((i, s.track?))).collect();
        let cuttings: Vec<Vec<(Cutting, LayerState)>> =
            shown.iter().map(|(i, t)| decodable(now, &mut peer.member.slots[*i], &room.tracks[*t])).collect();
        let layers: Vec<Vec<LayerState>> =
            cuttings.iter().map(|c| c.iter().map(|(_, state)| *state).collect()).collect();
        let requests = requests(peer, room, &shown, &cuttings, &layers);
        let settled = peer.connected_at.is_some_and(|at| now.saturating_duration_since(at) >= SETTLING);
        let guess = if settled { 0 } else { FIRST_GUESS };
        let estimate = peer.conn.estimate.map(|e| e.max(guess)).filter(|_| !is_single(&requests));
        let mut allocation = peer.allocator.allocate(now, estimate, &requests);
        self.overload.shed(peer.conn.id, &requests, &mut allocation.targets);
        let ideal = ideal(&requests, &allocation);
        // Padding is for the next step only, where something is short, and leaves the link room; probes are for all that is wanted.
        // Where more goes through than the stack believes, what is sent is the only probe.
        let doubted = peer.conn.measured < estimate;
        let carried = estimate.unwrap_or(0) / 10 * if doubted { 10 } else { 9 };
        let sustain = if allocation.desired > allocation.used { allocation.desired.min(carried) } else { 0 };
        let short = estimate.is_some_and(|e| e < ideal);
        let desired = if settled && short { allocation.desired } else { ideal.max(allocation.desired) };
        // A worker that has no time for pictures has none to find out what the link would carry.
        let (sustain, desired) = if self.overload.is_idle() { (sustain, desired) } else { (0, 0) };
        peer.conn.set_bandwidth_wanted(sustain, desired);
        peer.used = allocation.used;
        let percent = if peer.conn.is_narrow(now) { PACED_BELOW_PERCENT } else { 100 };
        let near = peer.conn.estimate.is_some_and(|e| e < ideal.saturating_mul(percent) / 100);
        peer.near_limit = settled && near;
        pace(peer);
        let mut told = Vec::new();
        let mut changes = false;
        for (((index, track), target), cuttings) in shown.into_iter().zip(allocation.targets).zip(&cuttings) {
            let cutting = |layer: Option<usize>| layer.and_then(|l| cuttings.get(l)).map(|(cutting, _)| *cutting);
            let (chosen, wanted) = (cutting(target.layer), cutting(target.wanted).map(|c| c.encoding));
            let slot = &mut peer.member.slots[index];
            let given_up =
                target.reason.is_shortage() && chosen.map(|c| c.encoding) < slot.egress.target.map(|c| c.encoding);
            let changed = slot.egress.set_target(now, chosen);
            if changed && given_up {
                peer.conn.forget_resends(slot.mid);
            }
            changes |= std::mem::replace(&mut slot.egress.wanted, wanted) != wanted || changed;
            let reason = if peer.conn.connected { stalled(now, slot, &room.tracks[track]) } else { None };
            let reason = reason.filter(|_| chosen.is_some()).unwrap_or(target.reason);
            let news = slot.egress.reason.is_none_or(|told| reason.is_news_after(&told));
            if news {
                slot.egress.reason = Some(reason);
            }
            if slot.kind == MediaKind::Video && (changed || news) {
                let layer = chosen.map(|c| room.tracks[track].cutting_name(c));
                told.push(Notice::Quality { mid: slot.mid.to_string(), layer, reason });
            }
        }
        told.into_iter().for_each(|notice| self.tell(key, notice));
        if changes {
            let room = self.peers[key].conn.room;
            self.demand.insert(room);
        }
        self.await_keyframes(key);
    }

    /// The link to a participant carries this much.
    pub(super) fn on_estimate(&mut self, key: usize, estimate: u64) {
        pace(&mut self.peers[key]);
        if self.peers[key].allocator.is_due(Some(estimate)) {
            self.retarget(key);
        }
    }

    /// Asks for the keyframes that a participant's slots wait for.
    pub(super) fn await_keyframes(&mut self, key: usize) {
        let peer = &self.peers[key];
        if !peer.conn.connected {
            return;
        }
        let room = peer.conn.room;
        let video = peer.member.slots.iter().filter(|s| s.kind == MediaKind::Video);
        let awaited: Vec<Waiting> =
            video.filter_map(|s| Some(Waiting { room, track: s.track?, layer: s.egress.awaited()? })).collect();
        awaited.into_iter().for_each(|wanted| self.request_keyframe(wanted));
    }
}

/// The stack paces by its own estimate: where that has fallen below what is sent and is not believed, its pacer would hold
/// back ever more.
fn pace(peer: &mut Peer) {
    let fits = peer.conn.measured.is_some_and(|measured| peer.used <= measured);
    let video = peer.member.slots.iter().filter(|s| s.kind == MediaKind::Video).map(|s| s.mid);
    peer.conn.set_paced(peer.near_limit && fits, video);
}

/// What a slot can show of a track. Of AV1 a decoder cannot tell the spatial layers apart without the dependency
/// descriptor (measured: Chromium decodes nothing of two), so who did not negotiate it gets the lowest.
fn decodable(now: Instant, slot: &mut Slot, track: &Track) -> Vec<(Cutting, LayerState)> {
    let mut cuttings = track.cuttings(now);
    if let Some(chosen) = within(&slot.choice, track, &cuttings) {
        cuttings = chosen;
    }
    let format = track.format.filter(|f| f.codec == Codec::Av1);
    if format.and_then(|f| slot.egress.resolve(&slot.formats, f)).is_some_and(|send| !send.dependency) {
        cuttings.retain(|(cutting, _)| cutting.cut.spatial == 0);
    }
    cuttings
}

/// What of a track is not above a viewer's choice; none where that is all, or nothing.
fn within(
    choice: &LayerChoice,
    track: &Track,
    cuttings: &[(Cutting, LayerState)],
) -> Option<Vec<(Cutting, LayerState)>> {
    if *choice == LayerChoice::default() {
        return None;
    }
    let named =
        choice.encoding.as_ref().and_then(|name| (0..track.layers.len()).find(|l| track.layer_name(*l) == *name));
    let encodings = named.map(|best| track.up_to(best));
    let fits = |cutting: &Cutting| {
        encodings.as_ref().is_none_or(|encodings| encodings.contains(&cutting.encoding))
            && choice.spatial.is_none_or(|most| cutting.cut.spatial <= most)
            && choice.temporal.is_none_or(|most| cutting.cut.temporal <= most)
    };
    let chosen: Vec<_> = cuttings.iter().filter(|(cutting, _)| fits(cutting)).copied().collect();
    (!chosen.is_empty()).then_some(chosen)
}

/// Why a slot does not show what was chosen for it, if a keyframe has been awaited for too long: none comes, or there are
/// no packets at all. A publisher who has muted sends nothing, and that is no fault.
fn stalled(now: Instant, slot: &mut Slot, track: &Track) -> Option<Reason> {
    if slot.kind == MediaKind::Audio || track.muted {
        return None;
    }
    let awaiting = slot.egress.awaiting(now);
    if let (Some(interval), Some(_)) = (track.keyframe_interval, awaiting) {
        return Some(Reason::KeyframeInterval { ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX) });
    }
    let (layer, _) = awaiting.filter(|(_, waited)| *waited >= PATIENCE)?;
    let is_live = |layer: usize| track.layers.get(layer).is_some_and(|l| l.is_live(now));
    if is_live(layer) {
        return Some(Reason::NoKeyframe);
    }
    // Another layer may go on meanwhile: then the picture does not stand still.
    let current = slot.egress.selector.current().is_some_and(is_live);
    (!current).then_some(Reason::NoPackets)
}

/// What the allocator must know of the slots that show something.
fn requests<'a>(
    peer: &mut Peer,
    room: &Room,
    shown: &[(usize, usize)],
    cuttings: &[Vec<(Cutting, LayerState)>],
    layers: &'a [Vec<LayerState>],
) -> Vec<SlotRequest<'a>> {
    let floor = room.floor();
    let mut requests = Vec::with_capacity(shown.len());
    for (((index, track), layers), cuttings) in shown.iter().zip(layers).zip(cuttings) {
        let (slot, track) = (&mut peer.member.slots[*index], &room.tracks[*track]);
        let supported = track.format.is_none_or(|f| slot.egress.resolve(&slot.formats, f).is_some());
        let class = match track.source {
            _ if slot.pinned == Some(track.id) => Class::Pinned,
            Source::Screen => Class::Pinned,
            _ if Some(track.publisher) == floor => Class::Speaker,
            _ => Class::Other,
        };
        requests.push(SlotRequest {
            slot: *index,
            // The allocator names layers by their place in the list: a list of another length is another track.
            // So is one of which the viewer has chosen something else.
            track: track.number << 16 | u64::from(slot.choices) << 8 | cuttings.len() as u64,
            kind: slot.kind,
            class,
            priority: slot.priority,
            layers,
            wanted: slot.height,
            hidden: slot.hidden,
            muted: track.muted,
            codec_supported: supported,
            current: current(&slot.egress, cuttings),
            resends: 0,
        });
    }
    requests
}

/// One picture of one layer: there is nothing to choose, and a pause would leave nothing at all.
fn is_single(requests: &[SlotRequest<'_>]) -> bool {
    let mut video = requests.iter().filter(|r| r.kind == MediaKind::Video && !r.hidden);
    video.next().is_some_and(|only| only.layers.len() == 1) && video.next().is_none()
}

/// What everything wanted would take, in bits per second: what is worth probing for. The stack probes little beyond what
/// is desired, so with what is sent now in its place the estimate would creep up from its first guess.
fn ideal(requests: &[SlotRequest<'_>], allocation: &Allocation) -> u64 {
    let of_slot = |(request, target): (&SlotRequest<'_>, &Target)| {
        let wanted = target.wanted.and_then(|l| request.layers.get(l));
        match (request.kind, wanted.map(|l| l.bitrate)) {
            (MediaKind::Video, Some(0)) => UNKNOWN_LAYER,
            (_, Some(bitrate)) => bitrate,
            (_, None) => 0,
        }
    };
    let sum: u64 = requests.iter().zip(&allocation.targets).map(of_slot).fold(0, u64::saturating_add);
    // The allocator asks for room to spare before it goes up.
    (sum.saturating_mul(13) / 10).max(IDLE_DESIRED)
}

/// The index of what a slot is given now among what it could be given.
fn current(egress: &Egress, cuttings: &[(Cutting, LayerState)]) -> Option<usize> {
    let encoding = egress.selector.current()?;
    let of_encoding = |(c, _): &&(Cutting, LayerState)| c.encoding == encoding;
    let exact = cuttings.iter().position(|(c, _)| c.encoding == encoding && Some(c.cut) == egress.filter.current());
    exact.or_else(|| cuttings.iter().rposition(|c| of_encoding(&c)))
}
