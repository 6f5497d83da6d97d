//! AV1 payloads, the Alliance for Open Media's "RTP Payload Format For AV1" (version 1.0.0).

use super::mark::{self, Mark};
use super::packetise::{Descriptor, MAX_PAYLOAD, Malformed, Reader};

const CONTINUES: u8 = 0x80; // Z: the first element goes on from the packet before
const CONTINUED: u8 = 0x40; // Y: the last element goes on in the next packet
const NEW_SEQUENCE: u8 = 0x08; // N: first packet of a coded video sequence
const HAS_SIZE: u8 = 0x02;
const HAS_EXTENSION: u8 = 0x04;
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;
/// A length below 2^14 takes at most two bytes.
const LENGTH: usize = 2;
/// No fragment smaller than this is worth its length and the cut.
const LEAST_FRAGMENT: usize = 32;

const fn kind(header: u8) -> u8 {
    header >> 3 & 0x0f
}

/// One packet in the making: elements, and whether the first and the last one are cut.
#[derive(Default)]
struct Packet<'a> {
    elements: Vec<Element<'a>>,
    continues: bool,
    continued: bool,
}

/// A piece of an OBU: its header without the size bit (empty in a continuation), and bytes.
struct Element<'a> {
    header: Vec<u8>,
    body: &'a [u8],
}

impl Packet<'_> {
    fn room(&self) -> usize {
        let used: usize = self.elements.iter().map(|e| LENGTH + e.header.len() + e.body.len()).sum();
        (MAX_PAYLOAD - 1).saturating_sub(used + LENGTH)
    }

    /// Section 4.4: with up to three elements W tells how many, and the last one has no length.
    fn write(&self, new_sequence: bool) -> Vec<u8> {
        let count = self.elements.len();
        let counted = if count <= 3 { count as u8 } else { 0 };
        let mut out = vec![
            if self.continues { CONTINUES } else { 0 }
                | if self.continued { CONTINUED } else { 0 }
                | counted << 4
                | if new_sequence { NEW_SEQUENCE } else { 0 },
        ];
        for (i, element) in self.elements.iter().enumerate() {
            if counted == 0 || i + 1 < count {
                leb128(element.header.len() + element.body.len(), &mut out);
            }
            out.extend(&element.header);
            out.extend_from_slice(element.body);
        }
        out
    }
}

/// The payloads of a temporal unit; delimiters, tile lists and padding stay behind (section 5). Empty where the unit is
/// not a well-formed low-overhead stream.
pub(super) fn packetise(unit: &[u8], keyframe: bool) -> Vec<Vec<u8>> {
    let Ok(obus) = obus(unit) else { return Vec::new() };
    let mut packets = vec![Packet::default()];
    for (header, mut body) in obus {
        if matches!(kind(header[0]), TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
            continue;
        }
        let mut header = header.to_vec();
        header[0] &= !HAS_SIZE;
        loop {
            let packet = packets.last_mut().expect("starts with one and only grows");
            let room = packet.room();
            if header.len() + body.len() <= room {
                packet.elements.push(Element { header, body });
                break;
            }
            let continues = if room >= LEAST_FRAGMENT {
                let (piece, rest) = body.split_at(room - header.len());
                packet.elements.push(Element { header: std::mem::take(&mut header), body: piece });
                packet.continued = true;
                body = rest;
                true
            } else {
                false
            };
            packets.push(Packet { continues, ..Packet::default() });
        }
    }
    packets.retain(|packet| !packet.elements.is_empty());
    packets.iter().enumerate().map(|(i, packet)| packet.write(keyframe && i == 0)).collect()
}

/// Metadata by ITU-T T.35 (AV1 specification, section 5.8.2) of the United States: the mark's first bytes stand where the
/// provider does, and no provider has them. Decoders pass over it without a word; of private types dav1d complains.
const T35: [u8; 2] = [4, 0xb5];

