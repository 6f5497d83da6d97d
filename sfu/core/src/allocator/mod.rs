//! Chooses a layer for every slot of one participant, and says why.
//!
//! Pure arithmetic on plain types: no clock, no sockets, no WebRTC. One [`Allocator`] per receiving participant: it
//! remembers of each slot what keeps it from going up and down. An allocation goes three times over the slots: the
//! smallest layer to every visible one, then to the pinned ones what they want, then one step at a time the best gain
//! per bit (`passes`). It does so twice: without regard to time, to know what the bandwidth allows for, then with the
//! steps up left out that have to wait (`memory`). Steps down are taken at once.

mod explain;
mod fall;
mod ladder;
mod memory;
mod passes;
mod probe;
mod reason;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use self::explain::{Decision, Explainer};
use self::fall::Fall;
use self::ladder::Ladder;
use self::memory::Memory;
use self::passes::{Budget, Contender, Limit};
use self::probe::{Found, Probe};
pub use self::reason::Reason;
use crate::api::MediaKind;

/// How much a slot means to the viewer, from the least to the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Any other.
    #[default]
    Other,
    /// Shows the dominant speaker.
    Speaker,
    /// Pinned by the viewer, or a screen share.
    Pinned,
}

/// One layer that a slot could get: one simulcast encoding, or one decode target of a scalable one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerState {
    /// The spatial layer, higher is better; the same for all layers if the publisher's order means nothing.
    pub spatial: u8,
    /// The temporal layer, higher is better. Each is taken to double the frame rate.
    pub temporal: u8,
    /// Height of its picture in pixels; 0 until a keyframe has told.
    pub height: u16,
    /// Measured bits per second of all that has to be sent for it: with scalable coding, the layers below it included.
    pub bitrate: u64,
    /// Packets have come in the last seconds.
    pub live: bool,
    /// Since when packets have come without a break; none if that is not known.
    pub live_since: Option<Instant>,
    /// A sender report has come, so that a switch keeps the time.
    pub has_report: bool,
}

/// What is known of one slot that shows a track. Slots that show none are left out.
#[derive(Debug, Clone)]
pub struct SlotRequest<'a> {
    /// Names the slot from one allocation to the next.
    pub slot: usize,
    /// Names the track that it shows: another one, and all that is remembered of the slot is forgotten.
    pub track: u64,
    /// Audio is never paused; its bits are taken off the estimate first.
    pub kind: MediaKind,
    /// How much it means to the viewer.
    pub class: Class,
    /// Within a class, higher first.
    pub priority: u8,
    /// The layers of its track in ascending order of quality.
    pub layers: &'a [LayerState],
    /// The height on screen in device pixels; none while the client has not said.
    pub wanted: Option<u16>,
    /// The client says that the slot is not on screen. Without meaning for audio.
    pub hidden: bool,
    /// The publisher muted the track.
    pub muted: bool,
    /// The receiver can take the track's codec.
    pub codec_supported: bool,
    /// The layer that is forwarded now. Where the allocator knows nothing of the slot, it begins from here.
    pub current: Option<usize>,
    /// Bits per second of resends in the last second.
    pub resends: u64,
}

/// What a slot shall get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The slot, as in the request.
    pub slot: usize,
    /// Index of the layer; none pauses the slot.
    pub layer: Option<usize>,
    /// The layer that it would get if the bandwidth were without limit and every layer live; none if it can show none.
    /// A publisher may stop the layers better than the best one that anybody wants. Not those that nobody gets: a layer
    /// once stopped would never come back, and there would be none to come down to.
    pub wanted: Option<usize>,
    /// Why.
    pub reason: Reason,
}

/// What all slots of a participant shall get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// In the order of the requests.
    pub targets: Vec<Target>,
    /// Bits per second to ask the estimator for: the next step's cost while one is probed for, else what is sent.
    pub desired: u64,
    /// Bits per second of what is granted, with audio and resends.
    pub used: u64,
}

/// Shares out the bandwidth towards one participant.
#[derive(Debug, Clone, Default)]
pub struct Allocator {
    /// One for each slot of the last allocation.
    memory: BTreeMap<usize, Memory>,
    probe: Probe,
    fall: Fall,
    /// The estimate of the last allocation.
    estimate: Option<u64>,
    /// The number of the last allocation.
    number: u64,
}

