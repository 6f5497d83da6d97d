//! Who may do what: tokens (JWT, RFC 7519) signed with HS256.
//!
//! One algorithm, no `none`, a key chosen by `kid`; the room and the grants are checked by who asks. Tokens travel in
//! `Authorization: Bearer` or in the first WebSocket message, never in a URL, and are never logged.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::TryRngCore;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Key};
use crate::error::{Code, Problem};

/// How far the clocks of signer and server may be apart.
const LEEWAY: Duration = Duration::from_secs(5);

/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// In an admin token: every room.
pub const ANY_ROOM: &str = "*";

/// What a token says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The room it is good for. With the admin grant, `*` stands for every room.
    pub room: String,
    /// The identity. One identity has one session of a kind in a room: a new one replaces the old.
    #[serde(default)]
    pub sub: String,
    /// The name to show to others, where the token settles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// May publish tracks.
    #[serde(default)]
    pub publish: bool,
    /// May receive tracks.
    #[serde(default)]
    pub subscribe: bool,
    /// May use the admin API on its room.
    #[serde(default)]
    pub admin: bool,
    /// Seconds since 1970 after which it is no good any more.
    pub exp: u64,
    /// Seconds since 1970 before which it is no good yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
}

impl Claims {
    /// What everyone may do in development mode.
    fn development(room: &str) -> Self {
        Self { room: room.to_owned(), publish: true, subscribe: true, admin: true, exp: u64::MAX, ..Self::default() }
    }

    /// True if it may use the admin API on this room.
    pub fn administers(&self, room: &str) -> bool {
        self.admin && (self.room == room || self.room == ANY_ROOM)
    }
}

/// Why a token was not taken. Deliberately few: more would help who forges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("a token is needed: send it as Authorization: Bearer, or in the join message")]
    Missing,
    /// It is too old.
    #[error("the token has expired: get a new one")]
    Expired,
    /// It is not readable, not signed by a known key, or not good yet.
    #[error("the token is not valid here")]
    Invalid,
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(Code::Unauthorized, error.to_string())
    }
}

/// Checks tokens.
#[derive(Debug)]
pub struct Auth {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl Auth {
    /// Takes the keys of the configuration.
    pub fn new(config: &Config) -> Self {
        let decoding = |key: &Key| DecodingKey::from_secret(key.secret.expose().as_bytes());
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        // `aud` is not among the claims: rooms say what a token is for.
        validation.validate_aud = false;
        Self { keys: config.keys.iter().map(|key| (key.id.clone(), decoding(key))).collect(), validation }
    }

    /// False in development mode: there are no keys, and everyone may do everything.
    pub fn required(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Checks signature and time, not the room.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let key = match header.kid {
            Some(kid) => self.keys.get(&kid),
            // Signers that know no key ids are understood as long as there is nothing to choose.
            None if self.keys.len() == 1 => self.keys.values().next(),
            None => None,
        };
        let key = key.ok_or(TokenError::Invalid)?;
        match jsonwebtoken::decode::<Claims>(token, key, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::ExpiredSignature) => {
                Err(TokenError::Expired)
            }
            Err(_) => Err(TokenError::Invalid),
        }
    }

    /// The claims of whoever wants into a room; in development mode, everything.
    pub fn claims(&self, token: Option<&str>, room: &str) -> Result<Claims, TokenError> {
        if !self.required() {
            return Ok(Claims::development(room));
        }
        self.verify(token.ok_or(TokenError::Missing)?)
    }

