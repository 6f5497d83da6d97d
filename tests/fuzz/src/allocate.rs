//! Random slots, estimates and times against the rules of the allocation.

use std::time::{Duration, Instant};

use weir_core::allocator::{Allocation, Allocator, Class, LayerState, Reason, SlotRequest, Target};
use weir_core::api::MediaKind;

use super::bytes::Bytes;

/// A slot, and how long ago its layers went live.
struct Slot {
    request: SlotRequest<'static>,
    layers: Vec<(LayerState, Option<u64>)>,
}

/// Allocations one after another: each keeps to the budget and the priorities, and says why.
pub fn allocate(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut slots: Vec<Slot> = (0..bytes.below(12)).map(|slot| any_slot(&mut bytes, slot)).collect();
    #[allow(clippy::disallowed_methods, reason = "any instant will do: only differences count")]
    let mut now = Instant::now() + Duration::from_secs(60);
    let (mut allocator, mut first) = (Allocator::default(), true);
    while !bytes.is_empty() {
        now += Duration::from_millis(u64::from(bytes.byte()) * 50);
        let estimate = if bytes.rare(16) { None } else { Some(any_rate(&mut bytes)) };
        let layers: Vec<Vec<LayerState>> = slots.iter().map(|slot| layers_at(now, slot)).collect();
        let requests: Vec<SlotRequest<'_>> =
            slots.iter().zip(&layers).map(|(slot, layers)| SlotRequest { layers, ..slot.request.clone() }).collect();
        // Now and then, because it costs as much again.
        let twin = bytes.len().is_multiple_of(8).then(|| allocator.clone());
        let allocation = allocator.allocate(now, estimate, &requests);
        if let Some(mut twin) = twin {
            assert_eq!(twin.allocate(now, estimate, &requests), allocation, "the same input, the same output");
        }
        assert!(!allocator.is_due(estimate), "nothing has changed");
        check(&requests, estimate, &allocation);
        if let Some(estimate) = estimate.filter(|_| first) {
            check_minimum_order(&requests, &allocation, estimate);
        }
        first = false;
        if !slots.is_empty() {
            let at = bytes.below(slots.len());
            match bytes.below(4) {
                0 => slots[at] = any_slot(&mut bytes, at),
                1 => slots[at].request.hidden ^= true,
                2 => slots[at].request.wanted = Some(any_height(&mut bytes)),
                _ => {}
            }
        }
    }
}

fn any_slot(bytes: &mut Bytes<'_>, slot: usize) -> Slot {
    let flags = bytes.byte();
    let request = SlotRequest {
        slot,
        track: u64::from(bytes.byte() % 4),
        kind: if flags & 7 == 7 { MediaKind::Audio } else { MediaKind::Video },
        class: [Class::Other, Class::Speaker, Class::Pinned][bytes.below(3)],
        priority: bytes.byte(),
        layers: &[],
        wanted: if flags & 8 == 8 { Some(any_height(bytes)) } else { None },
        hidden: flags & 0x30 == 0x30,
        muted: flags & 0xc0 == 0xc0,
        codec_supported: !bytes.rare(16),
        current: if bytes.rare(4) { Some(bytes.below(6)) } else { None },
        resends: u64::from(bytes.byte()) * 64,
    };
    let layers = (0..bytes.below(10)).map(|index| any_layer(bytes, index as u8)).collect();
    Slot { request, layers }
}

fn any_layer(bytes: &mut Bytes<'_>, index: u8) -> (LayerState, Option<u64>) {
    let flags = bytes.byte();
    // Half of them as publishers send them, half as they never would.
    let tame = flags & 1 == 0;
    let state = LayerState {
        spatial: if tame { index / 3 } else { bytes.byte() },
        temporal: if tame { index % 3 } else { bytes.byte() % 8 },
        height: if tame { 180 << (index / 3) } else { any_height(bytes) },
        bitrate: if tame { 100_000 * u64::from(index + 1).pow(2) } else { any_rate(bytes) },
        live: flags & 0x0e != 0x0e,
        live_since: None,
        has_report: flags & 0x30 != 0x30,
    };
    let age = (flags & 0x40 == 0x40).then(|| u64::from(bytes.byte()) * 50);
    (state, age)
}

