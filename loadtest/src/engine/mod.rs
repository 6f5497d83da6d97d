//! The media of all clients, on a few threads: each owns its clients' sockets, links and connections, and shares
//! nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use hdrhistogram::Histogram;
use mio::{Poll, Token, Waker};
use str0m::media::{Mid, Rid};

use crate::clock::Clock;
use crate::media::{Frame, Mark};
use tally::{Counters, Tally, latency_histogram};

mod client;
pub mod descriptor;
pub mod freeze;
pub mod loss;
mod sender;
pub mod socket;
mod stream;
pub mod tally;
mod worker;

pub use client::{Event, Setup};
pub use sender::{SenderSetup, Turns};
pub use stream::Slot;

/// How many commands may wait for a worker: a join, and a few messages of each of thousands of clients.
const COMMANDS: usize = 65_536;
/// How many samples may wait for the collector: minutes of them.
const SAMPLES: usize = 4096;
const WAKE: Token = Token(usize::MAX);

/// What a worker is told.
pub(crate) enum Command {
    /// A new client.
    Add(Box<Setup>),
    /// Slots of a client show other things; with whether that is another track.
    Slots(usize, Vec<(Slot, bool)>),
    /// Somebody wants these layers of a client's line, and no others.
    Layers(usize, Mid, Vec<Rid>),
    /// A client leaves.
    Remove(usize),
    /// The measurement ends: close all books, send no more.
    Finish,
    /// End the thread.
    Stop,
}

/// What a worker tells once a second, and when the measurement ends.
#[derive(Debug)]
pub struct Sample {
    /// Which worker.
    pub worker: usize,
    /// When, in microseconds of the tester's clock.
    pub at_us: u64,
    /// Sums since the start.
    pub counters: Counters,
    /// Video latencies since the last sample, in microseconds.
    pub latency: Histogram<u64>,
    /// The longest that the thread woke up late since the last sample, in microseconds.
    pub lag_us: u64,
    /// CPU time of the thread since its start, in microseconds; none where the system does not tell.
    pub cpu_us: Option<u64>,
    /// All that was measured: with the last sample only.
    pub tally: Option<Box<Tally>>,
}

/// What the clients of one worker measure into.
pub(crate) struct Measure {
    pub(crate) clock: Clock,
    tester: u32,
    tally: Tally,
    second: Histogram<u64>,
    /// Frames of the packet at hand.
    frames: Vec<Frame>,
    /// Bytes of the GSO run at hand.
    run: Vec<u8>,
}

impl Measure {
    fn new(clock: Clock, tester: u32) -> Self {
        let second = latency_histogram();
        Self { clock, tester, tally: Tally::default(), second, frames: Vec::new(), run: Vec::new() }
    }

    fn latency(&mut self, video: bool, at: u64, mark: &Mark) {
        self.tally.counters.foreign_latencies += u64::from(mark.tester != self.tester);
        let latency = at.saturating_sub(mark.sent_us).max(1);
        if video {
            self.tally.video_latency.saturating_record(latency);
            self.second.saturating_record(latency);
        } else {
            self.tally.audio_latency.saturating_record(latency);
        }
    }
}

struct Link {
    commands: SyncSender<Command>,
    waker: Waker,
}

/// All workers. Dropping it ends them.
pub struct Engine {
    links: Arc<[Link]>,
    threads: Vec<JoinHandle<()>>,
    refused: Arc<AtomicUsize>,
}

/// A way to the workers, to be cloned.
#[derive(Clone)]
pub struct Handle {
    links: Arc<[Link]>,
    refused: Arc<AtomicUsize>,
}

impl Engine {
    /// Starts so many threads. `tester` marks what this tester sends. Samples come out of the receiver; the last of
    /// each worker carries its tally.
    ///
    /// # Errors
    /// When the system gives no threads or files.
    pub fn start(workers: usize, tester: u32, clock: Clock) -> io::Result<(Self, tokio::sync::mpsc::Receiver<Sample>)> {
        let (samples, received) = tokio::sync::mpsc::channel(SAMPLES);
        let (mut links, mut threads) = (Vec::new(), Vec::new());
        for number in 0..workers.max(1) {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKE)?;
            let (commands, inbox) = sync_channel(COMMANDS);
            let worker = worker::Worker::new(number, poll, inbox, samples.clone(), Measure::new(clock, tester));
            threads.push(std::thread::Builder::new().name(format!("media-{number}")).spawn(move || worker.run())?);
            links.push(Link { commands, waker });
        }
        Ok((Self { links: links.into(), threads, refused: Arc::default() }, received))
    }

    /// A way to the workers.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { links: Arc::clone(&self.links), refused: Arc::clone(&self.refused) }
    }

    /// Commands that found a full queue: the tester is overloaded.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let handle = self.handle();
        (0..self.links.len()).for_each(|worker| handle.tell(worker, Command::Stop));
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so on standard error.
            _ = thread.join();
        }
    }
}

impl Handle {
    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.links.len()
    }

    /// Gives a client to a worker, by its number.
    pub fn add(&self, setup: Setup) {
        self.tell(setup.id, Command::Add(Box::new(setup)));
    }

    /// Slots of a client show other things; with whether that is another track.
    pub fn slots(&self, client: usize, changed: Vec<(Slot, bool)>) {
        self.tell(client, Command::Slots(client, changed));
    }

    /// Somebody wants these layers of a client's line, and no others.
    pub fn layers(&self, client: usize, mid: Mid, rids: Vec<Rid>) {
        self.tell(client, Command::Layers(client, mid, rids));
    }

    /// A client leaves.
    pub fn remove(&self, client: usize) {
        self.tell(client, Command::Remove(client));
    }

    /// The measurement ends: every worker closes its books and gives its last sample.
    pub fn finish(&self) {
        (0..self.links.len()).for_each(|worker| self.tell(worker, Command::Finish));
    }

    fn tell(&self, client: usize, command: Command) {
        let link = &self.links[client % self.links.len()];
        match link.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => _ = self.refused.fetch_add(1, Ordering::Relaxed),
            // The run is over.
            Err(TrySendError::Disconnected(_)) => return,
        }
        // A worker that cannot be woken has ended.
        _ = link.waker.wake();
    }
}

/// CPU time of this thread in microseconds.
fn thread_cpu_us() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<u64>().ok()? / 1000)
}

/// How late `now` is.
fn micros_late(due: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(due).as_micros()).unwrap_or(u64::MAX)
}
