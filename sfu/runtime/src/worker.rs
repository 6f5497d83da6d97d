//! One worker thread: its socket, its shard, and the loop between them.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::{mpsc, oneshot};
use weir_core::api::{CloseReason, Command, Event, Notice, ParticipantId, Reply};
use weir_core::shard::{Input, Output, Shard, Transmit, is_stun, shard_of_stun};

use crate::socket::MediaSocket;

/// How many commands may wait for a worker.
const CONTROL_QUEUE: usize = 4096;
/// How many datagrams may wait that another worker's socket received: at 100,000 a second, 40 ms.
const RING: usize = 4096;
/// The most batches taken from the socket before what they caused is sent. One batch is up to 32 buffers; on loopback
/// a second batch is rarely full.
const MAX_BATCHES: usize = 4;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// What is sent to a worker.
pub(crate) enum Control {
    /// A command, with where its reply goes.
    Command(Command, Option<oneshot::Sender<Reply>>),
    /// A session whose notices go there from now on.
    Register(ParticipantId, mpsc::Sender<Arc<Notice>>),
    /// A session that did not come about.
    Forget(ParticipantId),
    /// Datagrams from this address belong to that worker.
    Route(SocketAddr, u8),
    /// They do no longer.
    Unroute(SocketAddr, u8),
    /// End the thread.
    Stop,
}

/// A datagram that landed on another worker's socket.
type Stray = (SocketAddr, Vec<u8>);

/// How to reach a worker.
#[derive(Clone)]
pub(crate) struct Link {
    control: SyncSender<Control>,
    ring: SyncSender<Stray>,
    waker: Arc<Waker>,
    pub(crate) alive: Arc<AtomicBool>,
}

impl Link {
    /// Puts a message into the worker's queue; gives it back if the queue is full or the worker has ended.
    pub(crate) fn send(&self, message: Control) -> Result<(), TrySendError<Control>> {
        self.control.try_send(message)?;
        // A worker that cannot be woken has ended; the caller's reply channel tells.
        _ = self.waker.wake();
        Ok(())
    }
}

/// A worker's own ends, before its thread runs.
pub(crate) struct Inbox {
    poll: Poll,
    control: Receiver<Control>,
    ring: Receiver<Stray>,
}

/// Makes the queues of one worker.
pub(crate) fn queues() -> std::io::Result<(Link, Inbox)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (control_tx, control) = sync_channel(CONTROL_QUEUE);
    let (ring_tx, ring) = sync_channel(RING);
    let link = Link { control: control_tx, ring: ring_tx, waker, alive: Arc::new(AtomicBool::new(true)) };
    Ok((link, Inbox { poll, control, ring }))
}

/// Tells the handle when the thread has ended, however it ended.
struct AliveGuard(Arc<AtomicBool>);

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A worker, ready to run.
pub(crate) struct Worker {
    number: u8,
    shard: Shard,
    socket: MediaSocket,
    inbox: Inbox,
    /// All workers, this one too, by number.
    links: Vec<Link>,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    next_request: u64,
    sessions: HashMap<ParticipantId, mpsc::Sender<Arc<Notice>>>,
    /// Addresses that belong to other workers.
    routes: HashMap<SocketAddr, u8>,
    /// Routes that another worker's full queue has not taken yet.
    unsent_routes: Vec<(usize, Control)>,
    /// Sessions that did not read their notices.
    slow: Vec<ParticipantId>,
    outgoing: VecDeque<Transmit>,
    ring_dropped: u64,
    stopping: bool,
}

