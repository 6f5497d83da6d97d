//! The messages of `weir.v1` (docs/PROTOCOL.md): how they are read and written.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use weir_sfu::allocator::Reason;
use weir_sfu::api::{
    Assignment, CloseReason, Milestone, Notice, OfferedTrack, ParticipantId, ParticipantInfo, PublishedTrack, SlotView,
    Source, Speaker, TrackId, TrackInfo, View,
};

use crate::config::IceServer;
use crate::error::{Code, Problem};
use crate::limits::MAX_SDP_BYTES;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The longest metadata, in bytes.
const MAX_METADATA_BYTES: usize = 4 * 1024;
/// The longest label of a track, in bytes.
const MAX_LABEL_BYTES: usize = 256;
/// The longest `a=mid`, in bytes; RFC 8843 wants three, browsers use at most two digits.
const MAX_MID_BYTES: usize = 32;
/// The most entries of a list in one message: as many as an offer may have lines.
const MAX_LIST: usize = 64;
/// The size taken for a slot whose view names none.
const UNSAID_SIZE: (u16, u16) = (1280, 720);
/// How much of a parser's complaint goes back to the client.
const MAX_COMPLAINT_CHARS: usize = 200;

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// Enter the room, or come back into it.
    Join(Join),
    /// Negotiate the connection.
    Offer {
        /// Comes back with the answer or the error.
        id: Number,
        /// The SDP.
        sdp: String,
        /// What its sending lines carry.
        tracks: Vec<OfferedTrack>,
    },
    /// Say what is on screen.
    View(View),
    /// Mute a track of one's own, or not any more.
    Mute(TrackId, bool),
    /// Set one's own metadata.
    Metadata(String),
    /// Is anybody there?
    Ping(Option<Number>),
    /// Go.
    Leave,
}

/// The first message of a WebSocket.
#[derive(Clone, PartialEq, Deserialize)]
pub struct Join {
    /// The name to show.
    #[serde(default)]
    pub name: Option<String>,
    /// The token; needed when keys are configured.
    #[serde(default)]
    pub token: Option<String>,
    /// Free text of the application.
    #[serde(default)]
    pub metadata: String,
    /// The word of an earlier `joined`, to come back as the same participant.
    #[serde(default)]
    pub resume: Option<String>,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Token and resume word open doors: they are not printed.
        f.debug_struct("Join").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A message that was not taken, and what to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The `id` of the message, where it had one.
    pub id: Option<Number>,
    /// Why.
    pub problem: Problem,
}

impl ClientMessage {
    /// Reads a text frame.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_str(text).map_err(|error| bad(None, &error.to_string()))?;
        let id = match value.get("id") {
            Some(Value::Number(id)) => Some(id.clone()),
            _ => None,
        };
        let Some(Value::String(kind)) = value.get("type").cloned() else {
            return Err(bad(id, "a message is an object with a text `type`"));
        };
        Self::from_value(&kind, value).map_err(|problem| Refusal { id, problem })
    }

    fn from_value(kind: &str, value: Value) -> Result<Self, Problem> {
        Ok(match kind {
            "join" => Self::Join(read::<Join>(kind, value)?.checked()?),
            "offer" => read::<OfferMessage>(kind, value)?.checked()?,
            "view" => Self::View(read::<ViewMessage>(kind, value)?.checked()?),
            "mute" => {
                let mute: MuteMessage = read(kind, value)?;
                let track = mute.track.parse().map_err(|_| complaint(kind, "`track` is not the id of a track"))?;
                Self::Mute(track, mute.muted)
            }
            "metadata" => {
                let message: MetadataMessage = read(kind, value)?;
                at_most(kind, "metadata", message.metadata.len(), MAX_METADATA_BYTES)?;
                Self::Metadata(message.metadata)
            }
            "ping" => Self::Ping(read::<PingMessage>(kind, value)?.id),
            "leave" => Self::Leave,
            _ => return Err(complaint(kind, "no such type of message")),
        })
    }
}

