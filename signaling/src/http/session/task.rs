//! The sessions that are held, and the task that holds each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use weir_sfu::api::{CloseReason, Notice, Offer};
use weir_sfu::watching::{LayerChoice, Watched};
use weir_sfu::{Session, SfuError};

use super::super::fragment;
use super::Protocol;
use super::create::OFFER_TIMEOUT;
use super::events::Streams;
use crate::app::App;
use crate::error::{Code, Problem};
use crate::telemetry::Journey;

/// How long the workers may take to confirm that somebody left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked at what a viewer watches, while somebody listens.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The sessions of WHIP and WHEP by the secret in their URL.
#[derive(Debug, Default)]
pub(crate) struct SdpSessions {
    by_secret: DashMap<String, Resource>,
}

/// What HTTP needs of a session.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) protocol: Protocol,
    pub(super) room: Arc<str>,
    pub(super) identity: String,
    ice: Arc<Mutex<Ice>>,
    asks: mpsc::Sender<Ask>,
    /// What a viewer is told of its source.
    pub(super) streams: Arc<Streams>,
    /// What a viewer watches, as looked at last; closed when the session ends.
    pub(super) watched: watch::Receiver<Arc<Watched>>,
}

/// The current ICE session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ice {
    pub(super) server_ufrag: String,
    pub(super) client_ufrag: String,
}

impl Ice {
    /// The entity tag that names it (RFC 9725, section 4.3.1): strong and quoted.
    pub(super) fn etag(&self) -> String {
        format!("\"{}\"", self.server_ufrag)
    }
}

/// What the task is asked to do.
#[derive(Debug)]
enum Ask {
    Leave(oneshot::Sender<()>),
    /// Look now at what is watched.
    Look(oneshot::Sender<()>),
    Choose {
        media: Option<String>,
        choice: LayerChoice,
        reply: oneshot::Sender<Result<(), Problem>>,
    },
    Restart {
        expected: Option<String>,
        ufrag: String,
        pwd: String,
        reply: oneshot::Sender<Result<Restarted, Problem>>,
    },
}

/// ICE was restarted.
#[derive(Debug)]
pub(super) struct Restarted {
    pub(super) etag: String,
    pub(super) fragment: String,
}

/// What the task of a session owns.
pub(super) struct Held {
    pub(super) protocol: Protocol,
    pub(super) room: Arc<str>,
    pub(super) identity: String,
    pub(super) session: Session,
    pub(super) journey: Journey,
    /// The offer in force.
    pub(super) offer: String,
    #[expect(dead_code, reason = "held for what dropping it does")]
    pub(super) permit: OwnedSemaphorePermit,
}

impl SdpSessions {
    /// Holds a session until it ends.
    pub(super) fn hold(&self, app: &Arc<App>, secret: String, held: Held, ice: Ice) {
        let (asks, asked) = mpsc::channel(4);
        let ice = Arc::new(Mutex::new(ice));
        let streams = Arc::new(Streams::default());
        let (tell, watched) = watch::channel(Arc::new(Watched::default()));
        let resource = Resource {
            protocol: held.protocol,
            room: Arc::clone(&held.room),
            identity: held.identity.clone(),
            ice: Arc::clone(&ice),
            asks,
            streams: Arc::clone(&streams),
            watched,
        };
        self.by_secret.insert(secret.clone(), resource);
        let task = Task { app: Arc::clone(app), held, ice, streams, tell };
        app.tasks.spawn(task.run(secret, asked));
    }

    /// The session of that URL.
    pub(super) fn find(&self, protocol: Protocol, room: &str, secret: &str) -> Option<Resource> {
        let resource = self.by_secret.get(secret)?;
        (resource.protocol == protocol && &*resource.room == room).then(|| resource.clone())
    }

    /// Takes the session of that URL away: whoever gets it ends it.
    pub(super) fn take(&self, secret: &str) -> Option<Resource> {
        self.by_secret.remove(secret).map(|(_, resource)| resource)
    }
}

