//! What time has to do with it: up after a while, down at once, and probing.

use std::time::Duration;

use super::tests::{ONE, THREE, estimate, layer, layers, scalable, start, video};
use super::*;

/// One receiver whose time goes on by command.
struct Receiver {
    allocator: Allocator,
    now: Instant,
}

impl Receiver {
    /// A receiver with these slots, which began a minute ago, with this budget.
    fn with(budget: u64, slots: &[SlotRequest<'_>]) -> Self {
        let mut receiver = Self { allocator: Allocator::default(), now: start() };
        receiver.get(budget, slots);
        receiver.after(60_000, budget, slots);
        receiver
    }

    fn get(&mut self, budget: u64, slots: &[SlotRequest<'_>]) -> Vec<Option<usize>> {
        layers(&self.allocate(budget, slots))
    }

    fn allocate(&mut self, budget: u64, slots: &[SlotRequest<'_>]) -> Allocation {
        self.allocator.allocate(self.now, estimate(budget), slots)
    }

    /// Lets time pass in steps of at most 100 ms, and tells what is got at its end.
    fn after(&mut self, ms: u64, budget: u64, slots: &[SlotRequest<'_>]) -> Vec<Option<usize>> {
        let end = self.now + Duration::from_millis(ms);
        while self.now + Duration::from_millis(100) < end {
            self.now += Duration::from_millis(100);
            self.allocate(budget, slots);
        }
        self.now = end;
        self.get(budget, slots)
    }

    fn reason(&mut self, budget: u64, slots: &[SlotRequest<'_>]) -> Reason {
        self.allocate(budget, slots).targets[0].reason
    }
}

/// Enough for the highest of the three layers, with headroom.
const PLENTY: u64 = 1_800_000;
/// Enough for the middle one, with headroom, and for no more.
const LITTLE: u64 = 600_000;

#[test]
fn down_at_once_fewer_frames_first_then_the_smaller_picture() {
    let svc = scalable();
    let slots = [video(0, &svc)];
    let mut receiver = Receiver::with(2_000_000, &slots);
    let budgets = [1_000_000, 999_000, 799_000, 599_000, 199_000, 149_000, 99_000];
    let got = budgets.map(|budget| receiver.get(budget, &slots)[0]);
    assert_eq!(got, [Some(5), Some(4), Some(3), Some(2), Some(1), Some(0), None]);
}

#[test]
fn up_after_the_better_layer_has_fitted_1_15_times_for_a_second() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(LITTLE, &slots);
    assert_eq!(receiver.after(20_000, 1_724_000, &slots), [Some(1)], "not 1.15 times over");
    assert_eq!(receiver.get(1_725_000, &slots), [Some(1)]);
    assert_eq!(receiver.reason(1_725_000, &slots), Reason::WaitingForStability { ms: 1000 });
    assert_eq!(receiver.after(900, 1_725_000, &slots), [Some(1)]);
    receiver.after(50, 1_700_000, &slots);
    assert_eq!(receiver.after(50, 1_725_000, &slots), [Some(1)], "the second begins anew");
    assert_eq!(receiver.after(999, 1_725_000, &slots), [Some(1)]);
    assert_eq!(receiver.after(1, 1_725_000, &slots), [Some(2)]);
}

#[test]
fn a_layer_that_fitted_for_a_second_is_not_overtaken_by_one_that_fits_for_a_moment() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(200_000, &slots);
    assert_eq!(receiver.after(900, LITTLE, &slots), [Some(0)]);
    receiver.after(100, PLENTY, &slots);
    assert_eq!(receiver.after(100, PLENTY, &slots), [Some(1)]);
    assert_eq!(receiver.after(1000, PLENTY, &slots), [Some(2)]);
}

#[test]
fn up_to_a_layer_that_is_live_for_two_seconds_with_a_sender_report() {
    let young = |now, ms, has_report| {
        let mut layers = THREE;
        layers[2].live_since = Some(now - Duration::from_millis(ms));
        layers[2].has_report = has_report;
        layers
    };
    let two = [THREE[0], THREE[1]];
    let mut receiver = Receiver::with(PLENTY, &[video(0, &two)]);
    let now = receiver.now;
    assert_eq!(receiver.get(PLENTY, &[video(0, &young(now, 0, true))]), [Some(1)]);
    receiver.now += Duration::from_millis(1999);
    let layers = young(receiver.now, 1999, true);
    assert_eq!(receiver.reason(PLENTY, &[video(0, &layers)]), Reason::WaitingForStability { ms: 1 });
    receiver.now += Duration::from_millis(1);
    let now = receiver.now;
    assert_eq!(receiver.get(PLENTY, &[video(0, &young(now, 2000, false))]), [Some(1)], "no report");
    assert_eq!(receiver.get(PLENTY, &[video(0, &young(now, 2000, true))]), [Some(2)]);
}

#[test]
fn a_publisher_without_sender_reports_is_waited_for_ten_seconds() {
    let mut layers = THREE;
    let mut receiver = Receiver::with(LITTLE, &[video(0, &layers)]);
    layers[2].has_report = false;
    layers[2].live_since = Some(receiver.now);
    assert_eq!(receiver.after(9900, PLENTY, &[video(0, &layers)]), [Some(1)]);
    assert_eq!(receiver.after(100, PLENTY, &[video(0, &layers)]), [Some(2)]);
}

#[test]
fn up_ten_seconds_after_a_lack_of_bandwidth_brought_the_slot_down() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &slots);
    assert_eq!(receiver.get(LITTLE, &slots), [Some(1)]);
    assert_eq!(receiver.after(100, PLENTY, &slots), [Some(1)]);
    assert_eq!(receiver.reason(PLENTY, &slots), Reason::RecentlyDowngraded { seconds: 10 });
    assert_eq!(receiver.after(9899, PLENTY, &slots), [Some(1)]);
    assert_eq!(receiver.after(1, PLENTY, &slots), [Some(2)]);
}

#[test]
fn a_slot_that_was_made_larger_gets_the_larger_layer_at_once() {
    let small = [SlotRequest { wanted: Some(180), ..video(0, &THREE) }];
    let large = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &large);
    for _ in 0..10 {
        assert_eq!(receiver.after(100, PLENTY, &small), [Some(0)]);
        assert_eq!(receiver.after(100, PLENTY, &large), [Some(2)], "a change of view is no downgrade");
    }
    receiver.after(20_000, PLENTY, &small);
    assert_eq!(receiver.get(1_700_000, &large), [Some(1)], "not where bandwidth is short");
}

