//! VP9 over RTP (RFC 9628).

use super::{ByteField, Bytes, PictureId};
use crate::forward::PacketInfo;
use crate::forward::bits::Bits;

/// The most reference indices that a picture may carry (P_DIFF, RFC 9628, section 4.2).
const MAX_REFERENCES: usize = 3;

/// A VP9 payload descriptor (RFC 9628, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// P: the layer frame refers to earlier pictures.
    pub inter_picture: bool,
    /// F: flexible mode, each packet names its references.
    pub flexible: bool,
    /// B: a frame of one spatial layer begins here.
    pub start_of_frame: bool,
    /// E: a frame of one spatial layer ends here.
    pub end_of_frame: bool,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// Temporal layer.
    pub tid: Option<u8>,
    /// Spatial layer.
    pub sid: Option<u8>,
    /// U: switching up to this temporal layer is possible from here on.
    pub switching_up: bool,
    /// D: the frame refers to the lower spatial layer of the same picture.
    pub inter_layer: bool,
    /// TL0PICIDX: counts the pictures of the lowest temporal layer; not in flexible mode.
    pub tl0_pic_idx: Option<ByteField>,
    /// Width and height of the highest spatial layer, from the scalability structure.
    pub resolution: Option<(u16, u16)>,
    /// Where the VP9 payload begins.
    pub len: usize,
}

impl Vp9Descriptor {
    /// None if the payload ends before the descriptor does or with it, or it names more than three references.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(payload);
        let flags = bytes.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let mut descriptor = Self {
            inter_picture: has(0x40),
            flexible: has(0x10),
            start_of_frame: has(0x08),
            end_of_frame: has(0x04),
            picture_id: None,
            tid: None,
            sid: None,
            switching_up: false,
            inter_layer: false,
            tl0_pic_idx: None,
            resolution: None,
            len: 0,
        };
        if has(0x80) {
            descriptor.picture_id = Some(bytes.picture_id()?);
        }
        if has(0x20) {
            descriptor.parse_layers(&mut bytes)?;
        }
        if descriptor.flexible && descriptor.inter_picture {
            skip_references(&mut bytes)?;
        }
        if has(0x02) {
            descriptor.resolution = scalability_structure(&mut bytes)?;
        }
        descriptor.len = bytes.at;
        (bytes.at < payload.len()).then_some(descriptor)
    }

    fn parse_layers(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let layers = bytes.byte()?;
        self.tid = Some(layers >> 5);
        self.switching_up = layers & 0x10 != 0;
        self.sid = Some(layers >> 1 & 0x07);
        self.inter_layer = layers & 0x01 != 0;
        if !self.flexible {
            self.tl0_pic_idx = Some(bytes.field()?);
        }
        Some(())
    }

    /// The payload is that of the first packet of a picture that needs no earlier one.
    pub fn starts_keyframe(&self) -> bool {
        self.start_of_frame && !self.inter_picture && self.sid.unwrap_or(0) == 0
    }
}

fn skip_references(bytes: &mut Bytes<'_>) -> Option<()> {
    for _ in 0..MAX_REFERENCES {
        // N: another one follows.
        if bytes.byte()? & 0x01 == 0 {
            return Some(());
        }
    }
    None
}

/// The outer option: it could be read. The inner one: it tells sizes (RFC 9628, section 4.2.1).
fn scalability_structure(bytes: &mut Bytes<'_>) -> Option<Option<(u16, u16)>> {
    let head = bytes.byte()?;
    let layers = (head >> 5) + 1;
    let mut largest = None;
    if head & 0x10 != 0 {
        for _ in 0..layers {
            largest = Some((bytes.be16()?, bytes.be16()?));
        }
    }
    if head & 0x08 != 0 {
        for _ in 0..bytes.byte()? {
            let references = bytes.byte()? >> 2 & 0x03;
            for _ in 0..references {
                bytes.byte()?;
            }
        }
    }
    Some(largest)
}

/// See [`inspect`](crate::forward::inspect::inspect).
pub fn inspect(payload: &[u8]) -> PacketInfo {
    let Some(descriptor) = Vp9Descriptor::parse(payload) else {
        return PacketInfo::default();
    };
    let keyframe_start = descriptor.starts_keyframe();
    let from_frame = || keyframe_start.then(|| frame_resolution(&payload[descriptor.len..])).flatten();
    PacketInfo {
        keyframe_start,
        frame_start: descriptor.start_of_frame,
        layer_frame_end: descriptor.end_of_frame,
        resolution: descriptor.resolution.or_else(from_frame),
        tid: descriptor.tid,
        sid: descriptor.sid,
        temporal_switch: descriptor.switching_up,
    }
}

/// Width and height of a keyframe's uncompressed header (VP9 bitstream specification, section 6.2).
fn frame_resolution(frame: &[u8]) -> Option<(u16, u16)> {
    const SYNC_CODE: u32 = 0x49_8342;
    const SRGB: u32 = 7;

    let mut bits = Bits::new(frame);
    let frame_marker = bits.number(2)?;
    let profile = bits.number(1)? | bits.number(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let show_existing_frame = bits.flag()?;
    let not_key = bits.flag()?;
    bits.skip(2)?; // show_frame, error_resilient_mode
    if frame_marker != 2 || show_existing_frame || not_key || bits.number(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let subsampling_told = profile == 1 || profile == 3;
    if bits.number(3)? == SRGB {
        bits.skip(u32::from(subsampling_told))?;
    } else {
        bits.skip(if subsampling_told { 4 } else { 1 })?; // color_range, and subsampling with a reserved bit
    }
    let mut side = || u16::try_from(bits.number(16)? + 1).ok();
    Some((side()?, side()?))
}
