//! How others reach a worker: its queues, and what goes through them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use mio::{Poll, Token, Waker};
use tokio::sync::{mpsc, oneshot};
use weir_core::api::{Command, Join, Notice, Reply};
use weir_core::relay::LinkId;

use crate::relays;
use crate::stream::Connection;

/// How many commands may wait for a worker: of offers, about a second's work. Whoever comes then is told to try again. A queue
/// takes the memory of all its places when it is made.
const CONTROL_QUEUE: usize = 1024;
/// How many datagrams may wait that another worker's socket received: at 100,000 a second, 40 ms.
const RING: usize = 4096;
const WAKE: Token = Token(1);

/// What is sent to a worker.
pub(crate) enum Control {
    /// A command, with where its reply goes.
    Command(Command, Option<oneshot::Sender<Reply>>),
    /// Somebody enters a room, which may have its home on another worker: its notices go there, the reply here.
    Join(Box<Join>, Option<LinkId>, mpsc::Sender<Arc<Notice>>, oneshot::Sender<Reply>),
    /// Datagrams from this address belong to that worker.
    Route(SocketAddr, u8),
    /// They do no longer.
    Unroute(SocketAddr, u8),
    /// End the thread.
    Stop,
}

/// What came in elsewhere and belongs to this worker.
#[derive(Debug)]
pub(crate) enum Stray {
    /// A datagram that landed on another worker's socket.
    Datagram(SocketAddr, Vec<u8>, Instant),
    /// A packet of a connection.
    Stream(Arc<Connection>, Vec<u8>),
    /// A connection has ended.
    Closed(Arc<Connection>),
    /// A datagram out of another worker's relay: what stands for the client, and the own address it was sent to.
    Relayed { from: SocketAddr, to: SocketAddr, data: Vec<u8> },
    /// A datagram of another worker's shard that shall go through the relay of this one.
    Wrap { from: SocketAddr, to: SocketAddr, video: bool, data: Vec<u8> },
}

/// How to reach a worker.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    control: SyncSender<Control>,
    ring: SyncSender<Stray>,
    pub(crate) relays: relays::Slots,
    waker: Arc<Waker>,
    pub(crate) alive: Arc<AtomicBool>,
    /// The share of the last second that it worked, in thousandths.
    pub(super) load: Arc<AtomicU32>,
}

impl Link {
    /// Puts a message into the worker's queue; gives it back if the queue is full or the worker has ended.
    pub(crate) fn send(&self, message: Control) -> Result<(), TrySendError<Control>> {
        self.control.try_send(message)?;
        self.wake();
        Ok(())
    }

    /// Has the worker look at its queues.
    pub(crate) fn wake(&self) {
        // A worker that cannot be woken has ended; the caller's reply channel tells.
        _ = self.waker.wake();
    }

    /// The share of the last second that the worker worked, 0 to 1; infinite if it has ended.
    pub(crate) fn load(&self) -> f64 {
        if !self.alive.load(Ordering::Acquire) {
            return f64::INFINITY;
        }
        f64::from(self.load.load(Ordering::Relaxed)) / 1000.0
    }
}

impl Link {
    /// Puts something into the worker's ring; gives it back if the ring is full, and nothing if the worker has ended.
    pub(crate) fn stray(&self, stray: Stray) -> Result<(), Option<Stray>> {
        match self.ring.try_send(stray) {
            Ok(()) => {
                _ = self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(stray)) => Err(Some(stray)),
            Err(TrySendError::Disconnected(_)) => Err(None),
        }
    }
}

/// A worker's own ends, before its thread runs.
pub(crate) struct Inbox {
    pub(super) poll: Poll,
    pub(super) control: Receiver<Control>,
    pub(super) ring: Receiver<Stray>,
    pub(crate) relays: relays::Inbox,
}

#[cfg(test)]
impl Inbox {
    /// What waits in the ring.
    pub(crate) fn stray(&self) -> Option<Stray> {
        self.ring.try_recv().ok()
    }
}

/// Makes the queues of one worker.
pub(crate) fn queues() -> std::io::Result<(Link, Inbox)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (control_tx, control) = sync_channel(CONTROL_QUEUE);
    let (ring_tx, ring) = sync_channel(RING);
    let (slots, relays) = relays::queues();
    let link = Link {
        control: control_tx,
        ring: ring_tx,
        relays: slots,
        waker,
        alive: Arc::new(AtomicBool::new(true)),
        load: Arc::new(AtomicU32::new(0)),
    };
    Ok((link, Inbox { poll, control, ring, relays }))
}
