//! What a run shall do: who joins, what they send, what they look at, over which links.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::Codec;

mod check;
pub mod presets;
mod span;

/// A whole scenario: what a TOML file holds, a preset gives and flags change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// How participants join.
    pub protocol: Protocol,
    /// How many rooms (`weir.v1`), or streams (`whip-whep`: one publisher each).
    pub rooms: u32,
    /// Participants of each room who send and watch.
    pub members: u32,
    /// Participants of each room who send and do not watch. With `whip-whep`: 1.
    pub publishers: u32,
    /// Participants of each room who watch only.
    pub viewers: u32,
    /// How many of those who send in each room have a camera; the rest have a microphone only.
    pub cameras: u32,
    /// How many of those who send in each room share a screen beside.
    pub screens: u32,
    /// Over which time participants join, evenly.
    #[serde(with = "span")]
    pub ramp: Duration,
    /// How long the run takes, ramp included.
    #[serde(with = "span")]
    pub duration: Duration,
    /// Leaves and joins for each second, after the ramp: somebody leaves and comes back at once.
    pub churn_per_second: f64,
    /// What is sent.
    pub video: Video,
    /// What is sent.
    pub audio: Audio,
    /// What is looked at.
    pub view: View,
    /// Links, by turns: participant n has link n modulo their number. None: no emulation.
    pub links: Vec<LinkPair>,
    /// The seed of all that is drawn.
    pub seed: u64,
}

/// How participants join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Weir's browser protocol, over a WebSocket.
    #[serde(rename = "weir.v1")]
    WeirV1,
    /// Publishers by WHIP (RFC 9725), viewers by WHEP.
    #[serde(rename = "whip-whep")]
    WhipWhep,
}

/// Which media is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Frames of the right sizes and codec headers, a mark in every packet: exact, at any bitrate. They do not decode.
    Synthetic,
    /// Real encoded clips, which decode. Their bitrates are their own.
    Clips,
}

/// Cameras and screens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Video {
    /// Off: nobody sends video.
    pub enabled: bool,
    /// Real or synthetic.
    pub kind: Kind,
    /// VP8, VP9, H264 or AV1.
    pub codec: Codec,
    /// Frames per second of every layer: 1 to 120.
    pub fps: u32,
    /// Smallest first; one: no simulcast. At most 3.
    pub layers: Vec<Layer>,
    /// A keyframe unasked after so long; zero: only when asked.
    #[serde(with = "span")]
    pub keyframe_every: Duration,
}

/// One simulcast layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its RID.
    pub rid: String,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Kilobits per second of RTP payload.
    pub kbps: u32,
}

/// Microphones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audio {
    /// Off: nobody sends audio.
    pub enabled: bool,
    /// Kilobits per second of Opus.
    pub kbps: u32,
    /// How many speak at a time in each room, by turns; the rest are quiet but for their noise.
    pub speakers: u32,
    /// How long a turn takes.
    #[serde(with = "span")]
    pub turn: Duration,
}

/// What receivers ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// Video slots of each receiver (`weir.v1`): 1 to 49. WHEP viewers have one.
    pub slots: u32,
    /// Audio slots (`weir.v1`): 0 to 3.
    pub audio_slots: u32,
    /// The picture's sizes, device pixels, by turns: after each `change_every` the next one.
    pub sizes: Vec<(u32, u32)>,
    /// How long one size stays; zero: the first one for ever.
    #[serde(with = "span")]
    pub change_every: Duration,
    /// Receivers acknowledge packets by transport-wide feedback, so that the server estimates their bandwidth.
    pub transport_cc: bool,
}

/// The two directions of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkPair {
    /// To the server.
    pub up: Link,
    /// From the server.
    pub down: Link,
}

/// One direction of an emulated link: a rate with a bounded queue before it, then delay, jitter, loss, reordering.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Kilobits per second, IP headers counted; 0: no bound.
    pub kbps: u32,
    /// The longest wait in the queue in milliseconds; what would wait longer is dropped.
    pub queue_ms: u32,
    /// One way, in milliseconds.
    pub delay_ms: f64,
    /// The most that a packet takes longer, in milliseconds. Keeps the order.
    pub jitter_ms: f64,
    /// Percent of packets lost at random.
    pub loss_percent: f64,
    /// Percent of packets after which a burst of losses begins.
    pub burst_percent: f64,
    /// Mean length of such a burst, in packets.
    pub burst_packets: f64,
    /// Percent of packets that come 5 to 20 ms late, and so out of order.
    pub reorder_percent: f64,
    /// Every so many seconds nothing passes; 0: never.
    pub freeze_every_s: f64,
    /// For so many milliseconds; what came meanwhile is lost.
    pub freeze_ms: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            kbps: 0,
            queue_ms: 300,
            delay_ms: 0.0,
            jitter_ms: 0.0,
            loss_percent: 0.0,
            burst_percent: 0.0,
            burst_packets: 5.0,
            reorder_percent: 0.0,
            freeze_every_s: 0.0,
            freeze_ms: 0,
        }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "custom".to_owned(),
            protocol: Protocol::WeirV1,
            rooms: 1,
            members: 3,
            publishers: 0,
            viewers: 0,
            cameras: u32::MAX,
            screens: 0,
            ramp: Duration::from_secs(3),
            duration: Duration::from_secs(30),
            churn_per_second: 0.0,
            video: Video::default(),
            audio: Audio::default(),
            view: View::default(),
            links: Vec::new(),
            seed: 1,
        }
    }
}

impl Default for Video {
    fn default() -> Self {
        let layer = |rid: &str, width, height, kbps| Layer { rid: rid.to_owned(), width, height, kbps };
        Self {
            enabled: true,
            kind: Kind::Synthetic,
            codec: Codec::Vp8,
            fps: 30,
            layers: vec![layer("q", 320, 180, 150), layer("h", 640, 360, 500), layer("f", 1280, 720, 1700)],
            keyframe_every: Duration::ZERO,
        }
    }
}

impl Default for Audio {
    fn default() -> Self {
        Self { enabled: true, kbps: 32, speakers: 1, turn: Duration::from_secs(4) }
    }
}

impl Default for View {
    fn default() -> Self {
        Self { slots: 9, audio_slots: 3, sizes: vec![(640, 360)], change_every: Duration::ZERO, transport_cc: true }
    }
}
