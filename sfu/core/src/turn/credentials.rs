//! Credentials that are derived and not stored, and nonces likewise.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// How long a nonce is taken, in seconds. A client whose nonce is stale gets a new one and asks again (438).
const NONCE_SECONDS: u64 = 3600;
/// Nonces count time in units of so many seconds, so that three bytes last for years.
const UNIT: u64 = 8;
/// Text of 12 characters: as short as it may be, since it is part of an answer to strangers. 48 bits of it are a
/// signature, which protects no secret: who guesses one has still no password.
const NONCE_BYTES: usize = 9;

/// What passwords are derived from. Not shown when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// At least 16 bytes should be random.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a client shows to the relay.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// `EXPIRY:WHO`, the expiry in seconds since 1970.
    pub username: String,
    /// The base64 of the HMAC-SHA1 of the user name.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A credential that allocates until `expiry`, in seconds since 1970. `who` is for quotas and logs; without a colon.
#[must_use]
pub fn credential(secret: &Secret, expiry: u64, who: &str) -> Credential {
    let username = format!("{expiry}:{who}");
    Credential { password: password(secret, &username), username }
}

/// The password of a user name, whoever made that up.
pub(super) fn password(secret: &Secret, username: &str) -> String {
    STANDARD.encode(sign(&secret.0, &[username.as_bytes()]))
}

/// When a user name expires, in seconds since 1970; none if it is not one of ours.
pub(super) fn expiry(username: &str) -> Option<u64> {
    username.split_once(':')?.0.parse().ok()
}

fn sign(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104 section 2)");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Makes and checks nonces.
pub(super) struct Nonces {
    key: [u8; 32],
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

impl Nonces {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The nonce for a client at this time, in seconds since 1970.
    pub(super) fn make(&self, unix: u64, client: SocketAddr) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes((unix / UNIT) as u32, client))
    }

    fn bytes(&self, units: u32, client: SocketAddr) -> [u8; NONCE_BYTES] {
        let [_, time @ ..] = units.to_be_bytes();
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let signature = sign(&self.key, &[&time, &ip, &client.port().to_be_bytes()]);
        let mut nonce = [0; NONCE_BYTES];
        nonce[..3].copy_from_slice(&time);
        nonce[3..].copy_from_slice(&signature[..6]);
        nonce
    }

    /// Whether this nonce was made for this client, not long ago.
    pub(super) fn is_fresh(&self, unix: u64, client: SocketAddr, nonce: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else { return false };
        let [a, b, c, ..] = *bytes else { return false };
        let (units, now) = (u32::from_be_bytes([0, a, b, c]), (unix / UNIT) as u32 & 0xff_ffff);
        let age = u64::from(now.wrapping_sub(units) & 0xff_ffff) * UNIT;
        age <= NONCE_SECONDS && *bytes == self.bytes(units, client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_nonce_is_of_one_client_and_of_one_hour() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.make(NOW, address(1));
        assert_eq!(nonce.len(), 12);
        assert!(nonces.is_fresh(NOW, address(1), &nonce));
        assert!(nonces.is_fresh(NOW + NONCE_SECONDS, address(1), &nonce));
        assert!(!nonces.is_fresh(NOW + NONCE_SECONDS + UNIT, address(1), &nonce), "stale");
        assert!(!nonces.is_fresh(NOW - UNIT, address(1), &nonce), "of the future");
        assert!(!nonces.is_fresh(NOW, address(2), &nonce), "of another client");
        assert!(!Nonces::new([8; 32]).is_fresh(NOW, address(1), &nonce), "of another server");
        for forged in ["", "AAAA", "AAAAAAAAAAAA", "AAAAAAAAAAAAAAAA", "????????????"] {
            assert!(!nonces.is_fresh(NOW, address(1), forged), "{forged}");
        }
    }

    #[test]
    fn passwords_are_those_of_the_usual_rest_scheme() {
        // printf '1800000000:p1' | openssl dgst -sha1 -hmac north -binary | base64
        let made = credential(&Secret::new(b"north"), NOW, "p1");
        assert_eq!(made.username, "1800000000:p1");
        assert_eq!(made.password, "syDhlgZ7kacM6nCli20TaREADeU=");
        assert_eq!(expiry(&made.username), Some(NOW));
        assert_eq!((expiry("p1"), expiry(":p1"), expiry("x:p1"), expiry("-1:p1")), (None, None, None, None));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let made = credential(&Secret::new(b"north"), NOW, "p1");
        let shown = format!("{made:?} {:?} {:?}", Secret::new(b"north"), Nonces::new([7; 32]));
        assert!(!shown.contains(&made.password) && !shown.contains("north") && !shown.contains("110, 111"), "{shown}");
    }
}
