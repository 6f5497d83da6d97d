//! The dependency descriptor on its way through the WebRTC stack, unread.

use std::sync::Arc;

use str0m::rtp::{ExtensionSerializer, ExtensionValues};

/// The URI that names the extension in SDP (AOM, "RTP Payload Format For AV1", appendix A).
pub const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// The longest element of a one-byte header (RFC 8285, section 4.2).
const ONE_BYTE_FORM: usize = 16;

/// The bytes of one packet's descriptor, in its `user_values`.
#[derive(Debug, Clone)]
pub struct Descriptor(pub Arc<[u8]>);

/// Carries [`Descriptor`]s.
#[derive(Debug, Clone, Copy)]
pub struct DescriptorSerializer;

impl ExtensionSerializer for DescriptorSerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Descriptor(bytes)) = values.user_values.get::<Descriptor>() else { return 0 };
        let Some(place) = buf.get_mut(..bytes.len()) else { return 0 };
        place.copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Descriptor(buf.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Descriptor>().is_some_and(|descriptor| descriptor.0.len() > ONE_BYTE_FORM)
    }
}
