//! H264 payloads, RFC 6184, packetisation mode 1: single NAL units, STAP-A and FU-A.

use super::mark::{self, Mark};
use super::packetise::{Descriptor, MAX_PAYLOAD, Malformed, Reader, even_pieces};

const TYPE: u8 = 0x1f;
const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The NAL units of an Annex B stream, without start codes.
pub(super) fn units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    bounds(stream).map(|(_, start, end)| &stream[start..end])
}

/// For each NAL unit: where its start code begins, where the unit begins, where it ends.
fn bounds(stream: &[u8]) -> impl Iterator<Item = (usize, usize, usize)> {
    let code = |from: usize| {
        let found = stream.get(from..)?.windows(3).position(|window| window == [0, 0, 1])? + from;
        // A zero before the code belongs to it, not to the unit: NAL units do not end in zero (ITU-T H.264, 7.4.1).
        let begin = stream[from..found].iter().rposition(|&byte| byte != 0).map_or(from, |last| from + last + 1);
        Some((begin, found + 3))
    };
    let mut next = code(0);
    std::iter::from_fn(move || {
        let (begin, start) = next?;
        next = code(start);
        Some((begin, start, next.map_or(stream.len(), |(end, _)| end)))
    })
}

/// Cuts an Annex B stream into access units (ITU-T H.264, 7.4.1.2.3, for streams of one slice after another).
pub(super) fn access_units(stream: &'static [u8]) -> Vec<&'static [u8]> {
    let mut starts = Vec::new();
    let mut in_picture = true;
    for (begin, start, end) in bounds(stream) {
        let unit = &stream[start..end];
        if in_picture && (starts.is_empty() || starts_picture(unit)) {
            starts.push(begin);
            in_picture = false;
        }
        in_picture |= unit.first().is_some_and(|byte| (SLICE..=IDR).contains(&(byte & TYPE)));
    }
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &stream[start..end]).collect()
}

/// Whether a NAL unit that follows a slice is the first of the next picture: a delimiter, SEI or parameter set, or a
/// slice whose first macroblock is the picture's first (`first_mb_in_slice`, an Exp-Golomb number, is the bit 1).
fn starts_picture(unit: &[u8]) -> bool {
    match unit {
        [header, rest @ ..] => match header & TYPE {
            SEI..=DELIMITER => true,
            SLICE | IDR => rest.first().is_some_and(|byte| byte & 0x80 != 0),
            _ => false,
        },
        [] => false,
    }
}

/// SEI message "user data unregistered" (ITU-T H.264, D.1.7): its type, its length, a UUID of the tester's own.
const MARK_HEAD: [u8; 18] = [
    5,
    16 + 2 * mark::LEN as u8,
    0xb5,
    0x5c,
    0x8e,
    0x31,
    0x77,
    0x1d,
    0x4b,
    0x9a,
    0x92,
    0x66,
    0x77,
    0x65,
    0x69,
    0x72,
    0x6d,
    0x6b,
];

/// The access unit with a mark in an SEI message before its first slice. The mark is written by half bytes, none of
/// them zero, so that it can never look like a start code.
pub(super) fn embed(frame: &[u8], mark: &[u8; mark::LEN]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.len() + 4 + 1 + MARK_HEAD.len() + 2 * mark::LEN + 1);
    let mut marked = false;
    for unit in units(frame) {
        if !marked && unit.first().is_some_and(|byte| (SLICE..=IDR).contains(&(byte & TYPE))) {
            marked = true;
            out.extend(START_CODE);
            out.push(SEI);
            out.extend(MARK_HEAD);
            out.extend(mark.iter().flat_map(|byte| [0x40 | byte >> 4, 0x40 | byte & 0x0f]));
            out.push(0x80); // rbsp_trailing_bits
        }
        out.extend(START_CODE);
        out.extend_from_slice(unit);
    }
    out
}

