//! From encoded frames to RTP payloads and back, for all codecs.
//!
//! Own code, after looking for a crate: those that packetise leave out TL0PICIDX (VP8), the P bit (VP9) or the way back
//! (AV1), and those bits are what a forwarding server works on and what the tester is to check.

use thiserror::Error;

use super::clips::{Clip, Picture, Size};
use super::mark::{self, Mark};
use super::{Codec, av1, h264, opus, vp8, vp9};

/// Largest RTP payload in bytes: with RTP header, extensions, SRTP and UDP/IPv6 headers it stays below 1280, the least
/// MTU of IPv6 (RFC 8200 section 5).
pub const MAX_PAYLOAD: usize = 1150;

/// Why a payload cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It ends inside of a field.
    #[error("the payload ends before its descriptor or a length in it says")]
    Short,
    /// A field holds what its specification rules out.
    #[error("the payload's descriptor holds a value that its specification rules out")]
    Value,
    /// Packets of a frame do not fit together: a fragment without its start, or a start without its end.
    #[error("a fragment is missing its neighbour")]
    Fragment,
}

/// What the head of one RTP payload says of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// This packet is for sure the first of its frame. H264 and AV1 packets can be first without looking so.
    pub starts_frame: bool,
    /// This packet starts a keyframe (H264: holds an IDR slice or the start of one).
    pub keyframe: bool,
    /// H264: holds a sequence parameter set.
    pub parameter_sets: bool,
    /// VP8 and VP9 picture id, modulo [`Descriptor::picture_id_modulus`].
    pub picture_id: Option<u16>,
    /// The picture id has 15 bits, not 7.
    pub long_picture_id: bool,
    /// VP8 and VP9 index of the frame of the lowest temporal layer.
    pub tl0: Option<u8>,
    /// Temporal layer; 0 where there are none.
    pub temporal: u8,
    /// Needs no frame of its own or a higher temporal layer that came before (VP8 Y, VP9 U).
    pub sync: bool,
}

impl Descriptor {
    /// Where picture ids wrap: 128 or 32,768.
    #[must_use]
    pub const fn picture_id_modulus(&self) -> u16 {
        if self.long_picture_id { 1 << 15 } else { 1 << 7 }
    }
}

/// Cuts the frames of one encoding into RTP payloads, with ids that count on from frame to frame.
#[derive(Debug)]
pub struct Packetiser {
    codec: Codec,
    size: Size,
    picture_id: u16,
    tl0: u8,
}

impl Packetiser {
    /// A packetiser for the frames of `clip`. `picture_id` is the first picture id, modulo 2^15; RFC 7741 section 4.2
    /// asks for a random one. TL0PICIDX starts with its lower 8 bits.
    #[must_use]
    pub fn new(clip: &Clip, picture_id: u16) -> Self {
        Self { codec: clip.codec, size: clip.size, picture_id: picture_id & 0x7fff, tl0: picture_id as u8 }
    }

    /// The payloads of `picture`, each of at most [`MAX_PAYLOAD`] bytes; the last one is sent with the marker bit. Empty
    /// for an empty picture. `mark` goes where decoders do not look.
    pub fn packetise(&mut self, picture: &Picture, mark: Option<&Mark>) -> Vec<Vec<u8>> {
        let marked = mark.map(|mark| embed(self.codec, picture.data, &mark.write()));
        let data = marked.as_deref().unwrap_or(picture.data);
        let (picture_id, tl0) = (self.picture_id, self.tl0);
        self.picture_id = (picture_id + 1) & 0x7fff;
        self.tl0 = tl0.wrapping_add(1);
        match self.codec {
            Codec::Vp8 => vp8::packetise(data, picture_id, tl0),
            Codec::Vp9 => vp9::packetise(data, picture.keyframe, self.size, picture_id, tl0),
            Codec::H264 => h264::packetise(data),
            Codec::Av1 => av1::packetise(data, picture.keyframe),
            Codec::Opus => vec![data.to_vec()],
        }
    }

