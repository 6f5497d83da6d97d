//! The pure core of Weir: one shard of a selective forwarding unit.
//!
//! No sockets, no clock, no threads: time, datagrams and commands come in as arguments, and everything that shall
//! happen outside comes back as values. See `docs/ARCHITECTURE.md` for a packet's way through it.

pub mod allocator;
pub mod api;
pub mod doctor;
pub mod forward;
#[doc(hidden)]
pub mod fuzzing;
pub mod path;
pub mod relay;
pub mod shard;
pub mod stats;
pub mod turn;
pub mod watching;

mod demux;
mod dominant;
mod egress;
mod ingress;
mod keyframes;
mod layers;
mod link;
mod lipsync;
pub mod overload;
mod pacing;
mod participant;
mod resends;
mod room;
mod sdp;
mod sdp_form;
mod speaker;
mod timers;
mod track;

#[cfg(planted)]
#[path = "../../../tests/purity/offences.rs"]
mod offences;
