use proptest::prelude::*;

use super::*;

const A: Epoch = Epoch(0);
const B: Epoch = Epoch(1);

/// Picture id, TL0PICIDX, KEYIDX.
type Sent = (Option<u16>, Option<u8>, Option<u8>);

const fn of(epoch: Epoch, late: bool) -> Mapped {
    Mapped { sequence: 0, epoch, late }
}

/// X=1 S=1; I L T K; a 15-bit picture id.
fn long(picture_id: u16, tl0: u8, key: u8) -> Vec<u8> {
    let [high, low] = picture_id.to_be_bytes();
    vec![0x90, 0xf0, 0x80 | high, low, tl0, 0x60 | key, 0x00, 0xab]
}

/// X=1 S=1; I; a 7-bit picture id.
fn short(picture_id: u8) -> Vec<u8> {
    vec![0x90, 0x80, picture_id, 0x00, 0xab]
}

fn parse(payload: &[u8]) -> Vp8Descriptor {
    Vp8Descriptor::parse(payload).expect("a descriptor")
}

fn switch(rewriter: &mut Vp8Rewriter, epoch: Epoch, payload: &[u8]) -> Sent {
    rewriter.switch(epoch, &parse(payload));
    send(rewriter, epoch, payload)
}

fn send(rewriter: &mut Vp8Rewriter, epoch: Epoch, payload: &[u8]) -> Sent {
    write(rewriter, of(epoch, false), payload)
}

fn resend(rewriter: &mut Vp8Rewriter, epoch: Epoch, payload: &[u8]) -> Sent {
    write(rewriter, of(epoch, true), payload)
}

fn write(rewriter: &mut Vp8Rewriter, packet: Mapped, payload: &[u8]) -> Sent {
    let fields = rewriter.rewrite(packet, &parse(payload)).expect("a known epoch");
    (fields.picture_id, fields.tl0_pic_idx, fields.key_idx)
}

#[test]
fn the_first_source_passes_through() {
    let mut rewriter = Vp8Rewriter::new();
    assert_eq!(switch(&mut rewriter, A, &long(700, 70, 7)), (Some(700), Some(70), Some(7)));
    let next = long(701, 71, 7);
    let fields = rewriter.rewrite(of(A, false), &parse(&next));
    assert_eq!(fields, Some(Vp8Fields::of(&parse(&next))));
}

#[test]
fn counters_go_on_after_a_switch() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70, 7));
    send(&mut rewriter, A, &long(705, 72, 7));
    assert_eq!(switch(&mut rewriter, B, &long(20, 200, 30)), (Some(706), Some(73), Some(8)));
    assert_eq!(send(&mut rewriter, B, &long(21, 201, 31)), (Some(707), Some(74), Some(9)));
}

#[test]
fn picture_ids_of_dropped_temporal_layers_stay_open() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70, 7));
    switch(&mut rewriter, B, &long(20, 200, 30));
    assert_eq!(send(&mut rewriter, B, &long(22, 201, 30)).0, Some(703));
}

#[test]
fn counters_wrap_each_in_its_width() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(0x7ffe, 254, 30));
    assert_eq!(switch(&mut rewriter, B, &long(5, 5, 5)), (Some(0x7fff), Some(255), Some(31)));
    assert_eq!(send(&mut rewriter, B, &long(6, 6, 6)), (Some(0), Some(0), Some(0)));
    assert_eq!(switch(&mut rewriter, Epoch(2), &long(0x7fff, 255, 31)), (Some(1), Some(1), Some(1)));
    assert_eq!(send(&mut rewriter, Epoch(2), &long(0, 0, 0)), (Some(2), Some(2), Some(2)));
}

#[test]
fn a_seven_bit_picture_id_wraps_at_128() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &short(126));
    assert_eq!(send(&mut rewriter, A, &short(127)).0, Some(127));
    assert_eq!(send(&mut rewriter, A, &short(0)).0, Some(0));
    assert_eq!(switch(&mut rewriter, B, &short(90)).0, Some(1));
}

