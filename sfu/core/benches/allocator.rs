//! What an allocation costs: `cargo bench -p weir-core --bench allocator`. A thousand slots shall take less than 1 ms.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a benchmark starts its virtual clock from the real one")]

use std::time::{Duration, Instant};

use divan::Bencher;
use weir_core::allocator::{Allocator, Class, LayerState, SlotRequest};
use weir_core::api::MediaKind;

fn main() {
    divan::main();
}

/// Three sizes with three frame rates each.
fn scalable() -> Vec<LayerState> {
    let layer = |index: u8| LayerState {
        spatial: index / 3,
        temporal: index % 3,
        height: 180 << (index / 3),
        bitrate: 100_000 * u64::from(index + 1).pow(2),
        live: true,
        live_since: None,
        has_report: true,
    };
    (0..9).map(layer).collect()
}

fn slots(layers: &[LayerState], count: usize) -> Vec<SlotRequest<'_>> {
    let slot = |slot: usize| SlotRequest {
        slot,
        track: slot as u64,
        kind: MediaKind::Video,
        class: match slot {
            0 => Class::Pinned,
            1 => Class::Speaker,
            _ => Class::Other,
        },
        priority: (slot % 3) as u8,
        layers,
        wanted: Some(720),
        hidden: false,
        muted: false,
        codec_supported: true,
        current: None,
        resends: 1000,
    };
    (0..count).map(slot).collect()
}

/// An estimate that swings, so that slots go up and down.
fn allocate(bencher: Bencher<'_, '_>, layers: &[LayerState], count: usize) {
    let slots = slots(layers, count);
    let (mut allocator, mut now, mut turn) = (Allocator::default(), Instant::now(), 0);
    bencher.bench_local(|| {
        turn += 1;
        now += Duration::from_secs(1);
        let estimate = count as u64 * (800_000 + turn % 7 * 200_000);
        allocator.allocate(now, Some(estimate), divan::black_box(&slots))
    });
}

#[divan::bench(args = [9, 49, 1000])]
fn simulcast(bencher: Bencher<'_, '_>, count: usize) {
    let layers: Vec<LayerState> = scalable().into_iter().filter(|layer| layer.temporal == 2).collect();
    allocate(bencher, &layers, count);
}

#[divan::bench(args = [9, 49, 1000])]
fn three_by_three(bencher: Bencher<'_, '_>, count: usize) {
    allocate(bencher, &scalable(), count);
}
