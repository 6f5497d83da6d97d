//! The extension's bytes on their way through the WebRTC stack.

use str0m::rtp::{ExtensionSerializer, ExtensionValues};

use super::MAX_LEN;

/// The longest element of a one-byte header (RFC 8285, section 4.2).
const ONE_BYTE_FORM: usize = 16;

/// The bytes of one packet's descriptor, as they came or as they shall go; in a packet's `user_values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDescriptor(Repr);

/// Most packets have three bytes; the few that bring a structure have a hundred.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Repr {
    Short { len: u8, bytes: [u8; ONE_BYTE_FORM] },
    Long(Box<[u8]>),
}

impl RawDescriptor {
    /// None if there are too few bytes for a descriptor or more than an extension holds. Allocates above 16 bytes.
    pub fn new(data: &[u8]) -> Option<Self> {
        if !(3..=MAX_LEN).contains(&data.len()) {
            return None;
        }
        if data.len() > ONE_BYTE_FORM {
            return Some(Self(Repr::Long(data.into())));
        }
        let mut bytes = [0; ONE_BYTE_FORM];
        bytes[..data.len()].copy_from_slice(data);
        Some(Self(Repr::Short { len: data.len() as u8, bytes }))
    }

    /// The frame number, which every packet tells (section A.8.2).
    pub fn frame_number(&self) -> u16 {
        let bytes = self.as_bytes();
        u16::from_be_bytes([bytes[1], bytes[2]])
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(bytes) => bytes,
        }
    }
}

/// Carries the dependency descriptor between packets and `user_values`, unread.
///
/// Register it as `Extension::with_serializer(dependency::URI, DependencySerializer)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DependencySerializer;

impl ExtensionSerializer for DependencySerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(raw) = values.user_values.get::<RawDescriptor>() else { return 0 };
        let bytes = raw.as_bytes();
        match buf.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                bytes.len()
            }
            None => 0,
        }
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        let raw = RawDescriptor::new(buf);
        let found = raw.is_some();
        raw.into_iter().for_each(|raw| values.user_values.set(raw));
        found
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<RawDescriptor>().is_some_and(|raw| raw.as_bytes().len() > ONE_BYTE_FORM)
    }
}
