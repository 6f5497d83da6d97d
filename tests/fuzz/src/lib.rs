//! What the fuzz targets do with their bytes. Each function panics where an invariant of the core is broken.
//!
//! | target | bytes are taken for |
//! |---|---|
//! | [`rewrite`] | what publishers send and a network does to it; one receiver watches what it gets |
//! | [`allocate`] | slots, estimates and times |
//! | [`inspect`] | payloads of every codec |
//! | [`descriptor`] | the dependency descriptors of one stream |
//! | [`relay`] | what clients of the relay send, and how time passes |

mod allocate;
mod bytes;
mod parsers;
mod publisher;
mod receiver;
mod relay;
mod rewrite;

pub use allocate::allocate;
pub use parsers::{descriptor, inspect};
pub use relay::relay;
pub use rewrite::rewrite;
