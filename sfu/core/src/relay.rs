//! What shards say to each other about a room that is on several of them: demand up, packets down.
//!
//! One shard is a room's *home*, as its name says. It alone decides who enters, who holds the floor and who is heard; all
//! word of who is there and what they publish goes through it, so that every shard hears of it in one order. Each shard
//! keeps a *mirror* of every participant that lives elsewhere: a participant without a connection, whose tracks are fed
//! by the packets that come over the link. Those come straight from the shard of the publisher: each packet once for
//! every shard that wants it, whatever the number of receivers there.
//!
//! Of one link everything but media arrives in order and is never lost; media may overtake it, and may be dropped. All
//! instants are of one clock, that of the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::{Mid, Rid};
use str0m::rtp::vla::VideoLayersAllocation;
use str0m::rtp::{ExtensionValues, UserExtensionValues};

use crate::allocator::LayerState;
use crate::api::{CloseReason, Codec, Join, JoinError, MediaKind, ParticipantId, Role, Source, Speaker, TrackId};
use crate::doctor::Finding;
use crate::forward::SenderReport;
use crate::forward::dependency::RawDescriptor;
use crate::ingress::Arrival;
use crate::participant::{Format, ReceiveFormat};
use crate::track::Cutting;

/// The most packets of one message: a few frames. More would make the other shard wait for the last before it begins.
const MAX_PACKETS: usize = 64;
/// The most audio levels of one track that are told at a time: more than come between two ticks.
pub(crate) const MAX_LEVELS: usize = 32;

/// Names a shard as others know it: by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u8);

/// What one shard says to another.
#[derive(Debug)]
pub struct RelayMessage(pub(crate) Message);

impl RelayMessage {
    /// How many media packets it carries. With any, the message may be dropped and may overtake others; without, it must
    /// arrive, after all those before it.
    #[must_use]
    pub fn packets(&self) -> usize {
        match &self.0 {
            Message::Media { packets, .. } => packets.len(),
            _ => 0,
        }
    }

    /// Leaves out the video: it has waited for too long to be of use. Returns how many packets that were. Its receivers
    /// wait for a keyframe then, as for one that is lost on the way they would too, but without asking for what is gone.
    pub fn shed_video(&mut self) -> usize {
        let Message::Media { packets, shed } = &mut self.0 else { return 0 };
        let before = packets.len();
        packets.retain(|packet| {
            let sound = packet.format.format.codec == Codec::Opus;
            if !sound && !shed.contains(&packet.track) {
                shed.push(packet.track);
            }
            sound
        });
        before - packets.len()
    }

    /// Comes after one that did not arrive, and whose video was left out of it: tells of that.
    pub fn follow(&mut self, lost: &Self) {
        let (Message::Media { shed, .. }, Message::Media { shed: before, .. }) = (&mut self.0, &lost.0) else { return };
        for track in before {
            if !shed.contains(track) {
                shed.push(*track);
            }
        }
    }
}

/// See [`RelayMessage`].
#[derive(Debug)]
pub(crate) enum Message {
    /// To the home: somebody wants to enter here. Answered with `Admitted` or `Refused`.
    Join { request: u64, join: Box<Join> },
    /// To the home: a member wants to publish. Answered with `Publish`.
    MayPublish { request: u64, room: Arc<str>, id: ParticipantId, limit: usize },
    /// To the home: the levels of the audio packets since the last tick.
    Heard { room: Arc<str>, tracks: Vec<(TrackId, Vec<Option<i8>>)> },
    /// To the home: nobody of the room is here any more.
    Detach { room: Arc<str> },

    /// From the home: it may enter. The room as it stands, if this shard knew nothing of it.
    Admitted { request: u64, room: Arc<str>, snapshot: Option<Box<Snapshot>> },
    /// From the home: it may not.
    Refused { request: u64, error: JoinError },
    /// From the home: the member may publish, or may not.
    Publish { request: u64, allowed: bool },
    /// From the home.
    Floor { room: Arc<str>, floor: Floor },
    /// From the home: who speaks, for the members.
    Speakers { room: Arc<str>, speakers: Vec<Speaker> },
    /// From the home: everybody has to leave.
    CloseRoom { room: Arc<str>, reason: CloseReason },

