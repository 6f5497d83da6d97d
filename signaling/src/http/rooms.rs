//! The admin API on rooms.
//!
//! A room that is not there and one that the token may not know of get the same answer, so that nobody can find out
//! the names of rooms by asking.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use dashmap::mapref::entry::Entry;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use weir_sfu::api::{ParticipantId, RoomInfo, TrackId};

use super::{Answered, Source, json};
use crate::app::{App, RoomLimits};
use crate::auth::{self, Claims};
use crate::error::{Code, Problem};
use crate::limits::{MAX_JSON_BYTES, read_text};

/// Somebody with the admin grant, for one room or for all.
pub(super) struct Admin(Claims);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Ok(Source(source)) = Source::from_request_parts(parts, app).await;
        if !app.auth.required() {
            only_from_here(app, parts, source)?;
            return Ok(Self(Claims { admin: true, room: String::from(auth::ANY_ROOM), ..Claims::default() }));
        }
        let claims = app.auth.claims(auth::bearer(&parts.headers), "")?;
        Ok(Self(claims))
    }
}

/// Without keys the admin API is open, but to this machine only, and not to pages of elsewhere that run on it.
fn only_from_here(app: &App, parts: &Parts, source: SocketAddr) -> Result<(), Problem> {
    let here = source.ip().to_canonical().is_loopback() && app.origins.names_loopback(&parts.headers, &parts.uri);
    if here && app.origins.allow(&parts.headers, &parts.uri) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "without keys the admin API answers this machine only: configure a key"))
}

impl Admin {
    fn of(&self, room: &str) -> Result<(), Problem> {
        if auth::is_room_name(room) && self.0.administers(room) {
            return Ok(());
        }
        Err(Problem::not_found())
    }
}

/// Reads the id of a participant. That it is in this room is for the room's shard to check.
fn participant(admin: &Admin, room: &str, id: &str) -> Result<ParticipantId, Problem> {
    admin.of(room)?;
    id.parse().map_err(|_| Problem::not_found())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    #[serde(flatten)]
    info: RoomInfo,
    max_participants: usize,
    max_publishers: usize,
}

impl Room {
    fn new(app: &App, info: RoomInfo) -> Self {
        let limits = app.room_limits(&info.name);
        Self::with(info, limits)
    }

    /// Created, and nobody in it.
    fn empty(name: Arc<str>, limits: RoomLimits) -> Self {
        Self::with(RoomInfo { name, participants: Vec::new(), viewers: 0 }, limits)
    }

    fn with(info: RoomInfo, limits: RoomLimits) -> Self {
        Self { info, max_participants: limits.max_participants, max_publishers: limits.max_publishers }
    }
}

async fn find(app: &App, admin: &Admin, name: &str) -> Result<Room, Problem> {
    admin.of(name)?;
    let name: Arc<str> = name.into();
    if let Some(info) = app.sfu.rooms(Some(Arc::clone(&name))).await?.into_iter().next() {
        return Ok(Room::new(app, info));
    }
    let created = app.created.get(&name).map(|limits| *limits);
    created.map(|limits| Room::empty(name, limits)).ok_or_else(Problem::not_found)
}

