//! What packets are: codecs, profiles and payload types.

use str0m::Rtc;
use str0m::format::CodecSpec;
use str0m::media::{Mid, Pt};

use crate::api::{Codec, OfferError};
use crate::sdp::{self, MediaLine};

/// A codec with what tells two of its payload types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub codec: Codec,
    /// H264: profile_idc and constraint flags (RFC 6184 section 8.1, the level left out). VP9: profile-id. Else 0.
    pub profile: u32,
    /// H264: packetization-mode. Else 0.
    pub packetization: u8,
}

/// What packets of one payload type are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveFormat {
    pub format: Format,
    /// For RED (RFC 2198): the payload type of this format, which is inside.
    pub red: Option<u8>,
}

/// A payload type that a receiver takes on one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendFormat {
    pub pt: Pt,
    pub format: Format,
    /// It can be resent (RTX negotiated).
    pub rtx: bool,
    /// The payload type of this codec in RED (RFC 2198), where negotiated.
    pub red: Option<Pt>,
    /// The dependency descriptor goes with it (AV1 RTP specification, appendix A).
    pub dependency: bool,
}

impl Format {
    /// None: of no codec known here.
    pub(super) fn of(spec: CodecSpec) -> Option<Self> {
        use str0m::format::Codec as C;
        let codec = match spec.codec {
            C::Opus => Codec::Opus,
            C::Vp8 => Codec::Vp8,
            C::Vp9 => Codec::Vp9,
            C::H264 => Codec::H264,
            C::Av1 => Codec::Av1,
            _ => return None,
        };
        let profile = match codec {
            Codec::H264 => spec.format.profile_level_id.unwrap_or(0x42_0010) >> 8,
            Codec::Vp9 => spec.format.profile_id.unwrap_or(0),
            _ => 0,
        };
        let packetization = spec.format.packetization_mode.unwrap_or(0);
        Some(Format { codec, profile, packetization })
    }
}

/// Every active line must have a payload type in common.
pub(super) fn check_codecs(rtc: &Rtc, lines: &[MediaLine]) -> Result<(), OfferError> {
    for line in lines.iter().filter(|l| l.direction != sdp::Direction::Inactive) {
        let media = rtc.media(Mid::from(line.mid.as_str()));
        if media.is_none_or(|m| m.remote_pts().is_empty()) {
            return Err(OfferError::Unacceptable(format!(
                "no profile of the codecs on the line with mid {:?} is known here",
                line.mid
            )));
        }
    }
    Ok(())
}
