//! One member of a room over `weir.v1`: holds the session for as long as it lasts, over one WebSocket after another.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde_json::Number;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;
use weir_sfu::api::{CloseReason, Joined, Notice, Offer, ParticipantInfo};
use weir_sfu::{Session, SfuError};

use super::incoming::ClientMessage;
use super::link::{Cut, Link};
use super::outgoing::{RoomLimits, ServerMessage, SlotLimits};
use crate::app::App;
use crate::error::{Code, Problem};
use crate::ice::{self, IceServers, Reached};
use crate::telemetry::Journey;

/// How long media goes on without a WebSocket.
const RESUME_GRACE: Duration = Duration::from_secs(15);
/// How often a quiet WebSocket is pinged.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A WebSocket that has said nothing for so long, not even a pong, is taken for dropped.
const SILENCE: Duration = Duration::from_secs(40);
/// How often a member gets new credentials for the relay: one that has to look for another way needs some that hold.
const RENEW_EVERY: Duration = weir_sfu::CREDENTIAL_TTL.checked_div(5).unwrap().saturating_mul(4);
/// How long the workers may take to answer an offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the workers may take to confirm that somebody left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most video slots of one client: a window of seven by seven.
const MAX_VIDEO_SLOTS: usize = 49;
/// Messages a second from one member, and how many may come at once.
const MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();
const MESSAGE_BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// One member of a room.
pub(super) struct Member {
    app: Arc<App>,
    room: Arc<str>,
    session: Session,
    journey: Journey,
    others: Vec<ParticipantInfo>,
    resume: String,
    sockets: mpsc::Receiver<Box<WebSocket>>,
    reached: Reached,
    messages: DefaultDirectRateLimiter,
    _permit: OwnedSemaphorePermit,
}

/// What becomes of a member when it has no use for its WebSocket any more.
enum Next {
    /// The WebSocket dropped: wait for another.
    Wait,
    /// Another WebSocket took over.
    Switch(Box<WebSocket>),
    /// The stay has ended, or shall end now; the WebSocket, if there is one, is told so.
    End(CloseReason, Option<Link>),
}

impl Member {
    pub(super) fn new(
        app: Arc<App>,
        room: Arc<str>,
        session: Session,
        joined: Joined,
        journey: Journey,
        permit: OwnedSemaphorePermit,
        reached: Reached,
    ) -> Self {
        let (resume, sockets) = app.resumes.add(&room);
        let quota = Quota::per_second(MESSAGES_PER_SECOND).allow_burst(MESSAGE_BURST);
        Self {
            app,
            room,
            session,
            journey,
            others: joined.participants,
            resume,
            sockets,
            reached,
            messages: RateLimiter::direct(quota),
            _permit: permit,
        }
    }

    /// Serves the member until it leaves.
    pub(super) async fn run(mut self, link: Link) {
        let gauge = self.app.metrics.sessions.with_label_values(&[super::SUBPROTOCOL]);
        gauge.inc();
        let others = std::mem::take(&mut self.others);
        let mut next = match self.greet(link, &others).await {
            Ok(link) => self.attached(link).await,
            Err(next) => next,
        };
        drop(others);
        let (reason, link) = loop {
            next = match next {
                Next::Wait => self.detached().await,
                Next::Switch(socket) => self.resumed(Link::new(socket)).await,
                Next::End(reason, link) => break (reason, link),
            };
        };
        let reason = self.depart(reason).await;
        if let Some(link) = link {
            link.close_with(reason).await;
        }
        gauge.dec();
    }

