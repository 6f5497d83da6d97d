//! Helpers of the end-to-end tests: a server on free ports, and clients that speak to it over real sockets.
//!
//! The clients are a second WebRTC stack only in part (both ends use str0m): what must hold with other stacks is
//! tested with real browsers and publishers in `browser/` and `interop/`.

pub mod media;
pub mod offers;
pub mod peer;
pub mod server;
pub mod signaling;
pub mod sim;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for what must come: generous, because two busy cores are slow; a healthy run needs a fraction.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Looks every few milliseconds until `condition` gives something.
///
/// # Panics
/// When [`PATIENCE`] is over, with `what` was waited for.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    poll_until(what, PATIENCE, || std::future::ready(condition())).await
}

/// Like [`eventually`], for a condition that has to ask somebody.
///
/// # Panics
/// When `patience` is over, with `what` was waited for.
pub async fn poll_until<T, F>(what: &str, patience: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
