//! What is wrong with what an encoder sends, with the numbers behind it and the setting that mends it.
//!
//! Every packet is counted ([`pulse`]); once a second the counts are looked at. A finding stays for a while after it was
//! last seen, so that one that comes and goes is told once and not every second.

mod keyframes;
pub(crate) mod pulse;
mod words;

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use self::keyframes::KeyframeWatch;
use self::pulse::Counted;
use crate::api::{MediaKind, TrackId};

pub use words::Remedy;

/// How long a finding stays after it was seen last.
const HOLD: Duration = Duration::from_secs(10);
/// The same for what happens once: a jump is over when it is seen.
const HOLD_JUMP: Duration = Duration::from_secs(60);
/// Sound that does not come for this long is missed.
const NO_AUDIO: Duration = Duration::from_secs(5);
/// Packets that are missing at first, in percent: above it, video that is resent in time begins to stutter on a bad link.
const LOSS_PERCENT: u32 = 2;
/// Fewer missing packets in a second are chance.
const LOSS_PACKETS: u32 = 5;
/// For how many looks in a row the rate is above the limit: a keyframe alone is none.
const RATE_LOOKS: u8 = 3;
/// Keyframes further apart keep newcomers, and those who lost one, waiting.
pub(crate) const KEYFRAME_INTERVAL: Duration = Duration::from_secs(4);

/// What is wrong. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Symptom {
    /// Pictures are sent in another order than they are shown in: B-frames.
    BFrames {
        /// Pictures sent after one that is shown later, in the last second.
        reordered: u32,
        /// All pictures of that second.
        pictures: u32,
    },
    /// Keyframes are far apart, and the encoder sends none when asked.
    KeyframeInterval {
        /// The longest time between two, so far; milliseconds.
        interval_ms: u64,
        /// What it should be at most.
        limit_ms: u64,
    },
    /// H264 of another profile than was offered: whoever took the offer at its word cannot decode it.
    Profile {
        /// profile_idc and constraint flags of what is sent, as in the first four digits of `profile-level-id`.
        #[serde(serialize_with = "hexadecimal")]
        sent: u32,
        /// The same of what was negotiated.
        #[serde(serialize_with = "hexadecimal")]
        offered: u32,
    },
    /// Pictures, and no sound.
    NoAudio {
        /// There is a line for it in the offer.
        offered: bool,
        /// For how long none has come; milliseconds.
        silent_ms: u64,
    },
    /// More bits per second than the server wants.
    Bitrate {
        /// What is sent, all layers together.
        bitrate: u64,
        /// The most there should be.
        limit: u64,
    },
    /// Timestamps jump: they do not go on as the clock does.
    Timestamps {
        /// How often, in the last second in which it was seen.
        jumps: u32,
        /// How far at most; milliseconds.
        largest_ms: u32,
    },
    /// Packets get lost between the encoder and this server.
    Loss {
        /// Packets that were missing when the next one came, in the last second.
        missed: u32,
        /// All packets of that second.
        expected: u32,
    },
}

fn hexadecimal<S: Serializer>(profile: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{profile:04x}"))
}

/// One thing that an encoder does badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What, with its numbers.
    pub symptom: Symptom,
    /// Of which track; none where it is not of one.
    pub track: Option<TrackId>,
}

/// A track as it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub track: TrackId,
    pub kind: MediaKind,
    pub muted: bool,
    /// Bits per second of all layers.
    pub bitrate: u64,
    /// All layers together.
    pub counted: Counted,
    /// The last packet of any layer.
    pub packet_at: Option<Instant>,
    /// The last keyframe of the first layer that sends.
    pub keyframe_at: Option<Instant>,
    /// H264 profile sent, and negotiated.
    pub profiles: Option<(u32, u32)>,
}

/// What came of a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Found now, and not there before.
    pub found: Vec<Finding>,
    /// There before, and no more: their codes.
    pub mended: Vec<&'static str>,
    /// How far keyframes are apart at most, where that is too far and none comes when asked for.
    pub interval: Option<Duration>,
    /// Ask for a keyframe of this track, to see whether one comes.
    pub ask: Option<TrackId>,
}

#[derive(Debug)]
struct Noted {
    finding: Finding,
    seen: Instant,
}

/// Watches over one publisher.
#[derive(Debug, Default)]
pub(crate) struct Doctor {
    noted: Vec<Noted>,
    keyframes: KeyframeWatch,
    over_limit: u8,
}

