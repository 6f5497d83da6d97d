//! The words for what was found: one sentence, and what to set in the encoders in use.

use std::fmt;

use serde::Serialize;
use serde::ser::Serializer;

use super::{Finding, Symptom};

/// The setting that mends a fault, for each encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Options of FFmpeg.
    pub ffmpeg: &'static str,
    /// Where to click in OBS, and what to enter.
    pub obs: &'static str,
    /// Properties of GStreamer's elements.
    pub gstreamer: &'static str,
}

impl Symptom {
    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BFrames { .. } => "b-frames",
            Self::KeyframeInterval { .. } => "keyframe-interval",
            Self::Profile { .. } => "profile",
            Self::NoAudio { .. } => "no-audio",
            Self::Bitrate { .. } => "bitrate",
            Self::Timestamps { .. } => "timestamps",
            Self::Loss { .. } => "loss",
        }
    }

    /// What mends it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let (ffmpeg, obs, gstreamer) = match self {
            Self::BFrames { .. } => (
                "-bf 0 (or -tune zerolatency)",
                "Settings, Output, Advanced: B-frames 0; with x264: Tune zerolatency, or x264 options bframes=0",
                "x264enc bframes=0 tune=zerolatency",
            ),
            Self::KeyframeInterval { .. } => (
                "-g 60 at 30 frames per second: a keyframe every 2 s",
                "Settings, Output, Advanced: Keyframe interval 2 s",
                "x264enc key-int-max=60 at 30 frames per second",
            ),
            Self::Profile { .. } => (
                "-profile:v baseline",
                "Settings, Output, Advanced: Profile baseline",
                "video/x-h264,profile=constrained-baseline after the encoder",
            ),
            Self::NoAudio { .. } => (
                "map a source of sound and encode it: -map 0:a -c:a libopus -ar 48000 -ac 2",
                "Audio Mixer: unmute a source; Settings, Output, Advanced, Streaming: Audio track 1, encoder Opus",
                "a second branch into the sink: audioconvert ! audioresample ! opusenc",
            ),
            Self::Bitrate { .. } => (
                "lower -b:v, and bound it: -maxrate as -b:v, -bufsize the same",
                "Settings, Output, Advanced: Rate control CBR, a lower Bitrate",
                "x264enc bitrate= (kbit/s), lower",
            ),
            Self::Timestamps { .. } => (
                "-use_wallclock_as_timestamps 1 before -i of a live input; -re before -i of a file",
                "restart the stream after a change of frame rate or source; for media sources: Restart playback off",
                "do-timestamp=true on the source",
            ),
            Self::Loss { .. } => (
                "lower -b:v below what the upload carries; a cable instead of wireless",
                "Settings, Output: a lower Bitrate; a cable instead of wireless",
                "x264enc bitrate= lower than the upload carries; a cable instead of wireless",
            ),
        };
        Remedy { ffmpeg, obs, gstreamer }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BFrames { reordered, pictures } => write!(
                f,
                "B-frames: {reordered} of {pictures} pictures in a second are sent out of order; viewers will stutter"
            ),
            Self::KeyframeInterval { interval_ms, limit_ms } => write!(
                f,
                "{} between keyframes, and none when asked for: newcomers wait as long for a picture; {} at most",
                Seconds(interval_ms),
                Seconds(limit_ms)
            ),
            Self::Profile { sent, offered } => write!(
                f,
                "H264 {} ({sent:04x}) is sent, {} ({offered:04x}) was offered: some viewers cannot decode it",
                profile_name(sent),
                profile_name(offered)
            ),
            Self::NoAudio { offered: true, silent_ms } => {
                write!(f, "no sound for {}, though a line for it was offered", Seconds(silent_ms))
            }
            Self::NoAudio { offered: false, .. } => f.write_str("no sound: the offer has no line for it"),
            Self::Bitrate { bitrate, limit } => {
                write!(f, "{} kbps are sent, {} kbps are the most there should be", bitrate / 1000, limit / 1000)
            }
            Self::Timestamps { jumps, largest_ms } => write!(
                f,
                "timestamps jump, {jumps} times in a second, by up to {}: sound and picture will part, or freeze",
                Seconds(largest_ms.into())
            ),
            Self::Loss { missed, expected } => write!(
                f,
                "{missed} of {expected} packets in a second got lost between the encoder and the server ({} %)",
                u64::from(missed) * 100 / u64::from(expected.max(1))
            ),
        }
    }
}

/// Milliseconds, written as seconds with one digit.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.div_ceil(100);
        match tenths % 10 {
            0 => write!(f, "{} s", tenths / 10),
            digit => write!(f, "{}.{digit} s", tenths / 10),
        }
    }
}

fn profile_name(profile: u32) -> &'static str {
    match (profile >> 8, profile & 0x40 != 0) {
        (0x42, true) => "Constrained Baseline",
        (0x42, false) => "Baseline",
        (0x4d, _) => "Main",
        (0x58, _) => "Extended",
        (0x64, _) => "High",
        (0x6e, _) => "High 10",
        (0x7a, _) => "High 4:2:2",
        (0xf4, _) => "High 4:4:4",
        _ => "of another profile",
    }
}

/// A finding goes out with its words: `{code, …numbers, track, message, remedy}`.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            symptom: &'a Symptom,
            track: Option<crate::api::TrackId>,
            message: Text<'a>,
            remedy: Remedy,
        }
        struct Text<'a>(&'a Symptom);
        impl Serialize for Text<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self.0)
            }
        }
        let Self { symptom, track } = self;
        Whole { symptom, track: *track, message: Text(symptom), remedy: symptom.remedy() }.serialize(serializer)
    }
}
