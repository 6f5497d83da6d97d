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
    /// Rooms made by `POST /v1/rooms`, with the most participants each may hold.
    pub(crate) created: DashMap<Arc<str>, usize>,
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

    /// The most participants of a room: what it was created with, else the configured.
    pub(crate) fn max_participants(&self, room: &str) -> usize {
        self.created.get(room).map_or(self.config.rooms.max_participants, |limit| *limit)
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
