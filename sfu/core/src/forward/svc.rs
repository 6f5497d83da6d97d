//! Cutting a scalable stream down to a target layer: which packets pass.
//!
//! A [`FrameReader`] reads the packets of one stream once, for all who receive it, and gives a [`FrameInfo`] in terms
//! that all codecs share. A [`LayerFilter`] for each subscription decides with it:
//!
//! | source | what tells what a frame refers to |
//! |---|---|
//! | dependency descriptor, any codec | frame differences; decode target indications say who needs it and who may begin |
//! | VP9, flexible mode (RFC 9628) | P_DIFF within the spatial layer, D to the one below; Z for who needs it |
//! | VP9, non-flexible mode | the same from the picture group; without one, U says when to add temporal layers |
//! | VP8 (RFC 7741) | nothing; Y says when to add a temporal layer |
//!
//! One rule holds for all: a frame is never forwarded if a frame that it refers to was dropped here. What was lost on
//! its way here is another matter: it may still come, or the receiver asks for a keyframe.

mod filter;
mod history;
mod reader;
mod unwrap;

use super::layer::{Layer, LayerSet};

pub use filter::{FilterVerdict, LayerFilter};
pub use reader::{FrameReader, FrameSource};

/// The most frames that one refers to: those of the dependency descriptor, or three of VP9 and the layer below.
const MAX_REFERENCES: usize = super::dependency::MAX_REFERENCES;

/// What a packet says of the frame, with SVC the frame of one spatial layer, that it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Names the frame within its stream. Later frames in coding order have higher numbers.
    pub id: u64,
    /// Names the picture: the frames of all spatial layers at one time share it.
    pub picture: u64,
    /// Its layer.
    pub layer: Layer,
    /// The packet is the first of its frame.
    pub start: bool,
    /// The packet is the last of its frame. VP8 does not tell.
    pub end: bool,
    /// The frame needs no other, and a receiver can begin with it.
    pub keyframe: bool,
    /// The frames that it refers to.
    pub references: References,
    /// The targets whose receivers need it.
    pub needed: LayerSet,
    /// The targets whose receivers can begin here, if all is there that the frame refers to.
    pub switches: LayerSet,
    /// The layers that the publisher sends now.
    pub active: LayerSet,
    /// Where the references are not all told: when temporal layers can be added.
    pub sync: TemporalSync,
}

/// The frames that a frame refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct References {
    distances: [u16; MAX_REFERENCES],
    len: u8,
    /// There are more, to earlier frames of its own spatial layer, and which is not told.
    pub untold: bool,
}

impl References {
    /// Distances in [`FrameInfo::id`] to those that are told.
    pub fn told(&self) -> &[u16] {
        &self.distances[..usize::from(self.len)]
    }

    /// Adds one; beyond the most there can be, it is untold.
    fn push(&mut self, distance: u16) {
        match self.distances.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = distance;
                self.len += 1;
            }
            None => self.untold = true,
        }
    }
}

/// When temporal layers can be added in a stream that does not tell its references.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TemporalSync {
    /// The references are told: nothing else is needed.
    #[default]
    Told,
    /// Not here.
    No,
    /// The frame refers to temporal layer 0 only, so its own layer can begin with it (VP8: Y, RFC 7741).
    Here,
    /// What follows refers to no older frame of a higher temporal layer than this one's (VP9: U, RFC 9628).
    After,
}

#[cfg(test)]
mod tests;
