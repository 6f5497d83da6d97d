//! Asking a STUN server what address it sees (RFC 8489).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn_client_proto::types::stun::attribute::XorMappedAddress;
use turn_client_proto::types::stun::message::{BINDING, Message, MessageWriteVec};
use turn_client_proto::types::stun::prelude::{MessageWrite, MessageWriteExt};

/// The port where a URL names none (RFC 7064 section 3.2).
const PORT: u16 = 3478;
/// How often it is asked, and how long each answer is waited for.
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_millis(300);

/// Host and port of a `stun:` URL; none if it is something else.
pub(crate) fn host_of(url: &str) -> Option<(String, u16)> {
    host_and_port(url.strip_prefix("stun:")?, PORT)
}

/// Host and port as URLs have them: `host`, `host:port`, `[::1]:port`.
pub(crate) fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let text = text.split('?').next().unwrap_or_default();
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => default,
        Some(port) => port.parse().ok()?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// A binding request and its transaction.
fn request() -> (Vec<u8>, u128) {
    let builder = Message::builder_request(BINDING, MessageWriteVec::new());
    let transaction = u128::from(builder.transaction_id());
    (builder.finish(), transaction)
}

/// The address that a server saw, if this is its answer to that request.
fn mapped(answer: &[u8], transaction: u128) -> Option<SocketAddr> {
    let message = Message::from_bytes(answer).ok()?;
    if !message.is_response() || u128::from(message.transaction_id()) != transaction {
        return None;
    }
    let address = message.attribute::<XorMappedAddress>().ok()?.addr(message.transaction_id());
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The address that the server at `server` sees this machine's requests come from.
pub(crate) async fn ask(server: SocketAddr) -> Option<SocketAddr> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(server).await.ok()?;
    let (request, transaction) = request();
    let mut buffer = [0; 1500];
    for _ in 0..TRIES {
        // A port that is shut answers with an error now and then; the next try may still be answered.
        _ = socket.send(&request).await;
        if let Ok(Ok(length)) = timeout(PATIENCE, socket.recv(&mut buffer)).await
            && let Some(address) = mapped(&buffer[..length], transaction)
        {
            return Some(address);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_divided() {
        let rows = [
            ("stun:stun.example.org", Some(("stun.example.org", 3478))),
            ("stun:stun.example.org:19302", Some(("stun.example.org", 19302))),
            ("stun:[2001:db8::1]:1", Some(("2001:db8::1", 1))),
            ("stun:[2001:db8::1]", Some(("2001:db8::1", 3478))),
            ("turn:turn.example.org", None),
            ("stun:", None),
            ("stun:host:port", None),
        ];
        for (url, expected) in rows {
            assert_eq!(host_of(url), expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        }
    }

    /// The example of RFC 5769 section 2.2: what a server answered.
    const ANSWER: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
         000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";

    #[test]
    fn the_answer_of_the_standard_is_read() {
        let bytes: Vec<u8> = (0..ANSWER.len() / 2)
            .map(|n| u8::from_str_radix(&ANSWER[2 * n..2 * n + 2], 16).expect("hexadecimal"))
            .collect();
        let transaction = 0xb7e7_a701_bc34_d686_fa87_dfae;
        assert_eq!(mapped(&bytes, transaction), Some(([192, 0, 2, 1], 32853).into()));
        assert_eq!(mapped(&bytes, transaction + 1), None, "the answer to somebody else");
        assert_eq!(mapped(&bytes[..30], transaction), None);
        assert_eq!(mapped(b"HTTP/1.1 400 Bad Request\r\n\r\n", transaction), None);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_waited_for_and_given_up() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        assert_eq!(ask(silent.local_addr().expect("bound")).await, None);
        let mut buffer = [0; 100];
        for _ in 0..TRIES {
            let length = silent.try_recv(&mut buffer).expect("each try");
            assert_eq!(buffer[..length].len(), 20);
        }
    }
}
