//! All mappers together: two VP8 simulcast layers over a bad network to one subscription, watched by a receiver that
//! knows nothing of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::api::Codec;

const CLOCK: u32 = 90_000;
const FRAME_MS: u64 = 33;

#[derive(Debug, Clone)]
struct Packet {
    layer: u32,
    sequence: u64,
    timestamp: u32,
    payload: Vec<u8>,
}

/// One simulcast layer of a publisher.
struct Layer {
    layer: u32,
    sequence: u64,
    timestamp: u32,
    picture_id: u16,
    tl0: u8,
    key: u8,
    frames: u64,
}

impl Layer {
    /// The packets of the next frame: temporal layers 0 2 1 2, every `key_every`th frame a keyframe.
    fn frame(&mut self, packets: u64, key_every: u64) -> Vec<Packet> {
        let keyframe = self.frames.is_multiple_of(key_every);
        let tid = if keyframe { 0 } else { [0, 2, 1, 2][(self.frames % 4) as usize] };
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(u8::from(tid == 0));
        self.key = (self.key + u8::from(keyframe)) & 0x1f;
        self.frames += 1;
        self.timestamp = self.timestamp.wrapping_add(CLOCK / 1000 * FRAME_MS as u32);
        (0..packets).map(|number| self.packet(number, tid, keyframe)).collect()
    }

    fn packet(&mut self, number: u64, tid: u8, keyframe: bool) -> Packet {
        let [high, low] = self.picture_id.to_be_bytes();
        let start = if number == 0 { 0x10 } else { 0 };
        let mut payload = vec![0x80 | start, 0xf0, 0x80 | high, low, self.tl0, tid << 6 | self.key];
        payload.push(u8::from(!keyframe));
        self.sequence += 1;
        Packet { layer: self.layer, sequence: self.sequence, timestamp: self.timestamp, payload }
    }
}

/// What the server does for one subscription.
struct Subscription {
    target: u32,
    current: Option<u32>,
    max_tid: u8,
    sequence: SequenceMapper,
    timestamp: TimestampMapper,
    vp8: Vp8Rewriter,
}

struct Sent {
    sequence: u64,
    late: bool,
    timestamp: u32,
    fields: Vp8Fields,
}

impl Subscription {
    fn handle(&mut self, now: Instant, packet: &Packet, aligned: Option<u32>) -> Option<Sent> {
        let info = inspect(Codec::Vp8, &packet.payload);
        let descriptor = Vp8Descriptor::parse(&packet.payload)?;
        if packet.layer == self.target && self.current != Some(self.target) && info.keyframe_start {
            let epoch = self.sequence.switch(packet.layer, packet.sequence);
            self.timestamp.switch(epoch, now, packet.timestamp, CLOCK, aligned);
            self.vp8.switch(epoch, &descriptor);
            self.current = Some(packet.layer);
        }
        if info.tid > Some(self.max_tid) {
            self.sequence.drop(packet.layer, packet.sequence);
            return None;
        }
        let mapped = self.sequence.forward(packet.layer, packet.sequence)?;
        let fields = self.vp8.rewrite(mapped, &descriptor);
        assert!(fields.is_some() || mapped.late, "only of late packets the numbers may be given away");
        Some(Sent {
            sequence: mapped.sequence,
            late: mapped.late,
            timestamp: self.timestamp.map(mapped.epoch, now, packet.timestamp).expect("a known epoch"),
            fields: fields?,
        })
    }
}

/// What a receiver holds the stream to.
#[derive(Default)]
struct Receiver {
    by_sequence: HashMap<u64, (u32, u64)>,
    /// Of the newest packet: source, timestamps in and out, counters.
    newest: Option<(u32, u32, u32, Vp8Fields)>,
}