/// `GET /v1/rooms`: those that the token administers.
pub(super) async fn list(State(app): State<Arc<App>>, admin: Admin) -> Answered {
    if !admin.0.admin {
        return Err(Problem::new(Code::Forbidden, "the token has no admin grant"));
    }
    let mut rooms: Vec<_> = app.sfu.rooms(None).await?.into_iter().map(|info| Room::new(&app, info)).collect();
    for created in &app.created {
        if !rooms.iter().any(|room| room.info.name == *created.key()) {
            rooms.push(Room::empty(Arc::clone(created.key()), *created.value()));
        }
    }
    rooms.retain(|room| admin.0.administers(&room.info.name));
    rooms.sort_by(|left, right| left.info.name.cmp(&right.info.name));
    Ok(json(StatusCode::OK, &value!({ "rooms": rooms })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateRoom {
    name: String,
    max_participants: Option<usize>,
    max_publishers: Option<usize>,
}

/// `POST /v1/rooms {name, maxParticipants?, maxPublishers?}`: settles the limits of a room before anybody is in it.
pub(super) async fn create(State(app): State<Arc<App>>, admin: Admin, body: Body) -> Answered {
    if !admin.0.admin {
        return Err(Problem::new(Code::Forbidden, "the token has no admin grant"));
    }
    let wanted: CreateRoom = read(body).await?;
    auth::room_name(&wanted.name)?;
    if !admin.0.administers(&wanted.name) {
        return Err(Problem::new(Code::Forbidden, "the token is of another room"));
    }
    let usual = app.default_limits();
    let limits = RoomLimits {
        max_participants: wanted.max_participants.unwrap_or(usual.max_participants),
        max_publishers: wanted.max_publishers.unwrap_or(usual.max_publishers),
    };
    if limits.max_participants == 0 || limits.max_publishers == 0 {
        return Err(Problem::new(Code::BadMessage, "maxParticipants and maxPublishers are at least 1"));
    }
    let name: Arc<str> = wanted.name.into();
    let taken = || Problem::new(Code::RoomExists, "there is a room of that name");
    if !app.sfu.rooms(Some(Arc::clone(&name))).await?.is_empty() {
        return Err(taken());
    }
    if app.created.len() >= app.config.limits.max_created_rooms {
        return Err(Problem::new(Code::Overloaded, "as many rooms as may be are created: close some"));
    }
    match app.created.entry(Arc::clone(&name)) {
        Entry::Occupied(_) => return Err(taken()),
        Entry::Vacant(entry) => entry.insert(limits),
    };
    let location = [(header::LOCATION, format!("/v1/rooms/{name}"))];
    Ok((location, json(StatusCode::CREATED, &Room::empty(name, limits))).into_response())
}

async fn read<T: for<'de> Deserialize<'de>>(body: Body) -> Result<T, Problem> {
    let text = read_text(body, MAX_JSON_BYTES, Code::TooLarge).await?;
    serde_json::from_str(&text).map_err(|error| Problem::new(Code::BadMessage, error.to_string()))
}

/// `GET /v1/rooms/{room}`.
pub(super) async fn show(State(app): State<Arc<App>>, admin: Admin, Path(room): Path<String>) -> Answered {
    Ok(json(StatusCode::OK, &find(&app, &admin, &room).await?))
}

/// `DELETE /v1/rooms/{room}`: everyone in it is told `room-closed`.
pub(super) async fn close(State(app): State<Arc<App>>, admin: Admin, Path(room): Path<String>) -> Answered {
    admin.of(&room)?;
    let created = app.created.remove(&*room).is_some();
    let closed = app.sfu.close_room(room.into()).await?;
    done(created || closed)
}

/// `GET /v1/rooms/{room}/participants`.
pub(super) async fn participants(State(app): State<Arc<App>>, admin: Admin, Path(room): Path<String>) -> Answered {
    let room = find(&app, &admin, &room).await?;
    Ok(json(StatusCode::OK, &value!({ "participants": room.info.participants })))
}

/// `DELETE /v1/rooms/{room}/participants/{id}`: it is told `removed`.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((room, id)): Path<(String, String)>,
) -> Answered {
    let id = participant(&admin, &room, &id)?;
    done(app.sfu.remove(room.into(), id).await?)
}

/// `GET /v1/rooms/{room}/participants/{id}/subscriptions`: what it receives, and why.
pub(super) async fn subscriptions(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((room, id)): Path<(String, String)>,
) -> Answered {
    let id = participant(&admin, &room, &id)?;
    let subscriptions = app.sfu.subscriptions(room.into(), id).await?;
    let subscriptions = subscriptions.ok_or_else(Problem::not_found)?;
    Ok(json(StatusCode::OK, &value!({ "subscriptions": subscriptions })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mute {
    muted: bool,
}

/// `POST /v1/rooms/{room}/participants/{id}/tracks/{track}/mute {muted}`.
pub(super) async fn mute(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((room, id, track)): Path<(String, String, String)>,
    body: Body,
) -> Answered {
    let id = participant(&admin, &room, &id)?;
    let track: TrackId = track.parse().map_err(|_| Problem::not_found())?;
    let wanted: Mute = read(body).await?;
    done(app.sfu.mute(room.into(), id, track, wanted.muted).await?)
}

fn done(found: bool) -> Answered {
    match found {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Problem::not_found()),
    }
}
