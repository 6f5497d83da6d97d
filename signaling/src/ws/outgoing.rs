//! What the server says in `weir.v1` (docs/PROTOCOL.md), written to text frames.

use serde::Serialize;
use serde_json::Number;
use weir_sfu::allocator::Reason;
use weir_sfu::api::{
    Assignment, CloseReason, Milestone, Notice, ParticipantId, ParticipantInfo, PublishedTrack, Speaker, TrackId,
    TrackInfo,
};

use crate::error::{Code, Problem};
use crate::ice::IceServers;

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(super) enum ServerMessage<'a> {
    Joined {
        participant: ParticipantId,
        room: &'a str,
        participants: &'a [ParticipantInfo],
        #[serde(flatten)]
        servers: &'a IceServers,
        resume: &'a str,
        limits: RoomLimits,
    },
    /// Credentials for later, in place of those of `joined`.
    IceServers {
        #[serde(flatten)]
        servers: &'a IceServers,
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
    pub(super) fn from_notice(notice: &'a Notice) -> Self {
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
    pub(super) fn refusal(id: Option<&'a Number>, problem: &'a Problem) -> Self {
        Self::Error { id, code: problem.code, message: &problem.detail }
    }

    /// The text frame.
    pub(super) fn to_text(&self) -> String {
        // Writing plain data to memory does not fail; an empty frame would be ignored by the client.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// `limits` of `joined`.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct RoomLimits {
    pub(super) slots: SlotLimits,
    pub(super) participants: usize,
}

/// The most slots that make sense in an offer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct SlotLimits {
    pub(super) audio: usize,
    pub(super) video: usize,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn to_json(message: &ServerMessage<'_>) -> Value {
        serde_json::from_str(&message.to_text()).expect("JSON")
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
        let joined = ServerMessage::Joined {
            participant: ParticipantId(1),
            room: "demo",
            participants: &[],
            servers: &IceServers::default(),
            resume: "word",
            limits: RoomLimits { slots: SlotLimits { audio: 3, video: 49 }, participants: 100 },
        };
        let want = json!({"type": "joined", "participant": "p0000000000000001", "room": "demo", "participants": [],
            "iceServers": [], "relayServers": [], "resume": "word",
            "limits": {"slots": {"audio": 3, "video": 49}, "participants": 100}});
        assert_eq!(to_json(&joined), want);
    }
}
