//! The ways a packet can take to the server: UDP, TCP, or a TURN relay.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use str0m::Candidate;
use str0m::error::IceError;
use str0m::net::{Protocol, TcpType};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::relay::Relay;

/// How long a connection may take to stand.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// Why nothing gets through on a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shut {
    /// The other end says that the port is shut.
    Refused,
    /// This machine has no way to that address at all.
    NoRoute,
    /// Nothing comes back.
    NoAnswer,
    /// The TURN server refuses, with its code and words.
    Turn(u16, String),
    /// Something else, in words.
    Other(String),
}

impl From<io::Error> for Shut {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable => Self::NoRoute,
            ErrorKind::TimedOut => Self::NoAnswer,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// An open way to the server.
#[derive(Debug)]
pub(super) enum Wire {
    /// Datagrams to one address.
    Udp { socket: UdpSocket, remote: SocketAddr, local: SocketAddr },
    /// Packets within a connection, each behind its length (RFC 4571).
    Tcp { framed: Framed<TcpStream, LengthDelimitedCodec>, remote: SocketAddr, local: SocketAddr },
    /// Through a TURN server.
    Relay(Box<Relay>),
}

/// A UDP socket that talks to one address only; its own address is the one that packets leave from.
pub(super) async fn udp_to(remote: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(remote).await?;
    Ok(socket)
}

/// A connection, with small packets sent at once.
pub(super) async fn tcp_to(remote: SocketAddr) -> Result<TcpStream, Shut> {
    let stream = timeout(PATIENCE, TcpStream::connect(remote)).await.map_err(|_| Shut::NoAnswer)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Wire {
    pub(super) async fn udp(remote: SocketAddr) -> Result<Self, Shut> {
        let socket = udp_to(remote).await?;
        let local = socket.local_addr()?;
        Ok(Self::Udp { socket, remote, local })
    }

    pub(super) async fn tcp(remote: SocketAddr) -> Result<Self, Shut> {
        let stream = tcp_to(remote).await?;
        let local = stream.local_addr()?;
        let framed = LengthDelimitedCodec::builder().length_field_type::<u16>().new_framed(stream);
        Ok(Self::Tcp { framed, remote, local })
    }

    /// The candidate of this end.
    pub(super) fn candidate(&self) -> Result<Candidate, IceError> {
        match self {
            Self::Udp { local, .. } => Candidate::builder().udp().host(*local).build(),
            Self::Tcp { local, .. } => Candidate::builder().tcp().host(*local).tcptype(TcpType::Active).build(),
            Self::Relay(relay) => Candidate::builder().udp().relayed(relay.relayed(), relay.relayed()).build(),
        }
    }

    /// The candidate of the other end, for these packets.
    pub(super) fn remote_candidate(&self) -> Result<Candidate, IceError> {
        match self {
            Self::Udp { remote, .. } => Candidate::builder().udp().host(*remote).build(),
            Self::Tcp { remote, .. } => Candidate::builder().tcp().host(*remote).tcptype(TcpType::Passive).build(),
            Self::Relay(relay) => Candidate::builder().udp().host(relay.peer()).build(),
        }
    }

    /// What ICE takes for the protocol, this end and the other end of all packets here.
    pub(super) fn ends(&self) -> (Protocol, SocketAddr, SocketAddr) {
        match self {
            Self::Udp { remote, local, .. } => (Protocol::Udp, *local, *remote),
            Self::Tcp { remote, local, .. } => (Protocol::Tcp, *local, *remote),
            Self::Relay(relay) => (Protocol::Udp, relay.relayed(), relay.peer()),
        }
    }

    /// Sends a packet. A datagram that cannot leave is lost, as any.
    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<(), Shut> {
        match self {
            Self::Udp { socket, .. } => match socket.send(packet).await {
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => Err(error.into()),
                _ => Ok(()),
            },
            Self::Tcp { framed, .. } => Ok(framed.send(Bytes::copy_from_slice(packet)).await?),
            Self::Relay(relay) => relay.send(packet).await,
        }
    }

    /// The next packet. Cancel-safe.
    ///
    /// # Errors
    /// [`Shut::Refused`] of UDP is what came for one packet: others may get through.
    pub(super) async fn receive(&mut self) -> Result<BytesMut, Shut> {
        match self {
            Self::Udp { socket, .. } => {
                let mut buffer = BytesMut::with_capacity(2048);
                socket.recv_buf(&mut buffer).await?;
                Ok(buffer)
            }
            Self::Tcp { framed, .. } => match framed.next().await {
                Some(packet) => Ok(packet?),
                None => Err(Shut::Other(String::from("the server closed the connection"))),
            },
            Self::Relay(relay) => relay.receive().await,
        }
    }
}
