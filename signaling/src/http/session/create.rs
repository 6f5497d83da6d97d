//! `POST` on the endpoint: from the offer to the answer and the session's URL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::Instrument;
use weir_sfu::api::{Join, JoinError, Offer};
use weir_sfu::{Session, SfuError};

use super::super::{Answered, fragment};
use super::task::{Held, Ice};
use super::{Protocol, SDP, content_type, events, layer};
use crate::app::App;
use crate::auth::{self, Claims};
use crate::error::{Code, Problem};
use crate::ice::{self, Reached};
use crate::limits::{MAX_SDP_BYTES, read_text};
use crate::telemetry::Journey;

/// How long an offer may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the workers may take to answer an offer.
pub(super) const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that may create a session, as far as its head tells.
pub(in crate::http) struct Entry {
    pub(in crate::http) claims: Claims,
}

/// Takes an offer: `join` says how its maker takes part. Where this server has no room left, another one may.
pub(in crate::http) async fn create(
    app: &Arc<App>,
    protocol: Protocol,
    source: SocketAddr,
    room: &str,
    request: Request,
    join: impl FnOnce(Entry) -> Result<Join, Problem>,
) -> Answered {
    let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let entered = async {
        let entry = Entry::check(app, protocol, source, room, &request)?;
        let permit = app.limits.session()?;
        let reached = Reached::of(app, request.headers(), request.uri());
        start(app, protocol, join(entry)?, permit, request.into_body(), &reached).await
    };
    entered.await.or_else(|problem| elsewhere(app, problem, &asked))
}

/// RFC 9725, section 4.5: 307, because the offer must be sent there again, and because that server may have room later.
fn elsewhere(app: &App, problem: Problem, asked: &str) -> Answered {
    match &app.config.limits.overflow {
        Some(server) if problem.code == Code::Overloaded => {
            let headers = [(header::LOCATION, format!("{server}{asked}")), (header::CACHE_CONTROL, "no-store".into())];
            Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
        }
        _ => Err(problem),
    }
}

impl Entry {
    /// Checks all that can be checked before the body is read.
    fn check(
        app: &App,
        protocol: Protocol,
        source: SocketAddr,
        room: &str,
        request: &Request,
    ) -> Result<Self, Problem> {
        app.refuse_while_draining()?;
        app.limits.request(source)?;
        auth::room_name(room)?;
        let claims = app.auth.http_claims(request.headers(), room)?;
        protocol.granted(&claims)?;
        content_type(request.headers(), SDP)?;
        Ok(Self { claims })
    }

    /// The name to show: the token's, or its identity, or the protocol's.
    pub(in crate::http) fn display_name(&self, protocol: Protocol) -> String {
        let identity = Some(self.claims.sub.clone()).filter(|identity| !identity.is_empty());
        let name = self.claims.name.clone().or(identity);
        name.unwrap_or_else(|| protocol.name().to_ascii_uppercase())
    }
}

/// Joins the room, answers the offer and keeps the session.
async fn start(
    app: &Arc<App>,
    protocol: Protocol,
    join: Join,
    permit: OwnedSemaphorePermit,
    body: Body,
    reached: &Reached,
) -> Answered {
    let sdp = read_offer(body).await?;
    let client = fragment::read(&sdp).map_err(|_| Problem::new(Code::BadOffer, "the body is not SDP"))?;
    let (room, identity, role) = (Arc::clone(&join.room), join.identity.clone(), join.role);
    let mut journey = Journey::begin(&room, join.participant, role);
    let (session, _) = app.sfu.join(join).await?.map_err(|error| join_problem(app, &room, error))?;
    journey.joined();
    let answered = negotiate(&session, &sdp, &journey).await;
    let answer = match answered {
        Ok(answer) => answer,
        Err(problem) => {
            journey.refused(problem.code);
            return Err(problem);
        }
    };
    journey.answered(&answer);
    let secret = auth::random_text::<24>();
    let location = format!("/{}/{room}/{secret}", protocol.name());
    let ice_session = Ice { server_ufrag: answer.ice_ufrag.clone(), client_ufrag: client.ufrag.unwrap_or_default() };
    let mut headers = created_headers(&location, &ice_session.etag());
    ice::add_links(&mut headers, &ice::servers(app, &session.id().to_string(), reached).ice_servers);
    if protocol == Protocol::Whep {
        let links = [events::link(&location), layer::link(&location)];
        links.iter().for_each(|link| _ = HeaderValue::from_str(link).map(|value| headers.append(header::LINK, value)));
    }
    let held = Held { protocol, room, identity, session, journey, offer: sdp, permit };
    app.sdp_sessions.hold(app, secret, held, ice_session);
    Ok(created(headers, answer.sdp))
}

async fn read_offer(body: Body) -> Result<String, Problem> {
    let sdp = timeout(BODY_TIMEOUT, read_text(body, MAX_SDP_BYTES, Code::OfferTooLarge)).await;
    let sdp = sdp.map_err(|_| Problem::new(Code::RequestTimeout, "the offer took too long to arrive"))??;
    // Looked at before joining: a new session replaces an old one of its identity, and a stray request must not.
    if !(sdp.starts_with("v=0") && sdp.contains("\nm=")) {
        return Err(Problem::new(Code::BadOffer, "the body is not an SDP offer with media"));
    }
    Ok(sdp)
}

fn join_problem(app: &App, room: &str, error: JoinError) -> Problem {
    match error {
        // Created over the admin API, and empty so far.
        JoinError::UnknownRoom if app.created.contains_key(room) => JoinError::NothingPublished.into(),
        error => error.into(),
    }
}

async fn negotiate(session: &Session, sdp: &str, journey: &Journey) -> Result<weir_sfu::api::Answer, Problem> {
    let offer = Offer { sdp: sdp.to_owned(), tracks: Vec::new() };
    let answered = timeout(OFFER_TIMEOUT, session.offer(offer)).instrument(journey.offer()).await;
    Ok(answered.unwrap_or(Err(SfuError::Overloaded))??)
}

fn created_headers(location: &str, etag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("accept-patch", HeaderValue::from_static(fragment::CONTENT_TYPE));
    let texts = [(header::LOCATION, location), (header::ETAG, etag)];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    headers
}

fn created(headers: HeaderMap, sdp: String) -> Response {
    (StatusCode::CREATED, headers, sdp).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_offer_is_refused_before_anybody_joins() {
        for text in ["", "hello", "v=0\r\n", "m=audio"] {
            assert_eq!(read_offer(Body::from(text)).await.map_err(|p| p.code), Err(Code::BadOffer), "{text}");
        }
        let huge = format!("v=0\r\nm=audio\r\n{}", "x".repeat(MAX_SDP_BYTES));
        assert_eq!(read_offer(Body::from(huge)).await.map_err(|p| p.code), Err(Code::OfferTooLarge));
    }
}
