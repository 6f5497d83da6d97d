//! What holds for any numbers.

use std::time::Duration;

use proptest::prelude::*;

use super::tests::{THREE, scalable as scalable_layers, start};
use super::*;

/// A slot's request with layers of its own, and its live times relative to now.
#[derive(Debug, Clone)]
struct Slot {
    request: SlotRequest<'static>,
    layers: Vec<(LayerState, Option<u64>)>,
}

fn any_rate() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..5_000_000_u64, 0..5_000_000_u64, 0..5_000_000_u64]
}

fn any_height() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(180), Just(360), Just(720), any::<u16>()]
}

fn any_layer() -> impl Strategy<Value = (LayerState, Option<u64>)> {
    let live = prop_oneof![Just(true), Just(true), Just(false)];
    (any::<u8>(), 0..3_u8, any_height(), any_rate(), live, proptest::option::of(0..5000_u64), any::<bool>()).prop_map(
        |(spatial, temporal, height, bitrate, live, age, has_report)| {
            (LayerState { spatial, temporal, height, bitrate, live, live_since: None, has_report }, age)
        },
    )
}

fn any_slot() -> impl Strategy<Value = Slot> {
    let class = prop_oneof![Just(Class::Other), Just(Class::Speaker), Just(Class::Pinned)];
    let ids = (0..12_usize, 0..3_u64, class, any::<u8>());
    let rare = || proptest::bool::weighted(0.1);
    let flags = (rare(), rare(), rare(), rare());
    let rest = (proptest::option::of(any_height()), proptest::option::of(0..6_usize), 0..10_000_u64);
    (ids, flags, rest, proptest::collection::vec(any_layer(), 0..7)).prop_map(
        |((slot, track, class, priority), (audio, hidden, muted, foreign), (wanted, current, resends), layers)| {
            let kind = if audio { MediaKind::Audio } else { MediaKind::Video };
            let codec_supported = !foreign;
            let request = SlotRequest {
                slot,
                track,
                kind,
                class,
                priority,
                layers: &[],
                wanted,
                hidden,
                muted,
                codec_supported,
                current,
                resends,
            };
            Slot { request, layers }
        },
    )
}

fn any_slots() -> impl Strategy<Value = Vec<Slot>> {
    proptest::collection::vec(any_slot(), 0..12).prop_map(|mut slots| {
        slots.sort_by_key(|s| s.request.slot);
        slots.dedup_by_key(|s| s.request.slot);
        slots
    })
}

/// Requests at a time, their layers beside them.
fn layers_at(now: Instant, slots: &[Slot]) -> Vec<Vec<LayerState>> {
    let at = |(state, age): &(LayerState, Option<u64>)| LayerState {
        live_since: age.and_then(|ms| now.checked_sub(Duration::from_millis(ms))),
        ..*state
    };
    slots.iter().map(|slot| slot.layers.iter().map(at).collect()).collect()
}

fn requests<'a>(slots: &'a [Slot], layers: &'a [Vec<LayerState>]) -> Vec<SlotRequest<'a>> {
    slots.iter().zip(layers).map(|(slot, layers)| SlotRequest { layers, ..slot.request.clone() }).collect()
}

fn cost(request: &SlotRequest<'_>, target: &Target) -> u128 {
    target.layer.and_then(|l| request.layers.get(l)).map_or(0, |l| u128::from(l.bitrate))
}

/// The slot has a layer better than its cheapest one.
fn exceeds_smallest(now: Instant, request: &SlotRequest<'_>, target: &Target) -> bool {
    let Some(ladder) = ladder::Ladder::new(now, request) else { return false };
    let position = target.layer.and_then(|layer| ladder.rungs.iter().position(|rung| rung.layer == layer));
    position > Some(ladder.cheapest)
}

