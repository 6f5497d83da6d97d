//! One media thread.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use tokio::sync::mpsc::Sender;

use super::client::Client;
use super::socket::Buffers;
use super::tally::latency_histogram;
use super::{Command, Measure, Sample, Setup, WAKE, micros_late, thread_cpu_us};

/// The most commands of one turn: joins must not hold up media.
const MAX_COMMANDS: usize = 16;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// The system's timers count whole milliseconds: waking up so late is on time.
const TIMER_STEP: u64 = 1000;

struct Entry {
    client: Client,
    /// The wake-up in the heap that counts; others are old.
    wakes: Option<Instant>,
    /// Its socket may have more.
    readable: bool,
}

/// A thread's state.
pub(super) struct Worker {
    number: usize,
    poll: Poll,
    inbox: Receiver<Command>,
    samples: Sender<Sample>,
    measure: Measure,
    clients: HashMap<usize, Entry>,
    wakes: BinaryHeap<Reverse<(Instant, usize)>>,
    readable: Vec<usize>,
    buffers: Buffers,
    next_sample: Instant,
    lag_us: u64,
    finished: bool,
    stopping: bool,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        poll: Poll,
        inbox: Receiver<Command>,
        samples: Sender<Sample>,
        measure: Measure,
    ) -> Self {
        Self {
            number,
            poll,
            inbox,
            samples,
            measure,
            clients: HashMap::new(),
            wakes: BinaryHeap::new(),
            readable: Vec::new(),
            buffers: Buffers::default(),
            next_sample: Instant::now() + SAMPLE_EVERY,
            lag_us: 0,
            finished: false,
            stopping: false,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut more = false;
        while !self.stopping {
            let due = self.due();
            let wait = if more || !self.readable.is_empty() {
                Duration::ZERO
            } else {
                due.saturating_duration_since(Instant::now())
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    eprintln!("a media thread cannot wait for its sockets and ends: {error}");
                    return;
                }
            }
            self.note_lag(due);
            for event in &events {
                self.mark_readable(event.token().0);
            }
            more = self.take_commands();
            self.read();
            self.run_due();
            self.sample();
        }
    }

    fn due(&self) -> Instant {
        self.wakes.peek().map_or(self.next_sample, |Reverse((at, _))| self.next_sample.min(*at))
    }

    /// How much later than it should the thread looks at its timers.
    fn note_lag(&mut self, due: Instant) {
        let late = micros_late(due, Instant::now());
        if late > 0 {
            let late = late.saturating_sub(TIMER_STEP).max(1);
            self.measure.tally.lag.saturating_record(late);
            self.lag_us = self.lag_us.max(late);
        }
    }

    fn mark_readable(&mut self, client: usize) {
        if client == WAKE.0 {
            return;
        }
        if let Some(entry) = self.clients.get_mut(&client)
            && !std::mem::replace(&mut entry.readable, true)
        {
            self.readable.push(client);
        }
    }

    /// Sockets with datagrams, each for a few batches.
    fn read(&mut self) {
        let mut again = Vec::new();
        for client in std::mem::take(&mut self.readable) {
            let Some(entry) = self.clients.get_mut(&client) else { continue };
            if entry.client.receive(&mut self.buffers, &mut self.measure) {
                again.push(client);
            } else {
                entry.readable = false;
            }
            schedule(&mut self.wakes, entry, &self.measure);
        }
        self.readable = again;
    }

    fn run_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, client))) = self.wakes.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.wakes.pop();
            let Some(entry) = self.clients.get_mut(&client).filter(|e| e.wakes == Some(at)) else { continue };
            entry.wakes = None;
            entry.client.run(Instant::now(), &mut self.measure);
            schedule(&mut self.wakes, entry, &self.measure);
        }
    }

    /// True if there may be more.
    fn take_commands(&mut self) -> bool {
        for _ in 0..MAX_COMMANDS {
            let Ok(command) = self.inbox.try_recv() else { return false };
            self.on_command(command);
        }
        true
    }

    fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Add(setup) => self.add(*setup, now),
            Command::Slots(client, changed) => {
                if let Some(entry) = self.clients.get_mut(&client) {
                    entry.client.peer.assign(changed, &mut self.measure);
                }
            }
            Command::Layers(client, mid, rids) => {
                if let Some(entry) = self.clients.get_mut(&client) {
                    entry.client.peer.want_layers(mid, &rids);
                }
            }
            Command::Remove(client) => {
                if let Some(mut entry) = self.clients.remove(&client) {
                    entry.client.leave(now, !self.finished, &mut self.measure);
                    entry.client.socket.deregister(self.poll.registry());
                }
            }
            Command::Finish => self.finish(now),
            Command::Stop => self.stopping = true,
        }
    }

    fn add(&mut self, setup: Setup, now: Instant) {
        let (id, events) = (setup.id, setup.events.clone());
        let made = Client::new(setup, now, self.measure.clock.us(now)).and_then(|mut client| {
            client.socket.register(self.poll.registry(), id)?;
            Ok(client)
        });
        match made {
            Ok(client) => {
                let mut entry = Entry { client, wakes: None, readable: false };
                schedule(&mut self.wakes, &mut entry, &self.measure);
                self.clients.insert(id, entry);
            }
            // The session may be gone already.
            Err(_) => _ = events.try_send(super::Event::Lost("no-socket")),
        }
    }

    fn sample(&mut self) {
        let now = Instant::now();
        if now >= self.next_sample && !self.finished {
            self.next_sample = (self.next_sample + SAMPLE_EVERY).max(now);
            self.give_sample(now, false);
        } else if now >= self.next_sample {
            self.next_sample = now + SAMPLE_EVERY;
        }
    }

    fn give_sample(&mut self, now: Instant, last: bool) {
        let at_us = self.measure.clock.us(now);
        let tally = &mut self.measure.tally;
        tally.counters.on_screen = self.clients.values().map(|e| e.client.peer.on_screen(at_us)).sum();
        let sample = Sample {
            worker: self.number,
            at_us,
            counters: tally.counters,
            latency: std::mem::replace(&mut self.measure.second, latency_histogram()),
            lag_us: std::mem::take(&mut self.lag_us),
            cpu_us: thread_cpu_us(),
            tally: last.then(|| Box::new(tally.clone())),
        };
        // A collector that does not keep up has lost this row; sums go on with the next. One that is gone needs none.
        if last {
            _ = self.samples.blocking_send(sample);
        } else {
            _ = self.samples.try_send(sample);
        }
    }

    fn finish(&mut self, now: Instant) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let now_us = self.measure.clock.us(now);
        for entry in self.clients.values_mut() {
            entry.client.peer.finish(now_us, &mut self.measure);
        }
        self.give_sample(now, true);
    }
}

/// Puts the client's next wake-up into the heap, unless an earlier one is there.
fn schedule(wakes: &mut BinaryHeap<Reverse<(Instant, usize)>>, entry: &mut Entry, measure: &Measure) {
    let at = entry.client.deadline(measure);
    if entry.wakes.is_none_or(|known| at < known) {
        entry.wakes = Some(at);
        wakes.push(Reverse((at, entry.client.id)));
    }
}
