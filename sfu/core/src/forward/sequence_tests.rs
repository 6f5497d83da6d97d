use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const F: u32 = 1;
const H: u32 = 2;

fn sent(mapper: &mut SequenceMapper, source: u32, in_seq: u64) -> Option<u64> {
    mapper.forward(source, in_seq).map(|m| m.sequence)
}

fn started(first_in: u64) -> SequenceMapper {
    let mut mapper = SequenceMapper::new(100);
    mapper.switch(F, first_in);
    mapper
}

#[test]
fn nothing_goes_out_before_the_first_switch() {
    let mut mapper = SequenceMapper::new(100);
    assert_eq!(mapper.forward(F, 7), None);
    mapper.drop(F, 7);
    assert_eq!(mapper.next_sequence(), 100);
}

#[test]
fn packets_in_order_are_contiguous_from_the_start_value() {
    let mut mapper = started(7000);
    let out: Vec<_> = (7000..7005).filter_map(|s| sent(&mut mapper, F, s)).collect();
    assert_eq!(out, [100, 101, 102, 103, 104]);
}

#[test]
fn layer_switches_both_ways_leave_no_gap() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 11), Some(101));
    let up = mapper.switch(H, 90_000);
    let first = mapper.forward(H, 90_000);
    assert_eq!(first.map(|m| (m.sequence, m.epoch, m.late)), Some((102, up, false)));
    let down = mapper.switch(F, 20);
    assert_eq!(mapper.forward(F, 20).map(|m| (m.sequence, m.epoch)), Some((103, down)));
    assert!(down > up);
}

#[test]
fn pause_and_resume_of_one_source_leaves_no_gap() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    mapper.switch(F, 5_000_000);
    assert_eq!(sent(&mut mapper, F, 5_000_000), Some(101));
    assert_eq!(sent(&mut mapper, F, 4_999_999), None);
}

#[test]
fn a_frame_cut_by_a_switch_leaves_exactly_one_gap() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    mapper.leave_gap();
    assert_eq!(sent(&mut mapper, F, 11), None);
    mapper.switch(H, 500);
    assert_eq!(sent(&mut mapper, H, 500), Some(102));
    assert_eq!(sent(&mut mapper, H, 501), Some(103));
}

#[test]
fn a_packet_lost_upstream_leaves_exactly_one_gap_that_its_resend_fills() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    let late = mapper.forward(F, 11);
    assert_eq!(late.map(|m| (m.sequence, m.late)), Some((101, true)));
}

#[test]
fn a_dropped_temporal_layer_leaves_no_gap() {
    let mut mapper = started(10);
    let out: Vec<_> = (10..20)
        .filter_map(|s| {
            if s % 2 == 0 {
                sent(&mut mapper, F, s)
            } else {
                mapper.drop(F, s);
                None
            }
        })
        .collect();
    assert_eq!(out, [100, 101, 102, 103, 104]);
}

#[test]
fn a_late_packet_of_a_dropped_picture_stays_dropped() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    mapper.drop(F, 11);
    assert_eq!(sent(&mut mapper, F, 12), Some(101));
    assert_eq!(sent(&mut mapper, F, 11), None);
}

#[test]
fn a_packet_dropped_too_late_keeps_its_number_free_and_moves_no_other() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 13), Some(103));
    mapper.drop(F, 11);
    assert_eq!(sent(&mut mapper, F, 11), None);
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    assert_eq!(sent(&mut mapper, F, 14), Some(104));
}

#[test]
fn a_resend_from_before_a_drop_keeps_its_old_mapping() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    mapper.drop(F, 13);
    mapper.drop(F, 14);
    assert_eq!(sent(&mut mapper, F, 15), Some(103));
    assert_eq!(sent(&mut mapper, F, 11), Some(101));
}

#[test]
fn a_resend_from_before_a_switch_keeps_its_old_mapping_and_epoch() {
    let mut mapper = started(10);
    let before = mapper.epoch();
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    mapper.switch(H, 500);
    assert_eq!(sent(&mut mapper, H, 500), Some(103));
    mapper.switch(F, 40);
    assert_eq!(sent(&mut mapper, F, 40), Some(104));

    let late = mapper.forward(F, 11);
    assert_eq!(late.map(|m| (m.sequence, Some(m.epoch), m.late)), Some((101, before, true)));
    assert_eq!(sent(&mut mapper, F, 13), None, "came after the switch away");
    assert_eq!(sent(&mut mapper, H, 499), None, "came before the switch to it");
}

#[test]
fn a_resend_from_before_the_history_is_not_sent() {
    let mut mapper = started(0);
    for s in (0..=HISTORY + 1).filter(|s| ![1, 2].contains(s)) {
        assert!(mapper.forward(F, s).is_some());
    }
    assert_eq!(sent(&mut mapper, F, 1), None);
    assert_eq!(sent(&mut mapper, F, 2), Some(102));
}

#[test]
fn a_packet_that_comes_again_is_not_sent_again() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    assert_eq!(sent(&mut mapper, F, 10), None);
    assert_eq!(sent(&mut mapper, F, 12), None);
    assert_eq!(sent(&mut mapper, F, 11), Some(101));
    assert_eq!(sent(&mut mapper, F, 11), None, "a late one neither");
    mapper.switch(H, 500);
    assert_eq!(sent(&mut mapper, F, 11), None);
}

#[test]
fn a_packet_is_late_only_if_one_that_follows_it_was_sent() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    mapper.drop(F, 12);
    let kept = mapper.forward(F, 11);
    assert_eq!(kept.map(|m| (m.sequence, m.late)), Some((101, false)), "12 was dropped");
    assert_eq!(sent(&mut mapper, F, 14), Some(103));
    assert_eq!(mapper.forward(F, 13).map(|m| (m.sequence, m.late)), Some((102, true)));
}

