//! What all handlers share.

use std::sync::Arc;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_sfu::Sfu;
use weir_sfu::api::ParticipantId;

use crate::auth::Auth;
use crate::config::Config;
use crate::error::{Code, Problem};
use crate::http::session::SdpSessions;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::origins::Origins;
use crate::ws::resume::Resumes;

/// How many a room may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomLimits {
    /// Participants, viewers not counted.
    pub(crate) max_participants: usize,
    /// Of them, those that may publish.
    pub(crate) max_publishers: usize,
}

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) auth: Auth,
    pub(crate) origins: Origins,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) sfu: Sfu,
    /// WHIP and WHEP sessions by the secret in their URL.
    pub(crate) sdp_sessions: SdpSessions,
    /// Members over WebSocket by the word that resumes them.
    pub(crate) resumes: Resumes,
    /// Rooms made by `POST /v1/rooms`, with the limits of each.
    pub(crate) created: DashMap<Arc<str>, RoomLimits>,
    /// Cancelled when the server begins to stop.
    pub(crate) draining: CancellationToken,
    /// The tasks that hold sessions.
    pub(crate) tasks: TaskTracker,
}

impl App {
    /// Puts the parts together.
    pub(crate) fn new(config: Config, sfu: Sfu) -> Self {
        Self {
            auth: Auth::new(&config),
            origins: Origins::new(&config),
            limits: Limits::new(&config),
            metrics: Metrics::new(),
            sfu,
            sdp_sessions: SdpSessions::default(),
            resumes: Resumes::default(),
            created: DashMap::new(),
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        }
    }

    /// The limits of a room: what it was created with, else the configured.
    pub(crate) fn room_limits(&self, room: &str) -> RoomLimits {
        self.created.get(room).map_or_else(|| self.default_limits(), |limits| *limits)
    }

    /// The limits of rooms that were not created with others.
    pub(crate) fn default_limits(&self) -> RoomLimits {
        let rooms = &self.config.rooms;
        RoomLimits { max_participants: rooms.max_participants, max_publishers: rooms.max_publishers }
    }

    /// A problem to answer while the server stops.
    pub(crate) fn refuse_while_draining(&self) -> Result<(), Problem> {
        if self.draining.is_cancelled() {
            return Err(Problem::new(Code::Overloaded, "the server is shutting down"));
        }
        Ok(())
    }
}

/// Draws the id of a new participant.
pub(crate) fn new_participant_id() -> ParticipantId {
    ParticipantId(rand::random())
}
