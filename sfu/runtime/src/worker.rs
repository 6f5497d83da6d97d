//! One worker thread: its socket, its shard, and the loop between them.

mod indirect;
mod link;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TrySendError};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use tokio::sync::{mpsc, oneshot};
use weir_core::api::{CloseReason, Command, Event, Notice, ParticipantId, Reply};
use weir_core::path::{Path, Relayed};
use weir_core::shard::{Input, Output, Shard, path_of, recycle};
use weir_core::turn::Client;

pub(crate) use self::indirect::Indirect;
pub(crate) use self::link::{Control, Inbox, Link, Stray, queues};
use crate::load::Load;
use crate::relays::{self, Relays};
use crate::routes::Routes;
use crate::socket::{Datagram, MediaSocket};

/// The most commands and stray datagrams of one turn: a burst of joins, each with an SDP to answer, must not hold up
/// media. An answer takes under a millisecond.
const MAX_COMMANDS: usize = 16;
const MAX_STRAYS: usize = 512;
/// The most batches taken from the socket before what they caused is sent. One batch is up to 32 buffers; on loopback
/// a second batch is rarely full.
const MAX_BATCHES: usize = 4;

/// How long commands are carried out, and packets are forwarded, until what came meanwhile is looked at: sound in it goes first,
/// so that it waits for little more than this, however many pictures there are to forward. A look costs two calls into the kernel.
const QUANTUM: Duration = Duration::from_millis(2);
/// So many outputs are sent between two looks at the clock.
const OUTPUTS: usize = 32;
/// How long commands wait for what is being forwarded, which they would have queued for its receivers instead of sent.
const COMMAND_PATIENCE: Duration = Duration::from_millis(20);

const SOCKET: Token = Token(0);

/// Tells the handle when the thread has ended, however it ended.
struct AliveGuard(Arc<AtomicBool>);

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Takes datagrams to the shards that own the participants.
struct Delivery<'a> {
    shard: &'a mut Shard,
    routes: &'a mut Routes,
    links: &'a [Link],
    me: u8,
    dropped: &'a mut u64,
}

impl Delivery<'_> {
    /// `relayed_to`: of what came through the relay, the own address that it was sent to.
    fn take(&mut self, now: Instant, relayed_to: Option<SocketAddr>, datagram: &Datagram<'_>) {
        let Datagram { remote, data, arrived, .. } = *datagram;
        let shard = &*self.shard;
        let is_mine = |address| shard.is_bound(address);
        let owner = if self.links.len() == 1 { None } else { self.routes.owner(now, self.me, remote, data, is_mine) };
        let Some(link) = owner.and_then(|owner| self.links.get(usize::from(owner))) else {
            return self.shard.handle(
                now,
                match relayed_to {
                    None => Input::Datagram { remote, data, arrived },
                    Some(local) => Input::Relayed { remote, local, data },
                },
            );
        };
        let data = data.to_vec();
        let stray = match relayed_to {
            None => Stray::Datagram(remote, data, arrived),
            Some(to) => Stray::Relayed { from: remote, to, data },
        };
        *self.dropped += u64::from(link.stray(stray).is_err());
    }
}

/// A worker, ready to run.
pub(crate) struct Worker {
    number: u8,
    shard: Shard,
    socket: MediaSocket,
    poll: Poll,
    control: Receiver<Control>,
    ring: Receiver<Stray>,
    relays: Relays,
    /// All workers, this one too, by number.
    links: Vec<Link>,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    next_request: u64,
    sessions: HashMap<ParticipantId, mpsc::Sender<Arc<Notice>>>,
    routes: Routes,
    indirect: Indirect,
    /// Routes that another worker's full queue has not taken yet.
    unsent_routes: Vec<(usize, Control)>,
    /// Who has to leave, and why: sessions that did not read their notices, or that nobody holds any more.
    leaving: Vec<(ParticipantId, CloseReason)>,
    /// Who is joining, by the number of the command, while the shard, or another one, decides.
    joining: HashMap<u64, ParticipantId>,
    load: Load,
    ring_dropped: u64,
    /// How long to wait for more when packets come.
    coalesce: Duration,
    /// When the last turn ended.
    rested_since: Instant,
    /// Since when packets have been being forwarded without an end.
    forwarding_since: Option<Instant>,
    stopping: bool,
}