    /// A participant as it is now. From where it lives to the home, and from there to all others; so are the next two.
    Member { room: Arc<str>, member: Box<MemberState> },
    /// A participant is gone.
    Left { room: Arc<str>, id: ParticipantId, reason: CloseReason },
    /// What can be had of tracks.
    Rates { room: Arc<str>, tracks: Vec<(TrackId, TrackRates)> },
    /// To the home: how many viewers are here. From the home: how many are elsewhere.
    Viewers { room: Arc<str>, count: usize },

    /// To where it lives: end the stay of a participant.
    Close { id: ParticipantId, reason: CloseReason },
    /// To where it lives: an administrator mutes a track, or unmutes it.
    Mute { id: ParticipantId, track: TrackId, muted: bool },
    /// To where the publisher lives: what is wanted of its track here.
    Demand { track: TrackId, demand: Demand },
    /// To where the publisher lives: somebody waits for a keyframe of this encoding.
    Keyframe { track: TrackId, layer: usize },
    /// From where the publishers live. Of the tracks shed, packets were left out on the way.
    Media { packets: Vec<Packet>, shed: Vec<TrackId> },
}

/// A room, for a shard that knows nothing of it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub members: Vec<MemberState>,
    pub floor: Floor,
    /// Viewers on other shards.
    pub viewers: usize,
}

/// Who is heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The audio tracks that members hear.
    pub loudest: Vec<TrackId>,
    /// The one that holds the floor.
    pub dominant: Option<TrackId>,
}

impl Floor {
    /// The same are heard. Who of them is the louder changes with every tick, and changes nothing at home either.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let all = self.loudest.iter().all(|track| other.loudest.contains(track));
        all && self.loudest.len() == other.loudest.len() && self.dominant == other.dominant
    }
}

/// A participant that others see.
#[derive(Debug, Clone)]
pub(crate) struct MemberState {
    pub id: ParticipantId,
    /// The shard where it lives.
    pub link: LinkId,
    pub role: Role,
    pub name: String,
    pub identity: String,
    pub metadata: String,
    /// It publishes, or is about to: counts against the room's limit.
    pub granted: bool,
    pub findings: Vec<Finding>,
    /// Oldest first.
    pub tracks: Vec<TrackState>,
}

/// A published track.
#[derive(Debug, Clone)]
pub(crate) struct TrackState {
    pub id: TrackId,
    pub mid: Mid,
    pub kind: MediaKind,
    pub source: Source,
    pub label: String,
    pub muted: bool,
    pub silenced: bool,
    pub format: Option<Format>,
    pub rids: Vec<Option<Rid>>,
    /// Who came first, the same on all shards.
    pub order: (Option<Instant>, u64),
    pub held_floor: Option<Instant>,
    pub rates: TrackRates,
}

impl TrackState {
    /// A track as it begins.
    pub(crate) fn new(id: TrackId, mid: Mid, kind: MediaKind, rids: Vec<Option<Rid>>) -> Self {
        Self {
            id,
            mid,
            kind,
            source: if kind == MediaKind::Audio { Source::Microphone } else { Source::Camera },
            label: String::new(),
            muted: false,
            silenced: false,
            format: None,
            rids,
            order: (None, 0),
            held_floor: None,
            rates: TrackRates::default(),
        }
    }
}

/// What can be had of a track, as seen where its packets come in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TrackRates {
    pub layers: Vec<LayerRate>,
    pub cuttings: Vec<(Cutting, LayerState)>,
    pub keyframe_interval: Option<Duration>,
}

/// One encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerRate {
    pub height: u16,
    pub bitrate: u64,
    pub live: bool,
}

/// What one shard wants of a track, a bit for each encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Whose packets shall come.
    pub packets: u32,
    /// Which the publisher shall send: these, and those that would be taken with more bandwidth.
    pub live: u32,
}

impl Demand {
    /// Nothing is wanted.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Packets of this encoding are wanted.
    pub(crate) fn has(self, encoding: usize) -> bool {
        self.packets & bit(encoding) != 0
    }

    /// What either wants.
    pub(crate) fn union(self, other: Self) -> Self {
        Self { packets: self.packets | other.packets, live: self.live | other.live }
    }
}

