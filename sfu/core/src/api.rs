//! The words in which the outside speaks to a shard: commands, replies, notices.
//!
//! Plain data only. Serialised forms are those of the browser protocol `weir.v1` (docs/PROTOCOL.md).

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::allocator::Reason;
use crate::doctor::Finding;
use crate::path::Path;
use crate::relay::LinkId;
use crate::watching::{ChoiceError, LayerChoice, Watched};

/// Names a participant for its whole life in a room. Random, 64 bits; not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(pub u64);

/// Names a published track. Random, 64 bits; not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

macro_rules! id_text {
    ($name:ident, $prefix:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:016x}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix).filter(|d| d.len() == 16);
                digits.and_then(|d| u64::from_str_radix(d, 16).ok()).map(Self).ok_or(InvalidId)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
id_text!(ParticipantId, "p");
id_text!(TrackId, "t");

/// The text is not the id of a participant or of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a letter and 16 hexadecimal digits")]
pub struct InvalidId;

/// How a participant takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends and receives through slots; in a browser, over `weir.v1`.
    Member,
    /// Only sends, over WHIP.
    Publisher,
    /// Only receives one source, over WHEP. Not shown to the others.
    Viewer,
}

/// What a viewer watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch {
    /// Only this participant's tracks.
    pub participant: Option<ParticipantId>,
    /// Only this track (and, for video, the same participant's audio).
    pub track: Option<TrackId>,
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// What a track shows or plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Source {
    Camera,
    Microphone,
    Screen,
    ScreenAudio,
    Custom,
}

/// The codecs that Weir forwards, each as it was negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Codec {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl Codec {
    /// The RTP clock rate in Hz.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        if self == Self::Opus { 48_000 } else { 90_000 }
    }
}

/// One track as the members of its room see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackInfo {
    /// Its id.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows or plays.
    pub source: Source,
    /// The publisher's own words for it; may be empty.
    pub label: String,
    /// The publisher says that it sends silence or black.
    pub muted: bool,
    /// The codec of the packets seen last; none before the first.
    pub codec: Option<Codec>,
    /// The RIDs of its simulcast layers in the publisher's order; empty without simulcast.
    pub layers: Vec<String>,
}

/// One participant as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParticipantInfo {
    /// Its id.
    pub id: ParticipantId,
    /// The name to show.
    pub name: String,
    /// The identity of its token; empty where there is none.
    pub identity: String,
    /// How it takes part.
    pub role: Role,
    /// Free text of the application, as the participant set it.
    pub metadata: String,
    /// What it publishes.
    pub tracks: Vec<TrackInfo>,
    /// How its media comes and goes; told to administrators only, once there is a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// What is wrong with what it publishes; of publishers over WHIP only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// A request to enter a room.
#[derive(Debug, Clone)]
pub struct Join {
    /// The id that the participant shall have; the caller draws it at random.
    pub participant: ParticipantId,
    /// The room's name.
    pub room: Arc<str>,
    /// Make the room if there is none of that name. Without it, an unknown room is an error. A viewer that makes rooms
    /// may also come before the publisher.
    pub create: bool,
    /// The name to show.
    pub name: String,
    /// The identity of its token. If not empty, a participant of the same identity and role is replaced: a member at
    /// once, a publisher when its first offer is taken, so that a broken offer ends no stream.
    pub identity: String,
    /// How it takes part.
    pub role: Role,
    /// For a viewer: what it watches.
    pub watch: Watch,
    /// It may publish tracks.
    pub can_publish: bool,
    /// It may receive tracks.
    pub can_subscribe: bool,
    /// Free text for the application.
    pub metadata: String,
    /// The most participants this room may hold, viewers not counted.
    pub max_participants: usize,
    /// The most of them that may publish.
    pub max_publishers: usize,
}

/// The room as it stands when a participant has entered.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Everyone else, viewers left out.
    pub participants: Vec<ParticipantInfo>,
}

/// Why nobody entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No such room, and it was not to be made.
    #[error("there is no room of that name")]
    UnknownRoom,
    /// The room holds as many as it may.
    #[error("the room is full: it holds {limit} participants at most")]
    RoomFull {
        /// The most it may hold.
        limit: usize,
    },
    /// As many publish as may.
    #[error("somebody publishes already: at most {limit} may in this room")]
    PublishersFull {
        /// The most that may.
        limit: usize,
    },
    /// The viewer names a participant or a track that is not there.
    #[error("nobody publishes what was asked for")]
    UnknownSource,
    /// The room exists but nobody publishes in it.
    #[error("nobody publishes in this room yet")]
    NothingPublished,
    /// The worker that decides about the room does not answer.
    #[error("the part of the server that holds this room does not answer, try again")]
    Unavailable,
}

