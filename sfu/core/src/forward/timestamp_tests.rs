use proptest::prelude::*;

use super::*;

const VIDEO: u32 = 90_000;
const A: Epoch = Epoch(0);
const B: Epoch = Epoch(1);

#[expect(clippy::disallowed_methods, reason = "any instant will do: only differences count")]
fn origin() -> Instant {
    Instant::now()
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A mapper that has sent frames of epoch A with the timestamps 0, 3000, 6000, 33 ms apart; the last at `t`.
fn running(start: u32) -> (TimestampMapper, Instant) {
    let mut mapper = TimestampMapper::new(start);
    let t = origin() + Duration::from_secs(1);
    assert_eq!(mapper.switch(A, t - ms(66), 0, VIDEO, None), Basis::Start);
    for (frame, back) in [(0, 66), (1, 33), (2, 0)] {
        assert_eq!(mapper.map(A, t - ms(back), frame * 3000), Some(start.wrapping_add(frame * 3000)));
    }
    (mapper, t)
}

#[test]
fn the_first_frame_gets_the_start_value() {
    let (mapper, _) = running(77);
    assert_eq!(mapper.highest(), Some(77 + 6000));
}

#[test]
fn layers_with_sender_reports_meet_on_one_timeline() {
    let (mut mapper, t) = running(77);
    let basis = mapper.switch(B, t + ms(40), 500_000, VIDEO, Some(9000));
    assert_eq!(basis, Basis::Aligned);
    assert_eq!(mapper.map(B, t + ms(40), 500_000), Some(77 + 9000));
    assert_eq!(mapper.map(B, t + ms(73), 503_000), Some(77 + 12_000));
}

#[test]
fn without_sender_reports_the_time_between_arrivals_decides() {
    let (mut mapper, t) = running(77);
    let basis = mapper.switch(B, t + ms(40), 500_000, VIDEO, None);
    assert_eq!(basis, Basis::Elapsed);
    assert_eq!(mapper.map(B, t + ms(40), 500_000), Some(77 + 6000 + 3600));
}

#[test]
fn the_time_runs_from_the_first_packet_of_the_newest_frame() {
    let (mut mapper, t) = running(0);
    mapper.map(A, t + ms(20), 6000);
    mapper.map(A, t + ms(25), 3000);
    mapper.switch(B, t + ms(30), 0, VIDEO, None);
    assert_eq!(mapper.map(B, t + ms(30), 0), Some(6000 + 2700));
}

#[test]
fn a_target_20_ms_behind_takes_the_least_step_forward() {
    let (mut mapper, t) = running(0);
    let basis = mapper.switch(B, t + ms(5), 500_000, VIDEO, Some(6000 - 1800));
    assert_eq!(basis, Basis::Nudged);
    assert_eq!(mapper.map(B, t + ms(5), 500_000), Some(6000 + 90));
}

#[test]
fn a_target_80_ms_behind_goes_by_the_time_that_passed() {
    let (mut mapper, t) = running(0);
    let basis = mapper.switch(B, t + ms(5), 500_000, VIDEO, Some(6000_u32.wrapping_sub(7200)));
    assert_eq!(basis, Basis::Elapsed);
    assert_eq!(mapper.map(B, t + ms(5), 500_000), Some(6000 + 450));
}

#[test]
fn sender_reports_that_contradict_the_clock_by_seconds_are_not_believed() {
    let (mut mapper, t) = running(0);
    let basis = mapper.switch(B, t + ms(40), 500_000, VIDEO, Some(6000 + 20 * VIDEO));
    assert_eq!(basis, Basis::Elapsed);
    assert_eq!(mapper.map(B, t + ms(40), 500_000), Some(6000 + 3600));
}

#[test]
fn two_frames_that_arrive_at_once_are_still_in_order() {
    let (mut mapper, t) = running(0);
    assert_eq!(mapper.switch(B, t, 42, VIDEO, None), Basis::Elapsed);
    assert_eq!(mapper.map(B, t, 42), Some(6000 + 90));
}

#[test]
fn a_switch_of_speakers_never_overlaps_audio_packets() {
    let mut mapper = TimestampMapper::new(0).with_min_step(ms(20));
    let t = origin();
    mapper.switch(A, t, 960, 48_000, None);
    assert_eq!(mapper.map(A, t, 960), Some(0));
    mapper.switch(B, t + ms(3), 7, 48_000, None);
    assert_eq!(mapper.map(B, t + ms(3), 7), Some(960));
}

#[test]
fn a_dtx_gap_is_passed_on_as_it_is() {
    let mut mapper = TimestampMapper::new(5).with_min_step(ms(20));
    let t = origin();
    mapper.switch(A, t, 960, 48_000, None);
    assert_eq!(mapper.map(A, t, 960), Some(5));
    assert_eq!(mapper.map(A, t + ms(2_000), 960 + 96_000), Some(5 + 96_000));
}

#[test]
fn a_mute_that_stopped_the_timestamps_is_bridged_by_the_time_that_passed() {
    let (mut mapper, t) = running(0);
    mapper.switch(B, t + ms(10_000), 9000, VIDEO, None);
    assert_eq!(mapper.map(B, t + ms(10_000), 9000), Some(6000 + 10 * VIDEO));
}

#[test]
fn a_mute_during_which_the_timestamps_went_on_is_bridged_alike() {
    let (mut mapper, t) = running(0);
    mapper.switch(B, t + ms(10_000), 6000 + 10 * VIDEO, VIDEO, None);
    assert_eq!(mapper.map(B, t + ms(10_000), 6000 + 10 * VIDEO), Some(6000 + 10 * VIDEO));
}

#[test]
fn a_mute_of_a_day_still_moves_forward() {
    let (mut mapper, t) = running(0);
    mapper.switch(B, t + Duration::from_secs(86_400), 9000, VIDEO, None);
    assert_eq!(mapper.map(B, t, 9000), Some(6000 + i32::MAX as u32));
    assert_eq!(mapper.highest(), Some(6000 + i32::MAX as u32));
}

#[test]
fn timestamps_wrap_in_and_out() {
    let (mut mapper, t) = running(u32::MAX - 7000);
    let basis = mapper.switch(B, t + ms(40), u32::MAX - 10, VIDEO, Some(9000));
    assert_eq!(basis, Basis::Aligned);
    assert_eq!(mapper.map(B, t + ms(40), u32::MAX - 10), Some(1999));
    assert_eq!(mapper.map(B, t + ms(73), 2989), Some(4999));
    assert_eq!(mapper.highest(), Some(4999));
}

#[test]
fn a_late_packet_of_the_old_source_keeps_its_old_timestamp() {
    let (mut mapper, t) = running(77);
    mapper.switch(B, t + ms(40), 500_000, VIDEO, None);
    mapper.map(B, t + ms(40), 500_000);
    assert_eq!(mapper.map(A, t + ms(60), 3000), Some(77 + 3000));
    assert_eq!(mapper.highest(), Some(77 + 6000 + 3600));
}

#[test]
fn an_epoch_that_is_forgotten_is_not_mapped() {
    let (mut mapper, t) = running(0);
    for epoch in 1..5 {
        mapper.switch(Epoch(epoch), t, 0, VIDEO, None);
    }
    assert_eq!(mapper.map(A, t, 6000), None);
    assert_eq!(mapper.map(Epoch(9), t, 6000), None);
}

#[test]
fn sender_reports_place_one_layer_on_the_other_whichever_came_first() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let low = SenderReport { wall, rtp: 1000 };
    let high = SenderReport { wall: wall + ms(500), rtp: u32::MAX - 4499 };
    // 100 ms after the high layer's report is 600 ms after the low one's.
    let in_high = high.rtp.wrapping_add(9000);
    let in_low = 1000 + 54_000;
    assert_eq!(high.on_timeline_of(&low, in_high, VIDEO), in_low);
    assert_eq!(low.on_timeline_of(&high, in_low, VIDEO), in_high);
}

