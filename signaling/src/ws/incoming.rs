//! What clients say in `weir.v1` (docs/PROTOCOL.md), read from text frames.

use serde::Deserialize;
use serde_json::{Number, Value};
use weir_sfu::api::{OfferedTrack, SlotView, Source, TrackId, View};

use crate::error::{Code, Problem};

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
pub(super) enum ClientMessage {
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
pub(super) struct Join {
    /// The name to show.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// The token; needed when keys are configured.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// Free text of the application.
    #[serde(default)]
    pub(super) metadata: String,
    /// The word of an earlier `joined`, to come back as the same participant.
    #[serde(default)]
    pub(super) resume: Option<String>,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Token and resume word open doors: they are not printed.
        f.debug_struct("Join").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A message that was not taken, and what to answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// The `id` of the message, where it had one.
    pub(super) id: Option<Number>,
    /// Why.
    pub(super) problem: Problem,
}

impl ClientMessage {
    /// Reads a text frame.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn code(text: &str) -> Code {
        ClientMessage::parse(text).expect_err("refused").problem.code
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
