//! `POST /whep/{room}[?participant=&track=&wait=true]`: watching over WHEP (draft-ietf-wish-whep).

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use serde::Deserialize;
use weir_sfu::api::{Join, Role, Watch};

use super::routes::Routes;
use super::session::{self, Protocol};
use super::{Answered, Source};
use crate::app::{App, new_participant_id};
use crate::error::{Code, Problem};

pub(super) fn routes() -> Routes {
    session::routes(Protocol::Whep, axum::routing::post(watch))
}

#[derive(Deserialize)]
struct Named {
    participant: Option<String>,
    track: Option<String>,
    /// Come before the publisher: the session is made all the same, and plays when there is something to play.
    #[serde(default)]
    wait: bool,
}

async fn watch(
    State(app): State<Arc<App>>,
    Source(source): Source,
    Path(room): Path<String>,
    named: Result<Query<Named>, QueryRejection>,
    request: Request,
) -> Answered {
    let name: Arc<str> = room.as_str().into();
    let limits = app.room_limits(&room);
    session::create(&app, Protocol::Whep, source, &room, request, |entry| {
        let (watch, wait) = source_named(named)?;
        Ok(Join {
            participant: new_participant_id(),
            room: name,
            create: wait,
            name: entry.display_name(Protocol::Whep),
            identity: entry.claims.sub,
            role: Role::Viewer,
            watch,
            can_publish: false,
            can_subscribe: true,
            metadata: String::new(),
            max_participants: limits.max_participants,
            max_publishers: limits.max_publishers,
        })
    })
    .await
}

fn source_named(named: Result<Query<Named>, QueryRejection>) -> Result<(Watch, bool), Problem> {
    let bad = |detail: &str| Problem::new(Code::BadRequest, detail);
    let Query(named) = named.map_err(|_| bad("the query cannot be read"))?;
    let participant = named.participant.map(|id| id.parse()).transpose();
    let track = named.track.map(|id| id.parse()).transpose();
    let watch = Watch {
        participant: participant.map_err(|_| bad("participant is not the id of a participant"))?,
        track: track.map_err(|_| bad("track is not the id of a track"))?,
    };
    Ok((watch, named.wait))
}
