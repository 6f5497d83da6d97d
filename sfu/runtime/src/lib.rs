//! The IO shell of Weir: worker threads that each own one shard of the core and one socket on the media port.
//!
//! [`Sfu`] is the handle that signaling holds: cheap to clone, safe to use from any task.

mod handle;
mod load;
mod place;
mod relays;
mod routes;
mod socket;
mod worker;

pub use handle::{NOTICE_QUEUE, Session, Sfu, SfuConfig, SfuError, StartError};
pub use weir_core::{allocator, api, doctor, stats, watching};
