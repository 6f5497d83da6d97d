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
    /// Z: no frame of a higher spatial layer, of this picture or a later one, refers to this frame.
    pub not_for_upper_layers: bool,
    /// TL0PICIDX: counts the pictures of the lowest temporal layer; not in flexible mode.
    pub tl0_pic_idx: Option<ByteField>,
    /// In flexible mode the distances in pictures to those referred to, 1 to 127 each.
    pub references: PictureDiffs,
    /// Where the scalability structure begins, if there is one: [`ScalabilityStructure::parse`].
    pub structure_offset: Option<usize>,
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
            not_for_upper_layers: has(0x01),
            tl0_pic_idx: None,
            references: PictureDiffs::default(),
            structure_offset: None,
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
            descriptor.references = read_references(&mut bytes)?;
        }
        if has(0x02) {
            descriptor.structure_offset = Some(bytes.at);
            descriptor.resolution = ScalabilityStructure::read(&mut bytes)?.largest();
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

/// Distances in pictures to those that a layer frame refers to (P_DIFF).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PictureDiffs {
    values: [u8; MAX_REFERENCES],
    len: u8,
}

impl PictureDiffs {
    /// The distances.
    pub fn as_slice(&self) -> &[u8] {
        &self.values[..usize::from(self.len)]
    }

    fn push(&mut self, value: u8) -> Option<()> {
        *self.values.get_mut(usize::from(self.len))? = value;
        self.len += 1;
        Some(())
    }
}

fn read_references(bytes: &mut Bytes<'_>) -> Option<PictureDiffs> {
    let mut references = PictureDiffs::default();
    loop {
        let byte = bytes.byte()?;
        references.push(byte >> 1)?;
        // N: another one follows.
        if byte & 0x01 == 0 {
            return Some(references);
        }
    }
}

/// One picture of a picture group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupPicture {
    /// Temporal layer.
    pub tid: u8,
    /// U: switching up is possible from here on.
    pub switching_up: bool,
    /// The pictures that it refers to.
    pub references: PictureDiffs,
}

/// The most pictures of a group that are kept. Encoders use 1, 2, 4 or 8.
pub const MAX_GROUP: usize = 32;

/// The scalability structure: how many layers there are, and in non-flexible mode what each picture refers to
/// (RFC 9628, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalabilityStructure {
    /// N_S: how many spatial layers there are, 1 to 8.
    pub spatial_layers: u8,
    /// Y: width and height of each spatial layer.
    sizes: Option<[(u16, u16); 8]>,
    group: [GroupPicture; MAX_GROUP],
    group_len: u8,
}

impl ScalabilityStructure {
    /// Reads the structure that begins at `offset` of the payload, as
    /// [`structure_offset`](Vp9Descriptor::structure_offset) tells.
    pub fn parse(payload: &[u8], offset: usize) -> Option<Self> {
        Self::read(&mut Bytes { payload, at: offset })
    }

    /// Width and height of a spatial layer.
    pub fn resolution(&self, sid: u8) -> Option<(u16, u16)> {
        self.sizes?[..usize::from(self.spatial_layers)].get(usize::from(sid)).copied()
    }

    /// The picture group; empty if there is none, or a longer one than [`MAX_GROUP`].
    pub fn group(&self) -> &[GroupPicture] {
        &self.group[..usize::from(self.group_len)]
    }

    fn largest(&self) -> Option<(u16, u16)> {
        self.resolution(self.spatial_layers - 1)
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let head = bytes.byte()?;
        let spatial_layers = (head >> 5) + 1;
        let mut structure = Self { spatial_layers, sizes: None, group: Default::default(), group_len: 0 };
        if head & 0x10 != 0 {
            let mut sizes = [(0, 0); 8];
            for size in &mut sizes[..usize::from(spatial_layers)] {
                *size = (bytes.be16()?, bytes.be16()?);
            }
            structure.sizes = Some(sizes);
        }
        if head & 0x08 != 0 {
            structure.read_group(bytes)?;
        }
        Some(structure)
    }

    fn read_group(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let len = bytes.byte()?;
        for at in 0..usize::from(len) {
            let head = bytes.byte()?;
            let mut picture =
                GroupPicture { tid: head >> 5, switching_up: head & 0x10 != 0, references: PictureDiffs::default() };
            for _ in 0..head >> 2 & 0x03 {
                picture.references.push(bytes.byte()?)?;
            }
            if let Some(place) = self.group.get_mut(at) {
                *place = picture;
            }
        }
        self.group_len = if usize::from(len) <= MAX_GROUP { len } else { 0 };
        Some(())
    }
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
        profile: None,
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
