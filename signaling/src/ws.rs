//! The browser protocol `weir.v1` over WebSocket: docs/PROTOCOL.md.

mod incoming;
mod link;
mod member;
mod outgoing;
pub(crate) mod resume;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use weir_sfu::api::{CloseReason, Join, Role, Watch};

use crate::app::{App, new_participant_id};
use crate::auth::{self, Claims};
use crate::error::{Code, Problem};
use crate::http::Source;
use crate::ice::Reached;
use crate::limits::MAX_MESSAGE_BYTES;
use crate::telemetry::Journey;
use incoming::{ClientMessage, Join as JoinMessage};
use link::Link;
use member::Member;
use outgoing::ServerMessage;

/// The subprotocol spoken here.
pub(crate) const SUBPROTOCOL: &str = "weir.v1";

/// How long a client may take to say `join`.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How much may wait in memory for one socket before writing fails, in bytes.
const MAX_WRITE_BUFFER_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// `GET /v1/rooms/{room}/ws`.
pub(crate) async fn upgrade(
    State(app): State<Arc<App>>,
    Source(source): Source,
    room: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let checked = (|| {
        app.refuse_while_draining()?;
        app.limits.request(source)?;
        let Ok(Path(room)) = room else {
            return Err(Problem::not_found());
        };
        auth::room_name(&room)?;
        // Browsers let any page open a WebSocket to anywhere; only the server can say no.
        if !app.origins.allow(&headers, &uri) {
            let detail = "pages of this origin may not connect: add it to http.allowed_origins";
            return Err(Problem::new(Code::Forbidden, detail));
        }
        Ok(room)
    })();
    let reached = Reached::of(&app, &headers, &uri);
    let room = match checked {
        Ok(room) => room,
        Err(problem) => return problem.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([SUBPROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        return Problem::new(Code::BadRequest, "ask for the subprotocol weir.v1").into_response();
    }
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .on_upgrade(move |socket| app.clone().tasks.track_future(connected(app, room.into(), socket, reached)))
}

/// From the open socket to the member, or to the door.
async fn connected(app: Arc<App>, room: Arc<str>, socket: WebSocket, reached: Reached) {
    let mut link = Link::new(Box::new(socket));
    let join = tokio::select! {
        join = timeout(JOIN_TIMEOUT, first_message(&mut link)) => {
            join.unwrap_or_else(|_| Some(Err(Problem::new(Code::NotJoined, "no join within 10 seconds"))))
        }
        () = app.draining.cancelled() => {
            link.close_with(CloseReason::ServerShutdown).await;
            return;
        }
    };
    let admitted = match join {
        Some(Ok(join)) => admit(&app, &room, join, link, reached).await,
        Some(Err(problem)) => Err((problem, link)),
        // It went away before it said anything.
        None => return,
    };
    match admitted {
        Ok(Some((member, link))) => member.run(link).await,
        Ok(None) => {}
        Err((problem, link)) => refuse(&app, link, &problem).await,
    }
}

async fn refuse(app: &App, mut link: Link, problem: &Problem) {
    app.metrics.problems.with_label_values(&[&problem.code.text()]).inc();
    if link.send(&ServerMessage::refusal(None, problem)).await.is_ok() {
        link.close_after(problem.code).await;
    }
}

/// The `join`; none if the client went away.
async fn first_message(link: &mut Link) -> Option<Result<JoinMessage, Problem>> {
    loop {
        let text = match link.receive().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return Some(Err(Problem::new(Code::BadMessage, "frames are text"))),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
        };
        return Some(match ClientMessage::parse(&text) {
            Ok(ClientMessage::Join(join)) => Ok(join),
            Ok(_) => Err(Problem::new(Code::NotJoined, "the first message must be join")),
            Err(refusal) => Err(refusal.problem),
        });
    }
}

/// Lets a client in: as a new member, or, with nothing more to do here, back into its old place.
async fn admit(
    app: &Arc<App>,
    room: &Arc<str>,
    join: JoinMessage,
    link: Link,
    reached: Reached,
) -> Result<Option<(Member, Link)>, (Problem, Link)> {
    if let Some(word) = &join.resume {
        // The word is a secret of its own and outlives the token: media went on meanwhile anyway.
        let Err(socket) = app.resumes.hand_over(word, room, link.into_socket()) else {
            return Ok(None);
        };
        return Err((Problem::new(Code::ResumeFailed, "that session is gone: join anew"), Link::new(socket)));
    }
    match enter(app, room, join, reached).await {
        Ok(member) => Ok(Some((member, link))),
        Err(problem) => Err((problem, link)),
    }
}

async fn enter(app: &Arc<App>, room: &Arc<str>, join: JoinMessage, reached: Reached) -> Result<Member, Problem> {
    let claims = app.auth.claims(join.token.as_deref(), room)?;
    if claims.room != **room {
        return Err(Problem::new(Code::Unauthorized, "the token is of another room"));
    }
    if !(claims.publish || claims.subscribe) {
        return Err(Problem::new(Code::Forbidden, "the token grants neither publish nor subscribe"));
    }
    let permit = app.limits.session()?;
    let participant = new_participant_id();
    let journey = Journey::begin(room, participant, Role::Member);
    let request = Join {
        participant,
        room: Arc::clone(room),
        create: true,
        name: display_name(&claims, join.name),
        identity: claims.sub,
        role: Role::Member,
        watch: Watch::default(),
        can_publish: claims.publish,
        can_subscribe: claims.subscribe,
        metadata: join.metadata,
        max_participants: app.room_limits(room).max_participants,
        max_publishers: app.room_limits(room).max_publishers,
    };
    let (session, joined) = app.sfu.join(request).await??;
    journey.joined();
    Ok(Member::new(Arc::clone(app), Arc::clone(room), session, joined, journey, permit, reached))
}

/// A name in the token wins: who signed it vouches for it.
fn display_name(claims: &Claims, said: Option<String>) -> String {
    claims.name.clone().or(said).unwrap_or_default()
}

#[cfg(test)]
mod tests;