/// A client's SDP offer.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The SDP: at most 64 KiB, of members 192 KiB.
    pub sdp: String,
    /// What its sending `m=` lines carry. A sending line that is not named here is taken as camera or microphone.
    pub tracks: Vec<OfferedTrack>,
}

/// What one sending `m=` line of an offer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedTrack {
    /// The line's `a=mid`.
    pub mid: String,
    /// What it shows or plays.
    pub source: Source,
    /// The publisher's own words for it.
    pub label: String,
    /// It starts muted.
    pub muted: bool,
}

/// The answer to an offer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The SDP.
    pub sdp: String,
    /// The server's ICE user fragment; names the ICE session, changes with an ICE restart.
    pub ice_ufrag: String,
    /// The tracks that this connection now publishes.
    pub tracks: Vec<PublishedTrack>,
}

/// A track of one's own, by the `m=` line that sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedTrack {
    /// The line's `a=mid`.
    pub mid: String,
    /// The track's id.
    pub id: TrackId,
}

/// Why an offer was not taken. The connection stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Over a bound on size or count.
    #[error("the offer is too large: {0}")]
    TooLarge(String),
    /// Not SDP, or not an offer.
    #[error("the offer cannot be read: {0}")]
    Malformed(String),
    /// An offer, but of something that this server or this endpoint does not take.
    #[error("the offer cannot be taken: {0}")]
    Unacceptable(String),
    /// The participant has no grant for what it offers.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// As many publish in this room as may.
    #[error("somebody publishes already: {0}")]
    Taken(String),
    /// The participant is gone.
    #[error("the session has ended")]
    Gone,
}

/// What a participant wants to see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// True: the server fills slots that name no track, by loudness and order. False: such slots stay empty.
    pub auto: bool,
    /// What is wanted of single slots; slots not named keep what they had.
    pub slots: Vec<SlotView>,
}

/// What is wanted of one slot.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotView {
    /// The slot's `a=mid`.
    pub mid: String,
    /// Show this track here; none: the server's choice (or nothing, see [`View::auto`]).
    pub track: Option<TrackId>,
    /// Width on screen in device pixels. 0 with height 0: hidden, send nothing.
    pub width: u16,
    /// Height on screen in device pixels.
    pub height: u16,
    /// Higher comes first when not all fits; 0 is the default.
    pub priority: u8,
}

/// What the outside asks of a shard.
#[derive(Debug, Clone)]
pub enum Command {
    /// Enter a room. Answered with [`Reply::Join`].
    Join(Box<Join>),
    /// Enter a room that another shard decides about. Answered with [`Reply::Join`] when that one has answered.
    JoinFrom(Box<Join>, LinkId),
    /// Negotiate the connection. Answered with [`Reply::Offer`].
    Offer(ParticipantId, Box<Offer>),
    /// Say what shall be shown.
    View(ParticipantId, View),
    /// Say that one's own track is muted or not. Answered with [`Reply::Done`].
    Mute(ParticipantId, TrackId, bool),
    /// Set one's own metadata.
    Metadata(ParticipantId, String),
    /// Leave; the participant is told `reason`. Answered with [`Reply::Done`].
    Leave(ParticipantId, CloseReason),
    /// An administrator removes a participant from a room. Answered with [`Reply::Done`].
    Remove(Arc<str>, ParticipantId),
    /// An administrator mutes a track in a room, or unmutes it. Answered with [`Reply::Done`].
    MuteFor(Arc<str>, ParticipantId, TrackId, bool),
    /// Close a room and everyone in it. Answered with [`Reply::Done`].
    CloseRoom(Arc<str>, CloseReason),
    /// Describe the rooms: all, or the one named. Answered with [`Reply::Rooms`].
    Rooms(Option<Arc<str>>),
    /// Tell a participant all its slots again, because its WebSocket came back. Answered with [`Reply::Rooms`].
    Resume(ParticipantId),
    /// What a participant of a room receives, and why. Answered with [`Reply::Subscriptions`].
    Subscriptions(Arc<str>, ParticipantId),
    /// What a viewer watches. Answered with [`Reply::Watched`].
    Watched(ParticipantId),
    /// Bound what the line of this `a=mid` gets, or the first video line. Answered with [`Reply::Choose`].
    Choose(ParticipantId, Option<String>, LayerChoice),
    /// Counters and gauges. Answered with [`Reply::Stats`].
    Stats,
    /// Close everyone. Answered with [`Reply::Done`].
    Shutdown,
}

