//! The handle of the running workers: what signaling calls.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rand::TryRngCore;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use weir_core::api::{
    Answer, CloseReason, Command, Join, JoinError, Joined, Notice, Offer, OfferError, ParticipantId, Reply, RoomInfo,
    SubscriptionInfo, TrackId, View,
};
use weir_core::path::Path;
use weir_core::relay::LinkId;
use weir_core::shard::{Shard, ShardConfig, new_certificate};
use weir_core::stats::Stats;
use weir_core::turn::Turn;
use weir_core::watching::{ChoiceError, LayerChoice, Watched};

use crate::place::{Candidate, place};
use crate::relay::Relay;
use crate::settings::{SfuConfig, StartError, TcpPort};
use crate::socket::{self, MediaSocket};
use crate::stream::{self, StreamKind, Streams};
use crate::worker::{Control, Indirect, Link, Worker, queues};

/// How many notices may wait for one session. A session that falls further behind is closed
/// ([`CloseReason::SlowReader`]).
pub const NOTICE_QUEUE: usize = 1024;

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
#[derive(Clone)]
pub struct Sfu {
    inner: Arc<Inner>,
}

struct Inner {
    links: Vec<Link>,
    spread_at: usize,
    /// How many of each room live on each worker, or are about to. Only signaling looks at it.
    rooms: Mutex<HashMap<Arc<str>, Vec<usize>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    local: SocketAddr,
    tcp: Option<SocketAddr>,
    streams: Arc<Streams>,
    relay: Option<Relay>,
}

impl std::fmt::Debug for Sfu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sfu").field("local", &self.inner.local).field("workers", &self.inner.links.len()).finish()
    }
}

