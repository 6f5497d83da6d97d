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
/// Below this, over [`PATIENCE`] looks of which none was at a full worker, what was left out may come back.
const RELIEVED: f64 = 0.85;
/// How much more of the pictures is left out for each look at a full worker, in thousandths.
const MORE: u32 = 100;
/// How much comes back then, in thousandths, at least, and for all of the time that is left below [`RELIEVED`]: what is shed
/// while a backlog is worked off is more than has to be. Not all of it, for each picture begins with a keyframe; and not with
/// each look, since everybody's layers are chosen anew then.
const LEAST: u32 = 25;
const BACK: f64 = 300.0;
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
    /// How often in a row it was not, since something came back, and the sum of the shares of time that it worked.
    relieved: u32,
    worked: f64,
    /// What comes in is too old to be shown.
    pub late: bool,
}

impl Overload {
    /// A look at the worker. True if another share of the pictures is left out now.
    pub(crate) fn on_pressure(&mut self, pressure: Pressure) -> bool {
        self.late = pressure.late;
        let Some(busy) = pressure.busy else { return false };
        if pressure.is_full() {
            (self.relieved, self.worked) = (0, 0.0);
            self.full += 1;
            return self.full >= CERTAIN && self.more();
        }
        self.full = 0;
        self.relieved += 1;
        self.worked += busy;
        if self.relieved < PATIENCE {
            return false;
        }
        let left = RELIEVED - self.worked / f64::from(PATIENCE);
        (self.relieved, self.worked) = (0, 0.0);
        let comes_back = self.share > 0 && left > 0.0;
        if comes_back {
            self.share = self.share.saturating_sub(LEAST.max((left * BACK).round() as u32));
        }
        comes_back
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

    /// How many seconds it takes until nothing is left out of seven tenths, where the worker is so busy in turn.
    fn seconds_to_recover(busy: [f64; 2]) -> Option<usize> {
        let mut overload = full();
        (0..7).for_each(|_| _ = overload.on_pressure(BUSY));
        (1..=60).find(|_| {
            (0..PATIENCE as usize).for_each(|look| {
                let changed = overload.on_pressure(Pressure { busy: Some(busy[look % 2]), late: false });
                assert!(!changed || look + 1 == PATIENCE as usize, "not with each look");
            });
            overload.is_idle()
        })
    }

    #[test]
    fn it_comes_back_the_sooner_the_more_time_there_is() {
        assert_eq!(seconds_to_recover([0.15, 0.15]), Some(4), "210 thousandths a second");
        assert_eq!(seconds_to_recover([0.5, 0.5]), Some(7));
        assert_eq!(seconds_to_recover([0.8, 0.8]), Some(28), "25 thousandths");
        assert_eq!(seconds_to_recover([0.6, 0.9]), Some(24), "a busy tenth of a second is outweighed by an idle one");
        assert_eq!(seconds_to_recover([0.9, 0.9]), None, "there is little time");
        assert_eq!(seconds_to_recover([0.1, 1.0]), None, "no look at a full worker");
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
