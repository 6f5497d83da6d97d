//! VP8 over RTP (RFC 7741).

use super::{ByteField, Bytes, PictureId};
use crate::forward::PacketInfo;

/// A VP8 payload descriptor (RFC 7741, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// S: a partition begins here.
    pub partition_start: bool,
    /// PID: which partition; 0 the first.
    pub partition: u8,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: counts the frames of the lowest temporal layer.
    pub tl0_pic_idx: Option<ByteField>,
    /// TID: temporal layer.
    pub tid: Option<u8>,
    /// Y: the frame refers to the lowest temporal layer only.
    pub layer_sync: bool,
    /// KEYIDX, 5 bits: counts the keyframes. The offset is that of the byte it shares with TID and Y.
    pub key_idx: Option<ByteField>,
    /// Where the VP8 payload begins.
    pub len: usize,
}

impl Vp8Descriptor {
    /// None if the payload ends before the descriptor does or with it, or has TL0PICIDX without TID, which the RFC
    /// forbids.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(payload);
        let first = bytes.byte()?;
        let mut descriptor = Self {
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id: None,
            tl0_pic_idx: None,
            tid: None,
            layer_sync: false,
            key_idx: None,
            len: 1,
        };
        if first & 0x80 != 0 {
            descriptor.parse_extension(&mut bytes)?;
        }
        descriptor.len = bytes.at;
        (bytes.at < payload.len()).then_some(descriptor)
    }

    fn parse_extension(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let flags = bytes.byte()?;
        let [has_id, has_tl0, has_tid, has_key] = [0x80, 0x40, 0x20, 0x10].map(|bit| flags & bit != 0);
        if has_tl0 && !has_tid {
            return None;
        }
        if has_id {
            self.picture_id = Some(bytes.picture_id()?);
        }
        if has_tl0 {
            self.tl0_pic_idx = Some(bytes.field()?);
        }
        if has_tid || has_key {
            let field = bytes.field()?;
            if has_tid {
                self.tid = Some(field.value >> 6);
                self.layer_sync = field.value & 0x20 != 0;
            }
            if has_key {
                self.key_idx = Some(ByteField { value: field.value & 0x1f, offset: field.offset });
            }
        }
        Some(())
    }

    /// The payload is that of the first packet of a frame.
    pub const fn starts_frame(&self) -> bool {
        self.partition_start && self.partition == 0
    }
}

/// See [`inspect`](crate::forward::inspect::inspect).
pub fn inspect(payload: &[u8]) -> PacketInfo {
    let Some(descriptor) = Vp8Descriptor::parse(payload) else {
        return PacketInfo::default();
    };
    let frame = &payload[descriptor.len..];
    let frame_start = descriptor.starts_frame();
    // P, the inverse of "keyframe", is the frame header's lowest bit (RFC 7741, section 4.3).
    let keyframe_start = frame_start && frame[0] & 0x01 == 0;
    PacketInfo {
        keyframe_start,
        frame_start,
        resolution: keyframe_start.then(|| resolution(frame)).flatten(),
        tid: descriptor.tid,
        temporal_switch: descriptor.layer_sync,
        ..PacketInfo::default()
    }
}

/// Width and height of a keyframe's header (RFC 6386, section 9.1).
fn resolution(frame: &[u8]) -> Option<(u16, u16)> {
    let header: &[u8; 10] = frame.first_chunk()?;
    let [_, _, _, start @ .., w0, w1, h0, h1] = *header;
    // The upper two bits of each are how to scale for display.
    let size = [u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1])].map(|v| v & 0x3fff);
    (start == [0x9d, 0x01, 0x2a]).then_some((size[0], size[1]))
}