#[test]
fn sender_reports_meet_at_the_nearest_tick() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let low = SenderReport { wall, rtp: 0 };
    let high = SenderReport { wall: wall + Duration::from_nanos(11_100), rtp: 0 };
    assert_eq!(high.on_timeline_of(&low, 0, VIDEO), 1);
    assert_eq!(low.on_timeline_of(&high, 0, VIDEO), u32::MAX);
}

proptest! {
    #[test]
    fn a_switch_always_moves_forward(
        start: u32,
        switches in proptest::collection::vec((0..100_000_u64, any::<u32>(), any::<Option<u32>>(), 0..5_u32), 1..40),
    ) {
        let mut mapper = TimestampMapper::new(start);
        let mut now = origin();
        for (number, (passed, in_ts, aligned, frames)) in switches.into_iter().enumerate() {
            let epoch = Epoch(number as u32);
            now += ms(passed);
            let before = mapper.highest();
            mapper.switch(epoch, now, in_ts, VIDEO, aligned);
            let first = mapper.map(epoch, now, in_ts);
            if let (Some(before), Some(first)) = (before, first) {
                prop_assert!(first.wrapping_sub(before) as i32 >= 90);
            }
            for frame in 1..=frames {
                let out = mapper.map(epoch, now, in_ts.wrapping_add(frame * 3000));
                prop_assert_eq!(out, first.map(|f| f.wrapping_add(frame * 3000)));
            }
        }
    }
}
