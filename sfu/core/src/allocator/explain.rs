//! Says why each contender got what it got.

use std::time::Duration;

use super::memory::Wait;
use super::passes::{Budget, Contender, Round};
use super::{Reason, SlotRequest};

/// An allocation as it was decided.
#[derive(Debug)]
pub(super) struct Decision {
    pub budget: Budget,
    /// What the budget allows for.
    pub ideal: Round,
    /// What is granted.
    pub granted: Round,
    /// Why a contender has less than the budget allows for.
    pub waits: Vec<Option<Wait>>,
}

/// Explains one allocation.
pub(super) struct Explainer<'a> {
    contenders: &'a [Contender],
    slots: &'a [SlotRequest<'a>],
    decision: Option<&'a Decision>,
    /// What the smallest layers cost of all that are not paused.
    smallest: u128,
    /// The two most important ones that have more than the smallest.
    favoured: [Option<usize>; 2],
}

impl<'a> Explainer<'a> {
    /// `decision` is none where the bandwidth is not known.
    pub(super) fn new(
        contenders: &'a [Contender],
        slots: &'a [SlotRequest<'a>],
        decision: Option<&'a Decision>,
    ) -> Self {
        let mut explainer = Self { contenders, slots, decision, smallest: 0, favoured: [None; 2] };
        let Some(decision) = decision else { return explainer };
        let importance = |who: usize| (contenders[who].rank(), contenders[who].cost(decision.granted.grants[who]));
        for (who, contender) in contenders.iter().enumerate() {
            let Some(granted) = decision.granted.grants[who] else { continue };
            let smallest = contender.cost(Some(contender.ladder.cheapest));
            explainer.smallest += smallest;
            if contender.cost(Some(granted)) <= smallest {
                continue;
            }
            let [first, second] = explainer.favoured;
            let exceeds = |other: Option<usize>| other.is_none_or(|other| importance(who) > importance(other));
            if exceeds(first) {
                explainer.favoured = [Some(who), first];
            } else if exceeds(second) {
                explainer.favoured = [first, Some(who)];
            }
        }
        explainer
    }

    /// The reason for what one contender was granted.
    pub(super) fn reason(&self, who: usize, granted: Option<usize>) -> Reason {
        let contender = &self.contenders[who];
        let slot = &self.slots[contender.request];
        let short = granted < Some(contender.wanted());
        match self.decision {
            Some(decision) if granted.is_none() => self.paused(decision, who),
            _ if slot.muted => Reason::Muted,
            _ if !contender.ladder.live => Reason::NoPackets,
            Some(decision) if short => self.short(decision, who),
            _ if slot.layers.len() == 1 => Reason::OnlyLayer,
            _ => Reason::NearestSize { wanted: slot.wanted.unwrap_or(0), chosen: self.height(who, granted) },
        }
    }

    fn paused(&self, decision: &Decision, who: usize) -> Reason {
        let estimate = decision.budget.estimate;
        self.waiting(decision, who).unwrap_or_else(|| {
            let needed = estimate_for(self.contenders, decision, who, self.contenders[who].ladder.cheapest);
            Reason::PausedNoBandwidth { estimate, needed }
        })
    }

    fn short(&self, decision: &Decision, who: usize) -> Reason {
        let contender = &self.contenders[who];
        if let Some(reason) = self.waiting(decision, who) {
            return reason;
        }
        let paused = decision.granted.paused.filter(|paused| self.contenders[*paused].class > contender.class);
        if let Some(other) = paused.or_else(|| self.favourite(decision, who)) {
            return Reason::PriorityToOthers { slot: self.slots[self.contenders[other].request].slot };
        }
        let wanted = contender.wanted();
        Reason::EstimateTooLow {
            estimate: decision.budget.estimate,
            needed: estimate_for(self.contenders, decision, who, wanted),
            chosen: self.height(who, decision.granted.grants[who]),
            wanted: self.height(who, Some(wanted)),
        }
    }

    /// What a contender waits for that could have more by the budget alone.
    fn waiting(&self, decision: &Decision, who: usize) -> Option<Reason> {
        let ideal = decision.ideal.grants[who].filter(|_| decision.ideal.grants[who] > decision.granted.grants[who])?;
        let unsettled = self.contenders[who].ladder.rungs[ideal].unsettled;
        Some(match decision.waits[who] {
            Some(Wait::Downgraded(left)) => {
                Reason::RecentlyDowngraded { seconds: left.as_millis().div_ceil(1000) as u64 }
            }
            Some(Wait::Stability(left)) => Reason::WaitingForStability { ms: milliseconds(left.max(unsettled)) },
            None => Reason::WaitingForStability { ms: milliseconds(unsettled) },
        })
    }

    /// The other contender because of which this one is short: without it the wanted layer would fit.
    fn favourite(&self, decision: &Decision, who: usize) -> Option<usize> {
        let contender = &self.contenders[who];
        let own = contender.cost(Some(contender.ladder.cheapest));
        let wanted = contender.cost(Some(contender.wanted()));
        let alone = decision.budget.estimate_for(self.smallest.saturating_sub(own) + wanted);
        let other = self.favoured.into_iter().flatten().find(|other| *other != who);
        other.filter(|_| alone <= decision.budget.estimate)
    }

    fn height(&self, who: usize, position: Option<usize>) -> u16 {
        position.map_or(0, |position| self.contenders[who].ladder.rungs[position].height)
    }
}

/// The estimate to probe for: that with which the next step would fit, of the most important slot that is short.
pub(super) fn next_step(contenders: &[Contender], decision: &Decision) -> Option<u64> {
    let short = contenders.iter().enumerate().filter_map(|(who, contender)| {
        let now = decision.ideal.grants[who];
        let next = match now {
            Some(now) => (now + 1..=contender.wanted()).min_by_key(|p| contender.ladder.rungs[*p].cost)?,
            None => contender.ladder.cheapest,
        };
        let urgency = match now {
            None => (0, std::cmp::Reverse(contender.rank())),
            Some(_) => (1, std::cmp::Reverse((contender.class.max(super::Class::Speaker), 0))),
        };
        Some((urgency, estimate_for(contenders, decision, who, next)))
    });
    short.min().map(|(_, goal)| goal)
}

/// The estimate with which a contender would get a position, all else as the budget allows for.
fn estimate_for(contenders: &[Contender], decision: &Decision, who: usize, position: usize) -> u64 {
    let others = decision.ideal.used - contenders[who].cost(decision.ideal.grants[who]);
    let needed = decision.budget.estimate_for(others + contenders[who].cost(Some(position)));
    needed.max(decision.budget.estimate.saturating_add(1))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
