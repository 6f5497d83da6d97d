//! What is shared out, at one instant. What time has to do with it is in `hysteresis_tests`.

use super::*;

pub(super) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
    Instant::now()
}

pub(super) const fn layer(height: u16, bitrate: u64) -> LayerState {
    LayerState { spatial: 0, temporal: 0, height, bitrate, live: true, live_since: None, has_report: true }
}

pub(super) const ONE: [LayerState; 1] = [layer(720, 900_000)];
pub(super) const THREE: [LayerState; 3] = [layer(180, 150_000), layer(360, 500_000), layer(720, 1_500_000)];

/// Two spatial layers with three frame rates each, as scalable coding makes them.
pub(super) fn scalable() -> Vec<LayerState> {
    let rates = [100_000, 150_000, 200_000, 600_000, 800_000, 1_000_000];
    let target = |index: usize| LayerState {
        spatial: (index / 3) as u8,
        temporal: (index % 3) as u8,
        ..layer(if index < 3 { 360 } else { 720 }, rates[index])
    };
    (0..6).map(target).collect()
}

/// A visible slot that wants 720 lines.
pub(super) const fn video(slot: usize, layers: &[LayerState]) -> SlotRequest<'_> {
    SlotRequest {
        slot,
        track: slot as u64,
        kind: MediaKind::Video,
        class: Class::Other,
        priority: 0,
        layers,
        wanted: Some(720),
        hidden: false,
        muted: false,
        codec_supported: true,
        current: None,
        resends: 0,
    }
}

pub(super) const fn audio(slot: usize, layers: &[LayerState]) -> SlotRequest<'_> {
    SlotRequest { kind: MediaKind::Audio, ..video(slot, layers) }
}

/// The estimate that gives `budget` bits per second out.
pub(super) const fn estimate(budget: u64) -> Option<u64> {
    Some((budget * 100).div_ceil(95))
}

