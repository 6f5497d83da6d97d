//! `POST /whip/{room}`: publishing over WHIP (RFC 9725).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use weir_sfu::api::{Join, Role, Watch};

use super::session::{self, Entry, Protocol};
use super::{Answered, Source};
use crate::app::{App, new_participant_id};

pub(super) fn routes() -> Router<Arc<App>> {
    session::routes(Protocol::Whip, axum::routing::post(publish))
}

async fn publish(
    State(app): State<Arc<App>>,
    Source(source): Source,
    Path(room): Path<String>,
    request: Request,
) -> Answered {
    let entry = Entry::check(&app, Protocol::Whip, source, &room, &request)?;
    let join = Join {
        participant: new_participant_id(),
        room: room.as_str().into(),
        create: true,
        name: entry.display_name(Protocol::Whip),
        identity: entry.claims.sub,
        role: Role::Publisher,
        watch: Watch::default(),
        can_publish: true,
        can_subscribe: false,
        metadata: String::new(),
        max_participants: app.max_participants(&room),
    };
    session::start(&app, Protocol::Whip, join, request.into_body()).await
}
