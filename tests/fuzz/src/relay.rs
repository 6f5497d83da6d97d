//! The relay: its parser and its states.

use std::sync::OnceLock;
use std::time::Instant;

/// What clients of the relay send, with a valid proof or without.
pub fn relay(data: &[u8]) {
    static START: OnceLock<Instant> = OnceLock::new();
    weir_core::turn::fuzzing::drive(data, *START.get_or_init(Instant::now));
}