/// The answer to a command that has one.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Command::Join`].
    Join(Result<Joined, JoinError>),
    /// To [`Command::Offer`].
    Offer(Result<Answer, OfferError>),
    /// To [`Command::Rooms`].
    Rooms(Vec<RoomInfo>),
    /// To [`Command::Subscriptions`]; none if there is no such participant.
    Subscriptions(Option<Vec<SubscriptionInfo>>),
    /// To [`Command::Watched`]; none if there is no such participant.
    Watched(Option<Watched>),
    /// To [`Command::Choose`].
    Choose(Result<(), ChoiceError>),
    /// To [`Command::Stats`].
    Stats(Box<crate::stats::Stats>),
    /// To [`Command::CloseRoom`] and [`Command::Shutdown`]: whether there was anything to do.
    Done(bool),
}

/// A room, for the admin API.
#[derive(Debug, Clone, Serialize)]
pub struct RoomInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Who is in it, viewers left out.
    pub participants: Vec<ParticipantInfo>,
    /// How many viewers (WHEP) watch.
    pub viewers: usize,
}

/// What a participant receives in one slot, and why.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionInfo {
    /// The slot's `a=mid`.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Whose track.
    pub participant: ParticipantId,
    /// The track.
    pub track: TrackId,
    /// The layer it shall get: a RID, or `""` for a track without simulcast; none while paused.
    pub target: Option<String>,
    /// The layer it gets now; none before the first packet.
    pub current: Option<String>,
    /// Bits per second sent in the last second.
    pub bitrate: u64,
    /// Why the target is what it is.
    pub reason: Reason,
}

/// Which track a slot shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// The slot's `a=mid`.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Whose track; none when the slot is empty.
    pub participant: Option<ParticipantId>,
    /// The track; none when the slot is empty.
    pub track: Option<TrackId>,
}

/// One who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Speaker {
    /// Who.
    pub participant: ParticipantId,
    /// How loud, in dBov: -127 (silence) to 0 (RFC 6464).
    pub level: i8,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Milestone {
    /// A check of the client's passed: ICE is connected.
    IceConnected,
    /// The DTLS handshake is done: media can flow.
    DtlsConnected,
    /// The first media packet came from this participant.
    FirstPacket,
    /// The first keyframe was sent to this participant.
    FirstKeyframe,
}

/// Why a participant's stay has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// It left by itself.
    Left,
    /// An administrator removed it.
    Removed,
    /// The room was closed.
    RoomClosed,
    /// The server stops.
    ServerShutdown,
    /// A new session of the same identity took its place.
    Replaced,
    /// No sign of life on its connection for 30 seconds, or no connection within 30 seconds.
    Timeout,
    /// The peer closed the DTLS connection.
    PeerClosed,
    /// DTLS failed: wrong certificate fingerprint, or a broken handshake.
    DtlsFailed,
    /// It did not read its messages.
    SlowReader,
    /// A fault of the server. Nobody else is touched.
    Internal,
}

/// What a shard tells one participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The connection came to this point.
    Milestone(Milestone),
    /// Somebody entered.
    ParticipantJoined(ParticipantInfo),
    /// Somebody left.
    ParticipantLeft(ParticipantId, CloseReason),
    /// Somebody's metadata changed.
    ParticipantUpdated(ParticipantInfo),
    /// A new track.
    TrackPublished(ParticipantId, TrackInfo),
    /// A track has ended.
    TrackUnpublished(ParticipantId, TrackId),
    /// A track was muted or is heard again.
    TrackMuted(ParticipantId, TrackId, bool),
    /// What the slots show from now on: only those that changed.
    Slots(Vec<Assignment>),
    /// Who speaks now, the loudest first.
    Speakers(Vec<Speaker>),
    /// To a publisher: the layers of this `m=` line that somebody wants.
    Layers {
        /// The line's `a=mid`.
        mid: String,
        /// The RIDs wanted.
        active: Vec<String>,
    },
    /// What a slot gets from now on, and why.
    Quality {
        /// The slot's `a=mid`.
        mid: String,
        /// The layer: a RID, `""` without simulcast, none while paused.
        layer: Option<String>,
        /// Why.
        reason: Reason,
    },
    /// The stay has ended. Nothing comes after this.
    Closed(CloseReason),
}

/// What a shard tells the outside.
#[derive(Debug, Clone)]
pub enum Event {
    /// The answer to the command of that number.
    Reply {
        /// The number given with the command.
        request: u64,
        /// The answer.
        reply: Reply,
    },
    /// A word to one participant. The same notice may go to many.
    Notice {
        /// To whom.
        to: ParticipantId,
        /// What.
        notice: Arc<Notice>,
    },
    /// Datagrams from this address belong to this shard: a STUN check from it passed its integrity check.
    AddressBound(std::net::SocketAddr),
    /// The address is no longer bound.
    AddressReleased(std::net::SocketAddr),
}