impl Doctor {
    /// What is wrong now; at most one finding of each kind.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.noted.iter().map(|noted| noted.finding).collect()
    }

    /// Looks at what came in the last second. `connected` is since when media can flow, `limit` in bits per second.
    pub(crate) fn look(&mut self, now: Instant, connected: Instant, limit: u64, charts: &[Chart]) -> Look {
        let mut look = Look::default();
        let mut seen: Vec<Finding> = charts.iter().flat_map(of_track).collect();
        seen.extend(no_audio(now, connected, charts));
        seen.extend(self.bitrate(limit, charts));
        if let Some(video) = charts.iter().find(|c| c.kind == MediaKind::Video && !c.muted && is_live(now, c)) {
            let (ask, symptom) = self.keyframes.look(now, video.keyframe_at, video.counted.longest_gap);
            look.ask = ask.then_some(video.track);
            look.interval = self.keyframes.too_long();
            seen.extend(symptom.map(|symptom| Finding { symptom, track: Some(video.track) }));
        }
        for finding in seen {
            let code = finding.symptom.code();
            match self.noted.iter_mut().find(|noted| noted.finding.symptom.code() == code) {
                Some(noted) => *noted = Noted { finding, seen: now },
                None => {
                    self.noted.push(Noted { finding, seen: now });
                    look.found.push(finding);
                }
            }
        }
        self.noted.retain(|noted| {
            let hold = if matches!(noted.finding.symptom, Symptom::Timestamps { .. }) { HOLD_JUMP } else { HOLD };
            let stays = now.saturating_duration_since(noted.seen) < hold;
            if !stays {
                look.mended.push(noted.finding.symptom.code());
            }
            stays
        });
        look
    }

    fn bitrate(&mut self, limit: u64, charts: &[Chart]) -> Option<Finding> {
        let bitrate = charts.iter().map(|chart| chart.bitrate).sum();
        self.over_limit = if bitrate > limit { self.over_limit.saturating_add(1) } else { 0 };
        let symptom = Symptom::Bitrate { bitrate, limit };
        (self.over_limit >= RATE_LOOKS).then_some(Finding { symptom, track: None })
    }
}

fn is_live(now: Instant, chart: &Chart) -> bool {
    chart.packet_at.is_some_and(|at| now.saturating_duration_since(at) < NO_AUDIO)
}

/// What the counts of one track show.
fn of_track(chart: &Chart) -> impl Iterator<Item = Finding> {
    let counted = chart.counted;
    let Counted { pictures, reordered, jumps, largest_jump_ms: largest_ms, expected, missed, .. } = counted;
    // Sound has no order but its own.
    let sound = chart.kind == MediaKind::Audio;
    let b_frames = (!sound && reordered >= 2).then_some(Symptom::BFrames { reordered, pictures });
    let jumps = if sound { jumps.saturating_add(reordered) } else { jumps };
    let jumped = (jumps > 0).then_some(Symptom::Timestamps { jumps, largest_ms });
    let lossy = missed >= LOSS_PACKETS && missed.saturating_mul(100) >= expected.saturating_mul(LOSS_PERCENT);
    let lost = lossy.then_some(Symptom::Loss { missed, expected });
    let profile = chart.profiles.filter(|(sent, offered)| !decodes(*offered, *sent));
    let profile = profile.map(|(sent, offered)| Symptom::Profile { sent, offered });
    let track = Some(chart.track);
    [b_frames, jumped, lost, profile].into_iter().flatten().map(move |symptom| Finding { symptom, track })
}

fn no_audio(now: Instant, connected: Instant, charts: &[Chart]) -> Option<Finding> {
    let sound = || charts.iter().filter(|chart| chart.kind == MediaKind::Audio);
    let pictures = charts.iter().any(|chart| chart.kind == MediaKind::Video && is_live(now, chart));
    if !pictures || sound().any(|chart| chart.muted) {
        return None;
    }
    let last = sound().filter_map(|chart| chart.packet_at).max().unwrap_or(connected).max(connected);
    let silent = now.saturating_duration_since(last);
    let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
    let symptom = Symptom::NoAudio { offered: sound().next().is_some(), silent_ms };
    (silent >= NO_AUDIO).then_some(Finding { symptom, track: sound().next().map(|chart| chart.track) })
}

/// Whether a decoder of one H264 profile decodes another (ITU-T H.264, annex A.2): profile_idc and constraint flags of
/// each. Of profiles not known here nothing is said.
fn decodes(decoder: u32, stream: u32) -> bool {
    match (rank(decoder), rank(stream)) {
        (Some(decoder), Some(stream)) => stream <= decoder,
        _ => true,
    }
}

fn rank(profile: u32) -> Option<u8> {
    let (idc, constraints) = (profile >> 8, profile & 0xff);
    Some(match idc {
        // Baseline has tools (FMO, ASO) that Main has not, but no encoder in use sends them: it is what it constrains.
        0x42 => 0,
        0x4d if constraints & 0x80 != 0 => 0,
        0x4d => 1,
        0x58 => return None,
        0x64 => 2,
        0x6e => 3,
        0x7a => 4,
        0xf4 => 5,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