#[test]
fn a_slot_made_larger_soon_after_a_lack_of_bandwidth_waits() {
    let small = [SlotRequest { wanted: Some(180), ..video(0, &THREE) }];
    let large = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &large);
    receiver.get(LITTLE, &large);
    receiver.after(100, PLENTY, &small);
    assert_eq!(receiver.after(100, PLENTY, &large), [Some(0)]);
    assert_eq!(receiver.after(10_000, PLENTY, &large), [Some(2)]);
}

#[test]
fn a_slot_that_is_pinned_takes_from_the_others_at_once() {
    let before = [video(0, &THREE), video(1, &THREE)];
    let mut receiver = Receiver::with(2_050_000, &before);
    assert_eq!(receiver.get(2_050_000, &before), [Some(2), Some(1)]);
    let pinned = [video(0, &THREE), SlotRequest { class: Class::Pinned, ..video(1, &THREE) }];
    assert_eq!(receiver.get(2_050_000, &pinned), [Some(1), Some(2)]);
}

#[test]
fn a_new_speaker_takes_from_the_others_after_a_second_and_they_keep_theirs_until_then() {
    let before = [video(0, &THREE), video(1, &THREE)];
    let mut receiver = Receiver::with(2_300_000, &before);
    let speaking = [video(0, &THREE), SlotRequest { class: Class::Speaker, ..video(1, &THREE) }];
    assert_eq!(receiver.get(2_300_000, &speaking), [Some(2), Some(1)]);
    assert_eq!(receiver.after(900, 2_300_000, &speaking), [Some(2), Some(1)]);
    assert_eq!(receiver.after(100, 2_300_000, &speaking), [Some(1), Some(2)]);
}