impl Worker {
    pub(crate) fn new(number: u8, shard: Shard, socket: MediaSocket, inbox: Inbox, links: Vec<Link>) -> Self {
        Self {
            number,
            shard,
            socket,
            inbox,
            links,
            replies: HashMap::new(),
            next_request: 0,
            sessions: HashMap::new(),
            routes: HashMap::new(),
            unsent_routes: Vec::new(),
            slow: Vec::new(),
            outgoing: VecDeque::new(),
            ring_dropped: 0,
            stopping: false,
        }
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        let _guard = AliveGuard(Arc::clone(&self.links[usize::from(self.number)].alive));
        if let Err(error) = self.inbox.poll.registry().register(&mut self.socket.io, SOCKET, Interest::READABLE) {
            tracing::error!(worker = self.number, %error, "cannot wait for the media socket");
            return;
        }
        let mut events = Events::with_capacity(16);
        let mut more = false;
        while !self.stopping {
            let wait = if more || !self.unsent_routes.is_empty() { Some(Duration::ZERO) } else { self.wait() };
            match self.inbox.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(worker = self.number, %error, "cannot wait for events");
                    return;
                }
            }
            more = self.turn();
        }
    }

    fn wait(&self) -> Option<Duration> {
        let (at, _) = self.shard.poll_timeout()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// One turn: everything that waits goes in, then everything that it caused goes out. True if the socket has more.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        if self.shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.shard.handle(now, Input::Timeout);
        }
        let mut batches = 0;
        while batches < MAX_BATCHES && self.receive(now) > 0 {
            batches += 1;
        }
        for _ in 0..RING {
            let Ok((remote, data)) = self.inbox.ring.try_recv() else { break };
            self.shard.handle(now, Input::Datagram { remote, data: &data });
        }
        for _ in 0..CONTROL_QUEUE {
            let Ok(message) = self.inbox.control.try_recv() else { break };
            self.on_control(now, message);
        }
        self.flush();
        while let Some(id) = self.slow.pop() {
            self.shard.handle(
                now,
                Input::Command { request: u64::MAX, command: Command::Leave(id, CloseReason::SlowReader) },
            );
            self.flush();
        }
        self.retry_routes();
        batches == MAX_BATCHES
    }

    fn receive(&mut self, now: Instant) -> usize {
        let Self { shard, socket, routes, links, ring_dropped, number, .. } = self;
        socket.receive(|remote, data| {
            let owner = if links.len() == 1 { None } else { owner(routes, remote, data) };
            match owner.filter(|o| o != number).and_then(|o| links.get(usize::from(o))) {
                None => shard.handle(now, Input::Datagram { remote, data }),
                Some(link) => {
                    if link.ring.try_send((remote, data.to_vec())).is_ok() {
                        _ = link.waker.wake();
                    } else {
                        *ring_dropped += 1;
                    }
                }
            }
        })
    }

    fn on_control(&mut self, now: Instant, message: Control) {
        match message {
            Control::Command(command, reply) => {
                let request = self.next_request;
                self.next_request += 1;
                if let Some(reply) = reply {
                    self.replies.insert(request, reply);
                }
                self.shard.handle(now, Input::Command { request, command });
            }
            Control::Register(id, notices) => _ = self.sessions.insert(id, notices),
            Control::Forget(id) => _ = self.sessions.remove(&id),
            Control::Route(address, owner) => _ = self.routes.insert(address, owner),
            Control::Unroute(address, owner) => {
                if self.routes.get(&address) == Some(&owner) {
                    self.routes.remove(&address);
                }
            }
            Control::Stop => self.stopping = true,
        }
    }

    /// Carries out what the shard gives out.
    fn flush(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Transmit(transmit) => self.outgoing.push_back(transmit),
                Output::Event(event) => self.on_event(event),
            }
        }
        self.socket.send(self.outgoing.iter().map(|t| (t.destination, &*t.contents)));
        self.outgoing.clear();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Reply { request, reply } => {
                if let Some(to) = self.replies.remove(&request) {
                    // The caller may have stopped waiting.
                    _ = to.send(self.with_own_counters(reply));
                }
            }
            Event::Notice { to, notice } => self.notify(to, notice),
            Event::AddressBound(address) => self.tell_others(|me| Control::Route(address, me)),
            Event::AddressReleased(address) => self.tell_others(|me| Control::Unroute(address, me)),
        }
    }

    fn with_own_counters(&self, mut reply: Reply) -> Reply {
        if let Reply::Stats(stats) = &mut reply {
            stats.dropped_send = self.socket.sent.dropped;
            stats.send_calls = self.socket.sent.runs;
            stats.dropped_ring = self.ring_dropped;
        }
        reply
    }

    fn notify(&mut self, to: ParticipantId, notice: Arc<Notice>) {
        let closed = matches!(*notice, Notice::Closed(_));
        let Some(session) = self.sessions.get(&to) else { return };
        if session.try_send(notice).is_err() && !closed {
            self.slow.push(to);
        }
        if closed || self.slow.last() == Some(&to) {
            self.sessions.remove(&to);
        }
    }

    fn tell_others(&mut self, message: impl Fn(u8) -> Control) {
        for (number, _) in self.links.iter().enumerate().filter(|(n, _)| *n != usize::from(self.number)) {
            self.unsent_routes.push((number, message(self.number)));
        }
    }

    fn retry_routes(&mut self) {
        for (number, message) in std::mem::take(&mut self.unsent_routes) {
            if let Err(TrySendError::Full(message)) = self.links[number].send(message) {
                self.unsent_routes.push((number, message));
            }
        }
    }
}

/// The worker that a datagram belongs to, if that is known.
fn owner(routes: &HashMap<SocketAddr, u8>, remote: SocketAddr, data: &[u8]) -> Option<u8> {
    if is_stun(data) { shard_of_stun(data) } else { routes.get(&remote).copied() }
}
