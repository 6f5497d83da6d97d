//! The configuration: what can be set, its defaults, and what must hold of it.
//!
//! Layers, the later over the earlier: defaults, the file, `WEIR_*` variables, flags. See [`load`].

mod announce;
mod check;
mod load;
mod secret;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_sfu::TcpPort;

pub use announce::Announce;
pub use check::{Finding, check, mend_public_bind};
pub use load::{ConfigError, Flags, Sources, load, of_kubernetes};
pub use secret::Secret;

/// Everything that can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP, WebSocket and TLS.
    pub http: Http,
    /// The media port and its threads.
    pub media: Media,
    /// The relay on the media ports.
    pub turn: Turn,
    /// What holds for every room.
    pub rooms: Rooms,
    /// Bounds that keep one client from starving the others.
    pub limits: Limits,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// Keys that sign tokens. None: development mode, every room is open, loopback only.
    pub keys: Vec<Key>,
    /// STUN and TURN servers handed to clients.
    pub ice_servers: Vec<IceServer>,
}

/// HTTP, WebSocket and TLS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to listen.
    pub addr: SocketAddr,
    /// A PEM file with the certificate chain; with [`Http::tls_key`] it turns TLS on.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    pub tls_key: Option<PathBuf>,
    /// Serve TLS with a certificate made at start, for this machine's names only.
    pub tls_self_signed: bool,
    /// A certificate from an authority.
    pub acme: Acme,
    /// Web origins whose pages may open the WebSocket, besides the server's own: `https://app.example.org`, or `*`.
    pub allowed_origins: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            acme: Acme::default(),
            allowed_origins: Vec::new(),
        }
    }
}

impl Http {
    /// True if the server speaks TLS.
    pub fn tls(&self) -> bool {
        self.tls_self_signed || self.tls_cert.is_some() || self.acme.on()
    }
}

/// A certificate from an authority by ACME, which must reach the server on port 443 of each name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The names to be certified; none: no ACME.
    pub domains: Vec<String>,
    /// Whom the authority writes to. To set it, agrees to the authority's terms.
    pub email: String,
    /// The directory in which account and certificates are kept; it must outlive restarts, as authorities limit how
    /// often they give new ones.
    pub cache: PathBuf,
    /// The authority; Let's Encrypt by default.
    pub directory: String,
    /// A PEM file with what certifies the authority's own server, for one that the web does not trust.
    pub root: Option<PathBuf>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            email: String::new(),
            cache: PathBuf::from("weir-acme"),
            directory: String::from("https://acme-v02.api.letsencrypt.org/directory"),
            root: None,
        }
    }
}

impl Acme {
    /// True if certificates are to be had.
    pub fn on(&self) -> bool {
        !self.domains.is_empty()
    }
}

/// The media port and its threads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Where to listen, UDP. `[::]` is every address of the machine, IPv4 and IPv6.
    pub addr: SocketAddr,
    /// Where to listen for connections, TCP.
    pub tcp: MediaTcp,
    /// The addresses told to clients; empty: [`Media::addr`].
    pub announce: Announce,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// How many participants of one room, viewers included, live on one worker before the others take part. A room that
    /// is on several workers costs each of them a copy of its packets, so small rooms stay whole.
    pub spread_at: usize,
    /// How long a worker that was idle waits for more when packets come, in microseconds, 0 to 1000.
    pub coalesce_us: u64,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3478),
            tcp: MediaTcp::default(),
            announce: Announce::default(),
            workers: 0,
            spread_at: 100,
            coalesce_us: 0,
        }
    }
}

/// The media TCP port: `same` address and number as UDP, `off`, or an address of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaTcp(pub TcpPort);

impl TryFrom<String> for MediaTcp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match &*text {
            "same" => Ok(Self(TcpPort::Same)),
            "off" => Ok(Self(TcpPort::Off)),
            _ => text
                .parse()
                .map(|addr| Self(TcpPort::At(addr)))
                .map_err(|_| format!("\"{text}\" is not a socket address, nor \"same\" or \"off\"")),
        }
    }
}

impl From<MediaTcp> for String {
    fn from(tcp: MediaTcp) -> Self {
        match tcp.0 {
            TcpPort::Same => Self::from("same"),
            TcpPort::Off => Self::from("off"),
            TcpPort::At(addr) => addr.to_string(),
        }
    }
}

/// The relay on the media ports. It relays to this server alone, so it needs no care.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Whether there is one.
    pub enabled: bool,
    /// What clients are told that the credentials are for.
    pub realm: String,
    /// What credentials are derived from, at least 16 bytes; none: drawn at start.
    pub secret: Option<Secret>,
}

impl Default for Turn {
    fn default() -> Self {
        Self { enabled: true, realm: String::from("weir"), secret: None }
    }
}

/// What holds for every room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// The most participants of a room, viewers not counted.
    pub max_participants: usize,
    /// The most participants of a room that may publish; the next is refused (409). 1: a stage for one.
    pub max_publishers: usize,
    /// How many of the loudest audio tracks a member hears.
    pub loudest: usize,
    /// What a publisher over WHIP should send at most, in kilobits per second, all layers together. One that sends more
    /// is told so, and not cut.
    pub publisher_kbps: u32,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { max_participants: 100, max_publishers: 100, loudest: 3, publisher_kbps: 8000 }
    }
}

/// Bounds that keep one client from starving the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most sessions of all kinds at a time; the next is told to try again (503).
    pub max_sessions: usize,
    /// The most rooms that `POST /v1/rooms` may have created at a time.
    pub max_created_rooms: usize,
    /// WHIP, WHEP and WebSocket requests a second from one source address (one /64 for IPv6).
    pub requests_per_second: u32,
    /// How many such requests may come at once.
    pub request_burst: u32,
    /// Another Weir, `https://weir2.example.org`: while this one is full or stops, WHIP and WHEP clients are sent there
    /// (307) instead of told to try again (503). It must take the same tokens.
    pub overflow: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_created_rooms: 10_000,
            requests_per_second: 50,
            request_burst: 200,
            overflow: None,
        }
    }
}

/// Logs and traces.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where to send traces, OTLP over HTTP: `http://127.0.0.1:4318`. None: no traces.
    pub otlp_endpoint: Option<String>,
    /// What to log, in the syntax of `tracing_subscriber::EnvFilter`; also `WEIR_LOG`.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, log: String::from("info"), log_format: LogFormat::Auto }
    }
}

/// How to log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For humans on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For humans.
    Human,
    /// One JSON object a line.
    Json,
}

/// A key that signs tokens with HS256.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The `kid` of the tokens it signs.
    pub id: String,
    /// The secret, at least 32 bytes.
    pub secret: Secret,
}

/// A STUN or TURN server handed to clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:`.
    pub url: String,
    /// The user name, for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, for TURN. Clients get to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Secret>,
}

impl Config {
    /// No keys: every room is open, and only this machine can reach the server.
    pub fn development(&self) -> bool {
        self.keys.is_empty()
    }
}
