//! A TURN allocation (RFC 8656) over UDP, TCP or TLS, for packets to one peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};
use tokio_util::bytes::{Buf, BytesMut};
use turn_client_proto::api::{TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::stun::Instant as TurnInstant;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::stun::attribute::ErrorCode;
use turn_client_proto::types::stun::message::Message;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use super::IceServer;
use super::wire::Shut;

/// How long an allocation may take, with its challenge and the permission.
const PATIENCE: Duration = Duration::from_secs(5);
/// Packets that wait to be taken. More are lost, as on a network.
const QUEUE: usize = 256;
/// The head of a STUN message.
const HEAD: usize = 20;

/// A connection that TURN goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What TURN goes over.
pub(super) enum Carrier {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>),
}

/// An allocation.
pub(super) struct Relay {
    client: TurnClient,
    carrier: Carrier,
    /// What has still to be written to a stream.
    unwritten: BytesMut,
    inbox: VecDeque<BytesMut>,
    began: Instant,
    relayed: SocketAddr,
    peer: SocketAddr,
    /// The last error that the server answered, and to what.
    error: Option<Refusal>,
    /// Errors of requests that were not the first: that one is refused by design, to be told what to sign.
    refused: bool,
}

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    transaction: u128,
    code: u16,
    words: String,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("relayed", &self.relayed).field("peer", &self.peer).finish()
    }
}

impl Relay {
    /// Allocates at the server that the carrier leads to, and is allowed to reach `peer`.
    pub(super) async fn allocate(
        carrier: Carrier,
        (local, server): (SocketAddr, SocketAddr),
        with: &IceServer,
        peer: SocketAddr,
    ) -> Result<Self, Shut> {
        let mut config = TurnConfig::new(TurnCredentials::new(&with.username, &with.credential));
        config.set_address_family(if peer.is_ipv4() { AddressFamily::IPV4 } else { AddressFamily::IPV6 });
        let client = match &carrier {
            Carrier::Udp(_) => TurnClientUdp::allocate(local, server, config).into(),
            Carrier::Stream(_) => TurnClientTcp::allocate(local, server, config).into(),
        };
        let mut relay = Self {
            client,
            carrier,
            unwritten: BytesMut::new(),
            inbox: VecDeque::new(),
            began: Instant::now(),
            relayed: peer,
            peer,
            error: None,
            refused: false,
        };
        match timeout(PATIENCE, relay.set_up()).await {
            Ok(Ok(())) => Ok(relay),
            Ok(Err(shut)) => Err(shut),
            Err(_) => Err(relay.refusal()),
        }
    }

    async fn set_up(&mut self) -> Result<(), Shut> {
        loop {
            self.step().await?;
            while let Some(event) = self.client.poll_event() {
                match event {
                    TurnEvent::AllocationCreated(_, relayed) => {
                        self.relayed = relayed;
                        let (peer, now) = (self.peer.ip(), self.now());
                        let asked = self.client.create_permission(TransportType::Udp, peer, now);
                        asked.map_err(|error| Shut::Other(error.to_string()))?;
                    }
                    TurnEvent::PermissionCreated(..) => return Ok(()),
                    TurnEvent::AllocationCreateFailed(_) | TurnEvent::PermissionCreateFailed(..) => {
                        return Err(self.refusal());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Why there is no allocation: what the server has answered to a signed request, else that it has not answered.
    fn refusal(&mut self) -> Shut {
        match self.error.take().filter(|_| self.refused) {
            Some(error) => Shut::Turn(error.code, error.words),
            None => Shut::NoAnswer,
        }
    }

    /// This end's address, as the other end sees it.
    pub(super) fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    /// The other end.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn now(&self) -> TurnInstant {
        TurnInstant::from_std(self.began)
    }

    /// Sends a packet to the peer.
    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<(), Shut> {
        let now = self.now();
        let wrapped = self.client.send_to(TransportType::Udp, self.peer, packet, now);
        if let Some(wrapped) = wrapped.map_err(|error| Shut::Other(error.to_string()))? {
            self.write(&wrapped.build().data).await?;
        }
        Ok(())
    }

    /// The next packet from the peer. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<BytesMut, Shut> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Ok(packet);
            }
            self.step().await?;
        }
    }

    /// Sends what is to be sent, and takes what comes, or the next deadline. Cancel-safe.
    async fn step(&mut self) -> Result<(), Shut> {
        let wait = match self.client.poll(self.now()) {
            TurnPollRet::WaitUntil(at) => at.saturating_duration_since(self.now()),
            TurnPollRet::Closed => return Err(Shut::Other(String::from("the TURN server closed the allocation"))),
            _ => Duration::ZERO,
        };
        let mut wrote = self.unwritten.has_remaining();
        if wrote {
            self.write(&[]).await?;
        }
        while let Some(transmit) = self.client.poll_transmit(self.now()) {
            wrote = true;
            self.write(&transmit.data).await?;
        }
        if wrote {
            return Ok(());
        }
        let mut buffer = BytesMut::with_capacity(4096);
        tokio::select! {
            count = read(&mut self.carrier, &mut buffer) => {
                if count? == 0 {
                    return Err(Shut::Other(String::from("the TURN server closed the connection")));
                }
                self.take(buffer);
            }
            () = sleep(wait) => {}
        }
        Ok(())
    }

    /// Writes whole messages: what a cancelled call left over goes first.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Shut> {
        match &mut self.carrier {
            Carrier::Udp(socket) => _ = socket.send(bytes).await?,
            Carrier::Stream(stream) => {
                self.unwritten.extend_from_slice(bytes);
                while self.unwritten.has_remaining() {
                    if stream.write_buf(&mut self.unwritten).await? == 0 {
                        return Err(Shut::Other(String::from("the TURN server closed the connection")));
                    }
                }
                stream.flush().await?;
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: BytesMut) {
        if let Some(error) = error_of(&bytes) {
            // An answer that came twice is no second answer.
            self.refused |= self.error.as_ref().is_some_and(|first| first.transaction != error.transaction);
            self.error = Some(error);
        }
        let (local, server, now) = (self.client.local_addr(), self.client.remote_addr(), self.now());
        let transmit = Transmit::new(bytes, self.client.transport(), server, local);
        if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
            self.keep(data.data().into());
        }
        while let Some(data) = self.client.poll_recv(now) {
            self.keep(data.data().into());
        }
    }

    fn keep(&mut self, packet: BytesMut) {
        if self.inbox.len() < QUEUE {
            self.inbox.push_back(packet);
        }
    }
}

async fn read(carrier: &mut Carrier, buffer: &mut BytesMut) -> std::io::Result<usize> {
    match carrier {
        Carrier::Udp(socket) => socket.recv_buf(buffer).await,
        Carrier::Stream(stream) => stream.read_buf(buffer).await,
    }
}

/// The error response at the beginning of what came.
fn error_of(bytes: &[u8]) -> Option<Refusal> {
    let length = HEAD + usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    let message = Message::from_bytes(bytes.get(..length)?).ok()?;
    let error = message.attribute::<ErrorCode>().ok()?;
    let transaction = u128::from(message.transaction_id());
    Some(Refusal { transaction, code: error.code(), words: error.reason().to_owned() })
}