fn check(
    now: Instant,
    requests: &[SlotRequest<'_>],
    estimate: Option<u64>,
    allocation: &Allocation,
) -> Result<(), TestCaseError> {
    let both = || requests.iter().zip(&allocation.targets);
    prop_assert_eq!(requests.len(), allocation.targets.len());
    for (request, target) in both() {
        let video = request.kind == MediaKind::Video;
        prop_assert_eq!(request.slot, target.slot);
        prop_assert!(target.layer.is_none_or(|l| l < request.layers.len() || !video));
        prop_assert!(!(video && request.hidden && target.layer.is_some()), "hidden, and gets a layer");
        prop_assert!(video || !request.codec_supported || target.layer == Some(0), "audio is never paused");
        _ = target.reason.to_string();
    }
    prop_assert!(allocation.desired >= allocation.used);
    let Some(estimate) = estimate else { return Ok(()) };
    let video = both().filter(|(r, _)| r.kind == MediaKind::Video);
    let sent: u128 = video.clone().map(|(r, t)| cost(r, t)).sum();
    let audio: u128 = both().filter(|(r, _)| r.kind == MediaKind::Audio).map(|(r, t)| cost(r, t)).sum();
    let overhead = audio + requests.iter().map(|r| u128::from(r.resends)).sum::<u128>();
    // The overhead counts the layer of an audio track that is forwarded, of which there is one in truth.
    let simple = requests.iter().all(|r| r.kind == MediaKind::Video || r.current.unwrap_or(0) == 0);
    let budget = u128::from(estimate) * 95 / 100;
    prop_assert!(!simple || sent == 0 || sent + overhead <= budget, "{sent} + {overhead} > {budget}");
    let paused = |r: Reason| {
        matches!(
            r,
            Reason::PausedNoBandwidth { .. } | Reason::RecentlyDowngraded { .. } | Reason::WaitingForStability { .. }
        )
    };
    for (high, _) in video.clone().filter(|(_, t)| t.layer.is_none() && paused(t.reason)) {
        for (low, target) in video.clone().filter(|(r, _)| r.class < high.class) {
            prop_assert!(
                !exceeds_smallest(now, low, target),
                "slot {} has more than its smallest and slot {} nothing",
                low.slot,
                high.slot
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_numbers_break_the_rules(
        rounds in proptest::collection::vec((any_slots(), proptest::option::weighted(0.9, any_rate()), 0..15_000_u64), 1..12),
    ) {
        let (mut now, mut allocator) = (start(), Allocator::default());
        for (slots, estimate, ms) in rounds {
            now += Duration::from_millis(ms);
            let layers = layers_at(now, &slots);
            let requests = requests(&slots, &layers);
            let mut twin = allocator.clone();
            let allocation = allocator.allocate(now, estimate, &requests);
            check(now, &requests, estimate, &allocation)?;
            prop_assert_eq!(&twin.allocate(now, estimate, &requests), &allocation, "the same input, the same output");
            prop_assert!(allocator.memory.len() <= requests.len());
        }
    }

    #[test]
    fn an_estimate_that_swings_by_15_percent_makes_at_most_four_changes_a_minute(
        swing in proptest::collection::vec((-15..=15_i64, 100..8000_u64), 50..200),
        count in 1..6_usize,
        edge in 0..6_usize,
        speaker in 0..6_usize,
        scalable in any::<bool>(),
    ) {
        let layers = if scalable { scalable_layers() } else { THREE.to_vec() };
        let slots: Vec<SlotRequest<'_>> = (0..count)
            .map(|slot| SlotRequest {
                class: if slot == speaker { Class::Speaker } else { Class::Other },
                ..super::tests::video(slot, &layers)
            })
            .collect();
        let cost = layers[edge % layers.len()].bitrate * count as u64;
        let middle = (cost * 115).div_ceil(95) as i64;
        let mut allocator = Allocator::default();
        let (first, mut now) = (start(), start());
        allocator.allocate(now, Some(middle as u64), &slots);
        let mut changes: Vec<Vec<Duration>> = vec![Vec::new(); count];
        let mut before: Option<Vec<Option<usize>>> = None;
        for (percent, ms) in swing {
            now += Duration::from_millis(ms);
            let estimate = (middle + middle * percent / 100) as u64;
            let got: Vec<_> = allocator.allocate(now, Some(estimate), &slots).targets.iter().map(|t| t.layer).collect();
            // The first minute finds the level; after it the state is steady.
            if let Some(before) = before.filter(|_| now - first > Duration::from_secs(60)) {
                (0..count).filter(|slot| got[*slot] != before[*slot]).for_each(|slot| changes[slot].push(now - first));
            }
            before = Some(got);
        }
        for times in changes {
            for at in &times {
                let minute = times.iter().filter(|t| *t >= at && **t < *at + Duration::from_secs(60)).count();
                prop_assert!(minute <= 4, "{times:?}");
            }
        }
    }
}
