//! Bytes of messages that are read or written for every packet, and what tells messages of the relay from checks.

use std::net::SocketAddr;

use stun_types::attribute::{AttributeStaticType, XorMappedAddress};
use stun_types::message::{Message, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec};
use turn_types::attribute::{Data, XorPeerAddress};
use turn_types::message::{DATA, SEND};

/// The bytes of a STUN header (RFC 8489 section 5).
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const USERNAME: u16 = 6;

/// True if a datagram is for the relay and not for a participant: channel data, any STUN method but Binding, and Binding
/// without a user name, which is a question for one's own address (RFC 8489 section 2) and no check of ICE.
#[must_use]
pub fn concerns(data: &[u8]) -> bool {
    match data {
        [0x40..0x50, ..] => true,
        [0..4, ..] if is_whole(data) => match [data[0], data[1]] {
            BINDING_REQUEST => !has_username(data),
            // The method is what is left without the bits of the class (RFC 8489 section 5).
            [a, b] => (a & 0xfe, b & 0xef) != (0, 1),
        },
        _ => false,
    }
}

/// True if this is as long as its STUN header says, and has the magic cookie.
pub(super) fn is_whole(data: &[u8]) -> bool {
    data.len() >= HEADER
        && data[4..8] == COOKIE
        && data.len() == HEADER + usize::from(u16::from_be_bytes([data[2], data[3]]))
        && data.len().is_multiple_of(4)
}

fn has_username(data: &[u8]) -> bool {
    let mut rest = &data[HEADER..];
    while let [a, b, c, d, value @ ..] = rest {
        if u16::from_be_bytes([*a, *b]) == USERNAME {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*c, *d])).next_multiple_of(4);
        let Some(next) = value.get(length..) else { return false };
        rest = next;
    }
    false
}

/// Number and content of channel data (RFC 8656 section 12.4). Over UDP there may be padding.
pub(super) fn channel_data(data: &[u8]) -> Option<(u16, &[u8])> {
    let [a, b, c, d, rest @ ..] = data else { return None };
    let length = usize::from(u16::from_be_bytes([*c, *d]));
    Some((u16::from_be_bytes([*a, *b]), rest.get(..length)?))
}

/// Peer and content of a Send indication (RFC 8656 section 11.4).
pub(super) fn send_indication<'a>(bytes: &'a [u8], message: &Message<'_>) -> Option<(SocketAddr, &'a [u8])> {
    if !message.has_method(SEND) {
        return None;
    }
    let peer = message.attribute::<XorPeerAddress>().ok()?.addr(message.transaction_id());
    let (offset, data) = message.raw_attribute_and_offset(Data::TYPE)?;
    let start = offset + 4;
    Some((peer, bytes.get(start..start + usize::from(data.header.length()))?))
}

/// None if it is too long for any datagram.
pub(super) fn write_channel_data(number: u16, data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let length = u16::try_from(data.len()).ok()?;
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data);
    Some(())
}

/// A Data indication (RFC 8656 section 11.3); none if it is too long for any datagram.
pub(super) fn write_data_indication(id: u64, peer: SocketAddr, data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
    let id = u128::from(id).into();
    let mut message = Message::builder(kind, id, MessageWriteVec::with_capacity(data.len() + 64));
    message.add_attribute(&XorPeerAddress::new(peer, id)).ok()?;
    message.add_attribute(&Data::new(data)).ok()?;
    out.extend_from_slice(&message.finish());
    Some(())
}

/// The answer to somebody who asks for the own address.
pub(super) fn binding_success(request: &Message<'_>, remote: SocketAddr) -> Option<Vec<u8>> {
    let mut message = Message::builder_success(request, MessageWriteVec::with_capacity(64));
    message.add_attribute(&XorMappedAddress::new(remote, request.transaction_id())).ok()?;
    Some(message.finish())
}
