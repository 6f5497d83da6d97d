//! Errors as the outside sees them: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! A [`Problem`] is what the caller may read. What only the log needs is logged where it happens.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use weir_sfu::SfuError;
use weir_sfu::api::{JoinError, OfferError};
use weir_sfu::watching::ChoiceError;

/// What happened, in a word that programs may rely on. Never renamed, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Code {
    /// The request itself is broken: path, query or headers.
    BadRequest,
    /// Not a JSON text of the shape expected, over WebSocket or HTTP.
    BadMessage,
    /// The first WebSocket message was not `join`.
    NotJoined,
    /// The room's name is not 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
    BadRoomName,
    /// The SDP cannot be read.
    BadOffer,
    /// The token is missing, expired, badly signed, or (over WebSocket) of another room.
    Unauthorized,
    /// The token has no grant for this, or the web page's origin is not allowed.
    Forbidden,
    /// There is no such thing, or none that the token may know of.
    NotFound,
    /// The thing is there, but not by this method.
    MethodNotAllowed,
    /// The room exists already.
    RoomExists,
    /// The room exists, but nobody publishes in it yet.
    NothingPublished,
    /// As many publish in the room as may.
    PublishersFull,
    /// No such layer, or none to choose from now.
    LayerUnavailable,
    /// The session ended while it was being set up.
    SessionEnded,
    /// A conditional request whose `If-Match` names an ICE session of the past.
    PreconditionFailed,
    /// A request that needs `If-Match` came without.
    PreconditionRequired,
    /// The body is larger than allowed.
    TooLarge,
    /// The SDP is larger than allowed.
    OfferTooLarge,
    /// The body is of a type that is not taken here.
    UnsupportedMediaType,
    /// Understood, but it asks for what cannot be had.
    UnacceptableOffer,
    /// The request took too long to arrive.
    RequestTimeout,
    /// Too many requests from this address.
    RateLimited,
    /// The room holds as many as it may.
    RoomFull,
    /// The session to resume is gone.
    ResumeFailed,
    /// The server cannot take this now: too busy, full, or shutting down.
    Overloaded,
    /// A fault of the server.
    Internal,
}

impl Code {
    /// The code as it is written.
    pub(crate) fn text(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(text)) => text,
            _ => String::from("internal"),
        }
    }

    /// The HTTP status it comes with.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadMessage | Self::NotJoined | Self::BadRoomName | Self::BadOffer => {
                StatusCode::BAD_REQUEST
            }
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::ResumeFailed => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RoomExists
            | Self::NothingPublished
            | Self::PublishersFull
            | Self::LayerUnavailable
            | Self::SessionEnded => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge | Self::OfferTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UnacceptableOffer => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::RoomFull | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be understood",
            Self::BadMessage => "The message cannot be understood",
            Self::NotJoined => "Join first",
            Self::BadRoomName => "Not a room name",
            Self::BadOffer => "The offer cannot be read",
            Self::Unauthorized => "A valid token is needed",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::RoomExists => "The room exists already",
            Self::NothingPublished => "Nothing to watch yet",
            Self::PublishersFull => "Somebody publishes already",
            Self::LayerUnavailable => "There is no such layer",
            Self::SessionEnded => "The session has ended",
            Self::PreconditionFailed => "Another ICE session",
            Self::PreconditionRequired => "If-Match is needed",
            Self::TooLarge => "The body is too large",
            Self::OfferTooLarge => "The offer is too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::UnacceptableOffer => "The offer cannot be taken",
            Self::RequestTimeout => "The request took too long",
            Self::RateLimited => "Too many requests",
            Self::RoomFull => "The room is full",
            Self::ResumeFailed => "The session is gone",
            Self::Overloaded => "The server is busy",
            Self::Internal => "Internal error",
        }
    }

    /// The code for a status that was set without one, such as by a request extractor.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::BadMessage,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Overloaded,
            other if other.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// An error that the caller may read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.text())]
