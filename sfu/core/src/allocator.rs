//! Chooses a layer for every video slot of one participant, and says why.
//!
//! Pure arithmetic on plain types: no clock, no sockets, no WebRTC. This is the seam for bandwidth: today the rule
//! is fixed (the layer nearest the wanted size); the estimate is an input that the rule does not use yet.

use serde::Serialize;

/// Why a slot gets the layer that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Reason {
    /// The track has only one layer.
    OnlyLayer,
    /// The layer nearest the size on screen, in device pixels.
    NearestSize {
        /// The height wanted.
        wanted: u16,
        /// The height of the layer chosen; 0 where not known yet.
        chosen: u16,
    },
    /// The slot is hidden: nothing is sent.
    Hidden,
    /// Audio is always sent whole.
    Audio,
    /// The receiver did not negotiate the codec of this track.
    CodecNotSupported,
    /// The publisher muted the track.
    Muted,
}