#[derive(Deserialize)]
struct OfferMessage {
    id: Number,
    sdp: String,
    #[serde(default)]
    tracks: Vec<OfferedTrackMessage>,
}

#[derive(Deserialize)]
struct OfferedTrackMessage {
    mid: String,
    source: SourceName,
    #[serde(default)]
    label: String,
    #[serde(default)]
    muted: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SourceName {
    Camera,
    Microphone,
    Screen,
    ScreenAudio,
    Custom,
}

#[derive(Deserialize)]
struct ViewMessage {
    auto: Option<bool>,
    #[serde(default)]
    slots: Vec<SlotViewMessage>,
}

#[derive(Deserialize)]
struct SlotViewMessage {
    mid: String,
    track: Option<String>,
    // Pages compute these from fractional CSS pixels, so fractions are taken.
    width: Option<f64>,
    height: Option<f64>,
    #[serde(default)]
    priority: u8,
}

#[derive(Deserialize)]
struct MuteMessage {
    track: String,
    muted: bool,
}

#[derive(Deserialize)]
struct MetadataMessage {
    metadata: String,
}

#[derive(Deserialize)]
struct PingMessage {
    id: Option<Number>,
}

impl Join {
    fn checked(self) -> Result<Self, Problem> {
        let name = self.name.as_deref().unwrap_or_default();
        if name.trim().is_empty() && self.resume.is_none() {
            return Err(complaint("join", "`name` is missing or empty"));
        }
        at_most("join", "name", name.len(), MAX_NAME_BYTES)?;
        at_most("join", "metadata", self.metadata.len(), MAX_METADATA_BYTES)?;
        Ok(self)
    }
}

impl OfferMessage {
    fn checked(self) -> Result<ClientMessage, Problem> {
        if self.sdp.len() > MAX_SDP_BYTES {
            return Err(Problem::new(Code::OfferTooLarge, format!("an offer has at most {MAX_SDP_BYTES} bytes")));
        }
        at_most("offer", "tracks", self.tracks.len(), MAX_LIST)?;
        for track in &self.tracks {
            at_most("offer", "mid", track.mid.len(), MAX_MID_BYTES)?;
            at_most("offer", "label", track.label.len(), MAX_LABEL_BYTES)?;
        }
        let tracks = self.tracks.into_iter().map(OfferedTrackMessage::into_offered).collect();
        Ok(ClientMessage::Offer { id: self.id, sdp: self.sdp, tracks })
    }
}

impl OfferedTrackMessage {
    fn into_offered(self) -> OfferedTrack {
        let source = match self.source {
            SourceName::Camera => Source::Camera,
            SourceName::Microphone => Source::Microphone,
            SourceName::Screen => Source::Screen,
            SourceName::ScreenAudio => Source::ScreenAudio,
            SourceName::Custom => Source::Custom,
        };
        OfferedTrack { mid: self.mid, source, label: self.label, muted: self.muted }
    }
}

impl ViewMessage {
    fn checked(self) -> Result<View, Problem> {
        at_most("view", "slots", self.slots.len(), MAX_LIST)?;
        let slots = self.slots.into_iter().map(SlotViewMessage::checked).collect::<Result<_, _>>()?;
        Ok(View { auto: self.auto.unwrap_or(true), slots })
    }
}

impl SlotViewMessage {
    fn checked(self) -> Result<SlotView, Problem> {
        at_most("view", "mid", self.mid.len(), MAX_MID_BYTES)?;
        let track = self.track.map(|track| track.parse::<TrackId>()).transpose();
        let track = track.map_err(|_| complaint("view", "`track` is not the id of a track"))?;
        let (width, height) = match (self.width, self.height) {
            (None, None) => UNSAID_SIZE,
            // The side that is not said follows the shape of most cameras.
            (Some(width), None) => (pixels(width)?, pixels(width * 9.0 / 16.0)?),
            (None, Some(height)) => (pixels(height * 16.0 / 9.0)?, pixels(height)?),
            (Some(width), Some(height)) => (pixels(width)?, pixels(height)?),
        };
        Ok(SlotView { mid: self.mid, track, width, height, priority: self.priority })
    }
}

fn pixels(value: f64) -> Result<u16, Problem> {
    if !(value.is_finite() && value >= 0.0) {
        return Err(complaint("view", "`width` and `height` are numbers from 0"));
    }
    // Rounded up, so that a sliver is not taken for a hidden slot. The cast saturates.
    Ok(value.ceil() as u16)
}

fn read<T: for<'de> Deserialize<'de>>(kind: &str, value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| complaint(kind, &error.to_string()))
}