fn any_rate(bytes: &mut Bytes<'_>) -> u64 {
    match bytes.byte() {
        0 => 0,
        1 => u64::MAX,
        2 => bytes.u64(),
        scale => u64::from(bytes.u16()) * u64::from(scale),
    }
}

fn any_height(bytes: &mut Bytes<'_>) -> u16 {
    match bytes.byte() {
        0 => 0,
        choice @ 1..200 => 180 << (choice % 3),
        _ => bytes.u16(),
    }
}

fn layers_at(now: Instant, slot: &Slot) -> Vec<LayerState> {
    let at = |(state, age): &(LayerState, Option<u64>)| LayerState {
        live_since: age.and_then(|ms| now.checked_sub(Duration::from_millis(ms))),
        ..*state
    };
    slot.layers.iter().map(at).collect()
}

fn cost(request: &SlotRequest<'_>, target: &Target) -> u128 {
    target.layer.and_then(|layer| request.layers.get(layer)).map_or(0, |layer| u128::from(layer.bitrate))
}

/// The layers that a slot may get.
fn usable<'a>(request: &'a SlotRequest<'_>) -> Vec<&'a LayerState> {
    let live = request.layers.iter().any(|l| l.live);
    let mut layers: Vec<&LayerState> = request.layers.iter().filter(|l| l.live || !live).collect();
    if layers.iter().any(|l| l.height > 0) {
        layers.retain(|l| l.height > 0);
    }
    layers
}

/// Layers are better in this order, whatever they cost.
fn quality(layer: &LayerState) -> (u16, u8, u8) {
    (layer.height, layer.spatial, layer.temporal)
}

/// The cheapest of what the slot may get and would not be too large.
fn minimum(request: &SlotRequest<'_>) -> Option<u128> {
    let ceiling = ceiling(request);
    let fits = |layer: &&&LayerState| ceiling.is_none_or(|most| layer.height <= most);
    usable(request).iter().filter(fits).map(|layer| u128::from(layer.bitrate)).min()
}

/// The smallest height that is large enough: nothing above it may be sent.
fn ceiling(request: &SlotRequest<'_>) -> Option<u16> {
    let wanted = u32::from(request.wanted.unwrap_or(u16::MAX));
    let enough = |height: &u16| *height > 0 && u32::from(*height) * 100 >= wanted * 85;
    usable(request).iter().map(|layer| layer.height).filter(enough).min()
}

