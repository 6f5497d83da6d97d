//! No amplification: who has not proved an address gets no more bytes than were asked from there.
//!
//! A bare request is 20 bytes and its answer 32, a first Allocate of Chromium is 28 and the 401 that tells it the nonce is
//! 52: one answer for one request is not to be had. But clients ask again when nothing comes (RFC 8489 section 6.2.1), and
//! each request adds to what its source may be answered. So the sum never exceeds what was asked, for any source, and a
//! real client is answered a retransmission later.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long what was asked counts, once to twice this.
const MEMORY: Duration = Duration::from_secs(10);
/// The most sources remembered, twice. Who is forgotten is answered later, never more.
const MAX_SOURCES: usize = 16_384;
/// The most that is counted for one source, in bytes.
const MAX_CREDIT: u16 = 2048;

/// What sources have asked and not been answered.
#[derive(Debug)]
pub(super) struct Budget {
    since: Instant,
    now: HashMap<IpAddr, u16>,
    before: HashMap<IpAddr, u16>,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, now: HashMap::new(), before: HashMap::new() }
    }

    /// So many bytes came from there.
    pub(super) fn on_asked(&mut self, now: Instant, source: IpAddr, bytes: usize) {
        if self.now.len() >= MAX_SOURCES || now.saturating_duration_since(self.since) >= MEMORY {
            self.since = now;
            self.before = std::mem::take(&mut self.now);
        }
        let credit = self.now.entry(source).or_insert_with(|| self.before.remove(&source).unwrap_or(0));
        *credit = credit.saturating_add(u16::try_from(bytes).unwrap_or(u16::MAX)).min(MAX_CREDIT);
    }

    /// Whether so many bytes may go there now. If so, they are counted.
    pub(super) fn allows(&mut self, source: IpAddr, bytes: usize) -> bool {
        let Some(credit) = self.now.get_mut(&source) else { return false };
        let Some(left) = u16::try_from(bytes).ok().and_then(|bytes| credit.checked_sub(bytes)) else { return false };
        *credit = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        Instant::now()
    }

    fn source(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_source_gets_what_it_has_asked_and_no_more() {
        let (now, mut budget) = (start(), Budget::new(start()));
        assert!(!budget.allows(source(1), 0), "nobody that never asked");
        budget.on_asked(now, source(1), 28);
        assert!(!budget.allows(source(1), 52));
        budget.on_asked(now, source(1), 28);
        assert!(budget.allows(source(1), 52));
        assert!(!budget.allows(source(1), 5));
        assert!(budget.allows(source(1), 4));
        assert!(!budget.allows(source(2), 1), "others have their own");
    }

    #[test]
    fn what_was_asked_long_ago_is_forgotten() {
        let (now, mut budget) = (start(), Budget::new(start()));
        budget.on_asked(now, source(1), 30);
        budget.on_asked(now + MEMORY, source(1), 30);
        assert!(budget.allows(source(1), 60), "of the last while");
        budget.on_asked(now, source(2), 30);
        budget.on_asked(now + MEMORY * 2, source(3), 30);
        budget.on_asked(now + MEMORY * 3, source(2), 30);
        assert!(!budget.allows(source(2), 31));
    }

    #[test]
    fn many_sources_are_bounded() {
        let (now, mut budget) = (start(), Budget::new(start()));
        (0..100_000).for_each(|n| budget.on_asked(now, source(n), 100));
        assert!(budget.now.len() <= MAX_SOURCES && budget.before.len() <= MAX_SOURCES);
    }
}
