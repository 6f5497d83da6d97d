//! Why a slot gets the layer that it gets, for people and for programs.

use std::fmt;

use serde::Serialize;

/// Why a slot gets the layer that it gets. Bit rates are in bits per second, heights in pixels (0: not known).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Reason {
    /// The track has only one layer.
    OnlyLayer,
    /// The layer nearest the size on screen, in device pixels: nothing better would be seen.
    NearestSize {
        /// The height wanted; 0 where the client has not said.
        wanted: u16,
        /// The height of the layer chosen; 0 where not known yet.
        chosen: u16,
    },
    /// The link does not carry the layer wanted.
    EstimateTooLow {
        /// What the link is thought to carry.
        estimate: u64,
        /// The estimate with which the slot would get the layer wanted, all else as it is.
        needed: u64,
        /// The height of the layer chosen.
        chosen: u16,
        /// The height of the layer wanted. The same as `chosen` where only the frame rate differs.
        wanted: u16,
    },
    /// The link would carry the layer wanted if another slot, of more importance or more gain per bit, had less.
    PriorityToOthers {
        /// The other slot.
        slot: usize,
    },
    /// The better layer is new, or has fitted for a moment only: it has to last before it is chosen.
    WaitingForStability {
        /// Milliseconds until it will be chosen, if it lasts.
        ms: u64,
    },
    /// The slot lost quality to a lack of bandwidth a moment ago: it waits, so as not to go up and down.
    RecentlyDowngraded {
        /// Seconds until it may go up again.
        seconds: u64,
    },
    /// Not even the smallest layer fits: nothing is sent.
    PausedNoBandwidth {
        /// What the link is thought to carry.
        estimate: u64,
        /// The estimate with which the slot would get its smallest layer, all else as it is.
        needed: u64,
    },
    /// The server has more to do than it can: this picture is left out until it has time again. Set by the caller.
    ServerOverloaded,
    /// The slot is hidden: nothing is sent.
    Hidden,
    /// Audio is always sent whole.
    Audio,
    /// The receiver did not negotiate the codec of this track.
    CodecNotSupported,
    /// The publisher muted the track.
    Muted,
    /// The publisher sends no packets of this track.
    NoPackets,
    /// The layer was chosen, but no keyframe has come with which to begin it. Set by the caller: the allocator does not
    /// see packets.
    NoKeyframe,
    /// The same, of a publisher that sends no keyframe when asked: the picture begins with the next one by itself.
    KeyframeInterval {
        /// The longest time between two keyframes of this publisher so far, in milliseconds.
        ms: u64,
    },
}

impl Reason {
    /// The link does not carry what is wanted.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        use Reason::{EstimateTooLow, PausedNoBandwidth, PriorityToOthers, ServerOverloaded};
        matches!(self, EstimateTooLow { .. } | PausedNoBandwidth { .. } | PriorityToOthers { .. } | ServerOverloaded)
    }

    /// What comes of the publisher is nothing that the receiver could show, and no choice of its own is to blame.
    #[must_use]
    pub fn is_wait(&self) -> bool {
        use Reason::{CodecNotSupported, KeyframeInterval, NoKeyframe, NoPackets};
        matches!(self, NoPackets | NoKeyframe | KeyframeInterval { .. } | CodecNotSupported)
    }

    /// Whether the receiver should be told, if `told` is what it was told last: another reason, another size, or a
    /// bit rate that moved by more than a tenth. Times that run down are no news.
    #[must_use]
    pub fn is_news_after(&self, told: &Self) -> bool {
        use Reason::{EstimateTooLow, KeyframeInterval, PausedNoBandwidth, RecentlyDowngraded, WaitingForStability};
        match (*self, *told) {
            (
                EstimateTooLow { estimate, needed, chosen, wanted },
                EstimateTooLow { estimate: estimate_0, needed: needed_0, chosen: chosen_0, wanted: wanted_0 },
            ) => {
                (chosen, wanted) != (chosen_0, wanted_0)
                    || differ_by_a_tenth(estimate, estimate_0)
                    || differ_by_a_tenth(needed, needed_0)
            }
            (PausedNoBandwidth { estimate, needed }, PausedNoBandwidth { estimate: estimate_0, needed: needed_0 }) => {
                differ_by_a_tenth(estimate, estimate_0) || differ_by_a_tenth(needed, needed_0)
            }
            (WaitingForStability { .. }, WaitingForStability { .. })
            | (KeyframeInterval { .. }, KeyframeInterval { .. })
            | (RecentlyDowngraded { .. }, RecentlyDowngraded { .. }) => false,
            (new, old) => new != old,
        }
    }
}