impl Receiver {
    fn take(&mut self, packet: &Packet, sent: &Sent) -> Result<(), TestCaseError> {
        let identity = (packet.layer, packet.sequence);
        let had = *self.by_sequence.entry(sent.sequence).or_insert(identity);
        prop_assert_eq!(had, identity, "two payloads under {}", sent.sequence);
        prop_assert!(sent.fields.patch(&packet.payload).is_some());
        if sent.late {
            return Ok(());
        }
        if let Some((layer, in_ts, out_ts, fields)) = self.newest {
            let one_frame = (layer, in_ts) == (packet.layer, packet.timestamp);
            let step = sent.timestamp.wrapping_sub(out_ts) as i32;
            let pictures = ahead(sent.fields.picture_id, fields.picture_id, 15);
            prop_assert_eq!(one_frame, step == 0, "a step of {}", step);
            prop_assert_eq!(one_frame, pictures == 0);
            prop_assert!(step >= 0, "{} ticks back", -step);
            prop_assert!(pictures < 1 << 14);
            if layer != packet.layer {
                prop_assert_eq!(pictures, 1, "the picture after a switch");
            }
        }
        self.newest = Some((packet.layer, packet.timestamp, sent.timestamp, sent.fields));
        Ok(())
    }
}

fn ahead(now: Option<u16>, before: Option<u16>, bits: u32) -> u16 {
    now.zip(before).map_or(0, |(n, b)| n.wrapping_sub(b)) & ((1 << bits) - 1)
}

/// What happens in one frame's time.
#[derive(Debug, Clone)]
struct Tick {
    packets: u64,
    /// For each packet of both layers: lost, or so many frames late.
    fate: Vec<(bool, usize)>,
    target: u32,
    max_tid: u8,
    aligned: bool,
}

fn tick() -> impl Strategy<Value = Tick> {
    let fate = (proptest::bool::weighted(0.05), prop_oneof![9 => Just(0), 1 => 1..6_usize]);
    let fates = proptest::collection::vec(fate, 6);
    let target = prop_oneof![6 => Just(0_u32), 4 => Just(1)];
    (1..4_u64, fates, target, 0..3_u8, any::<bool>()).prop_map(|(packets, fate, target, max_tid, aligned)| Tick {
        packets,
        fate,
        target,
        max_tid,
        aligned,
    })
}

#[expect(clippy::disallowed_methods, reason = "any instant will do: only differences count")]
fn origin() -> Instant {
    Instant::now()
}

fn layers(start: u32) -> [Layer; 2] {
    [0, 1].map(|layer| Layer {
        layer,
        // Both near their wraps, each its own.
        sequence: 0xfff0 + u64::from(layer) * 0x7_0000,
        timestamp: start.wrapping_mul(layer + 1).wrapping_sub(9000),
        picture_id: (0x7ff0 + layer as u16 * 900) & 0x7fff,
        tl0: 250 - layer as u8 * 99,
        key: 29 - layer as u8 * 7,
        frames: u64::from(layer) * 3,
    })
}

proptest! {
    #[test]
    fn a_receiver_sees_one_encoder_whatever_is_lost_late_thinned_and_switched(
        start: u32,
        key_every in 3..12_u64,
        ticks in proptest::collection::vec(tick(), 1..120),
    ) {
        let mut layers = layers(start);
        let apart = layers[1].timestamp.wrapping_sub(layers[0].timestamp);
        let mut subscription = Subscription {
            target: 0,
            current: None,
            max_tid: 2,
            sequence: SequenceMapper::new(0x7ff0),
            timestamp: TimestampMapper::new(u32::MAX - 50_000),
            vp8: Vp8Rewriter::new(),
        };
        let mut receiver = Receiver::default();
        let mut under_way: Vec<Vec<Packet>> = vec![Vec::new(); ticks.len() + 8];
        let origin = origin();
        for (at, tick) in ticks.iter().enumerate() {
            let now = origin + Duration::from_millis(FRAME_MS * at as u64);
            let packets = layers.iter_mut().flat_map(|layer| layer.frame(tick.packets, key_every));
            for (packet, (lost, late)) in packets.zip(&tick.fate) {
                if !lost {
                    under_way[at + late].push(packet);
                }
            }
            (subscription.target, subscription.max_tid) = (tick.target, tick.max_tid);
            for packet in std::mem::take(&mut under_way[at]) {
                // The other layer's clock runs `apart` from this one's.
                let other = if packet.layer == 0 { apart } else { apart.wrapping_neg() };
                let aligned = tick.aligned.then(|| packet.timestamp.wrapping_add(other));
                if let Some(sent) = subscription.handle(now, &packet, aligned) {
                    receiver.take(&packet, &sent)?;
                }
            }
        }
    }
}