impl Sfu {
    /// Binds the media ports and starts the workers. To be called within a tokio runtime, which carries the connections.
    pub fn start(config: SfuConfig) -> Result<Self, StartError> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let count = if config.workers == 0 { cores() } else { config.workers }.min(255);
        let bind = |source| StartError::Bind { addr: config.addr, source };
        let (sockets, listener) = open_ports(&config, count)?;
        let local = sockets[0].local_addr().map_err(bind)?;
        let tcp = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(bind)?;
        let candidates = candidates(&config, local)?;
        let tcp_candidates = tcp.map(|tcp| tcp_candidates(&candidates, local, tcp)).unwrap_or_default();
        let cert = new_certificate();
        let mut ends = Vec::with_capacity(count);
        for _ in 0..count {
            ends.push(queues().map_err(StartError::Thread)?);
        }
        let links: Vec<Link> = ends.iter().map(|(link, _)| link.clone()).collect();
        let streams = Arc::new(Streams::new(links.clone()));
        let relay = config.turn.as_ref().map(|turn| Relay::new(turn, &candidates, &tcp_candidates)).transpose()?;
        let mut threads = Vec::with_capacity(count);
        for (number, (socket, (_, inbox))) in sockets.into_iter().zip(ends).enumerate() {
            let socket = MediaSocket::new(socket).map_err(|source| StartError::Bind { addr: local, source })?;
            let number = number as u8;
            let shard_config = ShardConfig {
                number,
                cert: cert.clone(),
                candidates: candidates.clone(),
                tcp_candidates: tcp_candidates.clone(),
                loudest: config.loudest,
                max_bitrate: config.max_bitrate,
            };
            let shard = Shard::with_seed(shard_config, seed()?, Instant::now());
            let turn = match &relay {
                Some(relay) => Some(Turn::new(relay.config(number), seed()?, Instant::now())),
                None => None,
            };
            let indirect = Indirect::new(turn, (number == 0).then(|| Arc::clone(&streams.counters)));
            let worker = Worker::new(number, shard, indirect, socket, inbox, links.clone(), config.coalesce);
            let thread = std::thread::Builder::new().name(format!("weir-media-{number}"));
            threads.push(thread.spawn(move || worker.run()).map_err(StartError::Thread)?);
        }
        if let Some(listener) = listener {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(bind)?;
            tokio::spawn(stream::accept(Arc::clone(&streams), listener));
        }
        let spread_at = config.spread_at.max(1);
        let (rooms, threads) = (Mutex::default(), Mutex::new(threads));
        let inner = Inner { links, spread_at, rooms, threads, local, tcp, streams, relay };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The address that media is received on.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// The address that media connections are taken on; none if that is turned off.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.inner.tcp
    }

    /// The relay; none if it is off.
    pub fn relay(&self) -> Option<&Relay> {
        self.inner.relay.as_ref()
    }

    /// Carries a connection that another listener has accepted, as one of the media TCP port: ICE over TCP (RFC 6544), or
    /// STUN and TURN (RFC 8656), told apart by its first packet. A TLS stream is handed over decrypted.
    ///
    /// `remote` is where the connection came from, `first` what was read of it already. Ends when the connection has ended,
    /// which is at once if the bounds on connections are reached, within 10 s if nothing useful comes, and when the workers
    /// stop. Sets no options of the socket: switch off Nagle's algorithm (`TCP_NODELAY`) before.
    pub async fn serve_stream<S>(&self, stream: S, remote: SocketAddr, kind: StreamKind, first: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.inner.streams.serve(stream, remote, kind, first).await;
    }

    /// The worker that decides about a room, found from its name alone.
    fn home(&self, room: &str) -> &Link {
        &self.inner.links[self.home_number(room)]
    }

    fn home_number(&self, room: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        room.hash(&mut hasher);
        (hasher.finish() % self.inner.links.len() as u64) as usize
    }

    /// All workers: the home of a room, where most live, and then the others, to be asked only if need be.
    fn home_first(&self, room: &str) -> impl Iterator<Item = &Link> {
        let home = self.home_number(room);
        let others = self.inner.links.iter().enumerate().filter(move |(number, _)| *number != home);
        std::iter::once(&self.inner.links[home]).chain(others.map(|(_, link)| link))
    }

    /// A place for one more of a room.
    fn reserve(&self, room: &Arc<str>) -> Place {
        let links = &self.inner.links;
        let mut rooms = self.inner.rooms.lock().unwrap_or_else(|e| e.into_inner());
        let counts = rooms.entry(Arc::clone(room)).or_insert_with(|| vec![0; links.len()]);
        let candidate = |(link, of_room): (&Link, &usize)| Candidate { load: link.load(), of_room: *of_room };
        let workers: Vec<Candidate> = links.iter().zip(&*counts).map(candidate).collect();
        let worker = place(self.home_number(room), &workers, self.inner.spread_at);
        counts[worker] += 1;
        Place { inner: Arc::clone(&self.inner), room: Arc::clone(room), worker }
    }

    /// Enters a room. The outer error is the server's, the inner one the caller's.
    pub async fn join(&self, join: Join) -> Result<Result<(Session, Joined), JoinError>, SfuError> {
        let place = self.reserve(&join.room);
        let home = self.home_number(&join.room);
        let home = (home != place.worker).then_some(LinkId(home as u8));
        let link = self.inner.links[place.worker].clone();
        let id = join.participant;
        let (sender, notices) = mpsc::channel(NOTICE_QUEUE);
        let (reply_to, reply) = oneshot::channel();
        post(&link, Control::Join(Box::new(join), home, sender, reply_to))?;
        match reply.await.map_err(|_| SfuError::Stopped)? {
            Reply::Join(Ok(joined)) => Ok(Ok((Session { id, link, notices, left: false, _place: place }, joined))),
            Reply::Join(Err(error)) => Ok(Err(error)),
            _ => Err(SfuError::Stopped),
        }
    }

    /// The rooms of all workers, or only the one named.
    pub async fn rooms(&self, name: Option<Arc<str>>) -> Result<Vec<RoomInfo>, SfuError> {
        let links = match &name {
            Some(name) => std::slice::from_ref(self.home(name)),
            None => &self.inner.links,
        };
        let mut all = Vec::new();
        for link in links {
            if let Reply::Rooms(rooms) = ask(link, Command::Rooms(name.clone())).await? {
                all.extend(rooms);
            }
        }
        for room in &mut all {
            self.add_paths(room).await?;
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// By which path media goes to a participant is known where it lives only; the home has told all else.
    async fn add_paths(&self, room: &mut RoomInfo) -> Result<(), SfuError> {
        let home = self.home_number(&room.name);
        let elsewhere = |rooms: &HashMap<Arc<str>, Vec<usize>>| -> Vec<usize> {
            let counts = rooms.get(&room.name).into_iter().flatten().enumerate();
            counts.filter(|(number, count)| *number != home && **count > 0).map(|(number, _)| number).collect()
        };
        let others = elsewhere(&self.inner.rooms.lock().unwrap_or_else(|e| e.into_inner()));
        for number in others {
            let asked = Command::Rooms(Some(Arc::clone(&room.name)));
            let Reply::Rooms(there) = ask(&self.inner.links[number], asked).await? else { continue };
            let known = there.into_iter().flat_map(|room| room.participants).filter_map(|p| Some((p.id, p.path?)));
            let known: HashMap<ParticipantId, Path> = known.collect();
            for participant in room.participants.iter_mut().filter(|p| p.path.is_none()) {
                participant.path = known.get(&participant.id).copied();
            }
        }
        Ok(())
    }

    /// Closes a room and everyone in it; false if there is none of that name.
    pub async fn close_room(&self, name: Arc<str>) -> Result<bool, SfuError> {
        let link = self.home(&name).clone();
        done(ask(&link, Command::CloseRoom(name, CloseReason::RoomClosed)).await?)
    }

    /// Removes one participant from a room, with [`CloseReason::Removed`]; false if it is not there.
    pub async fn remove(&self, room: Arc<str>, participant: ParticipantId) -> Result<bool, SfuError> {
        // Of those who live elsewhere the home knows all but viewers.
        for link in self.home_first(&room) {
            if done(ask(link, Command::Remove(Arc::clone(&room), participant)).await?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Mutes or unmutes somebody's track for everyone; false if it is not there.
    pub async fn mute(&self, room: Arc<str>, id: ParticipantId, track: TrackId, muted: bool) -> Result<bool, SfuError> {
        done(ask(self.home(&room), Command::MuteFor(Arc::clone(&room), id, track, muted)).await?)
    }

    /// What a participant of a room receives, and why; none if there is no such participant.
    pub async fn subscriptions(
        &self,
        room: Arc<str>,
        participant: ParticipantId,
    ) -> Result<Option<Vec<SubscriptionInfo>>, SfuError> {
        for link in self.home_first(&room) {
            let command = Command::Subscriptions(Arc::clone(&room), participant);
            match ask(link, command).await? {
                Reply::Subscriptions(None) => {}
                Reply::Subscriptions(subscriptions) => return Ok(subscriptions),
                _ => return Err(SfuError::Stopped),
            }
        }
        Ok(None)
    }

    /// The counters of each worker, in order.
    pub async fn stats(&self) -> Result<Vec<Stats>, SfuError> {
        let mut all = Vec::with_capacity(self.inner.links.len());
        for link in &self.inner.links {
            if let Reply::Stats(stats) = ask(link, Command::Stats).await? {
                all.push(*stats);
            }
        }
        Ok(all)
    }

    /// True while every worker runs; for readiness.
    pub fn is_running(&self) -> bool {
        self.inner.links.iter().all(|link| link.alive.load(Ordering::Acquire))
    }

    /// Closes every participant with [`CloseReason::ServerShutdown`] and stops the workers.
    pub async fn shutdown(&self) {
        self.inner.streams.stopping.cancel();
        // All close what is theirs before the first ends: to the others, who lives on a worker that has ended is lost.
        for link in &self.inner.links {
            // A worker that has ended already is what is wanted.
            _ = ask(link, Command::Shutdown).await;
        }
        for link in &self.inner.links {
            _ = post(link, Control::Stop);
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(|e| e.into_inner()));
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                _ = thread.join();
            }
        });
        _ = ended.await;
    }
}

/// The addresses told to clients, with their ports.
fn candidates(config: &SfuConfig, local: SocketAddr) -> Result<Vec<SocketAddr>, StartError> {
    if config.announce.is_empty() {
        return if local.ip().is_unspecified() { Err(StartError::NothingAnnounced(local)) } else { Ok(vec![local]) };
    }
    let with_port = |a: &SocketAddr| SocketAddr::new(a.ip(), if a.port() == 0 { local.port() } else { a.port() });
    Ok(config.announce.iter().map(with_port).collect())
}

/// Likewise of the TCP port. Behind a port that is announced as another one, both are forwarded alike.
fn tcp_candidates(candidates: &[SocketAddr], local: SocketAddr, tcp: SocketAddr) -> Vec<SocketAddr> {
    let same = tcp.port() == local.port();
    candidates.iter().map(|udp| SocketAddr::new(udp.ip(), if same { udp.port() } else { tcp.port() })).collect()
}

/// How often any free port is looked for that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 32;

/// The sockets of the workers, and the listener.
fn open_ports(config: &SfuConfig, count: usize) -> Result<(Vec<UdpSocket>, Option<TcpListener>), StartError> {
    let mut attempts = 1..=PORT_ATTEMPTS;
    loop {
        attempts.next();
        let bind = |source| StartError::Bind { addr: config.addr, source };
        let sockets = socket::open(config.addr, count).map_err(bind)?;
        let at = match config.tcp {
            TcpPort::Off => return Ok((sockets, None)),
            TcpPort::Same => sockets[0].local_addr().map_err(bind)?,
            TcpPort::At(addr) => addr,
        };
        match stream::open(at) {
            Ok(listener) => return Ok((sockets, Some(listener))),
            // Somebody else's TCP port has the number of the free UDP port: try another one.
            Err(_) if config.addr.port() == 0 && config.tcp == TcpPort::Same && !attempts.is_empty() => {}
            Err(source) => return Err(StartError::BindTcp { addr: at, source }),
        }
    }
}

/// A secret seed; ICE passwords are drawn from it.
pub(crate) fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(|e| StartError::Randomness(e.to_string()))?;
    Ok(seed)
}