/// The bit of an encoding. There are far fewer than 32.
pub(crate) fn bit(encoding: usize) -> u32 {
    1 << encoding.min(31)
}

/// A shard that gets packets of a track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Downstream {
    pub link: LinkId,
    pub demand: Demand,
}

/// Takes note of what a shard wants.
pub(crate) fn set_demand(all: &mut Vec<Downstream>, link: LinkId, demand: Demand) {
    match all.iter_mut().find(|d| d.link == link) {
        Some(known) => known.demand = demand,
        None => all.push(Downstream { link, demand }),
    }
    all.retain(|d| !d.demand.is_empty());
}

/// One media packet, as it came out of the publisher's connection.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub track: TrackId,
    pub layer: usize,
    pub source: u32,
    pub seq: u64,
    pub time: u32,
    pub marker: bool,
    pub format: ReceiveFormat,
    pub payload: Arc<[u8]>,
    pub ext: ExtensionValues,
    pub csrc: Box<[u32]>,
    pub report: Option<SenderReport>,
    /// When it was captured, by the publisher's clock mapped to ours.
    pub captured: Instant,
    /// An administrator muted the track: it only leaves no gap.
    pub silenced: bool,
    /// It has waited for too long for the publisher's worker: likewise, and its receivers go on with a keyframe.
    pub late: bool,
}

impl Packet {
    /// The packet as a shard gets it.
    pub(crate) fn new(track: TrackId, packet: &Arrival<'_>, captured: Instant) -> Self {
        Self {
            track,
            layer: packet.layer,
            source: packet.source,
            seq: packet.seq,
            time: packet.time,
            marker: packet.marker,
            format: packet.format,
            payload: Arc::clone(packet.payload),
            ext: packet.ext.clone(),
            csrc: packet.csrc.into(),
            report: packet.report,
            captured,
            silenced: false,
            late: false,
        }
    }

    /// The payload and the extensions, of this shard's own: every receiver counts what it keeps of them, and two threads
    /// that count one thing would fight for its cache line.
    pub(crate) fn own(&self) -> (Arc<[u8]>, ExtensionValues) {
        let mut ext = ExtensionValues { user_values: UserExtensionValues::default(), ..self.ext.clone() };
        let values = &self.ext.user_values;
        values.get::<RawDescriptor>().into_iter().for_each(|value| ext.user_values.set(value.clone()));
        values.get::<VideoLayersAllocation>().into_iter().for_each(|value| ext.user_values.set(value.clone()));
        (Arc::from(&*self.payload), ext)
    }

    /// The packet as it came there.
    pub(crate) fn arrival<'a>(&'a self, now: Instant, payload: &'a Arc<[u8]>, ext: &'a ExtensionValues) -> Arrival<'a> {
        Arrival {
            now,
            arrived: now,
            layer: self.layer,
            source: self.source,
            seq: self.seq,
            time: self.time,
            marker: self.marker,
            format: self.format,
            payload,
            ext,
            csrc: &self.csrc,
            report: self.report,
        }
    }
}

/// What waits to be sent. Media of one batch goes in one message to each shard.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    control: std::collections::VecDeque<(LinkId, Message)>,
    media: Vec<(LinkId, Vec<Packet>)>,
}

impl Outbox {
    pub(crate) fn send(&mut self, to: LinkId, message: Message) {
        self.control.push_back((to, message));
    }

    pub(crate) fn push(&mut self, to: LinkId, packet: Packet) {
        let room = |(link, packets): &&mut (LinkId, Vec<Packet>)| *link == to && packets.len() < MAX_PACKETS;
        match self.media.iter_mut().find(room) {
            Some((_, packets)) => packets.push(packet),
            None => self.media.push((to, vec![packet])),
        }
    }

    /// The next message; control before media, so that who asks for something knows of it when it comes.
    pub(crate) fn pop(&mut self) -> Option<(LinkId, RelayMessage)> {
        if let Some((to, message)) = self.control.pop_front() {
            return Some((to, RelayMessage(message)));
        }
        if self.media.is_empty() {
            return None;
        }
        let (to, packets) = self.media.remove(0);
        Some((to, RelayMessage(Message::Media { packets, shed: Vec::new() })))
    }
}
