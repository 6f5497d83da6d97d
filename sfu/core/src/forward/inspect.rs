//! What the server has to know of a packet before it forwards it, read from the payload alone.

use crate::api::Codec;

use super::codec::{av1, h264, vp8, vp9};

/// What a packet says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketInfo {
    /// The packet is where a receiver that knows nothing can begin: the first packet of a keyframe.
    ///
    /// H264: of one keyframe both the parameter sets and the first slice may say so, in packets of one timestamp; the
    /// first of them counts. Opus: every packet.
    pub keyframe_start: bool,
    /// A frame begins here, with SVC a frame of one spatial layer. AV1 and H264 do not always let it be known; H264
    /// says it at every parameter set and first slice, so compare timestamps. Opus: every packet.
    pub frame_start: bool,
    /// A frame of one spatial layer ends here. VP9 only: the RTP marker of the others says as much.
    pub layer_frame_end: bool,
    /// Width and height in pixels, where the packet tells. With SVC, of the highest spatial layer.
    pub resolution: Option<(u16, u16)>,
    /// H264: profile_idc and constraint flags, where the packet tells (ITU-T H.264, section 7.3.2.1.1).
    pub profile: Option<u32>,
    /// Temporal layer, 0 the lowest.
    pub tid: Option<u8>,
    /// Spatial layer, 0 the lowest.
    pub sid: Option<u8>,
    /// From this frame on, its temporal layer can be added: nothing after refers to an older frame of that layer
    /// (VP8: Y, RFC 7741; VP9: U, RFC 9628).
    pub temporal_switch: bool,
}

/// Reads an RTP payload of `codec`. Of a payload that is cut or broken it tells what it can; it never fails.
pub fn inspect(codec: Codec, payload: &[u8]) -> PacketInfo {
    match codec {
        Codec::Opus => PacketInfo { keyframe_start: true, frame_start: true, ..PacketInfo::default() },
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::Av1 => av1::inspect(payload),
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