fn post(link: &Link, message: Control) -> Result<(), SfuError> {
    link.send(message).map_err(|error| match error {
        TrySendError::Full(_) => SfuError::Overloaded,
        TrySendError::Disconnected(_) => SfuError::Stopped,
    })
}

async fn ask(link: &Link, command: Command) -> Result<Reply, SfuError> {
    let (sender, reply) = oneshot::channel();
    post(link, Control::Command(command, Some(sender)))?;
    reply.await.map_err(|_| SfuError::Stopped)
}

fn done(reply: Reply) -> Result<bool, SfuError> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => Err(SfuError::Stopped),
    }
}

/// One of those whom a worker has of a room. Dropping it makes room for another.
struct Place {
    inner: Arc<Inner>,
    room: Arc<str>,
    worker: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rooms = self.inner.rooms.lock().unwrap_or_else(|e| e.into_inner());
        let Some(counts) = rooms.get_mut(&self.room) else { return };
        counts[self.worker] = counts[self.worker].saturating_sub(1);
        if counts.iter().all(|count| *count == 0) {
            rooms.remove(&self.room);
        }
    }
}

/// One participant's stay in a room. Dropping it leaves the room.
pub struct Session {
    id: ParticipantId,
    /// The worker that it lives on.
    link: Link,
    notices: mpsc::Receiver<Arc<Notice>>,
    left: bool,
    _place: Place,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish()
    }
}