    /// Leaves if that has not happened yet, and returns the reason that counts.
    async fn depart(&mut self, reason: CloseReason) -> CloseReason {
        self.app.resumes.remove(&self.resume);
        let _ = self.session.leave(reason);
        let closed = async {
            while let Some(notice) = self.session.next().await {
                if let Notice::Closed(reason) = *notice {
                    return Some(reason);
                }
            }
            None
        };
        let confirmed = timeout(LEAVE_TIMEOUT, closed).await.ok().flatten();
        let reason = confirmed.unwrap_or(reason);
        self.journey.left(reason);
        // A WebSocket that came in this very moment is better told than dropped.
        self.sockets.close();
        while let Ok(socket) = self.sockets.try_recv() {
            Link::new(socket).close_with(reason).await;
        }
        reason
    }

    async fn greet(&mut self, mut link: Link, others: &[ParticipantInfo]) -> Result<Link, Next> {
        let servers = self.ice_servers();
        let joined = ServerMessage::Joined {
            participant: self.session.id(),
            room: &self.room,
            participants: others,
            servers: &servers,
            resume: &self.resume,
            limits: RoomLimits {
                slots: SlotLimits { audio: self.app.config.rooms.loudest, video: MAX_VIDEO_SLOTS },
                participants: self.app.room_limits(&self.room).max_participants,
            },
        };
        match link.send(&joined).await {
            Ok(()) => Ok(link),
            Err(cut) => Err(self.cut_off(cut)),
        }
    }

    fn ice_servers(&self) -> IceServers {
        ice::servers(&self.app, &self.session.id().to_string(), &self.reached)
    }

    /// The room as it stands; the slots follow as notices, and then all is as ever.
    ///
    /// Notices older than that picture may follow it; clients take what is said of a participant or track as its
    /// state, so hearing of it twice does no harm.
    async fn resumed(&mut self, link: Link) -> Next {
        let mut others = match self.session.resume().await {
            Ok(Some(room)) => room.participants,
            // Ended, or the workers have: the reason is among the notices, where there is one.
            Ok(None) | Err(_) => return Next::End(CloseReason::Internal, Some(link)),
        };
        others.retain(|participant| participant.id != self.session.id());
        match self.greet(link, &others).await {
            Ok(link) => self.attached(link).await,
            Err(next) => next,
        }
    }