/// The mark in the first payloads of a frame.
pub(super) fn mark_in(payload: &[u8]) -> Option<Mark> {
    if payload.first()? & TYPE != STAP_A {
        return read_mark(payload);
    }
    let mut found = None;
    for_aggregated(payload, |unit| found = found.or_else(|| read_mark(unit))).ok()?;
    found
}

fn read_mark(unit: &[u8]) -> Option<Mark> {
    let (&header, message) = unit.split_first()?;
    let halves = message.strip_prefix(&MARK_HEAD).filter(|_| header & TYPE == SEI)?.get(..2 * mark::LEN)?;
    let mut bytes = [0; mark::LEN];
    for (byte, half) in bytes.iter_mut().zip(halves.chunks_exact(2)) {
        *byte = half[0] << 4 | half[1] & 0x0f;
    }
    Mark::read(&bytes)
}

/// The payloads of an access unit. Small units that follow one another share a STAP-A, so that parameter sets come
/// before the IDR slice in one packet or the one before.
pub(super) fn packetise(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut group: Vec<&[u8]> = Vec::new();
    for unit in units(frame).filter(|unit| !unit.is_empty()) {
        let grouped: usize = group.iter().map(|unit| unit.len() + 2).sum();
        if 1 + grouped + 2 + unit.len() > MAX_PAYLOAD {
            flush(&mut group, &mut payloads);
        }
        if unit.len() <= MAX_PAYLOAD {
            group.push(unit);
        } else {
            fragment(unit, &mut payloads);
        }
    }
    flush(&mut group, &mut payloads);
    payloads
}

fn flush(group: &mut Vec<&[u8]>, payloads: &mut Vec<Vec<u8>>) {
    match group[..] {
        [] => {}
        [only] => payloads.push(only.to_vec()),
        _ => {
            // NRI is the highest of the group's, RFC 6184 section 5.7.
            let nri = group.iter().map(|unit| unit[0] & 0x60).max().unwrap_or(0);
            let mut payload = vec![nri | STAP_A];
            for unit in group.iter() {
                payload.extend((unit.len() as u16).to_be_bytes());
                payload.extend_from_slice(unit);
            }
            payloads.push(payload);
        }
    }
    group.clear();
}

fn fragment(unit: &[u8], payloads: &mut Vec<Vec<u8>>) {
    let (header, body) = (unit[0], &unit[1..]);
    let pieces = even_pieces(body, MAX_PAYLOAD - 2);
    let last = pieces.len() - 1;
    for (i, piece) in pieces.enumerate() {
        let place = if i == 0 { FU_START } else { 0 } | if i == last { FU_END } else { 0 };
        payloads.push([&[header & !TYPE | FU_A, header & TYPE | place], piece].concat());
    }
}

/// What the head of a payload says.
pub(super) fn describe(payload: &[u8]) -> Result<Descriptor, Malformed> {
    let &header = payload.first().ok_or(Malformed::Short)?;
    let mut head = Descriptor::default();
    match header & TYPE {
        1..=23 => note(&mut head, payload, true),
        STAP_A => {
            let mut first = true;
            for_aggregated(payload, |unit| {
                note(&mut head, unit, first);
                first = false;
            })?;
        }
        FU_A => {
            let [_, fu, rest @ ..] = payload else { return Err(Malformed::Short) };
            if fu & (FU_START | FU_END) == FU_START | FU_END {
                return Err(Malformed::Value); // RFC 6184 section 5.8
            }
            if fu & FU_START != 0 {
                let first = [fu & TYPE, rest.first().copied().unwrap_or(0)];
                note(&mut head, &first, true);
            }
        }
        _ => return Err(Malformed::Value),
    }
    Ok(head)
}

fn note(head: &mut Descriptor, unit: &[u8], first: bool) {
    let kind = unit.first().map_or(0, |byte| byte & TYPE);
    head.starts_frame |= first && starts_picture(unit);
    head.keyframe |= kind == IDR;
    head.parameter_sets |= kind == SPS;
}

