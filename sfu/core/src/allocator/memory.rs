//! What is remembered of a slot, so that it does not go up and down.

use std::time::{Duration, Instant};

use super::passes::Contender;
use super::{Class, SlotRequest};

/// A slot that begins to show a track gets at once what fits, for this long.
const JOINING: Duration = Duration::from_secs(1);
/// How long a better layer must fit before it is chosen.
const STABLE: Duration = Duration::from_secs(1);
/// How long a slot stays down that a lack of bandwidth has brought down.
const DOWN: Duration = Duration::from_secs(10);
/// For how long after a slot began changes are not counted.
const FINDING: Duration = Duration::from_secs(10);
/// The time over which changes are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// So many changes within a minute keep a slot from going up: one up and one down more make four.
const CHANGES: usize = 3;

/// Why a slot may not have what fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It has not fitted for long enough.
    Stability(Duration),
    /// The slot went down a moment ago, or too often.
    Downgraded(Duration),
}

/// How much the viewer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    wanted: u16,
    pinned: bool,
}

/// What is remembered of one slot as long as it shows one track.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    track: u64,
    /// The number of the last allocation that had this slot.
    pub seen: u64,
    since: Instant,
    layer: Option<usize>,
    view: View,
    /// The viewer has just asked for more.
    raised: bool,
    /// A layer better than the one held, and since when it, or a better one, has fitted.
    fits: Option<(usize, Instant)>,
    /// When it last lost quality to a lack of bandwidth.
    downgraded: Option<Instant>,
    went_up: Option<Instant>,
    /// After a fall of the link: when the slot first went up again.
    rise: Option<Option<Instant>>,
    /// When the last changes were that nobody asked for, the oldest first.
    changes: [Option<Instant>; CHANGES],
}

impl Memory {
    pub(super) fn new(now: Instant, slot: &SlotRequest<'_>) -> Self {
        Self {
            track: slot.track,
            seen: 0,
            since: now,
            layer: slot.current,
            view: View::of(slot),
            raised: false,
            fits: None,
            downgraded: None,
            went_up: None,
            rise: None,
            changes: [None; CHANGES],
        }
    }

    /// Takes note of a request before the allocation.
    pub(super) fn refresh(&mut self, now: Instant, slot: &SlotRequest<'_>) {
        if self.track != slot.track {
            *self = Self::new(now, slot);
        }
        let view = View::of(slot);
        self.raised = view.exceeds(self.view);
        self.view = view;
    }

    /// The slot shows nothing, because it is hidden, the receiver cannot take the codec, or no packets come: it begins
    /// anew when that ends.
    pub(super) fn idle(&mut self, now: Instant) {
        self.layer = None;
        self.fits = None;
        self.since = now;
    }

    /// The layer that it got last.
    pub(super) fn layer(&self) -> Option<usize> {
        self.layer
    }

    /// It has just begun, and nothing has gone wrong since.
    pub(super) fn is_joining(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < JOINING && self.downgraded.is_none_or(|at| at < self.since)
    }

    /// It went up within the last minute, without having been asked to.
    pub(super) fn is_shaky(&self, now: Instant) -> bool {
        self.went_up.is_some_and(|at| now.saturating_duration_since(at) < MINUTE)
    }

    /// Takes note of what would fit, and says how much of it the slot may have: a position better than the one held.
    pub(super) fn admit(&mut self, now: Instant, contender: &Contender, ideal: usize) -> Result<usize, Wait> {
        let ladder = &contender.ladder;
        let known = self.fits.and_then(|(layer, since)| Some((ladder.position(layer)?, since)));
        let (fitting, since) = match known.filter(|(position, _)| contender.held.is_none_or(|held| *position > held)) {
            Some((position, since)) => (position.min(ideal), since),
            None => (ideal, now),
        };
        self.fits = Some((ladder.rungs[fitting].layer, since));
        if contender.joining {
            return Ok(ideal);
        }
        if let Some(left) = self.penalty(now) {
            return Err(Wait::Downgraded(left));
        }
        if self.raised {
            return Ok(ideal);
        }
        match left(now, since, STABLE) {
            Some(left) => Err(Wait::Stability(left)),
            None => Ok(fitting),
        }
    }

    /// Nothing better fits.
    pub(super) fn nothing_fits(&mut self) {
        self.fits = None;
    }

    /// How long the slot must stay down.
    fn penalty(&self, now: Instant) -> Option<Duration> {
        let downgraded = self.downgraded?;
        left(now, downgraded, DOWN).or_else(|| {
            if self.is_rising(now) {
                return None;
            }
            // Down, up, down and so on: the slot sits on an edge. To come back once from a dip is always allowed.
            let down = left(now, downgraded, MINUTE)?;
            let up = left(now, self.went_up?, MINUTE)?;
            let often = left(now, self.changes[0]?, MINUTE)?;
            Some(down.min(up).min(often))
        })
    }

    /// The link has become another one: what swung before says nothing of what comes.
    pub(super) fn forget_changes(&mut self) {
        self.changes = [None; CHANGES];
        self.rise = Some(None);
    }

    /// Remembers what the slot got; `fall` is when the link began to fall, if it does. True if a lack of bandwidth brought
    /// the slot down.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        contender: &Contender,
        fall: Option<Instant>,
        granted: Option<usize>,
        ideal: Option<usize>,
    ) -> bool {
        let layer = |position: usize| contender.ladder.rungs[position].layer;
        let down = granted < contender.held;
        if down {
            self.downgraded = Some(now);
            // A link that falls brings a slot down in several steps: one change.
            if fall.is_none() || self.changes[CHANGES - 1] < fall {
                self.count(now);
            }
        } else if granted > contender.held {
            if !contender.joining && !self.raised {
                self.went_up = Some(now);
                // So do the steps up after it, for as long as a slot would stay down.
                if !self.is_rising(now) {
                    self.count(now);
                }
                if let Some(rise) = &mut self.rise {
                    rise.get_or_insert(now);
                }
            }
            self.fits = ideal.filter(|_| ideal > granted).map(|ideal| (layer(ideal), now));
        }
        self.grant(contender, granted);
        down
    }

    /// Remembers what the slot got, and nothing else.
    pub(super) fn grant(&mut self, contender: &Contender, granted: Option<usize>) {
        // Without packets the layer is a guess: another one is neither up nor down.
        let layer = granted.filter(|_| contender.ladder.live).map(|position| contender.ladder.rungs[position].layer);
        self.layer = layer;
    }

    /// It comes back after a fall of the link.
    fn is_rising(&self, now: Instant) -> bool {
        self.rise.flatten().is_some_and(|at| left(now, at, DOWN).is_some())
    }

    fn count(&mut self, now: Instant) {
        // While the level is being found, nothing swings yet.
        if now.saturating_duration_since(self.since) < FINDING {
            return;
        }
        self.changes.rotate_left(1);
        self.changes[CHANGES - 1] = Some(now);
    }
}

impl View {
    fn of(slot: &SlotRequest<'_>) -> Self {
        Self { wanted: slot.wanted.unwrap_or(u16::MAX), pinned: slot.class == Class::Pinned }
    }

    fn exceeds(self, before: Self) -> bool {
        self.wanted > before.wanted || (self.pinned && !before.pinned)
    }
}

/// What is left of a time that began at `since`; none once it is over.
fn left(now: Instant, since: Instant, whole: Duration) -> Option<Duration> {
    whole.checked_sub(now.saturating_duration_since(since)).filter(|left| !left.is_zero())
}
