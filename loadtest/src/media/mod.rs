//! What publishers send and what receivers get: the seam between the engine and the media.
//!
//! The engine knows RTP: sessions, sequence numbers, clocks, links, losses. This module knows payloads: how a frame is
//! cut into packets, and whether what arrived can be decoded. Neither side reads a clock: time is an argument, in
//! microseconds since the epoch by one monotonic clock of the process ([`crate::results`] has no part in it).
//!
//! # How the engine uses a [`Source`]
//! One for each published track. Every `1 / frames_per_second` (audio: every 20 ms) the engine calls
//! [`Source::frame`] once for each *active* layer and sends the payloads in order with one RTP timestamp. The layers'
//! timestamps are the same for the same instant. On a PLI or FIR for a layer it calls [`Source::request_keyframe`];
//! the next frame of that layer is then a keyframe as soon as the source can give one (clips: at once, by jumping to
//! the next keyframe of the clip and keeping picture ids, frame numbers and template ids continuous).
//!
//! # How the engine uses a [`Checker`]
//! One for each received stream (one SSRC: servers may switch tracks and layers behind it). It gets every packet once,
//! in order of arrival, repairs included and so possibly late; duplicates and padding are taken out before. For each
//! packet it says when that packet was sent, where it can tell, and it tells of every frame that became *whole and
//! decodable* with this packet. A frame that builds on one that never came is not decodable; one whose references
//! come late is told when they are there.
//!
//! # Marks
//! Latency and loss are exact because every frame (synthetic: every packet) carries a [`Mark`]. Where a codec's
//! decoder would stumble over it, the source must find a place that decoders skip (H264: SEI user data; AV1: a
//! metadata or padding OBU; VP8: behind the last partition; VP9: behind the frame, before a superframe index), or
//! recognise the frame by its bytes. A checker that cannot tell gives no mark; nothing else depends on it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scenario::{Audio, Kind, Video};

mod av1;
mod clip_checker;
mod clip_source;
pub mod clips;
pub mod decode;
mod h264;
pub mod mark;
mod opus;
mod order;
pub mod packetise;
pub mod player;
pub mod synthetic;
mod vp8;
mod vp9;

pub use clip_checker::ClipChecker;
pub use clip_source::{ClipSource, OpusSource};
pub use decode::{Decoded, Decoder, Sample};
pub use mark::Mark;

/// A codec of the tester's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// RFC 7587; 48 kHz, 20 ms a packet.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184, packetization mode 1, constrained baseline.
    H264,
    /// AOM's RTP payload format for AV1.
    Av1,
}

/// One packet of a frame to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The RTP payload, payload descriptor included. At most 1,180 bytes.
    pub bytes: Arc<[u8]>,
    /// The last packet of the frame (video).
    pub marker: bool,
    /// The bytes of the dependency descriptor header extension, where due (AV1).
    pub descriptor: Option<Arc<[u8]>>,
}

/// The media of one published track.
pub trait Source: Send {
    /// The next frame of a layer, sent at `now_us`; its packets are appended to `out`, which is empty before. Nothing
    /// appended: the encoder drops this frame. `layer` counts from the smallest, below the number of layers asked for.
    fn frame(&mut self, layer: usize, now_us: u64, out: &mut Vec<Payload>);

    /// Somebody needs a keyframe of this layer.
    fn request_keyframe(&mut self, layer: usize);

    /// By how much the RTP timestamp goes on from one frame to the next: 3,000 for 30 frames a second of video, 960
    /// for Opus.
    fn timestamp_step(&self) -> u32;
}

/// One packet that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// When, in microseconds of the tester's clock.
    pub now_us: u64,
    /// The sequence number without wrap-around.
    pub sequence: u64,
    /// The RTP timestamp, as it is in the packet: wraps at 2^32.
    pub timestamp: u32,
    /// The RTP marker bit.
    pub marker: bool,
    /// The RTP payload; not empty.
    pub payload: &'a [u8],
    /// The bytes of the dependency descriptor, where the packet had one.
    pub descriptor: Option<&'a [u8]>,
}

/// A frame that a decoder could show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// When its last missing part came, in microseconds of the tester's clock.
    pub at_us: u64,
    /// It needs no other frame.
    pub key: bool,
    /// Where it came from, when the checker can tell.
    pub mark: Option<Mark>,
}

/// What a checker has found so far, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Frames that a decoder could show.
    pub decodable: u64,
    /// Frames that came whole but could not be decoded: something that they build on never came.
    pub undecodable: u64,
    /// Frames of which only a part came.
    pub incomplete: u64,
    /// Faults of continuity that no loss explains: picture ids, frame numbers, references or chains that jump although
    /// no sequence number is missing, layers that change without a keyframe, payloads that cannot be read. A server
    /// that forwards well has none.
    pub faults: u64,
}

/// What [`Checker::packet`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The mark of this packet itself (clips: of the frame, on its first or last packet only).
    pub mark: Option<Mark>,
}

/// Judges one received stream.
pub trait Checker: Send {
    /// Takes one packet; frames that became decodable are appended to `frames`, oldest first. Foreign bytes must do no
    /// harm: no panic, and no memory without bound (at most some hundred packets are kept). Does not allocate on the
    /// usual path.
    fn packet(&mut self, packet: &Arrived<'_>, frames: &mut Vec<Frame>) -> Seen;

    /// A packet came that is padding and nothing else: no hole is where it was.
    fn padding(&mut self, _now_us: u64, _sequence: u64) {}

    /// Nothing more can be decoded without a keyframe: the receiver asks for one (the engine sends a PLI at most every
    /// 500 ms while this holds).
    fn needs_keyframe(&self) -> bool;

    /// What was found so far.
    fn judgement(&self) -> Judgement;

    /// The first decodable frames of the stream, for a real decoder, where the checker was made to keep them. Given
    /// once.
    fn sample(&mut self) -> Option<Sample> {
        None
    }
}

/// The media of a camera or screen: track number `source` of the tester `tester`.
#[must_use]
pub fn video_source(video: &Video, tester: u32, source: u32) -> Box<dyn Source> {
    if video.kind == Kind::Clips {
        let widths: Vec<_> = video.layers.iter().map(|layer| layer.width).collect();
        // Picture ids begin at random (RFC 7741 section 4.2); spread by the track's number they need no generator.
        let first_id = (source.wrapping_mul(0x9e37_79b1) >> 16) as u16;
        if let Some(clips) = ClipSource::new(video.codec, &widths, tester, source, first_id) {
            return Box::new(clips);
        }
    }
    Box::new(synthetic::VideoSource::new(video, tester, source))
}

/// The media of a microphone.
#[must_use]
pub fn audio_source(kind: Kind, audio: &Audio, tester: u32, source: u32) -> Box<dyn Source> {
    match kind {
        Kind::Synthetic => Box::new(synthetic::AudioSource::new(audio.kbps, tester, source)),
        Kind::Clips => Box::new(OpusSource::new(tester, source)),
    }
}

/// What judges media of this kind. With `sample` it also keeps the first frames for a real decoder (clips only).
#[must_use]
pub fn checker(kind: Kind, codec: Codec, sample: bool) -> Box<dyn Checker> {
    match (kind, codec) {
        (Kind::Synthetic, Codec::Opus) => Box::new(synthetic::AudioChecker::default()),
        (Kind::Synthetic, _) => Box::new(synthetic::VideoChecker::default()),
        (Kind::Clips, _) if sample => Box::new(ClipChecker::with_sample(codec)),
        (Kind::Clips, _) => Box::new(ClipChecker::new(codec)),
    }
}