impl Allocator {
    /// Chooses a layer for every slot, in the order given.
    ///
    /// `estimate` is the bandwidth towards the participant in bits per second. While it is not known, every slot gets
    /// what it wants. To be called when a slot's track, view, class or layers change, when [`Self::is_due`], and each
    /// second.
    pub fn allocate(&mut self, now: Instant, estimate: Option<u64>, slots: &[SlotRequest<'_>]) -> Allocation {
        // What was chosen without an estimate was a guess: it may be corrected in both directions.
        let first = self.estimate.is_none();
        self.estimate = estimate;
        self.number = self.number.wrapping_add(1);
        let contenders: Vec<Contender> =
            slots.iter().enumerate().filter_map(|(index, slot)| self.contender(now, index, slot)).collect();
        let number = self.number;
        self.memory.retain(|_, memory| memory.seen == number);

        let overhead = overhead(slots);
        let decision = estimate.map(|estimate| self.decide(now, Budget { estimate, overhead }, &contenders));
        let granted = |who: usize| match &decision {
            Some(decision) => decision.granted.grants[who],
            None => Some(contenders[who].wanted()),
        };
        let mut targets: Vec<Target> = slots.iter().map(idle_target).collect();
        let explainer = Explainer::new(&contenders, slots, decision.as_ref());
        let mut used = u128::from(overhead);
        for (who, contender) in contenders.iter().enumerate() {
            let position = granted(who);
            used += contender.cost(position);
            let target = &mut targets[contender.request];
            target.layer = position.map(|p| contender.ladder.rungs[p].layer);
            target.wanted = Some(contender.ladder.demand);
            target.reason = explainer.reason(who, position);
        }
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        let downgraded = self.remember(now, first, &contenders, decision.as_ref());
        let desired = match &decision {
            Some(decision) => {
                let goal = explain::next_step(&contenders, decision);
                let dark = decision.granted.grants.iter().all(Option::is_none);
                self.probe.update(now, Found { estimate: decision.budget.estimate, goal, downgraded, dark })
            }
            None => None,
        };
        Allocation { targets, desired: desired.unwrap_or(0).max(used), used }
    }

    /// Whether the estimate has moved by a tenth or more since the last allocation.
    #[must_use]
    pub fn is_due(&self, estimate: Option<u64>) -> bool {
        match (estimate, self.estimate) {
            (Some(new), Some(old)) => reason::differ_by_a_tenth(new, old),
            (new, old) => new.is_some() != old.is_some(),
        }
    }

    /// The slot as one that wants video; none if it can show none.
    fn contender(&mut self, now: Instant, index: usize, slot: &SlotRequest<'_>) -> Option<Contender> {
        if slot.kind == MediaKind::Audio {
            return None;
        }
        let memory = self.memory.entry(slot.slot).or_insert_with(|| Memory::new(now, slot));
        memory.refresh(now, slot);
        memory.seen = self.number;
        let ladder = Ladder::new(now, slot).filter(|_| slot.codec_supported && !slot.hidden);
        let Some(ladder) = ladder else {
            memory.idle(now);
            return None;
        };
        if !ladder.live {
            memory.idle(now);
        }
        Some(Contender {
            request: index,
            slot: slot.slot,
            class: slot.class,
            priority: slot.priority,
            weight: passes::weight(slot.class, slot.priority),
            held: memory.layer().and_then(|layer| ladder.position(layer)),
            ladder,
            joining: memory.is_joining(now),
            shaky: memory.is_shaky(now),
            // A muted track costs next to nothing: what it would cost unmuted is not known.
            frozen: slot.muted,
        })
    }

    fn decide(&mut self, now: Instant, budget: Budget, contenders: &[Contender]) -> Decision {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        order.sort_by_key(|who| Reverse(contenders[*who].rank()));
        let mut limits: Vec<Limit> =
            contenders.iter().map(|c| Limit { best: Some(c.wanted()), settled: false }).collect();
        let ideal = passes::share(contenders, &order, &limits, budget.video());
        // Nobody gets more than in the first round: what is kept for those who wait is not given to others.
        let mut waits = vec![None; contenders.len()];
        for (who, contender) in contenders.iter().enumerate() {
            let Some(memory) = self.memory.get_mut(&contender.slot) else { continue };
            let better = ideal.grants[who].filter(|best| contender.held.is_none_or(|held| *best > held));
            let best = match better.map(|best| memory.admit(now, contender, best)) {
                Some(Ok(admitted)) => Some(admitted),
                Some(Err(wait)) => {
                    waits[who] = Some(wait);
                    contender.held
                }
                None => {
                    memory.nothing_fits();
                    contender.held
                }
            };
            limits[who] = Limit { best, settled: true };
        }
        // Where nobody goes up, the second round would take the steps of the first.
        let steady = contenders.iter().zip(&ideal.grants).all(|(contender, ideal)| *ideal <= contender.held);
        let granted = if steady { ideal.clone() } else { passes::share(contenders, &order, &limits, budget.video()) };
        Decision { budget, ideal, granted, waits }
    }

    /// Remembers what was decided. True if a lack of bandwidth has brought a slot down.
    fn remember(&mut self, now: Instant, first: bool, contenders: &[Contender], decision: Option<&Decision>) -> bool {
        let mut downgraded = false;
        let before = self.fall.began();
        let fall = decision.and_then(|decision| self.fall.update(now, decision.budget.estimate));
        if self.fall.began() != before {
            self.memory.values_mut().for_each(Memory::forget_changes);
        }
        for (who, contender) in contenders.iter().enumerate() {
            let Some(memory) = self.memory.get_mut(&contender.slot) else { continue };
            match decision {
                Some(decision) if !first => {
                    let (granted, ideal) = (decision.granted.grants[who], decision.ideal.grants[who]);
                    downgraded |= memory.settle(now, contender, fall, granted, ideal);
                }
                Some(decision) => memory.grant(contender, decision.granted.grants[who]),
                None => memory.grant(contender, Some(contender.wanted())),
            }
        }
        downgraded
    }
}

/// Bits per second that are sent in any case.
fn overhead(slots: &[SlotRequest<'_>]) -> u64 {
    slots.iter().fold(0, |sum: u64, slot| {
        let sent = slot.kind == MediaKind::Audio && slot.codec_supported;
        let layer = slot.layers.get(slot.current.unwrap_or(0)).filter(|_| sent);
        sum.saturating_add(layer.map_or(0, |l| l.bitrate)).saturating_add(slot.resends)
    })
}

/// What a slot gets that does not take part.
fn idle_target(slot: &SlotRequest<'_>) -> Target {
    let none = |reason| Target { slot: slot.slot, layer: None, wanted: None, reason };
    match slot.kind {
        _ if !slot.codec_supported => none(Reason::CodecNotSupported),
        MediaKind::Audio => Target { layer: Some(0), wanted: Some(0), ..none(Reason::Audio) },
        MediaKind::Video if slot.hidden => none(Reason::Hidden),
        MediaKind::Video => none(Reason::NoPackets),
    }
}

#[cfg(test)]
mod hysteresis_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