#[test]
fn drops_older_than_the_history_weigh_on_no_late_packet() {
    let mut mapper = started(0);
    (0..HISTORY).for_each(|s| mapper.drop(F, s));
    for s in (HISTORY..3 * HISTORY).filter(|s| *s != 2 * HISTORY) {
        assert!(mapper.forward(F, s).is_some());
    }
    assert_eq!(sent(&mut mapper, F, 2 * HISTORY), Some(100 + HISTORY));
}

#[test]
fn a_padding_only_packet_is_dropped_when_contiguous() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(mapper.forward_padding(F, 11), None);
    assert_eq!(sent(&mut mapper, F, 12), Some(101));
}

#[test]
fn a_padding_only_packet_fills_the_number_that_was_kept_for_it() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    assert_eq!(mapper.forward_padding(F, 11).map(|m| m.sequence), Some(101));
    assert_eq!(mapper.forward_padding(F, 14).map(|m| m.sequence), Some(104));
}

#[test]
fn idle_for_more_than_32768_packets_then_resume_leaves_one_gap() {
    let mut mapper = started(10);
    let epoch = mapper.epoch();
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    assert_eq!(sent(&mut mapper, F, 12), Some(102));
    let resumed = mapper.forward(F, 50_010);
    assert_eq!(resumed.map(|m| (m.sequence, Some(m.epoch))), Some((104, epoch)));
    let next = mapper.forward(F, 50_011);
    assert_eq!(next.map(|m| (m.sequence, Some(m.epoch))), Some((105, epoch)));
    assert_eq!(sent(&mut mapper, F, 50_009), None, "inside the silence");
    assert_eq!(sent(&mut mapper, F, 11), Some(101), "before the silence");
}

#[test]
fn more_than_32768_dropped_packets_leave_no_gap() {
    let mut mapper = started(10);
    assert_eq!(sent(&mut mapper, F, 10), Some(100));
    (11..50_000).for_each(|s| mapper.drop(F, s));
    assert_eq!(sent(&mut mapper, F, 50_000), Some(101));
}

#[test]
fn the_wire_number_wraps_without_a_gap() {
    let mut mapper = SequenceMapper::new(0xfffe);
    mapper.switch(F, 0x2_fffe);
    let wire: Vec<_> = (0x2_fffe..0x3_0002).filter_map(|s| sent(&mut mapper, F, s)).map(|s| s as u16).collect();
    assert_eq!(wire, [0xfffe, 0xffff, 0, 1]);
}

#[derive(Debug, Clone)]
enum Op {
    Forward(u32, u64),
    Drop(u32, u64),
    Padding(u32, u64),
    Switch(u32, u64),
    Gap,
}

/// Packets near a moving front, so that runs, losses, disorder and long jumps all come up.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let seq = prop_oneof![8 => 0..40_u64, 1 => 0..3_000_u64, 1 => 0..100_000_u64];
    let op = (0..12_u8, 0..3_u32, seq).prop_map(|(kind, source, seq)| match kind {
        0..=5 => Op::Forward(source, seq),
        6..=7 => Op::Drop(source, seq),
        8 => Op::Padding(source, seq),
        9..=10 => Op::Switch(source, seq),
        _ => Op::Gap,
    });
    proptest::collection::vec(op, 1..400)
}

proptest! {
    #[test]
    fn no_two_packets_get_one_number_and_order_is_kept(ops in ops()) {
        let mut mapper = SequenceMapper::new(30_000);
        let mut owner = HashMap::new();
        let mut highest = None;
        for op in ops {
            let (packet, mapped) = match op {
                Op::Forward(source, seq) => ((source, seq), mapper.forward(source, seq)),
                Op::Padding(source, seq) => ((source, seq), mapper.forward_padding(source, seq)),
                Op::Drop(source, seq) => { mapper.drop(source, seq); continue }
                Op::Switch(source, seq) => { mapper.switch(source, seq); continue }
                Op::Gap => { mapper.leave_gap(); continue }
            };
            let Some(mapped) = mapped else { continue };
            let had = *owner.entry(mapped.sequence).or_insert(packet);
            prop_assert_eq!(had, packet, "two packets under {}", mapped.sequence);
            if !mapped.late {
                prop_assert!(highest < Some(mapped.sequence));
                highest = Some(mapped.sequence);
            }
            prop_assert!(mapped.sequence < mapper.next_sequence());
        }
    }

    #[test]
    fn in_order_packets_are_contiguous_whatever_is_dropped_and_switched(
        steps in proptest::collection::vec((0..8_u8, 0..100_000_u64), 1..400),
    ) {
        let mut mapper = SequenceMapper::new(5);
        let mut next_in = 77;
        let mut source = 0;
        let mut expected = 5;
        mapper.switch(source, next_in);
        for (kind, seq) in steps {
            match kind {
                0 => {
                    source += 1;
                    next_in = seq;
                    mapper.switch(source, next_in);
                }
                1..=2 => {
                    mapper.drop(source, next_in);
                    next_in += 1;
                }
                _ => {
                    prop_assert_eq!(sent(&mut mapper, source, next_in), Some(expected));
                    next_in += 1;
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn losses_and_disorder_shift_no_packet(order in Just((0..60_u64).collect::<Vec<_>>()).prop_shuffle(), lost in 0..60_u64) {
        let mut mapper = started(0);
        for s in order.into_iter().filter(|s| *s != lost) {
            prop_assert_eq!(sent(&mut mapper, F, s), Some(100 + s));
        }
    }
}
