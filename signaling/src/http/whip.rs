//! `POST /whip/{room}`: publishing over WHIP (RFC 9725).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use weir_sfu::api::{Join, Role, Watch};

use super::routes::Routes;
use super::session::{self, Protocol};
use super::{Answered, Source};
use crate::app::{App, new_participant_id};

pub(super) fn routes() -> Routes {
    session::routes(Protocol::Whip, axum::routing::post(publish))
}

async fn publish(
    State(app): State<Arc<App>>,
    Source(source): Source,
    Path(room): Path<String>,
    request: Request,
) -> Answered {
    let name: Arc<str> = room.as_str().into();
    let limits = app.room_limits(&room);
    session::create(&app, Protocol::Whip, source, &room, request, |entry| {
        Ok(Join {
            participant: new_participant_id(),
            room: name,
            create: true,
            name: entry.display_name(Protocol::Whip),
            identity: entry.claims.sub,
            role: Role::Publisher,
            watch: Watch::default(),
            can_publish: true,
            can_subscribe: false,
            metadata: String::new(),
            max_participants: limits.max_participants,
            max_publishers: limits.max_publishers,
        })
    })
    .await
}