/// Whether two rates differ by a tenth of the older one, or more.
pub(super) fn differ_by_a_tenth(new: u64, old: u64) -> bool {
    new != old && new.abs_diff(old) >= old / 10
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OnlyLayer => f.write_str("the only layer"),
            Self::NearestSize { wanted: 0, .. } => f.write_str("the best layer"),
            Self::NearestSize { wanted, chosen: 0 } => write!(f, "the best layer for {wanted} lines"),
            Self::NearestSize { wanted, chosen } => write!(f, "{chosen}p for {wanted} lines"),
            Self::EstimateTooLow { estimate, needed, chosen, wanted } => {
                match (chosen, wanted) {
                    (0, _) | (_, 0) => f.write_str("a lower layer")?,
                    _ if chosen == wanted => write!(f, "{chosen}p with fewer frames")?,
                    _ => write!(f, "{chosen}p, not {wanted}p")?,
                }
                write!(f, ": estimate {} < {}", AtMost(estimate), AtLeast(needed))
            }
            Self::PriorityToOthers { slot } => write!(f, "slot {slot} has priority"),
            Self::WaitingForStability { ms } => write!(f, "a better layer is steady in {ms} ms"),
            Self::RecentlyDowngraded { seconds } => {
                write!(f, "went down a moment ago: up in {seconds} s at the soonest")
            }
            Self::PausedNoBandwidth { estimate, needed } => {
                write!(f, "paused: estimate {} < {}", AtMost(estimate), AtLeast(needed))
            }
            Self::ServerOverloaded => f.write_str("paused: the server has more to do than it can"),
            Self::Hidden => f.write_str("not on screen"),
            Self::Audio => f.write_str("audio is always sent"),
            Self::CodecNotSupported => f.write_str("the receiver cannot take this codec"),
            Self::Muted => f.write_str("muted by the publisher"),
            Self::NoPackets => f.write_str("the publisher sends no packets"),
            Self::NoKeyframe => f.write_str("no keyframe has come yet"),
            Self::KeyframeInterval { ms } => {
                write!(f, "the encoder sends a keyframe every {} s only, and none when asked", ms.div_ceil(1000))
            }
        }
    }
}

/// A rate rounded down; with [`AtLeast`] a comparison stays true in print.
struct AtMost(u64);

/// A rate rounded up.
struct AtLeast(u64);

impl fmt::Display for AtMost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate @ 0..1_000_000 => write!(f, "{} kbps", rate / 1000),
            rate => write!(f, "{}.{} Mbps", rate / 1_000_000, rate / 100_000 % 10),
        }
    }
}

impl fmt::Display for AtLeast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.div_ceil(1000) {
            kbps @ 0..1000 => write!(f, "{kbps} kbps"),
            _ => {
                let tenths = self.0.div_ceil(100_000);
                write!(f, "{}.{} Mbps", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_sentence_with_its_numbers() {
        let low = Reason::EstimateTooLow { estimate: 740_900, needed: 1_090_001, chosen: 360, wanted: 720 };
        assert_eq!(low.to_string(), "360p, not 720p: estimate 740 kbps < 1.1 Mbps");
        let frames = Reason::EstimateTooLow { estimate: 1_990_000, needed: 2_000_000, chosen: 720, wanted: 720 };
        assert_eq!(frames.to_string(), "720p with fewer frames: estimate 1.9 Mbps < 2.0 Mbps");
        let unknown = Reason::EstimateTooLow { estimate: 0, needed: 999_001, chosen: 0, wanted: 720 };
        assert_eq!(unknown.to_string(), "a lower layer: estimate 0 kbps < 1.0 Mbps");
        assert_eq!(Reason::PriorityToOthers { slot: 3 }.to_string(), "slot 3 has priority");
        assert_eq!(Reason::NearestSize { wanted: 340, chosen: 360 }.to_string(), "360p for 340 lines");
    }

    #[test]
    fn numbers_that_move_a_little_are_no_news() {
        let low = |estimate| Reason::EstimateTooLow { estimate, needed: 1_000_000, chosen: 360, wanted: 720 };
        assert!(!low(740_000).is_news_after(&low(700_000)));
        assert!(low(780_000).is_news_after(&low(700_000)));
        assert!(low(700_000).is_news_after(&Reason::OnlyLayer));
        let left = |seconds| Reason::RecentlyDowngraded { seconds };
        assert!(!left(3).is_news_after(&left(9)));
        let size = |wanted| Reason::NearestSize { wanted, chosen: 360 };
        assert!(size(341).is_news_after(&size(340)));
    }

    #[test]
    fn programs_read_a_code_and_the_numbers() {
        let json = |reason: Reason| serde_json::to_value(reason).unwrap();
        assert_eq!(
            json(Reason::PausedNoBandwidth { estimate: 10, needed: 20 }),
            serde_json::json!({ "code": "paused-no-bandwidth", "estimate": 10, "needed": 20 })
        );
        assert_eq!(json(Reason::NoKeyframe), serde_json::json!({ "code": "no-keyframe" }));
    }
}