impl Session {
    /// The participant's id.
    pub fn id(&self) -> ParticipantId {
        self.id
    }

    /// Negotiates the connection: the first time, or again with more `m=` lines or new ICE credentials.
    pub async fn offer(&self, offer: Offer) -> Result<Result<Answer, OfferError>, SfuError> {
        match ask(&self.link, Command::Offer(self.id, Box::new(offer))).await? {
            Reply::Offer(answer) => Ok(answer),
            _ => Err(SfuError::Stopped),
        }
    }

    /// The room as it stands, for a client that comes back; all slots are told again. None if the stay has ended.
    pub async fn resume(&self) -> Result<Option<RoomInfo>, SfuError> {
        match ask(&self.link, Command::Resume(self.id)).await? {
            Reply::Rooms(rooms) => Ok(rooms.into_iter().next()),
            _ => Err(SfuError::Stopped),
        }
    }

    /// Says what shall be shown.
    pub fn view(&self, view: View) -> Result<(), SfuError> {
        self.command(Command::View(self.id, view))
    }

    /// Says that one's own track is muted, or not any more.
    pub fn mute(&self, track: TrackId, muted: bool) -> Result<(), SfuError> {
        self.command(Command::Mute(self.id, track, muted))
    }

    /// Sets one's own metadata.
    pub fn set_metadata(&self, metadata: String) -> Result<(), SfuError> {
        self.command(Command::Metadata(self.id, metadata))
    }

    /// What a viewer watches now; none if its stay has ended.
    pub async fn watched(&self) -> Result<Option<Watched>, SfuError> {
        match ask(&self.link, Command::Watched(self.id)).await? {
            Reply::Watched(watched) => Ok(watched),
            _ => Err(SfuError::Stopped),
        }
    }

    /// Bounds what a line gets of its track: that of this `a=mid`, or the first video line.
    pub async fn choose(
        &self,
        media: Option<String>,
        choice: LayerChoice,
    ) -> Result<Result<(), ChoiceError>, SfuError> {
        match ask(&self.link, Command::Choose(self.id, media, choice)).await? {
            Reply::Choose(chosen) => Ok(chosen),
            _ => Err(SfuError::Stopped),
        }
    }

    /// Leaves the room.
    pub fn leave(&self, reason: CloseReason) -> Result<(), SfuError> {
        self.command(Command::Leave(self.id, reason))
    }

    fn command(&self, command: Command) -> Result<(), SfuError> {
        post(&self.link, Control::Command(command, None))
    }

    /// The next notice; none after [`Notice::Closed`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Notice>> {
        let notice = self.notices.recv().await;
        self.left |= notice.as_ref().is_none_or(|n| matches!(**n, Notice::Closed(_)));
        notice
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.left {
            // If the queue is full, the worker finds out with the next notice that nobody listens.
            _ = self.leave(CloseReason::Left);
        }
    }
}