#[test]
fn slots_do_not_change_places_for_a_little_more_gain() {
    let cheaper = [layer(180, 150_000), layer(360, 500_000), layer(720, 1_300_000)];
    let mut receiver = Receiver::with(2_100_000, &[video(0, &THREE), video(1, &THREE)]);
    let slots = [video(0, &THREE), video(1, &cheaper)];
    assert_eq!(receiver.after(30_000, 2_100_000, &slots), [Some(2), Some(1)]);
}

#[test]
fn on_joining_the_wanted_layer_is_tried_at_once() {
    let mut new = THREE;
    let mut receiver = Receiver { allocator: Allocator::default(), now: start() };
    new[2].live_since = Some(receiver.now);
    receiver.allocate(0, &[]);
    assert_eq!(receiver.get(1_500_000, &[video(0, &new)]), [Some(2)]);
}

#[test]
fn another_track_begins_anew() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &slots);
    assert_eq!(receiver.get(LITTLE, &slots), [Some(1)]);
    assert_eq!(receiver.get(PLENTY, &slots), [Some(1)]);
    assert_eq!(receiver.get(PLENTY, &[SlotRequest { track: 99, ..video(0, &THREE) }]), [Some(2)]);
}

#[test]
fn a_slot_that_is_shown_again_begins_anew() {
    let shown = [video(0, &THREE)];
    let hidden = [SlotRequest { hidden: true, ..video(0, &THREE) }];
    let mut receiver = Receiver::with(PLENTY, &shown);
    assert_eq!(receiver.after(5000, PLENTY, &hidden), [None]);
    assert_eq!(receiver.get(PLENTY, &shown), [Some(2)]);
}

#[test]
fn a_paused_slot_comes_back_when_its_smallest_fits_with_headroom() {
    let slots = [video(0, &ONE)];
    let mut receiver = Receiver::with(1_100_000, &slots);
    assert_eq!(receiver.get(899_000, &slots), [None]);
    assert_eq!(receiver.after(30_000, 1_034_000, &slots), [None]);
    let reason =
        Reason::PausedNoBandwidth { estimate: estimate(1_034_000).unwrap(), needed: estimate(1_035_000).unwrap() };
    assert_eq!(receiver.reason(1_034_000, &slots), reason);
    receiver.get(1_035_000, &slots);
    assert_eq!(receiver.after(1000, 1_035_000, &slots), [Some(0)]);
}

#[test]
fn a_publisher_that_begins_late_is_shown_at_once() {
    let silent = THREE.map(|layer| LayerState { live: false, bitrate: 0, ..layer });
    let mut receiver = Receiver::with(LITTLE, &[video(0, &silent)]);
    assert_eq!(receiver.get(LITTLE, &[video(0, &THREE)]), [Some(1)]);
    assert_eq!(receiver.after(100, 1_500_000, &[video(0, &THREE)]), [Some(2)], "and that was no downgrade");
}

#[test]
fn a_slot_brought_down_as_it_began_stays_down() {
    let mut receiver = Receiver::with(0, &[]);
    let slots = [video(0, &THREE)];
    assert_eq!(receiver.get(PLENTY, &slots), [Some(2)]);
    receiver.now += Duration::from_millis(100);
    assert_eq!(receiver.get(LITTLE, &slots), [Some(1)]);
    assert_eq!(receiver.after(100, PLENTY, &slots), [Some(1)]);
}

#[test]
fn a_layer_that_the_publisher_stops_is_no_downgrade() {
    let mut receiver = Receiver::with(PLENTY, &[video(0, &THREE)]);
    let mut stopped = THREE;
    stopped[2].live = false;
    assert_eq!(receiver.get(PLENTY, &[video(0, &stopped)]), [Some(1)]);
    assert_eq!(receiver.after(1100, PLENTY, &[video(0, &THREE)]), [Some(2)]);
}

