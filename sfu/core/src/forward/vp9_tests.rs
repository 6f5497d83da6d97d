use proptest::prelude::*;

use super::*;

const A: Epoch = Epoch(0);
const B: Epoch = Epoch(1);

/// I L B E; a 15-bit picture id; layers 0; not flexible.
fn long(picture_id: u16, tl0: u8) -> Vec<u8> {
    let [high, low] = picture_id.to_be_bytes();
    vec![0xac, 0x80 | high, low, 0x00, tl0, 0xab, 0xcd]
}

/// I P F B E; a 7-bit picture id; one reference.
fn short_flexible(picture_id: u8) -> Vec<u8> {
    vec![0xdc, picture_id, 0x02, 0xab, 0xcd]
}

fn parse(payload: &[u8]) -> Vp9Descriptor {
    Vp9Descriptor::parse(payload).expect("a descriptor")
}

fn switch(rewriter: &mut Vp9Rewriter, epoch: Epoch, payload: &[u8]) -> Vec<u8> {
    rewriter.switch(epoch, &parse(payload));
    send(rewriter, epoch, payload)
}

const fn of(epoch: Epoch, late: bool) -> Mapped {
    Mapped { sequence: 0, epoch, late }
}

fn send(rewriter: &mut Vp9Rewriter, epoch: Epoch, payload: &[u8]) -> Vec<u8> {
    write(rewriter, of(epoch, false), payload)
}

/// The payload as it is sent.
fn write(rewriter: &mut Vp9Rewriter, packet: Mapped, payload: &[u8]) -> Vec<u8> {
    let descriptor = parse(payload);
    let fields = rewriter.rewrite(packet, &descriptor).expect("a known epoch");
    let copy = fields.rewrite_payload(&descriptor, payload);
    copy.unwrap_or_else(|| payload.to_vec())
}

#[test]
fn the_first_source_passes_through_without_a_copy() {
    let mut rewriter = Vp9Rewriter::new();
    let payload = long(700, 70);
    rewriter.switch(A, &parse(&payload));
    let fields = rewriter.rewrite(of(A, false), &parse(&payload)).expect("a known epoch");
    assert_eq!(fields.rewrite_payload(&parse(&payload), &payload), None);
}

#[test]
fn counters_go_on_after_a_switch_and_nothing_else_changes() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70));
    send(&mut rewriter, A, &long(705, 72));
    assert_eq!(switch(&mut rewriter, B, &long(20, 200)), long(706, 73));
    assert_eq!(send(&mut rewriter, B, &long(21, 201)), long(707, 74));
}

#[test]
fn the_packets_of_one_picture_keep_one_picture_id() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70));
    switch(&mut rewriter, B, &long(20, 200));
    assert_eq!(send(&mut rewriter, B, &long(20, 200)), long(701, 71));
}

#[test]
fn a_fifteen_bit_picture_id_wraps() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(0x7ffe, 254));
    assert_eq!(switch(&mut rewriter, B, &long(5, 5)), long(0x7fff, 255));
    assert_eq!(send(&mut rewriter, B, &long(6, 6)), long(0, 0));
}

#[test]
fn a_seven_bit_picture_id_stays_seven_bits_wide() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(300, 70));
    assert_eq!(switch(&mut rewriter, B, &short_flexible(126)), short_flexible((301 & 0x7f) as u8));
    assert_eq!(send(&mut rewriter, B, &short_flexible(127)), short_flexible((302 & 0x7f) as u8));
    assert_eq!(send(&mut rewriter, B, &short_flexible(0)), short_flexible((303 & 0x7f) as u8));
    assert_eq!(switch(&mut rewriter, Epoch(2), &long(1, 1)), long(304, 71));
}

#[test]
fn a_late_packet_of_the_old_source_keeps_its_old_numbers() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70));
    send(&mut rewriter, A, &long(702, 72));
    switch(&mut rewriter, B, &long(20, 200));
    assert_eq!(write(&mut rewriter, of(A, true), &long(701, 71)), long(701, 71));
    assert_eq!(switch(&mut rewriter, Epoch(2), &long(9, 9)), long(704, 74));
}

#[test]
fn a_late_picture_whose_number_the_next_source_has_taken_is_not_sent() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(700, 70));
    assert_eq!(switch(&mut rewriter, B, &long(20, 200)), long(701, 71));
    assert_eq!(rewriter.rewrite(of(A, true), &parse(&long(701, 71))), None);
    assert_eq!(write(&mut rewriter, of(A, true), &long(699, 69)), long(699, 69));
}

#[test]
fn a_forgotten_epoch_is_not_rewritten() {
    let mut rewriter = Vp9Rewriter::new();
    for epoch in 0..5 {
        rewriter.switch(Epoch(epoch), &parse(&long(1, 1)));
    }
    assert_eq!(rewriter.rewrite(of(A, false), &parse(&long(2, 1))), None);
}