/// The temporal unit with a mark in a metadata OBU before its first frame.
pub(super) fn embed(unit: &[u8], mark: &[u8; mark::LEN]) -> Vec<u8> {
    let Ok(obus) = obus(unit) else { return unit.to_vec() };
    let mut out = Vec::with_capacity(unit.len() + mark::LEN + 5);
    let mut marked = false;
    for (header, body) in obus {
        if !marked && matches!(kind(header[0]), FRAME_HEADER | FRAME) {
            marked = true;
            out.extend([METADATA << 3 | HAS_SIZE, (T35.len() + mark::LEN + 1) as u8]);
            out.extend(T35);
            out.extend(mark);
            out.push(0x80); // trailing_bits
        }
        out.extend_from_slice(header);
        leb128(body.len(), &mut out);
        out.extend_from_slice(body);
    }
    out
}

/// The mark in the first payload of a frame.
pub(super) fn mark_in(payload: &[u8]) -> Option<Mark> {
    let mut found = None;
    for_elements(payload, |_, element, _| {
        if let Some((header, body)) = element.split_first()
            && let Some(mark) = body.strip_prefix(&T35)
            && kind(*header) == METADATA
        {
            found = found.or_else(|| Mark::read(mark));
        }
        Ok(())
    })
    .ok()?;
    found
}

/// Header and body.
type Obu<'a> = (&'a [u8], &'a [u8]);

/// The OBUs of a low-overhead stream, each with its size (AV1 specification, section 5.2): header and body.
fn obus(data: &[u8]) -> Result<Vec<Obu<'_>>, Malformed> {
    let mut reader = Reader(data);
    let mut obus = Vec::new();
    while let Some(&first) = reader.0.first() {
        let header = reader.take(if first & HAS_EXTENSION != 0 { 2 } else { 1 })?;
        if first & HAS_SIZE == 0 {
            return Err(Malformed::Value);
        }
        let size = read_leb128(&mut reader)?;
        obus.push((header, reader.take(size)?));
    }
    Ok(obus)
}

fn leb128(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// At most four bytes: no OBU of a frame is larger than 2^28.
fn read_leb128(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let byte = reader.byte()?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::Value)
}

/// Calls `each` with the elements of a payload, and whether it is the last one. Gives the aggregation header.
fn for_elements<'a>(
    payload: &'a [u8],
    mut each: impl FnMut(usize, &'a [u8], bool) -> Result<(), Malformed>,
) -> Result<u8, Malformed> {
    let mut reader = Reader(payload);
    let aggregation = reader.byte()?;
    let count = usize::from(aggregation >> 4 & 3);
    if aggregation & CONTINUES != 0 && aggregation & NEW_SEQUENCE != 0 {
        return Err(Malformed::Value); // section 4.4
    }
    let mut found = 0;
    while !reader.0.is_empty() {
        let length = if found + 1 == count { reader.0.len() } else { read_leb128(&mut reader)? };
        let element = reader.take(length)?;
        each(found, element, reader.0.is_empty())?;
        found += 1;
    }
    if found == 0 || (count != 0 && found != count) {
        return Err(Malformed::Short);
    }
    Ok(aggregation)
}

/// What the head of a payload says.
pub(super) fn describe(payload: &[u8]) -> Result<Descriptor, Malformed> {
    let mut first = 0;
    let aggregation = for_elements(payload, |i, element, _| {
        if i == 0 {
            first = element.first().map_or(0, |&header| kind(header));
        }
        Ok(())
    })?;
    let whole = aggregation & CONTINUES == 0;
    Ok(Descriptor {
        starts_frame: whole && matches!(first, SEQUENCE_HEADER | TEMPORAL_DELIMITER | FRAME_HEADER | METADATA | FRAME),
        keyframe: aggregation & NEW_SEQUENCE != 0,
        ..Descriptor::default()
    })
}