fn at_most(kind: &str, field: &str, length: usize, most: usize) -> Result<(), Problem> {
    if length <= most {
        return Ok(());
    }
    Err(complaint(kind, &format!("`{field}` is longer than {most}")))
}

fn complaint(kind: &str, what: &str) -> Problem {
    let text: String = format!("{kind}: {what}").chars().take(MAX_COMPLAINT_CHARS).collect();
    Problem::new(Code::BadMessage, text)
}

fn bad(id: Option<Number>, what: &str) -> Refusal {
    let text: String = what.chars().take(MAX_COMPLAINT_CHARS).collect();
    Refusal { id, problem: Problem::new(Code::BadMessage, text) }
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "docs/PROTOCOL.md describes every message and field")]
pub enum ServerMessage<'a> {
    Joined {
        participant: ParticipantId,
        room: &'a str,
        participants: &'a [ParticipantInfo],
        ice_servers: Vec<IceServerInfo<'a>>,
        resume: &'a str,
        limits: RoomLimits,
    },
    Answer {
        id: &'a Number,
        sdp: &'a str,
        tracks: &'a [PublishedTrack],
    },
    ParticipantJoined {
        participant: &'a ParticipantInfo,
    },
    ParticipantUpdated {
        participant: &'a ParticipantInfo,
    },
    ParticipantLeft {
        participant: ParticipantId,
        reason: CloseReason,
    },
    TrackPublished {
        participant: ParticipantId,
        track: &'a TrackInfo,
    },
    TrackUnpublished {
        participant: ParticipantId,
        track: TrackId,
    },
    TrackMuted {
        participant: ParticipantId,
        track: TrackId,
        muted: bool,
    },
    Slots {
        assignments: &'a [Assignment],
    },
    Speakers {
        speakers: &'a [Speaker],
    },
    Layers {
        mid: &'a str,
        active: &'a [String],
    },
    Quality {
        mid: &'a str,
        layer: Option<&'a str>,
        reason: Reason,
    },
    Connection {
        state: Milestone,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Number>,
        code: Code,
        message: &'a str,
    },
    Closed {
        reason: CloseReason,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Number>,
    },
}

impl<'a> ServerMessage<'a> {
    /// The message that brings this notice to the client.
    pub fn from_notice(notice: &'a Notice) -> Self {
        match notice {
            Notice::Milestone(state) => Self::Connection { state: *state },
            Notice::ParticipantJoined(participant) => Self::ParticipantJoined { participant },
            Notice::ParticipantUpdated(participant) => Self::ParticipantUpdated { participant },
            Notice::ParticipantLeft(participant, reason) => {
                Self::ParticipantLeft { participant: *participant, reason: *reason }
            }
            Notice::TrackPublished(participant, track) => Self::TrackPublished { participant: *participant, track },
            Notice::TrackUnpublished(participant, track) => {
                Self::TrackUnpublished { participant: *participant, track: *track }
            }
            Notice::TrackMuted(participant, track, muted) => {
                Self::TrackMuted { participant: *participant, track: *track, muted: *muted }
            }
            Notice::Slots(assignments) => Self::Slots { assignments },
            Notice::Speakers(speakers) => Self::Speakers { speakers },
            Notice::Layers { mid, active } => Self::Layers { mid, active },
            Notice::Quality { mid, layer, reason } => Self::Quality { mid, layer: layer.as_deref(), reason: *reason },
            Notice::Closed(reason) => Self::Closed { reason: *reason },
        }
    }

