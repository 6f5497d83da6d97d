//! Shares out a budget over slots, in three passes. Knows nothing of time: what a slot may have is an argument.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::Class;
use super::ladder::{Ladder, Rung};

/// Going up needs the whole to fit this many times over, in percent.
const HEADROOM_PERCENT: u128 = 115;
/// The same for what a slot comes down to that went up a moment ago. Where the estimate swings by 15 %, it went up at
/// 1.15 times the cost, and the lowest that follows is 0.85 times the cost: from 1.0 that is 1 / 0.85.
const SHAKY_PERCENT: u128 = 120;
/// Of the estimate, what is given out, in percent.
const GIVEN_OUT_PERCENT: u128 = 95;
/// How much more a step is worth that the slot has already: pictures do not change places for a little more gain.
const HELD_WORTH: f64 = 2.0;

/// What may be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Bits per second the link is thought to carry.
    pub estimate: u64,
    /// Bits per second of audio and resends, which go first.
    pub overhead: u64,
}

impl Budget {
    /// Bits per second for video.
    pub(super) fn video(&self) -> u128 {
        (u128::from(self.estimate) * GIVEN_OUT_PERCENT / 100).saturating_sub(u128::from(self.overhead))
    }

    /// The estimate from which on a slot can go up so that `video` is sent in all.
    pub(super) fn estimate_for(&self, video: u128) -> u64 {
        let needed = (video * HEADROOM_PERCENT + u128::from(self.overhead) * 100).div_ceil(GIVEN_OUT_PERCENT);
        u64::try_from(needed).unwrap_or(u64::MAX)
    }
}

/// One slot that wants video, and what it has.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    /// Index of the request.
    pub request: usize,
    /// Its slot.
    pub slot: usize,
    pub class: Class,
    pub priority: u8,
    /// See [`weight`].
    pub weight: f64,
    pub ladder: Ladder,
    /// The position of the rung it has; none while it has none.
    pub held: Option<usize>,
    /// It shows nothing yet: any rung may be chosen, without headroom.
    pub joining: bool,
    /// It went up a moment ago: if it has to come down again, then far enough not to go once more.
    pub shaky: bool,
    /// It may lose what it has, but not get more.
    pub frozen: bool,
}

/// A step is worth its utility, times what the slot means to the viewer.
pub(super) fn weight(class: Class, priority: u8) -> f64 {
    let class = match class {
        Class::Other => 1.0,
        Class::Speaker => 4.0,
        Class::Pinned => 16.0,
    };
    class * (1.0 + f64::from(priority) / 128.0)
}

impl Contender {
    pub(super) fn rank(&self) -> (Class, u8) {
        (self.class, self.priority)
    }

    /// The best rung that it wants.
    pub(super) fn wanted(&self) -> usize {
        self.held.filter(|_| self.frozen).unwrap_or_else(|| self.ladder.top())
    }

    pub(super) fn cost(&self, position: Option<usize>) -> u128 {
        position.map_or(0, |p| u128::from(self.ladder.rungs[p].cost))
    }

    fn is_better(&self, position: usize) -> bool {
        self.held.is_none_or(|held| position > held)
    }

    /// Whether a rung has been there for long enough, if that matters.
    #[inline]
    fn may_begin(&self, limit: Limit, position: usize) -> bool {
        !limit.settled
            || self.joining
            || !self.is_better(position)
            || self.ladder.rungs[position].unsettled.is_zero()
            // Something is better than nothing.
            || (self.held.is_none() && position == self.ladder.cheapest)
    }
}

/// What one slot may have in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// The best position; none for nothing at all.
    pub best: Option<usize>,
    /// Rungs better than the one held must have settled.
    pub settled: bool,
}

/// Who gets what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// A position for each contender; none is paused.
    pub grants: Vec<Option<usize>>,
    /// Bits per second of them all.
    pub used: u128,
    /// The contender of the highest class that is paused.
    pub paused: Option<usize>,
}

/// Shares out `budget` bits per second. `order` lists the contenders from the most important to the least.
pub(super) fn share(contenders: &[Contender], order: &[usize], limits: &[Limit], budget: u128) -> Round {
    let mut share = Sharing {
        contenders,
        limits,
        room: Room { plain: budget, shaky: budget * 100 / SHAKY_PERCENT, headroom: budget * 100 / HEADROOM_PERCENT },
        round: Round { grants: vec![None; contenders.len()], ..Round::default() },
    };
    share.smallest_to_all(order);
    share.pinned_to_what_they_want(order);
    share.steps_by_gain(order);
    share.round
}

struct Sharing<'a> {
    contenders: &'a [Contender],
    limits: &'a [Limit],
    room: Room,
    round: Round,
}

/// How much may be used, for each kind of step.
struct Room {
    plain: u128,
    shaky: u128,
    headroom: u128,
}

