//! Which layer each slot gets: the allocator's questions and answers.

use std::time::Duration;

use super::{Peer, Shard, Waiting};
use crate::allocator::{Allocation, Class, LayerState, SlotRequest, Target};
use crate::api::{MediaKind, Notice, Source};
use crate::egress::Egress;
use crate::room::Room;
use crate::track::Cutting;

/// What a layer is taken to cost that has not been measured: what browsers send of 720p.
const UNKNOWN_LAYER: u64 = 2_000_000;

/// How long the first probes are waited for, and what the link is taken to carry meanwhile, in bits per second: the
/// stack's own first guess of 300 kbps would begin every meeting with paused tiles.
const SETTLING: Duration = Duration::from_secs(3);
const FIRST_GUESS: u64 = 1_000_000;
/// Video is paced while the estimate is less than so many times what all that is wanted takes: a burst would stand in the
/// link's queue. Past that a keyframe passes in a few milliseconds, and pacing would only cost time on both sides.
const PACED_BELOW: u64 = 2;
/// What is looked for while nothing is wanted, so that a picture that comes back on screen finds a fresh estimate.
const IDLE_DESIRED: u64 = 1_500_000;

impl Shard {
    /// Chooses again which layer each slot of a participant gets, and tells it what changed.
    pub(super) fn retarget(&mut self, key: usize) {
        let now = self.now;
        let peer = &mut self.peers[key];
        let room = &self.rooms[peer.conn.room];
        let shown: Vec<(usize, usize)> =
            peer.member.slots.iter().enumerate().filter_map(|(i, s)| Some((i, s.track?))).collect();
        let cuttings: Vec<Vec<(Cutting, LayerState)>> =
            shown.iter().map(|(_, t)| room.tracks[*t].cuttings(now)).collect();
        let layers: Vec<Vec<LayerState>> =
            cuttings.iter().map(|c| c.iter().map(|(_, state)| *state).collect()).collect();
        let requests = requests(peer, room, &shown, &cuttings, &layers);
        let settled = peer.connected_at.is_some_and(|at| now.saturating_duration_since(at) >= SETTLING);
        let guess = if settled { 0 } else { FIRST_GUESS };
        let estimate = peer.conn.estimate.map(|e| e.max(guess)).filter(|_| !is_single(&requests));
        let allocation = peer.allocator.allocate(now, estimate, &requests);
        let ideal = ideal(&requests, &allocation);
        // Padding is for the next step only, and only where something is short; probes are for all that is wanted.
        let sustain = if allocation.desired > allocation.used { allocation.desired } else { 0 };
        let short = estimate.is_some_and(|e| e < ideal);
        let desired = if settled && short { allocation.desired } else { ideal.max(allocation.desired) };
        peer.conn.set_bandwidth_wanted(sustain, desired);
        let near = peer.conn.estimate.is_some_and(|e| e < ideal.saturating_mul(PACED_BELOW));
        let video = peer.member.slots.iter().filter(|s| s.kind == MediaKind::Video).map(|s| s.mid);
        peer.conn.set_paced(settled && near, video);
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
            let reason = target.reason;
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
            track: track.number << 8 | cuttings.len() as u64,
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