    /// The payload of an Opus packet, with a mark in its padding.
    pub(super) fn opus(packet: &Picture, mark: &Mark) -> Vec<u8> {
        opus::embed(packet.data, &mark.write())
    }
}

/// The frame with a mark in a place that the codec's decoders pass over.
fn embed(codec: Codec, frame: &[u8], mark: &[u8; mark::LEN]) -> Vec<u8> {
    match codec {
        Codec::Vp8 => vp8::embed(frame, mark),
        Codec::Vp9 => vp9::embed(frame, mark),
        Codec::H264 => h264::embed(frame, mark),
        Codec::Av1 => av1::embed(frame, mark),
        Codec::Opus => opus::embed(frame, mark),
    }
}

/// The mark of a frame, where this payload is the one of the frame that carries it.
#[must_use]
pub fn mark_in(codec: Codec, payload: &[u8]) -> Option<Mark> {
    match codec {
        Codec::Vp8 | Codec::Opus => Mark::read(payload.get(payload.len().checked_sub(mark::LEN)?..)?),
        Codec::Vp9 => vp9::mark_in(payload),
        Codec::H264 => h264::mark_in(payload),
        Codec::Av1 => av1::mark_in(payload),
    }
}

/// Reads the head of one RTP payload.
///
/// # Errors
/// [`Malformed`] where it is not what the codec's payload format allows.
pub fn describe(codec: Codec, payload: &[u8]) -> Result<Descriptor, Malformed> {
    match codec {
        Codec::Vp8 => vp8::describe(payload).map(|(descriptor, _)| descriptor),
        Codec::Vp9 => vp9::describe(payload).map(|(descriptor, _)| descriptor),
        Codec::H264 => h264::describe(payload),
        Codec::Av1 => av1::describe(payload),
        Codec::Opus if payload.is_empty() => Err(Malformed::Short),
        Codec::Opus => Ok(Descriptor { starts_frame: true, keyframe: true, ..Descriptor::default() }),
    }
}

/// Puts the payloads of one frame, all of them and in order, together again, in the form of [`Picture::data`], marks still in it.
///
/// # Errors
/// [`Malformed`] where a payload is, or where they do not fit together.
pub fn depacketise<'a>(codec: Codec, payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Malformed> {
    let payloads = payloads.into_iter();
    match codec {
        Codec::Vp8 => join(payloads, |payload| vp8::describe(payload).map(|(_, header)| header)),
        Codec::Vp9 => join(payloads, |payload| vp9::describe(payload).map(|(_, header)| header)),
        Codec::H264 => h264::depacketise(payloads),
        Codec::Av1 => av1::depacketise(payloads),
        Codec::Opus => join(payloads, |_| Ok(0)),
    }
}

fn join<'a>(
    payloads: impl Iterator<Item = &'a [u8]>,
    header: impl Fn(&[u8]) -> Result<usize, Malformed>,
) -> Result<Vec<u8>, Malformed> {
    let mut frame = Vec::new();
    for payload in payloads {
        frame.extend_from_slice(&payload[header(payload)?..]);
    }
    Ok(frame)
}

/// Cuts `data` into pieces of nearly the same size, each at most `most` bytes: no tiny last packet.
pub(super) fn even_pieces(data: &[u8], most: usize) -> std::slice::Chunks<'_, u8> {
    let pieces = data.len().div_ceil(most).max(1);
    data.chunks(data.len().div_ceil(pieces).max(1))
}