    /// The claims of an HTTP request about a room: 401 without a good token, 403 if it is of another room.
    pub(crate) fn http_claims(&self, headers: &HeaderMap, room: &str) -> Result<Claims, Problem> {
        let claims = self.claims(bearer(headers), room)?;
        if claims.room != room {
            return Err(Problem::new(Code::Forbidden, "the token is of another room"));
        }
        Ok(claims)
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750, section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Signs a token.
pub fn sign(key: &Key, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
    let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(key.secret.expose().as_bytes()))
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// `BYTES` random bytes of the operating system as URL-safe text.
#[expect(clippy::expect_used, reason = "without randomness there are no secrets, and nothing else to fall back to")]
pub(crate) fn random_text<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// True if a room may have this name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
pub fn is_room_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

/// The room's name, or the problem to answer.
pub(crate) fn room_name(name: &str) -> Result<(), Problem> {
    if is_room_name(name) {
        return Ok(());
    }
    let detail = "a room name has 1 to 64 characters of A-Z a-z 0-9 . _ - and begins with a letter or digit";
    Err(Problem::new(Code::BadRoomName, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const SECRET: &str = "a secret that is long enough, and then some";

    fn key(id: &str, secret: &str) -> Key {
        Key { id: id.to_owned(), secret: Secret::new(secret) }
    }

    fn auth() -> Auth {
        Auth::new(&Config { keys: vec![key("main", SECRET), key("next", &SECRET.repeat(2))], ..Config::default() })
    }

    fn claims() -> Claims {
        let exp = unix_now() + 60;
        Claims { room: String::from("demo"), sub: String::from("ann"), publish: true, exp, ..Claims::default() }
    }

    #[test]
    fn a_signed_token_is_taken() {
        let token = sign(&key("main", SECRET), &claims()).expect("signed");
        assert_eq!(auth().verify(&token), Ok(claims()));
    }

    #[test]
    fn every_configured_key_signs() {
        let token = sign(&key("next", &SECRET.repeat(2)), &claims()).expect("signed");
        assert!(auth().verify(&token).is_ok());
    }

    #[test]
    fn an_expired_token_is_refused() {
        let old = Claims { exp: unix_now() - 10, ..claims() };
        let token = sign(&key("main", SECRET), &old).expect("signed");
        assert_eq!(auth().verify(&token), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_is_not_good_yet_is_refused() {
        let early = Claims { nbf: Some(unix_now() + 30), ..claims() };
        let token = sign(&key("main", SECRET), &early).expect("signed");
        assert_eq!(auth().verify(&token), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_without_an_end_is_refused() {
        let endless = serde_json::json!({"room": "demo", "sub": "ann", "publish": true});
        let header = Header { kid: Some(String::from("main")), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&header, &endless, &key).expect("signed");
        assert_eq!(auth().verify(&token), Err(TokenError::Invalid));
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let foreign = "some other secret, long enough just as well";
        for id in ["main", "other"] {
            let token = sign(&key(id, foreign), &claims()).expect("signed");
            assert_eq!(auth().verify(&token), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn a_key_does_not_sign_under_the_id_of_another() {
        let token = sign(&key("next", SECRET), &claims()).expect("signed");
        assert_eq!(auth().verify(&token), Err(TokenError::Invalid));
    }

    #[test]
    fn other_algorithms_are_refused() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some(String::from("main")), ..Header::new(algorithm) };
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            let token = jsonwebtoken::encode(&header, &claims(), &key).expect("signed");
            assert_eq!(auth().verify(&token), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn the_algorithm_none_is_refused() {
        for alg in ["none", "None", "NONE", ""] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","kid":"main"}}"#));
            let payload = URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims()).expect("JSON"));
            assert_eq!(auth().verify(&format!("{header}.{payload}.")), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn a_token_of_another_room_is_forbidden_over_http() {
        let token = sign(&key("main", SECRET), &claims()).expect("signed");
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("bearer {token}").parse().expect("a value"));
        assert!(auth().http_claims(&headers, "demo").is_ok());
        assert_eq!(auth().http_claims(&headers, "other").map_err(|p| p.code), Err(Code::Forbidden));
        assert_eq!(auth().http_claims(&HeaderMap::new(), "demo").map_err(|p| p.code), Err(Code::Unauthorized));
    }

    #[test]
    fn without_keys_everyone_may_do_everything() {
        let auth = Auth::new(&Config::default());
        let claims = auth.claims(None, "demo").expect("claims");
        assert!(claims.publish && claims.subscribe && claims.administers("demo") && claims.sub.is_empty());
    }

    #[test]
    fn only_admins_administer_and_only_their_room() {
        assert!(!claims().administers("demo"));
        let admin = Claims { admin: true, ..claims() };
        assert!(admin.administers("demo") && !admin.administers("other"));
        let all = Claims { admin: true, room: String::from(ANY_ROOM), ..claims() };
        assert!(all.administers("demo"));
    }

    #[test]
    fn room_names_are_bounded() {
        for good in ["a", "0", "Team-1.b_c", &"x".repeat(64)] {
            assert!(is_room_name(good), "{good}");
        }
        for bad in ["", ".", "-a", "_a", "a b", "a/b", "ü", "*", &"x".repeat(65)] {
            assert!(!is_room_name(bad), "{bad}");
        }
    }
}