fn check(requests: &[SlotRequest<'_>], estimate: Option<u64>, allocation: &Allocation) {
    assert_eq!(requests.len(), allocation.targets.len());
    for (request, target) in requests.iter().zip(&allocation.targets) {
        assert_eq!(request.slot, target.slot);
        check_target(request, target);
        check_reason(request, target, estimate);
    }
    assert!(allocation.desired >= allocation.used);
    let Some(estimate) = estimate else { return };
    let both = || requests.iter().zip(&allocation.targets).filter(|(r, _)| r.kind == MediaKind::Video);
    let sent: u128 = both().map(|(request, target)| cost(request, target)).sum();
    let overhead: u128 = requests.iter().map(|r| audio_cost(r) + u128::from(r.resends)).sum();
    let budget = u128::from(estimate) * 95 / 100;
    assert!(sent == 0 || sent + overhead <= budget, "{sent} + {overhead} > {budget}");
    for (high, target) in both().filter(|(_, t)| t.layer.is_none()) {
        if !matches!(target.reason, Reason::PausedNoBandwidth { .. }) {
            continue;
        }
        for (low, target) in both().filter(|(r, _)| r.class < high.class) {
            let Some(layer) = target.layer.map(|layer| &low.layers[layer]) else { continue };
            let lower = usable(low).into_iter().filter(|l| quality(l) < quality(layer));
            assert!(lower.map(|l| l.bitrate).min().is_none_or(|least| least >= layer.bitrate), "{low:?} has more");
        }
    }
}

fn audio_cost(request: &SlotRequest<'_>) -> u128 {
    let sent = request.kind == MediaKind::Audio && request.codec_supported;
    let layer = request.layers.get(request.current.unwrap_or(0)).filter(|_| sent);
    layer.map_or(0, |layer| u128::from(layer.bitrate))
}

fn check_target(request: &SlotRequest<'_>, target: &Target) {
    if request.kind == MediaKind::Audio {
        let expected = request.codec_supported.then_some(0);
        assert_eq!((target.layer, target.wanted), (expected, expected), "audio is never paused");
        return;
    }
    if request.hidden || !request.codec_supported {
        assert_eq!((target.layer, target.wanted), (None, None), "nothing is sent to what nobody sees");
    }
    let Some(layer) = target.layer else { return };
    let layer = &request.layers[layer];
    assert!(layer.live || request.layers.iter().all(|l| !l.live), "a layer that flows");
    assert!(ceiling(request).is_none_or(|most| layer.height <= most), "the size wanted is a ceiling");
    assert!(target.wanted.is_some_and(|wanted| wanted < request.layers.len()));
}

/// The reason fits what was decided, and its numbers are true.
fn check_reason(request: &SlotRequest<'_>, target: &Target, known: Option<u64>) {
    let (sent, video) = (target.layer.is_some(), request.kind == MediaKind::Video);
    let shown = video && request.codec_supported && !request.hidden;
    let fits = match target.reason {
        Reason::Audio => sent && !video,
        Reason::CodecNotSupported => !sent && !request.codec_supported,
        Reason::Hidden => !sent && video && request.hidden,
        Reason::NoPackets => video && request.layers.iter().all(|l| !l.live),
        Reason::Muted => sent && shown && request.muted,
        Reason::OnlyLayer => sent && shown && request.layers.len() == 1,
        Reason::NearestSize { wanted, chosen } => {
            let height = target.layer.map(|layer| request.layers[layer].height);
            sent && shown && height == Some(chosen) && wanted == request.wanted.unwrap_or(0)
        }
        Reason::EstimateTooLow { estimate, needed, .. } => {
            sent && shown && known == Some(estimate) && (needed > estimate || estimate == u64::MAX)
        }
        Reason::PausedNoBandwidth { estimate, needed } => {
            !sent && shown && known == Some(estimate) && (needed > estimate || estimate == u64::MAX)
        }
        Reason::PriorityToOthers { slot } => shown && known.is_some() && slot != request.slot,
        Reason::WaitingForStability { ms } => shown && known.is_some() && (1..=10_000).contains(&ms),
        Reason::RecentlyDowngraded { seconds } => shown && known.is_some() && (1..=60).contains(&seconds),
        // These are said in place of what the allocator decides.
        Reason::NoKeyframe | Reason::KeyframeInterval { .. } | Reason::ServerOverloaded => false,
    };
    assert!(fits, "{:?} for {target:?} of {request:?}", target.reason);
    assert!(!target.reason.to_string().is_empty());
}

/// At the start, where nobody has anything: who is paused would not have fitted in place of a less important one.
fn check_minimum_order(requests: &[SlotRequest<'_>], allocation: &Allocation, estimate: u64) {
    let both = || requests.iter().zip(&allocation.targets).filter(|(r, _)| r.kind == MediaKind::Video);
    for (high, target) in both() {
        let Reason::PausedNoBandwidth { estimate: told, .. } = target.reason else { continue };
        assert_eq!(told, estimate);
        // A muted slot keeps the layer it has or loses it, and is not given a cheaper one that is better.
        let Some(needed) = minimum(high).filter(|_| !high.muted) else { continue };
        for (low, _) in both().filter(|(r, t)| (r.class, r.priority) < (high.class, high.priority) && t.layer.is_some())
        {
            assert!(minimum(low) < Some(needed), "{low:?} comes before {high:?}");
        }
    }
}