/// Calls `each` with the NAL units of a STAP-A.
fn for_aggregated<'a>(payload: &'a [u8], mut each: impl FnMut(&'a [u8])) -> Result<(), Malformed> {
    let mut reader = Reader(&payload[1..]);
    while !reader.0.is_empty() {
        let length = u16::from_be_bytes([reader.byte()?, reader.byte()?]);
        each(reader.take(usize::from(length))?);
    }
    Ok(())
}

/// The access unit in Annex B, each NAL unit after a start code of four bytes.
pub(super) fn depacketise<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Malformed> {
    let mut frame = Vec::new();
    let mut open = false;
    for payload in payloads {
        let &header = payload.first().ok_or(Malformed::Short)?;
        let mut unit = |unit: &[u8]| {
            frame.extend(START_CODE);
            frame.extend_from_slice(unit);
        };
        match header & TYPE {
            FU_A => {
                let [_, fu, piece @ ..] = payload else { return Err(Malformed::Short) };
                if open == (fu & FU_START != 0) {
                    return Err(Malformed::Fragment);
                }
                if fu & FU_START != 0 {
                    unit(&[header & !TYPE | fu & TYPE]);
                }
                frame.extend_from_slice(piece);
                open = fu & FU_END == 0;
            }
            _ if open => return Err(Malformed::Fragment),
            1..=23 => unit(payload),
            STAP_A => for_aggregated(payload, unit)?,
            _ => return Err(Malformed::Value),
        }
    }
    if open { Err(Malformed::Fragment) } else { Ok(frame) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_units_behind_both_start_codes() {
        let stream = [0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 0x88];
        assert_eq!(units(&stream).collect::<Vec<_>>(), [&[0x67, 1][..], &[0x68, 2], &[0x65, 0x88]]);
    }

    #[test]
    fn parameter_sets_share_a_packet_with_a_small_idr() {
        let frame = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x48, 2, 0, 0, 0, 1, 0x65, 0x88];
        let payloads = packetise(&frame);
        assert_eq!(payloads, [[0x78, 0, 2, 0x67, 1, 0, 2, 0x48, 2, 0, 2, 0x65, 0x88]]);
        let head = describe(&payloads[0]).unwrap();
        assert!(head.starts_frame && head.keyframe && head.parameter_sets);
    }

    #[test]
    fn a_large_unit_is_fragmented() {
        let mut frame = vec![0, 0, 0, 1, 0x61, 0x9a];
        frame.extend(std::iter::repeat_n(7, 2400));
        let payloads = packetise(&frame);
        let heads: Vec<_> = payloads.iter().map(|payload| [payload[0], payload[1]]).collect();
        assert_eq!(heads, [[0x7c, 0x81], [0x7c, 0x01], [0x7c, 0x41]]);
        assert!(describe(&payloads[0]).unwrap().starts_frame && !describe(&payloads[1]).unwrap().starts_frame);
    }

    #[test]
    fn a_missing_fragment_is_told() {
        let mut frame = vec![0, 0, 0, 1, 0x61, 0x9a];
        frame.extend(std::iter::repeat_n(7, 2400));
        let payloads = packetise(&frame);
        let all: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        assert_eq!(depacketise(all[..2].iter().copied()), Err(Malformed::Fragment));
        assert_eq!(depacketise(all[1..].iter().copied()), Err(Malformed::Fragment));
        assert_eq!(depacketise(all.iter().copied()).unwrap(), frame);
    }

    #[test]
    fn refuses_what_mode_one_does_not_have() {
        assert_eq!(describe(&[29, 0x81, 0]), Err(Malformed::Value)); // FU-B
        assert_eq!(describe(&[0x7c, 0xc5, 0]), Err(Malformed::Value)); // start and end at once
        assert_eq!(describe(&[0x78, 0, 9, 1]), Err(Malformed::Short));
    }
}
