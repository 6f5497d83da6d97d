//! What a viewer (WHEP) is told of its source, and what it may choose of it.

use crate::allocator::Reason;
use crate::api::MediaKind;

/// The best that a slot shall get of its track. The default sets no bound. The link may still allow for less.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChoice {
    /// The RID of a simulcast encoding: this one, or a smaller one.
    pub encoding: Option<String>,
    /// The highest spatial layer.
    pub spatial: Option<u8>,
    /// The highest temporal layer.
    pub temporal: Option<u8>,
}

/// Why a choice was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The session has no such video line.
    #[error("there is no video line {0:?}")]
    UnknownMedia(String),
    /// The track has no such encoding.
    #[error("there is no encoding {0:?}")]
    UnknownEncoding(String),
    /// Nobody publishes video to it now.
    #[error("nobody publishes video here now")]
    NothingShown,
    /// The participant is gone.
    #[error("the session has ended")]
    Gone,
}

/// What a viewer watches now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Viewers in its room, itself included.
    pub viewers: usize,
    /// Its lines, in the order of its offer.
    pub lines: Vec<WatchedLine>,
}

impl Watched {
    /// True if anything is shown or played to it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.lines.iter().any(|line| line.active)
    }
}

/// One line of a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedLine {
    /// Its `a=mid`.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// It has a track.
    pub active: bool,
    /// Why there is no picture yet, or none any more, though there should be one.
    pub waiting: Option<Reason>,
    /// What the track can be had in, encodings in the publisher's order.
    pub layers: Vec<WatchedLayer>,
}

/// One layer of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedLayer {
    /// The RID; empty without simulcast.
    pub encoding: String,
    /// The encoding's place among the publisher's.
    pub index: usize,
    /// The spatial layer.
    pub spatial: u8,
    /// The temporal layer.
    pub temporal: u8,
    /// Measured bits per second, with the layers below it that it needs; 0 while it is not sent.
    pub bitrate: u64,
    /// Lines of its picture; 0 while not known.
    pub height: u16,
    /// Packets come.
    pub active: bool,
}
