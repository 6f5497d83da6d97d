//! One participant's stay: asks the server for a session, gives the client to the engine, watches over it, leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::engine::{Event, Handle};
use crate::scenario::{Protocol, Scenario};

mod http;
mod member;
mod offer;
mod target;
mod weir;

pub use member::{Member, Role, roster};
pub use target::{Target, Tokens};

/// How long the server may take for one answer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long ICE and DTLS may take.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What went wrong with one participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A short stable name.
    pub kind: String,
    /// In words.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into() }
    }
}

/// What the collector hears of participants.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A join begins.
    Attempted,
    /// It came through, after so many microseconds.
    Joined {
        /// From asking to DTLS, in microseconds.
        took_us: u64,
    },
    /// The first media came, so many microseconds after it could.
    FirstMedia {
        /// Video, else audio.
        video: bool,
        /// In microseconds.
        took_us: u64,
    },
    /// The join did not come through.
    Failed(Failure),
    /// Somebody who was in was thrown out, or lost the connection.
    Lost(Failure),
    /// Somebody left as planned; `starved`: expected media and never got any.
    Left {
        /// Expected media and never got any.
        starved: bool,
    },
    /// The server said why a slot shows the layer that it shows.
    Reason(String),
    /// Something went wrong without an end to the stay.
    Trouble(Failure),
}

/// What all participants share.
pub struct Context {
    /// What they shall do.
    pub scenario: Scenario,
    /// Where they join.
    pub target: Target,
    /// Where their media runs.
    pub engine: Handle,
    /// The tester's clock.
    pub clock: Clock,
    /// Marks what this tester sends.
    pub tester: u32,
    /// Where they report to.
    pub reports: mpsc::Sender<Report>,
    /// Numbers for clients; every join has its own.
    pub next_client: AtomicUsize,
    /// Numbers for tracks.
    pub next_source: AtomicUsize,
}

impl Context {
    fn client_number(&self) -> usize {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    fn source_number(&self) -> u32 {
        self.next_source.fetch_add(1, Ordering::Relaxed) as u32
    }

    async fn report(&self, report: Report) {
        // The collector ends last; after it nothing counts.
        _ = self.reports.send(report).await;
    }
}

/// Joins and stays until `leave` is cancelled, or until it is over by itself; reports how it went.
pub async fn stay(context: &Arc<Context>, member: &Member, leave: &CancellationToken) {
    context.report(Report::Attempted).await;
    let asked_us = context.clock.now_us();
    let joining = async {
        match context.scenario.protocol {
            Protocol::WeirV1 => {
                Box::pin(weir::join(context, member)).await.map(|session| Session::Weir(Box::new(session)))
            }
            Protocol::WhipWhep => http::join(context, member, leave).await.map(Session::Http),
        }
    };
    let joined = tokio::select! {
        joined = joining => joined,
        () = leave.cancelled() => return,
    };
    match joined {
        Ok(session) => watch(context, session, asked_us, leave).await,
        Err(failure) => context.report(Report::Failed(failure)).await,
    }
}

enum Session {
    Weir(Box<weir::Session>),
    Http(http::Session),
}

/// How far a stay has come.
struct Stay {
    client: usize,
    asked_us: u64,
    connected: bool,
    /// Since when there has been something to get.
    expects_since: Option<u64>,
    video: bool,
    got_media: bool,
}

impl Stay {
    /// What the engine tells; an end of the stay comes out.
    async fn on_event(&mut self, context: &Context, event: Event) -> Option<Failure> {
        match event {
            Event::Connected(at) => {
                self.connected = true;
                context.report(Report::Joined { took_us: at.saturating_sub(self.asked_us) }).await;
            }
            Event::FirstMedia(at) => {
                self.got_media = true;
                let since = self.expects_since.unwrap_or(self.asked_us).max(self.asked_us);
                let took_us = at.saturating_sub(since);
                context.report(Report::FirstMedia { video: self.video, took_us }).await;
            }
            Event::Lost(why) => return Some(lost(why)),
        }
        None
    }

    fn starved(&self, now_us: u64) -> bool {
        // Who came only just now may still get its picture.
        let waited = self.expects_since.map(|since| now_us.saturating_sub(since.max(self.asked_us)));
        !self.got_media && waited.is_some_and(|waited| waited >= 5_000_000)
    }
}

fn lost(why: &str) -> Failure {
    let message = match why {
        "silence" => "nothing came from the server for 6 seconds, not even an answer to ICE checks",
        "ice-disconnected" => "the server stopped answering ICE checks",
        "dtls-failed" => "the DTLS handshake failed",
        "closed-by-server" => "the server closed the connection",
        "no-socket" => "this machine gave no socket: raise the limit of open files (ulimit -n)",
        _ => "the connection ended in an error",
    };
    Failure::new(why, message)
}

async fn watch(context: &Arc<Context>, mut session: Session, asked_us: u64, leave: &CancellationToken) {
    let (client, video, expects) = match &session {
        Session::Weir(session) => (session.client, session.video, session.expects()),
        Session::Http(session) => (session.client, session.video, session.expects),
    };
    let expects_since = expects.then_some(asked_us);
    let mut stay = Stay { client, asked_us, connected: false, expects_since, video, got_media: false };
    let connect_by = tokio::time::Instant::now() + CONNECT;
    let ended = loop {
        let connected = stay.connected;
        let next = async {
            match &mut session {
                Session::Weir(session) => session.next(context, &mut stay).await,
                Session::Http(session) => session.next(context, &mut stay).await,
            }
        };
        let over = tokio::select! {
            over = next => over,
            () = tokio::time::sleep_until(connect_by), if !connected => Some(Failure::new(
                "ice-timeout",
                format!("no media connection within {} s: is the server's UDP port reachable?", CONNECT.as_secs()),
            )),
            () = leave.cancelled() => break None,
        };
        if over.is_some() {
            break over;
        }
    };
    context.engine.remove(stay.client);
    let report = match ended {
        Some(failure) if stay.connected => Report::Lost(failure),
        Some(failure) => Report::Failed(failure),
        None => Report::Left { starved: stay.starved(context.clock.now_us()) },
    };
    context.report(report).await;
    let goodbye = async {
        match session {
            Session::Weir(session) => session.leave().await,
            Session::Http(session) => session.leave(context).await,
        }
    };
    // A server that does not answer a goodbye has none to be missed.
    _ = timeout(GOODBYE, goodbye).await;
}
