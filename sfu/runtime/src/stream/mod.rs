//! Connections: ICE over TCP, and STUN and TURN over TCP and TLS. One task each, which hands whole packets to the worker
//! that owns the participant or the allocation, and writes what comes back.

mod framing;
mod listener;
mod outgoing;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_core::shard::shard_of_stun;

pub(crate) use self::framing::Framing;
use self::framing::Reader;
use self::outgoing::{Outgoing, Packet};
use crate::worker::{Link, Stray};

pub(crate) use self::listener::{accept, open};

/// The most connections of all sources, and of one (one /64 for IPv6): an office behind one address, several connections
/// for each of its people.
const MAX_CONNECTIONS: usize = 10_000;
const MAX_OF_SOURCE: usize = 256;
/// How long the first packet may take.
const FIRST_PACKET: Duration = Duration::from_secs(10);
/// How long a connection may be silent. Clients check the ways that they use at least every 15 s (RFC 7675 section 5.1).
const SILENCE: Duration = Duration::from_secs(60);
/// Likewise with an allocation, which lives for ten minutes unless it is refreshed.
const SILENCE_ALLOCATED: Duration = Duration::from_secs(660);
/// How many packets a worker may hand over before the task has taken them.
const HANDOVER: usize = 1024;
/// How much is put together for one write.
const WRITE: usize = 16 << 10;
/// Between attempts to tell a busy worker that a connection has ended.
const RETRY: Duration = Duration::from_millis(20);

/// Over what a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// One connection, as workers see it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Never the same twice in a process.
    pub(crate) id: u64,
    pub(crate) remote: SocketAddr,
    pub(crate) kind: StreamKind,
    pub(crate) framing: Framing,
    out: mpsc::Sender<Packet>,
    counters: Arc<Counters>,
    /// An allocation was made on it.
    allocated: AtomicBool,
}