    /// The error that answers a message.
    pub fn refusal(id: Option<&'a Number>, problem: &'a Problem) -> Self {
        Self::Error { id, code: problem.code, message: &problem.detail }
    }

    /// The text frame.
    pub fn to_text(&self) -> String {
        // Writing plain data to memory does not fail; an empty frame would be ignored by the client.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// One entry of `iceServers`, as `RTCPeerConnection` takes it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the field names of RTCIceServer")]
pub struct IceServerInfo<'a> {
    pub urls: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<&'a str>,
}

impl<'a> From<&'a IceServer> for IceServerInfo<'a> {
    fn from(server: &'a IceServer) -> Self {
        Self {
            urls: [&server.url],
            username: server.username.as_deref(),
            credential: server.credential.as_ref().map(|credential| credential.expose()),
        }
    }
}

/// `limits` of `joined`.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "docs/PROTOCOL.md describes them")]
pub struct RoomLimits {
    pub slots: SlotLimits,
    pub participants: usize,
}

/// The most slots that make sense in an offer.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "docs/PROTOCOL.md describes them")]
pub struct SlotLimits {
    pub audio: usize,
    pub video: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn code(text: &str) -> Code {
        ClientMessage::parse(text).expect_err("refused").problem.code
    }

    fn to_json(message: &ServerMessage<'_>) -> Value {
        serde_json::from_str(&message.to_text()).expect("JSON")
    }

    #[test]
    fn a_join_is_read_and_its_token_is_not_printed() {
        let text = r#"{"type":"join","name":"Ann","token":"canary","unknown":1}"#;
        let message = ClientMessage::parse(text).expect("a join");
        assert!(!format!("{message:?}").contains("canary"));
        let ClientMessage::Join(join) = message else { panic!("not a join") };
        assert_eq!((join.name.as_deref(), join.token.as_deref()), (Some("Ann"), Some("canary")));
    }