/// Reads bytes from the front, none beyond the end.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.0.split_first().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::clips::{VIDEO, clip};

    fn slices(payloads: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
        payloads.iter().map(Vec::as_slice)
    }

    /// What H264 carries: its NAL units. Start codes of three or four bytes mean the same.
    fn content(codec: Codec, frame: &[u8]) -> Vec<Vec<u8>> {
        match codec {
            Codec::H264 => h264::units(frame).map(<[u8]>::to_vec).collect(),
            _ => vec![frame.to_vec()],
        }
    }

    #[test]
    fn every_frame_of_every_clip_comes_back_the_same() {
        for codec in VIDEO {
            for size in Size::ALL {
                let clip = clip(codec, size).unwrap();
                let mut packetiser = Packetiser::new(clip, 7);
                for (i, frame) in clip.frames.iter().enumerate() {
                    let payloads = packetiser.packetise(frame, None);
                    let back = depacketise(codec, slices(&payloads)).expect("own packets are well-formed");
                    assert!(
                        content(codec, &back) == content(codec, frame.data),
                        "{codec:?} {size:?} frame {i} differs"
                    );
                }
            }
        }
    }

    fn mark(frame: u32) -> Mark {
        // Zeros and ones are what start codes are made of.
        Mark { sent_us: 1, tester: 0, source: 1, frame, layer: 0, key: false, index: 0, count: 0 }
    }

    #[test]
    fn every_frame_carries_its_mark_in_one_packet() {
        for codec in VIDEO {
            let clip = clip(codec, Size::Mid).unwrap();
            let mut packetiser = Packetiser::new(clip, 7);
            for (i, frame) in clip.frames.iter().enumerate() {
                let mark = mark(i as u32);
                let payloads = packetiser.packetise(frame, Some(&mark));
                let found: Vec<_> = payloads.iter().filter_map(|payload| mark_in(codec, payload)).collect();
                assert_eq!(found, [mark], "{codec:?} frame {i}");
                assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD), "{codec:?} frame {i}");
            }
        }
    }

    #[test]
    fn no_payload_is_larger_than_allowed_and_none_is_empty() {
        for codec in VIDEO {
            let clip = clip(codec, Size::High).unwrap();
            let mut packetiser = Packetiser::new(clip, 0);
            let mut largest = 0;
            for payload in clip.frames.iter().flat_map(|frame| packetiser.packetise(frame, None)) {
                assert!(!payload.is_empty() && payload.len() <= MAX_PAYLOAD, "{codec:?}: {}", payload.len());
                largest = largest.max(payload.len());
            }
            assert!(largest > MAX_PAYLOAD * 9 / 10, "{codec:?}: packets are needlessly small: {largest}");
        }
    }

    #[test]
    fn only_the_first_packet_starts_a_frame_and_only_keyframes_say_so() {
        for codec in VIDEO {
            let clip = clip(codec, Size::High).unwrap();
            let mut packetiser = Packetiser::new(clip, 0);
            for frame in &clip.frames {
                let payloads = packetiser.packetise(frame, None);
                let heads: Vec<_> = slices(&payloads).map(|payload| describe(codec, payload).unwrap()).collect();
                assert!(heads[0].starts_frame, "{codec:?}");
                // H264's IDR may follow its parameter sets in a packet of its own, which can start a picture too.
                let most = if codec == Codec::H264 && frame.keyframe { 2 } else { 1 };
                assert!(heads.iter().filter(|head| head.starts_frame).count() <= most, "{codec:?}");
                assert_eq!(heads.iter().any(|head| head.keyframe), frame.keyframe, "{codec:?}");
                assert_eq!(heads[0].parameter_sets, codec == Codec::H264 && frame.keyframe);
            }
        }
    }

    #[test]
    fn ids_count_on_and_wrap() {
        for codec in [Codec::Vp8, Codec::Vp9] {
            let clip = clip(codec, Size::Low).unwrap();
            let mut packetiser = Packetiser::new(clip, 0x7ffe);
            let ids = clip.frames.iter().take(4).map(|frame| {
                let head = describe(codec, &packetiser.packetise(frame, None)[0]).unwrap();
                assert!(head.long_picture_id);
                (head.picture_id.unwrap(), head.tl0.unwrap())
            });
            assert_eq!(ids.collect::<Vec<_>>(), [(0x7ffe, 254), (0x7fff, 255), (0, 0), (1, 1)], "{codec:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic(payloads: Vec<Vec<u8>>) {
            for codec in VIDEO.into_iter().chain([Codec::Opus]) {
                for payload in &payloads {
                    let _ = describe(codec, payload);
                }
                let _ = depacketise(codec, slices(&payloads));
                for payload in &payloads {
                    let _ = mark_in(codec, payload);
                }
            }
        }
    }
}
