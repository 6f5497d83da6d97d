//! What the workers are started with, and why they may not start.

use std::net::SocketAddr;
use std::time::Duration;

use weir_core::turn::Secret;

/// What the workers need to know.
#[derive(Debug, Clone)]
pub struct SfuConfig {
    /// Where to listen for media (UDP). Port 0 picks a free one.
    pub addr: SocketAddr,
    /// Where to listen for connections: ICE over TCP, and STUN and TURN over TCP.
    pub tcp: TcpPort,
    /// The relay (TURN) on the media ports; none: it is off.
    pub turn: Option<TurnSettings>,
    /// The addresses told to clients; port 0 stands for the port listened on. If empty, the listening address, which
    /// must not be unspecified then.
    pub announce: Vec<SocketAddr>,
    /// Worker threads, at most 255; 0: one per core.
    pub workers: usize,
    /// How many of a room live on one worker before others take part, at least 1. A worker that is loaded takes no more
    /// before that.
    pub spread_at: usize,
    /// How long a worker that was idle waits for more when packets come: those of a frame are cheaper together.
    pub coalesce: Duration,
    /// How many of the loudest audio tracks a member hears.
    pub loudest: usize,
    /// What a publisher over WHIP should send at most, in bits per second. More is told, not cut.
    pub max_bitrate: u64,
}

/// The relay.
#[derive(Debug, Clone)]
pub struct TurnSettings {
    /// What clients are told that the credentials are for.
    pub realm: String,
    /// What passwords are derived from; none: drawn at start, so that credentials end with the process.
    pub secret: Option<Secret>,
}

/// The media TCP port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TcpPort {
    /// Address and number of the UDP port.
    #[default]
    Same,
    /// None.
    Off,
    /// This one. Port 0 picks a free one.
    At(SocketAddr),
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
    /// The media TCP port could not be bound.
    #[error("cannot listen for media connections on {addr} (TCP): {source}; media.tcp = \"off\" does without")]
    BindTcp {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bind address is unspecified and nothing was announced.
    #[error("media.addr is {0}, which clients cannot reach: set media.announce to the address that they can")]
    NothingAnnounced(SocketAddr),
    /// The system gives no randomness, without which nothing here is secret.
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
    /// A worker thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
}