impl Connection {
    /// Hands a packet over to be written. Given up, and counted, if the task is far behind.
    pub(crate) fn send(&self, video: bool, data: Vec<u8>) {
        // The success response to Allocate (RFC 8489 section 5, RFC 8656 section 17).
        if self.framing == Framing::Turn && data.starts_with(&[0x01, 0x03]) {
            self.allocated.store(true, Ordering::Relaxed);
        }
        if self.out.try_send(Packet { video, data }).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn silence(&self) -> Duration {
        if self.allocated.load(Ordering::Relaxed) { SILENCE_ALLOCATED } else { SILENCE }
    }
}

/// What connections have come to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Gauge.
    pub(crate) open: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Streams {
    links: Vec<Link>,
    next: AtomicU64,
    sources: Mutex<HashMap<IpAddr, usize>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stopping: CancellationToken,
}

impl Streams {
    pub(crate) fn new(links: Vec<Link>) -> Self {
        Self {
            links,
            next: AtomicU64::new(1),
            sources: Mutex::default(),
            counters: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// A place for one more connection; none if there are too many.
    fn admit(&self, remote: SocketAddr) -> Option<Place<'_>> {
        let source = source_of(remote.ip());
        let mut sources = self.sources.lock().unwrap_or_else(|e| e.into_inner());
        let open = self.counters.open.load(Ordering::Relaxed) as usize;
        let of_source = sources.get(&source).copied().unwrap_or(0);
        if open >= MAX_CONNECTIONS || of_source >= MAX_OF_SOURCE {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        sources.insert(source, of_source + 1);
        self.counters.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { streams: self, source })
    }

    /// Carries one connection until it ends. `first`: what was read of it already.
    pub(crate) async fn serve<S>(&self, stream: S, remote: SocketAddr, kind: StreamKind, first: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let Some(_place) = self.admit(remote) else { return };
        let (mut from, to) = tokio::io::split(stream);
        let mut reader = Reader::new(first);
        let begun = async {
            let framing = first_packet(&mut from, &mut reader).await?;
            self.begin(&mut reader, framing, remote, kind)
        };
        let begun = tokio::select! {
            begun = timeout(FIRST_PACKET, begun) => begun.ok().flatten(),
            () = self.stopping.cancelled() => None,
        };
        let Some((connection, owner, packets)) = begun else { return };
        tokio::select! {
            () = read(&connection, owner, from, reader) => {}
            () = write(&connection, packets, to) => {}
            () = self.stopping.cancelled() => return,
        }
        let mut ended = Stray::Closed(Arc::clone(&connection));
        while let Err(back) = owner.stray(ended) {
            match back {
                Some(back) => ended = back,
                None => return,
            }
            sleep(RETRY).await;
        }
    }

    /// Finds the worker for a connection whose first packet is there, and hands that packet over.
    fn begin(
        &self,
        reader: &mut Reader,
        framing: Framing,
        remote: SocketAddr,
        kind: StreamKind,
    ) -> Option<(Arc<Connection>, &Link, mpsc::Receiver<Packet>)> {
        let packet = reader.next().ok()??.to_vec();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let owner = match framing {
            Framing::Ice => self.links.get(usize::from(shard_of_stun(&packet)?))?,
            Framing::Turn => &self.links[(id % self.links.len() as u64) as usize],
        };
        let (out, packets) = mpsc::channel(HANDOVER);
        let counters = Arc::clone(&self.counters);
        let allocated = AtomicBool::new(false);
        let connection = Arc::new(Connection { id, remote, kind, framing, out, counters, allocated });
        _ = owner.stray(Stray::Stream(Arc::clone(&connection), packet));
        Some((connection, owner, packets))
    }
}

/// Counts a connection of one source for as long as it is there.
struct Place<'a> {
    streams: &'a Streams,
    source: IpAddr,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.streams.counters.open.fetch_sub(1, Ordering::Relaxed);
        let mut sources = self.streams.sources.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// Whom an address belongs to: IPv6 is given out by the /64.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Reads until there is one whole packet, which stays in the reader. None if there will be none.
async fn first_packet<S: AsyncRead>(from: &mut ReadHalf<S>, reader: &mut Reader) -> Option<Framing> {
    loop {
        if let Some(framing) = reader.ready().ok()? {
            return Some(framing);
        }
        fill(from, reader).await?;
    }
}

/// Reads what there is; none at the end.
async fn fill<S: AsyncRead>(from: &mut ReadHalf<S>, reader: &mut Reader) -> Option<()> {
    let (start, space) = reader.space();
    let count = from.read(&mut space[start..]).await.unwrap_or(0);
    reader.filled(start, count);
    (count > 0).then_some(())
}

/// Hands over packets until the connection ends, is silent, or says what is no packet.
async fn read<S: AsyncRead>(connection: &Arc<Connection>, owner: &Link, mut from: ReadHalf<S>, mut reader: Reader) {
    loop {
        loop {
            match reader.next() {
                // A full ring loses packets, as the network does.
                Ok(Some(packet)) => {
                    let lost = owner.stray(Stray::Stream(Arc::clone(connection), packet.to_vec())).is_err();
                    connection.counters.dropped.fetch_add(u64::from(lost), Ordering::Relaxed);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if !matches!(timeout(connection.silence(), fill(&mut from, &mut reader)).await, Ok(Some(()))) {
            return;
        }
    }
}

/// Writes what workers hand over. Ends when the peer has gone, or takes nothing.
async fn write<S: AsyncWrite>(connection: &Connection, mut packets: mpsc::Receiver<Packet>, mut to: WriteHalf<S>) {
    let mut queue = Outgoing::default();
    let mut buffer = Vec::with_capacity(WRITE);
    loop {
        buffer.clear();
        while buffer.len() < WRITE {
            let Some(packet) = queue.pop(Instant::now()) else { break };
            framing::write(connection.framing, &packet.data, &mut buffer);
        }
        let given_up = queue.take_dropped();
        connection.counters.dropped.fetch_add(given_up, Ordering::Relaxed);
        if buffer.is_empty() {
            let Some(packet) = packets.recv().await else { return };
            if queue.push(Instant::now(), packet).is_err() {
                return;
            }
            // What a batch of the worker has handed over together is written together.
            while let Ok(packet) = packets.try_recv() {
                if queue.push(Instant::now(), packet).is_err() {
                    return;
                }
            }
            continue;
        }
        if !write_all(&buffer, &mut to, &mut packets, &mut queue).await {
            return;
        }
    }
}

/// Writes one buffer. What comes meanwhile goes into the queue, where it can grow old. False when the connection is over.
async fn write_all<S: AsyncWrite>(
    buffer: &[u8],
    to: &mut WriteHalf<S>,
    packets: &mut mpsc::Receiver<Packet>,
    queue: &mut Outgoing,
) -> bool {
    let sent = async {
        to.write_all(buffer).await?;
        to.flush().await
    };
    tokio::pin!(sent);
    loop {
        tokio::select! {
            biased;
            result = &mut sent => return result.is_ok(),
            packet = packets.recv() => {
                let Some(packet) = packet else { return false };
                if queue.push(Instant::now(), packet).is_err() {
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