impl Resource {
    pub(super) fn ice(&self) -> Ice {
        self.ice.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the session and waits until it has left its room.
    pub(super) async fn leave(self) {
        let (done, left) = oneshot::channel();
        if self.asks.send(Ask::Leave(done)).await.is_ok() {
            let _ = timeout(LEAVE_TIMEOUT, left).await;
        }
    }

    /// Looks now at what is watched.
    pub(super) async fn look(&self) -> Result<(), Problem> {
        let (done, looked) = oneshot::channel();
        self.asks.send(Ask::Look(done)).await.map_err(|_| gone())?;
        looked.await.map_err(|_| gone())
    }

    /// Bounds what a line gets of its track.
    pub(super) async fn choose(&self, media: Option<String>, choice: LayerChoice) -> Result<(), Problem> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Choose { media, choice, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Restarts ICE with these credentials of the client, if the ICE session is still the one expected.
    pub(super) async fn restart(
        &self,
        expected: Option<String>,
        ufrag: String,
        pwd: String,
    ) -> Result<Restarted, Problem> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Restart { expected, ufrag, pwd, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> Problem {
    Problem::new(Code::NotFound, "the session has ended")
}

struct Task {
    app: Arc<App>,
    held: Held,
    ice: Arc<Mutex<Ice>>,
    streams: Arc<Streams>,
    tell: watch::Sender<Arc<Watched>>,
}

impl Task {
    async fn run(mut self, secret: String, mut asked: mpsc::Receiver<Ask>) {
        let gauge = self.app.metrics.sessions.with_label_values(&[self.held.protocol.name()]);
        gauge.inc();
        let mut waiting = None;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reason = loop {
            tokio::select! {
                notice = self.held.session.next() => match notice.as_deref() {
                    Some(Notice::Closed(reason)) => break *reason,
                    Some(notice) => {
                        self.held.journey.notice(notice);
                        if matches!(notice, Notice::Slots(_)) && !self.streams.is_empty() {
                            self.look().await;
                        }
                    }
                    None => break CloseReason::Internal,
                },
                _ = looks.tick(), if !self.streams.is_empty() => self.look().await,
                ask = asked.recv() => match ask {
                    Some(Ask::Look(done)) => {
                        self.look().await;
                        let _ = done.send(());
                    }
                    Some(Ask::Choose { media, choice, reply }) => {
                        let _ = reply.send(self.choose(media, choice).await);
                    }
                    Some(Ask::Leave(done)) => {
                        waiting = Some(done);
                        break self.left().await;
                    }
                    Some(Ask::Restart { expected, ufrag, pwd, reply }) => {
                        let _ = reply.send(self.restart(expected, ufrag, &pwd).await);
                    }
                    // The URL is gone, so nobody could end it any more.
                    None => break self.left().await,
                },
            }
        };
        self.app.sdp_sessions.take(&secret);
        self.held.journey.left(reason);
        gauge.dec();
        // The session, and with it the place in the room and among the sessions, is free before the client hears it.
        drop(self);
        if let Some(done) = waiting {
            let _ = done.send(());
        }
    }

    /// Looks at what is watched, for the streams of events.
    async fn look(&self) {
        if let Ok(Some(watched)) = self.held.session.watched().await {
            self.tell.send_replace(Arc::new(watched));
        }
    }

    async fn choose(&self, media: Option<String>, choice: LayerChoice) -> Result<(), Problem> {
        Ok(self.held.session.choose(media, choice).await??)
    }

    async fn left(&mut self) -> CloseReason {
        let _ = self.held.session.leave(CloseReason::Left);
        let closed = async {
            while let Some(notice) = self.held.session.next().await {
                if let Notice::Closed(reason) = *notice {
                    return reason;
                }
            }
            CloseReason::Left
        };
        timeout(LEAVE_TIMEOUT, closed).await.unwrap_or(CloseReason::Left)
    }

    /// An ICE restart is the offer in force with new credentials. Where it fails, all stays as it was.
    async fn restart(&mut self, expected: Option<String>, ufrag: String, pwd: &str) -> Result<Restarted, Problem> {
        let current = self.ice.lock().unwrap_or_else(PoisonError::into_inner).etag();
        if expected.is_some_and(|expected| expected != current) {
            return Err(Problem::new(Code::PreconditionFailed, "that ICE session is over"));
        }
        let refused = || Problem::new(Code::UnacceptableOffer, "ICE cannot be restarted on this session");
        let sdp = fragment::restarted_offer(&self.held.offer, &ufrag, pwd);
        let offer = Offer { sdp: sdp.clone(), tracks: Vec::new() };
        let answered = timeout(OFFER_TIMEOUT, self.held.session.offer(offer)).await;
        let answer = answered.unwrap_or(Err(SfuError::Overloaded))?.map_err(|_| refused())?;
        let mut ice = self.ice.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.ice_ufrag == ice.server_ufrag {
            return Err(refused());
        }
        self.held.offer = sdp;
        *ice = Ice { server_ufrag: answer.ice_ufrag, client_ufrag: ufrag };
        Ok(Restarted { etag: ice.etag(), fragment: fragment::of_answer(&answer.sdp) })
    }
}
