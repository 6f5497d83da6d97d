//! H264 over RTP (RFC 6184, non-interleaved mode), and the size in its sequence parameter set (ITU-T H.264).

use crate::forward::PacketInfo;
use crate::forward::bits::Bits;

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// See [`inspect`](crate::forward::inspect::inspect).
///
/// A keyframe starts at a sequence parameter set or, where none comes before it, at the first slice of an IDR picture;
/// alone in the packet, within a STAP-A, or in the first packet of an FU-A.
pub fn inspect(payload: &[u8]) -> PacketInfo {
    let mut info = PacketInfo::default();
    let Some((&head, body)) = payload.split_first() else {
        return info;
    };
    match head & 0x1f {
        STAP_A => {
            for unit in aggregated(body) {
                note_unit(&mut info, unit[0] & 0x1f, &unit[1..]);
            }
        }
        // S: the unit begins here. Only the first packet shows the unit's own head.
        FU_A => {
            if let [fu, rest @ ..] = body
                && fu & 0x80 != 0
            {
                note_unit(&mut info, fu & 0x1f, rest);
            }
        }
        kind => note_unit(&mut info, kind, body),
    }
    info
}

/// The units of a STAP-A, none of them empty (RFC 6184, section 5.7.1).
fn aggregated(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (size, rest) = body.split_first_chunk::<2>()?;
        let size = usize::from(u16::from_be_bytes(*size));
        let (unit, rest) = rest.split_at_checked(size)?;
        body = rest;
        (!unit.is_empty()).then_some(unit)
    })
}

fn note_unit(info: &mut PacketInfo, kind: u8, body: &[u8]) {
    match kind {
        SPS => {
            info.keyframe_start = true;
            info.frame_start = true;
            info.resolution = info.resolution.or_else(|| resolution(body));
            info.profile =
                info.profile.or_else(|| body.first_chunk().map(|profile| u16::from_be_bytes(*profile).into()));
        }
        PPS | DELIMITER => info.frame_start = true,
        IDR | SLICE if starts_picture(body) => {
            info.keyframe_start |= kind == IDR;
            info.frame_start = true;
        }
        _ => {}
    }
}

/// The slice is the first of its picture: first_mb_in_slice, ue(v), is 0, which is one set bit.
fn starts_picture(slice: &[u8]) -> bool {
    slice.first().is_some_and(|byte| byte & 0x80 != 0)
}

/// Width and height that a sequence parameter set describes, cropped (ITU-T H.264, section 7.3.2.1.1).
/// `body`: the NAL unit without its one-byte head.
pub fn resolution(body: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::of_nal_unit(body);
    let profile = bits.number(8)?;
    bits.skip(16)?; // constraint flags, level_idc
    bits.exp_golomb()?; // seq_parameter_set_id
    let chroma = if has_chroma_format(profile) { chroma_format(&mut bits)? } else { Chroma::C420 };
    bits.exp_golomb()?; // log2_max_frame_num_minus4
    skip_picture_order(&mut bits)?;
    bits.exp_golomb()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_in_mbs = bits.exp_golomb()?.checked_add(1)?;
    let height_in_map_units = bits.exp_golomb()?.checked_add(1)?;
    let frame_mbs_only = bits.flag()?;
    let fields = if frame_mbs_only { 1 } else { 2 };
    if !frame_mbs_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let [left, right, top, bottom] = if bits.flag()? {
        [bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?]
    } else {
        [0; 4]
    };
    let (unit_x, unit_y) = chroma.crop_unit();
    let side = |macroblocks: u32, unit: u32, before: u32, after: u32| {
        let cut = before.checked_add(after)?.checked_mul(unit)?;
        let pixels = macroblocks.checked_mul(16)?.checked_sub(cut)?;
        u16::try_from(pixels).ok().filter(|&p| p > 0)
    };
    Some((
        side(width_in_mbs, unit_x, left, right)?,
        side(height_in_map_units.checked_mul(fields)?, unit_y * fields, top, bottom)?,
    ))
}

#[derive(Clone, Copy)]
enum Chroma {
    Mono,
    C420,
    C422,
    C444,
}

impl Chroma {
    /// Pixels per unit of cropping, across and down, for frames (ITU-T H.264, table 6-1).
    const fn crop_unit(self) -> (u32, u32) {
        match self {
            Self::Mono | Self::C444 => (1, 1),
            Self::C420 => (2, 2),
            Self::C422 => (2, 1),
        }
    }
}

const fn has_chroma_format(profile_idc: u32) -> bool {
    matches!(profile_idc, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

fn chroma_format(bits: &mut Bits<'_>) -> Option<Chroma> {
    let format = bits.exp_golomb()?;
    // Three planes coded apart are each cropped like monochrome.
    let separate_planes = format == 3 && bits.flag()?;
    bits.exp_golomb()?; // bit_depth_luma_minus8
    bits.exp_golomb()?; // bit_depth_chroma_minus8
    bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    match format {
        0 => Some(Chroma::Mono),
        1 => Some(Chroma::C420),
        2 => Some(Chroma::C422),
        3 if separate_planes => Some(Chroma::Mono),
        3 => Some(Chroma::C444),
        _ => None,
    }
}

/// ITU-T H.264, section 7.3.2.1.1.1: a list ends early where the next scale is 0.
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let mut last: i64 = 8;
    for _ in 0..size {
        let next = (last + i64::from(bits.signed_exp_golomb()?)).rem_euclid(256);
        if next == 0 {
            break;
        }
        last = next;
    }
    Some(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.signed_exp_golomb()?; // offset_for_non_ref_pic
            bits.signed_exp_golomb()?; // offset_for_top_to_bottom_field
            let cycle = bits.exp_golomb()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                bits.signed_exp_golomb()?;
            }
        }
        _ => {}
    }
    Some(())
}
