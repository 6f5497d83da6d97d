//! Where participants join, and by which right.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use tokio_tungstenite::Connector;

use super::member::{Member, Role};

/// How long a token is good for: the longest run, and a day.
const TOKEN_LIFE_S: u64 = 400 * 24 * 3600;

/// How participants show their right to join. Never printed.
#[derive(Clone)]
pub enum Tokens {
    /// Not at all.
    None,
    /// One token for everybody.
    One(String),
    /// A key of the server, to sign a token for each.
    Key {
        /// Its id.
        id: String,
        /// Its secret.
        secret: String,
    },
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(…)",
            Self::Key { .. } => "Key(…)",
        })
    }
}

/// Where participants join.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server, for Weir's own paths.
    pub url: Url,
    /// WHIP endpoints of another kind; `{n}` stands for the number of the stream.
    pub whip: Option<String>,
    /// WHEP endpoints of another kind.
    pub whep: Option<String>,
    /// The first part of room names: several testers at once need several.
    pub room_prefix: String,
    /// What shows the right to join.
    pub tokens: Tokens,
    /// Take any certificate.
    pub insecure: bool,
    /// For WHIP and WHEP.
    pub http: reqwest::Client,
    /// This machine's address towards the server.
    pub local: IpAddr,
}

#[derive(Serialize)]
struct Claims<'a> {
    room: &'a str,
    sub: String,
    publish: bool,
    subscribe: bool,
    exp: u64,
}

impl Target {
    /// The name of a room.
    #[must_use]
    pub fn room(&self, member: &Member) -> String {
        format!("{}-{}", self.room_prefix, member.room)
    }

    /// A member's token.
    #[must_use]
    pub fn token(&self, member: &Member) -> Option<String> {
        let (id, secret) = match &self.tokens {
            Tokens::None => return None,
            Tokens::One(token) => return Some(token.clone()),
            Tokens::Key { id, secret } => (id, secret),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims {
            room: &self.room(member),
            sub: format!("tester-{}", member.number),
            publish: member.role.sends(),
            subscribe: member.role.watches(),
            exp: now + TOKEN_LIFE_S,
        };
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::HS256) };
        // Plain claims and a secret of any length can always be signed; without a token the server says what it wants.
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).ok()
    }

    /// Where a WebSocket joins a room.
    #[must_use]
    pub fn websocket(&self, member: &Member) -> String {
        let base = self.url.as_str().trim_end_matches('/').replacen("http", "ws", 1);
        format!("{base}/v1/rooms/{}/ws", self.room(member))
    }

    /// Where a publisher or viewer posts its offer.
    #[must_use]
    pub fn endpoint(&self, member: &Member) -> String {
        let (given, path) = if member.role == Role::Viewer { (&self.whep, "whep") } else { (&self.whip, "whip") };
        match given {
            Some(url) => url.replace("{n}", &member.room.to_string()),
            None => format!("{}/{path}/{}", self.url.as_str().trim_end_matches('/'), self.room(member)),
        }
    }

    /// How to speak TLS on WebSockets; none: as usual.
    #[must_use]
    pub fn connector(&self) -> Option<Connector> {
        if !self.insecure || self.url.scheme() != "https" {
            return None;
        }
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        Some(Connector::Rustls(Arc::new(config)))
    }
}

/// `--insecure`: for servers whose certificate was made at their start.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