/// What slots get that begin now.
fn joining(budget: u64, slots: &[SlotRequest<'_>]) -> Allocation {
    Allocator::default().allocate(start(), estimate(budget), slots)
}

pub(super) fn layers(allocation: &Allocation) -> Vec<Option<usize>> {
    allocation.targets.iter().map(|t| t.layer).collect()
}

fn one(layers: &[LayerState], wanted: Option<u16>) -> Target {
    Allocator::default().allocate(start(), None, &[SlotRequest { wanted, ..video(0, layers) }]).targets[0]
}

#[test]
fn the_nearest_size_wins_and_says_so() {
    assert_eq!(one(&THREE, Some(200)).layer, Some(0));
    assert_eq!(one(&THREE, Some(340)).layer, Some(1));
    assert_eq!(one(&THREE, Some(540)).layer, Some(2), "of two as near, the larger");
    let target = one(&THREE, Some(1080));
    let reason = Reason::NearestSize { wanted: 1080, chosen: 720 };
    assert_eq!(target, Target { slot: 0, layer: Some(2), wanted: Some(2), reason });
    assert_eq!(one(&THREE, None).layer, Some(2));
}

#[test]
fn a_layer_a_little_too_small_is_large_enough() {
    assert_eq!(one(&THREE, Some(423)).layer, Some(1));
    assert_eq!(one(&THREE, Some(424)).layer, Some(2));
}

#[test]
fn of_a_scalable_track_the_wanted_size_comes_with_all_its_frames() {
    assert_eq!(one(&scalable(), Some(360)).layer, Some(2));
    assert_eq!(one(&scalable(), Some(720)).layer, Some(5));
}

#[test]
fn a_layer_that_stopped_is_not_chosen_but_wanted() {
    let mut stopped = THREE;
    stopped[2].live = false;
    let target = one(&stopped, Some(720));
    assert_eq!((target.layer, target.wanted), (Some(1), Some(2)));
    // One that was never seen has no height: it may be what is wanted.
    (stopped[2].height, stopped[2].bitrate) = (0, 0);
    let target = one(&stopped, Some(720));
    assert_eq!((target.layer, target.wanted), (Some(1), Some(2)));
    assert_eq!(one(&stopped, Some(360)).wanted, Some(1));
}

#[test]
fn without_sizes_the_highest_bitrate_is_taken() {
    assert_eq!(one(&[layer(0, 900), layer(0, 300), layer(0, 100)], Some(720)).layer, Some(0));
}

#[test]
fn layers_in_the_publishers_order_are_put_in_order_by_height() {
    let [low, middle, high] = THREE;
    let target = joining(600_000, &[video(0, &[high, middle, low])]).targets[0];
    assert_eq!(target.layer, Some(1));
}

#[test]
fn a_layer_of_unknown_height_puts_no_larger_layer_below_the_one_wanted() {
    let more = |l: LayerState| LayerState { temporal: 1, bitrate: l.bitrate * 2, ..l };
    let [low, _, high] = THREE;
    let never_came = LayerState { live: false, ..layer(0, 0) };
    let layers = [low, more(low), high, more(high), never_came];
    let slot = SlotRequest { wanted: Some(180), ..video(0, &layers) };
    let ladder = ladder::Ladder::new(start(), &slot).expect("rungs");
    assert_eq!(ladder.rungs.iter().map(|rung| rung.layer).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn hidden_and_foreign_codecs_are_paused() {
    let hidden = SlotRequest { hidden: true, ..video(0, &THREE) };
    let foreign = SlotRequest { codec_supported: false, ..video(1, &THREE) };
    let targets = joining(9_000_000, &[hidden, foreign]).targets;
    assert_eq!(targets[0], Target { slot: 0, layer: None, wanted: None, reason: Reason::Hidden });
    assert_eq!(targets[1].reason, Reason::CodecNotSupported);
}

#[test]
fn without_an_estimate_everything_gets_what_it_wants() {
    let slots: Vec<_> = (0..50).map(|slot| video(slot, &THREE)).collect();
    let allocation = Allocator::default().allocate(start(), None, &slots);
    assert!(allocation.targets.iter().all(|t| t.layer == Some(2)));
    assert_eq!((allocation.used, allocation.desired), (75_000_000, 75_000_000));
}

#[test]
fn the_budget_is_95_percent_less_audio_and_resends() {
    let sound = [layer(0, 60_000)];
    let slots = [audio(0, &sound), SlotRequest { resends: 40_000, ..video(1, &ONE) }];
    let enough = Allocator::default().allocate(start(), estimate(1_000_000), &slots);
    assert_eq!(layers(&enough), [Some(0), Some(0)]);
    assert_eq!(enough.used, 1_000_000);
    let short = Allocator::default().allocate(start(), estimate(999_990), &slots);
    assert_eq!(layers(&short), [Some(0), None]);
}

#[test]
fn audio_is_never_paused() {
    let sound = [layer(0, 60_000)];
    let slots = [SlotRequest { hidden: true, ..audio(0, &sound) }, SlotRequest { muted: true, ..audio(1, &sound) }];
    let allocation = joining(0, &slots);
    assert_eq!(layers(&allocation), [Some(0), Some(0)]);
    assert_eq!(allocation.targets[1].reason, Reason::Audio);
}

#[test]
fn every_visible_slot_gets_the_smallest_before_a_pinned_one_gets_more() {
    let pinned = SlotRequest { class: Class::Pinned, ..video(0, &THREE) };
    let slots = [pinned, video(1, &THREE), video(2, &THREE)];
    assert_eq!(layers(&joining(460_000, &slots)), [Some(0), Some(0), Some(0)]);
}

#[test]
fn where_not_all_fit_the_lowest_class_and_then_the_lowest_priority_is_paused() {
    let with = |slot, class, priority| SlotRequest { class, priority, ..video(slot, &THREE) };
    let slots =
        [with(0, Class::Other, 0), with(1, Class::Other, 9), with(2, Class::Speaker, 0), with(3, Class::Pinned, 0)];
    let allocation = joining(460_000, &slots);
    assert_eq!(layers(&allocation), [None, Some(0), Some(0), Some(0)]);
    let needed = estimate(600_000 * 115 / 100);
    let reason = Reason::PausedNoBandwidth { estimate: estimate(460_000).unwrap(), needed: needed.unwrap() };
    assert_eq!(allocation.targets[0].reason, reason);
    assert_eq!(layers(&joining(310_000, &slots)), [None, None, Some(0), Some(0)]);
    assert_eq!(layers(&joining(160_000, &slots)), [None, None, None, Some(0)]);
}

#[test]
fn a_pinned_slot_gets_what_it_wants_before_others_get_a_step() {
    let pinned = SlotRequest { class: Class::Pinned, ..video(1, &THREE) };
    let slots = [video(0, &THREE), pinned, video(2, &THREE)];
    assert_eq!(layers(&joining(1_800_000, &slots)), [Some(0), Some(2), Some(0)]);
    assert_eq!(layers(&joining(2_150_000, &slots)), [Some(1), Some(2), Some(0)]);
    // Even where the bits would bring more elsewhere.
    let dear = [layer(180, 150_000), layer(720, 15_000_000)];
    let slots = [video(0, &THREE), SlotRequest { class: Class::Pinned, ..video(1, &dear) }];
    assert_eq!(layers(&joining(15_400_000, &slots)), [Some(0), Some(1)]);
}

#[test]
fn steps_go_where_a_bit_brings_the_most() {
    let slots = [video(0, &THREE), video(1, &THREE), video(2, &THREE)];
    assert_eq!(layers(&joining(1_800_000, &slots)), [Some(1), Some(1), Some(1)], "rather three times 360 than one 720");
    assert_eq!(layers(&joining(2_500_000, &slots)), [Some(2), Some(1), Some(1)]);
    let speaker = SlotRequest { class: Class::Speaker, ..video(2, &THREE) };
    let slots = [video(0, &THREE), video(1, &THREE), speaker];
    assert_eq!(layers(&joining(1_800_000, &slots)), [Some(0), Some(0), Some(2)], "the speaker before the others");
}

#[test]
fn the_size_wanted_is_a_ceiling() {
    let small = SlotRequest { wanted: Some(180), class: Class::Pinned, ..video(0, &THREE) };
    let allocation = joining(9_000_000, &[small]);
    assert_eq!(layers(&allocation), [Some(0)]);
    assert_eq!(allocation.targets[0].reason, Reason::NearestSize { wanted: 180, chosen: 180 });
}

#[test]
fn a_higher_class_that_is_paused_keeps_lower_ones_at_their_smallest() {
    let screen = SlotRequest { class: Class::Pinned, ..video(0, &ONE) };
    let allocation = joining(800_000, &[screen, video(1, &THREE)]);
    assert_eq!(layers(&allocation), [None, Some(0)]);
    assert_eq!(allocation.targets[1].reason, Reason::PriorityToOthers { slot: 0 });
}

#[test]
fn a_slot_that_is_short_says_by_how_much_or_because_of_whom() {
    let short = joining(700_000, &[video(7, &THREE)]);
    let needed = estimate(1_725_000).unwrap();
    let reason = Reason::EstimateTooLow { estimate: estimate(700_000).unwrap(), needed, chosen: 360, wanted: 720 };
    assert_eq!(short.targets[0].reason, reason);
    let both = joining(700_000, &[video(3, &THREE), video(7, &THREE)]);
    assert_eq!(layers(&both), [Some(1), Some(0)]);
    assert!(matches!(both.targets[1].reason, Reason::EstimateTooLow { .. }), "it would not have fitted alone");
    let pinned = SlotRequest { class: Class::Pinned, ..video(3, &THREE) };
    let shared = joining(2_150_000, &[pinned, video(7, &THREE)]);
    assert_eq!(layers(&shared), [Some(2), Some(1)]);
    assert_eq!(shared.targets[1].reason, Reason::PriorityToOthers { slot: 3 });
    let frames = joining(850_000, &[video(0, &scalable())]);
    assert_eq!(frames.targets[0].layer, Some(4));
    assert!(matches!(frames.targets[0].reason, Reason::EstimateTooLow { chosen: 720, wanted: 720, .. }));
}

#[test]
fn single_layers_muted_and_silent_tracks_say_so() {
    let silent = THREE.map(|layer| LayerState { live: false, bitrate: 0, ..layer });
    let slots = [video(0, &ONE), SlotRequest { muted: true, ..video(1, &THREE) }, video(2, &silent), video(3, &[])];
    let targets = joining(9_000_000, &slots).targets;
    assert_eq!(targets[0].reason, Reason::OnlyLayer);
    assert_eq!((targets[1].layer, targets[1].reason), (Some(2), Reason::Muted));
    assert_eq!((targets[2].layer, targets[2].reason), (Some(2), Reason::NoPackets));
    assert_eq!((targets[3].layer, targets[3].reason), (None, Reason::NoPackets));
}

#[test]
fn an_allocation_is_due_when_the_estimate_has_moved_by_a_tenth() {
    let mut allocator = Allocator::default();
    assert!(allocator.is_due(Some(1_000_000)) && !allocator.is_due(None));
    allocator.allocate(start(), Some(1_000_000), &[]);
    assert!(
        !allocator.is_due(Some(1_000_000)) && !allocator.is_due(Some(1_099_999)) && !allocator.is_due(Some(900_001))
    );
    assert!(allocator.is_due(Some(1_100_000)) && allocator.is_due(Some(900_000)) && allocator.is_due(None));
}