    #[test]
    fn a_join_without_a_name_says_so() {
        let refusal = ClientMessage::parse(r#"{"type":"join"}"#).expect_err("refused");
        assert!(refusal.problem.detail.contains("`name`"), "{}", refusal.problem.detail);
        assert!(ClientMessage::parse(r#"{"type":"join","resume":"x"}"#).is_ok(), "who comes back has a name already");
    }

    #[test]
    fn an_offer_is_read() {
        let text = json!({"type": "offer", "id": 7, "sdp": "v=0", "tracks": [{"mid": "0", "source": "screen-audio"}]});
        let Ok(ClientMessage::Offer { id, tracks, .. }) = ClientMessage::parse(&text.to_string()) else {
            panic!("not an offer")
        };
        assert_eq!(id, Number::from(7));
        assert_eq!(tracks[0].source, Source::ScreenAudio);
    }

    #[test]
    fn a_refused_offer_keeps_its_id() {
        let refusal = ClientMessage::parse(r#"{"type":"offer","id":3}"#).expect_err("refused");
        assert_eq!(refusal.id, Some(Number::from(3)));
        assert!(refusal.problem.detail.contains("sdp"), "{}", refusal.problem.detail);
        let huge = json!({"type": "offer", "id": 4, "sdp": "x".repeat(MAX_SDP_BYTES + 1)});
        assert_eq!(code(&huge.to_string()), Code::OfferTooLarge);
    }

    #[test]
    fn a_view_takes_fractions_and_fills_what_is_unsaid() {
        let text = json!({"type": "view", "slots": [
            {"mid": "1", "width": 0.4, "height": 99999.0, "track": "t0000000000000001"},
            {"mid": "2", "height": 0}, {"mid": "3"}, {"mid": "4", "track": null, "priority": 255}]});
        let Ok(ClientMessage::View(view)) = ClientMessage::parse(&text.to_string()) else { panic!("not a view") };
        assert!(view.auto);
        let sizes: Vec<_> = view.slots.iter().map(|slot| (slot.width, slot.height)).collect();
        assert_eq!(sizes, [(1, u16::MAX), (0, 0), UNSAID_SIZE, UNSAID_SIZE]);
        assert_eq!(view.slots[0].track, Some(TrackId(1)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["", "x", "[]", "1", "null", "{}", r#"{"type":1}"#, r#"{"type":"nonsense"}"#] {
            assert_eq!(code(text), Code::BadMessage, "{text}");
        }
        assert_eq!(code(r#"{"type":"mute","track":"x","muted":true}"#), Code::BadMessage);
        assert_eq!(code(r#"{"type":"view","slots":[{"mid":"0","width":-1,"height":1}]}"#), Code::BadMessage);
        let long = json!({"type": "metadata", "metadata": "x".repeat(MAX_METADATA_BYTES + 1)});
        assert_eq!(code(&long.to_string()), Code::BadMessage);
    }

    #[test]
    fn what_the_server_says_has_the_documented_form() {
        let assignments =
            [Assignment { mid: "4".into(), kind: weir_sfu::api::MediaKind::Video, participant: None, track: None }];
        let slots = to_json(&ServerMessage::Slots { assignments: &assignments });
        let want = json!({"type": "slots", "assignments": [
            {"mid": "4", "kind": "video", "participant": null, "track": null}]});
        assert_eq!(slots, want);
        let quality = Notice::Quality {
            mid: "4".into(),
            layer: Some("h".into()),
            reason: Reason::NearestSize { wanted: 360, chosen: 540 },
        };
        let want = json!({"type": "quality", "mid": "4", "layer": "h",
            "reason": {"code": "nearest-size", "wanted": 360, "chosen": 540}});
        assert_eq!(to_json(&ServerMessage::from_notice(&quality)), want);
        let left = Notice::ParticipantLeft(ParticipantId(255), CloseReason::PeerClosed);
        let want = json!({"type": "participant-left", "participant": "p00000000000000ff", "reason": "peer-closed"});
        assert_eq!(to_json(&ServerMessage::from_notice(&left)), want);
        let state = Notice::Milestone(Milestone::IceConnected);
        assert_eq!(
            to_json(&ServerMessage::from_notice(&state)),
            json!({"type": "connection", "state": "ice-connected"})
        );
        assert_eq!(to_json(&ServerMessage::Pong { id: None }), json!({"type": "pong"}));
    }

    #[test]
    fn joined_has_the_documented_form() {
        let server = IceServer { url: "stun:h".into(), username: None, credential: None };
        let joined = ServerMessage::Joined {
            participant: ParticipantId(1),
            room: "demo",
            participants: &[],
            ice_servers: vec![(&server).into()],
            resume: "word",
            limits: RoomLimits { slots: SlotLimits { audio: 3, video: 49 }, participants: 100 },
        };
        let want = json!({"type": "joined", "participant": "p0000000000000001", "room": "demo", "participants": [],
            "iceServers": [{"urls": ["stun:h"]}], "resume": "word",
            "limits": {"slots": {"audio": 3, "video": 49}, "participants": 100}});
        assert_eq!(to_json(&joined), want);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("type"),
            Just("id"),
            Just("sdp"),
            Just("tracks"),
            Just("slots"),
            Just("mid"),
            Just("track"),
            Just("width"),
            Just("name"),
            Just("source")
        ];
        leaf.prop_recursive(4, 48, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..8)
                    .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,256}") {
            let _ = ClientMessage::parse(&text);
        }

        #[test]
        fn no_json_makes_the_parser_panic(
            kind in prop_oneof![Just("join"), Just("offer"), Just("view"), Just("mute"), Just("metadata"), Just("ping")],
            mut value in any_json(),
        ) {
            if let Some(object) = value.as_object_mut() {
                object.insert(String::from("type"), Value::from(kind));
            }
            let _ = ClientMessage::parse(&value.to_string());
        }
    }
}