#[test]
fn more_than_three_references_are_refused() {
    assert!(Vp9Descriptor::parse(&[0xdc, 1, 0x03, 0x03, 0x02, 0xab]).is_some());
    assert_eq!(Vp9Descriptor::parse(&[0xdc, 1, 0x03, 0x03, 0x03, 0x02, 0xab]), None);
}

#[test]
fn the_payload_begins_after_the_whole_scalability_structure() {
    // One layer without sizes; a group of two pictures with three references and none.
    let payload = [0x8a, 1, 0x08, 2, 0x0c, 1, 2, 3, 0x00, 0xab];
    assert_eq!(parse(&payload).len, 9);
}

proptest! {
    #[test]
    fn whatever_comes_only_the_counters_change(
        packets in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 3..24)), 1..60),
    ) {
        let mut rewriter = Vp9Rewriter::new();
        let mut epoch = A;
        rewriter.switch(epoch, &parse(&long(1, 1)));
        for (switch, payload) in packets {
            let Some(before) = Vp9Descriptor::parse(&payload) else { continue };
            if switch {
                epoch.0 += 1;
                rewriter.switch(epoch, &before);
            }
            let fields = rewriter.rewrite(of(epoch, false), &before).expect("a known epoch");
            let Some(copy) = fields.rewrite_payload(&before, &payload) else { continue };
            let after = parse(&copy);
            prop_assert_eq!(Vp9Fields::of(&after), fields);
            // With the counters put back it is the packet that came.
            let mut back = copy;
            Vp9Fields::of(&before).apply(&after, &mut back);
            prop_assert_eq!(back, payload);
        }
    }
}

#[test]
fn pictures_without_their_upper_spatial_layers_are_numbered_without_gaps() {
    let mut rewriter = Vp9Rewriter::new();
    let text = include_str!("testdata/chromium-vp9-l3t3.txt");
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
    };
    let payloads: Vec<_> = lines.map(|l| hex(l.split(' ').nth(5).expect("a payload"))).collect();
    switch(&mut rewriter, A, &long(300, 1));
    rewriter.switch(B, &parse(&payloads[0]));
    let of_lowest = payloads.iter().filter(|p| parse(p).sid == Some(0));
    let mut ids: Vec<_> = of_lowest.map(|p| parse(&send(&mut rewriter, B, p)).picture_id.expect("one").value).collect();
    ids.dedup();
    assert!(ids.len() > 10);
    assert_eq!(ids, (301..).take(ids.len()).collect::<Vec<_>>());
}

#[test]
fn a_late_packet_that_is_the_first_of_its_picture_uses_up_its_number() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(300, 1));
    let id = |fields: Option<Vp9Fields>| fields.and_then(|fields| fields.picture_id);
    assert_eq!(id(rewriter.rewrite(of(A, false), &parse(&long(300, 1)))), Some(300));
    // After a switch to another codec, which has no picture ids.
    assert_eq!(id(rewriter.rewrite(of(A, true), &parse(&long(301, 1)))), Some(301));
    assert_eq!(id(rewriter.rewrite(of(A, true), &parse(&long(300, 1)))), Some(300), "an older one does not");
    rewriter.switch(B, &parse(&long(7, 1)));
    assert_eq!(id(rewriter.rewrite(of(B, false), &parse(&long(7, 1)))), Some(302));
}

#[test]
fn where_the_picture_ids_begin_within_an_epoch_a_late_one_takes_no_number_of_the_epoch_before() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &long(300, 1));
    // I is not set.
    switch(&mut rewriter, B, &[0x2c, 0x00, 2, 0xab]);
    let id = |fields: Option<Vp9Fields>| fields.and_then(|fields| fields.picture_id);
    assert_eq!(id(rewriter.rewrite(of(B, false), &parse(&long(500, 2)))), Some(301));
    assert_eq!(rewriter.rewrite(of(B, true), &parse(&long(499, 2))), None, "300 is taken");
    assert_eq!(id(rewriter.rewrite(of(B, false), &parse(&long(502, 2)))), Some(303));
    assert_eq!(id(rewriter.rewrite(of(B, true), &parse(&long(501, 2)))), Some(302));
}

#[test]
fn an_epoch_without_picture_ids_gets_none_once_the_next_has_begun() {
    let mut rewriter = Vp9Rewriter::new();
    switch(&mut rewriter, A, &[0x2c, 0x00, 1, 0xab]);
    switch(&mut rewriter, B, &long(7, 2));
    assert_eq!(rewriter.rewrite(of(A, true), &parse(&long(300, 1))), None, "8 is for what follows");
    let next = rewriter.rewrite(of(B, false), &parse(&long(8, 2))).and_then(|fields| fields.picture_id);
    assert_eq!(next, Some(8));
}