impl Worker {
    pub(crate) fn new(
        number: u8,
        shard: Shard,
        indirect: Indirect,
        socket: MediaSocket,
        inbox: Inbox,
        links: Vec<Link>,
        coalesce: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            number,
            shard,
            socket,
            poll: inbox.poll,
            control: inbox.control,
            ring: inbox.ring,
            relays: Relays::new(number, links.len(), inbox.relays, now),
            links,
            replies: HashMap::new(),
            next_request: 0,
            sessions: HashMap::new(),
            routes: Routes::default(),
            indirect,
            unsent_routes: Vec::new(),
            leaving: Vec::new(),
            joining: HashMap::new(),
            load: Load::new(now),
            ring_dropped: 0,
            coalesce,
            rested_since: now,
            forwarding_since: None,
            stopping: false,
        }
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        let _guard = AliveGuard(Arc::clone(&self.links[usize::from(self.number)].alive));
        if let Err(error) = self.poll.registry().register(&mut self.socket.io, SOCKET, Interest::READABLE) {
            tracing::error!(worker = self.number, %error, "cannot wait for the media socket");
            return;
        }
        let mut events = Events::with_capacity(16);
        let mut more = false;
        while !self.stopping {
            let wait = if more || !self.unsent_routes.is_empty() { Some(Duration::ZERO) } else { self.wait() };
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(worker = self.number, %error, "cannot wait for events");
                    return;
                }
            }
            if events.iter().any(|event| event.token() == SOCKET) {
                self.gather();
            }
            more = self.turn();
        }
    }

    /// Waits for the rest of what begins to come. A worker that has more to do than it has time for has let packets gather
    /// already.
    fn gather(&self) {
        if !self.coalesce.is_zero() && self.rested_since.elapsed() >= self.coalesce {
            std::thread::sleep(self.coalesce);
        }
    }

    /// How long to wait for what comes in.
    fn wait(&mut self) -> Option<Duration> {
        let sweep = self.indirect.relay().and_then(|relay| relay.poll_timeout());
        let deadline = self.shard.poll_timeout().map(|(at, _)| at).into_iter().chain(sweep).min();
        let deadline = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // Another worker's full queue is tried again soon, and one that owes an answer is looked after.
        let again = self.relays.has_backlog().then_some(Duration::from_millis(1));
        let look = (!self.replies.is_empty()).then_some(relays::LOOK);
        let wait = [deadline, again, look].into_iter().flatten().min();
        if wait.is_none() {
            self.links[usize::from(self.number)].load.store(0, Ordering::Relaxed);
        }
        wait
    }

    /// One turn: everything that waits goes in, then everything that it caused goes out, or as much of it as there is time
    /// for. True if there is more to do.
    fn turn(&mut self) -> bool {
        let began = Instant::now();
        if let Some((at, _)) = self.shard.poll_timeout().filter(|(at, _)| *at <= began) {
            self.load.on_deadline(began, at);
            self.shard.handle(began, Input::Timeout);
        }
        self.sweep_relay(began);
        let mut more = false;
        let mut datagrams = 0;
        for batch in 1..=MAX_BATCHES {
            if self.receive(Instant::now(), &mut datagrams) == 0 {
                break;
            }
            more = batch == MAX_BATCHES;
        }
        let now = Instant::now();
        more |= self.take_strays(now, &mut datagrams);
        let end = now + QUANTUM;
        let commands_wait = self.forwarding_since.is_some_and(|since| now.duration_since(since) < COMMAND_PATIENCE);
        more |= self.take_relays(now, (!commands_wait).then_some(end));
        if !commands_wait {
            more |= self.take_commands(now, end);
            self.forwarding_since = None;
        }
        let left = self.flush_some();
        if !left && !self.replies.is_empty() {
            self.forget_unanswered();
        }
        while let Some((id, reason)) = self.leaving.pop() {
            self.shard.handle(now, Input::Command { request: u64::MAX, command: Command::Leave(id, reason) });
            self.flush();
        }
        self.retry_routes();
        let ended = Instant::now();
        self.rested_since = ended;
        if let Some(pressure) = self.load.on_turn(began, ended, datagrams) {
            self.shard.handle(ended, Input::Pressure(pressure));
            if !left {
                self.flush();
            }
        }
        self.publish_load(ended);
        more || left
    }

    fn publish_load(&mut self, now: Instant) {
        let permille = (self.load.ratio(now) * 1000.0) as u32;
        let told = &self.links[usize::from(self.number)].load;
        // Written about once a second, and read by signaling alone.
        if told.load(Ordering::Relaxed) != permille {
            told.store(permille, Ordering::Relaxed);
        }
    }

    /// What other workers say; what is not media, one message at least and others until then, or none. True if there may be more.
    fn take_relays(&mut self, now: Instant, end: Option<Instant>) -> bool {
        if self.links.len() == 1 {
            return false;
        }
        if !self.links[usize::from(self.number)].alive.load(Ordering::Acquire) {
            // They take no word from here any more: who lives here would wait for ever for what goes by them.
            tracing::error!(worker = self.number, "the other media workers have given this one up: it ends");
            self.stopping = true;
            return false;
        }
        let Self { shard, relays, .. } = self;
        let mut first = true;
        let has_time = || end.is_some_and(|end| std::mem::take(&mut first) || Instant::now() < end);
        let more = relays.receive(now, has_time, |from, message| shard.handle(now, Input::Relay { from, message }));
        while let Some(gone) = self.relays.lost(now, &self.links) {
            self.shard.handle(now, Input::LinkLost(gone));
        }
        more
    }

    /// A command that got no reply and waits for none gets none: its caller is told by the closed channel.
    fn forget_unanswered(&mut self) {
        let Self { shard, replies, joining, sessions, .. } = self;
        replies.retain(|request, _| shard.is_pending(*request));
        joining.retain(|request, id| {
            let waits = shard.is_pending(*request);
            if !waits {
                sessions.remove(id);
            }
            waits
        });
    }

    /// Datagrams that landed on other workers' sockets. True if there may be more.
    fn take_strays(&mut self, now: Instant, datagrams: &mut usize) -> bool {
        for _ in 0..MAX_STRAYS {
            let Ok(stray) = self.ring.try_recv() else { return false };
            *datagrams += 1;
            match stray {
                Stray::Datagram(remote, data, arrived) => {
                    self.shard.handle(now, Input::Datagram { remote, data: &data, arrived });
                }
                Stray::Stream(connection, data) => self.on_stream(now, connection, &data),
                Stray::Closed(connection) => self.on_stream_closed(now, &connection),
                Stray::Relayed { from, to, data } => {
                    self.shard.handle(now, Input::Relayed { remote: from, local: to, data: &data });
                }
                Stray::Wrap { from, to, video, data } => self.wrap(now, from, to, video, &data),
            }
        }
        true
    }

    /// Commands and news of other workers, one at least and others until then. True if there may be more.
    fn take_commands(&mut self, now: Instant, end: Instant) -> bool {
        for taken in 0..MAX_COMMANDS {
            if taken > 0 && Instant::now() >= end {
                break;
            }
            let Ok(message) = self.control.try_recv() else { return false };
            self.on_control(now, message);
            self.flush();
            self.forget_unanswered();
        }
        true
    }

    /// One batch from the socket: how many buffers it filled. Counts the datagrams in them.
    fn receive(&mut self, now: Instant, datagrams: &mut usize) -> usize {
        let Self { shard, socket, routes, links, ring_dropped, number, indirect, .. } = self;
        let mut delivery = Delivery { shard, routes, links, me: *number, dropped: ring_dropped };
        socket.receive(now, |datagram| {
            *datagrams += 1;
            delivery.shard.expect(datagram.next.iter());
            if Relayed::stands_at(datagram.remote) {
                // Nobody is there: somebody pretends to be a client of the relay.
            } else if indirect.takes(datagram.data) {
                if let Some((remote, to, data)) = indirect.unwrap(now, Client::Udp(datagram.remote), datagram.data) {
                    delivery.take(now, Some(to), &Datagram { remote, data, ..datagram });
                }
            } else {
                delivery.take(now, None, &datagram);
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
            Control::Join(join, home, notices, reply) => {
                self.joining.insert(self.next_request, join.participant);
                self.sessions.insert(join.participant, notices);
                let command = match home {
                    Some(home) => Command::JoinFrom(join, home),
                    None => Command::Join(join),
                };
                self.on_control(now, Control::Command(command, Some(reply)));
            }
            Control::Route(address, owner) => {
                self.routes.add(address, owner);
                self.shard.release_address(address);
            }
            Control::Unroute(address, owner) => self.routes.remove(address, owner),
            Control::Stop => self.stopping = true,
        }
    }

    /// Carries out all that the shard gives out.
    fn flush(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            self.carry_out(output);
        }
        self.end_flush();
    }

    /// Carries out what the shard gives out, but for the packets for which there is no time. True if there are such.
    fn flush_some(&mut self) -> bool {
        // Most turns have fewer outputs, and read no clock.
        let mut begun = None;
        let mut left = false;
        let mut carried = 0;
        while !left && let Some(output) = self.shard.poll_output() {
            self.carry_out(output);
            carried += 1;
            if carried % OUTPUTS == 0 && self.shard.is_forwarding() {
                let now = Instant::now();
                left = now.duration_since(*begun.get_or_insert(now)) >= QUANTUM;
            }
        }
        self.end_flush();
        self.forwarding_since = if left { self.forwarding_since.or(begun) } else { None };
        left
    }

    /// What is for one receiver is sent before the next one's is made: kept until all is there, a large room's packets would
    /// have left the processor's cache by then.
    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                // The messages are all there now: whom they are for can begin while this one goes on.
                self.relays.wake(&self.links);
                match path_of(&transmit) {
                    Path::Udp => {
                        let since = self.shard.forwarded_since();
                        self.socket.queue(transmit.destination, &transmit.contents, since);
                    }
                    path => self.send_indirect(path, &transmit),
                }
                recycle(transmit);
            }
            Output::Event(event) => self.on_event(event),
            Output::Relay { to, message } => self.relays.send(Instant::now(), &self.links, to, message),
        }
    }

    fn end_flush(&mut self) {
        self.send_answers();
        self.relays.wake(&self.links);
        self.socket.send_queued();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Reply { request, reply } => {
                let joined = matches!(reply, Reply::Join(Ok(_)));
                let heard = match self.replies.remove(&request) {
                    Some(to) => to.send(self.with_own_counters(reply)).is_ok(),
                    None => true,
                };
                if let Some(id) = self.joining.remove(&request) {
                    match (joined, heard) {
                        (true, true) => {}
                        // Whoever asked to enter has stopped waiting: nobody would ever leave again.
                        (true, false) => self.leaving.push((id, CloseReason::Left)),
                        (false, _) => _ = self.sessions.remove(&id),
                    }
                }
            }
            Event::Notice { to, notice } => self.notify(to, notice),
            Event::AddressBound(address) => {
                self.routes.take(address);
                self.tell_others(|me| Control::Route(address, me));
            }
            Event::AddressReleased(address) => self.tell_others(|me| Control::Unroute(address, me)),
        }
    }

    fn with_own_counters(&mut self, mut reply: Reply) -> Reply {
        if let Reply::Stats(stats) = &mut reply {
            stats.dropped_send = self.socket.sent.dropped;
            stats.send_calls = self.socket.sent.runs;
            stats.dropped_ring = self.ring_dropped;
            self.indirect.add_stats(stats);
            stats.dropped_relay = self.relays.dropped;
            stats.busy = self.load.busy;
            stats.load = self.load.ratio(Instant::now());
            stats.batches = self.load.batches;
            stats.runs = self.socket.sent.sizes;
            stats.forward = self.socket.sent.forward;
            stats.timer_lag = self.load.timer_lag;
        }
        reply
    }

    fn notify(&mut self, to: ParticipantId, notice: Arc<Notice>) {
        let closed = matches!(*notice, Notice::Closed(_));
        let Some(session) = self.sessions.get(&to) else { return };
        // The last place in the queue is kept for the word that it is over.
        let full = session.capacity() <= 1 && !closed;
        if full || session.try_send(notice).is_err() {
            let reason = if session.is_closed() { CloseReason::Left } else { CloseReason::SlowReader };
            if !closed && !self.leaving.contains(&(to, reason)) {
                self.leaving.push((to, reason));
            }
        }
        if closed {
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
