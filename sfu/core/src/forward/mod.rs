//! Per-subscription rewriting: what one receiver sees of a stream that is cut, thinned and switched under it.
//!
//! A receiver knows one RTP stream per slot. Behind it the server changes layers and tracks, leaves out temporal
//! layers and pauses; the modules here make that look like one encoder that never stopped:
//!
//! | module | keeps whole |
//! |---|---|
//! | [`sequence`] | RTP sequence numbers: contiguous, a gap only where a packet was lost |
//! | [`timestamp`] | RTP timestamps: one clock over all sources, never backwards on a new frame |
//! | [`vp8`], [`vp9`] | picture ids and what counts with them in the payload descriptor |
//! | [`red`] | plain Opus out of RED, for receivers without it |
//! | [`dependency`] | the dependency descriptor: frame numbers, active decode targets |
//! | [`svc`] | which packets pass for a target layer of a scalable stream |
//! | [`rates`] | counts only: what each layer costs |
//! | [`mod@inspect`] | reads only: where keyframes start, layers, resolution |
//!
//! Every change of source is an [`Epoch`]. [`SequenceMapper::switch`] opens it and [`SequenceMapper::forward`] says
//! for each packet, late ones too, which epoch it belongs to; the others take that epoch and remember the last
//! [`EPOCHS_KEPT`], so that a packet resent from before a switch is written as it would have been then.
//!
//! Arithmetic on plain types: no clock, no sockets, no allocation unless a function says so.

mod bits;
pub mod codec;
mod counter;
pub mod dependency;
mod epoch;
pub mod inspect;
pub mod layer;
pub mod rates;
pub mod red;
pub mod sequence;
pub mod svc;
pub mod timestamp;
pub mod vp8;
pub mod vp9;

pub use epoch::{EPOCHS_KEPT, Epoch};
pub use inspect::{PacketInfo, inspect};
pub use layer::{Layer, LayerSet};
pub use rates::{LayerMeter, LayerRates};
pub use sequence::{Mapped, SequenceMapper};
pub use svc::{FilterVerdict, FrameInfo, FrameReader, FrameSource, LayerFilter};
pub use timestamp::{Basis, SenderReport, TimestampMapper};
pub use vp8::{Vp8Descriptor, Vp8Fields, Vp8Rewriter};
pub use vp9::{Vp9Descriptor, Vp9Fields, Vp9Rewriter};

#[cfg(test)]
mod tests;
