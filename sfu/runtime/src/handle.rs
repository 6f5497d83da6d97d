//! The handle of the running workers: what signaling calls.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use weir_core::api::{
    Answer, CloseReason, Join, JoinError, Joined, Notice, Offer, OfferError, ParticipantId, RoomInfo, SubscriptionInfo,
    TrackId, View,
};
use weir_core::stats::Stats;

/// How many notices may wait for one session. A session that falls further behind is closed ([`CloseReason::SlowReader`]).
pub const NOTICE_QUEUE: usize = 1024;

/// What the workers need to know.
#[derive(Debug, Clone)]
pub struct SfuConfig {
    /// Where to listen for media (UDP). Port 0 picks a free one.
    pub addr: SocketAddr,
    /// The addresses told to clients; if empty, the listening address, which must not be unspecified then.
    pub announce: Vec<SocketAddr>,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// How many of the loudest audio tracks a member hears.
    pub loudest: usize,
}

/// The workers could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The media port could not be bound.
    #[error("cannot listen for media on {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bind address is unspecified and nothing was announced.
    #[error("media.addr is {0}, which clients cannot reach: set media.announce to the address that they can")]
    NothingAnnounced(SocketAddr),
}

/// The workers are not there to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SfuError {
    /// A worker's command queue is full: the server is overloaded.
    #[error("the server is overloaded, try again")]
    Overloaded,
    /// The workers have stopped.
    #[error("the server is shutting down")]
    Stopped,
}

/// The running workers. Clones share them.
#[derive(Debug, Clone)]
pub struct Sfu {}

impl Sfu {
    /// Binds the media port and starts the workers.
    pub fn start(_config: SfuConfig) -> Result<Self, StartError> {
        Ok(Self {})
    }

    /// The address that media is received on.
    pub fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Enters a room. The outer error is the server's, the inner one the caller's.
    pub async fn join(&self, _join: Join) -> Result<Result<(Session, Joined), JoinError>, SfuError> {
        Err(SfuError::Stopped)
    }

    /// The rooms of all workers, or only the one named.
    pub async fn rooms(&self, _name: Option<Arc<str>>) -> Result<Vec<RoomInfo>, SfuError> {
        Err(SfuError::Stopped)
    }

    /// Closes a room and everyone in it; false if there is none of that name.
    pub async fn close_room(&self, _name: Arc<str>) -> Result<bool, SfuError> {
        Err(SfuError::Stopped)
    }

    /// Removes one participant from a room, with [`CloseReason::Removed`]; false if it is not there.
    pub async fn remove(&self, _room: Arc<str>, _participant: ParticipantId) -> Result<bool, SfuError> {
        Err(SfuError::Stopped)
    }

    /// Mutes or unmutes somebody's track for everyone; false if it is not there.
    pub async fn mute(&self, _room: Arc<str>, _p: ParticipantId, _t: TrackId, _on: bool) -> Result<bool, SfuError> {
        Err(SfuError::Stopped)
    }

    /// What a participant of a room receives, and why; none if there is no such participant.
    pub async fn subscriptions(
        &self,
        _room: Arc<str>,
        _participant: ParticipantId,
    ) -> Result<Option<Vec<SubscriptionInfo>>, SfuError> {
        Err(SfuError::Stopped)
    }

    /// The counters of each worker, in order.
    pub async fn stats(&self) -> Result<Vec<Stats>, SfuError> {
        Err(SfuError::Stopped)
    }

    /// True while every worker answers; for readiness.
    pub fn is_running(&self) -> bool {
        true
    }

    /// Closes every participant with [`CloseReason::ServerShutdown`] and stops the workers.
    pub async fn shutdown(&self) {}
}

/// One participant's stay in a room. Dropping it leaves the room.
#[derive(Debug)]
pub struct Session {
    id: ParticipantId,
    notices: mpsc::Receiver<Arc<Notice>>,
}

impl Session {
    /// The participant's id.
    pub fn id(&self) -> ParticipantId {
        self.id
    }

    /// Negotiates the connection: the first time, or again with more `m=` lines or new ICE credentials.
    pub async fn offer(&self, _offer: Offer) -> Result<Result<Answer, OfferError>, SfuError> {
        Err(SfuError::Stopped)
    }

    /// Says what shall be shown.
    pub fn view(&self, _view: View) -> Result<(), SfuError> {
        Err(SfuError::Stopped)
    }

    /// Says that one's own track is muted, or not any more.
    pub fn mute(&self, _track: TrackId, _muted: bool) -> Result<(), SfuError> {
        Err(SfuError::Stopped)
    }

    /// Sets one's own metadata.
    pub fn set_metadata(&self, _metadata: String) -> Result<(), SfuError> {
        Err(SfuError::Stopped)
    }

    /// Leaves the room.
    pub fn leave(&self, _reason: CloseReason) -> Result<(), SfuError> {
        Err(SfuError::Stopped)
    }

    /// The next notice; none after [`Notice::Closed`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Notice>> {
        self.notices.recv().await
    }
}
