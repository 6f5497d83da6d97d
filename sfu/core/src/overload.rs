//! What is left out when a worker has more to do than it can.
//!
//! Without this, what waits in the socket grows until sound comes seconds late and the kernel drops whatever comes.
//! Instead pictures go, of so many receivers that the rest fits: those that mean least first, each told why. Sound stays.

use crate::allocator::{Class, Reason, SlotRequest, Target};
use crate::api::{MediaKind, ParticipantId};

/// The share of time from which on a worker is taken to have no time left.
const FULL: f64 = 0.97;
/// So many looks in a row at a full worker are no chance: a single one is, where the system gave it no time.
const CERTAIN: u32 = 3;
/// Below this, what was left out may come back.
const RELIEVED: f64 = 0.85;
/// How much more of the pictures is left out for each look at a full worker, in thousandths.
const MORE: u32 = 100;
/// How much comes back after so many looks in a row at a relieved one, in thousandths: slowly, for each picture begins with a
/// keyframe; and not with each look, since everybody's layers are chosen anew then.
const LESS: u32 = 50;
const PATIENCE: u32 = 10;

/// How hard a worker has to work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// The share of the last tenth of a second that was worked, 0 to 1; none in between.
    pub busy: Option<f64>,
    /// What is taken in next has waited for so long that its pictures would be of no use.
    pub late: bool,
}

impl Pressure {
    /// There is no time left.
    pub(crate) fn is_full(&self) -> bool {
        self.busy.is_some_and(|busy| busy >= FULL)
    }
}

/// The whole of something counted in thousandths.
const ALL: u32 = 1000;

/// Decides which pictures are left out.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// Of all pictures, in thousandths.
    share: u32,
    /// How often in a row the worker was full.
    full: u32,
    /// How often in a row it had time, since something came back.
    relieved: u32,
    /// What comes in is too old to be shown.
    pub late: bool,
}

impl Overload {
    /// A look at the worker. True if another share of the pictures is left out now.
    pub(crate) fn on_pressure(&mut self, pressure: Pressure) -> bool {
        self.late = pressure.late;
        let Some(busy) = pressure.busy else { return false };
        self.full = if pressure.is_full() { self.full + 1 } else { 0 };
        self.relieved = if busy < RELIEVED { self.relieved.saturating_add(1) } else { 0 };
        if self.full >= CERTAIN {
            self.more()
        } else if self.relieved >= PATIENCE && self.share > 0 {
            self.relieved = 0;
            self.share = self.share.saturating_sub(LESS);
            true
        } else {
            false
        }
    }

    /// Leaves out more. False if all is left out.
    pub(crate) fn more(&mut self) -> bool {
        let before = self.share;
        self.share = (before + MORE).min(ALL);
        self.share > before
    }

    /// Nothing is left out.
    pub(crate) fn is_idle(&self) -> bool {
        self.share == 0
    }

    /// Takes their pictures from those of a receiver's slots that are left out.
    pub(crate) fn shed(&self, receiver: ParticipantId, requests: &[SlotRequest<'_>], targets: &mut [Target]) {
        if self.is_idle() {
            return;
        }
        for (request, target) in requests.iter().zip(targets) {
            let shown = request.kind == MediaKind::Video && target.layer.is_some();
            if shown && self.sheds(receiver, request.slot, request.class != Class::Other) {
                (target.layer, target.reason) = (None, Reason::ServerOverloaded);
            }
        }
    }

    /// Whether this slot's picture is left out. The same ones stay out while the share grows; pinned pictures, screens
    /// and the speaker go last.
    fn sheds(&self, receiver: ParticipantId, slot: usize, is_important: bool) -> bool {
        // Ids are drawn at random; the multiplication spreads the slots of one receiver (Fibonacci hashing).
        let mixed = (receiver.0 ^ slot as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rank = ((mixed >> 32) % u64::from(ALL / 2)) as u32;
        let rank = if is_important { ALL / 2 + rank } else { rank };
        rank < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Pressure = Pressure { busy: Some(1.0), late: false };
    const EASY: Pressure = Pressure { busy: Some(0.5), late: false };

    /// One that has been full long enough for the next look to count.
    fn full() -> Overload {
        let mut overload = Overload::default();
        (1..CERTAIN).for_each(|look| assert!(!overload.on_pressure(BUSY), "look {look}"));
        overload
    }

    fn shed(overload: &Overload, important: bool) -> Vec<usize> {
        (0..1000).filter(|n| overload.sheds(ParticipantId(*n as u64 * 77_777), 0, important)).collect()
    }

    #[test]
    fn others_go_before_speakers_and_what_is_out_stays_out() {
        let mut overload = full();
        assert!(shed(&overload, false).is_empty() && overload.is_idle());
        let mut before = Vec::new();
        for _ in 0..5 {
            assert!(overload.on_pressure(BUSY));
            let out = shed(&overload, false);
            assert!(before.iter().all(|n| out.contains(n)) && out.len() > before.len());
            assert!(shed(&overload, true).is_empty());
            before = out;
        }
        for _ in 0..5 {
            assert!(overload.on_pressure(BUSY));
        }
        assert_eq!((shed(&overload, false).len(), shed(&overload, true).len()), (1000, 1000), "all of it at the end");
        assert!(!overload.on_pressure(BUSY), "there is no more");
    }

    #[test]
    fn it_comes_back_slowly_and_a_worker_with_little_time_is_left_as_it_is() {
        let mut overload = full();
        (0..7).for_each(|_| _ = overload.on_pressure(BUSY));
        let out = shed(&overload, true).len();
        assert!(!overload.on_pressure(Pressure { busy: Some(0.9), late: false }));
        assert_eq!(shed(&overload, true).len(), out);
        for step in 1..=14 {
            (1..PATIENCE).for_each(|look| assert!(!overload.on_pressure(EASY), "step {step}, look {look}"));
            assert!(overload.on_pressure(EASY), "step {step}");
        }
        assert!(overload.is_idle());
        assert!(!overload.on_pressure(EASY));
    }

    #[test]
    fn a_look_between_two_windows_tells_only_whether_it_is_late() {
        let mut overload = full();
        assert!(!overload.on_pressure(Pressure { busy: None, late: true }));
        assert!(overload.late && overload.is_idle());
        assert!(!overload.on_pressure(EASY), "nothing to give back");
        assert!(!overload.late);
        assert!(!overload.on_pressure(BUSY), "counted anew");
    }

    #[test]
    fn shares_are_what_they_say() {
        let mut overload = full();
        (0..3).for_each(|_| _ = overload.on_pressure(BUSY));
        let out = shed(&overload, false).len();
        assert!((550..650).contains(&out), "{out} of 1000 where 0.3 of 0.5 are out");
    }
}