#[test]
fn sources_of_both_widths_follow_each_other_each_in_its_own() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(300, 0, 0));
    assert_eq!(switch(&mut rewriter, B, &short(90)).0, Some(301 & 0x7f));
    assert_eq!(send(&mut rewriter, B, &short(91)).0, Some(302 & 0x7f));
    assert_eq!(switch(&mut rewriter, Epoch(2), &long(4, 0, 0)).0, Some(303));
}

#[test]
fn a_late_packet_of_the_old_source_keeps_its_old_numbers() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70, 7));
    send(&mut rewriter, A, &long(702, 71, 7));
    switch(&mut rewriter, B, &long(20, 200, 30));
    assert_eq!(resend(&mut rewriter, A, &long(701, 70, 7)), (Some(701), Some(70), Some(7)));
    assert_eq!(switch(&mut rewriter, Epoch(2), &long(1, 1, 1)), (Some(704), Some(73), Some(9)));
}

#[test]
fn a_late_packet_of_an_earlier_picture_does_not_turn_the_counters_back() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70, 7));
    send(&mut rewriter, A, &long(702, 72, 7));
    assert_eq!(resend(&mut rewriter, A, &long(701, 71, 7)), (Some(701), Some(71), Some(7)));
    assert_eq!(switch(&mut rewriter, B, &long(20, 200, 30)), (Some(703), Some(73), Some(8)));
}

#[test]
fn counters_go_on_after_a_leap_of_more_than_half_their_range() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70, 7));
    send(&mut rewriter, A, &long(700 + 20_000, 70 + 150, 7 + 20));
    assert_eq!(switch(&mut rewriter, B, &long(1, 1, 1)), (Some(20_701), Some(221), Some(28)));
}

#[test]
fn fields_that_a_source_lacks_are_taken_up_again_by_the_next() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70, 7));
    assert_eq!(switch(&mut rewriter, B, &[0x10, 0x00, 0xab]), (None, None, None));
    // The source has the field from its second frame on.
    assert_eq!(send(&mut rewriter, B, &short(9)).0, Some(701 & 0x7f));
    assert_eq!(send(&mut rewriter, B, &short(10)).0, Some(702 & 0x7f));
    assert_eq!(switch(&mut rewriter, Epoch(2), &long(1, 1, 1)), (Some(703), Some(71), Some(8)));
}

#[test]
fn a_forgotten_epoch_is_not_rewritten() {
    let mut rewriter = Vp8Rewriter::new();
    for epoch in 0..5 {
        rewriter.switch(Epoch(epoch), &parse(&long(1, 1, 1)));
    }
    assert_eq!(rewriter.rewrite(of(A, false), &parse(&long(2, 1, 1))), None);
}

#[test]
fn a_descriptor_with_tl0picidx_but_no_tid_is_refused() {
    assert_eq!(Vp8Descriptor::parse(&[0x90, 0x40, 0x05, 0x00]), None);
}

#[test]
fn the_patch_is_taken_by_the_stack_for_every_field() {
    let payload = long(20, 200, 30);
    let fields = Vp8Fields { picture_id: Some(706), tl0_pic_idx: Some(73), key_idx: Some(8) };
    let wanted = str0m::rtp::Vp8Descriptor::parse(&payload).expect("a descriptor").patch();
    let wanted = wanted.picture_id(706).tl0_pic_idx(73).key_idx(8).build();
    assert_eq!(fields.patch(&payload), wanted.ok());
    assert_eq!(fields.patch(&short(3)), None, "no such fields");
}