/// The temporal unit as a low-overhead stream: a delimiter, then each OBU with its size.
pub(super) fn depacketise<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Malformed> {
    let mut out = vec![TEMPORAL_DELIMITER << 3 | HAS_SIZE, 0];
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        let aggregation = *payload.first().ok_or(Malformed::Short)?;
        for_elements(payload, |i, element, last| {
            let mut obu = match (i == 0 && aggregation & CONTINUES != 0, open.take()) {
                (true, Some(start)) => start,
                (false, None) => Vec::new(),
                _ => return Err(Malformed::Fragment),
            };
            obu.extend_from_slice(element);
            if last && aggregation & CONTINUED != 0 {
                open = Some(obu);
            } else {
                sized(&obu, &mut out)?;
            }
            Ok(())
        })?;
    }
    if open.is_some() { Err(Malformed::Fragment) } else { Ok(out) }
}

/// Writes an OBU with its size; one that has it already stays as it is.
fn sized(obu: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let &first = obu.first().ok_or(Malformed::Short)?;
    if first & HAS_SIZE != 0 {
        out.extend_from_slice(obu);
        return Ok(());
    }
    let (header, body) =
        obu.split_at_checked(if first & HAS_EXTENSION != 0 { 2 } else { 1 }).ok_or(Malformed::Short)?;
    out.push(first | HAS_SIZE);
    out.extend_from_slice(&header[1..]);
    leb128(body.len(), out);
    out.extend_from_slice(body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(obus: &[(u8, usize)]) -> Vec<u8> {
        let mut data = vec![0x12, 0];
        for &(kind, length) in obus {
            data.push(kind << 3 | HAS_SIZE);
            leb128(length, &mut data);
            data.extend((0..length).map(|i| (i % 251) as u8));
        }
        data
    }

    fn packets(data: &[u8], keyframe: bool) -> Vec<Vec<u8>> {
        packetise(data, keyframe)
    }

    #[test]
    fn a_small_keyframe_is_one_packet_of_two_counted_elements() {
        let payloads = packets(&unit(&[(SEQUENCE_HEADER, 3), (FRAME, 4)]), true);
        assert_eq!(payloads, [[0x28, 4, 0x08, 0, 1, 2, 0x30, 0, 1, 2, 3]]);
        let head = describe(&payloads[0]).unwrap();
        assert!(head.starts_frame && head.keyframe);
    }

    #[test]
    fn fragments_and_many_elements_come_back_the_same() {
        for obus in [
            &[(SEQUENCE_HEADER, 10), (FRAME, 5000)][..],
            &[(FRAME_HEADER, 20), (4, 1120), (4, 1120), (4, 3)],
            &[(METADATA, 5), (METADATA, 5), (METADATA, 5), (METADATA, 5), (FRAME, 900)],
            &[(FRAME, MAX_PAYLOAD - 3), (FRAME, MAX_PAYLOAD - 4), (FRAME, MAX_PAYLOAD - 2)],
            &[(FRAME, 0)],
        ] {
            let data = unit(obus);
            let payloads = packets(&data, false);
            assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD), "{obus:?}");
            assert_eq!(depacketise(payloads.iter().map(Vec::as_slice)).unwrap(), data, "{obus:?}");
        }
    }

    #[test]
    fn a_missing_fragment_is_told() {
        let payloads = packets(&unit(&[(FRAME, 3000)]), false);
        assert!(payloads.len() == 3 && !describe(&payloads[1]).unwrap().starts_frame);
        let all: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        assert_eq!(depacketise(all[..2].iter().copied()), Err(Malformed::Fragment));
        assert_eq!(depacketise(all[1..].iter().copied()), Err(Malformed::Fragment));
    }

    #[test]
    fn refuses_a_keyframe_in_the_middle_of_a_fragment_and_cut_lengths() {
        assert_eq!(describe(&[0x98, 1, 2]), Err(Malformed::Value));
        assert_eq!(describe(&[0x20, 9, 1]), Err(Malformed::Short));
        assert_eq!(describe(&[0x10]), Err(Malformed::Short));
    }
}