#[test]
fn a_muted_track_goes_no_higher_because_it_costs_nothing() {
    let silent = THREE.map(|layer| LayerState { bitrate: 1000, ..layer });
    let mut receiver = Receiver::with(LITTLE, &[video(0, &THREE)]);
    let muted = [SlotRequest { muted: true, ..video(0, &silent) }];
    assert_eq!(receiver.after(30_000, LITTLE, &muted), [Some(1)]);
}

#[test]
fn the_first_estimate_corrects_a_guess_and_brings_nobody_down() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver { allocator: Allocator::default(), now: start() };
    receiver.allocator.allocate(receiver.now, None, &slots);
    receiver.now += Duration::from_secs(5);
    assert_eq!(receiver.get(LITTLE, &slots), [Some(1)]);
    receiver.get(PLENTY, &slots);
    assert_eq!(receiver.after(1000, PLENTY, &slots), [Some(2)]);
}

#[test]
fn a_slot_comes_back_from_a_dip_within_fifteen_seconds() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &slots);
    for budget in [1_000_000, 400_000, 100_000] {
        receiver.after(1000, budget, &slots);
    }
    receiver.after(5000, 100_000, &slots);
    assert_eq!(receiver.after(15_000, PLENTY, &slots), [Some(2)]);
}

#[test]
fn a_link_on_the_edge_of_a_step_makes_four_changes_a_minute() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &slots);
    let mut changes = Vec::new();
    let mut before = receiver.get(PLENTY, &slots);
    for second in 0..600_u64 {
        // Wider than 15 %, and as slow as makes the most of it.
        let got = receiver.after(1000, if second % 13 < 12 { PLENTY } else { LITTLE }, &slots);
        if got != before {
            changes.push(second);
            before = got;
        }
    }
    let most = changes.iter().map(|at| changes.iter().filter(|c| (*at..at + 60).contains(c)).count()).max();
    assert_eq!(most, Some(4), "{changes:?}");
}

#[test]
fn a_slot_that_went_up_a_moment_ago_comes_down_with_room_but_is_not_paused_for_it() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(LITTLE, &slots);
    assert_eq!(receiver.after(1100, PLENTY, &slots), [Some(2)]);
    let mut twin = Receiver { allocator: receiver.allocator.clone(), now: receiver.now };
    assert_eq!(receiver.get(599_000, &slots), [Some(0)], "360 would have to come down again soon");
    assert_eq!(twin.get(151_000, &slots), [Some(0)]);
}

#[test]
fn probes_only_when_something_is_short_and_up_to_the_next_step() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver { allocator: Allocator::default(), now: start() };
    let satisfied = receiver.allocate(2_000_000, &slots);
    assert_eq!((satisfied.desired, satisfied.used), (1_500_000, 1_500_000));
    let mut receiver = Receiver { allocator: Allocator::default(), now: start() };
    let short = receiver.allocate(200_000, &slots);
    assert_eq!((short.desired, short.used), (estimate(575_000).unwrap(), 150_000));
    // That much reached, the next step is probed for before the first is taken.
    let next = receiver.allocate(575_000, &slots);
    assert_eq!(next.desired, estimate(1_725_000).unwrap());
}

#[test]
fn nothing_is_probed_for_just_after_a_downgrade() {
    let slots = [video(0, &THREE)];
    let mut receiver = Receiver::with(PLENTY, &slots);
    let down = receiver.allocate(LITTLE, &slots);
    assert_eq!(down.desired, down.used);
    receiver.after(2900, LITTLE, &slots);
    assert_eq!(receiver.allocate(LITTLE, &slots).desired, 500_000);
    receiver.after(100, LITTLE, &slots);
    assert_eq!(receiver.allocate(LITTLE, &slots).desired, estimate(1_725_000).unwrap());
}