proptest! {
    #[test]
    fn descriptors_are_read_as_the_stack_reads_them(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
        let ours = Vp8Descriptor::parse(&payload);
        let theirs = str0m::rtp::Vp8Descriptor::parse(&payload).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            let fields = Vp8Fields::of(&ours);
            prop_assert_eq!(fields.picture_id, theirs.picture_id());
            prop_assert_eq!(fields.tl0_pic_idx, theirs.tl0_pic_idx());
            prop_assert_eq!(fields.key_idx, theirs.key_idx());
        }
    }

    #[test]
    fn whatever_comes_the_patch_fits_the_descriptor(
        packets in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 3..12)), 1..60),
    ) {
        let mut rewriter = Vp8Rewriter::new();
        let mut epoch = A;
        rewriter.switch(epoch, &parse(&long(1, 1, 1)));
        for (switch, payload) in packets {
            let Some(descriptor) = Vp8Descriptor::parse(&payload) else { continue };
            if switch {
                epoch.0 += 1;
                rewriter.switch(epoch, &descriptor);
            }
            let fields = rewriter.rewrite(of(epoch, false), &descriptor);
            prop_assert!(fields.is_some_and(|f| f.patch(&payload).is_some()));
        }
    }

    #[test]
    fn each_switch_counts_on_by_one(switches in proptest::collection::vec((0..0x8000_u16, any::<u8>(), 0..32_u8, 0..50_u16), 1..40)) {
        let mut rewriter = Vp8Rewriter::new();
        let mut next: Option<(u16, u8, u8)> = None;
        for (number, (id, tl0, key, frames)) in switches.into_iter().enumerate() {
            let epoch = Epoch(number as u32);
            let first = switch(&mut rewriter, epoch, &long(id, tl0, key));
            if let Some((id, tl0, key)) = next {
                prop_assert_eq!(first, (Some(id), Some(tl0), Some(key)));
            }
            let (id, tl0) = ((id + frames) & 0x7fff, tl0.wrapping_add(frames as u8));
            let (id, tl0, key) = match send(&mut rewriter, epoch, &long(id, tl0, key)) {
                (Some(id), Some(tl0), Some(key)) => (id, tl0, key),
                missing => return Err(TestCaseError::fail(format!("{missing:?}"))),
            };
            next = Some(((id + 1) & 0x7fff, tl0.wrapping_add(1), (key + 1) & 0x1f));
        }
    }
}

#[test]
fn picture_ids_of_a_dropped_temporal_layer_are_closed_up() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &long(0x7ffe, 70, 7));
    // Both packets of the dropped picture say so.
    rewriter.drop(A, &parse(&long(0x7fff, 70, 7)));
    rewriter.drop(A, &parse(&long(0x7fff, 70, 7)));
    assert_eq!(send(&mut rewriter, A, &long(0, 70, 7)).0, Some(0x7fff));
    rewriter.drop(A, &parse(&long(1, 70, 7)));
    // 2 is lost, and comes late.
    assert_eq!(send(&mut rewriter, A, &long(3, 71, 7)).0, Some(1));
    assert_eq!(resend(&mut rewriter, A, &long(2, 71, 7)).0, Some(0));
    assert_eq!(resend(&mut rewriter, A, &long(0, 70, 7)).0, Some(0x7fff));
    assert_eq!(resend(&mut rewriter, A, &long(0x7ffe, 70, 7)).0, Some(0x7ffe));
    assert_eq!(rewriter.rewrite(of(A, true), &parse(&long(1, 70, 7))), None, "it was dropped");
    rewriter.drop(A, &parse(&long(2, 71, 7)));
    assert_eq!(send(&mut rewriter, A, &long(4, 71, 7)).0, Some(2), "too late to close up");
    assert_eq!(switch(&mut rewriter, B, &long(900, 9, 9)).0, Some(3));
}

#[test]
fn a_short_picture_id_is_closed_up_in_its_own_width() {
    let mut rewriter = Vp8Rewriter::new();
    switch(&mut rewriter, A, &short(126));
    rewriter.drop(A, &parse(&short(127)));
    assert_eq!(send(&mut rewriter, A, &short(0)).0, Some(127));
    assert_eq!(send(&mut rewriter, A, &short(1)).0, Some(0));
}