impl Sharing<'_> {
    /// Pass 1: the cheapest layer to every slot, the most important first.
    fn smallest_to_all(&mut self, order: &[usize]) {
        for &who in order {
            let contender = &self.contenders[who];
            let cheapest = contender.ladder.cheapest;
            let allowed = |p: &usize| self.is_allowed(who, *p) && self.fits(who, *p);
            let choice = Some(cheapest).filter(allowed).or_else(|| {
                // Another one may be allowed where the cheapest is not: what is held needs no headroom.
                (0..contender.ladder.rungs.len()).filter(allowed).min_by_key(|p| contender.ladder.rungs[*p].cost)
            });
            match choice {
                Some(position) => self.grant(who, position),
                None => self.round.paused = self.round.paused.or(Some(who)),
            }
        }
    }

    /// Pass 2: to the pinned ones what they want, as far as it goes.
    fn pinned_to_what_they_want(&mut self, order: &[usize]) {
        for &who in order.iter().filter(|who| self.contenders[**who].class == Class::Pinned) {
            let Some(now) = self.round.grants[who] else { continue };
            let better = now + 1..self.contenders[who].ladder.rungs.len();
            if let Some(best) = better.rev().find(|p| self.is_allowed(who, *p) && self.fits(who, *p)) {
                self.grant(who, best);
            }
        }
    }

    /// Pass 3: one step at a time, the one with the most gain per bit first.
    fn steps_by_gain(&mut self, order: &[usize]) {
        // As long as somebody is paused, nobody of a lower class has more than the smallest.
        let floor = self.round.paused.map(|who| self.contenders[who].class);
        let mut steps: BinaryHeap<Step> = order
            .iter()
            .filter(|who| floor.is_none_or(|floor| self.contenders[**who].class >= floor))
            .filter_map(|who| self.best_step(*who, &self.space(*who)))
            .collect();
        while let Some(mut top) = steps.peek_mut() {
            let (who, to) = top.who_to();
            let space = self.space(who);
            // What was given out since may have used up what this step needs; a smaller one may still fit.
            if space.holds(&self.contenders[who], to) {
                self.grant(who, to);
            }
            // One step a slot waits at a time: the next one takes the place of this one.
            match self.best_step(who, &space) {
                Some(next) => *top = next,
                None => _ = PeekMut::pop(top),
            }
        }
    }

    /// The step of one slot that fits and brings the most for its bits; of equal ones the largest.
    fn best_step(&self, who: usize, space: &Space) -> Option<Step> {
        let (contender, limit) = (&self.contenders[who], self.limits[who]);
        let now = self.round.grants[who]?;
        let rungs = &contender.ladder.rungs[..=limit.best?.min(contender.ladder.top())];
        let from = rungs.get(now)?;
        let had = contender.held.map_or(0, |held| held + 1).clamp(now + 1, rungs.len());
        let mut most: Option<(f64, usize)> = None;
        let mut consider = |to: usize, worth: f64| {
            let gain = worth * gain_per_bit(from, &rungs[to]);
            if most.is_none_or(|(most, _)| gain >= most) {
                most = Some((gain, to));
            }
        };
        for to in now + 1..had {
            if space.holds(contender, to) {
                consider(to, contender.weight * HELD_WORTH);
            }
        }
        if let Some(left) = space.for_better(contender) {
            for (to, rung) in rungs.iter().enumerate().skip(had) {
                if rung.cost <= left && contender.may_begin(limit, to) {
                    consider(to, contender.weight);
                }
            }
        }
        most.map(|(gain, to)| Step::new(gain, who, to))
    }

    fn is_allowed(&self, who: usize, position: usize) -> bool {
        let limit = self.limits[who];
        limit.best.is_some_and(|best| position <= best) && self.contenders[who].may_begin(limit, position)
    }

    /// Whether there is room for this rung in place of the one granted.
    fn fits(&self, who: usize, position: usize) -> bool {
        self.space(who).holds(&self.contenders[who], position)
    }

    /// What one slot may use, for each kind of step, all others as they are.
    fn space(&self, who: usize) -> Space {
        let others = self.round.used - self.contenders[who].cost(self.round.grants[who]);
        let left = |room: u128| Some(u64::try_from(room.checked_sub(others)?).unwrap_or(u64::MAX));
        Space { plain: left(self.room.plain), shaky: left(self.room.shaky), headroom: left(self.room.headroom) }
    }

    fn grant(&mut self, who: usize, position: usize) {
        let contender = &self.contenders[who];
        self.round.used = self.round.used - contender.cost(self.round.grants[who]) + contender.cost(Some(position));
        self.round.grants[who] = Some(position);
    }
}

/// What is left for one slot in each kind of room; none where the others have more than there is.
struct Space {
    plain: Option<u64>,
    shaky: Option<u64>,
    headroom: Option<u64>,
}

impl Space {
    /// Whether a rung fits: with headroom if it is better than what the slot has.
    fn holds(&self, contender: &Contender, position: usize) -> bool {
        let smallest = position == contender.ladder.cheapest;
        let left = match contender.held {
            Some(held) if position < held && !smallest && contender.shaky && !contender.joining => self.shaky,
            Some(held) if position <= held => self.plain,
            _ => self.for_better(contender),
        };
        left.is_some_and(|left| contender.ladder.rungs[position].cost <= left)
    }

    /// What is left for rungs better than the one held.
    fn for_better(&self, contender: &Contender) -> Option<u64> {
        if contender.joining { self.plain } else { self.headroom }
    }
}

fn gain_per_bit(from: &Rung, to: &Rung) -> f64 {
    let bits = to.cost.saturating_sub(from.cost).max(1);
    (to.utility - from.utility) / bits as f64
}

/// A possible step; the greatest is the one to take. A number, since thousands are compared: the gain, then the first
/// slot, so that the order does not depend on chance, then the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step(u128);

impl Step {
    fn new(gain: f64, who: usize, to: usize) -> Self {
        // As `f64::total_cmp` orders them: of negative numbers all bits count the other way round.
        let bits = gain.to_bits();
        let gain = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        Self(u128::from(gain) << 64 | u128::from(!(who as u32)) << 32 | u128::from(to as u32))
    }

    fn who_to(self) -> (usize, usize) {
        (!((self.0 >> 32) as u32) as usize, self.0 as u32 as usize)
    }
}
