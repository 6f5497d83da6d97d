//! Per-subscription rewriting: what one receiver sees of a stream that is cut, thinned and switched under it.
//!
//! A receiver knows one RTP stream per slot. Behind it the server changes layers and tracks, leaves out temporal
//! layers and pauses; the modules here make that look like one encoder that never stopped:
//!
//! | module | keeps whole |
//! |---|---|
//! | [`sequence`] | RTP sequence numbers: contiguous, a gap only where a packet was lost |
//! | [`timestamp`] | RTP timestamps: one clock over all sources, never backwards on a new frame |
//! | [`inspect`] | reads only: where keyframes start, layers, resolution |
//!
//! Every change of source is an [`Epoch`]. [`SequenceMapper::switch`] opens it and [`SequenceMapper::forward`] says
//! for each packet, late ones too, which epoch it belongs to; the other mappers take that epoch and remember the last
//! [`EPOCHS_KEPT`], so that a packet resent from before a switch is written as it would have been then.
//!
//! Arithmetic on plain types: no clock, no sockets, no allocation unless a function says so.

mod bits;
pub mod codec;
mod epoch;
pub mod inspect;
pub mod red;
pub mod sequence;
pub mod timestamp;

pub use epoch::{EPOCHS_KEPT, Epoch};
pub use inspect::{PacketInfo, inspect};
pub use sequence::{Mapped, SequenceMapper};
pub use timestamp::{Basis, SenderReport, TimestampMapper};