pub(crate) struct Problem {
    /// What happened.
    pub code: Code,
    /// One sentence for a human: what is wrong, and what would mend it. Never a token, never SDP.
    pub detail: String,
    /// Seconds after which trying again makes sense (RFC 9110, section 10.2.3).
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this code.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = match code {
            Code::NothingPublished | Code::SessionEnded => Some(2),
            Code::RateLimited => Some(1),
            Code::RoomFull | Code::Overloaded => Some(5),
            _ => None,
        };
        Self { code, detail: detail.into(), retry_after }
    }

    /// The answer to anything that is not there, or that the token may not know of: always word for word the same.
    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing here by that name")
    }

    /// The `WWW-Authenticate` challenge of RFC 6750, section 3.
    fn challenge(&self) -> Option<&'static str> {
        match self.code {
            Code::Unauthorized => Some("Bearer realm=\"weir\", error=\"invalid_token\""),
            Code::Forbidden => Some("Bearer realm=\"weir\", error=\"insufficient_scope\""),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    code: Code,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = Body {
            r#type: format!("urn:weir:problem:{}", self.code.text()),
            code: self.code,
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// The content type of every error.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Turns errors that were set without a body of ours (unknown routes, extractors, timeouts) into problems.
pub(crate) async fn normalize(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_problem(&response) {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => Problem::not_found().detail,
        StatusCode::METHOD_NOT_ALLOWED => String::from("see the Allow header for the methods that are"),
        other if other.is_client_error() => String::from("the request is not of the form expected here"),
        _ => String::from("the server has logged what happened"),
    };
    let mut problem = Problem::new(Code::of_status(status), detail).into_response();
    *problem.status_mut() = status;
    let kept: [HeaderName; 2] = [header::ALLOW, header::UPGRADE];
    for name in kept {
        if let Some(value) = response.headers().get(&name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

fn is_problem(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON)
}

impl From<SfuError> for Problem {
    fn from(error: SfuError) -> Self {
        Self::new(Code::Overloaded, error.to_string())
    }
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        let code = match error {
            JoinError::UnknownRoom | JoinError::UnknownSource => Code::NotFound,
            JoinError::RoomFull { .. } => Code::RoomFull,
            JoinError::PublishersFull { .. } => Code::PublishersFull,
            JoinError::NothingPublished => Code::NothingPublished,
            JoinError::Unavailable => Code::Overloaded,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ChoiceError> for Problem {
    fn from(error: ChoiceError) -> Self {
        let code = match error {
            ChoiceError::UnknownMedia(_) | ChoiceError::UnknownEncoding(_) => Code::LayerUnavailable,
            ChoiceError::NothingShown => Code::NothingPublished,
            ChoiceError::Gone => Code::NotFound,
        };
        Self::new(code, error.to_string())
    }
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Self {
        let code = match error {
            OfferError::TooLarge(_) => Code::OfferTooLarge,
            OfferError::Malformed(_) => Code::BadOffer,
            OfferError::Unacceptable(_) => Code::UnacceptableOffer,
            OfferError::Forbidden(_) => Code::Forbidden,
            OfferError::Taken(_) => Code::PublishersFull,
            OfferError::Gone => Code::SessionEnded,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn json(response: Response) -> serde_json::Value {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[tokio::test]
    async fn a_problem_is_of_rfc_9457_form() {
        let response = Problem::new(Code::RoomFull, "it holds 2").into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        let body = json(response).await;
        assert_eq!(body["code"], "room-full");
        assert_eq!(body["status"], 503);
        assert_eq!(body["detail"], "it holds 2");
        assert_eq!(body["title"], "The room is full");
        assert_eq!(body["type"], "urn:weir:problem:room-full");
    }

    #[tokio::test]
    async fn unauthorized_carries_a_challenge() {
        let response = Problem::new(Code::Unauthorized, "no token").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers()[header::WWW_AUTHENTICATE].to_str().expect("text").starts_with("Bearer"));
    }

    #[tokio::test]
    async fn a_bare_405_becomes_a_problem_and_keeps_allow() {
        let bare = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET,HEAD")]).into_response();
        let response = normalize(bare).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
        assert_eq!(json(response).await["code"], "method-not-allowed");
    }

    #[test]
    fn what_a_client_gets_wrong_is_never_a_5xx() {
        let errors = [
            OfferError::TooLarge(String::new()),
            OfferError::Malformed(String::new()),
            OfferError::Unacceptable(String::new()),
            OfferError::Forbidden(String::new()),
            OfferError::Taken(String::new()),
            OfferError::Gone,
        ];
        for error in errors {
            assert!(Problem::from(error.clone()).code.status().is_client_error(), "{error:?}");
        }
    }
}
