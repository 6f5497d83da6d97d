//! `GET`, `PATCH` and `DELETE` on a session's URL.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;

use super::super::{Answered, Source, fragment};
use super::task::Resource;
use super::{Protocol, content_type};
use crate::app::App;
use crate::auth;
use crate::error::{Code, Problem};
use crate::ice::{self, Reached};
use crate::limits::{MAX_FRAGMENT_BYTES, read_text};

/// `GET` and `HEAD`: empty, as RFC 9725 section 4.1 reserves them.
pub(super) async fn exists(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Path((room, secret)): Path<(String, String)>,
) -> Answered {
    let found = app.sdp_sessions.find(protocol, &room, &secret);
    found.map(|_| StatusCode::OK.into_response()).ok_or_else(Problem::not_found)
}

/// Whoever knows the URL and has a token for the room, of the identity that made the session.
pub(super) fn authorize(
    app: &App,
    protocol: Protocol,
    room: &str,
    secret: &str,
    headers: &HeaderMap,
) -> Result<Resource, Problem> {
    let claims = app.auth.http_claims(headers, room)?;
    protocol.granted(&claims)?;
    let resource = app.sdp_sessions.find(protocol, room, secret).ok_or_else(Problem::not_found)?;
    if resource.identity != claims.sub {
        return Err(Problem::new(Code::Forbidden, "the session is of another identity"));
    }
    Ok(resource)
}

/// `DELETE`: ends the session, whatever `If-Match` says.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Source(source): Source,
    Path((room, secret)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answered {
    app.limits.request(source)?;
    authorize(&app, protocol, &room, &secret, &headers)?;
    let resource = app.sdp_sessions.take(&secret).ok_or_else(Problem::not_found)?;
    resource.leave().await;
    Ok(StatusCode::OK.into_response())
}

/// `PATCH`: trickled candidates, or an ICE restart.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    Extension(protocol): Extension<Protocol>,
    Source(source): Source,
    Path((room, secret)): Path<(String, String)>,
    (headers, uri): (HeaderMap, Uri),
    body: Body,
) -> Answered {
    app.limits.request(source)?;
    let resource = authorize(&app, protocol, &room, &secret, &headers)?;
    content_type(&headers, fragment::CONTENT_TYPE)?;
    let condition = Condition::read(&headers)?;
    let said = fragment::read(&read_text(body, MAX_FRAGMENT_BYTES, Code::TooLarge).await?)?;
    let ice = resource.ice();
    let expected = match condition {
        Condition::Any => None,
        Condition::Tags(tags) if tags.contains(&ice.etag()) => Some(ice.etag()),
        Condition::Tags(_) => return Err(Problem::new(Code::PreconditionFailed, "that ICE session is over")),
    };
    // New credentials mean a restart, with `*` and with the current tag (RFC 9725, section 4.3.3).
    let new = said.ufrag.as_ref().is_some_and(|ufrag| *ufrag != ice.client_ufrag);
    if expected.is_some() && !new {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (Some(ufrag), Some(pwd)) = (said.ufrag, said.pwd) else {
        return Err(Problem::new(Code::UnacceptableOffer, "an ICE restart needs new ice-ufrag and ice-pwd"));
    };
    let restarted = resource.restart(expected, ufrag, pwd).await?;
    let answered = [(header::ETAG, restarted.etag), (header::CONTENT_TYPE, fragment::CONTENT_TYPE.into())];
    let mut response = (answered, restarted.fragment).into_response();
    // Those of the creation allocate no more by now.
    let told = ice::servers(&app, &auth::random_text::<8>(), &Reached::of(&app, &headers, &uri));
    ice::add_links(response.headers_mut(), &told.ice_servers);
    Ok(response)
}

/// `If-Match` (RFC 9110, section 13.1.1).
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// `*`, or `"*"` as RFC 9725's own examples have it.
    Any,
    Tags(Vec<String>),
}

impl Condition {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let values: Vec<_> = headers.get_all(header::IF_MATCH).iter().filter_map(|v| v.to_str().ok()).collect();
        if values.is_empty() {
            return Err(Problem::new(Code::PreconditionRequired, "say which ICE session is meant: If-Match"));
        }
        // Entity tags here never hold a comma: ice-chars only.
        let tags: Vec<_> = values.iter().flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
        match tags.iter().any(|tag| tag == "*" || tag == "\"*\"") {
            true => Ok(Self::Any),
            false => Ok(Self::Tags(tags)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(values: &[&'static str]) -> Result<Condition, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().expect("a value"));
        }
        Condition::read(&headers).map_err(|problem| problem.code)
    }

    #[test]
    fn if_match_is_read() {
        assert_eq!(condition(&[]), Err(Code::PreconditionRequired));
        assert_eq!(condition(&["*"]), Ok(Condition::Any));
        assert_eq!(condition(&["\"*\""]), Ok(Condition::Any));
        assert_eq!(condition(&["\"a\", \"b\""]), Ok(Condition::Tags(vec!["\"a\"".into(), "\"b\"".into()])));
        assert_eq!(condition(&["\"a\"", "\"b\""]), Ok(Condition::Tags(vec!["\"a\"".into(), "\"b\"".into()])));
    }
}
