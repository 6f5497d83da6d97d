//! The layers of one slot as rungs, from the worst that is worth sending to the best that would be seen.

use std::time::{Duration, Instant};

use super::{LayerState, SlotRequest};

/// A layer must have been live for this long before a slot goes up to it: encoders start and stop their top layer while
/// they find out what their own uplink carries.
const LIVE: Duration = Duration::from_secs(2);
/// The same without a sender report: a publisher that never sends one must not be held at its lowest layer for ever.
const LIVE_WITHOUT_REPORT: Duration = Duration::from_secs(10);
/// A layer of at least this share of the wanted height is as good as one of the full height: scaling up by a sixth is
/// hardly seen, the next layer costs about three times as much.
const NEAR_PERCENT: u32 = 85;
/// What doubling the frame rate is worth, where doubling the number of pixels is worth 1.
const FRAME_RATE_WORTH: f64 = 0.5;
/// The least that a better rung is worth more than the one below it.
const LEAST_STEP: f64 = 0.05;

/// One layer that a slot can get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rung {
    /// Index in the request's layers.
    pub layer: usize,
    /// Its place among all layers of the track, live or not, from worst to best.
    pub place: usize,
    pub height: u16,
    /// Bits per second.
    pub cost: u64,
    /// How good it looks: see [`Ladder::new`].
    pub utility: f64,
    /// How long until a slot may go up to it.
    pub unsettled: Duration,
}

/// What a slot can get. Never without rungs.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    /// From worst to best; the last is what the slot wants.
    pub rungs: Vec<Rung>,
    /// The position of the cheapest rung, the better one of two that cost the same.
    pub cheapest: usize,
    /// Indices of all layers of the track, from worst to best.
    order: Vec<usize>,
    /// What the slot would want if every layer were live: what to ask of the publisher.
    pub demand: usize,
    /// Packets come.
    pub live: bool,
}

impl Ladder {
    /// The rungs of a slot; none if the track has no layers.
    ///
    /// Utility is `log2(pixels) + 0.5 log2(frame rate)`: each doubling is worth the same, so that the first bits go to
    /// the many small pictures and the last to the few large ones. The frame rate counts for less than the pixels,
    /// since a lower one shows only where something moves.
    pub(super) fn new(now: Instant, slot: &SlotRequest<'_>) -> Option<Self> {
        let layers = slot.layers;
        let order = ascending(layers);
        let live = layers.iter().any(|l| l.live);
        let usable = |l: &LayerState| l.live || !live;
        let sized = layers.iter().any(|l| usable(l) && l.height > 0);
        let wanted = slot.wanted.unwrap_or(u16::MAX);
        let mut rungs = Vec::with_capacity(order.len());
        for (place, &layer) in order.iter().enumerate() {
            let state = &layers[layer];
            if usable(state) && (!sized || state.height > 0) {
                let (height, cost) = (state.height, state.bitrate);
                rungs.push(Rung { layer, place, height, cost, utility: 0.0, unsettled: unsettled(now, state) });
            }
        }
        let top = rungs.len().checked_sub(1)?;
        let enough = rungs.iter().map(|r| r.height).filter(|h| is_near(*h, wanted)).min();
        let top = enough.and_then(|height| rungs.iter().rposition(|r| r.height == height)).unwrap_or(top);
        rungs.truncate(top + 1);
        value(&mut rungs, layers);
        let demand = demand(layers, &order, wanted).unwrap_or(rungs[top].layer);
        let cheapest = (0..rungs.len()).rev().min_by_key(|position| rungs[*position].cost)?;
        Some(Self { rungs, cheapest, order, demand, live })
    }

    /// The position of the best rung.
    pub(super) fn top(&self) -> usize {
        self.rungs.len() - 1
    }

    /// The position of a layer; where the slot can no longer have it, of the best rung below it, else of the first.
    pub(super) fn position(&self, layer: usize) -> Option<usize> {
        let place = self.order.iter().position(|l| *l == layer)?;
        Some(self.rungs.iter().rposition(|rung| rung.place <= place).unwrap_or(0))
    }
}

/// Indices from worst to best. The request is in that order already, but publishers may offer their simulcast layers in
/// any: heights tell, as soon as one is known, and layers whose height is not known are at the bottom; where nothing
/// else differs, bit rates do.
fn ascending(layers: &[LayerState]) -> Vec<usize> {
    let rate = |l: &LayerState| if l.height > 0 { 0 } else { l.bitrate };
    let key = |l: &LayerState| (l.height, l.spatial, l.temporal, rate(l));
    let mut order: Vec<usize> = (0..layers.len()).collect();
    // Nearly always they come in that order.
    if !layers.is_sorted_by_key(key) {
        order.sort_by_key(|index| key(&layers[*index]));
    }
    order
}

/// The layer to ask of the publisher, live or not: the smallest that is large enough; if none is known to be, the best
/// of unknown size, which turns out to be what it is once it comes.
fn demand(layers: &[LayerState], order: &[usize], wanted: u16) -> Option<usize> {
    let enough = layers.iter().map(|l| l.height).filter(|h| is_near(*h, wanted)).min();
    let best = |height: u16| order.iter().rev().find(|index| layers[**index].height == height);
    enough.and_then(best).or_else(|| best(0)).or(order.last()).copied()
}

fn is_near(height: u16, wanted: u16) -> bool {
    height > 0 && u32::from(height) * 100 >= u32::from(wanted) * NEAR_PERCENT
}

/// Sets the utility of each rung: see [`Ladder::new`].
fn value(rungs: &mut [Rung], layers: &[LayerState]) {
    let (mut height, mut doublings) = (0, 0.0);
    let mut below = f64::NEG_INFINITY;
    for rung in rungs {
        let layer = &layers[rung.layer];
        // Rungs of one height follow each other, and a logarithm costs more than all the rest.
        if layer.height != height {
            (height, doublings) = (layer.height, f64::from(layer.height).log2());
        }
        // Width goes with height. Without a height, each spatial layer is taken to double both.
        let pixels = 2.0 * if height > 0 { doublings } else { f64::from(layer.spatial) };
        rung.utility = (pixels + FRAME_RATE_WORTH * f64::from(layer.temporal)).max(below + LEAST_STEP);
        below = rung.utility;
    }
}

fn unsettled(now: Instant, layer: &LayerState) -> Duration {
    let least = if layer.has_report { LIVE } else { LIVE_WITHOUT_REPORT };
    match layer.live_since {
        Some(since) => least.saturating_sub(now.saturating_duration_since(since)),
        None if layer.has_report => Duration::ZERO,
        None => least,
    }
}