    async fn attached(&mut self, mut link: Link) -> Next {
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval_at(heard + PING_EVERY, PING_EVERY);
        let mut renew = tokio::time::interval_at(heard + RENEW_EVERY, RENEW_EVERY);
        loop {
            let sent = tokio::select! {
                notice = self.session.next() => match notice.as_deref() {
                    Some(Notice::Closed(reason)) => return Next::End(*reason, Some(link)),
                    Some(notice) => {
                        self.journey.notice(notice);
                        link.send(&ServerMessage::from_notice(notice)).await
                    }
                    None => return Next::End(CloseReason::Internal, Some(link)),
                },
                frame = link.receive() => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(Message::Text(text))) => match ClientMessage::parse(&text) {
                            Ok(ClientMessage::Leave) => return Next::End(CloseReason::Left, Some(link)),
                            Ok(message) => self.handle(message, &mut link).await,
                            Err(refusal) => self.refuse(refusal.id.as_ref(), &refusal.problem, &mut link).await,
                        },
                        Some(Ok(Message::Binary(_))) => {
                            let problem = Problem::new(Code::BadMessage, "frames are text");
                            self.refuse(None, &problem, &mut link).await
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        // A close frame is a goodbye; a connection that just breaks is not.
                        Some(Ok(Message::Close(_))) => {
                            // First things first: the others see it gone before the handshake is over.
                            let _ = self.session.leave(CloseReason::Left);
                            link.closed_by_client().await;
                            return Next::End(CloseReason::Left, None);
                        }
                        Some(Err(_)) | None => return Next::Wait,
                    }
                },
                socket = self.sockets.recv() => match socket {
                    Some(socket) => return Next::Switch(socket),
                    None => return Next::End(CloseReason::Internal, Some(link)),
                },
                _ = renew.tick() => match self.app.sfu.relay() {
                    Some(_) => link.send(&ServerMessage::IceServers { servers: &self.ice_servers() }).await,
                    None => Ok(()),
                },
                _ = ping.tick() => match heard.elapsed() < SILENCE {
                    true => link.ping().await,
                    false => return Next::Wait,
                },
            };
            if let Err(cut) = sent {
                return self.cut_off(cut);
            }
        }
    }

    /// Media goes on; notices are taken off the queue, since the room will be told anew.
    async fn detached(&mut self) -> Next {
        let deadline = Instant::now() + RESUME_GRACE;
        loop {
            tokio::select! {
                notice = self.session.next() => match notice.as_deref() {
                    Some(Notice::Closed(reason)) => return Next::End(*reason, None),
                    Some(notice) => self.journey.notice(notice),
                    None => return Next::End(CloseReason::Internal, None),
                },
                socket = self.sockets.recv() => match socket {
                    Some(socket) => return Next::Switch(socket),
                    None => return Next::End(CloseReason::Internal, None),
                },
                () = sleep_until(deadline) => return Next::End(CloseReason::Timeout, None),
            }
        }
    }

    async fn handle(&mut self, message: ClientMessage, link: &mut Link) -> Result<(), Cut> {
        if self.messages.check().is_err() {
            let problem = Problem::new(Code::Overloaded, "too many messages: slow down");
            return self.refuse(id_of(&message), &problem, link).await;
        }
        let done = match message {
            ClientMessage::Offer { id, sdp, tracks } => return self.offer(id, Offer { sdp, tracks }, link).await,
            ClientMessage::Ping(id) => return link.send(&ServerMessage::Pong { id: id.as_ref() }).await,
            ClientMessage::Join(_) => Err(Problem::new(Code::BadMessage, "join: you are in already")),
            ClientMessage::View(view) => self.session.view(view).map_err(Problem::from),
            ClientMessage::Mute(track, muted) => self.session.mute(track, muted).map_err(Problem::from),
            ClientMessage::Metadata(metadata) => self.session.set_metadata(metadata).map_err(Problem::from),
            ClientMessage::Leave => Ok(()),
        };
        match done {
            Ok(()) => Ok(()),
            Err(problem) => self.refuse(None, &problem, link).await,
        }
    }

    async fn offer(&mut self, id: Number, offer: Offer, link: &mut Link) -> Result<(), Cut> {
        let negotiation = timeout(OFFER_TIMEOUT, self.session.offer(offer)).instrument(self.journey.offer());
        let answered = negotiation.await.unwrap_or(Err(SfuError::Overloaded));
        match answered.map_err(Problem::from).and_then(|answer| answer.map_err(Problem::from)) {
            Ok(answer) => {
                self.journey.answered(&answer);
                let message = ServerMessage::Answer { id: &id, sdp: &answer.sdp, tracks: &answer.tracks };
                link.send(&message).await
            }
            // `closed` is on its way and says why.
            Err(problem) if problem.code == Code::SessionEnded => Ok(()),
            Err(problem) => self.refuse(Some(&id), &problem, link).await,
        }
    }

    /// A link could not be written to.
    fn cut_off(&mut self, cut: Cut) -> Next {
        // Who has come back over a new WebSocket does not read the old one, and is not slow for that.
        if let Ok(socket) = self.sockets.try_recv() {
            return Next::Switch(socket);
        }
        match cut {
            Cut::Broken => Next::Wait,
            Cut::Slow => Next::End(CloseReason::SlowReader, None),
        }
    }

    async fn refuse(&self, id: Option<&Number>, problem: &Problem, link: &mut Link) -> Result<(), Cut> {
        self.app.metrics.problems.with_label_values(&[&problem.code.text()]).inc();
        link.send(&ServerMessage::refusal(id, problem)).await
    }
}

fn id_of(message: &ClientMessage) -> Option<&Number> {
    match message {
        ClientMessage::Offer { id, .. } => Some(id),
        ClientMessage::Ping(id) => id.as_ref(),
        _ => None,
    }
}
